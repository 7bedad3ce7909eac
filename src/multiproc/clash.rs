//! Names that two sources have: the page shows one of the families, and the other one is named here.

use serde::Serialize;

/// Where a family comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// One of tallyd's own metrics.
    Tallyd,
    /// Samples that clients sent.
    Statsd,
    /// Workers' files.
    Files,
}

impl Source {
    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tallyd => "tallyd",
            Self::Statsd => "statsd",
            Self::Files => "files",
        }
    }
}

/// A family that is left out, since another one has its name or a name that its samples have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clash {
    /// The family that is left out, or a part of it where files disagree on its type.
    pub metric: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// The file that has it, where that is known.
    pub file: Option<String>,
    /// The family that is shown; a histogram has all names of its samples.
    pub owner: String,
    /// Its type.
    pub owner_kind: &'static str,
    /// Where that comes from.
    pub owner_source: Source,
}
