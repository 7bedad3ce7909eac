//! One life of a process. A number is given again to another process, a life is not.

use std::os::fd::OwnedFd;

use procfs::ProcError;
use procfs::process::{ProcState, Process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// One life of a process, seen from outside.
#[derive(Debug)]
pub struct Life {
    pid: u32,
    /// When it began, in the kernel's ticks since the machine started.
    started_ticks: u64,
    /// Becomes readable at the end. None where the kernel or a sandbox refuses it.
    handle: Option<OwnedFd>,
}

impl Life {
    /// The life that has this number at the moment; none if nobody has it, or only a process that
    /// has ended and that its parent has not asked about yet.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        // The handle first: what is read after it is of the same life, or the handle tells the end.
        let handle = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let handle = pidfd_open(handle, PidfdFlags::empty()).ok();
        let started_ticks = started_ticks(pid)?;
        let life = Self { pid, started_ticks, handle };
        (!life.is_over()).then_some(life)
    }

    /// The process' number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it began, in the kernel's ticks since the machine started; no other process of this
    /// number has the same.
    #[must_use]
    pub fn started_ticks(&self) -> u64 {
        self.started_ticks
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let Some(handle) = &self.handle else {
            return started_ticks(self.pid) != Some(self.started_ticks);
        };
        has_ended(handle)
    }
}

/// Whether a process of this number runs that we may not look at, as with a `/proc` that shows each
/// user only their own: so nobody can tell which life it is.
#[must_use]
pub fn is_hidden(pid: u32) -> bool {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let handle = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
    // In this order: one that ends meanwhile is not hidden.
    handle.is_some_and(|handle| started_ticks(pid).is_none() && !has_ended(&handle))
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut wait = [PollFd::new(handle, PollFlags::IN)];
    let ready = poll(&mut wait, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    ready.is_ok_and(|ready| ready > 0)
}

/// When the process of this number began; none if there is none that runs.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = Process::new(i32::try_from(pid).ok()?).and_then(|process| process.stat());
    let stat = stat.inspect_err(complain).ok()?;
    let has_ended = matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead));
    (!has_ended).then_some(stat.starttime)
}

fn complain(error: &ProcError) {
    if !matches!(error, ProcError::NotFound(_)) {
        tracing::debug!(%error, "A process cannot be looked at.");
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_life_ends_before_anybody_asks_for_the_rest() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let life = Life::of(child.id()).unwrap();
        assert_eq!((life.pid(), life.is_over()), (child.id(), false));
        let blind = Life { handle: None, ..Life::of(child.id()).unwrap() };
        assert!(!blind.is_over() && blind.started_ticks() == life.started_ticks());
        // Its input ends; it is a zombie until `wait`.
        drop(child.stdin.take());
        while !life.is_over() {
            std::thread::yield_now();
        }
        assert!(blind.is_over() && Life::of(child.id()).is_none() && !is_hidden(child.id()));
        child.wait().unwrap();
        assert!(life.is_over() && blind.is_over() && Life::of(child.id()).is_none());
        assert!(!is_hidden(child.id()) && !is_hidden(std::process::id()));
    }

    #[test]
    fn a_number_that_came_again_is_another_life() {
        let own = Life::of(std::process::id()).unwrap();
        let before = Life { started_ticks: own.started_ticks() - 1, handle: None, ..own };
        assert!(before.is_over());
        for nobody in [0, u32::MAX] {
            assert!(Life::of(nobody).is_none());
        }
    }
}
