//! The command line `tallyd rules`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::{Options, RuleSet, Thresholds};
use crate::grafana::cli::source::{InventoryArgs, NativeChoice, warn};
use crate::grafana::cli::{CommandError, block_on, parse};

mod generate;
mod push;

const EXAMPLES: &str = "\
Examples:
  A rule file for what a running tallyd has received, and unit tests for promtool:
    tallyd rules generate --from http://127.0.0.1:9102 --out rules.yaml --tests tests.yaml
    promtool test rules tests.yaml
  The alerts for gunicorn, evaluated by Grafana:
    tallyd rules push --preset gunicorn --grafana.url http://grafana:3000

Exit codes: 0 done, 1 --check found a difference, 2 it could not be done.";

/// Makes recording rules and alerts, for Prometheus, its operator, and Grafana.
#[derive(Debug, Parser)]
#[command(
    name = "tallyd rules",
    bin_name = "tallyd rules",
    after_help = EXAMPLES,
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
    /// Write rules to a file
    #[command(after_help = EXAMPLES)]
    Generate(Box<generate::GenerateArgs>),
    /// Have Grafana evaluate the alerts
    Push(Box<push::PushArgs>),
}

/// Does what a command line says; its first word is whatever follows `rules`.
///
/// # Errors
/// When it cannot be done. Flags that make no sense are told by clap, with the exit code 2.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<ExitCode, CommandError> {
    match parse::<Cli>("tallyd rules", args)? {
        Ok(cli) => block_on(async {
            match cli.command {
                Command::Generate(args) => args.run().await,
                Command::Push(args) => args.run().await,
            }
        }),
        Err(code) => Ok(code),
    }
}

/// What rules are made of, and how.
#[derive(Args, Debug)]
struct RulesArgs {
    #[command(flatten)]
    inventory: InventoryArgs,
    /// What is too much, and whom to tell; docs/rules.md tells its keys
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// What groups' names begin with [default: the preset, or statsd]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Which buckets of histograms to ask
    #[arg(long, value_enum, default_value = "auto")]
    native: NativeChoice,
    /// Leave out the alerts on the exporter itself
    #[arg(long)]
    no_exporter: bool,
}

impl RulesArgs {
    fn name(&self) -> &str {
        self.name.as_deref().or(self.inventory.application()).unwrap_or("statsd")
    }

    async fn make(&self) -> Result<RuleSet, CommandError> {
        let thresholds = match &self.thresholds {
            Some(path) => {
                Thresholds::read(path).map_err(CommandError::failed("use the thresholds"))?
            }
            None => Thresholds::default(),
        };
        let known = self.inventory.known().await?;
        warn(&known.warnings);
        let options = Options {
            name: self.name().to_owned(),
            thresholds,
            exporter: !self.no_exporter,
            buckets: self.native.into(),
        };
        Ok(RuleSet::new(&known.inventory, &options))
    }
}

/// Reads `NAME=VALUE`.
fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
