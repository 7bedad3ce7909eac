//! `tallyd bench find-max`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{SendArgs, ServerArgs};
use crate::bench::error::BenchError;
use crate::bench::find_max::{Settings, find_max};
use crate::bench::units::{parse_number, parse_share};
use crate::bench::{report, table};
use crate::progress::Progress;
use crate::units::parse_time;

/// What `--help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  A server on the usual ports:
    tallyd bench find-max --workload packed --report max.html
  Start a server for it, on one core, and search from another:
    taskset -c 1 tallyd bench find-max -- taskset -c 0 statsd_exporter \\
        --statsd.listen-udp=127.0.0.1:{udp} --statsd.listen-tcp= \\
        --web.listen-address=127.0.0.1:{web}

A rate is held when no greater share than --max-loss is lost, the rest is visible soon after the
last datagram, and the server did not use more CPU time than the sending lasted.";

/// The flags of a search.
#[derive(Args, Debug)]
pub(super) struct FindMaxArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    search: SearchArgs,
}

/// How to search.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "The search")]
pub(super) struct SearchArgs {
    /// The first rate that is tried, in metrics a second
    #[arg(long, value_name = "RATE", default_value = "100k", value_parser = parse_number)]
    start: f64,
    /// How long each rate is tried
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_time)]
    trial: Duration,
    /// The share that may be lost
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = parse_share)]
    max_loss: f64,
    /// How close the answer has to be
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = parse_share)]
    precision: f64,
    /// How soon after the last datagram all has to be visible, besides the time of a page
    #[arg(long, value_name = "TIME", default_value = "700ms", value_parser = parse_time)]
    visible_within: Duration,
}

impl SearchArgs {
    /// How to search.
    pub(super) fn settings(self) -> Settings {
        Settings {
            start_per_second: self.start,
            // Closer than a hundredth no two trials agree.
            precision: self.precision.max(0.01),
            max_loss: self.max_loss,
            trial: self.trial,
            visible_within: self.visible_within,
        }
    }
}

impl FindMaxArgs {
    /// Searches, and prints what was found.
    pub(super) fn run(&self) -> Result<ExitCode, BenchError> {
        let progress = Progress::on_terminal();
        let payload = self.send.payload(&progress)?;
        let server = self.server.server(&self.send.launch, &payload)?;
        let plan = self.send.load.plan(&payload, &server)?;
        let found = find_max(&plan, &self.search.settings(), &progress);
        progress.clear();
        let found = found?;
        self.send.output.print(&found, table::search)?;
        self.send.output.report(|| report::of_search(&found, &server.target.to_string()))?;
        Ok(ExitCode::SUCCESS)
    }
}
