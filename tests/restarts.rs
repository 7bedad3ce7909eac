//! Restarts lose nothing: the state file, the last scrape, the hand-over and the reload.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
mod server;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::{Launch, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

#[test]
fn counters_go_on_after_a_restart_with_their_created_timestamps() {
    let dir = tempfile::tempdir().unwrap();
    let launch = with_state(dir.path(), &["--web.enable-openmetrics"]);
    let lines = ["hits:3|c", "level:-4|g|#a:b", "t:12|ms", "u:x|s"];
    let mut pages = Vec::new();
    for _ in 0..3 {
        let server = Server::start(&launch).unwrap();
        send(&server, &lines);
        let expected = 3.0 * (pages.len() + 1) as f64;
        wait_for(&server, "hits", expected);
        let page = openmetrics(&server);
        let is_created =
            |line: &&str| line.starts_with("hits_created ") || line.starts_with("t_created ");
        pages.push(page.lines().filter(is_created).map(String::from).collect());
        assert!(page.contains("u 1.0"), "{page}");
        assert_eq!(stop(server).code(), Some(0));
    }
    let created: &Vec<String> = &pages[0];
    assert_eq!(created.len(), 2, "{created:?}");
    assert_eq!(pages[1], *created);
    assert_eq!(pages[2], *created);
}

#[test]
fn a_process_that_is_killed_loses_no_more_than_an_interval() {
    let dir = tempfile::tempdir().unwrap();
    let launch = with_state(dir.path(), &["--state.interval=20ms"]);
    let mut random = fastrand::Rng::with_seed(7);
    let mut least = 0.0;
    for _ in 0..20 {
        let mut server = Server::start(&launch).unwrap();
        let restored = server.total("/metrics", "hits").unwrap_or(0.0);
        assert!(restored >= least, "{restored} is less than the {least} that was saved");
        send(&server, &["hits:1|c"]);
        wait_for(&server, "hits", restored + 1.0);
        wait_for_save(&server);
        least = restored + 1.0;
        thread::sleep(Duration::from_micros(random.u64(..20_000)));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }
    let damaged = names(dir.path()).into_iter().filter(|name| name.contains("damaged")).count();
    assert_eq!((least, damaged), (20.0, 0));
}

#[test]
fn a_useless_state_is_set_aside_with_a_clear_message() {
    let old = {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&with_state(dir.path(), &[])).unwrap();
        send(&server, &["hits:1|c"]);
        wait_for(&server, "hits", 1.0);
        stop(server);
        fs::read(dir.path().join("state")).unwrap()
    };
    let mut newer = old.clone();
    newer[8] = 9;
    let cut = old[..old.len() - 5].to_vec();
    check_set_aside(&cut, "it is damaged");
    check_set_aside(b"# something else", "it is no saved state of tallyd");
    check_set_aside(b"", "it is no saved state of tallyd");
    check_set_aside(&newer, "a later tallyd has written it (format 9; this one reads 1)");
}

#[track_caller]
fn check_set_aside(content: &[u8], message: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("state"), content).unwrap();
    let server = Server::start(&with_state(dir.path(), &[])).unwrap();
    assert!(server.output().contains(message), "{}", server.output());
    assert_eq!(server.total("/metrics", "hits"), None);
    let aside = names(dir.path()).into_iter().find(|name| name.starts_with("state.damaged-"));
    assert_eq!(fs::read(dir.path().join(aside.unwrap())).unwrap(), content);
    stop(server);
    assert!(dir.path().join("state").exists(), "the next state has its place");
}

#[test]
fn a_second_process_may_not_use_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let launch = with_state(dir.path(), &[]);
    let _owner = Server::start(&launch).unwrap();
    let refused = Server::start(&launch).unwrap_err();
    assert!(refused.contains("is in use by another process"), "{refused}");
}

