//! Families and series: who owns a name, which cell holds a value, what a scrape walks.
//!
//! The registry is asked when a line is seen for the first time; after that a lane reaches its
//! cells by itself. A known series is found without the registry's lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashSet;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::compat::Compat;
use crate::map::limits::RuleLimits;
use crate::map::observer::{HistogramSpec, SummarySpec};
use crate::map::sharing::Combination;

mod hyperloglog;
mod sketch;
mod window;
pub mod native;
pub mod histogram;
pub mod summary;
pub mod set;
pub mod senders;
pub mod combined;
pub mod cells;
pub mod values;
mod series;
mod families;
pub mod standing;
pub mod view;
pub mod scrapes;
pub mod saved;
pub mod expiry;
pub mod limits;

use cells::{LaneCells, LaneReader, SharedCells};
use expiry::Wheel;
use families::Families;
use limits::Excess;
use scrapes::ScrapeClock;
use series::ByText;
pub use series::{Series, SeriesHead, label_pairs};
use values::{LaneValues, Values};
use view::View;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FamilyKind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets.
    Histogram,
    /// Quantiles.
    Summary,
    /// The number of unique values; exposed as a gauge.
    Set,
}

impl FamilyKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 5] =
        [Self::Counter, Self::Gauge, Self::Histogram, Self::Summary, Self::Set];

    /// The `type` label of `statsd_exporter_metrics_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Set => "set",
        }
    }
}

/// What a series is made of, as the sample and its rule ask for it.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesSpec {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A gauge that several senders make together.
    Combined(Combination),
    /// Buckets.
    Histogram(Arc<HistogramSpec>),
    /// Quantiles.
    Summary(Arc<SummarySpec>),
    /// Unique values in a window of so many milliseconds.
    Set(u64),
}

impl SeriesSpec {
    /// The type of the family it belongs to.
    #[must_use]
    pub fn kind(&self) -> FamilyKind {
        match self {
            Self::Counter => FamilyKind::Counter,
            Self::Gauge | Self::Combined(_) => FamilyKind::Gauge,
            Self::Histogram(_) => FamilyKind::Histogram,
            Self::Summary(_) => FamilyKind::Summary,
            Self::Set(_) => FamilyKind::Set,
        }
    }
}

/// Name, help and type of a family.
#[derive(Debug)]
pub struct Family {
    /// A legal metric name.
    pub name: Arc<str>,
    /// The help text, unescaped.
    pub help: Arc<str>,
    /// Its type.
    pub kind: FamilyKind,
}

/// A series that a lane needs a cell for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `name` or `name{key="value",…}`, sorted and escaped.
    pub text: &'a str,
    /// The family's name.
    pub name: &'a str,
    /// The label names, each followed by a comma: what the reference calls a vector.
    pub label_names: &'a str,
    /// What the series is made of.
    pub spec: &'a SeriesSpec,
    /// The help text; only the first one of a family counts.
    pub help: &'a str,
    /// The limits of its rule; without any it is let in however many there are.
    pub limits: Option<&'a RuleLimits>,
    /// How long the series lives without a sample; 0 for ever.
    pub ttl_millis: u64,
    /// Which reload the rules came with.
    pub generation: u64,
    /// The time.
    pub now_millis: u64,
}

impl<'a> Request<'a> {
    /// The labels as the text has them between its braces.
    fn labels(&self) -> &'a str {
        let braces = self.text.get(self.name.len()..).unwrap_or_default();
        braces.strip_prefix('{').and_then(|open| open.strip_suffix('}')).unwrap_or_default()
    }
}

/// The name belongs to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// Why a series is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name, or a name that the family's samples would have, belongs to a family of another
    /// type. The first one wins, as in the reference.
    Conflict,
    /// There are too many.
    Limited(Excess),
}

impl From<Conflict> for Refusal {
    fn from(_: Conflict) -> Self {
        Self::Conflict
    }
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        Self::Limited(excess)
    }
}

