//! The data source that a command means.

use super::CommandError;
use super::datasources::find;
use crate::grafana::client::{Client, DataSource};

/// The data source with this uid or name; without one, the only Prometheus or the default one.
///
/// # Errors
/// When Grafana cannot be asked, when there is no such data source, or when there are several and
/// it does not say which.
pub async fn datasource(client: &Client, wanted: Option<&str>) -> Result<DataSource, CommandError> {
    if let Some(wanted) = wanted {
        return find(client, wanted).await?.ok_or_else(|| {
            CommandError::Usage(format!(
                "there is no data source with the uid or the name `{wanted}`; `tallyd grafana \
                 datasources list` tells which there are"
            ))
        });
    }
    let failed = CommandError::failed("look for the data source");
    let mut found = client.prometheus_datasources().await.map_err(failed)?;
    if let Some(default) = found.iter().position(|source| source.is_default) {
        return Ok(found.swap_remove(default));
    }
    match found.pop() {
        None => Err(CommandError::Usage(
            "this Grafana has no data source of the type prometheus".to_owned(),
        )),
        Some(only) if found.is_empty() => Ok(only),
        Some(last) => {
            let names = found.iter().chain([&last]).map(|source| source.uid.as_str());
            Err(CommandError::Usage(format!(
                "which data source? Say it with --datasource; there are {}",
                names.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}
