//! The rules of a service: how fast it is, how much of it fails, whether it is there.

use std::collections::BTreeMap;

use crate::chart::figure::digits;
use crate::grafana::inventory::{Family, Kind};
use crate::grafana::promql::scraped;
use crate::grafana::red::{Errors, Service};
use crate::grafana::{names, unit};

use super::expression::{Form, Level, Samples, duration, percentile};
use super::proof::{Input, constant, rising};
use super::thresholds::{AlertKind, Condition, Thresholds};
use super::{Alert, Proof, Recording, Rule};

/// Over how many seconds a service must have had requests to be missed.
const MISSED_SECONDS: u64 = 3600;
/// Whose buckets reach beyond this is not asked and answered, but works for as long as it takes.
const JOB_SECONDS: f64 = 60.0;
/// What labels are called in proofs.
const SOMETHING: &str = "demo";
const INSTANCE: &str = "demo:9102";

/// The recordings and alerts of one service.
pub(super) fn rules(service: &Service<'_>, thresholds: &Thresholds) -> Vec<Rule> {
    let subject = Subject { name: camel(&service.title()), title: service.title() };
    let level = Level::of(&[service.requests], thresholds);
    let mut rules = vec![Rule::Record(rate(service.requests, &level, thresholds))];
    rules.extend(error_rules(service, &subject, thresholds));
    if let Some(timer) = service.duration {
        rules.extend(latency_rules(timer, &subject, thresholds));
    }
    rules.extend(silence(service, &subject, thresholds));
    rules
}

/// The recorded quantiles of a histogram; nothing for other families.
pub(super) fn quantiles(family: &Family, thresholds: &Thresholds) -> Vec<Rule> {
    let quantiles = thresholds.quantiles.iter();
    quantiles.filter_map(|q| quantile(family, *q, thresholds)).map(Rule::Record).collect()
}

/// The latency rules of a timer of no service; only where the thresholds name it.
pub(super) fn wanted_latency(family: &Family, thresholds: &Thresholds) -> Vec<Rule> {
    let is_wanted =
        thresholds.condition(AlertKind::Latency, Some(family)).is_some_and(|c| c.is_explicit);
    let is_observer = matches!(family.kind, Kind::Histogram { .. } | Kind::Summary { .. });
    if !is_wanted || !is_observer {
        return Vec::new();
    }
    let title = names::title(&family.name);
    latency_rules(family, &Subject { name: camel(&title), title }, thresholds)
}

/// What an alert is about.
struct Subject {
    /// For the alert's name.
    name: String,
    /// For people.
    title: String,
}

impl Subject {
    fn alert(&self, suffix: &str, condition: Condition) -> Alert {
        let name = format!("{}{suffix}", self.name);
        let mut annotations = BTreeMap::new();
        if let Some(url) = condition.runbook_url {
            annotations.insert("runbook_url".to_owned(), url.replace("{alert}", &name));
        }
        Alert {
            name,
            expr: String::new(),
            plain_expr: String::new(),
            for_seconds: condition.for_seconds,
            labels: condition.labels,
            annotations,
            proof: None,
        }
    }
}

impl Alert {
    /// The same with a condition, which is given what recordings are called or what they record.
    fn when<const N: usize>(
        self,
        recordings: [&Recording; N],
        condition: impl Fn([String; N]) -> String,
    ) -> Self {
        Self {
            expr: condition(recordings.map(Recording::recorded)),
            plain_expr: condition(recordings.map(Recording::plain)),
            ..self
        }
    }

    /// The same with words for people.
    pub(super) fn saying(mut self, summary: String, description: String) -> Self {
        self.annotations.insert("summary".to_owned(), summary);
        self.annotations.insert("description".to_owned(), description);
        self
    }
}

fn rate(family: &Family, level: &Level, thresholds: &Thresholds) -> Recording {
    let seconds = thresholds.window_seconds;
    let samples = Samples { family, matcher: "", seconds };
    let metric = match Form::of(family) {
        Form::Counter => metric(family).to_owned(),
        _ => format!("{}_count", family.name),
    };
    let record = level.record(&metric, &format!("rate{}", duration(seconds)));
    Recording { record, expr: samples.rate(level) }
}

