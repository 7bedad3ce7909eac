//! `OpenMetrics` 1.0.0.
//!
//! Rules: <https://prometheus.io/docs/specs/om/open_metrics_spec/>. Its counters must be called
//! `…_total`, so a counter without that ending gets it, and the family's name loses it.

use std::sync::Arc;

use super::line::{ExtraLabels, Head, Room, write_escaped};
use super::number::write_real;
use super::{Encoder, Family, FamilyKind, Series, Value};

/// Tells whether the page has a family of that name.
pub type HasFamily = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Tells the unit of a family by its name.
pub type UnitOf = Arc<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

/// Writes `OpenMetrics`. Of a histogram it shows the classic buckets only.
///
/// `x` and `x_total`, legal neighbours elsewhere, are one family here when either is a counter.
/// Such a counter keeps its name and is said to be `unknown`: no series may vanish from the page.
pub struct OpenMetrics {
    has_family: HasFamily,
    unit_of: UnitOf,
    bounds: ExtraLabels,
    quantiles: ExtraLabels,
    names: Names,
}

/// What the family last begun is called.
#[derive(Debug, Default)]
struct Names {
    family: String,
    suffix: &'static str,
    has_created: bool,
}

impl std::fmt::Debug for OpenMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenMetrics").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Default for OpenMetrics {
    fn default() -> Self {
        Self {
            has_family: Arc::new(|_| false),
            unit_of: Arc::new(|_| None),
            bounds: ExtraLabels::new("le", write_real),
            quantiles: ExtraLabels::new("quantile", write_real),
            names: Names::default(),
        }
    }
}

impl OpenMetrics {
    /// Sets the names for `family` and returns what `# TYPE` says.
    fn name(&mut self, family: &Family<'_>) -> &'static str {
        let (name, kind) = self.counter_name(family);
        self.names.suffix = if kind == "counter" { "_total" } else { "" };
        self.names.family.clear();
        self.names.family.push_str(name);
        self.names.has_created =
            !matches!(kind, "gauge" | "unknown") && !(self.has_family)(&format!("{name}_created"));
        kind
    }

    fn counter_name<'a>(&self, family: &Family<'a>) -> (&'a str, &'static str) {
        let kind = match family.kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => return (family.name, "gauge"),
            FamilyKind::Histogram => return (family.name, "histogram"),
            FamilyKind::Summary => return (family.name, "summary"),
        };
        let (name, is_taken) = match family.name.strip_suffix("_total") {
            Some(base) if !base.is_empty() => (base, (self.has_family)(base)),
            _ => (family.name, (self.has_family)(&format!("{}_total", family.name))),
        };
        if is_taken { (family.name, "unknown") } else { (name, kind) }
    }

    /// Writes the unit of a family, if its name ends with it, as the format demands.
    fn put_unit(&self, page: &mut Vec<u8>, name: &str) {
        let Some(unit) = (self.unit_of)(name) else { return };
        let family = &self.names.family;
        if family.strip_suffix(&*unit).is_some_and(|rest| rest.ends_with('_')) {
            for part in ["# UNIT ", family, " ", &unit, "\n"] {
                page.extend_from_slice(part.as_bytes());
            }
        }
    }

    /// Bytes that the lines of a series beside its own labels' take; the longest suffix is `_created`.
    fn bytes(head: Head<'_>, labels: &ExtraLabels) -> usize {
        head.bytes(labels.len() + 3, labels.longest() + "_created".len())
    }
}

impl Encoder for OpenMetrics {
    fn begin(&mut self, page: &mut Vec<u8>, family: &Family<'_>) {
        let kind = self.name(family);
        page.extend_from_slice(b"# HELP ");
        page.extend_from_slice(self.names.family.as_bytes());
        page.push(b' ');
        write_escaped(page, family.help, Some(b'"'));
        page.extend_from_slice(b"\n# TYPE ");
        page.extend_from_slice(self.names.family.as_bytes());
        page.push(b' ');
        page.extend_from_slice(kind.as_bytes());
        page.push(b'\n');
        self.put_unit(page, family.name);
    }

    fn series(&mut self, page: &mut Vec<u8>, _family: &Family<'_>, series: &Series<'_>) {
        let head = Head { name: &self.names.family, labels: series.labels };
        let mut room = match series.value {
            Value::Number(value) => {
                let mut room = Room::new(page, head.bytes(2, "_created".len()));
                room.put_head(head, self.names.suffix);
                room.put_float(value, write_real);
                room
            }
            Value::Histogram { bounds, value } => {
                self.bounds.set(bounds.iter().copied().chain([f64::INFINITY]));
                let mut room = Room::new(page, Self::bytes(head, &self.bounds));
                let mut cumulative = 0;
                room.put_lines(head, "_bucket", &self.bounds, |room, i| {
                    cumulative += value.counts.get(i).copied().unwrap_or_default();
                    room.put_uint(cumulative);
                });
                put_totals(&mut room, head, value.sum, cumulative);
                room
            }
            Value::Summary { quantiles, sum, count } => {
                self.quantiles.set(quantiles.iter().map(|&(quantile, _)| quantile));
                let mut room = Room::new(page, Self::bytes(head, &self.quantiles));
                room.put_lines(head, "", &self.quantiles, |room, i| {
                    let value = quantiles.get(i).map_or(f64::NAN, |&(_, value)| value);
                    room.put_float(value, write_real);
                });
                put_totals(&mut room, head, sum, count);
                room
            }
        };
        if self.names.has_created {
            room.put_head(head, "_created");
            room.put_float(series.created_seconds, write_real);
        }
        room.close();
    }

    fn end(&mut self, _page: &mut Vec<u8>, _family: &Family<'_>) {}

    fn set_families(&mut self, has_family: HasFamily) {
        self.has_family = has_family;
    }

    fn set_units(&mut self, unit_of: UnitOf) {
        self.unit_of = unit_of;
    }

    fn finish(&mut self, page: &mut Vec<u8>) {
        page.extend_from_slice(b"# EOF\n");
    }
}

fn put_totals(room: &mut Room<'_>, head: Head<'_>, sum: f64, count: u64) {
    room.put_head(head, "_sum");
    room.put_float(sum, write_real);
    room.put_head(head, "_count");
    room.put_uint(count);
}
