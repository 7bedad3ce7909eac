//! The protobuf format: a `MetricFamily` message after another, each with its length before it.
//!
//! It is the only format that shows native histograms. Their buckets are packed into spans as
//! `client_golang` packs them, so that a family reads the same whoever exposed it.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use self::message::{
    Bucket, BucketSpan, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
    Quantile, Summary, Timestamp,
};
use super::{Encoder, Family, FamilyKind, Series, Value};
use crate::aggregate::histogram::{HistogramValue, NativeValue};

pub mod message;

/// A family whose message grows beyond this goes out as several messages of the same name, so that
/// neither side holds a family of a million series at once; Go's `protodelim` takes 4 MiB at most.
const MAX_MESSAGE_BYTES: usize = 3 << 20;

/// The number of the field `metric` in `MetricFamily`.
const METRIC_TAG: u32 = 4;

/// `client_golang` writes up to this many empty buckets out before it begins a new span.
const MAX_GAP: i64 = 2;

/// Writes length-delimited protobuf.
#[derive(Debug, Default)]
pub struct Protobuf {
    /// The series of the family last begun, each with the key of its field.
    metrics: Vec<u8>,
    /// Kept for the memory it owns: pages have many series, and all look alike.
    metric: Metric,
}

impl Encoder for Protobuf {
    fn begin(&mut self, _page: &mut Vec<u8>, _family: &Family<'_>) {
        self.metrics.clear();
    }

    fn series(&mut self, page: &mut Vec<u8>, family: &Family<'_>, series: &Series<'_>) {
        if self.metrics.len() > MAX_MESSAGE_BYTES {
            self.end(page, family);
        }
        let labels = str::from_utf8(series.labels).unwrap_or_default();
        fill_labels(&mut self.metric.label, labels);
        fill_value(&mut self.metric, family.kind, series);
        encode_key(METRIC_TAG, WireType::LengthDelimited, &mut self.metrics);
        encode_varint(self.metric.encoded_len() as u64, &mut self.metrics);
        self.metric.encode_raw(&mut self.metrics);
    }

    fn end(&mut self, page: &mut Vec<u8>, family: &Family<'_>) {
        let head = MetricFamily {
            name: Some(family.name.to_owned()),
            help: Some(family.help.to_owned()),
            r#type: Some(metric_type(family.kind).into()),
            metric: Vec::new(),
        };
        encode_varint((head.encoded_len() + self.metrics.len()) as u64, page);
        head.encode_raw(page);
        page.extend_from_slice(&self.metrics);
        self.metrics.clear();
    }

    fn finish(&mut self, _page: &mut Vec<u8>) {}

    fn shows_native(&self) -> bool {
        true
    }
}

fn metric_type(kind: FamilyKind) -> MetricType {
    match kind {
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Histogram => MetricType::Histogram,
        FamilyKind::Summary => MetricType::Summary,
    }
}

fn fill_value(metric: &mut Metric, kind: FamilyKind, series: &Series<'_>) {
    let created = Some(timestamp(series.created_seconds));
    let mut kept = (metric.histogram.take(), metric.summary.take());
    metric.counter = None;
    metric.gauge = None;
    match series.value {
        Value::Number(value) if kind == FamilyKind::Counter => {
            metric.counter = Some(Counter { value: Some(value), created_timestamp: created });
        }
        Value::Number(value) => metric.gauge = Some(Gauge { value: Some(value) }),
        Value::Histogram { bounds, value } => {
            let histogram = metric.histogram.insert(kept.0.take().unwrap_or_default());
            histogram.created_timestamp = created;
            fill_histogram(histogram, bounds, value);
        }
        Value::Summary { quantiles, sum, count } => {
            let summary = metric.summary.insert(kept.1.take().unwrap_or_default());
            summary.created_timestamp = created;
            summary.sample_count = Some(count);
            summary.sample_sum = Some(sum);
            fill_quantiles(summary, quantiles);
        }
    }
}

fn fill_quantiles(summary: &mut Summary, quantiles: &[(f64, f64)]) {
    summary.quantile.clear();
    summary.quantile.extend(
        quantiles
            .iter()
            .map(|&(quantile, value)| Quantile { quantile: Some(quantile), value: Some(value) }),
    );
}

