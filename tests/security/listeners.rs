//! Several addresses, Unix sockets, and sockets that were there before the server.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};

use crate::https::Client;
use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn http_is_spoken_on_every_address_and_on_unix_sockets() {
    let server = Server::start(&Launch::tallyd(&[
        "--web.listen-address=127.0.0.1:{http}",
        "--web.listen-address=unix:{tmp}/web",
        "--web.unixsocket-mode=600",
    ]))
    .unwrap();
    let path = server.fill("{tmp}/web");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for address in [server.fill("127.0.0.1:{http}"), path] {
        let answer = Client::plain(&address).get("/metrics", "").unwrap();
        assert!(answer.status == 200 && answer.body.contains("tallyd_build_info"), "{answer:?}");
    }
}

#[test]
fn lines_come_by_unix_streams_and_datagrams_with_an_owner() {
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    let server = Server::start(&Launch::tallyd(&[
        "--statsd.listen-unixgram={tmp}/gram",
        "--statsd.listen-unixstream={tmp}/stream",
        "--statsd.unixsocket-mode=660",
        &format!("--statsd.unixsocket-owner={user}"),
        &format!("--statsd.unixsocket-group={group}"),
    ]))
    .unwrap();
    let path = |name: &str| server.dir.path().join(name);
    for name in ["gram", "stream"] {
        let found = std::fs::metadata(path(name)).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o660, user.as_raw()), "{name}");
    }
    UnixDatagram::unbound().unwrap().send_to(b"sum:1|c", path("gram")).unwrap();
    // Lines, and the frames of a DogStatsD client, one of them in two pieces.
    UnixStream::connect(path("stream")).unwrap().write_all(b"sum:10|c\nsum:20|c\n").unwrap();
    let mut framed = UnixStream::connect(path("stream")).unwrap();
    framed.write_all(b"\x0a\0\0\0sum:100|c\n\x13\0\0\0sum:200|c").unwrap();
    framed.write_all(b"\nsum:300|c").unwrap();
    check_sum(&server, 631.0);
    assert_eq!(server.total("/metrics", "tallyd_unixstream_connections_total"), Some(2.0));
}

#[test]
fn sockets_that_systemd_passes_are_used_and_outlive_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (gram, stream) = (dir.path().join("gram"), dir.path().join("stream"));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unixgram = UnixDatagram::bind(&gram).unwrap();
    let unixstream = UnixListener::bind(&stream).unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let web_at = web.local_addr().unwrap().to_string();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let flags = ["--statsd.systemd-socket", "--web.systemd-socket"];
    let passed: [(OwnedFd, &str); 5] = [
        (udp.into(), "statsd"),
        (tcp.into(), "statsd"),
        (unixgram.into(), "whatever"),
        (unixstream.into(), "statsd"),
        (web.into(), "web"),
    ];
    // What is sent while no server runs waits for the next one.
    for round in 1..=2 {
        client.send_to(b"sum:1|c", udp_at).unwrap();
        let mut server = activate(dir.path(), &passed, &flags);
        UnixDatagram::unbound().unwrap().send_to(b"sum:10|c", &gram).unwrap();
        TcpStream::connect(tcp_at).unwrap().write_all(b"sum:100|c\n").unwrap();
        UnixStream::connect(&stream).unwrap().write_all(b"sum:1000|c\n").unwrap();
        let page = || {
            Client::plain(&web_at).get("/metrics", "").map_or_else(|_| String::new(), |a| a.body)
        };
        let is_there = wait_until(TIMEOUT, || page().contains("\nsum 1111\n"));
        assert!(is_there, "round {round}: {}\n{}", page(), log(dir.path()));
        let process = Pid::from_child(&server);
        rustix::process::kill_process(process, Signal::TERM).unwrap();
        assert!(wait_until(TIMEOUT, || server.try_wait().unwrap().is_some()));
        assert!(gram.exists() && stream.exists());
    }
}

#[test]
fn a_promise_that_systemd_did_not_keep_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    check_not_started(dir.path(), &[], &["--web.systemd-socket"], "LISTEN_FDS and LISTEN_PID");
    let unnamed = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let both = ["--web.systemd-socket", "--statsd.systemd-socket"];
    let unclear = "it is unclear what the stream socket `x` is for";
    check_not_started(dir.path(), &[(unnamed(), "x")], &both, unclear);
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    check_not_started(dir.path(), &[(file, "x")], &both, "descriptor 3, `x`, is neither");
    let (connected, _other) = UnixStream::pair().unwrap();
    check_not_started(dir.path(), &[(connected.into(), "web")], &both, "set Accept=no");
}

#[track_caller]
fn check_sum(server: &Server, expected: f64) {
    let sum = || server.total("/metrics", "sum");
    assert!(wait_until(TIMEOUT, || sum() == Some(expected)), "{:?}\n{}", sum(), server.output());
}

#[track_caller]
fn check_not_started(dir: &Path, passed: &[(OwnedFd, &str)], flags: &[&str], expected: &str) {
    let mut server = activate(dir, passed, flags);
    let is_over = wait_until(TIMEOUT, || matches!(server.try_wait(), Ok(Some(_))));
    assert!(is_over && log(dir).contains(expected), "{}", log(dir));
}

/// Starts a server as systemd does: with these descriptors as its third and so on.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn activate(dir: &Path, passed: &[(OwnedFd, &str)], flags: &[&str]) -> Child {
    let names: Vec<&str> = passed.iter().map(|(_, name)| *name).collect();
    // Beyond the numbers that they are to have, so that none is in the way of another.
    let beyond = |(fd, _): &(OwnedFd, &str)| {
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap();
        rustix::io::fcntl_setfd(&copy, FdFlags::empty()).unwrap();
        copy
    };
    let copies: Vec<OwnedFd> = passed.iter().map(beyond).collect();
    // A shell puts them where they belong, and keeps its own process for the server.
    let moves = copies.iter().enumerate().map(|(index, fd)| {
        let number = fd.as_raw_fd();
        format!("{}<&{number} {number}<&-", index + 3)
    });
    let moves = moves.collect::<Vec<_>>().join(" ");
    Command::new("bash")
        .args(["-c", &format!("export LISTEN_PID=$$; exec \"$@\" {moves}"), "bash"])
        .arg(env!("CARGO_BIN_EXE_tallyd"))
        .args(flags)
        .env("LISTEN_FDS", passed.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap()
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}