/// A counter's name in the name of a rate: Prometheus leaves `_total` out of it.
fn metric(family: &Family) -> &str {
    family.name.strip_suffix("_total").unwrap_or(&family.name)
}

fn quantile(family: &Family, quantile: f64, thresholds: &Thresholds) -> Option<Recording> {
    let level = Level::of(&[family], thresholds);
    let seconds = thresholds.window_seconds;
    let expr = Samples { family, matcher: "", seconds }.quantile(quantile, &level)?;
    let operation = format!("{}_rate{}", percentile(quantile), duration(seconds));
    Some(Recording { record: level.record(&family.name, &operation), expr })
}

fn error_rules(service: &Service<'_>, subject: &Subject, thresholds: &Thresholds) -> Vec<Rule> {
    let (asked, failed, matcher, level, label) = match &service.errors {
        None => return Vec::new(),
        Some(Errors::Label { family, label, pattern }) => {
            let matcher = format!("{}=~\"{}\"", scraped(label), pattern.replace('\\', "\\\\"));
            (*family, *family, matcher, Level::of(&[*family], thresholds), Some((*label, pattern)))
        }
        Some(Errors::Counter(failed)) => {
            let level = Level::of(&[service.requests, *failed], thresholds);
            (service.requests, *failed, String::new(), level, None)
        }
    };
    let seconds = thresholds.window_seconds;
    let rate = rate(asked, &level, thresholds);
    let errors = Samples { family: failed, matcher: &matcher, seconds }.rate(&level);
    // Without the zeros a service without errors would have no ratio, and no end of its alert.
    let expr = format!("({errors} or 0 * {rate}) / {rate}", rate = rate.plain());
    let metric = match label {
        Some(_) => format!("{}_errors", metric(failed)),
        None => metric(failed).to_owned(),
    };
    let ratio = Recording {
        record: level.record(&metric, &format!("ratio_rate{}", duration(seconds))),
        expr,
    };
    let mut rules = vec![Rule::Record(rate.clone()), Rule::Record(ratio.clone())];
    if let Some(condition) = thresholds.condition(AlertKind::Errors, Some(asked)) {
        let facts = ErrorFacts { asked, failed, label, level: &level };
        let alert = facts.alert(subject, condition, [&ratio, &rate]);
        rules.push(Rule::Alert(Box::new(alert)));
    }
    rules
}

/// Where requests and their errors are counted.
struct ErrorFacts<'a> {
    asked: &'a Family,
    failed: &'a Family,
    /// The label of errors and which of its values are.
    label: Option<(&'a str, &'a String)>,
    level: &'a Level,
}

impl ErrorFacts<'_> {
    fn alert(&self, subject: &Subject, condition: Condition, recordings: [&Recording; 2]) -> Alert {
        let (threshold, min_rate, hold) =
            (condition.threshold, condition.min_rate, condition.for_seconds);
        let summary = format!(
            "{}: {{{{ $value | humanizePercentage }}}} of the requests of {} fail",
            subject.title,
            self.level.template()
        );
        let description = format!(
            "More than {} % of {} failed for {}.",
            digits(threshold * 100.0),
            self.asked.name,
            duration(hold)
        );
        let proof = self.proof(&condition);
        let mut alert = subject
            .alert("ErrorRatioHigh", condition)
            .saying(summary, description)
            .when(recordings, |[ratio, rate]| {
                format!("{ratio} > {threshold} and {rate} > {min_rate}")
            });
        alert.proof = Some(proof).filter(|_| {
            ![self.asked, self.failed].iter().any(|family| Form::of(family) == Form::Native)
        });
        alert
    }

    fn proof(&self, condition: &Condition) -> Proof {
        let minutes = condition.for_seconds / 60 + 20;
        let step = busy_step(condition);
        let good = self.label.map(|(label, _)| (label, "fine"));
        let bad = self.label.map(|(label, pattern)| (label, example(pattern)));
        let bad = bad.as_ref().map(|(label, value)| (*label, value.as_str()));
        let count =
            |family, label, step| observed(family, self.level, label, rising(step, minutes));
        // All requests fail, or none.
        let asked = count(self.asked, good, if good.is_some() { 0 } else { step });
        Proof {
            fires: vec![asked, count(self.failed, bad, step)],
            rests: vec![count(self.asked, good, step), count(self.failed, bad, 0)],
            minute: minutes,
            labels: proof_labels(self.level),
        }
    }
}

