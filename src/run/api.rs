//! `GET /api/v1/families` and `GET /api/v1/dashboard`.

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::grafana::format::Format;
use crate::grafana::names::slug;
use crate::grafana::panels::health::Exporter;
use crate::grafana::{Dashboard, Inventory, Options, dashboards};
use crate::web::Reply;

pub(super) mod view;
mod page;

/// Where one dashboard can be had.
#[derive(Serialize)]
struct Entry<'a> {
    uid: &'a str,
    title: &'a str,
    /// Relative to the address that was asked.
    url: String,
}

/// What there is, and who tells it.
#[derive(Serialize)]
struct Families<'a> {
    exporter: Exporter,
    #[serde(flatten)]
    inventory: &'a Inventory,
}

#[derive(Serialize)]
struct List<'a> {
    dashboards: Vec<Entry<'a>>,
}

/// The answer to a request for one of the two paths.
pub(super) fn answer(inventory: &Inventory, exporter: Exporter, path: &str, query: &str) -> Reply {
    if path.ends_with("/families") {
        return json(200, &Families { exporter, inventory });
    }
    let mut options = Options { exporter, ..Options::default() };
    let (mut uid, mut group, mut format) = (None, None, Format::Json);
    for (key, value) in pairs(query) {
        match key.as_str() {
            "uid" => uid = Some(value),
            "group" => group = Some(slug(&value, usize::MAX)),
            "name" => options.name = value,
            "environment" => options.environment = value,
            "datasource" => options.datasource = Some(value),
            "interval" => options.interval = Some(value),
            "format" if value == "resource" => format = Format::Resource,
            "format" if value == "configmap" => format = Format::Configmap,
            _ => {}
        }
    }
    let dashboards = dashboards(inventory, &options);
    let is_wanted = |dashboard: &&Dashboard| {
        let title = slug(dashboard.title(), usize::MAX);
        uid.as_deref().is_none_or(|uid| uid == dashboard.uid())
            && group.as_deref().is_none_or(|group| title.ends_with(group))
    };
    let mut wanted = dashboards.iter().filter(is_wanted);
    match (wanted.next(), wanted.next()) {
        (Some(only), None) => one(only, format),
        (Some(_), Some(_)) => list(200, &dashboards, query),
        (None, _) => list(404, &dashboards, query),
    }
}

fn one(dashboard: &Dashboard, format: Format) -> Reply {
    match dashboard.to_text(format) {
        Ok(text) if format == Format::Configmap => {
            Reply { status: 200, content_type: "application/yaml", body: text }
        }
        Ok(text) => Reply { status: 200, content_type: "application/json", body: text },
        Err(error) => failed(&error),
    }
}

/// All dashboards there are, with what else was asked for.
fn list(status: u16, dashboards: &[Dashboard], query: &str) -> Reply {
    let others = query.split('&').filter(|pair| {
        !pair.is_empty() && !pair.starts_with("uid=") && !pair.starts_with("group=")
    });
    let others: String = others.flat_map(|pair| ["&", pair]).collect();
    let entry = |dashboard| {
        let uid = Dashboard::uid(dashboard);
        Entry { uid, title: dashboard.title(), url: format!("?uid={uid}{others}") }
    };
    json(status, &List { dashboards: dashboards.iter().map(entry).collect() })
}

/// A value as JSON.
pub(super) fn json(status: u16, value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(body) => Reply { status, content_type: "application/json", body: body + "\n" },
        Err(error) => failed(&error),
    }
}

fn failed(error: &impl std::error::Error) -> Reply {
    let body = format!("{error}\n");
    Reply { status: 500, content_type: "text/plain; charset=utf-8", body }
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(move |(key, value)| (decode(key), decode(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grafana::inventory::{Family, Kind};

    #[test]
    fn the_only_dashboard_needs_no_name() {
        let reply = answer(
            &inventory(1),
            Exporter::Tallyd,
            "/api/v1/dashboard",
            "name=Shop&environment=a%20b",
        );
        check(&reply, 200, "\"title\": \"Shop (a b)\"");
        check(
            &answer(&inventory(1), Exporter::Tallyd, "/api/v1/dashboard", "format=configmap"),
            200,
            "kind: ConfigMap",
        );
        check(
            &answer(&inventory(1), Exporter::Tallyd, "/api/v1/families", ""),
            200,
            "{\"exporter\":\"tallyd\",\"families\":[",
        );
    }

    #[test]
    fn of_several_dashboards_one_has_to_be_named() {
        let inventory = inventory(100);
        let ask = |query| answer(&inventory, Exporter::Tallyd, "/api/v1/dashboard", query);
        let url = "\"url\":\"?uid=tallyd-statsd-";
        check(&ask(""), 200, url);
        check(&ask("uid=x"), 404, url);
        check(&ask("group=other+metrics+2"), 200, "\"title\": \"StatsD / Other metrics 2\"");
    }

    fn inventory(families: usize) -> Inventory {
        let family = |n| Family {
            name: format!("f{n:03}"),
            kind: Kind::Counter,
            help: String::new(),
            unit: None,
            rule: None,
            labels: vec![],
            series: Some(1),
        };
        Inventory { families: (0..families).map(family).collect(), ..Inventory::default() }
    }

    #[track_caller]
    fn check(reply: &Reply, status: u16, part: &str) {
        assert_eq!(reply.status, status);
        assert!(reply.body.contains(part), "{}", reply.body);
    }
}
