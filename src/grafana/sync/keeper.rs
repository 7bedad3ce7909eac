//! The keeper: while a server runs, it brings Grafana up to date whenever there is something new.
//!
//! It looks at one number every so often, and only when families have come and then nothing more
//! came for a while does it walk the registry, on a thread that may block. No lane and no scrape
//! waits for it, and it can be dropped at any time: what it was about to write is written by the
//! next one.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::apply::{Known, MESSAGE, Order, is_lost_race, sync};
use super::memory::{Memory, today};
use super::{Mark, Owner, Place, Report, Rules, Status, Wanted};
use crate::grafana::client::{Client, Error, Reason, Stored};
use crate::grafana::inventory::Inventory;

/// The longest pause between two looks at the number of families.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Looks at the number while it may settle.
const LOOKS: u32 = 6;
/// Families that never settle are pushed after so many times as long.
const PATIENCE: u32 = 10;
/// The pause after a failed push begins with this, doubles, and is spread by chance.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// No pause after a failed push is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How often to begin again when another replica was faster, and after how long at most.
const MAX_RACES: usize = 10;
const RACE_PAUSE: Duration = Duration::from_secs(1);
/// How often Grafana is looked at when nothing new has come: somebody may have deleted or changed a
/// dashboard.
const RECHECK: Duration = Duration::from_hours(1);

/// How to keep dashboards.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose they are, and what happens to changed ones.
    pub rules: Rules,
    /// Where they go.
    pub place: Place,
    /// Whether other dashboards of this owner are deleted.
    pub prunes: bool,
    /// How long no new family may have come before a push.
    pub settle: Duration,
    /// The least time between two pushes.
    pub min_interval: Duration,
}

/// What dashboards are made of, and how.
pub trait Source: Debug + Send + Sync + 'static {
    /// A number that rises with each new family or set of label names; asked often.
    fn changes(&self) -> u64;
    /// What there is; may take a while and block.
    fn inventory(&self) -> Arc<Inventory>;
    /// The dashboards for that, the most general one first.
    fn dashboards(&self, inventory: &Inventory) -> Vec<Wanted>;
    /// The uid of the first one, whatever there is.
    fn first_uid(&self) -> &str;
}

/// Keeps dashboards in one Grafana.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    settings: Settings,
    source: Arc<dyn Source>,
    status: Arc<Status>,
    /// The changes that Grafana knows of.
    pushed: u64,
    /// Whether the last push has to be tried again.
    is_behind: bool,
}

impl Keeper {
    /// A keeper that has not begun.
    #[must_use]
    pub fn new(
        client: Client,
        settings: Settings,
        source: Arc<dyn Source>,
        status: Arc<Status>,
    ) -> Self {
        Self { client, settings, source, status, pushed: 0, is_behind: false }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        // Replicas that start together do not ask together.
        sleep(self.settings.settle.mul_f64(fastrand::f64())).await;
        let mut next = Instant::now();
        let mut failures = 0;
        loop {
            if !self.is_behind {
                self.wait_for_news().await;
            }
            while Instant::now() < next {
                sleep_until(next.min(Instant::now() + LONGEST_LOOK)).await;
                self.changes();
            }
            self.push().await;
            failures = if self.is_behind { failures + 1 } else { 0 };
            let pause =
                if self.is_behind { pause_after(failures) } else { self.settings.min_interval };
            next = Instant::now() + pause;
        }
    }

    /// Waits until families have come and settled, or until it is time to look again.
    async fn wait_for_news(&self) {
        let settle = self.settings.settle;
        let pause = (settle / LOOKS).min(LONGEST_LOOK);
        let mut seen = self.changes();
        let mut since = Instant::now();
        // Families may have come while the last push was on its way.
        let mut first = (seen != self.pushed).then_some(since);
        let recheck = since + RECHECK.mul_f64(1.0 + fastrand::f64() / 10.0);
        loop {
            sleep(pause).await;
            let (now, changes) = (Instant::now(), self.changes());
            if changes != seen {
                (seen, since) = (changes, now);
                first = first.or(Some(now));
            }
            let has_settled = now.duration_since(since) >= settle;
            let is_late = first.is_some_and(|first| now.duration_since(first) >= settle * PATIENCE);
            if seen != self.pushed && (has_settled || is_late) {
                return;
            }
            if self.pushed > 0 && now >= recheck {
                return;
            }
        }
    }

    fn changes(&self) -> u64 {
        let changes = self.source.changes();
        self.status.pending(changes.saturating_sub(self.pushed));
        changes
    }

