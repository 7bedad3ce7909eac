//! How the keeping goes, for the page, the log and `GET /api/v1/grafana`.
//!
//! | metric | |
//! |---|---|
//! | `tallyd_grafana_pushes_total{outcome}` | times that dashboards were brought up to date: `written`, `unchanged`, `failed` |
//! | `tallyd_grafana_writes_total{result}` | dashboards `created`, `updated`, `copied`, `deleted` |
//! | `tallyd_grafana_errors_total{reason}` | why a push or a dashboard failed |
//! | `tallyd_grafana_dashboards{state}` | dashboards by what the last push found: `current`, or why it was left alone |
//! | `tallyd_grafana_drifted_dashboards` | dashboards that somebody has changed and that were left alone |
//! | `tallyd_grafana_families_pending` | families that no push has taken in yet |
//! | `tallyd_grafana_last_success_timestamp_seconds` | when the last push ended that did not fail |

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{info, warn};

use super::report::{Fate, Outcome, Report};
use crate::expose::FamilyKind;
use crate::expose::own::OwnFamily;
use crate::grafana::client::{Error, Reason};

/// Counts by what is counted.
type Counts = BTreeMap<&'static str, u64>;

/// How the keeping goes; shared by who keeps and who tells.
#[derive(Debug)]
pub struct Status(Mutex<Facts>);

/// What is told; as JSON it is the answer of `GET /api/v1/grafana`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// Grafana's address.
    pub url: String,
    /// Whose dashboards they are.
    pub owner: String,
    /// Families that no push has taken in yet.
    pub families_pending: u64,
    /// Whether there was a push that did not fail, and none has failed since.
    pub is_healthy: bool,
    /// When the last push ended that did not fail, in seconds since 1970.
    pub last_success: Option<f64>,
    /// When the last push began, in seconds since 1970.
    pub last_attempt: Option<f64>,
    /// What the last push died of; none when it did not.
    pub last_error: Option<String>,
    /// Pushes by outcome.
    pub pushes: Counts,
    /// Dashboards written, by what became of them.
    pub writes: Counts,
    /// Failures by reason.
    pub errors: Counts,
    /// The dashboards as the last push left them.
    pub dashboards: Vec<Outcome>,
}

impl Status {
    /// The status of one that has not begun.
    #[must_use]
    pub fn new(url: &str, owner: &str) -> Self {
        let facts = Facts { url: url.to_owned(), owner: owner.to_owned(), ..Facts::default() };
        Self(Mutex::new(facts))
    }

    /// Everything as of now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.0.lock().clone()
    }

    /// Takes the number of families that wait for a push.
    pub fn pending(&self, families: u64) {
        self.0.lock().families_pending = families;
    }

    /// Takes that a push begins.
    pub fn begin(&self) {
        self.0.lock().last_attempt = Some(now_seconds());
    }

    /// Takes what a push did, and says in the log what has changed.
    pub fn succeed(&self, report: Report) {
        self.take(report).iter().for_each(say);
    }

    /// Counts what a push did, and returns what is new.
    fn take(&self, report: Report) -> Vec<Outcome> {
        let mut facts = self.0.lock();
        let is_news = |one: &&Outcome| one.result.is_write() || !facts.dashboards.contains(one);
        let news: Vec<Outcome> = report.dashboards.iter().filter(is_news).cloned().collect();
        let mut outcome = "unchanged";
        for one in report.dashboards.iter().filter(|one| one.result.is_write()) {
            *facts.writes.entry(one.result.as_str()).or_default() += 1;
            outcome = "written";
        }
        facts.last_error = None;
        for one in report.dashboards.iter().filter(|one| one.result == Fate::Failed) {
            *facts.errors.entry("refused").or_default() += 1;
            facts.last_error.clone_from(&one.remark);
            outcome = "failed";
        }
        *facts.pushes.entry(outcome).or_default() += 1;
        facts.is_healthy = outcome != "failed";
        if facts.is_healthy {
            facts.last_success = Some(now_seconds());
        }
        facts.dashboards = report.dashboards;
        facts.dashboards.retain(|one| one.result != Fate::Deleted);
        news
    }

    /// Takes what a push died of; the log has it when it is another thing than before.
    pub fn fail(&self, error: &Error) {
        let error_text = error.to_string();
        let old = {
            let mut facts = self.0.lock();
            *facts.pushes.entry("failed").or_default() += 1;
            *facts.errors.entry(reason(error)).or_default() += 1;
            facts.is_healthy = false;
            facts.last_error.replace(error_text.clone())
        };
        if old.as_ref() != Some(&error_text) {
            warn!(error = error_text, "Grafana has not taken the dashboards; trying again.");
        }
    }

    /// The metrics as of now, sorted by name.
    #[must_use]
    pub fn families(&self) -> Vec<OwnFamily> {
        let facts = self.facts();
        let mut states = Counts::new();
        for one in &facts.dashboards {
            *states.entry(state(one.result)).or_default() += 1;
        }
        let drifted = states.get("drifted").copied().unwrap_or_default();
        let mut all = vec![
            labelled(
                "tallyd_grafana_dashboards",
                "Dashboards by what the last push to Grafana found.",
                FamilyKind::Gauge,
                ("state", &states),
            ),
            gauge(
                "tallyd_grafana_drifted_dashboards",
                "Dashboards changed in Grafana and left alone.",
                drifted as f64,
            ),
            labelled(
                "tallyd_grafana_errors_total",
                "Failures of pushes and of dashboards, by reason.",
                FamilyKind::Counter,
                ("reason", &facts.errors),
            ),
            gauge(
                "tallyd_grafana_families_pending",
                "Families that no push has taken in yet.",
                facts.families_pending as f64,
            ),
            gauge(
                "tallyd_grafana_last_success_timestamp_seconds",
                "When dashboards were last brought up to date.",
                facts.last_success.unwrap_or_default(),
            ),
            labelled(
                "tallyd_grafana_pushes_total",
                "Times that dashboards were brought up to date, by outcome.",
                FamilyKind::Counter,
                ("outcome", &facts.pushes),
            ),
            labelled(
                "tallyd_grafana_writes_total",
                "Dashboards written to Grafana, by result.",
                FamilyKind::Counter,
                ("result", &facts.writes),
            ),
        ];
        all.retain(|family| !family.series.is_empty());
        all
    }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> OwnFamily {
    let series = vec![(String::new(), value)];
    OwnFamily { name, help, kind: FamilyKind::Gauge, series }
}

