//! Units: from the mapping's `unit:`, or else from names, to Grafana's identifiers.

use super::inventory::{Family, Kind};
use super::names::words;

/// Words for units, as names and mappings write them, and Grafana's identifiers.
const UNITS: [(&str, &str); 40] = [
    ("seconds", "s"),
    ("milliseconds", "ms"),
    ("microseconds", "µs"),
    ("nanoseconds", "ns"),
    ("minutes", "m"),
    ("hours", "h"),
    ("days", "d"),
    ("bytes", "bytes"),
    ("kilobytes", "kbytes"),
    ("megabytes", "mbytes"),
    ("gigabytes", "gbytes"),
    ("bits", "bits"),
    ("ratio", "percentunit"),
    ("percent", "percent"),
    ("celsius", "celsius"),
    ("volts", "volt"),
    ("amperes", "amp"),
    ("joules", "joule"),
    ("watts", "watt"),
    ("hertz", "hertz"),
    ("grams", "massg"),
    ("meters", "lengthm"),
    ("second", "s"),
    ("sec", "s"),
    ("s", "s"),
    ("millisecond", "ms"),
    ("ms", "ms"),
    ("microsecond", "µs"),
    ("us", "µs"),
    ("µs", "µs"),
    ("nanosecond", "ns"),
    ("ns", "ns"),
    ("byte", "bytes"),
    ("bit", "bits"),
    ("percentage", "percent"),
    ("%", "percent"),
    ("fraction", "percentunit"),
    ("1", "short"),
    ("none", "none"),
    ("short", "short"),
];

/// Grafana's own identifiers for rates and the like, which dashboards files may name.
const IDENTIFIERS: [&str; 18] = [
    "reqps",
    "cps",
    "ops",
    "rps",
    "wps",
    "pps",
    "iops",
    "Bps",
    "bps",
    "percentunit",
    "dateTimeFromNow",
    "dateTimeAsIso",
    "sishort",
    "locale",
    "celsius",
    "decbytes",
    "dtdurations",
    "h",
];

/// So many of [`UNITS`] are words that names end with, by Prometheus' conventions.
const NAME_UNITS: usize = 22;

/// Words for what takes time.
const TIME_WORDS: [&str; 10] = [
    "duration", "latency", "time", "timer", "timing", "elapsed", "wait", "delay", "runtime", "age",
];

/// Words for what is counted, though clients may send it as a timing.
const COUNT_WORDS: [&str; 6] = ["size", "length", "len", "count", "depth", "number"];

/// Whether names end with this word for a unit.
#[must_use]
pub fn is_unit_word(word: &str) -> bool {
    name_unit(word).is_some()
}

fn name_unit(word: &str) -> Option<&'static str> {
    let found = UNITS.iter().take(NAME_UNITS).find(|(known, _)| *known == word);
    found.map(|(_, unit)| *unit)
}

/// Grafana's identifier for the values of a family.
///
/// What the mapping says counts most; a word that Grafana has no unit for is shown behind the
/// numbers. Then the name's last word counts. Timings without either are seconds, as `|ms` is
/// exposed, unless the name is that of something counted.
#[must_use]
pub fn of_values(family: &Family) -> String {
    if let Some(unit) = family.unit.as_deref() {
        return of_word(unit);
    }
    let name = family.name.strip_suffix("_total").unwrap_or(&family.name);
    let last = words(name).next_back().unwrap_or_default().to_ascii_lowercase();
    if let Some(unit) = name_unit(&last) {
        return unit.to_owned();
    }
    let is_timing = match family.kind {
        Kind::Histogram { .. } | Kind::Summary { .. } => {
            TIME_WORDS.contains(&last.as_str())
                || !(last.ends_with('s') || COUNT_WORDS.contains(&last.as_str()))
        }
        Kind::Counter | Kind::Gauge | Kind::Set => false,
    };
    if is_timing { "s" } else { "short" }.to_owned()
}

/// Grafana's identifier for a word of the mapping or of a dashboards file.
#[must_use]
pub fn of_word(word: &str) -> String {
    if IDENTIFIERS.contains(&word) {
        return word.to_owned();
    }
    let known = UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or_else(|| format!("suffix: {word}"), |(_, unit)| (*unit).to_owned())
}

/// Grafana's identifier for how fast a counter rises.
#[must_use]
pub fn of_rate(family: &Family) -> &'static str {
    match of_values(family).as_str() {
        "bytes" => return "Bps",
        "bits" => return "bps",
        "kbytes" => return "KBs",
        "mbytes" => return "MBs",
        "gbytes" => return "GBs",
        // So many seconds in each second: how many were busy at a time.
        "s" => return "short",
        _ => {}
    }
    let has = |wanted: &[&str]| words(&family.name).any(|word| wanted.contains(&word));
    if has(&["requests", "request", "responses"]) {
        "reqps"
    } else if has(&["reads", "read"]) {
        "rps"
    } else if has(&["writes", "write", "written"]) {
        "wps"
    } else if has(&["ops", "operations"]) {
        "ops"
    } else {
        "cps"
    }
}

/// Grafana's identifier for how often something is timed or measured.
#[must_use]
pub fn of_observations(family: &Family) -> &'static str {
    match of_rate(family) {
        unit @ ("reqps" | "rps" | "wps") => unit,
        _ => "ops",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_wins_over_the_name() {
        let timer = Kind::Histogram { bounds: vec![], native: false };
        check("x_seconds", Some("bytes"), Kind::Gauge, ("bytes", "Bps"));
        check("x_seconds", None, Kind::Gauge, ("s", "short"));
        check("x", Some("widgets"), Kind::Gauge, ("suffix: widgets", "cps"));
        check("net_read_bytes_total", None, Kind::Counter, ("bytes", "Bps"));
        check("api_requests_total", None, Kind::Counter, ("short", "reqps"));
        check("disk_reads_total", None, Kind::Counter, ("short", "rps"));
        check("login", None, timer.clone(), ("s", "short"));
        check("queue_connections", None, timer.clone(), ("short", "cps"));
        check("body_size", None, timer, ("short", "cps"));
        check("hit_ratio", None, Kind::Gauge, ("percentunit", "cps"));
    }

    #[track_caller]
    fn check(name: &str, unit: Option<&str>, kind: Kind, expected: (&str, &str)) {
        let family = Family {
            name: name.to_owned(),
            kind,
            help: String::new(),
            unit: unit.map(str::to_owned),
            rule: None,
            labels: vec![],
            series: None,
        };
        assert_eq!((of_values(&family).as_str(), of_rate(&family)), expected, "{name}");
    }
}
