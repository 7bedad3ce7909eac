//! UDP sockets, one per lane, and the reading of whole batches from any datagram socket.

use std::array;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, UnixCredentials,
    recvmmsg, setsockopt, sockopt,
};
use smallvec::SmallVec;
use socket2::{SockFilter, Socket, Type};
use tracing::{info, warn};

use crate::ingest::{Datagram, Sender, Source};
use crate::net::ReadBuffer;
use crate::net::address::{self, ListenAddress};

/// Datagrams read by one system call.
pub(super) const BATCH: usize = 32;

/// The longest datagram taken in whole; the reference reads into as many bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// From one buffer to the next. An odd number of 64-byte cache lines, because with a power of two
/// the starts of all buffers, where short datagrams lie, would compete for the same cache sets.
const STRIDE_BYTES: usize = 1_047 * 64;

/// The receive buffer asked for when the user names none, in bytes.
const DEFAULT_READ_BUFFER_BYTES: usize = 8 << 20;

/// Binds one socket per lane to an address.
///
/// The first is bound without `SO_REUSEPORT`, so that a port that another process holds is an
/// error even if that process is a tallyd; with the option, the kernel would silently give half of
/// the clients to each. Then the option is set and the other lanes join.
pub(super) fn bind(listen: ListenAddress, lanes: usize) -> io::Result<Vec<Arc<Socket>>> {
    let first = listen.open(Type::DGRAM, |_| Ok(()))?;
    let bound = local_address(&first)?;
    if lanes > 1 {
        first.set_reuse_port(true)?;
    }
    let mut sockets = vec![Arc::new(first)];
    for _ in 1..lanes {
        let joined = address::open(bound, Type::DGRAM, |socket| socket.set_reuse_port(true))?;
        sockets.push(Arc::new(joined));
    }
    Ok(sockets)
}

/// Returns the address a socket is really bound to.
pub(super) fn local_address(socket: &Socket) -> io::Result<std::net::SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Sets the receive buffer of a listener's sockets and logs what the kernel granted.
///
/// # Errors
/// When the kernel refuses to set it at all; granting less is a warning only, as the reference does
/// not even notice.
pub(super) fn enlarge(sockets: &[Arc<Socket>], name: &str, asked: ReadBuffer) -> io::Result<()> {
    let bytes = match asked {
        ReadBuffer::Given(0) => return Ok(()),
        ReadBuffer::Given(bytes) => bytes,
        ReadBuffer::Default => DEFAULT_READ_BUFFER_BYTES,
    };
    let mut granted = usize::MAX;
    for socket in sockets {
        granted = granted.min(set_read_buffer(socket, bytes)?);
    }
    if granted < bytes {
        warn!(
            listener = name,
            asked = bytes,
            granted,
            "The kernel granted a smaller receive buffer than asked for; bursts may be lost. Raise \
             it with `sysctl -w net.core.rmem_max={bytes}`."
        );
    } else {
        info!(listener = name, granted, "The kernel granted the receive buffer.");
    }
    Ok(())
}

fn set_read_buffer(socket: &Socket, bytes: usize) -> io::Result<usize> {
    let bytes = bytes.min(i32::MAX as usize);
    // With CAP_NET_ADMIN the limit `net.core.rmem_max` can be passed over.
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    // The kernel doubles the figure to make room for its own headers, and reports the double.
    Ok(socket.recv_buffer_size()? / 2)
}

/// Makes the kernel drop, and count, every datagram that comes from here on; what is queued stays.
pub(super) fn refuse_all(socket: &Socket) -> io::Result<()> {
    // A classic BPF program of one instruction, `ret #0`: keep no byte of the datagram.
    const RETURN_CONSTANT: u16 = 0x06;
    socket.attach_filter(&[SockFilter::new(RETURN_CONSTANT, 0, 0, 0)])
}

/// What is left in a socket after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// The batch was full, so more may wait.
    MayHoldMore,
    /// The batch was not full, so there is nothing more to read.
    Empty,
}

/// The buffers a lane reads datagrams into.
///
/// It asks the kernel for no control messages unless a rule needs to know which process sent a Unix
/// datagram: they cost time for each one.
pub(super) struct Receiver {
    headers: Headers,
    space: Vec<u8>,
    /// The batch's datagrams, in the order of their buffers.
    batch: SmallVec<[Arrival; BATCH]>,
}

/// What is asked of the kernel about each datagram.
enum Headers {
    /// Its bytes and who sent it.
    Addressed(MultiHeaders<SockaddrStorage>),
    /// Its bytes; clients of Unix sockets mostly have no address.
    Bare(MultiHeaders<()>),
    /// Its bytes and the process that sent it. The headers cannot be used twice: they keep what
    /// room the last batch's control messages took, which is none after a batch without any.
    Credentials,
}

