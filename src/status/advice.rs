//! What to do about a loss, with the figures of this machine in it.

use std::fs;

use super::loss::{Cause, Loss};
use crate::chart::figure::{Figure, Unit};

/// What the kernel charges for a datagram of up to about 1,400 bytes, its own bookkeeping included.
const DATAGRAM_BYTES: u64 = 2304;

/// No advice asks for more than this.
const MAX_BUFFER_BYTES: u64 = 1 << 30;

/// From here on a lane's core counts as busy.
const BUSY: f64 = 0.8;

/// What advice depends on besides the cause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// What each UDP socket may keep, in the measure of `--statsd.read-buffer`.
    pub buffer_bytes: u64,
    /// `net.core.rmem_max`, where it can be read.
    pub rmem_max_bytes: Option<u64>,
    /// Datagrams dropped in the worst five seconds.
    pub worst_drops: u64,
    /// Lanes there are.
    pub lanes: usize,
    /// CPUs the process may use.
    pub cpus: usize,
    /// CPUs it did use, on average.
    pub cpus_used: f64,
    /// Lines in a datagram, on average.
    pub lines_per_datagram: f64,
    /// Whether datagrams come by a Unix socket.
    pub uses_unix: bool,
}

/// What to do about one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The cause.
    pub cause: Cause,
    /// What to do, in whole sentences.
    pub text: String,
}

/// What to do about a loss, beginning with the cause that lost most.
#[must_use]
pub fn advise(loss: &Loss, situation: &Situation) -> Vec<Advice> {
    let mut causes = loss.lost.clone();
    causes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let texts = causes.into_iter().flat_map(|(cause, _)| {
        texts(cause, situation).into_iter().map(move |text| Advice { cause, text })
    });
    texts.collect()
}

/// The largest receive buffer that the kernel grants without privileges.
pub(super) fn rmem_max() -> Option<u64> {
    fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse().ok()
}

fn texts(cause: Cause, situation: &Situation) -> Vec<String> {
    let text = match cause {
        Cause::Kernel => return kernel(situation),
        Cause::ClientQueue => {
            "Clients filled their own queues faster than they could send: let them aggregate, raise \
             their queue or buffer size, or sample (`|@0.1`)."
        }
        Cause::ClientWriter if situation.uses_unix => {
            "Clients could not write to the Unix socket, whose queue was full: raise \
             `net.unix.max_dgram_qlen`, and the client's write timeout where it has one."
        }
        Cause::ClientWriter => {
            "Clients could not write to their sockets: look whether the address they send to is this \
             one, and raise their send buffers."
        }
        Cause::Client => {
            "Clients dropped datagrams and do not say where: newer versions of their libraries do. \
             Larger client buffers, aggregation or sampling help in either case."
        }
        Cause::Truncated => {
            "Clients send datagrams of more than 65,535 bytes: set their largest datagram to 8192 \
             bytes for Unix sockets, 1432 for UDP."
        }
        Cause::TooLong => {
            "Lines of more than 4,095 bytes close their TCP connection: look for a client that \
             forgets newlines, or sends something that is not StatsD."
        }
        Cause::Rejected => {
            "Clients send lines that are not StatsD: /api/v1/errors has the last ones, with their \
             senders and what is wrong with them."
        }
        Cause::Conflict => {
            "Some names come as two types: /api/v1/conflicts says who was first. Give one of them \
             another name, by `match_metric_type` in a mapping rule or in the client."
        }
        Cause::Limited => {
            "Limits kept lines out: /api/v1/cardinality has the families and labels that grow. Drop \
             the label, or raise the limit."
        }
    };
    vec![text.to_owned()]
}

/// A full buffer means bursts, or a lane that cannot keep up at all.
fn kernel(situation: &Situation) -> Vec<String> {
    let mut texts = Vec::new();
    let wanted = wanted_buffer(situation);
    let size = |bytes: u64| Figure(bytes as f64, Unit::Bytes);
    let is_busy = situation.cpus_used >= BUSY * situation.lanes as f64;
    if wanted > situation.buffer_bytes {
        let has = size(situation.buffer_bytes);
        let wants = size(wanted);
        texts.push(if situation.rmem_max_bytes.is_some_and(|max| max >= wanted) {
            format!(
                "The kernel dropped datagrams because a receive buffer of {has} was full. Start with \
                 --statsd.read-buffer={wanted} ({wants}), which net.core.rmem_max allows."
            )
        } else {
            format!(
                "The kernel dropped datagrams because a receive buffer of {has} was full. Raise \
                 net.core.rmem_max to {wanted} ({wants}; `sysctl -w net.core.rmem_max={wanted}`), and \
                 start with --statsd.read-buffer={wanted}."
            )
        });
    }
    if is_busy && situation.lanes < situation.cpus {
        texts.push(format!(
            "The lanes are busy all the time: use more of them, --lanes={}.",
            (situation.lanes * 2).min(situation.cpus)
        ));
    } else if is_busy {
        texts.push(
            "All CPUs that this process may use are busy: give it more, or have clients aggregate or \
             sample (`|@0.1`)."
                .to_owned(),
        );
    }
    if situation.lines_per_datagram < 2.0 {
        texts.push(
            "Nearly every datagram holds one line: clients that put several into one (up to 1432 \
             bytes) need a fraction of the buffer and of the CPU."
                .to_owned(),
        );
    }
    if texts.is_empty() {
        texts.push(
            "The kernel dropped datagrams although the buffer is as large as can be: have clients \
             aggregate, or send by a Unix socket, which makes them wait instead."
                .to_owned(),
        );
    }
    texts
}

