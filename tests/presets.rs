//! The mapping files that come with tallyd.

use std::fs;
use std::path::{Path, PathBuf};

use tallyd::compat::Compat;
use tallyd::map::{Loaded, Rules};
use tallyd::sample::EventType;

#[test]
fn every_preset_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mapping");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        for compat in [Compat::Reference, Compat::Extended] {
            let loaded = load(&file, compat);
            assert!(!loaded.rules.is_empty(), "{}", file.display());
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }
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
    let found = rules.find(name, event).map(|matched| {
        let labels: Vec<String> =
            matched.labels.iter().map(|(label, text)| format!("{label}={text}")).collect();
        format!("{}{{{}}}", matched.name, labels.join(","))
    });
    assert_eq!(found.as_deref(), Some(expected), "{name}");
}