#[test]
fn a_state_that_cannot_be_saved_is_counted_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&with_state(dir.path(), &["--state.interval=20ms"])).unwrap();
    wait_for_save(&server);
    let before = fs::read(dir.path().join("state")).unwrap();
    // A directory in the place of the new file is an error for root as well.
    assert!(wait_until(PATIENCE, || fs::create_dir(dir.path().join("state.new")).is_ok()));
    let failures = "tallyd_state_save_failures_total";
    assert!(wait_until(PATIENCE, || server.total("/metrics", failures) > Some(1.0)));
    assert!(fs::read(dir.path().join("state")).unwrap().len() >= before.len() / 2);
    assert!(server.output().contains("The state could not be saved"), "{}", server.output());
}

#[test]
fn the_end_waits_for_a_scrape_of_everything() {
    let server = Server::start(&Launch::tallyd(&["--shutdown.max-wait=60s"])).unwrap();
    send(&server, &["hits:1|c"]);
    wait_for(&server, "hits", 1.0);
    terminate(&server);
    assert!(wait_until(PATIENCE, || status(&server, "/-/ready") == Some(503)));
    // It still takes lines in; a page of some families or none of a page is not a scrape.
    send(&server, &["hits:1|c"]);
    assert!(wait_until(PATIENCE, || server.total("/metrics?name[]=hits", "hits") == Some(2.0)));
    assert_eq!(status(&server, "/-/healthy"), Some(200));
    let mut server = server;
    assert!(server.child.try_wait().unwrap().is_none());
    assert_eq!(server.total("/metrics", "hits"), Some(2.0));
    assert_eq!(wait_for_end(&mut server).code(), Some(0));
}

