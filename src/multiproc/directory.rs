//! One directory of workers' files: which there are, whose, and who of them lives.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::admission::Admission;
use super::facts;
use super::kind::{Kind, Merged};
use super::layout::Slot;
use super::member::{Identity, Look, Member, Standing, Window};
use super::problem::{Problem, Problems};
use super::slots::Slots;
use super::worker::{Liveness, Worker};
use crate::aggregate::FastMap;
use crate::workers::Observed;

/// A directory's time of change may be this late, and as long a change may go unseen by it.
const CHANGE_GRAIN_NANOS: i128 = 1_000_000_000;

/// Where nobody's life is certain, files that have not changed for so long are not read at each scrape any more …
const SETTLE_MILLIS: u64 = 5 * 60 * 1000;

/// … but so often.
const RECHECK_MILLIS: u64 = 60 * 1000;

/// One directory.
#[derive(Debug)]
pub struct Directory {
    /// Its place among all directories.
    pub index: u16,
    /// Where it is.
    pub path: PathBuf,
    /// The value of its label, if its series have one.
    pub name: Option<String>,
    /// What its workers are called together.
    pub role: String,
    /// Its files, but for those that are settled.
    pub members: BTreeMap<Box<str>, Member>,
    /// Files of workers that are gone, which nobody writes any more.
    pub settled: BTreeMap<Box<str>, Member>,
    /// Whose they are.
    pub workers: FastMap<Arc<str>, Worker>,
    /// A worker of it was seen that lives: the numbers are those of our processes.
    pub is_ours: bool,
    /// Files of workers that seemed gone have changed: the numbers are others' processes.
    pub is_foreign: bool,
    /// Why it cannot be read, if it cannot.
    pub failure: Option<String>,
    /// Files of workers that were gone, whose values were added to what is settled.
    pub settled_files: u64,
    /// Those of them that were removed.
    pub reaped_files: u64,
    settled_bytes: u64,
    /// When it had changed last when it was listed last.
    listed: Option<i128>,
    rechecked_millis: u64,
    foreign_names: HashSet<Box<str>>,
}

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All values are wanted.
    Values,
    /// Files that are new, or that nobody writes any more: they may be gone a moment later.
    Pressing,
}

/// What all directories share during a look.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Where values stand.
    pub slots: &'a mut Slots,
    /// What is wrong.
    pub problems: &'a mut Problems,
    /// Room for a part of a file.
    pub window: &'a mut Window,
    /// Whether one more series may come in.
    pub admission: &'a Admission,
    /// The name of directories' label.
    pub label: &'a str,
    /// How lives are known.
    pub liveness: Liveness,
    /// How many more files may be held open.
    pub spare_files: usize,
    /// The time on the process' clock.
    pub now_millis: u64,
    /// What is settled must be added up anew.
    pub is_outdated: bool,
    /// Slots may be without a file.
    pub has_left: bool,
}

impl Shared<'_> {
    fn look<'b>(&'b mut self, index: u16, name: Option<&'b str>, path: &'b Path) -> Look<'b> {
        Look {
            slots: self.slots,
            problems: self.problems,
            window: self.window,
            directory: index,
            label: name.map(|name| (self.label, name)),
            path,
            admission: self.admission,
            spare_files: &mut self.spare_files,
            now_millis: self.now_millis,
        }
    }
}

impl Directory {
    /// A directory that has not been looked at.
    #[must_use]
    pub fn new(index: u16, path: PathBuf, name: Option<String>) -> Self {
        let last = path.file_name().map(|last| last.to_string_lossy().into_owned());
        let role = name.clone().or(last).unwrap_or_else(|| "workers".to_owned());
        Self {
            index,
            path,
            name,
            role,
            members: BTreeMap::new(),
            settled: BTreeMap::new(),
            settled_bytes: 0,
            workers: FastMap::default(),
            is_ours: false,
            is_foreign: false,
            failure: None,
            settled_files: 0,
            reaped_files: 0,
            listed: None,
            rechecked_millis: 0,
            foreign_names: HashSet::new(),
        }
    }

