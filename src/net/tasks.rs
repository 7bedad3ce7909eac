//! What a lane waits for besides datagrams, as tasks of one thread.
//!
//! One task per connection, the acceptors (on the first lane), and the relay's timer. Orders from
//! other threads come through a channel and are obeyed between two batches. Nobody holds the lane
//! while waiting.

use std::future::pending;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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
use crate::ingest::{Order, Source};
use crate::net::complaint::Complaint;
use crate::net::drops::KernelDrops;
use crate::net::framing::Framing;
use crate::net::lane::{Lane, Sink};
use crate::net::listener::{Listener, Stream};
use crate::net::orders::{Command, Manner, Peers, Place, Stop};
use crate::net::passed::Passing;
use crate::net::processes::{Processes, Teller};
use crate::net::reader::{self, End, Reader, Shared};
use crate::net::relay::{Relay, Target};
use crate::net::tcp::{self, Connection, End as ConnectionEnd, Progress};
use crate::telemetry::{Closing, Stat};

/// How long a socket that fails is left alone, so that the failure costs no CPU.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long a relayed line waits for others, as in the reference.
const RELAY_INTERVAL: Duration = Duration::from_secs(1);

/// The sockets that a lane reads, bound and not yet watched.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// Datagram sockets, each of which is read by this lane alone.
    pub(super) readers: Vec<Reader>,
    /// The listening sockets and who gets their connections, on one lane only.
    pub(super) listeners: Vec<(Listener, Peers)>,
    /// Where lines are passed on to.
    pub(super) relay: Option<Target>,
    /// Whose rules apply to datagrams that were cut off.
    pub(super) compat: Compat,
    /// To be read once more before a socket is closed.
    pub(super) drops: KernelDrops,
    /// Told of processes that send over Unix sockets.
    pub(super) processes: Option<Arc<Processes>>,
    /// Where connections go at a hand-over.
    pub(super) passing: Arc<Mutex<Vec<Passing>>>,
}

/// What a lane needs to run, ready to be moved to its threads.
#[derive(Debug)]
pub(super) struct Seat<S> {
    runtime: Runtime,
    shared: Shared<S>,
    stop: watch::Sender<Option<Stop>>,
    readers: Vec<Reader>,
    /// The readers' sockets, and whether they are closed at the end.
    sockets: Vec<(Arc<Socket>, Source, bool)>,
    acceptors: Vec<(AsyncFd<Listener>, Peers)>,
    filled: Option<Arc<Notify>>,
    commands: UnboundedReceiver<Command>,
}

