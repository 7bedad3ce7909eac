//! What a push writes, and what it does not.

use std::process::Stdio;

use serde_json::json;

use crate::grafana::state::{VIEWER_TOKEN, folder};
use crate::grafana::{Action, Era, Fault, Grafana, Options};
use crate::{ERAS, Files, check_push, command, done, kept, run};

#[test]
fn a_push_creates_and_a_second_one_writes_nothing() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        let files = Files::new(&[("a", "A"), ("b", "B")]);
        check_push((&grafana, &files), &[], &[("a", "created"), ("b", "created")], 0);
        let writes = grafana.writes().len();
        let all = [("a", "unchanged"), ("b", "unchanged")];
        check_push((&grafana, &files), &[], &all, 0);
        assert_eq!(grafana.writes().len(), writes, "{era:?}");
        assert_eq!(kept(&grafana, "a").0, 1);
    }
}

#[test]
fn what_has_changed_is_written_over_and_the_rest_is_not() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        Files::new(&[("a", "A"), ("b", "B")]).push(&grafana, &[]);
        let files = Files::new(&[("a", "A"), ("b", "New")]);
        check_push((&grafana, &files), &[], &[("a", "unchanged"), ("b", "updated")], 0);
        let (version, title, _) = kept(&grafana, "b");
        assert_eq!((version, &*title), (2, "New"), "{era:?}");
        check_push((&grafana, &files), &[], &[("a", "unchanged"), ("b", "unchanged")], 0);
    }
}

#[test]
fn a_preset_is_pushed_below_a_sub_path() {
    let options = Options { prefix: "/sub/path".to_owned(), ..Options::new(Era::Thirteen) };
    let grafana = Grafana::launch(options);
    let push = || run(&grafana, &["push", "--preset=gunicorn", "--output=json"]);
    let first = push();
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stdout.contains("/sub/path/d/"), "{first:?}");
    assert!(push().results().iter().all(|(_, result)| result == "unchanged"));
}

#[test]
fn of_many_that_push_at_once_one_writes() {
    for era in [Era::Ten, Era::Thirteen] {
        let grafana = Grafana::start(era);
        for (title, version) in [("A", 1), ("B", 2)] {
            let files = Files::new(&[("a", title), ("b", &format!("{title} 2"))]);
            let args = ["push", files.path(), "--output=json", "--folder=Outer/Inner"];
            let start = |_| {
                let mut command = command(&grafana, &args);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            };
            let children: Vec<_> = (0..8).map(start).collect();
            for child in children {
                let done = done(child.wait_with_output().unwrap());
                assert_eq!(done.code, 0, "{era:?} {done:?}");
            }
            assert_eq!(kept(&grafana, "a").0, version, "{era:?}");
        }
        assert_eq!(grafana.state().main_org().folders.len(), 2, "{era:?}");
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_not_repeated() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        let files = Files::new(&[("a", "A")]);
        let path = if era == Era::Thirteen { "/dashboards" } else { "/dashboards/db" };
        let action = Action::CutAfter;
        grafana.fail(Fault { method: Some("POST"), path, times: 1, action });
        let done = files.push(&grafana, &[]);
        assert_eq!((done.code, kept(&grafana, "a").0), (0, 1), "{era:?} {done:?}");
    }
}

