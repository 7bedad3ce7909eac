//! The bench client accounts for every metric, whatever becomes of it on its way.

#[path = "support/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::server::{Launch, Server};
use tallyd::bench::outcome::{Accounting, Ledger, Outcome};

#[test]
fn everything_sent_over_udp_is_counted_and_every_gauge_is_current() {
    let server = start(&[]);
    let outcome = check(&server, "udp://127.0.0.1:{udp}", &["--workload=packed", "--rate=300k"]);
    let accounting = accounting(&outcome);
    assert_eq!(accounting.ledger, Ledger::Series);
    let on_page: f64 = (0..5)
        .filter_map(|family| server.total("/metrics", &format!("bench_counter{family}_requests")))
        .sum();
    assert_eq!(Some(accounting.counted["counter"] as f64), Some(on_page));
    // The page may only lack what the kernel had no room for.
    assert_eq!(accounting.counted_total() + accounting.lost_total(), outcome.sending.metrics);
    if accounting.lost_total() == 0 {
        let gauges = accounting.gauges.unwrap();
        assert_eq!((gauges.checked, gauges.current), (200, 200));
    }
    let facts = outcome.server.as_ref().unwrap();
    assert_eq!(facts.pid, server.child.id());
    assert!(facts.cpu_seconds > 0.0 && facts.rss_bytes > 0, "{facts:?}");
}

#[test]
fn everything_sent_over_a_stream_or_a_unix_socket_is_counted() {
    let server = start(&["--statsd.listen-unixgram={tmp}/statsd.sock"]);
    for target in ["tcp://127.0.0.1:{tcp}", "unixgram://{tmp}/statsd.sock"] {
        for workload in ["single", "churn", "burst"] {
            let flags =
                [&format!("--workload={workload}"), "--rate=100k", "--clients=3", "--threads=2"];
            let outcome = check(&server, target, &flags);
            let accounting = accounting(&outcome);
            assert_eq!(accounting.counted, accounting.sent, "{target} {workload}");
            assert!(accounting.lost.is_empty(), "{target} {workload}: {:?}", accounting.lost);
        }
    }
}

#[test]
fn what_the_kernel_drops_is_told_as_lost_to_the_metric() {
    let server = start(&["--statsd.read-buffer=4096"]);
    let outcome = check(&server, "udp://127.0.0.1:{udp}", &["--workload=packed", "--count=400k"]);
    let accounting = accounting(&outcome);
    assert!(accounting.lost.contains_key("kernel_buffer_full"), "nothing was lost: {accounting:?}");
    assert_eq!(accounting.unexplained, 0, "{accounting:?}");
}

#[test]
fn more_loss_than_allowed_sets_the_exit_code() {
    let server = start(&["--statsd.read-buffer=4096"]);
    let target = server.fill("--target=udp://127.0.0.1:{udp}");
    let page = server.fill("--scrape=http://127.0.0.1:{http}/metrics");
    let flags = [&target, &page, "--count=400k", "--max-loss=0.001%"];
    assert_eq!(bench(&flags).status.code(), Some(1));
    let flags = [&target, &page, "--count=400k", "--max-loss=100%"];
    assert_eq!(bench(&flags).status.code(), Some(0));
}

#[test]
fn a_run_that_cannot_be_made_says_why() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let nowhere = format!("http://127.0.0.1:{closed}/metrics");
    for (flags, words) in [
        (vec!["--target=9125"], "is no target"),
        (vec!["--scrape", &nowhere], "cannot scrape"),
        (vec!["--workload=burst", "--scrape=none"], "needs a --rate"),
        (vec!["--replay=/nonexistent"], "cannot read"),
        (vec!["--target=tcp://127.0.0.1:1", "--scrape=none"], "cannot connect"),
        (vec!["--", "/nonexistent"], "cannot start"),
        (vec!["--", "false"], "ended at once"),
        (vec!["--nonsense"], "--nonsense"),
    ] {
        let output = bench(&flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

#[test]
fn a_capture_is_replayed_and_its_lines_are_counted() {
    let server = start(&[]);
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/captures/airflow_dogstatsd.txt");
    let flags = [&format!("--replay={capture}"), "--rate=50k"];
    let outcome = check(&server, "udp://127.0.0.1:{udp}", &flags);
    assert_eq!(accounting(&outcome).ledger, Ledger::Lines);
}

#[test]
fn a_server_that_keeps_quiet_about_its_losses_leaves_them_unexplained() {
    let fake = Fake::start();
    let flags = [&fake.target, &fake.page, "--count=20k", "--rate=100k", "--settle=300ms"];
    let output = bench(&[&flags[..], &["--output=json"]].concat());
    fake.stop.store(true, Ordering::Relaxed);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
    let accounting = accounting(&outcome);
    assert_eq!(accounting.not_accounted, ["gauge"]);
    let missing = accounting.sent_total() - accounting.counted_total();
    let explained = accounting.lost_total();
    assert_eq!(accounting.unexplained, i64::try_from(missing - explained).unwrap());
    assert!(missing > accounting.sent_total() / 4, "{accounting:?}");
}

#[test]
fn lines_reach_a_unix_stream_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let reader = thread::Builder::new().spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut received = String::new();
        connection.read_to_string(&mut received).unwrap();
        received
    });
    let target = format!("--target=unixstream://{}", path.display());
    let flags = [&target, "--scrape=none", "--count=30k", "--output=json"];
    let output = bench(&flags);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
    let received = reader.unwrap().join().unwrap();
    assert_eq!(received.lines().count() as u64, outcome.sending.metrics);
    assert!(received.lines().all(|line| line.starts_with("bench.") && line.contains("|#env:")));
    assert!(outcome.accounting.is_none());
}

