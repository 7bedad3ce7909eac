//! Folders, nested or not, through either API.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::dashboards::is_legal_uid;
use super::error::Error;
use super::probe::FOLDER_GROUP;
use super::resource::{FOLDER, NewResource, Place, Resource};
use super::{Api, Client, PAGE_ROWS, Reason, found};

const CREATING: &str = "folders:create";
const READING: &str = "folders:read";

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Folder {
    /// Its uid.
    pub uid: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// The folder it is in; empty for the root.
    #[serde(default)]
    pub parent_uid: String,
}

/// One folder of a path that is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderPart<'a> {
    /// Its uid, chosen by us.
    pub uid: &'a str,
    /// Its title.
    pub title: &'a str,
}

/// Folders of one namespace, in one version.
fn place<'a>(namespace: &'a str, version: &'a str) -> Place<'a> {
    Place { group: FOLDER_GROUP, version, namespace, plural: "folders", kind: "Folder" }
}

impl From<Resource> for Folder {
    fn from(resource: Resource) -> Self {
        let title = resource.spec.get("title").and_then(Value::as_str).unwrap_or_default();
        Self {
            title: title.to_owned(),
            parent_uid: resource.metadata.annotation(FOLDER).to_owned(),
            uid: resource.metadata.name,
        }
    }
}

impl Client {
    /// The folders directly in `parent`, or in the root.
    ///
    /// # Errors
    /// `Refused` with `FolderNotFound` when there is no such parent (`/api` only).
    pub async fn folders(&self, parent: Option<&str>) -> Result<Vec<Folder>, Error> {
        let parent = parent.unwrap_or_default();
        if let Some((namespace, version)) = self.folder_place().await? {
            match place(&namespace, &version).list(self.transport(), READING).await {
                Err(error) if self.falls_back(&error) => {}
                result => {
                    let mut all: Vec<Folder> = result?.into_iter().map(Folder::from).collect();
                    all.retain(|folder| folder.parent_uid == parent);
                    return Ok(all);
                }
            }
        }
        self.classic_folders(parent).await
    }

    async fn classic_folders(&self, parent: &str) -> Result<Vec<Folder>, Error> {
        let mut call = Call::get(&["api", "folders"]).query("limit", PAGE_ROWS.to_string());
        if !parent.is_empty() {
            call = call.query("parentUid", parent);
        }
        self.pages::<Vec<Folder>, _>(call.needs(READING)).await
    }

    /// Reads a folder; none when there is none.
    ///
    /// # Errors
    /// `Refused` with `Forbidden`, which some versions also say of a folder that does not exist.
    pub async fn folder(&self, uid: &str) -> Result<Option<Folder>, Error> {
        if let Some((namespace, version)) = self.folder_place().await? {
            match place(&namespace, &version).get(self.transport(), uid, READING).await {
                Err(error) if self.falls_back(&error) => {}
                result => return Ok(found(result)?.map(Folder::from)),
            }
        }
        let call = Call::get(&["api", "folders", uid]).needs(READING);
        found(self.transport().json(call).await)
    }

    /// Makes sure that there is a folder with this uid, title and parent.
    ///
    /// Before Grafana 11.3 a title can be taken by another folder beside it: that one is used then,
    /// so the answer's uid counts. A folder that is elsewhere stays there.
    ///
    /// # Errors
    /// `Name` for an illegal uid, `Refused` with `FolderNotFound` when the parent does not exist.
    pub async fn ensure_folder(
        &self,
        part: FolderPart<'_>,
        parent: Option<&str>,
    ) -> Result<Folder, Error> {
        if !is_legal_uid(part.uid) {
            return Err(Error::Name(part.uid.to_owned()));
        }
        match self.folder(part.uid).await {
            Ok(Some(folder)) if folder.title == part.title => return Ok(folder),
            Ok(Some(_)) => return self.rename_folder(part).await,
            Ok(None) => {}
            // What is not there cannot be told from what is not allowed; creating it will.
            Err(error) if error.reason() == Some(Reason::Forbidden) => {}
            Err(error) => return Err(error),
        }
        match self.create_folder(part, parent.unwrap_or_default()).await {
            Err(error) if is_taken(&error) => self.folder_like(part, parent, error).await,
            result => result,
        }
    }

