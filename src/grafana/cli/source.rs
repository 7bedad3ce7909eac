//! The flags that say what dashboards and rules are made of, and how.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{CommandError, output};
use crate::compat::Compat;
use crate::grafana::code::{Code, Made};
use crate::grafana::inventory::{self, Inventory};
use crate::grafana::panels::health::Exporter;
use crate::grafana::promql::Buckets;
use crate::grafana::{Options, dashboards};
use crate::map::Intake;
use crate::map::preset::{self, Preset};
use crate::map::{Loaded, Rules};

/// What is known of a server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Made of")]
pub struct InventoryArgs {
    /// A running tallyd, by its address; or the page of any other exporter of StatsD
    #[arg(long, value_name = "URL", conflicts_with_all = ["mapping", "preset"])]
    pub from: Option<String>,
    /// A mapping file, without a server
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// The mappings of applications, which come with tallyd
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub preset: Vec<Preset>,
}

/// An inventory, and whose own metrics come beside it.
#[derive(Clone, Debug)]
pub struct Known {
    /// What is exposed.
    pub inventory: Arc<Inventory>,
    /// Whose own metrics there are.
    pub exporter: Exporter,
    /// What is missing, one line each.
    pub warnings: Vec<String>,
}

impl InventoryArgs {
    /// Whether any of the flags is there.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.from.is_some() || self.mapping.is_some() || !self.preset.is_empty()
    }

    /// The application, where there is one preset and nothing else.
    #[must_use]
    pub fn application(&self) -> Option<&'static str> {
        match (&self.mapping, self.preset.as_slice()) {
            (None, [preset]) => Some(preset.name()),
            _ => None,
        }
    }

    /// What is known.
    ///
    /// # Errors
    /// When no flag is there, or what it names cannot be had.
    pub async fn known(&self) -> Result<Known, CommandError> {
        if let Some(address) = &self.from {
            let what = format!("ask {address} what it exposes");
            let fetched = inventory::fetch(address).await.map_err(CommandError::failed(what))?;
            let inventory = Arc::new(fetched.inventory);
            return Ok(Known { inventory, exporter: fetched.exporter, warnings: Vec::new() });
        }
        if !self.is_given() {
            let problem = "say what is known: --from URL, --mapping FILE or --preset NAME";
            return Err(CommandError::Usage(problem.to_owned()));
        }
        let failed = || CommandError::failed("use the mapping");
        let own = match &self.mapping {
            Some(file) => Rules::load(file, Compat::Extended).map_err(failed())?,
            None => Loaded { rules: Rules::without_file(Compat::Extended), warnings: Vec::new() },
        };
        let rules = own
            .rules
            .with_behind(preset::load(&self.preset, &Intake::default()).map_err(failed())?);
        let promise = Inventory::of_rules(&rules);
        let mut warnings = own.warnings;
        if !promise.open.is_empty() {
            let rules = promise.open.join(", ");
            warnings.push(format!("left out, since clients choose the names: {rules}"));
        }
        let inventory = Arc::new(promise.inventory);
        Ok(Known { inventory, exporter: Exporter::Tallyd, warnings })
    }
}

/// How dashboards are made.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Dashboards")]
pub struct DashboardArgs {
    /// What the dashboards are about; begins their titles [default: the preset, or StatsD]
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Where the servers run, such as prod; part of titles, tags and uids
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub environment: String,
    /// Data source to choose at first, by its uid [default: Grafana's own default]
    #[arg(long, value_name = "UID")]
    pub datasource: Option<String>,
    /// How often Prometheus scrapes, if the data source does not say it
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// Another tag; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Which buckets of histograms to ask
    #[arg(long, value_enum, default_value = "auto")]
    pub native: NativeChoice,
    /// Form of the JSON: 42 for Grafana 12 and later, 39 for 10 and 11
    #[arg(long, value_name = "N", default_value_t = crate::grafana::dashboard::SCHEMA_VERSION)]
    pub schema_version: u32,
    /// Dashboards file that picks, orders and adds panels; docs/dashboards.md tells its keys
    #[arg(long, value_name = "FILE")]
    pub dashboards: Option<PathBuf>,
    /// What is known of a server.
    #[command(flatten)]
    pub inventory: InventoryArgs,
}

/// Which buckets of histograms are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NativeChoice {
    /// Native ones where somebody scrapes them, else classic ones
    Auto,
    /// `_bucket` and `le`
    Classic,
    /// Native histograms
    Native,
    /// Whichever there are, for a migration
    Both,
}

impl From<NativeChoice> for Buckets {
    fn from(choice: NativeChoice) -> Self {
        match choice {
            NativeChoice::Auto => Self::Auto,
            NativeChoice::Classic => Self::Classic,
            NativeChoice::Native => Self::Native,
            NativeChoice::Both => Self::Both,
        }
    }
}

impl DashboardArgs {
    /// The options for dashboards of an exporter.
    #[must_use]
    pub fn options(&self, exporter: Exporter) -> Options {
        let preset = self.inventory.application().map(str::to_owned);
        let defaults = Options::default();
        Options {
            name: self.name.clone().or(preset).unwrap_or(defaults.name),
            environment: self.environment.clone(),
            datasource: self.datasource.clone(),
            interval: self.interval.clone(),
            tags: self.tag.clone(),
            folder: None,
            buckets: self.native.into(),
            exporter,
            schema_version: self.schema_version,
        }
    }

    /// The dashboards that the flags ask for.
    ///
    /// # Errors
    /// When nothing is known, or a file cannot be used.
    pub async fn make(&self) -> Result<Made, CommandError> {
        let known = self.inventory.known().await?;
        let options = self.options(known.exporter);
        let mut made = match &self.dashboards {
            Some(file) => {
                let failed = || CommandError::failed("use the dashboards file");
                let code = Code::load(file).map_err(failed())?;
                code.dashboards(&known.inventory, &options).map_err(failed())?
            }
            None => Made { dashboards: dashboards(&known.inventory, &options), warnings: vec![] },
        };
        made.warnings.splice(0..0, known.warnings);
        Ok(made)
    }
}

/// Tells people on stderr what is missing.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
}
