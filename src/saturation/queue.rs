//! Accept queues: how many connections wait at listening sockets, how many may, how many found no
//! room.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

use super::rising::Rising;
use super::socket::{self, Families, Listener};
use super::target::{Place, Target, TargetError};
use super::{Backlog, Facts, Source};

/// For how long the longest queue is remembered.
const MEMORY: Duration = Duration::from_mins(1);

/// Listening sockets that are watched.
#[derive(Debug)]
pub(super) struct Queues {
    watched: Vec<Watched>,
    families: Families,
    seen: Mutex<Seen>,
}

/// A place, and the addresses that its host has had at the start.
#[derive(Debug)]
struct Watched {
    target: Target,
    addresses: Vec<IpAddr>,
}

/// What looks have found.
#[derive(Debug)]
struct Seen {
    /// In the order of the places.
    queues: Vec<Queue>,
    namespace_drops: Option<u64>,
    /// Whether the kernel tells drops for each socket.
    tells_each: bool,
    /// Whether somebody was told that the kernel does not tell all.
    is_told: bool,
}

/// What is known of one place.
#[derive(Debug, Default)]
struct Queue {
    /// None where it cannot be told.
    is_up: Option<bool>,
    backlog: Backlog,
    drops: Drops,
    recent: Recent,
    failures: u64,
}

impl Queues {
    /// Watches these places.
    pub(super) fn new(targets: &[Target]) -> Result<Self, TargetError> {
        let watch = |target: &Target| {
            let addresses = target.addresses()?;
            Ok(Watched { target: target.clone(), addresses })
        };
        let watched: Vec<Watched> =
            targets.iter().map(watch).collect::<Result<_, TargetError>>()?;
        let is_tcp = |watched: &Watched| matches!(watched.target.place, Place::Tcp { .. });
        let families =
            Families { tcp: watched.iter().any(is_tcp), unix: !watched.iter().all(is_tcp) };
        let queues = watched.iter().map(|_| Queue::default()).collect();
        let seen = Seen { queues, namespace_drops: None, tells_each: true, is_told: false };
        Ok(Self { watched, families, seen: Mutex::new(seen) })
    }

    /// The places.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.watched.iter().map(|watched| &watched.target)
    }

    /// Looks at all of them.
    pub(super) fn look(&self, now: Instant) {
        if self.watched.is_empty() {
            return;
        }
        let mut seen = self.seen.lock();
        let (found, missing) = socket::look(self.families);
        if let Some(error) = missing
            && !std::mem::replace(&mut seen.is_told, true)
        {
            warn!(%error, "sock_diag cannot be asked about listening sockets; limits and drops are not known.");
        }
        let before = std::mem::replace(&mut seen.namespace_drops, found.namespace_drops);
        let in_all = found.namespace_drops.map(|now| now.saturating_sub(before.unwrap_or(now)));
        seen.tells_each = !found.tcp.iter().flatten().any(|listener| listener.drops.is_none());
        for (watched, queue) in self.watched.iter().zip(&mut seen.queues) {
            let listeners = match watched.target.place {
                Place::Tcp { .. } => &found.tcp,
                Place::File(_) | Place::Abstract(_) => &found.unix,
            };
            let Some(listeners) = listeners else {
                queue.cannot_be_told();
                continue;
            };
            let reached = socket::reached(&watched.target.place, &watched.addresses, listeners);
            queue.take(&reached, in_all, now);
        }
    }

    /// Looks again and says what is known.
    pub(super) fn facts(&self, now: Instant) -> Vec<Facts> {
        self.look(now);
        let seen = self.seen.lock();
        let facts = |(watched, queue): (&Watched, &Queue)| Facts {
            is_up: queue.is_up,
            backlog: queue.backlog,
            failures: vec![("unreadable", queue.failures)],
            ..Facts::of_target(Source::Socket, &watched.target)
        };
        self.watched.iter().zip(&seen.queues).map(facts).collect()
    }

    /// What the kernel dropped in the whole namespace, where it does not tell for each socket.
    pub(super) fn listen_drops(&self) -> Option<u64> {
        let seen = self.seen.lock();
        seen.namespace_drops.filter(|_| !seen.tells_each)
    }
}

