//! A server's process on this machine: its CPU time, its memory, and the kernel's view of its
//! sockets.

use std::fs;

use procfs::process::{FDTarget, Process, all_processes};

use super::error::BenchError;

const NANOS: f64 = 1e9;
/// The UDP tables, with the sizes of queues and the numbers of dropped datagrams.
const UDP_TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds in user space.
    pub user_seconds: f64,
    /// CPU seconds in the kernel.
    pub system_seconds: f64,
    /// CPU seconds in all, as exactly as the kernel tells.
    pub cpu_seconds: f64,
    /// Memory in use.
    pub rss_bytes: u64,
    /// The most memory it ever had.
    pub peak_rss_bytes: u64,
}

/// A process that is looked at.
#[derive(Debug)]
pub struct Watched {
    process: Process,
    /// What it was started as.
    pub command: String,
}

impl Watched {
    /// Looks at a process.
    ///
    /// # Errors
    /// When there is none, or it is another user's.
    pub fn new(pid: u32) -> Result<Self, BenchError> {
        let no_such =
            || BenchError::Usage(format!("there is no process {pid} that may be looked at"));
        let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
        let process = process.ok_or_else(no_such)?;
        let command = process.cmdline().map_err(|_| no_such())?.join(" ");
        Ok(Self { process, command })
    }

    /// The process that listens on a TCP port of this machine, if it is one that may be looked at.
    #[must_use]
    pub fn listening_on(port: u16) -> Option<Self> {
        let tables = [procfs::net::tcp(), procfs::net::tcp6()];
        let entries = tables.into_iter().flatten().flatten();
        let inodes: Vec<u64> = entries
            .filter(|entry| {
                entry.local_address.port() == port && entry.state == procfs::net::TcpState::Listen
            })
            .map(|entry| entry.inode)
            .collect();
        let holds = |process: &Process| {
            let Ok(descriptors) = process.fd() else { return false };
            descriptors.flatten().any(
                |each| matches!(each.target, FDTarget::Socket(inode) if inodes.contains(&inode)),
            )
        };
        let process = all_processes().ok()?.flatten().find(holds)?;
        Self::new(u32::try_from(process.pid()).ok()?).ok()
    }

    /// The process' number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.process.pid()).unwrap_or_default()
    }

    /// What the process has used so far; `None` when it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let stat = self.process.stat().ok()?;
        let status = self.process.status().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let (user_seconds, system_seconds) = (stat.utime as f64 / ticks, stat.stime as f64 / ticks);
        let kib = |value: Option<u64>| value.unwrap_or_default() * 1024;
        Some(Usage {
            user_seconds,
            system_seconds,
            cpu_seconds: self.scheduled_seconds().unwrap_or(user_seconds + system_seconds),
            rss_bytes: kib(status.vmrss),
            peak_rss_bytes: kib(status.vmhwm),
        })
    }

    /// The CPU time of all threads in nanoseconds, where the kernel keeps it. A thread that ends
    /// takes its time with it, but servers keep theirs.
    fn scheduled_seconds(&self) -> Option<f64> {
        let tasks = self.process.tasks().ok()?;
        let times = tasks.flatten().filter_map(|task| task.schedstat().ok());
        let nanos: u64 = times.map(|time| time.sum_exec_runtime).sum();
        (nanos > 0).then_some(nanos as f64 / NANOS)
    }
}

/// What the kernel says about the UDP sockets bound to a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpQueue {
    /// Bytes that wait to be read.
    pub waiting_bytes: u64,
    /// Datagrams dropped since the sockets were opened.
    pub drops: u64,
}

/// Asks the kernel for all sockets of a port together; `None` when there is none.
#[must_use]
pub fn udp_queue(port: u16) -> Option<UdpQueue> {
    let tables = UDP_TABLES.iter().filter_map(|table| fs::read_to_string(table).ok());
    let sockets = tables.flat_map(|table| sockets_of(&table, port));
    sockets.reduce(|all, one| UdpQueue {
        waiting_bytes: all.waiting_bytes + one.waiting_bytes,
        drops: all.drops + one.drops,
    })
}

fn sockets_of(table: &str, port: u16) -> Vec<UdpQueue> {
    let ours = format!(":{port:04X}");
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let local = words.nth(1)?;
        // Remote address and state stand between the local address and the queues.
        let (_, waiting) = words.nth(2)?.split_once(':')?;
        let drops = words.last()?.parse().ok()?;
        let waiting_bytes = u64::from_str_radix(waiting, 16).ok()?;
        local.ends_with(&ours).then_some(UdpQueue { waiting_bytes, drops })
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_process_that_listens_on_a_port_is_found() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let found = Watched::listening_on(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(found.pid(), std::process::id());
        assert!(found.usage().unwrap().rss_bytes > 0);
    }

    #[test]
    fn what_waits_and_what_was_dropped_is_read_from_the_kernel() {
        const TABLE: &str = "sl local_address rem_address st tx_queue rx_queue … drops\n\
            12: 0100007F:23A5 00000000:0000 07 00000000:00000A00 00:00000000 00000000 0 0 1 2 0 952\n\
            13: 00000000:23A6 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 0\n\
            broken\n";
        let check = |port, expected| assert_eq!(sockets_of(TABLE, port), expected, "{port}");
        check(9125, vec![UdpQueue { waiting_bytes: 2560, drops: 952 }]);
        check(9126, vec![UdpQueue::default()]);
        check(9127, vec![]);
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        socket.send_to(b"waits", ("127.0.0.1", port)).unwrap();
        assert!(udp_queue(port).unwrap().waiting_bytes > 0);
    }
}
