//! The program as the web server sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::inventory::Inventories;
use super::reload::Reloader;
use super::{api, explain};
use crate::aggregate::Registry;
use crate::compat::Compat;
use crate::explain::Explainer;
use crate::expose::Page;
use crate::expose::own::{self, Sources};
use crate::expose::walk::walk;
use crate::grafana::panels::health::Exporter;
use crate::grafana::sync::Status;
use crate::map::ttl::Ttls;
use crate::parse;
use crate::web::{Backend, Reply};

/// How the keeping of dashboards goes.
const GRAFANA_PATH: &str = "/api/v1/grafana";

/// What HTTP requests reach.
#[derive(Debug)]
pub struct Site {
    sources: Sources,
    reloader: Arc<Reloader>,
    inventories: Arc<Inventories>,
    start: Instant,
    /// When the process' clock began, in seconds since 1970.
    start_seconds: f64,
    is_ready: AtomicBool,
    quit: Arc<Notify>,
    /// How the keeping of dashboards goes, where there is a Grafana.
    grafana: Option<Arc<Status>>,
    /// The dialects that lines may use.
    parse: parse::Options,
    /// How long series live for which no rule says it.
    ttl: Ttls,
}

impl Site {
    /// A site that shows what is in `sources`, and is not ready yet. The process' clock began at
    /// `start`; `quit` is notified when a client asks the program to end.
    #[must_use]
    pub fn new(
        sources: Sources,
        reloader: Arc<Reloader>,
        start: Instant,
        quit: Arc<Notify>,
    ) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_seconds = since_1970.as_secs_f64() - start.elapsed().as_secs_f64();
        let is_ready = AtomicBool::new(false);
        let inventories = Inventories::new(&sources.registry, &reloader, start);
        let inventories = Arc::new(inventories);
        let grafana = None;
        let (parse, ttl) = (parse::Options::new(sources.compat), Ttls::default());
        Self {
            sources,
            reloader,
            inventories,
            start,
            start_seconds,
            is_ready,
            quit,
            grafana,
            parse,
            ttl,
        }
    }

    /// Shows how the keeping of dashboards goes, too.
    #[must_use]
    pub fn with_grafana(mut self, status: Option<Arc<Status>>) -> Self {
        self.grafana = status;
        self
    }

    /// Explains lines by these dialects and times to live instead of the usual ones.
    #[must_use]
    pub fn explaining_by(mut self, parse: parse::Options, ttl: Ttls) -> Self {
        (self.parse, self.ttl) = (parse, ttl);
        self
    }

    /// What lines are explained by at the moment.
    #[must_use]
    pub fn explainer(&self) -> Explainer {
        Explainer {
            rules: self.reloader.rules(),
            parse: self.parse,
            ttl: self.ttl,
            registry: Some(Arc::clone(self.registry())),
        }
    }

    /// Tells probes whether samples are taken in.
    pub fn set_ready(&self, is_ready: bool) {
        // Relaxed: a probe that is a moment late asks again.
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// The series that are kept.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.sources.registry
    }

    /// What is exposed, as dashboards are made of it.
    #[must_use]
    pub fn inventories(&self) -> &Arc<Inventories> {
        &self.inventories
    }

    /// Whose own metrics are on the page.
    fn exporter(&self) -> Exporter {
        match self.sources.compat {
            Compat::Extended => Exporter::Tallyd,
            Compat::Reference => Exporter::Reference,
        }
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Backend for Site {
    fn scrape(&self, page: &mut Page<'_>) {
        if page.shows_native() {
            self.sources.registry.start_native();
        }
        let rules = self.reloader.rules();
        page.set_units(Arc::new(move |name| rules.unit(name)));
        let mut own = own::families(&self.sources);
        if let Some(status) = &self.grafana {
            own.extend(status.families());
            own.sort_unstable_by_key(|family| family.name);
        }
        let registry = &self.sources.registry;
        let began_millis = self.now_millis();
        walk(|| registry.read(self.now_millis()), &own, self.start_seconds, page);
        if page.is_open() && page.shows_all() {
            registry.scraped(began_millis);
        }
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    fn reload(&self) -> Result<(), String> {
        self.reloader.reload().map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    fn api(&self, path: &str, query: &str) -> Reply {
        match &self.grafana {
            _ if path == explain::PATH => explain::answer(self, query),
            _ if path != GRAFANA_PATH => {
                api::answer(&self.inventories.get(), self.exporter(), path, query)
            }
            Some(status) => api::json(200, &status.facts()),
            None => api::json(404, &"dashboards are not kept: --grafana.url is not set"),
        }
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}
