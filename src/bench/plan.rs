//! What a run is to do.

use std::sync::Arc;
use std::time::Duration;

use super::payload::Payload;
use super::target::Target;

/// What a run is to do; a search or a comparison changes parts of it and runs it again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to send to.
    pub target: Target,
    /// The page's URL; without one nothing can be accounted for.
    pub scrape: Option<String>,
    /// What to send.
    pub payload: Arc<Payload>,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub extent: Extent,
    /// Sockets or connections, at least one.
    pub clients: usize,
    /// Threads that send, at least one and at most one for each client.
    pub threads: usize,
    /// How often the page is asked for while lines are being sent; `None` leaves the server alone,
    /// so that its CPU time is that of the lines.
    pub scrape_every: Option<Duration>,
    /// Whether to ask for the page compressed with gzip.
    pub gzip: bool,
    /// How long the page may stay as it is before the rest is called lost.
    pub settle: Duration,
    /// The server's process; found by the page's port when it is not given.
    pub server_pid: Option<u32>,
}

/// How fast lines are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the kernel takes them.
    Unbounded,
    /// So many metrics a second, evenly.
    Even(f64),
    /// So many metrics a second on average: silence, and then all of an interval's at once.
    Bursts {
        /// Metrics a second on average.
        rate: f64,
        /// From one burst to the next.
        every: Duration,
    },
}

impl Pace {
    /// Metrics a second on average; `None` when there is no bound.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Unbounded => None,
            Self::Even(rate) | Self::Bursts { rate, .. } => Some(rate),
        }
    }
}

/// How long lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// For a time.
    Duration(Duration),
    /// Until at least so many metrics are sent; the last datagram is sent whole.
    Metrics(u64),
}
