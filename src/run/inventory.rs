//! What the server exposes at the moment, looked up no more often than is cheap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::reload::Reloader;
use crate::aggregate::Registry;
use crate::grafana::Inventory;

/// A look at all series is kept for so many times as long as it took: whoever asks all the time
/// occupies a twentieth of a thread, and where there are few series the answer is always fresh.
const KEPT_FOR: u32 = 20;

/// Where inventories come from.
#[derive(Debug)]
pub struct Inventories {
    registry: Arc<Registry>,
    reloader: Arc<Reloader>,
    start: Instant,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    inventory: Arc<Inventory>,
    end: Instant,
}

impl Inventories {
    /// Inventories of a registry, under the rules in force; the process' clock began at `start`.
    #[must_use]
    pub fn new(registry: &Arc<Registry>, reloader: &Arc<Reloader>, start: Instant) -> Self {
        let (registry, reloader) = (Arc::clone(registry), Arc::clone(reloader));
        Self { registry, reloader, start, last: Mutex::new(None) }
    }

    /// What is exposed now or was a moment ago. May take a second where there are a million series, so
    /// it is nothing for a lane or for a thread that others wait for.
    #[must_use]
    pub fn get(&self) -> Arc<Inventory> {
        // Held over the look, so that all who ask meanwhile get the same one.
        let mut last = self.last.lock();
        let begin = Instant::now();
        if let Some(last) = last.as_ref().filter(|last| begin < last.end) {
            return Arc::clone(&last.inventory);
        }
        let now_millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let reading = self.registry.read(now_millis);
        let inventory = Arc::new(Inventory::of_reading(&reading, &self.reloader.rules()));
        drop(reading);
        let took = begin.elapsed();
        let kept = if took < Duration::from_millis(1) { Duration::ZERO } else { took * KEPT_FOR };
        *last = Some(Last { inventory: Arc::clone(&inventory), end: Instant::now() + kept });
        inventory
    }
}
