//! A start that must fail fails at once, with one clear line and a status that is not 0.

#[path = "support/server.rs"]
mod server;

use std::net::UdpSocket;
use std::time::Duration;

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a server that cannot run, and checks its last words.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn check(flags: &[&str], expected: &str) {
    let mut server = Server::spawn(&Launch::tallyd(flags)).unwrap();
    let mut status = None;
    wait_until(TIMEOUT, || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    let output = server.output();
    assert!(status.is_some_and(|status| !status.success()), "{status:?}\n{output}");
    let errors: Vec<_> = output.lines().filter(|line| line.contains("error: ")).collect();
    assert_eq!(errors.len(), 1, "{output}");
    assert!(errors[0].contains(&server.fill(expected)), "{output}");
}

#[test]
fn a_port_that_another_tallyd_holds_is_an_error() {
    for lanes in ["--lanes=1", "--lanes=2"] {
        let first = Server::start(&Launch::tallyd(&[lanes])).unwrap();
        for flag in ["--statsd.listen-udp", "--statsd.listen-tcp", "--web.listen-address"] {
            let port = match flag {
                "--statsd.listen-udp" => "{udp}",
                "--statsd.listen-tcp" => "{tcp}",
                _ => "{http}",
            };
            let address = first.fill(&format!("127.0.0.1:{port}"));
            check(&[lanes, &format!("{flag}={address}")], &address);
        }
        // The first one's clients have noticed nothing.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"hits:1|c", first.fill("127.0.0.1:{udp}")).unwrap();
        wait_until(TIMEOUT, || first.total("/metrics", "hits").is_some());
        assert_eq!(first.total("/metrics", "hits"), Some(1.0));
    }
}

#[test]
fn an_unreadable_mapping_file_is_named() {
    check(&["--statsd.mapping-config={tmp}/none.yml"], "{tmp}/none.yml");
    check(&["--statsd.mapping-config={tmp}"], "{tmp}");
}

#[test]
fn a_bad_flag_is_named() {
    check(&["--no-such-flag"], "--no-such-flag");
    check(&["--statsd.cache-size=-1"], "--statsd.cache-size");
    check(&["--statsd.listen-udp=127.0.0.1:99999"], "99999");
}
