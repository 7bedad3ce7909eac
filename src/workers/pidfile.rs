//! Pid files: the number of a master process, whose children are workers.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use procfs::process::{Process, all_processes};
use procfs::{ProcError, ProcResult};
use tracing::{info, warn};

use super::life::{Life, is_hidden};

/// More than any number takes; some servers write more lines, the first of which is the number.
const MAX_BYTES: u64 = 64;

/// By how much a file may be older than the process it names: the clock may have been set meanwhile.
const SLACK: Duration = Duration::from_secs(5);

/// A file with the number of a server's master process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// What its workers are.
    pub role: String,
    /// Where it is, or will be.
    pub path: PathBuf,
}

/// Why a file names no process.
#[derive(Debug, thiserror::Error)]
enum PidFileError {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("its first line is not the number of a process")]
    NoNumber,
    #[error("process {0} may not be looked at")]
    Hidden(u32),
    #[error("process {0} began after the file was written, so it is another one")]
    Another(u32),
    #[error("the children of process {0} cannot be looked up: {1}")]
    Children(u32, ProcError),
}

/// A pid file and the process that it names.
#[derive(Debug)]
pub(super) struct Master {
    file: PidFile,
    life: Option<Life>,
    /// What was wrong at the last look.
    fault: Option<String>,
    faults: u64,
}

impl Master {
    /// A master that has not been looked for.
    pub(super) fn new(file: PidFile) -> Self {
        Self { file, life: None, fault: None, faults: 0 }
    }

    pub(super) fn role(&self) -> &str {
        &self.file.role
    }

    /// The master's number, while it lives.
    pub(super) fn pid(&self) -> Option<u32> {
        self.life.as_ref().map(Life::pid)
    }

    /// How often something began to be wrong with the file.
    pub(super) fn faults(&self) -> u64 {
        self.faults
    }

    /// Looks who the master is. It stays the same while it lives, unless the file names another one:
    /// some servers remove their file before they end.
    pub(super) fn look(&mut self) {
        if self.life.as_ref().is_some_and(Life::is_over) {
            self.life = None;
        }
        let named = match read(&self.file.path) {
            Ok(named) => named,
            Err(error) => return self.complain(Some(error.to_string())),
        };
        let Some((pid, written)) = named.filter(|(pid, _)| Some(*pid) != self.pid()) else {
            return self.complain(None);
        };
        let Some(life) = Life::of(pid) else {
            // Where nobody has the number, a server has left its file behind.
            let hidden = is_hidden(pid).then(|| PidFileError::Hidden(pid).to_string());
            return self.complain(hidden);
        };
        if started_at(&life).is_some_and(|started| started > written + SLACK) {
            return self.complain(Some(PidFileError::Another(pid).to_string()));
        }
        info!(role = self.role(), pid, "Found the master of workers.");
        self.life = Some(life);
        self.complain(None);
    }

