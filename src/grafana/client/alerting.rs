//! Alert rules, by way of provisioning and of Prometheus' own form.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Call;
use super::error::Error;
use super::{Client, found};

/// Keeps what is written here open to changes in the web interface.
const EDITABLE: (&str, &str) = ("X-Disable-Provenance", "true");
const READING: &str = "alert.provisioning:read";
const WRITING: &str = "alert.provisioning:write";

/// A rule as Grafana keeps it; what is not named here is in `rest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRule {
    /// Its uid.
    pub uid: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// The group it is evaluated in.
    #[serde(rename = "ruleGroup", default)]
    pub group: String,
    /// The folder of the group.
    #[serde(rename = "folderUID", default)]
    pub folder_uid: String,
    /// All else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Prometheus' rules on their way into Grafana.
#[derive(Clone, Copy, Debug)]
pub struct RuleImport<'a> {
    /// The folder that they are to be in, by title; made when it is missing.
    pub namespace: &'a str,
    /// The folder that `namespace` is to be in; the root, without.
    pub parent_uid: Option<&'a str>,
    /// The data source that they ask.
    pub datasource_uid: &'a str,
    /// Where recording rules write to; Grafana's own choice, without.
    pub target_uid: Option<&'a str>,
    /// One group of a rule file: `name`, `interval`, `rules`.
    pub group: &'a Value,
}

impl Client {
    /// All alert rules.
    ///
    /// # Errors
    /// As any call.
    pub async fn alert_rules(&self) -> Result<Vec<AlertRule>, Error> {
        let call = Call::get(&["api", "v1", "provisioning", "alert-rules"]).needs(READING);
        self.transport().list(call).await
    }

    /// A group of rules as Grafana keeps it: `title`, `folderUid`, `interval`, `rules`.
    ///
    /// # Errors
    /// As any call.
    pub async fn rule_group(&self, folder_uid: &str, group: &str) -> Result<Option<Value>, Error> {
        let call = Call::get(&group_path(folder_uid, group)).needs(READING);
        found(self.transport().json(call).await)
    }

    /// Replaces a group of rules.
    ///
    /// # Errors
    /// `Refused` with `Invalid` says what is wrong with which rule.
    pub async fn put_rule_group(
        &self,
        folder_uid: &str,
        group: &str,
        rules: &Value,
    ) -> Result<(), Error> {
        let call = Call::put(&group_path(folder_uid, group), rules);
        self.transport().send(call.header(EDITABLE.0, EDITABLE.1).needs(WRITING)).await?;
        Ok(())
    }

    /// Deletes a group of rules; false when there was none.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_rule_group(&self, folder_uid: &str, group: &str) -> Result<bool, Error> {
        let call = Call::delete(&group_path(folder_uid, group)).needs(WRITING);
        Ok(found(self.transport().send(call).await)?.is_some())
    }

    /// Lets Grafana (12 and later) turn a group of Prometheus' rules into its own, in place of the
    /// group of this name that was imported before.
    ///
    /// # Errors
    /// `Refused` with `Invalid`, as for recording rules where Grafana may not write any.
    pub async fn import_rules(&self, import: &RuleImport<'_>) -> Result<(), Error> {
        let path = import_path(&[import.namespace]);
        // As YAML, since Grafana's description of its JSON and what it reads of it disagree about
        // intervals.
        let mut call = Call::post_yaml(&path, import.group)
            .idempotent()
            .header("X-Grafana-Alerting-Datasource-UID", import.datasource_uid)
            .needs("alert.rules:create, alert.rules:write, folders:create");
        if let Some(uid) = import.target_uid {
            call = call.header("X-Grafana-Alerting-Target-Datasource-UID", uid);
        }
        if let Some(uid) = import.parent_uid {
            call = call.header("X-Grafana-Alerting-Folder-UID", uid);
        }
        self.transport().send(call.header(EDITABLE.0, EDITABLE.1)).await?;
        Ok(())
    }

    /// The imported groups of a namespace, as a rule file has them.
    ///
    /// # Errors
    /// As any call.
    pub async fn imported_rules(&self, namespace: &str) -> Result<Option<Value>, Error> {
        let call = Call::get(&import_path(&[namespace])).needs("alert.rules:read");
        found(self.transport().json(call).await)
    }

    /// Deletes an imported group; false when there was none.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_imported(&self, namespace: &str, group: &str) -> Result<bool, Error> {
        let call = Call::delete(&import_path(&[namespace, group])).needs("alert.rules:delete");
        Ok(found(self.transport().send(call).await)?.is_some())
    }
}

fn group_path<'a>(folder_uid: &'a str, group: &'a str) -> [&'a str; 7] {
    ["api", "v1", "provisioning", "folder", folder_uid, "rule-groups", group]
}

fn import_path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    ["api", "convert", "prometheus", "config", "v1", "rules"].iter().chain(rest).copied().collect()
}
