//! Dashboards through `/apis/dashboard.grafana.app`.

use serde_json::Value;

use super::super::error::Error;
use super::super::probe::DASHBOARD_GROUP;
use super::super::resource::{FOLDER, MESSAGE, NewResource, Place, Resource};
use super::super::{Api, Client, Reason};
use super::{MAX_RACES, Revision, Save, Saved, Stored, WRITING};

/// Dashboards of one namespace, in one version.
pub(super) fn place<'a>(namespace: &'a str, version: &'a str) -> Place<'a> {
    Place { group: DASHBOARD_GROUP, version, namespace, plural: "dashboards", kind: "Dashboard" }
}

impl Client {
    pub(super) async fn resource_dashboard(
        &self,
        place: Place<'_>,
        uid: &str,
    ) -> Result<Stored, Error> {
        let resource = place.get(self.transport(), uid, "dashboards:read").await?;
        let revision = revision(&resource);
        let metadata = &resource.metadata;
        let kept_as = resource.status.pointer("/conversion/storedVersion").and_then(Value::as_str);
        let newer_form = kept_as.filter(|form| form.starts_with("v2")).map(ToOwned::to_owned);
        let mut json = resource.spec;
        json.insert("uid".to_owned(), metadata.name.as_str().into());
        json.insert("version".to_owned(), revision.version.into());
        Ok(Stored {
            json: json.into(),
            folder_uid: metadata.annotation(FOLDER).to_owned(),
            provisioned: metadata.is_managed(),
            newer_form,
            url: self.link_to(&metadata.name),
            revision,
        })
    }

    /// A dashboard that `/api` cannot tell, as `/apis` converts it.
    pub(super) async fn converted_dashboard(
        &self,
        uid: &str,
        refused: Error,
    ) -> Result<Stored, Error> {
        let Some(Api::Kubernetes { namespace, dashboards, .. }) = self.resource_api().await? else {
            return Err(refused);
        };
        let mut stored = self.resource_dashboard(place(&namespace, &dashboards), uid).await?;
        stored.newer_form.get_or_insert_with(|| "v2".to_owned());
        Ok(stored)
    }

    pub(super) async fn save_resource(
        &self,
        place: Place<'_>,
        save: &Save<'_>,
    ) -> Result<Saved, Error> {
        let new = new_resource(save)?;
        let transport = self.transport();
        let saved = match &save.expected {
            Some(expected) => {
                let mark = self.mark_of(place, new.name, expected).await?;
                place.replace(transport, &new, Some(&mark), WRITING).await?
            }
            None if save.overwrite => self.put_resource(place, &new).await?,
            None => place.create(transport, &new, WRITING).await?,
        };
        Ok(Saved {
            url: self.link_to(&saved.metadata.name),
            revision: revision(&saved),
            uid: saved.metadata.name,
        })
    }

    /// The mark of a revision; one that is known by its number only must be the stored one.
    async fn mark_of(
        &self,
        place: Place<'_>,
        uid: &str,
        expected: &Revision,
    ) -> Result<String, Error> {
        if let Some(mark) = &expected.resource_version {
            return Ok(mark.clone());
        }
        let stored = place.get(self.transport(), uid, "dashboards:read").await?.metadata;
        // No object has an older mark than this, so the server refuses it as out of date.
        let is_same = stored.generation == expected.version;
        Ok(if is_same { stored.resource_version } else { "1".to_owned() })
    }

    /// Writes over what is there, or anew when nothing is.
    async fn put_resource(
        &self,
        place: Place<'_>,
        new: &NewResource<'_>,
    ) -> Result<Resource, Error> {
        let mut races = 0;
        loop {
            let mut result = place.replace(self.transport(), new, None, WRITING).await;
            if result.as_ref().is_err_and(|error| error.reason() == Some(Reason::NotFound)) {
                result = place.create(self.transport(), new, WRITING).await;
            }
            match result {
                Err(error) if is_race(&error) && races < MAX_RACES => races += 1,
                result => return result,
            }
        }
    }

    /// Grafana adds the title to such a link by itself.
    fn link_to(&self, uid: &str) -> String {
        format!("{}/d/{uid}", self.base_url().trim_end_matches('/'))
    }
}

fn revision(resource: &Resource) -> Revision {
    let Resource { metadata, .. } = resource;
    let resource_version =
        Some(metadata.resource_version.clone()).filter(|version| !version.is_empty());
    Revision { version: metadata.generation, resource_version }
}

fn new_resource<'a>(save: &'a Save<'_>) -> Result<NewResource<'a>, Error> {
    let mut spec = save.dashboard.as_object().cloned().unwrap_or_default();
    for field in ["id", "uid", "version"] {
        spec.remove(field);
    }
    let annotations = vec![(FOLDER, save.folder_uid.to_owned()), (MESSAGE, save.message())];
    Ok(NewResource { name: save.uid()?, annotations, spec })
}

fn is_race(error: &Error) -> bool {
    matches!(error.reason(), Some(Reason::VersionMismatch | Reason::Exists))
}
