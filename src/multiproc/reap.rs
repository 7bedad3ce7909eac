//! Removing files of workers that are gone, once what they counted is on disk.
//!
//! A process may get the number of one that is gone and open its file. So a file first gets another name,
//! under which nobody opens it, and is removed only if nobody with that number has come meanwhile. A file
//! that is left under that name, since the program ended in between, gets its own back at the next start.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::directory::{Directory, identity};
use super::member::{Member, Standing};
use super::problem::{Problem, Problems};
use super::worker::{Worker, exists};

/// What a file is called that is about to be removed.
const SUFFIX: &str = ".db.reaped";

impl Directory {
    /// Gives files their names back that were left on their way out.
    pub fn recover(&self) {
        let Ok((entries, handle)) = std::fs::read_dir(&self.path)
            .and_then(|entries| Ok((entries, File::open(&self.path)?)))
        else {
            return;
        };
        for entry in entries.flatten() {
            let left = entry.file_name();
            let Some(stem) = left.to_str().and_then(|left| left.strip_suffix(SUFFIX)) else {
                continue;
            };
            let name = format!("{stem}.db");
            let back = renameat_with(&handle, &left, &handle, &*name, RenameFlags::NOREPLACE);
            if back == Err(Errno::EXIST) {
                // Another process has the number, and a file of its own.
                unlinkat(&handle, &left, AtFlags::empty()).unwrap_or_default();
            }
        }
    }

    /// Removes the files that were settled when the state was saved.
    pub fn reap(&mut self, problems: &mut Problems) {
        if !self.is_ours {
            return;
        }
        let Ok(handle) = File::open(&self.path) else { return };
        let saved = |member: &&mut Member| member.standing == Standing::Saved;
        for member in self.settled.values_mut().filter(saved) {
            let pid = self.workers.get(&member.worker).filter(|worker| worker.is_final());
            let Some(pid) = pid.and_then(Worker::pid) else { continue };
            if !identity(&handle, &member.name).is_ok_and(|found| found == Some(member.identity)) {
                continue;
            }
            // Once is enough, whatever comes of it; the next save marks it again.
            member.standing = Standing::Settled;
            match remove(&handle, &member.name, pid) {
                Ok(is_gone) => self.reaped_files += u64::from(is_gone),
                Err(error) => {
                    let path = self.path.join(&*member.name);
                    problems.note(Problem::Reap, &path, &error.to_string());
                    break;
                }
            }
        }
    }
}

/// Removes a file unless a process of that number has come.
fn remove(directory: &File, name: &str, pid: u32) -> io::Result<bool> {
    let aside = format!("{}{SUFFIX}", name.strip_suffix(".db").unwrap_or(name));
    if exists(pid) {
        return Ok(false);
    }
    let directory = directory.as_fd();
    renameat(directory, name, directory, &*aside)?;
    if exists(pid) {
        match renameat_with(directory, &*aside, directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(false),
            // It has made a file of its own, so it has not opened this one.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    unlinkat(directory, &*aside, AtFlags::empty())?;
    Ok(true)
}
