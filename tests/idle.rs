//! A server that nobody sends to costs next to nothing, and one with many rules starts at once.

#[path = "support/server.rs"]
mod server;

use std::fs;
use std::time::{Duration, Instant};

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Threads may wake up so often in all while housekeeping does once; the aim is five times.
const WAKE_UPS: u64 = 5;

#[test]
fn an_idle_server_sleeps() {
    let server = Server::start(&Launch::tallyd(&["--lanes=2"])).unwrap();
    let housekeeping = || wake_ups(&server, |name| name == "housekeeping");
    let seconds = |count: u64| {
        let start = housekeeping();
        wait_until(TIMEOUT, || housekeeping() >= start + count);
        assert!(housekeeping() >= start + count, "housekeeping has no work");
    };
    // The first second still has the start's request in it.
    seconds(1);
    let before = wake_ups(&server, |_| true);
    seconds(2);
    let all = wake_ups(&server, |_| true) - before;
    assert!(all <= 2 * WAKE_UPS, "{all} wake-ups in two seconds");
}

#[test]
fn a_thousand_rules_do_not_hold_the_start_up() {
    let rule = |i: usize| {
        format!("- {{match: 'a{i}.*.b.*', name: 'n{i}', labels: {{x: '$1', y: '$2'}}}}\n")
    };
    let rules: String = (0..1000).map(rule).collect();
    let mut launch = Launch::tallyd(&["--statsd.mapping-config={tmp}/mapping.yml"]);
    launch.files.push(("mapping.yml".to_owned(), format!("mappings:\n{rules}").into_bytes()));
    let start = Instant::now();
    let server = Server::start(&launch).unwrap();
    // An optimised build takes 20 ms; this is about mistakes that make it take seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(server.total("/metrics", "statsd_exporter_loaded_mappings"), Some(1000.0));
}

/// How often the threads with such names have gone to sleep so far.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn wake_ups(server: &Server, is_meant: impl Fn(&str) -> bool) -> u64 {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        if is_meant(&field("Name:")) {
            total += field("voluntary_ctxt_switches:").parse::<u64>().unwrap();
        }
    }
    total
}
