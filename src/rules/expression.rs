//! Expressions, from parts that are known to be right: rates before sums, `le` kept, no label dropped
//! that an alert names.

use crate::grafana::inventory::{Family, Kind};
use crate::grafana::promql::scraped;

use super::Recording;
use super::thresholds::Thresholds;

/// More values than this are no services but users, paths or the like.
const MAX_SERVICES: u64 = 50;

/// The labels that an aggregation keeps, `job` first.
#[derive(Clone, Debug)]
pub(super) struct Level(Vec<String>);

impl Level {
    /// What tells services apart in all of some families.
    pub(super) fn of(families: &[&Family], thresholds: &Thresholds) -> Self {
        let has = |family: &Family, wanted: &str| {
            let label = family.labels.iter().find(|label| label.name == wanted);
            label.is_some_and(|label| label.values.is_none_or(|values| values <= MAX_SERVICES))
        };
        let is_everywhere = |label: &&String| families.iter().all(|family| has(family, label));
        let by =
            thresholds.by.iter().filter(is_everywhere).map(|label| scraped(label).into_owned());
        Self(std::iter::once("job".to_owned()).chain(by).collect())
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.0
    }

    /// For `by (…)`, with more labels behind.
    pub(super) fn with(&self, more: &[&str]) -> String {
        let labels = self.0.iter().map(String::as_str).chain(more.iter().copied());
        labels.collect::<Vec<_>>().join(", ")
    }

    /// The name of what an operation on a metric gives at this level.
    pub(super) fn record(&self, metric: &str, operation: &str) -> String {
        format!("{}:{metric}:{operation}", self.0.join("_"))
    }

    /// The labels in a text that alerts expand.
    pub(super) fn template(&self) -> String {
        let labels = self.0.iter().map(|label| format!("{{{{ $labels.{label} }}}}"));
        labels.collect::<Vec<_>>().join("/")
    }
}

/// Which samples of a family are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples<'a> {
    pub(super) family: &'a Family,
    /// What stands between the braces; may be empty.
    pub(super) matcher: &'a str,
    /// Over how many seconds.
    pub(super) seconds: u64,
}

impl Samples<'_> {
    /// How many there are a second: increments of a counter, observations of a timer.
    pub(super) fn rate(self, level: &Level) -> String {
        let by = level.with(&[]);
        let native = || format!("histogram_count(sum by ({by}) (rate({})))", self.range(""));
        let plain = |suffix| format!("sum by ({by}) (rate({}))", self.range(suffix));
        match Form::of(self.family) {
            Form::Counter => plain(""),
            Form::Summary | Form::Classic => plain("_count"),
            Form::Native => native(),
            Form::Both => format!("{} or {}", plain("_count"), native()),
        }
    }

    /// A quantile of a histogram; none for what is not one.
    pub(super) fn quantile(self, quantile: f64, level: &Level) -> Option<String> {
        let native = || {
            let by = level.with(&[]);
            format!("histogram_quantile({quantile}, sum by ({by}) (rate({})))", self.range(""))
        };
        let classic = || {
            let (by, buckets) = (level.with(&["le"]), self.range("_bucket"));
            format!("histogram_quantile({quantile}, sum by ({by}) (rate({buckets})))")
        };
        match Form::of(self.family) {
            Form::Counter | Form::Summary => None,
            Form::Classic => Some(classic()),
            Form::Native => Some(native()),
            Form::Both => Some(format!("{} or {}", classic(), native())),
        }
    }

    fn range(self, suffix: &str) -> String {
        let braces = match self.matcher {
            "" => String::new(),
            matcher => format!("{{{matcher}}}"),
        };
        format!("{}{suffix}{braces}[{}]", self.family.name, duration(self.seconds))
    }
}

/// How the samples of a family are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One series each; gauges as well.
    Counter,
    /// `_sum` and `_count` beside quantiles.
    Summary,
    /// `_bucket`, `_sum` and `_count`.
    Classic,
    /// Histograms as values.
    Native,
    /// One or the other, as Prometheus asks.
    Both,
}

impl Form {
    pub(super) fn of(family: &Family) -> Self {
        match &family.kind {
            Kind::Counter | Kind::Gauge | Kind::Set => Self::Counter,
            Kind::Summary { .. } => Self::Summary,
            Kind::Histogram { native: false, .. } => Self::Classic,
            Kind::Histogram { native: true, bounds } if bounds.is_empty() => Self::Native,
            Kind::Histogram { .. } => Self::Both,
        }
    }
}

impl Recording {
    /// The name of the recorded series.
    pub(super) fn recorded(&self) -> String {
        self.record.clone()
    }

    /// The expression itself, as a part of a larger one.
    pub(super) fn plain(&self) -> String {
        let is_joined = self.expr.contains(" or ") || self.expr.contains(" / ");
        if is_joined { format!("({})", self.expr) } else { self.expr.clone() }
    }
}

/// Seconds as Prometheus writes them: `90` is `1m30s`.
pub(super) fn duration(seconds: u64) -> String {
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= length {
            text += &(rest / length).to_string();
            text += unit;
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A quantile in a name: `0.99` is `p99`, `0.999` is `p999`.
pub(super) fn percentile(quantile: f64) -> String {
    let text = format!("{:.3}", quantile * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("p{}", text.replace('.', ""))
}
