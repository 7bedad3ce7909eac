//! What a process uses: processor, memory, files.

use procfs::ProcError;
use procfs::process::Process;

use super::Life;

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since it began, its own and the kernel's for it, in ticks.
    pub cpu_ticks: u64,
    /// Memory that is there and not on a disk. What it shares with others counts for each of them.
    pub resident_bytes: u64,
}

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It has ended.
    Ended,
    /// We may not look.
    Refused,
}

/// A living process that can be looked at.
#[derive(Debug)]
pub struct Look {
    process: Process,
    /// Processor and memory.
    pub usage: Usage,
}

impl Look {
    /// Looks at a process.
    ///
    /// # Errors
    /// Each variant of [`Unknown`].
    pub fn at(life: &Life) -> Result<Self, Unknown> {
        let pid = i32::try_from(life.pid()).map_err(|_| Unknown::Ended)?;
        let process = Process::new(pid).map_err(|error| unknown(&error))?;
        let stat = process.stat().map_err(|error| unknown(&error))?;
        if stat.starttime != life.started_ticks() {
            return Err(Unknown::Ended);
        }
        let usage = Usage {
            cpu_ticks: stat.utime.saturating_add(stat.stime),
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        };
        Ok(Self { process, usage })
    }

    /// How many files it has open. Before Linux 6.2 they are counted one by one.
    ///
    /// # Errors
    /// Each variant of [`Unknown`]; another user's files mostly are [`Unknown::Refused`].
    pub fn open_files(&self) -> Result<u64, Unknown> {
        let files = self.process.fd_count().map_err(|error| unknown(&error))?;
        Ok(files as u64)
    }
}

fn unknown(error: &ProcError) -> Unknown {
    let has_ended = match error {
        ProcError::NotFound(_) => true,
        // What the files of a process say that ends while they are read.
        ProcError::Io(error, _) => error.raw_os_error() == Some(libc::ESRCH),
        _ => false,
    };
    if has_ended { Unknown::Ended } else { Unknown::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_time_memory_and_files() {
        let life = Life::of(std::process::id()).unwrap();
        let before = Look::at(&life).unwrap();
        let held = vec![1_u8; 32 << 20];
        let file = std::fs::File::open("/dev/null").unwrap();
        let after = loop {
            let look = Look::at(&life).unwrap();
            if look.usage.cpu_ticks > before.usage.cpu_ticks + 1 {
                break look;
            }
        };
        assert!(after.usage.resident_bytes > held.iter().map(|byte| u64::from(*byte)).sum());
        assert!(after.open_files().unwrap() >= 4);
        drop(file);
    }

    #[test]
    fn who_may_not_be_looked_at_has_not_ended() {
        let io = |errno| ProcError::Io(std::io::Error::from_raw_os_error(errno), None);
        for (error, expected) in [
            (ProcError::PermissionDenied(None), Unknown::Refused),
            (io(libc::EPERM), Unknown::Refused),
            (ProcError::NotFound(None), Unknown::Ended),
            (io(libc::ESRCH), Unknown::Ended),
        ] {
            assert_eq!(unknown(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn who_has_ended_is_not_confused_with_who_has_its_number() {
        let mut cat = std::process::Command::new("cat");
        let mut child = cat.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let life = Life::of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Look::at(&life).unwrap_err(), Unknown::Ended);
    }
}
