//! What there is to say of workers' files besides what they hold: how many, whose, and what is wrong.

use serde::Serialize;

use super::Clash;
use crate::aggregate::limits::FullFamily;

/// The files of all directories, as the last reading found them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// The directories, as they were given.
    pub directories: Vec<Directory>,
    /// Families that the files hold, shown or not.
    pub families: u64,
    /// Series that the files hold and that were let in.
    pub series: u64,
    /// How often the files were read.
    pub reads_total: u64,
    /// How long all these readings took together.
    pub read_seconds_total: f64,
    /// How long the last one took.
    pub last_read_seconds: f64,
    /// What could not be used, by reason; those that never came up are left out.
    pub errors: Vec<ErrorTotal>,
    /// Families that were refused a series by a limit of their own.
    #[serde(skip)]
    pub full: Vec<FullFamily>,
    /// Families that are left out, since files disagree on their type.
    #[serde(skip)]
    pub clashes: Vec<Clash>,
}

/// One directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Directory {
    /// Its path.
    pub path: String,
    /// The value that its series have for the label of `--multiproc.label`; none without one.
    pub name: Option<String>,
    /// How it is known whether a worker is alive: `pid`, `age` or `never`.
    pub liveness: &'static str,
    /// Files that are read.
    pub files: u64,
    /// What they take together.
    pub bytes: u64,
    /// Workers whose files are read and that are alive.
    pub workers_alive: u64,
    /// Files of workers that were gone, whose counts were taken over.
    pub folded_files_total: u64,
    /// Those of them that were unlinked.
    pub reaped_files_total: u64,
    /// What keeps it from being read, or its workers from being seen, in words for people.
    pub problem: Option<String>,
}

/// How often something could not be used.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorTotal {
    /// The label value of `tallyd_multiproc_errors_total`.
    pub reason: &'static str,
    /// How often.
    pub total: u64,
    /// The last time: the file, and what was wrong with it.
    pub last: Option<String>,
}
