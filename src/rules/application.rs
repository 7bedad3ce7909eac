//! Alerts that a well-known application calls for, told by the families that its preset makes.
//!
//! Services are alerted on whoever sends them ([`service`](super::service)); here is what only the
//! application's own metrics say: that it is sealed, has no workers or drops what it should keep. Servers
//! that tallyd watches itself are told by its own families, in the same way.

use crate::grafana::inventory::Family;

use super::expression::duration;
use super::proof::{Input, constant, rising};
use super::thresholds::{AlertKind, Thresholds};
use super::{Alert, Proof, Rule};

mod rows;

const TARGET: [(&str, &str); 2] = [("job", "app"), ("instance", "tallyd:9102")];

/// One alert on an application.
struct Row {
    kind: AlertKind,
    name: &'static str,
    /// Where this family is, the application is.
    family: &'static str,
    /// The condition; `{w}` stands for the window of rates, `{t}` for the threshold, `{r}` for the
    /// least rate.
    expr: &'static str,
    summary: &'static str,
    description: &'static str,
    /// The labels that the alert has beside `job`, with their values in the proof.
    labels: &'static [(&'static str, &'static str)],
    fires: &'static [Sent],
    rests: &'static [Sent],
    /// With this label in the inventory the alert on errors is made anyway.
    unless: Option<&'static str>,
}

/// A series of a proof: name, labels beside those of the alert, and how it goes on.
type Sent = (&'static str, &'static [(&'static str, &'static str)], Course);

/// How a series of a proof goes on.
#[derive(Clone, Copy)]
enum Course {
    /// Rises by so much a minute.
    Rises(u64),
    /// Stays.
    Is(f64),
}

/// The alerts on the application that `family` tells of.
pub(super) fn rules(family: &Family, thresholds: &Thresholds) -> Vec<Rule> {
    let is_meant = |row: &&Row| {
        let has = |label: &str| family.labels.iter().any(|known| known.name == label);
        row.family == family.name && !row.unless.is_some_and(has)
    };
    rows::ROWS.iter().filter(is_meant).filter_map(|row| row.rule(family, thresholds)).collect()
}

impl Row {
    fn rule(&self, family: &Family, thresholds: &Thresholds) -> Option<Rule> {
        let condition = thresholds.condition(self.kind, Some(family))?;
        let expr = self
            .expr
            .replace("{w}", &duration(thresholds.window_seconds))
            .replace("{t}", &condition.threshold.to_string())
            .replace("{r}", &condition.min_rate.to_string());
        let minute = (thresholds.window_seconds + condition.for_seconds) / 60 + 2;
        let proof = Proof {
            fires: self.inputs(self.fires, minute),
            rests: self.inputs(self.rests, minute),
            minute,
            labels: self
                .labels
                .iter()
                .chain(TARGET.first())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let mut alert = Alert {
            name: self.name.to_owned(),
            plain_expr: expr.clone(),
            expr,
            for_seconds: condition.for_seconds,
            labels: condition.labels,
            annotations: [].into(),
            proof: Some(proof),
        }
        .saying(self.summary.to_owned(), self.description.to_owned());
        if let Some(url) = condition.runbook_url {
            alert.annotations.insert("runbook_url".to_owned(), url.replace("{alert}", self.name));
        }
        Some(Rule::Alert(Box::new(alert)))
    }

    fn inputs(&self, sent: &[Sent], minutes: u64) -> Vec<Input> {
        let input = |(name, more, course): &Sent| {
            let labels = [&TARGET, self.labels, more].concat();
            let values = match course {
                Course::Rises(step) => rising(*step, minutes),
                Course::Is(value) => constant(*value, minutes),
            };
            Input::new(name, &labels, values)
        };
        sent.iter().map(input).collect()
    }
}
