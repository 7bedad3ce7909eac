//! Services: where a rate, errors and a duration belong together.
//!
//! Families whose names differ only in words such as `requests`, `errors` and `duration` are one
//! service. Its errors are a label of the counter or timer, or a counter of their own.

use std::collections::BTreeMap;

use super::inventory::{Family, Kind, Label};
use super::names::{title, words};
use super::unit;

/// What one service exposes.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The words that its families share, joined by `_`; unique, and may be empty.
    pub name: String,
    /// What is asked of it; a counter, or else a timer, whose observations count.
    pub requests: &'a Family,
    /// What goes wrong.
    pub errors: Option<Errors<'a>>,
    /// How long it takes: a histogram or a summary.
    pub duration: Option<&'a Family>,
}

/// How errors are told from successes.
#[derive(Clone, Debug)]
pub enum Errors<'a> {
    /// By the value of a label.
    Label {
        /// A counter or timer; its rate is what the errors are a share of.
        family: &'a Family,
        /// The label's name.
        label: &'a str,
        /// A regular expression for the values of the label that are errors.
        pattern: String,
    },
    /// By a counter of their own; [`Service::requests`] is what they are a share of.
    Counter(&'a Family),
}

impl Service<'_> {
    /// What it is called on a dashboard.
    #[must_use]
    pub fn title(&self) -> String {
        let words: Vec<&str> = words(&self.requests.name).filter(|word| is_shared(word)).collect();
        if words.is_empty() { "Requests".to_owned() } else { title(&words.join("_")) }
    }

    /// How much of rate, errors and duration is known, from 1 to 3.
    #[must_use]
    pub fn parts(&self) -> usize {
        1 + usize::from(self.errors.is_some()) + usize::from(self.duration.is_some())
    }
}

/// Words that a service's families do not share.
const ROLE_WORDS: [&str; 27] = [
    "xx",
    "request",
    "response",
    "call",
    "query",
    "querie",
    "rpc",
    "duration",
    "latency",
    "time",
    "timing",
    "elapsed",
    "processing",
    "processed",
    "processe",
    "count",
    "total",
    "handled",
    "served",
    "started",
    "completed",
    "finished",
    "received",
    "statu",
    "status",
    "operation",
    "executed",
];
/// Words for what goes wrong.
const ERROR_WORDS: [&str; 7] =
    ["error", "failed", "failure", "failures", "fail", "exception", "fault"];
/// Words for what is asked.
const REQUEST_WORDS: [&str; 7] =
    ["request", "call", "query", "querie", "rpc", "operation", "processed"];
/// Labels whose values are HTTP statuses; those of several words may have others before them.
const STATUS_LABELS: [&str; 6] =
    ["status", "code", "status_code", "http_code", "http_status", "response_code"];
/// Behind such a name: the values are classes, `5` or `5xx`.
const CLASS: &str = "_class";
/// Labels whose values are words for how it went.
const OUTCOME_LABELS: [&str; 4] = ["outcome", "result", "state", "grpc_status"];
/// Values that are errors.
const ERROR_VALUES: [&str; 12] = [
    "error",
    "errors",
    "err",
    "fail",
    "failed",
    "failure",
    "exception",
    "timeout",
    "rejected",
    "aborted",
    "ko",
    "crashed",
];

#[derive(Default)]
struct Members<'a> {
    counters: Vec<&'a Family>,
    errors: Vec<&'a Family>,
    timers: Vec<&'a Family>,
}

/// The services that the families make up, sorted by name.
#[must_use]
pub fn services<'a>(families: impl IntoIterator<Item = &'a Family>) -> Vec<Service<'a>> {
    let mut members: BTreeMap<String, Members<'a>> = BTreeMap::new();
    // What tallyd counts about servers of others has panels and alerts of its own.
    for family in families.into_iter().filter(|family| !family.is_of_servers()) {
        let entry = members.entry(shared_words(&family.name)).or_default();
        match family.kind {
            // Bytes and seconds that add up are no requests.
            Kind::Counter if unit::of_values(family) != "short" => {}
            Kind::Counter if has_word(family, &ERROR_WORDS) => entry.errors.push(family),
            Kind::Counter => entry.counters.push(family),
            Kind::Histogram { .. } | Kind::Summary { .. } if is_time(family) => {
                entry.timers.push(family);
            }
            Kind::Histogram { .. } | Kind::Summary { .. } | Kind::Gauge | Kind::Set => {}
        }
    }
    members.into_iter().filter_map(|(name, members)| service(name, &members)).collect()
}

fn service<'a>(name: String, members: &Members<'a>) -> Option<Service<'a>> {
    let Members { counters, errors, timers } = members;
    let duration = timers.iter().copied().max_by_key(|timer| words(&timer.name).count());
    let duration = timers.first().copied().filter(|_| timers.len() == 1).or(duration);
    let labelled = counters.iter().chain(timers).find_map(|family| error_label(family));
    let asked = counters.iter().copied().find(|counter| has_word(counter, &REQUEST_WORDS));
    let by_label = labelled.as_ref().and_then(|errors| match errors {
        Errors::Label { family, .. } => Some(*family),
        Errors::Counter(_) => None,
    });
    let requests = asked.or(by_label).or_else(|| counters.first().copied()).or(duration)?;
    let errors = labelled.or_else(|| errors.first().copied().map(Errors::Counter));
    let has_pair = duration.is_some() && matches!(requests.kind, Kind::Counter);
    (errors.is_some() || has_pair).then_some(Service { name, requests, errors, duration })
}

/// How a counter's or timer's own label tells errors, if one does.
fn error_label(family: &Family) -> Option<Errors<'_>> {
    family.labels.iter().find_map(|label| {
        let pattern = error_pattern(label)?;
        Some(Errors::Label { family, label: &label.name, pattern })
    })
}

