//! Datagram sockets, each read by a thread of its own that the kernel wakes.
//!
//! A thread that blocks in `recvmmsg` is woken and has its datagrams in one system call, where an
//! event loop needs two and its own bookkeeping besides: for datagrams that come one by one that
//! is a tenth of all the work.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use parking_lot::Mutex;
use socket2::Socket;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::ingest::Source;
use crate::net::complaint::Complaint;
use crate::net::drops::KernelDrops;
use crate::net::lane::{Lane, Sink};
use crate::net::orders::{Manner, Stop};
use crate::net::passed::Passing;
use crate::net::processes::{Processes, Teller};
use crate::net::udp::{self, Queue, Receiver};
use crate::net::unix::SocketFile;

/// How long a socket that fails is left alone, so that the failure costs no CPU.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long a datagram may take from the filter to the queue of its socket.
const SETTLE: Duration = Duration::from_millis(2);

/// A datagram socket of a lane.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) socket: Arc<Socket>,
    pub(super) source: Source,
    pub(super) end: End,
}

/// What becomes of a socket when we end.
#[derive(Debug)]
pub(super) enum End {
    /// It is closed; the file of a Unix socket is removed as soon as nothing more is let in.
    Closed(Option<SocketFile>),
    /// It stays open, because somebody else has it as well: nothing is done to it, and what is in
    /// it waits for whoever reads it next.
    LeftOpen,
}

/// What a reader shares with the rest of its lane.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) lane: Arc<Mutex<Lane<S>>>,
    /// When to have ended, once the lane is told to stop. The lane waits until all receivers are
    /// dropped, so everybody keeps one until the work is done.
    pub(super) stopping: watch::Receiver<Option<Stop>>,
    /// Connections for a successor to go on with.
    pub(super) passing: Arc<Mutex<Vec<Passing>>>,
    pub(super) drops: KernelDrops,
    /// Told of processes that send over Unix sockets, where somebody wants to know.
    pub(super) processes: Option<Arc<Processes>>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            stopping: self.stopping.clone(),
            passing: Arc::clone(&self.passing),
            drops: self.drops.clone(),
            processes: self.processes.clone(),
        }
    }
}

/// How often the reader of a socket that is left open looks whether it is to end: nothing can wake
/// it that would not end the socket for all.
const LOOK_UP: Duration = Duration::from_millis(200);

/// How long a wait may last that begins when a successor is to go on reading.
const SHORT_WAIT: Duration = Duration::from_millis(1);

/// Makes every wait for datagrams that begins from here on a short one, for those who are waiting
/// too as soon as a signal interrupts them: the kernel then begins their wait again.
///
/// The socket itself stays as it is: shutting it down, which would end all waits, would end it for
/// the successor as well.
pub(super) fn release(socket: &Socket) {
    if let Err(error) = socket.set_read_timeout(Some(SHORT_WAIT)) {
        warn!(%error, "A reader could not be woken.");
    }
}

/// Lets nothing more into a socket, and wakes its reader to take what is queued and end.
pub(super) fn close(socket: &Socket, source: Source) {
    if source == Source::Udp
        && let Err(error) = udp::refuse_all(socket)
    {
        warn!(%error, "A socket could not be closed to new datagrams.");
    }
    match socket.shutdown(Shutdown::Read) {
        // A socket without a peer is shut down all the same.
        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
            warn!(?source, %error, "A reader could not be woken.");
        }
        _ => {}
    }
}

impl Reader {
    /// Readies the socket for a thread that waits in the kernel.
    pub(super) fn new(socket: Arc<Socket>, source: Source, end: End) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        // One that was handed over may have the timeout of its last reader.
        socket.set_read_timeout(match end {
            End::Closed(_) => None,
            End::LeftOpen => Some(LOOK_UP),
        })?;
        Ok(Self { socket, source, end })
    }

    /// Reads until the lane stops, and then what is queued; to be called on the reader's own thread.
    pub(super) fn run<S: Sink>(self, shared: &Shared<S>) {
        let Self { socket, source, end } = self;
        let mut receiver = Receiver::new(source);
        let mut complaint = Complaint::default();
        let processes = shared.processes.as_ref().filter(|_| source == Source::Unixgram);
        let mut teller = processes.map(Teller::new);
        // The one change that the channel ever sees is the order to stop.
        while matches!(shared.stopping.has_changed(), Ok(false)) {
            // A reload may have brought the first rule that needs them.
            if source == Source::Unixgram
                && (teller.is_some() || shared.lane.lock().sink.needs_senders())
            {
                receiver.ask_for_processes(&socket);
            }
            match receiver.receive(&socket, MsgFlags::MSG_WAITFORONE) {
                Ok(_) if receiver.is_empty() => {}
                Ok(_) => {
                    // The end of the waiting looks like an empty datagram, which holds no line.
                    let is_end = receiver.is_one_empty_datagram()
                        && !matches!(shared.stopping.has_changed(), Ok(false));
                    if !is_end {
                        shared.lane.lock().take_batch(&receiver, source);
                    }
                    if let Some(teller) = &mut teller {
                        teller.tell(receiver.datagrams().map(|(datagram, _)| datagram.sender));
                    }
                }
                Err(error) => {
                    if let Some(unheard) = complaint.voice() {
                        warn!(?source, %error, unheard, "Datagrams could not be read.");
                    }
                    thread::sleep(BACK_OFF);
                }
            }
        }
        let stop = *shared.stopping.borrow();
        let is_closed = stop.is_none_or(|stop| stop.manner == Manner::Close);
        if let (End::Closed(file), true) = (end, is_closed) {
            drop(file);
            drain(&socket, source, &mut receiver, shared);
        }
        shared.drops.refresh();
    }
}

/// Reads what is left in a socket that lets nothing more in.
fn drain<S: Sink>(socket: &Socket, source: Source, receiver: &mut Receiver, shared: &Shared<S>) {
    let deadline = shared.stopping.borrow().map_or_else(Instant::now, |stop| stop.deadline);
    let mut take = || {
        let queue = receiver.receive(socket, MsgFlags::MSG_DONTWAIT);
        shared.lane.lock().take_batch(receiver, source);
        queue
    };
    while let Ok(Queue::MayHoldMore) = take() {
        if Instant::now() >= deadline {
            break;
        }
    }
    // A sender on another core may have passed the filter just before it came.
    thread::sleep(SETTLE);
    if let Err(error) = take() {
        warn!(?source, %error, "Datagrams could not be read.");
    }
}
