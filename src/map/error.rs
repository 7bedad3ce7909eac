//! What can be wrong with a mapping file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::dialect::PatternError;

/// Why a mapping file cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("cannot read mapping file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file says something that cannot be followed.
    #[error("{}:{place}{problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong there.
        problem: Box<Problem>,
    },
}

/// A line and a column, both counted from 1; shown as `12:3: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 where the place is unknown.
    pub line: u64,
    /// In characters.
    pub column: u64,
}

impl Place {
    /// No place in particular.
    pub const UNKNOWN: Self = Self { line: 0, column: 0 };

    pub(super) fn of<T>(value: &serde_saphyr::Spanned<T>) -> Self {
        Self { line: value.referenced.line(), column: value.referenced.column() }
    }

    /// The place behind a text.
    pub(super) fn after(text: &[u8]) -> Self {
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let text = String::from_utf8_lossy(text);
        let line = count(text.matches('\n').count()) + 1;
        let column = count(text.rsplit('\n').next().map_or(0, |line| line.chars().count())) + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNKNOWN {
            write!(f, " ")
        } else {
            write!(f, "{}:{}: ", self.line, self.column)
        }
    }
}

/// What is wrong at some place of a mapping file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Bytes that are no text.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// Not YAML, or a value of the wrong kind.
    #[error("{0}")]
    Yaml(String),
    /// A key nobody knows.
    #[error("unknown key `{key}`; {}", hint(nearest.as_deref(), known))]
    UnknownKey {
        /// As written.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// All that can stand here.
        known: String,
    },
    /// A key of ours, or an older one, under `--compat=reference`.
    #[error("unknown key `{key}`; {advice}")]
    NotInReference {
        /// As written.
        key: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// One key twice.
    #[error("the key `{0}` stands here twice")]
    DuplicateKey(String),
    /// One setting under its old and its new spelling.
    #[error("`{old}` is an old spelling of {new}, which is set as well; remove `{old}`")]
    TwoSpellings {
        /// The old key.
        old: &'static str,
        /// Its successor.
        new: &'static str,
    },
    /// A word that is none of the possible ones.
    #[error("unknown {key} `{word}`; {}", hint(nearest.as_deref(), known))]
    UnknownWord {
        /// The key.
        key: &'static str,
        /// Its value.
        word: String,
        /// The value that was probably meant.
        nearest: Option<String>,
        /// All that can stand here.
        known: String,
    },
    /// A rule without a name.
    #[error("the rule has no `name`; every rule needs one, also one that drops")]
    NoName,
    /// A name that cannot become the name of a metric.
    #[error(
        "`{}` cannot be the name of a metric; write letters, digits, `_` and references such as \
         `$1` or `${{1}}`, no digit first",
        .0.escape_debug()
    )]
    Name(String),
    /// A label's name that Prometheus does not allow.
    #[error(
        "`{}` cannot be the name of a label; write letters, digits and `_`, no digit first",
        .0.escape_debug()
    )]
    Label(String),
    /// A name that tags cannot be given, or one that no label has.
    #[error(
        "`{}` cannot be the name of a label here; write letters, digits and `_`, no digit and not \
         `__` first",
        .0.escape_debug()
    )]
    TagName(String),
    /// A glob rule without `match`.
    #[error("the rule has no `match`; every rule needs one")]
    NoMatch,
    /// A glob rule whose `match` is no glob.
    #[error(
        "`{}` is not a glob; write parts of letters, digits, `_` and `-`, or `*` for a whole \
         part, with dots between them, or set `match_type: regex`",
        .0.escape_debug()
    )]
    Glob(String),
    /// A regex that does not compile.
    #[error("`{text}` is not a regex: {error}")]
    Regex {
        /// As written.
        text: String,
        /// Why not.
        error: PatternError,
    },
    /// Options of the other observer.
    #[error(
        "a histogram cannot have `summary_options`; remove them, or set `observer_type: summary`"
    )]
    SummaryOptionsOfHistogram,
    /// Options of the other observer.
    #[error(
        "a summary cannot have `histogram_options`; remove them, or set `observer_type: histogram`"
    )]
    HistogramOptionsOfSummary,
    /// A window in which nothing can be, by its key.
    #[error("`{0}` must be more than zero")]
    Window(&'static str),
}

fn hint(nearest: Option<&str>, known: &str) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known are {known}"),
    }
}

/// A problem and its place, before the file's name is known.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    place: Place,
    problem: Box<Problem>,
}

impl Fault {
    pub(super) fn new(place: Place, problem: Problem) -> Self {
        Self { place, problem: Box::new(problem) }
    }

    /// The place and the problem.
    pub(super) fn into_parts(self) -> (Place, Problem) {
        (self.place, *self.problem)
    }

    pub(super) fn in_file(self, path: &Path) -> RulesError {
        RulesError::Invalid { path: path.to_owned(), place: self.place, problem: self.problem }
    }
}
