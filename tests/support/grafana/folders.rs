//! Folders, in the form of `/api`; those of `/apis` are the same ones.

use serde_json::{Value, json};

use super::routes::Caller;
use super::state::{Era, Folder, NOW, Org, Role, State, check_uid, slug};
use super::wire::{Answer, Reply, Request, number, text};

const MAX_DEPTH: usize = 4;

pub(crate) fn handle(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let era = state.era;
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    match (request.method.as_str(), path) {
        ("GET", []) => list(org, request),
        ("POST", []) => {
            caller.needs(Role::Editor, "folders:create")?;
            let body = request.json()?;
            let new = Folder {
                uid: text(&body, "uid").to_owned(),
                title: text(&body, "title").to_owned(),
                parent: text(&body, "parentUid").to_owned(),
                ..Folder::default()
            };
            let uid = create(org, era, new)?;
            Answer::ok(&shown(org, find(org, &uid)?))
        }
        ("GET", [uid]) => Answer::ok(&shown(org, find(org, uid)?)),
        ("PUT", [uid]) => {
            caller.needs(Role::Editor, "folders:write")?;
            let body = request.json()?;
            let version = find(org, uid)?.version;
            let overwrite = body.get("overwrite").and_then(Value::as_bool) == Some(true);
            if !overwrite && number(&body, "version") != version {
                return Err(changed());
            }
            rename(org, uid, text(&body, "title"));
            Answer::ok(&shown(org, find(org, uid)?))
        }
        ("DELETE", [uid]) => {
            caller.needs(Role::Editor, "folders:delete")?;
            let folder = find(org, uid)?.clone();
            let is_forced = request.one("forceDeleteRules") == Some("true");
            let has_rules = org.rules.values().any(|rule| text(rule, "folderUID") == *uid);
            if has_rules && !is_forced {
                let message = "folder contains alert rules and cannot be deleted";
                return Err(Answer::refuse(400, message));
            }
            delete(org, uid);
            let Folder { id, title, .. } = folder;
            Answer::ok(&json!({"id": id, "title": title, "message": "Folder deleted"}))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn changed() -> Answer {
    let message = "the folder has been changed by someone else";
    Answer::refuse_as(412, message, "version-mismatch")
}

fn find<'a>(org: &'a Org, uid: &str) -> Result<&'a Folder, Answer> {
    let missing = || Answer::refuse_as(404, "folder not found", "not-found");
    org.folders.get(uid).ok_or_else(missing)
}

fn list(org: &Org, request: &Request) -> Reply {
    let parent = request.one("parentUid").unwrap_or_default();
    if !parent.is_empty() {
        find(org, parent)?;
    }
    let limit = request.number("limit", 1000);
    let skipped = (request.number("page", 1) - 1) * limit;
    let mut children: Vec<_> =
        org.folders.values().filter(|folder| folder.parent == parent).collect();
    children.sort_by_key(|folder| folder.title.to_lowercase());
    let row = |folder: &&Folder| {
        let mut row = json!({"id": folder.id, "uid": folder.uid, "title": folder.title});
        if !folder.parent.is_empty() {
            row["parentUid"] = folder.parent.as_str().into();
        }
        row
    };
    Answer::ok(&children.iter().skip(skipped).take(limit).map(row).collect())
}

fn depth(org: &Org, uid: &str) -> usize {
    org.folders.get(uid).map_or(0, |folder| 1 + depth(org, &folder.parent))
}

/// Creates a folder and gives its uid.
pub(crate) fn create(org: &mut Org, era: Era, new: Folder) -> Result<String, Answer> {
    if new.title.trim().is_empty() {
        return Err(Answer::refuse(400, "folder title cannot be empty"));
    }
    check_uid(&new.uid)?;
    if org.folders.contains_key(&new.uid) || org.dashboards.contains_key(&new.uid) {
        let message = "a folder/dashboard with the same uid already exists";
        return Err(if era >= Era::Twelve { changed() } else { Answer::refuse(409, message) });
    }
    let same = |other: &Folder| {
        other.parent == new.parent && other.title.to_lowercase() == new.title.to_lowercase()
    };
    if era == Era::Ten && org.folders.values().any(same) {
        let message = "a folder with the same name already exists in the current location";
        return Err(Answer::refuse(409, message));
    }
    if !new.parent.is_empty() {
        find(org, &new.parent)?;
    }
    if depth(org, &new.parent) >= MAX_DEPTH {
        let id = "folder.maximum-depth-reached";
        return Err(Answer::refuse_with_id(400, "maximum folder depth reached", id));
    }
    let id = org.next_id();
    let uid = if new.uid.is_empty() { org.new_uid() } else { new.uid.clone() };
    let folder = Folder { id, uid: uid.clone(), version: 1, resource_version: id, ..new };
    org.folders.insert(uid.clone(), folder);
    Ok(uid)
}

pub(crate) fn rename(org: &mut Org, uid: &str, title: &str) {
    let mark = org.next_id();
    if let Some(folder) = org.folders.get_mut(uid) {
        title.clone_into(&mut folder.title);
        folder.version += 1;
        folder.resource_version = mark;
    }
}

/// Deletes a folder and all in it.
pub(crate) fn delete(org: &mut Org, uid: &str) {
    let is_inner = |folder: &&Folder| folder.parent == uid;
    let inner: Vec<_> =
        org.folders.values().filter(is_inner).map(|folder| folder.uid.clone()).collect();
    for child in inner {
        delete(org, &child);
    }
    org.dashboards.retain(|_, dashboard| dashboard.folder != uid);
    org.folders.remove(uid);
}

/// Where to look at a folder.
pub(crate) fn link(folder: &Folder) -> String {
    format!("/dashboards/f/{}/{}", folder.uid, slug(&folder.title))
}

fn shown(org: &Org, folder: &Folder) -> Value {
    let mut shown = json!({
        "id": folder.id, "uid": folder.uid, "orgId": org.id, "title": folder.title,
        "url": link(folder), "hasAcl": false, "canSave": true, "canEdit": true, "canAdmin": true,
        "canDelete": true, "createdBy": "admin", "created": NOW, "updatedBy": "admin",
        "updated": NOW, "version": folder.version,
    });
    if let Some(parent) = org.folders.get(&folder.parent) {
        shown["parentUid"] = folder.parent.as_str().into();
        shown["parents"] = json!([self::shown(org, parent)]);
    }
    shown
}
