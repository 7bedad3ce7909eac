//! The mapping files that come with tallyd.

use std::fs;
use std::path::{Path, PathBuf};

use tallyd::compat::Compat;
use tallyd::grafana::Inventory;
use tallyd::map::preset::{self, Preset};
use tallyd::map::{Loaded, Rules};
use tallyd::sample::EventType;

/// Those with `counter_mode`, which the reference does not know.
const OURS_ALONE: [&str; 2] = ["spark", "uwsgi"];

#[test]
fn every_preset_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mapping");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let modes: &[Compat] = match file.file_stem().and_then(|name| name.to_str()) {
            Some(name) if OURS_ALONE.contains(&name) => &[Compat::Extended],
            _ => &[Compat::Reference, Compat::Extended],
        };
        for &compat in modes {
            let loaded = load(&file, compat);
            assert!(!loaded.rules.is_empty(), "{}", file.display());
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }
}

#[test]
fn presets_make_the_families_and_labels_that_the_applications_call_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/presets");
    for entry in fs::read_dir(folder).unwrap() {
        let draft = entry.unwrap().path();
        let preset = draft.file_stem().unwrap().to_str().unwrap();
        if preset == "gunicorn" || OURS_ALONE.contains(&preset) {
            // The draft loses the prefix of two parts, and running totals.
            continue;
        }
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("mapping").join(preset);
        let ours = load(&ours.with_extension("yaml"), Compat::Reference).rules;
        let draft = load(&draft, Compat::Reference).rules;
        // A rule of a glob matches its own pattern, whose stars are then parts.
        for pattern in (0..draft.len()).map(|index| draft.rule(index).source.replace('*', "x")) {
            let found = |rules: &Rules| EventType::ALL.map(|event| text(rules, &pattern, event));
            let (ours, draft) = (found(&ours), found(&draft));
            let is_for_one_type = ours.iter().any(Option::is_none);
            let same = ours.iter().zip(&draft).filter(|(ours, draft)| ours == draft).count();
            assert!(
                same == ours.len() || (is_for_one_type && ours.iter().any(Option::is_some)),
                "{preset}: {pattern}: {ours:?}, not {draft:?}"
            );
            for (ours, draft) in ours.iter().zip(&draft) {
                assert!(ours.is_none() || ours == draft, "{preset}: {pattern}: {ours:?}");
            }
        }
    }
}

#[test]
fn every_preset_can_be_had_by_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mapping");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, preset::names().collect::<Vec<_>>());
    assert!("nginx".parse::<Preset>().is_err());
}

#[test]
fn what_comes_as_tags_is_known_to_dashboards_and_rules() {
    let labels = |preset: &str, family: &str| {
        let preset: Preset = preset.parse().unwrap();
        let families = Inventory::of_rules(&preset.rules().unwrap()).inventory.families;
        let family = families.into_iter().find(|known| known.name == family).unwrap();
        family.labels.into_iter().map(|label| label.name).collect::<Vec<_>>()
    };
    let timer = labels("aiodogstatsd", "http_request_duration_seconds");
    assert_eq!(timer, ["app", "method", "path", "status"]);
    let counter = labels("traefik", "traefik_router_requests_total");
    assert_eq!(counter, ["code", "method", "protocol", "router", "service"]);
}

#[test]
fn gunicorns_prefix_becomes_a_label() {
    for (name, event, expected) in [
        ("gunicorn.requests", EventType::Counter, "gunicorn_requests_total{}"),
        ("my.gunicorn.requests", EventType::Counter, "gunicorn_requests_total{app=my}"),
        ("my.web.gunicorn.workers", EventType::Gauge, "gunicorn_workers{app=my_web}"),
        ("gunicorn.request.status.404", EventType::Counter, "gunicorn_responses_total{code=404}"),
        (
            "my.web.gunicorn.log.error",
            EventType::Counter,
            "gunicorn_log_messages_total{app=my_web,level=error}",
        ),
        (
            "my.gunicorn.request.duration",
            EventType::Observer,
            "gunicorn_request_duration_seconds{app=my}",
        ),
        ("gunicorn.backlog", EventType::Observer, "gunicorn_backlog_connections{}"),
    ] {
        check("gunicorn.yaml", name, event, expected);
    }
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
fn load(file: &Path, compat: Compat) -> Loaded {
    Rules::load(file, compat).unwrap()
}

#[track_caller]
fn check(preset: &str, name: &str, event: EventType, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("mapping").join(preset);
    let rules = load(&file, Compat::Reference).rules;
    assert_eq!(text(&rules, name, event).as_deref(), Some(expected), "{name}");
}

/// The family and labels that a name gets; nothing but the braces where it is dropped.
fn text(rules: &Rules, name: &str, event: EventType) -> Option<String> {
    rules.find(name, event).map(|matched| {
        let labels: Vec<String> =
            matched.labels.iter().map(|(label, text)| format!("{label}={text}")).collect();
        format!("{}{{{}}}", matched.name, labels.join(","))
    })
}
