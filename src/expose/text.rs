//! The Prometheus text format 0.0.4.
//!
//! Rules: <https://prometheus.io/docs/instrumenting/exposition_formats/>; where they leave a
//! choice, the page is byte for byte the one of `statsd_exporter` 0.31.

use super::line::{ExtraLabels, write_escaped, write_head, write_head_with};
use super::number::write_float;
use super::{Encoder, Family, FamilyKind, Series, Value};
use crate::aggregate::histogram::HistogramValue;

/// Writes the text format. Of a histogram it shows the classic buckets only.
#[derive(Debug)]
pub struct Text {
    bounds: ExtraLabels,
    quantiles: ExtraLabels,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bounds: ExtraLabels::new("le", write_float),
            quantiles: ExtraLabels::new("quantile", write_float),
        }
    }
}

impl Encoder for Text {
    fn begin(&mut self, page: &mut Vec<u8>, family: &Family<'_>) {
        page.extend_from_slice(b"# HELP ");
        page.extend_from_slice(family.name.as_bytes());
        page.push(b' ');
        write_escaped(page, family.help, None);
        page.extend_from_slice(b"\n# TYPE ");
        page.extend_from_slice(family.name.as_bytes());
        page.extend_from_slice(match family.kind {
            FamilyKind::Counter => b" counter\n",
            FamilyKind::Gauge => b" gauge\n",
            FamilyKind::Histogram => b" histogram\n",
            FamilyKind::Summary => b" summary\n",
        });
    }

    fn series(&mut self, page: &mut Vec<u8>, family: &Family<'_>, series: &Series<'_>) {
        match series.value {
            Value::Number(value) => {
                write_head(page, family.name, "", series.labels);
                write_value(page, value);
            }
            Value::Histogram { bounds, value } => {
                self.buckets(page, family.name, series.labels, (bounds, value));
                let count = value.counts.iter().sum();
                write_totals(page, family.name, series.labels, (value.sum, count));
            }
            Value::Summary { quantiles, sum, count } => {
                self.quantiles(page, family.name, series.labels, quantiles);
                write_totals(page, family.name, series.labels, (sum, count));
            }
        }
    }

    fn end(&mut self, _page: &mut Vec<u8>, _family: &Family<'_>) {}

    fn finish(&mut self, _page: &mut Vec<u8>) {}
}

impl Text {
    fn buckets(
        &mut self,
        page: &mut Vec<u8>,
        name: &str,
        labels: &str,
        (bounds, value): (&[f64], &HistogramValue),
    ) {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0;
        for (bound, count) in self.bounds.of(bounds).iter().zip(&value.counts) {
            cumulative += count;
            write_head_with(page, name, "_bucket", labels, bound);
            write_value(page, cumulative as f64);
        }
    }

    fn quantiles(&mut self, page: &mut Vec<u8>, name: &str, labels: &str, values: &[(f64, f64)]) {
        let quantiles = self.quantiles.of(values.iter().map(|&(quantile, _)| quantile));
        for (quantile, &(_, value)) in quantiles.iter().zip(values) {
            write_head_with(page, name, "", labels, quantile);
            write_value(page, value);
        }
    }
}

fn write_totals(page: &mut Vec<u8>, name: &str, labels: &str, (sum, count): (f64, u64)) {
    write_head(page, name, "_sum", labels);
    write_value(page, sum);
    write_head(page, name, "_count", labels);
    write_value(page, count as f64);
}

fn write_value(page: &mut Vec<u8>, value: f64) {
    write_float(page, value);
    page.push(b'\n');
}
