//! The command line as written: every flag of `statsd_exporter` 0.31 under its own name, and ours.
//!
//! What kingpin, the reference's parser, makes of a command line holds here as well: `--no-x` for
//! every flag without a value, `--flag value` and `--flag=value`, no flag twice but for addresses,
//! arguments from an `@file`.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use thiserror::Error;

use super::grafana::GrafanaFlags;
use super::joined::JoinedFlags;
use super::limits::{LimitFlags, TagFlags};
use super::listen::{ListenFlags, WebFlags};
use super::multiproc::MultiprocFlags;
use super::preset::PresetFlags;
use super::saturation::SaturationFlags;
use super::state::RestartFlags;
use super::ttl::TtlFlags;
use super::units::{parse_bytes, parse_count, parse_interval};
use super::workers::WorkerFlags;
use crate::compat::Compat;
use crate::map::cache::Eviction;
use crate::parse;
use crate::telemetry::log;

const DEFAULT_WEB_ADDRESS: &str = ":9102";
const DEFAULT_TELEMETRY_PATH: &str = "/metrics";
const DEFAULT_STATSD_ADDRESS: &str = ":9125";
/// A lane has threads and buffers of its own; more than this is a slip of the pen.
const MAX_LANES: i64 = 256;
const DEFAULT_SOCKET_MODE: &str = "755";
const DEFAULT_MAPPER_CACHE_ENTRIES: &str = "1000";
const DEFAULT_LINE_CACHE_BYTES: &str = "256MiB";
/// What fits into an Ethernet frame after the headers of IP and UDP, with room for a tunnel's.
const DEFAULT_RELAY_PACKET_BYTES: &str = "1400";
/// Far more than anyone nests; files that name each other would be read for ever.
const MAX_ARGUMENT_FILES: usize = 100;

/// The flags as given; [`Config`](super::Config) is made of them.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tallyd",
    version,
    about = "Takes StatsD and DogStatsD datagrams and exposes what they say to Prometheus.",
    after_help = "A flag without a value has an opposite: --no-FLAG for --FLAG. Arguments are also \
                  read from a file given as @FILE, one on each line.\n\n\
                  Presets: aiodogstatsd, airflow, airflow-tags, consul, django-statsd, envoy, \
                  gunicorn, jupyterhub-chp, kong, spark, superset, swift, traefik, uwsgi, vault.",
    override_usage = "tallyd [FLAGS]\n       \
                      tallyd check FILE…        checks mapping files; see tallyd check --help\n       \
                      tallyd explain LINE…      tells what becomes of a line; see tallyd explain --help\n       \
                      tallyd bench [COMMAND]    loads a StatsD server; see tallyd bench --help\n       \
                      tallyd grafana COMMAND    dashboards, and Grafana; see tallyd grafana --help",
    disable_help_flag = true,
    disable_version_flag = true,
    next_help_heading = "General"
)]
pub struct Cli {
    /// Whose rules apply to lines [reference, extended]
    #[arg(long, value_name = "MODE", default_value = "extended", hide_possible_values = true)]
    pub compat: Compat,
    /// Check the mapping file and the web config, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version and exit
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Where lines come from.
    #[command(flatten)]
    pub receiving: Receiving,
    /// More about where lines come from.
    #[command(flatten)]
    pub listen: ListenFlags,
    /// How lines are read.
    #[command(flatten)]
    pub parsing: Parsing,
    /// What samples become.
    #[command(flatten)]
    pub mapping: Mapping,
    /// Which mappings of tallyd's own come behind.
    #[command(flatten)]
    pub preset: PresetFlags,
    /// How long series live.
    #[command(flatten)]
    pub ttl: TtlFlags,
    /// How Prometheus gets them.
    #[command(flatten)]
    pub exposing: Exposing,
    /// More about where HTTP is spoken.
    #[command(flatten)]
    pub web: WebFlags,
    /// Where lines are passed on to.
    #[command(flatten)]
    pub relaying: Relaying,
    /// What is said on stderr.
    #[command(flatten)]
    pub logging: Logging,
    /// What is kept across restarts.
    #[command(flatten)]
    pub restarts: RestartFlags,
    /// What workers leave in files.
    #[command(flatten)]
    pub multiproc: MultiprocFlags,
    /// Whose families go first.
    #[command(flatten)]
    pub joined: JoinedFlags,
    /// Whose workers are looked at.
    #[command(flatten)]
    pub workers: WorkerFlags,
    /// Where dashboards are kept.
    #[command(flatten)]
    pub grafana: GrafanaFlags,
    /// Which servers of others are watched.
    #[command(flatten)]
    pub saturation: SaturationFlags,
    /// How much clients may bring.
    #[command(flatten)]
    pub limits: LimitFlags,
    /// What becomes of their tags.
    #[command(flatten)]
    pub tags: TagFlags,
    /// How long the reference would let events wait.
    #[command(flatten)]
    pub queues: Queues,
}

