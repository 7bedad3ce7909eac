//! Runs one case: starts its server, takes its steps, looks at its page.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use regex::RegexBuilder;
use rustix::process::{Pid, Signal, kill_process};

use crate::case::{
    Case, CloseStep, Ending, HttpStep, Mode, PathStep, Point, RelayStep, Reload, SendStep, Step,
    Transport, file_content,
};
use crate::page::{Page, Samples, differences, sample_differences};
use crate::proto;
use crate::server::{Server, wait_until};

/// How long a page may take to become what is expected.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a page has to stay what is expected, so that samples counted twice are seen.
const QUIET: Duration = Duration::from_millis(35);

/// How long a process may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

const LINES_TOTAL: &str = "statsd_exporter_lines_total";

/// What is wrong, one finding or line of a difference each.
pub(crate) type Findings = Vec<String>;

/// What was seen at one place of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// The page as text.
    Text(Snapshot),
    /// Users' families as protobuf.
    Proto(serde_json::Value),
}

/// One look at the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    status: u16,
    page: Page,
    /// By how much own metrics grew since the start.
    own: Samples,
    /// The lines of all outcomes, when the page has them.
    outcomes: Option<f64>,
}

impl Snapshot {
    /// Says when the outcomes of lines do not add up to the lines.
    fn uncounted_lines(&self) -> Option<String> {
        let outcomes = self.outcomes?;
        let lines = self.own.get(LINES_TOTAL).copied().unwrap_or_default();
        let is_sum = (outcomes - lines).abs() < 0.5;
        (!is_sum).then(|| format!("! {lines} lines have {outcomes} outcomes"))
    }
}

/// What is done where a case looks at the page.
#[derive(Debug)]
enum Looking {
    /// The page is compared with what the case expects.
    Comparing,
    /// The page is kept, to be compared with another server's.
    Keeping(Vec<Seen>),
}

/// A case being run.
#[derive(Debug)]
struct Run<'a> {
    case: &'a Case,
    server: Server,
    base: Samples,
    udp: UdpSocket,
    unixgram: UnixDatagram,
    connections: BTreeMap<String, TcpStream>,
    relay: UdpSocket,
    lines_sent: u64,
    looking: Looking,
    has_ended: bool,
}

/// Runs a case and compares with what it expects.
///
/// # Errors
/// What was not as expected.
pub(crate) fn check(case: &Case, flags: &[&str]) -> Result<(), Findings> {
    match &case.exit {
        Some(ending) => case.modes.iter().try_for_each(|mode| ends(case, flags, ending, *mode)),
        None => Run::start(case, flags, Looking::Comparing)?.all().map(drop),
    }
}

/// Runs a case and says what its page was like wherever it looks at it.
///
/// # Errors
/// What was not as expected besides the page.
pub(crate) fn observe(case: &Case, flags: &[&str]) -> Result<Vec<Seen>, Findings> {
    match Run::start(case, flags, Looking::Keeping(Vec::new()))?.all()? {
        Looking::Keeping(seen) => Ok(seen),
        Looking::Comparing => Ok(Vec::new()),
    }
}

/// Says in what two looks at the page differ.
pub(crate) fn seen_differences(expected: &Seen, got: &Seen) -> Findings {
    match (expected, got) {
        (Seen::Text(expected), Seen::Text(got)) => snapshot_differences(expected, got),
        (Seen::Proto(expected), Seen::Proto(got)) => proto::differences(expected, got),
        _ => vec![format!("! expected {expected:?}, got {got:?}")],
    }
}

fn snapshot_differences(expected: &Snapshot, got: &Snapshot) -> Findings {
    let mut findings = Findings::new();
    if expected.status != got.status {
        findings.push(format!("! status: expected {}, got {}", expected.status, got.status));
    }
    findings.extend(differences(&expected.page, &got.page, &BTreeMap::new()));
    findings.extend(sample_differences(&expected.own, &got.own, &BTreeMap::new()));
    findings
}

