//! The flags that say which dashboards are meant, whose they are, and how far to go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::output::{OutputArgs, table};
use super::{CommandError, verdict};
use crate::command::FAILED;
use crate::grafana::sync::{OnDrift, Owner, Place, Report, Rules, Wanted};

/// What happens to dashboards that somebody else has written or changed.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Other people's work")]
pub struct KeepingArgs {
    /// What happens to a dashboard that somebody has changed in Grafana
    #[arg(long, value_enum, value_name = "WHAT", default_value = "keep")]
    pub on_drift: OnDrift,
    /// Take over dashboards of the same uid that somebody else wrote
    #[arg(long)]
    pub adopt: bool,
}

impl KeepingArgs {
    /// What these flags decide for an owner's dashboards.
    #[must_use]
    pub fn rules(self, owner: Owner) -> Rules {
        Rules { owner, on_drift: self.on_drift, adopts: self.adopt }
    }
}

/// The folder that dashboards go into.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Folder")]
pub struct FolderArgs {
    /// The folder for new dashboards, or Outer/Inner; made when missing, empty for none
    #[arg(long, value_name = "TITLE", default_value = "StatsD")]
    pub folder: String,
    /// A folder that is there, by its uid
    #[arg(long, value_name = "UID", conflicts_with = "folder")]
    pub folder_uid: Option<String>,
}

impl FolderArgs {
    /// Where dashboards go.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.folder_uid {
            Some(uid) => Place::Uid(uid.clone()),
            None => Place::parse(&self.folder),
        }
    }
}

/// Reads the dashboards of files; of a directory, all that end with `.json`, in order.
///
/// # Errors
/// When one cannot be read or is no dashboard, or there is none at all.
pub fn read_dashboards(paths: &[PathBuf]) -> Result<Vec<Wanted>, CommandError> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for path in paths {
        for file in files_of(path)? {
            let dashboard = read_dashboard(&file)?;
            if wanted.iter().any(|other| other.uid == dashboard.uid) {
                let text = format!("{}: the uid {} is there twice", file.display(), dashboard.uid);
                return Err(CommandError::Usage(text));
            }
            wanted.push(dashboard);
        }
    }
    if wanted.is_empty() {
        let text = "there is no file *.json in the directory";
        return Err(CommandError::Usage(text.to_owned()));
    }
    Ok(wanted)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| CommandError::Read { path: path.to_owned(), source };
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let files = entries.map_err(failed)?.into_iter().map(|entry| entry.path());
    let is_json = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "json");
    let mut files: Vec<PathBuf> = files.filter(is_json).collect();
    files.sort_unstable();
    Ok(files)
}

fn read_dashboard(path: &Path) -> Result<Wanted, CommandError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| CommandError::Read { path: path.to_owned(), source })?;
    let failed =
        |source| CommandError::Content { path: path.to_owned(), expected: "a dashboard", source };
    let json: Value = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
    Wanted::from_json(json).map_err(|error| failed(error.into()))
}

/// Prints what became of dashboards, and says it in an exit code.
///
/// # Errors
/// When stdout takes no more.
pub fn conclude(report: &Report, output: OutputArgs) -> Result<ExitCode, CommandError> {
    output.print(report, as_text)?;
    let is_as_wanted = verdict(!report.has_left_alone());
    Ok(if report.has_failed() { ExitCode::from(FAILED) } else { is_as_wanted })
}

fn as_text(report: &Report) -> String {
    let rows = report.dashboards.iter().map(|one| {
        let would = if report.dry_run && one.result.is_write() { "would be " } else { "" };
        [
            format!("{would}{}", one.result.as_str()),
            one.title.clone(),
            one.uid.clone(),
            one.url.clone(),
        ]
    });
    let mut text = table(["result", "dashboard", "uid", "address"], rows);
    for one in &report.dashboards {
        for remark in one.result.advice().into_iter().chain(one.remark.as_deref()) {
            text.extend([&one.title, ": ", remark, "\n"]);
        }
    }
    text
}
