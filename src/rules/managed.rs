//! Alerts as rules that Grafana itself evaluates.
//!
//! Each asks Prometheus for the whole condition and fires for every series that comes back, so it
//! means the same as the alert of a rule file. Recordings are left to Prometheus: Grafana makes
//! them only behind a switch, so these alerts are spelled out in terms of scraped series.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::grafana::names;

use super::expression::duration;
use super::{Alert, Group, RuleSet};

/// Evaluated once a minute, as Prometheus does.
pub const INTERVAL_SECONDS: u64 = 60;

/// Where rules belong in Grafana.
#[derive(Clone, Debug)]
pub struct Place {
    /// The data source that is asked.
    pub datasource_uid: String,
    /// The folder's title, or its uid where the API is meant.
    pub folder: String,
    /// Keeps the rules of several environments apart.
    pub environment: String,
}

/// A group of Grafana's alert rules, as its API takes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedGroup {
    /// Its name.
    pub title: String,
    /// Where it lies.
    pub folder_uid: String,
    /// Seconds from one evaluation to the next.
    pub interval: u64,
    /// In order.
    pub rules: Vec<ManagedRule>,
}

/// One of Grafana's alert rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRule {
    /// The same for the same alert.
    pub uid: String,
    /// The alert's name.
    pub title: String,
    /// Which of `data` decides.
    pub condition: &'static str,
    /// The query and what becomes of it.
    pub data: Vec<Value>,
    /// No series means that all is well, as in Prometheus.
    pub no_data_state: &'static str,
    /// Whoever cannot ask does not know.
    pub exec_err_state: &'static str,
    /// How long it must hold.
    #[serde(rename = "for")]
    pub hold: String,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// What notifications are routed by.
    pub labels: BTreeMap<String, String>,
    /// Whether it is not evaluated.
    pub is_paused: bool,
    /// What the API wants besides.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub belongs: Option<Belongs>,
}

/// Where a rule belongs; files say it by where the rule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Belongs {
    /// Grafana replaces it by the organisation that asks.
    #[serde(rename = "orgID")]
    pub org_id: u64,
    /// The folder.
    #[serde(rename = "folderUID")]
    pub folder_uid: String,
    /// The group.
    #[serde(rename = "ruleGroup")]
    pub rule_group: String,
}

impl RuleSet {
    /// The groups with alerts, for Grafana's API.
    #[must_use]
    pub fn to_managed(&self, place: &Place) -> Vec<ManagedGroup> {
        let groups = self.groups.iter().map(|group| ManagedGroup {
            title: group.name.clone(),
            folder_uid: place.folder.clone(),
            interval: INTERVAL_SECONDS,
            rules: rules(group, place, true),
        });
        groups.filter(|group| !group.rules.is_empty()).collect()
    }

    /// A file for Grafana's `provisioning/alerting`.
    #[must_use]
    pub fn to_provisioning(&self, place: &Place) -> Value {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|group| (group, rules(group, place, false)))
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(group, rules)| {
                json!({
                    "orgId": 1,
                    "name": group.name,
                    "folder": place.folder,
                    "interval": duration(INTERVAL_SECONDS),
                    "rules": rules,
                })
            })
            .collect();
        json!({ "apiVersion": 1, "groups": groups })
    }
}

fn rules(group: &Group, place: &Place, is_api: bool) -> Vec<ManagedRule> {
    let alerts = group.rules.iter().filter_map(super::Rule::alert);
    let belongs = is_api.then(|| Belongs {
        org_id: 1,
        folder_uid: place.folder.clone(),
        rule_group: group.name.clone(),
    });
    alerts.map(|alert| rule(alert, group, place, belongs.clone())).collect()
}

fn rule(alert: &Alert, group: &Group, place: &Place, belongs: Option<Belongs>) -> ManagedRule {
    let name = format!("{} {}", group.name, alert.name);
    let annotations = alert.annotations.iter();
    ManagedRule {
        uid: names::uid("rule", &name, &place.environment),
        title: alert.name.clone(),
        condition: "C",
        data: queries(&alert.plain_expr, &place.datasource_uid),
        no_data_state: "OK",
        exec_err_state: "Error",
        hold: duration(alert.for_seconds),
        // There `$value` is a text of all that was asked.
        annotations: annotations
            .map(|(name, text)| (name.clone(), text.replace("$value", "$values.A.Value")))
            .collect(),
        labels: alert.labels.clone(),
        is_paused: false,
        belongs,
    }
}

/// The query, a 1 for whatever it finds (`up == 0` finds zeros), and the comparison with 0.
fn queries(expr: &str, datasource_uid: &str) -> Vec<Value> {
    let step = |id: &str, datasource: &str, model: Value| {
        json!({
            "refId": id,
            "relativeTimeRange": { "from": 600, "to": 0 },
            "datasourceUid": datasource,
            "model": model,
        })
    };
    let expression = json!({ "type": "__expr__", "uid": "__expr__" });
    vec![
        step(
            "A",
            datasource_uid,
            json!({
                "refId": "A",
                "datasource": { "type": "prometheus", "uid": datasource_uid },
                "expr": expr,
                "instant": true,
                "range": false,
                "editorMode": "code",
            }),
        ),
        step(
            "B",
            "__expr__",
            json!({
                "refId": "B",
                "datasource": expression,
                "type": "math",
                "expression": "is_number($A) || is_nan($A) || is_inf($A)",
            }),
        ),
        step(
            "C",
            "__expr__",
            json!({
                "refId": "C",
                "datasource": expression,
                "type": "threshold",
                "expression": "B",
                "conditions": [{ "evaluator": { "type": "gt", "params": [0] } }],
            }),
        ),
    ]
}
