//! Rules as files: for Prometheus, for its operator, and for `promtool test rules`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::expression::duration;
use super::proof::TestFile;
use super::{Rule, RuleSet};

/// Why rules cannot be written as YAML.
pub type FormatError = serde_saphyr::ser::Error;

const HEADER: &str = "# Made by `tallyd rules generate`; change its input, not this file.\n";

/// Names a `PrometheusRule` resource.
#[derive(Clone, Debug, Default)]
pub struct ResourceName {
    /// Its name.
    pub name: String,
    /// Where it lives; the current namespace if none.
    pub namespace: Option<String>,
    /// By these the operator finds it.
    pub labels: BTreeMap<String, String>,
}

/// What Prometheus calls a rule file, and its operator a spec.
#[derive(Serialize)]
struct File<'a> {
    groups: Vec<FileGroup<'a>>,
}

#[derive(Serialize)]
struct FileGroup<'a> {
    name: &'a str,
    rules: Vec<FileRule<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FileRule<'a> {
    Record {
        record: &'a str,
        expr: &'a str,
    },
    Alert {
        alert: &'a str,
        expr: &'a str,
        #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
        hold: Option<String>,
        labels: &'a BTreeMap<String, String>,
        annotations: &'a BTreeMap<String, String>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: File<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl RuleSet {
    /// A rule file for Prometheus; always the same bytes for the same rules.
    ///
    /// # Errors
    /// None that is known of; the YAML library can have some.
    pub fn to_prometheus(&self) -> Result<String, FormatError> {
        yaml(&self.file())
    }

    /// A `PrometheusRule` for the operator of Prometheus.
    ///
    /// # Errors
    /// None that is known of; the YAML library can have some.
    pub fn to_resource(&self, name: &ResourceName) -> Result<String, FormatError> {
        yaml(&Resource {
            api_version: "monitoring.coreos.com/v1",
            kind: "PrometheusRule",
            metadata: Metadata {
                name: &name.name,
                namespace: name.namespace.as_deref(),
                labels: &name.labels,
            },
            spec: self.file(),
        })
    }

    /// Unit tests for the rule file of this name: every alert fires once and once it does not.
    ///
    /// # Errors
    /// None that is known of; the YAML library can have some.
    pub fn to_tests(&self, rule_file: &str) -> Result<String, FormatError> {
        yaml(&TestFile::new(self, rule_file))
    }

    fn file(&self) -> File<'_> {
        let groups = self.groups.iter().map(|group| FileGroup {
            name: &group.name,
            rules: group.rules.iter().map(FileRule::of).collect(),
        });
        File { groups: groups.collect() }
    }
}

impl<'a> FileRule<'a> {
    fn of(rule: &'a Rule) -> Self {
        match rule {
            Rule::Record(recording) => {
                Self::Record { record: &recording.record, expr: &recording.expr }
            }
            Rule::Alert(alert) => Self::Alert {
                alert: &alert.name,
                expr: &alert.expr,
                hold: (alert.for_seconds > 0).then(|| duration(alert.for_seconds)),
                labels: &alert.labels,
                annotations: &alert.annotations,
            },
        }
    }
}

fn yaml(value: &impl Serialize) -> Result<String, FormatError> {
    // Folded and literal blocks would hide where a long expression ends.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).map(|text| format!("{HEADER}{text}"))
}
