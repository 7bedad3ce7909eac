//! `tallyd grafana folders`: where dashboards lie.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::connection::Common;
use super::output::table;
use super::{CommandError, verdict};
use crate::grafana::sync::Place;

/// The flags of `folders`.
#[derive(Args, Debug)]
pub(super) struct FoldersArgs {
    #[command(subcommand)]
    command: FoldersCommand,
}

#[derive(Debug, Subcommand)]
enum FoldersCommand {
    /// List folders
    List {
        /// Those in this folder, by its uid [default: those in none]
        #[arg(long, value_name = "UID")]
        parent: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Make folders that are missing, and print the uid of the innermost
    Ensure {
        /// Title, or Outer/Inner
        #[arg(value_name = "TITLE")]
        path: String,
        /// Make nothing; exit code 1 when one is missing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a folder and all that is in it
    Delete {
        /// Its uid
        uid: String,
        /// Delete nothing; exit code 1 when there is no such folder
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Serialize)]
struct Ensured {
    /// None when it is missing and may not be made.
    uid: Option<String>,
}

#[derive(Debug, Serialize)]
struct Deleted {
    uid: String,
    was_there: bool,
    dry_run: bool,
}

impl FoldersArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        match &self.command {
            FoldersCommand::List { parent, common } => {
                let client = common.connection.client()?;
                let folders = client.folders(parent.as_deref()).await;
                let folders = folders.map_err(CommandError::failed("list the folders"))?;
                common.output.print(&folders, |folders| {
                    let rows = folders.iter().map(|one| [one.uid.clone(), one.title.clone()]);
                    table(["uid", "folder"], rows)
                })?;
                Ok(ExitCode::SUCCESS)
            }
            FoldersCommand::Ensure { path, dry_run, common } => {
                let client = common.connection.client()?;
                let uid = Place::parse(path).ensure(&client, !dry_run).await;
                let uid = uid.map_err(CommandError::failed(format!("make the folder {path}")))?;
                let is_there = uid.is_some();
                common.output.print(&Ensured { uid }, |ensured| {
                    ensured.uid.clone().unwrap_or_else(|| "missing".to_owned()) + "\n"
                })?;
                Ok(verdict(is_there))
            }
            FoldersCommand::Delete { uid, dry_run, common } => {
                let client = common.connection.client()?;
                let was_there = if *dry_run {
                    client.folder(uid).await.map(|folder| folder.is_some())
                } else {
                    client.delete_folder(uid).await
                };
                let what = format!("delete the folder {uid}");
                let was_there = was_there.map_err(CommandError::failed(what))?;
                let deleted = Deleted { uid: uid.clone(), was_there, dry_run: *dry_run };
                common.output.print(&deleted, deleted_text)?;
                Ok(verdict(was_there))
            }
        }
    }
}

fn deleted_text(deleted: &Deleted) -> String {
    let result = match (deleted.was_there, deleted.dry_run) {
        (true, true) => "would be deleted",
        (true, false) => "deleted",
        (false, _) => "missing",
    };
    format!("{} {result}\n", deleted.uid)
}
