//! The files of `prometheus_client`'s multiprocess mode: what the workers of a server wrote, as one.
//!
//! Each worker process maps files into its memory and writes its values there. Whoever reads them all
//! knows what the server knows, without asking any worker. See <https://prometheus.github.io/client_python/multiprocess/>.
//!
//! ```text
//! directory ─► members: one file each ─► slots: each value once ─► snapshot, for a page
//!     │              └─ worker gone ─► settled ─ file gone ─► ledger ─► saved state
//!     └─ workers: who lives
//! ```
//!
//! A key is understood when it is seen first; from then on only values are read. A worker that is gone
//! writes no more, so its file is read once more and added to what is *settled*. When the file is gone
//! as well, what it counted is kept in the *ledger*.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub mod file;
pub mod key;
pub mod kind;
pub mod layout;
pub mod admission;
pub mod clash;
pub mod problem;
pub mod slots;
pub mod member;
pub mod worker;
pub mod directory;
mod reap;
pub mod saved;
pub mod facts;
#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use clash::{Clash, Source};
use directory::{Depth, Directory, Shared};
pub use facts::Facts;
use key::Part;
pub use layout::Snapshot;
use layout::{Layout, NO_SLOT, Slot};
use member::{Member, Standing, Window};
use problem::Problems;
use saved::{SavedFile, SavedSlot};
use slots::Slots;
pub use worker::Liveness;

use crate::aggregate::FamilyKind;
use crate::workers::Observed;

/// The part of the open files that this process may have which files of workers may be.
const FILES_SHARE: u64 = 2;

/// Families over a limit that are told of.
const MAX_FULL_FAMILIES: usize = 100;

/// Which directories there are, and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the series of each have as a label, and where it is.
    pub directories: Vec<(Option<String>, PathBuf)>,
    /// The name of that label.
    pub label: String,
    /// How it is known whether a worker lives.
    pub liveness: Liveness,
    /// Whether files of workers that are gone are removed when what they counted is on disk.
    pub reap: bool,
}

/// Directories of workers' files, and what they hold together.
#[derive(Debug)]
pub struct Multiproc {
    label: String,
    liveness: Liveness,
    reap: bool,
    start: Instant,
    admission: Admission,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    problems: Problems,
    directories: Vec<Directory>,
    window: Window,
    reads: u64,
    read_time: Duration,
    last_read_time: Duration,
    /// Slots of a saved state, until its files are there.
    restored: HashMap<u32, Slot>,
}

impl Multiproc {
    /// Directories of which nothing has been read yet. The process' clock began at `start`;
    /// `admission` says whether a new series may come in.
    #[must_use]
    pub fn new(config: Config, start: Instant, admission: Admission) -> Self {
        let directories = config.directories.into_iter().zip(0..);
        let directories: Vec<_> =
            directories.map(|((name, path), index)| Directory::new(index, path, name)).collect();
        raise_file_limit();
        if config.reap {
            directories.iter().for_each(Directory::recover);
        }
        Self {
            label: config.label,
            liveness: config.liveness,
            reap: config.reap,
            start,
            admission,
            state: Mutex::new(State { directories, ..State::default() }),
        }
    }