#[test]
fn where_senders_never_pause_the_last_page_has_what_was_sent_before_the_sockets_closed() {
    let server = Server::start(&Launch::tallyd(&["--shutdown.max-wait=4s", "--lanes=2"])).unwrap();
    let mut server = thread::scope(|scope| {
        let socket = socket(&server);
        let child = server.child.id();
        let sender = scope.spawn(move || {
            let mut sent = 0.0;
            while Path::new(&format!("/proc/{child}/fd/0")).exists() {
                sent += f64::from(u8::from(socket.send(b"hits:1|c").is_ok()));
                thread::sleep(Duration::from_micros(300));
            }
            sent
        });
        // So many that what comes in the moments of the end is little beside them.
        assert!(wait_until(PATIENCE, || server.total("/metrics", "hits") > Some(2000.0)));
        terminate(&server);
        let mut last = 0.0;
        while let Ok(page) = server.get("/metrics") {
            let page = page.as_str().unwrap().to_owned();
            last = total(&page, "hits") + total(&page, "tallyd_udp_kernel_drops_total");
        }
        let sent = sender.join().unwrap();
        // What came between the last page and the end was neither taken nor shown any more.
        assert!(last <= sent && last > sent * 0.9, "{last} of {sent}");
        server
    });
    assert_eq!(wait_for_end(&mut server).code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_wait() {
    let mut server = Server::start(&Launch::tallyd(&["--shutdown.max-wait=60s"])).unwrap();
    terminate(&server);
    assert!(wait_until(PATIENCE, || status(&server, "/-/ready") == Some(503)));
    let begun = Instant::now();
    terminate(&server);
    assert_eq!(wait_for_end(&mut server).code(), Some(0));
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn without_a_wait_the_end_comes_at_once() {
    let server = Server::start(&Launch::tallyd(&[])).unwrap();
    assert_eq!(stop(server).code(), Some(0));
}

const LINES: &str = "statsd_exporter_lines_total";
const HANDOVER_COUNT: &str = "tallyd_handovers_total";

/// How often the server is replaced while everybody goes on sending and scraping.
const HANDOVERS: usize = 10;

#[test]
fn ten_successors_take_over_and_every_datagram_is_counted() {
    let unixgram = "--statsd.listen-unixgram={tmp}/statsd.sock";
    let flags = ["--lanes=2", "--web.enable-openmetrics", unixgram];
    let server = Server::start(&Launch::tallyd(&flags)).unwrap();
    send(&server, &["old:1|c", "t:5|ms", "g:7|g"]);
    wait_for(&server, "old", 1.0);
    let created = created_of(&server, "old");
    let is_over = AtomicBool::new(false);
    let mut stream = TcpStream::connect(server.fill("127.0.0.1:{tcp}")).unwrap();
    let (sent, scrapes) = thread::scope(|scope| {
        let udp: Vec<_> = (0..4).map(|_| scope.spawn(|| send_on(&server, &is_over))).collect();
        let unix = scope.spawn(|| send_on_unix(&server, &is_over));
        let scraper = scope.spawn(|| scrape_on(&server, &is_over));
        for number in 1..=HANDOVERS {
            // A line whose end comes by way of the successor.
            stream.write_all(b"tcp:").unwrap();
            signal(&server, Signal::SIGUSR2);
            let taken_over = || server.total("/metrics", HANDOVER_COUNT) == Some(number as f64);
            assert!(wait_until(PATIENCE, taken_over), "{number}: {}", server.output());
            stream.write_all(b"1|c\n").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        let udp: f64 = udp.into_iter().map(|sender| sender.join().unwrap()).sum();
        ([("udp", udp), ("unix", unix.join().unwrap())], scraper.join().unwrap())
    });
    for (name, count) in sent {
        assert!(count > 100.0);
        wait_for(&server, name, count);
    }
    wait_for(&server, "tcp", HANDOVERS as f64);
    assert_eq!(server.total("/metrics", "tallyd_udp_kernel_drops_total"), Some(0.0));
    assert_eq!(server.total("/metrics", "g"), Some(7.0));
    assert_eq!(created_of(&server, "old"), created);
    assert!(scrapes > HANDOVERS, "{scrapes}");
    let path = server.dir.path().join("statsd.sock");
    assert_eq!(stop(server).code(), Some(0));
    assert!(!path.exists(), "the last one removes the socket's file");
}

#[test]
fn the_bench_client_misses_nothing_over_ten_hand_overs() {
    let server = Server::start(&Launch::tallyd(&["--lanes=2"])).unwrap();
    let tallyd = env!("CARGO_BIN_EXE_tallyd");
    let mut bench = Command::new(tallyd);
    bench.args(["bench", "--workload=packed", "--rate=50k", "--duration=3s", "--max-loss=0%"]);
    bench.arg(server.fill("--target=udp://127.0.0.1:{udp}"));
    bench.arg(server.fill("--scrape=http://127.0.0.1:{http}/metrics"));
    let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(PATIENCE, || server.total("/metrics", LINES) > Some(1000.0)));
    for number in 1..=HANDOVERS {
        signal(&server, Signal::SIGUSR2);
        let taken_over = || server.total("/metrics", HANDOVER_COUNT) == Some(number as f64);
        assert!(wait_until(PATIENCE, taken_over), "{number}: {}", server.output());
    }
    assert!(bench.try_wait().unwrap().is_none(), "it was to send all the time");
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn with_sockets_of_somebody_else_a_restart_loses_no_datagram() {
    let dir = tempfile::tempdir().unwrap();
    let state = format!("--state.file={}", dir.path().join("state").display());
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", web.local_addr().unwrap());
    let hits = || {
        let page = minreq::get(&url).with_timeout(5).send().ok()?;
        Some(total(page.as_str().ok()?, "hits"))
    };
    let start = || {
        // As systemd does it: descriptors from 3 on, for a process that knows its own number.
        let script = "LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_tallyd"), &state]);
        command.args(["--statsd.systemd-socket", "--web.systemd-socket"]);
        command.args(["--statsd.listen-udp=", "--statsd.listen-tcp=", "--web.listen-address="]);
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "statsd:web").stderr(Stdio::null());
        let descriptors =
            [OwnedFd::from(statsd.try_clone().unwrap()), web.try_clone().unwrap().into()];
        let mappings = descriptors.into_iter().zip(3..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap().spawn().unwrap()
    };
    let is_over = AtomicBool::new(false);
    let mut child = start();
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut sent = 0.0;
            while !is_over.load(Ordering::Relaxed) {
                socket.send_to(b"hits:1|c", statsd.local_addr().unwrap()).unwrap();
                sent += 1.0;
                thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        for _ in 0..3 {
            let before = hits().unwrap_or(0.0);
            assert!(wait_until(PATIENCE, || hits() > Some(before)));
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(0));
            child = start();
        }
        is_over.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    let is_all_there = wait_until(PATIENCE, || hits() == Some(sent));
    let counted = hits();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_all_there, "{counted:?} of {sent}");
}

