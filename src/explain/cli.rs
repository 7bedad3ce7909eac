//! The command line `tallyd explain`.

use std::ffi::OsString;
use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, ValueEnum};
use reqwest::Url;

use super::{Explainer, Explanation, MAX_LINE_BYTES};
use crate::command::{print, print_json};
use crate::compat::Compat;
use crate::config::cli::Parsing;
use crate::config::ttl::TtlFlags;
use crate::grafana::cli::{CommandError, block_on, parse};
use crate::grafana::inventory::remote;
use crate::map::preset::{self, Preset};
use crate::map::{Intake, Rules};

const EXAMPLES: &str = "\
Examples:
  What a mapping file makes of a line:
    tallyd explain 'api.get.200:12|ms' --mapping statsd.yaml
  What a running server makes of it, with the rules and the series that it has:
    tallyd explain 'api.get.200:12|ms' --from http://127.0.0.1:9102
  All lines of a capture:
    tallyd explain - --mapping statsd.yaml < lines.txt

Exit codes: 0 every line is accepted, 1 some are not, 2 it could not be done.";

/// Some line was rejected, dropped or in conflict.
const NOT_ACCEPTED: u8 = 1;

/// Tells what becomes of a StatsD line, and why.
#[derive(Debug, Parser)]
#[command(name = "tallyd explain", bin_name = "tallyd explain", after_help = EXAMPLES)]
struct Cli {
    /// Lines as a client sends them; - reads them from stdin
    #[arg(required = true, value_name = "LINE")]
    lines: Vec<String>,
    /// A running tallyd, by its address
    #[arg(long, value_name = "URL", conflicts_with_all = ["mapping", "preset"])]
    from: Option<String>,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    parsing: Parsing,
    #[command(flatten)]
    ttl: TtlFlags,
    #[command(flatten)]
    output: OutputArgs,
}

/// What lines are explained by where no server is asked.
#[derive(Args, Debug)]
pub struct RulesArgs {
    /// The mapping file
    #[arg(long, visible_alias = "statsd.mapping-config", value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// The mappings of applications, which come with tallyd; asked behind the file
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub preset: Vec<Preset>,
    /// Whose rules apply to lines [reference, extended]
    #[arg(long, value_name = "MODE", default_value = "extended", hide_possible_values = true)]
    pub compat: Compat,
}

impl RulesArgs {
    /// The rules; none without a flag.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn load(&self) -> Result<Rules, CommandError> {
        let failed = || CommandError::failed("use the mapping");
        let own = match &self.mapping {
            Some(file) => Rules::load(file, self.compat).map_err(failed())?.rules,
            None => Rules::without_file(self.compat),
        };
        Ok(own.with_behind(preset::load(&self.preset, &Intake::default()).map_err(failed())?))
    }
}

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Result")]
pub struct OutputArgs {
    /// For people or for programs
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// For whom a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text
    Text,
    /// One JSON document
    Json,
}

/// Does what a command line says; its first word is whatever follows `explain`.
///
/// # Errors
/// When it cannot be done. Flags that make no sense are told by clap, with the exit code 2.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<ExitCode, CommandError> {
    let cli = match parse::<Cli>("tallyd explain", args)? {
        Ok(cli) => cli,
        Err(code) => return Ok(code),
    };
    let lines = cli.lines()?;
    let explanations = if let Some(address) = &cli.from {
        block_on(ask(address, &lines))?
    } else {
        let parse = cli.parsing.options(cli.rules.compat);
        let rules = Arc::new(cli.rules.load()?);
        let explainer = Explainer { rules, parse, ttl: cli.ttl.checked(), registry: None };
        lines.iter().map(|line| explainer.explain(line)).collect()
    };
    match cli.output.output {
        Output::Text => {
            let texts: Vec<String> = explanations.iter().map(Explanation::to_text).collect();
            print(&texts.join("\n"))
        }
        Output::Json => print_json(&explanations),
    }
    .map_err(CommandError::Print)?;
    let all = explanations.iter().all(Explanation::is_accepted);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCEPTED) })
}

impl Cli {
    /// The lines to be explained; an argument may hold several.
    fn lines(&self) -> Result<Vec<Vec<u8>>, CommandError> {
        let mut lines = Vec::new();
        for argument in &self.lines {
            if argument == "-" {
                for line in io::stdin().lock().split(b'\n') {
                    lines.push(line.map_err(|error| CommandError::Stdin("lines", error))?);
                }
            } else {
                lines.extend(argument.split('\n').map(|line| line.as_bytes().to_vec()));
            }
        }
        if lines.iter().any(|line| line.len() > MAX_LINE_BYTES) {
            let text = format!("a line has more than {MAX_LINE_BYTES} bytes");
            return Err(CommandError::Usage(text));
        }
        Ok(lines)
    }
}

/// Asks a server about each line.
async fn ask(address: &str, lines: &[Vec<u8>]) -> Result<Vec<Explanation>, CommandError> {
    let what = || format!("ask {address} what becomes of a line");
    let base = Url::parse(address).and_then(|base| base.join("api/v1/explain"));
    let base = base.map_err(CommandError::failed(what()))?;
    let mut explanations = Vec::new();
    for line in lines {
        let mut url = base.clone();
        let line = percent_encoding::percent_encode(line, percent_encoding::NON_ALPHANUMERIC);
        url.set_query(Some(&format!("line={line}")));
        let (_, text) = remote::get(url).await.map_err(CommandError::failed(what()))?;
        let explanation = serde_json::from_str(&text).map_err(CommandError::failed(what()))?;
        explanations.push(explanation);
    }
    Ok(explanations)
}
