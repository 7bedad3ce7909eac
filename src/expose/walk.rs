//! The one walk over the families that every format shares.

use std::hint::black_box;
use std::iter::Peekable;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::own::{self, OwnFamily};
use super::{Family, FamilyKind, Joined, Page, Series, Value};
use crate::aggregate::cells::ColumnId;
use crate::aggregate::histogram::HistogramValue;
use crate::aggregate::view::FamilyView;
use crate::aggregate::{self, Reading, SeriesSpec};
use crate::multiproc::layout::{FamilyLayout, Merged, Parts, SeriesLayout};

/// How long a reading is kept. As long as somebody does, no expired cell can be used again, so a
/// client that reads slowly gets the rest of its page from a later one.
const READING_LIFE: Duration = Duration::from_secs(5);

/// A walk under way.
struct Walk<'a, 'p> {
    page: &'a mut Page<'p>,
    own: Peekable<slice::Iter<'a, OwnFamily>>,
    files: Peekable<slice::Iter<'a, Arc<FamilyLayout>>>,
    joined: &'a Joined,
    /// When the process' clock began, in milliseconds since 1970.
    start_unix_millis: u64,
    histogram: HistogramValue,
    quantiles: Vec<(f64, f64)>,
}

/// Where a walk stands in a family when its reading has become old.
struct Place {
    family: Arc<aggregate::Family>,
    after: aggregate::Series,
}

/// What one reading gives, and until when.
struct Stage<'a> {
    reading: &'a Reading,
    end: Instant,
    /// Whether it is the one that was joined with the files.
    is_first: bool,
}

/// What is on a page besides the families of clients.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Our own families, sorted by name.
    pub own: &'a [OwnFamily],
    /// What workers' files hold, joined with the first reading.
    pub joined: &'a Joined,
    /// When the process' clock began, in milliseconds since 1970.
    pub start_unix_millis: u64,
}

/// Writes the clients' families and our own, sorted by name, until done or nobody listens.
pub fn walk(
    read: impl Fn() -> Reading,
    own: &[OwnFamily],
    start_unix_millis: u64,
    page: &mut Page<'_>,
) {
    let joined = Joined::default();
    walk_joined(read(), read, Beside { own, joined: &joined, start_unix_millis }, page);
}

/// Writes the families of all sources, sorted by name, until done or nobody listens; `read` gives
/// another reading when the first one has become old.
pub fn walk_joined(
    first: Reading,
    read: impl Fn() -> Reading,
    beside: Beside<'_>,
    page: &mut Page<'_>,
) {
    walk_in_stages(first, read, beside, (page, READING_LIFE));
}

