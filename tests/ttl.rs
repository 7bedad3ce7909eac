//! Series that expire all the time lose no sample and count none twice.
//!
//! A sample every 0.9 to 1.1 seconds meets a TTL of one second: it comes before the expiry, after
//! it, or in its midst. Sample number i of a series is worth 2^i, so that every value on the page
//! says which samples it holds.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use fastrand::Rng;

use crate::server::{Launch, Server, wait_until};

/// Enough for expiries and samples to meet in every order.
const SERIES: u64 = 24;

/// Powers of two up to this one add up without rounding.
const MAX_SAMPLES: u32 = 52;

const MAPPING: &str = "mappings:\n- {match: tick.*, name: tick, ttl: 1s, labels: {id: $1}}\n";

const EVENTS_TOTAL: &str = "statsd_exporter_events_total";

#[test]
fn samples_about_as_rare_as_the_ttl_are_all_counted() {
    let seconds = env::var("TTL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    check(Duration::from_secs(seconds));
}

#[test]
#[ignore = "takes a minute; make test runs it"]
fn samples_about_as_rare_as_the_ttl_are_all_counted_for_a_minute() {
    check(Duration::from_mins(1));
}

#[track_caller]
fn check(duration: Duration) {
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), MAPPING.into())],
        ..Launch::tallyd(&["--statsd.mapping-config={tmp}/mapping.yml", "--lanes=2"])
    };
    let server = Server::start(&launch).unwrap();
    let mut seen = Seen::default();
    let sent: Vec<u32> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SERIES)
            .map(|id| {
                scope.spawn({
                    let server = &server;
                    move || send(server, id, duration)
                })
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            seen.look(&server);
        }
        senders.into_iter().map(|sender| sender.join().unwrap().unwrap()).collect()
    });
    let all = f64::from(sent.iter().sum::<u32>());
    assert!(
        wait_until(Duration::from_secs(5), || server.total("/metrics", EVENTS_TOTAL) == Some(all)),
        "{all} samples sent, counted {:?}",
        server.total("/metrics", EVENTS_TOTAL)
    );
    seen.look(&server);
    for (id, sent) in sent.iter().enumerate() {
        let counted = seen.series.get(&id.to_string()).map(BTreeMap::len);
        assert_eq!(counted, Some(*sent as usize), "series {id}: {:?}", seen.series);
    }
    assert!(seen.generations() > sent.len(), "no series expired");
}

/// What the page showed so far.
#[derive(Debug, Default)]
struct Seen {
    /// Of each series the numbers of its samples, with that of the first in the same generation.
    series: BTreeMap<String, BTreeMap<u32, u32>>,
}

impl Seen {
    fn look(&mut self, server: &Server) {
        let page = server.get("/metrics").unwrap();
        for line in page.as_str().unwrap().lines() {
            let Some(line) = line.strip_prefix("tick{id=\"") else { continue };
            let (id, value) = line.split_once("\"} ").unwrap();
            self.take(id, whole(value.parse().unwrap()));
        }
    }

    fn take(&mut self, id: &str, value: u64) {
        let series = self.series.entry(id.to_owned()).or_default();
        let first = value.trailing_zeros();
        for number in (0..u64::BITS).filter(|number| value >> number & 1 == 1) {
            let before = series.insert(number, first).unwrap_or(first);
            assert_eq!(before, first, "series {id} counted sample {number} in two generations");
        }
    }

    fn generations(&self) -> usize {
        let firsts = |samples: &BTreeMap<u32, u32>| {
            samples.iter().filter(|(number, first)| number == first).count()
        };
        self.series.values().map(firsts).sum()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller's values are sums of powers of two below 2^53"
)]
fn whole(value: f64) -> u64 {
    assert!(value.fract() < f64::EPSILON, "{value} is no sum of samples");
    value as u64
}

/// Sends samples to a series of its own and says how many.
fn send(server: &Server, id: u64, duration: Duration) -> io::Result<u32> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(server.fill("127.0.0.1:{udp}"))?;
    let mut rng = Rng::with_seed(id);
    let end = Instant::now() + duration;
    let mut sent = 0;
    while Instant::now() < end && sent < MAX_SAMPLES {
        socket.send(format!("tick.{id}:{}|c", 1_u64 << sent).as_bytes())?;
        sent += 1;
        thread::sleep(Duration::from_millis(rng.u64(900..=1100)));
    }
    Ok(sent)
}
