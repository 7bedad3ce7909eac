//! Sockets that go from one process to its successor, which takes them over without a pause.
//!
//! They are passed as systemd passes its own ([`Inherited`](super::Inherited)), by descriptors from
//! 3 on with a name each; a variable says that they come from a tallyd, and which process that was.

use std::env;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use listenfd::ListenFd;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::Instant;
use tracing::error;

use super::inherited;
use super::listener::{Listener, Stream};
use super::orders::{Manner, Stop};
use super::reader::{End, Reader};
use super::unix::SocketFile;
use super::{BindError, Config, KernelDrops, Lanes, Sockets, udp_label};
use crate::ingest::Source;

/// Names the process that hands over.
pub const VARIABLE: &str = "TALLYD_HANDOVER";

/// What a passed socket is for. A name that ends in `-open` is somebody else's too, so it is never
/// shut down and its file never removed.
const DATAGRAMS: &str = "datagrams";
const STREAMS: &str = "streams";
const WEB: &str = "web";
const CONNECTION: &str = "connection";
const OPEN: &str = "-open";

/// A connection, and what it has brought of a line that is not complete.
#[derive(Debug)]
pub struct Passing {
    pub(super) stream: Stream,
    /// Bytes that were read and belong to no line yet.
    pub unfinished: Vec<u8>,
}

/// What a process without a predecessor has not got.
#[derive(Debug, Default)]
pub struct Passed {
    datagrams: Vec<(Socket, bool)>,
    streams: Vec<Listener>,
    /// Where HTTP connections come from.
    pub web: Vec<Listener>,
    connections: Vec<Stream>,
}

/// Descriptors to be passed on, by name, and the files that go with them.
#[derive(Debug, Default)]
pub struct Spare {
    descriptors: Vec<(String, OwnedFd)>,
    files: Vec<Arc<AtomicBool>>,
}

impl Spare {
    /// Adds the listeners that HTTP connections come from.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn add_web(&mut self, listeners: &[Listener]) -> io::Result<()> {
        listeners.iter().try_for_each(|listener| self.add_listener(WEB, listener))
    }

    /// Adds connections.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn add_connections(&mut self, connections: &[Passing]) -> io::Result<()> {
        connections
            .iter()
            .try_for_each(|passing| self.add(CONNECTION, true, passing.stream.as_fd()))
    }

    /// Has the files of Unix sockets stay where they are when the sockets are closed here.
    pub fn pass_files_on(&self) {
        self.files.iter().for_each(|file| file.store(true, Ordering::Relaxed));
    }

    fn add_listener(&mut self, name: &str, listener: &Listener) -> io::Result<()> {
        if let Listener::Unix(_, Some(file)) = listener {
            self.files.push(file.passed_on());
        }
        self.add(name, listener.is_ours(), listener.as_fd())
    }

    fn add(&mut self, name: &str, is_ours: bool, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let suffix = if is_ours { "" } else { OPEN };
        self.descriptors.push((format!("{name}{suffix}"), descriptor.try_clone_to_owned()?));
        Ok(())
    }

    /// The names, as `LISTEN_FDNAMES` has them.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.descriptors.iter().map(|(name, _)| &**name).collect();
        names.join(":")
    }

    /// The descriptors, in the order of the names.
    pub fn into_descriptors(self) -> impl Iterator<Item = OwnedFd> {
        self.descriptors.into_iter().map(|(_, descriptor)| descriptor)
    }
}

