//! Gauges and running totals of several senders, over every kind of socket, and how long series stay.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

const MAPPING: &str = "
defaults: {gauge_window: 1h}
mappings:
- {match: busy, name: busy, gauge_mode: sum}
- {match: idle, name: idle, gauge_mode: min}
- {match: short, name: short, gauge_mode: sum, gauge_window: 1s}
- {match: tagged, name: tagged, gauge_mode: sum, gauge_sender_tag: worker}
- {match: total, name: total, counter_mode: absolute}
";

/// The path of the Unix socket, for processes that this test starts.
const SOCKET_VARIABLE: &str = "TALLYD_TEST_SOCKET";

#[test]
fn four_workers_with_five_connections_are_twenty() {
    let server = start(&[]);
    let workers = [(); 4].map(|()| udp(&server));
    for (worker, times) in workers.iter().zip([1, 2, 7, 20]) {
        for _ in 0..times {
            worker.send(b"busy:5|g\nidle:3|g").unwrap();
        }
    }
    shows(&server, "busy", Some(20.0));
    shows(&server, "idle", Some(3.0));
    // Whoever scrapes however often sees the same.
    for _ in 0..5 {
        assert_eq!(server.total("/metrics", "busy"), Some(20.0));
    }
    workers[0].send(b"busy:-2|g").unwrap();
    workers[3].send(b"busy:0|g\nidle:1|g").unwrap();
    shows(&server, "busy", Some(13.0));
    shows(&server, "idle", Some(1.0));
}

#[test]
fn a_connection_is_a_sender() {
    let server = start(&[]);
    let connect = || TcpStream::connect(server.fill("127.0.0.1:{tcp}")).unwrap();
    let mut workers = [(); 3].map(|()| connect());
    for worker in &mut workers {
        worker.write_all(b"busy:5|g\nbusy:4|g\n").unwrap();
    }
    shows(&server, "busy", Some(12.0));
    // One that has ended counts as long as the window, as every silent sender does.
    drop(workers);
    connect().write_all(b"busy:1|g\n").unwrap();
    shows(&server, "busy", Some(13.0));
}

#[test]
fn a_process_is_a_sender_however_many_sockets_it_uses() {
    let server = start(&["--statsd.listen-unixgram={tmp}/statsd.sock"]);
    let path = server.fill("{tmp}/statsd.sock");
    for level in ["9", "2"] {
        let line = format!("busy:{level}|g");
        UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), &path).unwrap();
    }
    shows(&server, "busy", Some(2.0));
    let children: Vec<Child> = (0..2).map(|_| start_worker(&path)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    shows(&server, "busy", Some(12.0));
}

/// Starts this file's test below as a process of its own.
fn start_worker(path: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_worker_reports_twice", "--ignored"])
        .env(SOCKET_VARIABLE, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "another test starts it as a process of its own"]
fn a_worker_reports_twice() {
    let Ok(path) = env::var(SOCKET_VARIABLE) else { return };
    for line in ["busy:7|g", "busy:5|g"] {
        UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), &path).unwrap();
    }
}

#[test]
fn a_reload_may_bring_the_first_gauge_that_depends_on_processes() {
    let server = start_with(
        "mappings: []\n",
        &["--statsd.listen-unixgram={tmp}/statsd.sock", "--web.enable-lifecycle"],
    );
    let path = server.fill("{tmp}/statsd.sock");
    let send = || drop(UnixDatagram::unbound().unwrap().send_to(b"busy:4|g", &path));
    send();
    shows(&server, "busy", Some(4.0));
    fs::write(server.fill("{tmp}/mapping.yml"), MAPPING).unwrap();
    let reply = minreq::post(server.fill("http://127.0.0.1:{http}/-/reload")).send().unwrap();
    assert_eq!(reply.status_code, 200);
    // The reader asks the kernel from its next batch on: its first one is nobody's.
    send();
    shows(&server, "busy", Some(4.0));
    assert!(start_worker(&path).wait().unwrap().success());
    shows(&server, "busy", Some(9.0));
}

#[test]
fn a_tag_tells_workers_behind_one_socket_apart() {
    let server = start(&[]);
    let socket = udp(&server);
    for worker in ["a", "b", "c", "a"] {
        socket.send(format!("tagged:5|g|#env:prod,worker:{worker}").as_bytes()).unwrap();
    }
    shows(&server, "tagged", Some(15.0));
    let page = server.get("/metrics").unwrap();
    assert!(page.as_str().unwrap().contains("\ntagged{env=\"prod\"} 15\n"), "{page:?}");
}

