//! The workers of one role: those that live, and what is left of those that are gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tracing::warn;

use super::life::{Life, is_hidden};
use super::usage::{Look, Unknown};

/// Over how long the processor's time is shared out.
const WINDOW_MILLIS: u64 = 60_000;

/// How far apart the readings are that are kept of it. A worker that lives shorter tells nothing yet.
const STEP_MILLIS: u64 = 10_000;

/// Workers of one role that are kept, each of which takes a file descriptor; servers have hundreds.
const MAX_WORKERS: usize = 10_000;

/// The sum, the least and the greatest of what workers have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// All together.
    pub sum: f64,
    /// The worker that has least.
    pub min: f64,
    /// The worker that has most.
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.fold(None, |spread: Option<Self>, value| {
            Some(spread.map_or(Self { sum: value, min: value, max: value }, |spread| Self {
                sum: spread.sum + value,
                min: spread.min.min(value),
                max: spread.max.max(value),
            }))
        })
    }
}

/// What there is to tell of a role.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleReport {
    /// The role.
    pub name: Box<str>,
    /// How many workers live.
    pub alive: usize,
    /// How many have begun since we look, as far as we may.
    pub started: u64,
    /// How many of those that we may look at have ended.
    pub gone: u64,
    /// Processor time that they used since we look, those that are gone included.
    pub cpu_seconds: f64,
    /// Processors that one keeps busy, over the last minute; none where one could not be looked at.
    pub cpu: Option<Spread>,
    /// Memory; none where one could not be looked at.
    pub resident_bytes: Option<Spread>,
    /// Open files; none where those of one could not be looked at.
    pub open_files: Option<Spread>,
    /// Workers whose processor time and memory we may not see.
    pub hidden_usage: usize,
    /// Workers whose open files we may not see.
    pub hidden_files: usize,
}

/// The workers of one role.
#[derive(Debug)]
pub(super) struct Role {
    name: Box<str>,
    workers: BTreeMap<u32, Worker>,
    /// Those that live, whom we may not look at at all.
    hidden: BTreeSet<u32>,
    started: u64,
    gone: u64,
    /// What those used that are gone.
    cpu_ticks_of_gone: u64,
    has_complained: bool,
}

/// A worker that lives, as far as we know.
#[derive(Debug)]
struct Worker {
    life: Life,
    /// What it had used when we began to look. None before the first reading.
    cpu_ticks_before: Option<u64>,
    cpu_ticks: u64,
    resident_bytes: Option<u64>,
    is_hidden: bool,
    /// Processor time of the last minute, with the time of each reading.
    readings: VecDeque<(u64, u64)>,
}

impl Role {
    /// A role without workers.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            workers: BTreeMap::new(),
            hidden: BTreeSet::new(),
            started: 0,
            gone: 0,
            cpu_ticks_of_gone: 0,
            has_complained: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the process of this number in, unless it is known or has ended. One that began before
    /// `since_ticks` was there before we looked: what it used until now and that it began do not
    /// count, so that a restart of ours looks like nothing else.
    pub(super) fn seen(&mut self, pid: u32, since_ticks: u64) {
        if self.workers.contains_key(&pid) || self.workers.len() >= MAX_WORKERS {
            return;
        }
        let Some(life) = Life::of(pid) else {
            if is_hidden(pid) {
                self.hidden.insert(pid);
            }
            return;
        };
        self.hidden.remove(&pid);
        let is_new = life.started_ticks() >= since_ticks;
        self.started += u64::from(is_new);
        let worker = Worker {
            life,
            cpu_ticks_before: is_new.then_some(0),
            cpu_ticks: 0,
            resident_bytes: None,
            is_hidden: false,
            readings: VecDeque::new(),
        };
        self.workers.insert(pid, worker);
    }