impl<S: Sink + 'static> Seat<S> {
    /// Readies a lane, so that whatever can fail has failed before its threads start.
    pub(super) fn new(
        inputs: Inputs,
        sink: S,
        commands: UnboundedReceiver<Command>,
    ) -> io::Result<Self> {
        let Inputs { readers, listeners, relay, compat, drops, processes, passing } = inputs;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let watched = listeners.into_iter().map(|(listener, peers)| Ok((watch(listener)?, peers)));
        let acceptors = watched.collect::<io::Result<_>>()?;
        drop(guard);
        let relay = relay.map(Relay::new);
        let filled = relay.as_ref().map(Relay::filled);
        let lane = Arc::new(Mutex::new(Lane::new(sink, relay, compat)));
        let (stop, stopping) = watch::channel(None);
        let shared = Shared { lane, stopping, passing, drops, processes };
        let sockets = readers.iter().map(|reader| {
            let is_closed = matches!(reader.end, End::Closed(_));
            (Arc::clone(&reader.socket), reader.source, is_closed)
        });
        let sockets = sockets.collect();
        Ok(Self { runtime, shared, stop, readers, sockets, acceptors, filled, commands })
    }

    /// The lane's readers, each of which wants a thread, and what they share with it.
    pub(super) fn readers(&mut self) -> (Vec<Reader>, Shared<S>) {
        (std::mem::take(&mut self.readers), self.shared.clone())
    }

    /// Runs the rest of the lane until it is told to stop; to be called on a thread of its own.
    pub(super) fn run(self) {
        let Self { runtime, shared, stop, sockets, acceptors, filled, commands, .. } = self;
        let tasks = Tasks(shared);
        LocalSet::new().block_on(&runtime, async move {
            for (listener, peers) in acceptors {
                spawn_local(tasks.clone().accept(listener, peers));
            }
            if let Some(filled) = filled {
                spawn_local(tasks.clone().flush_relay(filled));
            }
            tasks.obey(commands, stop, sockets).await;
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
struct Tasks<S>(Shared<S>);

impl<S> Clone for Tasks<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Sink + 'static> Tasks<S> {
    /// Does what other threads ask for, and at the end waits for the other tasks.
    async fn obey(
        self,
        mut commands: UnboundedReceiver<Command>,
        stop: watch::Sender<Option<Stop>>,
        sockets: Vec<(Arc<Socket>, Source, bool)>,
    ) {
        let end = loop {
            match commands.recv().await {
                Some(Command::Stop(stop)) => break stop,
                Some(command) => self.follow(command),
                None => break Stop { deadline: Instant::now(), manner: Manner::Close },
            }
        };
        // From here on the acceptor keeps the connections that it cannot hand out.
        commands.close();
        stop.send_replace(Some(end));
        for (socket, source, is_closed) in sockets {
            match end.manner {
                Manner::Close if is_closed => reader::close(&socket, source),
                Manner::Close => {}
                Manner::HandOver => reader::release(&socket),
            }
        }
        while let Some(command) = commands.recv().await {
            self.follow(command);
        }
        let lane = Arc::clone(&self.0.lane);
        drop(self);
        if timeout_at(end.deadline, stop.closed()).await.is_err() {
            warn!("There was no time to read all that had arrived.");
        }
        let mut lane = lane.lock();
        lane.sink.obey(Order::Flush);
        lane.flush_relay();
    }

    fn follow(&self, command: Command) {
        match command {
            Command::Obey(order) => self.0.lane.lock().sink.obey(order),
            Command::Serve(stream, place, unfinished) => {
                spawn_local(self.clone().serve(stream, place, unfinished));
            }
            Command::Stop(_) => {}
        }
    }

    /// Accepts connections until the lane stops; those that wait then are served as well.
    async fn accept(mut self, listener: AsyncFd<Listener>, peers: Peers) {
        let mut complaint = Complaint::default();
        loop {
            let mut ready = tokio::select! {
                biased;
                stop = stopped(&mut self.0.stopping) => match stop.manner {
                    Manner::Close => break,
                    Manner::HandOver => return,
                },
                ready = listener.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
            };
            match listener.get_ref().accept() {
                Ok(stream) => {
                    self.welcome(stream, &peers);
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    self.0.lane.lock().sink.count(Stat::TcpConnectionErrors, 1);
                    if let Some(unheard) = complaint.voice() {
                        warn!(%error, unheard, "A connection could not be accepted.");
                    }
                    sleep(BACK_OFF).await;
                }
            }
        }
        while let Ok(stream) = listener.get_ref().accept() {
            self.welcome(stream, &peers);
        }
    }

    /// Gives an accepted connection to a lane, or closes it when there are too many.
    fn welcome(&self, stream: Stream, peers: &Peers) {
        let stat = match stream {
            Stream::Tcp(_) => Stat::TcpConnections,
            Stream::Unix(_) => Stat::UnixstreamConnections,
        };
        let place = peers.reserve();
        let mut lane = self.0.lane.lock();
        lane.sink.count(stat, 1);
        let Some(place) = place else {
            return lane.sink.count(Stat::Closed(Closing::Limit), 1);
        };
        lane.sink.count(Stat::Connections, 1);
        drop(lane);
        if let Some(command) = peers.hand_out(stream, place, Vec::new()) {
            self.follow(command);
        }
    }

    /// Reads a connection until it ends or the lane stops.
    async fn serve(mut self, stream: Stream, place: Place, unfinished: Vec<u8>) {
        let closing = match tcp::prepare(&stream).and_then(|()| watch(stream)) {
            Ok(stream) => self.read_to_end(stream, place.idle, &unfinished).await,
            Err(error) => {
                warn!(%error, "A connection could not be read.");
                self.0.lane.lock().sink.count(Stat::TcpConnectionErrors, 1);
                Some(Closing::Error)
            }
        };
        // One that is handed over goes on.
        if let Some(closing) = closing {
            self.0.lane.lock().sink.count(Stat::Closed(closing), 1);
        }
        drop(place);
    }

    /// Reads a connection until it is closed, and says why; `None` if it is handed over.
    async fn read_to_end(
        &mut self,
        stream: AsyncFd<Stream>,
        idle: Option<Duration>,
        unfinished: &[u8],
    ) -> Option<Closing> {
        let framing = Framing::of(stream.get_ref());
        let mut connection = Connection::new(stream.get_ref().sender(), framing);
        if let Some(processes) = &self.0.processes {
            Teller::new(processes).tell([connection.sender()]);
        }
        // It was incomplete a moment ago, so it gives no line and is not too long.
        connection.feed(unfinished);
        let stop = match self.read(&mut connection, &stream, idle).await {
            Ok(stop) => stop,
            Err(closing) => return Some(closing),
        };
        match stop.manner {
            Manner::Close => {
                self.drain_connection(&mut connection, stream.get_ref(), stop.deadline).await;
                Some(Closing::Shutdown)
            }
            Manner::HandOver => {
                let unfinished = connection.unfinished().to_vec();
                self.0.passing.lock().push(Passing { stream: stream.into_inner(), unfinished });
                None
            }
        }
    }

    /// Reads a connection, by which nothing may come for so long, until the lane stops; `Err` if it
    /// comes to its end before.
    async fn read(
        &mut self,
        connection: &mut Connection,
        stream: &AsyncFd<Stream>,
        idle: Option<Duration>,
    ) -> Result<Stop, Closing> {
        loop {
            let mut ready = tokio::select! {
                biased;
                stop = stopped(&mut self.0.stopping) => return Ok(stop),
                ready = stream.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return Err(Closing::Error),
                },
                () = elapsed(idle) => {
                    self.0.lane.lock().finish(connection);
                    return Err(Closing::Idle);
                }
            };
            let progress = self.0.lane.lock().take_chunk(connection, stream.get_ref());
            match progress {
                Progress::Waiting => ready.clear_ready(),
                Progress::MayHoldMore => yield_now().await,
                Progress::Ended(ConnectionEnd::Closed) => return Err(Closing::Peer),
                Progress::Ended(ConnectionEnd::TooLong) => return Err(Closing::LongLine),
                Progress::Ended(ConnectionEnd::Failed) => return Err(Closing::Error),
            }
        }
    }

    async fn drain_connection(
        &self,
        connection: &mut Connection,
        stream: &Stream,
        deadline: Instant,
    ) {
        loop {
            let progress = self.0.lane.lock().take_chunk(connection, stream);
            match progress {
                Progress::MayHoldMore if Instant::now() < deadline => yield_now().await,
                Progress::MayHoldMore | Progress::Waiting => break,
                Progress::Ended(_) => return,
            }
        }
        self.0.lane.lock().finish(connection);
    }

    /// Sends relayed lines a second after they came, for as long as there are any.
    async fn flush_relay(mut self, filled: Arc<Notify>) {
        loop {
            tokio::select! {
                biased;
                _ = stopped(&mut self.0.stopping) => return,
                () = async { filled.notified().await; sleep(RELAY_INTERVAL).await } => {}
            }
            self.0.lane.lock().flush_relay();
        }
    }
}

/// Waits for so long, or for ever.
async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// Waits until the lane is told to stop, and returns how.
async fn stopped(stopping: &mut watch::Receiver<Option<Stop>>) -> Stop {
    let now = || Stop { deadline: Instant::now(), manner: Manner::Close };
    match stopping.wait_for(Option::is_some).await {
        Ok(stop) => stop.unwrap_or_else(now),
        Err(_) => now(),
    }
}