    /// What the files hold at this moment, read now.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        let begun = Instant::now();
        let mut state = self.state.lock();
        self.look(&mut state, Depth::Values);
        let mut all = state.slots.begin();
        state.directories.iter().for_each(|directory| directory.add_to(&mut all));
        let snapshot = state.slots.snapshot(&all);
        state.reads += 1;
        state.last_read_time = begun.elapsed();
        state.read_time += begun.elapsed();
        snapshot
    }

    /// Looks at what may be gone before the next scrape: new files, and workers that have ended.
    pub fn tick(&self) {
        self.look(&mut self.state.lock(), Depth::Pressing);
    }

    fn look(&self, state: &mut State, depth: Depth) {
        let State { slots, problems, directories, window, restored, .. } = state;
        *restored = HashMap::new();
        let held: usize = directories.iter().map(Directory::held_files).sum();
        let mut shared = Shared {
            slots,
            problems,
            window,
            admission: &self.admission,
            label: &self.label,
            liveness: self.liveness,
            spare_files: max_held_files().saturating_sub(held),
            now_millis: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            is_outdated: false,
            has_left: false,
        };
        for directory in directories.iter_mut() {
            directory.look(depth, &mut shared);
        }
        let Shared { is_outdated, has_left, .. } = shared;
        if is_outdated {
            slots.unsettle_all();
            let settled = directories.iter_mut().flat_map(|it| it.settled.values_mut());
            settled.for_each(|member| member.settle(slots));
        }
        if is_outdated || has_left {
            let in_use = directories.iter().flat_map(Directory::slots);
            slots.sweep(in_use, |family, labels| self.admission.leave(family, labels));
        }
    }

    /// What the workers of each directory are called together.
    #[must_use]
    pub fn roles(&self) -> Vec<String> {
        self.state.lock().directories.iter().map(|directory| directory.role.clone()).collect()
    }

    /// The workers that live, by role and process, as the last look found them.
    #[must_use]
    pub fn living(&self) -> Vec<(String, u32)> {
        let state = self.state.lock();
        let living = state.directories.iter().flat_map(|directory| {
            let seen = directory.workers.values().filter(|worker| worker.is_seen());
            seen.filter_map(|worker| Some((directory.role.clone(), worker.pid()?)))
        });
        living.collect()
    }

    /// What each worker that lives has observed in histograms and summaries until now.
    #[must_use]
    pub fn observed(&self) -> Vec<Observed> {
        let state = &mut *self.state.lock();
        self.look(state, Depth::Values);
        let families = observers(state.slots.layout());
        let directories = state.directories.iter();
        directories.flat_map(|directory| directory.observed(&families)).collect()
    }

    /// Everything that is to outlive the process, slots before files.
    ///
    /// # Errors
    /// The first of `put_slot` and `put_file`.
    pub fn save<E>(
        &self,
        mut put_slot: impl FnMut(&SavedSlot) -> Result<(), E>,
        mut put_file: impl FnMut(&SavedFile) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state.lock();
        self.look(&mut state, Depth::Values);
        let State { slots, directories, .. } = &mut *state;
        let layout = slots.layout().clone();
        SavedSlot::all(&layout, slots, directories).try_for_each(|slot| put_slot(&slot))?;
        for directory in directories {
            for member in directory.members.values().chain(directory.settled.values()) {
                put_file(&SavedFile::of(directory, member))?;
            }
            for member in directory.settled.values_mut() {
                member.standing = Standing::Saved;
            }
        }
        Ok(())
    }

    /// Removes the files of workers that are gone, where that is wanted. To be called when what was
    /// saved last is safe.
    pub fn reap(&self) {
        if !self.reap {
            return;
        }
        let state = &mut *self.state.lock();
        let problems = &mut state.problems;
        state.directories.iter_mut().for_each(|directory| directory.reap(problems));
    }

    /// Takes a slot over that an earlier process saved, if its directory is still read.
    pub fn restore_slot(&self, saved: &SavedSlot) {
        let state = &mut *self.state.lock();
        let directory = state.directories.iter().find(|it| it.key() == saved.directory);
        let slot =
            directory.and_then(|it| saved.restore(it.index, &mut state.slots, &self.admission));
        state.restored.extend(slot.map(|slot| (saved.slot, slot)));
    }

    /// Takes a file over that an earlier process saved. When it is not there any more, what it counted is
    /// in the ledger after the next look.
    pub fn restore_file(&self, saved: &SavedFile) {
        let state = &mut *self.state.lock();
        let values = saved.values(|slot| state.restored.get(&slot).copied());
        let values = values.filter(|(slot, _, _)| *slot != NO_SLOT).collect();
        let directory = state.directories.iter_mut().find(|it| it.key() == saved.directory);
        if let Some(directory) = directory {
            directory
                .restore(&saved.name, saved.identity(), |member: Member| member.restored(values));
        }
    }

    /// What there is to say of the files besides, as the last reading found it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let state = &mut *self.state.lock();
        let families = state.slots.layout().families.len() as u64;
        let directories = state.directories.iter();
        let directories = directories.map(|directory| directory.facts(self.liveness)).collect();
        let clashes = state.problems.clashes().map(|(family, first, second)| Clash {
            metric: family.to_owned(),
            kind: second.family_kind().as_str(),
            source: Source::Files,
            file: None,
            owner: family.to_owned(),
            owner_kind: first.family_kind().as_str(),
            owner_source: Source::Files,
        });
        Facts {
            directories,
            families,
            series: state.slots.series() as u64,
            reads_total: state.reads,
            read_seconds_total: state.read_time.as_secs_f64(),
            last_read_seconds: state.last_read_time.as_secs_f64(),
            errors: state.problems.totals(),
            clashes: clashes.collect(),
            full: self.admission.full_families(MAX_FULL_FAMILIES),
        }
    }
}

/// The families with observations by the slots of their sums and counts; whether it is a sum comes with it.
fn observers(layout: &Layout) -> HashMap<Slot, (Arc<str>, bool)> {
    let families = layout
        .families
        .iter()
        .filter(|family| matches!(family.kind, FamilyKind::Histogram | FamilyKind::Summary));
    let series = families.flat_map(|family| family.series.iter().map(move |one| (family, one)));
    let slots = series.flat_map(|(family, series)| {
        let draft = series.parts.draft().into_iter();
        draft.map(|(part, slot)| (slot, (Arc::clone(&family.name), part == Part::Sum)))
    });
    slots.collect()
}

/// Lets this process have as many open files as it may.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "The limit on open files stays as it is.");
    }
}

/// How many of workers' files may be held open.
fn max_held_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1024) / FILES_SHARE;
    usize::try_from(limit).unwrap_or(usize::MAX)
}
