//! Prometheus rules that belong to what a server exposes.
//!
//! From an [`Inventory`] come, for each service that can be told by its counters and timers, the
//! recordings that dashboards are slow without and the alerts that people want; beside them the
//! alerts on the exporter itself. What counts as too much is said by [`Thresholds`]. A [`RuleSet`]
//! is written as a Prometheus rule file, as a `PrometheusRule`, or as Grafana's own rules, and can
//! prove itself: every alert knows series that fire it and series that do not.

use std::collections::{BTreeMap, BTreeSet};

use crate::grafana::inventory::{Family, Kind};
use crate::grafana::promql::Buckets;
use crate::grafana::red::{self, Service};
use crate::grafana::{Inventory, names};

pub mod thresholds;
pub mod format;
pub mod managed;
pub mod proof;
pub mod cli;
mod expression;
mod exporter;
mod service;
mod application;

pub use proof::Proof;
pub use thresholds::Thresholds;

/// How rules are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the groups' names begin with.
    pub name: String,
    /// What counts as too much, and for how long.
    pub thresholds: Thresholds,
    /// Whether alerts on the exporter itself are among them.
    pub exporter: bool,
    /// Which buckets of histograms are asked.
    pub buckets: Buckets,
}

/// Rules, in groups that are evaluated in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// Sorted by name, the exporter's last; none is empty.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Once in a set.
    pub name: String,
    /// Recordings stand before the alerts that use them.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Keeps the result of an expression as a series.
    Record(Recording),
    /// Says that something is wrong.
    Alert(Box<Alert>),
}

/// An expression whose result is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// `level:metric:operation`.
    pub record: String,
    /// What is evaluated.
    pub expr: String,
}

/// A condition somebody wants to know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its name, once in a set.
    pub name: String,
    /// The condition; it may name series that recordings of its group make.
    pub expr: String,
    /// The condition in terms of scraped series alone.
    pub plain_expr: String,
    /// For how many seconds it must hold.
    pub for_seconds: u64,
    /// `severity` and whatever the thresholds add.
    pub labels: BTreeMap<String, String>,
    /// `summary`, `description` and the like.
    pub annotations: BTreeMap<String, String>,
    /// Series that fire it and series that do not; none where promtool cannot write such series.
    pub proof: Option<Proof>,
}

impl RuleSet {
    /// The rules for what `inventory` tells; the same input gives the same rules.
    #[must_use]
    pub fn new(inventory: &Inventory, options: &Options) -> Self {
        let thresholds = &options.thresholds;
        let families: Vec<Family> =
            inventory.families.iter().map(|family| asked(family, options.buckets)).collect();
        let services = red::services(&families);
        let mut groups: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
        let mut members: BTreeMap<&str, Vec<&Service<'_>>> = BTreeMap::new();
        for service in &services {
            members.entry(group(service.requests)).or_default().push(service);
        }
        for (group, services) in members {
            let rules = services.iter().flat_map(|service| service::rules(service, thresholds));
            let rules = rules.chain(service::absences(&services, thresholds));
            groups.entry(group).or_default().extend(rules);
        }
        let timed: BTreeSet<&str> =
            services.iter().filter_map(|service| service.duration).map(|f| &*f.name).collect();
        for family in &families {
            let rules = groups.entry(group(family)).or_default();
            rules.extend(service::quantiles(family, thresholds));
            rules.extend(application::rules(family, thresholds));
            if !timed.contains(&*family.name) {
                rules.extend(service::wanted_latency(family, thresholds));
            }
        }
        let named = |(prefix, rules)| Group { name: format!("{}-{prefix}", options.name), rules };
        let mut groups: Vec<Group> = groups.into_iter().map(named).collect();
        if options.exporter {
            let name = format!("{}-exporter", options.name);
            groups.push(Group { name, rules: exporter::rules(thresholds) });
        }
        tidy(&mut groups);
        Self { groups }
    }

    /// Every alert, in the order of the groups.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.groups.iter().flat_map(|group| &group.rules).filter_map(Rule::alert)
    }
}

impl Rule {
    /// The alert, if it is one.
    #[must_use]
    pub fn alert(&self) -> Option<&Alert> {
        match self {
            Self::Alert(alert) => Some(alert),
            Self::Record(_) => None,
        }
    }
}

/// A family as if it had the buckets that are to be asked, and no others.
fn asked(family: &Family, buckets: Buckets) -> Family {
    let mut family = family.clone();
    if let Kind::Histogram { bounds, native } = &mut family.kind {
        match buckets {
            Buckets::Auto => {}
            Buckets::Classic => *native = false,
            Buckets::Both => *native = true,
            Buckets::Native => {
                bounds.clear();
                *native = true;
            }
        }
    }
    family
}

/// The group of a family: the first word of its name.
fn group(family: &Family) -> &str {
    names::words(&family.name).next().unwrap_or("rules")
}

/// Leaves each recording once, gives each alert a name of its own, and puts alerts behind what
/// they are made of.
fn tidy(groups: &mut Vec<Group>) {
    let mut records = BTreeSet::new();
    let mut alerts: BTreeMap<String, u32> = BTreeMap::new();
    for group in groups.iter_mut() {
        group.rules.retain(|rule| match rule {
            Rule::Record(recording) => records.insert(recording.record.clone()),
            Rule::Alert(_) => true,
        });
        group.rules.sort_by_key(|rule| matches!(rule, Rule::Alert(_)));
        for rule in &mut group.rules {
            let Rule::Alert(alert) = rule else { continue };
            let namesakes = alerts.entry(alert.name.clone()).or_default();
            *namesakes += 1;
            if *namesakes > 1 {
                alert.name = format!("{}{namesakes}", alert.name);
            }
        }
    }
    groups.retain(|group| !group.rules.is_empty());
}