fn walk_in_stages(
    mut reading: Reading,
    read: impl Fn() -> Reading,
    Beside { own, joined, start_unix_millis }: Beside<'_>,
    (page, life): (&mut Page<'_>, Duration),
) {
    let (view, files) = (Arc::clone(&reading.view), Arc::clone(joined.files()));
    page.set_families(Arc::new(move |name| {
        let is_in_files = || files.binary_search_by(|family| (*family.name).cmp(name)).is_ok();
        own::NAMES.contains(&name) || view.family(name).is_some() || is_in_files()
    }));
    let (own, files) = (own.iter().peekable(), joined.files().iter().peekable());
    let (histogram, quantiles) = (HistogramValue::default(), Vec::new());
    let mut walk = Walk { page, own, files, joined, start_unix_millis, histogram, quantiles };
    let mut place = None;
    let mut is_first = true;
    loop {
        let stage = Stage { reading: &reading, end: Instant::now() + life, is_first };
        place = walk.families(&stage, place);
        if place.is_none() {
            break;
        }
        reading = read();
        is_first = false;
    }
    // Nobody has to wait for cells of a reading that nothing more is taken from.
    drop(reading);
    walk.others_before(None);
}

impl Walk<'_, '_> {
    /// Writes families until the last one, or until the reading is old.
    fn families(&mut self, stage: &Stage<'_>, place: Option<Place>) -> Option<Place> {
        let mut families = stage.reading.view.families();
        if let Some(place) = place {
            let name = &place.family.name;
            let at = families.partition_point(|view| view.family.name < *name);
            let rest = families.get(at..).unwrap_or_default();
            let same = rest.first().filter(|view| view.family.name == *name);
            families = rest.get(usize::from(same.is_some())..).unwrap_or_default();
            // If it has begun anew as another type, the new one waits for the next page.
            match same.filter(|view| view.family.kind == place.family.kind) {
                Some(view) => {
                    let place = self.rest_of_family(stage, view, Some(&place.after));
                    if place.is_some() {
                        return place;
                    }
                }
                None => {
                    self.page.end(&head(&place.family));
                }
            }
        }
        for view in families {
            self.others_before(Some(&view.family.name));
            let is_shown = self.joined.shows(&view.family)
                && (stage.is_first || self.joined.has_room_for(&view.family));
            if is_shown && has_values(stage.reading, view) && self.page.begin(&head(&view.family)) {
                let place = self.rest_of_family(stage, view, None);
                if place.is_some() {
                    return place;
                }
            }
            if !self.page.is_open() {
                return None;
            }
        }
        None
    }

    /// Writes the series after one of them, and closes the family if it came to the end.
    fn rest_of_family(
        &mut self,
        stage: &Stage<'_>,
        view: &FamilyView,
        after: Option<&aggregate::Series>,
    ) -> Option<Place> {
        let family = head(&view.family);
        let is_done = |series: &aggregate::Series| {
            after.is_some_and(|after| series.labels() <= after.labels())
        };
        let blocks = view.blocks().skip_while(|block| block.last().is_none_or(is_done));
        for block in blocks {
            black_box(stage.reading.values.look_ahead(block));
            for series in block.iter().skip_while(|series| is_done(series)) {
                self.series(stage.reading, &family, series);
                if !self.page.is_open() {
                    return None;
                }
            }
            if let Some(last) = block.last().filter(|_| Instant::now() >= stage.end) {
                return Some(Place { family: Arc::clone(&view.family), after: last.clone() });
            }
        }
        self.page.end(&family);
        None
    }

    /// A time on the process' clock, in seconds since 1970. Whole milliseconds are added, so that a
    /// successor whose clock is this one writes the same digits.
    fn seconds(&self, millis: u64) -> f64 {
        self.start_unix_millis.saturating_add(millis) as f64 / 1000.0
    }

    /// Writes our own families and those of files that come before a name, or all that are left.
    fn others_before(&mut self, name: Option<&str>) {
        let is_before = |other: &str| name.is_none_or(|name| other < name);
        while self.page.is_open() {
            let own = self.own.peek().map(|own| own.name);
            let file = self.files.peek().map(|file| &*file.name);
            if file.is_some_and(|file| is_before(file) && own.is_none_or(|own| file < own)) {
                self.files.next().into_iter().for_each(|file| self.file_family(file));
            } else if let Some(own) = self.own.next_if(|own| is_before(own.name)) {
                self.own_family(own);
            } else {
                break;
            }
        }
    }

    fn file_family(&mut self, layout: &FamilyLayout) {
        let family = Family { name: &layout.name, help: &layout.help, kind: kind(layout.kind) };
        if !self.page.begin(&family) {
            return;
        }
        for series in &layout.series {
            self.file_series(&family, series);
            if !self.page.is_open() {
                return;
            }
        }
        self.page.end(&family);
    }

    fn file_series(&mut self, family: &Family<'_>, series: &SeriesLayout) {
        let Some(merged) = self.joined.snapshot().merged(series, &mut self.histogram) else {
            return;
        };
        let value = match (merged, &series.parts) {
            (Merged::Number(value), _) => Value::Number(value),
            (Merged::Histogram, Parts::Histogram(buckets)) => {
                Value::Histogram { bounds: &buckets.bounds, value: &self.histogram }
            }
            (Merged::Histogram, _) => return,
            (Merged::Summary { sum, count }, _) => Value::Summary { quantiles: &[], sum, count },
        };
        let created_seconds = self.seconds(series.created_millis);
        let labels = series.labels.as_bytes();
        self.page.series(family, &Series { labels, created_seconds, value });
    }

    fn own_family(&mut self, own: &OwnFamily) {
        let family = Family { name: own.name, help: own.help, kind: own.kind };
        if !self.page.begin(&family) {
            return;
        }
        for (labels, value) in &own.series {
            let value = Value::Number(*value);
            let labels = labels.as_bytes();
            let series = Series { labels, created_seconds: self.seconds(0), value };
            self.page.series(&family, &series);
        }
        self.page.end(&family);
    }

    fn series(&mut self, reading: &Reading, family: &Family<'_>, series: &aggregate::Series) {
        let values = &reading.values;
        let cell = series.cell;
        let value = match cell.column {
            ColumnId::Counter => Value::Number(values.counter(cell.id)),
            ColumnId::Gauge => Value::Number(values.gauge(cell.id)),
            ColumnId::Combined(layout) => match values.combined(cell.id, layout) {
                Some(value) => Value::Number(value),
                None => return,
            },
            ColumnId::Set(layout) => Value::Number(values.set(series, layout)),
            ColumnId::Histogram(_) => {
                let Some(SeriesSpec::Histogram(spec)) = values.spec(cell.column) else { return };
                values.histogram(cell, self.page.shows_native(), &mut self.histogram);
                Value::Histogram { bounds: &spec.bounds, value: &self.histogram }
            }
            ColumnId::Summary(layout) => {
                let Some(SeriesSpec::Summary(spec)) = values.spec(cell.column) else { return };
                let mut merge = values.summary(series, layout);
                self.quantiles.clear();
                let quantiles = spec.quantiles.iter().map(|(q, _)| (*q, merge.quantile(*q)));
                self.quantiles.extend(quantiles);
                let quantiles = &self.quantiles;
                Value::Summary { quantiles, sum: merge.sum, count: merge.count }
            }
        };
        let created_seconds = self.seconds(series.created_millis);
        self.page.series(family, &Series { labels: series.labels(), created_seconds, value });
    }
}

/// Whether any series of a family has a value to show.
pub(super) fn has_values(reading: &Reading, view: &FamilyView) -> bool {
    view.series().any(|series| reading.values.has_value(series))
}

/// A family as the encoders see it.
fn head(family: &aggregate::Family) -> Family<'_> {
    Family { name: &family.name, help: &family.help, kind: kind(family.kind) }
}

