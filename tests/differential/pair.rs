//! The same input for both servers, and in what their answers differ.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::page::{Page, Ranges, Samples, differences, sample_differences};
use crate::proto;
use crate::rules::Rules;
use crate::server::{Launch, Server, wait_until};

const VERSION: &str = "github.com/prometheus/statsd_exporter@v0.31.0";

const TIMEOUT: Duration = Duration::from_secs(5);

/// Summaries are exact up to so many samples; beyond, both are approximate in their own ways.
const EXACT_SAMPLES: f64 = 64.0;

/// What carries the lines; neither loses any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One connection.
    Tcp,
    /// Datagrams of a few lines.
    Unixgram,
}

/// Everything that both servers are given.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The mapping file.
    pub(crate) rules: Option<Rules>,
    /// Flags that both know.
    pub(crate) flags: Vec<&'static str>,
    /// How the lines come.
    pub(crate) transport: Transport,
    /// What is sent: one datagram each, or one line each on a connection.
    pub(crate) datagrams: Vec<Vec<u8>>,
}

/// What a server says in the end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The families of users.
    pub(crate) page: Page,
    /// What became of the lines.
    pub(crate) own: Samples,
    /// The families of users as protobuf, for the native histograms.
    proto: Value,
}

/// Finds the reference's program, or builds it.
///
/// # Errors
/// Says what is missing.
pub(crate) fn reference() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("STATSD_EXPORTER") {
        return Ok(PathBuf::from(path));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("peers");
    let program = peers.join("statsd_exporter");
    if program.exists() {
        return Ok(program);
    }
    let status = Command::new("go").args(["install", VERSION]).env("GOBIN", &peers).status();
    match status {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("`go install {VERSION}` failed: {status}")),
        Err(error) => Err(format!("{VERSION} is missing, and so is Go to build it: {error}")),
    }
}

impl Input {
    /// Gives everything to a server and waits until it counted the lines.
    ///
    /// # Errors
    /// When the server does not start.
    pub(crate) fn ask(&self, mut launch: Launch) -> Result<Asked, String> {
        launch.flags.push("--statsd.listen-unixgram={tmp}/s.sock".to_owned());
        launch.flags.extend(self.flags.iter().map(ToString::to_string));
        if let Some(rules) = &self.rules {
            launch.flags.push("--statsd.mapping-config={tmp}/mapping.yml".to_owned());
            launch.files.push(("mapping.yml".to_owned(), rules.text().into_bytes()));
        }
        let server = Server::start(&launch)?;
        // A server that dies while it is sent to is found out below.
        drop(self.send(&server));
        let lines = self.lines() as f64;
        wait_until(TIMEOUT, || {
            server.total("/metrics", "statsd_exporter_lines_total").is_none_or(|n| n >= lines)
        });
        Ok(Asked { server })
    }

    fn send(&self, server: &Server) -> io::Result<()> {
        match self.transport {
            Transport::Unixgram => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(server.fill("{tmp}/s.sock"))?;
                self.datagrams.iter().try_for_each(|datagram| socket.send(datagram).map(drop))
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(server.fill("127.0.0.1:{tcp}"))?;
                stream.write_all(&self.datagrams.join(&b'\n'))?;
                stream.write_all(b"\n")?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
        }
    }

    fn lines(&self) -> usize {
        self.datagrams.iter().map(|datagram| datagram.split(|byte| *byte == b'\n').count()).sum()
    }
}

/// A server that took its input.
#[derive(Debug)]
pub(crate) struct Asked {
    server: Server,
}

impl Asked {
    /// The page as it is; `None` when there is none.
    ///
    /// # Errors
    /// When the page is not one that Prometheus reads.
    pub(crate) fn answer(&self) -> Result<Option<Answer>, String> {
        let Ok(reply) = self.server.get("/metrics") else { return Ok(None) };
        if reply.status_code != 200 {
            return Ok(None);
        }
        let text = reply.as_str().map_err(|error| error.to_string())?;
        let (page, mut own) = Page::parse(text)?.split();
        // The reference sets the length from a goroutine for each entry, in any order.
        own.retain(|name, value| *value != 0.0 && name != "statsd_metric_mapper_cache_length");
        let url = self.server.fill("http://127.0.0.1:{http}/metrics");
        let request = minreq::get(url).with_header("Accept", proto::ACCEPT).with_timeout(5);
        let reply = request.send().map_err(|error| error.to_string())?;
        if reply.status_code != 200 {
            return Ok(None);
        }
        Ok(Some(Answer { page, own, proto: proto::families(&reply)? }))
    }
}

/// Says in what our answer differs from the reference's.
pub(crate) fn answer_differences(reference: &Answer, ours: &Answer) -> Vec<String> {
    let mut found =
        differences(&exact_part(&reference.page), &exact_part(&ours.page), &Ranges::new());
    found.extend(sample_differences(&reference.own, &ours.own, &Ranges::new()));
    found.extend(proto::differences(&reference.proto, &ours.proto));
    found
}

/// A page without the quantiles that nobody computes exactly.
fn exact_part(page: &Page) -> Page {
    let mut page = page.clone();
    for (name, family) in &mut page.families {
        let all = family.samples.clone();
        family.samples.retain(|series, _| {
            let Some(labels) = labels_beside_quantile(name, series) else { return true };
            let of = |part: &str| all.get(&format!("{name}{part}{labels}")).copied();
            let is_small = of("_count").is_some_and(|count| count <= EXACT_SAMPLES);
            // Where NaN is among the samples, their order is anybody's.
            is_small && of("_sum").is_some_and(|sum| !sum.is_nan())
        });
    }
    page
}

/// The label block of a quantile's series without the quantile; `None` for any other series.
fn labels_beside_quantile(name: &str, series: &str) -> Option<String> {
    let (before, after) = series.strip_prefix(name)?.split_once("quantile=\"")?;
    let (_, after) = after.split_once('"')?;
    let labels = format!("{before}{after}").replace(",,", ",").replace("{,", "{");
    let labels = labels.replace(",}", "}");
    Some(if labels == "{}" { String::new() } else { labels })
}
