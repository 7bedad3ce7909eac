//! A receiver that throws everything away: what receiving alone costs on this machine.
//!
//! It reads as tallyd does, looks at each byte once to count the lines, and shows their number on a
//! page under the names of `statsd_exporter`, so that a run can have it as its server.

use std::io::{self, IoSliceMut, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use memchr::memchr_iter;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::error::BenchError;
use super::page::PROBE;
use super::process::udp_queue;
use super::sender::thread_cpu_seconds;
use super::target::Target;

/// Datagrams read by one system call.
const BATCH: usize = 64;
/// From one buffer to the next; an odd number of cache lines, so that the buffers' starts do not
/// compete for the same cache sets.
const STRIDE_BYTES: usize = 1_047 * 64;
/// What tallyd asks for.
const READ_BUFFER_BYTES: usize = 8 << 20;
const STREAM_READ_BYTES: usize = 64 << 10;
/// An idle sink looks so often whether it is to end.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// What a sink is to do.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Where to receive; a Unix stream is not offered.
    pub listen: Target,
    /// Where to show the page; nowhere when not given.
    pub web: Option<SocketAddr>,
    /// After how long to end; a signal ends it earlier.
    pub duration: Option<Duration>,
}

/// What a sink threw away, and what that cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkFacts {
    /// Where it received, as a URL.
    pub listener: String,
    /// Datagrams received; none of a stream.
    pub datagrams: u64,
    /// Lines in them.
    pub lines: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// System calls that brought something.
    pub reads: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub kernel_drops: u64,
    /// CPU time of the receiving threads.
    pub cpu_seconds: f64,
    /// CPU time for each datagram, in millionths of a second.
    pub cpu_us_per_datagram: Option<f64>,
    /// CPU time for each line, in millionths of a second.
    pub cpu_us_per_line: Option<f64>,
}

/// What was received so far. Relaxed throughout: the numbers publish nothing else.
#[derive(Debug, Default)]
struct Received {
    datagrams: AtomicU64,
    lines: AtomicU64,
    probes: AtomicU64,
    bytes: AtomicU64,
    reads: AtomicU64,
    cpu_nanos: AtomicU64,
    stop: AtomicBool,
}

impl Received {
    fn add(&self, datagrams: u64, lines: u64, bytes: u64) {
        self.datagrams.fetch_add(datagrams, Ordering::Relaxed);
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn add_cpu(&self) {
        let nanos = Duration::from_secs_f64(thread_cpu_seconds()).as_nanos();
        self.cpu_nanos.fetch_add(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn page(&self) -> String {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        format!(
            "# TYPE statsd_exporter_lines_total counter\nstatsd_exporter_lines_total {}\n\
             # TYPE statsd_exporter_udp_packets_total counter\n\
             statsd_exporter_udp_packets_total {}\n\
             # TYPE {PROBE} counter\n{PROBE} {}\n",
            of(&self.lines),
            of(&self.datagrams),
            of(&self.probes)
        )
    }

    fn facts(&self, listen: &Target) -> SinkFacts {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let cpu_seconds = of(&self.cpu_nanos) as f64 / 1e9;
        let per = |number: u64| (number > 0).then(|| cpu_seconds * 1e6 / number as f64);
        let (datagrams, lines) = (of(&self.datagrams), of(&self.lines));
        SinkFacts {
            listener: listen.to_string(),
            datagrams,
            lines,
            bytes: of(&self.bytes),
            reads: of(&self.reads),
            kernel_drops: 0,
            cpu_seconds,
            cpu_us_per_datagram: per(datagrams),
            cpu_us_per_line: per(lines),
        }
    }
}

/// Receives and throws away until a signal comes or the time is over.
///
/// # Errors
/// When one of the addresses cannot be had.
pub fn run(plan: &SinkPlan) -> Result<SinkFacts, BenchError> {
    let received = Arc::new(Received::default());
    let reader = listen(&plan.listen, &received)?;
    let served = serve(plan, &received);
    let drops = plan.listen.udp_port().and_then(udp_queue).unwrap_or_default().drops;
    received.stop.store(true, Ordering::Relaxed);
    reader.join().map_err(|_| {
        BenchError::System("the receiving thread ended", io::ErrorKind::Other.into())
    })?;
    served?;
    Ok(SinkFacts { kernel_drops: drops, ..received.facts(&plan.listen) })
}

fn listen(target: &Target, received: &Arc<Received>) -> Result<JoinHandle<()>, BenchError> {
    let failed = |source| BenchError::Listen { address: target.to_string(), source };
    let received = Arc::clone(received);
    let start = |work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name("sink".into()).spawn(work).map_err(failed)
    };
    match target {
        Target::Udp(address) => {
            let socket = UdpSocket::bind(address).map_err(failed)?;
            enlarge(&socket);
            socket.set_read_timeout(Some(READ_TIMEOUT)).map_err(failed)?;
            start(Box::new(move || read_datagrams(&socket, &received)))
        }
        Target::UnixDatagram(path) => {
            let socket = UnixDatagram::bind(path).map_err(failed)?;
            socket.set_read_timeout(Some(READ_TIMEOUT)).map_err(failed)?;
            start(Box::new(move || read_datagrams(&socket, &received)))
        }
        Target::Tcp(address) => {
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            start(Box::new(move || accept(&listener, &received)))
        }
        Target::UnixStream(_) => Err(failed(io::ErrorKind::Unsupported.into())),
    }
}

fn enlarge(socket: &UdpSocket) {
    // With CAP_NET_ADMIN the limit `net.core.rmem_max` can be passed over; without it the kernel
    // grants what it likes, and what is dropped for that is counted.
    if setsockopt(socket, sockopt::RcvBufForce, &READ_BUFFER_BYTES).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &READ_BUFFER_BYTES).ok();
    }
}

