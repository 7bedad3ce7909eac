//! `tallyd grafana push`: brings Grafana to what is wanted.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::CommandError;
use super::connection::Common;
use super::keeping::{FolderArgs, KeepingArgs, conclude, read_dashboards};
use super::source::{DashboardArgs, warn};
use crate::grafana::panels::health::Exporter;
use crate::grafana::sync::{MESSAGE, Order, Owner, Wanted, sync};
use crate::progress::Progress;

pub(super) const EXAMPLES: &str = "\
Exit codes: 0 all is as wanted, 1 something was left alone, 2 something could not be written.";

/// The flags of `push`.
#[derive(Args, Debug)]
pub(super) struct PushArgs {
    /// Delete the other dashboards of this name and environment
    #[arg(long)]
    prune: bool,
    /// What the history in Grafana says [default: tallyd's version]
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    keeping: KeepingArgs,
    #[command(flatten)]
    common: Common,
}

/// Which dashboards are meant: files, or what is made.
#[derive(Args, Clone, Debug)]
pub(super) struct SourceArgs {
    /// Files of dashboards, and directories of them, instead of making dashboards
    #[arg(value_name = "FILE|DIR", conflicts_with_all = ["from", "mapping", "preset"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    made: DashboardArgs,
}

impl SourceArgs {
    /// The dashboards.
    pub(super) async fn wanted(&self) -> Result<Vec<Wanted>, CommandError> {
        if !self.files.is_empty() {
            return read_dashboards(&self.files);
        }
        if !self.made.inventory.is_given() {
            let text =
                "which dashboards? Name files, or --from URL, --mapping FILE or --preset NAME";
            return Err(CommandError::Usage(text.to_owned()));
        }
        let made = self.made.make().await?;
        warn(&made.warnings);
        let wanted = made.dashboards.iter().map(Wanted::of).collect::<Result<_, _>>();
        wanted.map_err(CommandError::failed("write the dashboards as JSON"))
    }

    /// Whose they are.
    pub(super) fn owner(&self) -> Owner {
        let options = self.made.options(Exporter::Tallyd);
        Owner::new(&options.name, &options.environment)
    }
}

impl PushArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let wanted = self.sources.wanted().await?;
        let client = self.common.connection.client()?;
        let order = Order {
            wanted: &wanted,
            rules: &self.keeping.rules(self.sources.owner()),
            place: &self.folder.place(),
            message: self.message.as_deref().unwrap_or(MESSAGE),
            prunes: self.prune,
            dry_run: self.dry_run,
            known: None,
        };
        let progress = Progress::on_terminal();
        let report = sync(&client, &order, |doing| progress.say(doing)).await;
        progress.clear();
        let report = report.map_err(CommandError::failed("push the dashboards"))?;
        conclude(&report, self.common.output)
    }
}