fn latency_rules(timer: &Family, subject: &Subject, thresholds: &Thresholds) -> Vec<Rule> {
    let Some(condition) = thresholds.condition(AlertKind::Latency, Some(timer)) else {
        return Vec::new();
    };
    let level = Level::of(&[timer], thresholds);
    let rate = rate(timer, &level, thresholds);
    let mut rules = vec![Rule::Record(rate.clone())];
    let Some(limit) = Limit::of(timer, &condition) else { return Vec::new() };
    let min_rate = condition.min_rate;
    let proof = limit.proof(timer, &level, &condition);
    let (summary, description) = limit.words(timer, subject, &level, condition.for_seconds);
    let alert = subject.alert("LatencyHigh", condition).saying(summary, description);
    let recorded = quantile(timer, limit.quantile, thresholds);
    rules.extend(recorded.clone().map(Rule::Record));
    let told = recorded.unwrap_or_else(|| {
        // Quantiles of several summaries cannot be added up; the worst one counts.
        let by = level.with(&[]);
        let worst = format!("max by ({by}) ({}{{quantile=\"{}\"}})", timer.name, limit.quantile);
        Recording { record: worst.clone(), expr: worst }
    });
    let mut alert = alert.when([&told, &rate], |[quantile, rate]| {
        format!("{quantile} {} {} and {rate} > {min_rate}", limit.operator, limit.value)
    });
    alert.proof = proof;
    rules.push(Rule::Alert(Box::new(alert)));
    rules
}

/// The limit of a quantile, in the timer's own unit.
struct Limit {
    quantile: f64,
    operator: &'static str,
    value: f64,
    unit: &'static str,
}

impl Limit {
    /// None where a summary has no quantile, and for jobs that nobody named.
    fn of(timer: &Family, condition: &Condition) -> Option<Self> {
        let (unit, per_second) = match unit::of_values(timer).as_str() {
            "ms" => ("ms", 1e3),
            "µs" => ("µs", 1e6),
            "ns" => ("ns", 1e9),
            "m" => ("min", 1.0 / 60.0),
            "h" => ("h", 1.0 / 3600.0),
            "s" => ("s", 1.0),
            // Somebody named a family that is no time; the threshold is in its own unit.
            _ => ("", 1.0),
        };
        // Rounded, as 0.0003 s would be 299.99999999999994 µs.
        let value = (condition.threshold * per_second * 1e6).round() / 1e6;
        let (mut value, mut operator) = (value, ">");
        let mut quantile = condition.quantile;
        match &timer.kind {
            Kind::Histogram { bounds, .. } => {
                let reach = bounds.last().copied().unwrap_or(0.0);
                if reach > JOB_SECONDS * per_second && !condition.is_explicit {
                    return None;
                }
                // Where native buckets may be asked as well, the classic bounds say nothing of them.
                if let (Some(first), Some(last), Form::Classic) =
                    (bounds.first(), bounds.last(), Form::of(timer))
                {
                    // What lies beyond the last bucket is told as its bound, and nothing below the
                    // first one can be told apart.
                    if value >= *last {
                        (value, operator) = (*last, ">=");
                    }
                    value = value.max(*first);
                }
            }
            Kind::Summary { quantiles } => {
                let above = quantiles.iter().copied().find(|q| *q >= quantile);
                quantile = above.or(quantiles.last().copied())?;
            }
            Kind::Counter | Kind::Gauge | Kind::Set => return None,
        }
        Some(Self { quantile, operator, value, unit })
    }

