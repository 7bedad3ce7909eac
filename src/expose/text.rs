//! The Prometheus text format 0.0.4.
//!
//! Rules: <https://prometheus.io/docs/instrumenting/exposition_formats/>; where they leave a
//! choice, the page is byte for byte the one of `statsd_exporter` 0.31.

use super::line::{ExtraLabels, Head, Room, write_escaped};
use super::number::{SCIENTIFIC_FROM_INTEGER, write_float};
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
        let head = Head { name: family.name, labels: series.labels };
        match series.value {
            Value::Number(value) => {
                let mut room = Room::new(page, head.bytes(1, 0));
                room.put_head(head, "");
                room.put_float(value, write_float);
                room.close();
            }
            Value::Histogram { bounds, value } => self.histogram(page, head, bounds, value),
            Value::Summary { quantiles, sum, count } => {
                self.quantiles.set(quantiles.iter().map(|&(quantile, _)| quantile));
                let bytes = head.bytes(self.quantiles.len() + 2, self.quantiles.longest());
                let mut room = Room::new(page, bytes);
                room.put_lines(head, "", &self.quantiles, |room, i| {
                    let value = quantiles.get(i).map_or(f64::NAN, |&(_, value)| value);
                    room.put_float(value, write_float);
                });
                put_totals(&mut room, head, sum, count);
                room.close();
            }
        }
    }

    fn end(&mut self, _page: &mut Vec<u8>, _family: &Family<'_>) {}

    fn finish(&mut self, _page: &mut Vec<u8>) {}
}

impl Text {
    fn histogram(
        &mut self,
        page: &mut Vec<u8>,
        head: Head<'_>,
        bounds: &[f64],
        value: &HistogramValue,
    ) {
        self.bounds.set(bounds.iter().copied().chain([f64::INFINITY]));
        let bytes = head.bytes(self.bounds.len() + 2, self.bounds.longest() + "_bucket".len());
        let mut room = Room::new(page, bytes);
        let mut cumulative = 0;
        room.put_lines(head, "_bucket", &self.bounds, |room, i| {
            cumulative += value.counts.get(i).copied().unwrap_or_default();
            put_count(room, cumulative);
        });
        put_totals(&mut room, head, value.sum, cumulative);
        room.close();
    }
}

fn put_totals(room: &mut Room<'_>, head: Head<'_>, sum: f64, count: u64) {
    room.put_head(head, "_sum");
    room.put_float(sum, write_float);
    room.put_head(head, "_count");
    put_count(room, count);
}

/// A count is a float to Go, and looks like one when it is large.
#[inline]
fn put_count(room: &mut Room<'_>, count: u64) {
    if count < SCIENTIFIC_FROM_INTEGER {
        room.put_uint(count);
    } else {
        room.put_float(count as f64, write_float);
    }
}
