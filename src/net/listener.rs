//! Listening stream sockets, TCP or Unix, and the connections they give.

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::ingest::Sender;
use crate::net::address::ListenAddress;
use crate::net::unix::{self, Access, SocketFile};
use crate::net::{BindError, tcp};

/// What a Unix socket's path follows where an address can be given as well.
const UNIX_PREFIX: &str = "unix:";

/// A socket that connections are accepted from.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// At a path, which nothing but this process removes; one that it was given has none.
    Unix(UnixListener, Option<SocketFile>),
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// From a TCP port.
    Tcp(TcpStream),
    /// From a Unix socket.
    Unix(UnixStream),
}

impl Listener {
    /// Listens for HTTP: on `host:port` as Go spells it, or on `unix:PATH`.
    ///
    /// # Errors
    /// The variants of [`BindError`] about addresses and Unix sockets.
    pub fn web(text: &str, access: &Access) -> Result<Self, BindError> {
        match text.strip_prefix(UNIX_PREFIX) {
            Some(path) => Self::unix(Path::new(path), access),
            None => Self::tcp("--web.listen-address", text),
        }
    }

    /// Listens on a TCP address that `flag` gives, as Go would: `:9102` is every address of both
    /// families.
    pub(super) fn tcp(flag: &'static str, text: &str) -> Result<Self, BindError> {
        let listen =
            ListenAddress::parse(text).map_err(|source| BindError::Address { flag, source })?;
        let listener = tcp::bind(listen).map_err(|source| BindError::Listen {
            transport: "TCP",
            address: text.to_owned(),
            source,
        })?;
        Ok(Self::Tcp(listener))
    }

    /// Listens at a path; `@name` is an abstract socket.
    pub(super) fn unix(path: &Path, access: &Access) -> Result<Self, BindError> {
        let unix::Bound { socket, file } = unix::bind(path, Type::STREAM, access)?;
        let failed = |source| BindError::Listen {
            transport: "the Unix socket",
            address: path.display().to_string(),
            source,
        };
        socket.listen(tcp::BACKLOG).map_err(failed)?;
        Ok(Self::Unix(socket.into(), file))
    }

    /// A socket that already listens.
    pub(super) fn of(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(match socket.domain()? {
            Domain::UNIX => Self::Unix(socket.into(), None),
            _ => Self::Tcp(socket.into()),
        })
    }

    /// Takes a connection that waits; the listener does not block.
    ///
    /// # Errors
    /// `WouldBlock` when none waits, and what else the kernel says.
    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// Whether nobody else has it, as far as that matters: whether its file is ours to remove.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_, Some(_)))
    }

    /// Returns the TCP address it is really bound to.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener, _) => listener.local_addr().ok().map(|a| unix::path_of(&a)),
        }
    }
}

impl Stream {
    /// Who is at the other end; one that has gone already has no address any more.
    pub(super) fn sender(&self) -> Sender {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or(Sender::Unknown, Sender::Tcp),
            Self::Unix(stream) => process(stream).map_or(Sender::Unknown, Sender::Process),
        }
    }
}

/// The process that connected; one from outside of our container has no id here.
fn process(stream: &UnixStream) -> Option<u32> {
    let pid = getsockopt(stream, sockopt::PeerCredentials).ok()?.pid();
    u32::try_from(pid).ok().filter(|&pid| pid != 0)
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.tcp_addr(), self.path()) {
            (Some(address), _) => address.fmt(f),
            (None, Some(path)) => write!(f, "{UNIX_PREFIX}{}", path.display()),
            (None, None) => f.write_str("?"),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener, _) => listener.as_raw_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => { stream }.read(buffer),
            Stream::Unix(stream) => { stream }.read(buffer),
        }
    }
}
