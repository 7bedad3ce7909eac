//! What is wrong with files, and how much of it there was.

use std::collections::BTreeMap;
use std::path::Path;

use super::facts::ErrorTotal;
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
    /// What counts already on disk could not be removed.
    Reap,
}

impl Problem {
    /// Every problem.
    pub const ALL: [Self; 11] = [
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

/// Clashes that are kept.
const MAX_CLASHES: usize = 1000;

/// All that was wrong.
#[derive(Debug, Default)]
pub struct Problems {
    /// And the last one, for people.
    counts: BTreeMap<Problem, (u64, String)>,
    told: u32,
    clashes: BTreeMap<String, (Kind, Kind)>,
}

impl Problems {
    /// Counts a problem and tells of it. The caller does so once for each, not once for each look.
    pub fn note(&mut self, problem: Problem, path: &Path, detail: &str) {
        let detail: String = detail.chars().take(200).collect();
        let path = path.display().to_string();
        let reason = problem.words();
        if self.told < MAX_TOLD {
            self.told += 1;
            tracing::warn!(path, detail, "Not everything in workers' files counts: {reason}.");
            if self.told == MAX_TOLD {
                tracing::warn!(
                    "More problems of workers' files are counted, not logged: see \
                     tallyd_multiproc_errors_total."
                );
            }
        }
        let (total, last) = self.counts.entry(problem).or_default();
        *total += 1;
        *last = if detail.is_empty() {
            format!("{path}: {reason}")
        } else {
            format!("{path}: {reason} ({detail})")
        };
    }

    /// Remembers that a family of the first kind has kept one of the second out.
    pub fn note_clash(&mut self, family: &str, first: Kind, second: Kind) {
        if self.clashes.len() < MAX_CLASHES {
            self.clashes.insert(family.to_owned(), (first, second));
        }
    }

    /// How many there were of each kind that came up, and the last of each.
    #[must_use]
    pub fn totals(&self) -> Vec<ErrorTotal> {
        let totals = self.counts.iter().map(|(problem, (total, last))| ErrorTotal {
            reason: problem.as_str(),
            total: *total,
            last: Some(last.clone()),
        });
        totals.collect()
    }

    /// Families that are there as the first kind, and were wanted as the second as well.
    pub fn clashes(&self) -> impl Iterator<Item = (&str, Kind, Kind)> {
        self.clashes.iter().map(|(family, (first, second))| (family.as_str(), *first, *second))
    }
}
