//! Clients that mean harm: each takes what it can get, and meanwhile a scrape and a UDP datagram
//! come through.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::Resource;
use socket2::{Domain, Socket, Type};

use crate::https::{Authority, Client, ReadWrite, connect, read_answer};
use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

/// More than the server serves at a time.
const CROWD: usize = 300;

/// A server under attack.
struct Target {
    server: Server,
    sent: u32,
}

#[expect(clippy::unwrap_used, reason = "helpers of tests")]
impl Target {
    fn start() -> Self {
        Self { server: Server::start(&Launch::tallyd(&[])).unwrap(), sent: 0 }
    }

    fn web(&self) -> String {
        self.server.fill("127.0.0.1:{http}")
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.fill("127.0.0.1:{tcp}")).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Checks that a datagram is counted, and that the page comes while others are being attacked.
    #[track_caller]
    fn check_alive(&mut self, client: &Client) {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.send_to(b"alive:1|c", self.server.fill("127.0.0.1:{udp}")).unwrap();
        self.sent += 1;
        let line = format!("\nalive {}\n", self.sent);
        let is_there = wait_until(TIMEOUT, || {
            client.get("/metrics", "").is_ok_and(|answer| answer.body.contains(&line))
        });
        assert!(is_there, "{}", self.server.output());
    }
}

fn many(address: &str, first: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        // As little as possible is taken off the server's hands.
        socket.set_recv_buffer_size(4096).ok()?;
        let address: SocketAddr = address.parse().ok()?;
        socket.connect(&address.into()).ok()?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(first).ok()?;
        Some(stream)
    };
    (0..CROWD).filter_map(one).collect()
}

#[test]
fn heads_that_never_end_keep_nobody_out() {
    let mut target = Target::start();
    let (web, client) = (target.web(), Client::plain(&target.web()));
    let mut slow = many(&web, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ");
    assert!(slow.len() >= 256, "{}", slow.len());
    for stream in &mut slow {
        // The ones that had to go for others are closed.
        stream.write_all(b"b").unwrap_or_default();
    }
    target.check_alive(&client);
    let silent = many(&web, b"");
    target.check_alive(&client);
    drop((slow, silent));
}

#[test]
fn readers_that_never_read_keep_nobody_out() {
    let mut target = Target::start();
    let (web, client) = (target.web(), Client::plain(&target.web()));
    // A page that does not fit into the buffers of a connection.
    let mut lines = target.tcp();
    for number in 0..200_u32 {
        lines.write_all(format!("big_{number:0>1000}:1|c\n").as_bytes()).unwrap();
    }
    let last = format!("big_{:0>1000}", 199);
    assert!(wait_until(TIMEOUT, || target.server.total("/metrics", &last).is_some()));
    let stuck = many(&web, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    target.check_alive(&client);
    drop(stuck);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let mut target = Target::start();
    let client = Client::plain(&target.web());
    let long = format!("X-A: {}\r\n", "b".repeat(40_000));
    let many = "X-A: b\r\n".repeat(200);
    for headers in [long, many] {
        let answer = client.get("/metrics", &headers);
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 431), "{answer:?}");
    }
    // What the kernels at both ends hold.
    let endless = endless(connect(&target.web()), b"GET /", b"a");
    assert!(endless < 32 << 20, "{endless} bytes were taken");
    target.check_alive(&client);
}

#[test]
fn bodies_are_not_read() {
    let mut target = Target::start();
    let client = Client::plain(&target.web());
    let head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n";
    let taken = endless(connect(&target.web()), head, b"b");
    // What the kernels at both ends hold, and what was read along with the head.
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    target.check_alive(&client);
}

#[test]
fn lines_that_never_end_end_their_connection() {
    let mut target = Target::start();
    let client = Client::plain(&target.web());
    let taken = endless(Ok(Box::new(target.tcp())), b"a:", b"1");
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    let too_long = "statsd_exporter_tcp_too_long_lines_total";
    assert_eq!(target.server.total("/metrics", too_long), Some(1.0));
    target.check_alive(&client);
}

