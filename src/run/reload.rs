//! Reloading the mapping file while lines come in.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::compat::Compat;
use crate::ingest::Order;
use crate::map::{Intake, Rules, RulesError};
use crate::net::Orders;
use crate::telemetry::{FIRST_GENERATION, Telemetry};

/// Brings a changed mapping file into force.
#[derive(Debug)]
pub struct Reloader {
    file: Option<PathBuf>,
    compat: Compat,
    /// What holds where the file says nothing of it.
    intake: Intake,
    orders: Orders,
    telemetry: Arc<Telemetry>,
    /// Those in force.
    rules: ArcSwap<Rules>,
    /// That of the rules in force; held while a reload is under way.
    generation: Mutex<u64>,
    last: Mutex<Option<Attempt>>,
}

/// The last time that the file was read again.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When.
    pub at: SystemTime,
    /// Why the old rules stayed in force; none when they did not.
    pub error: Option<String>,
}

impl Reloader {
    /// A reloader of `file`, whose rules are in force; without one there is nothing to reload.
    #[must_use]
    pub fn new(
        file: Option<PathBuf>,
        compat: Compat,
        orders: Orders,
        telemetry: Arc<Telemetry>,
        rules: Arc<Rules>,
    ) -> Self {
        let rules = ArcSwap::new(rules);
        let (intake, generation) = (Intake::default(), Mutex::new(FIRST_GENERATION));
        let last = Mutex::new(None);
        Self { file, compat, intake, orders, telemetry, rules, generation, last }
    }

    /// Takes what the file does not say about tags and limits from `intake`.
    #[must_use]
    pub fn with_intake(self, intake: Intake) -> Self {
        Self { intake, ..self }
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The mapping file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The last reload, whether it worked or not.
    #[must_use]
    pub fn last(&self) -> Option<Attempt> {
        self.last.lock().clone()
    }

    /// Reads the file again. When this returns, every lane follows the new rules; after an error
    /// the old ones stay in force.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn reload(&self) -> Result<(), RulesError> {
        let result = self.try_reload();
        let error = result.as_ref().err().map(ToString::to_string);
        *self.last.lock() = Some(Attempt { at: SystemTime::now(), error });
        result
    }

    fn try_reload(&self) -> Result<(), RulesError> {
        let Some(file) = &self.file else {
            warn!("Asked to reload, but there is no mapping file (--statsd.mapping-config).");
            return Ok(());
        };
        let mut generation = self.generation.lock();
        let process = &self.telemetry.process;
        let loaded = match Rules::load(file, self.compat) {
            Ok(loaded) => loaded,
            Err(error) => {
                process.failed_reloads.fetch_add(1, Ordering::Relaxed);
                warn!(
                    error = &error as &dyn Error,
                    "Mapping file not reloaded; the old rules stay in force."
                );
                return Err(error);
            }
        };
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        *generation += 1;
        // Presets do not change while the program runs.
        let presets = self.rules.load().behind();
        let rules = Arc::new(loaded.rules.with_intake(&self.intake).with_behind(presets));
        let (done, all_done) = mpsc::channel();
        let order = Order::Reload { rules: Arc::clone(&rules), generation: *generation, done };
        self.orders.send_to_all(|_| order.clone());
        drop(order);
        all_done.iter().for_each(drop);
        process.loaded_mappings.store(rules.len() as u64, Ordering::Relaxed);
        self.rules.store(Arc::clone(&rules));
        process.reloads.fetch_add(1, Ordering::Relaxed);
        info!(rules = rules.len(), "Mapping file reloaded.");
        Ok(())
    }
}
