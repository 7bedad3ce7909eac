//! Who asks, and who answers.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::state::{Era, Role, State};
use super::wire::{Answer, Reply, Request};
use super::{access, alerting, dashboards, folders, resources, sources};

/// Somebody known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) org: u64,
    pub(crate) role: Role,
    /// None for a token.
    pub(crate) user: Option<u64>,
}

impl Caller {
    /// Refuses whoever has less than `role`.
    pub(crate) fn needs(self, role: Role, permission: &str) -> Result<(), Answer> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!(
            "You'll need additional permissions to perform this action. Permissions needed: {permission}"
        );
        let body =
            json!({"accessErrorId": "ACE0000000000", "message": message, "title": "Access denied"});
        Err(Answer::json(403, &body))
    }
}

pub(crate) fn handle(state: &mut State, request: &Request) -> Reply {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let version = state.era.version();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["api", "health"]) => {
            return Answer::ok(&json!({"database": "ok", "version": version, "commit": "abc"}));
        }
        ("GET", ["api", "frontend", "settings"]) => {
            return Answer::ok(&json!({"buildInfo": {"version": version, "commit": "abc"}}));
        }
        _ => {}
    }
    if path.first() == Some(&"apis") && state.era < Era::Twelve {
        return Err(Answer::refuse(404, "Not found"));
    }
    let caller = caller(state, request)?;
    match path.as_slice() {
        ["apis", rest @ ..] => resources::handle(state, request, caller, rest),
        ["api", "folders", rest @ ..] => folders::handle(state, request, caller, rest),
        ["api", "dashboards", rest @ ..] => dashboards::handle(state, request, caller, rest),
        ["api", "search"] => dashboards::search(state, request, caller),
        ["api", "datasources", rest @ ..] => sources::handle(state, request, caller, rest),
        ["api", "annotations", rest @ ..] => access::annotations(state, request, caller, rest),
        ["api", "v1", "provisioning", rest @ ..] => {
            alerting::provisioning(state, request, caller, rest)
        }
        ["api", "convert", "prometheus", "config", "v1", "rules", rest @ ..] => {
            alerting::import(state, request, caller, rest)
        }
        ["api", rest @ ..] => access::handle(state, request, caller, rest),
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn caller(state: &State, request: &Request) -> Result<Caller, Answer> {
    let authorization = request.header("authorization").unwrap_or_default();
    let org = request.header("x-grafana-org-id").and_then(|text| text.parse().ok());
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return token_caller(state, token, org);
    }
    let Some(encoded) = authorization.strip_prefix("Basic ") else {
        return Err(Answer::refuse_with_id(401, "Unauthorized", "auth.unauthorized"));
    };
    let decoded = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    let decoded = String::from_utf8(decoded).unwrap_or_default();
    let (login, password) = decoded.split_once(':').unwrap_or_default();
    let user = state
        .users
        .values()
        .find(|user| (user.login == login || user.email == login) && user.password == password);
    let Some(user) = user else {
        let id = "password-auth.failed";
        return Err(Answer::refuse_with_id(401, "Invalid username or password", id));
    };
    let org = org.filter(|id| state.orgs.contains_key(id)).unwrap_or(user.org);
    let role = match state.orgs.get(&org).and_then(|org| org.members.get(&user.id)) {
        _ if user.is_server_admin => Role::Server,
        Some(role) if role == "Admin" => Role::Admin,
        Some(role) if role == "Editor" => Role::Editor,
        _ => Role::Viewer,
    };
    Ok(Caller { org, role, user: Some(user.id) })
}

fn token_caller(state: &State, token: &str, org: Option<u64>) -> Result<Caller, Answer> {
    let Some((_, role)) = state.tokens.iter().find(|(known, _)| known == token) else {
        return Err(Answer::refuse_with_id(401, "Invalid API key", "api-key.invalid"));
    };
    if org.is_some_and(|org| org != 1) {
        let message = "API key does not belong to the requested organization";
        return Err(Answer::refuse_with_id(401, message, "api-key.organization-mismatch"));
    }
    Ok(Caller { org: 1, role: *role, user: None })
}
