//! The server in numbers: what `GET /api/v1/status` answers.

use serde::Serialize;

use super::advice::Advice;
use super::lists::rounded;
use super::loss::{Cause, Loss};
use super::names::Rates;
use super::totals::Track;
use super::{LOSS_WINDOW, Now, Watch};
use crate::compat::Compat;
use crate::grafana::sync::status::Facts as GrafanaFacts;
use crate::map::{Action, Rules};
use crate::multiproc::Facts as FilesFacts;
use crate::saturation::Facts as ServerFacts;

/// Rules that are listed at most; the busiest of more.
const MAX_RULES: usize = 500;

/// What only the program as a whole knows.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Whose rules apply to lines.
    pub compat: Compat,
    /// Whether samples are taken in.
    pub is_ready: bool,
    /// The rules in force.
    pub rules: &'a Rules,
    /// What series are limited to.
    pub limits: Limits,
    /// The mapping file and its reloads.
    pub mapping: Mapping,
    /// Servers of others that are watched.
    pub servers: Vec<ServerFacts>,
    /// How the keeping of dashboards goes, where there is a Grafana.
    pub grafana: Option<GrafanaFacts>,
    /// How the reading of workers' files goes, where there are any.
    pub files: Option<FilesFacts>,
}

/// The server in numbers.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// tallyd's version.
    pub version: &'static str,
    /// What it was built for.
    pub target: String,
    /// `extended` or `reference`.
    pub compat: &'static str,
    /// When it was started, in seconds since 1970.
    pub started_at: f64,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// Whether samples are taken in.
    pub is_ready: bool,
    /// Threads that receive.
    pub lanes: usize,
    /// Lines by what became of them.
    pub lines: Vec<Flow>,
    /// Samples by kind, and events.
    pub samples: Vec<Flow>,
    /// Datagrams and connections by transport.
    pub transports: Vec<Flow>,
    /// Sockets whose queues the kernel keeps.
    pub listeners: Vec<Listener>,
    /// Series there are.
    pub series: u64,
    /// What series are limited to.
    pub limits: Limits,
    /// What was lost.
    pub loss: LossFacts,
    /// The mapping file.
    pub mapping: Mapping,
    /// The rules in the order of the file.
    pub rules: Vec<RuleFacts>,
    /// Rules that are not listed, as there are so many.
    pub rules_left_out: usize,
    /// The process.
    pub process: Process,
    /// Servers of others that are watched, each as one source tells of it.
    pub servers: Vec<ServerFacts>,
    /// How the keeping of dashboards goes; null without `--grafana.url`.
    pub grafana: Option<GrafanaFacts>,
    /// How the reading of workers' files goes; null without `--multiproc.dir`.
    pub files: Option<FilesFacts>,
    /// The last ten minutes in steps of five seconds.
    pub history: History,
}

/// Something that is counted, and its rate.
#[derive(Clone, Debug, Serialize)]
pub struct Flow {
    /// What is counted.
    pub name: &'static str,
    /// How many since the start.
    pub total: u64,
    /// How many in a second, over the last ten.
    pub per_second: f64,
}

/// A listener's queue.
#[derive(Clone, Debug, Serialize)]
pub struct Listener {
    /// As in `tallyd_udp_kernel_drops_total`.
    pub listener: String,
    /// Datagrams that the kernel dropped.
    pub kernel_drops_total: u64,
    /// What waits to be read.
    pub queued_bytes: u64,
    /// What may wait.
    pub capacity_bytes: u64,
}

/// An estimate of what was lost.
#[derive(Clone, Debug, Serialize)]
pub struct LossFacts {
    /// The time that it is about; shorter after a start.
    pub window_seconds: f64,
    /// The part of all lines that was lost, from 0 to 1.
    pub ratio: f64,
    /// The same by cause; those without a loss are left out.
    pub causes: Vec<LossCause>,
    /// What to do, the worst first.
    pub advice: Vec<AdviceFacts>,
}

