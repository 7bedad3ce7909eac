//! The mapping file as written: YAML, its keys and the kinds of its values, nothing checked.
//!
//! The values follow the YAML library of the reference: a null is as good as a key left out, an
//! integer may have underscores and a base, a bare integer for a duration is nanoseconds, labels
//! keep the text of whatever scalar stands there, and only the first document counts.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Spanned};

use super::error::{Fault, Place, Problem};
use crate::compat::Compat;
use crate::units::parse_go_duration;

/// Keys of older versions of the reference; they are known, but never proposed.
const LEGACY_KEYS: [&str; 3] = ["timer_type", "buckets", "quantiles"];
/// Keys that the reference does not know.
const EXTENDED_KEYS: [&str; 15] = [
    "counter_mode",
    "counter_sender_tag",
    "examples",
    "gauge_mode",
    "gauge_sender_tag",
    "gauge_window",
    "set_window",
    "ttl_by_kind",
    "drop_tags",
    "keep_tags",
    "rename_tags",
    "add_tags",
    "max_series",
    "max_label_values",
    "on_limit",
];

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) defaults: Option<RawDefaults>,
    pub(super) mappings: Option<Vec<Spanned<Option<RawRule>>>>,
}

/// `defaults:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefaults {
    pub(super) observer_type: Option<Spanned<String>>,
    pub(super) match_type: Option<Spanned<String>>,
    pub(super) glob_disable_ordering: Option<Switch>,
    pub(super) ttl: Option<Spanned<Nanos>>,
    pub(super) ttl_by_kind: Option<Spanned<RawTtls>>,
    pub(super) summary_options: Option<RawSummary>,
    pub(super) histogram_options: Option<RawHistogram>,
    pub(super) counter_mode: Option<Spanned<String>>,
    pub(super) counter_sender_tag: Option<Spanned<String>>,
    pub(super) gauge_mode: Option<Spanned<String>>,
    pub(super) gauge_sender_tag: Option<Spanned<String>>,
    pub(super) gauge_window: Option<Spanned<Nanos>>,
    pub(super) set_window: Option<Spanned<Nanos>>,
    pub(super) drop_tags: Option<Spanned<Vec<String>>>,
    pub(super) keep_tags: Option<Spanned<Vec<String>>>,
    pub(super) rename_tags: Option<Spanned<RawLabels>>,
    pub(super) add_tags: Option<Spanned<RawLabels>>,
    pub(super) max_series: Option<Spanned<Count>>,
    pub(super) max_label_values: Option<Spanned<RawValueLimits>>,
    pub(super) on_limit: Option<Spanned<String>>,
    pub(super) timer_type: Option<Spanned<String>>,
    pub(super) buckets: Option<Spanned<RawBounds>>,
    pub(super) quantiles: Option<Spanned<RawQuantiles>>,
}

/// One entry of `mappings:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(rename = "match")]
    pub(super) glob_or_regex: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) labels: Option<RawLabels>,
    pub(super) honor_labels: Option<Switch>,
    pub(super) observer_type: Option<Spanned<String>>,
    pub(super) match_type: Option<Spanned<String>>,
    pub(super) help: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) action: Option<Spanned<String>>,
    pub(super) match_metric_type: Option<Spanned<String>>,
    pub(super) ttl: Option<Spanned<Nanos>>,
    pub(super) summary_options: Option<RawSummary>,
    pub(super) histogram_options: Option<RawHistogram>,
    pub(super) scale: Option<Number>,
    pub(super) counter_mode: Option<Spanned<String>>,
    pub(super) counter_sender_tag: Option<Spanned<String>>,
    pub(super) gauge_mode: Option<Spanned<String>>,
    pub(super) gauge_sender_tag: Option<Spanned<String>>,
    pub(super) gauge_window: Option<Spanned<Nanos>>,
    pub(super) set_window: Option<Spanned<Nanos>>,
    pub(super) drop_tags: Option<Spanned<Vec<String>>>,
    pub(super) keep_tags: Option<Spanned<Vec<String>>>,
    pub(super) rename_tags: Option<Spanned<RawLabels>>,
    pub(super) add_tags: Option<Spanned<RawLabels>>,
    pub(super) max_series: Option<Spanned<Count>>,
    pub(super) max_label_values: Option<Spanned<RawValueLimits>>,
    pub(super) on_limit: Option<Spanned<String>>,
    pub(super) timer_type: Option<Spanned<String>>,
    pub(super) buckets: Option<Spanned<RawBounds>>,
    pub(super) quantiles: Option<Spanned<RawQuantiles>>,
    /// Only `tallyd check` looks at them.
    pub(super) examples: Option<Spanned<Vec<Spanned<RawExample>>>>,
}