/// Flags about sockets and the threads that read them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Receiving")]
pub struct Receiving {
    /// UDP address; empty: none; repeatable
    #[arg(long = "statsd.listen-udp", value_name = "ADDRESS", default_value = DEFAULT_STATSD_ADDRESS)]
    pub listen_udp: Vec<String>,
    /// TCP address; empty: none; repeatable
    #[arg(long = "statsd.listen-tcp", value_name = "ADDRESS", default_value = DEFAULT_STATSD_ADDRESS)]
    pub listen_tcp: Vec<String>,
    /// Unix datagram socket; repeatable
    #[arg(long = "statsd.listen-unixgram", value_name = "PATH", value_parser = any_path())]
    pub listen_unixgram: Vec<PathBuf>,
    /// Permissions of Unix sockets, octal
    #[arg(long = "statsd.unixsocket-mode", value_name = "MODE", default_value = DEFAULT_SOCKET_MODE)]
    pub unixsocket_mode: String,
    /// Receive buffer; 0: kernel's [default: ask for 8 MiB]
    #[arg(long = "statsd.read-buffer", value_name = "BYTES", value_parser = parse_count)]
    pub read_buffer: Option<usize>,
    /// Receiving threads [default: one per CPU, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_LANES))]
    pub lanes: Option<u16>,
    /// Memory for known lines; 0: no cache
    #[arg(long = "line-cache.max-bytes", value_name = "BYTES", default_value = DEFAULT_LINE_CACHE_BYTES, value_parser = parse_bytes)]
    pub line_cache_bytes: usize,
}

/// Flags about tags.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Parsing")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Parsing {
    /// Do not take `a:1|c|#key:value`
    #[arg(long = "no-statsd.parse-dogstatsd-tags")]
    pub no_dogstatsd_tags: bool,
    /// Do not take `a,key=value:1|c`
    #[arg(long = "no-statsd.parse-influxdb-tags")]
    pub no_influxdb_tags: bool,
    /// Do not take `a#key=value:1|c`
    #[arg(long = "no-statsd.parse-librato-tags")]
    pub no_librato_tags: bool,
    /// Do not take `a[key=value]:1|c`
    #[arg(long = "no-statsd.parse-signalfx-tags")]
    pub no_signalfx_tags: bool,
    /// Take `a;key=value:1|c`
    #[arg(long = "statsd.parse-graphite-tags")]
    pub graphite_tags: bool,
}

impl Parsing {
    /// The dialects that the flags leave.
    #[must_use]
    pub fn options(&self, compat: Compat) -> parse::Options {
        parse::Options {
            dogstatsd_tags: !self.no_dogstatsd_tags,
            influxdb_tags: !self.no_influxdb_tags,
            librato_tags: !self.no_librato_tags,
            signalfx_tags: !self.no_signalfx_tags,
            graphite_tags: self.graphite_tags,
            compat,
        }
    }
}

/// Flags about the mapping file.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mapping")]
pub struct Mapping {
    /// Mapping file; read again on SIGHUP
    #[arg(long = "statsd.mapping-config", value_name = "FILE", default_value = "", hide_default_value = true, value_parser = any_path())]
    pub file: PathBuf,
    /// Size of the mapping cache; 0: none
    #[arg(long = "statsd.cache-size", value_name = "N", default_value = DEFAULT_MAPPER_CACHE_ENTRIES, value_parser = parse_count)]
    pub cache_size: usize,
    /// What a full cache gives up [lru, random]
    #[arg(
        long = "statsd.cache-type",
        value_name = "TYPE",
        default_value = "lru",
        hide_possible_values = true
    )]
    pub cache_type: Eviction,
    /// Write the glob rules as a Graphviz file
    #[arg(long = "debug.dump-fsm", value_name = "FILE", default_value = "", hide_default_value = true, value_parser = any_path())]
    pub dump_fsm: PathBuf,
}

/// Flags about HTTP.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Exposing")]
pub struct Exposing {
    /// Address for HTTP, or unix:PATH; repeatable
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = DEFAULT_WEB_ADDRESS)]
    pub listen_address: Vec<String>,
    /// Path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = DEFAULT_TELEMETRY_PATH)]
    pub telemetry_path: String,
    /// Serve /-/reload and /-/quit
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
    /// Offer OpenMetrics; it adds `_total` to the names of counters
    #[arg(long = "web.enable-openmetrics")]
    pub enable_openmetrics: bool,
}