impl<'a> Run<'a> {
    fn start(case: &'a Case, flags: &[&str], looking: Looking) -> Result<Self, Findings> {
        let socket = || UdpSocket::bind(("127.0.0.1", 0)).map_err(finding);
        let relay = socket()?;
        let relay_port = relay.local_addr().map_err(finding)?.port();
        let server = Server::start(&case.launch(flags, relay_port)).map_err(finding)?;
        let mut run = Self {
            case,
            server,
            base: Samples::new(),
            udp: socket()?,
            unixgram: UnixDatagram::unbound().map_err(finding)?,
            connections: BTreeMap::new(),
            relay,
            lines_sent: 0,
            looking,
            has_ended: false,
        };
        run.base = run.snapshot().map_err(finding)?.own;
        Ok(run)
    }

    fn all(mut self) -> Result<Looking, Findings> {
        let case = self.case;
        for (position, step) in case.steps.iter().enumerate() {
            self.step(step).map_err(|findings| self.explained(position, findings))?;
            if case.steps.get(position + 1).is_some_and(|next| step.has_to_settle_before(next)) {
                self.settle();
            }
        }
        if !self.has_ended {
            let last = case.steps.len();
            self.look(case.end()).map_err(|findings| self.explained(last, findings))?;
        }
        Ok(self.looking)
    }

    /// Adds what explains a failure best: where it was, and what the server wrote.
    fn explained(&mut self, position: usize, mut findings: Findings) -> Findings {
        findings.insert(0, format!("after step {position}:"));
        if let Ok(Some(status)) = self.server.child.try_wait() {
            findings.push(format!("the process ended: {status}"));
        }
        findings.push(self.server.output());
        findings
    }

    fn step(&mut self, step: &Step) -> Result<(), Findings> {
        match step {
            Step::Send(send) => self.send(send).map_err(finding),
            Step::Close(close) => self.close(close).map_err(finding),
            Step::Http(http) => self.http(http),
            Step::Relay(relay) => self.relay(relay),
            Step::Path(path) => self.path(path),
            Step::RewriteMapping { rewrite_mapping } => {
                let mapping = self.server.fill("{tmp}/mapping.yml");
                fs::write(mapping, file_content(rewrite_mapping)).map_err(finding)
            }
            Step::RemoveMapping { .. } => {
                fs::remove_file(self.server.fill("{tmp}/mapping.yml")).map_err(finding)
            }
            Step::Reload { reload, expect_status } => self.reload(*reload, *expect_status),
            Step::Scrape { expect, expect_self, .. } => {
                self.look(Point { page: Some(expect), own: Some(expect_self), status: 200 })
            }
            Step::Proto { expect_proto, .. } => self.proto(expect_proto),
            Step::Signal { signal } => self.signal(signal),
            Step::Exit { exit_code, .. } => self.exit(*exit_code),
            Step::Sleep { sleep_ms } => {
                thread::sleep(Step::pause(*sleep_ms));
                Ok(())
            }
            Step::Log { log } => self.log(log),
        }
    }

    // What is sent.

    fn send(&mut self, step: &SendStep) -> io::Result<()> {
        let payload = step.payload();
        if step.send == Transport::Tcp {
            return self.send_tcp(step, &payload);
        }
        for _ in 0..step.times {
            match step.send {
                Transport::Udp => {
                    self.udp.send_to(&payload, self.server.fill("127.0.0.1:{udp}"))?
                }
                _ => self.unixgram.send_to(&payload, self.server.fill("{tmp}/s.sock"))?,
            };
            // An empty datagram is one empty line, and a trailing newline adds another.
            self.lines_sent += newlines(&payload) + 1;
        }
        Ok(())
    }

    fn send_tcp(&mut self, step: &SendStep, payload: &[u8]) -> io::Result<()> {
        let mut stream = match step.conn.as_ref().and_then(|id| self.connections.remove(id)) {
            Some(stream) => stream,
            None => TcpStream::connect(self.server.fill("127.0.0.1:{tcp}"))?,
        };
        stream.set_nodelay(true)?;
        match stream.write_all(payload) {
            Err(error) if !step.may_break => return Err(error),
            _ => self.lines_sent += newlines(payload),
        }
        if let Some(id) = &step.conn {
            self.connections.insert(id.clone(), stream);
        } else {
            self.lines_sent += u64::from(!payload.is_empty() && !payload.ends_with(b"\n"));
            finish(&mut stream);
        }
        Ok(())
    }