#[test]
fn a_folder_is_made_or_the_one_with_the_title_is_used() {
    let grafana = Grafana::start(Era::Eleven);
    let mut mine = folder("mine");
    mine.title = "My team".to_owned();
    grafana.state().main_org().folders.insert("mine".to_owned(), mine);
    let files = Files::new(&[("a", "A")]);
    files.push(&grafana, &["--folder=My team"]);
    assert_eq!(kept(&grafana, "a").2, "mine");
    let files = Files::new(&[("b", "B")]);
    files.push(&grafana, &["--folder-uid=mine"]);
    assert_eq!(kept(&grafana, "b").2, "mine");
    Files::new(&[("c", "C")]).push(&grafana, &["--folder="]);
    assert_eq!(kept(&grafana, "c").2, "");
    let done = Files::new(&[("d", "D")]).push(&grafana, &["--folder-uid=nope"]);
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn a_folder_that_somebody_has_renamed_stays_in_use() {
    let grafana = Grafana::start(Era::Thirteen);
    Files::new(&[("a", "A")]).push(&grafana, &["--folder=Old"]);
    let uid = kept(&grafana, "a").2;
    grafana.state().main_org().folders.get_mut(&uid).unwrap().title = "New".to_owned();
    Files::new(&[("b", "B")]).push(&grafana, &["--folder=Old"]);
    assert_eq!(kept(&grafana, "b").2, uid);
    assert_eq!(grafana.state().main_org().folders[&uid].title, "New");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let grafana = Grafana::start(Era::Twelve);
    let files = Files::new(&[("a", "A")]);
    let dry = ["--dry-run", "--prune"];
    check_push((&grafana, &files), &dry, &[("a", "created")], 0);
    assert!(grafana.writes().is_empty());
    files.push(&grafana, &[]);
    let writes = grafana.writes().len();
    let other = Files::new(&[("b", "B")]);
    check_push((&grafana, &other), &dry, &[("b", "created"), ("a", "deleted")], 0);
    assert_eq!(grafana.writes().len(), writes);
}

#[test]
fn pruning_deletes_what_this_owner_wrote_and_nobody_changed() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        Files::new(&[("a", "A"), ("b", "B"), ("c", "C")]).push(&grafana, &[]);
        Files::new(&[("d", "D")]).push(&grafana, &["--name=other"]);
        Files::new(&[("e", "E")]).push(&grafana, &["--environment=test"]);
        grafana.state().edit("b", |json| drop(json.insert("title".to_owned(), json!("Mine"))));
        let files = Files::new(&[("c", "C")]);
        let expected = [("c", "unchanged"), ("a", "deleted"), ("b", "drifted")];
        check_push((&grafana, &files), &["--prune"], &expected, 1);
        let left: Vec<String> = grafana.state().main_org().dashboards.keys().cloned().collect();
        assert_eq!(left, ["b", "c", "d", "e"], "{era:?}");
    }
}

#[test]
fn one_refusal_does_not_keep_the_others_from_being_written() {
    let grafana = Grafana::start(Era::Eleven);
    let files = Files::new(&[("a", "A"), ("b", "B")]);
    let action = Action::Answer(400, r#"{"message":"no such thing"}"#, &[]);
    grafana.fail(Fault { method: Some("POST"), path: "/dashboards/db", times: 1, action });
    let done = check_push((&grafana, &files), &[], &[("a", "failed"), ("b", "created")], 2);
    assert!(done.stdout.contains("no such thing"), "{done:?}");
}

#[test]
fn refusals_of_everything_say_what_is_missing() {
    let grafana = Grafana::start(Era::Thirteen);
    let files = Files::new(&[("a", "A")]);
    let push = |token: &str| {
        let mut command = command(&grafana, &["push", files.path()]);
        done(command.env("GRAFANA_TOKEN", token).output().unwrap())
    };
    check_refused(&push("wrong"), "check the token");
    check_refused(&push(VIEWER_TOKEN), "folders:create");
    check_refused(&run(&grafana, &["push", files.path(), "--grafana.url="]), "GRAFANA_URL");
    let closed = ["push", files.path(), "--grafana.url=http://127.0.0.1:1"];
    check_refused(&run(&grafana, &closed), "is it running");
    check_refused(&run(&grafana, &["push"]), "which dashboards?");
    check_refused(&run(&grafana, &["push", "/no/such/file"]), "cannot read /no/such/file");
}

#[track_caller]
fn check_refused(done: &crate::Done, words: &str) {
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains(words), "{done:?}");
}
