//! `OpenMetrics` 1.0.0.
//!
//! Rules: <https://prometheus.io/docs/specs/om/open_metrics_spec/>. Its counters must be called
//! `…_total`, so a counter without that ending gets it, and the family's name loses it.

use std::sync::Arc;

use super::line::{ExtraLabels, write_escaped, write_head, write_head_with};
use super::number::{write_real, write_uint};
use super::{Encoder, Family, FamilyKind, Series, Value};
use crate::aggregate::histogram::HistogramValue;

/// Tells whether the page has a family of that name.
pub type HasFamily = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Writes `OpenMetrics`. Of a histogram it shows the classic buckets only.
///
/// `x` and `x_total`, legal neighbours elsewhere, are one family here when either is a counter.
/// Such a counter keeps its name and is said to be `unknown`: no series may vanish from the page.
pub struct OpenMetrics {
    has_family: HasFamily,
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

impl OpenMetrics {
    /// An encoder for a page whose families `has_family` knows.
    #[must_use]
    pub fn new(has_family: HasFamily) -> Self {
        Self {
            has_family,
            bounds: ExtraLabels::new("le", write_real),
            quantiles: ExtraLabels::new("quantile", write_real),
            names: Names::default(),
        }
    }

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

    fn buckets(
        &mut self,
        page: &mut Vec<u8>,
        labels: &str,
        (bounds, value): (&[f64], &HistogramValue),
    ) {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0;
        for (bound, count) in self.bounds.of(bounds).iter().zip(&value.counts) {
            cumulative += count;
            write_head_with(page, &self.names.family, "_bucket", labels, bound);
            write_uint(page, cumulative);
            page.push(b'\n');
        }
    }

    fn quantiles(&mut self, page: &mut Vec<u8>, labels: &str, values: &[(f64, f64)]) {
        let quantiles = self.quantiles.of(values.iter().map(|&(quantile, _)| quantile));
        for (quantile, &(_, value)) in quantiles.iter().zip(values) {
            write_head_with(page, &self.names.family, "", labels, quantile);
            write_value(page, value);
        }
    }

    fn totals(&self, page: &mut Vec<u8>, labels: &str, sum: f64, count: u64) {
        write_head(page, &self.names.family, "_sum", labels);
        write_value(page, sum);
        write_head(page, &self.names.family, "_count", labels);
        write_uint(page, count);
        page.push(b'\n');
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
    }

    fn series(&mut self, page: &mut Vec<u8>, _family: &Family<'_>, series: &Series<'_>) {
        match series.value {
            Value::Number(value) => {
                write_head(page, &self.names.family, self.names.suffix, series.labels);
                write_value(page, value);
            }
            Value::Histogram { bounds, value } => {
                self.buckets(page, series.labels, (bounds, value));
                self.totals(page, series.labels, value.sum, value.counts.iter().sum());
            }
            Value::Summary { quantiles, sum, count } => {
                self.quantiles(page, series.labels, quantiles);
                self.totals(page, series.labels, sum, count);
            }
        }
        if self.names.has_created {
            write_head(page, &self.names.family, "_created", series.labels);
            write_value(page, series.created_seconds);
        }
    }

    fn end(&mut self, _page: &mut Vec<u8>, _family: &Family<'_>) {}

    fn finish(&mut self, page: &mut Vec<u8>) {
        page.extend_from_slice(b"# EOF\n");
    }
}

fn write_value(page: &mut Vec<u8>, value: f64) {
    write_real(page, value);
    page.push(b'\n');
}
