//! The keeping of dashboards, put together.

use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{info, warn};

use super::inventory::Inventories;
use super::site::Site;
use crate::compat::Compat;
use crate::config;
use crate::grafana::client::Client;
use crate::grafana::code::Code;
use crate::grafana::panels::health::Exporter;
use crate::grafana::sync::keeper::{Settings, Source};
use crate::grafana::sync::{Keeper, Status, Wanted};
use crate::grafana::{Inventory, Options, dashboards};

/// A Grafana that has not been asked for anything yet, and what is to be kept there.
#[derive(Debug)]
pub struct Connected {
    client: Client,
    settings: Settings,
    recipe: Recipe,
    first_uid: String,
    status: Arc<Status>,
}

/// How dashboards are made.
#[derive(Debug)]
struct Recipe {
    options: Options,
    code: Option<Code>,
}

/// Gets ready to keep dashboards, where a Grafana is named.
///
/// # Errors
/// When the settings cannot be used or a file they name cannot be read; Grafana is not asked.
pub fn connect(
    config: Option<&config::Grafana>,
    compat: Compat,
) -> anyhow::Result<Option<Connected>> {
    let Some(config) = config else { return Ok(None) };
    let client = Client::new(config.client.clone()).context("cannot keep dashboards in Grafana")?;
    let exporter = if compat.is_reference() { Exporter::Reference } else { Exporter::Tallyd };
    let options = Options {
        name: config.name.clone(),
        environment: config.environment.clone(),
        datasource: config.datasource.clone(),
        exporter,
        ..Options::default()
    };
    let code = config.dashboards.as_deref().map(Code::load).transpose()?;
    let recipe = Recipe { options, code };
    let Some(first) = recipe.make(&Inventory::default())?.into_iter().next() else {
        bail!("the file of --grafana.dashboards has no dashboard");
    };
    let owner = config.settings.rules.owner.as_str();
    let status = Arc::new(Status::new(client.base_url(), owner));
    info!(url = client.base_url(), owner, "Keeping dashboards in Grafana");
    let (settings, first_uid) = (config.settings.clone(), first.uid);
    Ok(Some(Connected { client, settings, recipe, first_uid, status }))
}

impl Connected {
    /// How the keeping goes.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// The keeper of dashboards for what `site` shows.
    #[must_use]
    pub fn keeper(self, site: &Site) -> Keeper {
        let live = Live {
            inventories: Arc::clone(site.inventories()),
            recipe: self.recipe,
            first_uid: self.first_uid,
        };
        Keeper::new(self.client, self.settings, Arc::new(live), self.status)
    }
}

/// What this server exposes, and how dashboards are made of it.
#[derive(Debug)]
struct Live {
    inventories: Arc<Inventories>,
    recipe: Recipe,
    first_uid: String,
}

impl Source for Live {
    fn changes(&self) -> u64 {
        self.inventories.changes()
    }

    fn inventory(&self) -> Arc<Inventory> {
        self.inventories.get()
    }

    fn dashboards(&self, inventory: &Inventory) -> Vec<Wanted> {
        // What was possible at the start is possible later, so this is only for the type.
        self.recipe.make(inventory).unwrap_or_else(|error| {
            warn!(error = %format!("{error:#}"), "Cannot make the dashboards.");
            Vec::new()
        })
    }

    fn first_uid(&self) -> &str {
        &self.first_uid
    }
}

impl Recipe {
    fn make(&self, inventory: &Inventory) -> anyhow::Result<Vec<Wanted>> {
        let made = match &self.code {
            Some(code) => code.dashboards(inventory, &self.options)?.dashboards,
            None => dashboards(inventory, &self.options),
        };
        Ok(made.iter().map(Wanted::of).collect::<Result<_, _>>()?)
    }
}
