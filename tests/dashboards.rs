//! Every kind of generated dashboard is sound, and stays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use tallyd::compat::Compat;
use tallyd::grafana::code::Code;
use tallyd::grafana::format::Format;
use tallyd::grafana::inventory::{Family, Kind, Label};
use tallyd::grafana::promql::Buckets;
use tallyd::grafana::{Dashboard, Inventory, Options, dashboards};
use tallyd::map::Rules;
use tallyd::map::preset::{self, Preset};
use tallyd::saturation::{Config, Saturation, Target};

/// Variables that Grafana itself fills in.
const GLOBAL: [&str; 3] = ["__rate_interval", "__range", "__all"];

#[test]
fn dashboards_of_presets_are_sound() {
    for name in preset::names() {
        check(&of_preset(name), &Options { name: name.to_owned(), ..Options::default() });
    }
}

#[test]
fn dashboards_of_any_number_of_families_are_sound() {
    for (families, buckets) in [
        (0, Buckets::Auto),
        (1, Buckets::Classic),
        (5, Buckets::Native),
        (40, Buckets::Both),
        (41, Buckets::Auto),
        (500, Buckets::Both),
    ] {
        let inventory =
            Inventory { families: (0..families).map(family).collect(), ..Inventory::default() };
        let made = check(&inventory, &Options { buckets, ..Options::default() });
        assert_eq!(made.len() > 1, families > 40, "{families}");
    }
}

#[test]
fn servers_that_are_watched_have_a_row() {
    for others in [0, 5, 500] {
        let families = (0..others).map(family).collect();
        let mut inventory = Inventory { families, ..Inventory::default() };
        let target: Target = "shop=127.0.0.1:8000".parse().unwrap();
        let uwsgi = vec![target.clone()];
        let config = Config { queues: vec![target], uwsgi, ..Config::default() };
        inventory.add_servers(&Saturation::new(&config).unwrap().unwrap());
        let made = check(&inventory, &Options::default());
        let first = made[0].to_value().unwrap();
        let titles: Vec<String> = panels(&first).iter().map(|panel| text(panel, "title")).collect();
        for title in ["Servers", "Busy share", "Workers", "Accept queue: how full", "Servers there"]
        {
            assert_eq!(
                titles.iter().filter(|known| *known == title).count(),
                1,
                "{title} {titles:?}"
            );
        }
        assert_eq!(made.len() > 1, others == 500, "no dashboard of its own");
        let file = "dashboards:\n- title: D\n  rows: [{insert: servers}]\n";
        let code = Code::parse(file, "d.yaml".as_ref()).unwrap();
        let made = code.dashboards(&inventory, &Options::default()).unwrap();
        let value = made.dashboards[0].to_value().unwrap();
        check_queries(&value);
        assert!(panels(&value).iter().any(|panel| text(panel, "title") == "Busy share"));
    }
}

#[test]
fn dashboards_stay_as_they_are() {
    let options = Options {
        name: "gunicorn".to_owned(),
        environment: "test".to_owned(),
        interval: Some("15s".to_owned()),
        ..Options::default()
    };
    let made = dashboards(&of_preset("gunicorn"), &options);
    let text = made[0].to_text(Format::Json).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dashboards/gunicorn.json");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap();
    assert!(known == text, "UPDATE=1 rewrites {}", file.display());
}

#[test]
fn every_format_holds_the_same_dashboard() {
    let options = Options { folder: Some("Team A".to_owned()), ..Options::default() };
    let dashboard = &dashboards(&of_preset("gunicorn"), &options)[0];
    let model = dashboard.to_value().unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&dashboard.to_text(Format::Json).unwrap()), model);
    let resource = json(&dashboard.to_text(Format::Resource).unwrap());
    assert_eq!((&resource["spec"], &resource["kind"]), (&model, &"Dashboard".into()));
    assert_eq!(resource["metadata"]["name"], dashboard.uid());
    let map = dashboard.to_text(Format::Configmap).unwrap();
    let map: Value = serde_saphyr::from_str(&map).unwrap();
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "Team A");
    let file = map["data"][format!("{}.json", dashboard.uid())].as_str().unwrap();
    assert_eq!(file, dashboard.to_text(Format::Json).unwrap());
}

