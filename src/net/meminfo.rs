//! How full a socket's queue is, and how many datagrams the kernel threw away at it:
//! `getsockopt(SO_MEMINFO)`.
//!
//! No crate in use wraps this option. Ancillary `SO_RXQ_OVFL` data would be safe to read, but is
//! stamped when a datagram is queued, so the drops at the end of a burst stay unseen.

#![expect(unsafe_code, reason = "no crate wraps getsockopt(SO_MEMINFO)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The number of values in `SO_MEMINFO`; the last of them counts the drops.
const VALUES: usize = libc::SK_MEMINFO_DROPS as usize + 1;

/// What the kernel says of a socket's receiving side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemInfo {
    /// What waits to be read, with the kernel's own bookkeeping.
    pub(super) queued_bytes: u32,
    /// What may wait, in the same measure: twice what was asked for.
    pub(super) capacity_bytes: u32,
    /// The drops so far; it wraps around after 2³².
    pub(super) drops: u32,
}

/// Returns what the kernel says of a socket.
pub(super) fn read(socket: &impl AsFd) -> io::Result<MemInfo> {
    let mut values = [0_u32; VALUES];
    let size = libc::socklen_t::try_from(size_of_val(&values)).map_err(io::Error::other)?;
    let mut filled = size;
    // SAFETY: the descriptor is borrowed for the call and so stays open. `values` and `filled` live
    // on this stack frame, nothing else refers to them, and `filled` holds the size of `values` in
    // bytes, which the kernel does not write beyond. Any bit pattern is a valid `u32`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut filled,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let value = |place: libc::c_int| {
        usize::try_from(place).ok().and_then(|place| values.get(place)).copied()
    };
    let queued_bytes = value(libc::SK_MEMINFO_RMEM_ALLOC);
    let capacity_bytes = value(libc::SK_MEMINFO_RCVBUF);
    match (queued_bytes, capacity_bytes, value(libc::SK_MEMINFO_DROPS)) {
        (Some(queued_bytes), Some(capacity_bytes), Some(drops)) if filled == size => {
            Ok(MemInfo { queued_bytes, capacity_bytes, drops })
        }
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_nobody_reads_loses_what_does_not_fit() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(0).unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            client.send_to(&[b'x'; 500], socket.local_addr().unwrap()).unwrap();
        }
        let full = read(&socket).unwrap();
        assert!(full.queued_bytes > 0 && full.capacity_bytes > 0, "{full:?}");
        let mut queued = 0;
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 500]).is_ok() {
            queued += 1;
        }
        assert!(queued < 100);
        let empty = read(&socket).unwrap();
        assert_eq!((empty.drops, empty.queued_bytes), (100 - queued, 0));
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(read(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
