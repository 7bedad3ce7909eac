//! How full servers of others are: accept queues as the kernel has them, uWSGI as it tells of itself.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod server;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const LIMIT: i32 = 3;

#[test]
fn an_accept_queue_has_a_length_a_limit_and_drops() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(listener) = listen(address) else { continue };
        let target = listener.local_addr().unwrap().as_socket().unwrap();
        let server = start(&[&format!("--listen-queue.address=shop={target}")]);
        let labels = format!("{{address=\"{target}\",app=\"shop\",source=\"socket\"}}");
        wait_for(&server, &labels, &[("up", 1.0), ("backlog", 0.0), ("backlog_limit", 3.0)]);
        let _waiting = connect(target, 2);
        let two = [("backlog", 2.0), ("backlog_longest", 2.0), ("drops_total", 0.0)];
        wait_for(&server, &labels, &two);
        // The kernel lets one more wait than the limit says.
        let _more = connect(target, 6);
        wait_for(&server, &labels, &[("backlog", 4.0), ("backlog_fill_ratio", 4.0 / 3.0)]);
        assert!(wait_until(TIMEOUT, || series(&server, "drops_total", &labels) > Some(0.0)));
        while series(&server, "backlog", &labels) > Some(0.0) {
            drop(listener.accept().unwrap());
        }
        wait_for(&server, &labels, &[("backlog", 0.0), ("backlog_longest", 4.0)]);
    }
}

#[test]
fn unix_sockets_have_accept_queues_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let named =
        UnixAddr::from_abstract_name(format!("tallyd-test-{}", std::process::id())).unwrap();
    let name = String::from_utf8(named.as_abstract_name().unwrap().to_vec()).unwrap();
    let file = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    file.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    file.listen(LIMIT).unwrap();
    let _named = UnixListener::bind_addr(&named).unwrap();
    let target = format!("unix:{}", path.display());
    let server = start(&[
        &format!("--listen-queue.address={target}"),
        &format!("--listen-queue.address=unix:@{name}"),
    ]);
    let labels =
        |target: &str| format!("{{address=\"{target}\",app=\"{target}\",source=\"socket\"}}");
    let queue = [("backlog", 0.0), ("backlog_limit", f64::from(LIMIT))];
    wait_for(&server, &labels(&target), &queue);
    wait_for(&server, &labels(&format!("unix:@{name}")), &[("up", 1.0), ("backlog", 0.0)]);
    let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    waiting.connect(&SockAddr::unix(&path).unwrap()).unwrap();
    wait_for(&server, &labels(&target), &[("backlog", 1.0), ("backlog_fill_ratio", 1.0 / 3.0)]);
}

#[test]
fn a_socket_that_nobody_listens_at_is_told_and_has_no_length() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = start(&[&format!("--listen-queue.address={target}")]);
    let labels = format!("{{address=\"{target}\",app=\"{target}\",source=\"socket\"}}");
    wait_for(&server, &labels, &[("up", 1.0)]);
    drop(listener);
    wait_for(&server, &labels, &[("up", 0.0)]);
    assert_eq!(series(&server, "backlog", &labels), None);
    assert_eq!(series(&server, "backlog_limit", &labels), None);
}