/// Flags about the relay.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Relaying")]
pub struct Relaying {
    /// Pass every line on to this UDP address (host:port)
    #[arg(
        long = "statsd.relay.address",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub address: String,
    /// Longest datagram to pass on
    #[arg(long = "statsd.relay.packet-length", value_name = "BYTES", default_value = DEFAULT_RELAY_PACKET_BYTES, value_parser = parse_count)]
    pub packet_length: usize,
}

/// Flags about the log.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Least severity to log [debug, info, warn, error]
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        hide_possible_values = true
    )]
    pub level: log::Level,
    /// Format of the log [logfmt, json]
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        default_value = "logfmt",
        hide_possible_values = true
    )]
    pub format: log::Format,
}

/// Flags about the reference's queues. There is nothing here that they could size, but charts and
/// unit files pass them, and a bad value is still an error.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Accepted for compatibility")]
pub struct Queues {
    /// Does nothing: there is no event queue
    #[arg(long = "statsd.event-queue-size", value_name = "N", value_parser = parse_count)]
    _event_queue_size: Option<usize>,
    /// Delays events under --compat=reference; else nothing
    #[arg(long = "statsd.event-flush-threshold", value_name = "N", value_parser = parse_count)]
    pub event_flush_threshold: Option<usize>,
    /// Longest such delay
    #[arg(
        long = "statsd.event-flush-interval",
        value_name = "TIME",
        default_value = "200ms",
        value_parser = parse_interval
    )]
    pub event_flush_interval: Duration,
    /// Does nothing: there is no queue behind the kernel's
    #[arg(long = "statsd.udp-packet-queue-size", value_name = "N", value_parser = parse_count)]
    _udp_packet_queue_size: Option<usize>,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// To serve.
    Serve(Box<Cli>),
    /// To be told something, and no more.
    Show(Answer),
}

/// The text that `--help` or `--version` asks for.
#[derive(Debug)]
pub struct Answer(clap::Error);

impl Answer {
    /// Prints the text to stdout.
    ///
    /// # Errors
    /// Whatever stdout has to say.
    pub fn print(&self) -> io::Result<()> {
        self.0.print()
    }
}

/// Why a command line cannot be obeyed.
#[derive(Debug, Error)]
pub enum CliError {
    /// A flag or a value is not as it should be; the text says which and why, in one line.
    #[error("{0}, try --help")]
    Flag(String),
    /// An `@file` cannot be read.
    #[error("cannot read arguments from a file")]
    ReadArguments(#[source] io::Error),
    /// More argument files than anyone needs.
    #[error("more than {MAX_ARGUMENT_FILES} argument files; does an `@file` name itself?")]
    TooManyFiles,
}

impl Cli {
    /// Reads a command line, the program's own name first.
    ///
    /// # Errors
    /// [`CliError::Flag`] for everything that is wrong with a flag; the others tell of `@file`s.
    pub fn from_args(args: impl Iterator<Item = OsString>) -> Result<Request, CliError> {
        let args = expand_files(args.skip(1))?;
        let program = OsString::from("tallyd");
        let parsed = command_with_opposites()
            .try_get_matches_from(std::iter::once(program).chain(args))
            .and_then(|matches| {
                refuse_secrets(&matches)?;
                Self::from_arg_matches(&matches)
            });
        match parsed {
            Ok(cli) => Ok(Request::Serve(Box::new(cli))),
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Request::Show(Answer(error)))
                }
                _ => Err(CliError::Flag(in_one_line(&error))),
            },
        }
    }
}

/// A server runs for long, and everybody on its machine can read how it was started.
fn refuse_secrets(matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_flag = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let Some(secret) = ["token", "password"].into_iter().find(is_flag) else { return Ok(()) };
    let problem = format!(
        "--grafana.{secret} on the command line of a server can be read by everybody on the machine; \
         use --grafana.{secret}-file or the variable GRAFANA_{}",
        secret.to_ascii_uppercase()
    );
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, problem))
}

