//! Everything that is counted, at one moment.

use crate::aggregate::Registry;
use crate::net::KernelDrops;
use crate::sample::EventType;
use crate::telemetry::insight::ClientStat;
use crate::telemetry::{LineOutcome, Stat, Telemetry};

/// One thing that is taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Lines that reached a series.
    Accepted,
    /// Lines in error.
    Rejected,
    /// Lines that a rule dropped.
    Dropped,
    /// Lines over a limit.
    Limited,
    /// Lines whose name belongs to another type.
    Conflict,
    /// Events and service checks.
    Event,
    /// Samples of counters.
    Counters,
    /// Samples of gauges.
    Gauges,
    /// Samples of timers, histograms and distributions.
    Observers,
    /// Samples of sets.
    Sets,
    /// Samples without a rule.
    Unmapped,
    /// Datagrams by UDP.
    UdpDatagrams,
    /// Datagrams by a Unix socket.
    UnixDatagrams,
    /// TCP connections.
    TcpConnections,
    /// Connections by a Unix socket.
    UnixConnections,
    /// Datagrams that the kernel dropped.
    KernelDrops,
    /// Datagrams cut off.
    Truncated,
    /// Lines of a stream that were too long.
    TooLong,
    /// Datagrams that clients' queues had no room for.
    ClientQueue,
    /// Datagrams that clients could not write.
    ClientWriter,
    /// Datagrams that clients dropped without saying which of the two it was.
    ClientOther,
    /// Metrics that clients dropped before they were in a datagram.
    ClientMetrics,
    /// CPU time in milliseconds.
    CpuMillis,
    /// Series there are; no total.
    Series,
}

const TRACKS: usize = Track::Series as usize + 1;

/// All totals of one moment.
#[derive(Clone, Copy, Debug)]
pub struct TotalsAt {
    /// When, on the process' clock.
    pub millis: u64,
    totals: [u64; TRACKS],
}

impl TotalsAt {
    /// The totals as of now.
    #[must_use]
    pub fn take(
        millis: u64,
        telemetry: &Telemetry,
        registry: &Registry,
        drops: &KernelDrops,
    ) -> Self {
        let counted = telemetry.totals();
        let clients = &telemetry.insight.clients;
        let outcome = |outcome| counted.get(Stat::Outcome(outcome));
        let mut at = Self { millis, totals: [0; TRACKS] };
        for (track, total) in [
            (Track::Accepted, outcome(LineOutcome::Accepted)),
            (Track::Rejected, outcome(LineOutcome::Rejected)),
            (Track::Dropped, outcome(LineOutcome::Dropped)),
            (Track::Limited, outcome(LineOutcome::Limited)),
            (Track::Conflict, outcome(LineOutcome::Conflict)),
            (Track::Event, outcome(LineOutcome::Event)),
            (Track::Counters, counted.get(Stat::Events(EventType::Counter))),
            (Track::Gauges, counted.get(Stat::Events(EventType::Gauge))),
            (Track::Observers, counted.get(Stat::Events(EventType::Observer))),
            (Track::Sets, counted.get(Stat::Events(EventType::Set))),
            (Track::Unmapped, counted.get(Stat::EventsUnmapped)),
            (Track::UdpDatagrams, counted.get(Stat::UdpDatagrams)),
            (Track::UnixDatagrams, counted.get(Stat::UnixgramDatagrams)),
            (Track::TcpConnections, counted.get(Stat::TcpConnections)),
            (Track::UnixConnections, counted.get(Stat::UnixstreamConnections)),
            (Track::KernelDrops, drops.read().iter().map(|(_, drops)| drops).sum()),
            (Track::Truncated, counted.get(Stat::TruncatedDatagrams)),
            (Track::TooLong, counted.get(Stat::TcpTooLongLines)),
            (Track::ClientQueue, clients.get(ClientStat::PacketsDroppedQueue)),
            (Track::ClientWriter, clients.get(ClientStat::PacketsDroppedWriter)),
            (Track::ClientOther, super::loss::dropped_otherwise(clients)),
            (Track::ClientMetrics, clients.get(ClientStat::MetricsDroppedOnReceive)),
            (Track::CpuMillis, cpu_millis().unwrap_or_default()),
            (Track::Series, registry.len_of_all() as u64),
        ] {
            at.set(track, total);
        }
        at
    }

    /// Nothing counted.
    pub(super) fn at(millis: u64) -> Self {
        Self { millis, totals: [0; TRACKS] }
    }

    pub(super) fn set(&mut self, track: Track, total: u64) {
        if let Some(place) = self.totals.get_mut(track as usize) {
            *place = total;
        }
    }

    /// One total.
    #[must_use]
    pub fn get(&self, track: Track) -> u64 {
        self.totals.get(track as usize).copied().unwrap_or(0)
    }

    /// How much a total has risen since an earlier moment.
    #[must_use]
    pub fn rise(&self, then: &Self, track: Track) -> f64 {
        self.get(track).saturating_sub(then.get(track)) as f64
    }

    /// How much a total has risen in a second, on average since an earlier moment.
    #[must_use]
    pub fn rate(&self, then: &Self, track: Track) -> f64 {
        self.rise(then, track) / self.seconds_since(then).max(0.001)
    }

    /// The time since an earlier moment.
    #[must_use]
    pub fn seconds_since(&self, then: &Self) -> f64 {
        self.millis.saturating_sub(then.millis) as f64 / 1000.0
    }

    /// All lines that hold something.
    #[must_use]
    pub fn lines(&self) -> u64 {
        let outcomes = [
            Track::Accepted,
            Track::Rejected,
            Track::Dropped,
            Track::Limited,
            Track::Conflict,
            Track::Event,
        ];
        outcomes.into_iter().map(|track| self.get(track)).sum()
    }
}

fn cpu_millis() -> Option<u64> {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).ok()?;
    (stat.utime + stat.stime).checked_mul(1000)?.checked_div(procfs::ticks_per_second())
}
