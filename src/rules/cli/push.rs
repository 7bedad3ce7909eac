//! `tallyd rules push`: has Grafana evaluate the alerts.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::RulesArgs;
use crate::grafana::Client;
use crate::grafana::cli::keeping::FolderArgs;
use crate::grafana::cli::output::table;
use crate::grafana::cli::{CommandError, ConnectionArgs, OutputArgs, pick};
use crate::rules::managed::{ManagedGroup, Place};

/// The flags of `push`.
#[derive(Args, Debug)]
pub(super) struct PushArgs {
    #[command(flatten)]
    rules: RulesArgs,
    /// The data source that is asked, by its uid or name [default: the only one]
    #[arg(long, value_name = "UID")]
    datasource: Option<String>,
    /// Where the servers run, such as prod; part of uids
    #[arg(long, value_name = "NAME", default_value = "")]
    environment: String,
    #[command(flatten)]
    folder: FolderArgs,
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What became of a group.
#[derive(Serialize)]
struct Pushed {
    group: String,
    alerts: usize,
    result: PushResult,
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum PushResult {
    Created,
    Updated,
    Same,
}

impl PushArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let rules = self.rules.make().await?;
        let client = self.connection.client()?;
        let source = pick::datasource(&client, self.datasource.as_deref()).await?;
        let folder = self.folder.place().ensure(&client, !self.dry_run).await;
        let folder = folder.map_err(CommandError::failed("have a folder for the rules"))?;
        if folder.as_deref() == Some("") {
            let text = "Grafana keeps rules in folders only; name one with --folder";
            return Err(CommandError::Usage(text.to_owned()));
        }
        let place = Place {
            datasource_uid: source.uid,
            folder: folder.unwrap_or_default(),
            environment: self.environment.clone(),
        };
        let mut pushed = Vec::new();
        for group in rules.to_managed(&place) {
            pushed.push(self.push(&client, &group).await?);
        }
        self.output.print(&pushed, |pushed| {
            let rows = pushed.iter().map(|one| {
                let would =
                    if one.dry_run && one.result != PushResult::Same { "would be " } else { "" };
                [
                    format!("{would}{}", one.result.as_str()),
                    one.group.clone(),
                    one.alerts.to_string(),
                ]
            });
            table(["result", "group", "alerts"], rows)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn push(&self, client: &Client, group: &ManagedGroup) -> Result<Pushed, CommandError> {
        let what = format!("push the rules of the group \"{}\"", group.title);
        let wanted = serde_json::to_value(group).map_err(CommandError::failed(what.clone()))?;
        let is_same = |known: &Value| holds(&by_uid(known.clone()), &by_uid(wanted.clone()));
        // Without a folder, as before the first push, there can be no group.
        let known = if group.folder_uid.is_empty() {
            None
        } else {
            client
                .rule_group(&group.folder_uid, &group.title)
                .await
                .map_err(CommandError::failed(what.clone()))?
        };
        let result = match &known {
            None => PushResult::Created,
            Some(known) if is_same(known) => PushResult::Same,
            Some(_) => PushResult::Updated,
        };
        if result != PushResult::Same && !self.dry_run {
            let put = client.put_rule_group(&group.folder_uid, &group.title, &wanted).await;
            put.map_err(CommandError::failed(what))?;
        }
        Ok(Pushed {
            group: group.title.clone(),
            alerts: group.rules.len(),
            result,
            dry_run: self.dry_run,
        })
    }
}

impl PushResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Same => "same",
        }
    }
}

/// A group with its rules by uid: their order means nothing to alerts.
fn by_uid(mut group: Value) -> Value {
    if let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) {
        let uid = |rule: &Value| rule.get("uid").and_then(Value::as_str).map(str::to_owned);
        rules.sort_by_key(uid);
    }
    group
}

/// Whether what Grafana keeps is what is wanted; it adds things of its own, and writes times in
/// its way.
fn holds(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            // The organisation is whoever asks.
            key == "orgID" || known.get(key).is_some_and(|known| holds(known, wanted))
        }),
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known.iter().zip(wanted).all(|(known, wanted)| holds(known, wanted))
        }
        (Value::String(known), Value::String(wanted)) => {
            known == wanted || same_time(known, wanted)
        }
        (Value::Number(known), Value::Number(wanted)) => known.as_f64() == wanted.as_f64(),
        (known, wanted) => known == wanted,
    }
}

/// Whether two texts are one duration, such as `10m` and `10m0s`.
fn same_time(a: &str, b: &str) -> bool {
    let seconds = |text: &str| text.parse::<jiff::SignedDuration>().ok();
    seconds(a).is_some_and(|time| Some(time) == seconds(b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_grafana_adds_is_no_difference() {
        let wanted = json!({"orgID": 1, "for": "10m", "rules": [{"a": 1}], "title": "t"});
        check(
            &json!({"orgID": 3, "for": "10m0s", "rules": [{"a": 1.0, "id": 7}], "title": "t", "x": 1}),
            &wanted,
            true,
        );
        check(&json!({"for": "11m0s", "rules": [{"a": 1}], "title": "t"}), &wanted, false);
        check(&json!({"for": "10m", "rules": [], "title": "t"}), &wanted, false);
        check(&json!({"for": "10m", "rules": [{"a": 2}], "title": "t"}), &wanted, false);
        check(&json!({"for": "10m", "rules": [{"a": 1}], "title": "10m"}), &wanted, false);
    }

    #[track_caller]
    fn check(known: &Value, wanted: &Value, expected: bool) {
        assert_eq!(holds(known, wanted), expected, "{known}");
    }
}