/// One entry of `examples:`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExample {
    pub(super) line: Texts,
    pub(super) gives: Texts,
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// `ttl_by_kind:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTtls {
    pub(super) counter: Option<Spanned<Nanos>>,
    pub(super) gauge: Option<Spanned<Nanos>>,
    pub(super) observer: Option<Spanned<Nanos>>,
    pub(super) set: Option<Spanned<Nanos>>,
}

/// `summary_options:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSummary {
    pub(super) quantiles: Option<Spanned<RawQuantiles>>,
    pub(super) max_age: Option<Spanned<Nanos>>,
    pub(super) age_buckets: Option<Count>,
    /// How many samples the reference sorts at a time; our summaries need no such buffer.
    #[serde(rename = "buf_cap")]
    pub(super) _buf_cap: Option<Count>,
}

/// `histogram_options:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHistogram {
    pub(super) buckets: Option<Spanned<RawBounds>>,
    pub(super) native_histogram_bucket_factor: Option<Number>,
    pub(super) native_histogram_max_buckets: Option<Count>,
}

/// One entry of `quantiles:`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuantile {
    pub(super) quantile: Option<Number>,
    pub(super) error: Option<Number>,
}

pub(super) type RawBounds = Vec<Option<Number>>;
pub(super) type RawQuantiles = Vec<Option<RawQuantile>>;

/// `labels:`, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct RawLabels(pub(super) Vec<(Spanned<String>, Option<String>)>);

impl<'de> Deserialize<'de> for RawLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = RawLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels and their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawLabels, A::Error> {
                entries(map).map(RawLabels)
            }
        }
        deserializer.deserialize_map(Labels)
    }
}

fn entries<'de, A, K, V>(mut map: A) -> Result<Vec<(K, V)>, A::Error>
where
    A: MapAccess<'de>,
    K: Deserialize<'de>,
    V: Deserialize<'de>,
{
    let mut entries = Vec::new();
    while let Some(entry) = map.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// `max_label_values:`, a number for every label or one for each of some.
#[derive(Debug, Default)]
pub(super) struct RawValueLimits {
    pub(super) each: Option<Count>,
    pub(super) of: Vec<(Spanned<String>, Count)>,
}

impl<'de> Deserialize<'de> for RawValueLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limits;
        impl<'de> Visitor<'de> for Limits {
            type Value = RawValueLimits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or labels with a number each")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<RawValueLimits, E> {
                let each = u32::try_from(value).map_err(|_| not("a number", &value.to_string()))?;
                Ok(RawValueLimits { each: Some(Count(each)), of: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawValueLimits, A::Error> {
                Ok(RawValueLimits { each: None, of: entries(map)? })
            }
        }
        deserializer.deserialize_any(Limits)
    }
}

/// A boolean; a quoted word is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switch(pub(super) bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Boolean;
        impl Visitor<'_> for Boolean {
            type Value = Switch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Switch, E> {
                Ok(Switch(value))
            }
        }
        deserializer.deserialize_any(Boolean)
    }
}

/// A number, as a float.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number(pub(super) f64);

/// A number that counts something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count(pub(super) u32);

/// A duration in nanoseconds, which may be negative.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nanos(pub(super) i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ScalarVisitor("a number"))? {
            Scalar::Integer(value) => Ok(Self(value as f64)),
            Scalar::Float(value) => Ok(Self(value)),
            // YAML 1.1 lets fractions have underscores as well.
            Scalar::Text(text) if text.contains('_') && !text.starts_with('_') => {
                text.replace('_', "").parse().map(Self).map_err(|_| not("a number", &text))
            }
            Scalar::Text(text) => Err(not("a number", &text)),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WHAT: &str = "a whole number that is not negative";
        let scalar = deserializer.deserialize_any(ScalarVisitor(WHAT))?;
        let count = match &scalar {
            Scalar::Integer(value) => u32::try_from(*value).ok(),
            Scalar::Float(value) => format!("{:.0}", value.trunc()).parse().ok(),
            Scalar::Text(_) => None,
        };
        count.map(Self).ok_or_else(|| not(WHAT, &scalar.to_string()))
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WHAT: &str = "a duration";
        let scalar = deserializer.deserialize_any(ScalarVisitor(WHAT))?;
        let nanos = match &scalar {
            Scalar::Integer(value) => i64::try_from(*value).ok(),
            Scalar::Float(value) => format!("{:.0}", value.trunc()).parse().ok(),
            Scalar::Text(text) => Some(parse_go_duration(text).map_err(|error| {
                <D::Error as de::Error>::custom(format_args!("`{text}` is {error}"))
            })?),
        };
        nanos.map(Self).ok_or_else(|| not(WHAT, &scalar.to_string()))
    }
}

