//! The conformance corpus: what `statsd_exporter` 0.31 does with its input, case by case.
//!
//! Each case in `tests/data/conformance` was recorded from the reference. `recorded` runs them
//! under `--compat=reference`, `uncached` does so without the line cache. The corpus hardly
//! repeats a line, so `repeated` sends every datagram three times and compares a server with the
//! cache to one without. `quirks` lists the cases whose recorded behaviour is doubtful, with
//! what we decided; `by_default` runs everything without a flag, where the cases of
//! `extended.json` take the places of recorded ones. `beyond` holds inputs that panic, stall or
//! poison the reference.

#[path = "../support/page.rs"]
mod page;
#[path = "../support/proto.rs"]
mod proto;
#[path = "../support/server.rs"]
mod server;

mod case;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use parking_lot::Mutex;

use crate::case::Case;
use crate::run::{Findings, check, observe, seen_differences};

/// Cases mostly wait, so that more of them than the machine has CPUs run at a time.
const JOBS: usize = 12;

const REFERENCE: &str = "--compat=reference";
const UNCACHED: &str = "--line-cache.max-bytes=0";

/// How often `repeated` sends each datagram: a key enters a full cache on its second sighting.
const TIMES: usize = 3;

/// What we do where the reference's behaviour is doubtful, under `--compat=reference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The same.
    Same,
    /// What the case of this name in `ours.json` says.
    Ours,
}

/// Every case marked as a quirk.
const QUIRKS: &[(&str, Decision)] = &[
    ("cache/lru_eviction_order", Decision::Ours),
    ("cache/lru_size_two", Decision::Ours),
    ("cache/random_counters", Decision::Same),
    ("conflicts/clash_with_go_metric", Decision::Ours),
    ("conflicts/clash_with_own_metric", Decision::Ours),
    ("conflicts/clash_with_own_metric_other_labels", Decision::Ours),
    ("conflicts/observer_suffix_observer_reversed", Decision::Ours),
    ("glob/different_lengths_ordered", Decision::Ours),
    ("glob/different_lengths_unordered", Decision::Ours),
    ("line/external_data_and_cardinality", Decision::Same),
    ("mapping/help_conflict_different_labels", Decision::Ours),
    ("mapping/help_conflict_mapped_and_unmapped", Decision::Ours),
    ("mapping/label_reserved", Decision::Ours),
    ("mapping/label_sharing_between_samples_of_a_line", Decision::Ours),
    ("mapping/reference_percent_sign", Decision::Ours),
    ("mapping_invalid/legacy_timer_type", Decision::Same),
    ("tags/empty_name_after_tags_influx", Decision::Ours),
    ("tags/empty_name_after_tags_librato", Decision::Ours),
    ("tags/empty_name_after_tags_signalfx", Decision::Ours),
    ("tags/reserved_label_prefix", Decision::Ours),
    ("ttl/ttl_not_changed_for_live_series_by_reload", Decision::Same),
    ("ttl/type_stays_reserved_after_expiry", Decision::Same),
    ("values/observer_rate_nan", Decision::Same),
];

macro_rules! areas {
    ($($area:ident),+) => {
        const AREAS: &[&str] = &[$(stringify!($area)),+];

        mod recorded {
            $(#[test]
            fn $area() {
                super::run_recorded(stringify!($area), &[super::REFERENCE]);
            })+
        }

        mod uncached {
            $(#[test]
            fn $area() {
                super::run_recorded(stringify!($area), &[super::REFERENCE, super::UNCACHED]);
            })+
        }

        mod by_default {
            $(#[test]
            fn $area() {
                super::run_by_default(stringify!($area));
            })+
        }

        mod repeated {
            $(#[test]
            fn $area() {
                super::run_repeated(stringify!($area));
            })+
        }
    };
}

areas!(
    actions,
    cache,
    cli,
    conflicts,
    dialect_flags,
    exposition,
    glob,
    http,
    line,
    mapping,
    mapping_invalid,
    names,
    observers,
    regex,
    relay,
    reload,
    tags,
    transport,
    ttl,
    values
);

#[test]
fn beyond() {
    run_all(load("beyond"), |case| check(case, &[REFERENCE]));
}