#[test]
fn thousands_of_silent_clients_keep_nobody_out() {
    // As many as are allowed; what is started from here has the same limit.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, all).unwrap();
    let mut target = Target::start();
    let client = Client::plain(&target.web());
    let silent: Vec<_> = (0..2000).map(|_| target.tcp()).collect();
    let web = target.web();
    let silent_web: Vec<_> = (0..2000).filter_map(|_| connect(&web).ok()).collect();
    assert_eq!(silent_web.len(), 2000);
    let mut busy = target.tcp();
    busy.write_all(b"after:1|c\n").unwrap();
    let is_counted = wait_until(TIMEOUT, || target.server.total("/metrics", "after") == Some(1.0));
    assert!(is_counted, "{}", target.server.output());
    target.check_alive(&client);
    drop((silent, silent_web));
}

#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    let (mut target, authority) = with_tls();
    let client = Client::trusting(&target.web(), &authority, None);
    // The beginning of a record that announces more than will come.
    let slow = many(&target.web(), b"\x16\x03\x01\x02\x00\x01");
    assert!(slow.len() >= 256, "{}", slow.len());
    target.check_alive(&client);
    drop(slow);
}

#[test]
fn what_is_not_tls_is_refused_at_once() {
    let (mut target, authority) = with_tls();
    let mut plain = connect(&target.web()).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    target.check_alive(&Client::trusting(&target.web(), &authority, None));
}

#[test]
fn http2_streams_that_are_reset_at_once_end_their_connection() {
    let (mut target, authority) = with_tls();
    let client = Client::trusting(&target.web(), &authority, None);
    let mut stream = client.speaking(b"h2").connect().unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut is_ended = false;
    for number in 0..20_000_u32 {
        let id = (2 * number + 1).to_be_bytes();
        // GET https://x/metrics in HPACK, and the stream's end before there can be an answer.
        let head = b"\x82\x87\x41\x01x\x04\x08/metrics";
        let mut frames = vec![0, 0, u8::try_from(head.len()).unwrap(), 1, 5];
        frames.extend([&id[..], head, b"\0\0\x04\x03\0", &id, b"\0\0\0\x08"].concat());
        if stream.write_all(&frames).is_err() {
            is_ended = true;
            break;
        }
    }
    let mut rest = Vec::new();
    let left = stream.read_to_end(&mut rest);
    assert!(
        is_ended
            || left.is_ok()
            || left.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    );
    target.check_alive(&client);
}

#[test]
fn http2_is_spoken_where_it_is_agreed_on_and_allowed() {
    let (target, authority) = with_tls();
    let client = Client::trusting(&target.web(), &authority, None);
    let mut stream = client.speaking(b"h2").connect().unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut settings = [0; 9];
    stream.read_exact(&mut settings).unwrap();
    assert_eq!(settings[3], 4, "the first frame is one of settings: {settings:?}");
    let mut stream = client.speaking(b"http/1.1").connect().unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn with_tls() -> (Target, Authority) {
    let authority = Authority::new("test");
    let identity = authority.sign(&["localhost"]);
    let mut launch = Launch::tallyd(&["--web.config.file={tmp}/web.yml"]);
    let config = "tls_server_config: {cert_file: cert, key_file: key}\n".to_owned();
    launch.files = [("web.yml", config), ("cert", identity.cert), ("key", identity.key)]
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .into();
    let server = Server::spawn(&launch).unwrap();
    let target = Target { server, sent: 0 };
    let is_there = wait_until(TIMEOUT, || connect(&target.web()).is_ok());
    assert!(is_there, "{}", target.server.output());
    (target, authority)
}

/// Sends one byte over and over until nobody takes it any more, and returns how many were taken.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn endless(stream: io::Result<Box<dyn ReadWrite>>, first: &[u8], byte: &[u8]) -> usize {
    const LIMIT: usize = 64 << 20;
    let mut stream = stream.unwrap();
    stream.write_all(first).unwrap();
    let chunk = byte.repeat(64 << 10);
    let mut taken = 0;
    while taken < LIMIT && stream.write_all(&chunk).is_ok() {
        taken += chunk.len();
    }
    taken
}