    /// Looks which files there are, who lives, and what is in the files that may have changed.
    pub fn look(&mut self, depth: Depth, shared: &mut Shared<'_>) {
        match self.list(shared) {
            Ok(()) => self.failure = None,
            Err(error) => self.complain(shared, &error),
        }
        self.judge(shared);
        self.read(depth, shared);
        self.settle(shared);
    }

    fn complain(&mut self, shared: &mut Shared<'_>, error: &io::Error) {
        let failure = error.to_string();
        if self.failure.as_ref() != Some(&failure) {
            shared.problems.note(Problem::Directory, &self.path, &failure);
        }
        self.failure = Some(failure);
        self.listed = None;
    }

    /// Looks which files there are, if that can have changed.
    fn list(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        let handle = File::open(&self.path)?;
        let changed = nanos(handle.metadata()?.modified()?);
        if self.listed == Some(changed) {
            return Ok(());
        }
        let found = self.files(&handle, shared)?;
        let known = self.members.iter().chain(&self.settled);
        let gone: Vec<Box<str>> = known
            .filter(|(name, member)| found.get(*name) != Some(&member.identity))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            self.remove(name, shared);
        }
        for (name, identity) in found {
            if !self.members.contains_key(&name) && !self.settled.contains_key(&name) {
                self.add(&name, identity, shared.now_millis);
            }
        }
        let members = self.members.values().chain(self.settled.values());
        let has_members: HashSet<Arc<str>> =
            members.map(|member| Arc::clone(&member.worker)).collect();
        self.workers.retain(|worker, _| has_members.contains(worker));
        // What changes within the clock's grain is not seen by the time of change.
        let now = nanos(SystemTime::now());
        self.listed = Some(changed).filter(|changed| now - changed > CHANGE_GRAIN_NANOS);
        Ok(())
    }

    /// The files that may be `prometheus_client`'s, and which they are.
    fn files(
        &mut self,
        handle: &File,
        shared: &mut Shared<'_>,
    ) -> io::Result<BTreeMap<Box<str>, Identity>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some(stem) = name.strip_suffix(".db") else { continue };
            let is_file = match identity(handle, name) {
                Ok(Some(identity)) if Kind::of_stem(stem).is_some() => {
                    found.insert(name.into(), identity);
                    true
                }
                Ok(_) => false,
                // It was there a moment ago.
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            if !is_file && self.foreign_names.len() < 1000 && !self.foreign_names.contains(name) {
                self.foreign_names.insert(name.into());
                shared.problems.note(Problem::Name, &self.path.join(name), "");
            }
        }
        Ok(found)
    }

    /// What the directory is called in a saved state.
    #[must_use]
    pub fn key(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Files that are held open.
    #[must_use]
    pub fn held_files(&self) -> usize {
        self.members.values().filter(|member| member.file.is_some()).count()
    }

    /// Takes over a file that was saved, of which the next look will find out whether it is still there.
    pub fn restore(&mut self, name: &str, identity: Identity, fill: impl FnOnce(Member) -> Member) {
        self.add(name, identity, 0);
        if let Some(member) = self.members.remove(name) {
            self.members.insert(name.into(), fill(member));
        }
    }

    fn add(&mut self, name: &str, identity: Identity, now_millis: u64) {
        let Some((kind, worker)) = name.strip_suffix(".db").and_then(Kind::of_stem) else { return };
        let worker = match self.workers.get_key_value(worker) {
            Some((worker, _)) => Arc::clone(worker),
            None => Arc::from(worker),
        };
        self.workers.entry(Arc::clone(&worker)).or_insert_with(|| Worker::new(&worker));
        let mut member = Member::new(name, kind, worker, identity);
        member.changed_millis = now_millis;
        self.members.insert(name.into(), member);
    }

    /// Takes leave of a file: what it counted stays. What was written into it after the last look can
    /// be read if it was held open.
    fn remove(&mut self, name: &str, shared: &mut Shared<'_>) {
        let member = self.members.remove(name).or_else(|| self.settled.remove(name));
        let Some(mut member) = member else { return };
        if let Some(file) = member.file.take() {
            shared.spare_files += 1;
            let mut look = shared.look(self.index, self.name.as_deref(), &self.path);
            if let Err(error) = member.read(&file, &mut look) {
                member.complain_unreadable(&mut look, &error);
            }
        }
        member.bury(shared.slots);
        // Those of a kind that does not outlive its file may stand among what is settled.
        shared.is_outdated |= member.standing != Standing::Open && !member.kind.outlives_its_file();
        shared.has_left |= !member.kind.outlives_its_file();
    }

    /// Looks who lives.
    fn judge(&mut self, shared: &mut Shared<'_>) {
        let is_by_pid = shared.liveness == Liveness::Pid && !self.is_foreign;
        let mut returned: HashSet<Arc<str>> = HashSet::new();
        let changed = match shared.liveness {
            Liveness::Age(_) => self.changes_by_worker(),
            Liveness::Pid | Liveness::Never => HashMap::new(),
        };
        for (name, worker) in &mut self.workers {
            let (lived, was_final) = (worker.lives(), worker.is_final());
            if is_by_pid {
                let members = || self.members.values().chain(self.settled.values());
                worker.judge(shared.now_millis, || files_of(members(), name));
            } else if let Liveness::Age(age) = shared.liveness {
                let changed = changed.get(name).copied().unwrap_or_default();
                let silent = shared.now_millis.saturating_sub(changed);
                worker.set_gone(u128::from(silent) > age.as_millis());
            } else {
                worker.set_gone(false);
            }
            self.is_ours |= worker.is_seen();
            shared.has_left |= lived && !worker.lives();
            if was_final && !worker.is_final() {
                returned.insert(Arc::clone(name));
            }
        }
        if !returned.is_empty() {
            self.unsettle(|member| returned.contains(&member.worker), shared);
        }
    }

    /// When a file of each worker last changed.
    fn changes_by_worker(&self) -> HashMap<Arc<str>, u64> {
        let mut changed: HashMap<Arc<str>, u64> = HashMap::new();
        for member in self.members.values() {
            let of_worker = changed.entry(Arc::clone(&member.worker)).or_default();
            *of_worker = member.changed_millis.max(*of_worker);
        }
        changed
    }

    /// Reads the files that may have changed, or only those that cannot wait.
    fn read(&mut self, depth: Depth, shared: &mut Shared<'_>) {
        let Ok(handle) = File::open(&self.path) else { return };
        let is_recheck = !self.is_ours
            && shared.now_millis.saturating_sub(self.rechecked_millis) >= RECHECK_MILLIS;
        if is_recheck {
            self.rechecked_millis = shared.now_millis;
        }
        let is_by_pid = shared.liveness == Liveness::Pid && !self.is_foreign;
        let mut dead_write = false;
        if is_recheck {
            self.recheck(&handle, shared);
        }
        for member in self.members.values_mut() {
            let Some(worker) = self.workers.get(&member.worker) else { continue };
            let may_end_soon = is_by_pid && !worker.lives();
            if depth == Depth::Pressing && !member.is_unread() && !may_end_soon {
                continue;
            }
            if is_by_pid && member.kind.is_live() && !worker.lives() {
                member.forget();
                continue;
            }
            let changes = member.changes;
            let mut look = shared.look(self.index, self.name.as_deref(), &self.path);
            if let Err(error) = follow(member, &handle, &mut look) {
                member.complain_unreadable(&mut look, &error);
            }
            let has_changed = member.changes != changes;
            dead_write |= has_changed && worker.was_read && !worker.lives();
        }
        for worker in self.workers.values_mut().filter(|worker| !worker.lives()) {
            worker.was_read = true;
        }
        if dead_write && is_by_pid && !self.is_ours {
            self.call_foreign(shared);
        }
    }

    /// Reads what is settled, where that is not certain: what has changed is not.
    fn recheck(&mut self, handle: &File, shared: &mut Shared<'_>) {
        let mut has_changed = false;
        for member in self.settled.values_mut().filter(|member| !member.kind.is_live()) {
            let changes = member.changes;
            let mut look = shared.look(self.index, self.name.as_deref(), &self.path);
            if let Err(error) = follow(member, handle, &mut look) {
                member.complain_unreadable(&mut look, &error);
            }
            has_changed |= member.changes != changes;
        }
        if has_changed {
            self.call_foreign(shared);
        }
    }

    /// Takes back files that were settled.
    fn unsettle(&mut self, is_back: impl Fn(&Member) -> bool, shared: &mut Shared<'_>) {
        let back = self.settled.extract_if(.., |_, member| is_back(member));
        for (name, mut member) in back {
            member.standing = Standing::Open;
            shared.is_outdated = true;
            self.members.insert(name, member);
        }
        self.settled_bytes = self.settled.values().map(Member::bytes).sum();
    }

    /// The dead do not write.
    fn call_foreign(&mut self, shared: &mut Shared<'_>) {
        self.is_foreign = true;
        for worker in self.workers.values_mut() {
            worker.set_gone(false);
        }
        self.unsettle(|_| true, shared);
        tracing::warn!(
            path = %self.path.display(),
            "Files of workers that seem gone are being written: their numbers are not those of \
             processes seen from here. All workers count as alive. Share the process namespace (in \
             Kubernetes: shareProcessNamespace), or give --multiproc.liveness=age=DURATION or =never."
        );
    }

    /// Puts files of workers that are gone among what is settled; from then on a scrape does not read
    /// them.
    fn settle(&mut self, shared: &mut Shared<'_>) {
        if shared.liveness != Liveness::Pid || self.is_foreign {
            return;
        }
        let (workers, is_ours) = (&self.workers, self.is_ours);
        let is_final = |member: &Member| {
            let worker = workers.get(&member.worker);
            let silent = shared.now_millis.saturating_sub(member.changed_millis);
            worker.is_some_and(|worker| worker.is_final() && worker.was_read)
                && (member.is_known || member.kind.is_live())
                && (is_ours || silent >= SETTLE_MILLIS)
        };
        let settled: Vec<_> = self.members.extract_if(.., |_, member| is_final(member)).collect();
        if settled.is_empty() {
            return;
        }
        for (name, mut member) in settled {
            shared.spare_files += usize::from(member.file.take().is_some());
            member.settle(shared.slots);
            self.settled_files += 1;
            self.settled.insert(name, member);
        }
        self.settled_bytes = self.settled.values().map(Member::bytes).sum();
    }

    /// What each worker that lives has observed; `families` says which sums and counts there are.
    #[must_use]
    pub fn observed(&self, families: &HashMap<Slot, (Arc<str>, bool)>) -> Vec<Observed> {
        let mut observed: HashMap<(u32, &Arc<str>), (f64, f64)> = HashMap::new();
        for member in self.members.values() {
            let worker = self.workers.get(&member.worker).filter(|worker| worker.is_seen());
            let Some(pid) = worker.and_then(Worker::pid) else { continue };
            if !matches!(member.kind, Kind::Histogram | Kind::Summary) {
                continue;
            }
            for (slot, value, _) in member.values() {
                let Some((family, is_sum)) = families.get(&slot) else { continue };
                let (sum, count) = observed.entry((pid, family)).or_default();
                *if *is_sum { sum } else { count } += value;
            }
        }
        let role: Arc<str> = self.role.as_str().into();
        let rows = observed.into_iter().map(|((pid, family), (sum, count))| {
            let (role, family) = (Arc::clone(&role), Arc::clone(family));
            Observed { role, pid, family, sum, count }
        });
        rows.collect()
    }

    /// What there is to say of it.
    #[must_use]
    pub fn facts(&self, liveness: Liveness) -> facts::Directory {
        let foreign = "workers' numbers are of another process namespace: all count as alive";
        let workers = self.workers.values();
        facts::Directory {
            path: self.path.display().to_string(),
            name: self.name.clone(),
            liveness: match liveness {
                Liveness::Pid if !self.is_foreign => "pid",
                Liveness::Age(_) => "age",
                Liveness::Pid | Liveness::Never => "never",
            },
            files: (self.members.len() + self.settled.len()) as u64,
            bytes: self.settled_bytes + self.members.values().map(Member::bytes).sum::<u64>(),
            workers_alive: workers.filter(|worker| worker.lives()).count() as u64,
            folded_files_total: self.settled_files,
            reaped_files_total: self.reaped_files,
            problem: self.failure.clone().or(self.is_foreign.then(|| foreign.to_owned())),
        }
    }

    /// Adds the values of all files up that are not settled.
    pub fn add_to(&self, all: &mut [Merged]) {
        for member in self.counted() {
            member.add_to(all);
        }
    }

    /// The slots of all files that are not settled; the others' have a value there.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.members.values().flat_map(|member| member.values().map(|(slot, _, _)| slot))
    }

    /// Files that are not settled and of workers that count.
    fn counted(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| {
            let lives = || self.workers.get(&member.worker).is_none_or(Worker::lives);
            !member.kind.is_live() || lives()
        })
    }
}