    fn close(&mut self, step: &CloseStep) -> io::Result<()> {
        if step.rst {
            self.settle();
        }
        self.lines_sent += step.adds_line;
        if let Some(mut stream) = self.connections.remove(&step.close) {
            if step.rst {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            } else {
                finish(&mut stream);
            }
        }
        Ok(())
    }

    /// Waits until everything sent is counted; the reference needs a moment more for its events.
    fn settle(&self) {
        let base = self.base.get(LINES_TOTAL).copied().unwrap_or_default();
        let wanted = base + self.lines_sent as f64;
        wait_until(Duration::from_millis(500), || {
            self.server
                .total(&self.case.metrics_path, LINES_TOTAL)
                .is_none_or(|lines| lines >= wanted)
        });
        thread::sleep(QUIET);
    }

    // What is seen.

    fn snapshot(&self) -> Result<Snapshot, String> {
        let path = &self.case.metrics_path;
        let reply = self.server.get(path).map_err(|error| format!("scrape failed: {error}"))?;
        if reply.status_code != 200 {
            return Ok(Snapshot { status: reply.status_code, ..Snapshot::default() });
        }
        let text = reply.as_str().map_err(|error| error.to_string())?;
        let page = Page::parse(text)?;
        let outcomes = page.families.get("tallyd_lines_total");
        let outcomes = outcomes.map(|family| family.samples.values().sum());
        let (mut page, own) = page.split();
        let only = &self.case.only_families;
        page.families.retain(|name, _| only.is_empty() || only.contains(name));
        Ok(Snapshot { status: 200, page, own: self.growth(own), outcomes })
    }

    /// By how much own metrics grew; those that did not are left out, as a case does.
    fn growth(&self, own: Samples) -> Samples {
        let target = format!("target=\"{}\"", self.relay_address());
        own.into_iter()
            .filter(|(series, _)| {
                let name = series.split('{').next().unwrap_or_default();
                (self.case.check_cache || !name.starts_with("statsd_metric_mapper_"))
                    && !self.case.ignore_self.iter().any(|ignored| ignored == name)
            })
            .map(|(series, value)| {
                let is_level = series == "statsd_exporter_loaded_mappings";
                let base = if is_level { None } else { self.base.get(&series) };
                let growth = value - base.copied().unwrap_or_default();
                (series.replace(&target, "target=\"RELAY\""), growth)
            })
            .filter(|(_, growth)| *growth != 0.0)
            .collect()
    }

    fn relay_address(&self) -> String {
        self.relay.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    fn look(&mut self, point: Point<'_>) -> Result<(), Findings> {
        if !matches!(self.looking, Looking::Comparing) {
            let snapshot = self.quiet_snapshot()?;
            if let Looking::Keeping(kept) = &mut self.looking {
                kept.push(Seen::Text(snapshot));
            }
            return Ok(());
        }
        let expected = point.parsed_page().map_err(finding)?;
        let mut findings = Findings::new();
        wait_until(PAGE_TIMEOUT, || {
            findings = self.findings_at(point, &expected);
            if findings.is_empty() {
                thread::sleep(QUIET);
                findings = self.findings_at(point, &expected);
            }
            findings.is_empty() || self.server_is_dead()
        });
        none(findings)
    }

    fn findings_at(&self, point: Point<'_>, expected: &Page) -> Findings {
        let got = match self.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return finding(error),
        };
        if got.status != point.status {
            return finding(format!("status: expected {}, got {}", point.status, got.status));
        }
        let mut findings = differences(expected, &got.page, &self.case.ranges);
        findings.extend(got.uncounted_lines());
        if let Some(own) = point.own {
            findings.extend(sample_differences(own, &got.own, &BTreeMap::new()));
        }
        findings
    }

    fn server_is_dead(&mut self) -> bool {
        !matches!(self.server.child.try_wait(), Ok(None))
    }

    /// A look at the page once everything is counted and nothing changes any more.
    fn quiet_snapshot(&self) -> Result<Snapshot, Findings> {
        self.settle();
        let mut last = self.snapshot().map_err(finding)?;
        wait_until(PAGE_TIMEOUT, || {
            thread::sleep(QUIET);
            let Ok(snapshot) = self.snapshot() else { return true };
            let is_quiet = snapshot_differences(&snapshot, &last).is_empty();
            last = snapshot;
            is_quiet
        });
        Ok(last)
    }

