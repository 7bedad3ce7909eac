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
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::Socket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tracing::error;

use crate::compat::Compat;
use crate::ingest::{Ingest, Source};

mod address;
mod complaint;
mod meminfo;
mod drops;
mod relay;
mod udp;
mod unix;
mod tcp;
mod orders;
mod lane;
mod reader;
mod tasks;

pub use address::AddressError;
pub use drops::{KernelDrops, ReceiveQueue};
pub use orders::Orders;
pub use unix::UnixError;

use address::ListenAddress;
use lane::Sink;
use orders::{Command, Peers};
use tasks::{Inputs, Seat};

/// How long after its deadline a lane may take to end its thread.
const GRACE: Duration = Duration::from_secs(1);

/// Where lines come from and where they are passed on to.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--statsd.listen-udp`, as `host:port`; `None` or empty for no UDP.
    pub udp: Option<String>,
    /// `--statsd.listen-tcp`, as `host:port`; `None` or empty for no TCP.
    pub tcp: Option<String>,
    /// `--statsd.listen-unixgram`; `@name` is an abstract socket; `None` or empty for none.
    pub unixgram: Option<PathBuf>,
    /// `--statsd.unixsocket-mode`, as octal text; anything else is warned of and ignored.
    pub unixsocket_mode: String,
    /// `--statsd.read-buffer`.
    pub read_buffer: ReadBuffer,
    /// `--lanes`: how many threads read; at least 1.
    pub lanes: usize,
    /// `--statsd.relay.*`.
    pub relay: Option<RelayConfig>,
    /// Whether cut datagrams are treated as the reference treats them.
    pub compat: Compat,
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
        "nothing to listen on; set at least one of `--statsd.listen-udp`, `--statsd.listen-tcp` \
         and `--statsd.listen-unixgram`"
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
        /// `UDP` or `TCP`.
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
    udp: Vec<Arc<Socket>>,
    tcp: Option<TcpListener>,
    unix: Option<unix::Bound>,
    relay: Option<relay::Target>,
    lanes: usize,
    compat: Compat,
    drops: KernelDrops,
}

impl Sockets {
    /// Opens everything the configuration names; of port 0 all lanes get the one that the kernel
    /// chose.
    ///
    /// # Errors
    /// Each variant of [`BindError`]; what was opened before is closed again.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let lanes = config.lanes.max(1);
        let relay = config.relay.as_ref().map(open_relay).transpose()?;
        let udp_text = config.udp.as_deref().filter(|text| !text.is_empty());
        let tcp_text = config.tcp.as_deref().filter(|text| !text.is_empty());
        let path = config.unixgram.as_deref().filter(|path| !path.as_os_str().is_empty());
        if udp_text.is_none() && tcp_text.is_none() && path.is_none() {
            return Err(BindError::NoListener);
        }
        let (udp, drops) = match udp_text {
            Some(text) => bind_udp(text, lanes, config.read_buffer)?,
            None => Default::default(),
        };
        let tcp = tcp_text.map(|text| listen_tcp("--statsd.listen-tcp", text)).transpose()?;
        let unix = match path {
            Some(path) => Some(bind_unix(path, config)?),
            None => None,
        };
        let sockets = Self { udp, tcp, unix, relay, lanes, compat: config.compat, drops };
        Ok(sockets)
    }

    /// Returns the address that UDP is really received on.
    #[must_use]
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp.first().and_then(|socket| udp::local_address(socket).ok())
    }

    /// Returns the address that TCP is really accepted on.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
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

    /// Gives each lane its part: all a UDP socket, the first the rest.
    fn deal(mut self, commands: &[UnboundedSender<Command>]) -> Vec<Inputs> {
        let mut udp = self.udp.drain(..);
        let mut tcp = self.tcp.map(|listener| (listener, Peers::new(commands.to_vec())));
        let mut unix = self.unix;
        let deal_one = |_| Inputs {
            udp: udp.next(),
            unix: unix.take(),
            tcp: tcp.take(),
            relay: self.relay.clone(),
            compat: self.compat,
            drops: self.drops.clone(),
        };
        (0..self.lanes).map(deal_one).collect()
    }
}

