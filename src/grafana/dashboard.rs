//! Dashboards: which there are, and what stands on each.

use std::collections::BTreeSet;

use serde_json::Value;

use super::group::{Group, Limits, groups};
use super::inventory::{Family, Inventory, Part};
use super::layout::lay_out;
use super::model::{
    Annotation, AnnotationQuery, Choice, Datasource, DatasourceVariable, Link, List, Model,
    QueryVariable, TimePicker, TimeRange, Variable, VariableQuery,
};
use super::names::{title, uid};
use super::panel::{COLUMNS, Panel, Row, Size, View};
use super::panels::health::Exporter;
use super::panels::{self, is_bounded, saturation, service, workers};
use super::promql::{Buckets, Scope, TARGETS, scraped};
use super::red::{Service, services};

/// The model that Grafana 12 and 13 write themselves.
pub const SCHEMA_VERSION: u32 = 42;
/// What all dashboards of ours are tagged with.
pub const TAG: &str = "tallyd";

/// More families than this make several dashboards.
const DASHBOARD: Limits = Limits { most: 40, least: 10 };
/// More families than this make several rows.
const ROW: Limits = Limits { most: 12, least: 3 };
/// On a dashboard with more families than this, their rows are closed at first.
const MANY_FAMILIES: usize = 8;
/// So many services at most have a row on one dashboard.
const MAX_SERVICES: usize = 8;
/// So many of them are among the first numbers.
const FIRST_SERVICES: usize = 2;
/// So many labels at most can be chosen from.
const MAX_VARIABLES: usize = 6;
/// A label with more values than this is no choice.
const MAX_CHOICES: u64 = 50;

/// How dashboards are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What they are about: the beginning of every title, and part of every uid.
    pub name: String,
    /// Where the servers run, such as `prod`; part of titles, tags and uids. Empty for one place.
    pub environment: String,
    /// The data source that is chosen at first; none for Grafana's default.
    pub datasource: Option<String>,
    /// How often Prometheus scrapes, such as `15s`; none where the data source says it.
    pub interval: Option<String>,
    /// Tags beside our own.
    pub tags: Vec<String>,
    /// The folder that they belong to, by its title.
    pub folder: Option<String>,
    /// Which buckets of histograms are asked.
    pub buckets: Buckets,
    /// Whose own metrics there are.
    pub exporter: Exporter,
    /// Grafana's number for the form of the JSON.
    pub schema_version: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "StatsD".to_owned(),
            environment: String::new(),
            datasource: None,
            interval: None,
            tags: Vec::new(),
            folder: None,
            buckets: Buckets::Auto,
            exporter: Exporter::Tallyd,
            schema_version: SCHEMA_VERSION,
        }
    }
}

/// A dashboard.
#[derive(Clone, Debug, PartialEq)]
pub struct Dashboard {
    /// The folder that it belongs to, by its title.
    pub folder: Option<String>,
    pub(super) model: Model,
}

impl Dashboard {
    /// What Grafana knows it by; see [`uid`].
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.model.uid
    }

    /// What people know it by.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.model.title
    }

    /// The dashboard as JSON, its keys sorted.
    ///
    /// # Errors
    /// Never, as long as our own structs can be JSON.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.model)
    }
}

/// What is on one dashboard, before it is laid out.
pub(super) struct Plan<'a> {
    /// `overview`, `group` or `file`; part of the uid.
    pub(super) kind: &'static str,
    /// What tells it from others of its kind; part of the uid.
    pub(super) key: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) rows: Vec<Row>,
    pub(super) variables: Vec<LabelVariable<'a>>,
}

/// A label that can be chosen from.
pub(super) struct LabelVariable<'a> {
    /// As Prometheus calls it.
    pub(super) label: String,
    /// A family that has it.
    pub(super) family: &'a Family,
}

/// The dashboards for what a server exposes: one, or an overview and one for each group of
/// families. The same inventory and options always give the same dashboards.
#[must_use]
pub fn dashboards(inventory: &Inventory, options: &Options) -> Vec<Dashboard> {
    let mut families: Vec<&Family> = inventory.families.iter().collect();
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families.dedup_by(|later, earlier| later.name == earlier.name);
    let (servers, families): (Vec<_>, Vec<_>) =
        families.into_iter().partition(|family| family.is_of_servers());
    let besides = Besides { servers, parts: &inventory.parts };
    let groups = groups(&families, DASHBOARD);
    let plans = if groups.len() <= 1 {
        vec![single(&families, &besides, options)]
    } else {
        let overview = overview((&families, &besides), &groups, options);
        let rest = groups.iter().map(|group| group_plan(group, options));
        std::iter::once(overview).chain(rest).collect()
    };
    plans.into_iter().map(|plan| build(plan, options)).collect()
}