/// Reads a file, and keeps it open as long as there are descriptors to spare.
fn follow(member: &mut Member, directory: &File, look: &mut Look<'_>) -> io::Result<()> {
    let is_first = member.is_unread();
    let held = member.file.take();
    let is_held = held.is_some();
    let file = match held.map_or_else(|| open(directory, &member.name), Ok) {
        Ok(file) => file,
        // It will be missing from the next list.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    member.read(&file, look)?;
    if is_first {
        // Nobody saw when it changed.
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        let age_millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        member.changed_millis = look.now_millis.saturating_sub(age_millis);
    }
    if is_held || *look.spare_files > 0 {
        *look.spare_files -= usize::from(!is_held);
        member.file = Some(file);
    }
    Ok(())
}

fn files_of<'a>(members: impl Iterator<Item = &'a Member>, worker: &Arc<str>) -> HashSet<Identity> {
    let files = members.filter(|member| member.worker == *worker);
    files.map(|member| member.identity).collect()
}

/// Opens a file of a directory. A pipe does not keep us waiting, and a link leads nowhere.
fn open(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let open = |flags| openat(directory.as_fd(), name, flags, Mode::empty());
    // Its owner alone may read a file without a trace, which is quicker.
    let file = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags)?,
        file => file?,
    };
    Ok(file.into())
}

/// Which file has a name; none for what is no file.
pub(super) fn identity(directory: &File, name: &str) -> io::Result<Option<Identity>> {
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::BTIME;
    let Statx { stx_mode, stx_ino, stx_btime, .. } =
        statx(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
    if FileType::from_raw_mode(stx_mode.into()) != FileType::RegularFile {
        return Ok(None);
    }
    let born_nanos =
        stx_btime.tv_sec.saturating_mul(1_000_000_000).saturating_add(stx_btime.tv_nsec.into());
    Ok(Some(Identity { inode: stx_ino, born_nanos }))
}

/// Nanoseconds since 1970.
fn nanos(time: SystemTime) -> i128 {
    let since = |nanos: u128| i128::try_from(nanos).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => since(after.as_nanos()),
        Err(before) => -since(before.duration().as_nanos()),
    }
}
