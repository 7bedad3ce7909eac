//! Sockets that were open before this process was: systemd's socket activation.
//!
//! Whoever starts us passes them as descriptors 3 and up, says how many there are in `LISTEN_FDS`,
//! for whom in `LISTEN_PID`, and what they are called in `LISTEN_FDNAMES`. Such a socket stays open
//! when we end, and what arrives meanwhile waits in it; so it must never be shut down or filtered.

use std::env;
use std::io;

use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

use crate::net::listener::Listener;

/// What sockets for HTTP are to be called.
const WEB: &str = "web";
/// What sockets for lines are to be called.
const STATSD: &str = "statsd";

/// Which sockets are to be taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--statsd.systemd-socket`
    pub statsd: bool,
    /// `--web.systemd-socket`
    pub web: bool,
}

/// Sockets that were passed to us, by what they are for.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Datagram sockets, UDP and Unix.
    pub(super) datagrams: Vec<Socket>,
    /// Sockets that connections with lines come from.
    pub(super) streams: Vec<Listener>,
    /// Sockets that HTTP connections come from.
    pub web: Vec<Listener>,
}

/// Why the sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// Nobody passed the sockets that a flag promises.
    #[error(
        "`{0}` is given, but no such socket was passed: LISTEN_FDS and LISTEN_PID must be set, as \
         systemd does for a service that a socket unit starts"
    )]
    None(&'static str),
    /// A descriptor that is no socket, or of a kind that nothing is read from.
    #[error(
        "descriptor {descriptor}, `{name}`, is neither a datagram nor a stream socket of IPv4, \
         IPv6 or Unix"
    )]
    Kind {
        /// Its number.
        descriptor: usize,
        /// What it is called.
        name: String,
    },
    /// A connection, not a socket that accepts them.
    #[error("the socket `{0}` is a connection; set Accept=no in its socket unit")]
    Connected(String),
    /// A socket that could be meant for lines as well as for HTTP.
    #[error(
        "it is unclear what the stream socket `{0}` is for; set FileDescriptorName=web or \
         FileDescriptorName=statsd in its socket unit"
    )]
    Unclear(String),
    /// A socket that no flag asks for: nobody would read it.
    #[error("the socket `{name}` was passed, but `{flag}` is not given")]
    Unasked {
        /// What it is called.
        name: String,
        /// The flag that would have it used.
        flag: &'static str,
    },
    /// The kernel does not tell what a socket is.
    #[error("cannot use the socket `{name}` that was passed")]
    Kernel {
        /// What it is called.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Inherited {
    /// Takes the sockets that were passed, if any are wanted; to be called once, before any thread
    /// runs, because the variables that tell of them are removed.
    ///
    /// # Errors
    /// Every variant of [`InheritError`]; a socket that nobody would read is an error, because its
    /// clients would wait for ever.
    pub fn from_env(wanted: Wanted) -> Result<Self, InheritError> {
        if wanted == Wanted::default() {
            return Ok(Self::default());
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(ToOwned::to_owned);
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let socket = take(&mut passed, index)
                .ok_or_else(|| InheritError::Kind { descriptor: index + 3, name: name.clone() })?;
            inherited.add(&name, socket, wanted)?;
        }
        let has_statsd = !inherited.datagrams.is_empty() || !inherited.streams.is_empty();
        if wanted.statsd && !has_statsd {
            return Err(InheritError::None("--statsd.systemd-socket"));
        }
        if wanted.web && inherited.web.is_empty() {
            return Err(InheritError::None("--web.systemd-socket"));
        }
        Ok(inherited)
    }

    fn add(&mut self, name: &str, socket: Socket, wanted: Wanted) -> Result<(), InheritError> {
        let failed = |source| InheritError::Kernel { name: name.to_owned(), source };
        let kind = socket.r#type().map_err(failed)?;
        let purpose = purpose(name, kind, wanted)?;
        if kind == Type::DGRAM {
            self.datagrams.push(socket);
            return Ok(());
        }
        if !socket.is_listener().map_err(failed)? {
            return Err(InheritError::Connected(name.to_owned()));
        }
        let listener = Listener::of(socket).map_err(failed)?;
        match purpose {
            Purpose::Statsd => self.streams.push(listener),
            Purpose::Web => self.web.push(listener),
        }
        Ok(())
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Statsd,
    Web,
}

/// Told by the kind, then by the name, then by the flags: datagrams are lines, and where only one
/// side wants sockets, streams are for that one, whatever they are called.
fn purpose(name: &str, kind: Type, wanted: Wanted) -> Result<Purpose, InheritError> {
    let purpose = if kind == Type::DGRAM {
        Purpose::Statsd
    } else {
        match (name, wanted.statsd, wanted.web) {
            (WEB, _, _) | (_, false, true) if name != STATSD => Purpose::Web,
            (STATSD, _, _) | (_, true, false) => Purpose::Statsd,
            _ => return Err(InheritError::Unclear(name.to_owned())),
        }
    };
    let unasked = |flag| InheritError::Unasked { name: name.to_owned(), flag };
    match purpose {
        Purpose::Statsd if !wanted.statsd => Err(unasked("--statsd.systemd-socket")),
        Purpose::Web if !wanted.web => Err(unasked("--web.systemd-socket")),
        _ => Ok(purpose),
    }
}

/// Takes a descriptor, which from here on is closed when another program is started.
pub(super) fn take(passed: &mut ListenFd, index: usize) -> Option<Socket> {
    let kinds = [
        (Domain::IPV4, Type::DGRAM),
        (Domain::IPV4, Type::STREAM),
        (Domain::UNIX, Type::DGRAM),
        (Domain::UNIX, Type::STREAM),
    ];
    // IPv6 counts as IPv4 here; a socket of another kind is left where it is.
    let of_kind = |(domain, kind): (Domain, Type)| {
        passed.take_custom(index, domain.into(), kind.into(), "socket").ok().flatten()
    };
    kinds.into_iter().find_map(of_kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Wanted = Wanted { statsd: true, web: true };
    const ONLY_WEB: Wanted = Wanted { statsd: false, web: true };
    const ONLY_STATSD: Wanted = Wanted { statsd: true, web: false };

    #[test]
    fn a_name_tells_what_a_stream_socket_is_for() {
        check("web", Type::STREAM, BOTH, Ok(Purpose::Web));
        check("statsd", Type::STREAM, BOTH, Ok(Purpose::Statsd));
        check("web", Type::DGRAM, BOTH, Ok(Purpose::Statsd));
        check("tallyd.socket", Type::STREAM, BOTH, Err("it is unclear what"));
    }

    #[test]
    fn where_one_side_alone_wants_sockets_names_do_not_matter() {
        check("tallyd.socket", Type::STREAM, ONLY_WEB, Ok(Purpose::Web));
        check("", Type::STREAM, ONLY_STATSD, Ok(Purpose::Statsd));
    }

    #[test]
    fn a_socket_that_nobody_would_read_is_an_error() {
        let unasked = "the socket `x` was passed, but `--statsd.systemd-socket` is not given";
        check("x", Type::DGRAM, ONLY_WEB, Err(unasked));
        check("statsd", Type::STREAM, ONLY_WEB, Err("the socket `statsd` was passed"));
        check("web", Type::STREAM, ONLY_STATSD, Err("the socket `web` was passed"));
    }

    #[test]
    fn without_a_flag_nothing_is_taken() {
        let inherited = Inherited::from_env(Wanted::default()).unwrap();
        assert!(inherited.datagrams.is_empty() && inherited.web.is_empty());
    }

    #[track_caller]
    fn check(name: &str, kind: Type, wanted: Wanted, expected: Result<Purpose, &str>) {
        match (purpose(name, kind, wanted), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
            (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{error}"),
            (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
    }
}
