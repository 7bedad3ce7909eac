//! Every socket that lines come from, and the lanes that read them.
//!
//! [`Sockets::bind`] opens everything before any thread runs, so a taken port fails the start;
//! [`start`] gives each lane a thread of its own. Between the kernel and the aggregation there is no
//! queue, so the kernel's socket buffers are the only place where a datagram can be lost, and
//! [`KernelDrops`] tells how many were.
//!
//! Counted here: `tallyd_truncated_datagrams_total`, `statsd_exporter_tcp_*_total` and
//! `statsd_exporter_relay_*_total`.

#![deny(clippy::indexing_slicing)]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use tracing::error;

use crate::compat::Compat;
use crate::ingest::{Ingest, Source};

mod address;
mod complaint;
mod meminfo;
mod drops;
mod processes;
mod relay;
mod udp;
mod unix;
mod framing;
mod tcp;
mod connections;
mod listener;
mod inherited;
mod passed;
mod orders;
mod lane;
mod reader;
mod tasks;

pub use address::AddressError;
pub(crate) use address::split as split_address;
pub use connections::StreamLimits;
pub use drops::{KernelDrops, ReceiveQueue};
pub use inherited::{InheritError, Inherited, Wanted};
pub use listener::{Listener, Stream};
pub use orders::Orders;
pub use passed::{Passed, Passing, Spare, VARIABLE as HANDOVER_VARIABLE};
pub use processes::Processes;
pub(crate) use unix::parse_mode;
pub use unix::{Access, UnixError};

use address::ListenAddress;
use lane::Sink;
use orders::{Command, Manner, Peers, Stop};
use reader::{End, Reader};
use tasks::{Inputs, Seat};

/// How long after its deadline a lane may take to end its thread.
const GRACE: Duration = Duration::from_secs(1);

/// Where lines come from and where they are passed on to.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--statsd.listen-udp`, each as `host:port`.
    pub udp: Vec<String>,
    /// `--statsd.listen-tcp`, each as `host:port`.
    pub tcp: Vec<String>,
    /// `--statsd.listen-unixgram`; `@name` is an abstract socket.
    pub unixgram: Vec<PathBuf>,
    /// `--statsd.listen-unixstream`, in the same way.
    pub unixstream: Vec<PathBuf>,
    /// `--statsd.unixsocket-*`.
    pub access: Access,
    /// `--statsd.read-buffer`.
    pub read_buffer: ReadBuffer,
    /// `--lanes`: how many threads read; at least 1.
    pub lanes: usize,
    /// `--statsd.relay.*`.
    pub relay: Option<RelayConfig>,
    /// `--limits.connections` and `--limits.idle-time`.
    pub streams: StreamLimits,
    /// Whether cut datagrams are treated as the reference treats them.
    pub compat: Compat,
    /// Something else brings numbers, so there may be no listener.
    pub may_be_deaf: bool,
}

/// How large the receive buffers of datagram sockets should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBuffer {
    /// 8 MiB for UDP, or what the kernel grants of it.
    #[default]
    Default,
    /// This many bytes; 0 leaves the kernel's own default.
    Given(usize),
}

/// Where raw lines are passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// `--statsd.relay.address`, as `host:port`.
    pub address: String,
    /// `--statsd.relay.packet-length`: no datagram gets longer than this, in bytes.
    pub packet_length: usize,
}