    // Single answers.

    fn request(&self, step: &HttpStep) -> Result<minreq::Response, minreq::Error> {
        let method = match step.http.method.as_str() {
            "GET" => minreq::Method::Get,
            "HEAD" => minreq::Method::Head,
            "POST" => minreq::Method::Post,
            "PUT" => minreq::Method::Put,
            other => minreq::Method::Custom(other.to_owned()),
        };
        let url = self.server.fill("http://127.0.0.1:{http}") + &step.http.path;
        minreq::Request::new(method, url).with_headers(&step.http.headers).with_timeout(5).send()
    }

    fn http(&self, step: &HttpStep) -> Result<(), Findings> {
        let reply = self.request(step).map_err(finding)?;
        let mut findings = Findings::new();
        if step.expect_status.is_some_and(|expected| expected != reply.status_code) {
            let expected = step.expect_status;
            findings.push(format!("status: expected {expected:?}, got {}", reply.status_code));
        }
        for (name, expected) in &step.expect_headers {
            let got = reply.header(name);
            if got != Some(expected) {
                findings.push(format!("header {name}: expected {expected:?}, got {got:?}"));
            }
        }
        let mut body = reply.as_bytes().to_vec();
        if reply.header("content-encoding") == Some("gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(&*body).read_to_end(&mut plain).map_err(finding)?;
            body = plain;
        }
        let body = String::from_utf8_lossy(&body);
        if step.expect_body.as_deref().is_some_and(|expected| expected != body) {
            findings.push(format!("body: expected {:?}, got {body:?}", step.expect_body));
        }
        let lacking = step.body_contains.iter().filter(|part| !body.contains(*part));
        findings.extend(lacking.map(|part| format!("body lacks {part:?}: {body}")));
        let unwanted = step.body_lacks.iter().filter(|part| body.contains(*part));
        findings.extend(unwanted.map(|part| format!("body has {part:?}")));
        none(findings)
    }

    fn proto(&mut self, expected: &serde_json::Value) -> Result<(), Findings> {
        let url = self.server.fill("http://127.0.0.1:{http}") + &self.case.metrics_path;
        let ask = || {
            let request = minreq::get(&url).with_header("Accept", proto::ACCEPT).with_timeout(5);
            proto::families(&request.send().map_err(|error| error.to_string())?)
        };
        if let Looking::Keeping(kept) = &mut self.looking {
            kept.push(Seen::Proto(ask().map_err(finding)?));
            return Ok(());
        }
        let mut findings = Findings::new();
        wait_until(PAGE_TIMEOUT, || {
            findings = match ask() {
                Ok(got) => proto::differences(expected, &got),
                Err(error) => finding(error),
            };
            findings.is_empty()
        });
        none(findings)
    }

    fn reload(&self, reload: Reload, expect_status: Option<u16>) -> Result<(), Findings> {
        if matches!(reload, Reload::Http) {
            let url = self.server.fill("http://127.0.0.1:{http}/-/reload");
            let status = minreq::post(url).with_timeout(5).send().map_err(finding)?.status_code;
            let is_expected = expect_status.is_none_or(|expected| expected == status);
            return none(if is_expected {
                Findings::new()
            } else {
                finding(format!("reload: expected {expect_status:?}, got {status}"))
            });
        }
        let before = self.reloads();
        self.signal("HUP")?;
        // A server without a mapping file counts nothing, so there is nothing to wait for.
        wait_until(Duration::from_millis(700), || self.reloads() != before);
        Ok(())
    }

    fn reloads(&self) -> Samples {
        let mut own = self.snapshot().map(|snapshot| snapshot.own).unwrap_or_default();
        own.retain(|series, _| series.starts_with("statsd_exporter_config_reloads_total"));
        own
    }