fn fill_histogram(histogram: &mut Histogram, bounds: &[f64], value: &HistogramValue) {
    histogram.sample_count = Some(value.counts.iter().sum());
    histogram.sample_sum = Some(value.sum);
    let mut cumulative = 0;
    histogram.bucket.clear();
    histogram.bucket.extend(bounds.iter().zip(&value.counts).map(|(&bound, count)| {
        cumulative += count;
        Bucket { cumulative_count: Some(cumulative), upper_bound: Some(bound) }
    }));
    fill_native(histogram, value.native.as_ref());
}

fn fill_native(histogram: &mut Histogram, native: Option<&NativeValue>) {
    histogram.schema = native.map(|native| i32::from(native.schema));
    histogram.zero_threshold = native.map(|native| native.zero_threshold);
    histogram.zero_count = native.map(|native| native.zero_count);
    histogram.negative_span.clear();
    histogram.negative_delta.clear();
    histogram.positive_span.clear();
    histogram.positive_delta.clear();
    let Some(native) = native else { return };
    pack(&native.negative, &mut histogram.negative_span, &mut histogram.negative_delta);
    pack(&native.positive, &mut histogram.positive_span, &mut histogram.positive_delta);
    // An empty one would look like a classic histogram; a span of nothing says that it is native.
    let is_plain = native.zero_threshold.abs() == 0.0
        && native.zero_count == 0
        && histogram.negative_span.is_empty()
        && histogram.positive_span.is_empty();
    if is_plain {
        histogram.positive_span.push(BucketSpan { offset: Some(0), length: Some(0) });
    }
}

/// Packs buckets, rising and none of them empty, into spans and differences between neighbours.
fn pack(buckets: &[(i32, u64)], spans: &mut Vec<BucketSpan>, deltas: &mut Vec<i64>) {
    let mut previous = 0_i64;
    let mut next_index = 0_i64;
    for &(index, count) in buckets {
        let count = count.cast_signed();
        let gap = i64::from(index) - next_index;
        match spans.last_mut().filter(|_| gap <= MAX_GAP) {
            Some(span) => {
                for _ in 0..gap {
                    deltas.push(-previous);
                    previous = 0;
                }
                let added = u32::try_from(gap).unwrap_or(0) + 1;
                span.length = span.length.map(|length| length + added);
            }
            None => spans.push(BucketSpan {
                offset: Some(i32::try_from(gap).unwrap_or(i32::MAX)),
                length: Some(1),
            }),
        }
        deltas.push(count.wrapping_sub(previous));
        previous = count;
        next_index = i64::from(index) + 1;
    }
}

fn timestamp(seconds: f64) -> Timestamp {
    let whole = seconds.floor();
    #[expect(clippy::cast_possible_truncation, reason = "saturates; a clock gives no such time")]
    let (seconds, nanos) = (whole as i64, ((seconds - whole) * 1e9) as i32);
    // A float of today's date is exact to a quarter of a microsecond, which is why it is cut.
    Timestamp { seconds, nanos }
}

/// Takes label text apart into `pairs`, whose strings are filled again.
fn fill_labels(pairs: &mut Vec<LabelPair>, labels: &str) {
    let mut rest = labels;
    let mut used = 0;
    while let Some((name, value)) = rest.split_once("=\"") {
        if used == pairs.len() {
            pairs.push(LabelPair::default());
        }
        let Some(pair) = pairs.get_mut(used) else { break };
        let kept = pair.name.get_or_insert_default();
        kept.clear();
        kept.push_str(name);
        rest = unescape(value, pair.value.get_or_insert_default());
        used += 1;
    }
    pairs.truncate(used);
}

