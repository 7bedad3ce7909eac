//! What counts as too much, and who wants to know: the thresholds file.
//!
//! Every key may be left out. `families` change the rules of those whose name matches; where
//! several match, the later one wins.
//!
//! ```yaml
//! by: [service]              # labels, beside `job`, for whose every value an alert fires
//! window: 5m                 # what rates are taken over
//! quantiles: [.5, .95, .99]  # what is recorded of histograms
//! labels: {team: shop}       # added to every alert
//! runbook_url: https://runbooks.example.org/{alert}
//! alerts:
//!   latency: {threshold: .5, quantile: .95, min_rate: 1, for: 10m, severity: warning}
//!   unmapped: {enabled: false}
//! families:
//! - match: api_*
//!   labels: {team: api}
//!   alerts:
//!     errors: {threshold: .01, severity: critical}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::grafana::inventory::Family;
use crate::units::parse_go_duration;

mod kind;

pub use kind::AlertKind;

/// What counts as too much, and who wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Labels that tell services apart, beside `job`.
    pub by: Vec<String>,
    /// Seconds that rates are taken over.
    pub window_seconds: u64,
    /// The quantiles that are recorded of histograms, rising.
    pub quantiles: Vec<f64>,
    general: Settings,
    families: Vec<(String, Settings)>,
}

/// When an alert fires and what it carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// More than this is too much; seconds, a share, or what the kind counts.
    pub threshold: f64,
    /// The quantile that is compared.
    pub quantile: f64,
    /// Fewer requests a second than this tell nothing.
    pub min_rate: f64,
    /// For how many seconds it must be so.
    pub for_seconds: u64,
    /// The label `severity` and those the file adds.
    pub labels: BTreeMap<String, String>,
    /// Where to read what to do; `{alert}` stands for the alert's name.
    pub runbook_url: Option<String>,
    /// Whether the file names this kind for the family at hand.
    pub is_explicit: bool,
}

/// What is said for all families, or for some.
#[derive(Clone, Debug, Default, PartialEq)]
struct Settings {
    labels: BTreeMap<String, String>,
    runbook_url: Option<String>,
    alerts: BTreeMap<AlertKind, Setting>,
}

/// What is said of one kind of alert.
#[derive(Clone, Debug, Default, PartialEq)]
struct Setting {
    enabled: Option<bool>,
    threshold: Option<f64>,
    quantile: Option<f64>,
    min_rate: Option<f64>,
    for_seconds: Option<u64>,
    severity: Option<String>,
}

/// Why a thresholds file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ThresholdsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file says something that makes no sense.
    #[error("{}:{place}{problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line and column, such as `3:7: `.
        place: String,
        /// What is wrong there.
        problem: String,
    },
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            by: vec!["service".to_owned()],
            window_seconds: 300,
            quantiles: vec![0.5, 0.95, 0.99],
            general: Settings::default(),
            families: Vec::new(),
        }
    }
}

impl Thresholds {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or with the line and the column of what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, ThresholdsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ThresholdsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|Fault { place, problem }| ThresholdsError::Invalid {
            path: path.to_owned(),
            place,
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { with_snippet: false };
        let raw: Option<Raw> = serde_saphyr::from_str_with_options(text, options)?;
        raw.unwrap_or_default().check()
    }

    /// When an alert of `kind` fires, on the exporter or, for a family, on what it belongs to;
    /// none when nobody wants it.
    #[must_use]
    pub fn condition(&self, kind: AlertKind, family: Option<&Family>) -> Option<Condition> {
        let matching = self.families.iter().filter(|(pattern, _)| {
            family.is_some_and(|family| is_match(pattern.as_bytes(), family.name.as_bytes()))
        });
        let mut condition = kind.defaults();
        let mut is_enabled = true;
        for (depth, settings) in
            std::iter::once(&self.general).chain(matching.map(|(_, settings)| settings)).enumerate()
        {
            let labels = settings.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
            condition.labels.extend(labels);
            if settings.runbook_url.is_some() {
                condition.runbook_url.clone_from(&settings.runbook_url);
            }
            if let Some(setting) = settings.alerts.get(&kind) {
                condition.is_explicit |= depth > 0;
                is_enabled = setting.enabled.unwrap_or(is_enabled);
                setting.apply(&mut condition);
            }
        }
        is_enabled.then_some(condition)
    }
}

impl Setting {
    fn apply(&self, condition: &mut Condition) {
        condition.threshold = self.threshold.unwrap_or(condition.threshold);
        condition.quantile = self.quantile.unwrap_or(condition.quantile);
        condition.min_rate = self.min_rate.unwrap_or(condition.min_rate);
        condition.for_seconds = self.for_seconds.unwrap_or(condition.for_seconds);
        if let Some(severity) = &self.severity {
            condition.labels.insert("severity".to_owned(), severity.clone());
        }
    }
}

/// Whether a name is what a pattern says, in which `*` stands for any text.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=name.len()).any(|skipped| is_match(rest, name.get(skipped..).unwrap_or_default()))
        }
        (Some((wanted, pattern)), Some((letter, name))) if wanted == letter => {
            is_match(pattern, name)
        }
        _ => false,
    }
}

