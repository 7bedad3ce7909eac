//! A server under test: its process, its directory and its ports.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use parking_lot::Mutex;
use tempfile::TempDir;

/// How long a server may take to answer its first request, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Another process may take a port between our look at it and the server's own.
const START_ATTEMPTS: usize = 5;

/// Flags that the reference can do without when the tests themselves are checked against it.
const OUR_FLAGS: [&str; 3] = ["--compat=", "--lanes=", "--line-cache."];

/// Ports below the range that Linux hands out for outgoing connections.
const PORTS: std::ops::Range<u16> = 10_500..31_500;

/// Ports given to servers of this process that still run.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// What to start. In flags and files `{http}`, `{udp}` and `{tcp}` stand for the server's ports,
/// `{tmp}` for its directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// The executable.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) flags: Vec<String>,
    /// Variables added to the environment.
    pub(crate) env: Vec<(String, String)>,
    /// Names and contents of the files in its directory.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Launch {
    /// Starts the tallyd of this build, or `$TALLYD_BIN`, on loopback; `flags` come last.
    ///
    /// `TALLYD_BIN=…/statsd_exporter` checks the tests themselves against the reference.
    pub(crate) fn tallyd(flags: &[&str]) -> Self {
        let program = env::var_os("TALLYD_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tallyd")), PathBuf::from);
        Self::program(program, flags)
    }

    /// Starts `program` on loopback ports; `flags` come last and replace ours.
    pub(crate) fn program(program: PathBuf, flags: &[&str]) -> Self {
        let defaults = [
            "--web.listen-address=127.0.0.1:{http}",
            "--statsd.listen-udp=127.0.0.1:{udp}",
            "--statsd.listen-tcp=127.0.0.1:{tcp}",
            "--statsd.event-flush-interval=10ms",
        ];
        let name = |flag: &str| flag.split('=').next().map(ToOwned::to_owned);
        let is_kept = |flag: &&&str| flags.iter().all(|given| name(given) != name(flag));
        let flags = defaults.iter().filter(is_kept).chain(flags).map(ToString::to_string).collect();
        Self { program, flags, ..Self::default() }
    }
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// The process.
    pub(crate) child: Child,
    /// Where it runs: its files, and `stdout` and `stderr`.
    pub(crate) dir: TempDir,
    ports: [u16; 3],
}

impl Server {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// What it wrote, when it ended or did not answer in time.
    pub(crate) fn start(launch: &Launch) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut server = Self::spawn(launch).map_err(|error| error.to_string())?;
            match server.wait_ready() {
                Ok(()) => return Ok(server),
                Err(output) if output.contains("in use") => last = output,
                Err(output) => return Err(output),
            }
        }
        Err(last)
    }

    /// Starts a process and leaves open whether it will ever answer.
    ///
    /// # Errors
    /// When the directory or the process cannot be made.
    pub(crate) fn spawn(launch: &Launch) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let ports = [free_port(), free_port(), free_port()];
        let fill = |text: &str| fill(text, &dir, ports);
        for (name, content) in &launch.files {
            let content = std::str::from_utf8(content)
                .map_or_else(|_| content.clone(), |text| fill(text).into_bytes());
            fs::write(dir.path().join(name), content)?;
        }
        let is_reference = launch.program.ends_with("statsd_exporter");
        let is_ours = |flag: &str| OUR_FLAGS.iter().any(|ours| flag.starts_with(ours));
        let is_known = |flag: &&String| !(is_reference && is_ours(flag));
        let child = Command::new(&launch.program)
            .args(launch.flags.iter().filter(is_known).map(|flag| fill(flag)))
            .envs(launch.env.iter().cloned())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(dir.path().join("stdout"))?)
            .stderr(File::create(dir.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, dir, ports })
    }

    /// Puts this server's ports and directory in the place of `{http}`, `{udp}`, `{tcp}`, `{tmp}`.
    pub(crate) fn fill(&self, text: &str) -> String {
        fill(text, &self.dir, self.ports)
    }

    /// Asks for a page.
    ///
    /// # Errors
    /// When there was no whole answer, whatever its status.
    pub(crate) fn get(&self, path: &str) -> Result<minreq::Response, minreq::Error> {
        minreq::get(self.fill("http://127.0.0.1:{http}") + path).with_timeout(5).send()
    }

    /// The sum of a metric's series on the page; `None` when it has none, or there is no page.
    pub(crate) fn total(&self, path: &str, metric: &str) -> Option<f64> {
        let page = self.get(path).ok()?;
        let series = page.as_str().ok()?.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let value = rest.rsplit(' ').next()?;
            if rest.starts_with([' ', '{']) { value.parse::<f64>().ok() } else { None }
        });
        series.reduce(|sum, value| sum + value)
    }

    /// What the process wrote so far.
    pub(crate) fn output(&self) -> String {
        let read = |name: &str| fs::read(self.dir.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("stdout"), read("stderr")].concat()).into_owned()
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let mut ready = false;
        wait_until(START_TIMEOUT, || {
            ready = self.get("/-/healthy").is_ok_and(|reply| reply.status_code == 200);
            ready || !matches!(self.child.try_wait(), Ok(None))
        });
        match self.child.try_wait() {
            Ok(None) if ready => Ok(()),
            Ok(None) => Err(format!("no answer in {START_TIMEOUT:?}\n{}", self.output())),
            ended => Err(format!("ended at its start: {ended:?}\n{}", self.output())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail for a process that ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
        TAKEN.lock().retain(|port| !self.ports.contains(port));
    }
}

/// Asks again and again, and says whether `condition` came true in time.
pub(crate) fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(4);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
    true
}

fn fill(text: &str, dir: &TempDir, ports: [u16; 3]) -> String {
    let text = text.replace("{tmp}", &dir.path().to_string_lossy());
    ["{http}", "{udp}", "{tcp}"]
        .iter()
        .zip(ports)
        .fold(text, |text, (name, port)| text.replace(name, &port.to_string()))
}

/// A port that is free for TCP and UDP; the reference cannot be asked which port 0 became.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(PORTS);
        let is_ours = TAKEN.lock().insert(port);
        if is_ours
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok()
        {
            return port;
        }
    }
}
