//! Captured traffic under the preset that is for it gives the page that was looked at, and presets
//! do not come into each other's way.
//!
//! `tests/data/captures/NAME.txt` holds one datagram a line, as a JSON string. Those of Spark, Superset
//! and Kong are no recordings: Spark's has the names of a real run with made-up numbers, Superset's
//! its keys through its client library, and Kong's follows the formats of its plugin's source. Those
//! of Traefik are what its client library writes, under the names and labels of its source.

#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use tallyd::expose::own;
use tallyd::map::preset::{self, Preset};
use tallyd::sample::EventType;

use crate::server::{Launch, Server, wait_until};

/// Captures and the presets for them.
const CAPTURES: [(&str, &str); 23] = [
    ("aiodogstatsd_aiohttp", "aiodogstatsd"),
    ("airflow_default", "airflow"),
    ("airflow_dogstatsd", "airflow-tags"),
    ("django_statsd_plain", "django-statsd"),
    ("envoy_dogstatsd_batched", "envoy"),
    ("envoy_statsd", "envoy"),
    ("gometrics_consul_dogstatsd", "consul"),
    ("gometrics_vault_dogstatsd", "vault"),
    ("gometrics_vault_statsd", "vault"),
    ("gunicorn_gthread_dogstatsd", "gunicorn"),
    ("gunicorn_sync", "gunicorn"),
    ("jupyterhub_chp", "jupyterhub-chp"),
    ("kong_dogstatsd", "kong"),
    ("kong_hostname", "kong"),
    ("kong_plain", "kong"),
    ("spark", "spark"),
    ("superset", "superset"),
    ("swift_labels_dogstatsd", "swift"),
    ("swift_labels_graphite", "swift"),
    ("swift_legacy", "swift"),
    ("traefik_dogstatsd", "traefik"),
    ("traefik_statsd", "traefik"),
    ("uwsgi", "uwsgi"),
];
/// Datagrams sent before we wait until they are counted, so that no buffer overflows.
const BATCH: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn every_preset_has_captured_traffic() {
    for name in preset::names() {
        assert!(CAPTURES.iter().any(|(_, preset)| *preset == name), "{name}");
    }
}

#[test]
fn captures_give_the_pages_that_were_looked_at() {
    for (capture, preset) in CAPTURES {
        check(capture, preset, &format!("--preset={preset}"));
    }
}

#[test]
fn with_all_presets_each_application_has_the_same_page() {
    for (capture, preset) in [
        ("airflow_default", "airflow"),
        ("django_statsd_plain", "django-statsd"),
        ("gometrics_vault_statsd", "vault"),
        ("gunicorn_sync", "gunicorn"),
        ("uwsgi", "uwsgi"),
    ] {
        // The two of Airflow are for the same names; one is to be chosen.
        let others = preset::names().filter(|name| !name.starts_with("airflow"));
        let names: Vec<&str> = others.filter(|name| *name != preset).chain([preset]).collect();
        check(capture, preset, &format!("--preset={}", names.join(",")));
    }
}

#[test]
fn a_reload_reads_ones_own_file_and_keeps_the_presets() {
    let own = "mappings: [{match: 'gunicorn\\..*', match_type: regex, name: own_total}]\n";
    let mut launch = Launch::tallyd(&[
        "--statsd.mapping-config={tmp}/m.yaml",
        "--preset=gunicorn",
        "--web.enable-lifecycle",
    ]);
    launch.files = vec![("m.yaml".to_owned(), own.as_bytes().to_vec())];
    let server = Server::start(&launch).unwrap();
    let line = vec!["gunicorn.requests:1|c".to_owned()];
    send(&server, &line, false);
    assert_eq!(server.total("/metrics", "own_total"), Some(1.0), "one's own regex comes first");
    let loaded = server.total("/metrics", "statsd_exporter_loaded_mappings").unwrap();
    fs::write(server.dir.path().join("m.yaml"), "mappings: []\n").unwrap();
    let reload = minreq::post(server.fill("http://127.0.0.1:{http}/-/reload")).send().unwrap();
    assert_eq!(reload.status_code, 200, "{}", server.output());
    assert_eq!(server.total("/metrics", "statsd_exporter_loaded_mappings"), Some(loaded - 1.0));
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.send_to(line[0].as_bytes(), server.fill("127.0.0.1:{udp}")).unwrap();
    let counted = || server.total("/metrics", "gunicorn_requests_total") == Some(1.0);
    assert!(wait_until(TIMEOUT, counted), "{}", server.output());
}

