//! What a lane waits for, as tasks of one thread.
//!
//! The tasks share the lane's state without locks, because none holds a borrow while it waits: a
//! reader per datagram socket, one task per TCP connection, the acceptor (on the first lane), and
//! the relay's timer. Orders from other threads come through a channel and are obeyed between two
//! batches.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::compat::Compat;
use crate::ingest::Source;
use crate::net::complaint::Complaint;
use crate::net::drops::KernelDrops;
use crate::net::lane::{Lane, Sink};
use crate::net::orders::{Command, Peers, Place};
use crate::net::relay::{Relay, Target};
use crate::net::tcp::{self, Connection, Progress};
use crate::net::udp::{self, Queue};
use crate::net::unix::{self, SocketFile};
use crate::telemetry::Stat;

/// How long a socket that fails is left alone, so that the failure costs no CPU.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long a datagram may take from the filter to the queue of its socket.
const SETTLE: Duration = Duration::from_millis(2);

/// How long a relayed line waits for others, as in the reference.
const RELAY_INTERVAL: Duration = Duration::from_secs(1);

/// The sockets that a lane reads, bound and not yet watched.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// The lane's own UDP socket.
    pub(super) udp: Option<Arc<Socket>>,
    /// The Unix datagram socket, on one lane only.
    pub(super) unix: Option<unix::Bound>,
    /// The listening TCP socket and who gets its connections, on one lane only.
    pub(super) tcp: Option<(TcpListener, Peers)>,
    /// Where lines are passed on to.
    pub(super) relay: Option<Target>,
    /// Whose rules apply to datagrams that were cut off.
    pub(super) compat: Compat,
    /// To be read once more before a socket is closed.
    pub(super) drops: KernelDrops,
}

/// What a lane needs to run, ready to be moved to its thread.
#[derive(Debug)]
pub(super) struct Seat<S> {
    runtime: Runtime,
    sink: S,
    readers: Vec<Reader>,
    acceptor: Option<(AsyncFd<TcpListener>, Peers)>,
    relay: Option<Target>,
    compat: Compat,
    drops: KernelDrops,
    commands: UnboundedReceiver<Command>,
}

/// A datagram socket, watched by the lane's runtime.
#[derive(Debug)]
struct Reader {
    socket: AsyncFd<Arc<Socket>>,
    source: Source,
    file: Option<SocketFile>,
}

impl<S: Sink + 'static> Seat<S> {
    /// Readies a lane, so that whatever can fail has failed before its thread starts.
    pub(super) fn new(
        inputs: Inputs,
        sink: S,
        commands: UnboundedReceiver<Command>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut readers = Vec::new();
        if let Some(socket) = inputs.udp {
            readers.push(Reader { socket: watch(socket)?, source: Source::Udp, file: None });
        }
        if let Some(unix::Bound { socket, file }) = inputs.unix {
            let socket = watch(socket)?;
            readers.push(Reader { socket, source: Source::Unixgram, file });
        }
        let acceptor = match inputs.tcp {
            Some((listener, peers)) => Some((watch(listener)?, peers)),
            None => None,
        };
        drop(guard);
        let Inputs { relay, compat, drops, .. } = inputs;
        Ok(Self { runtime, sink, readers, acceptor, relay, compat, drops, commands })
    }

    /// Runs the lane until it is told to stop; to be called on the lane's own thread.
    pub(super) fn run(self) {
        let Self { runtime, sink, readers, acceptor, relay, compat, drops, commands } = self;
        let relay = relay.map(Relay::new);
        let filled = relay.as_ref().map(Relay::filled);
        let lane = Rc::new(RefCell::new(Lane::new(sink, relay, compat)));
        let (stop, stopping) = watch::channel(None);
        let tasks = Tasks { lane, stopping, drops };
        LocalSet::new().block_on(&runtime, async move {
            for reader in readers {
                spawn_local(tasks.clone().read_datagrams(reader));
            }
            if let Some((listener, peers)) = acceptor {
                spawn_local(tasks.clone().accept(listener, peers));
            }
            if let Some(filled) = filled {
                spawn_local(tasks.clone().flush_relay(filled));
            }
            tasks.obey(commands, stop).await;
        });
    }
}

/// Watches a socket for bytes to read.
#[expect(
    deprecated,
    reason = "the unsafe successor asks that the descriptor stay the same, as it does for sockets \
              that nothing but their drop closes"
)]
fn watch<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, Interest::READABLE)
}

/// What each task of a lane holds.
struct Tasks<S> {
    lane: Rc<RefCell<Lane<S>>>,
    /// When to have ended, once the lane is told to stop. The lane waits until all receivers are
    /// dropped, so each task keeps one until its work is done.
    stopping: watch::Receiver<Option<Instant>>,
    drops: KernelDrops,
}

impl<S> Clone for Tasks<S> {
    fn clone(&self) -> Self {
        Self {
            lane: Rc::clone(&self.lane),
            stopping: self.stopping.clone(),
            drops: self.drops.clone(),
        }
    }
}

