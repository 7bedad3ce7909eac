//! All workers, by role, and where their numbers come from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

use super::pidfile::{Master, PidFile};
use super::role::{Role, RoleReport};
use super::skew::{Observed, Skew, Window};
use crate::net::Processes;

/// Whose workers are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Files with the numbers of master processes, whose children are workers.
    pub pidfiles: Vec<PidFile>,
    /// What those are that send over Unix sockets, if they are workers.
    pub unix_peers: Option<String>,
}

/// What there is to tell of workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By name.
    pub roles: Vec<RoleReport>,
    /// Of the roles with pid files: how many masters live, and how often something began to be wrong
    /// with a file.
    pub masters: Vec<(Box<str>, u64, u64)>,
    /// How uneven workers are.
    pub skews: Vec<Skew>,
}

/// The workers of all roles. Any thread may tell of a worker or ask at any time; no lane does.
#[derive(Debug)]
pub struct Roster {
    start: Instant,
    /// The same in the kernel's ticks since the machine started.
    start_ticks: u64,
    masters: Mutex<Vec<Master>>,
    peers: Option<(String, Arc<Processes>)>,
    /// Sorted by name.
    roles: Mutex<Vec<Role>>,
    window: Mutex<Window>,
}

impl Roster {
    /// A roster without workers; `processes` has those that send over Unix sockets, where they are
    /// wanted.
    #[must_use]
    pub fn new(config: &Config, processes: Option<Arc<Processes>>) -> Self {
        let masters = config.pidfiles.iter().cloned().map(Master::new).collect();
        let roster = Self {
            start: Instant::now(),
            start_ticks: ticks_since_boot(),
            masters: Mutex::new(masters),
            peers: config.unix_peers.clone().zip(processes),
            roles: Mutex::default(),
            window: Mutex::default(),
        };
        let peers = config.unix_peers.iter();
        config
            .pidfiles
            .iter()
            .map(|file| &file.role)
            .chain(peers)
            .for_each(|role| roster.add(role));
        roster
    }

    /// Makes a role, so that its counters begin at 0 and not with its first worker.
    pub fn add(&self, role: &str) {
        with_role(&mut self.roles.lock(), role, |_| {});
    }

    /// Takes the process of this number in as a worker, unless it is known. It stays one until it
    /// ends. To be called for processes that live, every second or so: one that is gone already
    /// costs a look at `/proc` and is not counted.
    pub fn seen(&self, role: &str, pid: u32) {
        self.seen_all(role, [pid]);
    }

    fn seen_all(&self, role: &str, pids: impl IntoIterator<Item = u32>) {
        let own = std::process::id();
        with_role(&mut self.roles.lock(), role, |role| {
            for pid in pids.into_iter().filter(|pid| *pid != own) {
                role.seen(pid, self.start_ticks);
            }
        });
    }

    /// Looks who has come, who is gone, and what the others use; to be called every second, since
    /// what a worker used after the last look before its end is not counted.
    pub fn look(&self) {
        let now_millis = self.now_millis();
        for role in self.roles.lock().iter_mut() {
            // First those who are gone: somebody may have their number.
            role.bury();
        }
        for (role, children) in self.children() {
            self.seen_all(&role, children);
        }
        if let Some((role, processes)) = &self.peers {
            self.seen_all(role, processes.take());
        }
        for role in self.roles.lock().iter_mut() {
            role.look(now_millis);
        }
    }

    /// The masters' children by role. A master that is the child of another, as with gunicorn while
    /// it is replaced, is no worker.
    fn children(&self) -> Vec<(String, BTreeSet<u32>)> {
        let mut masters = self.masters.lock();
        masters.iter_mut().for_each(Master::look);
        let numbers: BTreeSet<u32> = masters.iter().filter_map(Master::pid).collect();
        let children = |master: &mut Master| {
            let children = &master.children() - &numbers;
            (master.role().to_owned(), children)
        };
        masters.iter_mut().map(children).collect()
    }

    /// Whether it is time for another table of what workers have observed.
    #[must_use]
    pub fn wants_table(&self) -> bool {
        self.window.lock().is_due(self.now_millis())
    }

    /// Takes in what each worker that lives has observed until now.
    pub fn take_table(&self, table: Vec<Observed>) {
        self.window.lock().take(self.now_millis(), table);
    }

    /// What there is to tell at this moment.
    #[must_use]
    pub fn report(&self) -> Report {
        let now_millis = self.now_millis();
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let mut roles = self.roles.lock();
        let roles = roles.iter_mut().map(|role| role.report(now_millis, ticks_per_second));
        Report {
            roles: roles.collect(),
            masters: self.masters(),
            skews: self.window.lock().skews().to_vec(),
        }
    }