/// Puts the text before the closing quote into `value` and returns what follows the next comma.
fn unescape<'a>(text: &'a str, value: &mut String) -> &'a str {
    value.clear();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at(at);
        value.push_str(plain);
        let mut chars = special.chars();
        let is_quote = chars.next() == Some('"');
        if is_quote {
            return chars.as_str().trim_start_matches(',');
        }
        value.extend(chars.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped }));
        rest = chars.as_str();
    }
    value.push_str(rest);
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_apart_as_they_were_put_together() {
        check_labels("", &[]);
        check_labels(r#"k="v""#, &[("k", "v")]);
        check_labels(r#"k="",z="2""#, &[("k", ""), ("z", "2")]);
        check_labels(r#"k="a\\b\"c\nd",z=",y=\"x\"""#, &[("k", "a\\b\"c\nd"), ("z", ",y=\"x\"")]);
        check_labels(r#"k="größe\\n",z="x""#, &[("k", "größe\\n"), ("z", "x")]);
        check_labels(r#"k="cut short"#, &[("k", "cut short")]);
    }

    #[test]
    fn pairs_are_filled_again_and_cut_to_size() {
        let mut pairs = Vec::new();
        fill_labels(&mut pairs, r#"a="1",b="2""#);
        fill_labels(&mut pairs, r#"c="3""#);
        assert_eq!(pairs, [pair("c", "3")]);
    }

    #[test]
    fn gaps_up_to_two_buckets_stay_in_the_span() {
        check_pack(&[], &[], &[]);
        check_pack(
            &[(-13, 1), (0, 3), (1, 1), (5, 1)],
            &[(-13, 1), (12, 2), (3, 1)],
            &[1, 2, -2, 0],
        );
        check_pack(&[(0, 2), (1, 5)], &[(0, 2)], &[2, 3]);
        check_pack(&[(4, 2), (6, 5)], &[(4, 3)], &[2, -2, 5]);
        check_pack(&[(4, 2), (7, 2)], &[(4, 4)], &[2, -2, 0, 2]);
        check_pack(&[(4, 2), (8, 2)], &[(4, 1), (3, 1)], &[2, 0]);
        check_pack(&[(i32::MIN, 1), (i32::MAX, 1)], &[(i32::MIN, 1), (i32::MAX, 1)], &[1, 0]);
    }

    #[test]
    fn an_empty_native_histogram_is_told_from_a_classic_one() {
        let mut value = HistogramValue { counts: vec![0], ..HistogramValue::default() };
        let mut histogram = Histogram::default();
        fill_histogram(&mut histogram, &[], &value);
        assert!(histogram.positive_span.is_empty() && histogram.schema.is_none());
        value.native = Some(NativeValue::default());
        fill_histogram(&mut histogram, &[], &value);
        assert_eq!(histogram.positive_span, [span(0, 0)]);
        assert_eq!((histogram.schema, histogram.zero_count), (Some(0), Some(0)));
    }

    #[test]
    fn a_family_too_large_for_one_message_is_sent_in_several() {
        let family = Family { name: "a", help: "A.", kind: FamilyKind::Gauge };
        let labels = format!("k=\"{}\"", "x".repeat(1024 * 1024));
        let (mut encoder, mut page) = (Protobuf::default(), Vec::new());
        encoder.begin(&mut page, &family);
        for _ in 0..7 {
            let value = Value::Number(1.0);
            encoder.series(
                &mut page,
                &family,
                &Series { labels: labels.as_bytes(), created_seconds: 0.0, value },
            );
        }
        encoder.end(&mut page, &family);
        let mut sizes = Vec::new();
        let mut rest = &page[..];
        while !rest.is_empty() {
            let family = MetricFamily::decode_length_delimited(&mut rest).unwrap();
            assert_eq!((family.name(), family.r#type()), ("a", MetricType::Gauge));
            sizes.push(family.metric.len());
        }
        assert_eq!(sizes, [3, 3, 1]);
    }

    #[track_caller]
    fn check_labels(labels: &str, expected: &[(&str, &str)]) {
        let mut pairs = Vec::new();
        fill_labels(&mut pairs, labels);
        let expected: Vec<_> = expected.iter().map(|(name, value)| pair(name, value)).collect();
        assert_eq!(pairs, expected);
    }

    #[track_caller]
    fn check_pack(buckets: &[(i32, u64)], spans: &[(i32, u32)], deltas: &[i64]) {
        let (mut packed, mut differences) = (Vec::new(), Vec::new());
        pack(buckets, &mut packed, &mut differences);
        let spans: Vec<_> = spans.iter().map(|&(offset, length)| span(offset, length)).collect();
        assert_eq!((packed, differences), (spans, deltas.to_vec()));
    }

    fn pair(name: &str, value: &str) -> LabelPair {
        LabelPair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
    }

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset: Some(offset), length: Some(length) }
    }
}
