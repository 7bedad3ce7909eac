//! How much of what clients meant to be counted was not: one estimated ratio, and its causes.
//!
//! What lines hold nobody knows that never came, so lost datagrams are taken to have held as many
//! lines as those that did come.

use super::totals::{TotalsAt, Track};
use crate::telemetry::insight::{ClientStat, Clients};

/// Where lines were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel dropped datagrams, since a socket's buffer was full.
    Kernel,
    /// Clients dropped datagrams, since their own queue was full.
    ClientQueue,
    /// Clients could not write datagrams to their socket.
    ClientWriter,
    /// Clients dropped datagrams and do not say why.
    Client,
    /// A datagram's end was cut off.
    Truncated,
    /// A line of a stream was too long, and its connection closed.
    TooLong,
    /// Lines in error.
    Rejected,
    /// Lines whose name belongs to another type.
    Conflict,
    /// Lines over a limit.
    Limited,
}

impl Cause {
    /// Every cause, in the order of the way that lines take.
    pub const ALL: [Self; 9] = [
        Self::ClientQueue,
        Self::ClientWriter,
        Self::Client,
        Self::Kernel,
        Self::Truncated,
        Self::TooLong,
        Self::Rejected,
        Self::Conflict,
        Self::Limited,
    ];

    /// The `cause` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::ClientQueue => "client_queue",
            Self::ClientWriter => "client_writer",
            Self::Client => "client",
            Self::Truncated => "truncated",
            Self::TooLong => "too_long",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Limited => "limited",
        }
    }

    /// Whether its lines arrived, and are counted among those received.
    fn has_arrived(self) -> bool {
        matches!(self, Self::Rejected | Self::Conflict | Self::Limited)
    }

    /// How many lines were lost for it, given how many a datagram holds.
    fn lines(self, now: &TotalsAt, then: &TotalsAt, per_datagram: f64) -> f64 {
        let rise = |track| now.rise(then, track);
        match self {
            Self::Kernel => rise(Track::KernelDrops) * per_datagram,
            Self::ClientQueue => {
                rise(Track::ClientQueue) * per_datagram + rise(Track::ClientMetrics)
            }
            Self::ClientWriter => rise(Track::ClientWriter) * per_datagram,
            Self::Client => rise(Track::ClientOther) * per_datagram,
            // At least the one that was cut in two.
            Self::Truncated => rise(Track::Truncated),
            Self::TooLong => rise(Track::TooLong),
            Self::Rejected => rise(Track::Rejected),
            Self::Conflict => rise(Track::Conflict),
            Self::Limited => rise(Track::Limited),
        }
    }
}

/// What was lost between two moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The time between them.
    pub seconds: f64,
    /// Lines that arrived.
    pub received: f64,
    /// Lines lost, by cause; those without a loss are left out.
    pub lost: Vec<(Cause, f64)>,
    /// The part of all lines, arrived or not, that was lost: from 0 to 1.
    pub ratio: f64,
}

impl Loss {
    /// What was lost between two moments.
    #[must_use]
    pub fn between(then: &TotalsAt, now: &TotalsAt) -> Self {
        let per_datagram = lines_per_datagram(now, then);
        let received = now.lines().saturating_sub(then.lines()) as f64;
        let parts = Cause::ALL.map(|cause| (cause, cause.lines(now, then, per_datagram)));
        let lost = parts.into_iter().filter(|(_, lines)| *lines > 0.0).collect();
        let mut told = Self { seconds: now.seconds_since(then), received, lost, ratio: 0.0 };
        told.ratio = Cause::ALL.map(|cause| told.ratio_of(cause)).iter().sum();
        told
    }

    /// All lines, whether they arrived or not.
    fn sent(&self) -> f64 {
        let missing = self.lost.iter().filter(|(cause, _)| !cause.has_arrived());
        self.received + missing.map(|(_, lines)| lines).sum::<f64>()
    }

    /// The part of all lines that was lost for a cause.
    #[must_use]
    pub fn ratio_of(&self, cause: Cause) -> f64 {
        let lines = self.lost.iter().find(|(known, _)| *known == cause).map_or(0.0, |lost| lost.1);
        lines / self.sent().max(1.0)
    }
}

/// How many lines a datagram held on average; at least one.
pub(super) fn lines_per_datagram(now: &TotalsAt, then: &TotalsAt) -> f64 {
    let datagrams = now.rise(then, Track::UdpDatagrams) + now.rise(then, Track::UnixDatagrams);
    let lines = now.lines().saturating_sub(then.lines()) as f64;
    (lines / datagrams.max(1.0)).max(1.0)
}

/// Datagrams that clients dropped without saying whether in their queue or at their socket.
pub(super) fn dropped_otherwise(clients: &Clients) -> u64 {
    let queue = clients.get(ClientStat::PacketsDroppedQueue);
    let writer = clients.get(ClientStat::PacketsDroppedWriter);
    clients.get(ClientStat::PacketsDropped).saturating_sub(queue.saturating_add(writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_sent_is_nothing_lost() {
        check(&[], &[], 0.0);
        check(&[(Track::Accepted, 100), (Track::Dropped, 100)], &[], 0.0);
    }

    #[test]
    fn lines_in_error_are_a_part_of_those_received() {
        check(
            &[
                (Track::Accepted, 80),
                (Track::Rejected, 10),
                (Track::Conflict, 5),
                (Track::Limited, 5),
            ],
            &[(Cause::Rejected, 10.0), (Cause::Conflict, 5.0), (Cause::Limited, 5.0)],
            0.2,
        );
    }

    #[test]
    fn a_lost_datagram_counts_as_many_lines_as_others_hold() {
        check(
            &[(Track::Accepted, 90), (Track::UdpDatagrams, 9), (Track::KernelDrops, 1)],
            &[(Cause::Kernel, 10.0)],
            0.1,
        );
        check(
            &[(Track::Accepted, 90), (Track::UnixDatagrams, 30), (Track::ClientWriter, 10)],
            &[(Cause::ClientWriter, 30.0)],
            0.25,
        );
        check(&[(Track::KernelDrops, 7)], &[(Cause::Kernel, 7.0)], 1.0);
    }

    #[test]
    fn what_clients_dropped_before_a_datagram_is_counted_as_it_is() {
        check(
            &[(Track::Accepted, 90), (Track::UdpDatagrams, 9), (Track::ClientMetrics, 10)],
            &[(Cause::ClientQueue, 10.0)],
            0.1,
        );
    }

    #[test]
    fn drops_for_an_unknown_reason_are_what_the_others_leave() {
        let clients = Clients::default();
        clients.take("packets_dropped", 10.0);
        clients.take("packets_dropped_queue", 3.0);
        clients.take("packets_dropped_writer", 2.0);
        assert_eq!(dropped_otherwise(&clients), 5);
    }

    #[track_caller]
    fn check(rises: &[(Track, u64)], parts: &[(Cause, f64)], ratio: f64) {
        let (mut then, mut now) = (TotalsAt::at(0), TotalsAt::at(300_000));
        for (track, rise) in rises {
            then.set(*track, 1000);
            now.set(*track, 1000 + rise);
        }
        let loss = Loss::between(&then, &now);
        assert_eq!(loss.lost, parts);
        assert!((loss.ratio - ratio).abs() < 1e-9, "{loss:?}");
    }
}
