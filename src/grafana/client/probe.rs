//! Who answers: version, health, organisation, and which API it is good at.

use std::fmt;

use serde::Deserialize;

use super::call::Call;
use super::config::ApiChoice;
use super::error::Error;
use super::refusal::Reason;
use super::{Client, Org, or_default};

pub(super) const DASHBOARD_GROUP: &str = "dashboard.grafana.app";
pub(super) const FOLDER_GROUP: &str = "folder.grafana.app";
/// The versions of a group that hold what we write, best first.
const KNOWN_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// The version by which a server is said to prefer `/apis`.
const SETTLED_VERSION: &str = "v1";
/// There the namespace holds a number that no API tells.
const CLOUD_DOMAIN: &str = ".grafana.net";

/// A version of Grafana; what follows the three numbers is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Such as 13.
    pub major: u32,
    /// What came since.
    pub minor: u32,
    /// Repairs.
    pub patch: u32,
}

impl Version {
    /// Reads `12.1.0`, `12.1.0-pre` or `12.1.0+security-01`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-', '+']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()?, patch: next().unwrap_or_default() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a server tells about itself without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// None when the server hides it.
    pub version: Option<Version>,
    /// `ok`, or what is wrong.
    pub database: String,
}

/// The API that dashboards and folders go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/api`.
    Classic,
    /// `/apis`, resources in the style of Kubernetes.
    Kubernetes {
        /// The organisation's name there.
        namespace: String,
        /// The version of `dashboard.grafana.app`.
        dashboards: String,
        /// The version of `folder.grafana.app`; none where folders are only in `/api`.
        folders: Option<String>,
    },
}

#[derive(Deserialize)]
struct RawHealth {
    #[serde(default)]
    database: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default, deserialize_with = "or_default")]
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl Client {
    /// Asks how the server is.
    ///
    /// # Errors
    /// Of the connection; `Refused` with `Server` when its database fails.
    pub async fn health(&self) -> Result<Health, Error> {
        let raw: RawHealth = self.transport().json(Call::get(&["api", "health"])).await?;
        let health = Health { version: Version::parse(&raw.version), database: raw.database };
        *self.inner.health.write() = Some(health.clone());
        Ok(health)
    }

    /// The server's version, asked for once; none when it is hidden.
    pub(super) async fn version(&self) -> Result<Option<Version>, Error> {
        let known = self.inner.health.read().clone();
        let health = match known {
            Some(health) => health,
            None => self.health().await?,
        };
        Ok(health.version)
    }

    /// The organisation that the credentials act in; the best question to try them with.
    ///
    /// # Errors
    /// `Refused` with `Unauthorized` when they are wrong.
    pub async fn org(&self) -> Result<Org, Error> {
        self.transport().json(Call::get(&["api", "org"]).needs("orgs:read")).await
    }

    /// The API that dashboards and folders go through, found out with the first call.
    ///
    /// # Errors
    /// `NoResourceApi` when `/apis` is demanded and missing.
    pub async fn api(&self) -> Result<Api, Error> {
        let known = self.inner.api.read().clone();
        if let Some(api) = known {
            return Ok(api);
        }
        let api = self.detect().await?;
        *self.inner.api.write() = Some(api.clone());
        Ok(api)
    }

    async fn detect(&self) -> Result<Api, Error> {
        let choice = self.inner.choice;
        if choice == ApiChoice::Classic || (choice == ApiChoice::Auto && self.is_cloud()) {
            return Ok(Api::Classic);
        }
        let is_settled = |api: &Api| matches!(api, Api::Kubernetes { dashboards, .. } if dashboards == SETTLED_VERSION);
        let detected = self.resource_api().await;
        if choice == ApiChoice::Auto {
            return match detected {
                Ok(api) => Ok(api.filter(is_settled).unwrap_or(Api::Classic)),
                // Whoever may not read the organisation does not know its namespace.
                Err(error) if error.reason() == Some(Reason::Forbidden) => Ok(Api::Classic),
                Err(error) => Err(error),
            };
        }
        detected?.ok_or_else(|| Error::NoResourceApi(self.base_url().to_owned()))
    }

    /// What the server has of `/apis`, whatever is used.
    pub(super) async fn resource_api(&self) -> Result<Option<Api>, Error> {
        let Some(dashboards) = self.group_version(DASHBOARD_GROUP).await? else {
            return Ok(None);
        };
        let org = match self.transport().org_id() {
            Some(id) => id,
            None => self.org().await?.id,
        };
        let folders = self.group_version(FOLDER_GROUP).await?;
        Ok(Some(Api::Kubernetes { namespace: namespace(org), dashboards, folders }))
    }

    /// The best version that the server has of a group and we know.
    async fn group_version(&self, group: &str) -> Result<Option<String>, Error> {
        let asked = self.transport().json::<Group>(Call::get(&["apis", group])).await;
        let versions = match asked {
            Ok(group) => group.versions,
            // Servers before 12 answer in many ways, some with the page of the web interface.
            Err(Error::NotGrafana { .. } | Error::Redirected { .. }) => Vec::new(),
            Err(error) if matches!(error.status(), Some(403..=406)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_served = |known: &&str| versions.iter().any(|one| one.version == **known);
        Ok(KNOWN_VERSIONS.iter().copied().find(is_served).map(ToOwned::to_owned))
    }

    fn is_cloud(&self) -> bool {
        let host = self.transport().base().host_str().unwrap_or_default();
        host.ends_with(CLOUD_DOMAIN)
    }

    /// Whether `error` says that `/apis` is not there after all; from then on `/api` is used.
    pub(super) fn falls_back(&self, error: &Error) -> bool {
        let is_gone = self.inner.choice == ApiChoice::Auto
            && (error.reason() == Some(Reason::NoSuchRoute)
                || matches!(error.status(), Some(405 | 406)));
        if is_gone {
            *self.inner.api.write() = Some(Api::Classic);
        }
        is_gone
    }
}

fn namespace(org: u64) -> String {
    if org == 1 { "default".to_owned() } else { format!("org-{org}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_three_numbers() {
        check("13.0.1", Some("13.0.1"));
        check("12.1.0-pre", Some("12.1.0"));
        check("11.6.1+security-01", Some("11.6.1"));
        check("10.4", Some("10.4.0"));
        check("", None);
        check("dev", None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(Version::parse("9.5.0") < Version::parse("10.0.0"));
    }

    #[track_caller]
    fn check(text: &str, version: Option<&str>) {
        assert_eq!(Version::parse(text).map(|v| v.to_string()).as_deref(), version);
    }
}
