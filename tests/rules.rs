//! Rules for what servers expose: the file they give, and whether promtool agrees with them.

#[path = "support/grafana.rs"]
#[expect(dead_code, reason = "the client's tests need more of it")]
mod grafana;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tallyd::grafana::Inventory;
use tallyd::grafana::promql::Buckets;
use tallyd::map::preset::{self, Preset};
use tallyd::rules::{Options, RuleSet, Thresholds};
use tallyd::saturation::{Config, Presets, Saturation, Target};

use crate::grafana::state::ADMIN_TOKEN;
use crate::grafana::{Era, Grafana};

const GOLDEN: &str = "tests/data/rules/shop.yaml";
const THRESHOLDS: &str = "tests/data/rules/thresholds.yaml";

#[test]
fn a_service_gets_the_rules_that_were_looked_at() {
    let rules = rules(&mixed(), &thresholds(), true).to_prometheus().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(GOLDEN, &rules).unwrap();
    }
    assert!(rules == fs::read_to_string(GOLDEN).unwrap(), "UPDATE=1 rewrites {GOLDEN}");
}

#[test]
fn names_of_alerts_and_recordings_are_there_once() {
    let mut inventory = mixed();
    let mut twin = inventory.families.clone();
    // Another service whose names differ in what alerts' names leave out.
    for family in &mut twin {
        family.name = family.name.replace('_', "__");
    }
    inventory.families.extend(twin);
    let rules = rules(&inventory, &Thresholds::default(), true);
    let mut names: Vec<&str> = rules.alerts().map(|alert| &*alert.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn what_a_preset_promises_is_missed_only_as_a_whole() {
    let preset: Preset = "envoy".parse().unwrap();
    let inventory = Inventory::of_rules(&preset.rules().unwrap()).inventory;
    let rules = rules(&inventory, &Thresholds::default(), false);
    let absent: Vec<_> = rules.alerts().filter(|alert| alert.name.ends_with("Absent")).collect();
    assert_eq!(absent.len(), 1, "{absent:?}");
    assert_eq!(absent[0].name, "EnvoyAbsent");
    assert!(absent[0].expr.contains("|envoy_http_downstream_rq_xx|"), "{}", absent[0].expr);
}

#[test]
fn applications_get_the_alerts_that_only_they_can_have() {
    for (preset, expected) in [
        ("vault", "VaultSealed"),
        ("uwsgi", "UwsgiAllWorkersBusy"),
        ("airflow-tags", "AirflowSchedulerSilent"),
        ("traefik", "TraefikCertificateExpires"),
        ("kong", "KongSharedDictFull"),
        ("superset", "SupersetSqlLabErrors"),
        ("aiodogstatsd", "HTTPErrorRatioHigh"),
    ] {
        let preset: Preset = preset.parse().unwrap();
        let inventory = Inventory::of_rules(&preset.rules().unwrap()).inventory;
        let all = rules(&inventory, &Thresholds::default(), false);
        assert!(all.alerts().any(|alert| alert.name == expected), "{expected}");
    }
}

#[test]
fn servers_that_are_watched_get_alerts_of_their_own_and_are_no_services() {
    let rules = rules(&servers(), &Thresholds::default(), false);
    let names: Vec<&str> = rules.alerts().map(|alert| &*alert.name).collect();
    let expected =
        ["ServerQueueFull", "ServerSaturated", "ServerDropsConnections", "ServerNotThere"];
    assert_eq!(names, expected);
}

#[test]
fn a_command_writes_each_form_and_knows_when_a_file_is_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml").display().to_string();
    let tests = directory.path().join("tests.yaml").display().to_string();
    let generate = |more: &[&str]| tallyd(&[&["generate", "--preset=gunicorn"], more].concat());
    check_code(&generate(&["--out", &rules, "--check"]), 1);
    check_code(&generate(&["--out", &rules, "--tests", &tests]), 0);
    check_code(&generate(&["--out", &rules, "--tests", &tests, "--check"]), 0);
    assert!(fs::read_to_string(&tests).unwrap().contains("- rules.yaml\n"));
    check_code(&generate(&["--out", &rules, "--name=other", "--check"]), 1);
    let resource = generate(&["--format=resource", "--namespace=metrics", "--label=release=prom"]);
    for part in
        ["kind: PrometheusRule", "namespace: metrics", "release: prom", "GunicornLatencyHigh"]
    {
        assert!(text(&resource.stdout).contains(part), "{part}: {resource:?}");
    }
    check_code(&generate(&["--format=grafana"]), 2);
    let managed = generate(&["--format=grafana", "--datasource=prom"]);
    let managed: serde_json::Value = serde_json::from_slice(&managed.stdout).unwrap();
    let rule = &managed["groups"][0]["rules"][0];
    assert_eq!(rule["data"][0]["datasourceUid"], "prom");
    assert!(!text(managed.to_string().as_bytes()).contains("$value "), "{rule}");
    assert!(rule["data"][0]["model"]["expr"].as_str().unwrap().contains("gunicorn_"));
}

#[test]
fn thresholds_that_make_no_sense_are_told_with_their_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "alerts:\n  latency: {quantile: 99}\n").unwrap();
    let path = file.path().display().to_string();
    let output = tallyd(&["generate", "--preset=gunicorn", "--thresholds", &path]);
    check_code(&output, 2);
    let expected = format!("{path}:2:23: 99 is no quantile; write for instance 0.99");
    assert!(text(&output.stderr).contains(&expected), "{output:?}");
}

