//! What one run found out; as JSON these are the fields of `--output json`.
//!
//! Times are in the unit of the field's name, rates are for each second, sizes in bytes. A part that
//! could not be measured, because the server is elsewhere or has no such counter, is absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::Latencies;

/// One run: what was sent, what became of it, and what that cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The lines that were sent.
    pub workload: WorkloadFacts,
    /// Where they were sent to, as a URL.
    pub target: String,
    /// Metrics a second that were asked for; absent when it was as fast as possible.
    pub asked_rate: Option<f64>,
    /// What the sender did.
    pub sending: Sending,
    /// Where every metric is; absent without a page to look at.
    pub accounting: Option<Accounting>,
    /// From the sending of a probe to the end of the first page that shows it.
    pub time_to_visible: Option<Latencies>,
    /// The pages asked for while lines were being sent; of a run that did without, those asked for
    /// when the probes were sent afterwards.
    pub scrape: Option<ScrapeFacts>,
    /// Seconds from the last datagram until everything that arrived was on the page.
    pub settled_after_seconds: Option<f64>,
    /// The server's process; absent when it does not run on this machine.
    pub server: Option<ServerFacts>,
    /// A point for each moment at which the run was looked at.
    pub timeline: Vec<Point>,
    /// What a reader should know before trusting the figures.
    pub remarks: Vec<String>,
}

/// The lines that were sent, and by how many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadFacts {
    /// The workload's name, or the file it was read from.
    pub name: String,
    /// Names with their tags that differ; ever-new ones are not among them.
    pub series: u64,
    /// Metrics in a datagram, on average.
    pub metrics_per_datagram: f64,
    /// Bytes in a datagram, on average.
    pub bytes_per_datagram: f64,
    /// Sockets or connections.
    pub clients: usize,
    /// Threads that send.
    pub threads: usize,
    /// What the random choices were made from.
    pub seed: u64,
}

/// What the sender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sending {
    /// From the first datagram to the last.
    pub seconds: f64,
    /// Datagrams that the kernel took; for streams, writes of as many lines.
    pub datagrams: u64,
    /// Metrics in them.
    pub metrics: u64,
    /// Bytes in them, without the headers of UDP and IP.
    pub bytes: u64,
    /// CPU time of the sending threads.
    pub cpu_seconds: f64,
    /// Datagrams that the kernel refused to take; they were sent again or not at all, and are not
    /// among those above.
    pub refused: u64,
    /// The longest time that the sender was behind its schedule.
    pub lag_max_ms: f64,
    /// Probes sent beside the workload.
    pub probes: u64,
}

impl Sending {
    /// Metrics a second that were reached.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.metrics as f64 / self.seconds } else { 0.0 }
    }
}

/// How the counting was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ledger {
    /// By the values of the series that were sent.
    #[default]
    Series,
    /// By the server's own counter of lines: the lines' values are not ours to know.
    Lines,
}

/// Where every metric is. `sent = counted + lost + unexplained`, whatever happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accounting {
    /// How the counting was done.
    pub ledger: Ledger,
    /// Metrics sent by kind: `counter`, `gauge`, `timer`; `line` when lines are counted.
    pub sent: BTreeMap<String, u64>,
    /// Metrics that are on the page, by the same kinds.
    pub counted: BTreeMap<String, u64>,
    /// Kinds whose number the server does not tell; they are in neither of the two.
    pub not_accounted: Vec<String>,
    /// Metrics that the kernel or the server reported as lost, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Metrics that are missing without a reason; below zero when more was counted than sent.
    pub unexplained: i64,
    /// The share of the metrics that are not on the page, from 0 to 1.
    pub loss_ratio: f64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub kernel_dropped_datagrams: u64,
    /// Gauges that show what was sent last; absent where that cannot be said: with several clients,
    /// with loss, or where the names on the page are not known.
    pub gauges: Option<GaugeCheck>,
}

impl Accounting {
    /// All metrics sent that are accounted for.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        self.sent.values().sum()
    }

    /// All metrics on the page.
    #[must_use]
    pub fn counted_total(&self) -> u64 {
        self.counted.values().sum()
    }

    /// All metrics reported as lost.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// How many gauges show what was sent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeCheck {
    /// Gauges that were looked at.
    pub checked: u64,
    /// Those that show the last value sent.
    pub current: u64,
}

/// Pages asked for, and how long they took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScrapeFacts {
    /// From the request to the last byte.
    pub latency: Latencies,
    /// From the request to the first byte of the body.
    pub first_byte: Latencies,
    /// The last page's size as text.
    pub page_bytes: u64,
    /// The last page's size as it was sent, which is less when it was compressed.
    pub wire_bytes: u64,
    /// The last page's samples.
    pub samples: u64,
    /// Requests that got no whole page.
    pub failed: u64,
}

/// A server's process on this machine, from the first datagram until it had worked all off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The process.
    pub pid: u32,
    /// What it was started as.
    pub command: String,
    /// CPU time in user space.
    pub cpu_user_seconds: f64,
    /// CPU time in the kernel.
    pub cpu_system_seconds: f64,
    /// CPU time of both, from the scheduler's nanoseconds where it keeps them.
    pub cpu_seconds: f64,
    /// CPU time of both for each metric that was counted, in millionths of a second.
    pub cpu_us_per_metric: Option<f64>,
    /// CPU time of both for each datagram sent, in millionths of a second.
    pub cpu_us_per_datagram: Option<f64>,
    /// Memory in use at the end.
    pub rss_bytes: u64,
    /// The most memory it ever had.
    pub peak_rss_bytes: u64,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the first datagram.
    pub second: f64,
    /// Metrics sent until then.
    pub metrics: u64,
    /// How long the page took, when one was asked for.
    pub scrape_ms: Option<f64>,
    /// The server's memory.
    pub rss_bytes: Option<u64>,
    /// The server's CPU time since the first datagram.
    pub cpu_seconds: Option<f64>,
}
