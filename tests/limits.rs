//! One client that sends ever-new names, labels or connections harms nobody but itself.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(30);

const LIMITED_TOTAL: &str = "tallyd_limited_samples_total";

/// The value of one series on the page.
fn series(server: &Server, series: &str) -> Option<f64> {
    let page = server.get("/metrics").ok()?;
    let mut values = page.as_str().ok()?.lines().filter_map(|line| line.strip_prefix(series));
    values.find_map(|value| value.strip_prefix(' ')?.parse().ok())
}

#[track_caller]
fn wait_for(server: &Server, what: &str, expected: f64) {
    let mut found = None;
    wait_until(TIMEOUT, || {
        found = series(server, what);
        found == Some(expected)
    });
    assert_eq!(found, Some(expected), "{what}\n{}", server.output());
}

/// Sends lines over TCP, which loses nothing.
fn send(server: &Server, lines: impl Iterator<Item = String>) {
    let mut stream = TcpStream::connect(server.fill("127.0.0.1:{tcp}")).unwrap();
    let lines: Vec<String> = lines.map(|line| line + "\n").collect();
    for part in lines.chunks(1000) {
        stream.write_all(part.concat().as_bytes()).unwrap();
    }
}

#[test]
fn a_flood_of_new_series_costs_known_ones_nothing() {
    const NAMES: u32 = 50_000;
    let flags =
        ["--limits.series=300", "--limits.series-per-family=200", "--line-cache.max-bytes=1MiB"];
    let server = Server::start(&Launch::tallyd(&flags)).unwrap();
    let known = |n: u32| format!("known:1|c|#n:{}", n % 100);
    let user = |n: u32| format!("user:1|c|#app:a,user_id:{n}");
    send(&server, (0..100).map(known).chain((0..200).map(user)));
    wait_for(&server, "statsd_exporter_lines_total", 300.0);
    let flood = |range: std::ops::Range<u32>| {
        range.flat_map(move |n| {
            let known = (n % 5 == 0).then(|| known(n / 5));
            [format!("flood.{n}:1|c"), user(200 + n)].into_iter().chain(known)
        })
    };
    send(&server, flood(0..1000));
    wait_for(&server, "statsd_exporter_lines_total", 2500.0);
    let before = series(&server, "process_resident_memory_bytes").unwrap();
    send(&server, flood(1000..NAMES));
    wait_for(&server, "statsd_exporter_lines_total", f64::from(300 + 2 * NAMES + NAMES / 5));
    let grown = series(&server, "process_resident_memory_bytes").unwrap() - before;
    assert!(grown < 4e6, "the flood took {grown} bytes");

    let names = Some(f64::from(NAMES));
    assert_eq!(series(&server, "known{n=\"7\"}"), Some(f64::from(1 + NAMES / 500)));
    assert_eq!(server.total("/metrics", "user"), Some(f64::from(200 + NAMES)));
    let overflow = "user{app=\"__overflow__\",user_id=\"__overflow__\"}";
    assert_eq!(series(&server, overflow), names);
    let label = "action=\"overflow\",label=\"user_id\",metric=\"user\"";
    let of_user = format!("{LIMITED_TOTAL}{{{label},reason=\"series_per_family\"}}");
    assert_eq!(series(&server, &of_user), names);
    assert_eq!(series(&server, "tallyd_lines_total{outcome=\"limited\"}"), names);
    assert_eq!(server.total("/metrics", LIMITED_TOTAL), Some(f64::from(2 * NAMES)));
    let page = server.get("/metrics").unwrap();
    let page = page.as_str().unwrap();
    let told = page.lines().filter(|line| line.starts_with(LIMITED_TOTAL));
    assert!((2..200).contains(&told.count()), "a flood must not be one of self-metrics");
    assert_eq!(series(&server, "tallyd_series"), Some(301.0), "{page}");
    assert_eq!(series(&server, "tallyd_series_limit"), Some(300.0));
}

