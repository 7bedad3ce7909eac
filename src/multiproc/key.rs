//! What a key names: `["family", "sample", {"label": "value"}, "help"]`.
//!
//! Up to `prometheus_client` 0.14 the help is missing, and in the oldest versions two lists, names and
//! values, stand for the labels.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::kind::{Kind, Merge};
use crate::ingest::labels::push_escaped;
use crate::map::escape::{escape_name, is_free_label_name};

/// What `prometheus_client` says where nobody else did.
const HELP: &str = "Multiprocess metric";

/// The value that a key names, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// A legal metric name; a counter's is that of its samples.
    pub family: String,
    /// Which value of a series.
    pub part: Part,
    /// Name and value of each label, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The family's help, unescaped.
    pub help: String,
}

/// Which of a series' values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// The only one.
    Value,
    /// Samples up to this bound and above the one before.
    Bucket(f64),
    /// The sum of all samples.
    Sum,
    /// Their number.
    Count,
}

/// What values a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Any.
    Number,
    /// Any that is finite, since it is added up: an infinite one would stay for ever.
    Sum,
    /// None that is negative or infinite. It only rises, unless its worker begins anew.
    Total,
    /// A total of whole numbers.
    Count,
}

impl Part {
    /// What values it takes in files of a kind.
    #[must_use]
    pub fn nature(self, kind: Kind) -> Nature {
        match (kind, self) {
            (Kind::Gauge(_), _) => Nature::Number,
            (Kind::Counter, _) => Nature::Total,
            (_, Self::Sum) => Nature::Sum,
            _ => Nature::Count,
        }
    }
}

impl Nature {
    /// Whether it only rises, unless its worker begins anew.
    #[must_use]
    pub fn only_rises(self) -> bool {
        matches!(self, Self::Total | Self::Count)
    }

    /// Whether a value can be one of these.
    #[must_use]
    pub fn takes(self, value: f64) -> bool {
        match self {
            Self::Number => true,
            Self::Sum => value.is_finite(),
            Self::Total => value.is_finite() && value >= 0.0,
            Self::Count => value.is_finite() && value >= 0.0 && value.fract() == 0.0,
        }
    }
}

/// Labels that the directory or the worker adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added<'a> {
    /// The directory's label and its name.
    pub directory: Option<(&'a str, &'a str)>,
    /// The worker.
    pub worker: &'a str,
}

impl Place {
    /// What a key names in a file of this kind; none if it is no key.
    #[must_use]
    pub fn of(key: &[u8], kind: Kind, added: Added<'_>) -> Option<Self> {
        let Ok(Value::Array(parts)) = serde_json::from_slice(key) else { return None };
        let mut parts = parts.into_iter();
        let mut text = || match parts.next() {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (family, sample) = (text()?, text()?);
        let (labels, help) = match (parts.next()?, parts.next()) {
            (Value::Object(labels), None) => (of_object(labels)?, HELP.to_owned()),
            (Value::Object(labels), Some(Value::String(help))) => (of_object(labels)?, help),
            (Value::Array(names), Some(Value::Array(values))) => {
                (of_lists(names, values)?, HELP.to_owned())
            }
            _ => return None,
        };
        Self::checked(kind, (&family, &sample), labels, help, added)
    }

    fn checked(
        kind: Kind,
        (family, sample): (&str, &str),
        mut labels: Vec<(String, String)>,
        help: String,
        added: Added<'_>,
    ) -> Option<Self> {
        let suffix = || sample.strip_prefix(family);
        let (family, part) = match kind {
            Kind::Counter | Kind::Gauge(_) => (sample, Part::Value),
            Kind::Summary | Kind::Histogram if suffix() == Some("_sum") => (family, Part::Sum),
            Kind::Summary if suffix() == Some("_count") => (family, Part::Count),
            Kind::Histogram if suffix() == Some("_bucket") => {
                let place = labels.iter().position(|(name, _)| name == "le")?;
                let bound =
                    labels.remove(place).1.parse().ok().filter(|le| *le > f64::NEG_INFINITY)?;
                (family, Part::Bucket(bound))
            }
            Kind::Summary | Kind::Histogram => return None,
        };
        if let Kind::Gauge(mode) = kind {
            // The collector's label; where workers are one it takes away those of clients as well.
            labels.retain(|(name, _)| name != "pid");
            if mode.merge == Merge::Each {
                labels.push(("pid".to_owned(), added.worker.to_owned()));
            }
        }
        let labels = checked_labels(kind, labels, added.directory)?;
        let family = metric_name(family)?;
        Some(Self { family, part, labels, help })
    }

    /// The labels as the text format has them, without braces.
    #[must_use]
    pub fn label_text(&self) -> String {
        let mut text = String::new();
        for (i, (name, value)) in self.labels.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { "," });
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(&mut text, value);
            text.push('"');
        }
        text
    }
}

