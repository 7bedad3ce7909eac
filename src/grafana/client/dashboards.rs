//! Dashboards, the same through either API.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::kubernetes::place;
use super::call::Call;
use super::error::Error;
use super::{Api, Client, PAGE_ROWS, found, or_default};

mod classic;
mod kubernetes;

/// What Grafana keeps of the message of a version.
const MAX_MESSAGE_CHARS: usize = 500;
/// How often an unconditional save is tried again after somebody else's came between.
const MAX_RACES: usize = 3;
/// The permissions to write.
const WRITING: &str = "dashboards:create, dashboards:write";

/// A dashboard as Grafana keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The classic JSON, with `uid` and `version`; `id` may be in it.
    pub json: Value,
    /// The folder; empty for the root.
    pub folder_uid: String,
    /// What it was when it was read.
    pub revision: Revision,
    /// Whether a file, a repository or the like owns it, so that it is not to be written.
    pub provisioned: bool,
    /// The newer form in which it is kept when that is not the classic one, such as `v2beta1`; the
    /// JSON is then what Grafana made of it, and writing it back loses something.
    pub newer_form: Option<String>,
    /// Where to look at it.
    pub url: String,
}

/// Tells two states of a dashboard apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Rises with each save; since Grafana 12 only with those that change something.
    pub version: u64,
    /// The other API's mark, which has no order.
    pub resource_version: Option<String>,
}

/// A dashboard to be written.
#[derive(Clone, Debug)]
pub struct Save<'a> {
    /// The classic JSON, with a `uid` and a `title`; an `id` in it is left out.
    pub dashboard: &'a Value,
    /// The folder; empty for the root.
    pub folder_uid: &'a str,
    /// The version's message; what is beyond 500 characters is cut off.
    pub message: &'a str,
    /// Write only if it still is this.
    pub expected: Option<Revision>,
    /// With nothing expected: write over whatever is there; without it, only if nothing is there.
    /// A dashboard that merely has the same title is never written over.
    pub overwrite: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The uid.
    pub uid: String,
    /// Where to look at it.
    pub url: String,
    /// What it is now.
    pub revision: Revision,
}

/// Which dashboards to look for; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct Search<'a> {
    /// All of these tags.
    pub tags: &'a [&'a str],
    /// In this folder.
    pub folder_uid: Option<&'a str>,
    /// A part of the title.
    pub query: Option<&'a str>,
}

/// A dashboard that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Found {
    /// Its uid.
    pub uid: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Its folder; empty for the root.
    #[serde(default)]
    pub folder_uid: String,
    /// Its folder's title.
    #[serde(default)]
    pub folder_title: String,
    /// Where to look at it.
    #[serde(default)]
    pub url: String,
}

/// One of the states that a dashboard had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct DashboardVersion {
    /// Its number.
    pub version: u64,
    /// What was said when it was saved.
    #[serde(default)]
    pub message: String,
    /// When, as RFC 3339.
    #[serde(default)]
    pub created: String,
    /// By whom.
    #[serde(default)]
    pub created_by: String,
}

/// Who may do what with a dashboard; one of role, team and user is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `Viewer` or `Editor`.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub role: Option<String>,
    /// A team's id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub team_id: Option<u64>,
    /// A user's id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user_id: Option<u64>,
    /// What they may do.
    pub permission: PermissionLevel,
    /// Whether it comes from the folder; such ones are told, but not set.
    #[serde(default, skip_serializing)]
    pub inherited: bool,
}

/// What somebody may do with a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum PermissionLevel {
    /// Look at it.
    View,
    /// Change it.
    Edit,
    /// Say who else may.
    Admin,
}

impl From<PermissionLevel> for u8 {
    fn from(level: PermissionLevel) -> Self {
        match level {
            PermissionLevel::View => 1,
            PermissionLevel::Edit => 2,
            PermissionLevel::Admin => 4,
        }
    }
}

impl TryFrom<u8> for PermissionLevel {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::View),
            2 => Ok(Self::Edit),
            4 => Ok(Self::Admin),
            _ => Err(format!("{number} is no permission")),
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field's address")]
fn is_empty(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

#[expect(clippy::ref_option, reason = "serde passes the field's address")]
fn is_zero(id: &Option<u64>) -> bool {
    id.unwrap_or_default() == 0
}

impl Save<'_> {
    fn uid(&self) -> Result<&str, Error> {
        let uid = self.dashboard.get("uid").and_then(Value::as_str).unwrap_or_default();
        if is_legal_uid(uid) { Ok(uid) } else { Err(Error::Name(uid.to_owned())) }
    }

    fn message(&self) -> String {
        self.message.chars().take(MAX_MESSAGE_CHARS).collect()
    }
}

/// Whether Grafana takes this as the uid of a dashboard or folder.
pub(super) fn is_legal_uid(uid: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=40).contains(&uid.len()) && uid.bytes().all(is_legal)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawVersions {
    /// Grafana 10.
    List(Vec<DashboardVersion>),
    /// Later ones.
    Wrapped { versions: Vec<DashboardVersion> },
}

