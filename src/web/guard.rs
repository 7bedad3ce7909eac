//! What stands before the site: TLS, users, response headers and a rate limit, from a file in the
//! format of Prometheus' exporter-toolkit (`--web.config.file`).
//!
//! The file and the certificates it names are looked at with each connection and each request, and
//! read again when they have changed. What cannot be used changes nothing: the policy in force stays,
//! and `tallyd_web_config_last_reload_successful` says so. Neither does what would take the
//! protection away altogether, such as the empty file that an editor leaves for a moment.
//!
//! No error, log line or page has anything in it that could be a password, a hash or a key.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use thiserror::Error;
use tokio::sync::Mutex;
use tracing::{info, warn};

mod ciphers;
mod clients;
mod file;
mod policy;
mod rate;
mod tls;
mod users;

pub(super) use policy::Policy;

use users::{Attempt, Verdicts};

/// Why a web configuration file cannot be used.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The file cannot be read.
    #[error("cannot read web config file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file says something that cannot be followed.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1; 0 where that is unknown.
        line: u64,
        /// In characters, from 1.
        column: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A reload would have turned off what a start turned on.
    #[error("{0} cannot be turned on or off without a restart")]
    NeedsRestart(&'static str),
}

/// Lets clients in, or does not.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    policy: ArcSwap<Policy>,
    /// The files of the last attempt to read them, as they were before it.
    seen: parking_lot::Mutex<Vec<Seen>>,
    /// Held while they are read again.
    reloading: Mutex<()>,
    verdicts: Verdicts,
    failures: AtomicU64,
    is_current: AtomicBool,
}

/// A file as it was at some time; a changed one differs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    /// Device, inode, size, and the times of its content and its entry; none when it is not there.
    marks: Option<[i64; 7]>,
}

impl Seen {
    fn now(path: &Path) -> Self {
        #[expect(clippy::cast_possible_wrap, reason = "only compared with each other")]
        let marks = |of: fs::Metadata| {
            let (dev, ino, size) = (of.dev() as i64, of.ino() as i64, of.size() as i64);
            [dev, ino, size, of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]
        };
        Self { path: path.to_owned(), marks: fs::metadata(path).ok().map(marks) }
    }

    fn is_changed(&self) -> bool {
        Self::now(&self.path) != *self
    }
}

impl Guard {
    /// Reads a file, and all that it names.
    ///
    /// # Errors
    /// Every variant of [`GuardError`].
    pub fn load(path: &Path) -> Result<Self, GuardError> {
        let (policy, seen) = read(path);
        let policy = policy?;
        policy.warnings.iter().for_each(|warning| warn!("{warning}"));
        Ok(Self {
            path: path.to_owned(),
            policy: ArcSwap::new(Arc::new(policy)),
            seen: parking_lot::Mutex::new(seen),
            reloading: Mutex::new(()),
            verdicts: Verdicts::new(),
            failures: AtomicU64::new(0),
            is_current: AtomicBool::new(true),
        })
    }

    /// How many times the changed file could not be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        // Relaxed, here and below: the numbers publish nothing else.
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the policy in force is what the file says.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Relaxed)
    }

    /// What the file says, read again if it has changed.
    pub(super) async fn policy(self: &Arc<Self>) -> Arc<Policy> {
        if self.is_changed() {
            let _only_one = self.reloading.lock().await;
            if self.is_changed() {
                let guard = Arc::clone(self);
                // What it panics of, if ever, is not for the client; the old policy stays.
                drop(tokio::task::spawn_blocking(move || guard.reload()).await);
            }
        }
        self.policy.load_full()
    }

    fn is_changed(&self) -> bool {
        self.seen.lock().iter().any(Seen::is_changed)
    }

    fn reload(&self) {
        let (read, seen) = read(&self.path);
        let old = self.policy.load_full();
        let policy = read.and_then(|policy| policy.in_place_of(&old));
        self.is_current.store(policy.is_ok(), Ordering::Relaxed);
        match policy {
            Ok(policy) => {
                policy.warnings.iter().for_each(|warning| warn!("{warning}"));
                self.policy.store(Arc::new(policy));
                info!(file = %self.path.display(), "Web config file reloaded.");
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                warn!(
                    error = &error as &dyn Error,
                    "Web config file not reloaded; what it said before stays in force."
                );
            }
        }
        // Last, so that nobody takes the old policy for the one that belongs to these files.
        *self.seen.lock() = seen;
    }

    /// Lets a request in, or says what to answer instead.
    pub(super) async fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
    ) -> Result<Arc<Policy>, Response> {
        let policy = self.policy().await;
        if policy.rate.as_ref().is_some_and(|rate| !rate.allow()) {
            return Err(refusal(StatusCode::TOO_MANY_REQUESTS));
        }
        let Some(users) = &policy.users else { return Ok(policy) };
        let attempt = match Attempt::of(headers) {
            Some(attempt) => self.verdicts.judge(users, attempt).await,
            None => Ok(false),
        };
        let status = match attempt {
            Ok(true) => return Ok(policy),
            Ok(false) => StatusCode::UNAUTHORIZED,
            Err(users::Overrun) => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut refusal = refusal(status);
        policy.add_headers(refusal.headers_mut());
        if status == StatusCode::UNAUTHORIZED {
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        Err(refusal)
    }
}

impl Policy {
    /// Adds the headers that the file asks for, where the site has none of its own.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// Reads a file, and says what it has read, whatever came of it.
fn read(path: &Path) -> (Result<Policy, GuardError>, Vec<Seen>) {
    let mut seen = vec![Seen::now(path)];
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) => {
            return (Err(GuardError::Read { path: path.to_owned(), source }), seen);
        }
    };
    let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let read_beside = |name: &str| {
        let path = folder.join(name);
        seen.push(Seen::now(&path));
        fs::read(path)
    };
    let policy = file::parse(&text).and_then(|raw| policy::check(&raw, read_beside));
    let policy = policy.map_err(|fault| GuardError::Invalid {
        path: path.to_owned(),
        line: fault.line,
        column: fault.column,
        problem: fault.problem,
    });
    (policy, seen)
}

/// The answer of Go's `http.Error`, as the toolkit gives it.
fn refusal(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &str); 2] =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
