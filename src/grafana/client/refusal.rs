//! A refusal of Grafana's, read leniently: versions and proxies before it disagree about its form.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// As much of a body that is no JSON as an error shows.
const MAX_EXCERPT_CHARS: usize = 160;
/// What stands before the permissions in Grafana's message.
const PERMISSIONS_NEEDED: &str = "Permissions needed:";

/// What Grafana refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request's method.
    pub method: String,
    /// The request's path, without its query.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// What the refusal means.
    pub reason: Reason,
    /// Grafana's own words, or the beginning of a body in another form.
    pub message: String,
    /// With 403, the permissions that are missing: as Grafana names them, else as this call is
    /// known to need.
    pub permissions: Vec<String>,
    /// With 429 and 503, how long to wait, when the server says so.
    pub retry_after: Option<Duration>,
    /// Prometheus' word for it, when it is Prometheus behind Grafana that refused.
    pub(super) error_type: Option<String>,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 401: no, wrong or expired credentials.
    Unauthorized,
    /// 403: known, but not allowed.
    Forbidden,
    /// 404: no such thing.
    NotFound,
    /// 404: no such address, as on a version without this part of the API.
    NoSuchRoute,
    /// The folder that a dashboard is to be put into does not exist.
    FolderNotFound,
    /// 406: stored in a newer form than can be asked for here.
    NewerForm,
    /// 409 or 412: another one has this name, uid or place.
    Exists,
    /// 412: another dashboard of the folder has the title; Grafana before 11.3.
    NameExists,
    /// 409 or 412: changed since it was read.
    VersionMismatch,
    /// 409 or 412 with some other meaning.
    Conflict,
    /// 400: provisioned from a file, not to be written.
    Provisioned,
    /// 413: more than the server takes.
    TooLarge,
    /// 400 or 422: what was sent is wrong.
    Invalid,
    /// 429: too many requests.
    Busy,
    /// 5xx: the server or a proxy before it has a problem.
    Server,
    /// Any other status.
    Other,
}

/// The request that a refusal is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// The permissions that the call is known to need.
    pub(super) needs: &'a str,
}