impl<S: Sink + 'static> Tasks<S> {
    /// Does what other threads ask for, and at the end waits for the other tasks.
    async fn obey(
        self,
        mut commands: UnboundedReceiver<Command>,
        stop: watch::Sender<Option<Instant>>,
    ) {
        let deadline = loop {
            match commands.recv().await {
                Some(Command::Stop(deadline)) => break deadline,
                Some(command) => self.follow(command),
                None => break Instant::now(),
            }
        };
        // From here on the acceptor keeps the connections that it cannot hand out.
        commands.close();
        stop.send_replace(Some(deadline));
        while let Some(command) = commands.recv().await {
            self.follow(command);
        }
        let lane = Rc::clone(&self.lane);
        drop(self);
        if timeout_at(deadline, stop.closed()).await.is_err() {
            warn!("There was no time to read all that had arrived.");
        }
        lane.borrow_mut().flush_relay();
    }

    fn follow(&self, command: Command) {
        match command {
            Command::Obey(order) => self.lane.borrow_mut().sink.obey(order),
            Command::Serve(stream, place) => {
                spawn_local(self.clone().serve(stream, place));
            }
            Command::Stop(_) => {}
        }
    }

    /// Reads a datagram socket until the lane stops; what is queued then is read to the last.
    async fn read_datagrams(mut self, reader: Reader) {
        let Reader { socket, source, file } = reader;
        let mut complaint = Complaint::default();
        let deadline = loop {
            let mut ready = tokio::select! {
                biased;
                deadline = stopped(&mut self.stopping) => break deadline,
                ready = socket.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
            };
            let turn = self.lane.borrow_mut().take_turn(socket.get_ref(), source);
            match turn {
                // Another system call would only say that the socket is empty.
                Ok(Queue::Empty) => ready.clear_ready(),
                Ok(Queue::MayHoldMore) => yield_now().await,
                Err(error) => {
                    if let Some(unheard) = complaint.voice() {
                        warn!(?source, %error, unheard, "Datagrams could not be read.");
                    }
                    sleep(BACK_OFF).await;
                }
            }
        };
        drop(file);
        self.drain(socket.get_ref(), source, deadline).await;
    }

    /// Lets nothing more into a datagram socket and reads what is in it.
    async fn drain(&self, socket: &Socket, source: Source, deadline: Instant) {
        let refused = match source {
            Source::Udp => udp::refuse_all(socket),
            Source::Unixgram => unix::refuse_all(socket),
        };
        if let Err(error) = refused {
            warn!(?source, %error, "A socket could not be closed to new datagrams.");
        }
        loop {
            let turn = self.lane.borrow_mut().take_turn(socket, source);
            match turn {
                Ok(Queue::MayHoldMore) if Instant::now() < deadline => yield_now().await,
                _ => break,
            }
        }
        // A sender on another core may have passed the filter just before it came.
        sleep(SETTLE).await;
        if let Err(error) = self.lane.borrow_mut().take_turn(socket, source) {
            warn!(?source, %error, "Datagrams could not be read.");
        }
        self.drops.refresh();
    }

    /// Accepts connections until the lane stops; those that wait then are served as well.
    async fn accept(mut self, listener: AsyncFd<TcpListener>, peers: Peers) {
        let mut complaint = Complaint::default();
        loop {
            let mut ready = tokio::select! {
                biased;
                _ = stopped(&mut self.stopping) => break,
                ready = listener.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
            };
            match listener.get_ref().accept() {
                Ok((stream, _)) => {
                    self.welcome(stream, &peers);
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    self.lane.borrow_mut().sink.count(Stat::TcpConnectionErrors, 1);
                    if let Some(unheard) = complaint.voice() {
                        warn!(%error, unheard, "A connection could not be accepted.");
                    }
                    sleep(BACK_OFF).await;
                }
            }
        }
        while let Ok((stream, _)) = listener.get_ref().accept() {
            self.welcome(stream, &peers);
        }
    }

    fn welcome(&self, stream: TcpStream, peers: &Peers) {
        self.lane.borrow_mut().sink.count(Stat::TcpConnections, 1);
        if let Some(command) = peers.hand_out(stream) {
            self.follow(command);
        }
    }

    /// Reads a connection until it ends or the lane stops.
    async fn serve(mut self, stream: TcpStream, place: Place) {
        let stream = match tcp::prepare(&stream).and_then(|()| watch(stream)) {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%error, "A connection could not be read.");
                return self.lane.borrow_mut().sink.count(Stat::TcpConnectionErrors, 1);
            }
        };
        let mut connection = Connection::new();
        let deadline = loop {
            let mut ready = tokio::select! {
                biased;
                deadline = stopped(&mut self.stopping) => break deadline,
                ready = stream.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
            };
            let progress = self.lane.borrow_mut().take_chunk(&mut connection, stream.get_ref());
            match progress {
                Progress::Waiting => ready.clear_ready(),
                Progress::MayHoldMore => yield_now().await,
                Progress::Ended(_) => return,
            }
        };
        self.drain_connection(&mut connection, stream.get_ref(), deadline).await;
        drop(place);
    }

    async fn drain_connection(
        &self,
        connection: &mut Connection,
        stream: &TcpStream,
        deadline: Instant,
    ) {
        loop {
            let progress = self.lane.borrow_mut().take_chunk(connection, stream);
            match progress {
                Progress::MayHoldMore if Instant::now() < deadline => yield_now().await,
                Progress::MayHoldMore | Progress::Waiting => break,
                Progress::Ended(_) => return,
            }
        }
        self.lane.borrow_mut().finish(connection);
    }

    /// Sends relayed lines a second after they came, for as long as there are any.
    async fn flush_relay(mut self, filled: Rc<Notify>) {
        loop {
            tokio::select! {
                biased;
                _ = stopped(&mut self.stopping) => return,
                () = async { filled.notified().await; sleep(RELAY_INTERVAL).await } => {}
            }
            self.lane.borrow_mut().flush_relay();
        }
    }
}

/// Waits until the lane is told to stop, and returns when it must have.
async fn stopped(stopping: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stopping.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}
