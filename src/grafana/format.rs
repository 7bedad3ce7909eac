//! A dashboard as a file: classic JSON, a resource of Grafana's newer API, a `ConfigMap`.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::dashboard::Dashboard;
use super::model::Model;

/// The version of the newer API that Grafana 12 and 13 both have.
const RESOURCE_VERSION: &str = "dashboard.grafana.app/v1beta1";

/// What a file is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The classic JSON: the HTTP API, file provisioning, import by hand
    #[default]
    Json,
    /// A resource of `dashboard.grafana.app`, as JSON
    Resource,
    /// A `ConfigMap` for Grafana's sidecar in Kubernetes, as YAML
    Configmap,
}

impl Format {
    /// How the names of such files end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json | Self::Resource => "json",
            Self::Configmap => "yaml",
        }
    }
}

/// A dashboard that cannot be written.
#[derive(Debug, Error)]
pub enum FormatError {
    /// As JSON.
    #[error("cannot write a dashboard as JSON")]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error("cannot write a dashboard as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: &'a Model,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMap<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    data: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, &'a str>,
}

impl Dashboard {
    /// The text of a file, with a newline at its end.
    ///
    /// # Errors
    /// When a serializer refuses, which our own structs give it no reason for.
    pub fn to_text(&self, format: Format) -> Result<String, FormatError> {
        match format {
            Format::Json => pretty(&self.model),
            Format::Resource => pretty(&Resource {
                api_version: RESOURCE_VERSION,
                kind: "Dashboard",
                metadata: self.metadata("grafana.app/folder", BTreeMap::new()),
                spec: &self.model,
            }),
            Format::Configmap => {
                let json = pretty(&self.model)?;
                Ok(serde_saphyr::to_string(&ConfigMap {
                    api_version: "v1",
                    kind: "ConfigMap",
                    metadata: self
                        .metadata("grafana_folder", BTreeMap::from([("grafana_dashboard", "1")])),
                    data: BTreeMap::from([(format!("{}.json", self.uid()), json)]),
                })?)
            }
        }
    }

    fn metadata<'a>(
        &'a self,
        folder: &'static str,
        labels: BTreeMap<&'static str, &'a str>,
    ) -> Metadata<'a> {
        let annotations = self.folder.iter().map(|title| (folder, title.as_str())).collect();
        Metadata { name: self.uid(), labels, annotations }
    }
}

fn pretty(value: &impl Serialize) -> Result<String, FormatError> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}
