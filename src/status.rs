//! How the server fares: rates over the last minutes, names by rate, what was lost and what to do.
//!
//! [`Watch`] takes down all totals every few seconds, which costs the same whether anybody looks or
//! not; everything else is worked out when somebody asks. Exposed by it:
//!
//! | metric | |
//! |---|---|
//! | `tallyd_loss_ratio` | estimated part of all lines of the last five minutes that was lost |
//! | `tallyd_loss_cause_ratio{cause}` | the same by cause |
//! | `tallyd_client_dropped_datagrams_total{cause}` | what DogStatsD clients say they dropped |
//! | `tallyd_receive_queue_bytes{listener}` | what waits in the kernel to be read |
//! | `tallyd_receive_queue_capacity_bytes{listener}` | what may wait there |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::aggregate::Registry;
use crate::expose::FamilyKind;
use crate::expose::own::OwnFamily;
use crate::net::KernelDrops;
use crate::state::Clock;
use crate::telemetry::Telemetry;
use crate::telemetry::insight::ClientStat;
use crate::telemetry::marks::Mark;

pub mod totals;
mod history;
pub mod names;
pub mod loss;
pub mod advice;
mod any;
pub mod cardinality;
pub mod lists;
pub mod facts;
pub mod kept;

use advice::Situation;
use history::History;
use loss::{Cause, Loss};
use names::Rates;
use totals::{TotalsAt, Track};

/// How often totals are taken down, in housekeeping's seconds.
const TICKS: u32 = 5;

/// The time over which loss is estimated.
pub const LOSS_WINDOW: Duration = Duration::from_mins(5);

/// The time over which rates are told.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What a server takes down of itself.
#[derive(Debug)]
pub struct Watch {
    telemetry: Arc<Telemetry>,
    registry: Arc<Registry>,
    drops: KernelDrops,
    clock: Clock,
    /// The same for this process alone.
    began: Clock,
    lanes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ticks: u32,
    history: History,
    names: names::History,
}

/// All rates of one moment.
#[derive(Debug)]
pub struct Now {
    /// The totals.
    pub totals: TotalsAt,
    /// The totals of some seconds ago, to tell rates by.
    pub before: TotalsAt,
    /// The rates of the last minutes.
    pub past: Past,
    /// What was lost.
    pub loss: Loss,
    /// What to do about it, the worst first.
    pub advice: Vec<advice::Advice>,
}

/// How totals went over the last minutes, for sparklines; the latest value comes last.
#[derive(Debug)]
pub struct Past(VecDeque<TotalsAt>);

impl Watch {
    /// Begins to watch; series' times are on `clock`.
    #[must_use]
    pub fn new(
        telemetry: &Arc<Telemetry>,
        registry: &Arc<Registry>,
        drops: &KernelDrops,
        (clock, lanes): (Clock, usize),
    ) -> Arc<Self> {
        let watch = Self {
            telemetry: Arc::clone(telemetry),
            registry: Arc::clone(registry),
            drops: drops.clone(),
            clock,
            began: Clock::begin(),
            lanes,
            state: Mutex::new(State {
                ticks: 0,
                history: History::default(),
                names: names::History::default(),
            }),
        };
        watch.state.lock().history.push(watch.totals());
        Arc::new(watch)
    }

    /// Called each second; takes everything down every few.
    pub fn tick(&self) {
        let mut state = self.state.lock();
        state.ticks += 1;
        if state.ticks.is_multiple_of(TICKS) {
            state.history.push(self.totals());
            state.names.push(self.now_millis(), &self.telemetry.marks());
        }
    }

