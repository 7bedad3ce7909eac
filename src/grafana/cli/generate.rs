//! `tallyd grafana generate`: writes dashboards to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output::{self, OutputArgs, table};
use super::source::{DashboardArgs, warn};
use super::{CommandError, DIFFERS};
use crate::grafana::Dashboard;
use crate::grafana::format::Format;

pub(super) const EXAMPLES: &str = "\
Examples:
  Dashboards for what a running tallyd has received:
    tallyd grafana generate --from http://127.0.0.1:9102 --out dashboards
  For gunicorn, before it runs, as ConfigMaps for Grafana's sidecar:
    tallyd grafana generate --preset gunicorn --format configmap --out k8s
  In CI, whether the files are those that the mapping makes:
    tallyd grafana generate --mapping mapping.yaml --out dashboards --check

Exit codes: 0 done, 1 --check found a difference, 2 it could not be done.";

/// Stands for stdout.
const STDOUT: &str = "-";

/// The flags of `generate`.
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// Where to write, a file for each dashboard; - for stdout, if there is one only
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the files are for
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Folder that the files name: resources by its uid, `ConfigMaps` by its title
    #[arg(long, value_name = "FOLDER")]
    folder: Option<String>,
    /// Write nothing, and tell which files are not as they would be written
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    dashboards: DashboardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What became of a file.
#[derive(Serialize)]
struct File {
    path: PathBuf,
    title: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Written,
    Same,
    Missing,
    Differs,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Same => "same",
            Self::Missing => "missing",
            Self::Differs => "differs",
        }
    }
}

impl GenerateArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let mut made = self.dashboards.make().await?;
        warn(&made.warnings);
        for dashboard in &mut made.dashboards {
            dashboard.folder = dashboard.folder.take().or_else(|| self.folder.clone());
        }
        if self.out == Path::new(STDOUT) {
            return self.to_stdout(&made.dashboards);
        }
        let files = made.dashboards.iter().map(|dashboard| self.file(dashboard));
        let files = files.collect::<Result<Vec<File>, CommandError>>()?;
        self.output.print(&files, |files| {
            let rows = files.iter().map(|file| {
                [
                    file.state.as_str().to_owned(),
                    file.path.display().to_string(),
                    file.title.clone(),
                ]
            });
            table(["", "file", "dashboard"], rows)
        })?;
        let differs =
            files.iter().any(|file| matches!(file.state, State::Missing | State::Differs));
        Ok(if differs { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
    }

    fn to_stdout(&self, dashboards: &[Dashboard]) -> Result<ExitCode, CommandError> {
        let [dashboard] = dashboards else {
            let count = dashboards.len();
            let problem = format!("there are {count} dashboards; name a directory with --out");
            return Err(CommandError::Usage(problem));
        };
        output::print(&self.text(dashboard)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self, dashboard: &Dashboard) -> Result<String, CommandError> {
        dashboard.to_text(self.format).map_err(CommandError::failed("write a dashboard"))
    }

    fn file(&self, dashboard: &Dashboard) -> Result<File, CommandError> {
        let text = self.text(dashboard)?;
        let name = format!("{}.{}", dashboard.uid(), self.format.extension());
        let path = self.out.join(name);
        let known = fs::read_to_string(&path).ok();
        let state = match known {
            Some(known) if known == text => State::Same,
            Some(_) if self.check => State::Differs,
            None if self.check => State::Missing,
            _ => {
                let wrong = |source| CommandError::Write { path: path.clone(), source };
                fs::create_dir_all(&self.out).map_err(wrong)?;
                fs::write(&path, text).map_err(wrong)?;
                State::Written
            }
        };
        Ok(File { path, title: dashboard.title().to_owned(), state })
    }
}