/// The buffer that would have held the worst five seconds, as a power of two. The kernel keeps twice
/// what is asked for.
fn wanted_buffer(situation: &Situation) -> u64 {
    let lost = situation.worst_drops.saturating_mul(DATAGRAM_BYTES / 2);
    let wanted = situation.buffer_bytes.saturating_add(lost).max(1 << 20);
    wanted
        .checked_next_power_of_two()
        .map_or(MAX_BUFFER_BYTES, |wanted| wanted.min(MAX_BUFFER_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation = Situation {
        buffer_bytes: 212_992,
        rmem_max_bytes: Some(212_992),
        worst_drops: 10_000,
        lanes: 2,
        cpus: 4,
        cpus_used: 0.1,
        lines_per_datagram: 20.0,
        uses_unix: false,
    };

    #[test]
    fn a_full_buffer_is_to_be_raised_to_what_the_burst_needed() {
        check(Cause::Kernel, &CALM, &["Raise net.core.rmem_max to 16777216 (16 MiB;"]);
        let roomy = Situation { rmem_max_bytes: Some(32 << 20), ..CALM };
        check(Cause::Kernel, &roomy, &["Start with --statsd.read-buffer=16777216 (16 MiB), which"]);
        let unknown = Situation { rmem_max_bytes: None, worst_drops: 3, ..CALM };
        check(Cause::Kernel, &unknown, &["Raise net.core.rmem_max to 1048576 (1 MiB;"]);
        let huge = Situation { worst_drops: u64::MAX, buffer_bytes: 1 << 30, ..CALM };
        check(Cause::Kernel, &huge, &["although the buffer is as large as can be"]);
    }

    #[test]
    fn lanes_that_are_always_busy_want_company() {
        let full = Situation { buffer_bytes: 1 << 30, cpus_used: 1.9, ..CALM };
        check(Cause::Kernel, &full, &["use more of them, --lanes=4."]);
        let out = Situation { cpus: 2, ..full.clone() };
        check(Cause::Kernel, &out, &["All CPUs that this process may use are busy"]);
        let single = Situation { lines_per_datagram: 1.0, ..full };
        check(Cause::Kernel, &single, &["--lanes=4", "holds one line"]);
    }

    #[test]
    fn every_cause_has_its_advice() {
        check(Cause::ClientQueue, &CALM, &["their own queues"]);
        check(Cause::ClientWriter, &CALM, &["is this one"]);
        let unix = Situation { uses_unix: true, ..CALM };
        check(Cause::ClientWriter, &unix, &["net.unix.max_dgram_qlen"]);
        check(Cause::Client, &CALM, &["newer versions"]);
        check(Cause::Truncated, &CALM, &["8192 bytes for Unix sockets"]);
        check(Cause::TooLong, &CALM, &["forgets newlines"]);
        check(Cause::Rejected, &CALM, &["/api/v1/errors"]);
        check(Cause::Conflict, &CALM, &["match_metric_type"]);
        check(Cause::Limited, &CALM, &["/api/v1/cardinality"]);
    }

    #[test]
    fn the_worst_cause_comes_first() {
        let parts = vec![(Cause::TooLong, 1.0), (Cause::Rejected, 5.0)];
        let loss = Loss { seconds: 1.0, received: 10.0, lost: parts, ratio: 0.5 };
        let causes: Vec<_> = advise(&loss, &CALM).iter().map(|advice| advice.cause).collect();
        assert_eq!(causes, [Cause::Rejected, Cause::TooLong]);
    }

    #[track_caller]
    fn check(cause: Cause, situation: &Situation, expected: &[&str]) {
        let found = texts(cause, situation);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }
}
