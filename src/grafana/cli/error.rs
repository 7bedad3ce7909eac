//! Why a command cannot be done, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a command cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Flags that mean nothing together, or that lack another one.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
        /// What is wrong with it, and where.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Grafana, or another server, did not do what it was asked to.
    #[error("cannot {what}")]
    Failed {
        /// What was to be done, such as `push the dashboard "API"`.
        what: String,
        /// What came in the way.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Neither a prompt nor a pipe had a word to say.
    #[error("cannot read {0} from stdin")]
    Stdin(&'static str, #[source] io::Error),
    /// Stdout takes no more.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
    /// The threads for it cannot be had.
    #[error("cannot start what a client needs")]
    Runtime(#[source] io::Error),
}

impl CommandError {
    /// The error of something that was tried, for `map_err`.
    pub fn failed<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self::Failed { what: what.into(), source: source.into() }
    }
}
