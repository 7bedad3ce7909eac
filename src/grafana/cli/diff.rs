//! `tallyd grafana diff`: what a push would change.

use std::process::ExitCode;

use clap::Args;
use diffy::DiffOptions;
use serde::Serialize;
use serde_json::Value;

use super::connection::Common;
use super::keeping::KeepingArgs;
use super::push::SourceArgs;
use super::{CommandError, verdict};
use crate::grafana::client::Client;
use crate::grafana::sync::plan::{self, Found, Step};
use crate::grafana::sync::{Fate, Rules, Wanted, bare, pretty};
use crate::progress::Progress;

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;

pub(super) const EXAMPLES: &str = "\
Exit codes: 0 nothing differs, 1 something does, 2 it could not be found out.";

/// The flags of `diff`.
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    keeping: KeepingArgs,
    #[command(flatten)]
    common: Common,
}

/// How one dashboard differs.
#[derive(Debug, Serialize)]
struct Difference {
    uid: String,
    title: String,
    /// What a push would make of it.
    push: Fate,
    /// From what is in Grafana to what is wanted.
    diff: String,
}

impl DiffArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let progress = Progress::on_terminal();
        let differences = self.differences(&progress).await;
        progress.clear();
        let differences = differences?;
        self.common.output.print(&differences, |differences| as_text(differences))?;
        Ok(verdict(differences.is_empty()))
    }

    async fn differences(&self, progress: &Progress) -> Result<Vec<Difference>, CommandError> {
        let client = self.common.connection.client()?;
        let rules = self.keeping.rules(self.sources.owner());
        let mut differences = Vec::new();
        for wanted in self.sources.wanted().await? {
            progress.say(wanted.title.clone());
            differences.extend(difference(&client, &wanted, &rules).await?);
        }
        Ok(differences)
    }
}

fn as_text(differences: &[Difference]) -> String {
    let mut text = String::new();
    for one in differences {
        text.push_str(&one.diff);
        if let Some(advice) = one.push.advice() {
            text.extend(["# ", &one.title, ": ", advice, "\n"]);
        }
    }
    text
}

/// How a dashboard differs; none when it does not.
async fn difference(
    client: &Client,
    wanted: &Wanted,
    rules: &Rules,
) -> Result<Option<Difference>, CommandError> {
    let what = format!("read the dashboard {}", wanted.uid);
    let stored = client.dashboard(&wanted.uid).await.map_err(CommandError::failed(what))?;
    let push = match plan::step(&wanted.dashboard, Found::from(stored.as_ref()), rules) {
        Step::Create => Fate::Created,
        Step::Update => Fate::Updated,
        Step::CopyAndUpdate => Fate::Copied,
        Step::Leave(Fate::Unchanged) => return Ok(None),
        Step::Leave(fate) => fate,
    };
    let old = stored.as_ref().map(|stored| text_of(&stored.json)).unwrap_or_default();
    let new = text_of(&wanted.dashboard);
    let from =
        if stored.is_some() { format!("grafana/{}", wanted.uid) } else { "/dev/null".into() };
    let mut options = DiffOptions::new();
    options
        .set_context_len(CONTEXT_LINES)
        .set_original_filename(from)
        .set_modified_filename(format!("wanted/{}", wanted.uid));
    let diff = options.create_patch(&old, &new).to_string();
    Ok(Some(Difference { uid: wanted.uid.clone(), title: wanted.title.clone(), push, diff }))
}

fn text_of(dashboard: &Value) -> String {
    pretty(&bare(dashboard))
}