/// All families and series of the process.
#[derive(Debug)]
pub struct Registry {
    compat: Compat,
    index: DashSet<ByText, RandomState>,
    families: Mutex<Families>,
    shared: SharedCells,
    lanes: Mutex<Vec<LaneReader>>,
    view: ArcSwap<View>,
    /// When series may be idle; only housekeeping asks.
    wheel: Mutex<Wheel>,
    /// Held while a view is made out of the changes since the last one.
    merging: Mutex<()>,
    /// Held by every scrape under way; a new one is laid out whenever series retire.
    token: Mutex<Arc<()>>,
    /// Vectors there are, by kind: `statsd_exporter_metrics_total`.
    vectors: [AtomicU64; FamilyKind::ALL.len()],
    /// How many families have begun anew.
    restarts: AtomicU64,
    /// When scrapes began, as far as expiry needs it.
    scraped: ScrapeClock,
}

impl Registry {
    /// An empty registry; `own_names` are the families that no client may use.
    #[must_use]
    pub fn new(compat: Compat, own_names: impl IntoIterator<Item = String>) -> Self {
        Self {
            compat,
            index: DashSet::default(),
            families: Mutex::new(Families::new(own_names)),
            shared: SharedCells::new(compat.is_reference()),
            lanes: Mutex::default(),
            view: ArcSwap::default(),
            wheel: Mutex::default(),
            merging: Mutex::default(),
            token: Mutex::default(),
            vectors: Default::default(),
            restarts: AtomicU64::new(0),
            scraped: ScrapeClock::default(),
        }
    }

    /// The cells of one more lane.
    #[must_use]
    pub fn lane(&self) -> LaneCells {
        let cells = LaneCells::new(&self.shared);
        self.lanes.lock().push(cells.reader());
        cells
    }

    /// Makes sure that a lane has a cell of its own for a series.
    pub fn adopt(&self, lane: &mut LaneCells, series: &Series) {
        let spec = self.shared.spec(series.cell.column);
        lane.adopt(series.cell, spec.as_ref(), series.created_millis);
    }

