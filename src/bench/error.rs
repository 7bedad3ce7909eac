//! Why a run cannot be made, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a run cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The text of a target is none.
    #[error(
        "`{0}` is no target; write udp://HOST:PORT, tcp://HOST:PORT, unixgram:///PATH or \
         unixstream:///PATH"
    )]
    Target(String),
    /// The host of a target or a page has no address.
    #[error("`{host}` has no address; is the name spelled right?")]
    Resolve {
        /// Host and port as given.
        host: String,
        /// What the resolver said.
        #[source]
        source: Option<io::Error>,
    },
    /// A socket to the target cannot be had.
    #[error("cannot connect to {target}; does the server run, and listen there?")]
    Connect {
        /// The target as a URL.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel takes no more for this target.
    #[error("cannot send to {target}; does the server still run?")]
    Send {
        /// The target as a URL.
        target: String,
        /// What the kernel said last.
        source: io::Error,
    },
    /// The page cannot be had.
    #[error("cannot scrape {url}; name the page with --scrape URL, or do without by --scrape none")]
    Scrape {
        /// The page's URL.
        url: String,
        /// What HTTP said.
        source: reqwest::Error,
    },
    /// The page came compressed and cannot be unpacked.
    #[error("the page of {url} is damaged")]
    Unpack {
        /// The page's URL.
        url: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A workload's file is not as it should be.
    #[error("{}: {reason}", path.display())]
    Workload {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to send.
    #[error("the workload has no lines; give it series, or a file that is not empty")]
    Empty,
    /// More than fits into memory or into the names' digits.
    #[error("{0} series are more than this client can make; at most 100 million")]
    TooManySeries(u64),
    /// A command to start a server with is empty.
    #[error("no command to start the server with")]
    NoCommand,
    /// The server cannot be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The server ended, or never answered.
    #[error("`{command}` {what}; its last words:\n{output}")]
    NotReady {
        /// The command.
        command: String,
        /// What it did instead.
        what: &'static str,
        /// The end of what it wrote.
        output: String,
    },
    /// A stream took nothing for longer than anybody waits.
    #[error("{target} took nothing for {waited:?}; is the server stuck?")]
    Stalled {
        /// The target as a URL.
        target: String,
        /// How long it was waited.
        waited: Duration,
    },
    /// The machine refuses something that every machine has.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// The sink's address cannot be had.
    #[error("cannot listen on {address}; is the port taken?")]
    Listen {
        /// The address as given.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Flags that do not go together, or values that are none.
    #[error("{0}, try --help")]
    Usage(String),
}
