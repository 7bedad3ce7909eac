//! Raw lines passed on to another server, byte for byte as `statsd_exporter` 0.31 does
//! (`pkg/relay`): every line that is not empty, good or bad, each with a newline, as many as fit
//! into a datagram.
//!
//! Each lane has a relay of its own, so nothing is locked; all of them send from one socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::SockRef;
use tokio::sync::Notify;
use tracing::warn;

use crate::net::complaint::Complaint;
use crate::telemetry::Stat;

/// Room for about a second of relayed datagrams while the network is busy; the kernel may cut it.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Where relayed datagrams go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: SocketAddr,
    packet_length: usize,
    socket: Arc<UdpSocket>,
}

impl Target {
    /// Opens the socket that all lanes send from; nothing is sent yet.
    pub(super) fn open(address: SocketAddr, packet_length: usize) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
        };
        // A lane must not wait for the network; what the kernel has no room for is counted.
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        Ok(Self { address, packet_length, socket: Arc::new(socket) })
    }
}

/// One lane's part of the relay.
#[derive(Debug)]
pub(super) struct Relay {
    target: Target,
    buffer: Vec<u8>,
    buffered_lines: u64,
    /// Told when the first line is buffered, so that whoever waits on it flushes a second later.
    filled: Arc<Notify>,
    counts: Counts,
    too_long: Complaint,
    not_sent: Complaint,
}

/// What happened since it was last reported.
#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    lines: u64,
    long_lines: u64,
    dropped_lines: u64,
}

impl Relay {
    /// A relay with nothing buffered.
    pub(super) fn new(target: Target) -> Self {
        Self {
            buffer: Vec::with_capacity(target.packet_length.min(65_536)),
            target,
            buffered_lines: 0,
            filled: Arc::default(),
            counts: Counts::default(),
            too_long: Complaint::default(),
            not_sent: Complaint::default(),
        }
    }

    /// Notified each time a line comes into the empty buffer.
    pub(super) fn filled(&self) -> Arc<Notify> {
        Arc::clone(&self.filled)
    }

    /// Passes every line of a datagram on.
    pub(super) fn datagram(&mut self, datagram: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', datagram) {
            self.line(datagram.get(start..end).unwrap_or_default());
            start = end + 1;
        }
        self.line(datagram.get(start..).unwrap_or_default());
    }

    /// Passes one line on, given without its newline; an empty one is left out.
    pub(super) fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        // The reference's arithmetic is unsigned, so that for a length of 0 no line is too long.
        if line.len() > self.target.packet_length.wrapping_sub(1) {
            self.refuse(line);
            return;
        }
        if self.buffer.len() + line.len() + 1 > self.target.packet_length {
            self.flush();
        }
        if self.buffer.is_empty() {
            self.filled.notify_one();
        }
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.buffered_lines += 1;
        self.counts.lines += 1;
    }

    /// Sends what is buffered.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.target.socket.send_to(&self.buffer, self.target.address) {
            Ok(_) => self.counts.packets += 1,
            Err(error) => self.lose(&error),
        }
        self.buffer.clear();
        self.buffered_lines = 0;
    }

    /// Hands out what is to be counted since the last call.
    pub(super) fn report(&mut self, mut count: impl FnMut(Stat, u64)) {
        let Counts { packets, lines, long_lines, dropped_lines } = std::mem::take(&mut self.counts);
        for (stat, n) in [
            (Stat::RelayPackets, packets),
            (Stat::RelayLines, lines),
            (Stat::RelayLongLines, long_lines),
            (Stat::RelayDroppedLines, dropped_lines),
        ] {
            if n > 0 {
                count(stat, n);
            }
        }
    }

    fn refuse(&mut self, line: &[u8]) {
        self.counts.long_lines += 1;
        if let Some(unheard) = self.too_long.voice() {
            let (length, packet_length) = (line.len(), self.target.packet_length);
            warn!(length, packet_length, unheard, "A line is too long to be relayed.");
        }
    }

    fn lose(&mut self, error: &io::Error) {
        self.counts.dropped_lines += self.buffered_lines;
        if let Some(unheard) = self.not_sent.voice() {
            let target = self.target.address;
            warn!(%target, %error, unheard, "Lines could not be relayed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_packed_until_the_next_would_not_fit() {
        check(12, &[b"a:1|c\nb:1|c\nc:1|c"], &[b"a:1|c\nb:1|c\n", b"c:1|c\n"]);
        check(11, &[b"a:1|c", b"b:1|c"], &[b"a:1|c\n", b"b:1|c\n"]);
        check(1400, &[b"a:1|c\n\n", b"\xff bad\r"], &[b"a:1|c\n\xff bad\r\n"]);
    }

    #[test]
    fn a_line_that_leaves_no_room_for_its_newline_is_too_long() {
        check(6, &[b"a:1|c", b"aa:1|c"], &[b"a:1|c\n"]);
        let mut relay = relay_to(&sink(), 6);
        relay.datagram(b"aa:1|c\na:1|c\nbb:1|c");
        assert_eq!(reported(&mut relay), [(Stat::RelayLines, 1), (Stat::RelayLongLines, 2)]);
    }

    #[test]
    fn a_length_of_zero_sends_every_line_alone() {
        check(0, &[b"a:1|c\nb:1|c"], &[b"a:1|c\n", b"b:1|c\n"]);
    }

    #[test]
    fn lines_the_kernel_refuses_are_counted() {
        let mut relay = relay_to(&sink(), 0);
        relay.line(&vec![b'x'; 70_000]);
        relay.flush();
        relay.line(b"a:1|c");
        relay.flush();
        assert_eq!(
            reported(&mut relay),
            [(Stat::RelayPackets, 1), (Stat::RelayLines, 2), (Stat::RelayDroppedLines, 1)]
        );
        assert_eq!(reported(&mut relay), []);
    }

    #[tokio::test]
    async fn the_first_line_into_the_empty_buffer_asks_for_a_flush() {
        let mut relay = relay_to(&sink(), 100);
        let filled = relay.filled();
        relay.line(b"a:1|c");
        filled.notified().await;
        relay.line(b"a:1|c");
        assert!(tokio::time::timeout(Duration::ZERO, filled.notified()).await.is_err());
        relay.flush();
        relay.line(b"a:1|c");
        filled.notified().await;
    }

    #[track_caller]
    fn check(packet_length: usize, datagrams: &[&[u8]], expected: &[&[u8]]) {
        let sink = sink();
        let mut relay = relay_to(&sink, packet_length);
        for datagram in datagrams {
            relay.datagram(datagram);
        }
        relay.flush();
        let mut buffer = [0; 2048];
        for packet in expected {
            let length = sink.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], *packet);
        }
        let packets = (Stat::RelayPackets, expected.len() as u64);
        assert!(reported(&mut relay).contains(&packets));
    }

    fn sink() -> UdpSocket {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        sink
    }

    fn relay_to(sink: &UdpSocket, packet_length: usize) -> Relay {
        Relay::new(Target::open(sink.local_addr().unwrap(), packet_length).unwrap())
    }

    fn reported(relay: &mut Relay) -> Vec<(Stat, u64)> {
        let mut counts = Vec::new();
        relay.report(|stat, n| counts.push((stat, n)));
        counts
    }
}
