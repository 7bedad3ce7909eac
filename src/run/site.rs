//! The program as the web server sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::api::view::{Overview, View};
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
use crate::status::Watch;
use crate::status::lists::Clock;
use crate::web::{Backend, Reply, Visit};

/// How the keeping of dashboards goes.
const GRAFANA_PATH: &str = "/api/v1/grafana";

/// What HTTP requests reach.
#[derive(Debug)]
pub struct Site {
    sources: Sources,
    reloader: Arc<Reloader>,
    inventories: Arc<Inventories>,
    watch: Arc<Watch>,
    overview: Overview,
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
    /// A site that shows what is in `sources`, and is not ready yet; `quit` is notified when a client asks the program to end.
    #[must_use]
    pub fn new(
        sources: Sources,
        reloader: Arc<Reloader>,
        watch: Arc<Watch>,
        quit: Arc<Notify>,
    ) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_seconds = since_1970.as_secs_f64() - watch.elapsed().as_secs_f64();
        let is_ready = AtomicBool::new(false);
        let inventories = Inventories::new(&sources.registry, &reloader, &watch);
        let inventories = Arc::new(inventories);
        let grafana = None;
        let (parse, ttl) = (parse::Options::new(sources.compat), Ttls::default());
        Self {
            sources,
            reloader,
            inventories,
            watch,
            overview: Overview::default(),
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

    /// Everything that the API and the status page tell of.
    fn view(&self) -> View<'_> {
        View {
            sources: &self.sources,
            watch: &self.watch,
            inventories: &self.inventories,
            reloader: &self.reloader,
            overview: &self.overview,
            clock: Clock { start_seconds: self.start_seconds },
            is_ready: self.is_ready(),
            grafana: self.grafana.as_deref(),
        }
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
        }
        if self.sources.compat == Compat::Extended {
            own.extend(self.watch.families());
        }
        own.sort_unstable_by_key(|family| family.name);
        let registry = &self.sources.registry;
        let began_millis = self.watch.now_millis();
        walk(|| registry.read(self.watch.now_millis()), &own, self.start_seconds, page);
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

    fn status_page(&self, visit: &Visit<'_>) -> Option<String> {
        let is_wanted = self.sources.compat == Compat::Extended;
        is_wanted.then(|| self.view().page(visit, &self.explainer()))
    }

    fn api(&self, path: &str, query: &str) -> Reply {
        match (path, &self.grafana) {
            (explain::PATH, _) => explain::answer(self, query),
            (GRAFANA_PATH, Some(status)) => api::json(200, &status.facts()),
            (GRAFANA_PATH, None) => {
                api::json(404, &"dashboards are not kept: --grafana.url is not set")
            }
            ("/api/v1/status", _) => api::json(200, &self.view().facts()),
            ("/api/v1/unmapped", _) => api::json(200, &self.view().unmapped()),
            ("/api/v1/cardinality", _) => api::json(200, &*self.view().cardinality()),
            ("/api/v1/conflicts", _) => api::json(200, &self.view().conflicts()),
            ("/api/v1/errors", _) => api::json(200, &self.view().errors()),
            _ => api::answer(&self.inventories.get(), self.exporter(), path, query),
        }
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}
