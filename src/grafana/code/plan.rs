//! A dashboard of the file to its rows and panels.

use serde_saphyr::{Location, Spanned};

use super::Fault;
use super::file::{RawDashboard, RawLoop, RawPanel, RawRow, nearest, unknown};
use super::fill::Turn;
use crate::grafana::dashboard::{
    LabelVariable, Options, Plan, family_rows, first_row, scope, service_rows,
};
use crate::grafana::inventory::{Family, Inventory};
use crate::grafana::panel::{Panel, Query, Row, Size, View};
use crate::grafana::panels::{self, saturation, workers};
use crate::grafana::promql::{Scope, TARGETS, scraped};
use crate::grafana::red::services;
use crate::grafana::unit;

/// Loops make at most so many panels or rows each.
const MAX_TURNS: usize = 100;
/// Stands in queries for the job, the instance and all variables.
const FILTER: &str = "$filter";

const VIEWS: [(&str, View); 6] = [
    ("lines", View::Lines),
    ("stack", View::Stack),
    ("stat", View::Stat),
    ("switch", View::Switch),
    ("gauge", View::Gauge),
    ("heatmap", View::Heatmap),
];
const INSERTS: [&str; 6] = ["overview", "services", "families", "workers", "servers", "exporter"];

/// Makes one dashboard.
pub(super) struct Planner<'a> {
    raw: &'a RawDashboard,
    inventory: &'a Inventory,
    options: &'a Options,
    families: Vec<&'a Family>,
    scope: Scope,
    pub(super) warnings: Vec<Fault>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        raw: &'a RawDashboard,
        inventory: &'a Inventory,
        options: &'a Options,
    ) -> Self {
        let is_about = |family: &&Family| {
            let matches = |pattern: &Spanned<String>| glob(&pattern.value, &family.name);
            (raw.families.is_empty() || raw.families.iter().any(matches))
                && !raw.hide.iter().any(matches)
        };
        let families = inventory.families.iter().filter(is_about).collect();
        let (scope, warnings) = (Scope::default(), Vec::new());
        Self { raw, inventory, options, families, scope, warnings }
    }

    pub(super) fn plan(&mut self) -> Result<Plan<'a>, Fault> {
        for pattern in self.raw.families.iter().chain(&self.raw.hide) {
            self.matching(pattern);
        }
        let (scope, mut variables) = scope(&self.families, self.options);
        self.scope = scope;
        if let Some(wanted) = &self.raw.variables {
            variables = self.chosen_variables(wanted);
            self.scope.labels = variables.iter().map(|known| known.label.clone()).collect();
        }
        let mut rows = Vec::new();
        for row in &self.raw.rows {
            rows.extend(self.rows(&row.value, row.referenced)?);
        }
        Ok(Plan {
            kind: "file",
            key: self.raw.name.clone().unwrap_or_else(|| self.raw.title.clone()),
            title: String::new(),
            description: self.raw.description.clone(),
            rows,
            variables,
        })
    }

    fn chosen_variables(&mut self, wanted: &[Spanned<String>]) -> Vec<LabelVariable<'a>> {
        let mut variables = Vec::new();
        for label in wanted {
            let has = |family: &&&Family| {
                family.labels.iter().any(|known| scraped(&known.name) == label.value)
            };
            if let Some(family) = self.families.iter().find(has) {
                variables.push(LabelVariable { label: label.value.clone(), family });
            } else {
                let problem = format!("no family has a label `{}`", label.value);
                self.warn(label.referenced, problem);
            }
        }
        variables
    }

    fn rows(&mut self, row: &RawRow, place: Location) -> Result<Vec<Row>, Fault> {
        if let Some(each) = &row.each {
            let mut rows = Vec::new();
            for value in self.turns(&each.value, each.referenced)? {
                let turn = Turn { name: &each.value.name, value: &value };
                rows.extend(self.rows(&turn.row(row), place)?);
            }
            return Ok(rows);
        }
        if let Some(insert) = &row.insert {
            return self.inserted(insert);
        }
        if row.title.is_empty() {
            return Err(Fault::at(place, "the row needs a `title`, or `insert`"));
        }
        let mut panels = Vec::new();
        for panel in &row.panels {
            panels.extend(self.panels(&panel.value, panel.referenced)?);
        }
        Ok(vec![Row { title: row.title.clone(), is_collapsed: row.collapsed, panels }])
    }

    fn inserted(&self, insert: &Spanned<String>) -> Result<Vec<Row>, Fault> {
        let services = services(self.families.iter().copied());
        let exporter = self.options.exporter;
        let mut rows = match insert.value.as_str() {
            "overview" => vec![first_row(&self.scope, &services, exporter)],
            "services" => service_rows(&self.scope, &services),
            "families" => family_rows(&self.scope, &self.families),
            "workers" => vec![workers::row()],
            "servers" => saturation::row(&self.scope, &self.families).into_iter().collect(),
            "exporter" => exporter.row().into_iter().collect(),
            word => return Err(Fault::at(insert.referenced, unknown("word", word, &INSERTS))),
        };
        for panel in rows.iter_mut().flat_map(|row| &mut row.panels) {
            self.rename(panel);
        }
        Ok(rows)
    }

    /// Gives a family's panel the title that the file has for the family.
    fn rename(&self, panel: &mut Panel) {
        let Some((family, _)) = panel.key.split_once(':') else { return };
        if let Some(title) = self.raw.rename.get(family) {
            let own = crate::grafana::names::title(family);
            let rest = panel.title.strip_prefix(&own).unwrap_or_default();
            panel.title = format!("{title}{rest}");
        }
    }

    fn panels(&mut self, panel: &RawPanel, place: Location) -> Result<Vec<Panel>, Fault> {
        if let Some(each) = &panel.each {
            let mut panels = Vec::new();
            for value in self.turns(&each.value, each.referenced)? {
                let turn = Turn { name: &each.value.name, value: &value };
                panels.extend(self.panels(&turn.panel(panel), place)?);
            }
            return Ok(panels);
        }
        let mut panels = match &panel.family {
            Some(family) => self.family_panels(panel, family),
            None => vec![self.own_panel(panel, place)?],
        };
        let view = panel.view.as_ref().map(view).transpose()?;
        for made in &mut panels {
            adjust(made, panel, view.as_ref());
        }
        Ok(panels)
    }

    fn family_panels(&mut self, panel: &RawPanel, pattern: &Spanned<String>) -> Vec<Panel> {
        let mut made = Vec::new();
        for family in self.matching(pattern) {
            let is_hidden = self.raw.hide.iter().any(|hidden| glob(&hidden.value, &family.name));
            if is_hidden && pattern.value.contains('*') {
                continue;
            }
            let mut panels = panels::of_family(&self.scope, family);
            if let Some(show) = &panel.show {
                panels = self.shown(panels, show);
            }
            for panel in &mut panels {
                self.rename(panel);
            }
            made.extend(panels);
        }
        if made.len() > 1 && panel.show.is_none() {
            return made;
        }
        // A panel that was picked stands where the file has it.
        for one in &mut made {
            one.size.is_first = false;
            if panel.show.is_some() {
                one.size.width = one.size.width.max(Size::THIRD.width);
            }
        }
        made
    }

    /// Those of a family's panels that the file names, in its order.
    fn shown(&mut self, mut panels: Vec<Panel>, show: &[Spanned<String>]) -> Vec<Panel> {
        let part = |panel: &Panel| panel.key.rsplit(':').next().unwrap_or_default().to_owned();
        let mut shown = Vec::new();
        for wanted in show {
            if let Some(at) = panels.iter().position(|panel| part(panel) == wanted.value) {
                shown.push(panels.remove(at));
                continue;
            }
            let known: Vec<String> = panels.iter().map(part).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.warn(wanted.referenced, unknown("panel", &wanted.value, &known));
        }
        shown
    }

    fn own_panel(&self, panel: &RawPanel, place: Location) -> Result<Panel, Fault> {
        let mut queries: Vec<Query> = Vec::new();
        if let Some(promql) = &panel.promql {
            let legend = panel.legend.clone().unwrap_or_default();
            queries.push(Query::new(self.filled(promql), legend));
        }
        for query in panel.queries.iter().flatten() {
            queries.push(Query::new(self.filled(&query.promql), query.legend.clone()));
        }
        if queries.is_empty() && panel.text.is_none() {
            let problem = "a panel needs `family`, `promql`, `queries` or `text`";
            return Err(Fault::at(place, problem));
        }
        let title = panel.title.clone().filter(|title| !title.is_empty());
        let title = title.ok_or_else(|| Fault::at(place, "the panel needs a `title`"))?;
        let about = queries.first().map_or(String::new(), |query| query.promql.clone());
        let made = Panel::lines(format!("file:{title}"), title, queries)
            .range(None, None)
            .about(format!("`{about}`"));
        Ok(match &panel.text {
            Some(text) => made.view(View::Text(text.clone())).about(""),
            None => made,
        })
    }

    /// A query with its filter filled in.
    fn filled(&self, promql: &str) -> String {
        let mut filter = TARGETS.to_owned();
        for label in &self.scope.labels {
            filter.extend([", ", label, "=~\"$", label, "\""]);
        }
        promql.replace(FILTER, &filter)
    }

    /// The values of a loop.
    fn turns(&mut self, each: &RawLoop, place: Location) -> Result<Vec<String>, Fault> {
        let mut values = match (&each.values, &each.label, &each.of, &each.families) {
            (Some(values), None, None, None) => values.clone(),
            (None, Some(label), Some(of), None) => {
                let families = self.matching(of);
                let labels = families.iter().flat_map(|family| &family.labels);
                let labels = labels.filter(|known| known.name == *label);
                let mut values: Vec<String> =
                    labels.flat_map(|label| label.examples.iter().cloned()).collect();
                values.sort();
                values.dedup();
                if values.is_empty() {
                    let problem = format!("no value of the label `{label}` is known");
                    self.warn(of.referenced, problem);
                }
                values
            }
            (None, None, None, Some(pattern)) => {
                self.matching(pattern).iter().map(|family| family.name.clone()).collect()
            }
            _ => {
                let problem = "a loop needs one of `in`, `label` with `of`, or `families`";
                return Err(Fault::at(place, problem));
            }
        };
        values.truncate(MAX_TURNS);
        Ok(values)
    }

    /// The families of a pattern; says so when there is none.
    fn matching(&mut self, pattern: &Spanned<String>) -> Vec<&'a Family> {
        let families = &self.inventory.families;
        let found: Vec<&Family> =
            families.iter().filter(|family| glob(&pattern.value, &family.name)).collect();
        if found.is_empty() {
            let names = families.iter().map(|family| family.name.as_str());
            let problem = match nearest(&pattern.value, names) {
                _ if pattern.value.contains('*') => {
                    format!("no family matches `{}`", pattern.value)
                }
                Some(name) => {
                    format!("no family is called `{}`; did you mean `{name}`?", pattern.value)
                }
                None => format!("no family is called `{}`", pattern.value),
            };
            self.warn(pattern.referenced, problem);
        }
        found
    }

    fn warn(&mut self, place: Location, problem: String) {
        let fault = Fault::at(place, problem);
        if !self.warnings.contains(&fault) {
            self.warnings.push(fault);
        }
    }
}

