//! The flags with which the server keeps dashboards in Grafana.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ConfigError;
use super::units::parse_interval;
use crate::grafana::cli::connection::AccessArgs;
use crate::grafana::client;
use crate::grafana::sync::keeper::Settings;
use crate::grafana::sync::{OnDrift, Owner, Place, Rules};

/// Flags about Grafana.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Grafana")]
pub struct GrafanaFlags {
    /// Keep dashboards in this Grafana [default: none]
    // Not from a variable: one that is there for other programs must not make this one write.
    #[arg(long = "grafana.url", value_name = "URL", default_value = "", hide_default_value = true)]
    pub url: String,
    /// How to get in.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Folder of new dashboards [default: StatsD]
    #[arg(
        long = "grafana.folder",
        value_name = "TITLE",
        default_value = "StatsD",
        hide_default_value = true
    )]
    pub folder: String,
    /// Service that they are for [default: StatsD]
    #[arg(
        long = "grafana.name",
        value_name = "NAME",
        default_value = "StatsD",
        hide_default_value = true
    )]
    pub name: String,
    /// Its environment, such as prod
    #[arg(
        long = "grafana.environment",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub environment: String,
    /// Data source to choose at first, by its uid
    #[arg(long = "grafana.datasource", value_name = "UID")]
    pub datasource: Option<String>,
    /// Dashboards file that picks, orders and adds panels
    #[arg(long = "grafana.dashboards", value_name = "FILE")]
    pub dashboards: Option<PathBuf>,
    /// What edited ones are: keep, overwrite, copy [default: keep]
    #[arg(
        long = "grafana.on-drift",
        value_name = "WHAT",
        value_enum,
        default_value = "keep",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub on_drift: OnDrift,
    /// Take over those that somebody else wrote
    #[arg(long = "grafana.adopt")]
    pub adopt: bool,
    /// Delete those of this service that are no longer made
    #[arg(long = "grafana.prune")]
    pub prune: bool,
    /// Wait until no new family has come for so long
    #[arg(long = "grafana.settle-time", value_name = "TIME", default_value = "30s", value_parser = parse_interval)]
    pub settle: Duration,
    /// Least time between two pushes
    #[arg(long = "grafana.min-interval", value_name = "TIME", default_value = "5m", value_parser = parse_interval)]
    pub min_interval: Duration,
}

/// The Grafana in which dashboards are kept.
#[derive(Clone, Debug)]
pub struct Grafana {
    /// Where it is and how to get in.
    pub client: client::Config,
    /// How dashboards are kept there.
    pub settings: Settings,
    /// The service's name.
    pub name: String,
    /// The service's environment, or nothing.
    pub environment: String,
    /// The data source to choose at first; none for Grafana's default.
    pub datasource: Option<String>,
    /// The dashboards file.
    pub dashboards: Option<PathBuf>,
}

impl GrafanaFlags {
    /// What these flags mean; none when they name no Grafana.
    pub(super) fn checked(self) -> Result<Option<Grafana>, ConfigError> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let client = self.access.config(&self.url);
        let client = client
            .map_err(|error| ConfigError::Grafana(format!("{:#}", anyhow::Error::from(error))))?;
        let owner = Owner::new(&self.name, &self.environment);
        let rules = Rules { owner, on_drift: self.on_drift, adopts: self.adopt };
        let place = Place::parse(&self.folder);
        let (settle, min_interval) = (self.settle, self.min_interval);
        let settings = Settings { rules, place, prunes: self.prune, settle, min_interval };
        Ok(Some(Grafana {
            client,
            settings,
            name: self.name,
            environment: self.environment,
            datasource: self.datasource,
            dashboards: self.dashboards,
        }))
    }
}