    /// The numbers of its children.
    pub(super) fn children(&mut self) -> BTreeSet<u32> {
        let Some(life) = &self.life else { return BTreeSet::new() };
        match children(life.pid()) {
            // Another process may have its number by now.
            Ok(children) if !life.is_over() => children,
            Err(error) if !life.is_over() => {
                let error = PidFileError::Children(life.pid(), error);
                self.complain(Some(error.to_string()));
                BTreeSet::new()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Counts and tells what is wrong, once.
    fn complain(&mut self, fault: Option<String>) {
        if let Some(fault) = fault.as_ref().filter(|_| fault != self.fault) {
            self.faults += 1;
            let path = self.file.path.display();
            warn!(role = self.role(), %path, fault, "A pid file names no master.");
        }
        self.fault = fault;
    }
}

/// The number in a file, and when it was written; none while there is none.
fn read(path: &Path) -> Result<Option<(u32, SystemTime)>, PidFileError> {
    // Whatever may be there, nothing is waited for.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let written = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let number = std::str::from_utf8(line).ok().and_then(|line| line.trim().parse().ok());
    let pid = number.filter(|pid| *pid > 0).ok_or(PidFileError::NoNumber)?;
    Ok(Some((pid, written)))
}

/// When a process began, by the clock on the wall.
fn started_at(life: &Life) -> Option<SystemTime> {
    let up = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let ticks = life.started_ticks() as f64 / procfs::ticks_per_second() as f64;
    let age = up.saturating_sub(Duration::try_from_secs_f64(ticks).ok()?);
    SystemTime::now().checked_sub(age)
}

fn children(pid: u32) -> ProcResult<BTreeSet<u32>> {
    let number = i32::try_from(pid).map_err(|_| ProcError::NotFound(None))?;
    let mut children = BTreeSet::new();
    // A child belongs to the thread that made it.
    for task in Process::new(number)?.tasks()? {
        let Ok(task) = task else { continue };
        match task.children() {
            Ok(more) => children.extend(more),
            // The kernel may have been built without it; or the thread has ended.
            Err(ProcError::NotFound(_)) => return by_parent(number),
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// The children of a process, found by looking at all processes.
fn by_parent(parent: i32) -> ProcResult<BTreeSet<u32>> {
    let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
    let children = stats.filter(|stat| stat.ppid == parent);
    Ok(children.filter_map(|stat| u32::try_from(stat.pid).ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command, Stdio};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn children_are_found_by_their_threads_and_by_their_parents() {
        let own = std::process::id();
        let mut child = cat();
        // The kernel may leave some out while others end.
        while !children(own).unwrap().contains(&child.id()) {}
        assert!(by_parent(own.try_into().unwrap()).unwrap().contains(&child.id()));
        assert!(!children(child.id()).unwrap().contains(&own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(own).unwrap().contains(&child.id()));
        assert!(children(u32::MAX).is_err() && children(child.id()).is_err());
    }

    #[test]
    fn a_file_comes_changes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.pid");
        let mut master = Master::new(PidFile { role: "web".to_owned(), path: path.clone() });
        let mut look = |expected: Option<&Child>, faults: u64| {
            master.look();
            assert_eq!((master.pid(), master.faults()), (expected.map(Child::id), faults));
        };
        let (mut first, mut second) = (cat(), cat());
        look(None, 0);
        // A server opens its file before it writes to it.
        fs::write(&path, "").unwrap();
        look(None, 0);
        fs::write(&path, format!("{}\n", first.id())).unwrap();
        look(Some(&first), 0);
        for text in ["nonsense", "-4", "0", "99999999999999"] {
            fs::write(&path, text).unwrap();
            look(Some(&first), 1);
        }
        fs::write(&path, format!(" {} \n/var/lib\n{}", second.id(), "x".repeat(9999))).unwrap();
        look(Some(&second), 1);
        fs::write(&path, b"\xff").unwrap();
        look(Some(&second), 2);
        fs::remove_file(&path).unwrap();
        look(Some(&second), 2);
        second.kill().unwrap();
        second.wait().unwrap();
        look(None, 2);
        fs::create_dir(&path).unwrap();
        look(None, 3);
        fs::remove_dir(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        look(None, 3);
        fs::remove_file(&path).unwrap();
        fs::write(&path, second.id().to_string()).unwrap();
        look(None, 3);
        first.kill().unwrap();
        first.wait().unwrap();
    }

    #[test]
    fn a_file_older_than_its_process_names_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.pid");
        let mut master = Master::new(PidFile { role: "web".to_owned(), path: path.clone() });
        let mut child = cat();
        fs::write(&path, child.id().to_string()).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
        master.look();
        assert_eq!((master.pid(), master.faults()), (None, 1));
        assert!(master.children().is_empty());
        file.set_modified(SystemTime::now()).unwrap();
        master.look();
        assert_eq!((master.pid(), master.faults()), (Some(child.id()), 1));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
    }
}
