//! Servers started for a run: a command with places for free ports, waited for, ended by its id.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::error::BenchError;
use super::payload::Payload;
use super::scrape::Scraper;
use super::target::Target;

/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const POLLED_EVERY: Duration = Duration::from_millis(5);
/// Ports can be taken between the moment they were free and the server's start.
const ATTEMPTS: usize = 3;
/// So much of a failed server's words is repeated.
const LAST_WORDS_BYTES: usize = 2_000;

/// A command that starts a server. `{udp}`, `{tcp}` and `{web}` stand for free ports, `{unix}` for
/// the path of a socket, `{mapping}` for the path of a file with the workload's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The page's path.
    pub page: String,
    /// Which of the server's listeners is loaded.
    pub transport: Transport,
}

/// A way to reach a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// UDP
    #[default]
    Udp,
    /// TCP
    Tcp,
    /// Unix datagrams
    Unixgram,
    /// Unix stream
    Unixstream,
}

impl Launch {
    /// Starts the server and waits until its page answers.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not answer in half a minute.
    pub fn start(&self, payload: &Payload) -> Result<Running, BenchError> {
        let mut attempt = 1;
        loop {
            let mut running = self.spawn(payload)?;
            match running.wait_ready() {
                Err(BenchError::NotReady { output, .. })
                    if attempt < ATTEMPTS && output.contains("in use") =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(running),
            }
        }
    }

    fn spawn(&self, payload: &Payload) -> Result<Running, BenchError> {
        let shown = self.command.join(" ");
        let failed = |source| BenchError::Start { command: shown.clone(), source };
        let dir = tempfile::tempdir().map_err(failed)?;
        let places = Places::new(&dir, payload).map_err(failed)?;
        let mut words = self.command.iter().map(|word| places.fill(word));
        let program = words.next().ok_or(BenchError::NoCommand)?;
        let log = dir.path().join("output");
        let output = File::create(&log).map_err(failed)?;
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        let target = places.target(self.transport);
        let url = format!("http://127.0.0.1:{}{}", places.web, self.page);
        Ok(Running { child, target, url, command: shown, log, started: Instant::now(), _dir: dir })
    }
}

/// What the places of a command are filled with.
#[derive(Debug)]
struct Places {
    udp: u16,
    tcp: u16,
    web: u16,
    unix: PathBuf,
    mapping: PathBuf,
}

impl Places {
    fn new(dir: &TempDir, payload: &Payload) -> io::Result<Self> {
        let mapping = dir.path().join("mapping.yml");
        fs::write(&mapping, payload.mapping().unwrap_or("mappings: []\n"))?;
        // All three are held until all are found, so that they differ.
        let udp = UdpSocket::bind(("127.0.0.1", 0))?;
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        let web = TcpListener::bind(("127.0.0.1", 0))?;
        Ok(Self {
            udp: udp.local_addr()?.port(),
            tcp: tcp.local_addr()?.port(),
            web: web.local_addr()?.port(),
            unix: dir.path().join("statsd.sock"),
            mapping,
        })
    }

    fn fill(&self, word: &str) -> String {
        word.replace("{udp}", &self.udp.to_string())
            .replace("{tcp}", &self.tcp.to_string())
            .replace("{web}", &self.web.to_string())
            .replace("{unix}", &self.unix.to_string_lossy())
            .replace("{mapping}", &self.mapping.to_string_lossy())
    }

    fn target(&self, transport: Transport) -> Target {
        match transport {
            Transport::Udp => Target::Udp(([127, 0, 0, 1], self.udp).into()),
            Transport::Tcp => Target::Tcp(([127, 0, 0, 1], self.tcp).into()),
            Transport::Unixgram => Target::UnixDatagram(self.unix.clone()),
            Transport::Unixstream => Target::UnixStream(self.unix.clone()),
        }
    }
}

/// A server that was started here; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where to send to.
    pub target: Target,
    /// The page's URL.
    pub url: String,
    /// What was started, places and all.
    pub command: String,
    log: PathBuf,
    started: Instant,
    _dir: TempDir,
}

impl Running {
    /// The process that was started. When that is a shell or a wrapper, the server is another.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what the server wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words = fs::read(&self.log).unwrap_or_default();
        let start = words.len().saturating_sub(LAST_WORDS_BYTES);
        String::from_utf8_lossy(words.get(start..).unwrap_or_default()).trim().to_owned()
    }

    /// Asks the server to end, waits, and returns how it did; kills it when it takes too long.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = id.is_some_and(|id| kill_process(id, Signal::TERM).is_ok());
        let deadline = Instant::now() + END_TIMEOUT;
        while asked && Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLLED_EVERY);
        }
        self.child.kill()?;
        self.child.wait()
    }

    fn wait_ready(&mut self) -> Result<(), BenchError> {
        let scraper = Scraper::new(&self.url, false)?;
        while self.started.elapsed() < START_TIMEOUT {
            if scraper.fetch().is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let killed = status.signal().is_some();
                return Err(self.not_ready(if killed { "was killed" } else { "ended at once" }));
            }
            thread::sleep(POLLED_EVERY);
        }
        Err(self.not_ready("does not answer; is its page on {web}?"))
    }

    fn not_ready(&self, what: &'static str) -> BenchError {
        BenchError::NotReady { command: self.command.clone(), what, output: self.last_words() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that cannot be ended or waited for has ended by itself.
        drop(self.end());
    }
}