/// The only dashboard.
fn single<'a>(families: &[&'a Family], besides: &Besides<'a>, options: &Options) -> Plan<'a> {
    let (scope, variables) = scope(families, options);
    let mut rows = rows(&scope, families, options.exporter);
    let is_long = families.len() > MANY_FAMILIES;
    let others = besides.rows(&scope).chain(options.exporter.row());
    rows.extend(others.map(|row| Row { is_collapsed: is_long, ..row }));
    Plan {
        kind: "overview",
        key: options.name.clone(),
        title: String::new(),
        description: format!("Everything that {} sends.", options.name),
        rows,
        variables,
    }
}

/// First numbers, services, and all families; something is open in any case.
fn rows(scope: &Scope, families: &[&Family], exporter: Exporter) -> Vec<Row> {
    let services = services(families.iter().copied());
    let mut rows = vec![first_row(scope, &services, exporter)];
    rows.extend(service_rows(scope, &services));
    let mut of_families = family_rows(scope, families);
    if let Some(first) = of_families.first_mut().filter(|_| services.is_empty()) {
        first.is_collapsed = false;
    }
    rows.extend(of_families);
    rows
}

/// What the server tells of besides.
struct Besides<'a> {
    servers: Vec<&'a Family>,
    parts: &'a BTreeSet<Part>,
}

impl Besides<'_> {
    fn rows(&self, scope: &Scope) -> impl Iterator<Item = Row> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Workers => workers::row(),
        });
        saturation::row(scope, &self.servers).into_iter().chain(parts)
    }
}

/// The first of several dashboards.
fn overview<'a>(
    (families, besides): (&[&'a Family], &Besides<'a>),
    groups: &[Group<'a>],
    options: &Options,
) -> Plan<'a> {
    let services = services(families.iter().copied());
    let mut shown: Vec<&Family> = Vec::new();
    for service in ranked(&services).into_iter().take(MAX_SERVICES) {
        shown.push(service.requests);
        shown.extend(service.duration);
    }
    let (scope, variables) = scope(&shown, options);
    let mut rows = vec![first_row(&scope, &services, options.exporter)];
    let links = Panel::lines("links", "Dashboards", vec![])
        .view(View::Text(links(groups, options)))
        .size(Size { width: COLUMNS, height: 8, is_first: true });
    rows.push(Row { title: "Dashboards".to_owned(), is_collapsed: false, panels: vec![links] });
    rows.extend(service_rows(&scope, &services));
    rows.extend(besides.rows(&scope).chain(options.exporter.row()));
    Plan {
        kind: "overview",
        key: options.name.clone(),
        title: String::new(),
        description: format!("The most important of what {} sends.", options.name),
        rows,
        variables,
    }
}

/// Where the other dashboards are. A relative address holds below any path of Grafana's.
fn links(groups: &[Group<'_>], options: &Options) -> String {
    let line = |group: &Group<'_>| {
        let uid = group_uid(&group.key, options);
        let count = group.families.len();
        let noun = if count == 1 { "metric" } else { "metrics" };
        format!("- [{}](d/{uid}): {count} {noun}\n", group.title)
    };
    groups.iter().map(line).collect()
}

fn group_plan<'a>(group: &Group<'a>, options: &Options) -> Plan<'a> {
    let (scope, variables) = scope(&group.families, options);
    let rows = rows(&scope, &group.families, Exporter::Unknown);
    Plan {
        kind: "group",
        key: group_key(&group.key, options),
        title: group.title.clone(),
        description: format!("What {} sends: {}.", options.name, group.title),
        rows,
        variables,
    }
}

fn group_uid(key: &str, options: &Options) -> String {
    uid("group", &group_key(key, options), &options.environment)
}

