//! Objects of `/apis`: what is common to dashboards and folders.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::Error;
use super::or_default;
use super::transport::Transport;

pub(super) const FOLDER: &str = "grafana.app/folder";
pub(super) const MESSAGE: &str = "grafana.app/message";
const MANAGED_BY: &str = "grafana.app/managedBy";
const MANAGER_ALLOWS_EDITS: &str = "grafana.app/managerAllowsEdits";
/// Rows of a page of a list.
const LIST_ROWS: &str = "500";

/// The place of one kind of objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) namespace: &'a str,
    /// The name in the path, such as `dashboards`.
    pub(super) plural: &'a str,
    /// The name in the object, such as `Dashboard`.
    pub(super) kind: &'a str,
}

/// An object as it comes.
#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    pub(super) metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) spec: Map<String, Value>,
    #[serde(default)]
    pub(super) status: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) resource_version: String,
    pub(super) generation: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Metadata {
    pub(super) fn annotation(&self, name: &str) -> &str {
        self.annotations.get(name).map_or("", String::as_str)
    }

    /// Whether a file, a repository or another tool writes it.
    pub(super) fn is_managed(&self) -> bool {
        !self.annotation(MANAGED_BY).is_empty() && self.annotation(MANAGER_ALLOWS_EDITS) != "true"
    }
}

/// An object to be written.
#[derive(Clone, Debug)]
pub(super) struct NewResource<'a> {
    pub(super) name: &'a str,
    pub(super) annotations: Vec<(&'static str, String)>,
    pub(super) spec: Map<String, Value>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default, deserialize_with = "or_default")]
    items: Vec<Resource>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue", default)]
    more: String,
}

impl<'a> Place<'a> {
    fn path(&self) -> [&'a str; 6] {
        ["apis", self.group, self.version, "namespaces", self.namespace, self.plural]
    }

    fn path_to(&self, name: &'a str) -> Vec<&'a str> {
        self.path().into_iter().chain([name]).collect()
    }

    pub(super) async fn get(
        &self,
        transport: &Transport,
        name: &str,
        needs: &'static str,
    ) -> Result<Resource, Error> {
        transport.json(Call::get(&self.path_to(name)).needs(needs)).await
    }

    /// All objects, page by page.
    pub(super) async fn list(
        &self,
        transport: &Transport,
        needs: &'static str,
    ) -> Result<Vec<Resource>, Error> {
        let mut all = Vec::new();
        let mut more = String::new();
        loop {
            let mut call = Call::get(&self.path()).query("limit", LIST_ROWS).needs(needs);
            if !more.is_empty() {
                call = call.query("continue", more);
            }
            let list: List = transport.json(call).await?;
            all.extend(list.items);
            more = list.metadata.more;
            if more.is_empty() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn create(
        &self,
        transport: &Transport,
        new: &NewResource<'_>,
        needs: &'static str,
    ) -> Result<Resource, Error> {
        let body = self.object(new, None);
        transport.json(Call::post(&self.path(), &body).needs(needs)).await
    }

    /// Writes over an object; over this state only when one is given.
    pub(super) async fn replace(
        &self,
        transport: &Transport,
        new: &NewResource<'_>,
        resource_version: Option<&str>,
        needs: &'static str,
    ) -> Result<Resource, Error> {
        let body = self.object(new, resource_version);
        transport.json(Call::put(&self.path_to(new.name), &body).needs(needs)).await
    }

    pub(super) async fn delete(
        &self,
        transport: &Transport,
        name: &str,
        needs: &'static str,
    ) -> Result<(), Error> {
        transport.send(Call::delete(&self.path_to(name)).needs(needs)).await?;
        Ok(())
    }

    fn object(&self, new: &NewResource<'_>, resource_version: Option<&str>) -> Value {
        let annotations = new.annotations.iter().filter(|(_, value)| !value.is_empty());
        let annotations: Map<String, Value> =
            annotations.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let mut metadata = json!({ "name": new.name, "annotations": annotations });
        if let (Some(version), Value::Object(fields)) = (resource_version, &mut metadata) {
            fields.insert("resourceVersion".to_owned(), version.into());
        }
        json!({
            "apiVersion": format!("{}/{}", self.group, self.version),
            "kind": self.kind,
            "metadata": metadata,
            "spec": new.spec,
        })
    }
}
