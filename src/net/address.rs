//! Addresses as the flags spell them, and the sockets bound to them.
//!
//! The text follows Go's `net.SplitHostPort`, which the reference reads its flags with: `:9125`,
//! `127.0.0.1:9125`, `[::1]:9125`, `localhost:9125`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

/// Why the text of an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// There is no `:PORT` at its end.
    #[error("`{0}` has no port; write `host:port`, `[ipv6]:port` or `:port`")]
    MissingPort(String),
    /// An IPv6 address without brackets, or brackets in the wrong place.
    #[error("`{0}` cannot be split into host and port; write an IPv6 address as `[::1]:9125`")]
    Ambiguous(String),
    /// The port is no number or too large.
    #[error("`{port}` in `{text}` is no port; a port is a number from 0 to 65535")]
    BadPort {
        /// The whole address.
        text: String,
        /// What stands after the last colon.
        port: String,
    },
    /// The host name has no address.
    #[error("cannot resolve host `{host}`")]
    Resolve {
        /// The name looked up.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenAddress {
    /// On every address of the machine, IPv4 and IPv6.
    Any {
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// On one address only.
    One(SocketAddr),
}

impl ListenAddress {
    /// Reads the text of a listen flag and looks a host name up.
    ///
    /// No host, `0.0.0.0` and `[::]` all mean every address of both families, as they do in Go.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        if host.is_empty() {
            return Ok(Self::Any { port });
        }
        let address = resolve(host, port)?;
        Ok(if address.ip().is_unspecified() { Self::Any { port } } else { Self::One(address) })
    }

    /// Opens a non-blocking socket bound here; `prepare` sets what must be set before.
    ///
    /// Every address means an IPv6 socket that takes IPv4 as well, or IPv4 alone on a machine
    /// without IPv6.
    pub(super) fn open(
        self,
        kind: Type,
        prepare: impl Fn(&Socket) -> io::Result<()>,
    ) -> io::Result<Socket> {
        match self {
            Self::One(address) => open(address, kind, prepare),
            Self::Any { port } => {
                match open((Ipv6Addr::UNSPECIFIED, port).into(), kind, &prepare) {
                    Err(error) if is_ipv6_off(&error) => {
                        open((Ipv4Addr::UNSPECIFIED, port).into(), kind, prepare)
                    }
                    opened => opened,
                }
            }
        }
    }
}

/// Reads `host:port` of a server to send to; a name that has both families gives IPv4, and no host
/// means this machine.
pub(super) fn parse_target(text: &str) -> Result<SocketAddr, AddressError> {
    let (host, port) = split(text)?;
    if host.is_empty() { Ok((Ipv4Addr::LOCALHOST, port).into()) } else { resolve(host, port) }
}

/// Opens a non-blocking socket bound to exactly this address.
pub(super) fn open(
    address: SocketAddr,
    kind: Type,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Takes `host:port` apart; the host is without brackets, and may be empty.
pub(crate) fn split(text: &str) -> Result<(&str, u16), AddressError> {
    let missing = || AddressError::MissingPort(text.to_owned());
    let ambiguous = || AddressError::Ambiguous(text.to_owned());
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(ambiguous)?;
        (host, after.strip_prefix(':').ok_or_else(missing)?)
    } else {
        let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
        if host.contains([':', '[', ']']) {
            return Err(ambiguous());
        }
        (host, port)
    };
    let number = port
        .parse()
        .map_err(|_| AddressError::BadPort { text: text.to_owned(), port: port.to_owned() })?;
    Ok((host, number))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, AddressError> {
    let failed = |source| AddressError::Resolve { host: host.to_owned(), source };
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    // Go prefers IPv4 for a name that has both, and users rely on `localhost` being 127.0.0.1.
    let preferred = found.iter().find(|address| address.is_ipv4()).or(found.first());
    preferred.copied().ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))
}

fn is_ipv6_off(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        check("127.0.0.1:9125", Ok(ListenAddress::One(([127, 0, 0, 1], 9125).into())));
        check("[::1]:9125", Ok(ListenAddress::One((Ipv6Addr::LOCALHOST, 9125).into())));
        check("localhost:9125", Ok(ListenAddress::One(([127, 0, 0, 1], 9125).into())));
        check("127.0.0.1:0", Ok(ListenAddress::One(([127, 0, 0, 1], 0).into())));
    }

    #[test]
    fn no_host_means_every_address_of_both_families() {
        for text in [":9125", "0.0.0.0:9125", "[::]:9125", "[]:9125"] {
            check(text, Ok(ListenAddress::Any { port: 9125 }));
        }
    }

    #[test]
    fn an_error_says_what_to_write() {
        check("127.0.0.1", Err("`127.0.0.1` has no port; write"));
        check("foo", Err("`foo` has no port; write"));
        check("[::1]", Err("`[::1]` has no port; write"));
        check("::1:9125", Err("`::1:9125` cannot be split"));
        check("[::1:9125", Err("`[::1:9125` cannot be split"));
        check("127.0.0.1:99999", Err("`99999` in `127.0.0.1:99999` is no port"));
        check("127.0.0.1:-1", Err("`-1` in `127.0.0.1:-1` is no port"));
        check("127.0.0.1:statsd", Err("`statsd` in `127.0.0.1:statsd` is no port"));
        check("127.0.0.1:", Err("`` in `127.0.0.1:` is no port"));
        check("no.such.host.invalid:9125", Err("cannot resolve host `no.such.host.invalid`"));
    }

    #[test]
    fn a_target_without_a_host_is_this_machine() {
        assert_eq!(parse_target(":9125").unwrap(), ([127, 0, 0, 1], 9125).into());
        assert_eq!(parse_target("localhost:1").unwrap(), ([127, 0, 0, 1], 1).into());
        assert!(matches!(parse_target("127.0.0.1"), Err(AddressError::MissingPort(_))));
    }

    #[test]
    fn every_address_takes_ipv4_and_ipv6() {
        let any = ListenAddress::Any { port: 0 };
        let socket = any.open(Type::DGRAM, |_| Ok(())).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"a:1|c", ("127.0.0.1", port)).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16];
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn only_a_missing_family_falls_back_to_ipv4() {
        for (code, expected) in [
            (libc::EAFNOSUPPORT, true),
            (libc::EADDRNOTAVAIL, true),
            (libc::EADDRINUSE, false),
            (libc::EACCES, false),
        ] {
            assert_eq!(is_ipv6_off(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<ListenAddress, &str>) {
        match (ListenAddress::parse(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{error}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }
}
