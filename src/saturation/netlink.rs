//! Listening sockets by netlink: `sock_diag(7)`, which needs no privileges.
//!
//! Two requests with fixed layouts are written and their answers read, in the machine's own byte
//! order as netlink has it. Only what the kernel keeps for a listener is asked: `rqueue` is then the
//! length of its accept queue, `wqueue` the limit.

#![deny(clippy::indexing_slicing)]

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{Bound, Listener};

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` as a bit of the states that are asked for; Unix sockets have the same.
const LISTENING: u32 = 1 << 10;
/// `INET_DIAG_SKMEMINFO`
const SK_MEMINFO: u16 = 7;
/// `INET_DIAG_SKV6ONLY`
const SK_V6_ONLY: u16 = 11;
/// `UNIX_DIAG_NAME`, `UNIX_DIAG_VFS`, `UNIX_DIAG_RQLEN`, and the bits that ask for them.
const UNIX_NAME: u16 = 0;
const UNIX_FILE: u16 = 1;
const UNIX_QUEUE: u16 = 4;
const UNIX_SHOW: u32 = 1 << UNIX_NAME | 1 << UNIX_FILE | 1 << UNIX_QUEUE;
/// The kernel makes a part of an answer as long as the reader can take it, up to half of this.
const BUFFER_BYTES: usize = 64 * 1024;
/// The kernel answers while it is asked; this is for one that does not.
const PATIENCE: Duration = Duration::from_millis(200);

/// The TCP sockets that listen.
///
/// # Errors
/// When netlink is not allowed here, or answers what makes no sense.
pub fn tcp_listeners() -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        // Family, protocol, extensions, a gap, states; then an id of zeros, which is any socket.
        let mut request = vec![byte(family)?, byte(libc::IPPROTO_TCP)?, 1 << (SK_MEMINFO - 1), 0];
        request.extend(LISTENING.to_ne_bytes());
        request.extend([0; 48]);
        ask(&request, |answer| listeners.extend(tcp_listener(answer)))?;
    }
    Ok(listeners)
}

/// The Unix sockets that listen.
///
/// # Errors
/// As for [`tcp_listeners`].
pub fn unix_listeners() -> io::Result<Vec<Listener>> {
    // Family, protocol, a gap, states, an inode, what to show, a cookie.
    let mut request = vec![byte(libc::AF_UNIX)?, 0, 0, 0];
    for word in [LISTENING, 0, UNIX_SHOW, u32::MAX, u32::MAX] {
        request.extend(word.to_ne_bytes());
    }
    let mut listeners = Vec::new();
    ask(&request, |answer| listeners.extend(unix_listener(answer)))?;
    Ok(listeners)
}

/// Sends a request for all sockets of a family, and hands on each answer.
fn ask(request: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).map_err(io::Error::other)?;
    let bytes = u32::try_from(HEADER_BYTES + request.len()).map_err(io::Error::other)?;
    let mut message = bytes.to_ne_bytes().to_vec();
    message.extend([BY_FAMILY.to_ne_bytes(), flags.to_ne_bytes()].concat());
    // A number and a sender, which are for those who ask more than once.
    message.extend([0; 8]);
    message.extend(request);
    socket.send(&message)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = socket.read(&mut buffer)?;
        if read_messages(buffer.get(..length).unwrap_or_default(), &mut take)? {
            return Ok(());
        }
    }
}

const HEADER_BYTES: usize = 16;

/// Hands on the messages of one part of an answer; whether it was the last one.
fn read_messages(mut part: &[u8], take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    if part.is_empty() {
        return Err(broken());
    }
    while !part.is_empty() {
        let length = u32_at(part, 0).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(broken)?;
        let body = part.get(HEADER_BYTES..length).ok_or_else(broken)?;
        match u16_at(part, 4).map(i32::from) {
            Some(libc::NLMSG_DONE) => return Ok(true),
            Some(libc::NLMSG_ERROR) => {
                let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(code.map_or(0, i32::wrapping_neg)));
            }
            _ => take(body),
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense")
}

/// `struct inet_diag_msg` and what follows it.
fn tcp_listener(answer: &[u8]) -> Option<Listener> {
    let address = answer.get(8..24)?;
    let address = match i32::from(*answer.first()?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*address.first_chunk()?)),
        libc::AF_INET6 => Ipv6Addr::from(*address.first_chunk()?).to_canonical(),
        _ => return None,
    };
    let port = u16::from_be_bytes(*answer.get(4..)?.first_chunk()?);
    let (mut only_v6, mut drops) = (false, None);
    for (kind, value) in attributes(answer.get(72..)?) {
        match kind {
            SK_MEMINFO => drops = u32_at(value, 32),
            SK_V6_ONLY => only_v6 = value.first() == Some(&1),
            _ => {}
        }
    }
    Some(Listener {
        bound: Bound::Tcp { address, port, only_v6 },
        length: u32_at(answer, 56)?,
        limit: u32_at(answer, 60),
        drops,
        id: u64_at(answer, 44)?,
    })
}

/// `struct unix_diag_msg` and what follows it.
fn unix_listener(answer: &[u8]) -> Option<Listener> {
    let (mut name, mut file, mut queue) = (Vec::new(), None, None);
    for (kind, value) in attributes(answer.get(16..)?) {
        match kind {
            UNIX_NAME => name = value.to_vec(),
            UNIX_FILE => file = u32_at(value, 4).zip(u32_at(value, 0)),
            UNIX_QUEUE => queue = u32_at(value, 0).zip(u32_at(value, 4)),
            _ => {}
        }
    }
    // A path ends with a zero; what begins with one is a name of all its bytes.
    if name.first() != Some(&0) {
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    }
    let (length, limit) = queue?;
    let bound = Bound::Unix { name, file };
    Some(Listener { bound, length, limit: Some(limit), drops: None, id: u64_at(answer, 8)? })
}

/// Kinds and values of attributes; ends where one makes no sense.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let (kind, value) = (u16_at(rest, 2)?, rest.get(4..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn byte(number: i32) -> io::Result<u8> {
    u8::try_from(number).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listener_is_found_with_its_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let bound = Bound::Tcp { address: at.ip(), port: at.port(), only_v6: false };
        let all = tcp_listeners().unwrap();
        let found: Vec<_> = all.iter().filter(|one| one.bound == bound).collect();
        let [found] = found[..] else { panic!("{found:?}") };
        assert_eq!((found.length, found.drops), (0, Some(0)));
        assert!(found.limit > Some(0), "{found:?}");
    }

    #[test]
    fn an_error_is_the_kernel_s_own() {
        let body = (-libc::ENOENT).to_ne_bytes();
        check(&message(2, &body), Err(io::ErrorKind::NotFound), &[]);
    }

    #[test]
    fn an_answer_ends_with_a_message_of_its_own() {
        let two = [message(20, b"abc"), message(20, b"d")].concat();
        check(&two, Ok(false), &["abc", "d"]);
        check(&[two, message(3, &[0; 4]), message(20, b"late")].concat(), Ok(true), &["abc", "d"]);
        check(b"", Err(io::ErrorKind::InvalidData), &[]);
        check(&message(20, b"abc")[..18], Err(io::ErrorKind::InvalidData), &[]);
        check(&[3; 16], Err(io::ErrorKind::InvalidData), &[]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), family in 1u8..12) {
            let mut whole = bytes;
            whole.insert(0, family);
            prop_assert_eq!(tcp_listener(&whole).is_some(), whole.len() >= 72 && [2, 10].contains(&family));
            drop(unix_listener(&whole));
            drop(read_messages(&whole, &mut |_| {}));
        }
    }

    /// A message with a header, padded.
    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER_BYTES, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[track_caller]
    fn check(part: &[u8], expected: Result<bool, io::ErrorKind>, bodies: &[&str]) {
        let mut found = Vec::new();
        let mut take = |body: &[u8]| found.push(String::from_utf8_lossy(body).into_owned());
        let is_last = read_messages(part, &mut take).map_err(|error| error.kind());
        assert_eq!(
            (is_last, found.iter().map(|body| &**body).collect()),
            (expected, bodies.to_vec())
        );
    }
}
