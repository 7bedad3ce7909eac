//! uWSGI's stats socket: it sends one JSON document to whoever connects, and closes.
//!
//! With `--stats-http` a head of HTTP stands before it; nothing has to be sent for that. Of the
//! document only numbers and states are kept. What it has of requests under way, headers and
//! cookies among it, is skipped.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::rising::Rising;
use super::target::{Place, Target};
use super::{Backlog, Facts, Source};

/// How long a document may take from connecting to its end.
const PATIENCE: Duration = Duration::from_secs(2);
/// A worker takes some hundred bytes, and each of its threads as many; a request under way some
/// thousand.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// More workers than any machine has, and no great harm.
const MAX_WORKERS: usize = 10_000;

/// Why a stats socket could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody accepts connections.
    Connect,
    /// It took too long.
    Timeout,
    /// The connection broke.
    Read,
    /// The document is larger than any real one.
    TooLarge,
    /// It is not the JSON that uWSGI writes.
    Invalid,
}

impl Failure {
    const ALL: [Self; 5] =
        [Self::Connect, Self::Timeout, Self::Read, Self::TooLarge, Self::Invalid];

    /// The value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Read => "read",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
        }
    }
}

/// A stats socket that is asked.
#[derive(Debug)]
pub(super) struct Uwsgi {
    target: Target,
    seen: Mutex<Seen>,
}

/// What its answers have told.
#[derive(Debug, Default)]
struct Seen {
    /// The last answer; an error before the first one and when there was none.
    last: Option<Result<Stats, Failure>>,
    drops: Rising<()>,
    drops_total: u64,
    requests: Rising<u64>,
    requests_total: u64,
    failures: [u64; Failure::ALL.len()],
}

/// The document, as far as it is of interest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stats {
    /// What did not fit into the queues.
    #[serde(default)]
    listen_queue_errors: u64,
    #[serde(default)]
    sockets: Vec<Socket>,
    #[serde(deserialize_with = "few")]
    workers: Vec<Worker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Socket {
    queue: u64,
    max_queue: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Worker {
    id: u64,
    #[serde(default)]
    requests: u64,
    status: State,
    #[serde(default)]
    cores: Vec<Core>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Core {
    #[serde(default)]
    in_request: u8,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Busy,
    Idle,
    /// Stopped, since there is little to do.
    Cheap,
    /// Told to pause.
    Paused,
    Other,
}

impl State {
    const ALL: [Self; 5] = [Self::Busy, Self::Idle, Self::Cheap, Self::Paused, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Cheap => "cheap",
            Self::Paused => "paused",
            Self::Other => "other",
        }
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "busy" => Self::Busy,
            "idle" => Self::Idle,
            "cheap" => Self::Cheap,
            "pause" => Self::Paused,
            // `sig` and a number: a signal's function runs, and no request can.
            text if text.starts_with("sig") => Self::Busy,
            _ => Self::Other,
        })
    }
}

/// No more workers than there can be: what a hostile peer writes in two bytes takes many here.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Worker>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Worker>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_WORKERS} workers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut workers: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(worker) = workers.next_element()? {
                if all.len() == MAX_WORKERS {
                    return Err(A::Error::invalid_length(MAX_WORKERS + 1, &self));
                }
                all.push(worker);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Few)
}

impl Stats {
    /// Reads a document, or a response with one.
    ///
    /// # Errors
    /// [`Failure::Invalid`]
    pub fn parse(answer: &[u8]) -> Result<Self, Failure> {
        let document = if answer.starts_with(b"HTTP/") {
            let end = memchr::memmem::find(answer, b"\r\n\r\n").ok_or(Failure::Invalid)?;
            answer.get(end + 4..).unwrap_or_default()
        } else {
            answer
        };
        serde_json::from_slice(document).map_err(|_| Failure::Invalid)
    }

    /// Workers by state.
    fn workers(&self) -> Vec<(&'static str, f64)> {
        let count = |state| self.workers.iter().filter(|worker| worker.status == state).count();
        State::ALL.map(|state| (state.as_str(), count(state) as f64)).into()
    }