#[test]
fn the_example_of_the_documentation_works() {
    let docs = include_str!("../docs/dashboards.md");
    let example = docs.split("\n# dashboards.yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let code = Code::parse(example, "docs/dashboards.md".as_ref()).unwrap();
    let mapping = "mappings:\n\
        - {match: a.*, name: shop_orders_total, labels: {status: paid, region: $1}}\n\
        - {match: b.*, name: shop_orders_total, labels: {status: failed, region: $1}}\n\
        - {match: c.*, name: shop_queue_mail, labels: {region: $1}}\n\
        - {match: d, name: shop_debug_level}\n";
    let rules = Rules::parse(mapping.as_bytes(), "m.yml".as_ref(), Compat::Extended).unwrap();
    let inventory = Inventory::of_rules(&rules.rules).inventory;
    let made = code.dashboards(&inventory, &Options::default()).unwrap();
    assert_eq!(made.warnings, Vec::<String>::new());
    let value = made.dashboards[0].to_value().unwrap();
    check_grid(&value);
    check_queries(&value);
    let titles: Vec<String> = panels(&value).iter().map(|panel| text(panel, "title")).collect();
    for title in ["Orders", "Paid share", "Orders failed", "Who to call", "Queues us", "Exporter"] {
        assert!(titles.iter().any(|found| found == title), "{title} in {titles:?}");
    }
    assert_eq!(titles.iter().filter(|title| *title == "shop_queue_mail").count(), 2);
    assert!(!titles.iter().any(|title| title.contains("debug")), "{titles:?}");
}

#[test]
fn a_uid_stays_when_families_come() {
    let options = Options::default();
    let few = Inventory { families: (0..5).map(family).collect(), ..Inventory::default() };
    let many = Inventory { families: (0..500).map(family).collect(), ..Inventory::default() };
    let (few, many) = (dashboards(&few, &options), dashboards(&many, &options));
    assert_eq!(few[0].uid(), many[0].uid());
    let ids = |dashboard: &Dashboard| -> BTreeMap<String, u64> {
        let value = dashboard.to_value().unwrap();
        panels(&value).iter().map(|panel| (text(panel, "title"), number(panel, "id"))).collect()
    };
    let (few, many) = (ids(&few[0]), ids(&many[0]));
    assert_eq!(few["Samples by type"], many["Samples by type"]);
}

#[expect(clippy::unwrap_used, reason = "a test may fail")]
fn of_preset(name: &str) -> Inventory {
    let preset: Preset = name.parse().unwrap();
    Inventory::of_rules(&preset.rules().unwrap()).inventory
}

/// A family of one kind or another, with labels of one size or another.
fn family(n: usize) -> Family {
    let kind = match n % 6 {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Set,
        3 => Kind::Summary { quantiles: vec![0.5, 0.99] },
        _ => Kind::Histogram { bounds: vec![0.1, 1.0], native: n.is_multiple_of(2) },
    };
    let suffix = ["requests_total", "ratio", "users", "seconds", "duration_seconds", "up"];
    let label = |(name, values): (&str, u64)| Label {
        name: name.to_owned(),
        values: Some(values),
        examples: vec!["200".to_owned(), "a{}$\"\\".to_owned()],
    };
    let labels = [("instance", 3), ("region", 2), ("status", 5), ("user", 1_000_000)];
    Family {
        name: format!("app{}_part{}_{}", n % 7, n / 6, suffix[n % 6]),
        kind,
        help: "Costs $1 or {2}.".to_owned(),
        unit: None,
        rule: Some("app.*.${x}".to_owned()),
        labels: labels.into_iter().take(n % 5).map(label).collect(),
        series: Some(7),
    }
}

/// Makes dashboards, and looks at all that must hold for each.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
fn check(inventory: &Inventory, options: &Options) -> Vec<Dashboard> {
    let made = dashboards(inventory, options);
    assert_eq!(made, dashboards(inventory, options), "the same every time");
    let uids: BTreeSet<&str> = made.iter().map(Dashboard::uid).collect();
    assert_eq!(uids.len(), made.len(), "each has its own uid: {uids:?}");
    for dashboard in &made {
        let value = dashboard.to_value().unwrap();
        assert!(value.get("id").is_none() && value.get("__inputs").is_none());
        assert!(dashboard.uid().len() <= 40, "{}", dashboard.uid());
        check_grid(&value);
        check_queries(&value);
    }
    made
}

fn check_grid(dashboard: &Value) {
    let top = list(dashboard, "panels");
    overlap(&top);
    for row in top.iter().filter(|panel| text(panel, "type") == "row") {
        let inner = list(row, "panels");
        assert!(row["collapsed"] == Value::Bool(true) || inner.is_empty());
        overlap(&inner);
    }
    let all = panels(dashboard);
    let ids: BTreeSet<u64> = all.iter().map(|panel| number(panel, "id")).collect();
    assert_eq!(ids.len(), all.len(), "ids are unique");
}

fn overlap(panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = &panel["gridPos"];
        let (x, y) = (number(place, "x"), number(place, "y"));
        assert!(x + number(place, "w") <= 24, "{panel}");
        for cell in (x..x + number(place, "w"))
            .flat_map(|x| (y..y + number(place, "h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "two panels at {cell:?}: {panel}");
        }
    }
}

fn check_queries(dashboard: &Value) {
    let variables: BTreeSet<String> =
        list(&dashboard["templating"], "list").iter().map(|known| text(known, "name")).collect();
    let is_known = |name: &str| variables.contains(name) || GLOBAL.contains(&name);
    for variable in list(&dashboard["templating"], "list") {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        names(query).for_each(|name| assert!(is_known(name), "${name} in {query}"));
    }
    for panel in panels(dashboard) {
        let targets = list(&panel, "targets");
        let refs: BTreeSet<String> = targets.iter().map(|target| text(target, "refId")).collect();
        assert_eq!(refs.len(), targets.len(), "{panel}");
        for target in targets {
            let query = text(&target, "expr");
            names(&query).for_each(|name| assert!(is_known(name), "${name} in {query}"));
            assert!(is_balanced(&query), "{query}");
            for call in query.split("histogram_quantile(").skip(1) {
                let has_le = call.contains("sum by (le");
                assert_eq!(call.contains("_bucket{"), has_le, "{query}");
            }
        }
    }
}

/// The variables that a query names.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query.split('$').skip(1).map(|after| {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        after.split_at(end.unwrap_or(after.len())).0
    })
}

/// Whether brackets are closed in order, outside of quotes.
fn is_balanced(query: &str) -> bool {
    let (mut open, mut is_quoted) = (Vec::new(), false);
    for c in query.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => open.push(')'),
            '{' => open.push('}'),
            '[' => open.push(']'),
            ')' | '}' | ']' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty() && !is_quoted
}

/// All panels and rows, those in collapsed rows too.
fn panels(dashboard: &Value) -> Vec<Value> {
    let top = list(dashboard, "panels");
    let inner: Vec<Value> = top.iter().flat_map(|panel| list(panel, "panels")).collect();
    top.into_iter().chain(inner).collect()
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(u64::MAX)
}