/// Puts the lines of every `@file` in its place, as kingpin does: blank lines and those that begin
/// with `#` are left out, and a line may name another file.
fn expand_files(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, CliError> {
    let files = Cell::new(0);
    let parse_lines = |content: &str, prefix| {
        files.set(files.get() + 1);
        if files.get() > MAX_ARGUMENT_FILES {
            return Vec::new();
        }
        let is_argument = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        content
            .lines()
            .filter(is_argument)
            .map(|line| argfile::Argument::parse_ref(line, prefix))
            .collect()
    };
    let expanded = argfile::expand_args_from(args, parse_lines, argfile::PREFIX)
        .map_err(CliError::ReadArguments)?;
    if files.get() > MAX_ARGUMENT_FILES { Err(CliError::TooManyFiles) } else { Ok(expanded) }
}

/// The command, with `--no-x` beside every `--x` that takes no value and the other way round.
///
/// Only one of the two differs from the default and has a field; the other one is taken, and may
/// not stand beside it.
fn command_with_opposites() -> clap::Command {
    let command = Cli::command();
    let opposites: Vec<Arg> = command.get_arguments().filter_map(opposite).collect();
    command.args(opposites)
}

fn opposite(switch: &Arg) -> Option<Arg> {
    if !matches!(switch.get_action(), ArgAction::SetTrue) {
        return None;
    }
    let name = switch.get_long()?;
    let name = name.strip_prefix("no-").map_or_else(|| format!("no-{name}"), str::to_owned);
    let arg = Arg::new(name.clone()).long(name).action(ArgAction::SetTrue);
    Some(arg.hide(true).conflicts_with(switch.get_id()))
}

/// What clap says over several lines, without its `error:` and the usage.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraphs = text.split("\n\n").filter(|paragraph| {
        !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
    });
    let paragraphs = paragraphs.map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = paragraphs.collect::<Vec<_>>().join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Any path; clap's own reader of paths refuses the empty one, which turns things off here.
