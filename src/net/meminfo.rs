//! How many datagrams the kernel threw away at a socket: `getsockopt(SO_MEMINFO)`.
//!
//! No crate in use wraps this option. Ancillary `SO_RXQ_OVFL` data would be safe to read, but is
//! stamped when a datagram is queued, so the drops at the end of a burst stay unseen.

#![expect(unsafe_code, reason = "no crate wraps getsockopt(SO_MEMINFO)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The number of values in `SO_MEMINFO`; the last of them counts the drops.
const VALUES: usize = libc::SK_MEMINFO_DROPS as usize + 1;

/// Returns the kernel's drop counter of a socket, which wraps around after 2³² drops.
pub(super) fn dropped(socket: &impl AsFd) -> io::Result<u32> {
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
    match values.last() {
        Some(&drops) if filled == size => Ok(drops),
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
        let mut queued = 0;
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 500]).is_ok() {
            queued += 1;
        }
        assert!(queued < 100);
        assert_eq!(dropped(&socket).unwrap(), 100 - queued);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(dropped(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
