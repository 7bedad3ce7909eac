//! What must be done each second: idle series, retired cells, the kernel's count of drops, workers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::aggregate::Registry;
use crate::aggregate::expiry::{Proposal, Retired};
use crate::ingest::Order;
use crate::multiproc::Multiproc;
use crate::net::{KernelDrops, Orders};
use crate::saturation::Saturation;
use crate::status::Watch;
use crate::workers::Roster;

/// The reference looks for idle series as often.
const INTERVAL: Duration = Duration::from_secs(1);

/// The thread's state.
#[derive(Debug)]
pub struct Housekeeping {
    registry: Arc<Registry>,
    orders: Orders,
    drops: KernelDrops,
    watch: Arc<Watch>,
    workers: Option<Arc<Roster>>,
    multiproc: Option<Arc<Multiproc>>,
    saturation: Option<Arc<Saturation>>,
    start: Instant,
    /// Cells that have left the page and wait for scrapes to end.
    retired: VecDeque<Retired>,
}

impl Housekeeping {
    /// Housekeeping for the series of `registry`, agreed on with the lanes behind `orders`; the
    /// process' clock began at `start`.
    #[must_use]
    pub fn new(
        registry: &Arc<Registry>,
        orders: &Orders,
        (drops, watch): (&KernelDrops, &Arc<Watch>),
        start: Instant,
    ) -> Self {
        Self {
            registry: Arc::clone(registry),
            orders: orders.clone(),
            drops: drops.clone(),
            watch: Arc::clone(watch),
            workers: None,
            multiproc: None,
            saturation: None,
            start,
            retired: VecDeque::new(),
        }
    }

    /// Looks at workers, too, and at what they leave in files.
    #[must_use]
    pub fn with_workers(
        self,
        workers: Option<Arc<Roster>>,
        multiproc: Option<Arc<Multiproc>>,
    ) -> Self {
        Self { workers, multiproc, ..self }
    }

    /// Looks at servers of others, too.
    #[must_use]
    pub fn with_servers(mut self, saturation: Option<Arc<Saturation>>) -> Self {
        self.saturation = saturation;
        self
    }

    /// Works until the other end of `stop` is gone.
    pub fn run(mut self, stop: &mpsc::Receiver<()>) {
        while stop.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
            // The kernel's counter has 32 bits; it must not wrap around unseen.
            drop(self.drops.read());
            self.expire();
            self.reclaim();
            self.registry.refresh();
            self.watch.tick();
            self.look_at_workers();
            if let Some(saturation) = &self.saturation {
                saturation.tick(&self.registry, self.now_millis());
            }
        }
    }

    fn look_at_workers(&self) {
        let Some(workers) = &self.workers else { return };
        if let Some(multiproc) = &self.multiproc {
            multiproc.tick();
            for (role, pid) in multiproc.living() {
                workers.seen(&role, pid);
            }
            if workers.wants_table() {
                workers.take_table(multiproc.observed());
            }
        }
        workers.look();
    }

    /// Removes the series that no lane has seen a sample of for longer than their ttl.
    fn expire(&mut self) {
        let mut is_freed = self.registry.take_room_again();
        if let Some(proposal) = self.registry.propose_expiry(self.now_millis()) {
            let proposal = Arc::new(proposal);
            let vetoed = self.ask_lanes(&proposal);
            is_freed |= self.registry.end_expiry(&proposal, &vetoed);
        }
        if is_freed {
            self.orders.send_to_all(|_| Order::ForgetLapsing);
        }
        self.retired.extend(self.registry.take_retired());
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ask_lanes(&self, proposal: &Arc<Proposal>) -> Vec<usize> {
        let (vetoes, answers) = mpsc::channel();
        let order = Order::Expire { proposal: Arc::clone(proposal), vetoes };
        self.orders.send_to_all(|_| order.clone());
        drop(order);
        answers.iter().flatten().collect()
    }

    /// Takes cells back in the order in which they retired, as far as no scrape is in the way.
    fn reclaim(&mut self) {
        while let Some(retired) = self.retired.pop_front() {
            let reclaim = match self.registry.reclaim(retired) {
                Ok(reclaim) => Arc::new(reclaim),
                Err(retired) => return self.retired.push_front(retired),
            };
            let (done, all_done) = mpsc::channel();
            let order = Order::Reclaim { reclaim: Arc::clone(&reclaim), done };
            self.orders.send_to_all(|_| order.clone());
            drop(order);
            // Every lane drops its end when it has emptied the cells.
            all_done.iter().for_each(drop);
            self.registry.free(&reclaim);
        }
    }
}