fn of_object(labels: Map<String, Value>) -> Option<Vec<(String, String)>> {
    let labels = labels.into_iter().map(|(name, value)| match value {
        Value::String(value) => Some((name, value)),
        _ => None,
    });
    labels.collect()
}

fn of_lists(names: Vec<Value>, values: Vec<Value>) -> Option<Vec<(String, String)>> {
    if names.len() != values.len() {
        return None;
    }
    let labels = names.into_iter().zip(values).map(|pair| match pair {
        (Value::String(name), Value::String(value)) => Some((name, value)),
        _ => None,
    });
    labels.collect()
}

/// Legal names, the directory's label among them, sorted; none if one is Prometheus' own, or two are
/// the same.
fn checked_labels(
    kind: Kind,
    labels: Vec<(String, String)>,
    directory: Option<(&str, &str)>,
) -> Option<Vec<(String, String)>> {
    let reserved = match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        Kind::Counter | Kind::Gauge(_) => "",
    };
    let is_taken = |name: &str| {
        name == reserved || directory.is_some_and(|(of_directory, _)| name == of_directory)
    };
    let mut checked = Vec::with_capacity(labels.len() + 1);
    for (name, value) in labels {
        let name = match escape_name(&name) {
            name if is_taken(&name) => format!("exported_{name}"),
            name => name.into_owned(),
        };
        if !is_free_label_name(&name) {
            return None;
        }
        checked.push((name, value));
    }
    checked.extend(directory.map(|(name, value)| (name.to_owned(), value.to_owned())));
    checked.sort_unstable();
    let has_twins = checked.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0));
    (!has_twins).then_some(checked)
}