/// What is wrong, and where.
#[derive(Debug)]
struct Fault {
    place: String,
    problem: String,
}

impl Fault {
    fn at<T>(value: &Spanned<T>, problem: impl Into<String>) -> Self {
        let place = format!("{}:{}: ", value.referenced.line(), value.referenced.column());
        Self { place, problem: problem.into() }
    }
}

impl From<serde_saphyr::Error> for Fault {
    fn from(error: serde_saphyr::Error) -> Self {
        let place = error.location().map_or(" ".to_owned(), |location| {
            format!("{}:{}: ", location.line(), location.column())
        });
        let text = error.without_snippet().to_string();
        let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Self { place, problem }
    }
}

/// The file as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    by: Option<Vec<Spanned<String>>>,
    window: Option<Spanned<String>>,
    quantiles: Option<Vec<Spanned<f64>>>,
    labels: BTreeMap<String, Spanned<String>>,
    runbook_url: Option<String>,
    alerts: BTreeMap<AlertKind, Option<RawSetting>>,
    families: Vec<RawFamilies>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFamilies {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    runbook_url: Option<String>,
    #[serde(default)]
    alerts: BTreeMap<AlertKind, Option<RawSetting>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSetting {
    enabled: Option<bool>,
    threshold: Option<Spanned<f64>>,
    quantile: Option<Spanned<f64>>,
    min_rate: Option<Spanned<f64>>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    severity: Option<Spanned<String>>,
}

impl Raw {
    fn check(self) -> Result<Thresholds, Fault> {
        let defaults = Thresholds::default();
        let by = self.by.map(|labels| labels.into_iter().map(checked_label).collect());
        let window = self.window.as_ref().map(checked_window);
        let quantiles = self.quantiles.map(|quantiles| {
            let checked: Result<Vec<f64>, Fault> = quantiles.iter().map(checked_quantile).collect();
            checked.map(|mut quantiles| {
                quantiles.sort_by(f64::total_cmp);
                quantiles.dedup();
                quantiles
            })
        });
        let families = self.families.into_iter().map(RawFamilies::check);
        Ok(Thresholds {
            by: by.transpose()?.unwrap_or(defaults.by),
            window_seconds: window.transpose()?.unwrap_or(defaults.window_seconds),
            quantiles: quantiles.transpose()?.unwrap_or(defaults.quantiles),
            general: checked_settings(self.labels, self.runbook_url, self.alerts)?,
            families: families.collect::<Result<_, _>>()?,
        })
    }
}

impl RawFamilies {
    fn check(self) -> Result<(String, Settings), Fault> {
        if self.pattern.value.is_empty() {
            return Err(Fault::at(&self.pattern, "an empty pattern matches no family; `*` is all"));
        }
        let settings = checked_settings(self.labels, self.runbook_url, self.alerts)?;
        Ok((self.pattern.value, settings))
    }
}

fn checked_settings(
    labels: BTreeMap<String, Spanned<String>>,
    runbook_url: Option<String>,
    alerts: BTreeMap<AlertKind, Option<RawSetting>>,
) -> Result<Settings, Fault> {
    if let Some((name, value)) = labels.iter().find(|(name, _)| !is_label(name)) {
        return Err(Fault::at(value, format!("`{name}` is not the name of a label")));
    }
    let labels = labels.into_iter().map(|(name, value)| (name, value.value)).collect();
    let mut checked = BTreeMap::new();
    for (kind, setting) in alerts {
        checked.insert(kind, setting.unwrap_or_default().check(kind)?);
    }
    Ok(Settings { labels, runbook_url, alerts: checked })
}

impl RawSetting {
    fn check(self, kind: AlertKind) -> Result<Setting, Fault> {
        let name = kind.as_str();
        if let Some(threshold) = self.threshold.as_ref().filter(|_| !kind.has_threshold()) {
            return Err(Fault::at(threshold, format!("`{name}` has no threshold; remove it")));
        }
        if let Some(quantile) = self.quantile.as_ref().filter(|_| kind != AlertKind::Latency) {
            return Err(Fault::at(quantile, format!("`{name}` has no quantile; remove it")));
        }
        if let Some(rate) = self.min_rate.as_ref().filter(|_| !kind.has_min_rate()) {
            return Err(Fault::at(rate, format!("`{name}` has no min_rate; remove it")));
        }
        if let Some(severity) = self.severity.as_ref().filter(|word| word.value.trim().is_empty()) {
            return Err(Fault::at(severity, "an empty severity reaches nobody; say `warning`"));
        }
        Ok(Setting {
            enabled: self.enabled,
            threshold: self.threshold.as_ref().map(checked_number).transpose()?,
            quantile: self.quantile.as_ref().map(checked_quantile).transpose()?,
            min_rate: self.min_rate.as_ref().map(checked_number).transpose()?,
            for_seconds: self.hold.as_ref().map(checked_seconds).transpose()?,
            severity: self.severity.map(|severity| severity.value),
        })
    }
}

fn checked_label(label: Spanned<String>) -> Result<String, Fault> {
    if !is_label(&label.value) {
        return Err(Fault::at(&label, format!("`{}` is not the name of a label", label.value)));
    }
    Ok(label.value)
}

fn is_label(name: &str) -> bool {
    let is_legal = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
        && name.chars().all(is_legal)
}

fn checked_quantile(quantile: &Spanned<f64>) -> Result<f64, Fault> {
    let value = quantile.value;
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(Fault::at(quantile, format!("{value} is no quantile; write for instance 0.99")))
}

fn checked_number(number: &Spanned<f64>) -> Result<f64, Fault> {
    if number.value.is_finite() && number.value >= 0.0 {
        return Ok(number.value);
    }
    Err(Fault::at(number, format!("{} is not a number of zero or more", number.value)))
}

fn checked_window(text: &Spanned<String>) -> Result<u64, Fault> {
    match checked_seconds(text)? {
        seconds if seconds >= 10 => Ok(seconds),
        // A rate needs two scrapes, and nobody scrapes more than a few times in ten seconds.
        _ => Err(Fault::at(text, "rates need a window of 10s or more, best four scrapes long")),
    }
}

fn checked_seconds(text: &Spanned<String>) -> Result<u64, Fault> {
    let nanos = parse_go_duration(&text.value)
        .map_err(|error| Fault::at(text, format!("`{}` is {error}", text.value)))?;
    let is_whole = nanos >= 0 && nanos % 1_000_000_000 == 0;
    match u64::try_from(nanos / 1_000_000_000) {
        Ok(seconds) if is_whole => Ok(seconds),
        _ => Err(Fault::at(text, format!("`{}` is not a number of whole seconds", text.value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grafana::inventory::Kind;

    #[test]
    fn an_empty_file_leaves_the_defaults() {
        for text in ["", "# nothing\n", "{}"] {
            assert_eq!(Thresholds::parse(text).unwrap(), Thresholds::default(), "{text:?}");
        }
    }

    #[test]
    fn later_families_win_over_earlier_ones_and_these_over_the_rest() {
        let thresholds = Thresholds::parse(
            "labels: {team: all}\n\
             alerts:\n  latency: {threshold: 2, severity: info}\n  errors: {enabled: false}\n\
             families:\n\
             - match: api_*\n  labels: {team: api}\n  alerts: {latency: {quantile: .5, for: 1m}}\n\
             - match: '*_slow'\n  alerts: {latency: {threshold: 9}, errors: {enabled: true}}\n",
        )
        .unwrap();
        let latency = |name| thresholds.condition(AlertKind::Latency, Some(&family(name))).unwrap();
        let (other, fast, slow) = (latency("web"), latency("api_fast"), latency("api_slow"));
        let facts = |condition: &Condition| {
            (condition.threshold, condition.quantile, condition.for_seconds, condition.is_explicit)
        };
        assert_eq!(facts(&other), (2.0, 0.99, 600, false));
        assert_eq!(facts(&fast), (2.0, 0.5, 60, true));
        assert_eq!(facts(&slow), (9.0, 0.5, 60, true));
        assert_eq!((&*other.labels["team"], &*slow.labels["team"]), ("all", "api"));
        assert_eq!(slow.labels["severity"], "info");
        let errors = |name| thresholds.condition(AlertKind::Errors, Some(&family(name)));
        assert!(errors("api_fast").is_none() && errors("api_slow").is_some());
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        check("by: [a-b]", "1:6: `a-b` is not the name of a label");
        check("window: 5", "1:9: `5` is a duration without its unit; write for instance 10s");
        check("window: 1s", "1:9: rates need a window");
        check("quantiles: [.5, 99]", "1:17: 99 is no quantile; write for instance 0.99");
        check("labels:\n  9a: b", "2:7: `9a` is not the name of a label");
        check("alerts:\n  latency: {threshold: -1}", "2:24: -1 is not a number of zero or more");
        check("alerts:\n  latency: {for: 90}", "2:18: `90` is a duration without its unit");
        check("alerts:\n  latency: {for: 1500ms}", "2:18: `1500ms` is not a number of whole");
        check("alerts:\n  errors: {quantile: .9}", "2:22: `errors` has no quantile; remove it");
        check("alerts:\n  down: {threshold: 1}", "2:21: `down` has no threshold; remove it");
        check("alerts:\n  down: {min_rate: 1}", "2:20: `down` has no min_rate; remove it");
        check("alerts:\n  errors: {severity: ''}", "2:22: an empty severity reaches nobody");
        check("families:\n- match: ''", "2:10: an empty pattern matches no family");
        check("alerts:\n  latencie: {}", "2:3: ");
        check("windows: 5m", "1:1: unknown field `windows`");
        check("- a", "1:1: ");
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let fault = Thresholds::parse(text).unwrap_err();
        let message = format!("{}{}", fault.place, fault.problem);
        assert!(message.starts_with(expected), "{message}");
    }

    fn family(name: &str) -> Family {
        Family {
            name: name.to_owned(),
            kind: Kind::Counter,
            help: String::new(),
            unit: None,
            rule: None,
            labels: Vec::new(),
            series: None,
        }
    }
}
