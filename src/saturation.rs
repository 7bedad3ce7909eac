//! How full servers are that somebody else runs on this machine: connections that wait, workers that
//! are busy.
//!
//! Three sources say the same things in the same words ([`Facts`]): the kernel, about any listening
//! socket ([`queue`]); uWSGI, through its stats socket ([`uwsgi`]); and what gunicorn and uWSGI send
//! as StatsD under their presets ([`statsd`]). The kernel and the registry are looked at each second,
//! stats sockets every few seconds; whoever scrapes waits for none of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::aggregate::Registry;

pub mod target;
mod rising;
pub mod socket;
pub mod netlink;
pub mod queue;
pub mod uwsgi;
pub mod statsd;

pub use statsd::Presets;
pub use target::{Target, TargetError};

use queue::Queues;
use statsd::Statsd;
use uwsgi::Uwsgi;

/// What the names of all families about servers begin with.
pub const PREFIX: &str = "tallyd_server_";

/// How often stats sockets are asked.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Which servers are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Listening sockets whose accept queues are looked at.
    pub queues: Vec<Target>,
    /// uWSGI's stats sockets.
    pub uwsgi: Vec<Target>,
    /// Presets that bring what servers say of themselves.
    pub presets: Presets,
}

/// Who says something about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel, about a listening socket.
    Socket,
    /// uWSGI, when it is asked.
    UwsgiStats,
    /// uWSGI, by what it sends.
    UwsgiPush,
    /// gunicorn, by what it sends.
    Gunicorn,
}

impl Source {
    /// The value of the label `source`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::UwsgiStats | Self::UwsgiPush => "uwsgi",
            Self::Gunicorn => "gunicorn",
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is known of a server from one source. What is not known is left out: a zero is a zero.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Who says so.
    pub source: Source,
    /// The application: the name that its flag or its metrics give, else the address.
    pub app: String,
    /// The address as the flag has it; null for what comes as StatsD.
    pub address: Option<String>,
    /// Whether it could be looked at, at the last attempt; null where nobody looks, or not yet.
    pub is_up: Option<bool>,
    /// What waits to be accepted.
    pub backlog: Backlog,
    /// Worker processes by what they do, such as `busy` and `idle`.
    #[serde(serialize_with = "as_map")]
    pub workers: Vec<(&'static str, f64)>,
    /// Their threads in the same way; empty where only workers are known.
    #[serde(serialize_with = "as_map")]
    pub threads: Vec<(&'static str, f64)>,
    /// The part of all threads, or else workers, that is busy.
    pub busy_ratio: Option<f64>,
    /// Requests that were handled.
    pub requests_total: Option<u64>,
    /// Attempts to look that failed, by reason.
    #[serde(serialize_with = "as_map")]
    pub failures: Vec<(&'static str, u64)>,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Backlog {
    /// How many wait.
    pub length: Option<f64>,
    /// The most that waited at a look within the last minute.
    pub longest: Option<f64>,
    /// How many may wait.
    pub limit: Option<f64>,
    /// The fullest that a socket was at a look within the last minute; 1 at its limit.
    pub fill_ratio: Option<f64>,
    /// Attempts to connect that found no room.
    pub drops_total: Option<u64>,
}

fn as_map<T: Copy + Serialize, S: Serializer>(
    pairs: &[(&'static str, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

impl Facts {
    fn new(source: Source, app: &str) -> Self {
        Self {
            source,
            app: app.to_owned(),
            address: None,
            is_up: None,
            backlog: Backlog::default(),
            workers: Vec::new(),
            threads: Vec::new(),
            busy_ratio: None,
            requests_total: None,
            failures: Vec::new(),
        }
    }

    fn of_target(source: Source, target: &Target) -> Self {
        Self { address: Some(target.address.clone()), ..Self::new(source, target.app()) }
    }
}

/// Watches servers.
#[derive(Debug)]
pub struct Saturation {
    queues: Queues,
    uwsgi: Vec<Arc<Uwsgi>>,
    statsd: Statsd,
}

impl Saturation {
    /// Watches what `config` names; none when it names nothing.
    ///
    /// # Errors
    /// When the host of a listening socket has no address.
    pub fn new(config: &Config) -> Result<Option<Self>, TargetError> {
        if *config == Config::default() {
            return Ok(None);
        }
        Ok(Some(Self {
            queues: Queues::new(&config.queues)?,
            uwsgi: config.uwsgi.iter().map(|target| Arc::new(Uwsgi::new(target))).collect(),
            statsd: Statsd::new(config.presets),
        }))
    }

    /// Looks at queues and at what servers sent; to be called each second.
    pub fn tick(&self, registry: &Registry, now_millis: u64) {
        self.queues.look(Instant::now());
        self.statsd.look(registry, now_millis);
    }

    /// Asks stats sockets, all at once and again and again, until it is dropped.
    pub async fn poll(self: Arc<Self>) {
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.uwsgi.is_empty() {
            interval.tick().await;
            let mut polls = JoinSet::new();
            for server in &self.uwsgi {
                let server = Arc::clone(server);
                polls.spawn(async move { server.poll().await });
            }
            while polls.join_next().await.is_some() {}
        }
    }

    /// What is known now; queues are looked at, all else is what the last look has found.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        let mut all = self.queues.facts(Instant::now());
        all.extend(self.uwsgi.iter().map(|server| server.facts()));
        let sent = self.statsd.facts();
        // What a stats socket says of an application is newer than what the application sent.
        let is_new = |facts: &Facts| {
            let named = |known: &Facts| (known.source.as_str(), known.app.clone());
            all.iter().all(|known| named(known) != named(facts))
        };
        let sent: Vec<Facts> = sent.into_iter().filter(is_new).collect();
        all.extend(sent);
        all
    }

    /// Connections that the kernel dropped at any listening socket of this network namespace; only
    /// where it does not tell for each.
    #[must_use]
    pub fn listen_drops(&self) -> Option<u64> {
        self.queues.listen_drops()
    }

    /// The applications that a source tells of; none where they name themselves.
    #[must_use]
    pub fn apps(&self, source: Source) -> Option<Vec<&str>> {
        let presets = self.statsd.presets();
        match source {
            Source::Socket => Some(self.queues.targets().map(Target::app).collect()),
            Source::UwsgiStats => {
                Some(self.uwsgi.iter().map(|server| server.target().app()).collect())
            }
            Source::UwsgiPush => (!presets.uwsgi).then(Vec::new),
            Source::Gunicorn => (!presets.gunicorn).then(Vec::new),
        }
    }
}
