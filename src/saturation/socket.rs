//! The listening sockets of this network namespace, as the kernel tells of them.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use procfs::net::{TcpNetEntry, TcpState};

use super::netlink;
use super::target::Place;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub bound: Bound,
    /// Connections that wait to be accepted.
    pub length: u32,
    /// How many may wait; none where the kernel does not say.
    pub limit: Option<u32>,
    /// What was dropped here, for lack of room or otherwise; none where the kernel does not say.
    pub drops: Option<u32>,
    /// What tells it from all others there have ever been.
    pub id: u64,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At a TCP port.
    Tcp {
        /// Which address; all zeros for each of them.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Whether one that is for each IPv6 address is not for IPv4.
        only_v6: bool,
    },
    /// At a Unix socket.
    Unix {
        /// As it was bound, relative perhaps; begins with a zero when there is no file.
        name: Vec<u8>,
        /// Device and inode of its file, the device in the kernel's own form.
        file: Option<(u32, u32)>,
    },
}

/// Which families of sockets are of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// Ports.
    pub tcp: bool,
    /// Unix sockets.
    pub unix: bool,
}

/// What a look at all sockets has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Ports that somebody listens at; none where they were not asked for or cannot be told.
    pub tcp: Option<Vec<Listener>>,
    /// Unix sockets that somebody listens at, in the same way.
    pub unix: Option<Vec<Listener>>,
    /// Connections for which no listening TCP socket of the namespace had room; none where ports were
    /// not asked for or the kernel does not say.
    pub namespace_drops: Option<u64>,
}

/// Looks at the listening sockets: by netlink, or where that is not allowed in `/proc/net`, which
/// knows neither limits nor drops of a socket, and no lengths of Unix sockets. Also says what is
/// missing for that, if anything is.
#[must_use]
pub fn look(families: Families) -> (Found, Option<io::Error>) {
    let mut found = Found::default();
    let mut missing = None;
    if families.tcp {
        found.tcp = netlink::tcp_listeners().map_err(|error| missing = Some(error)).ok();
        if found.tcp.is_none() {
            found.tcp = of_proc().ok();
        }
        // After the sockets: what these have counted, this has counted as well.
        let counters = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        found.namespace_drops = counter(&counters, "TcpExt:", "ListenDrops");
    }
    if families.unix {
        found.unix = netlink::unix_listeners().map_err(|error| missing = Some(error)).ok();
    }
    (found, missing)
}

fn of_proc() -> procfs::ProcResult<Vec<Listener>> {
    // A machine without IPv6 lacks the second file.
    let entries = procfs::net::tcp()?.into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let listener = |entry: TcpNetEntry| Listener {
        bound: Bound::Tcp {
            address: entry.local_address.ip(),
            port: entry.local_address.port(),
            only_v6: false,
        },
        length: entry.rx_queue,
        limit: None,
        drops: None,
        id: entry.inode,
    };
    Ok(entries.filter(|entry| entry.state == TcpState::Listen).map(listener).collect())
}

/// A counter of a file with pairs of lines: names, and under them values.
fn counter(text: &str, section: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(section));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

/// The sockets that a connection to a place would reach; `addresses` are those of its host.
///
/// One that is bound to just this address comes before one that is bound to all.
#[must_use]
pub fn reached<'a>(
    place: &Place,
    addresses: &[IpAddr],
    listeners: &'a [Listener],
) -> Vec<&'a Listener> {
    let all = |is_meant: &dyn Fn(&Bound) -> bool| -> Vec<&'a Listener> {
        listeners.iter().filter(|listener| is_meant(&listener.bound)).collect()
    };
    match place {
        Place::Tcp { port, .. } if addresses.is_empty() => {
            all(&|bound| matches!(bound, Bound::Tcp { port: at, .. } if at == port))
        }
        Place::Tcp { port, .. } => {
            let mut reached: Vec<&Listener> = Vec::new();
            for wanted in addresses {
                let ways = [exactly, for_all_of_its_family, for_both_families];
                let at = ways.iter().map(|way| all(&|bound| way(bound, *wanted, *port)));
                let found = at.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
                let is_new = |one: &&Listener| reached.iter().all(|known| known.id != one.id);
                let found: Vec<&Listener> = found.into_iter().filter(is_new).collect();
                reached.extend(found);
            }
            reached
        }
        Place::Abstract(wanted) => all(
            &|bound| matches!(bound, Bound::Unix { name, .. } if name.split_first() == Some((&0, wanted.as_bytes()))),
        ),
        Place::File(path) => {
            let wanted = identity(path);
            let by_file = all(
                &|bound| matches!(bound, Bound::Unix { file, .. } if file.is_some() && *file == wanted),
            );
            if !by_file.is_empty() {
                return by_file;
            }
            // Where files are stacked upon each other the two may disagree on which one it is.
            let text = path.as_os_str().as_encoded_bytes();
            all(
                &|bound| matches!(bound, Bound::Unix { name, .. } if wanted.is_some() && name == text),
            )
        }
    }
}