    /// Lets those go that have ended.
    pub(super) fn bury(&mut self) {
        self.workers.retain(|_, worker| {
            let is_over = worker.life.is_over();
            if is_over {
                self.gone += 1;
                self.cpu_ticks_of_gone += worker.counted_ticks();
            }
            !is_over
        });
        self.hidden.retain(|pid| is_hidden(*pid));
    }

    /// Looks at those that live.
    pub(super) fn look(&mut self, now_millis: u64) {
        for worker in self.workers.values_mut() {
            worker.look(now_millis);
        }
    }

    /// Looks at those that live, and tells of all.
    pub(super) fn report(&mut self, now_millis: u64, ticks_per_second: f64) -> RoleReport {
        self.bury();
        let looks = self.workers.values_mut().filter_map(|worker| worker.look(now_millis));
        let files: Vec<_> = looks.map(|look| look.open_files()).collect();
        let hidden = |files: &&Result<u64, Unknown>| **files == Err(Unknown::Refused);
        let hidden_usage = self.workers.values().filter(|worker| worker.is_hidden).count();
        let hidden_usage = hidden_usage + self.hidden.len();
        let hidden_files = hidden_usage + files.iter().filter(hidden).count();
        self.complain(hidden_usage, hidden_files);
        let files = files.iter().flatten().map(|files| *files as f64);
        let open_files = Spread::of(files).filter(|_| hidden_files == 0);
        let workers = || self.workers.values();
        let counted: u64 = workers().map(Worker::counted_ticks).sum();
        let busy = workers().filter_map(|worker| worker.busy(ticks_per_second));
        let resident_bytes = workers().filter_map(|worker| worker.resident_bytes);
        let resident_bytes = Spread::of(resident_bytes.map(|bytes| bytes as f64));
        RoleReport {
            name: self.name.clone(),
            alive: self.workers.len() + self.hidden.len(),
            started: self.started,
            gone: self.gone,
            cpu_seconds: (self.cpu_ticks_of_gone + counted) as f64 / ticks_per_second,
            cpu: Spread::of(busy).filter(|_| hidden_usage == 0),
            resident_bytes: resident_bytes.filter(|_| hidden_usage == 0),
            open_files,
            hidden_usage,
            hidden_files,
        }
    }

    /// Says once that there is nothing to see.
    fn complain(&mut self, usage: usize, files: usize) {
        if files > 0 && !self.has_complained {
            self.has_complained = true;
            let hidden = if usage > 0 { "CPU time, memory and open files" } else { "open files" };
            warn!(role = self.name(), hidden, "Workers may not be looked at; run as their user.");
        }
    }
}

impl Worker {
    /// Processor time that counts.
    fn counted_ticks(&self) -> u64 {
        self.cpu_ticks.saturating_sub(self.cpu_ticks_before.unwrap_or(self.cpu_ticks))
    }

    fn look(&mut self, now_millis: u64) -> Option<Look> {
        let look = Look::at(&self.life);
        // One that ended just now keeps what it had last, and goes with the next look.
        self.is_hidden = matches!(look, Err(Unknown::Refused));
        let look = look.ok()?;
        self.cpu_ticks = self.cpu_ticks.max(look.usage.cpu_ticks);
        self.cpu_ticks_before.get_or_insert(self.cpu_ticks);
        self.resident_bytes = Some(look.usage.resident_bytes);
        let last = self.readings.back().map(|(millis, _)| *millis);
        if last.is_none_or(|last| now_millis.saturating_sub(last) >= STEP_MILLIS) {
            self.readings.push_back((now_millis, self.cpu_ticks));
            let is_old = |(millis, _): &(u64, u64)| millis + WINDOW_MILLIS <= now_millis;
            while self.readings.get(1).is_some_and(is_old) {
                self.readings.pop_front();
            }
        }
        Some(look)
    }