pub(super) fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_fit_together() {
        command_with_opposites().debug_assert();
    }

    #[test]
    fn every_flag_of_the_reference_is_taken() {
        let arguments = "--web.listen-address=:9102 --no-web.enable-lifecycle \
            --web.telemetry-path=/metrics --statsd.listen-udp=:9125 --statsd.listen-tcp=:9125 \
            --statsd.listen-unixgram=/run/s --statsd.unixsocket-mode=755 \
            --statsd.mapping-config=/etc/m.yml --statsd.read-buffer=1000 --statsd.cache-size=1000 \
            --statsd.cache-type=lru --statsd.event-queue-size=10000 \
            --statsd.event-flush-threshold=1000 --statsd.event-flush-interval=200ms \
            --debug.dump-fsm=/tmp/f --no-check-config --statsd.parse-dogstatsd-tags \
            --statsd.parse-influxdb-tags --statsd.parse-librato-tags --statsd.parse-signalfx-tags \
            --statsd.relay.address=h:1 --statsd.relay.packet-length=1400 \
            --statsd.udp-packet-queue-size=10000 --log.level=info --log.format=logfmt";
        serves(&arguments.split_ascii_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_value_may_stand_behind_a_blank_and_be_empty() {
        assert_eq!(serves(&["--statsd.cache-size", "5"]).mapping.cache_size, 5);
        assert_eq!(serves(&["--statsd.listen-udp="]).receiving.listen_udp, [""]);
        assert_eq!(serves(&["--statsd.listen-udp", ""]).receiving.listen_udp, [""]);
        assert_eq!(serves(&["--statsd.mapping-config="]).mapping.file, PathBuf::new());
        assert_eq!(serves(&["--statsd.cache-size=1e+06"]).mapping.cache_size, 1_000_000);
    }

    #[test]
    fn a_secret_of_a_server_is_no_flag() {
        for secret in ["token", "password"] {
            let variable = secret.to_ascii_uppercase();
            let problem = format!(
                "--grafana.{secret} on the command line of a server can be read by everybody on the \
                 machine; use --grafana.{secret}-file or the variable GRAFANA_{variable}, try --help"
            );
            refuses(&[&format!("--grafana.{secret}=hunter2")], &problem);
        }
    }

    #[test]
    fn a_flag_without_value_has_an_opposite() {
        assert!(!serves(&["--statsd.parse-librato-tags"]).parsing.no_librato_tags);
        assert!(serves(&["--no-statsd.parse-librato-tags"]).parsing.no_librato_tags);
        assert!(serves(&["--web.enable-lifecycle"]).exposing.enable_lifecycle);
        assert!(!serves(&["--no-web.enable-lifecycle"]).exposing.enable_lifecycle);
        refuses(
            &["--check-config", "--no-check-config"],
            "the argument '--check-config' cannot be used with '--no-check-config', try --help",
        );
        refuses(
            &["--no-log.level"],
            "unexpected argument '--no-log.level' found; tip: a similar argument exists: \
             '--log.level', try --help",
        );
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        refuses(&["--no-such"], "unexpected argument '--no-such' found, try --help");
        refuses(&["foo"], "unexpected argument 'foo' found, try --help");
        refuses(&["--", "foo"], "unexpected argument 'foo' found, try --help");
        refuses(&["-statsd.mapping-config=x"], "unexpected argument '-s' found, try --help");
        refuses(
            &["--statsd.cache-siz=1"],
            "unexpected argument '--statsd.cache-siz' found; tip: a similar argument exists: \
             '--statsd.cache-size', try --help",
        );
    }

    #[test]
    fn a_flag_is_given_once() {
        refuses(
            &["--statsd.cache-size=1", "--statsd.cache-size=1"],
            "the argument '--statsd.cache-size <N>' cannot be used multiple times, try --help",
        );
        refuses(
            &["--check-config", "--check-config"],
            "the argument '--check-config' cannot be used multiple times, try --help",
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_the_reason() {
        refuses_value("--statsd.event-flush-interval=abc", "not a duration");
        refuses_value("--statsd.event-flush-interval=10", "without its unit");
        refuses_value("--statsd.event-flush-interval=0s", "must be more than zero");
        refuses_value("--statsd.event-queue-size=-1", "must not be negative");
        refuses_value("--statsd.cache-size=-1", "must not be negative");
        refuses_value("--statsd.cache-size=abc", "not a number");
        refuses_value("--statsd.cache-type=fifo", "[possible values: lru, random]");
        refuses_value("--line-cache.max-bytes=1MB", "not a size");
        refuses_value("--lanes=0", "0 is not in 1..=256");
        refuses_value("--log.level=loud", "[possible values: debug, info, warn, error]");
        refuses_value("--log.format=xml", "[possible values: logfmt, json]");
        refuses_value("--compat=other", "[possible values: reference, extended]");
        refuses_value("--web.unixsocket-mode=rw", "not an octal number");
        refuses_value("--web.enable-lifecycle=maybe", "unexpected value 'maybe'");
        refuses_value("--statsd.cache-size", "a value is required");
    }

    #[test]
    fn levels_are_read_in_any_case() {
        assert_eq!(serves(&["--log.level=WARN"]).logging.level, log::Level::Warn);
    }

    #[test]
    fn help_and_version_are_answered() {
        for flag in ["-h", "--help"] {
            let help = shows(&[flag]);
            assert!(help.contains("Usage: tallyd"), "{help}");
            assert!(help.contains("--statsd.event-queue-size"), "{help}");
        }
        assert_eq!(shows(&["--version"]), concat!("tallyd ", env!("CARGO_PKG_VERSION"), "\n"));
    }

    #[test]
    fn help_has_one_line_for_each_flag() {
        let help = command_with_opposites().term_width(100).render_help().to_string();
        let (flags, _) = help.split_once("A flag without a value").expect("the closing words");
        let (_, flags) = flags.split_once("General:").expect("the first flags");
        let stray = flags.lines().find(|line| line.starts_with("         "));
        assert_eq!(stray, None, "{help}");
    }

    #[test]
    fn arguments_are_read_from_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("a file");
            format!("@{}", path.display())
        };
        let inner = write("inner", "--log.level=debug\r\n");
        let outer = write("outer", &format!("# comment\n\n--statsd.cache-size=7\n{inner}\n"));
        let cli = serves(&[&outer, "--check-config"]);
        assert_eq!((cli.mapping.cache_size, cli.logging.level), (7, log::Level::Debug));
        assert!(cli.check_config);

        let own_name = format!("@{}", folder.path().join("loop").display());
        write("loop", &own_name);
        refuses(&[&own_name], &CliError::TooManyFiles.to_string());
        refuses(&["@/no/such/file"], "cannot read arguments from a file");
    }

    fn request(args: &[&str]) -> Result<Request, CliError> {
        Cli::from_args(std::iter::once("/bin/tallyd").chain(args.iter().copied()).map(Into::into))
    }

    #[track_caller]
    fn serves(args: &[&str]) -> Cli {
        match request(args) {
            Ok(Request::Serve(cli)) => *cli,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn shows(args: &[&str]) -> String {
        match request(args) {
            Ok(Request::Show(answer)) => answer.0.to_string(),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn refuses(args: &[&str], expected: &str) {
        assert_eq!(request(args).expect_err("a refusal").to_string(), expected, "{args:?}");
    }

    #[track_caller]
    fn refuses_value(arg: &str, reason: &str) {
        let error = request(&[arg]).expect_err("a refusal").to_string();
        let flag = arg.split('=').next().unwrap_or(arg);
        assert!(error.contains(flag) && error.contains(reason), "{arg}: {error}");
        assert!(!error.contains('\n') && error.ends_with(", try --help"), "{arg}: {error}");
    }
}