#[test]
fn grafana_gets_the_alerts_once() {
    let grafana = Grafana::start(Era::Thirteen);
    let url = format!("--grafana.url={}", grafana.url);
    let token = format!("--grafana.token={ADMIN_TOKEN}");
    let push = |more: &[&str]| {
        let words = ["push", "--preset=gunicorn", "--output=json", &url, &token];
        let output = tallyd(&[&words, more].concat());
        check_code(&output, 0);
        let groups: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let groups = groups.as_array().unwrap().iter();
        groups.map(|group| group["result"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(push(&["--dry-run"]), ["created", "created"]);
    assert!(grafana.writes().is_empty());
    assert_eq!(push(&[]), ["created", "created"]);
    let writes = grafana.writes().len();
    assert_eq!(push(&[]), ["same", "same"]);
    assert_eq!(grafana.writes().len(), writes);
    // Half of a group is replaced by all of it.
    grafana.state().orgs.values_mut().for_each(|org| {
        org.rules.retain(|_, rule| rule["title"] != "GunicornLatencyHigh");
    });
    assert_eq!(push(&[]), ["updated", "same"]);
    assert_eq!(push(&[]), ["same", "same"]);
}

#[test]
#[ignore = "needs promtool; `make test-reference` runs it"]
fn promtool_finds_nothing_wrong_and_every_alert_fires_and_rests() {
    check(&Inventory::default(), &Thresholds::default(), true);
    check(&mixed(), &Thresholds::default(), false);
    check(&mixed(), &thresholds(), false);
    check(&Inventory::default(), &thresholds(), true);
    for preset in preset::all() {
        let rules = preset.rules().unwrap();
        check(&Inventory::of_rules(&rules).inventory, &Thresholds::default(), false);
    }
    check(&servers(), &Thresholds::default(), false);
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn check(inventory: &Inventory, thresholds: &Thresholds, exporter: bool) {
    let directory = tempfile::tempdir().unwrap();
    let rules = rules(inventory, thresholds, exporter);
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    write("rules.yaml", rules.to_prometheus().unwrap());
    write("tests.yaml", rules.to_tests("rules.yaml").unwrap());
    promtool(directory.path(), &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]);
    promtool(directory.path(), &["test", "rules", "tests.yaml"]);
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn promtool(directory: &Path, arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(directory).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}\n{text}");
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn tallyd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.arg("rules").args(arguments).output().unwrap()
}

#[track_caller]
fn check_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rules(inventory: &Inventory, thresholds: &Thresholds, exporter: bool) -> RuleSet {
    let thresholds = thresholds.clone();
    let options = Options { name: "shop".to_owned(), thresholds, exporter, buckets: Buckets::Auto };
    RuleSet::new(inventory, &options)
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn thresholds() -> Thresholds {
    Thresholds::read(Path::new(THRESHOLDS)).unwrap()
}

/// Servers that every source tells of.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn servers() -> Inventory {
    let target: Target = "shop=127.0.0.1:8000".parse().unwrap();
    let presets = Presets { gunicorn: true, uwsgi: true };
    let config = Config { queues: vec![target.clone()], uwsgi: vec![target], presets };
    let mut inventory = Inventory::default();
    inventory.add_servers(&Saturation::new(&config).unwrap().unwrap());
    inventory
}

/// Services in every form that a page can have.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn mixed() -> Inventory {
    serde_json::from_str(&fs::read_to_string("tests/data/rules/shop.json").unwrap()).unwrap()
}