/// Which values of a label are errors; none where they do not tell.
fn error_pattern(label: &Label) -> Option<String> {
    let stem = label.name.strip_suffix(CLASS);
    let is_status = is_status(stem.unwrap_or(&label.name));
    if !is_status && !OUTCOME_LABELS.contains(&label.name.as_str()) {
        return None;
    }
    let is_error = |value: &&String| ERROR_VALUES.contains(&value.to_ascii_lowercase().as_str());
    let mut errors: Vec<&str> =
        label.examples.iter().filter(is_error).map(String::as_str).collect();
    let is_code = |value: &String| {
        let has_length = value.len() == 3 || (stem.is_some() && value.len() == 1);
        has_length && value.starts_with(|first| ('1'..='5').contains(&first))
    };
    if label.examples.iter().any(is_code) || (is_status && label.examples.is_empty()) {
        errors.insert(0, if stem.is_some() { "5(..)?" } else { "5.." });
    }
    (!errors.is_empty()).then(|| errors.join("|"))
}

fn is_status(name: &str) -> bool {
    let is_end = |known: &&str| {
        let before = name.strip_suffix(*known);
        before == Some("")
            || (known.contains('_') && before.is_some_and(|rest| rest.ends_with('_')))
    };
    STATUS_LABELS.iter().any(is_end)
}

/// The words of a name that say whose it is, in the singular.
fn shared_words(name: &str) -> String {
    let words = words(name).filter(|word| is_shared(word)).map(singular);
    words.collect::<Vec<_>>().join("_")
}

fn is_shared(word: &str) -> bool {
    let word = singular(word);
    !ROLE_WORDS.contains(&word)
        && !ERROR_WORDS.contains(&word)
        && !unit::is_unit_word(&format!("{word}s"))
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem,
        _ => word,
    }
}

fn has_word(family: &Family, wanted: &[&str]) -> bool {
    words(&family.name).any(|word| wanted.contains(&singular(word)))
}

fn is_time(family: &Family) -> bool {
    matches!(unit::of_values(family).as_str(), "s" | "ms" | "µs" | "ns" | "m" | "h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_their_roles_are_one_service() {
        check(
            &[
                "gunicorn_requests_total c",
                "gunicorn_responses_total c code=200,503",
                "gunicorn_request_duration_seconds h",
                "gunicorn_workers g",
            ],
            &[
                "gunicorn: gunicorn_requests_total; gunicorn_responses_total{code=~\"5..\"}; gunicorn_request_duration_seconds",
            ],
        );
        check(
            &["jobs_processed_total c", "jobs_failed_total c", "job_duration_seconds s"],
            &["job: jobs_processed_total; jobs_failed_total; job_duration_seconds"],
        );
    }

    #[test]
    fn a_timer_with_a_status_is_enough() {
        check(
            &["http_request_duration_seconds h status="],
            &[
                "http: http_request_duration_seconds; http_request_duration_seconds{status=~\"5..\"}; http_request_duration_seconds",
            ],
        );
        check(&["http_request_duration_seconds h path="], &[]);
    }

    #[test]
    fn statuses_come_in_codes_and_classes() {
        for (label, pattern) in [
            ("status=", Some("5..")),
            ("envoy_response_code=200", Some("5..")),
            ("envoy_response_code_class=2,5", Some("5(..)?")),
            ("status_class=2xx", Some("5(..)?")),
            ("country_code=200", None),
            ("status=up,down", None),
        ] {
            let family = family(&format!("rq c {label}"));
            let found = error_pattern(&family.labels[0]);
            assert_eq!(found.as_deref(), pattern, "{label}");
        }
    }

    #[test]
    fn words_for_outcomes_are_taken_from_the_values() {
        check(
            &["mails_total c result=failed,ok,timeout"],
            &["mail: mails_total; mails_total{result=~\"failed|timeout\"}; -"],
        );
        check(&["mails_total c result=ok"], &[]);
        check(&["mails_total c result="], &[]);
    }

    #[test]
    fn strangers_are_no_service() {
        check(&["a_requests_total c", "b_request_duration_seconds h"], &[]);
        check(&["a_requests_total c", "a_requests h"], &[]);
        check(&["a_errors_total c"], &[]);
        check(&["a_request_bytes_total c status=500"], &[]);
    }

    /// Families as `NAME KIND [LABEL=VALUES]`.
    #[track_caller]
    fn check(families: &[&str], expected: &[&str]) {
        let families: Vec<Family> = families.iter().map(|text| family(text)).collect();
        let found: Vec<String> = services(&families).iter().map(text).collect();
        assert_eq!(found, expected);
    }

    fn family(text: &str) -> Family {
        let mut parts = text.split(' ');
        let name = parts.next().unwrap_or_default().to_owned();
        let kind = match parts.next() {
            Some("c") => Kind::Counter,
            Some("h") => Kind::Histogram { bounds: vec![1.0], native: false },
            Some("s") => Kind::Summary { quantiles: vec![0.5] },
            _ => Kind::Gauge,
        };
        let labels = parts.filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, values)| Label {
            name: name.to_owned(),
            values: None,
            examples: values.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect(),
        });
        let labels = labels.collect();
        Family { name, kind, help: String::new(), unit: None, rule: None, labels, series: None }
    }

    fn text(service: &Service<'_>) -> String {
        let errors = match &service.errors {
            None => "-".to_owned(),
            Some(Errors::Counter(family)) => family.name.clone(),
            Some(Errors::Label { family, label, pattern }) => {
                format!("{}{{{label}=~\"{pattern}\"}}", family.name)
            }
        };
        let duration = service.duration.map_or("-", |family| &family.name);
        format!("{}: {}; {errors}; {duration}", service.name, service.requests.name)
    }
}
