//! `process_*`, as every Prometheus client library has it, read from procfs.

use super::{OwnFamily, gauge, single};
use crate::expose::FamilyKind;

/// The families that procfs gives; those it does not are left out.
pub(super) fn families() -> Vec<OwnFamily> {
    read().unwrap_or_default()
}

fn read() -> procfs::ProcResult<Vec<OwnFamily>> {
    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let limits = process.limits()?;
    let ticks = procfs::ticks_per_second() as f64;
    let booted = procfs::boot_time_secs()? as f64;
    let cpu_seconds = (stat.utime + stat.stime) as f64 / ticks;
    let mut all = vec![
        total(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            cpu_seconds,
        ),
        gauge("process_open_fds", "Number of open file descriptors.", process.fd_count()? as f64),
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            bound(limits.max_open_files.soft_limit),
        ),
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", stat.vsize as f64),
        gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            bound(limits.max_address_space.soft_limit),
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            (stat.rss * procfs::page_size()) as f64,
        ),
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            booted + stat.starttime as f64 / ticks,
        ),
    ];
    if let Ok(devices) = process.dev_status() {
        let received: u64 = devices.values().map(|device| device.recv_bytes).sum();
        let sent: u64 = devices.values().map(|device| device.sent_bytes).sum();
        all.push(total(
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            received as f64,
        ));
        all.push(total(
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            sent as f64,
        ));
    }
    Ok(all)
}

fn total(name: &'static str, help: &'static str, value: f64) -> OwnFamily {
    single(name, help, FamilyKind::Counter, value)
}

fn bound(limit: procfs::process::LimitValue) -> f64 {
    match limit {
        procfs::process::LimitValue::Unlimited => -1.0,
        procfs::process::LimitValue::Value(value) => value as f64,
    }
}
