//! A case as the files in `tests/data/conformance` write it, and how it wants its server started.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::page::{Page, Ranges, Samples};
use crate::server::Launch;

/// One server, what is sent to it, and what its page shows in the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key that a case may have")]
pub(crate) struct Case {
    /// Unique within its area.
    pub(crate) name: String,
    /// The file it is in.
    pub(crate) area: String,
    /// Where it comes from: `own`, or a test of the reference.
    pub(crate) origin: String,
    /// What it shows.
    pub(crate) desc: String,
    /// Why the reference's behaviour is doubtful.
    pub(crate) quirk: Option<String>,
    mapping: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    raw_flags: bool,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    unixgram: bool,
    #[serde(default)]
    relay: bool,
    /// The seconds it needs at least.
    #[serde(default)]
    pub(crate) slow: u64,
    /// What happens, in order.
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    expect: Option<Vec<String>>,
    expect_self: Option<Samples>,
    expect_status: Option<u16>,
    #[serde(default)]
    no_self: bool,
    /// Approximate samples.
    #[serde(default)]
    pub(crate) ranges: Ranges,
    /// The only families looked at, when there are any.
    #[serde(default)]
    pub(crate) only_families: Vec<String>,
    /// Own metrics not looked at.
    #[serde(default)]
    pub(crate) ignore_self: Vec<String>,
    /// Whether the mapper cache's metrics are looked at.
    #[serde(default)]
    pub(crate) check_cache: bool,
    /// Where the page is.
    #[serde(default = "default_metrics_path")]
    pub(crate) metrics_path: String,
    /// How the process has to end by itself.
    pub(crate) exit: Option<Ending>,
    #[serde(default = "default_modes")]
    pub(crate) modes: Vec<Mode>,
    /// What it has to write then.
    pub(crate) output: Option<String>,
}

/// The status a process ends with.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ending {
    /// This very status.
    Status(i32),
    /// Any but 0; the word is `nonzero`.
    Failure(IgnoredAny),
}

/// How a process is started that has to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// As a server.
    Start,
    /// With `--check-config`.
    Check,
}

/// What is compared with a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point<'a> {
    /// The page's lines without the server's own.
    pub(crate) page: Option<&'a [String]>,
    /// By how much own metrics grew; `None` when nobody asks.
    pub(crate) own: Option<&'a Samples>,
    /// The answer's status.
    pub(crate) status: u16,
}

/// What carries a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A datagram to the UDP port.
    Udp,
    /// Bytes on a TCP connection.
    Tcp,
    /// A datagram to the Unix socket.
    Unixgram,
}

/// How a reload is asked for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reload {
    /// POST to `/-/reload`.
    Http,
    /// SIGHUP.
    Hup,
}

/// A request, and which parts of the answer count.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default = "default_method")]
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default, rename = "check_headers")]
    _check_headers: IgnoredAny,
    #[serde(default, rename = "exact_body")]
    _exact_body: IgnoredAny,
}

/// The answer that is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpStep {
    pub(crate) http: Request,
    pub(crate) expect_status: Option<u16>,
    pub(crate) expect_body: Option<String>,
    #[serde(default)]
    pub(crate) expect_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body_contains: Vec<String>,
    #[serde(default)]
    pub(crate) body_lacks: Vec<String>,
}

/// A payload and its way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendStep {
    pub(crate) send: Transport,
    text: Option<String>,
    b64: Option<String>,
    #[serde(default = "once")]
    pub(crate) times: usize,
    /// The name of a connection that stays open.
    pub(crate) conn: Option<String>,
    /// Whether the server may close the connection meanwhile.
    #[serde(default)]
    pub(crate) may_break: bool,
}

/// How a connection that stayed open is closed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseStep {
    pub(crate) close: String,
    #[serde(default)]
    pub(crate) rst: bool,
    /// The unfinished lines that count once it is closed.
    #[serde(default)]
    pub(crate) adds_line: u64,
}

/// What the relay's target has to receive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RelayStep {
    #[serde(rename = "relay_recv")]
    _relay_recv: IgnoredAny,
    pub(crate) wait_ms: u64,
    pub(crate) packets: Vec<String>,
    /// Whether the bounds of the datagrams count, too.
    #[serde(default)]
    pub(crate) exact: bool,
}

