//! What can go wrong between us and a Grafana, and what its refusals mean.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::refusal::{Reason, Refusal};
use crate::grafana::prometheus::AnswerError;

/// Why a call of the client has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used.
    #[error("`{url}` is no URL of a Grafana: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file with a token or a certificate cannot be read.
    #[error("cannot read {what} {}", path.display())]
    ReadFile {
        /// What the file is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Credentials or certificates that cannot be used.
    #[error("cannot use {what}: {why}")]
    Unusable {
        /// What it is.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name that cannot be part of a path.
    #[error("`{0}` cannot be the name of anything in Grafana")]
    Name(String),
    /// There is no connection to the server.
    #[error(
        "cannot connect to Grafana at {url}: {cause}; is it running, and is the address right?"
    )]
    Connect {
        /// What was asked for.
        url: String,
        /// The system's answer.
        cause: String,
    },
    /// Certificates do not fit.
    #[error(
        "no TLS connection with Grafana at {url}: {cause}; \
         name the authority's file when the server's certificate is your own"
    )]
    Tls {
        /// What was asked for.
        url: String,
        /// What TLS says.
        cause: String,
    },
    /// The answer did not come in time.
    #[error("{url} gave no whole answer within {after:?}; allow more time, or see what it does")]
    TimedOut {
        /// What was asked for.
        url: String,
        /// How long one attempt may take.
        after: Duration,
    },
    /// The connection ended before the answer did; a write may have been done or not.
    #[error("the connection broke while {url} was asked: {cause}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What was seen of it.
        cause: String,
    },
    /// The server is elsewhere.
    #[error("{url} redirects to {to}; give that address, with its scheme and path")]
    Redirected {
        /// What was asked for.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// The answer is not what Grafana says.
    #[error("{url} answered {status}, but not as Grafana does ({why}): {excerpt}")]
    NotGrafana {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What does not fit.
        why: String,
        /// The beginning of the body.
        excerpt: String,
    },
    /// `/apis` was asked for by name, and the server has none that we know.
    #[error("Grafana at {0} has no /apis for dashboards; use the classic API")]
    NoResourceApi(String),
    /// Prometheus, behind Grafana, has no answer to the query.
    #[error(transparent)]
    Query(#[from] AnswerError),
    /// Grafana said no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
}

impl Error {
    /// What Grafana refused, when it was Grafana.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// What a refusal means.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.refusal().map(|refusal| refusal.reason)
    }

    /// Whether trying again later can help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::Refused(refusal) => matches!(refusal.reason, Reason::Busy | Reason::Server),
            _ => false,
        }
    }

    /// Whether the server has certainly not done what was asked.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect { .. })
            || self.refusal().is_some_and(|refusal| matches!(refusal.status, 429 | 503))
    }
}
