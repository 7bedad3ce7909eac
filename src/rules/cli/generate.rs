//! `tallyd rules generate`: writes rules to a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{RulesArgs, parse_label};
use crate::grafana::cli::{CommandError, DIFFERS, output};
use crate::rules::RuleSet;
use crate::rules::format::ResourceName;
use crate::rules::managed::Place;

/// Stands for stdout.
const STDOUT: &str = "-";

/// The flags of `generate`.
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    rules: RulesArgs,
    /// Where to write; - for stdout
    #[arg(long, value_name = "FILE", default_value = STDOUT)]
    out: PathBuf,
    /// What the file is for
    #[arg(long, value_enum, default_value = "prometheus")]
    format: Format,
    /// Write unit tests for `promtool test rules` as well
    #[arg(long, value_name = "FILE")]
    tests: Option<PathBuf>,
    /// Write nothing; the exit code is 1 where a file is not as it would be written
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    resource: ResourceArgs,
    #[command(flatten)]
    grafana: GrafanaArgs,
}

/// How the resource for the operator is called.
#[derive(Args, Debug)]
#[command(next_help_heading = "For --format resource")]
struct ResourceArgs {
    /// Its namespace [default: the current one]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A label, by which the operator may look for rules; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
}

/// Where Grafana puts what a file provisions.
#[derive(Args, Debug)]
#[command(next_help_heading = "For --format grafana")]
struct GrafanaArgs {
    /// The uid of the data source that is asked
    #[arg(long, value_name = "UID", required_if_eq("format", "grafana"))]
    datasource: Option<String>,
    /// The folder of the rules
    #[arg(long, value_name = "TITLE", default_value = "StatsD")]
    folder: String,
    /// Where the servers run, such as prod; part of uids
    #[arg(long, value_name = "NAME", default_value = "")]
    environment: String,
}

/// What a file of rules is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A rule file
    Prometheus,
    /// A `PrometheusRule` for the operator
    Resource,
    /// Alerts for Grafana's provisioning/alerting
    Grafana,
}

impl GenerateArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let rules = self.rules.make().await?;
        let mut is_same = self.write(&self.out, &self.text(&rules)?)?;
        if let Some(path) = &self.tests {
            is_same &= self.write(path, &self.test_text(&rules, path)?)?;
        }
        Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
    }

    fn text(&self, rules: &RuleSet) -> Result<String, CommandError> {
        let failed = "write the rules";
        match self.format {
            Format::Prometheus => rules.to_prometheus().map_err(CommandError::failed(failed)),
            Format::Resource => {
                let name = ResourceName {
                    name: self.rules.name().to_owned(),
                    namespace: self.resource.namespace.clone(),
                    labels: self.resource.label.iter().cloned().collect(),
                };
                rules.to_resource(&name).map_err(CommandError::failed(failed))
            }
            Format::Grafana => {
                let provisioning = rules.to_provisioning(&Place {
                    datasource_uid: self.grafana.datasource.clone().unwrap_or_default(),
                    folder: self.grafana.folder.clone(),
                    environment: self.grafana.environment.clone(),
                });
                let text = serde_json::to_string_pretty(&provisioning);
                Ok(text.map_err(CommandError::failed(failed))? + "\n")
            }
        }
    }

    fn test_text(&self, rules: &RuleSet, path: &Path) -> Result<String, CommandError> {
        if self.format != Format::Prometheus || self.out == Path::new(STDOUT) {
            let text = "--tests tests a rule file; name one with --out, in --format prometheus";
            return Err(CommandError::Usage(text.to_owned()));
        }
        // promtool looks for the rules beside the tests, unless their path is absolute.
        let rule_file = if self.out.parent() == path.parent() {
            self.out.file_name().map(PathBuf::from).unwrap_or_default()
        } else {
            std::path::absolute(&self.out)
                .map_err(|source| CommandError::Read { path: self.out.clone(), source })?
        };
        let text = rules.to_tests(&rule_file.to_string_lossy());
        text.map_err(CommandError::failed("write the tests"))
    }

    /// Writes a text; with `--check`, whether the file has it already.
    fn write(&self, path: &Path, text: &str) -> Result<bool, CommandError> {
        if path == Path::new(STDOUT) {
            output::print(text)?;
            return Ok(true);
        }
        if self.check {
            let is_same = fs::read_to_string(path).is_ok_and(|known| known == text);
            let state = if is_same { "is up to date" } else { "differs" };
            output::print(&format!("{} {state}\n", path.display()))?;
            return Ok(is_same);
        }
        fs::write(path, text)
            .map_err(|source| CommandError::Write { path: path.to_owned(), source })?;
        output::print(&format!("wrote {}\n", path.display()))?;
        Ok(true)
    }
}