/// What a file has to be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathStep {
    pub(crate) path: String,
    pub(crate) exists: bool,
    #[serde(default, rename = "mode")]
    _mode: IgnoredAny,
    /// Permissions as Python's `oct` writes them.
    pub(crate) expect_mode: Option<String>,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Step {
    Send(SendStep),
    Close(CloseStep),
    Http(HttpStep),
    Relay(RelayStep),
    Path(PathStep),
    RewriteMapping {
        rewrite_mapping: String,
    },
    RemoveMapping {
        #[serde(rename = "remove_mapping")]
        _it: IgnoredAny,
    },
    Reload {
        reload: Reload,
        expect_status: Option<u16>,
    },
    Scrape {
        #[serde(rename = "scrape")]
        _it: IgnoredAny,
        expect: Vec<String>,
        expect_self: Samples,
    },
    Proto {
        #[serde(rename = "proto")]
        _it: IgnoredAny,
        expect_proto: serde_json::Value,
    },
    Signal {
        signal: String,
    },
    Exit {
        #[serde(rename = "exit")]
        _it: IgnoredAny,
        exit_code: i32,
    },
    Sleep {
        sleep_ms: u64,
    },
    Log {
        log: String,
    },
}

impl Case {
    /// Area and name.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.area, self.name)
    }

    /// What the page shows when all steps are done.
    pub(crate) fn end(&self) -> Point<'_> {
        Point {
            page: self.expect.as_deref(),
            own: self.expect_self.as_ref().filter(|_| !self.no_self),
            status: self.expect_status.unwrap_or(200),
        }
    }

    /// The server it wants, with `flags` besides its own; `relay_port` receives what is relayed.
    pub(crate) fn launch(&self, flags: &[&str], relay_port: u16) -> Launch {
        let paths = |text: &str| {
            text.replace("{sock}", "{tmp}/s.sock")
                .replace("{mapping}", "{tmp}/mapping.yml")
                .replace("{relay}", &relay_port.to_string())
        };
        let mut own = Vec::new();
        let wanted = [
            (self.mapping.is_some(), "--statsd.mapping-config={mapping}"),
            (self.unixgram, "--statsd.listen-unixgram={sock}"),
            (self.relay, "--statsd.relay.address=127.0.0.1:{relay}"),
        ];
        own.extend(wanted.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, flag)| paths(flag)));
        own.extend(self.flags.iter().map(|flag| paths(flag)));
        own.extend(flags.iter().map(ToString::to_string));
        let mut launch = Launch::tallyd(&own.iter().map(String::as_str).collect::<Vec<_>>());
        if self.raw_flags {
            launch.flags = own;
        }
        launch.env = self.env.clone().into_iter().collect();
        launch.files = self
            .files
            .iter()
            .map(|(name, text)| (name.clone(), paths(text).into_bytes()))
            .collect();
        if let Some(mapping) = &self.mapping {
            launch.files.push(("mapping.yml".to_owned(), file_content(mapping)));
        }
        launch
    }

    /// The same case with each datagram sent `times` times and nothing expected of single answers.
    pub(crate) fn repeated(&self, times: usize) -> Self {
        let mut case = self.clone();
        // Which names a full mapper cache forgets is nobody's business.
        case.check_cache &= case.quirk.is_none();
        for step in &mut case.steps {
            match step {
                Step::Send(send) if send.send != Transport::Tcp => send.times *= times,
                Step::Http(http) => {
                    http.expect_body = None;
                    http.body_contains.clear();
                }
                _ => {}
            }
        }
        case
    }

    /// Whether a datagram is sent at all.
    pub(crate) fn sends_datagrams(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Send(send) if send.send != Transport::Tcp))
    }
}

impl SendStep {
    /// The bytes to send.
    pub(crate) fn payload(&self) -> Vec<u8> {
        match (&self.b64, &self.text) {
            (Some(b64), _) => from_base64(b64),
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
        }
    }
}

impl Point<'_> {
    /// The page that is expected.
    ///
    /// # Errors
    /// When the case itself is not right.
    pub(crate) fn parsed_page(&self) -> Result<Page, String> {
        Page::parse(&self.page.unwrap_or_default().join("\n"))
    }
}

impl Step {
    /// Whether the lines sent by this step may still be on their way when `next` begins.
    pub(crate) fn has_to_settle_before(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Send(_), Self::Scrape { .. }) => false,
            (Self::Send(send), Self::Send(next)) => {
                send.send != next.send || send.send == Transport::Tcp
            }
            (Self::Send(_), _) => true,
            _ => false,
        }
    }

    /// How long it takes by itself.
    pub(crate) fn pause(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}

/// Text as it is; bytes that are no text stand behind `b64:`.
pub(crate) fn file_content(text: &str) -> Vec<u8> {
    text.strip_prefix("b64:").map_or_else(|| text.as_bytes().to_vec(), from_base64)
}

#[expect(clippy::expect_used, reason = "a case that is not base64 has to be repaired")]
fn from_base64(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).expect("`b64` holds base64")
}

fn default_metrics_path() -> String {
    "/metrics".to_owned()
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_modes() -> Vec<Mode> {
    vec![Mode::Start]
}

fn once() -> usize {
    1
}