#[test]
fn a_silent_worker_leaves_with_its_window_and_the_last_one_takes_the_series_along() {
    let server = start(&[]);
    let (gone, alive) = (udp(&server), udp(&server));
    gone.send(b"short:5|g").unwrap();
    let mut both = false;
    let left = wait_until(TIMEOUT, || {
        alive.send(b"short:3|g").unwrap();
        let value = server.total("/metrics", "short");
        both |= value == Some(8.0);
        both && value == Some(3.0)
    });
    assert!(left, "both were seen: {both}");
    shows(&server, "short", None);
    let page = server.get("/metrics").unwrap();
    assert!(!page.as_str().unwrap().contains("short"), "a family without series is not shown");
    gone.send(b"short:1|g").unwrap();
    shows(&server, "short", Some(1.0));
}

#[test]
fn totals_of_several_senders_are_one_counter() {
    let server = start(&[]);
    let [one, two] = [(); 2].map(|()| udp(&server));
    one.send(b"total:100|c").unwrap();
    two.send(b"total:40|c\ntotal:45|c").unwrap();
    shows(&server, "total", Some(145.0));
    // The second one starts again; the first one is not touched by that.
    two.send(b"total:2|c").unwrap();
    one.send(b"total:101|c").unwrap();
    shows(&server, "total", Some(148.0));
}

#[test]
fn a_series_that_nobody_has_scraped_yet_outlives_its_ttl() {
    let server = start(&["--statsd.default-ttl=1s", "--statsd.ttl.gauge=1h"]);
    let socket = udp(&server);
    socket.send(b"job_done:1|c\nkept:1|g").unwrap();
    assert!(wait_until(TIMEOUT, || has(&server, "/metrics", "job_done")));
    // Scraped on and on it goes, a gauge does not.
    assert!(wait_until(TIMEOUT, || !has(&server, "/metrics", "job_done")));
    socket.send(b"job_done:1|c").unwrap();
    // A page that leaves families out is no scrape, so this looks without being seen.
    let path = "/metrics?name[]=job_done&name[]=kept";
    assert!(wait_until(TIMEOUT, || has(&server, path, "job_done")));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        assert!(has(&server, path, "job_done"), "gone before it was scraped");
    }
    assert!(has(&server, "/metrics", "job_done"));
    assert!(wait_until(TIMEOUT, || !has(&server, path, "job_done")));
    assert!(has(&server, path, "kept"));
}

#[test]
fn a_counter_that_returns_has_a_new_created_time() {
    let server = start(&["--statsd.default-ttl=1s", "--web.enable-openmetrics"]);
    let socket = udp(&server);
    let created = || {
        let request = minreq::get(server.fill("http://127.0.0.1:{http}/metrics"));
        let page = request.with_header("Accept", "application/openmetrics-text").send().unwrap();
        let line =
            page.as_str().unwrap().lines().find_map(|line| line.strip_prefix("hits_created "));
        line.map(|seconds| seconds.parse::<f64>().unwrap())
    };
    let wait = |shown| {
        let mut seen = None;
        assert!(wait_until(TIMEOUT, || {
            seen = created();
            seen.is_some() == shown
        }));
        seen
    };
    socket.send(b"hits:5|c").unwrap();
    let first = wait(true);
    wait(false);
    socket.send(b"hits:3|c").unwrap();
    let second = wait(true);
    assert!(second > first, "{first:?} and {second:?}");
    assert_eq!(server.total("/metrics", "hits"), Some(3.0));
}

fn has(server: &Server, path: &str, metric: &str) -> bool {
    server.total(path, metric).is_some()
}

/// Waits until a metric's series add up to a value, or until it has none.
#[track_caller]
fn shows(server: &Server, metric: &str, expected: Option<f64>) {
    let mut value = None;
    let is_shown = wait_until(TIMEOUT, || {
        value = server.total("/metrics", metric);
        value == expected
    });
    assert!(is_shown, "{metric}: {value:?}, not {expected:?}");
}

fn start(flags: &[&str]) -> Server {
    start_with(MAPPING, flags)
}

fn start_with(mapping: &str, flags: &[&str]) -> Server {
    let flags = [&["--statsd.mapping-config={tmp}/mapping.yml", "--lanes=2"], flags].concat();
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), mapping.into())],
        ..Launch::tallyd(&flags)
    };
    Server::start(&launch).unwrap()
}

fn udp(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(server.fill("127.0.0.1:{udp}")).unwrap();
    socket
}
