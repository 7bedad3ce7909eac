//! The command line `tallyd check`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};

use super::against::{Against, Settings};
use super::{Report, Severity, check};
use crate::command::{print, print_json};
use crate::compat::Compat;
use crate::config::cli::Parsing;
use crate::config::units::parse_interval;
use crate::explain::cli::{Output, OutputArgs};
use crate::grafana::cli::{CommandError, block_on, parse};

const EXAMPLES: &str = "\
Examples:
  Everything that is wrong with a mapping file, and whether its examples come true:
    tallyd check statsd.yaml
  Whether anything changes for those who look at the page of the server that is used today,
  while it passes all lines on (--statsd.relay.address) to a tallyd:
    tallyd check --against http://old:9102 --from http://127.0.0.1:9102 --for 1m

Exit codes: 0 all is well, 1 something is not, 2 it could not be looked at.";

/// Something is not as it should be.
const NOT_WELL: u8 = 1;
/// Stands for stdin.
const STDIN: &str = "-";

/// Checks mapping files, or compares two servers that get the same lines.
#[derive(Debug, Parser)]
#[command(name = "tallyd check", bin_name = "tallyd check", after_help = EXAMPLES)]
struct Cli {
    /// Mapping files; - reads one from stdin
    #[arg(required_unless_present = "against", value_name = "FILE", conflicts_with = "against")]
    files: Vec<String>,
    /// Take warnings for errors; with --against, quiet differences as well
    #[arg(long)]
    strict: bool,
    /// Whose rules apply [reference, extended]
    #[arg(long, value_name = "MODE", default_value = "extended", hide_possible_values = true)]
    compat: Compat,
    #[command(flatten)]
    against: AgainstArgs,
    #[command(flatten)]
    parsing: Parsing,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which servers are compared, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Comparing two servers")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct AgainstArgs {
    /// The page of the server that is used today
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// The page of the server that shall take its place
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9102", requires = "against")]
    from: String,
    /// Over which time increases are compared; longer finds smaller differences
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_interval, requires = "against")]
    window: Duration,
    /// How much later one server may know what the other knows
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = parse_interval, requires = "against")]
    lag: Duration,
    /// Compare the counters' values as well, not only their increases
    #[arg(long, requires = "against")]
    absolute: bool,
    /// Compare the servers' own metrics too
    #[arg(long, requires = "against")]
    own: bool,
    /// Print all differences, not only the first 40
    #[arg(long, requires = "against")]
    all: bool,
}

/// Does what a command line says; its first word is whatever follows `check`.
///
/// # Errors
/// When it cannot be done. Flags that make no sense are told by clap, with the exit code 2.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<ExitCode, CommandError> {
    let cli = match parse::<Cli>("tallyd check", args)? {
        Ok(cli) => cli,
        Err(code) => return Ok(code),
    };
    let is_well = match cli.against.against.clone() {
        Some(old) => cli.compare(old)?,
        None => cli.check_files()?,
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) })
}

impl Cli {
    fn check_files(&self) -> Result<bool, CommandError> {
        let options = self.parsing.options(self.compat);
        let mut reports = Vec::new();
        for file in &self.files {
            let (name, bytes) = read(file)?;
            reports.push(check(&bytes, name, options));
        }
        match self.output.output {
            Output::Text => print(&reports.iter().map(Report::to_text).collect::<String>()),
            Output::Json => print_json(&reports),
        }
        .map_err(CommandError::Print)?;
        let is_well = |report: &Report| {
            report.count(Severity::Error) == 0 && (!self.strict || report.findings.is_empty())
        };
        Ok(reports.iter().all(is_well))
    }

    fn compare(&self, old: String) -> Result<bool, CommandError> {
        let AgainstArgs { from, window, lag, absolute, own, all, .. } = &self.against;
        let settings = Settings {
            old,
            new: from.clone(),
            window: *window,
            lag: *lag,
            compares_values: *absolute,
            compares_own: *own,
        };
        let found = block_on(Against::look(&settings))?;
        match self.output.output {
            Output::Text => print(&found.to_text(*all)),
            Output::Json => print_json(&found),
        }
        .map_err(CommandError::Print)?;
        Ok(found.is_same(self.strict))
    }
}

/// A file's name in messages, and what is in it.
fn read(file: &str) -> Result<(&str, Vec<u8>), CommandError> {
    if file == STDIN {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| CommandError::Stdin("a mapping file", error))?;
        return Ok(("stdin", bytes));
    }
    let path = Path::new(file);
    let bytes =
        fs::read(path).map_err(|source| CommandError::Read { path: path.to_owned(), source })?;
    Ok((file, bytes))
}