fn exactly(bound: &Bound, wanted: IpAddr, at: u16) -> bool {
    matches!(bound, Bound::Tcp { address, port, .. } if *address == wanted && *port == at)
}

fn for_all_of_its_family(bound: &Bound, wanted: IpAddr, at: u16) -> bool {
    matches!(bound, Bound::Tcp { address, port, .. }
        if *port == at && address.is_unspecified() && address.is_ipv4() == wanted.is_ipv4())
}

fn for_both_families(bound: &Bound, wanted: IpAddr, at: u16) -> bool {
    matches!(bound, Bound::Tcp { address: IpAddr::V6(address), port, only_v6: false }
        if *port == at && address.is_unspecified() && wanted.is_ipv4())
}

/// A file as the kernel itself numbers it: device and inode.
fn identity(path: &Path) -> Option<(u32, u32)> {
    let metadata = path.metadata().ok()?;
    let device = (rustix::fs::major(metadata.dev()) << 20) | rustix::fs::minor(metadata.dev());
    // The kernel tells the lower half of an inode's number only.
    let inode = u32::try_from(metadata.ino() & u64::from(u32::MAX)).ok()?;
    Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturation::Target;

    #[test]
    fn one_address_is_reached_before_all_of_them() {
        let both = ["127.0.0.1:80", "0.0.0.0:80", "[::]:80", "127.0.0.1:81"];
        check(&both, "127.0.0.1:80", &[0]);
        check(&both, "127.0.0.2:80", &[1]);
        check(&both, "[::1]:80", &[2]);
        check(&both, "0.0.0.0:80", &[1]);
        check(&both, "127.0.0.1:82", &[]);
        check(&["[::1]:80", "127.0.0.2:80"], "0.0.0.0:80", &[]);
    }

    #[test]
    fn a_socket_for_both_families_is_reached_by_either() {
        check(&["[::]:80"], "127.0.0.1:80", &[0]);
        check(&["[::]:80"], "0.0.0.0:80", &[0]);
        check(&["only [::]:80"], "127.0.0.1:80", &[]);
        check(&["only [::]:80"], "[::1]:80", &[0]);
    }

    #[test]
    fn several_sockets_may_share_an_address() {
        check(&["127.0.0.1:80", "127.0.0.1:80"], "127.0.0.1:80", &[0, 1]);
        check(&["127.0.0.1:80", "[::1]:80", "127.0.0.2:80"], ":80", &[0, 1, 2]);
    }

    #[test]
    fn a_unix_socket_is_told_by_its_file_or_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        std::fs::write(&path, "").unwrap();
        let file = identity(&path);
        let text = path.to_str().unwrap();
        let unix = |name: &str, file| Bound::Unix { name: name.as_bytes().to_vec(), file };
        let other = unix(text, Some((1, 2)));
        find(&[unix("a.sock", file), other.clone()], &format!("unix:{text}"), &[0]);
        find(&[unix("a.sock", None), other.clone()], &format!("unix:{text}"), &[1]);
        find(&[other], "unix:/not/there", &[]);
        find(&[unix("\0a", None), unix("\0ab", None), unix("a", None)], "unix:@a", &[0]);
    }

    #[test]
    fn without_netlink_a_queue_has_its_length() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let _waiting = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let listeners = of_proc().unwrap();
        let found = reached(&target.place, &target.addresses().unwrap(), &listeners);
        let told = found.iter().map(|one| (one.length, one.limit, one.drops));
        assert_eq!(told.collect::<Vec<_>>(), [(1, None, None)]);
    }

    #[test]
    fn a_counter_stands_below_its_name() {
        let text = "TcpExt: A ListenDrops B\nTcpExt: 1 7 3\nIpExt: ListenDrops\nIpExt: 9\n";
        assert_eq!(counter(text, "TcpExt:", "ListenDrops"), Some(7));
        assert_eq!(counter(text, "TcpExt:", "C"), None);
        assert_eq!(counter("TcpExt: ListenDrops", "TcpExt:", "ListenDrops"), None);
    }

    #[track_caller]
    fn check(listeners: &[&str], target: &str, expected: &[u64]) {
        let bound = |text: &&str| {
            let plain = text.trim_start_matches("only ");
            let address: std::net::SocketAddr = plain.parse().unwrap();
            let (address, port) = (address.ip(), address.port());
            Bound::Tcp { address, port, only_v6: plain != *text }
        };
        find(&listeners.iter().map(bound).collect::<Vec<_>>(), target, expected);
    }

    #[track_caller]
    fn find(bound: &[Bound], target: &str, expected: &[u64]) {
        let listener = |(id, bound): (usize, &Bound)| Listener {
            bound: bound.clone(),
            length: 0,
            limit: None,
            drops: None,
            id: id as u64,
        };
        let listeners: Vec<Listener> = bound.iter().enumerate().map(listener).collect();
        let target: Target = target.parse().unwrap();
        let found = reached(&target.place, &target.addresses().unwrap(), &listeners);
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), expected);
    }
}