#[test]
fn a_successor_that_would_not_start_takes_over_nothing() {
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), MAPPING.into())],
        ..Launch::tallyd(&["--statsd.mapping-config={tmp}/mapping.yml"])
    };
    let server = Server::start(&launch).unwrap();
    fs::write(server.dir.path().join("mapping.yml"), "mappings: nonsense").unwrap();
    signal(&server, Signal::SIGUSR2);
    let failures = || server.total("/metrics", "tallyd_handovers_total{outcome=\"failure\"}");
    assert!(wait_until(PATIENCE, || failures() == Some(1.0)), "{}", server.output());
    assert!(server.output().contains("A successor would not start; going on."));
    send(&server, &["hits:1|c"]);
    wait_for(&server, "hits", 1.0);
    assert_eq!(stop(server).code(), Some(0));
}

#[test]
fn a_signal_during_a_hand_over_reaches_the_successor() {
    let server = Server::start(&Launch::tallyd(&[])).unwrap();
    for _ in 0..5 {
        signal(&server, Signal::SIGUSR2);
    }
    let mut server = server;
    terminate(&server);
    assert_eq!(wait_for_end(&mut server).code(), Some(0));
}

/// Sends until it is over; how many datagrams.
fn send_on(server: &Server, is_over: &AtomicBool) -> f64 {
    let socket = socket(server);
    let mut sent = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        socket.send(b"udp:1|c").unwrap();
        sent += 1.0;
        thread::sleep(Duration::from_micros(300));
    }
    sent
}