fn labelled(
    name: &'static str,
    help: &'static str,
    kind: FamilyKind,
    (label, counts): (&str, &Counts),
) -> OwnFamily {
    let series = counts.iter().map(|(key, count)| (format!("{label}=\"{key}\""), *count as f64));
    OwnFamily { name, help, kind, series: series.collect() }
}

/// The state that a push leaves a dashboard in.
fn state(fate: Fate) -> &'static str {
    if fate.is_write() || fate == Fate::Unchanged { "current" } else { fate.as_str() }
}

fn say(one: &Outcome) {
    let Outcome { uid, title, url, .. } = one;
    if let Some(advice) = one.result.advice() {
        warn!(uid, title, url, "Dashboard {advice}.");
    } else if let Some(remark) = &one.remark {
        warn!(uid, title, result = one.result.as_str(), "{remark}");
    } else if one.result.is_write() {
        info!(uid, title, url, result = one.result.as_str(), "Dashboard brought up to date.");
    }
}

/// The `reason` label of a failure.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::Connect { .. } | Error::Broken { .. } => "connection",
        Error::Tls { .. } => "tls",
        Error::TimedOut { .. } => "timeout",
        Error::Redirected { .. }
        | Error::NotGrafana { .. }
        | Error::NoResourceApi(_)
        | Error::Query(_) => "answer",
        Error::Url { .. } | Error::ReadFile { .. } | Error::Unusable { .. } | Error::Name(_) => {
            "settings"
        }
        Error::Refused(refusal) => match refusal.reason {
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::Busy => "busy",
            Reason::Server => "server",
            _ => "refused",
        },
    }
}

fn now_seconds() -> f64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since_1970.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::own;

    #[test]
    fn every_metric_is_reserved_and_in_order() {
        let status = Status::new("http://g", "api");
        status.succeed(report(&[Fate::Created, Fate::Failed]));
        let names: Vec<&str> = status.families().iter().map(|family| family.name).collect();
        let is_ours = |name: &&&str| name.starts_with("tallyd_grafana_");
        let reserved: Vec<&str> = own::NAMES.iter().filter(is_ours).copied().collect();
        assert_eq!(names, reserved);
    }

    #[test]
    fn a_push_is_counted_by_its_outcome() {
        let status = Status::new("http://g", "api");
        status.succeed(report(&[Fate::Created, Fate::Drifted]));
        status.succeed(report(&[Fate::Unchanged, Fate::Drifted]));
        status.succeed(report(&[Fate::Unchanged, Fate::Failed]));
        check(&status, "tallyd_grafana_pushes_total", "outcome=\"written\"", 1.0);
        check(&status, "tallyd_grafana_pushes_total", "outcome=\"unchanged\"", 1.0);
        check(&status, "tallyd_grafana_pushes_total", "outcome=\"failed\"", 1.0);
        check(&status, "tallyd_grafana_writes_total", "result=\"created\"", 1.0);
        check(&status, "tallyd_grafana_dashboards", "state=\"current\"", 1.0);
        check(&status, "tallyd_grafana_dashboards", "state=\"failed\"", 1.0);
        check(&status, "tallyd_grafana_drifted_dashboards", "", 0.0);
        check(&status, "tallyd_grafana_errors_total", "reason=\"refused\"", 1.0);
        assert!(!status.facts().is_healthy && status.facts().last_success.is_some());
    }

    #[test]
    fn a_failure_is_told_until_a_push_succeeds() {
        let status = Status::new("http://g", "api");
        let error = Error::TimedOut { url: "http://g".into(), after: std::time::Duration::ZERO };
        status.fail(&error);
        check(&status, "tallyd_grafana_errors_total", "reason=\"timeout\"", 1.0);
        let told = status.facts().last_error.unwrap();
        assert!(told.contains("gave no whole answer"), "{told}");
        status.succeed(report(&[Fate::Unchanged]));
        assert_eq!(status.facts().last_error, None);
        assert!(status.facts().is_healthy);
    }

    fn report(fates: &[Fate]) -> Report {
        let outcome = |(i, fate): (usize, &Fate)| Outcome {
            uid: format!("u{i}"),
            title: format!("T{i}"),
            result: *fate,
            url: String::new(),
            remark: (*fate == Fate::Failed).then(|| "no".to_owned()),
        };
        let dashboards = fates.iter().enumerate().map(outcome).collect();
        Report { dry_run: false, dashboards }
    }

    #[track_caller]
    fn check(status: &Status, name: &str, labels: &str, value: f64) {
        let families = status.families();
        let family = families.iter().find(|family| family.name == name);
        let family = family.unwrap_or_else(|| panic!("no {name} in {families:?}"));
        assert!(family.series.contains(&(labels.to_owned(), value)), "{family:?}");
    }
}