impl Passed {
    /// What the process before this one has passed; `None` where there was none. To be called once,
    /// before any thread runs.
    ///
    /// # Errors
    /// When a descriptor is not what its name says.
    pub fn from_env() -> io::Result<Option<Self>> {
        let predecessor = env::var(VARIABLE).unwrap_or_default();
        // A program that another one has started inherits the variable but not the sockets.
        if predecessor != std::process::id().to_string() {
            return Ok(None);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = ListenFd::from_env();
        let mut passed = Self::default();
        for (index, name) in names.split(':').enumerate().take(descriptors.len()) {
            let socket = inherited::take(&mut descriptors, index).ok_or_else(|| {
                io::Error::other(format!("descriptor {} is no socket `{name}`", index + 3))
            })?;
            passed.add(name, socket)?;
        }
        Ok(Some(passed))
    }

    fn add(&mut self, name: &str, socket: Socket) -> io::Result<()> {
        let (name, is_ours) = match name.strip_suffix(OPEN) {
            Some(name) => (name, false),
            None => (name, true),
        };
        match name {
            DATAGRAMS => self.datagrams.push((socket, is_ours)),
            STREAMS => self.streams.push(listener(socket, is_ours)?),
            WEB => self.web.push(listener(socket, is_ours)?),
            CONNECTION => self.connections.push(Stream::of(socket)?),
            _ => return Err(io::Error::other(format!("a socket `{name}` is of no use"))),
        }
        Ok(())
    }
}

fn listener(socket: Socket, is_ours: bool) -> io::Result<Listener> {
    let file = if is_ours { file(&socket)? } else { None };
    Ok(match Listener::of(socket)? {
        Listener::Unix(listener, _) => Listener::Unix(listener, file),
        tcp @ Listener::Tcp(_) => tcp,
    })
}

/// The file of a Unix socket, if it has one that is still there.
fn file(socket: &Socket) -> io::Result<Option<SocketFile>> {
    let address = socket.local_addr()?;
    Ok(address.as_pathname().and_then(|path| SocketFile::of(path).ok()))
}

impl Sockets {
    /// Goes on with the sockets of the process before this one instead of binding any; of each
    /// connection `unfinished` has what was read of an incomplete line.
    ///
    /// # Errors
    /// [`BindError::Inherited`] and [`BindError::Relay`].
    pub fn resume(config: &Config, passed: Passed) -> Result<Self, BindError> {
        let mut sockets = Self {
            udp: Vec::new(),
            unixgram: Vec::new(),
            streams: passed.streams,
            connections: passed.connections,
            relay: config.relay.as_ref().map(super::open_relay).transpose()?,
            lanes: config.lanes.max(1),
            stream_limits: config.streams,
            compat: config.compat,
            drops: KernelDrops::default(),
            processes: None,
        };
        for (socket, is_ours) in passed.datagrams {
            let failed = BindError::Inherited;
            let is_unix = socket.domain().map_err(failed)? == Domain::UNIX;
            let end =
                if is_ours { End::Closed(file(&socket).map_err(failed)?) } else { End::LeftOpen };
            let (source, readers) = if is_unix {
                (Source::Unixgram, &mut sockets.unixgram)
            } else {
                (Source::Udp, &mut sockets.udp)
            };
            readers.push(Reader::new(Arc::new(socket), source, end).map_err(failed)?);
        }
        let labelled = sockets.udp.iter().map(|reader| (udp_label(&reader.socket), &reader.socket));
        sockets.drops = KernelDrops::new(labelled);
        Ok(sockets)
    }

    /// Second descriptors of all sockets, which outlive the lanes.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn spare(&self) -> io::Result<Spare> {
        let mut spare = Spare::default();
        for reader in self.udp.iter().chain(&self.unixgram) {
            let is_ours = matches!(reader.end, End::Closed(_));
            if let End::Closed(Some(file)) = &reader.end {
                spare.files.push(file.passed_on());
            }
            spare.add(DATAGRAMS, is_ours, reader.socket.as_fd())?;
        }
        for listener in &self.streams {
            spare.add_listener(STREAMS, listener)?;
        }
        Ok(spare)
    }
}

impl Stream {
    fn of(socket: Socket) -> io::Result<Self> {
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::other("a connection is no stream"));
        }
        Ok(match socket.domain()? {
            Domain::UNIX => Self::Unix(socket.into()),
            _ => Self::Tcp(socket.into()),
        })
    }
}

/// Has the kernel look again at what a thread waits for. It means nothing to anybody: by default
/// it is ignored.
const NUDGE: Signal = Signal::SIGURG;

/// How often the threads that still wait are nudged: one may have looked whether to end just before
/// it was time, and have begun to wait just after it was nudged.
const NUDGE_INTERVAL: Duration = Duration::from_millis(1);

impl Lanes {
    /// Ends the lanes without doing anything to their sockets, so that what comes from here on waits
    /// for the successor; what was read by then has been counted. Returns the connections.
    pub fn hand_over(mut self, patience: Duration) -> Vec<Passing> {
        let deadline = Instant::now() + patience;
        let handled = handle_nudges();
        if let Err(error) = &handled {
            error!(%error, "Readers cannot be woken.");
        }
        self.orders.stop(Stop { deadline, manner: Manner::HandOver });
        while self.ended.recv_timeout(NUDGE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if Instant::now() > deadline {
                error!("A lane did not end in time; what it had not yet counted is lost.");
                return std::mem::take(&mut self.passing.lock());
            }
            for thread in self.threads.iter().filter(|thread| !thread.is_finished()) {
                // A thread that has just ended needs no nudge.
                pthread_kill(thread.as_pthread_t(), NUDGE).unwrap_or_default();
            }
        }
        self.join();
        std::mem::take(&mut self.passing.lock())
    }
}

/// A signal interrupts only where it is handled, whatever the handler does.
fn handle_nudges() -> io::Result<(Runtime, unix::Signal)> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handler = {
        let _inside = runtime.enter();
        unix::signal(SignalKind::from_raw(NUDGE as i32))?
    };
    Ok((runtime, handler))
}

#[cfg(test)]
impl Passed {
    /// What a successor in the same process gets.
    pub(super) fn of(spare: Spare, connections: Vec<Passing>) -> Self {
        let mut passed = Self::default();
        for (name, descriptor) in spare.descriptors {
            passed.add(&name, descriptor.into()).unwrap();
        }
        passed.connections = connections.into_iter().map(|passing| passing.stream).collect();
        passed
    }
}
