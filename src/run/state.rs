//! The state: taking over what an earlier process left, and saving for the next one.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::{error, info, warn};

use crate::aggregate::Registry;
use crate::config::Config;
use crate::expose::own;
use crate::ingest::{self, Ingest};
use crate::map::Rules;
use crate::multiproc::{Admission, Multiproc};
use crate::state::clock::unix_millis;
use crate::state::codec::Packing;
use crate::state::{Clock, Head, Restored, Snapshot, Source, StateError, StateFile};
use crate::telemetry::Telemetry;

/// Everything that holds numbers, before the first line.
pub(super) struct Beginning {
    /// One for each lane.
    pub(super) ingests: Vec<Ingest>,
    /// What snapshots are taken of.
    pub(super) source: Source,
    /// The beginnings of lines that handed-over connections have brought.
    pub(super) unfinished: Vec<Vec<u8>>,
}

impl Beginning {
    /// Takes over what a process before this one handed over, or else what is in the state file,
    /// or begins with nothing.
    ///
    /// # Errors
    /// When a useless state file cannot be set aside: it would be overwritten.
    pub(super) fn new(
        config: &Config,
        rules: &Arc<Rules>,
        handed_over: Option<File>,
        file: Option<&StateFile>,
    ) -> anyhow::Result<Self> {
        let of_predecessor = handed_over.and_then(|memory| {
            let restored = Self::restored(config, rules, &memory);
            // It would be kept in memory for as long as we run.
            memory.set_len(0).unwrap_or_default();
            let complain = |error: &StateError| {
                error!(error = error as &dyn Error, "What was handed over is of no use.");
            };
            restored.inspect_err(complain).ok()
        });
        if let Some((beginning, Restored { series, .. })) = of_predecessor {
            info!(series, "Took over from the process before.");
            return Ok(beginning);
        }
        let Some(file) = file else { return Ok(Self::empty(config, rules)) };
        let opened = file.open().map_err(StateError::from).transpose();
        let Some(opened) = opened else {
            info!(path = %file.path().display(), "There is no saved state yet.");
            return Ok(Self::empty(config, rules));
        };
        match opened.and_then(|state| Self::restored(config, rules, &state)) {
            Ok((beginning, restored)) => {
                let Restored { series, expired, .. } = restored;
                info!(path = %file.path().display(), series, expired, "State restored.");
                Ok(beginning)
            }
            Err(error) => {
                let aside = file.set_aside()?;
                error!(
                    path = %file.path().display(),
                    error = &error as &dyn Error,
                    set_aside_as = %aside.display(),
                    "The saved state is of no use; all series begin anew."
                );
                Ok(Self::empty(config, rules))
            }
        }
    }

    fn empty(config: &Config, rules: &Arc<Rules>) -> Self {
        Self::with(config, rules, Clock::begin(), fastrand::u64(..))
    }

    fn restored(
        config: &Config,
        rules: &Arc<Rules>,
        input: &File,
    ) -> Result<(Self, Restored), StateError> {
        let snapshot = Snapshot::open(input)?;
        let Head { start_unix_millis, stopped_millis, member_seed, handovers, .. } = snapshot.head;
        let clock = Clock::resume(start_unix_millis, stopped_millis)
            .ok_or(StateError::Damaged("its clock began too long ago"))?;
        let mut beginning = Self::with(config, rules, clock, member_seed);
        beginning.source.handovers = handovers;
        let mut restored = Restored::default();
        if let Some(first) = beginning.ingests.first_mut() {
            let multiproc = beginning.source.multiproc.as_deref();
            let taken_over = snapshot.restore(clock.now_millis(), first, multiproc)?;
            (restored, beginning.unfinished) = taken_over;
        }
        let counts = &beginning.source.telemetry.state;
        counts.handovers.store(handovers, Ordering::Relaxed);
        counts.restored_series.store(restored.series, Ordering::Relaxed);
        Ok((beginning, restored))
    }

    /// One ingest per lane; the lanes share the line caches' memory evenly.
    fn with(config: &Config, rules: &Arc<Rules>, clock: Clock, member_seed: u64) -> Self {
        let own_names = own::NAMES.iter().map(|name| (*name).to_owned());
        let registry = Registry::new(config.compat, own_names);
        let registry = Arc::new(registry.with_series_limit(config.limits.series));
        let telemetry = Arc::new(Telemetry::default());
        telemetry.process.loaded_mappings.store(rules.len() as u64, Ordering::Relaxed);
        let lanes = config.net.lanes.max(1);
        let lane = ingest::Config {
            parse: config.parse,
            rules: Arc::clone(rules),
            mapper_cache: config.mapping.cache,
            line_cache_bytes: config.line_cache_bytes / lanes,
            event_queue: config.event_queue,
            start: clock.start,
            member_seed,
            ttl: config.ttl,
        };
        let ingest = |_| Ingest::new(lane.clone(), &registry, &telemetry);
        let ingests = (0..lanes).map(ingest).collect();
        let multiproc = config.multiproc.clone().map(|files| {
            let admission = Admission::new(&config.limits.intake.limits, &registry, &telemetry);
            Arc::new(Multiproc::new(files, clock.start, admission))
        });
        let source = Source { registry, telemetry, multiproc, clock, member_seed, handovers: 0 };
        Self { ingests, source, unfinished: Vec::new() }
    }
}

/// Saves the state every so often and at the end.
pub(super) struct Saver {
    file: StateFile,
    source: Source,
    interval: Duration,
}

impl Saver {
    /// A saver into `file`.
    pub(super) fn new(file: StateFile, source: Source, interval: Duration) -> Self {
        source.telemetry.state.is_kept.store(true, Ordering::Relaxed);
        Self { file, source, interval }
    }

    /// Works until the other end of `stop` is gone; then one save is left to be done.
    pub(super) fn run(self, stop: &mpsc::Receiver<()>) -> Self {
        while stop.recv_timeout(self.interval) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.save();
        }
        self
    }

    /// Saves what there is now. A save that fails is counted and leaves the last one as it is.
    pub(super) fn save(&self) {
        let begun = Instant::now();
        let path = self.file.path().display();
        let counts = &self.source.telemetry.state;
        match self.file.save(|file| self.source.write(file, Packing::Zstd, &[])) {
            Ok(series) => {
                self.source.multiproc.iter().for_each(|multiproc| multiproc.reap());
                counts.last_save_unix_millis.store(unix_millis(), Ordering::Relaxed);
                tracing::debug!(%path, series, took = ?begun.elapsed(), "State saved.");
            }
            Err(error) => {
                counts.failed_saves.fetch_add(1, Ordering::Relaxed);
                warn!(%path, %error, "The state could not be saved; the last one stays.");
            }
        }
    }
}

/// Claims the state file, where there is to be one.
///
/// # Errors
/// When another process has it, or its directory cannot be used.
pub(super) fn claim(config: &Config) -> anyhow::Result<Option<StateFile>> {
    let path = config.restarts.state_file.as_deref();
    path.map(StateFile::claim).transpose().context("no state can be kept")
}
