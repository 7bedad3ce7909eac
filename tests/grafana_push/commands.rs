//! The commands beside `push`.

use std::fs;

use serde_json::{Value, json};

use crate::grafana::{Era, Grafana};
use crate::{Done, Files, kept, run, run_as_admin};

#[test]
fn a_diff_shows_what_a_push_would_change() {
    let grafana = Grafana::start(Era::Thirteen);
    let files = Files::new(&[("a", "A")]);
    let diff = |files: &Files| run(&grafana, &["diff", files.path()]);
    let missing = diff(&files);
    assert_eq!(missing.code, 1);
    assert!(missing.stdout.starts_with("--- /dev/null\n+++ wanted/a\n"), "{missing:?}");
    files.push(&grafana, &[]);
    let same = diff(&files);
    assert_eq!((same.code, &*same.stdout), (0, ""), "{same:?}");
    let changed = diff(&Files::new(&[("a", "B")]));
    assert_eq!(changed.code, 1);
    assert!(changed.stdout.contains("\n-  \"title\": \"A\"\n+  \"title\": \"B\"\n"), "{changed:?}");
    assert!(!changed.stdout.contains("hash:"), "{changed:?}");
}

#[test]
fn what_was_pulled_is_what_was_pushed() {
    let grafana = Grafana::start(Era::Eleven);
    Files::new(&[("a", "A"), ("b", "B")]).push(&grafana, &[]);
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().to_str().unwrap();
    let pull = |more: &[&str]| run(&grafana, &[&["pull", "--out", dir], more].concat());
    assert!(pull(&["--dry-run"]).stdout.contains("would be written"));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    assert_eq!(pull(&[]).code, 0);
    let push = run(&grafana, &["push", dir, "--output=json"]);
    let expected = [("a", "unchanged"), ("b", "unchanged")];
    assert_eq!(push.results(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(pull(&["a"]).stdout.contains("unchanged"));
    assert_eq!(pull(&["nope"]).code, 1);
}

#[test]
fn dashboards_are_listed_and_deleted() {
    let grafana = Grafana::start(Era::Thirteen);
    Files::new(&[("a", "A"), ("b", "B")]).push(&grafana, &[]);
    Files::new(&[("c", "C")]).push(&grafana, &["--name=other"]);
    let uids = |more: &[&str]| {
        let done = run(&grafana, &[&["list", "--output=json"], more].concat());
        let all: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
        all.iter().map(|one| one["uid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(uids(&[]), ["a", "b", "c"]);
    assert_eq!(uids(&["--tag=tallyd:other"]), ["c"]);
    assert_eq!(uids(&["--any", "--query=b"]), ["b"]);
    check(&run(&grafana, &["delete", "a", "--dry-run"]), 0, "would be deleted");
    check(&run(&grafana, &["delete", "c"]), 1, "foreign");
    check(&run(&grafana, &["delete", "a"]), 0, "deleted");
    check(&run(&grafana, &["delete", "a"]), 1, "nothing found");
    check(&run(&grafana, &["delete", "--all"]), 0, "deleted");
    assert_eq!(uids(&[]), ["c"]);
}

#[test]
fn data_sources_are_told_with_their_health() {
    let grafana = Grafana::start(Era::Twelve);
    check(&run_as_admin(&grafana, &["datasources", "list", "--prometheus"], ""), 0, "prom");
    check(&run_as_admin(&grafana, &["datasources", "get", "Prometheus"], ""), 0, "15s");
    check(&run_as_admin(&grafana, &["datasources", "get", "nope"], ""), 1, "");
    let health = run_as_admin(&grafana, &["datasources", "health"], "");
    assert!(health.stdout.contains("prom") && health.code < 2, "{health:?}");
}

#[test]
fn folders_are_made_listed_and_deleted() {
    let grafana = Grafana::start(Era::Thirteen);
    check(&run(&grafana, &["folders", "ensure", "A/B", "--dry-run"]), 1, "missing");
    let made = run(&grafana, &["folders", "ensure", "A/B"]);
    check(&made, 0, "tallyd-");
    assert_eq!(run(&grafana, &["folders", "ensure", "A/B"]).stdout, made.stdout);
    let all: Vec<Value> =
        serde_json::from_str(&run(&grafana, &["folders", "list", "--output=json"]).stdout).unwrap();
    let uid = all[0]["uid"].as_str().unwrap();
    check(&run(&grafana, &["folders", "list", "--parent", uid]), 0, "B");
    check(&run(&grafana, &["folders", "delete", uid, "--dry-run"]), 0, "would be deleted");
    check(&run(&grafana, &["folders", "delete", uid]), 0, "deleted");
    check(&run(&grafana, &["folders", "delete", uid]), 1, "missing");
}

#[test]
fn a_note_is_written() {
    let grafana = Grafana::start(Era::Ten);
    let note = ["annotate", "deployed", "--tag=a", "--tag=b", "--at=2026-05-01T12:00:00Z"];
    check(&run(&grafana, &[&note[..], &["--dry-run"]].concat()), 0, "would be written");
    assert!(grafana.state().main_org().annotations.is_empty());
    check(&run(&grafana, &note), 0, "written");
    let mut state = grafana.state();
    let written = state.main_org().annotations.values().next().unwrap();
    assert_eq!(written["time"], json!(1_777_636_800_000_u64));
    assert_eq!(written["tags"], json!(["a", "b"]));
}

#[test]
fn organisations_users_and_teams_are_made() {
    let grafana = Grafana::start(Era::Thirteen);
    let admin = |args: &[&str], stdin: &str| run_as_admin(&grafana, args, stdin);
    check(&admin(&["org", "create", "X", "--dry-run"], ""), 0, "would be done");
    check(&admin(&["org", "create", "X"], ""), 0, "number 2");
    check(&admin(&["org", "create", "X"], ""), 2, "");
    check(&admin(&["org", "list"], ""), 0, "X");
    check(&admin(&["user", "create", "bob", "--email=b@x"], "secret-1\n"), 0, "bob");
    check(&admin(&["user", "password", "bob"], "secret-2\n"), 0, "bob");
    let password = |grafana: &Grafana| {
        let state = grafana.state();
        state.users.values().find(|user| user.login == "bob").unwrap().password.clone()
    };
    assert_eq!(password(&grafana), "secret-2");
    check(&admin(&["org", "add", "X", "bob", "--role=editor"], ""), 0, "bob");
    check(&admin(&["team", "create", "ops"], ""), 0, "ops");
    check(&admin(&["team", "add", "ops", "bob"], ""), 0, "bob");
    check(&admin(&["team", "members", "ops"], ""), 0, "bob");
    check(&admin(&["team", "add", "nobody", "bob"], ""), 2, "");
    check(&admin(&["user", "list"], ""), 0, "b@x");
    check(&admin(&["team", "list"], ""), 0, "ops");
}

#[test]
fn a_dashboard_s_resource_can_be_pushed() {
    let grafana = Grafana::start(Era::Twelve);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.json");
    let resource = json!({"apiVersion": "dashboard.grafana.app/v1beta1", "kind": "Dashboard",
        "metadata": {"name": "r1"}, "spec": {"title": "R", "panels": []}});
    fs::write(&file, resource.to_string()).unwrap();
    check(&run(&grafana, &["push", file.to_str().unwrap()]), 0, "created");
    assert_eq!(kept(&grafana, "r1").1, "R");
    for (text, words) in [("{}", "it has no `uid`"), ("[", "is not a dashboard")] {
        fs::write(&file, text).unwrap();
        let done = run(&grafana, &["push", file.to_str().unwrap()]);
        assert!(done.code == 2 && done.stderr.contains(words), "{done:?}");
    }
}

#[track_caller]
fn check(done: &Done, code: i32, words: &str) {
    assert_eq!(done.code, code, "{done:?}");
    assert!(done.stdout.contains(words), "{done:?}");
}