fn send_on_unix(server: &Server, is_over: &AtomicBool) -> f64 {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(server.dir.path().join("statsd.sock")).unwrap();
    let mut sent = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        socket.send(b"unix:1|c").unwrap();
        sent += 1.0;
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// Scrapes until it is over; how often. No counter ever falls, and no connection is refused.
fn scrape_on(server: &Server, is_over: &AtomicBool) -> usize {
    let (mut last, mut scrapes) = ([0.0; 4], 0);
    while !is_over.load(Ordering::Relaxed) {
        let page = server.get("/metrics").unwrap();
        assert_eq!(page.status_code, 200, "{:?}", page.as_str());
        let page = page.as_str().unwrap();
        let names = ["old", "udp", "unix", LINES];
        let values = names.map(|name| total(page, name));
        let falls = last.iter().zip(values).any(|(last, value)| *last > value);
        assert!(!falls, "{last:?} {values:?} {page:?}");
        last = values;
        scrapes += 1;
    }
    scrapes
}

fn created_of(server: &Server, name: &str) -> String {
    let page = openmetrics(server);
    let line = page.lines().find(|line| line.starts_with(&format!("{name}_created ")));
    line.unwrap().to_owned()
}

const MAPPING: &str = "mappings:\n- {match: h, name: h, observer_type: histogram, \
    histogram_options: {buckets: [1, 10]}}\n- {match: s, name: s, observer_type: summary, \
    summary_options: {quantiles: [{quantile: 0.5, error: 0.05}]}}\n";

#[test]
fn a_reload_applies_buckets_and_quantiles_and_tells_what_is_wrong_with_a_bad_file() {
    let launch = Launch {
        files: vec![("mapping.yml".to_owned(), MAPPING.into())],
        ..Launch::tallyd(&["--statsd.mapping-config={tmp}/mapping.yml", "--web.enable-lifecycle"])
    };
    let server = Server::start(&launch).unwrap();
    let shows = |text: &str| {
        send(&server, &["h:5|ms", "s:5|ms"]);
        server.get("/metrics").is_ok_and(|page| page.as_str().unwrap_or_default().contains(text))
    };
    assert!(wait_until(PATIENCE, || shows("h_bucket{le=\"10\"}") && shows("s{quantile=\"0.5\"}")));
    let file = server.dir.path().join("mapping.yml");
    fs::write(&file, MAPPING.replace("[1, 10]", "[2, 20]").replace("0.5,", "0.75,")).unwrap();
    assert_eq!(reload(&server).status_code, 200);
    assert!(wait_until(PATIENCE, || shows("h_bucket{le=\"20\"}") && shows("s{quantile=\"0.75\"}")));
    assert!(!shows("le=\"10\"}") && !shows("quantile=\"0.5\""));
    fs::write(&file, MAPPING.replace("observer_type: summary", "observer_type: sum")).unwrap();
    let refused = reload(&server);
    let text = refused.as_str().unwrap();
    assert_eq!(refused.status_code, 400, "{text}");
    assert!(text.contains("mapping.yml:3:") && text.contains("observer_type"), "{text}");
    assert!(shows("h_bucket{le=\"20\"}"), "the old rules stay in force");
}

fn reload(server: &Server) -> minreq::Response {
    minreq::post(server.fill("http://127.0.0.1:{http}/-/reload")).send().unwrap()
}

/// A server that keeps its state in `dir`.
fn with_state(dir: &Path, flags: &[&str]) -> Launch {
    let state = format!("--state.file={}", dir.join("state").display());
    let flags: Vec<&str> = flags.iter().copied().chain([state.as_str()]).collect();
    Launch::tallyd(&flags)
}

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.fill("127.0.0.1:{udp}")).unwrap();
    socket
}

fn send(server: &Server, lines: &[&str]) {
    let socket = socket(server);
    for line in lines {
        socket.send(line.as_bytes()).unwrap();
    }
}

#[track_caller]
fn wait_for(server: &Server, metric: &str, value: f64) {
    let is_there = wait_until(PATIENCE, || server.total("/metrics", metric) == Some(value));
    assert!(is_there, "{metric} is {:?}, not {value}", server.total("/metrics", metric));
}

/// Waits for a save that began after the call.
#[track_caller]
fn wait_for_save(server: &Server) {
    let metric = "tallyd_state_last_save_timestamp_seconds";
    let last = || server.total("/metrics", metric).unwrap_or(0.0);
    for _ in 0..2 {
        let before = last();
        assert!(wait_until(PATIENCE, || last() > before), "{}", server.output());
    }
}

fn openmetrics(server: &Server) -> String {
    let url = server.fill("http://127.0.0.1:{http}/metrics");
    let page = minreq::get(url).with_header("Accept", OPENMETRICS).send().unwrap();
    page.as_str().unwrap().to_owned()
}

/// The sum of a metric's series on a page.
fn total(page: &str, metric: &str) -> f64 {
    let values = page.lines().filter_map(|line| line.strip_prefix(metric)).filter_map(|rest| {
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.sum()
}

fn status(server: &Server, path: &str) -> Option<u16> {
    server.get(path).ok().map(|reply| reply.status_code)
}

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.child.id().try_into().unwrap());
    kill(pid, signal).unwrap();
}

fn terminate(server: &Server) {
    signal(server, Signal::SIGTERM);
}

#[track_caller]
fn wait_for_end(server: &mut Server) -> ExitStatus {
    let mut status = None;
    wait_until(PATIENCE, || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.signal().is_none()), "{}", server.output());
    status.unwrap()
}

#[track_caller]
fn stop(mut server: Server) -> ExitStatus {
    terminate(&server);
    wait_for_end(&mut server)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