#[test]
fn a_sink_is_a_server_as_well_and_says_what_it_cost() {
    for transport in ["udp", "tcp", "unixgram"] {
        let flags = [
            "--against-sink",
            "--transport",
            transport,
            "--count=50k",
            "--rate=300k",
            "--settle=300ms",
        ];
        let output = bench(&[&flags[..], &["--output=json"]].concat());
        let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
        let accounting = accounting(&outcome);
        assert_eq!(accounting.unexplained, 0, "{transport}: {accounting:?}");
        assert!(accounting.counted_total() > 0);
        assert!(outcome.server.unwrap().cpu_us_per_datagram.is_some());
    }
    let output = bench(&["sink", "--listen=udp://127.0.0.1:0", "--web=none", "--duration=50ms"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("CPU for each datagram"));
}

#[test]
fn the_server_it_is_told_to_start_gets_the_rules_of_the_workload() {
    let tallyd = env!("CARGO_BIN_EXE_tallyd");
    let output = bench(&[
        "--workload=mapped",
        "--count=40k",
        "--rate=200k",
        "--transport=tcp",
        "--output=json",
        "--",
        tallyd,
        "--statsd.listen-udp=",
        "--statsd.listen-tcp=127.0.0.1:{tcp}",
        "--web.listen-address=127.0.0.1:{web}",
        "--statsd.mapping-config={mapping}",
    ]);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(accounting(&outcome).counted, accounting(&outcome).sent);
    let page_samples = outcome.scrape.map(|scrape| scrape.samples).unwrap_or_default();
    // 6,000 timers are histograms only by the rules: bucket upon bucket.
    assert!(page_samples > 6_000 * 10, "{page_samples} samples on the page");
}

/// Runs the client against a server and asserts what holds for every run.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn check(server: &Server, target: &str, flags: &[&str]) -> Outcome {
    let target = server.fill(&format!("--target={target}"));
    let page = server.fill("--scrape=http://127.0.0.1:{http}/metrics");
    let mut all = vec![target.as_str(), page.as_str(), "--output=json", "--scrape-every=50ms"];
    if !flags.iter().any(|flag| flag.starts_with("--count")) {
        all.push("--count=20k");
    }
    let output = bench(&[&all[..], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let outcome: Outcome = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}, stderr:\n{said}"))
        .unwrap();
    assert!(said.is_empty(), "not quiet in a pipe: {said}");
    let accounting = accounting(&outcome);
    let found = accounting.counted_total() + accounting.lost_total();
    assert_eq!(found, accounting.sent_total(), "{accounting:?}");
    assert_eq!(accounting.unexplained, 0, "{accounting:?}");
    assert!(outcome.time_to_visible.is_some(), "no probe was seen");
    outcome
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn accounting(outcome: &Outcome) -> &Accounting {
    outcome.accounting.as_ref().unwrap()
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn start(flags: &[&str]) -> Server {
    Server::start(&Launch::tallyd(flags)).unwrap()
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn bench(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .arg("bench")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Counts every second counter and timer and says nothing of the others.
struct Fake {
    target: String,
    page: String,
    stop: Arc<AtomicBool>,
}

impl Fake {
    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let target = format!("--target=udp://{}", socket.local_addr().unwrap());
        let page = format!("--scrape=http://{}/metrics", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&counters);
        let is_over = Arc::clone(&stop);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        drop(thread::Builder::new().spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !is_over.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                let lines = buffer.get(..length).unwrap_or_default().split(|byte| *byte == b'\n');
                let ours =
                    lines.filter(|line| line.ends_with(b"0") && line.contains(&b'c')).count();
                counted.fetch_add(ours as u64, Ordering::Relaxed);
            }
        }));
        drop(thread::Builder::new().spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let mut request = [0; 4096];
                drop(connection.read(&mut request));
                let page = format!("bench_counter0 {}\n", counters.load(Ordering::Relaxed));
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                drop(write!(connection, "{head} {}\r\n\r\n{page}", page.len()));
            }
        }));
        Self { target, page, stop }
    }
}
