//! Names that Prometheus' users would stumble over, by the rules that `promtool check metrics`
//! applies to a page; here they are applied before anything is sent.
//!
//! A rule without `match_metric_type` may get samples of any kind, so what depends on the kind is
//! told only where the kind is certain.

use crate::map::inspect::Places;
use crate::map::{Action, CounterMode, Observer, Outline, Place};
use crate::sample::EventType;

/// Stands for what clients send, in names with references.
pub(super) const REFERENCE: &str = "$";

const BASE_UNITS: [&str; 11] = [
    "amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "moles",
    "seconds", "volts",
];
/// Units with the one that stands for them.
const OTHER_UNITS: [(&str, &str); 14] = [
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];
const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];
const ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];
const TYPES: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// The type of a family on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// What is not as it is expected in a rule; `name` has [`REFERENCE`] in the place of references.
pub(super) fn broken(outline: &Outline<'_>, name: &str, places: &Places) -> Vec<(Place, String)> {
    if outline.rule.action == Action::Drop {
        return Vec::new();
    }
    let kind = kind(outline);
    let mut found: Vec<(Place, String)> =
        of_name(name, kind).into_iter().map(|text| (places.name, text)).collect();
    if outline.rule.help.is_none() {
        found.push((places.name, format!("the metric `{name}` has no help text")));
    }
    for (label, place) in &places.labels {
        found.extend(of_label(label, kind).map(|text| (*place, text)));
    }
    found
}

/// The type that all samples of a rule have, if that is certain.
fn kind(outline: &Outline<'_>) -> Option<Kind> {
    match outline.event? {
        EventType::Counter if outline.rule.counter_mode == CounterMode::UpDown => Some(Kind::Gauge),
        EventType::Counter => Some(Kind::Counter),
        EventType::Gauge | EventType::Set => Some(Kind::Gauge),
        EventType::Observer => match outline.rule.observer {
            Observer::Histogram(_) => Some(Kind::Histogram),
            Observer::Summary(_) => Some(Kind::Summary),
        },
    }
}

fn of_name(name: &str, kind: Option<Kind>) -> Vec<String> {
    let mut found = Vec::new();
    let lower = name.to_lowercase();
    let has_word =
        |word: &str| lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}"));
    // What a reference at the end brings is not known.
    let is_open = name.ends_with(REFERENCE);
    if kind == Some(Kind::Counter) && !is_open && !name.ends_with("_total") {
        found.push(format!("`{name}` is a counter; its name should end in `_total`"));
    }
    if kind.is_some_and(|kind| kind != Kind::Counter) && name.ends_with("_total") {
        found.push(format!("`{name}` is no counter; only their names end in `_total`"));
    }
    let sample_of = [
        ("_bucket", vec![Kind::Histogram]),
        ("_count", OBSERVERS.to_vec()),
        ("_sum", OBSERVERS.to_vec()),
    ];
    for (suffix, kinds) in sample_of {
        if name.ends_with(suffix) && kind.is_none_or(|kind| !kinds.contains(&kind)) {
            found.push(format!("`{name}` ends in `{suffix}`, as samples of histograms do"));
        }
    }
    if let Some((unit, base)) = name.split('_').find_map(foreign_unit) {
        found.push(format!("`{name}` is in {unit}; use {base}, with `scale` in the rule"));
    }
    if let Some(unit) = ABBREVIATIONS.into_iter().find(|unit| has_word(unit)) {
        found.push(format!(
            "`{name}` has a unit in short, `{unit}`; write it out, such as `seconds`"
        ));
    }
    if let Some(word) = TYPES.into_iter().find(|word| has_word(word)) {
        found.push(format!("`{name}` tells its type, `{word}`; the page tells it anyway"));
    }
    if is_camel_case(name) {
        found.push(format!("`{name}` has capitals within; write words with `_` between them"));
    }
    found
}

const OBSERVERS: [Kind; 2] = [Kind::Histogram, Kind::Summary];

/// The unit in a part of a name, and the one to use instead, where there is another.
fn foreign_unit(part: &str) -> Option<(&str, &'static str)> {
    let other = |unit: &str| OTHER_UNITS.iter().find(|(known, _)| *known == unit).map(|(_, b)| *b);
    let base = |unit: &str| BASE_UNITS.into_iter().find(|known| *known == unit);
    if base(part).is_some() {
        return None;
    }
    let prefixed = PREFIXES.iter().filter_map(|prefix| part.strip_prefix(prefix));
    let mut units = std::iter::once(part).chain(prefixed);
    units.find_map(|unit| other(unit).or_else(|| base(unit))).map(|base| (part, base))
}

fn of_label(label: &str, kind: Option<Kind>) -> Option<String> {
    if label.starts_with("__") {
        return Some(format!(
            "the label `{label}` is left out: Prometheus keeps such names for itself"
        ));
    }
    match label {
        "le" if kind != Some(Kind::Summary) && kind != Some(Kind::Gauge) => Some(
            "the label `le` is that of histograms' buckets; it is exposed as `exported_le` there"
                .to_owned(),
        ),
        "le" => Some("the label `le` is that of histograms' buckets".to_owned()),
        "quantile" => Some(
            "the label `quantile` is that of summaries; it is exposed as `exported_quantile` there"
                .to_owned(),
        ),
        _ if is_camel_case(label) => Some(format!(
            "the label `{label}` has capitals within; write words with `_` between them"
        )),
        _ => None,
    }
}

fn is_camel_case(name: &str) -> bool {
    let mut pairs = name.chars().zip(name.chars().skip(1));
    pairs.any(|(c, next)| c.is_ascii_lowercase() && next.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_ends_in_total_and_nothing_else_does() {
        check("hits", Some(Kind::Counter), "is a counter; its name should end in `_total`");
        check("hits_total", Some(Kind::Gauge), "is no counter");
        for kind in [None, Some(Kind::Counter)] {
            check("hits_total", kind, "");
        }
        check("hits", None, "");
        check("hits_$", Some(Kind::Counter), "");
        check("hits_count", Some(Kind::Gauge), "ends in `_count`");
        check("hits_bucket", Some(Kind::Summary), "ends in `_bucket`");
    }

    #[test]
    fn units_are_base_units_and_written_out() {
        check("time_milliseconds", None, "is in milliseconds; use seconds");
        check("time_minutes", None, "is in minutes; use seconds");
        check("time_ms", None, "has a unit in short, `ms`");
        check("size_kb_max", None, "has a unit in short, `kb`");
        check("time_seconds", None, "");
        check("metres_run", None, "");
        check("forms", None, "");
    }

    #[test]
    fn names_tell_no_type_and_are_in_small_letters() {
        check("hits_counter", None, "tells its type, `counter`");
        check("my_gauge_x", None, "tells its type, `gauge`");
        check("encountered", None, "");
        check("apiHits", None, "has capitals within");
        check("API_hits", None, "");
    }

    #[track_caller]
    fn check(name: &str, kind: Option<Kind>, expected: &str) {
        let found = of_name(name, kind);
        let told = found.join("\n");
        assert!(
            found.len() == usize::from(!expected.is_empty()) && told.contains(expected),
            "{found:?}"
        );
    }
}