/// Why the sockets cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// All listeners are turned off.
    #[error(
        "nothing to listen on; set at least one of `--statsd.listen-udp`, `--statsd.listen-tcp`, \
         `--statsd.listen-unixgram`, `--statsd.listen-unixstream` and `--multiproc.dir`"
    )]
    NoListener,
    /// A flag holds no usable address.
    #[error("bad address in `{flag}`")]
    Address {
        /// The flag's name.
        flag: &'static str,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The kernel refused; most often because another process holds the port.
    #[error("cannot listen on {transport} {address}")]
    Listen {
        /// `UDP`, `TCP` or `the Unix socket`.
        transport: &'static str,
        /// The address as it was given.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The receive buffer cannot be set.
    #[error("cannot set the receive buffer of {listener}; check `--statsd.read-buffer`")]
    ReadBuffer {
        /// Which socket.
        listener: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket that was passed to us cannot be used.
    #[error("cannot use a socket that was passed")]
    Inherited(#[source] io::Error),
    /// The Unix socket cannot be bound.
    #[error(transparent)]
    Unix(#[from] UnixError),
    /// The relay's socket cannot be opened.
    #[error("cannot open a socket to relay to {address}")]
    Relay {
        /// Where to.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Every socket, bound and not yet read.
#[derive(Debug)]
pub struct Sockets {
    /// Dealt to the lanes in turns; each address has as many sockets as there are lanes.
    udp: Vec<Reader>,
    unixgram: Vec<Reader>,
    streams: Vec<Listener>,
    /// Of the process before this one.
    connections: Vec<Stream>,
    relay: Option<relay::Target>,
    lanes: usize,
    stream_limits: StreamLimits,
    compat: Compat,
    drops: KernelDrops,
    /// Told of processes that send over Unix sockets, where somebody wants to know.
    processes: Option<Arc<Processes>>,
}

impl Sockets {
    /// Opens everything the configuration names, and takes over what was passed; of port 0 all
    /// lanes get the one that the kernel chose.
    ///
    /// # Errors
    /// Each variant of [`BindError`]; what was opened before is closed again.
    pub fn bind(config: &Config, inherited: Inherited) -> Result<Self, BindError> {
        let mut sockets = Self {
            udp: Vec::new(),
            unixgram: Vec::new(),
            streams: inherited.streams,
            connections: Vec::new(),
            relay: config.relay.as_ref().map(open_relay).transpose()?,
            lanes: config.lanes.max(1),
            stream_limits: config.streams,
            compat: config.compat,
            drops: KernelDrops::default(),
            processes: None,
        };
        for socket in inherited.datagrams {
            sockets.take_over(socket, config.read_buffer)?;
        }
        for text in &config.udp {
            let bound = bind_udp(text, sockets.lanes, config.read_buffer)?;
            sockets.udp.extend(bound);
        }
        for path in &config.unixgram {
            sockets.unixgram.push(bind_unixgram(path, config)?);
        }
        for text in &config.tcp {
            sockets.streams.push(Listener::tcp("--statsd.listen-tcp", text)?);
        }
        for path in &config.unixstream {
            sockets.streams.push(Listener::unix(path, &config.access)?);
        }
        let is_deaf =
            sockets.udp.is_empty() && sockets.unixgram.is_empty() && sockets.streams.is_empty();
        if is_deaf && !config.may_be_deaf {
            return Err(BindError::NoListener);
        }
        let labelled = sockets.udp.iter().map(|reader| (udp_label(&reader.socket), &reader.socket));
        sockets.drops = KernelDrops::new(labelled);
        Ok(sockets)
    }

    /// Reads a datagram socket that is not ours alone, and leaves it open at the end.
    fn take_over(&mut self, socket: Socket, buffer: ReadBuffer) -> Result<(), BindError> {
        let domain = socket.domain().map_err(BindError::Inherited)?;
        let socket = Arc::new(socket);
        if domain == Domain::UNIX {
            self.unixgram.push(reader(socket, Source::Unixgram, End::LeftOpen)?);
            return Ok(());
        }
        enlarge(std::slice::from_ref(&socket), &udp_label(&socket), buffer)?;
        self.udp.push(reader(socket, Source::Udp, End::LeftOpen)?);
        Ok(())
    }

    /// Returns the addresses that UDP is really received on.
    #[must_use]
    pub fn udp_addrs(&self) -> Vec<SocketAddr> {
        let addresses = self.udp.iter().filter_map(|udp| udp::local_address(&udp.socket).ok());
        let mut addresses: Vec<_> = addresses.collect();
        addresses.dedup();
        addresses
    }

    /// Returns the paths of the Unix datagram sockets.
    #[must_use]
    pub fn unixgram_paths(&self) -> Vec<String> {
        let path = |reader: &Reader| {
            let address = reader.socket.local_addr().ok()?;
            Some(unix::path_of(&address.as_unix()?).display().to_string())
        };
        self.unixgram.iter().filter_map(path).collect()
    }

    /// Returns where connections are accepted.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.streams
    }

    /// Returns how many lanes there will be.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Returns the kernel's drops; they can be read for as long as anybody likes.
    #[must_use]
    pub fn kernel_drops(&self) -> KernelDrops {
        self.drops.clone()
    }

    /// Has the kernel tell from here on which processes send over Unix sockets, which it does for each
    /// of their datagrams.
    pub fn name_processes(&mut self) -> Arc<Processes> {
        Arc::clone(self.processes.get_or_insert_default())
    }

    /// Gives each lane its part: all UDP sockets in turns, the first the rest.
    fn deal(self, peers: &Peers, passing: &Arc<Mutex<Vec<Passing>>>) -> Vec<Inputs> {
        let lane = || Inputs {
            readers: Vec::new(),
            listeners: Vec::new(),
            relay: self.relay.clone(),
            compat: self.compat,
            drops: self.drops.clone(),
            processes: self.processes.clone(),
            passing: Arc::clone(passing),
        };
        let mut lanes: Vec<Inputs> = (0..self.lanes).map(|_| lane()).collect();
        for (reader, number) in self.udp.into_iter().zip((0..self.lanes).cycle()) {
            if let Some(lane) = lanes.get_mut(number) {
                lane.readers.push(reader);
            }
        }
        if let Some(first) = lanes.first_mut() {
            first.readers.extend(self.unixgram);
            first.listeners = self.streams.into_iter().map(|one| (one, peers.clone())).collect();
        }
        lanes
    }
}

fn udp_label(socket: &Socket) -> String {
    udp::local_address(socket).map_or_else(|_| "udp".to_owned(), |address| format!("udp:{address}"))
}

fn reader(socket: Arc<Socket>, source: Source, end: End) -> Result<Reader, BindError> {
    Reader::new(socket, source, end).map_err(BindError::Inherited)
}

fn enlarge(sockets: &[Arc<Socket>], name: &str, buffer: ReadBuffer) -> Result<(), BindError> {
    udp::enlarge(sockets, name, buffer)
        .map_err(|source| BindError::ReadBuffer { listener: name.to_owned(), source })
}

fn open_relay(config: &RelayConfig) -> Result<relay::Target, BindError> {
    let flag = "--statsd.relay.address";
    let address = address::parse_target(&config.address)
        .map_err(|source| BindError::Address { flag, source })?;
    relay::Target::open(address, config.packet_length)
        .map_err(|source| BindError::Relay { address: config.address.clone(), source })
}

fn bind_udp(text: &str, lanes: usize, buffer: ReadBuffer) -> Result<Vec<Reader>, BindError> {
    let failed = |source| BindError::Listen { transport: "UDP", address: text.to_owned(), source };
    let listen = ListenAddress::parse(text)
        .map_err(|source| BindError::Address { flag: "--statsd.listen-udp", source })?;
    let sockets = udp::bind(listen, lanes).map_err(failed)?;
    if let Some(first) = sockets.first() {
        enlarge(&sockets, &udp_label(first), buffer)?;
    }
    let readers = sockets.into_iter();
    let readers = readers.map(|socket| Reader::new(socket, Source::Udp, End::Closed(None)));
    readers.collect::<io::Result<_>>().map_err(failed)
}

fn bind_unixgram(path: &Path, config: &Config) -> Result<Reader, BindError> {
    let unix::Bound { socket, file } = unix::bind(path, Type::DGRAM, &config.access)?;
    let socket = Arc::new(socket);
    // By default nothing is asked for: the kernel bounds such a queue by the number of datagrams
    // and makes senders wait, so that nothing is dropped in it.
    if let ReadBuffer::Given(_) = config.read_buffer {
        enlarge(std::slice::from_ref(&socket), &unix::display_name(path), config.read_buffer)?;
    }
    let failed = |source| UnixError::Bind { path: path.to_owned(), source };
    Ok(Reader::new(socket, Source::Unixgram, End::Closed(file)).map_err(failed)?)
}

/// Why the lanes cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There must be one [`Ingest`] for each lane that sockets were bound for.
    #[error("{ingests} ingests for {lanes} lanes")]
    LaneCount {
        /// How many lanes there are.
        lanes: usize,
        /// How many ingests were given.
        ingests: usize,
    },
    /// The kernel has no event queue or thread for a lane.
    #[error("cannot start lane {lane}")]
    Lane {
        /// Which one.
        lane: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The running lanes; dropping them ends them without waiting.
#[derive(Debug)]
pub struct Lanes {
    orders: Orders,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when the last lane has ended.
    ended: std_mpsc::Receiver<()>,
    /// Connections that the lanes hand over.
    passing: Arc<Mutex<Vec<Passing>>>,
}

/// Starts one thread per lane, `lane-0` and so on, and reads from here on; `unfinished` has what
/// connections that were handed over have brought of incomplete lines, in their order.
///
/// # Errors
/// Each variant of [`StartError`]; lanes that ran already are ended.
pub fn start(
    sockets: Sockets,
    ingests: Vec<Ingest>,
    unfinished: Vec<Vec<u8>>,
) -> Result<Lanes, StartError> {
    start_with(sockets, ingests, unfinished)
}

fn start_with<S: Sink + Send + 'static>(
    mut sockets: Sockets,
    sinks: Vec<S>,
    unfinished: Vec<Vec<u8>>,
) -> Result<Lanes, StartError> {
    if sinks.len() != sockets.lanes {
        return Err(StartError::LaneCount { lanes: sockets.lanes, ingests: sinks.len() });
    }
    let (senders, receivers): (Vec<_>, Vec<UnboundedReceiver<Command>>) =
        sinks.iter().map(|_| unbounded_channel()).unzip();
    let (alive, ended) = std_mpsc::channel();
    let passing = Arc::default();
    let peers = Peers::new(senders.clone(), sockets.stream_limits);
    let unfinished = unfinished.into_iter().chain(std::iter::repeat_with(Vec::new));
    for (stream, unfinished) in sockets.connections.drain(..).zip(unfinished) {
        // No lane has ended before it began; the place was granted by the process before this one.
        drop(peers.hand_out(stream, peers.reserve_another(), unfinished));
    }
    let inputs = sockets.deal(&peers, &passing);
    let mut lanes = Lanes { orders: Orders::new(senders), threads: Vec::new(), ended, passing };
    for (lane, ((inputs, sink), commands)) in
        inputs.into_iter().zip(sinks).zip(receivers).enumerate()
    {
        let failed = |source| StartError::Lane { lane, source };
        let mut seat = Seat::new(inputs, sink, commands).map_err(failed)?;
        let (readers, shared) = seat.readers();
        let mut spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            let alive = alive.clone();
            let thread = thread::Builder::new().name(name).spawn(move || {
                run();
                drop(alive);
            });
            lanes.threads.push(thread.map_err(failed)?);
            Ok(())
        };
        for reader in readers {
            let shared = shared.clone();
            let name = match reader.source {
                Source::Udp => format!("lane-{lane}"),
                Source::Unixgram => format!("lane-{lane}-unix"),
            };
            spawn(name, Box::new(move || reader.run(&shared)))?;
        }
        drop(shared);
        spawn(format!("lane-{lane}-loop"), Box::new(move || seat.run()))?;
    }
    Ok(lanes)
}

impl Lanes {
    /// Returns a way to the lanes that other threads can keep.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends the lanes and loses nothing: new datagrams are refused and counted by the kernel, what
    /// has arrived is read, the relay is flushed, the kernel's drops are read for the last time, and
    /// everything is closed.
    ///
    /// What cannot be read within `patience`, for instance because a TCP peer goes on sending, is
    /// left.
    pub fn stop(mut self, patience: Duration) {
        self.orders.stop(Stop { deadline: Instant::now() + patience, manner: Manner::Close });
        if self.ended.recv_timeout(patience + GRACE) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            error!("A lane did not end in time; what it had not yet read is lost.");
            return;
        }
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                error!(name, "A lane panicked.");
            }
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.orders.stop(Stop { deadline: Instant::now(), manner: Manner::Close });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use parking_lot::Mutex;

    use super::*;
    use crate::ingest::{Datagram, Order, Sender};
    use crate::telemetry::{Closing, Stat};

    /// Remembers what a lane handed to it.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<Record>>);

    #[derive(Debug, Default)]
    struct Record {
        datagrams: Vec<(Vec<u8>, Source)>,
        lines: Vec<Vec<u8>>,
        senders: Vec<Sender>,
        counts: HashMap<Stat, u64>,
    }

    impl Sink for Recorder {
        fn begin_batch(&mut self) {}
        fn datagrams(&mut self, datagrams: &[Datagram<'_>], source: Source) {
            let mut record = self.0.lock();
            for datagram in datagrams {
                record.datagrams.push((datagram.bytes.to_vec(), source));
                record.senders.push(datagram.sender);
            }
        }
        fn line(&mut self, line: &[u8], sender: Sender) {
            self.0.lock().senders.push(sender);
            self.0.lock().lines.push(line.to_vec());
        }
        fn count(&mut self, stat: Stat, n: u64) {
            *self.0.lock().counts.entry(stat).or_default() += n;
        }
        fn obey(&mut self, _order: Order) {}
    }

    /// A running set of lanes with one recorder for all of them.
    struct Rig {
        recorder: Recorder,
        lanes: Lanes,
        udp: SocketAddr,
        tcp: SocketAddr,
        drops: KernelDrops,
    }

    impl Rig {
        /// Waits until the record is as expected, and says what it was when it never is.
        #[track_caller]
        fn wait_until(&self, mut expected: impl FnMut(&Record) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !expected(&self.recorder.0.lock()) {
                assert!(Instant::now() < deadline, "{:?}", self.recorder.0.lock());
                thread::sleep(Duration::from_millis(2));
            }
        }

        #[track_caller]
        fn stop(self) -> Record {
            self.lanes.stop(Duration::from_secs(20));
            std::mem::take(&mut *self.recorder.0.lock())
        }
    }

    impl Record {
        fn count(&self, stat: Stat) -> u64 {
            self.counts.get(&stat).copied().unwrap_or_default()
        }
    }

    #[test]
    fn lines_arrive_by_every_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let rig = rig(&Config { unixgram: vec![path.clone()], lanes: 3, ..config() });
        let udp = client();
        let from = udp.local_addr().unwrap();
        udp.send_to(b"udp:1|c", rig.udp).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"unix:1|c\n", &path).unwrap();
        let mut stream = TcpStream::connect(rig.tcp).unwrap();
        stream.write_all(b"tcp:1|c\r\n").unwrap();
        rig.wait_until(|record| record.datagrams.len() == 2 && record.lines.len() == 1);
        let mut record = rig.stop();
        record.datagrams.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(record.datagrams[0], (b"udp:1|c".to_vec(), Source::Udp));
        assert_eq!(record.datagrams[1], (b"unix:1|c\n".to_vec(), Source::Unixgram));
        assert_eq!(record.lines, [b"tcp:1|c"]);
        let tcp = Sender::Tcp(stream.local_addr().unwrap());
        assert!(record.senders.contains(&tcp) && record.senders.contains(&Sender::Udp(from)));
        let ended = Stat::Closed(Closing::Shutdown);
        let counts = [Stat::TcpConnections, Stat::Connections, ended].map(|stat| (stat, 1));
        assert_eq!(record.counts, HashMap::from(counts));
        assert!(!path.exists());
    }

    #[test]
    fn each_kind_of_listener_may_be_there_several_times() {
        let dir = tempfile::tempdir().unwrap();
        let paths = |name: &str| {
            vec![dir.path().join(format!("{name}1")), dir.path().join(format!("{name}2"))]
        };
        let (grams, streams) = (paths("gram"), paths("stream"));
        let twice = || vec!["127.0.0.1:0".to_owned(); 2];
        let config = Config {
            udp: twice(),
            tcp: twice(),
            unixgram: grams.clone(),
            unixstream: streams.clone(),
            lanes: 2,
            ..config()
        };
        let sockets = bind(&config).unwrap();
        let udp = sockets.udp_addrs();
        let tcp: Vec<_> = sockets.listeners().iter().filter_map(Listener::tcp_addr).collect();
        assert_eq!((udp.len(), tcp.len()), (2, 2));
        let rig = rig_of(sockets);
        assert_eq!(rig.drops.read().len(), 2);
        for (number, address) in udp.iter().enumerate() {
            client().send_to(format!("udp{number}:1|c").as_bytes(), address).unwrap();
        }
        for (number, path) in grams.iter().enumerate() {
            let line = format!("gram{number}:1|c");
            UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), path).unwrap();
        }
        let tcp: Vec<_> = tcp.iter().map(|address| TcpStream::connect(address).unwrap()).collect();
        for mut stream in &tcp {
            stream.write_all(b"tcp:1|c\n").unwrap();
        }
        let unix: Vec<_> = streams.iter().map(|path| UnixStream::connect(path).unwrap()).collect();
        { &unix[0] }.write_all(b"line:1|c\n").unwrap();
        { &unix[1] }.write_all(b"\x0b\0\0\0frame:1|c\nb\x03\0\0\0c:2").unwrap();
        rig.wait_until(|record| record.datagrams.len() == 4 && record.lines.len() == 6);
        let record = rig.stop();
        assert_eq!(record.count(Stat::TcpConnections), 2);
        assert_eq!(record.count(Stat::UnixstreamConnections), 2);
        assert!(record.lines.contains(&b"frame:1|c".to_vec()), "{:?}", record.lines);
        assert!(grams.iter().chain(&streams).all(|path| !path.exists()));
    }

    #[test]
    fn an_inherited_socket_outlives_us_and_keeps_what_we_do_not_read() {
        let kept = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = kept.local_addr().unwrap();
        let none = Config { udp: vec![], tcp: vec![], ..config() };
        for round in 0..2_usize {
            let datagrams = vec![Socket::from(kept.try_clone().unwrap())];
            let inherited = Inherited { datagrams, ..Inherited::default() };
            let sockets = Sockets::bind(&none, inherited).unwrap();
            assert_eq!(sockets.kernel_drops().read(), [(format!("udp:{address}"), 0)]);
            let recorder = Recorder::default();
            let lanes = start_with(sockets, vec![recorder.clone()], Vec::new()).unwrap();
            client().send_to(b"running:1|c", address).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while recorder.0.lock().datagrams.len() < round + 1 {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(2));
            }
            lanes.stop(Duration::from_secs(20));
            client().send_to(b"between:1|c", address).unwrap();
        }
    }

    #[test]
    fn a_second_server_on_the_same_port_is_refused() {
        for (first, second) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
            let owner = bind(&Config { lanes: first, ..config() }).unwrap();
            let udp = owner.udp_addrs()[0].to_string();
            let tcp = tcp_addr(&owner).to_string();
            let taken = Config { lanes: second, udp: vec![udp.clone()], tcp: vec![], ..config() };
            check_refused(&taken, &format!("cannot listen on UDP {udp}"));
            let taken = Config { lanes: second, udp: vec![], tcp: vec![tcp.clone()], ..config() };
            check_refused(&taken, &format!("cannot listen on TCP {tcp}"));
        }
    }

    #[test]
    fn an_unusable_configuration_names_its_flag() {
        let off = Config { udp: vec![], tcp: vec![], ..config() };
        check_refused(&off, "nothing to listen on");
        let deaf = Config { may_be_deaf: true, ..off };
        assert!(Sockets::bind(&deaf, Inherited::default()).is_ok());
        let udp = Config { udp: vec!["127.0.0.1".into()], ..config() };
        check_refused(&udp, "bad address in `--statsd.listen-udp`");
        let tcp = Config { tcp: vec!["127.0.0.1:99999".into()], ..config() };
        check_refused(&tcp, "bad address in `--statsd.listen-tcp`");
        let relay = RelayConfig { address: "127.0.0.1".into(), packet_length: 1400 };
        let relay = Config { relay: Some(relay), ..config() };
        check_refused(&relay, "bad address in `--statsd.relay.address`");
        let path = std::env::temp_dir();
        check_refused(&Config { unixgram: vec![path], ..config() }, "exists and is no socket");
    }

    #[test]
    fn every_lane_needs_an_ingest() {
        let sockets = bind(&Config { lanes: 2, ..config() }).unwrap();
        let error = start_with(sockets, vec![Recorder::default()], Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "1 ingests for 2 lanes");
    }

    #[test]
    fn sent_is_received_plus_dropped_to_the_datagram() {
        const SENDERS: usize = 4;
        const DATAGRAMS: usize = 10_000;
        let rig = rig(&Config { lanes: 2, read_buffer: ReadBuffer::Given(4096), ..config() });
        let (address, drops) = (rig.udp, rig.drops.clone());
        let sent: usize = thread::scope(|scope| {
            let blast = || {
                let client = client();
                (0..DATAGRAMS).filter(|_| client.send_to(b"a:1|c\nb:2|c", address).is_ok()).count()
            };
            let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(blast)).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        let received = rig.stop().datagrams.len();
        let dropped = drops.read();
        assert_eq!(dropped[0].0, format!("udp:{address}"));
        assert_eq!(sent as u64, received as u64 + dropped[0].1, "{received} received");
    }

    #[test]
    fn what_was_queued_is_read_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let config = Config { unixgram: vec![path.clone()], ..config() };
        let sockets = bind(&config).unwrap();
        for _ in 0..200 {
            client().send_to(b"a:1|c", sockets.udp_addrs()[0]).unwrap();
        }
        UnixDatagram::unbound().unwrap().send_to(b"b:1|c", &path).unwrap();
        let mut stream = TcpStream::connect(tcp_addr(&sockets)).unwrap();
        stream.write_all(b"c:1|c\nd:1|c").unwrap();
        let record = rig_of(sockets).stop();
        assert_eq!(record.datagrams.len(), 201);
        assert_eq!(record.lines, [b"c:1|c", b"d:1|c"]);
    }

    #[test]
    fn lanes_that_hand_over_lose_nothing_to_those_that_follow() {
        let dir = tempfile::tempdir().unwrap();
        let unixgram = vec![dir.path().join("statsd.sock")];
        let config = Config { unixgram, lanes: 2, ..config() };
        let mut sockets = Sockets::bind(&config, Inherited::default()).unwrap();
        let (udp, tcp) = (sockets.udp_addrs()[0], sockets.listeners()[0].tcp_addr().unwrap());
        let recorder = Recorder::default();
        let is_over = AtomicBool::new(false);
        let mut stream = TcpStream::connect(tcp).unwrap();
        let (sent, record) = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let (client, mut sent) = (client(), 0);
                while !is_over.load(Ordering::Relaxed) {
                    client.send_to(b"a:1|c", udp).unwrap();
                    sent += 1;
                    thread::sleep(Duration::from_micros(100));
                }
                sent
            });
            let mut unfinished = Vec::new();
            for number in 1..=20 {
                let spare = sockets.spare().unwrap();
                let lanes = start_with(sockets, vec![recorder.clone(); 2], unfinished).unwrap();
                stream.write_all(b"b:1|c\nb:").unwrap();
                let deadline = Instant::now() + Duration::from_secs(20);
                while recorder.0.lock().lines.len() < number * 2 - 1 {
                    assert!(Instant::now() < deadline, "{number}: {:?}", recorder.0.lock().lines);
                    thread::sleep(Duration::from_millis(1));
                }
                spare.pass_files_on();
                let mut connections = lanes.hand_over(Duration::from_secs(20));
                assert_eq!(connections.len(), 1);
                unfinished = vec![std::mem::take(&mut connections[0].unfinished)];
                sockets = Sockets::resume(&config, Passed::of(spare, connections)).unwrap();
                stream.write_all(b"2|c\n").unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            let sent = sender.join().unwrap();
            let lanes = start_with(sockets, vec![recorder.clone(); 2], unfinished).unwrap();
            lanes.stop(Duration::from_secs(20));
            (sent, std::mem::take(&mut *recorder.0.lock()))
        });
        assert_eq!(record.datagrams.len(), sent);
        let whole = [b"b:1|c".to_vec(), b"b:2|c".to_vec()];
        assert_eq!(record.lines, whole.iter().cycle().take(40).cloned().collect::<Vec<_>>());
        assert_eq!(record.count(Stat::TcpConnections), 1);
        assert!(!config.unixgram[0].exists(), "the last ones remove it");
    }

    #[test]
    fn the_port_is_free_after_the_end() {
        let rig = rig(&Config { lanes: 2, ..config() });
        let same = Config { udp: vec![rig.udp.to_string()], ..config() };
        rig.stop();
        assert!(bind(&same).is_ok());
    }

    #[test]
    fn lanes_that_are_dropped_end() {
        let Rig { lanes, udp, .. } = rig(&Config { lanes: 2, ..config() });
        drop(lanes);
        let same = Config { udp: vec![udp.to_string()], ..config() };
        let deadline = Instant::now() + Duration::from_secs(20);
        while bind(&same).is_err() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn slow_and_half_closed_peers_hold_nobody_up() {
        let rig = rig(&Config { lanes: 2, ..config() });
        let mut slow = TcpStream::connect(rig.tcp).unwrap();
        slow.write_all(b"slow:").unwrap();
        let mut half = TcpStream::connect(rig.tcp).unwrap();
        half.write_all(b"half:1|c").unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        let streams: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = TcpStream::connect(rig.tcp).unwrap();
                stream.write_all(b"a:1|c\n").unwrap();
                stream
            })
            .collect();
        rig.wait_until(|record| record.lines.len() == 21);
        slow.write_all(b"1|c\n").unwrap();
        rig.wait_until(|record| record.lines.contains(&b"slow:1|c".to_vec()));
        drop(streams);
        assert_eq!(half.read(&mut [0; 1]).unwrap(), 0);
        let record = rig.stop();
        assert!(record.lines.contains(&b"half:1|c".to_vec()));
        let [peer, end] = [Closing::Peer, Closing::Shutdown].map(Stat::Closed);
        assert_eq!(record.count(peer) + record.count(end), 22);
        assert_eq!([Stat::TcpConnections, Stat::Connections].map(|s| record.count(s)), [22; 2]);
    }

    #[test]
    fn a_connection_too_many_is_closed_at_once_and_its_place_is_given_again() {
        let streams = StreamLimits { connections: Some(2), idle: None };
        let rig = rig(&Config { lanes: 2, streams, ..config() });
        let connect = || TcpStream::connect(rig.tcp).unwrap();
        let closed = |closing| move |record: &Record| record.count(Stat::Closed(closing)) == 1;
        let (mut first, second) = (connect(), connect());
        let mut third = connect();
        assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)));
        first.write_all(b"a:1|c\n").unwrap();
        drop(second);
        rig.wait_until(closed(Closing::Peer));
        let mut fourth = connect();
        fourth.write_all(b"b:1|c\n").unwrap();
        rig.wait_until(|record| record.lines.len() == 2);
        let record = rig.stop();
        assert!(closed(Closing::Limit)(&record));
        let counted = [Stat::TcpConnections, Stat::Connections].map(|s| record.count(s));
        assert_eq!(counted, [4, 3]);
    }

    #[test]
    fn a_connection_on_which_nothing_comes_is_closed() {
        let streams = StreamLimits { connections: None, idle: Some(Duration::from_millis(200)) };
        let rig = rig(&Config { streams, ..config() });
        let mut idle = TcpStream::connect(rig.tcp).unwrap();
        idle.write_all(b"a:1|c").unwrap();
        let mut busy = TcpStream::connect(rig.tcp).unwrap();
        let mut sent = 0;
        rig.wait_until(|record| {
            busy.write_all(b"b:1|c\n").unwrap();
            sent += 1;
            record.count(Stat::Closed(Closing::Idle)) == 1
        });
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
        rig.wait_until(|record| record.lines.len() == sent + 1);
        let record = rig.stop();
        assert!(record.lines.contains(&b"a:1|c".to_vec()));
        assert_eq!(record.count(Stat::Closed(Closing::Shutdown)), 1);
    }

    #[test]
    fn a_burst_over_tcp_comes_in_whole() {
        let rig = rig(&config());
        let mut stream = TcpStream::connect(rig.tcp).unwrap();
        let line = b"some.metric.name:1|c|#tag:value\n";
        stream.write_all(&line.repeat(40_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        rig.wait_until(|record| record.lines.len() == 40_000);
        assert!(rig.stop().lines.iter().all(|found| found == &line[..line.len() - 1]));
    }

    #[test]
    fn a_line_that_is_too_long_ends_its_connection_only() {
        let rig = rig(&config());
        let mut good = TcpStream::connect(rig.tcp).unwrap();
        let mut bad = TcpStream::connect(rig.tcp).unwrap();
        bad.write_all(b"a:1|c\n").unwrap();
        bad.write_all(&[b'x'; 5000]).unwrap();
        rig.wait_until(|record| record.count(Stat::TcpTooLongLines) == 1);
        good.write_all(b"b:1|c\n").unwrap();
        rig.wait_until(|record| record.lines == [b"a:1|c", b"b:1|c"]);
    }

    #[test]
    fn a_reset_connection_is_counted() {
        let rig = rig(&config());
        let mut stream = TcpStream::connect(rig.tcp).unwrap();
        stream.write_all(b"a:1|c\n").unwrap();
        rig.wait_until(|record| record.lines.len() == 1);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        rig.wait_until(|record| record.count(Stat::TcpConnectionErrors) == 1);
    }

    #[test]
    fn a_datagram_that_was_cut_off_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let rig = rig(&Config { unixgram: vec![path.clone()], ..config() });
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(&b"a:1|c\n".repeat(11_000), &path).unwrap();
        client.send_to(&vec![b'x'; 66_000], &path).unwrap();
        rig.wait_until(|record| record.count(Stat::TruncatedDatagrams) == 2);
        let record = rig.stop();
        assert_eq!(record.count(Stat::UnixgramDatagrams), 1);
        assert_eq!(record.datagrams.len(), 1);
        assert!(record.datagrams[0].0.ends_with(b"\na:1|c"));
    }

    #[test]
    fn relayed_lines_leave_within_a_second_and_at_the_end() {
        let target = client();
        target.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = target.local_addr().unwrap().to_string();
        let relay = Some(RelayConfig { address, packet_length: 1400 });
        let rig = rig(&Config { relay, ..config() });
        client().send_to(b"a:1|c\n\nnonsense", rig.udp).unwrap();
        let mut buffer = [0; 2048];
        let length = target.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"a:1|c\nnonsense\n");
        let mut stream = TcpStream::connect(rig.tcp).unwrap();
        stream.write_all(b"b:1|c\r\n").unwrap();
        rig.wait_until(|record| record.lines.len() == 1);
        let record = rig.stop();
        let length = target.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"b:1|c\n");
        assert_eq!(record.count(Stat::RelayPackets), 2);
        assert_eq!(record.count(Stat::RelayLines), 3);
    }

    #[track_caller]
    fn check_refused(config: &Config, expected: &str) {
        match bind(config) {
            Ok(_) => panic!("{config:?} was bound"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    fn config() -> Config {
        Config {
            udp: vec!["127.0.0.1:0".into()],
            tcp: vec!["127.0.0.1:0".into()],
            unixgram: vec![],
            unixstream: vec![],
            access: Access {
                flags: "--statsd",
                mode: "755".into(),
                owner: String::new(),
                group: String::new(),
            },
            read_buffer: ReadBuffer::Default,
            lanes: 1,
            relay: None,
            streams: StreamLimits::default(),
            compat: Compat::Extended,
            may_be_deaf: false,
        }
    }

    fn rig(config: &Config) -> Rig {
        rig_of(bind(config).unwrap())
    }

    fn rig_of(sockets: Sockets) -> Rig {
        let recorder = Recorder::default();
        let (udp, tcp) = (sockets.udp_addrs()[0], tcp_addr(&sockets));
        let drops = sockets.kernel_drops();
        let sinks = vec![recorder.clone(); sockets.lanes()];
        Rig { recorder, lanes: start_with(sockets, sinks, Vec::new()).unwrap(), udp, tcp, drops }
    }

    fn bind(config: &Config) -> Result<Sockets, BindError> {
        Sockets::bind(config, Inherited::default())
    }

    fn tcp_addr(sockets: &Sockets) -> SocketAddr {
        sockets.listeners().iter().find_map(Listener::tcp_addr).unwrap()
    }

    fn client() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }
}
