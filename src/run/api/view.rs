//! What the API and the status page tell of, found on demand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::expose::own::Sources;
use crate::grafana::sync::Status;
use crate::run::inventory::Inventories;
use crate::run::reload::Reloader;
use crate::status::Watch;
use crate::status::cardinality::Cardinality;
use crate::status::facts::{Facts, FullFamily, Limits, Mapping, Setting};
use crate::status::kept::Kept;
use crate::status::lists::{Conflicts, Errors, Families, Unmapped};
use crate::status::names::Rates;

/// Families that are at a limit and told of.
const MAX_FULL_FAMILIES: usize = 20;

/// What takes a look at all series.
#[derive(Debug, Default)]
pub(in crate::run) struct Overview {
    cardinality: Kept<Cardinality>,
    families: Kept<Families>,
}

/// Where everything comes from.
#[derive(Debug)]
pub(in crate::run) struct View<'a> {
    pub(in crate::run) sources: &'a Sources,
    pub(in crate::run) watch: &'a Watch,
    pub(in crate::run) inventories: &'a Inventories,
    pub(in crate::run) reloader: &'a Reloader,
    pub(in crate::run) overview: &'a Overview,
    pub(in crate::run) is_ready: bool,
    pub(in crate::run) grafana: Option<&'a Status>,
}

impl View<'_> {
    /// `GET /api/v1/status`
    pub(in crate::run) fn facts(&self) -> Facts {
        let setting = Setting {
            compat: self.sources.compat,
            is_ready: self.is_ready,
            rules: &self.reloader.rules(),
            limits: self.limits(),
            mapping: self.mapping(),
            servers: self.sources.saturation.iter().flat_map(|servers| servers.facts()).collect(),
            grafana: self.grafana.map(Status::facts),
            files: self.sources.multiproc.as_ref().map(|files| files.facts()),
        };
        Facts::of(self.watch, &self.watch.now(), &self.watch.rates(), setting)
    }

    fn limits(&self) -> Limits {
        let used = self.sources.registry.limit_use(MAX_FULL_FAMILIES);
        let in_files = self.sources.multiproc.as_ref().map(|files| files.facts().full);
        let full = used.families.into_iter().chain(in_files.unwrap_or_default());
        let mut full: Vec<FullFamily> = full
            .map(|full| FullFamily {
                family: full.name.to_string(),
                series: full.series as u64,
                label: full.label.into(),
            })
            .collect();
        full.sort_by_key(|full| std::cmp::Reverse(full.series));
        full.truncate(MAX_FULL_FAMILIES);
        Limits { series: used.most_series.map(|most| most as u64), full }
    }

    fn mapping(&self) -> Mapping {
        let process = &self.sources.telemetry.process;
        let (rules, behind) = (self.reloader.rules(), self.reloader.rules().behind());
        let presets = behind.iter().map(|preset| preset.origin(0));
        let presets = presets.map(|name| name.trim_start_matches("preset ").to_owned());
        let last = self.reloader.last();
        let at = last.as_ref().and_then(|last| last.at.duration_since(UNIX_EPOCH).ok());
        Mapping {
            file: self.reloader.file().map(|file| file.display().to_string()),
            presets: presets.collect(),
            rules: rules.len(),
            reloads_total: process.reloads.load(Ordering::Relaxed),
            failed_reloads_total: process.failed_reloads.load(Ordering::Relaxed),
            last_reload_at: at.map(|at| at.as_secs_f64()),
            last_error: last.and_then(|last| last.error),
        }
    }

    /// `GET /api/v1/unmapped`
    pub(in crate::run) fn unmapped(&self) -> Unmapped {
        Unmapped::of(&self.watch.rates(), !self.reloader.rules().is_empty())
    }

    /// `GET /api/v1/errors`
    pub(in crate::run) fn errors(&self) -> Errors {
        Errors::of(self.watch, &self.watch.rates(), self.watch.clock())
    }

    /// `GET /api/v1/conflicts`
    pub(in crate::run) fn conflicts(&self) -> Conflicts {
        let reading = self.sources.registry.read(self.watch.now_millis());
        let conflicts = Conflicts::of(self.watch, &reading.view, self.watch.clock());
        let Some(files) = &self.sources.multiproc else { return conflicts };
        let mut clashes = self.sources.joined(&reading).clashes().to_vec();
        clashes.extend(files.facts().clashes);
        conflicts.with_clashes(clashes)
    }

    /// `GET /api/v1/cardinality`
    pub(in crate::run) fn cardinality(&self) -> Arc<Cardinality> {
        self.overview.cardinality.get(|| {
            let reading = self.sources.registry.read(self.watch.now_millis());
            Cardinality::of(&reading, &self.sources.joined(&reading))
        })
    }

    /// The families by name.
    pub(in crate::run) fn families(&self, rates: &Rates) -> Arc<Families> {
        self.overview.families.get(|| {
            let reading = self.sources.registry.read(self.watch.now_millis());
            Families::of(&reading, &self.sources.joined(&reading), rates)
        })
    }
}
