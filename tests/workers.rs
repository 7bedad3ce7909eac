//! Workers of pre-fork servers: those that a pid file's process has started, and those that send over
//! Unix sockets.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
#[expect(dead_code, reason = "others of its tests need more of it")]
mod server;

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The path of the Unix socket, for processes that this test starts.
const SOCKET_VARIABLE: &str = "TALLYD_TEST_SOCKET";

/// A process that starts a worker for each line of its input, which is busy for a moment and then
/// waits. With its input they all end.
const MASTER: &str = "while read -r line; do
  sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec tail -f /dev/null' &
  workers=\"$workers $!\"
done; kill $workers 2> /dev/null; wait";

#[test]
fn the_children_of_a_pid_file_s_process_are_counted() {
    let server = start(&["--workers.pidfile=web={tmp}/web.pid"]);
    shows(&server, "tallyd_workers{role=\"web\"}", 0.0);
    shows(&server, "tallyd_workers_masters{role=\"web\"}", 0.0);
    let mut master = Master::start();
    (0..3).for_each(|_| master.fork());
    fs::write(server.dir.path().join("web.pid"), format!("{}\n", master.process.id())).unwrap();
    shows(&server, "tallyd_workers{role=\"web\"}", 3.0);
    shows(&server, "tallyd_workers_masters{role=\"web\"}", 1.0);
    shows(&server, "tallyd_workers_started_total{role=\"web\"}", 3.0);
    for (kind, sum) in [("resident_memory", "_bytes"), ("open_files", "")] {
        let value = |name: String| number(&server, &format!("{name}{{role=\"web\"}}")).unwrap();
        let all = value(format!("tallyd_workers_{kind}{sum}"));
        let [min, max] = ["min", "max"].map(|end| match sum {
            "" => value(format!("tallyd_worker_{kind}_{end}")),
            unit => value(format!("tallyd_worker_{kind}_{end}{unit}")),
        });
        assert!(0.0 < min && min <= max && max + 2.0 * min <= all, "{kind}: {min} {max} {all}");
    }
    // A killed worker is gone, the one in its place is another, and what it used stays.
    let mut cpu = 0.0;
    for round in 1..=3_u32 {
        let before = cpu;
        master.kill_one();
        master.fork();
        shows(&server, "tallyd_workers_gone_total{role=\"web\"}", round.into());
        shows(&server, "tallyd_workers_started_total{role=\"web\"}", f64::from(3 + round));
        shows(&server, "tallyd_workers{role=\"web\"}", 3.0);
        cpu = number(&server, "tallyd_workers_cpu_seconds_total{role=\"web\"}").unwrap();
        assert!(cpu >= before, "{cpu} after {before}");
    }
    assert!(cpu > 0.0);
    master.end();
    shows(&server, "tallyd_workers{role=\"web\"}", 0.0);
    shows(&server, "tallyd_workers_gone_total{role=\"web\"}", 6.0);
    shows(&server, "tallyd_workers_masters{role=\"web\"}", 0.0);
    let after = number(&server, "tallyd_workers_cpu_seconds_total{role=\"web\"}").unwrap();
    assert!(after >= cpu, "{after} after {cpu}");
    // A file that is no pid file is told once.
    fs::write(server.dir.path().join("web.pid"), "soon").unwrap();
    shows(&server, "tallyd_workers_pidfile_errors_total{role=\"web\"}", 1.0);
    assert!(server.output().contains("its first line is not the number of a process"));
}

#[test]
fn processes_that_send_over_unix_sockets_are_counted() {
    let server = start(&[
        "--statsd.listen-unixgram={tmp}/gram.sock",
        "--statsd.listen-unixstream={tmp}/stream.sock",
        "--workers.unix-peers=app",
    ]);
    shows(&server, "tallyd_workers{role=\"app\"}", 0.0);
    let mut senders = ["gram", "stream"].map(|kind| Sender::start(&server, kind));
    senders.iter_mut().for_each(Sender::send);
    shows(&server, "tallyd_workers{role=\"app\"}", 2.0);
    // However often they send, they are the same.
    for _ in 0..5 {
        senders.iter_mut().for_each(Sender::send);
    }
    shows(&server, "hits", 12.0);
    shows(&server, "tallyd_workers_started_total{role=\"app\"}", 2.0);
    drop(senders);
    shows(&server, "tallyd_workers{role=\"app\"}", 0.0);
    shows(&server, "tallyd_workers_gone_total{role=\"app\"}", 2.0);
}

