//! Where lines are sent to, as URLs name it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use super::error::BenchError;

/// A server's address and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `udp://HOST:PORT`
    Udp(SocketAddr),
    /// `tcp://HOST:PORT`; lines end with a newline.
    Tcp(SocketAddr),
    /// `unixgram:///PATH`, and `unix:///PATH` as DogStatsD clients write it.
    UnixDatagram(PathBuf),
    /// `unixstream:///PATH`; lines end with a newline.
    UnixStream(PathBuf),
}

impl FromStr for Target {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let wrong = || BenchError::Target(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_path = scheme.starts_with("unix");
        if rest.is_empty() || is_path != rest.starts_with('/') {
            return Err(wrong());
        }
        match scheme {
            "udp" => Ok(Self::Udp(resolve(rest)?)),
            "tcp" => Ok(Self::Tcp(resolve(rest)?)),
            "unixgram" | "unix" => Ok(Self::UnixDatagram(rest.into())),
            "unixstream" => Ok(Self::UnixStream(rest.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
            Self::UnixStream(path) => write!(f, "unixstream://{}", path.display()),
        }
    }
}

impl Target {
    /// The port where the kernel counts drops; only UDP has one.
    #[must_use]
    pub fn udp_port(&self) -> Option<u16> {
        match self {
            Self::Udp(address) => Some(address.port()),
            _ => None,
        }
    }

    /// Whether the server runs on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Udp(address) | Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::UnixDatagram(_) | Self::UnixStream(_) => true,
        }
    }
}

/// Looks up `HOST:PORT`; of several addresses the first.
///
/// # Errors
/// [`BenchError::Resolve`] when there is none.
pub fn resolve(host: &str) -> Result<SocketAddr, BenchError> {
    let failed = |source| BenchError::Resolve { host: host.to_owned(), source };
    let mut addresses = host.to_socket_addrs().map_err(|error| failed(Some(error)))?;
    addresses.next().ok_or_else(|| failed(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_with_one_of_four_schemes() {
        check("udp://127.0.0.1:9125", Some("udp://127.0.0.1:9125"));
        check("udp://[::1]:9125", Some("udp://[::1]:9125"));
        check("tcp://127.0.0.1:1", Some("tcp://127.0.0.1:1"));
        check("unixgram:///run/statsd.sock", Some("unixgram:///run/statsd.sock"));
        check("unix:///run/statsd.sock", Some("unixgram:///run/statsd.sock"));
        check("unixstream:///run/s", Some("unixstream:///run/s"));
        for text in ["", "127.0.0.1:9125", "udp://", "udp:///x", "unixgram://x", "http://a:1"] {
            check(text, None);
        }
        check("udp://127.0.0.1", None);
    }

    #[test]
    fn loopback_and_unix_sockets_are_on_this_machine() {
        for (text, local) in [
            ("udp://127.0.0.9:1", true),
            ("tcp://[::1]:1", true),
            ("udp://192.0.2.1:1", false),
            ("unix:///x", true),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_local(), local, "{text}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let got = text.parse::<Target>().ok().map(|target| target.to_string());
        assert_eq!(got.as_deref(), expected, "{text:?}");
    }
}