fn view(written: &Spanned<String>) -> Result<View, Fault> {
    let found = VIEWS.iter().find(|(word, _)| *word == written.value);
    found.map(|(_, view)| view.clone()).ok_or_else(|| {
        let known: Vec<&str> = VIEWS.iter().map(|(word, _)| *word).collect();
        Fault::at(written.referenced, unknown("word", &written.value, &known))
    })
}

/// What the file says of a panel wins over what was generated.
fn adjust(made: &mut Panel, raw: &RawPanel, view: Option<&View>) {
    if let Some(title) = &raw.title {
        made.title.clone_from(title);
    }
    if let Some(description) = &raw.description {
        made.description.clone_from(description);
    }
    if let Some(unit) = &raw.unit {
        made.unit = unit::of_word(unit);
    }
    if let Some(view) = view {
        made.view = view.clone();
    }
    if made.view == View::Heatmap && raw.family.is_none() {
        made.queries.iter_mut().for_each(|query| query.is_buckets = true);
    }
    made.range = (raw.min.or(made.range.0), raw.max.or(made.range.1));
    for step in &raw.thresholds {
        made.thresholds.steps.push((step.from, step.color.clone()));
    }
    made.thresholds.steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    made.size.width = raw.width.unwrap_or(made.size.width);
    made.size.height = raw.height.unwrap_or(made.size.height);
}

/// Whether a name is that of a pattern, whose stars stand for anything.
fn glob(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}
