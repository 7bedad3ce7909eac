//! The command line of the bench client.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use self::compare::CompareArgs;
use self::find_max::FindMaxArgs;
use super::error::BenchError;
use super::launch::{Launch, Running, Transport};
use super::outcome::Outcome;
use super::payload::Payload;
use super::plan::{Extent, Pace, Plan};
use super::report;
use super::run::run;
use super::sink::{self, SinkPlan};
use super::table;
use super::target::{Target, resolve};
use super::units::{parse_number, parse_share, parse_whole};
use super::workload::{Recipe, Source, Workload};
use crate::command;
use crate::progress::Progress;
use crate::units::{parse_time, parse_time_or_none};

mod compare;
mod find_max;

/// What a script sees when more was lost than it allows.
const TOO_MUCH_LOST: u8 = 1;
const TARGET_HELP: &str =
    "The server: udp://HOST:PORT, tcp://HOST:PORT, unixgram:///PATH or unixstream:///PATH";
const LISTEN_HELP: &str = "Where to receive: udp://HOST:PORT, tcp://HOST:PORT or unixgram:///PATH";
/// A page that nobody is to ask for.
const NO_PAGE: &str = "none";

const EXAMPLES: &str = "\
Examples:
  A server on the usual ports, for ten seconds, as fast as possible:
    tallyd bench --workload packed
  At a rate, failing when more than a thousandth is lost:
    tallyd bench --workload packed --rate 200k --max-loss 0.1%
  Start a server for it; {udp}, {tcp}, {web}, {unix} and {mapping} are filled in:
    tallyd bench --rate 200k -- statsd_exporter \\
        --statsd.listen-udp=127.0.0.1:{udp} --statsd.listen-tcp= \\
        --web.listen-address=127.0.0.1:{web}
  What this machine can do at best:
    tallyd bench --workload packed --against-sink

Exit codes: 0 done, 1 more lost than --max-loss, 2 the run could not be made.";

/// Loads a StatsD server, accounts for every metric, and says what it cost.
#[derive(Debug, Parser)]
#[command(
    name = "tallyd bench",
    bin_name = "tallyd bench",
    after_help = EXAMPLES,
    after_long_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a workload and account for every metric; what `bench` does when nothing else is named
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArgs>),
    /// Search for the highest rate without loss
    #[command(after_help = find_max::EXAMPLES)]
    FindMax(Box<FindMaxArgs>),
    /// Let two servers take turns, and print medians, ratios and spreads
    #[command(after_help = compare::EXAMPLES)]
    Compare(Box<CompareArgs>),
    /// Receive and throw away: what receiving alone costs on this machine
    Sink(SinkArgs),
    /// Print the mapping file that belongs to the workload `mapped`
    Mapping,
}

/// What to send.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What to send")]
pub struct WorkloadArgs {
    /// A built-in workload
    #[arg(long, value_enum, default_value = "packed", conflicts_with_all = ["replay", "file"])]
    pub workload: Workload,
    /// A capture to replay: one datagram a line, as a JSON string or as it is
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub replay: Option<PathBuf>,
    /// A workload of one's own, in YAML; docs/bench.md tells its keys
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Different names and tags [default: the workload's]
    #[arg(long, value_name = "N", value_parser = parse_whole)]
    pub series: Option<u64>,
    /// The longest datagram; 0 for one metric each [default: the workload's, 1400]
    #[arg(long, value_name = "BYTES")]
    pub max_datagram: Option<usize>,
    /// The share of the lines of `churn` that have a name never sent before
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = parse_share)]
    pub new_share: f64,
    /// What random choices are made from; the same seed sends the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl WorkloadArgs {
    /// The recipe that these flags describe.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        let source = match (&self.replay, &self.file) {
            (Some(path), _) => Source::Replay(path.clone()),
            (None, Some(path)) => Source::Yaml(path.clone()),
            (None, None) => Source::Workload(self.workload),
        };
        Recipe {
            source,
            series: self.series,
            max_datagram_bytes: self.max_datagram,
            new_share: self.new_share,
            seed: self.seed,
        }
    }
}

/// How fast and how long.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "How fast and how long")]
pub struct LoadArgs {
    /// Metrics a second, such as 200k [default: as fast as possible]
    #[arg(long, value_name = "RATE", value_parser = parse_number)]
    pub rate: Option<f64>,
    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time, conflicts_with = "count")]
    pub duration: Duration,
    /// How many metrics to send, instead of for how long
    #[arg(long, value_name = "N", value_parser = parse_whole)]
    pub count: Option<u64>,
    /// From one burst to the next, for the workload `burst`, which needs a rate
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub burst_every: Duration,
    /// Sockets or connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub clients: u16,
    /// Threads that send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
    /// How often to scrape meanwhile; 0s leaves the server alone, so that its CPU time is the lines'
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time_or_none)]
    pub scrape_every: Duration,
    /// Ask for the page compressed
    #[arg(long)]
    pub gzip: bool,
    /// How long the page may stand still before the rest is called lost
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub settle: Duration,
}

