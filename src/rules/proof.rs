//! Series that fire an alert and series that do not, as unit tests for `promtool test rules`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::expression::duration;
use super::{Alert, RuleSet};

/// What shows that an alert works.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// With these it fires.
    pub fires: Vec<Input>,
    /// With these it does not.
    pub rests: Vec<Input>,
    /// At which minute of the series to look.
    pub minute: u64,
    /// The labels that the alert has then, beside its own.
    pub labels: BTreeMap<String, String>,
}

/// A series that somebody could have scraped, a value a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    series: String,
    values: String,
}

impl Input {
    /// A series in the notation of promtool.
    pub(super) fn new(name: &str, labels: &[(&str, &str)], values: impl Into<String>) -> Self {
        Self { series: selector(name, labels.iter().copied()), values: values.into() }
    }
}

/// A counter that rises each minute.
pub(super) fn rising(step: u64, minutes: u64) -> String {
    format!("0+{step}x{minutes}")
}

/// A value that stays.
pub(super) fn constant(value: f64, minutes: u64) -> String {
    format!("{value}x{minutes}")
}

/// A name with labels in braces.
fn selector<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |(name, value): (&str, &str)| {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{escaped}\"")
    };
    let labels: Vec<String> = labels.into_iter().map(quoted).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// A file of promtool's unit tests.
#[derive(Debug, Serialize)]
pub struct TestFile {
    rule_files: Vec<String>,
    evaluation_interval: &'static str,
    tests: Vec<Test>,
}

#[derive(Debug, Serialize)]
struct Test {
    name: String,
    interval: &'static str,
    input_series: Vec<Input>,
    #[serde(rename = "promql_expr_test")]
    expressions: [ExprTest; 1],
}

#[derive(Debug, Serialize)]
struct ExprTest {
    expr: String,
    eval_time: String,
    exp_samples: Vec<ExpectedSample>,
}

#[derive(Debug, Serialize)]
struct ExpectedSample {
    labels: String,
    value: u64,
}

impl TestFile {
    /// The tests of every alert that has a proof, for the rule file of this name.
    #[must_use]
    pub fn new(rules: &RuleSet, rule_file: &str) -> Self {
        let tests = rules.alerts().filter_map(|alert| Some((alert, alert.proof.as_ref()?)));
        Self {
            rule_files: vec![rule_file.to_owned()],
            evaluation_interval: "1m",
            tests: tests
                .flat_map(|(alert, proof)| [test(alert, proof, true), test(alert, proof, false)])
                .collect(),
        }
    }
}

fn test(alert: &Alert, proof: &Proof, fires: bool) -> Test {
    let name = alert.name.as_str();
    let state = [("alertname", name), ("alertstate", "firing")];
    let labels = proof.labels.iter().chain(&alert.labels).map(|(name, value)| (&**name, &**value));
    let sample = ExpectedSample { labels: selector("ALERTS", labels.chain(state)), value: 1 };
    Test {
        name: format!("{name} {}", if fires { "fires" } else { "rests" }),
        interval: "1m",
        input_series: if fires { proof.fires.clone() } else { proof.rests.clone() },
        expressions: [ExprTest {
            expr: selector("ALERTS", state),
            eval_time: duration(60 * proof.minute),
            exp_samples: if fires { vec![sample] } else { Vec::new() },
        }],
    }
}
