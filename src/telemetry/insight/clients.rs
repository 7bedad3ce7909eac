//! What DogStatsD clients say of themselves (`datadog.dogstatsd.client.*`), added up as it passes.
//!
//! The official clients of all languages send these counters every ten seconds or so, under the same
//! names: <https://docs.datadoghq.com/developers/dogstatsd/high_throughput>.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the names begin with.
pub const PREFIX: &str = "datadog.dogstatsd.client.";

/// One of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStat {
    /// Metrics that applications have handed to their clients.
    Metrics,
    /// Datagrams sent.
    PacketsSent,
    /// Datagrams dropped for any reason.
    PacketsDropped,
    /// Of these, since the client's own queue was full.
    PacketsDroppedQueue,
    /// Of these, since they could not be written to the socket.
    PacketsDroppedWriter,
    /// Bytes sent.
    BytesSent,
    /// Bytes dropped for any reason.
    BytesDropped,
    /// Metrics dropped before they were in a datagram, in Go's channel mode.
    MetricsDroppedOnReceive,
}

impl ClientStat {
    /// Every counter, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Metrics,
        Self::PacketsSent,
        Self::PacketsDropped,
        Self::PacketsDroppedQueue,
        Self::PacketsDroppedWriter,
        Self::BytesSent,
        Self::BytesDropped,
        Self::MetricsDroppedOnReceive,
    ];

    /// The name without [`PREFIX`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::PacketsSent => "packets_sent",
            Self::PacketsDropped => "packets_dropped",
            Self::PacketsDroppedQueue => "packets_dropped_queue",
            Self::PacketsDroppedWriter => "packets_dropped_writer",
            Self::BytesSent => "bytes_sent",
            Self::BytesDropped => "bytes_dropped",
            Self::MetricsDroppedOnReceive => "metric_dropped_on_receive",
        }
    }
}

/// The counters of all clients together.
#[derive(Debug, Default)]
pub struct Clients([AtomicU64; ClientStat::ALL.len()]);

impl Clients {
    /// Takes a counter in by its name without [`PREFIX`]; others are left alone.
    pub fn take(&self, name: &str, value: f64) {
        let known = ClientStat::ALL.iter().zip(&self.0).find(|(stat, _)| stat.as_str() == name);
        let Some((_, total)) = known else { return };
        if value.is_finite() && (0.0..=1e15).contains(&value) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the line above bounds it"
            )]
            let count = value.round() as u64;
            // Relaxed: the number publishes nothing else.
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// One counter.
    #[must_use]
    pub fn get(&self, stat: ClientStat) -> u64 {
        self.0.get(stat as usize).map_or(0, |total| total.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_counters_add_up_and_others_are_left() {
        let clients = Clients::default();
        for (name, value) in [("packets_dropped", 3.0), ("packets_dropped", 4.0), ("novel", 1.0)] {
            clients.take(name, value);
        }
        for value in [-1.0, f64::NAN, 1e300] {
            clients.take("metrics", value);
        }
        let counts = ClientStat::ALL.map(|stat| clients.get(stat));
        assert_eq!(counts, [0, 0, 7, 0, 0, 0, 0, 0]);
    }
}
