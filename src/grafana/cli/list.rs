//! `tallyd grafana list` and `delete`: dashboards by search and by uid.

use std::process::ExitCode;

use clap::Args;

use super::connection::Common;
use super::keeping::{KeepingArgs, conclude};
use super::output::table;
use super::{CommandError, verdict};
use crate::grafana::client::{Client, Found, Search};
use crate::grafana::sync::{Owner, delete, mark};
use crate::progress::Progress;

/// Which dashboards to look for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Search")]
pub(super) struct SearchArgs {
    /// Those with this tag; several times for those with all of them
    #[arg(long, value_name = "TAG", default_value = mark::TAG)]
    tag: Vec<String>,
    /// Those with any tags, and those without
    #[arg(long, conflicts_with = "tag")]
    any: bool,
    /// Those with this in their titles
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// Those in this folder, by its uid
    #[arg(long, value_name = "UID")]
    in_folder: Option<String>,
}

impl SearchArgs {
    /// What is found.
    pub(super) async fn find(&self, client: &Client) -> Result<Vec<Found>, CommandError> {
        let tags: Vec<&str> = self.tag.iter().map(String::as_str).collect();
        let search = Search {
            tags: if self.any { &[] } else { &tags },
            folder_uid: self.in_folder.as_deref(),
            query: self.query.as_deref(),
        };
        client.search(&search).await.map_err(CommandError::failed("search for dashboards"))
    }
}

/// The flags of `list`.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    common: Common,
}

impl ListArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let found = self.search.find(&self.common.connection.client()?).await?;
        self.common.output.print(&found, |found| {
            let rows = found.iter().map(|one| {
                let tags = one.tags.join(" ");
                [
                    one.uid.clone(),
                    one.title.clone(),
                    one.folder_title.clone(),
                    tags,
                    one.url.clone(),
                ]
            });
            table(["uid", "dashboard", "folder", "tags", "address"], rows)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The flags of `delete`.
#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// These dashboards, by uid
    #[arg(value_name = "UID", required_unless_present = "all")]
    uids: Vec<String>,
    /// All dashboards of this name and environment
    #[arg(long, conflicts_with = "uids")]
    all: bool,
    /// Tell what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// The service whose dashboards they are
    #[arg(long, value_name = "NAME", default_value = "StatsD")]
    name: String,
    /// Its environment
    #[arg(long, value_name = "NAME", default_value = "")]
    environment: String,
    #[command(flatten)]
    keeping: KeepingArgs,
    #[command(flatten)]
    common: Common,
}

impl DeleteArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let client = self.common.connection.client()?;
        let uids = (!self.all).then_some(self.uids.as_slice());
        let progress = Progress::on_terminal();
        progress.say("deleting");
        let rules = self.keeping.rules(Owner::new(&self.name, &self.environment));
        let report = delete(&client, &rules, uids, self.dry_run).await;
        progress.clear();
        let report = report.map_err(CommandError::failed("delete the dashboards"))?;
        let code = conclude(&report, self.common.output)?;
        let is_missing = |uid: &String| report.dashboards.iter().all(|one| one.uid != *uid);
        let has_missing = self.uids.iter().any(is_missing);
        Ok(if has_missing && code == ExitCode::SUCCESS { verdict(false) } else { code })
    }
}
