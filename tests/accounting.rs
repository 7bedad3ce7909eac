//! What is sent is counted or reported as lost, whatever the machine can take.

#[path = "support/server.rs"]
mod server;

use std::net::UdpSocket;
use std::time::Duration;
use std::{io, thread};

use crate::server::{Launch, Server, wait_until};

const SENDERS: usize = 4;

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn every_datagram_is_counted_or_reported_as_dropped_by_the_kernel() {
    const DATAGRAMS: usize = 150_000;
    let flags = ["--lanes=2", "--statsd.read-buffer=8192"];
    let server = Server::start(&Launch::tallyd(&flags)).unwrap();
    let sent: usize = thread::scope(|scope| {
        let send = || send(&server, "hits:1|c\nsize:3|h", DATAGRAMS);
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap().unwrap()).sum()
    });
    let total = |metric| server.total("/metrics", metric).unwrap_or_default();
    let received = || total("statsd_exporter_udp_packets_total");
    let dropped = || total("tallyd_udp_kernel_drops_total");
    wait_until(TIMEOUT, || received() + dropped() >= sent as f64);
    check("received and dropped", received() + dropped(), sent as f64);
    check("hits", total("hits"), received());
    check("size_count", total("size_count"), received());
    check("lines", total("statsd_exporter_lines_total"), 2.0 * received());
    check("drops", total("statsd_exporter_udp_packet_drops_total"), dropped());
    assert!(dropped() > 0.0, "the machine took everything, so that nothing was shown");
}

#[test]
fn a_sum_of_fractions_never_falls_between_two_scrapes() {
    const DATAGRAMS: usize = 30_000;
    let server = Server::start(&Launch::tallyd(&["--lanes=2"])).unwrap();
    let mut totals = [("up", 0.0), ("size_sum", 0.0)];
    thread::scope(|scope| {
        let send = || send(&server, "up:0.1|c\nup:0.3|c\nsize:0.1|h\nup:0.7|c", DATAGRAMS);
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            for (metric, last) in &mut totals {
                let Some(total) = server.total("/metrics", metric) else { continue };
                assert!(total >= *last, "{metric} fell from {last} to {total}");
                *last = total;
            }
        }
        for sender in senders {
            sender.join().unwrap().unwrap();
        }
    });
    assert!(totals.iter().all(|(_, total)| *total > 0.0), "nothing arrived: {totals:?}");
}

/// Sends datagrams as fast as the kernel takes them and says how many it took.
fn send(server: &Server, datagram: &str, times: usize) -> io::Result<usize> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(server.fill("127.0.0.1:{udp}"))?;
    // A full send queue refuses a datagram, which is then nobody's loss.
    Ok((0..times).filter(|_| socket.send(datagram.as_bytes()).is_ok()).count())
}

#[track_caller]
fn check(what: &str, counted: f64, expected: f64) {
    assert!((counted - expected).abs() < 0.5, "{what}: expected {expected}, got {counted}");
}
