//! A typed client for Grafana's HTTP API, versions 10 to 13.
//!
//! Dashboards and folders go through `/api` or `/apis`, whichever the server is better at; all else
//! has one API only. Nothing connects before the first call, and a client can be cloned cheaply.
//!
//! ```no_run
//! use serde_json::json;
//! use tallyd::grafana::client::{Client, Config, Credentials, FolderPart, Save};
//!
//! # async fn push() -> Result<(), tallyd::grafana::client::Error> {
//! let credentials = Credentials::TokenFile("/run/secrets/grafana-token".into());
//! let client =
//!     Client::new(Config { credentials, ..Config::new("https://example.org/grafana") })?;
//! let folder = client.ensure_folder(FolderPart { uid: "statsd", title: "StatsD" }, None).await?;
//! let dashboard = json!({"uid": "api", "title": "API", "schemaVersion": 42, "panels": []});
//! let saved = client
//!     .save_dashboard(&Save {
//!         dashboard: &dashboard,
//!         folder_uid: &folder.uid,
//!         message: "first version",
//!         expected: None,
//!         overwrite: false,
//!     })
//!     .await?;
//! println!("{}", saved.url);
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

pub use self::access::{NewUser, Org, Role, Team, TeamMember, User};
pub use self::alerting::{AlertRule, RuleImport};
pub use self::annotations::{Annotation, AnnotationSearch, StoredAnnotation};
pub use self::config::{
    ApiChoice, Config, Credentials, DEFAULT_RETRIES, DEFAULT_TIMEOUT, Secret, Tls,
};
pub use self::dashboards::{
    DashboardVersion, Found, Permission, PermissionLevel, Revision, Save, Saved, Search, Stored,
};
pub use self::datasources::{DataSource, DataSourceHealth};
pub use self::error::Error;
pub use self::folders::{Folder, FolderPart};
pub use self::probe::{Api, Health, Version};
pub use self::refusal::{Reason, Refusal};

use self::call::Call;
use self::transport::Transport;

mod access;
mod alerting;
mod annotations;
mod call;
mod config;
mod credentials;
mod dashboards;
mod datasources;
mod error;
mod folders;
mod probe;
mod query;
mod refusal;
mod resource;
mod transport;

/// Rows of a page where an answer comes in pages.
const PAGE_ROWS: usize = 1000;
/// A server that knows nothing of pages would give the same rows for ever.
const MAX_PAGES: usize = 100;

/// One Grafana, and who we are there.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    choice: ApiChoice,
    /// What was detected; none before the first call that depends on it.
    api: RwLock<Option<Api>>,
    health: RwLock<Option<Health>>,
}

impl Client {
    /// Checks the settings and reads the files they name; nothing is sent yet.
    ///
    /// # Errors
    /// `Url`, `ReadFile` and `Unusable` say which setting cannot be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        let choice = config.api;
        let transport = Transport::new(config)?;
        let inner = Inner { transport, choice, api: RwLock::default(), health: RwLock::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The URL that all calls are below.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.inner.transport.base().as_str()
    }

    fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// The rows of all pages that `call`, which asks for [`PAGE_ROWS`] at a time, has.
    async fn pages<P, T>(&self, call: Call<'_>) -> Result<Vec<T>, Error>
    where
        P: Default + DeserializeOwned + Into<Vec<T>>,
    {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let call = call.clone().query("page", page.to_string());
            let page: Option<P> = self.transport().json(call).await?;
            let rows = page.unwrap_or_default().into();
            let is_last = rows.len() < PAGE_ROWS;
            all.extend(rows);
            if is_last {
                break;
            }
        }
        Ok(all)
    }
}

/// Takes `null` for nothing: so Go writes what was never filled.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Takes an answer that says that there is no such thing for none.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.reason(), Some(Reason::NotFound | Reason::FolderNotFound))
}