#[test]
fn beyond_by_default() {
    run_all(load("beyond"), |case| check(case, &[]));
}

#[test]
fn extended() {
    run_all(load_extended("extended"), |case| check(case, &[]));
}

#[test]
fn quirks() {
    let mut ours = load("ours");
    let cases = AREAS.iter().flat_map(|area| load(area)).filter(|case| case.quirk.is_some());
    let decided = cases.map(|case| {
        let name = case.full_name();
        match QUIRKS.iter().find(|(quirk, _)| *quirk == name) {
            Some((_, Decision::Same)) => case,
            Some((_, Decision::Ours)) => {
                let at = ours.iter().position(|ours| ours.full_name() == name);
                ours.swap_remove(at.unwrap_or_else(|| panic!("{name} is not in ours.json")))
            }
            None => panic!("nothing is decided about {name}"),
        }
    });
    let decided: Vec<_> = decided.collect();
    assert_eq!((decided.len(), ours.len()), (QUIRKS.len(), 0));
    run_all(decided, |case| check(case, &[REFERENCE]));
}

#[test]
fn every_area_has_a_test() {
    let files = fs::read_dir(data("")).expect("the corpus is in the repository");
    for file in files {
        let path = file.expect("a directory can be read to its end").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let is_known = AREAS.contains(&name.as_str())
            || ["beyond", "extended", "ours"].contains(&name.as_str());
        assert!(is_known, "{name}.json belongs to no test");
    }
}

/// Runs the cases of an area as they were recorded.
fn run_recorded(area: &str, flags: &[&str]) {
    let cases = load(area).into_iter().filter(|case| case.quirk.is_none()).collect();
    run_all(cases, |case| check(case, flags));
}

/// Runs the cases of an area without `--compat`; those that then differ stand in `extended.json`.
fn run_by_default(area: &str) {
    let mut cases = load_extended(area);
    let is_known: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
    let recorded = load(area).into_iter().filter(|case| case.quirk.is_none());
    cases.extend(recorded.filter(|case| !is_known.contains(&case.name)));
    run_all(cases, |case| check(case, &[]));
}

/// The cases of an area in `extended.json`.
fn load_extended(area: &str) -> Vec<Case> {
    load("extended").into_iter().filter(|case| case.area == area).collect()
}

/// Runs the cases of an area with repeated datagrams, with the line cache and without it.
fn run_repeated(area: &str) {
    let cases = load(area)
        .into_iter()
        .filter(|case| case.exit.is_none() && case.sends_datagrams())
        .map(|case| case.repeated(TIMES))
        .collect();
    run_all(cases, |case| {
        let expected = observe(case, &[REFERENCE, UNCACHED])?;
        let got = observe(case, &[REFERENCE])?;
        let findings: Findings = expected
            .iter()
            .zip(&got)
            .flat_map(|(expected, got)| seen_differences(expected, got))
            .collect();
        if findings.is_empty() && expected.len() == got.len() { Ok(()) } else { Err(findings) }
    });
}

/// Runs cases side by side, the slow ones first, and fails with all their findings.
fn run_all(mut cases: Vec<Case>, run: impl Fn(&Case) -> Result<(), Findings> + Sync) {
    cases.sort_by_key(|case| std::cmp::Reverse(case.slow));
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                // Relaxed: the counter only deals out the cases.
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(findings) = run(case) {
                        let report = report(case, &findings);
                        failures.lock().insert(&case.name, report);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    let reports: Vec<_> = failures.values().map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), reports.join("\n"));
}

fn report(case: &Case, findings: &Findings) -> String {
    let name = format!("{} ({}): {}", case.full_name(), case.origin, case.desc);
    let findings: Vec<_> = findings.iter().map(|finding| format!("    {finding}")).collect();
    format!("{name}\n{}", findings.join("\n"))
}

#[expect(clippy::expect_used, reason = "the corpus is in the repository")]
fn load(area: &str) -> Vec<Case> {
    let text = fs::read_to_string(data(&format!("{area}.json"))).expect("each area has its file");
    serde_json::from_str(&text).expect("a file holds cases")
}

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/conformance", name].iter().collect()
}