impl Queue {
    fn cannot_be_told(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.is_up = None;
        self.backlog = Backlog::default();
    }

    /// Takes in a look, and what was dropped in the whole namespace since the one before.
    fn take(&mut self, listeners: &[&Listener], in_all: Option<u64>, now: Instant) {
        // Counted also where nobody listens, so that a server that comes back adds to what there was.
        let has_drops = in_all.is_some() && listeners.iter().any(|one| one.drops.is_some());
        let drops = listeners.iter().filter_map(|one| Some((one.id, u64::from(one.drops?))));
        let drops_total = self.drops.take(drops, in_all.unwrap_or(0));
        self.is_up = Some(!listeners.is_empty());
        self.backlog = Backlog::default();
        if listeners.is_empty() {
            return;
        }
        let sum = |part: &dyn Fn(&Listener) -> Option<u32>| -> Option<f64> {
            listeners.iter().map(|one| part(one).map(f64::from)).sum()
        };
        let length: f64 = listeners.iter().map(|one| f64::from(one.length)).sum();
        let fill = |one: &&Listener| Some(f64::from(one.length) / f64::from(one.limit?.max(1)));
        let fill = listeners.iter().map(fill).try_fold(0.0, |most: f64, one| Some(most.max(one?)));
        self.recent.add(now, (length, fill.unwrap_or(0.0)));
        let (longest, fullest) = self.recent.most();
        self.backlog = Backlog {
            length: Some(length),
            longest: Some(longest),
            limit: sum(&|one| one.limit),
            fill_ratio: fill.map(|_| fullest),
            drops_total: has_drops.then_some(drops_total),
        };
    }
}

/// Connections that found no room at a place.
///
/// A socket's own counter has other drops as well: with `TCP_DEFER_ACCEPT`, which uWSGI sets, one for
/// each connection. `ListenDrops` has nothing but lack of room, but of all sockets. So what
/// counts is what both have seen.
#[derive(Debug, Default)]
struct Drops {
    total: u64,
    /// What the sockets have counted.
    sockets: Rising<u64>,
    /// That at the last look.
    before: Option<u64>,
    /// What the namespace was ahead at the last look, which is told of the socket at the next.
    spare: u64,
}

impl Drops {
    fn take(&mut self, sockets: impl IntoIterator<Item = (u64, u64)>, in_all: u64) -> u64 {
        let now = self.sockets.take(sockets);
        let here = now - self.before.replace(now).unwrap_or(now);
        let possible = in_all.saturating_add(self.spare);
        let counted = here.min(possible);
        self.spare = (possible - counted).min(in_all);
        self.total = self.total.saturating_add(counted);
        self.total
    }
}

/// The most of the last minute: of the length of a queue, and of how full its fullest socket was.
#[derive(Debug, Default)]
struct Recent {
    /// When, and the most of the second that began then.
    seconds: VecDeque<(Instant, (f64, f64))>,
}

impl Recent {
    fn add(&mut self, now: Instant, (length, fill): (f64, f64)) {
        while self.seconds.front().is_some_and(|(begin, _)| now.duration_since(*begin) >= MEMORY) {
            self.seconds.pop_front();
        }
        match self.seconds.back_mut() {
            Some((begin, most)) if now.duration_since(*begin) < Duration::from_secs(1) => {
                *most = (most.0.max(length), most.1.max(fill));
            }
            _ => self.seconds.push_back((now, (length, fill))),
        }
    }