fn not<E: de::Error>(what: &str, text: &str) -> E {
    E::custom(format_args!("`{text}` is not {what}"))
}

/// A scalar by what it looks like.
enum Scalar {
    Integer(i128),
    Float(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// Takes any scalar but booleans; names what was expected when there is none.
struct ScalarVisitor(&'static str);

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
}

/// Reads the first document; an empty one is a file without rules.
///
/// # Errors
/// What is wrong with the text, and where.
pub(super) fn read(text: &[u8], compat: Compat) -> Result<RawFile, Fault> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        Fault::new(Place::after(before), Problem::NotUtf8)
    })?;
    let file = first_document::<RawFile>(text, options()).map_err(|error| fault(&error, compat))?;
    Ok(file.unwrap_or_default())
}

/// The first document, whatever follows it; `None` where it is empty.
///
/// The library's readers stop after a document by themselves, but they know all encodings, whose
/// tables would be a good part of the program.
fn first_document<T: DeserializeOwned>(
    text: &str,
    options: Options,
) -> Result<Option<T>, serde_saphyr::Error> {
    let mut first = None;
    let all = serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| {
        first = Some(Option::deserialize(document)?);
        Ok(())
    });
    first.map_or_else(|| all.map(|()| None), Ok)
}

/// Where the rules of a file begin, whatever is in them; `None` where it is no YAML.
pub(super) fn rule_places(text: &str) -> Option<Vec<Place>> {
    #[derive(Deserialize)]
    struct Skeleton {
        #[serde(default)]
        mappings: Option<Vec<Spanned<IgnoredAny>>>,
    }
    let mut lenient = options();
    lenient.duplicate_keys = DuplicateKeyPolicy::LastWins;
    let file = first_document::<Skeleton>(text, lenient).ok()?;
    let rules = file.and_then(|file| file.mappings).unwrap_or_default();
    Some(rules.iter().map(Place::of).collect())
}

/// The library's own limits on the size of a file would refuse some 10,000 rules.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 5_000_000 },
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 20_000_000,
            max_aliases: 1_000_000,
            max_merge_keys: 1_000_000,
            enforce_alias_anchor_ratio: false,
        },
    }
}

fn fault(error: &serde_saphyr::Error, compat: Compat) -> Fault {
    use serde_saphyr::Error;
    let place = error.location().map_or(Place::UNKNOWN, |location| Place {
        line: location.line(),
        column: location.column(),
    });
    let problem = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected, compat),
        Error::DuplicateMappingKey { key: Some(key), .. } => Problem::DuplicateKey(key.clone()),
        Error::Message { msg, .. } => Problem::Yaml(msg.clone()),
        error => {
            let text = error.to_string();
            Problem::Yaml(plain_words(text.split(" at line ").next().unwrap_or(&text)).to_owned())
        }
    };
    Fault::new(place, problem)
}

/// The library's messages for people who do not know it.
fn plain_words(text: &str) -> &str {
    match text {
        "expected mapping start" => "keys with values are expected here",
        "expected sequence start" => "a list is expected here",
        "expected string scalar" => "a text is expected here",
        "cannot deserialize null into string; use Option<String>" => "a text is missing here",
        "alias references unknown anchor" => {
            "`*` refers to an anchor that is not there; quote a text that begins with a star"
        }
        _ => text,
    }
}

fn unknown_key(key: &str, known: &[&'static str], compat: Compat) -> Problem {
    // `buckets` and `quantiles` are legacy beside these two keys, and right below them.
    let is_legacy =
        |known_key: &str| known.contains(&"timer_type") && LEGACY_KEYS.contains(&known_key);
    let is_foreign = |known_key: &str| compat.is_reference() && EXTENDED_KEYS.contains(&known_key);
    let known: Vec<&str> =
        known.iter().copied().filter(|known| !is_legacy(known) && !is_foreign(known)).collect();
    let nearest = nearest(key, &known).map(str::to_owned);
    Problem::UnknownKey { key: key.to_owned(), nearest, known: known.join(", ") }
}

/// The known word that was most likely meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(word, known);
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= 1 + best.len() / 4).then_some(best)
}