    /// Makes sure that there is a folder in a folder and so on, and gives the innermost.
    ///
    /// # Errors
    /// As [`ensure_folder`](Self::ensure_folder); `Name` for an empty path.
    pub async fn ensure_folder_path(&self, path: &[FolderPart<'_>]) -> Result<Folder, Error> {
        let mut inner: Option<Folder> = None;
        for part in path {
            let parent = inner.as_ref().map(|folder| folder.uid.as_str());
            inner = Some(self.ensure_folder(*part, parent).await?);
        }
        inner.ok_or_else(|| Error::Name(String::new()))
    }

    /// Deletes a folder and all in it; false when there was none.
    ///
    /// # Errors
    /// `Refused` with `Invalid` when there are alert rules in it.
    pub async fn delete_folder(&self, uid: &str) -> Result<bool, Error> {
        let call = Call::delete(&["api", "folders", uid])
            .query("forceDeleteRules", "false")
            .needs("folders:delete");
        Ok(found(self.transport().send(call).await)?.is_some())
    }

    /// The namespace and version of folders in `/apis`, where that is used.
    async fn folder_place(&self) -> Result<Option<(String, String)>, Error> {
        Ok(match self.api().await? {
            Api::Kubernetes { namespace, folders: Some(version), .. } => Some((namespace, version)),
            _ => None,
        })
    }

    async fn create_folder(&self, part: FolderPart<'_>, parent: &str) -> Result<Folder, Error> {
        if let Some((namespace, version)) = self.folder_place().await? {
            let spec = Map::from_iter([("title".to_owned(), part.title.into())]);
            let annotations = vec![(FOLDER, parent.to_owned())];
            let new = NewResource { name: part.uid, annotations, spec };
            match place(&namespace, &version).create(self.transport(), &new, CREATING).await {
                Err(error) if self.falls_back(&error) => {}
                result => return Ok(result?.into()),
            }
        }
        let mut body = json!({ "uid": part.uid, "title": part.title });
        if let (false, Value::Object(fields)) = (parent.is_empty(), &mut body) {
            fields.insert("parentUid".to_owned(), parent.into());
        }
        // Sent twice, the second is refused as taken, and the folder is there.
        let call = Call::post(&["api", "folders"], &body).idempotent();
        self.transport().json(call.needs(CREATING)).await
    }

    /// By `/api` in any case: `/apis` replaces the whole folder, its description included.
    async fn rename_folder(&self, part: FolderPart<'_>) -> Result<Folder, Error> {
        let body = json!({ "title": part.title, "overwrite": true });
        let call = Call::put(&["api", "folders", part.uid], &body).needs("folders:write");
        self.transport().json(call).await
    }

    /// The folder that took the uid, or else the title, when `part` was to be created.
    async fn folder_like(
        &self,
        part: FolderPart<'_>,
        parent: Option<&str>,
        refused: Error,
    ) -> Result<Folder, Error> {
        if let Some(folder) = self.folder(part.uid).await? {
            return Ok(folder);
        }
        let siblings = self.folders(parent).await?;
        let same = |folder: &Folder| folder.title.to_lowercase() == part.title.to_lowercase();
        siblings.into_iter().find(same).ok_or(refused)
    }
}

/// Versions say in three ways that somebody else created the folder meanwhile.
fn is_taken(error: &Error) -> bool {
    matches!(
        error.reason(),
        Some(Reason::Exists | Reason::VersionMismatch | Reason::Conflict | Reason::NameExists)
    )
}