/// The name and the group; not the name twice, since a uid shows little of it.
fn group_key(key: &str, options: &Options) -> String {
    let name = options.name.to_ascii_lowercase();
    if key.to_ascii_lowercase().starts_with(&name) {
        key.to_owned()
    } else {
        format!("{} {key}", options.name)
    }
}

/// The numbers to see first.
pub(super) fn first_row(scope: &Scope, services: &[Service<'_>], exporter: Exporter) -> Row {
    let mut panels = Vec::new();
    for service in ranked(services).into_iter().take(FIRST_SERVICES) {
        panels.extend(service::stats(scope, service));
    }
    let mut own = exporter.stats();
    if let Some(first) = own.first_mut() {
        first.size = first.size.first();
    }
    panels.extend(own);
    Row { title: "Overview".to_owned(), is_collapsed: false, panels }
}

pub(super) fn service_rows(scope: &Scope, services: &[Service<'_>]) -> Vec<Row> {
    ranked(services)
        .into_iter()
        .take(MAX_SERVICES)
        .map(|known| service::row(scope, known))
        .collect()
}

/// The services that are known best come first.
fn ranked<'s, 'a>(services: &'s [Service<'a>]) -> Vec<&'s Service<'a>> {
    let mut ranked: Vec<&Service<'_>> = services.iter().collect();
    ranked.sort_by_key(|service| std::cmp::Reverse(service.parts()));
    ranked
}

/// The rows of families, by the beginnings of their names.
pub(super) fn family_rows(scope: &Scope, families: &[&Family]) -> Vec<Row> {
    let is_collapsed = families.len() > MANY_FAMILIES;
    let row = |group: Group<'_>| Row {
        title: group.title,
        is_collapsed,
        panels: family_panels(scope, &group.families),
    };
    let families: Vec<&Family> =
        families.iter().copied().filter(|family| !family.is_of_servers()).collect();
    groups(&families, ROW).into_iter().map(row).collect()
}

/// The panels of families: those that fill whole lines last, so that lines are full.
pub(super) fn family_panels(scope: &Scope, families: &[&Family]) -> Vec<Panel> {
    let panels = families.iter().map(|family| panels::of_family(scope, family));
    let (long, short): (Vec<_>, Vec<_>) =
        panels.partition(|panels| panels.first().is_some_and(|panel| panel.size.is_first));
    short.into_iter().chain(long).flatten().collect()
}

/// The labels that can be chosen from, and what that means for queries.
pub(super) fn scope<'a>(
    families: &[&'a Family],
    options: &Options,
) -> (Scope, Vec<LabelVariable<'a>>) {
    let enough = (families.len() / 5).clamp(1, 3);
    let mut found: Vec<(usize, LabelVariable<'_>)> = Vec::new();
    for family in families {
        for label in &family.labels {
            let name = scraped(&label.name);
            match found.iter_mut().find(|(_, known)| known.label == name) {
                Some((count, _)) => *count += 1,
                None => found.push((1, LabelVariable { label: name.into_owned(), family })),
            }
        }
    }
    let is_choice = |variable: &LabelVariable<'_>| {
        let mut same = families.iter().flat_map(|family| &family.labels);
        variable.label != "datasource"
            && !variable.label.starts_with("__")
            && same.all(|label| {
                scraped(&label.name) != variable.label || is_bounded(label, MAX_CHOICES)
            })
    };
    found.retain(|(count, variable)| *count >= enough && is_choice(variable));
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.label.cmp(&b.1.label)));
    found.truncate(MAX_VARIABLES);
    let variables: Vec<_> = found.into_iter().map(|(_, variable)| variable).collect();
    let labels = variables.iter().map(|variable| variable.label.clone()).collect();
    (Scope { labels, buckets: options.buckets }, variables)
}