    fn words(
        &self,
        timer: &Family,
        subject: &Subject,
        level: &Level,
        hold: u64,
    ) -> (String, String) {
        let percentile = percentile(self.quantile);
        let shown = match self.unit {
            "s" => "{{ $value | humanizeDuration }}".to_owned(),
            "" => "{{ $value | humanize }}".to_owned(),
            unit => format!("{{{{ $value | printf \"%.3g\" }}}} {unit}"),
        };
        let summary = format!("{}: {percentile} of {} is {shown}", subject.title, level.template());
        let description = format!(
            "{percentile} of {} was {} {} for {}.",
            timer.name,
            if self.operator == ">" { "above" } else { "at or above" },
            format!("{} {}", self.value, self.unit).trim_end(),
            duration(hold)
        );
        (summary, description)
    }

    fn proof(&self, timer: &Family, level: &Level, condition: &Condition) -> Option<Proof> {
        let minutes = condition.for_seconds / 60 + 20;
        let step = busy_step(condition);
        let labels = proof_labels(level);
        let count = || observed(timer, level, None, rising(step, minutes));
        let with = |suffix: &str, label: (&str, &str), values: String| {
            let labels = series_labels(level, Some(label));
            Input::new(&format!("{}{suffix}", timer.name), &borrowed(&labels), values)
        };
        let (fires, rests) = match &timer.kind {
            Kind::Summary { .. } => {
                let quantile = self.quantile.to_string();
                let told = |value| with("", ("quantile", &quantile), constant(value, minutes));
                (vec![told(self.value + 1.0), count()], vec![told(self.value / 2.0), count()])
            }
            Kind::Histogram { bounds, native } if !bounds.is_empty() || !native => {
                let around = [self.value / 4.0, self.value * 2.0];
                let bounds = if bounds.is_empty() { &around } else { bounds.as_slice() };
                let first = bounds.first().copied().unwrap_or(1.0);
                let last = bounds.last().copied().unwrap_or(1.0);
                if self.value > last || self.value < first {
                    return None;
                }
                let bucket =
                    |bound: &str, step| with("_bucket", ("le", bound), rising(step, minutes));
                let observations = |slow: bool| {
                    let within = if slow { 0 } else { step };
                    let mut series = vec![bucket(&first.to_string(), within)];
                    if last > first {
                        series.push(bucket(&last.to_string(), within));
                    }
                    series.extend([bucket("+Inf", step), count()]);
                    series
                };
                (observations(true), observations(false))
            }
            // promtool of the versions in use cannot write native histograms.
            _ => return None,
        };
        Some(Proof { fires, rests, minute: minutes, labels })
    }
}

/// A service that had requests and has none any more.
fn silence(service: &Service<'_>, subject: &Subject, thresholds: &Thresholds) -> Option<Rule> {
    let family = service.requests;
    let condition = thresholds.condition(AlertKind::Silence, Some(family))?;
    let level = Level::of(&[family], thresholds);
    let rate = rate(family, &level, thresholds);
    let long = Recording {
        expr: Samples { family, matcher: "", seconds: MISSED_SECONDS }.rate(&level),
        // The hour's average costs a series each instead of all that they are made of.
        record: format!("avg_over_time({}[{}])", rate.record, duration(MISSED_SECONDS)),
    };
    let min_rate = condition.min_rate;
    let lead = MISSED_SECONDS / 60;
    let minutes = lead + (thresholds.window_seconds + condition.for_seconds) / 60 + 2;
    // So many that the hour's average stays above the least rate until the alert has fired.
    let step = busy_step(&condition) * (1 + minutes / 30);
    let count = |values| vec![observed(family, &level, None, values)];
    let proof = Proof {
        fires: count(format!("0+{step}x{lead} {}x{minutes}", step * lead)),
        rests: count(rising(step, minutes)),
        minute: minutes,
        labels: proof_labels(&level),
    };
    let summary = format!("{}: {} has no requests any more", subject.title, level.template());
    let description = format!(
        "{} had requests within the last hour and has had none for {}.",
        family.name,
        duration(thresholds.window_seconds + condition.for_seconds)
    );
    // Far longer than an hour ago nothing is left to miss.
    let is_provable = Form::of(family) != Form::Native && minutes < 2 * lead;
    let mut alert = subject
        .alert("Silent", condition)
        .saying(summary, description)
        .when([&long, &rate], |[long, rate]| format!("{long} > {min_rate} unless {rate} > 0"));
    alert.proof = is_provable.then_some(proof);
    Some(Rule::Alert(Box::new(alert)))
}

