//! The plan carried out: one dashboard after the other, and nothing twice.
//!
//! Every write names what it expects to write over, so of many that write at once one wins. The
//! others read again, find what they wanted to write, and are done.

use std::collections::HashMap;

use serde_json::Value;
use tracing::debug;

use super::folder::Place;
use super::mark::{self, Mark};
use super::plan::{self, Found, OnDrift, Rules, Step};
use super::report::{Fate, Outcome, Report};
use super::{Wanted, digest};
use crate::grafana::client::{Client, Error, Reason, Revision, Save, Search, Stored};

/// What the history of versions says unless somebody says something else.
pub const MESSAGE: &str = concat!("written by tallyd ", env!("CARGO_PKG_VERSION"));
/// How often a dashboard is looked at again after somebody else was faster.
const MAX_RACES: usize = 5;
/// A uid may have forty characters; a copy's ends with a dash and a digest.
const COPIED_UID_CHARS: usize = 23;

/// What is to be in Grafana, and how far to go for it.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The dashboards.
    pub wanted: &'a [Wanted],
    /// Whose they are, and what happens to changed ones.
    pub rules: &'a Rules,
    /// Where new ones go.
    pub place: &'a Place,
    /// What the history of versions says.
    pub message: &'a str,
    /// Whether other dashboards of this owner are deleted.
    pub prunes: bool,
    /// Whether to leave all as it is and tell what would be done.
    pub dry_run: bool,
    /// A dashboard that was read in advance, since all others depend on what it says. When somebody
    /// else turns out to have written meanwhile, all ends with the error of that.
    pub known: Option<Known<'a>>,
}

/// What Grafana has under a uid.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The uid.
    pub uid: &'a str,
    /// The dashboard; none when there is none.
    pub stored: Option<&'a Stored>,
}

/// Brings Grafana to what is wanted; `say` is told what is going on.
///
/// A dashboard that Grafana refuses does not keep the others from being written.
///
/// # Errors
/// What all dashboards would meet: no connection, no access, no folder.
pub async fn sync(
    client: &Client,
    order: &Order<'_>,
    say: impl Fn(String),
) -> Result<Report, Error> {
    let mut folders = HashMap::new();
    for wanted in order.wanted {
        let place = wanted.place.as_ref().unwrap_or(order.place);
        if !folders.contains_key(place) {
            folders.insert(place, place.ensure(client, !order.dry_run).await?);
        }
    }
    let run = Run { client, order, folders };
    let mut report = Report { dry_run: order.dry_run, dashboards: Vec::new() };
    for wanted in order.wanted {
        say(format!(
            "{} ({} of {})",
            wanted.title,
            report.dashboards.len() + 1,
            order.wanted.len()
        ));
        let outcome = run.one(wanted).await;
        report.dashboards.push(run.or_failed(outcome, &wanted.uid, &wanted.title)?);
    }
    if order.prunes {
        say("looking for dashboards that nothing asks for any more".to_owned());
        report.dashboards.extend(run.prune().await?);
    }
    Ok(report)
}

/// Deletes the owner's dashboards: these, or all of them.
///
/// # Errors
/// What all dashboards would meet.
pub async fn delete(
    client: &Client,
    rules: &Rules,
    uids: Option<&[String]>,
    dry_run: bool,
) -> Result<Report, Error> {
    let place = Place::Root;
    let order = Order {
        wanted: &[],
        rules,
        place: &place,
        message: MESSAGE,
        prunes: true,
        dry_run,
        known: None,
    };
    let run = Run { client, order: &order, folders: HashMap::new() };
    let mut report = Report { dry_run, dashboards: Vec::new() };
    let Some(uids) = uids else {
        report.dashboards = run.prune().await?;
        return Ok(report);
    };
    for uid in uids {
        let outcome = run.prune_one(uid).await;
        report.dashboards.extend(run.or_failed(outcome, uid, uid)?);
    }
    Ok(report)
}

struct Run<'a> {
    client: &'a Client,
    order: &'a Order<'a>,
    /// The uids of folders; none for one that a dry run would make.
    folders: HashMap<&'a Place, Option<String>>,
}