    /// Threads by state. Those of a cheap worker do nothing, but the server can have them at any
    /// time; those of a paused one are not to be had.
    fn threads(&self) -> Vec<(&'static str, f64)> {
        let cores = |worker: &Worker| {
            let state = |core: &Core| match worker.status {
                State::Busy | State::Idle if core.in_request > 0 => State::Busy,
                State::Busy => State::Idle,
                other => other,
            };
            worker.cores.iter().map(state).collect::<Vec<_>>()
        };
        let all: Vec<State> = self.workers.iter().flat_map(cores).collect();
        let count = |state| all.iter().filter(|one| **one == state).count();
        let known = [State::Busy, State::Idle, State::Cheap];
        known.map(|state| (state.as_str(), count(state) as f64)).into()
    }

    fn backlog(&self, drops_total: u64) -> Backlog {
        let sum = |part: fn(&Socket) -> u64| {
            let sum = self.sockets.iter().map(part).fold(0, u64::saturating_add);
            (!self.sockets.is_empty()).then_some(sum as f64)
        };
        // Of Unix sockets uWSGI knows neither, and writes zeros.
        let is_known = self.sockets.iter().any(|socket| socket.max_queue > 0);
        Backlog {
            length: sum(|socket| socket.queue).filter(|_| is_known),
            limit: sum(|socket| socket.max_queue).filter(|_| is_known),
            drops_total: Some(drops_total),
            ..Backlog::default()
        }
    }
}

impl Uwsgi {
    pub(super) fn new(target: &Target) -> Self {
        Self { target: target.clone(), seen: Mutex::default() }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Asks for the document.
    pub(super) async fn poll(&self) {
        let answer = timeout(PATIENCE, ask(&self.target.place)).await;
        let answer = answer.unwrap_or(Err(Failure::Timeout));
        self.seen.lock().take(answer.and_then(|answer| Stats::parse(&answer)));
    }

    /// What the last document said, if it could be had.
    pub(super) fn facts(&self) -> Facts {
        self.seen.lock().facts(Facts::of_target(Source::UwsgiStats, &self.target))
    }
}

impl Seen {
    fn take(&mut self, answer: Result<Stats, Failure>) {
        match &answer {
            Ok(stats) => {
                self.drops_total = self.drops.take([((), stats.listen_queue_errors)]);
                let requests = stats.workers.iter().map(|worker| (worker.id, worker.requests));
                self.requests_total = self.requests.take(requests);
            }
            Err(failure) => {
                let at = Failure::ALL.iter().position(|known| known == failure);
                if let Some(count) = at.and_then(|at| self.failures.get_mut(at)) {
                    *count += 1;
                }
            }
        }
        self.last = Some(answer);
    }