/// Services of which there is no series at all: each that has been seen, and of those of a group
/// that a mapping promises whichever come, since nobody sends all that it could.
pub(super) fn absences(services: &[&Service<'_>], thresholds: &Thresholds) -> Vec<Rule> {
    let (seen, promised): (Vec<&Service<'_>>, Vec<&Service<'_>>) =
        services.iter().copied().partition(|service| service.requests.series.is_some());
    let mut rules: Vec<Rule> =
        seen.iter().filter_map(|service| absence(service, &[], thresholds)).collect();
    if let Some((first, others)) = promised.split_first() {
        rules.extend(absence(first, others, thresholds));
    }
    rules
}

fn absence(
    service: &Service<'_>,
    others: &[&Service<'_>],
    thresholds: &Thresholds,
) -> Option<Rule> {
    let family = service.requests;
    let condition = thresholds.condition(AlertKind::Absence, Some(family))?;
    let group = names::words(&family.name).next().unwrap_or_default();
    let title = if others.is_empty() { service.title() } else { names::title(group) };
    let subject = Subject { name: camel(&title), title };
    let exposed = |service: &Service<'_>| {
        let name = &service.requests.name;
        match Form::of(service.requests) {
            Form::Counter | Form::Native => name.clone(),
            Form::Summary | Form::Classic => format!("{name}_count"),
            Form::Both => format!("{name}|{name}_count"),
        }
    };
    let names: Vec<String> =
        std::iter::once(service).chain(others.iter().copied()).map(exposed).collect();
    let names = names.join("|");
    let expr = if names.contains('|') {
        format!("absent({{__name__=~\"{names}\"}})")
    } else {
        format!("absent({names})")
    };
    let what = if others.is_empty() { family.name.clone() } else { format!("{group}_*") };
    let minute = condition.for_seconds / 60 + 2;
    let level = Level::of(&[family], thresholds);
    let proof = Proof {
        fires: Vec::new(),
        rests: vec![observed(family, &level, None, rising(60, minute))],
        minute,
        labels: BTreeMap::new(),
    };
    let summary = format!("{}: there are no series of {what}", subject.title);
    let description = format!(
        "No target has exposed {what} for {}; nothing is sent, or nobody receives it.",
        duration(condition.for_seconds)
    );
    let alert = Alert {
        plain_expr: expr.clone(),
        expr,
        proof: Some(proof).filter(|_| Form::of(family) != Form::Native),
        ..subject.alert("Absent", condition).saying(summary, description)
    };
    Some(Rule::Alert(Box::new(alert)))
}

/// So many a minute that it is certainly not too few.
fn busy_step(condition: &Condition) -> u64 {
    let wanted = (condition.min_rate * 120.0).ceil();
    // A rate that no exporter reaches is the file's own fault; the proof fails then.
    format!("{wanted:.0}").parse().unwrap_or(u64::MAX / 1000).saturating_add(60)
}

/// A series of how many samples there were.
fn observed(family: &Family, level: &Level, label: Option<(&str, &str)>, values: String) -> Input {
    let labels = series_labels(level, label);
    let name = match Form::of(family) {
        Form::Counter => family.name.clone(),
        _ => format!("{}_count", family.name),
    };
    Input::new(&name, &borrowed(&labels), values)
}

fn series_labels(level: &Level, more: Option<(&str, &str)>) -> BTreeMap<String, String> {
    let mut labels = proof_labels(level);
    labels.insert("instance".to_owned(), INSTANCE.to_owned());
    labels.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels
}

fn proof_labels(level: &Level) -> BTreeMap<String, String> {
    level.labels().iter().map(|label| (label.clone(), SOMETHING.to_owned())).collect()
}

fn borrowed(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A value that the pattern of errors matches: of `5(..)?|error` it is `500`.
fn example(pattern: &str) -> String {
    let first = pattern.split('|').next().unwrap_or_default();
    first.replace(['(', ')', '?'], "").replace('.', "0")
}

/// A title as one word: `API requests` is `APIRequests`.
fn camel(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.map(names::capitalized).collect()
}
