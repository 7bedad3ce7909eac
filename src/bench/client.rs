//! One socket or connection to a server.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, send, sendmmsg};

use super::target::Target;

/// Datagrams handed to the kernel by one system call.
pub(super) const BATCH: usize = 64;
/// A sender that waits for room looks so often whether its time is over.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// One socket or connection to a server.
pub(super) enum Client {
    Datagrams(Datagrams),
    Stream(Stream),
}

/// A connected socket that takes datagrams.
pub(super) struct Datagrams {
    socket: OwnedFd,
}

/// What the kernel is told of a batch; each thread has its own.
pub(super) struct Batch {
    headers: MultiHeaders<()>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// A connection, and how much of the last write is still to be done.
pub(super) struct Stream {
    connection: Box<dyn Write + Send>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Datagrams(_) => "Datagrams",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Client {
    /// Connects to a server.
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let datagrams = |socket: OwnedFd| Self::Datagrams(Datagrams { socket });
        let stream = |connection| Self::Stream(Stream { connection });
        Ok(match target {
            Target::Udp(address) => {
                let socket = UdpSocket::bind(any_address(address))?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
                datagrams(socket.into())
            }
            Target::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
                datagrams(socket.into())
            }
            Target::Tcp(address) => {
                let connection = TcpStream::connect(address)?;
                connection.set_nodelay(true)?;
                connection.set_write_timeout(Some(WRITE_TIMEOUT))?;
                stream(Box::new(connection))
            }
            Target::UnixStream(path) => {
                let connection = UnixStream::connect(path)?;
                connection.set_write_timeout(Some(WRITE_TIMEOUT))?;
                stream(Box::new(connection))
            }
        })
    }
}

impl Client {
    /// Sends one line by itself and says whether the kernel took it.
    pub(super) fn send_one(&mut self, line: &[u8]) -> bool {
        match self {
            Self::Datagrams(client) => {
                send(client.socket.as_raw_fd(), line, MsgFlags::empty()).is_ok()
            }
            // A line of a few bytes goes whole or not at all.
            Self::Stream(client) => {
                let line = [line, b"\n"].concat();
                client.write(&line).is_ok_and(|written| written == line.len())
            }
        }
    }
}

/// The address to send from: that of the interface on the way.
fn any_address(to: &SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Hands up to [`BATCH`] datagrams to the kernel and returns how many it took; of none there
    /// is an error.
    pub(super) fn send<'a>(
        &mut self,
        client: &Datagrams,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, Errno> {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut count = 0;
        for (slice, datagram) in slices.iter_mut().zip(datagrams) {
            *slice = [IoSlice::new(datagram)];
            count += 1;
        }
        let filled = slices.get(..count).unwrap_or_default();
        let socket = client.socket.as_raw_fd();
        let nobody = [None::<()>; BATCH];
        let sent = sendmmsg(socket, &mut self.headers, filled, nobody, [], MsgFlags::empty())?;
        Ok(sent.count())
    }
}

impl Stream {
    /// Writes as much as the connection takes, and returns how much that was; 0 when it took
    /// nothing for a while.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.connection.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if is_for_want_of_room(&error) => Ok(0),
            result => result,
        }
    }
}

fn is_for_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