    /// Brings Grafana up to date, if it can be had.
    async fn push(&mut self) {
        self.status.begin();
        let changes = self.source.changes();
        let mut races = 0;
        let result = loop {
            match self.attempt().await {
                Err(error) if is_lost_race(&error) && races < MAX_RACES => {
                    races += 1;
                    sleep(RACE_PAUSE.mul_f64(fastrand::f64())).await;
                }
                result => break result,
            }
        };
        self.is_behind = result.as_ref().map_or(true, Report::has_failed);
        match result {
            Ok(report) => {
                self.pushed = changes;
                self.status.succeed(report);
            }
            Err(error) => self.status.fail(&error),
        }
        self.changes();
    }

    /// Writes the dashboards for what this server and the other replicas have exposed.
    async fn attempt(&self) -> Result<Report, Error> {
        let uid = self.source.first_uid();
        let read = match self.client.dashboard(uid).await {
            Err(error) if error.reason() == Some(Reason::NewerForm) => None,
            result => Some(result?),
        };
        let (source, owner) = (Arc::clone(&self.source), self.settings.rules.owner.clone());
        let made = tokio::task::spawn_blocking(move || {
            let stored = read.as_ref().and_then(Option::as_ref);
            (wanted(&*source, stored, &owner), read)
        });
        let (wanted, read) = match made.await {
            Ok(made) => made,
            Err(error) => {
                warn!(%error, "Cannot make the dashboards.");
                return Ok(Report::default());
            }
        };
        let order = Order {
            wanted: &wanted,
            rules: &self.settings.rules,
            place: &self.settings.place,
            message: MESSAGE,
            prunes: self.settings.prunes,
            dry_run: false,
            known: read.as_ref().map(|stored| Known { uid, stored: stored.as_ref() }),
        };
        sync(&self.client, &order, |_| {}).await
    }
}

/// The dashboards for what there is and what the first of those in Grafana remembers.
fn wanted(source: &dyn Source, stored: Option<&Stored>, owner: &Owner) -> Vec<Wanted> {
    let stored = stored.map(|stored| &stored.json);
    let is_ours = |json: &&Value| Mark::read(json).is_some_and(|mark| mark.owner == *owner);
    let memory = stored.filter(is_ours).map(Memory::read).unwrap_or_default();
    let memory = memory.with(&source.inventory(), today());
    let known = Inventory { parts: source.inventory().parts.clone(), ..memory.inventory() };
    let mut wanted = source.dashboards(&known);
    if let Some(first) = wanted.first_mut() {
        memory.write(&mut first.dashboard);
    }
    wanted
}

/// The pause after so many failed pushes, one after the other.
fn pause_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grafana::client::Revision;
    use crate::grafana::inventory::{Family, Kind};

    #[test]
    fn what_the_others_know_is_in_the_dashboards() {
        let owner = Owner::new("api", "");
        let before = wanted(&Knows("a"), None, &owner).remove(0).dashboard;
        let stored = |owner: &Owner| {
            let mut json = before.clone();
            Mark::write(&mut json, owner, 1);
            let (folder_uid, url) = (String::new(), String::new());
            let revision = Revision::default();
            Stored { json, folder_uid, revision, provisioned: false, newer_form: None, url }
        };
        let title = |stored: Option<&Stored>| wanted(&Knows("b"), stored, &owner).remove(0).title;
        assert_eq!(title(Some(&stored(&owner))), "a b");
        assert_eq!(title(Some(&stored(&Owner::new("other", "")))), "b");
        assert_eq!(title(None), "b");
    }

    /// Has one family, and makes a dashboard that has the families' names as its title.
    #[derive(Debug)]
    struct Knows(&'static str);

    impl Source for Knows {
        fn changes(&self) -> u64 {
            1
        }

        fn inventory(&self) -> Arc<Inventory> {
            let family = Family {
                name: self.0.to_owned(),
                kind: Kind::Counter,
                help: String::new(),
                unit: None,
                rule: None,
                labels: Vec::new(),
                series: Some(1),
            };
            Arc::new(Inventory { families: vec![family], ..Inventory::default() })
        }

        fn dashboards(&self, inventory: &Inventory) -> Vec<Wanted> {
            let names: Vec<&str> = inventory.families.iter().map(|one| &*one.name).collect();
            let (uid, title) = (self.first_uid().to_owned(), names.join(" "));
            let dashboard = json!({"uid": uid, "title": title});
            vec![Wanted { uid, title, dashboard, place: None }]
        }

        fn first_uid(&self) -> &'static str {
            "first"
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for (failures, around) in [(1, 5.0), (2, 10.0), (4, 40.0), (40, 600.0)] {
            let pause = pause_after(failures).as_secs_f64();
            assert!((around * 0.5..around * 1.5).contains(&pause), "{failures}: {pause}");
        }
    }
}
