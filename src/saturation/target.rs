//! Where a server listens, as flags spell it: `[NAME=]HOST:PORT` or `[NAME=]unix:PATH`.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::net::{AddressError, split_address};

/// A server's address and the name of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: Option<String>,
    /// What follows the name, as written.
    pub address: String,
    /// The same, understood.
    pub place: Place,
}

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Tcp {
        /// A name or an address; empty for any address of this machine.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket file.
    File(PathBuf),
    /// A Unix socket with a name of its own instead of a file, written with `@`.
    Abstract(String),
}

/// Why a target cannot be used.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It is no address.
    #[error(
        "`{text}` names no socket; write [NAME=]HOST:PORT, [NAME=]unix:PATH or [NAME=]unix:@NAME"
    )]
    Invalid {
        /// As written.
        text: String,
        /// What is wrong with the host and the port.
        source: Option<AddressError>,
    },
    /// A host without an address.
    #[error("cannot resolve the host of `{address}`")]
    Resolve {
        /// As written.
        address: String,
        /// What the resolver said.
        source: std::io::Error,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let invalid = |source| TargetError::Invalid { text: text.to_owned(), source };
        // A path may have the sign as well, behind `unix:`.
        let named = text.split_once('=').filter(|(name, _)| !name.contains([':', '/']));
        let (name, address) = named.map_or((None, text), |(name, rest)| (Some(name), rest));
        if name.is_some_and(str::is_empty) {
            return Err(invalid(None));
        }
        let place = match address.strip_prefix("unix:").map(|path| (path, path.strip_prefix('@'))) {
            Some(("", _) | (_, Some(""))) => return Err(invalid(None)),
            Some((_, Some(name))) => Place::Abstract(name.to_owned()),
            Some((path, None)) => Place::File(path.into()),
            None => {
                let (host, port) =
                    split_address(address).map_err(|source| invalid(Some(source)))?;
                if port == 0 {
                    return Err(invalid(None));
                }
                Place::Tcp { host: host.to_owned(), port }
            }
        };
        Ok(Self { name: name.map(ToOwned::to_owned), address: address.to_owned(), place })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}={}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

impl Target {
    /// The application: its name, or else the address.
    #[must_use]
    pub fn app(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.address)
    }

    /// The addresses of the host; none for any address, and for Unix sockets.
    pub(super) fn addresses(&self) -> Result<Vec<IpAddr>, TargetError> {
        let Place::Tcp { host, port } = &self.place else { return Ok(Vec::new()) };
        if host.is_empty() {
            return Ok(Vec::new());
        }
        let found = (host.as_str(), *port).to_socket_addrs();
        let found = found
            .map_err(|source| TargetError::Resolve { address: self.address.clone(), source })?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_port_or_a_unix_socket() {
        let tcp = |host: &str, port| Ok(Place::Tcp { host: host.to_owned(), port });
        check("127.0.0.1:80", "127.0.0.1:80", tcp("127.0.0.1", 80));
        check(":80", ":80", tcp("", 80));
        check("[::1]:80", "[::1]:80", tcp("::1", 80));
        check("localhost:80", "localhost:80", tcp("localhost", 80));
        check("unix:/run/a.sock", "unix:/run/a.sock", Ok(Place::File("/run/a.sock".into())));
        check("unix:a.sock", "unix:a.sock", Ok(Place::File("a.sock".into())));
        check("unix:@shop", "unix:@shop", Ok(Place::Abstract("shop".to_owned())));
    }

    #[test]
    fn a_name_may_stand_before_it() {
        check("shop=unix:/a=b", "shop", Ok(Place::File("/a=b".into())));
        check("unix:/a=b", "unix:/a=b", Ok(Place::File("/a=b".into())));
        check("a b=:80", "a b", Ok(Place::Tcp { host: String::new(), port: 80 }));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "80", "host", ":0", ":99999", "::1:80", "unix:", "unix:@", "=:80", "a="] {
            check(text, "", Err(()));
        }
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the tables above stay readable")]
    fn check(text: &str, app: &str, expected: Result<Place, ()>) {
        let target: Result<Target, TargetError> = text.parse();
        if let Ok(target) = &target {
            assert_eq!((target.app(), target.to_string().as_str()), (app, text));
        }
        assert_eq!(target.map(|target| target.place).map_err(drop), expected, "{text}");
    }
}
