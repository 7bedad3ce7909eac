//! The program as the web server sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::api::view::{Overview, View};
use super::ending::LastScrape;
use super::inventory::Inventories;
use super::reload::Reloader;
use super::{api, explain};
use crate::aggregate::Registry;
use crate::compat::Compat;
use crate::explain::Explainer;
use crate::expose::Page;
use crate::expose::joined::{ClashLog, Joined};
use crate::expose::own::{self, OwnFamily, Sources};
use crate::expose::walk::{Beside, walk_joined};
use crate::grafana::inventory::Part;
use crate::grafana::panels::health::Exporter;
use crate::grafana::sync::Status;
use crate::map::ttl::Ttls;
use crate::parse;
use crate::status::Watch;
use crate::telemetry::Stat;
use crate::web::{Backend, Guard, Reply, Visit};

/// How the keeping of dashboards goes.
const GRAFANA_PATH: &str = "/api/v1/grafana";

/// What HTTP requests reach.
#[derive(Debug)]
pub struct Site {
    sources: Arc<Sources>,
    clash_log: ClashLog,
    reloader: Arc<Reloader>,
    inventories: Arc<Inventories>,
    watch: Arc<Watch>,
    overview: Overview,
    last_scrape: LastScrape,
    is_ready: AtomicBool,
    quit: Arc<Notify>,
    /// How the keeping of dashboards goes, where there is a Grafana.
    grafana: Option<Arc<Status>>,
    /// What is before the site, where there is anything.
    guard: Option<Arc<Guard>>,
    /// The dialects that lines may use.
    parse: parse::Options,
    /// How long series live for which no rule says it.
    ttl: Ttls,
}

impl Site {
    /// A site that shows what is in `sources`, and is not ready yet; `quit` is notified when a
    /// client asks the program to end.
    #[must_use]
    pub fn new(
        sources: Sources,
        reloader: Arc<Reloader>,
        watch: Arc<Watch>,
        quit: Arc<Notify>,
    ) -> Self {
        let is_ready = AtomicBool::new(false);
        let sources = Arc::new(sources);
        let inventories = Inventories::new(&sources, &reloader, &watch);
        let parts = sources.workers.is_some().then_some(Part::Workers);
        let inventories = Arc::new(inventories.with_parts(parts.into_iter().collect()));
        let (parse, ttl) = (parse::Options::new(sources.compat), Ttls::default());
        Self {
            sources,
            clash_log: ClashLog::default(),
            reloader,
            inventories,
            watch,
            overview: Overview::default(),
            last_scrape: LastScrape::default(),
            is_ready,
            quit,
            grafana: None,
            guard: None,
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

    /// Shows how the reading of the web config file goes, too.
    #[must_use]
    pub fn with_guard(mut self, guard: Option<Arc<Guard>>) -> Self {
        self.guard = guard;
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

    /// The scrape that the end waits for.
    #[must_use]
    pub fn last_scrape(&self) -> &LastScrape {
        &self.last_scrape
    }

    /// How many lines have been taken in, whatever became of them.
    #[must_use]
    pub fn lines_taken_in(&self) -> u64 {
        self.sources.telemetry.totals().get(Stat::Lines)
    }

    /// Our own families, sorted by name.
    fn own_families(&self, joined: &Joined) -> Vec<OwnFamily> {
        let mut own = own::families(&self.sources);
        if let Some(status) = &self.grafana {
            own.extend(status.families());
        }
        if let Some(guard) = &self.guard {
            own.extend(own::web_config(guard.is_current(), guard.failures()));
        }
        if self.sources.compat == Compat::Extended {
            own.extend(self.watch.families());
        }
        if let Some(files) = &self.sources.multiproc {
            let facts = files.facts();
            let clashes = || facts.clashes.iter().chain(joined.clashes());
            self.clash_log.note(clashes());
            own.extend(own::multiproc::families(&facts, clashes()));
        }
        own.sort_unstable_by_key(|family| family.name);
        own
    }

    /// Everything that the API and the status page tell of.
    fn view(&self) -> View<'_> {
        View {
            sources: &self.sources,
            watch: &self.watch,
            inventories: &self.inventories,
            reloader: &self.reloader,
            overview: &self.overview,
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
        let registry = &self.sources.registry;
        let clock = self.watch.clock();
        let began_millis = clock.now_millis();
        let read = || registry.read(clock.now_millis());
        let first = read();
        let joined = self.sources.joined(&first);
        let own = self.own_families(&joined);
        let start_unix_millis = clock.start_unix_millis;
        let beside = Beside { own: &own, joined: &joined, start_unix_millis };
        walk_joined(first, read, beside, page);
        if page.is_open() && page.shows_all() {
            registry.scraped(began_millis);
        }
    }

    fn begin_page(&self) -> u64 {
        if self.last_scrape.is_awaited() { self.lines_taken_in() } else { 0 }
    }

    fn page_sent(&self, begin: u64) {
        if self.last_scrape.is_awaited() {
            self.last_scrape.sent(begin);
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
