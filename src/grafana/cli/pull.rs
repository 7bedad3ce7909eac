//! `tallyd grafana pull`: dashboards from Grafana into files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::connection::Common;
use super::list::SearchArgs;
use super::output::table;
use super::{CommandError, verdict};
use crate::grafana::client::{Client, Stored};
use crate::grafana::sync::{bare, pretty};
use crate::progress::Progress;

/// The flags of `pull`.
#[derive(Args, Debug)]
pub(super) struct PullArgs {
    /// These dashboards, by uid [default: those that the search finds]
    #[arg(value_name = "UID", conflicts_with_all = ["tag", "query", "in_folder", "any"])]
    uids: Vec<String>,
    /// Where to write UID.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct Pulled {
    uid: String,
    title: String,
    /// None for one that is not there, or only in Grafana's newer form.
    file: Option<PathBuf>,
    result: &'static str,
}

impl PullArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let progress = Progress::on_terminal();
        let all = self.all(&progress).await;
        progress.clear();
        let all = all?;
        self.common.output.print(&all, |all| {
            let file = |one: &Pulled| {
                one.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
            };
            let row = |one: &Pulled| {
                [one.result.to_owned(), one.title.clone(), one.uid.clone(), file(one)]
            };
            table(["result", "dashboard", "uid", "file"], all.iter().map(row))
        })?;
        Ok(verdict(all.iter().all(|one| one.file.is_some())))
    }

    async fn all(&self, progress: &Progress) -> Result<Vec<Pulled>, CommandError> {
        let client = self.common.connection.client()?;
        let mut uids = self.uids.clone();
        if uids.is_empty() {
            uids = self.search.find(&client).await?.into_iter().map(|found| found.uid).collect();
        }
        let mut all = Vec::new();
        for uid in &uids {
            progress.say(uid.clone());
            all.push(self.one(&client, uid).await?);
        }
        Ok(all)
    }

    async fn one(&self, client: &Client, uid: &str) -> Result<Pulled, CommandError> {
        let what = format!("read the dashboard {uid}");
        let stored = client.dashboard(uid).await.map_err(CommandError::failed(what))?;
        let title = stored.as_ref().and_then(|stored| stored.json.get("title")?.as_str());
        let title = title.unwrap_or_default().to_owned();
        let (file, result) = match &stored {
            None => (None, "missing"),
            Some(stored) if stored.newer_form.is_some() => (None, "converted"),
            Some(stored) => {
                let file = self.out.join(format!("{uid}.json"));
                (Some(file.clone()), self.write(&file, stored)?)
            }
        };
        Ok(Pulled { uid: uid.to_owned(), title, file, result })
    }

    /// Writes a dashboard if that changes the file.
    fn write(&self, file: &Path, stored: &Stored) -> Result<&'static str, CommandError> {
        let text = file_text(&stored.json);
        if fs::read_to_string(file).is_ok_and(|old| old == text) {
            return Ok("unchanged");
        }
        if self.dry_run {
            return Ok("would be written");
        }
        let written = fs::create_dir_all(&self.out).and_then(|()| fs::write(file, text));
        written.map_err(|source| CommandError::Write { path: file.to_owned(), source })?;
        Ok("written")
    }
}

/// A dashboard as a file holds it: without what Grafana sets and without our marks.
fn file_text(dashboard: &Value) -> String {
    let mut kept = bare(dashboard);
    if let (Value::Object(members), Some(uid)) = (&mut kept, dashboard.get("uid")) {
        members.insert("uid".to_owned(), uid.clone());
    }
    pretty(&kept)
}