fn open_relay(config: &RelayConfig) -> Result<relay::Target, BindError> {
    let flag = "--statsd.relay.address";
    let address = address::parse_target(&config.address)
        .map_err(|source| BindError::Address { flag, source })?;
    relay::Target::open(address, config.packet_length)
        .map_err(|source| BindError::Relay { address: config.address.clone(), source })
}

fn bind_udp(
    text: &str,
    lanes: usize,
    buffer: ReadBuffer,
) -> Result<(Vec<Arc<Socket>>, KernelDrops), BindError> {
    let failed = |source| BindError::Listen { transport: "UDP", address: text.to_owned(), source };
    let listen = ListenAddress::parse(text)
        .map_err(|source| BindError::Address { flag: "--statsd.listen-udp", source })?;
    let sockets = udp::bind(listen, lanes).map_err(failed)?;
    let name = match sockets.first() {
        Some(first) => format!("udp:{}", udp::local_address(first).map_err(failed)?),
        None => "udp".to_owned(),
    };
    udp::enlarge(&sockets, &name, buffer)
        .map_err(|source| BindError::ReadBuffer { listener: name.clone(), source })?;
    let drops = KernelDrops::new(name, &sockets);
    Ok((sockets, drops))
}

/// Opens a listening TCP socket on the address that a flag gives, as Go would: `:9102` is every
/// address of both families.
///
/// # Errors
/// [`BindError::Address`] or [`BindError::Listen`].
pub fn listen_tcp(flag: &'static str, text: &str) -> Result<TcpListener, BindError> {
    let listen =
        ListenAddress::parse(text).map_err(|source| BindError::Address { flag, source })?;
    tcp::bind(listen).map_err(|source| BindError::Listen {
        transport: "TCP",
        address: text.to_owned(),
        source,
    })
}

fn bind_unix(path: &std::path::Path, config: &Config) -> Result<unix::Bound, BindError> {
    let bound = unix::bind(path, &config.unixsocket_mode)?;
    // By default nothing is asked for: the kernel bounds such a queue by the number of datagrams
    // and makes senders wait, so that nothing is dropped in it.
    if let ReadBuffer::Given(_) = config.read_buffer {
        let listener = unix::display_name(path);
        udp::enlarge(std::slice::from_ref(&bound.socket), &listener, config.read_buffer)
            .map_err(|source| BindError::ReadBuffer { listener, source })?;
    }
    Ok(bound)
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
}

/// Starts one thread per lane, `lane-0` and so on, and reads from here on.
///
/// # Errors
/// Each variant of [`StartError`]; lanes that ran already are ended.
pub fn start(sockets: Sockets, ingests: Vec<Ingest>) -> Result<Lanes, StartError> {
    start_with(sockets, ingests)
}

