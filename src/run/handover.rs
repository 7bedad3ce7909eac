//! Handing over to a successor: the program is started anew in the place of this one.
//!
//! The process stays, and with it its number and what is open in it, so nobody outside need know:
//! not systemd, not a container whose first process this is. The sockets are passed on as they are.
//! What was counted goes by way of a file in memory, which is the successor's standard input.
//!
//! Once the new program runs there is no way back, so it is first tried: it must read its
//! configuration without an error while this one goes on.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};

use crate::net::{HANDOVER_VARIABLE, Spare};

/// How long the new program may take to read its configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// How often somebody looks whether it is done.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Passed descriptors begin behind the three that every program has.
const FIRST_DESCRIPTOR: i32 = 3;

/// What is started in our place.
#[derive(Debug)]
pub(super) struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// The program that runs now, or what will be at its path by then, with the same arguments.
    ///
    /// # Errors
    /// When the system does not tell what runs.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { program: env::current_exe()?, arguments: env::args_os().collect() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((name, rest)) = self.arguments.split_first() {
            command.arg0(name).args(rest);
        }
        command
    }

    /// Has the new program read its configuration.
    ///
    /// # Errors
    /// What it said when it could not.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let mut said = memory("tallyd-check")?;
        let mut child = self
            .command()
            .arg("--check-config")
            .env_remove(HANDOVER_VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("it takes longer than {CHECK_TIMEOUT:?} to read its configuration");
            }
            thread::sleep(CHECK_INTERVAL);
        };
        if status.success() {
            return Ok(());
        }
        let mut text = String::new();
        said.rewind()?;
        said.read_to_string(&mut text)?;
        Err(anyhow!("{status}: {}", text.trim_end()))
    }

    /// Starts the new program in our place, with these sockets and this state; returns only what
    /// has kept it from that.
    pub(super) fn take_over(&self, spare: Spare, state: File) -> anyhow::Error {
        let names = spare.names();
        let mappings: Vec<FdMapping> = spare
            .into_descriptors()
            .zip(FIRST_DESCRIPTOR..)
            .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
            .collect();
        let process = std::process::id().to_string();
        let mut command = self.command();
        command
            .env(HANDOVER_VARIABLE, &process)
            .env("LISTEN_PID", &process)
            .env("LISTEN_FDS", mappings.len().to_string())
            .env("LISTEN_FDNAMES", names)
            .stdin(state);
        match command.fd_mappings(mappings) {
            Ok(command) => anyhow::Error::new(command.exec()),
            Err(error) => anyhow::Error::new(error),
        }
    }
}

/// What the process before this one has left in our standard input.
///
/// # Errors
/// When there is nothing.
pub(super) fn state_of_predecessor() -> io::Result<File> {
    let descriptor: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(descriptor.into())
}

/// A file in memory.
///
/// # Errors
/// When the system has none.
pub(super) fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// The signals that a process is asked by to do something. While they are blocked they wait, also
/// for a successor.
fn wishes() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2].into_iter().collect()
}

/// Has signals wait, for this thread and those that it starts from here on.
///
/// # Errors
/// None that the system is known for.
pub(super) fn block_signals() -> io::Result<()> {
    Ok(wishes().thread_block()?)
}

/// Lets signals come to this thread.
///
/// # Errors
/// None that the system is known for.
pub(super) fn unblock_signals() -> io::Result<()> {
    Ok(wishes().thread_unblock()?)
}
