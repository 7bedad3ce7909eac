//! The listening TCP socket, and one connection's bytes to lines.

use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive, Type};

use crate::ingest::Sender;
use crate::net::address::ListenAddress;
use crate::net::framing::Framing;
use crate::net::listener::Stream;

/// Connections waiting to be accepted; the kernel cuts it to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// How long a connection is silent before the kernel asks whether the peer still lives, and how
/// often it asks again; Go's default, which ends connections to vanished peers in the reference.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How often the kernel asks before it gives a peer up; Go's default.
const KEEPALIVE_RETRIES: u32 = 9;

/// Binds and listens; nothing is accepted yet.
pub(super) fn bind(listen: ListenAddress) -> io::Result<TcpListener> {
    // A restart must not wait for the connections of the process before to time out.
    let socket = listen.open(Type::STREAM, |socket| socket.set_reuse_address(true))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    framing: Framing,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The chunk was full, so more may wait.
    MayHoldMore,
    /// Everything that had arrived is read.
    Waiting,
    /// Nothing more will be read.
    Ended(End),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it.
    Closed,
    /// A line did not fit; what follows it cannot be trusted to be StatsD.
    TooLong,
    /// The peer reset it, vanished, or the kernel failed.
    Failed,
}

/// Readies an accepted socket: it never blocks, and a vanished peer is noticed.
pub(super) fn prepare(stream: &Stream) -> io::Result<()> {
    let stream = match stream {
        Stream::Tcp(stream) => stream,
        Stream::Unix(stream) => return stream.set_nonblocking(true),
    };
    stream.set_nonblocking(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

impl Connection {
    /// A connection of which nothing was read.
    pub(super) fn new(sender: Sender, framing: Framing) -> Self {
        Self { sender, framing }
    }

    /// Who is at the other end.
    pub(super) fn sender(&self) -> Sender {
        self.sender
    }

    /// Reads one chunk without waiting and hands its complete lines out; at the end of the stream
    /// also an unfinished one.
    pub(super) fn read(
        &mut self,
        mut stream: impl Read,
        chunk: &mut [u8],
        each: impl FnMut(&[u8]),
    ) -> Progress {
        let capacity = chunk.len();
        match stream.read(chunk) {
            Ok(0) => self.end(End::Closed, each),
            Ok(length) => {
                let bytes = chunk.get(..length).unwrap_or_default();
                match self.framing.feed(bytes, each) {
                    Err(_) => Progress::Ended(End::TooLong),
                    Ok(()) if length == capacity => Progress::MayHoldMore,
                    Ok(()) => Progress::Waiting,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Progress::MayHoldMore,
            // What came before a reset is used, as in the reference.
            Err(_) => self.end(End::Failed, each),
        }
    }

    /// What was read of a line or frame that is not complete.
    pub(super) fn unfinished(&self) -> &[u8] {
        self.framing.unfinished()
    }

    /// Goes on after what an earlier process has read of an incomplete line or frame.
    pub(super) fn feed(&mut self, unfinished: &[u8]) {
        self.framing.feed(unfinished, |_| {}).unwrap_or_default();
    }

    /// Hands out the line that the stream stopped in.
    pub(super) fn finish(&mut self, each: impl FnMut(&[u8])) {
        self.framing.finish(each);
    }

    fn end(&mut self, end: End, each: impl FnMut(&[u8])) -> Progress {
        self.finish(each);
        Progress::Ended(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it was filled with in pieces, then the error or the end.
    struct Script(Vec<Result<&'static [u8], io::ErrorKind>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            self.0.remove(0).map_err(io::Error::from).map(|bytes| {
                buffer[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            })
        }
    }

    #[test]
    fn lines_come_out_however_the_stream_is_split() {
        check(
            vec![Ok(b"a:1|c\nb:"), Err(io::ErrorKind::WouldBlock), Ok(b"2|c\r\n"), Ok(b"c:3|c")],
            &["a:1|c", "b:2|c", "c:3|c"],
            End::Closed,
        );
    }

    #[test]
    fn what_came_before_a_reset_is_used() {
        check(
            vec![Ok(b"a:1|c\nb:2|c"), Err(io::ErrorKind::ConnectionReset)],
            &["a:1|c", "b:2|c"],
            End::Failed,
        );
    }

    #[test]
    fn a_line_that_is_too_long_ends_the_connection() {
        let long: &'static [u8] = vec![b'x'; 5000].leak();
        check(vec![Ok(b"a:1|c\n"), Ok(long), Ok(b"\nb:2|c\n")], &["a:1|c"], End::TooLong);
    }

    #[test]
    fn a_full_chunk_means_that_more_may_wait() {
        let mut connection = Connection::new(Sender::Unknown, Framing::lines());
        let script = Script(vec![Ok(b"12345678")]);
        assert_eq!(connection.read(script, &mut [0; 8], |_| {}), Progress::MayHoldMore);
    }

    #[track_caller]
    fn check(script: Vec<Result<&'static [u8], io::ErrorKind>>, lines: &[&str], end: End) {
        let mut script = Script(script);
        let mut connection = Connection::new(Sender::Unknown, Framing::lines());
        let mut seen = Vec::new();
        let mut chunk = vec![0; 8192];
        let found = loop {
            let each = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
            if let Progress::Ended(end) = connection.read(&mut script, &mut chunk, each) {
                break end;
            }
        };
        assert_eq!((seen, found), (lines.iter().map(ToString::to_string).collect(), end));
    }
}