impl Client {
    /// Reads a dashboard; none when there is none.
    ///
    /// # Errors
    /// `Refused` with `NewerForm` when it cannot be told as classic JSON at all.
    pub async fn dashboard(&self, uid: &str) -> Result<Option<Stored>, Error> {
        if let Api::Kubernetes { namespace, dashboards, .. } = self.api().await? {
            match self.resource_dashboard(place(&namespace, &dashboards), uid).await {
                Err(error) if self.falls_back(&error) => {}
                result => return found(result),
            }
        }
        found(self.classic_dashboard(uid).await)
    }

    /// Writes a dashboard if it may be written.
    ///
    /// # Errors
    /// `Refused` with `Exists` when nothing should have been there, `VersionMismatch` when
    /// something else was expected, `NameExists` when another dashboard of the folder has the title
    /// (Grafana before 11.3), `FolderNotFound`, `Provisioned`, `Invalid`, `TooLarge`.
    pub async fn save_dashboard(&self, save: &Save<'_>) -> Result<Saved, Error> {
        if let Api::Kubernetes { namespace, dashboards, .. } = self.api().await? {
            match self.save_resource(place(&namespace, &dashboards), save).await {
                Err(error) if self.falls_back(&error) => {}
                result => return result,
            }
        }
        self.save_classic(save).await
    }

    /// Deletes a dashboard; false when there was none.
    ///
    /// # Errors
    /// `Refused` with `Provisioned` or `Forbidden`.
    pub async fn delete_dashboard(&self, uid: &str) -> Result<bool, Error> {
        if let Api::Kubernetes { namespace, dashboards, .. } = self.api().await? {
            let place = place(&namespace, &dashboards);
            match place.delete(self.transport(), uid, "dashboards:delete").await {
                Err(error) if self.falls_back(&error) => {}
                result => return Ok(found(result)?.is_some()),
            }
        }
        Ok(found(self.delete_classic(uid).await)?.is_some())
    }

    /// Finds dashboards, all pages of them.
    ///
    /// The index that Grafana 12 and later search in lags some seconds behind: whether a dashboard
    /// exists is better asked with [`dashboard`](Self::dashboard).
    ///
    /// # Errors
    /// As any call.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<Found>, Error> {
        let mut all = self.pages::<Vec<Found>, _>(search.call()).await?;
        // Grafana 10 does not know folders by uid here and answers with all of them.
        all.retain(|row| search.folder_uid.is_none_or(|uid| uid == row.folder_uid));
        for row in &mut all {
            row.url = self.transport().link(&row.url);
        }
        Ok(all)
    }

    /// The states that a dashboard had, newest first.
    ///
    /// # Errors
    /// `Refused` with `NotFound` when there is no such dashboard.
    pub async fn versions(&self, uid: &str, limit: u32) -> Result<Vec<DashboardVersion>, Error> {
        let call = Call::get(&["api", "dashboards", "uid", uid, "versions"])
            .query("limit", limit.to_string())
            .needs("dashboards:write");
        Ok(match self.transport().json(call).await? {
            RawVersions::List(versions) | RawVersions::Wrapped { versions } => versions,
        })
    }

    /// Who may do what with a dashboard, what comes from its folder included.
    ///
    /// # Errors
    /// `Refused` with `NotFound` when there is no such dashboard.
    pub async fn dashboard_permissions(&self, uid: &str) -> Result<Vec<Permission>, Error> {
        let call = Call::get(&["api", "dashboards", "uid", uid, "permissions"]);
        self.transport().list(call.needs("dashboards.permissions:read")).await
    }

    /// Replaces who may do what with a dashboard; what comes from its folder stays.
    ///
    /// # Errors
    /// `Refused` with `NotFound`, `Forbidden`, or `Conflict` when somebody is named twice.
    pub async fn set_dashboard_permissions(
        &self,
        uid: &str,
        permissions: &[Permission],
    ) -> Result<(), Error> {
        let items: Vec<_> = permissions.iter().filter(|one| !one.inherited).collect();
        let path = ["api", "dashboards", "uid", uid, "permissions"];
        let call = Call::post(&path, &json!({ "items": items })).idempotent();
        self.transport().send(call.needs("dashboards.permissions:write")).await?;
        Ok(())
    }
}

impl Search<'_> {
    fn call(&self) -> Call<'static> {
        let mut call = Call::get(&["api", "search"])
            .query("type", "dash-db")
            .query("limit", PAGE_ROWS.to_string());
        for tag in self.tags {
            call = call.query("tag", *tag);
        }
        if let Some(uid) = self.folder_uid {
            // The root has this name here, and here only.
            call = call.query("folderUIDs", if uid.is_empty() { "general" } else { uid });
        }
        if let Some(query) = self.query {
            call = call.query("query", query);
        }
        call.needs("dashboards:read")
    }
}