    /// The totals, the rates and the losses of this moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let totals = self.totals();
        let state = self.state.lock();
        let before = state.history.before(totals.millis, RATE_WINDOW);
        let long_before = state.history.before(totals.millis, LOSS_WINDOW);
        let worst_drops = state.history.worst(Track::KernelDrops, LOSS_WINDOW);
        let past = Past(state.history.points().clone());
        drop(state);
        let loss = Loss::between(&long_before, &totals);
        let situation = self.situation(&totals, &long_before, worst_drops);
        let advice = advice::advise(&loss, &situation);
        Now { totals, before, past, loss, advice }
    }

    /// How many lines each rule and name had, and their rates.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let counts = self.telemetry.marks();
        let state = self.state.lock();
        state.names.rates(self.now_millis(), counts)
    }

    /// Lines of some marks over the last minutes, a sum for each few seconds, the latest last.
    #[must_use]
    pub fn sparkline(&self, marks: &[Mark]) -> Vec<f64> {
        self.state.lock().names.sparkline(marks)
    }

    /// What lanes have counted and told.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The listeners whose queues the kernel keeps.
    #[must_use]
    pub fn drops(&self) -> &KernelDrops {
        &self.drops
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The clock that the times of series are on; it may be older than the process.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A clock that began when the process did.
    #[must_use]
    pub fn began(&self) -> Clock {
        self.began
    }

    /// What the clock shows.
    #[must_use]
    pub fn now_millis(&self) -> u64 {
        self.clock.now_millis()
    }

    fn totals(&self) -> TotalsAt {
        TotalsAt::take(self.now_millis(), &self.telemetry, &self.registry, &self.drops)
    }

    fn situation(&self, now: &TotalsAt, then: &TotalsAt, worst_drops: u64) -> Situation {
        let seconds = now.seconds_since(then).max(1.0);
        let queues = self.drops.queues();
        let buffers = queues.iter().map(|queue| queue.capacity_bytes / queue.sockets.max(1));
        Situation {
            // The kernel reports twice what was asked for.
            buffer_bytes: buffers.min().unwrap_or_default() / 2,
            rmem_max_bytes: advice::rmem_max(),
            worst_drops,
            lanes: self.lanes,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpus_used: now.rise(then, Track::CpuMillis) / 1000.0 / seconds,
            lines_per_datagram: loss::lines_per_datagram(now, then),
            uses_unix: now.get(Track::UnixDatagrams) > 0,
        }
    }

    /// The metrics as of now, sorted by name.
    #[must_use]
    pub fn families(&self) -> Vec<OwnFamily> {
        let now = self.now();
        let loss = &now.loss;
        let causes = Cause::ALL.map(|cause| (label("cause", cause.as_str()), loss.ratio_of(cause)));
        let clients = &self.telemetry.insight.clients;
        let dropped = [
            ("queue", clients.get(ClientStat::PacketsDroppedQueue)),
            ("writer", clients.get(ClientStat::PacketsDroppedWriter)),
            ("other", loss::dropped_otherwise(clients)),
        ];
        let dropped = dropped.map(|(cause, n)| (label("cause", cause), n as f64));
        let queues = self.drops.queues();
        let per_listener = |value: fn(&crate::net::ReceiveQueue) -> u64| {
            let series = queues
                .iter()
                .map(|queue| (label("listener", &queue.listener), value(queue) as f64));
            series.collect()
        };
        let gauge = |name, help, series| OwnFamily { name, help, kind: FamilyKind::Gauge, series };
        let mut all = vec![
            OwnFamily {
                name: "tallyd_client_dropped_datagrams_total",
                help: "Datagrams that DogStatsD clients say they dropped, by cause.",
                kind: FamilyKind::Counter,
                series: dropped.into(),
            },
            gauge(
                "tallyd_loss_cause_ratio",
                "Estimated part of the lines of the last five minutes that was lost, by cause.",
                causes.into(),
            ),
            gauge(
                "tallyd_loss_ratio",
                "Estimated part of the lines of the last five minutes that was lost.",
                vec![(String::new(), loss.ratio)],
            ),
            gauge(
                "tallyd_receive_queue_bytes",
                "What waits in the kernel to be read, with the kernel's own bookkeeping.",
                per_listener(|queue| queue.queued_bytes),
            ),
            gauge(
                "tallyd_receive_queue_capacity_bytes",
                "What may wait in the kernel before it drops datagrams.",
                per_listener(|queue| queue.capacity_bytes),
            ),
        ];
        all.retain(|family| !family.series.is_empty());
        all
    }
}

fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}

impl Past {
    /// The rates a second of a total, one for each few seconds.
    #[must_use]
    pub fn rates(&self, track: Track) -> Vec<f64> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs.map(|(then, now)| now.rate(then, track)).collect()
    }

    /// The values of what is no total.
    #[must_use]
    pub fn values(&self, track: Track) -> Vec<f64> {
        self.0.iter().map(|point| point.get(track) as f64).collect()
    }
}

impl Now {
    /// How much a total rises in a second.
    #[must_use]
    pub fn rate(&self, track: Track) -> f64 {
        self.totals.rate(&self.before, track)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;
    use crate::expose::own;
    use crate::telemetry::{LineOutcome, Stat};

    #[test]
    fn every_metric_is_reserved_and_in_order() {
        let watch = watch(&Arc::default());
        let names: Vec<&str> = watch.families().iter().map(|family| family.name).collect();
        assert!(names.is_sorted() && names.iter().all(|name| own::NAMES.contains(name)));
    }

    #[test]
    fn rates_and_losses_are_those_since_the_last_minutes() {
        let telemetry = Arc::new(Telemetry::default());
        let mut lane = telemetry.lane();
        let watch = watch(&telemetry);
        lane.add(Stat::Outcome(LineOutcome::Accepted), 90);
        lane.add(Stat::Outcome(LineOutcome::Rejected), 10);
        let now = watch.now();
        assert!(now.rate(Track::Accepted) > 0.0);
        assert!((now.loss.ratio - 0.1).abs() < 1e-9, "{:?}", now.loss);
        for _ in 0..TICKS {
            watch.tick();
        }
        assert_eq!(watch.now().past.rates(Track::Accepted).len(), 1);
    }

    fn watch(telemetry: &Arc<Telemetry>) -> Arc<Watch> {
        let registry = Arc::new(Registry::new(Compat::Extended, []));
        Watch::new(telemetry, &registry, &KernelDrops::default(), (Clock::begin(), 1))
    }
}
