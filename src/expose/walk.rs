//! The one walk over the families that every format shares.

use std::hint::black_box;
use std::iter::Peekable;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::own::{self, OwnFamily};
use super::{Family, FamilyKind, Page, Series, Value};
use crate::aggregate::cells::ColumnId;
use crate::aggregate::histogram::HistogramValue;
use crate::aggregate::view::FamilyView;
use crate::aggregate::{self, Reading, SeriesSpec};

/// How long a reading is kept. As long as somebody does, no expired cell can be used again, so a
/// client that reads slowly gets the rest of its page from a later one.
const READING_LIFE: Duration = Duration::from_secs(5);

/// A walk under way.
struct Walk<'a, 'p> {
    page: &'a mut Page<'p>,
    own: Peekable<slice::Iter<'a, OwnFamily>>,
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
}

/// Writes the clients' families and our own, sorted by name, until done or nobody listens.
pub fn walk(
    read: impl Fn() -> Reading,
    own: &[OwnFamily],
    start_unix_millis: u64,
    page: &mut Page<'_>,
) {
    walk_in_stages(read, own, start_unix_millis, (page, READING_LIFE));
}

fn walk_in_stages(
    read: impl Fn() -> Reading,
    own: &[OwnFamily],
    start_unix_millis: u64,
    (page, life): (&mut Page<'_>, Duration),
) {
    let mut reading = read();
    let view = Arc::clone(&reading.view);
    page.set_families(Arc::new(move |name| {
        own::NAMES.contains(&name) || view.family(name).is_some()
    }));
    let own = own.iter().peekable();
    let (histogram, quantiles) = (HistogramValue::default(), Vec::new());
    let mut walk = Walk { page, own, start_unix_millis, histogram, quantiles };
    let mut place = None;
    loop {
        let stage = Stage { reading: &reading, end: Instant::now() + life };
        place = walk.families(&stage, place);
        if place.is_none() {
            break;
        }
        reading = read();
    }
    while let Some(own) = walk.own.next() {
        walk.own_family(own);
    }
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
            while let Some(before) = self.own.next_if(|own| *own.name < *view.family.name) {
                self.own_family(before);
            }
            if has_values(stage.reading, view) && self.page.begin(&head(&view.family)) {
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
fn has_values(reading: &Reading, view: &FamilyView) -> bool {
    view.series().any(|series| reading.values.has_value(series))
}

/// A family as the encoders see it.
fn head(family: &aggregate::Family) -> Family<'_> {
    Family {
        name: &family.name,
        help: &family.help,
        kind: match family.kind {
            aggregate::FamilyKind::Counter => FamilyKind::Counter,
            aggregate::FamilyKind::Gauge | aggregate::FamilyKind::Set => FamilyKind::Gauge,
            aggregate::FamilyKind::Histogram => FamilyKind::Histogram,
            aggregate::FamilyKind::Summary => FamilyKind::Summary,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::aggregate::{Registry, Request};
    use crate::compat::Compat;
    use crate::expose::negotiate::Format;

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

    /// Families `f0`, `f1` … with so many series each, which live for a second.
    fn registry(counts: &[usize]) -> Registry {
        let registry = Registry::new(Compat::Extended, []);
        for (family, count) in counts.iter().enumerate() {
            for number in 0..*count {
                let name = format!("f{family}");
                let request = Request {
                    text: &format!("{name}{{n=\"{number}\"}}"),
                    name: &name,
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
        }
        registry
    }

    /// The page of readings that live so long, and their number; `before` sees the number of each.
    fn check(registry: &Registry, life: Duration, before: impl Fn(usize)) -> (String, usize) {
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
        walk_in_stages(read, &[], 0, (&mut page, life));
        assert!(page.finish());
        (String::from_utf8(written).unwrap(), readings.get())
    }
}
