//! `/apis`: the same dashboards and folders in the style of Kubernetes.

use serde_json::{Map, Value, json};

use super::dashboards::{self, Saving};
use super::folders;
use super::routes::Caller;
use super::state::{Dashboard, Era, Folder, NOW, Org, Role, State};
use super::wire::{Answer, Reply, Request, text};

const DASHBOARDS: &str = "dashboard.grafana.app";
const FOLDERS: &str = "folder.grafana.app";

/// One kind of objects, in one version.
#[derive(Clone, Copy)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    plural: &'a str,
}

pub(crate) fn handle(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let era = state.era;
    match (request.method.as_str(), path) {
        ("GET", [group]) if versions(era, group).is_some() => Answer::ok(&group_of(era, group)),
        (method, [group, version, "namespaces", namespace, plural, rest @ ..]) => {
            let is_served = versions(era, group).is_some_and(|all| all.contains(version));
            let is_known =
                matches!((*group, *plural), (DASHBOARDS, "dashboards") | (FOLDERS, "folders"));
            if !is_served || !is_known {
                return Err(Answer::refuse(404, "Not found"));
            }
            let org = org_of(state, caller, namespace)?;
            let kind = Kind { group, version, plural };
            match (method, rest) {
                ("GET", []) => list(org, kind, request),
                ("GET", [name]) => Answer::ok(&kind.object(org, name)?),
                ("POST", []) => kind.create(org, era, request, caller),
                ("PUT", [name]) => kind.replace(org, era, request, (caller, name)),
                ("DELETE", [name]) => kind.delete(org, caller, name),
                _ => Err(Answer::status(405, "MethodNotAllowed", "not allowed")),
            }
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn versions(era: Era, group: &str) -> Option<&'static [&'static str]> {
    match (era, group) {
        (Era::Twelve, DASHBOARDS) => Some(&["v1beta1", "v0alpha1", "v2beta1"]),
        (Era::Thirteen, DASHBOARDS) => Some(&["v1", "v1beta1", "v0alpha1", "v2beta1", "v2"]),
        (Era::Twelve, FOLDERS) => Some(&["v1beta1"]),
        (Era::Thirteen, FOLDERS) => Some(&["v1", "v1beta1"]),
        _ => None,
    }
}

fn group_of(era: Era, group: &str) -> Value {
    let versions = versions(era, group).unwrap_or_default();
    let shown =
        |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": group,
        "versions": versions.iter().map(shown).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(shown),
    })
}

fn org_of<'a>(
    state: &'a mut State,
    caller: Caller,
    namespace: &str,
) -> Result<&'a mut Org, Answer> {
    let id = match namespace {
        "default" => Some(1),
        _ => namespace.strip_prefix("org-").and_then(|id| id.parse().ok()),
    };
    let is_own = |id: &u64| *id == caller.org || caller.user.is_some();
    let org = id.filter(is_own).and_then(|id| state.orgs.get_mut(&id));
    org.ok_or_else(|| Answer::status(403, "Forbidden", "namespace mismatch"))
}

fn list(org: &Org, kind: Kind<'_>, request: &Request) -> Reply {
    let limit = request.number("limit", 500);
    let first = request.number("continue", 0);
    let names: Vec<&String> = match kind.plural {
        "folders" => org.folders.keys().collect(),
        _ => org.dashboards.keys().collect(),
    };
    let mut metadata = json!({"resourceVersion": "1"});
    if names.len() > first + limit {
        metadata["continue"] = (first + limit).to_string().into();
    }
    let shown = names.into_iter().skip(first).take(limit);
    let items: Result<Vec<Value>, Answer> = shown.map(|name| kind.object(org, name)).collect();
    let list = format!("{}List", kind.singular());
    Answer::ok(&json!({
        "kind": list, "apiVersion": kind.api_version(), "metadata": metadata, "items": items?,
    }))
}