/// Lays a dashboard out.
pub(super) fn build(plan: Plan<'_>, options: &Options) -> Dashboard {
    let environment = &options.environment;
    let mut title = options.name.clone();
    if !plan.title.is_empty() {
        title.extend([" / ", &plan.title]);
    }
    if !environment.is_empty() {
        title.extend([" (", environment, ")"]);
    }
    let mut tags = vec!["statsd".to_owned(), "generated".to_owned(), TAG.to_owned()];
    let environment_tag = (!environment.is_empty()).then(|| environment.clone());
    tags.extend(environment_tag.into_iter().chain(options.tags.iter().cloned()));
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    let scope = Scope { labels: Vec::new(), buckets: options.buckets };
    let mut list = vec![datasource_variable(options), job_variable(options.exporter)];
    list.push(instance_variable(options.exporter));
    list.extend(plan.variables.iter().map(|variable| label_variable(&scope, variable)));
    let model = Model {
        uid: uid(plan.kind, &plan.key, environment),
        title,
        description: plan.description,
        tags,
        schema_version: options.schema_version,
        editable: false,
        graph_tooltip: 1,
        timezone: "browser",
        week_start: "",
        fiscal_year_start_month: 0,
        live_now: false,
        refresh: "30s",
        time: TimeRange { from: "now-1h", to: "now" },
        timepicker: TimePicker { refresh_intervals: ["10s", "30s", "1m", "5m", "15m", "1h"] },
        annotations: List { list: annotations(options.exporter) },
        templating: List { list },
        links: vec![other_dashboards(environment)],
        panels: lay_out(plan.rows, options.interval.as_deref()),
    };
    Dashboard { folder: options.folder.clone(), model }
}

fn annotations(exporter: Exporter) -> Vec<Annotation> {
    let mark = exporter.mark();
    let own = Annotation {
        built_in: Some(1),
        datasource: Datasource::GRAFANA,
        enable: true,
        hide: true,
        icon_color: "rgba(0, 211, 255, 1)",
        name: "Annotations & Alerts",
        kind: Some("dashboard"),
        query: None,
    };
    let restarts = AnnotationQuery {
        expr: format!(
            "changes(process_start_time_seconds{{{TARGETS}}}[$__rate_interval]) > 0 \
             and on (job, instance) {mark}{{{TARGETS}}}"
        ),
        step: "60s",
        title_format: "Restart",
        text_format: "{{instance}}",
    };
    let restarts = Annotation {
        built_in: None,
        datasource: Datasource::PROMETHEUS,
        enable: true,
        hide: false,
        icon_color: "orange",
        name: "Restarts",
        kind: None,
        query: Some(restarts),
    };
    vec![own, restarts]
}

fn other_dashboards(environment: &str) -> Link {
    let environment = (!environment.is_empty()).then(|| environment.to_owned());
    Link {
        title: "Dashboards".to_owned(),
        kind: "dashboards",
        icon: "external link",
        tooltip: "",
        url: "",
        tags: std::iter::once(TAG.to_owned()).chain(environment).collect(),
        as_dropdown: true,
        target_blank: false,
        include_vars: true,
        keep_time: true,
    }
}

fn datasource_variable(options: &Options) -> Variable {
    let chosen = options.datasource.clone().unwrap_or_else(|| "default".to_owned());
    Variable::Datasource(DatasourceVariable {
        name: "datasource",
        kind: "datasource",
        label: "Data source",
        query: "prometheus",
        regex: "",
        current: Choice { text: chosen.clone(), value: chosen },
        hide: 0,
        include_all: false,
        multi: false,
        options: [],
        refresh: 1,
        skip_url_sync: false,
    })
}

fn job_variable(exporter: Exporter) -> Variable {
    query_variable("job", "Job", &format!("label_values({}, job)", exporter.mark()), ".+")
}

fn instance_variable(exporter: Exporter) -> Variable {
    let query = format!("label_values({}{{job=~\"$job\"}}, instance)", exporter.mark());
    query_variable("instance", "Instance", &query, ".+")
}

fn label_variable(scope: &Scope, variable: &LabelVariable<'_>) -> Variable {
    let (label, series) = (&variable.label, scope.any_series(variable.family));
    let query = format!("label_values({series}, {label})");
    // Families without the label stay visible as long as nothing is chosen.
    query_variable(label, &title(label), &query, ".*")
}

fn query_variable(name: &str, label: &str, query: &str, all_value: &'static str) -> Variable {
    Variable::Query(QueryVariable {
        name: name.to_owned(),
        kind: "query",
        label: label.to_owned(),
        datasource: Datasource::PROMETHEUS,
        query: VariableQuery { query: query.to_owned(), ref_id: "StandardVariableQuery" },
        definition: query.to_owned(),
        refresh: 2,
        sort: 1,
        multi: true,
        include_all: true,
        all_value,
        current: Choice { text: ["All"], value: ["$__all"] },
        hide: 0,
        options: [],
        regex: "",
        skip_url_sync: false,
    })
}