    fn facts(&self, facts: Facts) -> Facts {
        let failures = Failure::ALL.iter().zip(self.failures);
        let failures = failures.map(|(failure, count)| (failure.as_str(), count)).collect();
        let is_up = self.last.as_ref().map(Result::is_ok);
        let facts = Facts { is_up, failures, ..facts };
        let Some(Ok(stats)) = &self.last else { return facts };
        let (workers, threads) = (stats.workers(), stats.threads());
        Facts {
            backlog: stats.backlog(self.drops_total),
            busy_ratio: busy_ratio(&threads).or_else(|| busy_ratio(&workers)),
            threads: if busy_ratio(&threads).is_some() { threads } else { Vec::new() },
            workers,
            requests_total: Some(self.requests_total),
            ..facts
        }
    }
}

/// The part that is busy of all that could be.
fn busy_ratio(states: &[(&'static str, f64)]) -> Option<f64> {
    let of = |wanted: State| -> f64 {
        states.iter().filter(|(state, _)| *state == wanted.as_str()).map(|(_, count)| count).sum()
    };
    let all = of(State::Busy) + of(State::Idle) + of(State::Cheap);
    (all > 0.0).then(|| of(State::Busy) / all)
}

/// Connects and reads to the end.
async fn ask(place: &Place) -> Result<Vec<u8>, Failure> {
    let failed = |_| Failure::Connect;
    match place {
        Place::Tcp { host, port } => {
            let host = if host.is_empty() { "localhost" } else { host };
            read(TcpStream::connect((host, *port)).await.map_err(failed)?).await
        }
        Place::File(path) => read(UnixStream::connect(path).await.map_err(failed)?).await,
        Place::Abstract(name) => {
            read(UnixStream::connect(format!("\0{name}")).await.map_err(failed)?).await
        }
    }
}

async fn read(stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
    let mut answer = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    stream.take(most).read_to_end(&mut answer).await.map_err(|_| Failure::Read)?;
    if answer.len() > MAX_BYTES { Err(Failure::TooLarge) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of uWSGI 2.0.21 with three workers of two threads: one handles a request and one is cheap.
    const REAL: &str = include_str!("../../tests/data/saturation/uwsgi.json");

    #[test]
    fn a_real_document_tells_workers_threads_and_the_queue() {
        let expected = "busy=1 idle=1 cheap=1, busy=1 idle=3 cheap=2, 0.16666666666666666, 0/20, drops 0, requests 1";
        check(REAL, Ok(expected));
        let head = "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n";
        check(&format!("{head}{REAL}"), Ok(expected));
    }

    #[test]
    fn a_document_may_lack_what_an_old_or_small_server_does_not_have() {
        check(r#"{"workers": []}"#, Ok(", , -, -/-, drops 0, requests 0"));
        check(
            r#"{"sockets": [{"queue": 0, "max_queue": 0}], "workers": [{"id": 1, "status": "sig7"},
                {"id": 2, "status": "pause"}, {"id": 3, "status": "new"}], "listen_queue_errors": 3}"#,
            Ok("busy=1 paused=1 other=1, , 1, -/-, drops 3, requests 0"),
        );
    }

    #[test]
    fn what_is_no_document_of_uwsgi_is_refused() {
        let (half, _) = REAL.split_at(REAL.len() / 2);
        let deep = "[".repeat(100_000);
        let many = vec![r#"{"id":1,"status":""}"#; MAX_WORKERS + 1].join(",");
        let many = format!(r#"{{"workers":[{many}]}}"#);
        let negative = r#"{"workers": [], "listen_queue_errors": -1}"#;
        for text in ["", "{}", "null", "HTTP/1.0 200 OK\r\n", half, &deep, &many, negative] {
            check(text, Err(Failure::Invalid));
        }
    }

    #[test]
    fn counts_go_on_when_the_server_begins_anew() {
        let stats = |requests, errors| {
            let text = format!(
                r#"{{"workers": [{{"id": 1, "status": "idle", "requests": {requests}}}],
                "listen_queue_errors": {errors}}}"#
            );
            Stats::parse(text.as_bytes())
        };
        let mut seen = Seen::default();
        for answer in [stats(5, 2), Err(Failure::Connect), stats(1, 0)] {
            seen.take(answer);
        }
        let target: Target = "shop=:1".parse().unwrap();
        let facts = seen.facts(Facts::of_target(Source::UwsgiStats, &target));
        assert_eq!((facts.requests_total, facts.backlog.drops_total), (Some(6), Some(2)));
        assert_eq!((facts.is_up, facts.failures[0]), (Some(true), ("connect", 1)));
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_idle() {
        let mut seen = Seen::default();
        seen.take(Stats::parse(REAL.as_bytes()));
        seen.take(Err(Failure::Timeout));
        let facts = seen.facts(Facts::new(Source::UwsgiStats, "shop"));
        assert_eq!((facts.is_up, facts.busy_ratio), (Some(false), None));
        assert!(facts.workers.is_empty() && facts.backlog == Backlog::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in any::<Vec<u8>>(), at in 0..REAL.len(), byte in any::<u8>()) {
            drop(Stats::parse(&bytes));
            let mut damaged = REAL.as_bytes().to_vec();
            damaged[at] = byte;
            drop(Stats::parse(&damaged));
        }
    }

    #[track_caller]
    fn check(answer: &str, expected: Result<&str, Failure>) {
        let mut seen = Seen::default();
        let found = Stats::parse(answer.as_bytes()).map(|stats| {
            seen.take(Ok(stats));
            let facts = seen.facts(Facts::new(Source::UwsgiStats, "shop"));
            let words = |states: &[(&str, f64)]| {
                let some = states.iter().filter(|(_, count)| *count > 0.0);
                some.map(|(state, count)| format!("{state}={count}")).collect::<Vec<_>>().join(" ")
            };
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |one| one.to_string());
            format!(
                "{}, {}, {}, {}/{}, drops {}, requests {}",
                words(&facts.workers),
                words(&facts.threads),
                number(facts.busy_ratio),
                number(facts.backlog.length),
                number(facts.backlog.limit),
                facts.backlog.drops_total.unwrap(),
                facts.requests_total.unwrap(),
            )
        });
        assert_eq!(
            found.as_deref(),
            expected.as_ref().map(|text| &**text).map_err(|_| &Failure::Invalid)
        );
    }
}