#[test]
fn no_preset_takes_what_is_another_ones() {
    let presets: Vec<_> = preset::all().map(|preset| (preset.name(), rules(preset))).collect();
    for (capture, owner) in CAPTURES {
        for line in datagrams(capture).iter().flat_map(|datagram| datagram.lines()) {
            let (name, event) = name_and_event(line);
            for (preset, rules) in &presets {
                // The two of Airflow are for the same names; one is to be chosen.
                let is_own =
                    preset == &owner || preset.split('-').next() == owner.split('-').next();
                let found = rules.find(name, event).map(|found| &found.rule.source);
                assert!(is_own || found.is_none(), "{preset} takes {line} of {capture}: {found:?}");
            }
        }
    }
}

#[test]
fn a_family_of_two_rules_has_one_help_and_one_unit() {
    let mut known = BTreeMap::new();
    for preset in preset::all() {
        for outline in rules(preset).outlines() {
            let Some(name) = outline.name.filter(|name| name != "dropped") else { continue };
            let said = (outline.rule.help.clone(), outline.rule.unit.clone());
            assert!(said.0.is_some(), "{}: {name} has no help", preset.name());
            let first = known.entry(name.clone()).or_insert_with(|| said.clone());
            assert_eq!(*first, said, "{}: {name}", preset.name());
        }
    }
}

#[test]
fn names_units_and_headers_say_what_presets_are_about() {
    for preset in preset::all() {
        let head: Vec<&str> = preset.text().lines().take(2).collect();
        assert!(head[0].starts_with("# Made for: "), "{}", preset.name());
        assert!(head[0].contains(|letter: char| letter.is_ascii_digit()), "{}", preset.name());
        assert!(head[1].starts_with("# Switch on: "), "{}", preset.name());
        let has_observers = preset.text().contains("observer_type: histogram");
        assert!(!has_observers || preset.text().contains("    buckets: ["), "{}", preset.name());
        for outline in rules(preset).outlines() {
            let Some(name) = outline.name else { continue };
            let stem = name.strip_suffix("_total").unwrap_or(&name);
            for unit in ["seconds", "bytes", "ratio"] {
                let is_named = stem.ends_with(&format!("_{unit}"));
                let told = outline.rule.unit.as_deref();
                assert!(!is_named || told == Some(unit), "{name} in {}: {told:?}", preset.name());
            }
        }
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn rules(preset: Preset) -> tallyd::map::Rules {
    preset.rules().unwrap()
}

/// Replays a capture; `UPDATE=1` writes what came of it.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn check(capture: &str, preset: &str, flag: &str) {
    let mut flags = vec![flag, "--lanes=1"];
    if capture.ends_with("_graphite") {
        flags.push("--statsd.parse-graphite-tags");
    }
    let server = Server::start(&Launch::tallyd(&flags)).unwrap();
    // Spark opens a socket for each report.
    send(&server, &datagrams(capture), capture == "spark");
    let page = || without_own(server.get("/metrics").unwrap().as_str().unwrap());
    let golden = data(&format!("captures/pages/{capture}.prom"));
    if std::env::var_os("UPDATE").is_some() && flag == format!("--preset={preset}") {
        fs::write(&golden, page()).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    let page = page();
    let difference = page.lines().zip(expected.lines()).find(|(found, wanted)| found != wanted);
    let lines = (page.lines().count(), expected.lines().count());
    assert!(
        page == expected,
        "{capture} with {flag}, {lines:?} lines: {difference:?}; UPDATE=1 rewrites {}",
        golden.display()
    );
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn send(server: &Server, datagrams: &[String], changes_socket: bool) {
    let open = || {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(server.fill("127.0.0.1:{udp}")).unwrap();
        socket
    };
    let mut socket = open();
    let mut lines = 0.0;
    for batch in datagrams.chunks(BATCH) {
        if changes_socket {
            socket = open();
        }
        for datagram in batch {
            socket.send(datagram.as_bytes()).unwrap();
            lines += datagram.split('\n').count() as f64;
        }
        // A line has its outcome when its value is where it belongs.
        let done = || server.total("/metrics", "tallyd_lines_total");
        assert!(wait_until(TIMEOUT, || done() == Some(lines)), "{lines} lines sent: {:?}", done());
    }
}

/// A page without what tallyd says of itself.
fn without_own(page: &str) -> String {
    let mut is_own = false;
    let mut kept = String::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()) {
            is_own = own::NAMES.contains(&name);
        }
        if !is_own {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn datagrams(capture: &str) -> Vec<String> {
    let text = fs::read_to_string(data(&format!("captures/{capture}.txt"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a rule is asked for a line, whatever its dialect of tags.
fn name_and_event(line: &str) -> (&str, EventType) {
    let name = line.split([':', ',', ';', '#', '[']).next().unwrap_or_default();
    let event = match line.split('|').nth(1) {
        Some("c") => EventType::Counter,
        Some("g") => EventType::Gauge,
        Some("s") => EventType::Set,
        _ => EventType::Observer,
    };
    (name, event)
}

fn data(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data", path].iter().collect()
}