#[test]
fn who_has_no_workers_has_no_metrics_of_them() {
    let server = start(&[]);
    let page = server.get("/metrics").unwrap();
    assert!(!page.as_str().unwrap().contains("tallyd_worker"));
    let families = server.get("/api/v1/families").unwrap();
    assert!(!families.as_str().unwrap().contains("\"parts\""));
}

#[test]
fn dashboards_of_a_server_with_workers_show_them() {
    let server = start(&["--workers.pidfile={tmp}/gunicorn.pid"]);
    let families = server.get("/api/v1/families").unwrap();
    assert!(families.as_str().unwrap().contains("\"parts\":[\"workers\"]"));
    let made = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(["grafana", "generate", "--from", &server.fill("http://127.0.0.1:{http}")])
        .args(["--out", &server.fill("{tmp}/made")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut made = fs::read_dir(server.dir.path().join("made")).unwrap();
    let dashboard = fs::read_to_string(made.next().unwrap().unwrap().path()).unwrap();
    assert!(dashboard.contains("tallyd_worker_skew_ratio"), "{dashboard}");
}

#[test]
#[ignore = "is a sender of the tests above"]
fn a_process_sends_what_it_is_told() {
    let Some(path) = env::var_os(SOCKET_VARIABLE) else { return };
    let lines = std::io::stdin().lines().map(|line| line.unwrap() + "\n");
    if let Ok(mut stream) = UnixStream::connect(&path) {
        lines.for_each(|line| stream.write_all(line.as_bytes()).unwrap());
    } else {
        let socket = UnixDatagram::unbound().unwrap();
        for line in lines {
            socket.send_to(line.as_bytes(), &path).unwrap();
        }
    }
}

/// A master process, and how to have it do something.
struct Master {
    process: Child,
    orders: ChildStdin,
}

impl Master {
    fn start() -> Self {
        let mut process =
            Command::new("sh").args(["-c", MASTER]).stdin(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        Self { process, orders }
    }

    fn fork(&mut self) {
        writeln!(self.orders, "fork").unwrap();
    }

    fn kill_one(&self) {
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        // Those before it may have ended without having been asked for.
        let last = children.split_whitespace().last().unwrap().parse().unwrap();
        kill(Pid::from_raw(last), Signal::SIGKILL).unwrap();
    }

    fn end(mut self) {
        drop(self.orders);
        self.process.wait().unwrap();
    }
}

/// A process that sends a line whenever it is told to.
struct Sender {
    process: Child,
    orders: ChildStdin,
}

impl Sender {
    /// Starts this file's test below as a process of its own.
    fn start(server: &Server, kind: &str) -> Self {
        let mut sender = Command::new(env::current_exe().unwrap());
        sender.args(["--exact", "a_process_sends_what_it_is_told", "--ignored", "--nocapture"]);
        sender.env(SOCKET_VARIABLE, server.fill(&format!("{{tmp}}/{kind}.sock")));
        let mut process = sender.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        Self { process, orders }
    }

    fn send(&mut self) {
        self.orders.write_all(b"hits:1|c\n").unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn start(flags: &[&str]) -> Server {
    Server::start(&Launch::tallyd(flags)).unwrap()
}

fn number(server: &Server, series: &str) -> Option<f64> {
    let page = server.get("/metrics").ok()?;
    let value = page.as_str().ok()?.lines().find_map(|line| line.strip_prefix(series))?.trim();
    value.parse().ok()
}

#[track_caller]
fn shows(server: &Server, series: &str, expected: f64) {
    let is_so = || number(server, series) == Some(expected);
    let found = wait_until(TIMEOUT, is_so);
    assert!(found, "{series}: {:?}, not {expected}", number(server, series));
}
