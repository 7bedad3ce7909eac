//! The protobuf exposition's histograms, read into the JSON that conformance cases write.

use prost::Message;
use serde_json::{Map, Value, json};

/// Floats that went different ways may differ in their last digits.
const TOLERANCE: f64 = 1e-9;

/// A family of `io.prometheus.client`, as far as the cases look at it.
#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "10")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_deltas: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// The `Accept` header that asks for protobuf.
pub(crate) const ACCEPT: &str = "application/vnd.google.protobuf;\
    proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Says in what two answers, read by [`families`], differ.
pub(crate) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    if are_close(expected, got) {
        return Vec::new();
    }
    vec![format!("protobuf: expected {expected}"), format!("           got {got}")]
}

/// The families of users in a protobuf answer.
///
/// # Errors
/// When the answer is something else.
pub(crate) fn families(reply: &minreq::Response) -> Result<Value, String> {
    let content_type = reply.header("content-type").unwrap_or_default();
    if !content_type.contains("protobuf") {
        let body = String::from_utf8_lossy(reply.as_bytes());
        return Err(format!("the answer is no protobuf but {content_type}: {body:.400}"));
    }
    let mut families = Map::new();
    let mut body = reply.as_bytes();
    while !body.is_empty() {
        let family =
            MetricFamily::decode_length_delimited(&mut body).map_err(|error| error.to_string())?;
        let is_own = ["go_", "process_", "promhttp_", "statsd_", "tallyd_"]
            .iter()
            .any(|prefix| family.name.starts_with(prefix));
        if !is_own {
            families.insert(family.name.clone(), family.to_json());
        }
    }
    Ok(Value::Object(families))
}

impl MetricFamily {
    fn to_json(&self) -> Value {
        let mut metrics: Vec<_> = self.metrics.iter().map(Metric::to_json).collect();
        metrics.sort_by_cached_key(|metric| metric["labels"].to_string());
        json!({"name": self.name, "help": self.help, "type": self.kind, "metrics": metrics})
    }
}

impl Metric {
    fn to_json(&self) -> Value {
        let labels: Map<_, _> =
            self.labels.iter().map(|label| (label.name.clone(), json!(label.value))).collect();
        json!({"labels": labels, "value": self.histogram.as_ref().map(Histogram::to_json)})
    }
}

impl Histogram {
    fn to_json(&self) -> Value {
        let spans = |spans: &[Span]| {
            spans.iter().map(|span| json!([span.offset, span.length])).collect::<Vec<_>>()
        };
        let buckets: Vec<_> = self
            .buckets
            .iter()
            .map(|bucket| json!([bucket.upper_bound.to_string(), bucket.cumulative_count]))
            .collect();
        json!({
            "count": self.count,
            "sum": self.sum,
            "buckets": buckets,
            "schema": self.schema,
            "zero_threshold": self.zero_threshold,
            "zero_count": self.zero_count,
            "neg_spans": spans(&self.negative_spans),
            "neg_deltas": self.negative_deltas,
            "pos_spans": spans(&self.positive_spans),
            "pos_deltas": self.positive_deltas,
        })
    }
}

fn are_close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| are_close(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_close(a, b))
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => a == b,
        },
    }
}
