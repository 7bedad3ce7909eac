//! What becomes of dashboards that somebody else has written or changed.

use serde_json::{Map, Value, json};

use crate::grafana::state::dashboard;
use crate::grafana::{Era, Grafana};
use crate::{ERAS, Files, check_push, kept};

#[test]
fn a_person_s_edit_is_kept_and_said() {
    for era in ERAS {
        let (grafana, files) = edited(era);
        let done = check_push((&grafana, &files), &[], &[("a", "drifted")], 1);
        assert_eq!(kept(&grafana, "a").1, "Mine", "{done:?}");
        // So is an edit of what would have changed anyway.
        let newer = Files::new(&[("a", "Newer")]);
        check_push((&grafana, &newer), &[], &[("a", "drifted")], 1);
        assert_eq!(kept(&grafana, "a").0, 2, "{era:?}");
    }
}

#[test]
fn a_person_s_edit_is_written_over_on_demand() {
    for era in ERAS {
        let (grafana, files) = edited(era);
        check_push((&grafana, &files), &["--on-drift=overwrite"], &[("a", "updated")], 0);
        assert_eq!(kept(&grafana, "a").1, "A", "{era:?}");
        check_push((&grafana, &files), &[], &[("a", "unchanged")], 0);
    }
}

#[test]
fn a_person_s_edit_is_saved_as_another_dashboard_on_demand() {
    for era in ERAS {
        let (grafana, files) = edited(era);
        check_push((&grafana, &files), &["--on-drift=copy"], &[("a", "copied")], 0);
        assert_eq!(kept(&grafana, "a").1, "A");
        check_push((&grafana, &files), &["--on-drift=copy"], &[("a", "unchanged")], 0);
        let mut state = grafana.state();
        let all = &state.main_org().dashboards;
        let copy = all.values().find(|one| one.uid != "a").unwrap();
        assert_eq!(all.len(), 2, "{era:?}");
        assert_eq!(copy.json["title"], "Mine (edited, version 2)");
        assert_eq!(copy.json["tags"], json!(["mine"]));
        assert_eq!(copy.folder, all["a"].folder);
    }
}

#[test]
fn an_edit_that_takes_the_marks_away_makes_a_dashboard_somebody_s_own() {
    let (grafana, files) = edited(Era::Twelve);
    grafana.state().edit("a", |json| drop(json.insert("tags".to_owned(), json!([]))));
    for more in [&[][..], &["--on-drift=overwrite"], &["--on-drift=copy"]] {
        check_push((&grafana, &files), more, &[("a", "foreign")], 1);
    }
    check_push((&grafana, &files), &["--adopt"], &[("a", "updated")], 0);
}

#[test]
fn what_the_server_itself_changes_is_no_edit() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        Files::new(&[("a", "A")]).push(&grafana, &[]);
        let change = |key: &str, value: Value| {
            grafana.state().dashboard("a").json.insert(key.to_owned(), value);
        };
        change("schemaVersion", json!(99));
        change("annotations", json!({"list": []}));
        let files = Files::new(&[("a", "A")]);
        check_push((&grafana, &files), &[], &[("a", "unchanged")], 0);
        check_push((&grafana, &Files::new(&[("a", "B")])), &[], &[("a", "updated")], 0);
    }
}

#[test]
fn a_dashboard_stays_where_somebody_has_moved_it() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        Files::new(&[("a", "A")]).push(&grafana, &[]);
        let home = kept(&grafana, "a").2;
        grafana.state().dashboard("a").folder = String::new();
        let files = Files::new(&[("a", "B")]);
        check_push((&grafana, &files), &[], &[("a", "updated")], 0);
        assert_eq!(kept(&grafana, "a").2, "", "{era:?}");
        check_push((&grafana, &files), &["--on-drift=overwrite"], &[("a", "updated")], 0);
        assert_eq!(kept(&grafana, "a").2, home, "{era:?}");
    }
}

#[test]
fn provisioned_and_converted_dashboards_are_left_alone() {
    for era in ERAS {
        let grafana = Grafana::start(era);
        let files = Files::new(&[("a", "A")]);
        files.push(&grafana, &[]);
        let files = Files::new(&[("a", "B")]);
        grafana.state().dashboard("a").is_provisioned = true;
        check_push((&grafana, &files), &["--on-drift=overwrite"], &[("a", "provisioned")], 1);
        grafana.state().dashboard("a").is_provisioned = false;
        if era == Era::Thirteen {
            grafana.state().dashboard("a").is_v2 = true;
            check_push((&grafana, &files), &[], &[("a", "converted")], 1);
            assert_eq!(kept(&grafana, "a").0, 1, "{era:?}");
            check_push((&grafana, &files), &["--on-drift=overwrite"], &[("a", "updated")], 0);
        } else {
            assert_eq!(kept(&grafana, "a").0, 1, "{era:?}");
        }
    }
}

#[test]
fn a_dashboard_of_somebody_else_is_left_alone() {
    let grafana = Grafana::start(Era::Thirteen);
    let theirs = dashboard("a", "Theirs", &["tallyd"]);
    grafana.state().main_org().dashboards.insert("a".to_owned(), theirs);
    let files = Files::new(&[("a", "A")]);
    check_push((&grafana, &files), &[], &[("a", "foreign")], 1);
    assert_eq!(kept(&grafana, "a").1, "Theirs");
    check_push((&grafana, &files), &["--adopt"], &[("a", "updated")], 0);
    check_push((&grafana, &files), &["--name=other"], &[("a", "foreign")], 1);
}

/// A dashboard that was pushed and then changed in the browser, and its file.
fn edited(era: Era) -> (Grafana, Files) {
    let grafana = Grafana::start(era);
    let files = Files::new(&[("a", "A")]);
    check_push((&grafana, &files), &[], &[("a", "created")], 0);
    grafana.state().edit("a", |json: &mut Map<String, Value>| {
        json.insert("title".to_owned(), json!("Mine"));
        if let Some(Value::Array(tags)) = json.get_mut("tags") {
            tags.push(json!("mine"));
        }
    });
    (grafana, files)
}
