//! The threads that send.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};

use super::client::{BATCH, Batch, Client, Datagrams, Stream};
use super::error::BenchError;
use super::pacing::{Clock, Due};
use super::payload::{Datagram, FRESH_DIGITS, Payload, Tally};
use super::plan::{Extent, Pace, Plan};

/// Datagrams that a stream writes at once.
const STREAM_BATCH: usize = 16;
/// Refusals in a row after which the target is taken to be gone.
const MAX_REFUSALS: u32 = 10_000;
/// How long to wait for room in the kernel.
const REFUSED_PAUSE: Duration = Duration::from_micros(50);
/// How long a server may take nothing before a run is given up.
const MAX_STALL: Duration = Duration::from_secs(30);
/// Ever-new names that a thread may use, so that those of two threads differ; two of the digits of a
/// name are left for the threads.
const FRESH_NAMES_A_THREAD: u64 = 10_000_000_000;

/// What all threads sent so far, for those who look on.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) metrics: AtomicU64,
    /// Set by whoever wants the sending to end early.
    pub(super) stop: AtomicBool,
}

/// What one or all threads sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) tally: Tally,
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
    pub(super) cpu_seconds: f64,
    pub(super) lag_max: Duration,
    /// Which datagram would have been the next; of several threads, the last one's.
    pub(super) next: usize,
}

impl Sent {
    fn add(&mut self, other: &Self) {
        self.tally += other.tally;
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.cpu_seconds += other.cpu_seconds;
        self.lag_max = self.lag_max.max(other.lag_max);
        self.next = other.next;
    }

    fn datagram(&mut self, datagram: &Datagram) {
        self.tally += datagram.tally();
        self.datagrams += 1;
        self.bytes += datagram.range().len() as u64;
    }
}

/// All clients of a plan, connected.
#[derive(Debug)]
pub(super) struct Senders<'p> {
    plan: &'p Plan,
    clients: Vec<Vec<Client>>,
}

impl<'p> Senders<'p> {
    /// Connects all clients, so that a server that is not there is found before the clock starts.
    pub(super) fn connect(plan: &'p Plan) -> Result<Self, BenchError> {
        let threads = plan.threads.clamp(1, plan.clients.max(1));
        let mut clients: Vec<Vec<Client>> = (0..threads).map(|_| Vec::new()).collect();
        for client in 0..plan.clients.max(1) {
            let connected = Client::connect(&plan.target).map_err(|source| {
                BenchError::Connect { target: plan.target.to_string(), source }
            })?;
            if let Some(of_thread) = clients.get_mut(client % threads) {
                of_thread.push(connected);
            }
        }
        Ok(Self { plan, clients })
    }

    /// Sends until the plan is done; returns what was sent and how long that took.
    pub(super) fn send(self, counters: &Counters) -> Result<(Sent, Duration), BenchError> {
        let threads = self.clients.len();
        let begin = Instant::now();
        let plan = self.plan;
        let results: Vec<Result<Sent, BenchError>> = thread::scope(|scope| {
            let spawned: Vec<_> = self
                .clients
                .into_iter()
                .enumerate()
                .map(|(number, clients)| {
                    let share = Share { number, threads, begin };
                    thread::Builder::new().name(format!("send-{number}")).spawn_scoped(
                        scope,
                        move || {
                            let result = Sender::new(plan, share, clients, counters).run();
                            if result.is_err() {
                                // The others would go on for nothing.
                                counters.stop.store(true, Ordering::Relaxed);
                            }
                            result
                        },
                    )
                })
                .collect();
            spawned.into_iter().map(join).collect()
        });
        let seconds = begin.elapsed();
        let mut all = Sent::default();
        for result in results {
            all.add(&result?);
        }
        Ok((all, seconds))
    }
}

