//! Annotations: notes at a time on dashboards.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Call;
use super::error::Error;
use super::{Client, found, or_default};

/// A note to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// What it says; not empty.
    pub text: &'a str,
    /// Its tags.
    pub tags: &'a [&'a str],
    /// When, in milliseconds since 1970; now, without.
    pub time_ms: Option<i64>,
    /// Until when, for a stretch of time.
    pub end_ms: Option<i64>,
    /// Only on this dashboard; everywhere, without.
    pub dashboard_uid: Option<&'a str>,
    /// Only on this panel of the dashboard.
    pub panel_id: Option<u64>,
}

/// Which notes to look for; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationSearch<'a> {
    /// All of these tags.
    pub tags: &'a [&'a str],
    /// From when, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Until when.
    pub to_ms: Option<i64>,
    /// On this dashboard.
    pub dashboard_uid: Option<&'a str>,
    /// At most so many; a hundred, without.
    pub limit: Option<u32>,
}

/// A note that Grafana keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnnotation {
    /// Its number.
    pub id: u64,
    /// What it says.
    #[serde(default)]
    pub text: String,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// When, in milliseconds since 1970.
    #[serde(rename(deserialize = "time"), default)]
    pub time_ms: i64,
    /// Until when.
    #[serde(rename(deserialize = "timeEnd"), default)]
    pub end_ms: i64,
    /// The dashboard; none for all.
    #[serde(rename(deserialize = "dashboardUID"), default)]
    pub dashboard_uid: Option<String>,
}

#[derive(Deserialize)]
struct Created {
    id: u64,
}

impl Client {
    /// Writes a note and gives its number. Twice is two notes: [`annotations`](Self::annotations)
    /// tells whether it is there.
    ///
    /// # Errors
    /// `Refused` with `Invalid` for an empty text.
    pub async fn annotate(&self, annotation: &Annotation<'_>) -> Result<u64, Error> {
        let Annotation { text, tags, time_ms, end_ms, dashboard_uid, panel_id } = annotation;
        let fields: [(&str, Option<Value>); 6] = [
            ("text", Some((*text).into())),
            ("tags", Some((*tags).into())),
            ("time", time_ms.map(Value::from)),
            ("timeEnd", end_ms.map(Value::from)),
            ("dashboardUID", dashboard_uid.map(Value::from)),
            ("panelId", panel_id.map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let body = Value::Object(given.collect::<Map<_, _>>());
        let call = Call::post(&["api", "annotations"], &body).needs("annotations:create");
        let created: Created = self.transport().json(call).await?;
        Ok(created.id)
    }

    /// Finds notes.
    ///
    /// # Errors
    /// As any call.
    pub async fn annotations(
        &self,
        search: &AnnotationSearch<'_>,
    ) -> Result<Vec<StoredAnnotation>, Error> {
        let mut call = Call::get(&["api", "annotations"]).query("type", "annotation");
        for tag in search.tags {
            call = call.query("tags", *tag);
        }
        let numbers = [("from", search.from_ms), ("to", search.to_ms)];
        for (name, number) in numbers.into_iter().chain([("limit", search.limit.map(i64::from))]) {
            if let Some(number) = number {
                call = call.query(name, number.to_string());
            }
        }
        if let Some(uid) = search.dashboard_uid {
            call = call.query("dashboardUID", uid);
        }
        self.transport().list(call.needs("annotations:read")).await
    }

    /// Deletes a note; false when there was none.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_annotation(&self, id: u64) -> Result<bool, Error> {
        let id = id.to_string();
        let call = Call::delete(&["api", "annotations", &id]).needs("annotations:delete");
        Ok(found(self.transport().send(call).await)?.is_some())
    }
}