fn start_with<S: Sink + Send + 'static>(
    sockets: Sockets,
    sinks: Vec<S>,
) -> Result<Lanes, StartError> {
    if sinks.len() != sockets.lanes {
        return Err(StartError::LaneCount { lanes: sockets.lanes, ingests: sinks.len() });
    }
    let (senders, receivers): (Vec<_>, Vec<UnboundedReceiver<Command>>) =
        sinks.iter().map(|_| unbounded_channel()).unzip();
    let (alive, ended) = std_mpsc::channel();
    let inputs = sockets.deal(&senders);
    let mut lanes = Lanes { orders: Orders::new(senders), threads: Vec::new(), ended };
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
        self.orders.stop(Instant::now() + patience);
        if self.ended.recv_timeout(patience + GRACE) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            error!("A lane did not end in time; what it had not yet read is lost.");
            return;
        }
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
        self.orders.stop(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream, UdpSocket};
    use std::os::unix::net::UnixDatagram;
    use std::time::Instant;

    use parking_lot::Mutex;

    use super::*;
    use crate::ingest::{Datagram, Order, Sender};
    use crate::telemetry::Stat;

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
        fn wait_until(&self, expected: impl Fn(&Record) -> bool) {
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
        let rig = rig(&Config { unixgram: Some(path.clone()), lanes: 3, ..config() });
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
        assert_eq!(record.counts, HashMap::from([(Stat::TcpConnections, 1)]));
        assert!(!path.exists());
    }

    #[test]
    fn a_second_server_on_the_same_port_is_refused() {
        for (first, second) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
            let owner = Sockets::bind(&Config { lanes: first, ..config() }).unwrap();
            let udp = owner.udp_addr().unwrap().to_string();
            let tcp = owner.tcp_addr().unwrap().to_string();
            let taken = Config { lanes: second, udp: Some(udp.clone()), tcp: None, ..config() };
            check_refused(&taken, &format!("cannot listen on UDP {udp}"));
            let taken = Config { lanes: second, udp: None, tcp: Some(tcp.clone()), ..config() };
            check_refused(&taken, &format!("cannot listen on TCP {tcp}"));
        }
    }

    #[test]
    fn an_unusable_configuration_names_its_flag() {
        let off = Config { udp: Some(String::new()), tcp: None, ..config() };
        check_refused(&off, "nothing to listen on");
        let udp = Config { udp: Some("127.0.0.1".into()), ..config() };
        check_refused(&udp, "bad address in `--statsd.listen-udp`");
        let tcp = Config { tcp: Some("127.0.0.1:99999".into()), ..config() };
        check_refused(&tcp, "bad address in `--statsd.listen-tcp`");
        let relay = RelayConfig { address: "127.0.0.1".into(), packet_length: 1400 };
        let relay = Config { relay: Some(relay), ..config() };
        check_refused(&relay, "bad address in `--statsd.relay.address`");
        let path = std::env::temp_dir();
        check_refused(&Config { unixgram: Some(path), ..config() }, "exists and is no socket");
    }

    #[test]
    fn every_lane_needs_an_ingest() {
        let sockets = Sockets::bind(&Config { lanes: 2, ..config() }).unwrap();
        let error = start_with(sockets, vec![Recorder::default()]).unwrap_err();
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
        let config = Config { unixgram: Some(path.clone()), ..config() };
        let sockets = Sockets::bind(&config).unwrap();
        for _ in 0..200 {
            client().send_to(b"a:1|c", sockets.udp_addr().unwrap()).unwrap();
        }
        UnixDatagram::unbound().unwrap().send_to(b"b:1|c", &path).unwrap();
        let mut stream = TcpStream::connect(sockets.tcp_addr().unwrap()).unwrap();
        stream.write_all(b"c:1|c\nd:1|c").unwrap();
        let record = rig_of(sockets).stop();
        assert_eq!(record.datagrams.len(), 201);
        assert_eq!(record.lines, [b"c:1|c", b"d:1|c"]);
    }

    #[test]
    fn the_port_is_free_after_the_end() {
        let rig = rig(&Config { lanes: 2, ..config() });
        let same = Config { udp: Some(rig.udp.to_string()), ..config() };
        rig.stop();
        assert!(Sockets::bind(&same).is_ok());
    }

    #[test]
    fn lanes_that_are_dropped_end() {
        let Rig { lanes, udp, .. } = rig(&Config { lanes: 2, ..config() });
        drop(lanes);
        let same = Config { udp: Some(udp.to_string()), ..config() };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Sockets::bind(&same).is_err() {
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
        assert_eq!(record.counts, HashMap::from([(Stat::TcpConnections, 22)]));
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
        let rig = rig(&Config { unixgram: Some(path.clone()), ..config() });
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
        match Sockets::bind(config) {
            Ok(_) => panic!("{config:?} was bound"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    fn config() -> Config {
        Config {
            udp: Some("127.0.0.1:0".into()),
            tcp: Some("127.0.0.1:0".into()),
            unixgram: None,
            unixsocket_mode: "755".into(),
            read_buffer: ReadBuffer::Default,
            lanes: 1,
            relay: None,
            compat: Compat::Extended,
        }
    }

    fn rig(config: &Config) -> Rig {
        rig_of(Sockets::bind(config).unwrap())
    }

    fn rig_of(sockets: Sockets) -> Rig {
        let recorder = Recorder::default();
        let (udp, tcp) = (sockets.udp_addr().unwrap(), sockets.tcp_addr().unwrap());
        let drops = sockets.kernel_drops();
        let sinks = vec![recorder.clone(); sockets.lanes()];
        Rig { recorder, lanes: start_with(sockets, sinks).unwrap(), udp, tcp, drops }
    }

    fn client() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }
}
