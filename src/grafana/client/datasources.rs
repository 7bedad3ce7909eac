//! Data sources.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Call;
use super::error::Error;
use super::{Client, found};

const READING: &str = "datasources:read";

/// A data source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct DataSource {
    /// Its uid.
    pub uid: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The plug-in that it belongs to, such as `prometheus`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Where Grafana finds it.
    #[serde(default)]
    pub url: String,
    /// Whether panels without a data source use it.
    #[serde(default)]
    pub is_default: bool,
    /// Whether a file owns it.
    #[serde(default)]
    pub read_only: bool,
    /// The plug-in's settings.
    #[serde(default)]
    pub json_data: Value,
}

impl DataSource {
    /// Whether it speaks Prometheus' language.
    #[must_use]
    pub fn is_prometheus(&self) -> bool {
        self.kind == "prometheus" || self.kind.ends_with("prometheus-datasource")
    }

    /// The scrape interval that it was told, such as `15s`.
    #[must_use]
    pub fn scrape_interval(&self) -> Option<&str> {
        self.json_data.get("timeInterval")?.as_str().filter(|interval| !interval.is_empty())
    }
}

/// What a data source says of itself when Grafana asks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSourceHealth {
    /// `OK` or `ERROR`.
    pub status: String,
    /// What works or does not.
    #[serde(default)]
    pub message: String,
}

impl DataSourceHealth {
    /// Whether it can be queried.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == "OK"
    }
}

impl Client {
    /// All data sources.
    ///
    /// # Errors
    /// `Refused` with `Forbidden` for whoever is no administrator and lacks `datasources:read`.
    pub async fn datasources(&self) -> Result<Vec<DataSource>, Error> {
        self.transport().list(Call::get(&["api", "datasources"]).needs(READING)).await
    }

    /// The data sources that speak Prometheus' language, the default one first.
    ///
    /// # Errors
    /// As [`datasources`](Self::datasources).
    pub async fn prometheus_datasources(&self) -> Result<Vec<DataSource>, Error> {
        let mut all = self.datasources().await?;
        all.retain(DataSource::is_prometheus);
        all.sort_by_key(|source| !source.is_default);
        Ok(all)
    }

    /// A data source by its uid.
    ///
    /// # Errors
    /// As any call.
    pub async fn datasource(&self, uid: &str) -> Result<Option<DataSource>, Error> {
        let call = Call::get(&["api", "datasources", "uid", uid]).needs(READING);
        found(self.transport().json(call).await)
    }

    /// A data source by its name.
    ///
    /// # Errors
    /// As any call.
    pub async fn datasource_named(&self, name: &str) -> Result<Option<DataSource>, Error> {
        let call = Call::get(&["api", "datasources", "name", name]).needs(READING);
        found(self.transport().json(call).await)
    }

    /// Lets Grafana ask a data source whether it can be queried; a no is an answer too.
    ///
    /// # Errors
    /// As any call.
    pub async fn datasource_health(&self, uid: &str) -> Result<DataSourceHealth, Error> {
        let call = Call::get(&["api", "datasources", "uid", uid, "health"]);
        match self.transport().json(call.needs("datasources:query")).await {
            Err(Error::Refused(refusal)) if matches!(refusal.status, 400 | 500..) => {
                Ok(DataSourceHealth { status: "ERROR".to_owned(), message: refusal.message })
            }
            result => result,
        }
    }
}