impl LoadArgs {
    /// The plan to load a server in this way.
    ///
    /// # Errors
    /// When bursts are asked for without a rate.
    pub fn plan(&self, payload: &Arc<Payload>, server: &Server) -> Result<Plan, BenchError> {
        let bursts = Source::Workload(Workload::Burst);
        let is_burst = payload.recipe().source == bursts;
        let pace = match self.rate {
            Some(rate) if is_burst => Pace::Bursts { rate, every: self.burst_every },
            Some(rate) => Pace::Even(rate),
            None if is_burst => {
                return Err(BenchError::Usage("the workload `burst` needs a --rate".into()));
            }
            None => Pace::Unbounded,
        };
        Ok(Plan {
            target: server.target.clone(),
            scrape: server.scrape.clone(),
            payload: Arc::clone(payload),
            pace,
            extent: self.count.map_or(Extent::Duration(self.duration), Extent::Metrics),
            clients: self.clients.into(),
            threads: self.threads.into(),
            scrape_every: Some(self.scrape_every).filter(|every| !every.is_zero()),
            gzip: self.gzip,
            settle: self.settle,
            server_pid: server.pid,
        })
    }
}

/// A server to load, wherever it came from.
#[derive(Debug)]
pub struct Server {
    /// Where to send to.
    pub target: Target,
    /// The page's URL.
    pub scrape: Option<String>,
    /// The process, when the page's port does not tell.
    pub pid: Option<u32>,
    /// The process itself when it was started here; it ends with this.
    pub running: Option<Running>,
}

impl Server {
    /// A server that was started here.
    #[must_use]
    pub fn started(running: Running) -> Self {
        Self {
            target: running.target.clone(),
            scrape: Some(running.url.clone()),
            pid: None,
            running: Some(running),
        }
    }
}

/// How to start a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers started here")]
pub struct LaunchArgs {
    /// Which listener of a server started here is loaded
    #[arg(long, value_enum, default_value = "udp")]
    pub transport: Transport,
    /// The page's path of a server started here
    #[arg(long, value_name = "PATH", default_value = "/metrics")]
    pub page: String,
}

impl LaunchArgs {
    /// How to start a command.
    #[must_use]
    pub fn launch(&self, command: Vec<String>) -> Launch {
        Launch { command, page: self.page.clone(), transport: self.transport }
    }

    /// How to start a sink of this program.
    ///
    /// # Errors
    /// When this program's own file cannot be found, or the sink does not offer the transport.
    pub fn sink(&self) -> Result<Launch, BenchError> {
        let listen = match self.transport {
            Transport::Udp => "udp://127.0.0.1:{udp}",
            Transport::Tcp => "tcp://127.0.0.1:{tcp}",
            Transport::Unixgram => "unixgram://{unix}",
            Transport::Unixstream => {
                return Err(BenchError::Usage("the sink has no Unix stream".into()));
            }
        };
        let program = std::env::current_exe()
            .map_err(|error| BenchError::System("cannot find this program's file", error))?;
        let program = program.to_string_lossy().into_owned();
        let words = ["bench", "sink", "--listen", listen, "--web", "127.0.0.1:{web}"];
        let command = std::iter::once(program).chain(words.map(str::to_owned)).collect();
        Ok(Launch { page: "/metrics".into(), ..self.launch(command) })
    }
}

/// How the result is printed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Result")]
pub struct OutputArgs {
    /// For people or for programs
    #[arg(long, value_enum, default_value = "text")]
    pub output: Format,
    /// Write a report with charts, one HTML file, besides
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// For whom a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables
    Text,
    /// One JSON document
    Json,
}

impl OutputArgs {
    /// Prints a result, as it is or as the text it makes.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn print<T: Serialize>(
        &self,
        result: &T,
        text: fn(&T) -> String,
    ) -> Result<(), BenchError> {
        let printed = match self.output {
            Format::Text => command::print(&text(result)),
            Format::Json => command::print_json(result),
        };
        printed.map_err(|error| BenchError::System("cannot print the result", error))
    }

    /// Writes the report that `html` makes, if one was asked for.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn report(&self, html: impl FnOnce() -> String) -> Result<(), BenchError> {
        let Some(path) = &self.report else { return Ok(()) };
        let failed = |source| BenchError::Write { path: path.clone(), source };
        fs::write(path, html()).map_err(failed)
    }
}