#[test]
fn uwsgi_tells_of_itself_and_who_pretends_to_be_it_does_no_harm() {
    let stats = include_bytes!("data/saturation/uwsgi.json");
    let http = [b"HTTP/1.0 200 OK\r\n\r\n", &stats[..]].concat();
    let peers = [
        ("plain", stats.to_vec()),
        ("http", http),
        ("invalid", b"{\"workers\": 1}".to_vec()),
        ("too_large", vec![b' '; 5 << 20]),
    ];
    let peers = peers.map(|(name, answer)| (name, peer(answer)));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let others = [("timeout", silent.local_addr().unwrap()), ("connect", gone)];
    let all: Vec<(&str, SocketAddr)> = peers.into_iter().chain(others).collect();
    let flags: Vec<String> =
        all.iter().map(|(name, at)| format!("--uwsgi.stats={name}={at}")).collect();
    let server = start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, at) in &all {
        let labels = |more: &str| format!("{{address=\"{at}\",app=\"{name}\"{more}}}");
        let source = ",source=\"uwsgi\"";
        if ["plain", "http"].contains(name) {
            let known = [("up", 1.0), ("backlog_limit", 20.0), ("busy_ratio", 1.0 / 6.0)];
            wait_for(&server, &labels(source), &known);
            for state in ["busy", "idle", "cheap"] {
                let labels = labels(&format!("{source},state=\"{state}\""));
                wait_for(&server, &labels, &[("workers", 1.0)]);
            }
        } else {
            wait_for(&server, &labels(source), &[("up", 0.0)]);
            assert_eq!(series(&server, "busy_ratio", &labels(source)), None);
            let labels = labels(&format!(",reason=\"{name}\"{source}"));
            assert!(series(&server, "read_failures_total", &labels) > Some(0.0), "{labels}");
        }
    }
}

#[test]
fn servers_are_told_of_and_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = start(&[
        &format!("--listen-queue.address=shop={target}"),
        "--uwsgi.stats=127.0.0.1:1",
        "--preset=gunicorn",
    ]);
    let facts = json(&server, "/api/v1/status");
    assert_eq!(facts["servers"][0]["app"], "shop");
    assert_eq!(facts["servers"][0]["backlog"]["length"], 0.0);
    assert_eq!(facts["servers"][0]["failures"]["unreadable"], 0);
    // Before anything is there to be shown.
    let families = json(&server, "/api/v1/families").to_string();
    let dashboard = json(&server, "/api/v1/dashboard").to_string();
    for name in ["backlog", "backlog_fill_ratio", "busy_ratio", "drops_total", "workers"] {
        assert!(families.contains(&format!("\"tallyd_server_{name}\"")), "{name}: {families}");
        assert!(dashboard.contains(&format!("tallyd_server_{name}{{")), "{name}: {dashboard}");
    }
    assert!(dashboard.contains("\"title\":\"Servers\""), "{dashboard}");
    let without = json(&start(&[]), "/api/v1/dashboard").to_string();
    assert!(!without.contains("tallyd_server_"), "{without}");
}

fn start(flags: &[&str]) -> Server {
    Server::start(&Launch::tallyd(flags)).unwrap()
}

/// A socket with room for a few connections; none where the machine has no such address.
fn listen(address: &str) -> Option<Socket> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    socket.bind(&address.into()).ok()?;
    socket.listen(LIMIT).unwrap();
    Some(socket)
}

/// Clients that begin to connect and do not wait for it.
fn connect(target: SocketAddr, count: usize) -> Vec<Socket> {
    let client = |_| {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        drop(socket.connect(&target.into()));
        socket
    };
    (0..count).map(client).collect()
}

/// Somebody who sends this to whoever connects.
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
fn peer(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Who has heard enough closes before the end.
            drop(stream.and_then(|mut stream| stream.write_all(&answer)));
        }
    });
    address
}

fn series(server: &Server, name: &str, labels: &str) -> Option<f64> {
    let page = server.get("/metrics").ok()?;
    let start = format!("tallyd_server_{name}{labels} ");
    page.as_str().ok()?.lines().find_map(|line| line.strip_prefix(&start))?.parse().ok()
}

#[track_caller]
fn wait_for(server: &Server, labels: &str, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let mut found = None;
        wait_until(TIMEOUT, || {
            found = series(server, name, labels);
            found == Some(*value)
        });
        assert_eq!(found, Some(*value), "{name}{labels}\n{}", server.output());
    }
}

fn json(server: &Server, path: &str) -> Value {
    serde_json::from_str(server.get(path).unwrap().as_str().unwrap()).unwrap()
}