/// A legal name; colons, which StatsD's names cannot have, are legal.
fn metric_name(name: &str) -> Option<String> {
    let parts: Vec<Cow<'_, str>> = name.split(':').map(escape_name).collect();
    (!name.is_empty()).then(|| parts.join(":"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::multiproc::kind::Mode;

    const SUM: Kind = Kind::Gauge(Mode { is_live: false, merge: Merge::Sum });
    const ALL: Kind = Kind::Gauge(Mode { is_live: true, merge: Merge::Each });

    #[test]
    fn a_key_names_family_part_and_labels() {
        check(
            Kind::Counter,
            r#"["hits", "hits_total", {"b": "2", "a": "1"}, "Hits."]"#,
            "hits_total Value a=\"1\",b=\"2\" Hits.",
        );
        check(
            Kind::Histogram,
            r#"["t", "t_bucket", {"a": "1", "le": "0.50"}, ""]"#,
            "t Bucket(0.5) a=\"1\" ",
        );
        check(Kind::Histogram, r#"["t","t_bucket",{"le":"+Inf"},"T"]"#, "t Bucket(inf)  T");
        check(Kind::Histogram, r#"["t", "t_sum", {}, "T"]"#, "t Sum  T");
        check(Kind::Summary, r#"["t", "t_count", {}, "T"]"#, "t Count  T");
        check(SUM, r#"["g", "g", {"pid": "x", "k": "v"}, "G"]"#, "g Value k=\"v\" G");
        check(ALL, r#"["g", "g", {"pid": "x", "z": ""}, "G"]"#, "g Value pid=\"12\",z=\"\" G");
    }

    #[test]
    fn keys_of_older_versions_are_understood() {
        check(
            Kind::Counter,
            r#"["h", "h_total", {"a": "1"}]"#,
            "h_total Value a=\"1\" Multiprocess metric",
        );
        check(Kind::Counter, r#"["h", "h", ["a"], ["1"]]"#, "h Value a=\"1\" Multiprocess metric");
    }

    #[test]
    fn names_are_made_legal() {
        check(
            Kind::Counter,
            r#"["a.b:c", "a.b:c", {"k-é": "q\"\n\\"}, "x"]"#,
            r#"a_b:c Value k__="q\"\n\\" x"#,
        );
        check(Kind::Histogram, r#"["t","t_sum",{"le":"1"},"T"]"#, "t Sum exported_le=\"1\" T");
    }

    #[test]
    fn the_directory_s_label_comes_in() {
        let key = br#"["h", "h_total", {"app": "1", "b": "2"}, ""]"#;
        let added = Added { directory: Some(("app", "shop")), worker: "1" };
        let place = Place::of(key, Kind::Counter, added).unwrap();
        assert_eq!(place.label_text(), r#"app="shop",b="2",exported_app="1""#);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (kind, key) in [
            (Kind::Counter, ""),
            (Kind::Counter, "[]"),
            (Kind::Counter, r#"["a", "a_total", {"b": 1}, ""]"#),
            (Kind::Counter, r#"["", "", {}, ""]"#),
            (Kind::Counter, r#"["a", "a", {"__name__": "x"}, ""]"#),
            (Kind::Counter, r#"["a", "a", {"x-y": "1", "x.y": "2"}, ""]"#),
            (Kind::Counter, r#"["a", "a", ["b"], []]"#),
            (Kind::Counter, r#"["a", "\ud800", {}, ""]"#),
            (Kind::Histogram, r#"["a", "a_bucket", {}, ""]"#),
            (Kind::Histogram, r#"["a", "a_bucket", {"le": "x"}, ""]"#),
            (Kind::Histogram, r#"["a", "a_bucket", {"le": "NaN"}, ""]"#),
            (Kind::Histogram, r#"["a", "b_sum", {}, ""]"#),
            (Kind::Summary, r#"["a", "a", {"quantile": "1"}, ""]"#),
        ] {
            let place = Place::of(key.as_bytes(), kind, Added::default());
            assert_eq!(place, None, "{key}");
        }
    }

    #[test]
    fn a_part_takes_what_it_can_be() {
        for value in [0.0, 3.0] {
            assert!(Part::Bucket(1.0).nature(Kind::Histogram).takes(value));
        }
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(!Part::Count.nature(Kind::Summary).takes(value));
            assert!(Part::Value.nature(SUM).takes(value));
        }
        assert!(Part::Value.nature(Kind::Counter).takes(0.5));
        assert!(Part::Sum.nature(Kind::Histogram).takes(-1.0));
    }

    proptest! {
        #[test]
        fn arbitrary_keys_make_legal_places_or_none(key in any::<Vec<u8>>(), text in "\\PC*") {
            for kind in [Kind::Counter, Kind::Histogram, ALL] {
                let list = serde_json::json!([text, text, {text.clone(): text}, text]).to_string();
                for key in [&key[..], list.as_bytes()] {
                    if let Some(place) = Place::of(key, kind, Added::default()) {
                        prop_assert!(!place.family.is_empty());
                        prop_assert!(place.labels.iter().all(|(name, _)| is_free_label_name(name)));
                    }
                }
            }
        }
    }

    #[track_caller]
    fn check(kind: Kind, key: &str, expected: &str) {
        let added = Added { directory: None, worker: "12" };
        let place = Place::of(key.as_bytes(), kind, added).unwrap();
        let Place { family, part, help, .. } = &place;
        assert_eq!(format!("{family} {part:?} {} {help}", place.label_text()), expected);
    }
}