    /// How many processors it kept busy over the last minute.
    fn busy(&self, ticks_per_second: f64) -> Option<f64> {
        let ((from, before), (to, after)) = (self.readings.front()?, self.readings.back()?);
        let seconds = to.saturating_sub(*from) as f64 / 1000.0;
        let busy = after.saturating_sub(*before) as f64 / ticks_per_second / seconds;
        busy.is_finite().then_some(busy)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn a_spread_has_the_sum_the_least_and_the_most() {
        let spread = Spread { sum: 9.0, min: 1.0, max: 5.0 };
        assert_eq!(Spread::of([3.0, 1.0, 5.0].into_iter()), Some(spread));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn workers_begin_and_end_and_what_they_used_stays() {
        let mut role = Role::new("web");
        let mut children: Vec<Child> = (0..3).map(|_| busy()).collect();
        for _ in 0..2 {
            for child in &children {
                role.seen(child.id(), 0);
            }
        }
        wait_until(&mut role, |report| report.cpu_seconds > 0.05);
        let before = role.report(0, 100.0);
        assert_eq!((before.alive, before.started, before.gone), (3, 3, 0));
        let memory = before.resident_bytes.unwrap();
        assert!(memory.min > 0.0 && memory.max <= memory.sum / 2.0, "{memory:?}");
        let files = before.open_files.unwrap();
        assert!(files.min >= 3.0 && files.sum >= 9.0 && before.hidden_files == 0);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
            let after = role.report(0, 100.0);
            assert!(after.cpu_seconds >= before.cpu_seconds);
        }
        let after = role.report(0, 100.0);
        assert_eq!((after.alive, after.started, after.gone), (0, 3, 3));
        assert_eq!((after.resident_bytes, after.open_files, after.cpu), (None, None, None));
    }

    #[test]
    fn what_was_before_us_does_not_count() {
        let mut role = Role::new("web");
        let own = std::process::id();
        role.seen(own, u64::MAX);
        let report = role.report(0, 100.0);
        assert_eq!((report.alive, report.started, report.cpu_seconds), (1, 0, 0.0));
        wait_until(&mut role, |report| report.cpu_seconds > 0.01);
    }

    #[test]
    fn nobody_is_taken_in_who_has_ended() {
        let mut role = Role::new("web");
        let mut child = busy();
        child.kill().unwrap();
        child.wait().unwrap();
        for pid in [child.id(), 0, u32::MAX] {
            role.seen(pid, 0);
        }
        assert_eq!(role.report(0, 100.0), RoleReport { name: "web".into(), ..nothing() });
    }

    #[test]
    fn how_busy_a_worker_is_is_known_after_a_while() {
        let mut worker = Worker {
            life: Life::of(std::process::id()).unwrap(),
            cpu_ticks_before: Some(0),
            cpu_ticks: 0,
            resident_bytes: None,
            is_hidden: false,
            readings: VecDeque::from([(0, 0)]),
        };
        assert_eq!(worker.busy(100.0), None);
        for step in 1..=9 {
            let idle = if step > 6 { 600 } else { 100 * step };
            worker.readings.push_back((10_000 * step, idle));
        }
        assert_eq!(worker.busy(10.0), Some(60.0 / 90.0));
        // The next reading lets those go that are older than the window.
        worker.look(100_000).unwrap();
        assert_eq!(worker.readings.front(), Some(&(40_000, 400)));
        worker.look(109_999).unwrap();
        assert_eq!(worker.readings.len(), 7);
    }

    fn busy() -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap()
    }

    fn nothing() -> RoleReport {
        RoleReport {
            name: "".into(),
            alive: 0,
            started: 0,
            gone: 0,
            cpu_seconds: 0.0,
            cpu: None,
            resident_bytes: None,
            open_files: None,
            hidden_usage: 0,
            hidden_files: 0,
        }
    }

    fn wait_until(role: &mut Role, is_so: impl Fn(&RoleReport) -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_so(&role.report(0, 100.0)) {
            assert!(std::time::Instant::now() < deadline, "{:?}", role.report(0, 100.0));
        }
    }
}