/// The server to load: one that runs, or one to start.
#[derive(Args, Debug)]
#[command(next_help_heading = "The server")]
struct ServerArgs {
    #[arg(long, value_name = "URL", default_value = "udp://127.0.0.1:9125", help = TARGET_HELP)]
    target: Target,
    /// The server's page, or `none`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9102/metrics")]
    scrape: String,
    /// The server's process [default: whoever listens on the page's port]
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Start a sink and send to that: what this machine can do at best
    #[arg(long, conflicts_with_all = ["target", "scrape", "server_pid", "command"])]
    against_sink: bool,
    /// Start this server instead of using one that runs
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["target", "scrape", "server_pid"])]
    command: Vec<String>,
}

impl ServerArgs {
    fn server(&self, launch: &LaunchArgs, payload: &Payload) -> Result<Server, BenchError> {
        if self.against_sink {
            return launch.sink()?.start(payload).map(Server::started);
        }
        if !self.command.is_empty() {
            return launch.launch(self.command.clone()).start(payload).map(Server::started);
        }
        Ok(Server {
            target: self.target.clone(),
            scrape: Some(self.scrape.clone()).filter(|url| url != NO_PAGE),
            pid: self.server_pid,
            running: None,
        })
    }
}

/// What all commands that send have in common.
#[derive(Args, Debug)]
struct SendArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    launch: LaunchArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl SendArgs {
    fn payload(&self, progress: &Progress) -> Result<Arc<Payload>, BenchError> {
        progress.say("rendering the payload");
        Payload::build(&self.workload.recipe()).map(Arc::new)
    }
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Exit with 1 when a greater share is lost, such as 0.1%
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    max_loss: Option<f64>,
}

impl RunArgs {
    fn run(&self) -> Result<ExitCode, BenchError> {
        let progress = Progress::on_terminal();
        let SendArgs { load, launch, output, .. } = &self.send;
        let payload = self.send.payload(&progress)?;
        let server = self.server.server(launch, &payload)?;
        let outcome = run(&load.plan(&payload, &server)?, &progress);
        progress.clear();
        let outcome = outcome?;
        output.print(&outcome, table::outcome)?;
        output.report(|| report::of_run(&outcome))?;
        Ok(self.verdict(&outcome))
    }

    fn verdict(&self, outcome: &Outcome) -> ExitCode {
        let loss = outcome.accounting.as_ref().map_or(0.0, |accounting| accounting.loss_ratio);
        let is_too_much = self.max_loss.is_some_and(|max| loss > max);
        if is_too_much { ExitCode::from(TOO_MUCH_LOST) } else { ExitCode::SUCCESS }
    }
}

#[derive(Args, Debug)]
struct SinkArgs {
    /// Where to receive
    #[arg(long, value_name = "URL", help = LISTEN_HELP, default_value = "udp://127.0.0.1:9125")]
    listen: Target,
    /// Where to show what was received, or `none`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9102")]
    web: String,
    /// How long to receive [default: until a signal]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
}

impl SinkArgs {
    fn run(&self) -> Result<ExitCode, BenchError> {
        let web: Option<SocketAddr> =
            if self.web == NO_PAGE { None } else { Some(resolve(&self.web)?) };
        let plan = SinkPlan { listen: self.listen.clone(), web, duration: self.duration };
        self.output.print(&sink::run(&plan)?, table::sink)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Does what a command line says; its first word is whatever follows `bench`.
///
/// # Errors
/// When it cannot be done. Flags that make no sense are told by clap, with the exit code 2.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<ExitCode, BenchError> {
    let parsed = command::parse::<Cli>(with_command(args.collect()));
    let cli = match parsed.map_err(|error| BenchError::System("cannot print the help", error))? {
        Ok(cli) => cli,
        Err(code) => return Ok(code),
    };
    match cli.command {
        Command::Run(args) => args.run(),
        Command::FindMax(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Sink(args) => args.run(),
        Command::Mapping => print_mapping(),
    }
}

/// The command line with the program's name before it and `run` where only flags stand.
fn with_command(args: Vec<OsString>) -> Vec<OsString> {
    let first = args.first().and_then(|word| word.to_str());
    let is_flag =
        first.is_some_and(|word| word.starts_with('-') && word != "-h" && word != "--help");
    let named = ["tallyd bench"].into_iter().chain(is_flag.then_some("run"));
    named.map(OsString::from).chain(args).collect()
}

fn print_mapping() -> Result<ExitCode, BenchError> {
    let source = Source::Workload(Workload::Mapped);
    let recipe = Recipe { source, series: None, max_datagram_bytes: None, new_share: 0.0, seed: 1 };
    let payload = Payload::build(&recipe)?;
    let text = payload.mapping().unwrap_or_default();
    command::print(text).map_err(|error| BenchError::System("cannot print the mapping", error))?;
    Ok(ExitCode::SUCCESS)
}