/// A datagram whose bytes are in its buffer.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    length: usize,
    ending: Ending,
    sender: Sender,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Two MiB of address space; only what datagrams really fill becomes resident.
    pub(super) fn new(source: Source) -> Self {
        Self {
            headers: match source {
                Source::Udp => Headers::Addressed(MultiHeaders::preallocate(BATCH, None)),
                Source::Unixgram => Headers::Bare(MultiHeaders::preallocate(BATCH, None)),
            },
            space: vec![0; BATCH * STRIDE_BYTES],
            batch: SmallVec::new(),
        }
    }

    /// Has the kernel tell from here on which process sent each datagram of a Unix socket.
    pub(super) fn ask_for_processes(&mut self, socket: &Socket) {
        if !matches!(self.headers, Headers::Credentials) {
            match setsockopt(socket, sockopt::PassCred, &true) {
                Ok(()) => self.headers = Headers::Credentials,
                Err(error) => warn!(%error, "The kernel does not tell who sends Unix datagrams."),
            }
        }
    }

    /// Reads up to a batch of datagrams by one system call; they take the place of the last ones.
    pub(super) fn receive(&mut self, socket: &Socket, flags: MsgFlags) -> io::Result<Queue> {
        self.batch.clear();
        let mut buffers = self.space.chunks_exact_mut(STRIDE_BYTES);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = array::from_fn(|_| {
            let buffer = buffers.next().and_then(|buffer| buffer.get_mut(..MAX_DATAGRAM_BYTES));
            [IoSliceMut::new(buffer.unwrap_or_default())]
        });
        let fd = socket.as_raw_fd();
        let batch = &mut self.batch;
        let slices = slices.iter_mut();
        let received = match &mut self.headers {
            Headers::Addressed(headers) => recvmmsg(fd, headers, slices, flags, None)
                .map(|received| batch.extend(received.map(|message| arrival(&message, sender)))),
            Headers::Bare(headers) => recvmmsg(fd, headers, slices, flags, None).map(|received| {
                batch.extend(received.map(|message| arrival(&message, |()| Sender::Unknown)));
            }),
            Headers::Credentials => {
                let room = cmsg_space!(UnixCredentials);
                let mut headers = MultiHeaders::<()>::preallocate(BATCH, Some(room));
                recvmmsg(fd, &mut headers, slices, flags, None).map(|received| {
                    batch.extend(received.map(|message| Arrival {
                        sender: process(&message),
                        ..arrival(&message, |()| Sender::Unknown)
                    }));
                })
            }
        };
        match received {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return Ok(Queue::Empty),
            Err(Errno::EINTR) => return Ok(Queue::MayHoldMore),
            Err(error) => return Err(error.into()),
        }
        Ok(if self.batch.len() == BATCH { Queue::MayHoldMore } else { Queue::Empty })
    }

    /// Whether the last batch had nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether the last batch was nothing but an empty datagram.
    pub(super) fn is_one_empty_datagram(&self) -> bool {
        matches!(*self.batch, [Arrival { length: 0, ending: Ending::Whole, .. }])
    }

    /// The datagrams of the last batch, and whether their ends were cut off.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (Datagram<'_>, Ending)> {
        let buffers = self.space.chunks_exact(STRIDE_BYTES);
        buffers.zip(&self.batch).filter_map(|(buffer, &Arrival { length, ending, sender })| {
            Some((Datagram { bytes: buffer.get(..length)?, sender }, ending))
        })
    }
}

/// What the kernel said of a datagram.
#[inline]
fn arrival<S>(message: &RecvMsg<'_, '_, S>, sender: impl Fn(S) -> Sender) -> Arrival
where
    S: Copy,
{
    let is_cut = message.flags.contains(MsgFlags::MSG_TRUNC);
    Arrival {
        length: message.bytes,
        ending: if is_cut { Ending::CutOff } else { Ending::Whole },
        sender: message.address.map_or(Sender::Unknown, sender),
    }
}

/// Which process sent a datagram. The kernel knows none for what was sent before it was asked, nor
/// for processes in a namespace that is not seen from here.
fn process<S>(message: &RecvMsg<'_, '_, S>) -> Sender {
    let mut messages = message.cmsgs().into_iter().flatten();
    let pid = messages.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(credentials) => u32::try_from(credentials.pid()).ok(),
        _ => None,
    });
    pid.filter(|pid| *pid > 0).map_or(Sender::Unknown, Sender::Process)
}

#[inline]
fn sender(address: SockaddrStorage) -> Sender {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()));
    v4.or_else(v6).map_or(Sender::Unknown, Sender::Udp)
}

