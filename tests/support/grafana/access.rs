//! Annotations, organisations, users and teams.

use serde_json::{Map, Value, json};

use super::routes::Caller;
use super::state::{Org, Role, State, Team, User};
use super::wire::{Answer, Reply, Request, number, text};

const SHORTEST_PASSWORD: usize = 4;

pub(crate) fn handle(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    match (request.method.as_str(), path) {
        ("GET", ["org"]) => {
            let org = state.orgs.get(&caller.org);
            let org = org.ok_or_else(|| Answer::refuse(404, "Organization not found"))?;
            let address = json!({
                "address1": "", "address2": "", "city": "", "zipCode": "", "state": "",
                "country": "",
            });
            Answer::ok(&json!({"id": org.id, "name": org.name, "address": address}))
        }
        ("GET", ["user"]) => match caller.user.and_then(|id| state.users.get(&id)) {
            Some(user) => Answer::ok(&shown(user)),
            None => Err(Answer::refuse(403, "Endpoint only available for users")),
        },
        (_, ["teams", rest @ ..]) => teams(state, request, caller, rest),
        (_, ["orgs" | "users" | "admin", ..]) => {
            caller.needs(Role::Server, "orgs:read")?;
            match path {
                ["orgs", rest @ ..] => orgs(state, request, rest),
                _ => users(state, request, path),
            }
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn orgs(state: &mut State, request: &Request, path: &[&str]) -> Reply {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            let shown = |org: &Org| json!({"id": org.id, "name": org.name});
            Answer::ok(&state.orgs.values().map(shown).collect())
        }
        ("GET", ["name", name]) => match state.orgs.values().find(|org| org.name == *name) {
            Some(org) => Answer::ok(&json!({"id": org.id, "name": org.name, "address": {}})),
            None => Err(Answer::refuse(404, "Organization not found")),
        },
        ("POST", []) => {
            let body = request.json()?;
            let name = text(&body, "name").to_owned();
            if state.orgs.values().any(|org| org.name == name) {
                return Err(Answer::refuse(409, "Organization name taken"));
            }
            let id = state.orgs.keys().max().unwrap_or(&0) + 1;
            state.orgs.insert(id, Org { id, name, ..Org::default() });
            Answer::ok(&json!({"orgId": id, "message": "Organization created"}))
        }
        ("POST", [id, "users"]) => {
            let body = request.json()?;
            let login = text(&body, "loginOrEmail");
            let user = state.users.values().find(|user| user.login == login || user.email == login);
            let user = user.ok_or_else(|| Answer::refuse(404, "User not found"))?.id;
            let org = id.parse().ok().and_then(|id: u64| state.orgs.get_mut(&id));
            let org = org.ok_or_else(|| Answer::refuse(404, "Organization not found"))?;
            if org.members.contains_key(&user) {
                let message = "User is already member of this organization";
                return Err(Answer::json(409, &json!({"message": message, "userId": user})));
            }
            org.members.insert(user, text(&body, "role").to_owned());
            Answer::ok(&json!({"message": "User added to organization", "userId": user}))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn users(state: &mut State, request: &Request, path: &[&str]) -> Reply {
    match (request.method.as_str(), path) {
        ("GET", ["users"]) => {
            let limit = request.number("perpage", 1000);
            let skipped = (request.number("page", 1) - 1) * limit;
            Answer::ok(&state.users.values().skip(skipped).take(limit).map(shown).collect())
        }
        ("GET", ["users", "lookup"]) => {
            let login = request.one("loginOrEmail").unwrap_or_default();
            match state.users.values().find(|user| user.login == login || user.email == login) {
                Some(user) => Answer::ok(&shown(user)),
                None => Err(Answer::refuse(404, "user not found")),
            }
        }
        ("POST", ["admin", "users"]) => create_user(state, &request.json()?),
        ("PUT", ["admin", "users", id, "password"]) => {
            let body = request.json()?;
            let user = id.parse().ok().and_then(|id: u64| state.users.get_mut(&id));
            let user = user.ok_or_else(|| Answer::refuse(404, "user not found"))?;
            let password = text(&body, "password");
            if password.len() < SHORTEST_PASSWORD {
                return Err(Answer::refuse(400, "New password too short"));
            }
            password.clone_into(&mut user.password);
            Answer::ok(&json!({"message": "User password updated"}))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn create_user(state: &mut State, body: &Map<String, Value>) -> Reply {
    let or = |first: &str, second: &str| {
        let first = text(body, first);
        if first.is_empty() { text(body, second) } else { first }.to_owned()
    };
    let (login, email) = (or("login", "email"), or("email", "login"));
    let password = text(body, "password");
    if password.len() < SHORTEST_PASSWORD {
        return Err(Answer::refuse(400, "Password is missing or too short"));
    }
    if state.users.values().any(|user| user.login == login || user.email == email) {
        let message = format!("User with email '{email}' or username '{login}' already exists");
        return Err(Answer::refuse(412, &message));
    }
    let id = state.users.keys().max().unwrap_or(&0) + 1;
    let org = number(body, "orgId").max(1);
    let Some(members) = state.orgs.get_mut(&org).map(|org| &mut org.members) else {
        return Err(Answer::refuse(400, "Organization not found"));
    };
    members.insert(id, "Viewer".to_owned());
    let user = User {
        id,
        login,
        email,
        name: text(body, "name").to_owned(),
        password: password.to_owned(),
        is_server_admin: false,
        org,
    };
    state.users.insert(id, user);
    Answer::ok(&json!({"id": id, "message": "User created", "uid": format!("u{id}")}))
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id, "email": user.email, "name": user.name, "login": user.login,
        "orgId": user.org, "isGrafanaAdmin": user.is_server_admin,
    })
}

fn teams(state: &mut State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let users = state.users.clone();
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    let missing = || Answer::refuse(404, "Team not found");
    match (request.method.as_str(), path) {
        ("GET", ["search"]) => {
            let is_sought = |team: &&Team| request.one("name").is_none_or(|name| name == team.name);
            let shown = |team: &Team| {
                json!({
                    "id": team.id, "uid": format!("t{}", team.id), "orgId": org.id,
                    "name": team.name, "email": team.email, "isProvisioned": false,
                    "memberCount": team.members.len(),
                })
            };
            let teams: Vec<Value> = org.teams.values().filter(is_sought).map(shown).collect();
            let count = teams.len();
            Answer::ok(&json!({"totalCount": count, "teams": teams, "page": 1, "perPage": 1000}))
        }
        ("POST", []) => {
            caller.needs(Role::Admin, "teams:create")?;
            let body = request.json()?;
            let (name, email) = (text(&body, "name").to_owned(), text(&body, "email").to_owned());
            if org.teams.values().any(|team| team.name == name) {
                return Err(Answer::refuse(409, "Team name taken"));
            }
            let id = org.next_id();
            org.teams.insert(id, Team { id, name, email, members: Vec::new() });
            Answer::ok(&json!({"teamId": id, "uid": format!("t{id}"), "message": "Team created"}))
        }
        (method, [id, "members"]) => {
            let team = id.parse().ok().and_then(|id: u64| org.teams.get_mut(&id));
            let team = team.ok_or_else(missing)?;
            if method == "GET" {
                let member = |id: &u64| {
                    let user = users.get(id)?;
                    Some(json!({
                        "userId": id, "teamId": team.id, "orgId": 1, "login": user.login,
                        "email": user.email, "name": user.name,
                    }))
                };
                return Answer::ok(&team.members.iter().filter_map(member).collect());
            }
            caller.needs(Role::Admin, "teams.permissions:write")?;
            let user = number(&request.json()?, "userId");
            if team.members.contains(&user) {
                return Err(Answer::refuse(400, "User is already added to this team"));
            }
            team.members.push(user);
            Answer::ok(&json!({"message": "Member added to Team"}))
        }
        _ => Err(missing()),
    }
}

pub(crate) fn annotations(
    state: &mut State,
    request: &Request,
    caller: Caller,
    path: &[&str],
) -> Reply {
    let Some(org) = state.orgs.get_mut(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    match (request.method.as_str(), path) {
        ("GET", []) => {
            let limit = request.number("limit", 100);
            let sought = org.annotations.values().filter(|one| is_sought(one, request));
            Answer::ok(&sought.take(limit).cloned().map(Value::Object).collect())
        }
        ("POST", []) => {
            caller.needs(Role::Editor, "annotations:create")?;
            let mut body = request.json()?;
            if text(&body, "text").is_empty() {
                return Err(Answer::refuse(400, "Failed to save annotation"));
            }
            let id = org.next_id();
            body.insert("id".to_owned(), id.into());
            let time = number(&body, "time").max(1);
            body.entry("time").or_insert(time.into());
            body.entry("timeEnd").or_insert(time.into());
            body.entry("tags").or_insert_with(|| json!([]));
            org.annotations.insert(id, body);
            Answer::ok(&json!({"message": "Annotation added", "id": id}))
        }
        ("DELETE", [id]) => {
            caller.needs(Role::Editor, "annotations:delete")?;
            let removed = id.parse().ok().and_then(|id: u64| org.annotations.remove(&id));
            removed.ok_or_else(|| Answer::refuse(404, "Annotation not found"))?;
            Answer::ok(&json!({"message": "Annotation deleted"}))
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn is_sought(annotation: &Map<String, Value>, request: &Request) -> bool {
    let tags = annotation.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    let bound = |name: &str| request.one(name).and_then(|text| text.parse::<u64>().ok());
    request.many("tags").iter().all(|tag| tags.iter().any(|one| one == tag))
        && bound("from").is_none_or(|from| number(annotation, "timeEnd") >= from)
        && bound("to").is_none_or(|to| number(annotation, "time") <= to)
        && request.one("dashboardUID").is_none_or(|uid| text(annotation, "dashboardUID") == uid)
}