impl Refusal {
    /// Reads the body of an answer with `status`; whatever the body is, there is a refusal.
    pub(super) fn read(asked: Asked<'_>, status: u16, body: &[u8]) -> Self {
        let body: Body = Body::read(body);
        let reason = body.reason(status);
        let permissions = if status == 403 { body.permissions(asked.needs) } else { Vec::new() };
        Self {
            method: asked.method.to_owned(),
            path: asked.path.to_owned(),
            status,
            reason,
            message: body.message,
            permissions,
            retry_after: None,
            error_type: body.error_type,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, status, message, .. } = self;
        write!(out, "Grafana answered {status} to {method} {path}")?;
        if !message.is_empty() {
            write!(out, ": {message}")?;
        }
        match self.reason {
            Reason::Unauthorized => {
                out.write_str("; check the token, or user and password, and their organisation")
            }
            Reason::Forbidden
                if !message.contains(PERMISSIONS_NEEDED) && !self.permissions.is_empty() =>
            {
                write!(out, "; this needs the permission {}", self.permissions.join(", "))
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// The parts of an error body that tell something.
#[derive(Debug, Default)]
struct Body {
    message: String,
    /// `status` of the classic API, `reason` of the other.
    word: String,
    /// Whether it has the form of `/apis`.
    is_resource_status: bool,
    error_type: Option<String>,
}

impl Body {
    fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Self { message: excerpt(body), ..Self::default() };
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_resource_status = text("kind") == "Status";
        let word = if is_resource_status { text("reason") } else { text("status") };
        let message = if text("message").is_empty() { text("error") } else { text("message") };
        let error_type = Some(text("errorType")).filter(|kind| !kind.is_empty());
        Self {
            message: message.to_owned(),
            word: word.to_owned(),
            is_resource_status,
            error_type: error_type.map(ToOwned::to_owned),
        }
    }

    fn reason(&self, status: u16) -> Reason {
        match status {
            400 | 422 => self.reason_of_invalid(),
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            404 => self.reason_of_missing(),
            406 => Reason::NewerForm,
            409 | 412 => self.reason_of_conflict(),
            413 => Reason::TooLarge,
            429 => Reason::Busy,
            500.. => Reason::Server,
            _ => Reason::Other,
        }
    }

    fn says(&self, words: &str) -> bool {
        self.message.to_lowercase().contains(words)
    }

    fn reason_of_invalid(&self) -> Reason {
        if self.says("provisioned dashboard") {
            Reason::Provisioned
        } else if self.says("folder not found") || self.says("folder does not exist") {
            Reason::FolderNotFound
        } else if self.says("already exists") || self.says("already added") {
            Reason::Exists
        } else {
            Reason::Invalid
        }
    }

    fn reason_of_missing(&self) -> Reason {
        if self.says("folder not found") || self.message.starts_with("folders.") {
            return Reason::FolderNotFound;
        }
        if self.is_resource_status {
            return Reason::NotFound;
        }
        // What is missing has a name in Grafana's messages; an unknown path has none, and neither
        // has the page of whatever stands before Grafana.
        let is_plain = self.message == "Not found" || self.message.starts_with('<');
        if is_plain || self.says("404 page not found") {
            Reason::NoSuchRoute
        } else {
            Reason::NotFound
        }
    }

    fn reason_of_conflict(&self) -> Reason {
        match self.word.as_str() {
            "version-mismatch" | "Conflict" => Reason::VersionMismatch,
            "name-exists" => Reason::NameExists,
            "AlreadyExists" => Reason::Exists,
            _ if self.says("requested rv does not match") => Reason::VersionMismatch,
            _ if self.says("already") || self.says("taken") || self.says("same uid") => {
                Reason::Exists
            }
            _ => Reason::Conflict,
        }
    }

    /// The permissions in the message, else those that the call is known to need.
    fn permissions(&self, known: &str) -> Vec<String> {
        let named = self.message.split_once(PERMISSIONS_NEEDED).map(|(_, list)| words(list));
        named.filter(|list| !list.is_empty()).unwrap_or_else(|| words(known))
    }
}

/// The permissions in a text like `any of folders:create, folders:write`.
fn words(list: &str) -> Vec<String> {
    list.split([',', ' ']).filter(|word| word.contains(':')).map(ToOwned::to_owned).collect()
}

/// The beginning of a body that is no JSON, on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_EXCERPT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_tells_what_it_is_about() {
        check(412, r#"{"message":"x","status":"version-mismatch"}"#, Reason::VersionMismatch);
        check(412, r#"{"message":"x","status":"name-exists"}"#, Reason::NameExists);
        check(412, r#"{"message":"User 'a' already exists"}"#, Reason::Exists);
        check(409, r#"{"message":"Team name taken"}"#, Reason::Exists);
        check(409, r#"{"message":"requested RV does not match"}"#, Reason::VersionMismatch);
        check(409, r#"{"kind":"Status","reason":"AlreadyExists"}"#, Reason::Exists);
        check(409, r#"{"kind":"Status","reason":"Conflict"}"#, Reason::VersionMismatch);
        check(412, r#"{"message":"of a plugin","status":"plugin-dashboard"}"#, Reason::Conflict);
    }

    #[test]
    fn a_missing_thing_is_not_a_missing_address() {
        check(404, r#"{"message":"Dashboard not found"}"#, Reason::NotFound);
        check(404, r#"{"kind":"Status","message":"Not found"}"#, Reason::NotFound);
        check(404, r#"{"message":"Folder not found"}"#, Reason::FolderNotFound);
        check(
            404,
            r#"{"kind":"Status","message":"folders.x \"a\" not found"}"#,
            Reason::FolderNotFound,
        );
        check(404, "", Reason::NotFound);
        check(404, r#"{"message":"Not found"}"#, Reason::NoSuchRoute);
        check(404, "404 page not found", Reason::NoSuchRoute);
        check(404, "<html><h1>Not Found</h1></html>", Reason::NoSuchRoute);
    }

    #[test]
    fn a_wrong_request_tells_what_is_wrong() {
        check(400, r#"{"message":"Cannot save provisioned dashboard"}"#, Reason::Provisioned);
        check(400, r#"{"message":"folder not found"}"#, Reason::FolderNotFound);
        check(400, r#"{"message":"User is already added to this team"}"#, Reason::Exists);
        check(422, r#"{"message":"Limit is above maximum"}"#, Reason::Invalid);
        check(400, "<p>no</p>", Reason::Invalid);
    }

    #[test]
    fn permissions_come_from_the_message_or_else_from_the_call() {
        let named = br#"{"message":"You'll need more. Permissions needed: any of a:b, c.d:e:f"}"#;
        let unnamed = br#"{"message":"Access denied to save dashboard"}"#;
        let read = |body: &[u8]| {
            let asked = Asked { method: "POST", path: "/api/x", needs: "folders:create" };
            Refusal::read(asked, 403, body)
        };
        assert_eq!(read(named).permissions, ["a:b", "c.d:e:f"]);
        assert_eq!(read(unnamed).permissions, ["folders:create"]);
        assert_eq!(
            read(unnamed).to_string(),
            "Grafana answered 403 to POST /api/x: Access denied to save dashboard; \
             this needs the permission folders:create"
        );
        assert!(!read(named).to_string().contains("this needs"));
    }

    #[track_caller]
    fn check(status: u16, body: &str, reason: Reason) {
        let asked = Asked { method: "GET", path: "/api/x", needs: "" };
        assert_eq!(Refusal::read(asked, status, body.as_bytes()).reason, reason);
    }
}
