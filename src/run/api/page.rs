//! The status page's content, as far as a visitor asked for it.

use super::pairs;
use super::view::View;
use crate::explain::{Explainer, MAX_LINE_BYTES};
use crate::grafana::panels::health::Exporter;
use crate::grafana::{Options, dashboards};
use crate::status::lists::{Families as Known, Row};
use crate::status::names::Rates;
use crate::web::Visit;
use crate::web::status::{Dashboard, Families, Family, Model, Query, Sort};

/// Families shown at a time.
const MAX_FAMILIES: usize = 100;

/// Up to so many series all dashboards are listed, which takes a look at each.
const MAX_SERIES: usize = 20_000;

impl View<'_> {
    /// The page.
    pub(in crate::run) fn page(&self, visit: &Visit<'_>, explainer: &Explainer) -> String {
        let query = query(visit.query);
        let line = query.line.as_deref();
        let explanation = line.map(|line| explainer.explain(line.as_bytes()));
        let rates = self.watch.rates();
        let known = self.families(&rates);
        Model {
            facts: &self.facts(),
            families: self.shown(&known, &rates, &query),
            unmapped: &self.unmapped(),
            errors: &self.errors(),
            conflicts: &self.conflicts(),
            cardinality: &self.cardinality(),
            dashboards: &self.dashboards(),
            telemetry_path: visit.telemetry_path,
            query: &query,
            explanation: explanation.as_ref(),
        }
        .into_html(visit.nonce)
    }

    fn shown(&self, known: &Known, rates: &Rates, query: &Query) -> Families {
        let rate = |row: &Row| row.marks.iter().map(|mark| rates.of(*mark)).sum::<f64>();
        let wanted = query.filter.to_lowercase();
        let matches = |row: &&Row| row.name.to_lowercase().contains(&wanted);
        let mut rows: Vec<(f64, &Row)> =
            known.rows.iter().filter(matches).map(|row| (rate(row), row)).collect();
        let matching = rows.len() as u64;
        match query.sort {
            Sort::Rate => rows.sort_by(|a, b| b.0.total_cmp(&a.0)),
            Sort::Series => rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.series)),
            Sort::Name => {}
        }
        let shown = rows.into_iter().take(MAX_FAMILIES).map(|(rate, row)| Family {
            name: row.name.clone(),
            kind: row.kind,
            source: row.source,
            help: row.help.clone(),
            labels: row.labels.clone(),
            series: row.series,
            lines: (!row.marks.is_empty())
                .then(|| row.marks.iter().map(|mark| rates.counts.of(*mark)).sum()),
            rate,
            spark: self.watch.sparkline(&row.marks),
        });
        Families { shown: shown.collect(), matching, total: known.total }
    }

    /// The dashboards that a push has found, or those there would be.
    fn dashboards(&self) -> Vec<Dashboard> {
        let facts = self.grafana.map(crate::grafana::sync::Status::facts).unwrap_or_default();
        if !facts.dashboards.is_empty() {
            let known = facts.dashboards.into_iter().map(|one| Dashboard {
                uid: one.uid,
                title: one.title,
                state: Some(one.result.as_str()),
                url: (!one.url.is_empty()).then_some(one.url),
            });
            return known.collect();
        }
        if self.sources.registry.len_of_all() > MAX_SERIES {
            return Vec::new();
        }
        let options = Options { exporter: Exporter::Tallyd, ..Options::default() };
        let made = dashboards(&self.inventories.get(), &options);
        let made = made.iter().map(|dashboard| Dashboard {
            uid: dashboard.uid().to_owned(),
            title: dashboard.title().to_owned(),
            state: None,
            url: None,
        });
        made.collect()
    }
}

fn query(text: &str) -> Query {
    let mut query = Query::default();
    for (key, value) in pairs(text) {
        match key.as_str() {
            _ if value.len() > MAX_LINE_BYTES => {}
            "q" => value.trim().clone_into(&mut query.filter),
            "sort" => {
                let known = Sort::ALL.into_iter().find(|sort| sort.as_str() == value);
                query.sort = known.unwrap_or_default();
            }
            "line" if !value.trim().is_empty() => query.line = Some(value),
            _ => {}
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_visitor_types_is_read_from_the_query() {
        check("", "", Sort::Rate, None);
        check("q=+shop%2Bx&sort=series&line=a%3A1%7Cc", "shop+x", Sort::Series, Some("a:1|c"));
        check("sort=nonsense&line=+&other=1", "", Sort::Rate, None);
        check(&format!("q={}", "x".repeat(MAX_LINE_BYTES + 1)), "", Sort::Rate, None);
    }

    #[track_caller]
    fn check(text: &str, filter: &str, sort: Sort, line: Option<&str>) {
        let line = line.map(ToOwned::to_owned);
        assert_eq!(query(text), Query { filter: filter.to_owned(), sort, line });
    }
}