    fn masters(&self) -> Vec<(Box<str>, u64, u64)> {
        let masters = self.masters.lock();
        let mut of_roles: Vec<(Box<str>, u64, u64)> = Vec::new();
        for master in masters.iter() {
            let (alive, faults) = (u64::from(master.pid().is_some()), master.faults());
            match of_roles.iter_mut().find(|(role, ..)| **role == *master.role()) {
                Some(known) => (known.1, known.2) = (known.1 + alive, known.2 + faults),
                None => of_roles.push((master.role().into(), alive, faults)),
            }
        }
        of_roles.sort_unstable();
        of_roles
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Has something done with a role, which begins here if there is none of this name.
fn with_role(roles: &mut Vec<Role>, name: &str, act: impl FnOnce(&mut Role)) {
    let place = roles.binary_search_by(|role| role.name().cmp(name)).unwrap_or_else(|place| {
        roles.insert(place, Role::new(name));
        place
    });
    if let Some(role) = roles.get_mut(place) {
        act(role);
    }
}

/// The time since the machine started, as the beginnings of processes are told.
fn ticks_since_boot() -> u64 {
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    let ticks = up.as_millis() * u128::from(procfs::ticks_per_second()) / 1000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, ChildStdin, Command, Stdio};

    use super::*;

    #[test]
    fn a_worker_counts_in_each_of_its_roles() {
        let roster = Roster::new(&Config::default(), None);
        roster.add("web");
        roster.add("api");
        let mut worker = cat();
        for role in ["web", "files", "web"] {
            roster.seen(role, worker.id());
        }
        roster.seen("web", std::process::id());
        check(&roster, &[("api", 0, 0, 0), ("files", 1, 1, 0), ("web", 1, 1, 0)]);
        end(&mut worker);
        // Whoever reads the page learns it before the next look.
        check(&roster, &[("api", 0, 0, 0), ("files", 0, 1, 1), ("web", 0, 1, 1)]);
    }

    #[test]
    fn a_number_that_comes_again_is_another_worker() {
        let roster = Roster::new(&Config::default(), None);
        let mut worker = cat();
        for turn in 1..=3 {
            roster.seen("web", worker.id());
            check(&roster, &[("web", 1, turn, turn - 1)]);
            end(&mut worker);
            roster.seen("web", worker.id());
            roster.look();
            check(&roster, &[("web", 0, turn, turn)]);
            worker = cat();
        }
        end(&mut worker);
    }

    #[test]
    fn the_children_of_a_master_are_workers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.pid");
        let file = |path| PidFile { role: "web".to_owned(), path };
        let pidfiles = vec![file(path.clone()), file(dir.path().join("web.pid.2"))];
        let roster = Roster::new(&Config { pidfiles, unix_peers: None }, None);
        roster.look();
        check(&roster, &[("web", 0, 0, 0)]);
        let (mut master, orders) = master();
        fs::write(&path, format!("{}\n", master.id())).unwrap();
        wait_for(&roster, ("web", 2, 2, 0));
        assert_eq!(roster.report().masters, [("web".into(), 1, 0)]);
        // The end of its input ends the master, and its workers with it.
        drop(orders);
        master.wait().unwrap();
        wait_for(&roster, ("web", 0, 2, 2));
        fs::write(&path, "?").unwrap();
        roster.look();
        assert_eq!(roster.report().masters, [("web".into(), 0, 1)]);
        let (mut master, orders) = self::master();
        fs::write(&path, master.id().to_string()).unwrap();
        wait_for(&roster, ("web", 2, 4, 2));
        drop(orders);
        master.wait().unwrap();
    }

    #[test]
    fn a_master_that_another_has_started_is_no_worker() {
        let dir = tempfile::tempdir().unwrap();
        let config = |role: &str| PidFile { role: role.to_owned(), path: dir.path().join(role) };
        let pidfiles = vec![config("old"), config("new")];
        let roster = Roster::new(&Config { pidfiles, unix_peers: None }, None);
        let mut child = cat();
        fs::write(dir.path().join("old"), std::process::id().to_string()).unwrap();
        fs::write(dir.path().join("new"), child.id().to_string()).unwrap();
        let children = roster.children();
        assert!(children.iter().all(|(_, children)| !children.contains(&child.id())));
        fs::write(dir.path().join("new"), std::process::id().to_string()).unwrap();
        // The kernel may leave some out while others end.
        let is_known = |(_, children): &(String, BTreeSet<u32>)| children.contains(&child.id());
        while !roster.children().iter().all(is_known) {}
        end(&mut child);
    }

    #[test]
    fn tables_are_wanted_now_and_then() {
        let roster = Roster::new(&Config::default(), None);
        assert!(roster.wants_table());
        let row = |(pid, sum, count)| Observed {
            role: "web".into(),
            pid,
            family: "time".into(),
            sum,
            count,
        };
        roster.take_table([(1, 8.0, 9.0)].map(row).to_vec());
        roster.take_table([(1, 9.0, 19.0), (2, 1.0, 10.0), (3, 5.0, 10.0)].map(row).to_vec());
        assert!(!roster.wants_table());
        let skew = Skew { role: "web".into(), family: "time".into(), ratio: 5.0 };
        assert_eq!(roster.report().skews, [skew]);
    }

    /// A process with two children, which ends with them when its input does.
    fn master() -> (Child, ChildStdin) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<&0; cat <&3 & cat <&3 & wait"]).stdin(Stdio::piped());
        let mut master = shell.spawn().unwrap();
        let orders = master.stdin.take().unwrap();
        (master, orders)
    }

    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
    }

    fn end(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn counts(roster: &Roster) -> Vec<(String, usize, u64, u64)> {
        let roles = roster.report().roles.into_iter();
        roles.map(|role| (role.name.into(), role.alive, role.started, role.gone)).collect()
    }

    fn wait_for(roster: &Roster, (role, alive, started, gone): (&str, usize, u64, u64)) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            roster.look();
            let counts = counts(roster);
            if counts == [(role.to_owned(), alive, started, gone)] {
                return;
            }
            assert!(Instant::now() < deadline, "{counts:?}");
        }
    }

    #[track_caller]
    fn check(roster: &Roster, expected: &[(&str, usize, u64, u64)]) {
        let expected = expected.iter().map(|(name, a, s, g)| ((*name).to_owned(), *a, *s, *g));
        assert_eq!(counts(roster), expected.collect::<Vec<_>>());
    }
}
