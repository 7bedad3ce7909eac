//! Dashboards through `/api/dashboards`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::error::Error;
use super::super::{Client, Reason, Version, found};
use super::{MAX_RACES, Revision, Save, Saved, Stored};

/// From here on titles need not be unique in a folder.
const TITLES_ARE_FREE: Version = Version { major: 11, minor: 3, patch: 0 };

#[derive(Deserialize)]
struct RawStored {
    dashboard: Value,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    folder_uid: String,
    provisioned: bool,
    url: String,
    version: u64,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawSaved {
    uid: String,
    url: String,
    version: u64,
}

impl Client {
    pub(super) async fn classic_dashboard(&self, uid: &str) -> Result<Stored, Error> {
        let call = Call::get(&["api", "dashboards", "uid", uid]).needs("dashboards:read");
        let raw: RawStored = match self.transport().json(call).await {
            Err(error) if error.reason() == Some(Reason::NewerForm) => {
                return self.converted_dashboard(uid, error).await;
            }
            result => result?,
        };
        let version = raw.dashboard.get("version").and_then(Value::as_u64);
        let version = version.unwrap_or(raw.meta.version);
        Ok(Stored {
            json: raw.dashboard,
            folder_uid: raw.meta.folder_uid,
            revision: Revision { version, resource_version: None },
            provisioned: raw.meta.provisioned,
            newer_form: None,
            url: self.transport().link(&raw.meta.url),
        })
    }

    pub(super) async fn delete_classic(&self, uid: &str) -> Result<(), Error> {
        let call = Call::delete(&["api", "dashboards", "uid", uid]).needs("dashboards:delete");
        self.transport().send(call).await?;
        Ok(())
    }

    pub(super) async fn save_classic(&self, save: &Save<'_>) -> Result<Saved, Error> {
        if let Some(expected) = &save.expected {
            return self.post_dashboard(save, Some(expected.version)).await;
        }
        if !save.overwrite {
            return self.post_dashboard(save, Some(0)).await.map_err(as_exists);
        }
        let is_free = self.version().await?.is_some_and(|version| version >= TITLES_ARE_FREE);
        let mut races = 0;
        loop {
            let version = if is_free { None } else { Some(self.current_version(save).await?) };
            match self.post_dashboard(save, version).await {
                // Grafana 13 may refuse even `overwrite` while somebody else saves.
                Err(error) if is_race(&error) && races < MAX_RACES => races += 1,
                result => return result,
            }
        }
    }

    /// The version to save over; naming it keeps an older Grafana from saving over another
    /// dashboard of the same title, which `overwrite` would do.
    async fn current_version(&self, save: &Save<'_>) -> Result<u64, Error> {
        let stored = found(self.classic_dashboard(save.uid()?).await)?;
        Ok(stored.map_or(0, |stored| stored.revision.version))
    }

    /// Saves over a version, or over any when none is given.
    async fn post_dashboard(&self, save: &Save<'_>, version: Option<u64>) -> Result<Saved, Error> {
        let uid = save.uid()?;
        let mut dashboard = save.dashboard.clone();
        if let Value::Object(fields) = &mut dashboard {
            fields.remove("id");
            fields.insert("version".to_owned(), version.unwrap_or_default().into());
        }
        let body = json!({
            "dashboard": dashboard,
            "folderUid": save.folder_uid,
            "message": save.message(),
            "overwrite": version.is_none(),
        });
        let call = Call::post(&["api", "dashboards", "db"], &body).needs(super::WRITING);
        let call = if version.is_none() { call.idempotent() } else { call };
        let raw: RawSaved = self.transport().json(call).await?;
        Ok(Saved {
            uid: if raw.uid.is_empty() { uid.to_owned() } else { raw.uid },
            url: self.transport().link(&raw.url),
            revision: Revision { version: raw.version, resource_version: None },
        })
    }
}

fn is_race(error: &Error) -> bool {
    error.reason() == Some(Reason::VersionMismatch)
}

/// A dashboard that should not be there has the wrong version, by this API's words.
fn as_exists(error: Error) -> Error {
    match error {
        Error::Refused(mut refusal) if refusal.reason == Reason::VersionMismatch => {
            refusal.reason = Reason::Exists;
            refusal.into()
        }
        error => error,
    }
}
