//! One lane's state, and what becomes of the bytes that its sockets bring.
//!
//! Nothing here waits; the threads of `reader` and `tasks` do, and take turns with the lane.

use smallvec::SmallVec;

use crate::compat::Compat;
use crate::ingest::{Datagram, Ingest, Order, Sender, Source};
use crate::net::listener::Stream;
use crate::net::relay::Relay;
use crate::net::tcp::{Connection, End, Progress};
use crate::net::udp::{BATCH, Ending, Receiver};
use crate::telemetry::Stat;

/// Bytes read from a connection at once, so that a burst never piles up in memory.
const CHUNK_BYTES: usize = 64 << 10;

/// What a lane does with what it reads; an [`Ingest`] everywhere but in tests.
pub(super) trait Sink {
    /// Called before each batch of datagrams or lines.
    fn begin_batch(&mut self);
    /// Takes datagrams in.
    fn datagrams(&mut self, datagrams: &[Datagram<'_>], source: Source);
    /// Takes one line of a stream in, without its newline.
    fn line(&mut self, line: &[u8], sender: Sender);
    /// Counts what happened around the lines.
    fn count(&mut self, stat: Stat, n: u64);
    /// Does what another thread asked for.
    fn obey(&mut self, order: Order);
    /// Whether it matters who sent a line.
    fn needs_senders(&self) -> bool {
        false
    }
}

impl Sink for Ingest {
    fn begin_batch(&mut self) {
        self.begin_batch();
    }
    fn datagrams(&mut self, datagrams: &[Datagram<'_>], source: Source) {
        self.datagrams(datagrams, source);
    }
    fn line(&mut self, line: &[u8], sender: Sender) {
        self.line(line, sender);
    }
    fn count(&mut self, stat: Stat, n: u64) {
        self.count(stat, n);
    }
    fn obey(&mut self, order: Order) {
        self.obey(order);
    }
    fn needs_senders(&self) -> bool {
        self.needs_senders()
    }
}

/// The state of a lane.
#[derive(Debug)]
pub(super) struct Lane<S> {
    pub(super) sink: S,
    relay: Option<Relay>,
    chunk: Vec<u8>,
    compat: Compat,
}

impl<S: Sink> Lane<S> {
    /// A lane that has read nothing.
    pub(super) fn new(sink: S, relay: Option<Relay>, compat: Compat) -> Self {
        Self { sink, relay, chunk: vec![0; CHUNK_BYTES], compat }
    }

    /// Takes the datagrams in that a receiver holds.
    pub(super) fn take_batch(&mut self, receiver: &Receiver, source: Source) {
        let Self { sink, relay, compat, .. } = self;
        sink.begin_batch();
        let mut datagrams = SmallVec::<[Datagram<'_>; BATCH]>::new();
        for (datagram, ending) in receiver.datagrams() {
            match ending {
                Ending::Whole => datagrams.push(datagram),
                Ending::CutOff => {
                    sink.count(Stat::TruncatedDatagrams, 1);
                    match trustworthy(datagram.bytes, *compat) {
                        Some(bytes) => datagrams.push(Datagram { bytes, ..datagram }),
                        None => sink.count(arrival(source), 1),
                    }
                }
            }
        }
        if let Some(relay) = relay {
            datagrams.iter().for_each(|datagram| relay.datagram(datagram.bytes));
        }
        sink.datagrams(&datagrams, source);
        self.report_relay();
    }

    /// Reads one chunk of a connection, and counts why it ended if it did.
    pub(super) fn take_chunk(&mut self, connection: &mut Connection, stream: &Stream) -> Progress {
        let Self { sink, relay, chunk, .. } = self;
        sink.begin_batch();
        let sender = connection.sender();
        let progress = connection.read(stream, chunk, |line| take_line(sink, relay, line, sender));
        match progress {
            Progress::Ended(End::TooLong) => sink.count(Stat::TcpTooLongLines, 1),
            Progress::Ended(End::Failed) => sink.count(Stat::TcpConnectionErrors, 1),
            _ => {}
        }
        self.report_relay();
        progress
    }

    /// Takes the line that a connection stopped in.
    pub(super) fn finish(&mut self, connection: &mut Connection) {
        let Self { sink, relay, .. } = self;
        sink.begin_batch();
        let sender = connection.sender();
        connection.finish(|line| take_line(sink, relay, line, sender));
        self.report_relay();
    }

    /// Sends the lines that wait to be relayed.
    pub(super) fn flush_relay(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.flush();
        }
        self.report_relay();
    }

    fn report_relay(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.report(|stat, n| self.sink.count(stat, n));
        }
    }
}

fn take_line(sink: &mut impl Sink, relay: &mut Option<Relay>, line: &[u8], sender: Sender) {
    if let Some(relay) = relay {
        relay.line(line);
    }
    sink.line(line, sender);
}

/// Returns the lines of a cut datagram that are sure to be as they were sent.
///
/// The last line may have lost its end and still look valid: `a:12|c` cut from `a:12|c|@0.1`. The
/// reference takes it; by default it is left out, and the datagram is counted as truncated.
fn trustworthy(datagram: &[u8], compat: Compat) -> Option<&[u8]> {
    if compat.is_reference() {
        return Some(datagram);
    }
    memchr::memrchr(b'\n', datagram).and_then(|end| datagram.get(..end))
}

fn arrival(source: Source) -> Stat {
    match source {
        Source::Udp => Stat::UdpDatagrams,
        Source::Unixgram => Stat::UnixgramDatagrams,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_cut_datagram_is_not_trusted() {
        check(b"a:1|c\nb:2|c\nc:3", Compat::Extended, Some(b"a:1|c\nb:2|c"));
        check(b"a:1|c|@0.", Compat::Extended, None);
        check(b"a:1|c\nb:2|", Compat::Reference, Some(b"a:1|c\nb:2|"));
    }

    #[track_caller]
    fn check(datagram: &[u8], compat: Compat, expected: Option<&[u8]>) {
        assert_eq!(trustworthy(datagram, compat), expected);
    }
}