fn read_datagrams(socket: &impl AsFd, received: &Received) {
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut space = vec![0; BATCH * STRIDE_BYTES];
    let fd = socket.as_fd().as_raw_fd();
    while !received.is_over() {
        let buffers = space.chunks_exact_mut(STRIDE_BYTES);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None) {
            Ok(batch) => {
                let (mut datagrams, mut lines, mut bytes) = (0, 0, 0);
                for datagram in batch {
                    let content = datagram.iovs().next().unwrap_or_default();
                    datagrams += 1;
                    lines += memchr_iter(b'\n', content).count() as u64 + 1;
                    bytes += content.len() as u64;
                    // It stands alone in its datagram.
                    if content.starts_with(PROBE.as_bytes()) {
                        received.probes.fetch_add(1, Ordering::Relaxed);
                    }
                }
                received.add(datagrams, lines, bytes);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    received.add_cpu();
}

/// Takes connections, each with a thread of its own.
fn accept(listener: &TcpListener, received: &Arc<Received>) {
    let mut readers = Vec::new();
    while !received.is_over() {
        let Ok((mut connection, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let received = Arc::clone(received);
        let read = move || {
            let is_set = connection.set_nonblocking(false).is_ok()
                && connection.set_read_timeout(Some(READ_TIMEOUT)).is_ok();
            if is_set {
                read_stream(&mut connection, &received);
            }
        };
        readers.extend(thread::Builder::new().name("sink-stream".into()).spawn(read));
    }
    for reader in readers {
        // A panic in it has been told on stderr.
        drop(reader.join());
    }
}

fn read_stream(connection: &mut impl Read, received: &Received) {
    let mut buffer = vec![0; STREAM_READ_BYTES];
    while !received.is_over() {
        match connection.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let content = buffer.get(..length).unwrap_or_default();
                received.add(0, memchr_iter(b'\n', content).count() as u64, length as u64);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {}
            Err(_) => break,
        }
    }
    received.add_cpu();
}

/// Shows the page until a signal comes or the time is over.
fn serve(plan: &SinkPlan, received: &Arc<Received>) -> Result<(), BenchError> {
    let failed = |error| BenchError::System("cannot start an event loop", error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let end = end_of(plan.duration);
        let Some(address) = plan.web else { return end.await };
        let failed = |source| BenchError::Listen { address: address.to_string(), source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let received = Arc::clone(received);
        let app = Router::new().route("/metrics", get(move || async move { received.page() }));
        tokio::select! {
            served = axum::serve(listener, app) => served.map_err(failed),
            ended = end => ended,
        }
    })
}

async fn end_of(duration: Option<Duration>) -> Result<(), BenchError> {
    let failed = |error| BenchError::System("cannot wait for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let time_over = tokio::time::sleep(duration.unwrap_or(Duration::MAX));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = time_over => {}
    }
    Ok(())
}