    fn relay(&self, step: &RelayStep) -> Result<(), Findings> {
        let wanted = step.packets.concat();
        let deadline = Instant::now() + Duration::from_millis(step.wait_ms);
        let mut got: Vec<String> = Vec::new();
        let mut buffer = vec![0; 70_000];
        loop {
            // After the last wanted byte a while more, to see what must not come.
            let is_complete = !wanted.is_empty() && got.concat().len() >= wanted.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = if is_complete { Duration::from_millis(150) } else { left };
            let patience = patience.max(Duration::from_millis(1));
            self.relay.set_read_timeout(Some(patience)).map_err(finding)?;
            let Ok(length) = self.relay.recv(&mut buffer) else { break };
            let datagram = buffer.get(..length).unwrap_or_default();
            got.push(String::from_utf8_lossy(datagram).into_owned());
        }
        let is_good = if step.exact { got == step.packets } else { got.concat() == wanted };
        // Lines that were sent thrice are relayed thrice; what is relayed does not pass the cache.
        let is_judged = matches!(self.looking, Looking::Comparing);
        if is_good || !is_judged {
            return Ok(());
        }
        Err(finding(format!("relayed: expected {:?}, got {got:?}", step.packets)))
    }

    // The process.

    fn signal(&self, name: &str) -> Result<(), Findings> {
        let signal = match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "TERM" => Signal::TERM,
            other => return Err(finding(format!("no signal {other}"))),
        };
        kill_process(Pid::from_child(&self.server.child), signal).map_err(finding)
    }

    fn exit(&mut self, expected: i32) -> Result<(), Findings> {
        self.has_ended = true;
        match exit_status(&mut self.server) {
            Some(status) if status.code() == Some(expected) => Ok(()),
            got => Err(finding(format!("exit: expected {expected}, got {got:?}"))),
        }
    }

    fn path(&self, step: &PathStep) -> Result<(), Findings> {
        let path = self.server.fill(&step.path.replace("{sock}", "{tmp}/s.sock"));
        let found = fs::metadata(&path);
        let mode = found.as_ref().ok().map(|file| file.permissions().mode() & 0o7777);
        let mode = mode.map(|mode| format!("0o{mode:o}"));
        let mode_is_good = step.expect_mode.is_none() || step.expect_mode == mode;
        if found.is_ok() == step.exists && mode_is_good {
            return Ok(());
        }
        Err(finding(format!("{path}: expected {step:?}, its mode is {mode:?}")))
    }

    fn log(&self, pattern: &str) -> Result<(), Findings> {
        let matches = wait_until(PAGE_TIMEOUT, || is_match(pattern, &self.server.output()));
        if matches {
            return Ok(());
        }
        Err(finding(format!("the log lacks {pattern}:\n{}", self.server.output())))
    }
}

/// Starts a process that has to end by itself.
fn ends(case: &Case, flags: &[&str], ending: &Ending, mode: Mode) -> Result<(), Findings> {
    let mut launch = case.launch(flags, 9);
    if mode == Mode::Check {
        launch.flags.push("--check-config".to_owned());
    }
    let mut server = Server::spawn(&launch).map_err(finding)?;
    let status = exit_status(&mut server).and_then(|status| status.code());
    let is_good = match ending {
        Ending::Status(expected) => status == Some(*expected),
        // A death by signal or by panic is no answer.
        Ending::Failure(_) => status.is_some_and(|status| status != 0 && status != 101),
    };
    let output = server.output();
    let says_it = case.output.as_ref().is_none_or(|pattern| is_match(pattern, &output));
    if is_good && says_it {
        return Ok(());
    }
    let expected = (ending, &case.output);
    Err(finding(format!("{mode:?}: expected {expected:?}, got {status:?} and:\n{output}")))
}

fn exit_status(server: &mut Server) -> Option<ExitStatus> {
    let mut status = None;
    wait_until(EXIT_TIMEOUT, || {
        status = server.child.try_wait().ok().flatten();
        status.is_some()
    });
    status
}

/// Ends our half and reads what the server says, until it closes.
fn finish(stream: &mut TcpStream) {
    // The server may have closed the connection already, which some cases are about.
    drop(stream.shutdown(Shutdown::Write));
    drop(stream.set_read_timeout(Some(Duration::from_millis(600))));
    drop(stream.read_to_end(&mut Vec::new()));
}

fn newlines(payload: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', payload).count() as u64
}

fn is_match(pattern: &str, text: &str) -> bool {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .build()
        .is_ok_and(|pattern| pattern.is_match(text))
}

fn none(findings: Findings) -> Result<(), Findings> {
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

#[expect(clippy::needless_pass_by_value, reason = "so that it serves as an argument of `map_err`")]
fn finding(finding: impl ToString) -> Findings {
    vec![finding.to_string()]
}
