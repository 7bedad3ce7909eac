//! Dashboards, in the form of `/api`.

use serde_json::{Map, Value, json};

use super::folders;
use super::routes::Caller;
use super::state::{Dashboard, Era, NOW, Org, Role, State, check_uid, slug};
use super::wire::{Answer, Reply, Request, number, text};

const MAX_SEARCH: usize = 5000;

/// What is to be saved, and how.
pub(crate) struct Saving<'a> {
    pub(crate) json: Map<String, Value>,
    pub(crate) folder: &'a str,
    pub(crate) message: &'a str,
    pub(crate) overwrite: bool,
}

pub(crate) fn handle(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let (era, prefix) = (state.era, state.prefix.clone());
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    match (request.method.as_str(), path) {
        ("POST", ["db"]) => {
            caller.needs(Role::Editor, "dashboards:create")?;
            let uid = save_body(org, era, &request.json()?)?;
            Answer::ok(&saved(find(org, &uid)?, era, &prefix))
        }
        ("GET", ["uid", uid]) => {
            let dashboard = find(org, uid)?;
            if dashboard.is_v2 {
                let message = "dashboard is stored as v2; use /apis/dashboard.grafana.app/v2";
                return Err(Answer::refuse(406, message));
            }
            Answer::ok(&json!({
                "meta": meta(org, dashboard, &prefix), "dashboard": dashboard.json,
            }))
        }
        ("DELETE", ["uid", uid]) => {
            caller.needs(Role::Editor, "dashboards:delete")?;
            if find(org, uid)?.is_provisioned {
                return Err(Answer::refuse(400, "provisioned dashboard cannot be deleted"));
            }
            let title = title_of(find(org, uid)?);
            org.dashboards.remove(*uid);
            let message = format!("Dashboard {title} deleted");
            Answer::ok(&json!({"title": title, "message": message, "uid": uid}))
        }
        ("GET", ["uid", uid, "versions"]) => {
            let versions = versions(find(org, uid)?);
            let is_list = era == Era::Ten;
            Answer::ok(&if is_list {
                versions
            } else {
                json!({"continueToken": "", "versions": versions})
            })
        }
        ("GET", ["uid", uid, "permissions"]) => {
            Answer::ok(&find(org, uid)?.permissions.clone().into())
        }
        ("POST", ["uid", uid, "permissions"]) => {
            caller.needs(Role::Admin, "dashboards.permissions:write")?;
            let items = request.json()?.get("items").and_then(Value::as_array).cloned();
            find(org, uid)?;
            if let Some(dashboard) = org.dashboards.get_mut(*uid) {
                dashboard.permissions = items.unwrap_or_default();
            }
            Answer::ok(&json!({"message": "Dashboard permissions updated"}))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn find<'a>(org: &'a Org, uid: &str) -> Result<&'a Dashboard, Answer> {
    org.dashboards.get(uid).ok_or_else(|| Answer::refuse(404, "Dashboard not found"))
}

fn save_body(org: &mut Org, era: Era, body: &Map<String, Value>) -> Result<String, Answer> {
    let Some(Value::Object(json)) = body.get("dashboard") else {
        return Err(Answer::refuse(400, "bad request data"));
    };
    let saving = Saving {
        json: json.clone(),
        folder: text(body, "folderUid"),
        message: text(body, "message"),
        overwrite: body.get("overwrite").and_then(Value::as_bool) == Some(true),
    };
    save(org, era, saving)
}

/// Saves a dashboard and gives its uid.
pub(crate) fn save(org: &mut Org, era: Era, saving: Saving<'_>) -> Result<String, Answer> {
    let folder = if saving.folder == "general" { "" } else { saving.folder };
    check(org, era, &saving, folder)?;
    let mut json = saving.json;
    let title = text(&json, "title").trim().to_owned();
    let mut uid = by_id_or_uid(org, &json)?;
    let same = |other: &&Dashboard| {
        other.uid != uid && other.folder == folder && slug(&title_of(other)) == slug(&title)
    };
    if let Some(other) = org.dashboards.values().find(same).filter(|_| era == Era::Ten) {
        if !saving.overwrite {
            let message = "A dashboard with the same name in the folder already exists";
            return Err(Answer::refuse_as(412, message, "name-exists"));
        }
        uid.clone_from(&other.uid);
    }
    if let Some(there) = org.dashboards.get(&uid) {
        if !saving.overwrite && number(&json, "version") != there.version {
            let message = "The dashboard has been changed by someone else";
            return Err(Answer::refuse_as(412, message, "version-mismatch"));
        }
        if there.is_provisioned {
            return Err(Answer::refuse(400, "Cannot save provisioned dashboard"));
        }
    }
    let mark = org.next_id();
    if uid.is_empty() {
        uid = org.new_uid();
    }
    let dashboard = org.dashboards.entry(uid.clone()).or_default();
    if dashboard.version == 0 {
        (dashboard.id, dashboard.uid) = (mark, uid.clone());
    }
    json.insert("id".to_owned(), dashboard.id.into());
    json.insert("uid".to_owned(), uid.as_str().into());
    json.insert("title".to_owned(), title.into());
    json.insert("version".to_owned(), dashboard.version.into());
    // Where the store is that of `/apis`, only another content makes another version.
    if era < Era::Twelve || dashboard.json != json {
        dashboard.version += 1;
        dashboard.messages.push(saving.message.to_owned());
        json.insert("version".to_owned(), dashboard.version.into());
        dashboard.json = json;
    }
    dashboard.resource_version = mark;
    folder.clone_into(&mut dashboard.folder);
    Ok(uid)
}

fn check(org: &Org, era: Era, saving: &Saving<'_>, folder: &str) -> Result<(), Answer> {
    let title = text(&saving.json, "title").trim();
    if title.is_empty() {
        let message = "Dashboard title cannot be empty";
        return Err(Answer::refuse_as(400, message, "empty-name"));
    }
    if era >= Era::Eleven && title.chars().count() > 5000 {
        let message = "Dashboard title cannot contain more than 5 000 characters";
        return Err(Answer::refuse_as(400, message, "title-too-long"));
    }
    if era >= Era::Eleven && saving.message.chars().count() > 500 {
        return Err(Answer::refuse(400, "message too long, max 500 characters"));
    }
    let uid = text(&saving.json, "uid");
    check_uid(uid)?;
    if org.folders.contains_key(uid) {
        return Err(Answer::refuse(400, "Dashboard cannot be changed to a folder"));
    }
    if !folder.is_empty() && !org.folders.contains_key(folder) {
        return Err(Answer::refuse(400, "folder not found"));
    }
    Ok(())
}

/// The uid of the dashboard that a body means; empty for a new one without.
fn by_id_or_uid(org: &Org, json: &Map<String, Value>) -> Result<String, Answer> {
    let (id, uid) = (number(json, "id"), text(json, "uid").trim());
    if id == 0 {
        return Ok(uid.to_owned());
    }
    match org.dashboards.values().find(|dashboard| dashboard.id == id) {
        None => Err(Answer::refuse_as(404, "Dashboard not found", "not-found")),
        Some(by_id) if by_id.uid != uid && org.dashboards.contains_key(uid) => {
            Err(Answer::refuse(400, "A dashboard with the same uid already exists"))
        }
        Some(by_id) => Ok(by_id.uid.clone()),
    }
}

pub(crate) fn title_of(dashboard: &Dashboard) -> String {
    text(&dashboard.json, "title").to_owned()
}

fn link(dashboard: &Dashboard, prefix: &str) -> String {
    format!("{prefix}/d/{}/{}", dashboard.uid, slug(&title_of(dashboard)))
}

fn saved(dashboard: &Dashboard, era: Era, prefix: &str) -> Value {
    let mut saved = json!({
        "id": dashboard.id, "uid": dashboard.uid, "url": link(dashboard, prefix),
        "status": "success", "version": dashboard.version, "slug": slug(&title_of(dashboard)),
    });
    if era >= Era::Eleven {
        saved["folderUid"] = dashboard.folder.as_str().into();
    }
    if era == Era::Thirteen {
        // The description of that version demands it.
        saved["title"] = title_of(dashboard).into();
    }
    saved
}

fn meta(org: &Org, dashboard: &Dashboard, prefix: &str) -> Value {
    let folder = org.folders.get(&dashboard.folder);
    json!({
        "type": "db", "canSave": true, "canEdit": true, "canAdmin": true, "canStar": true,
        "canDelete": true, "slug": slug(&title_of(dashboard)), "url": link(dashboard, prefix),
        "expires": "0001-01-01T00:00:00Z", "created": NOW, "updated": NOW, "updatedBy": "admin",
        "createdBy": "admin", "version": dashboard.version, "hasAcl": false, "isFolder": false,
        "folderId": folder.map_or(0, |folder| folder.id), "folderUid": dashboard.folder,
        "folderTitle": folder.map_or("General", |folder| folder.title.as_str()),
        "folderUrl": folder.map(folders::link).unwrap_or_default(),
        "provisioned": dashboard.is_provisioned, "provisionedExternalId": "",
    })
}

fn versions(dashboard: &Dashboard) -> Value {
    let row = |(message, version): (&String, u64)| {
        json!({
            "id": version, "dashboardId": dashboard.id, "uid": dashboard.uid,
            "parentVersion": version - 1, "restoredFrom": 0, "version": version,
            "created": NOW, "createdBy": "admin", "message": message,
        })
    };
    let mut rows: Vec<Value> = dashboard.messages.iter().zip(1..).map(row).collect();
    rows.reverse();
    rows.into()
}

pub(crate) fn search(state: &State, request: &Request, caller: Caller) -> Reply {
    let limit = request.number("limit", 1000);
    if limit > MAX_SEARCH {
        let message =
            "Limit is above maximum allowed (5000), use page parameter to access hits beyond limit";
        return Err(Answer::refuse(422, message));
    }
    let Some(org) = state.orgs.get(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    let mut rows: Vec<&Dashboard> = org
        .dashboards
        .values()
        .filter(|dashboard| is_sought(dashboard, state.era, request))
        .collect();
    rows.sort_by_key(|dashboard| title_of(dashboard).to_lowercase());
    let skipped = (request.number("page", 1) - 1) * limit;
    let row = |dashboard: &&Dashboard| hit(org, dashboard, &state.prefix);
    Answer::ok(&rows.iter().skip(skipped).take(limit).map(row).collect())
}

fn is_sought(dashboard: &Dashboard, era: Era, request: &Request) -> bool {
    let tags = dashboard.json.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |tag: &&str| tags.iter().any(|one| one == tag);
    // Version 10 knows folders by number here.
    let folders = if era == Era::Ten { Vec::new() } else { request.many("folderUIDs") };
    let folder = if dashboard.folder.is_empty() { "general" } else { &dashboard.folder };
    let query = request.one("query").unwrap_or_default().to_lowercase();
    request.one("type").is_none_or(|kind| kind == "dash-db")
        && request.many("tag").iter().all(has)
        && (folders.is_empty() || folders.contains(&folder))
        && title_of(dashboard).to_lowercase().contains(&query)
}

fn hit(org: &Org, dashboard: &Dashboard, prefix: &str) -> Value {
    let mut hit = json!({
        "id": dashboard.id, "uid": dashboard.uid, "orgId": org.id, "title": title_of(dashboard),
        "uri": format!("db/{}", slug(&title_of(dashboard))), "url": link(dashboard, prefix),
        "slug": "", "type": "dash-db", "isStarred": false, "sortMeta": 0, "isDeleted": false,
        "tags": dashboard.json.get("tags").cloned().unwrap_or_else(|| json!([])),
    });
    if let Some(folder) = org.folders.get(&dashboard.folder) {
        hit["folderId"] = folder.id.into();
        hit["folderUid"] = folder.uid.as_str().into();
        hit["folderTitle"] = folder.title.as_str().into();
        hit["folderUrl"] = folders::link(folder).into();
    }
    hit
}