/// Whether a datagram fitted into its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it is there.
    Whole,
    /// It was longer than any UDP datagram can be; only a Unix socket brings such.
    CutOff,
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use socket2::Domain;

    use super::*;

    #[test]
    fn a_batch_hands_out_every_datagram_in_order() {
        let socket = bound(1).remove(0);
        let client = client();
        for number in 0..40 {
            client.send_to(number.to_string().as_bytes(), address_of(&socket)).unwrap();
        }
        client.send_to(b"", address_of(&socket)).unwrap();
        client.send_to(&vec![b'x'; 65_507], address_of(&socket)).unwrap();
        let mut receiver = Receiver::new(Source::Udp);
        let mut seen = Vec::new();
        for expected in [Queue::MayHoldMore, Queue::Empty, Queue::Empty] {
            assert_eq!(receiver.receive(&socket, MsgFlags::MSG_DONTWAIT).unwrap(), expected);
            for (datagram, ending) in receiver.datagrams() {
                assert_eq!(ending, Ending::Whole);
                assert_eq!(datagram.sender, Sender::Udp(client.local_addr().unwrap()));
                seen.push(datagram.bytes.to_vec());
            }
        }
        let mut expected: Vec<Vec<u8>> = (0..40).map(|n| n.to_string().into_bytes()).collect();
        expected.extend([Vec::new(), vec![b'x'; 65_507]]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_taken_port_is_an_error_for_one_lane_and_for_several() {
        for (owner, newcomer) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
            let sockets = bound(owner);
            let taken = ListenAddress::One(address_of(&sockets[0]));
            let error = bind(taken, newcomer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{owner} and {newcomer} lanes");
        }
    }

    #[test]
    fn the_lanes_of_a_port_share_its_clients() {
        let sockets = bound(2);
        assert_eq!(address_of(&sockets[0]), address_of(&sockets[1]));
        let clients: Vec<UdpSocket> = (0..64).map(|_| client()).collect();
        for client in &clients {
            client.send_to(b"a:1|c", address_of(&sockets[0])).unwrap();
        }
        let counts = sockets.iter().map(count_waiting).collect::<Vec<_>>();
        assert_eq!(counts.iter().sum::<usize>(), 64);
        // By chance alone, one lane stays without a client once in 2⁶³ runs.
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn all_lanes_of_every_address_take_both_families() {
        let sockets = bind(ListenAddress::Any { port: 0 }, 2).unwrap();
        let port = address_of(&sockets[0]).port();
        for _ in 0..64 {
            client().send_to(b"a:1|c", ("127.0.0.1", port)).unwrap();
        }
        let counts = sockets.iter().map(count_waiting).collect::<Vec<_>>();
        assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
    }

    #[test]
    fn a_buffer_given_by_hand_is_set() {
        let sockets = bound(1);
        let before = sockets[0].recv_buffer_size().unwrap();
        enlarge(&sockets, "udp", ReadBuffer::Given(0)).unwrap();
        assert_eq!(sockets[0].recv_buffer_size().unwrap(), before);
        enlarge(&sockets, "udp", ReadBuffer::Given(65_536)).unwrap();
        assert_eq!(sockets[0].recv_buffer_size().unwrap(), 131_072);
        enlarge(&sockets, "udp", ReadBuffer::Given(usize::MAX)).unwrap();
        enlarge(&sockets, "udp", ReadBuffer::Default).unwrap();
    }

    #[test]
    fn datagrams_refused_at_the_end_are_counted_by_the_kernel() {
        let socket = bound(1).remove(0);
        let client = client();
        client.send_to(b"before", address_of(&socket)).unwrap();
        refuse_all(&socket).unwrap();
        for _ in 0..50 {
            client.send_to(b"after", address_of(&socket)).unwrap();
        }
        assert_eq!(count_waiting(&socket), 1);
        assert_eq!(crate::net::meminfo::read(&*socket).unwrap().drops, 50);
    }

    #[test]
    fn the_kernel_tells_which_process_sent_a_unix_datagram() {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        let mut receiver = Receiver::new(Source::Unixgram);
        let senders = |receiver: &mut Receiver| {
            theirs.send(b"a:1|g").unwrap();
            receiver.receive(&ours, MsgFlags::MSG_DONTWAIT).unwrap();
            receiver.datagrams().map(|(datagram, _)| datagram.sender).collect::<Vec<_>>()
        };
        assert_eq!(senders(&mut receiver), [Sender::Unknown]);
        receiver.ask_for_processes(&ours);
        for _ in 0..3 {
            assert_eq!(senders(&mut receiver), [Sender::Process(std::process::id())]);
            // A batch without any datagram must not make the next one forget.
            receiver.receive(&ours, MsgFlags::MSG_DONTWAIT).unwrap();
        }
    }

    fn count_waiting(socket: &Arc<Socket>) -> usize {
        let mut receiver = Receiver::new(Source::Udp);
        let mut count = 0;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let queue = receiver.receive(socket, MsgFlags::MSG_DONTWAIT).unwrap();
            count += receiver.datagrams().count();
            if queue == Queue::Empty {
                break;
            }
        }
        count
    }

    fn bound(lanes: usize) -> Vec<Arc<Socket>> {
        bind(ListenAddress::One(([127, 0, 0, 1], 0).into()), lanes).unwrap()
    }

    fn client() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn address_of(socket: &Socket) -> SocketAddr {
        local_address(socket).unwrap()
    }
}