/// What was lost for one cause.
#[derive(Clone, Debug, Serialize)]
pub struct LossCause {
    /// As in `tallyd_loss_cause_ratio`.
    pub cause: &'static str,
    /// Lines, estimated.
    pub lines: f64,
    /// Their part of all lines.
    pub ratio: f64,
}

/// What to do about a cause.
#[derive(Clone, Debug, Serialize)]
pub struct AdviceFacts {
    /// The cause.
    pub cause: &'static str,
    /// What to do.
    pub text: String,
}

/// The mapping file and its reloads.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mapping {
    /// The file; null without one.
    pub file: Option<String>,
    /// The presets behind it, in the order in which they are asked.
    pub presets: Vec<String>,
    /// Rules in force.
    pub rules: usize,
    /// Reloads that worked.
    pub reloads_total: u64,
    /// Reloads that did not.
    pub failed_reloads_total: u64,
    /// When it was last reloaded, or that was tried, in seconds since 1970.
    pub last_reload_at: Option<f64>,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

/// What series are limited to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Limits {
    /// Series in all; null without a limit.
    pub series: Option<u64>,
    /// Families that are at a limit of their own, the largest first.
    pub full: Vec<FullFamily>,
}

/// A family at a limit.
#[derive(Clone, Debug, Serialize)]
pub struct FullFamily {
    /// The family.
    pub family: String,
    /// Its series.
    pub series: u64,
    /// The label that may not have more values, or else the one with the most; empty where there are
    /// no labels.
    pub label: String,
}

/// A rule and its hits.
#[derive(Clone, Debug, Serialize)]
pub struct RuleFacts {
    /// Its number among the rules, from 0.
    pub index: usize,
    /// `match` as written.
    #[serde(rename = "match")]
    pub source: String,
    /// The mapping file or the preset that it is in.
    pub origin: String,
    /// Its line there.
    pub line: u64,
    /// The family that it makes, unless that depends on what clients send.
    pub name: Option<String>,
    /// `map` or `drop`.
    pub action: &'static str,
    /// Lines that it matched since it was loaded; null where there are too many rules to count.
    pub lines_total: Option<u64>,
    /// Lines that it matches in a second.
    pub lines_per_second: f64,
}

/// What the process uses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    /// CPU time since the start.
    pub cpu_seconds: f64,
    /// CPUs in use over the last ten seconds.
    pub cpus_used: f64,
    /// Memory in RAM.
    pub resident_bytes: Option<u64>,
}

/// How rates went; the latest comes last.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// Lines a second that reached a series.
    pub accepted: Vec<f64>,
    /// Lines a second in error.
    pub rejected: Vec<f64>,
    /// Datagrams a second that the kernel dropped.
    pub kernel_drops: Vec<f64>,
    /// Series there were.
    pub series: Vec<f64>,
}

impl Facts {
    /// The server as it is now.
    #[must_use]
    pub fn of(watch: &Watch, now: &Now, rates: &Rates, setting: Setting<'_>) -> Self {
        let (rules, rules_left_out) = rules(setting.rules, rates);
        let began = watch.began();
        let uptime_seconds = began.now_millis() as f64 / 1000.0;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            compat: if setting.compat.is_reference() { "reference" } else { "extended" },
            started_at: began.seconds(0),
            uptime_seconds,
            is_ready: setting.is_ready,
            lanes: watch.lanes(),
            lines: flows(now, &OUTCOMES),
            samples: flows(now, &KINDS),
            transports: flows(now, &TRANSPORTS),
            listeners: listeners(watch),
            series: now.totals.get(Track::Series),
            limits: setting.limits,
            loss: LossFacts::of(&now.loss, &now.advice),
            mapping: setting.mapping,
            rules,
            rules_left_out,
            process: process(now),
            servers: setting.servers,
            grafana: setting.grafana,
            files: setting.files,
            history: History {
                accepted: rates_of(now, Track::Accepted),
                rejected: rates_of(now, Track::Rejected),
                kernel_drops: rates_of(now, Track::KernelDrops),
                series: now.past.values(Track::Series),
            },
        }
    }
}

