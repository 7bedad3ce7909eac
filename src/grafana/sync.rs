//! Dashboards that are kept in Grafana: written once, rewritten when they change, and never over
//! somebody's work.

use serde_json::Value;

use super::Dashboard;

mod fingerprint;
pub mod mark;
pub mod plan;
pub mod report;
pub mod folder;
mod apply;
pub mod status;
pub mod memory;
pub mod keeper;

pub use apply::{Known, MESSAGE, Order, delete, sync};
pub use fingerprint::{bare, digest, fingerprint, pretty};
pub use folder::Place;
pub use keeper::Keeper;
pub use mark::{Mark, Owner};
pub use plan::{OnDrift, Rules};
pub use report::{Fate, Outcome, Report};
pub use status::Status;

/// A dashboard that is to be in Grafana.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its uid.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// Its classic JSON, with uid and title, without marks.
    pub dashboard: Value,
    /// Where it goes, unless where all go.
    pub place: Option<Place>,
}

impl Wanted {
    /// A dashboard of ours.
    ///
    /// # Errors
    /// Never, as long as our own structs can be JSON.
    pub fn of(dashboard: &Dashboard) -> Result<Self, serde_json::Error> {
        Ok(Self {
            uid: dashboard.uid().to_owned(),
            title: dashboard.title().to_owned(),
            dashboard: dashboard.to_value()?,
            place: dashboard.folder.as_deref().map(Place::parse),
        })
    }

    /// A dashboard of classic JSON, or of a resource in the style of Kubernetes.
    ///
    /// # Errors
    /// What it lacks.
    pub fn from_json(json: Value) -> Result<Self, NotADashboard> {
        let mut dashboard = json;
        if dashboard.get("kind").and_then(Value::as_str) == Some("Dashboard") {
            let uid = dashboard.pointer("/metadata/name").cloned();
            dashboard = dashboard.get("spec").cloned().unwrap_or_default();
            if let (Value::Object(members), Some(uid)) = (&mut dashboard, uid) {
                members.insert("uid".to_owned(), uid);
            }
        }
        if dashboard.get("elements").is_some() {
            return Err(NotADashboard::NewerForm);
        }
        Mark::remove(&mut dashboard);
        let text = |key| {
            let text = dashboard.get(key).and_then(Value::as_str).unwrap_or_default().trim();
            if text.is_empty() { Err(NotADashboard::Lacks(key)) } else { Ok(text.to_owned()) }
        };
        let (uid, title) = (text("uid")?, text("title")?);
        Ok(Self { uid, title, dashboard, place: None })
    }
}

/// Why JSON is no dashboard that could be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADashboard {
    /// A member is missing or empty.
    #[error("it has no `{0}`")]
    Lacks(&'static str),
    /// It is in Grafana's newer form.
    #[error("it is in Grafana's newer form (schema v2); export it as classic JSON")]
    NewerForm,
}
