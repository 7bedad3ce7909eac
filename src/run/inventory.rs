//! What the server exposes at the moment, looked up no more often than is cheap.

use std::sync::Arc;

use super::reload::Reloader;
use crate::aggregate::Registry;
use crate::grafana::Inventory;
use crate::status::Watch;
use crate::status::kept::Kept;

/// Where inventories come from.
#[derive(Debug)]
pub struct Inventories {
    registry: Arc<Registry>,
    reloader: Arc<Reloader>,
    watch: Arc<Watch>,
    last: Kept<Inventory>,
}

impl Inventories {
    /// Inventories of a registry, under the rules in force.
    #[must_use]
    pub fn new(registry: &Arc<Registry>, reloader: &Arc<Reloader>, watch: &Arc<Watch>) -> Self {
        let (registry, reloader) = (Arc::clone(registry), Arc::clone(reloader));
        Self { registry, reloader, watch: Arc::clone(watch), last: Kept::default() }
    }

    /// What is exposed now or was a moment ago. May take a second where there are a million series, so
    /// it is nothing for a lane or for a thread that others wait for.
    #[must_use]
    pub fn get(&self) -> Arc<Inventory> {
        self.last.get(|| {
            let reading = self.registry.read(self.watch.now_millis());
            Inventory::of_reading(&reading, &self.reloader.rules())
        })
    }
}
