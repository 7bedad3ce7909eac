//! `tallyd grafana datasources`: what panels can ask.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::connection::Common;
use super::output::table;
use super::{CommandError, verdict};
use crate::grafana::client::{Client, DataSource};

/// The flags of `datasources`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DatasourcesArgs {
    #[command(subcommand)]
    command: DatasourcesCommand,
}

#[derive(Debug, Subcommand)]
enum DatasourcesCommand {
    /// List data sources
    List {
        /// Only Prometheus and what answers like it
        #[arg(long)]
        prometheus: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show one data source
    Get {
        /// Its uid or name
        #[arg(value_name = "UID|NAME")]
        source: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have Grafana ask data sources whether they can be queried; exit code 1 when one cannot
    Health {
        /// Their uids or names [default: all that answer like Prometheus]
        #[arg(value_name = "UID|NAME")]
        sources: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Serialize)]
struct Asked {
    uid: String,
    name: String,
    status: String,
    message: String,
}

impl DatasourcesArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        match &self.command {
            DatasourcesCommand::List { prometheus, common } => {
                let client = common.connection.client()?;
                let sources = if *prometheus {
                    client.prometheus_datasources().await
                } else {
                    client.datasources().await
                };
                let sources = sources.map_err(CommandError::failed("list the data sources"))?;
                common.output.print(&sources, |sources| text(sources))?;
                Ok(ExitCode::SUCCESS)
            }
            DatasourcesCommand::Get { source, common } => {
                match find(&common.connection.client()?, source).await? {
                    Some(source) => {
                        common.output.print(&source, |one| text(std::slice::from_ref(one)))?;
                        Ok(ExitCode::SUCCESS)
                    }
                    None => Ok(verdict(false)),
                }
            }
            DatasourcesCommand::Health { sources, common } => health(sources, common).await,
        }
    }
}

/// A data source by its uid, else by its name.
pub(super) async fn find(
    client: &Client,
    source: &str,
) -> Result<Option<DataSource>, CommandError> {
    let failed = || CommandError::failed(format!("read the data source {source}"));
    if let Some(found) = client.datasource(source).await.map_err(failed())? {
        return Ok(Some(found));
    }
    client.datasource_named(source).await.map_err(failed())
}

async fn health(names: &[String], common: &Common) -> Result<ExitCode, CommandError> {
    let client = common.connection.client()?;
    let mut sources = Vec::new();
    for name in names {
        let missing = || CommandError::Usage(format!("there is no data source {name}"));
        sources.push(find(&client, name).await?.ok_or_else(missing)?);
    }
    if names.is_empty() {
        let all = client.prometheus_datasources().await;
        sources = all.map_err(CommandError::failed("list the data sources"))?;
    }
    let mut all = Vec::new();
    for DataSource { uid, name, .. } in sources {
        let health = client.datasource_health(&uid).await;
        let health = health.map_err(CommandError::failed(format!("ask after {name}")))?;
        all.push(Asked { uid, name, status: health.status, message: health.message });
    }
    common.output.print(&all, |all| {
        let rows = all.iter().map(|one| {
            [one.status.clone(), one.uid.clone(), one.name.clone(), one.message.clone()]
        });
        table(["health", "uid", "name", "message"], rows)
    })?;
    Ok(verdict(all.iter().all(|one| one.status == "OK")))
}

fn text(sources: &[DataSource]) -> String {
    let rows = sources.iter().map(|source| {
        let default = if source.is_default { "yes" } else { "" };
        let interval = source.scrape_interval().unwrap_or_default();
        let name = [source.uid.clone(), source.name.clone(), source.kind.clone()];
        let [uid, name, kind] = name;
        [uid, name, kind, default.to_owned(), interval.to_owned(), source.url.clone()]
    });
    table(["uid", "name", "type", "default", "interval", "address"], rows)
}