const OUTCOMES: [(&str, Track); 6] = [
    ("accepted", Track::Accepted),
    ("rejected", Track::Rejected),
    ("dropped", Track::Dropped),
    ("limited", Track::Limited),
    ("conflict", Track::Conflict),
    ("event", Track::Event),
];

const KINDS: [(&str, Track); 5] = [
    ("counter", Track::Counters),
    ("gauge", Track::Gauges),
    ("observer", Track::Observers),
    ("set", Track::Sets),
    ("unmapped", Track::Unmapped),
];

const TRANSPORTS: [(&str, Track); 5] = [
    ("udp_datagrams", Track::UdpDatagrams),
    ("unix_datagrams", Track::UnixDatagrams),
    ("tcp_connections", Track::TcpConnections),
    ("unix_connections", Track::UnixConnections),
    ("truncated_datagrams", Track::Truncated),
];

fn flows(now: &Now, tracks: &[(&'static str, Track)]) -> Vec<Flow> {
    let flow = |(name, track): &(&'static str, Track)| Flow {
        name,
        total: now.totals.get(*track),
        per_second: rounded(now.rate(*track)),
    };
    tracks.iter().map(flow).collect()
}

fn rates_of(now: &Now, track: Track) -> Vec<f64> {
    now.past.rates(track).into_iter().map(rounded).collect()
}

fn listeners(watch: &Watch) -> Vec<Listener> {
    let drops = watch.drops().read();
    let queues = watch.drops().queues().into_iter();
    let listener = |queue: crate::net::ReceiveQueue| Listener {
        kernel_drops_total: drops
            .iter()
            .filter(|(listener, _)| *listener == queue.listener)
            .map(|(_, drops)| drops)
            .sum(),
        listener: queue.listener,
        queued_bytes: queue.queued_bytes,
        capacity_bytes: queue.capacity_bytes,
    };
    queues.map(listener).collect()
}

impl LossFacts {
    fn of(loss: &Loss, advice: &[Advice]) -> Self {
        let cause = |(cause, lines): &(Cause, f64)| LossCause {
            cause: cause.as_str(),
            lines: rounded(*lines),
            ratio: loss.ratio_of(*cause),
        };
        let advice = advice
            .iter()
            .map(|one| AdviceFacts { cause: one.cause.as_str(), text: one.text.clone() });
        Self {
            window_seconds: rounded(loss.seconds.min(LOSS_WINDOW.as_secs_f64() + 5.0)),
            ratio: loss.ratio,
            causes: loss.lost.iter().map(cause).collect(),
            advice: advice.collect(),
        }
    }
}

/// The rules and how many are left out.
fn rules(rules: &Rules, rates: &Rates) -> (Vec<RuleFacts>, usize) {
    let fact = |(index, outline): (usize, crate::map::Outline<'_>)| RuleFacts {
        index,
        source: outline.rule.source.clone(),
        origin: rules.origin(index).to_owned(),
        line: outline.rule.line,
        name: outline.name,
        action: match outline.rule.action {
            Action::Map => "map",
            Action::Drop => "drop",
        },
        lines_total: rates.counts.rule(index),
        lines_per_second: rounded(rates.rule(index)),
    };
    let mut all: Vec<_> = rules.outlines().enumerate().map(fact).collect();
    let left_out = all.len().saturating_sub(MAX_RULES);
    if left_out > 0 {
        all.sort_by_key(|rule| std::cmp::Reverse(rule.lines_total));
        all.truncate(MAX_RULES);
        all.sort_by_key(|rule| rule.index);
    }
    (all, left_out)
}

fn process(now: &Now) -> Process {
    let resident = || {
        let stat = procfs::process::Process::myself().and_then(|process| process.stat()).ok()?;
        stat.rss.checked_mul(procfs::page_size())
    };
    Process {
        cpu_seconds: now.totals.get(Track::CpuMillis) as f64 / 1000.0,
        cpus_used: rounded(now.rate(Track::CpuMillis) / 1000.0),
        resident_bytes: resident(),
    }
}
