//! Alert rules, provisioned and imported.

use serde_json::{Map, Value, json};

use super::folders;
use super::routes::Caller;
use super::state::{Folder, NOW, Org, Role, State, check_uid};
use super::wire::{Answer, Reply, Request, text};

/// What a rule must have.
const NEEDED: [&str; 7] =
    ["title", "ruleGroup", "folderUID", "condition", "data", "noDataState", "execErrState"];

pub(crate) fn provisioning(
    state: &mut State,
    request: &Request,
    caller: Caller,
    path: &[&str],
) -> Reply {
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    if request.method != "GET" {
        caller.needs(Role::Editor, "alert.provisioning:write")?;
    }
    match (request.method.as_str(), path) {
        ("GET", ["alert-rules"]) => {
            Answer::ok(&org.rules.values().cloned().map(Value::Object).collect())
        }
        ("GET", ["folder", folder, "rule-groups", group]) => {
            let rules: Vec<_> = in_group(org, folder, group).cloned().collect();
            if rules.is_empty() {
                return Err(Answer::empty(404));
            }
            Answer::ok(&json!({
                "title": group, "folderUid": folder, "interval": 60, "rules": rules,
            }))
        }
        ("PUT", ["folder", folder, "rule-groups", group]) => {
            let body = request.json()?;
            let rules = body.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
            let is_edited = request.header("x-disable-provenance").is_some();
            let new: Result<Vec<_>, Answer> =
                rules.into_iter().map(|rule| checked(org, rule, folder, group)).collect();
            let new = new?;
            remove(org, folder, group);
            for mut rule in new {
                rule.insert("provenance".to_owned(), if is_edited { "" } else { "api" }.into());
                let mut uid = text(&rule, "uid").to_owned();
                if uid.is_empty() {
                    uid = org.new_uid();
                    rule.insert("uid".to_owned(), uid.as_str().into());
                }
                org.rules.insert(uid, rule);
            }
            Answer::ok(&body.into())
        }
        ("DELETE", ["folder", folder, "rule-groups", group]) => {
            if in_group(org, folder, group).next().is_none() {
                return Err(Answer::refuse(404, "rule group not found"));
            }
            remove(org, folder, group);
            Ok(Answer::empty(204))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn is_of(rule: &Map<String, Value>, folder: &str, group: &str) -> bool {
    text(rule, "folderUID") == folder && text(rule, "ruleGroup") == group
}

fn in_group<'a>(
    org: &'a Org,
    folder: &'a str,
    group: &'a str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    org.rules.values().filter(move |rule| is_of(rule, folder, group))
}

fn remove(org: &mut Org, folder: &str, group: &str) {
    org.rules.retain(|_, rule| !is_of(rule, folder, group));
}

fn checked(
    org: &Org,
    rule: Value,
    folder: &str,
    group: &str,
) -> Result<Map<String, Value>, Answer> {
    let Value::Object(mut rule) = rule else {
        return Err(Answer::refuse(400, "bad request data"));
    };
    if !org.folders.contains_key(folder) {
        return Err(Answer::refuse(400, "folder does not exist"));
    }
    rule.insert("folderUID".to_owned(), folder.into());
    rule.insert("ruleGroup".to_owned(), group.into());
    let missing: Vec<_> = NEEDED.into_iter().filter(|name| !rule.contains_key(*name)).collect();
    if !missing.is_empty() {
        let message = format!("invalid alert rule: missing {}", missing.join(", "));
        return Err(Answer::refuse(400, &message));
    }
    check_uid(text(&rule, "uid"))?;
    rule.insert("orgID".to_owned(), org.id.into());
    rule.insert("updated".to_owned(), NOW.into());
    Ok(rule)
}

pub(crate) fn import(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let era = state.era;
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    let done = || Answer::json(202, &json!({"status": "success", "errorType": "", "error": ""}));
    match (request.method.as_str(), path) {
        ("GET", [namespace]) => match org.imported.get(*namespace) {
            None => Err(Answer::empty(404)),
            Some(groups) => {
                let groups: Vec<_> = groups.values().collect();
                Answer::ok(&json!({ *namespace: groups }))
            }
        },
        ("POST", [namespace]) => {
            caller.needs(Role::Editor, "alert.rules:create")?;
            let source = request.header("x-grafana-alerting-datasource-uid").unwrap_or_default();
            if source.is_empty() {
                let message = "Missing datasource UID header: X-Grafana-Alerting-Datasource-UID";
                let id = "alerting.datasourceUIDHeaderMissing";
                return Err(Answer::refuse_with_id(400, message, id));
            }
            if !org.sources.contains_key(source) {
                return Err(Answer::refuse(404, "Data source not found"));
            }
            let group = request.yaml()?;
            let is_folder = |folder: &Folder| folder.title == *namespace;
            if !org.folders.values().any(is_folder) {
                let parent = request.header("x-grafana-alerting-folder-uid").unwrap_or_default();
                let (title, parent) = ((*namespace).to_owned(), parent.to_owned());
                folders::create(org, era, Folder { title, parent, ..Folder::default() })?;
            }
            let name = text(&group, "name").to_owned();
            let groups = org.imported.entry((*namespace).to_owned()).or_default();
            groups.insert(name, group.into());
            Ok(done())
        }
        ("DELETE", [namespace, group]) => {
            caller.needs(Role::Editor, "alert.rules:delete")?;
            let groups = org.imported.get_mut(*namespace);
            let removed = groups.and_then(|groups| groups.remove(*group));
            removed.ok_or_else(|| Answer::empty(404)).map(|_| done())
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}