    /// The series for a request, made if there is none.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn series(&self, request: &Request<'_>) -> Result<Series, Refusal> {
        if let Some(known) = self.index.get(request.text.as_bytes()).map(|entry| entry.0.clone())
            && known.cell.column.kind() == request.spec.kind()
            && self.is_current(&known, request)
        {
            return Ok(known);
        }
        self.register(request)
    }

    /// Whether a known series needs nothing from the registry's lock.
    fn is_current(&self, known: &Series, request: &Request<'_>) -> bool {
        if known.is_restored() {
            return request.generation == saved::RESTORED_GENERATION;
        }
        self.compat.is_reference()
            || (known.ttl_millis() == request.ttl_millis
                && self.shared.spec(known.cell.column).is_none_or(|spec| spec == *request.spec))
    }

    fn register(&self, request: &Request<'_>) -> Result<Series, Refusal> {
        if !self.compat.is_reference() {
            self.restart_if_reloaded(request);
        }
        if let Some(limits) = request.limits.filter(|limits| limits.has_values()) {
            self.count_values(request, limits);
        }
        let mut families = self.families.lock();
        if let Some(known) = self.known(&mut families, request)? {
            return Ok(known);
        }
        families.check_name(request.name, request.spec.kind())?;
        families.check_room(request, |families| {
            let view = self.view.load();
            limits::guilty(families.live(request.name, &view))
        })?;
        Ok(self.add(&mut families, request))
    }

    /// The series for a request if there is one, and saves it if it is about to expire.
    fn known(
        &self,
        families: &mut Families,
        request: &Request<'_>,
    ) -> Result<Option<Series>, Conflict> {
        if let Some(series) = families.rescue(request.text) {
            self.index.insert(ByText(series));
        }
        let known = self.index.get(request.text.as_bytes()).map(|entry| entry.0.clone());
        let Some(known) = known else { return Ok(None) };
        if known.cell.column.kind() != request.spec.kind() {
            return Err(Conflict);
        }
        if !self.compat.is_reference() {
            families.set_ttl(&known, request.ttl_millis);
        }
        families.confirm(&known, request);
        Ok(Some(known))
    }

    /// Makes the series for a request.
    fn add(&self, families: &mut Families, request: &Request<'_>) -> Series {
        let (vector, is_new) = families.vector(request, &self.shared);
        if is_new {
            self.count_vector(request.spec.kind(), 1);
        }
        families.count_values_anew(request);
        let series = Series::new(request, families.cell(vector));
        families.add(&series);
        self.index.insert(ByText(series.clone()));
        series
    }

    /// Begins a family anew whose buckets or quantiles a reload has changed, or which was restored
    /// and is of another type by now.
    ///
    /// Only the first sample after a reload may do so: two rules that quarrel over one family
    /// would otherwise restart it with every sample.
    fn restart_if_reloaded(&self, request: &Request<'_>) {
        if !self.families.lock().is_outdated(request, &self.shared) {
            return;
        }
        // While no other view can be made, this one and the pending changes hold all series.
        let _merging = self.merging.lock();
        let view = self.view.load_full();
        let mut families = self.families.lock();
        if !families.is_outdated(request, &self.shared) {
            return;
        }
        let mut old: Vec<Series> = families.pending(request.name);
        old.extend(view.series_of(request.name).cloned());
        let leftovers = families.restart(request);
        self.discount_vectors(leftovers.kind, leftovers.vectors);
        let mut retired = leftovers.expiring;
        for series in old {
            let known =
                self.index.remove_if(series.text().as_bytes(), |known| known.0.is_same(&series));
            retired.extend(known.map(|known| known.0));
        }
        tracing::info!(
            family = request.name,
            series = retired.len(),
            "Family begins anew: its mapping has another type, other buckets or quantiles."
        );
        families.retire(retired);
        // Release: who reads the new number finds no old series in the index.
        self.restarts.fetch_add(1, Ordering::Release);
    }

    /// How many families have begun anew, leaving series behind that lanes may still know.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Acquire)
    }

    fn count_vector(&self, kind: FamilyKind, n: u64) {
        if let Some(count) = self.vectors.get(kind as usize) {
            count.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// `statsd_exporter_metrics_total`: how many pairs of name and label names there have been.
    pub fn vectors(&self) -> impl Iterator<Item = (FamilyKind, u64)> {
        FamilyKind::ALL
            .into_iter()
            .zip(&self.vectors)
            .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
    }

    /// Has lanes fill native buckets from now on, for the families that have them.
    ///
    /// The reference fills them for every user with a mapping file; they cost memory that only
    /// scrapes by protobuf have a use for.
    pub fn start_native(&self) {
        self.shared.native.store(true, Ordering::Relaxed);
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// How many series there are with those that other sources keep.
    #[must_use]
    pub fn len_of_all(&self) -> usize {
        self.index.len() + self.families.lock().elsewhere
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The families and series as of now, in order.
    fn view(&self) -> Arc<View> {
        let _merging = self.merging.lock();
        let changes = self.families.lock().take_changes();
        let old = self.view.load_full();
        if changes.is_empty() {
            return old;
        }
        let new = Arc::new(old.with(changes));
        self.view.store(Arc::clone(&new));
        new
    }

    /// Takes in what has changed since the last scrape, so that the next one finds little to do.
    pub fn refresh(&self) {
        drop(self.view());
    }

    /// Everything a scrape needs. While it is held, no cell that it shows gets another owner.
    #[must_use]
    pub fn read(&self, now_millis: u64) -> Reading {
        // The token first: whatever retires after this waits for it.
        let token = Arc::clone(&self.token.lock());
        let view = self.view();
        Reading { view, values: self.values(now_millis), _token: token }
    }

    fn values(&self, now_millis: u64) -> Values {
        let lanes = self.lanes.lock().iter().map(LaneValues::of).collect();
        Values::new(lanes, &self.shared, now_millis)
    }
}

/// The families, series and values of one scrape.
#[derive(Debug)]
pub struct Reading {
    /// Families and series, in order.
    pub view: Arc<View>,
    /// Their values, as they are when they are looked at.
    pub values: Values,
    _token: Arc<()>,
}

/// A map with the project's hash.
pub(crate) type FastMap<K, V> = HashMap<K, V, RandomState>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::expiry::Reclaim;

    struct Bench {
        registry: Registry,
        lane: LaneCells,
    }

    impl Bench {
        fn new(compat: Compat) -> Self {
            let registry = Registry::new(compat, ["own_total".to_owned()]);
            let lane = registry.lane();
            Self { registry, lane }
        }

        fn request(&self, text: &str, spec: &SeriesSpec, now: u64) -> Result<Series, Refusal> {
            let name = text.split('{').next().unwrap_or_default();
            self.registry.series(&Request {
                text,
                name,
                label_names: "",
                spec,
                help: "h",
                limits: None,
                ttl_millis: 1000,
                generation: 1,
                now_millis: now,
            })
        }

        /// A histogram of one bucket, as the rules of a generation ask for it.
        fn histogram(&self, text: &str, bound: f64, generation: u64) -> Series {
            let spec = HistogramSpec { bounds: Box::new([bound]), native: None };
            let request = Request {
                text,
                name: text.split('{').next().unwrap_or_default(),
                label_names: "",
                spec: &SeriesSpec::Histogram(Arc::new(spec)),
                help: "h",
                limits: None,
                ttl_millis: 1000,
                generation,
                now_millis: 0,
            };
            self.registry.series(&request).unwrap()
        }

        fn count(&mut self, text: &str, now: u64) {
            let series = self.request(text, &SeriesSpec::Counter, now).unwrap();
            self.registry.adopt(&mut self.lane, &series);
            self.lane.increment(series.cell.id, 1.0, now);
        }

        fn page(&self, now: u64) -> Vec<(String, f64)> {
            let reading = self.registry.read(now);
            let families = reading.view.families().iter();
            let series = families.flat_map(|family| family.series());
            let value = |id| reading.values.counter(id);
            series.map(|series| (series.text().to_owned(), value(series.cell.id))).collect()
        }

        /// One round of expiry, as housekeeping does it.
        fn expire(&mut self, now: u64) -> Option<Reclaim> {
            let proposal = self.registry.propose_expiry(now)?;
            self.registry.end_expiry(&proposal, &[]);
            let reclaim = self.registry.reclaim(self.registry.take_retired()?).unwrap();
            for cell in &reclaim.cells {
                self.lane.clear(*cell);
            }
            self.registry.free(&reclaim);
            Some(reclaim)
        }
    }

    #[test]
    fn an_idle_series_waits_for_a_scrape_while_somebody_scrapes() {
        // Nobody has scraped yet: a plain ttl, of a second.
        check_held(&[], 2001, true);
        // Scraped since its sample at 1000, and not since.
        check_held(&[1500], 2001, true);
        check_held(&[900], 2001, false);
        check_held(&[900, 1500], 2001, true);
        check_held(&[900], 58_000, false);
        check_held(&[900], 62_000, true);
    }

    /// Whether a series whose sample came at 1000 has left at some time.
    #[track_caller]
    fn check_held(scrapes: &[u64], now: u64, leaves: bool) {
        for compat in [Compat::Extended, Compat::Reference] {
            let mut bench = Bench::new(compat);
            bench.count("a", 1000);
            for began in scrapes {
                bench.registry.scraped(*began);
                // The wheel looks at it in between, and keeps it.
                assert!(bench.expire(2000).is_none());
            }
            assert_eq!(bench.expire(now).is_some(), leaves || compat.is_reference(), "{compat:?}");
        }
    }

    #[test]
    fn a_series_that_was_held_leaves_after_the_next_scrape() {
        let mut bench = Bench::new(Compat::Extended);
        bench.registry.scraped(900);
        bench.count("a", 1000);
        for now in [2500, 5000, 30_000] {
            assert!(bench.expire(now).is_none());
        }
        bench.registry.scraped(30_000);
        assert!(bench.expire(30_001).is_some());
    }

    #[test]
    fn a_counter_that_returns_has_a_new_created_time() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 1000);
        assert!(bench.expire(3000).is_some());
        bench.count("a", 5000);
        let reading = bench.registry.read(5000);
        let created = reading.view.families()[0].series().next().map(|one| one.created_millis);
        assert_eq!(created, Some(5000));
        assert_eq!(bench.page(5000), [("a".to_owned(), 1.0)]);
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the tables below stay readable")]
    fn check_conflict(first: (&str, SeriesSpec), second: (&str, SeriesSpec), conflicts: bool) {
        let bench = Bench::new(Compat::Extended);
        bench.request(first.0, &first.1, 0).unwrap();
        let result = bench.request(second.0, &second.1, 0);
        assert_eq!(result.is_err(), conflicts, "{first:?} then {second:?}");
    }

    #[test]
    fn the_first_type_of_a_name_wins() {
        use SeriesSpec::{Counter, Gauge, Set};
        check_conflict(("a", Counter), ("a{x=\"1\"}", Counter), false);
        check_conflict(("a", Counter), ("a", Gauge), true);
        check_conflict(("a", Gauge), ("a", Set(1)), true);
        // The reference's rule: X_sum is taken whenever X is there and is not a counter.
        check_conflict(("a", Gauge), ("a_sum", Counter), true);
        check_conflict(("a", Counter), ("a_sum", Gauge), false);
        check_conflict(("a", Set(1)), ("a_bucket", Counter), true);
    }

    #[test]
    fn a_histogram_takes_its_samples_names_too() {
        let histogram = || {
            let spec = HistogramSpec { bounds: Box::new([1.0]), native: None };
            SeriesSpec::Histogram(Arc::new(spec))
        };
        check_conflict(("a_sum", SeriesSpec::Counter), ("a", histogram()), true);
        check_conflict(("a", histogram()), ("a_count", SeriesSpec::Counter), true);
        check_conflict(("a", histogram()), ("a", histogram()), false);
        check_conflict(("a", histogram()), ("a_bucket", histogram()), true);
        check_conflict(("a_sum", histogram()), ("a", histogram()), true);
        check_conflict(("a_total", histogram()), ("a", histogram()), false);
    }

    #[test]
    fn a_name_of_our_own_is_never_a_clients() {
        let bench = Bench::new(Compat::Extended);
        assert!(bench.request("own_total", &SeriesSpec::Counter, 0).is_err());
    }

    #[test]
    fn series_come_sorted_however_they_were_made() {
        let mut bench = Bench::new(Compat::Extended);
        for text in ["b", "a{x=\"2\"}", "c", "a{x=\"1\"}"] {
            bench.count(text, 0);
        }
        let texts = |page: Vec<(String, f64)>| {
            page.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(texts(bench.page(0)), r#"a{x="1"} a{x="2"} b c"#);
        bench.count("a{x=\"15\"}", 0);
        bench.count("aa", 0);
        assert_eq!(texts(bench.page(0)), r#"a{x="1"} a{x="15"} a{x="2"} aa b c"#);
    }

    #[test]
    fn an_idle_series_goes_and_its_cell_begins_at_zero_for_the_next() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 0);
        bench.count("b", 900);
        assert!(bench.registry.propose_expiry(1000).is_none(), "a lives for a second");
        let reclaim = bench.expire(1001).unwrap();
        assert_eq!(reclaim.cells.len(), 1);
        assert_eq!(bench.page(1001), [("b".to_owned(), 1.0)]);
        bench.count("c", 1002);
        assert_eq!(bench.page(1002), [("b".to_owned(), 1.0), ("c".to_owned(), 1.0)]);
        assert_eq!(bench.request("c", &SeriesSpec::Counter, 1002).unwrap().cell, reclaim.cells[0]);
    }

    #[test]
    fn a_sample_that_comes_during_expiry_saves_the_series() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 0);
        let proposal = bench.registry.propose_expiry(1001).unwrap();
        bench.count("a", 1002);
        bench.registry.end_expiry(&proposal, &[]);
        assert_eq!(bench.page(1003), [("a".to_owned(), 2.0)]);
        assert!(bench.registry.take_retired().is_none());
    }

    #[test]
    fn a_lane_that_saw_a_sample_vetoes() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 0);
        let proposal = bench.registry.propose_expiry(1001).unwrap();
        bench.registry.end_expiry(&proposal, &[0]);
        assert_eq!(bench.page(1003), [("a".to_owned(), 1.0)]);
        bench.count("a", 1004);
        assert_eq!(bench.page(1004), [("a".to_owned(), 2.0)]);
    }

    #[test]
    fn no_cell_changes_hands_while_a_scrape_looks_at_it() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 0);
        let slow_scrape = bench.registry.read(500);
        let proposal = bench.registry.propose_expiry(1001).unwrap();
        bench.registry.end_expiry(&proposal, &[]);
        let retired = bench.registry.take_retired().unwrap();
        let retired = bench.registry.reclaim(retired).unwrap_err();
        drop(slow_scrape);
        assert!(bench.registry.reclaim(retired).is_ok());
    }

    #[test]
    fn an_expired_name_is_free_unless_the_reference_binds_it() {
        for (compat, is_free) in [(Compat::Extended, true), (Compat::Reference, false)] {
            let mut bench = Bench::new(compat);
            bench.count("a", 0);
            bench.expire(1001).unwrap();
            let gauge = bench.request("a", &SeriesSpec::Gauge, 1002);
            assert_eq!(gauge.is_ok(), is_free, "{compat:?}");
        }
    }

    #[test]
    fn a_reload_with_other_buckets_begins_the_family_anew_once() {
        let bench = Bench::new(Compat::Extended);
        let spec = |bound| {
            let spec = HistogramSpec { bounds: Box::new([bound]), native: None };
            SeriesSpec::Histogram(Arc::new(spec))
        };
        let request = |spec: &SeriesSpec, generation| {
            let request = Request {
                text: "h",
                name: "h",
                label_names: "",
                spec,
                help: "",
                limits: None,
                ttl_millis: 0,
                generation,
                now_millis: 0,
            };
            bench.registry.series(&request).unwrap().cell
        };
        let old = request(&spec(1.0), 0);
        assert_eq!(request(&spec(2.0), 0), old, "another rule does not restart a family");
        let new = request(&spec(2.0), 1);
        assert_ne!(new.column, old.column);
        assert_eq!(request(&spec(1.0), 1), new, "nor do two rules of one file take turns");
        assert_eq!(bench.registry.read(0).view.families()[0].series().count(), 1);
    }

    #[test]
    fn a_freed_name_has_its_new_type_on_the_very_next_page() {
        let mut bench = Bench::new(Compat::Extended);
        bench.count("a", 0);
        assert_eq!(bench.page(0).len(), 1);
        let proposal = bench.registry.propose_expiry(1001).unwrap();
        bench.registry.end_expiry(&proposal, &[]);
        bench.request("a", &SeriesSpec::Gauge, 1002).unwrap();
        let reading = bench.registry.read(1002);
        assert_eq!(reading.view.families()[0].family.kind, FamilyKind::Gauge);
    }

    #[test]
    fn a_series_whose_ttl_comes_and_goes_expires_once() {
        let bench = Bench::new(Compat::Extended);
        let request = |ttl_millis| {
            let request = Request {
                text: "a",
                name: "a",
                label_names: "",
                spec: &SeriesSpec::Counter,
                help: "",
                limits: None,
                ttl_millis,
                generation: 1,
                now_millis: 0,
            };
            bench.registry.series(&request).unwrap()
        };
        for ttl_millis in [1000, 0, 1000, 0] {
            request(ttl_millis);
        }
        let old = request(1000);
        let proposal = bench.registry.propose_expiry(1001).unwrap();
        assert_eq!(proposal.series.len(), 1);
        bench.registry.end_expiry(&proposal, &[]);
        assert!(!Series::is_same(&request(1000), &old), "what is gone takes no sample");
    }

    #[test]
    fn a_series_that_left_with_its_familys_old_buckets_does_not_expire_as_well() {
        let bench = Bench::new(Compat::Extended);
        let old = bench.histogram("h", 1.0, 0);
        let new = bench.histogram("h", 2.0, 1);
        let mut idle = vec![old];
        bench.registry.begin_expiry(&mut idle);
        assert!(idle.is_empty(), "its cell would be given back twice");
        assert!(Series::is_same(&bench.histogram("h", 2.0, 1), &new));
    }

    #[test]
    fn a_restart_counts_its_vectors_once() {
        let bench = Bench::new(Compat::Extended);
        bench.histogram("h", 1.0, 0);
        bench.histogram("h", 2.0, 1);
        let vectors: u64 = bench.registry.vectors().map(|(_, count)| count).sum();
        assert_eq!(vectors, 1);
    }

    #[test]
    fn a_restart_is_final_for_series_that_lanes_are_asked_about() {
        for vetoed in [&[][..], &[0]] {
            let bench = Bench::new(Compat::Extended);
            let old = bench.histogram("h{a=\"1\"}", 1.0, 0);
            let proposal = bench.registry.propose_expiry(1001).unwrap();
            bench.histogram("h{a=\"2\"}", 2.0, 1);
            let new = bench.histogram("h{a=\"1\"}", 2.0, 1);
            assert_ne!(new.cell, old.cell);
            bench.registry.end_expiry(&proposal, vetoed);
            assert!(Series::is_same(&bench.histogram("h{a=\"1\"}", 2.0, 1), &new));
            let reading = bench.registry.read(1002);
            assert_eq!(reading.view.families()[0].series().count(), 2);
        }
    }
}