impl Run<'_> {
    async fn one(&self, wanted: &Wanted) -> Result<Outcome, Error> {
        let mut races = 0;
        loop {
            match self.attempt(wanted).await {
                Err(error)
                    if is_worth_a_look(&error)
                        && self.order.known.is_none()
                        && races < MAX_RACES =>
                {
                    debug!(uid = wanted.uid, %error, "A dashboard is looked at again.");
                    races += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, wanted: &Wanted) -> Result<Outcome, Error> {
        let read;
        let stored = match &self.order.known {
            Some(known) if known.uid == wanted.uid => known.stored,
            _ => match self.client.dashboard(&wanted.uid).await {
                Err(error) if error.reason() == Some(Reason::NewerForm) => {
                    return Ok(outcome(wanted, Fate::Converted, String::new()));
                }
                result => {
                    read = result?;
                    read.as_ref()
                }
            },
        };
        let step = self.step(wanted, stored);
        let url = stored.map(|stored| stored.url.clone()).unwrap_or_default();
        let fate = match step {
            Step::Leave(fate) => return Ok(outcome(wanted, fate, url)),
            Step::Create => Fate::Created,
            Step::Update => Fate::Updated,
            Step::CopyAndUpdate => Fate::Copied,
        };
        if self.order.dry_run {
            return Ok(outcome(wanted, fate, url));
        }
        let mut remark = None;
        if let (Fate::Copied, Some(stored)) = (fate, stored) {
            remark = Some(format!("what was there is now {}", self.copy(stored).await?));
        }
        let url = self.write(wanted, stored).await?;
        Ok(Outcome { remark, ..outcome(wanted, fate, url) })
    }

    fn step(&self, wanted: &Wanted, stored: Option<&Stored>) -> Step {
        let step = plan::step(&wanted.dashboard, Found::from(stored), self.order.rules);
        let is_elsewhere =
            stored.is_some_and(|stored| self.folder(wanted, Some(stored)) != stored.folder_uid);
        match step {
            Step::Leave(Fate::Unchanged) if is_elsewhere => Step::Update,
            step => step,
        }
    }

    /// Where a dashboard goes: a person may move it, and it stays there.
    fn folder<'b>(&'b self, wanted: &Wanted, stored: Option<&'b Stored>) -> &'b str {
        match stored {
            Some(stored) if self.order.rules.on_drift != OnDrift::Overwrite => &stored.folder_uid,
            _ => {
                let place = wanted.place.as_ref().unwrap_or(self.order.place);
                self.folders.get(place).and_then(Option::as_deref).unwrap_or_default()
            }
        }
    }

    fn yields_to(&self, error: &Error) -> bool {
        self.order.known.is_some() && is_lost_race(error)
    }

    /// Writes a dashboard over what was read, or where there was nothing; returns its address.
    async fn write(&self, wanted: &Wanted, stored: Option<&Stored>) -> Result<String, Error> {
        let revision: Option<Revision> = stored.map(|stored| stored.revision.clone());
        let mut dashboard = wanted.dashboard.clone();
        let version = revision.as_ref().map_or(0, |revision| revision.version) + 1;
        Mark::write(&mut dashboard, &self.order.rules.owner, version);
        let save = Save {
            dashboard: &dashboard,
            folder_uid: self.folder(wanted, stored),
            message: self.order.message,
            expected: revision,
            overwrite: false,
        };
        let saved = self.client.save_dashboard(&save).await?;
        if saved.revision.version != version {
            debug!(uid = saved.uid, version = saved.revision.version, "Unexpected version.");
        }
        Ok(saved.url)
    }

    /// Saves what a person made of a dashboard as one of their own; returns its address.
    async fn copy(&self, stored: &Stored) -> Result<String, Error> {
        let text = |key| stored.json.get(key).and_then(Value::as_str).unwrap_or_default();
        let version = stored.revision.version;
        // The same for all that copy at once, so that there is one copy.
        let uid: String = text("uid").chars().take(COPIED_UID_CHARS).collect();
        let uid = format!("{uid}-{}", digest(&format!("{} {version}", text("uid"))));
        let title = format!("{} (edited, version {version})", text("title"));
        let mut dashboard = stored.json.clone();
        Mark::remove(&mut dashboard);
        if let Value::Object(members) = &mut dashboard {
            members.insert("uid".to_owned(), uid.clone().into());
            members.insert("title".to_owned(), title.into());
        }
        let save = Save {
            dashboard: &dashboard,
            folder_uid: &stored.folder_uid,
            message: "what somebody made of a dashboard that is generated",
            expected: None,
            overwrite: false,
        };
        match self.client.save_dashboard(&save).await {
            Ok(saved) => Ok(saved.url),
            Err(error) if error.reason() == Some(Reason::Exists) => Ok(uid),
            Err(error) => Err(error),
        }
    }

    /// Deletes the owner's dashboards that are not wanted.
    async fn prune(&self) -> Result<Vec<Outcome>, Error> {
        let owner = self.order.rules.owner.tag();
        let tags = [mark::TAG, &owner];
        let rows = self.client.search(&Search { tags: &tags, ..Search::default() }).await?;
        let is_wanted = |uid: &str| self.order.wanted.iter().any(|wanted| wanted.uid == uid);
        let mut outcomes = Vec::new();
        for row in rows.iter().filter(|row| !is_wanted(&row.uid)) {
            let outcome = self.prune_one(&row.uid).await;
            outcomes.extend(self.or_failed(outcome, &row.uid, &row.title)?);
        }
        Ok(outcomes)
    }

    /// Deletes one dashboard if it still is ours; none when it is gone already.
    async fn prune_one(&self, uid: &str) -> Result<Option<Outcome>, Error> {
        // The index that searches ask lags behind; what counts is the dashboard.
        let Some(stored) = self.client.dashboard(uid).await? else { return Ok(None) };
        let why = plan::reason_to_stay(Found::from(Some(&stored)), self.order.rules);
        if why.is_none() && !self.order.dry_run && !self.client.delete_dashboard(uid).await? {
            return Ok(None);
        }
        let title = stored.json.get("title").and_then(Value::as_str).unwrap_or_default();
        let (uid, title) = (uid.to_owned(), title.to_owned());
        let result = why.unwrap_or(Fate::Deleted);
        Ok(Some(Outcome { uid, title, result, url: stored.url, remark: None }))
    }

    /// Takes what concerns this dashboard alone as its fate.
    fn or_failed<T: From<Outcome>>(
        &self,
        result: Result<T, Error>,
        uid: &str,
        title: &str,
    ) -> Result<T, Error> {
        let error = match result {
            Err(error) if !is_everyone_s(&error) && !self.yields_to(&error) => error,
            result => return result,
        };
        let (result, remark) = match error.reason() {
            Some(Reason::Provisioned) => (Fate::Provisioned, None),
            Some(Reason::NewerForm) => (Fate::Converted, None),
            _ => (Fate::Failed, Some(error.to_string())),
        };
        let (uid, title) = (uid.to_owned(), title.to_owned());
        Ok(Outcome { uid, title, result, url: String::new(), remark }.into())
    }
}

fn outcome(wanted: &Wanted, result: Fate, url: String) -> Outcome {
    let (uid, title) = (wanted.uid.clone(), wanted.title.clone());
    Outcome { uid, title, result, url, remark: None }
}

/// Whether somebody else may have written, or we ourselves without getting the answer.
fn is_worth_a_look(error: &Error) -> bool {
    matches!(error, Error::Broken { .. } | Error::TimedOut { .. }) || is_lost_race(error)
}

/// Whether somebody else was faster.
pub(super) fn is_lost_race(error: &Error) -> bool {
    matches!(error.reason(), Some(Reason::Exists | Reason::VersionMismatch))
}

/// Whether the next dashboard would meet the same.
fn is_everyone_s(error: &Error) -> bool {
    let is_name = matches!(error, Error::Name(_));
    matches!(error.status(), None | Some(401 | 429 | 502..=504)) && !is_name
}