impl Kind<'_> {
    fn api_version(self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    fn singular(self) -> &'static str {
        if self.plural == "folders" { "Folder" } else { "Dashboard" }
    }

    fn missing(self, name: &str) -> Answer {
        let message = format!("{}.{} \"{name}\" not found", self.plural, self.group);
        Answer::status(404, "NotFound", &message)
    }

    fn object(self, org: &Org, name: &str) -> Result<Value, Answer> {
        let namespace = if org.id == 1 { "default".to_owned() } else { format!("org-{}", org.id) };
        let (folder, mark, generation, spec, is_managed, is_v2) = if self.plural == "folders" {
            let folder = org.folders.get(name).ok_or_else(|| self.missing(name))?;
            let Folder { parent, resource_version, version, title, .. } = folder;
            (parent, resource_version, version, json!({ "title": title }), false, false)
        } else {
            let dashboard = org.dashboards.get(name).ok_or_else(|| self.missing(name))?;
            let mut spec = dashboard.json.clone();
            spec.retain(|key, _| !matches!(key.as_str(), "id" | "uid" | "version"));
            let Dashboard { folder, resource_version, version, is_provisioned, is_v2, .. } =
                dashboard;
            (folder, resource_version, version, spec.into(), *is_provisioned, *is_v2)
        };
        let mut annotations = json!({"grafana.app/createdBy": "user:admin"});
        if !folder.is_empty() {
            annotations["grafana.app/folder"] = folder.as_str().into();
        }
        if is_managed {
            annotations["grafana.app/managedBy"] = "classic-file-provisioning".into();
        }
        let status = if is_v2 {
            json!({"conversion": {"failed": false, "storedVersion": "v2beta1"}})
        } else {
            json!({})
        };
        Ok(json!({
            "kind": self.singular(), "apiVersion": self.api_version(), "spec": spec,
            "status": status,
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("k-{name}"),
                "resourceVersion": mark.to_string(), "generation": generation,
                "creationTimestamp": NOW, "labels": {}, "annotations": annotations,
            },
        }))
    }

    fn create(self, org: &mut Org, era: Era, request: &Request, caller: Caller) -> Reply {
        caller.needs(Role::Editor, &format!("{}:create", self.plural))?;
        let (metadata, spec) = parts(request)?;
        let name = text(&metadata, "name");
        if metadata.contains_key("resourceVersion") {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Answer::status(400, "BadRequest", message));
        }
        if self.object(org, name).is_ok() {
            let message = format!("{}.{} \"{name}\" already exists", self.plural, self.group);
            return Err(Answer::status(409, "AlreadyExists", &message));
        }
        let folder = annotation(&metadata, "grafana.app/folder");
        if self.plural == "folders" {
            let (title, parent) = (text(&spec, "title").to_owned(), folder.to_owned());
            let new = Folder { uid: name.to_owned(), title, parent, ..Folder::default() };
            folders::create(org, era, new)?;
        } else {
            save(org, era, name, (&metadata, spec))?;
        }
        Ok(Answer::json(201, &self.object(org, name)?))
    }

    fn replace(
        self,
        org: &mut Org,
        era: Era,
        request: &Request,
        (caller, name): (Caller, &str),
    ) -> Reply {
        caller.needs(Role::Editor, &format!("{}:write", self.plural))?;
        let (metadata, spec) = parts(request)?;
        let there = self.object(org, name)?;
        if text(&metadata, "name") != name {
            let message = "the name of the object does not match the name on the URL";
            return Err(Answer::status(400, "BadRequest", message));
        }
        let expected = metadata.get("resourceVersion");
        if expected.is_some_and(|expected| *expected != there["metadata"]["resourceVersion"]) {
            return Err(Answer::status(409, "Conflict", "requested RV does not match current RV"));
        }
        if self.plural == "folders" {
            folders::rename(org, name, text(&spec, "title"));
        } else {
            save(org, era, name, (&metadata, spec))?;
        }
        Answer::ok(&self.object(org, name)?)
    }

    fn delete(self, org: &mut Org, caller: Caller, name: &str) -> Reply {
        caller.needs(Role::Editor, &format!("{}:delete", self.plural))?;
        self.object(org, name)?;
        if self.plural == "folders" {
            folders::delete(org, name);
        } else {
            org.dashboards.remove(name);
        }
        Answer::ok(&json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": name, "group": self.group, "kind": self.plural},
        }))
    }
}

type Fields = Map<String, Value>;

fn parts(request: &Request) -> Result<(Fields, Fields), Answer> {
    let body = request.json()?;
    let part = |name: &str| body.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    Ok((part("metadata"), part("spec")))
}

fn annotation<'a>(metadata: &'a Fields, name: &str) -> &'a str {
    let annotations = metadata.get("annotations").and_then(Value::as_object);
    annotations.map_or("", |annotations| text(annotations, name))
}

fn save(
    org: &mut Org,
    era: Era,
    name: &str,
    (metadata, mut json): (&Fields, Fields),
) -> Result<(), Answer> {
    let folder = annotation(metadata, "grafana.app/folder");
    if !folder.is_empty() && !org.folders.contains_key(folder) {
        let message = format!("folders.{FOLDERS} \"{folder}\" not found");
        return Err(Answer::status(404, "NotFound", &message));
    }
    json.insert("uid".to_owned(), name.into());
    let message = annotation(metadata, "grafana.app/message");
    dashboards::save(org, era, Saving { json, folder, message, overwrite: true })?;
    Ok(())
}