#[test]
fn what_expires_makes_room() {
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), "defaults: {ttl: 1s}\n".into())],
        ..Launch::tallyd(&["--statsd.mapping-config={tmp}/mapping.yml", "--limits.series=5"])
    };
    let server = Server::start(&launch).unwrap();
    send(&server, (0..5).map(|n| format!("early.{n}:1|c")));
    wait_for(&server, "tallyd_series", 5.0);
    let mut sent = 0;
    let arrived = wait_until(TIMEOUT, || {
        send(&server, ["late:1|c".to_owned()].into_iter());
        sent += 1;
        series(&server, "late").is_some()
    });
    assert!(arrived, "{}", server.output());
    let refused = "action=\"drop\",label=\"\",metric=\"late\",reason=\"series\"";
    let refused = format!("{LIMITED_TOTAL}{{{refused}}}");
    let all = || series(&server, "late").zip(series(&server, &refused)).map(|(a, b)| a + b);
    assert!(wait_until(TIMEOUT, || all() == Some(f64::from(sent))), "{sent} sent: {:?}", all());
}

#[test]
fn flags_and_the_mapping_file_say_which_tags_are_taken() {
    let mapping =
        "mappings:\n- {match: 'api.*', name: api, labels: {part: $1}, keep_tags: [env]}\n";
    let flags = [
        "--statsd.mapping-config={tmp}/mapping.yml",
        "--tags.drop=request_id,pod*",
        "--tags.rename=stage=env",
        "--tags.add=team=shop",
    ];
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), mapping.into())],
        ..Launch::tallyd(&flags)
    };
    let server = Server::start(&launch).unwrap();
    let lines = (0..10).flat_map(|n| {
        let tags = format!("request_id:{n},pod_name:p{n},stage:prod,zone:a");
        [format!("hits:1|c|#{tags}"), format!("api.cart:1|c|#{tags}")]
    });
    send(&server, lines);
    wait_for(&server, "hits{env=\"prod\",team=\"shop\",zone=\"a\"}", 10.0);
    wait_for(&server, "api{env=\"prod\",part=\"cart\",team=\"shop\"}", 10.0);
    assert_eq!(series(&server, "tallyd_series"), Some(2.0));
}

#[test]
fn thousands_of_connections_are_bounded_and_udp_goes_on() {
    const OPEN: usize = 500;
    const ALL: usize = 5000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let flag = format!("--limits.connections={OPEN}");
    let server = Server::start(&Launch::tallyd(&[&flag, "--lanes=2"])).unwrap();
    let connect = |_| TcpStream::connect(server.fill("127.0.0.1:{tcp}")).unwrap();
    let mut streams: Vec<TcpStream> = (0..ALL).map(connect).collect();
    let turned_away = "tallyd_connections_closed_total{reason=\"limit\"}";
    wait_for(&server, turned_away, (ALL - OPEN) as f64);
    assert_eq!(series(&server, "tallyd_connections"), Some(OPEN as f64));
    let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    udp.send_to(b"hits:1|c", server.fill("127.0.0.1:{udp}")).unwrap();
    wait_for(&server, "hits", 1.0);
    streams[0].write_all(b"by_tcp:1|c\n").unwrap();
    wait_for(&server, "by_tcp", 1.0);
    let last = streams.last_mut().unwrap();
    assert!(matches!(last.read(&mut [0; 1]), Ok(0) | Err(_)));
    drop(streams);
    wait_for(&server, "tallyd_connections", 0.0);
}

#[test]
fn a_silent_connection_is_closed() {
    let server = Server::start(&Launch::tallyd(&["--limits.idle-time=200ms"])).unwrap();
    let mut stream = TcpStream::connect(server.fill("127.0.0.1:{tcp}")).unwrap();
    stream.write_all(b"hits:1|c").unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    wait_for(&server, "tallyd_connections_closed_total{reason=\"idle\"}", 1.0);
    wait_for(&server, "hits", 1.0);
}
