//! `tallyd grafana annotate`: a note on dashboards, such as that something was deployed.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;

use super::CommandError;
use super::connection::Common;
use crate::grafana::client::Annotation;
use crate::units::parse_time;

pub(super) const EXAMPLES: &str = "\
Example:
  tallyd grafana annotate 'api 1.4 deployed' --tag deploy --tag api";

/// The flags of `annotate`.
#[derive(Args, Debug)]
pub(super) struct AnnotateArgs {
    /// What it says
    #[arg(value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    text: String,
    /// A tag; several times for several
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// When: 2026-05-01T12:00:00Z, or how long ago, such as 10m [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    at: Option<i64>,
    /// Until when, for a stretch of time
    #[arg(long, value_name = "TIME", value_parser = parse_moment, requires = "at")]
    until: Option<i64>,
    /// Only on this dashboard, by its uid
    #[arg(long, value_name = "UID")]
    dashboard: Option<String>,
    /// Only on this panel of the dashboard
    #[arg(long, value_name = "N", requires = "dashboard")]
    panel: Option<u64>,
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct Annotated<'a> {
    /// None after a dry run.
    id: Option<u64>,
    text: &'a str,
    tags: &'a [String],
    time_ms: i64,
    end_ms: Option<i64>,
}

impl AnnotateArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let client = self.common.connection.client()?;
        let time_ms = self.at.unwrap_or_else(|| millis(SystemTime::now()));
        let tags: Vec<&str> = self.tag.iter().map(String::as_str).collect();
        let annotation = Annotation {
            text: &self.text,
            tags: &tags,
            time_ms: Some(time_ms),
            end_ms: self.until,
            dashboard_uid: self.dashboard.as_deref(),
            panel_id: self.panel,
        };
        let mut id = None;
        if !self.dry_run {
            let written = client.annotate(&annotation).await;
            id = Some(written.map_err(CommandError::failed("write the annotation"))?);
        }
        let (text, tags, end_ms) = (self.text.as_str(), self.tag.as_slice(), self.until);
        self.common.output.print(
            &Annotated { id, text, tags, time_ms, end_ms },
            |one| match one.id {
                Some(id) => format!("annotation {id} written\n"),
                None => format!("would be written: {}\n", one.text),
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Milliseconds since 1970 of a time as RFC 3339 has it, or of so long ago.
fn parse_moment(text: &str) -> Result<i64, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(millis(time));
    }
    let ago = parse_time(text).map_err(|error| format!("neither a time nor {error}"))?;
    SystemTime::now().checked_sub(ago).map(millis).ok_or_else(|| "too long ago".to_owned())
}

fn millis(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago_it_was() {
        assert_eq!(parse_moment("2026-05-01T12:00:00Z"), Ok(1_777_636_800_000));
        assert_eq!(parse_moment("2026-05-01 12:00:00"), Ok(1_777_636_800_000));
        let [earliest, moment, latest] =
            [millis(SystemTime::now()), parse_moment("10m").unwrap(), millis(SystemTime::now())];
        assert!((earliest..=latest).contains(&(moment + 600_000)), "{moment}");
        for wrong in ["", "soon", "-1s", "2026"] {
            assert!(parse_moment(wrong).is_err(), "{wrong}");
        }
    }
}
