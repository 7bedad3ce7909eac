//! Whether the workers live whose files are in a directory.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::member::Identity;
use crate::workers::Life;
use crate::workers::life::is_hidden;

/// How it is known whether a worker lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    /// By its process, whose number the file's name has.
    #[default]
    Pid,
    /// One whose files have not changed for so long is gone.
    Age(Duration),
    /// All live.
    Never,
}

/// How often a process is looked at that has a worker's number but not its files.
const JUDGE_INTERVAL_MILLIS: u64 = 1000;

/// A process whose start is told to be that much later than its file's is not its writer.
const CLOCK_SLACK_SECONDS: u64 = 2;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    pid: Option<u32>,
    state: State,
    judged_millis: Option<u64>,
    /// Its files have been read since it was found gone.
    pub was_read: bool,
}

#[derive(Debug)]
enum State {
    Unjudged,
    Lives(Life),
    /// Somebody may have its number.
    Gone {
        is_number_taken: bool,
    },
}

impl Worker {
    /// A worker of whom only the name is known.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let pid = name.parse().ok().filter(|pid| i32::try_from(*pid).is_ok_and(|pid| pid > 0));
        Self { pid, state: State::Unjudged, judged_millis: None, was_read: false }
    }

    /// Its process' number.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether its process was found.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        matches!(self.state, State::Lives(_))
    }

    /// Whether it counts among the living; those do of whom nothing is known.
    #[must_use]
    pub fn lives(&self) -> bool {
        !matches!(self.state, State::Gone { .. })
    }

    /// Whether nobody can write into its files: it is gone, and so is everybody with its number.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Gone { is_number_taken: false })
    }

    /// Looks at its process; `files` are those that it writes. For workers without a number there is
    /// nothing to look at.
    pub fn judge(&mut self, now_millis: u64, files: impl FnOnce() -> HashSet<Identity>) {
        let Some(pid) = self.pid else { return };
        let is_number_taken = match &self.state {
            State::Lives(life) if !life.is_over() => return,
            State::Unjudged | State::Lives(_) | State::Gone { .. } => exists(pid),
        };
        let before = std::mem::replace(&mut self.state, State::Gone { is_number_taken });
        if !matches!(before, State::Gone { .. }) {
            self.was_read = false;
            self.judged_millis = None;
        }
        let is_judged = self
            .judged_millis
            .is_some_and(|judged| now_millis.saturating_sub(judged) < JUDGE_INTERVAL_MILLIS);
        if is_number_taken && !is_judged {
            self.judged_millis = Some(now_millis);
            match Life::of(pid) {
                Some(life) if is_writer(&life, &files()) => self.state = State::Lives(life),
                // Nobody can say that it is not the one.
                None if is_hidden(pid) => self.state = State::Unjudged,
                Some(_) | None => {}
            }
        }
    }

    /// Says that it is gone or not, where its process has no say.
    pub fn set_gone(&mut self, is_gone: bool) {
        self.state = if is_gone { State::Gone { is_number_taken: true } } else { State::Unjudged };
    }
}

/// Whether there is a process of this number, of any user, ended or not.
#[must_use]
pub fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether a process is the one that writes these files: it has one of them open. Where it does not let
/// us see that, it is the writer unless it began after they did.
fn is_writer(life: &Life, files: &HashSet<Identity>) -> bool {
    let open = match fs::read_dir(format!("/proc/{}/fd", life.pid())) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return began_before(life, files);
        }
        Err(_) => return false,
    };
    open.flatten().any(|open| {
        let inode = fs::metadata(open.path()).map(|open| open.ino());
        inode.is_ok_and(|inode| files.iter().any(|file| file.inode == inode))
    })
}

fn began_before(life: &Life, files: &HashSet<Identity>) -> bool {
    let Ok(boot_seconds) = procfs::boot_time_secs() else { return true };
    let began = boot_seconds + life.started_ticks() / procfs::ticks_per_second().max(1);
    let born = files.iter().map(|file| u64::try_from(file.born_nanos / 1_000_000_000).unwrap_or(0));
    // A file system that does not know when a file was made says nothing against anybody.
    born.max().is_none_or(|born| born == 0 || began <= born + CLOCK_SLACK_SECONDS)
}
