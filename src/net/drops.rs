//! What the kernel threw away because a lane was too slow: `tallyd_udp_kernel_drops_total`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use socket2::Socket;

use crate::net::meminfo;

/// The kernel's drops per listener; any thread may read it at any time, before and after the
/// sockets are closed.
///
/// The kernel counts in 32 bits per socket. It has to be read before 2³¹ further drops, so each
/// second is more than enough.
#[derive(Clone, Debug, Default)]
pub struct KernelDrops {
    listeners: Arc<[Listener]>,
}

/// How much waits in the sockets of one address.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiveQueue {
    /// The address, as in `tallyd_udp_kernel_drops_total`.
    pub listener: String,
    /// What waits to be read, as the kernel counts it.
    pub queued_bytes: u64,
    /// What may wait, all sockets together.
    pub capacity_bytes: u64,
    /// How many sockets there are, one for each lane.
    pub sockets: u64,
    /// The part of its capacity that is taken of the fullest socket, from 0 to 1.
    pub fullest: f64,
}

/// The sockets of one address, one per lane.
#[derive(Debug)]
struct Listener {
    label: String,
    sockets: Vec<Watched>,
}

/// A socket, for as long as its lane keeps it, and what it dropped so far.
#[derive(Debug)]
struct Watched {
    socket: Weak<Socket>,
    drops: AtomicU64,
}

impl KernelDrops {
    /// Watches sockets, those of one address under one label.
    pub(super) fn new<'a>(sockets: impl Iterator<Item = (String, &'a Arc<Socket>)>) -> Self {
        let mut listeners: Vec<Listener> = Vec::new();
        for (label, socket) in sockets {
            let watched = Watched { socket: Arc::downgrade(socket), drops: AtomicU64::new(0) };
            match listeners.iter_mut().find(|listener| listener.label == label) {
                Some(listener) => listener.sockets.push(watched),
                None => listeners.push(Listener { label, sockets: vec![watched] }),
            }
        }
        Self { listeners: listeners.into() }
    }

    /// Returns label (`udp:127.0.0.1:9125`) and drops of each listener, freshly asked from the
    /// kernel; costs one system call per socket.
    #[must_use]
    pub fn read(&self) -> Vec<(String, u64)> {
        self.listeners
            .iter()
            .map(|listener| {
                let drops = listener.sockets.iter().map(Watched::read).sum();
                (listener.label.clone(), drops)
            })
            .collect()
    }

    /// Keeps the sockets open, whose lanes may end meanwhile, so that what is refused at them goes
    /// on being counted.
    #[must_use]
    pub fn hold(&self) -> Vec<Arc<Socket>> {
        let sockets = self.listeners.iter().flat_map(|listener| &listener.sockets);
        sockets.filter_map(|watched| watched.socket.upgrade()).collect()
    }

    /// Returns how much waits at each listener, freshly asked from the kernel.
    #[must_use]
    pub fn queues(&self) -> Vec<ReceiveQueue> {
        self.listeners.iter().map(Listener::queue).collect()
    }

    /// Asks the kernel once more; to be called before a socket is closed, which ends its count.
    pub(super) fn refresh(&self) {
        for socket in self.listeners.iter().flat_map(|listener| &listener.sockets) {
            socket.read();
        }
    }
}

impl Listener {
    fn queue(&self) -> ReceiveQueue {
        let mut queue = ReceiveQueue {
            listener: self.label.clone(),
            queued_bytes: 0,
            capacity_bytes: 0,
            sockets: 0,
            fullest: 0.0,
        };
        let sockets = self.sockets.iter().filter_map(|watched| watched.socket.upgrade());
        for memory in sockets.filter_map(|socket| meminfo::read(&*socket).ok()) {
            let (queued, capacity) = (memory.queued_bytes, memory.capacity_bytes);
            queue.sockets += 1;
            queue.queued_bytes += u64::from(queued);
            queue.capacity_bytes += u64::from(capacity);
            queue.fullest = queue.fullest.max(f64::from(queued) / f64::from(capacity.max(1)));
        }
        queue
    }
}

impl Watched {
    fn read(&self) -> u64 {
        // Relaxed: the count publishes nothing else, and `extend` bears readings out of order.
        let Some(socket) = self.socket.upgrade() else { return self.drops.load(Ordering::Relaxed) };
        let Ok(reading) = meminfo::read(&*socket).map(|memory| memory.drops) else {
            return self.drops.load(Ordering::Relaxed);
        };
        let advance = |drops| Some(extend(drops, reading));
        match self.drops.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance) {
            Ok(before) | Err(before) => extend(before, reading),
        }
    }
}

/// Returns the count after a reading of the 32-bit counter.
///
/// Two threads may store their readings in the wrong order; an older one looks like a step of
/// nearly 2³² and is ignored.
fn extend(drops: u64, reading: u32) -> u64 {
    let low = drops & u64::from(u32::MAX);
    let step = u64::from(reading).wrapping_sub(low) & u64::from(u32::MAX);
    if step < 1 << 31 { drops.saturating_add(step) } else { drops }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_goes_on_where_the_kernels_counter_wraps() {
        check(0, 0, 0);
        check(0, 7, 7);
        check(0xffff_fff0, 5, 0x1_0000_0005);
        check(0x5_ffff_ffff, 0, 0x6_0000_0000);
    }

    #[test]
    fn an_older_reading_takes_nothing_back() {
        check(7, 5, 7);
        check(0x1_0000_0005, 0xffff_fff0, 0x1_0000_0005);
    }

    #[test]
    fn the_drops_of_a_closed_socket_stay() {
        let socket =
            crate::net::address::open(([127, 0, 0, 1], 0).into(), socket2::Type::DGRAM, |socket| {
                socket.set_recv_buffer_size(0)
            });
        let socket = Arc::new(socket.unwrap());
        let drops = KernelDrops::new(std::iter::once(("udp:x".into(), &socket)));
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        for _ in 0..100 {
            client.send_to(&[b'x'; 500], address).unwrap();
        }
        let before = drops.read();
        assert_eq!(before[0].0, "udp:x");
        assert!(before[0].1 > 0);
        let queue = &drops.queues()[0];
        assert!(queue.queued_bytes > 0 && queue.fullest > 0.5, "{queue:?}");
        drop(socket);
        assert_eq!(drops.read(), before);
    }

    #[track_caller]
    fn check(drops: u64, reading: u32, expected: u64) {
        assert_eq!(extend(drops, reading), expected);
    }
}