fn join(
    handle: io::Result<thread::ScopedJoinHandle<'_, Result<Sent, BenchError>>>,
) -> Result<Sent, BenchError> {
    let handle = handle.map_err(|error| BenchError::System("cannot start a thread", error))?;
    handle.join().unwrap_or_else(|_| {
        Err(BenchError::System("a sending thread ended", io::ErrorKind::Other.into()))
    })
}

/// One thread's part of a run.
#[derive(Clone, Copy, Debug)]
struct Share {
    number: usize,
    threads: usize,
    begin: Instant,
}

#[derive(Debug)]
struct Sender<'p> {
    plan: &'p Plan,
    payload: &'p Payload,
    /// The thread's own copy where it writes numbers into it, everybody's otherwise.
    bytes: Cow<'p, [u8]>,
    clients: Vec<Client>,
    batch: Batch,
    counters: &'p Counters,
    clock: Clock,
    begin: Instant,
    /// Metrics after which it is done.
    limit: u64,
    metrics_per_datagram: f64,
    next_name: u64,
    refusals: u32,
    sent: Sent,
}

impl<'p> Sender<'p> {
    fn new(plan: &'p Plan, share: Share, clients: Vec<Client>, counters: &'p Counters) -> Self {
        let payload: &Payload = &plan.payload;
        let mut bytes = Cow::Borrowed(payload.bytes.as_slice());
        if payload.has_fresh_names() {
            bytes.to_mut();
        }
        let threads = share.threads as u64;
        let limit = match plan.extent {
            Extent::Duration(_) => u64::MAX,
            Extent::Metrics(metrics) => {
                metrics / threads + u64::from((share.number as u64) < metrics % threads)
            }
        };
        let pace = match plan.pace {
            Pace::Unbounded => Pace::Unbounded,
            Pace::Even(rate) => Pace::Even(rate / threads as f64),
            Pace::Bursts { rate, every } => Pace::Bursts { rate: rate / threads as f64, every },
        };
        let next = payload.datagrams.len() * share.number / share.threads;
        Self {
            plan,
            payload,
            bytes,
            clients,
            batch: Batch::new(),
            counters,
            clock: Clock::new(pace, share.begin),
            begin: share.begin,
            limit,
            metrics_per_datagram: payload.metrics_per_datagram(),
            next_name: share.number as u64 * FRESH_NAMES_A_THREAD,
            refusals: 0,
            sent: Sent { next, ..Sent::default() },
        }
    }