fn kind(kind: aggregate::FamilyKind) -> FamilyKind {
    match kind {
        aggregate::FamilyKind::Counter => FamilyKind::Counter,
        aggregate::FamilyKind::Gauge | aggregate::FamilyKind::Set => FamilyKind::Gauge,
        aggregate::FamilyKind::Histogram => FamilyKind::Histogram,
        aggregate::FamilyKind::Summary => FamilyKind::Summary,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::aggregate::{Registry, Request};
    use crate::compat::Compat;
    use crate::expose::joined::First;
    use crate::expose::negotiate::Format;
    use crate::multiproc::Snapshot;
    use crate::multiproc::made::{Made, snapshot};

    #[test]
    fn a_page_from_several_readings_is_whole() {
        for counts in [&[1][..], &[0], &[500, 3, 64, 128, 1]] {
            let registry = registry(counts);
            let (page, readings) = check(&registry, READING_LIFE, |_| {});
            assert_eq!(readings, 1);
            let blocks: usize = counts.iter().map(|count: &usize| count.div_ceil(64)).sum();
            assert_eq!(check(&registry, Duration::ZERO, |_| {}), (page, 1 + blocks));
        }
    }

    #[test]
    fn what_leaves_between_two_readings_is_left_out() {
        let registry = registry(&[100, 2]);
        let (page, _) = check(&registry, Duration::ZERO, |reading| {
            if reading == 1 {
                let proposal = registry.propose_expiry(10_000).unwrap();
                registry.end_expiry(&proposal, &[]);
            }
        });
        assert_eq!(page.matches("# TYPE").count(), 1);
        assert_eq!(page.lines().count(), 64 + 2);
    }

    #[test]
    fn a_family_that_comes_between_two_readings_is_not_shown_beside_one_of_the_files() {
        let registry = registry(&[100]);
        let files = snapshot(&[("f1", "", Made::Gauge(7.0)), ("f3", "", Made::Summary(1.0, 1.0))]);
        let (page, _) = staged(&registry, files, Duration::ZERO, |reading| {
            if reading == 1 {
                for name in ["f1", "f2", "f3_sum"] {
                    add(&registry, name, 0);
                }
            }
        });
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        assert_eq!(
            types.collect::<Vec<_>>(),
            ["f0 counter", "f1 gauge", "f2 counter", "f3 summary"]
        );
    }

    #[test]
    fn files_families_stand_among_the_others_in_every_format() {
        let registry = registry(&[1, 1]);
        let files = snapshot(&[
            ("a_total", "app=\"x\"", Made::Counter(2.0)),
            ("f0_h", "k=\"a\"", Made::Histogram(&[0.5], &[1.0, 2.0], 2.5)),
            ("f0_h", "k=\"b\"", Made::Histogram(&[1.0, 2.0], &[0.0, 0.0, 1.0], 9.0)),
            ("f0_h", "k=\"c\"", Made::Absent),
            ("f0_s", "", Made::Summary(1.5, 3.0)),
            ("f1", "", Made::Gauge(9.0)),
            ("z", "", Made::Gauge(4.0)),
        ]);
        let own = ["b", "y"].map(|name| OwnFamily {
            name,
            help: "Own.",
            kind: FamilyKind::Gauge,
            series: vec![(String::new(), 1.0)],
        });
        let text = joined_page(&registry, files.clone(), &own, Format::Text);
        let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(shown, TEXT.lines().collect::<Vec<_>>());
        let openmetrics = joined_page(&registry, files.clone(), &own, Format::OpenMetrics);
        assert!(
            openmetrics.contains("# TYPE a counter\na_total{app=\"x\"} 2.0\n"),
            "{openmetrics}"
        );
        assert!(openmetrics.contains("a_created{app=\"x\"} 1.5\n"), "{openmetrics}");
        assert!(!joined_page(&registry, files, &own, Format::Protobuf).is_empty());
    }

    const TEXT: &str = r#"# TYPE a_total counter
a_total{app="x"} 2
# TYPE b gauge
b 1
# TYPE f0 counter
f0{n="0"} 0
# TYPE f0_h histogram
f0_h_bucket{k="a",le="0.5"} 1
f0_h_bucket{k="a",le="+Inf"} 3
f0_h_sum{k="a"} 2.5
f0_h_count{k="a"} 3
f0_h_bucket{k="b",le="1"} 0
f0_h_bucket{k="b",le="2"} 0
f0_h_bucket{k="b",le="+Inf"} 1
f0_h_sum{k="b"} 9
f0_h_count{k="b"} 1
# TYPE f0_s summary
f0_s_sum 1.5
f0_s_count 3
# TYPE f1 counter
f1{n="0"} 0
# TYPE y gauge
y 1
# TYPE z gauge
z 4
"#;

    /// The page of a registry, the first of two sources, and of files.
    fn joined_page(
        registry: &Registry,
        files: Snapshot,
        own: &[OwnFamily],
        format: Format,
    ) -> String {
        let first = registry.read(0);
        let joined = Joined::new(&first, files, First::Statsd);
        let mut written = Vec::new();
        let mut sink = |part: &mut Vec<u8>| {
            written.append(part);
            true
        };
        let mut page = Page::new(format.encoder(), &mut sink);
        let beside = Beside { own, joined: &joined, start_unix_millis: 1000 };
        walk_joined(first, || registry.read(0), beside, &mut page);
        assert!(page.finish());
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Families `f0`, `f1` … with so many series each, which live for a second.
    fn registry(counts: &[usize]) -> Registry {
        let registry = Registry::new(Compat::Extended, []);
        for (family, count) in counts.iter().enumerate() {
            (0..*count).for_each(|number| add(&registry, &format!("f{family}"), number));
        }
        registry
    }

    fn add(registry: &Registry, name: &str, number: usize) {
        let request = Request {
            text: &format!("{name}{{n=\"{number}\"}}"),
            name,
            label_names: "n,",
            spec: &SeriesSpec::Counter,
            help: "",
            limits: None,
            ttl_millis: 1000,
            generation: 1,
            now_millis: 0,
        };
        registry.series(&request).unwrap();
    }

    /// The page of readings that live so long, and their number; `before` sees the number of each.
    fn check(registry: &Registry, life: Duration, before: impl Fn(usize)) -> (String, usize) {
        staged(registry, Snapshot::default(), life, before)
    }

    /// The same with what files hold.
    fn staged(
        registry: &Registry,
        files: Snapshot,
        life: Duration,
        before: impl Fn(usize),
    ) -> (String, usize) {
        let readings = Cell::new(0);
        let read = || {
            before(readings.get());
            readings.set(readings.get() + 1);
            registry.read(0)
        };
        let mut written = Vec::new();
        let mut sink = |part: &mut Vec<u8>| {
            written.append(part);
            true
        };
        let mut page = Page::new(Format::Text.encoder(), &mut sink);
        let first = read();
        let joined = Joined::new(&first, files, First::Statsd);
        let beside = Beside { own: &[], joined: &joined, start_unix_millis: 0 };
        walk_in_stages(first, read, beside, (&mut page, life));
        assert!(page.finish());
        (String::from_utf8(written).unwrap(), readings.get())
    }
}
