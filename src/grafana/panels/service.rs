//! Rate, errors and duration of a service.

use super::{describe, split};
use crate::grafana::inventory::{Family, Kind, Label};
use crate::grafana::panel::{Panel, Query, Row, Size, View};
use crate::grafana::promql::{Scope, aggregate, or_zero, scraped};
use crate::grafana::red::{Errors, Service};
use crate::grafana::unit;

/// The row of a service.
#[must_use]
pub fn row(scope: &Scope, service: &Service<'_>) -> Row {
    let mut panels = vec![rate(scope, service)];
    panels.extend(errors(scope, service));
    panels.extend(duration(scope, service));
    let size = if panels.len() == 2 { Size::HALF } else { Size::THIRD };
    for panel in &mut panels {
        panel.size = size;
    }
    let mut parts = vec!["rate"];
    parts.extend(service.errors.as_ref().map(|_| "errors"));
    parts.extend(service.duration.map(|_| "duration"));
    let title = format!("{}: {}", service.title(), parts.join(", "));
    Row { title, is_collapsed: false, panels }
}

/// Its most telling numbers.
#[must_use]
pub fn stats(scope: &Scope, service: &Service<'_>) -> Vec<Panel> {
    let title = service.title();
    let key = |part: &str| format!("service:{}:{part}:now", service.name);
    let rate = scope.rate(service.requests, &[], "");
    let mut panels = vec![
        Panel::stat(key("rate"), format!("{title}: rate"), rate)
            .unit(rate_unit(service.requests))
            .about(describe(service.requests, "All of them, per second.")),
    ];
    if let Some((family, promql)) = error_ratio(scope, service, &[]) {
        panels.push(
            Panel::stat(key("errors"), format!("{title}: errors"), promql)
                .unit("percentunit")
                .thresholds("green", &[(0.01, "orange"), (0.05, "red")])
                .about(describe(family, "The share that went wrong.")),
        );
    }
    if let Some(family) = service.duration {
        let (name, promql) = slow(scope, family);
        panels.push(
            Panel::stat(key("duration"), format!("{title}: {name}"), promql)
                .unit(unit::of_values(family))
                .about(describe(family, "How long the slow ones take.")),
        );
    }
    panels
}

fn key(service: &Service<'_>, part: &str) -> String {
    format!("service:{}:{part}", service.name)
}

fn rate_unit(family: &Family) -> &'static str {
    match family.kind {
        Kind::Counter => unit::of_rate(family),
        _ => unit::of_observations(family),
    }
}

fn rate(scope: &Scope, service: &Service<'_>) -> Panel {
    let family = service.requests;
    let label = split_beside(family, service);
    let query = split(label, |by| scope.rate(family, by, ""));
    Panel::lines(key(service, "rate"), format!("{}: rate", service.title()), vec![query])
        .unit(rate_unit(family))
        .view(if label.is_some() { View::Stack } else { View::Lines })
        .about(describe(family, "How often it is used, per second."))
}

fn errors(scope: &Scope, service: &Service<'_>) -> Option<Panel> {
    let label = match &service.errors {
        Some(Errors::Label { family, .. }) => split_beside(family, service),
        Some(Errors::Counter(_)) | None => None,
    };
    let by = label.map(|label| scraped(&label.name));
    let by_labels: Vec<&str> = by.iter().map(AsRef::as_ref).collect();
    let (family, promql) = error_ratio(scope, service, &by_labels)?;
    let legend = by.map_or_else(|| "errors".to_owned(), |label| format!("{{{{{label}}}}}"));
    Some(
        Panel::lines(
            key(service, "errors"),
            format!("{}: errors", service.title()),
            vec![Query::new(promql, legend)],
        )
        .unit("percentunit")
        .thresholds("green", &[(0.01, "orange"), (0.05, "red")])
        .about(describe(family, "The share that went wrong; zero where nothing did.")),
    )
}

/// The share of errors, and the family that knows them.
fn error_ratio<'a>(
    scope: &Scope,
    service: &Service<'a>,
    by: &[&str],
) -> Option<(&'a Family, String)> {
    match service.errors.as_ref()? {
        Errors::Label { family, label, pattern } => {
            let all = scope.rate(family, by, "");
            let matcher = format!("{}=~\"{pattern}\"", scraped(label));
            let wrong = scope.rate(family, by, &matcher);
            Some((family, format!("{} / ({all})", or_zero(&wrong, &format!("({all})")))))
        }
        Errors::Counter(family) => {
            let all = scope.rate(service.requests, &[], "");
            let wrong = scope.rate(family, &[], "");
            Some((family, format!("{} / ({all})", or_zero(&wrong, &format!("({all})")))))
        }
    }
}

fn duration(scope: &Scope, service: &Service<'_>) -> Option<Panel> {
    let family = service.duration?;
    let mut queries = Vec::new();
    if let Kind::Histogram { .. } = family.kind {
        for (legend, quantile) in [("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")] {
            queries.push(Query::new(scope.quantile(quantile, family, &[]), legend));
        }
    } else {
        let vector = format!("{}{{{}}}", family.name, scope.filter(family, ""));
        let worst = aggregate("max", &["quantile"], &vector);
        queries.push(Query::new(worst, "quantile {{quantile}}"));
    }
    queries.push(Query::new(scope.mean(family), "mean"));
    Some(
        Panel::lines(key(service, "duration"), format!("{}: duration", service.title()), queries)
            .unit(unit::of_values(family))
            .about(describe(family, "How long it takes.")),
    )
}

/// One number for how long the slow ones take, and what it is called.
fn slow(scope: &Scope, family: &Family) -> (String, String) {
    match &family.kind {
        Kind::Summary { quantiles } => match quantiles.last() {
            Some(quantile) => {
                let matcher = format!("quantile=\"{quantile}\"");
                let filter = scope.filter(family, &matcher);
                (format!("quantile {quantile}"), format!("max({}{{{filter}}})", family.name))
            }
            None => ("mean".to_owned(), scope.mean(family)),
        },
        _ => ("p95".to_owned(), scope.quantile("0.95", family, &[])),
    }
}

/// A label that is not the one which tells errors.
fn split_beside<'f>(family: &'f Family, service: &Service<'_>) -> Option<&'f Label> {
    let error_label = match &service.errors {
        Some(Errors::Label { label, .. }) => Some(*label),
        Some(Errors::Counter(_)) | None => None,
    };
    let few = |label: &&Label| {
        Some(label.name.as_str()) != error_label && super::is_bounded(label, super::MANY_VALUES)
    };
    family.labels.iter().filter(few).min_by_key(|label| (label.values == Some(1), label.values))
}
