//! What is wrong with files, and how much of it there was.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::FileError;
use super::kind::Kind;

/// Why something in a directory does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The directory cannot be read.
    Directory,
    /// A file ends in `.db` but is called as no file of `prometheus_client` is.
    Name,
    /// A file cannot be opened or read.
    Unreadable,
    /// A file says that it has more bytes than anybody would use.
    TooLarge,
    /// The start of a file is none.
    Header,
    /// A file ends before its last entry does.
    Truncated,
    /// An entry has no key; what follows it in the file cannot be found.
    Entry,
    /// A key is no list of names, labels and help.
    Key,
    /// A value is none of its kind: a number of samples with a fraction, or an infinite sum.
    Value,
    /// Another family of the files has the name, or a series of another mode.
    Clash,
    /// A limit keeps the series out.
    Limit,
    /// What counts already on disk could not be removed.
    Reap,
}

impl Problem {
    /// Every problem.
    pub const ALL: [Self; 12] = [
        Self::Directory,
        Self::Name,
        Self::Unreadable,
        Self::TooLarge,
        Self::Header,
        Self::Truncated,
        Self::Entry,
        Self::Key,
        Self::Value,
        Self::Clash,
        Self::Limit,
        Self::Reap,
    ];

    /// The label `reason` of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Name => "name",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Header => "header",
            Self::Truncated => "truncated",
            Self::Entry => "entry",
            Self::Key => "key",
            Self::Value => "value",
            Self::Clash => "clash",
            Self::Limit => "limit",
            Self::Reap => "reap",
        }
    }

    /// What is wrong, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Directory => "the directory cannot be read",
            Self::Name => "no file of prometheus_client has such a name",
            Self::Unreadable => "the file cannot be read",
            Self::TooLarge => "the file is too large",
            Self::Header => "the file does not begin with a number of bytes",
            Self::Truncated => "the file is shorter than it says",
            Self::Entry => "an entry has no key; the rest of the file does not count",
            Self::Key => "a key is no list of names, labels and help",
            Self::Value => "a number of samples is none, or a sum is infinite",
            Self::Clash => {
                "the name belongs to a family of another type, or to a gauge of another mode"
            }
            Self::Limit => "a limit keeps a series out",
            Self::Reap => "a file that is no longer needed cannot be removed",
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Header => Self::Header,
            FileError::Truncated => Self::Truncated,
            FileError::Entry => Self::Entry,
        }
    }
}

/// Problems are told of in the log so often; later ones are counted.
const MAX_TOLD: u32 = 50;

/// The last problems that are kept for people.
const MAX_KEPT: usize = 20;

/// Clashes that are kept.
const MAX_CLASHES: usize = 1000;

/// One problem as people are told of it.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it is.
    pub problem: Problem,
    /// Of which file or directory.
    pub path: String,
    /// More about it: a key, or what the system said.
    pub detail: String,
}

/// All that was wrong.
#[derive(Debug, Default)]
pub struct Problems {
    counts: BTreeMap<Problem, u64>,
    notes: Vec<Note>,
    told: u32,
    clashes: BTreeMap<String, (Kind, Kind)>,
}

impl Problems {
    /// Counts a problem and tells of it. The caller does so once for each, not once for each look.
    pub fn note(&mut self, problem: Problem, path: &Path, detail: &str) {
        *self.counts.entry(problem).or_default() += 1;
        let detail: String = detail.chars().take(200).collect();
        let path = path.display().to_string();
        if self.told < MAX_TOLD {
            self.told += 1;
            let reason = problem.words();
            tracing::warn!(path, detail, "Not everything in a worker's file counts: {reason}.");
            if self.told == MAX_TOLD {
                tracing::warn!(
                    "More problems of workers' files are counted, not logged: see \
                     tallyd_multiproc_errors_total."
                );
            }
        }
        if self.notes.len() == MAX_KEPT {
            self.notes.remove(0);
        }
        self.notes.push(Note { problem, path, detail });
    }

    /// Remembers that a family of the first kind has kept one of the second out.
    pub fn note_clash(&mut self, family: &str, first: Kind, second: Kind) {
        if self.clashes.len() < MAX_CLASHES {
            self.clashes.insert(family.to_owned(), (first, second));
        }
    }

    /// How many there were of each kind, the impossible ones left out.
    pub fn counts(&self) -> impl Iterator<Item = (Problem, u64)> + '_ {
        self.counts.iter().map(|(problem, count)| (*problem, *count))
    }

    /// The last ones.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Families that are there as the first kind, and were wanted as the second as well.
    pub fn clashes(&self) -> impl Iterator<Item = (&str, Kind, Kind)> {
        self.clashes.iter().map(|(family, (first, second))| (family.as_str(), *first, *second))
    }
}