    fn run(mut self) -> Result<Sent, BenchError> {
        // Best effort: with the default slack sleeps are longer by 50 µs.
        set_timerslack(1).ok();
        let mut clients = std::mem::take(&mut self.clients);
        'run: loop {
            for client in &mut clients {
                let now = Instant::now();
                if self.is_over(now) {
                    break 'run;
                }
                let room = self.limit - self.sent.tally.total();
                match self.clock.due(self.sent.tally.total(), now) {
                    Due::Wait(pause) => thread::sleep(pause),
                    Due::Send(due) => self.send(client, due.min(room))?,
                }
            }
        }
        self.sent.cpu_seconds = thread_cpu_seconds();
        self.sent.lag_max = self.clock.lag_max();
        Ok(self.sent)
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_late = match self.plan.extent {
            Extent::Duration(duration) => now.saturating_duration_since(self.begin) >= duration,
            Extent::Metrics(_) => false,
        };
        is_late
            || self.sent.tally.total() >= self.limit
            // Relaxed: nothing else is read because of it.
            || self.counters.stop.load(Ordering::Relaxed)
    }

    /// Sends at least one datagram, and about as many metrics as are due.
    fn send(&mut self, client: &mut Client, due: u64) -> Result<(), BenchError> {
        let batch = match client {
            Client::Datagrams(_) => BATCH,
            Client::Stream(_) => STREAM_BATCH,
        };
        let before = self.sent.tally.total();
        let first = self.sent.next;
        let wanted = self.batch_length(due, batch);
        let payload = self.payload;
        let datagrams = payload.datagrams.get(first..first + wanted).unwrap_or_default();
        self.write_fresh_names(datagrams);
        let taken = match client {
            Client::Datagrams(client) => self.send_datagrams(client, datagrams)?,
            Client::Stream(client) => self.write_stream(client, datagrams)?,
        };
        for datagram in datagrams.iter().take(taken) {
            self.sent.datagram(datagram);
        }
        self.sent.next = (first + taken) % payload.datagrams.len().max(1);
        let metrics = self.sent.tally.total() - before;
        // Relaxed: whoever looks on may see it late.
        self.counters.metrics.fetch_add(metrics, Ordering::Relaxed);
        Ok(())
    }

    /// How many datagrams to send: what is due, without running over the payload's end.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and neither number is negative"
    )]
    fn batch_length(&self, due: u64, batch: usize) -> usize {
        let due = (due as f64 / self.metrics_per_datagram).ceil() as usize;
        let left = self.payload.datagrams.len() - self.sent.next;
        due.clamp(1, batch).min(left)
    }

    /// Gives every ever-new name of these datagrams a number that none had before.
    fn write_fresh_names(&mut self, datagrams: &[Datagram]) {
        let payload = self.payload;
        for place in datagrams.iter().flat_map(|datagram| payload.fresh_places(datagram)) {
            let start = *place as usize;
            let Some(mut digits) = self.bytes.to_mut().get_mut(start..start + FRESH_DIGITS) else {
                continue;
            };
            // The number has at most as many digits as there is room for.
            drop(write!(digits, "{:0width$}", self.next_name, width = FRESH_DIGITS));
            self.next_name += 1;
        }
    }

    fn send_datagrams(
        &mut self,
        client: &Datagrams,
        datagrams: &[Datagram],
    ) -> Result<usize, BenchError> {
        let bytes = &self.bytes;
        let batch = datagrams.iter().filter_map(|datagram| bytes.get(datagram.range()));
        let error = match self.batch.send(client, batch) {
            Ok(taken) => {
                self.refusals = 0;
                return Ok(taken);
            }
            Err(error) => error,
        };
        match error {
            // A Unix socket whose reader is slow; the time limit is looked at.
            Errno::EAGAIN | Errno::EINTR => Ok(0),
            Errno::ENOBUFS | Errno::ECONNREFUSED if self.refusals < MAX_REFUSALS => {
                self.refusals += 1;
                self.sent.refused += 1;
                thread::sleep(REFUSED_PAUSE);
                Ok(0)
            }
            _ => Err(self.send_error(error.into())),
        }
    }

    /// Writes whole datagrams as lines. A line that was begun is finished, also after the end of
    /// the run, unless the server takes nothing at all.
    fn write_stream(
        &self,
        client: &mut Stream,
        datagrams: &[Datagram],
    ) -> Result<usize, BenchError> {
        let (Some(first), Some(last)) = (datagrams.first(), datagrams.last()) else { return Ok(0) };
        let range = first.range_with_newline().start..last.range_with_newline().end;
        let mut rest = self.bytes.get(range).unwrap_or_default();
        let mut last_taken = Instant::now();
        while !rest.is_empty() {
            let written = client.write(rest).map_err(|error| self.send_error(error))?;
            rest = rest.get(written..).unwrap_or_default();
            if written > 0 {
                last_taken = Instant::now();
            } else if last_taken.elapsed() > MAX_STALL {
                let target = self.plan.target.to_string();
                return Err(BenchError::Stalled { target, waited: MAX_STALL });
            }
        }
        Ok(datagrams.len())
    }

    fn send_error(&self, source: io::Error) -> BenchError {
        BenchError::Send { target: self.plan.target.to_string(), source }
    }
}

/// CPU time of the calling thread so far.
pub(super) fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(0.0, |time| Duration::from(time).as_secs_f64())
}