    fn most(&self) -> (f64, f64) {
        let more = |most: (f64, f64), one: &(Instant, (f64, f64))| {
            (most.0.max(one.1.0), most.1.max(one.1.1))
        };
        self.seconds.iter().fold((0.0, 0.0), more)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::saturation::socket::Bound;

    #[test]
    fn sockets_of_one_place_are_added_up_and_the_fullest_counts() {
        check(
            &[&[(1, 4, Some(8), Some(1)), (2, 0, Some(8), Some(2))]],
            (4.0, 4.0, Some(16.0), Some(0.5), Some(0)),
        );
        check(&[&[(1, 9, Some(8), Some(0))]], (9.0, 9.0, Some(8.0), Some(1.125), Some(0)));
        check(&[&[(1, 2, Some(0), Some(0))]], (2.0, 2.0, Some(0.0), Some(2.0), Some(0)));
    }

    #[test]
    fn what_the_kernel_does_not_say_is_left_out() {
        check(&[&[(1, 4, None, None)]], (4.0, 4.0, None, None, None));
    }

    #[test]
    fn the_longest_queue_of_a_minute_is_remembered() {
        let look = |length| [(1, length, Some(8), Some(0))];
        let looks = [look(8), look(1), look(2)];
        let looks: Vec<&[_]> = looks.iter().map(|look| &look[..]).collect();
        check(&looks, (2.0, 8.0, Some(8.0), Some(1.0), Some(0)));
        let many = [vec![look(8)], vec![look(1); 60]].concat();
        let many: Vec<&[_]> = many.iter().map(|look| &look[..]).collect();
        check(&many, (1.0, 1.0, Some(8.0), Some(0.125), Some(0)));
    }

    #[test]
    fn drops_are_what_socket_and_namespace_have_both_seen() {
        // Drops of the sockets so far, and of the namespace since the last look.
        check_drops(&[(&[(1, 7)], 0), (&[(1, 9)], 2)], 2);
        check_drops(&[(&[(1, 7)], 0), (&[(1, 90)], 0), (&[(1, 95)], 3)], 3);
        check_drops(&[(&[(1, 7)], 0), (&[(1, 7)], 4)], 0);
    }

    #[test]
    fn a_drop_between_two_reads_is_seen_at_the_next_look() {
        check_drops(&[(&[(1, 0)], 0), (&[(1, 0)], 1), (&[(1, 1)], 0)], 1);
        check_drops(&[(&[(1, 0)], 0), (&[(1, 0)], 1), (&[(1, 0)], 0), (&[(1, 1)], 0)], 0);
    }

    #[test]
    fn drops_outlive_the_socket() {
        check_drops(&[(&[(1, 0)], 0), (&[(1, 5)], 5), (&[], 0), (&[(2, 1)], 1)], 6);
    }

    #[track_caller]
    fn check_drops(looks: &[(&[(u64, u64)], u64)], expected: u64) {
        let mut drops = Drops::default();
        let totals = looks.iter().map(|(sockets, in_all)| drops.take(sockets.to_vec(), *in_all));
        assert_eq!(totals.last(), Some(expected));
    }

    #[test]
    fn nobody_there_is_no_empty_queue() {
        let mut queue = Queue::default();
        queue.take(&[&listener((1, 3, Some(8), Some(0)))], Some(0), Instant::now());
        queue.take(&[], Some(0), Instant::now());
        assert_eq!((queue.is_up, queue.backlog), (Some(false), Backlog::default()));
        queue.cannot_be_told();
        assert_eq!((queue.is_up, queue.failures), (None, 1));
    }

    /// Id, length, limit, drops.
    type Told = (u64, u32, Option<u32>, Option<u32>);

    fn listener((id, length, limit, drops): Told) -> Listener {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Listener {
            bound: Bound::Tcp { address, port: 80, only_v6: false },
            length,
            limit,
            drops,
            id,
        }
    }

    /// One look a second; length, longest, limit, fill ratio and drops after the last.
    #[track_caller]
    fn check(looks: &[&[Told]], expected: (f64, f64, Option<f64>, Option<f64>, Option<u64>)) {
        let mut queue = Queue::default();
        let mut now = Instant::now();
        for look in looks {
            let listeners: Vec<Listener> = look.iter().copied().map(listener).collect();
            queue.take(&listeners.iter().collect::<Vec<_>>(), Some(9), now);
            now += Duration::from_secs(1);
        }
        let (length, longest, limit, fill_ratio, drops_total) = expected;
        let (length, longest) = (Some(length), Some(longest));
        assert_eq!(queue.backlog, Backlog { length, longest, limit, fill_ratio, drops_total });
    }
}
