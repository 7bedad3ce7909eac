//! What the server exposes at the moment, looked up no more often than is cheap.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reload::Reloader;
use crate::expose::own::Sources;
use crate::expose::own::saturation::FAMILIES;
use crate::grafana::Inventory;
use crate::grafana::inventory::Part;
use crate::status::Watch;
use crate::status::kept::Kept;

/// Where inventories come from.
#[derive(Debug)]
pub struct Inventories {
    sources: Arc<Sources>,
    reloader: Arc<Reloader>,
    watch: Arc<Watch>,
    parts: BTreeSet<Part>,
    last: Kept<Inventory>,
}

impl Inventories {
    /// Inventories of what is shown, under the rules in force.
    #[must_use]
    pub fn new(sources: &Arc<Sources>, reloader: &Arc<Reloader>, watch: &Arc<Watch>) -> Self {
        let (sources, reloader) = (Arc::clone(sources), Arc::clone(reloader));
        let (parts, last) = (BTreeSet::new(), Kept::default());
        Self { sources, reloader, watch: Arc::clone(watch), parts, last }
    }

    /// A number that is another one when families or labels may have come.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let vectors: u64 = self.sources.registry.vectors().map(|(_, count)| count).sum();
        let in_files = self.sources.multiproc.as_ref().map(|files| files.facts().families);
        // Families of servers are there from the start.
        let of_servers = if self.sources.saturation.is_some() { FAMILIES.len() as u64 } else { 0 };
        vectors + in_files.unwrap_or_default() + of_servers
    }

    /// The same of a server that tells of these as well.
    #[must_use]
    pub fn with_parts(self, parts: BTreeSet<Part>) -> Self {
        Self { parts, ..self }
    }

    /// What is exposed now or was a moment ago. May take a second where there are a million series, so
    /// it is nothing for a lane or for a thread that others wait for.
    #[must_use]
    pub fn get(&self) -> Arc<Inventory> {
        self.last.get(|| {
            let reading = self.sources.registry.read(self.watch.now_millis());
            let joined = self.sources.joined(&reading);
            let mut inventory = Inventory::of_reading(&reading, &joined, &self.reloader.rules());
            if let Some(saturation) = &self.sources.saturation {
                inventory.add_servers(saturation);
            }
            Inventory { parts: self.parts.clone(), ..inventory }
        })
    }
}
