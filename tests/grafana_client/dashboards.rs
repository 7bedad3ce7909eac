//! Dashboards, by each API of each version.

use serde_json::json;
use tallyd::grafana::client::{
    ApiChoice, Config, Credentials, Error, Permission, PermissionLevel, Reason, Revision, Save,
    Search, Secret,
};

use crate::grafana::{Era, Grafana};
use crate::{
    FOLDER, WAYS, answer, client, client_by, client_with, dashboard, fault, reason, save,
    server_admin,
};

#[tokio::test]
async fn a_dashboard_is_created_read_changed_and_deleted_by_every_api() {
    for (era, api) in WAYS {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, api);
        client.ensure_folder(FOLDER, None).await.unwrap();
        let states = ["One", "Two", "Three", "Four"].map(|title| dashboard("one", title));
        let save = Save { folder_uid: "statsd", ..save(&states[0]) };

        let saved = client.save_dashboard(&save).await.unwrap();
        assert_eq!((saved.uid.as_str(), saved.revision.version), ("one", 1), "{era:?} {api:?}");
        let stored = client.dashboard("one").await.unwrap().unwrap();
        assert_eq!(stored.json["panels"], json!([]));
        assert_eq!(
            (stored.json["uid"].as_str(), stored.folder_uid.as_str()),
            (Some("one"), "statsd")
        );
        assert_eq!(stored.revision, saved.revision);
        assert!(stored.url.starts_with(&format!("{}/d/one", grafana.url)), "{}", stored.url);
        assert!(!stored.provisioned && stored.newer_form.is_none());

        assert_eq!(
            reason(client.save_dashboard(&save).await),
            Some(Reason::Exists),
            "{era:?} {api:?}"
        );
        let expected = Some(stored.revision.clone());
        let update = Save { dashboard: &states[1], expected, ..save.clone() };
        assert_eq!(client.save_dashboard(&update).await.unwrap().revision.version, 2);
        let late = client.save_dashboard(&update).await;
        assert_eq!(reason(late), Some(Reason::VersionMismatch), "{era:?} {api:?}");
        let by_number = |version| {
            let expected = Some(Revision { version, resource_version: None });
            Save { dashboard: &states[2], expected, ..save.clone() }
        };
        assert_eq!(client.save_dashboard(&by_number(2)).await.unwrap().revision.version, 3);
        let late = client.save_dashboard(&by_number(2)).await;
        assert_eq!(reason(late), Some(Reason::VersionMismatch), "{era:?} {api:?}");
        let over = Save { dashboard: &states[3], overwrite: true, ..save.clone() };
        assert_eq!(client.save_dashboard(&over).await.unwrap().revision.version, 4);

        assert!(client.delete_dashboard("one").await.unwrap());
        assert!(!client.delete_dashboard("one").await.unwrap());
        assert_eq!(client.dashboard("one").await.unwrap(), None);
        assert_eq!(client.save_dashboard(&over).await.unwrap().revision.version, 1);
    }
}

#[tokio::test]
async fn an_edit_by_hand_is_another_revision() {
    for api in [ApiChoice::Classic, ApiChoice::Kubernetes] {
        let grafana = Grafana::start(Era::Thirteen);
        let client = client_by(&grafana, api);
        let json = dashboard("one", "One");
        let Revision { version, .. } = client.save_dashboard(&save(&json)).await.unwrap().revision;
        grafana.state().edit("one", |json| {
            json.insert("title".to_owned(), "Mine".into());
        });
        let stored = client.dashboard("one").await.unwrap().unwrap();
        assert_eq!(stored.json["title"], "Mine");
        assert_eq!(stored.revision.version, version + 1, "{api:?}");
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_by_every_api() {
    for (era, api) in WAYS {
        let grafana = Grafana::start(era);
        let json = dashboard("one", "One");
        for overwrite in [true, false] {
            let save = Save { folder_uid: "nowhere", overwrite, ..save(&json) };
            let result = client_by(&grafana, api).save_dashboard(&save).await;
            assert_eq!(reason(result), Some(Reason::FolderNotFound), "{era:?} {api:?}");
        }
    }
}

#[tokio::test]
async fn another_dashboard_of_the_same_title_is_never_written_over() {
    let grafana = Grafana::start(Era::Ten);
    let client = client(&grafana);
    client.save_dashboard(&save(&dashboard("theirs", "One"))).await.unwrap();
    let ours = dashboard("ours", "One");
    for overwrite in [false, true] {
        let result = client.save_dashboard(&Save { overwrite, ..save(&ours) }).await;
        assert_eq!(reason(result), Some(Reason::NameExists));
    }
    assert_eq!(grafana.state().dashboard("theirs").version, 1);
}

#[tokio::test]
async fn a_dashboard_in_the_newer_form_is_told_apart() {
    let cases = [
        (Era::Twelve, ApiChoice::Classic),
        (Era::Thirteen, ApiChoice::Classic),
        (Era::Thirteen, ApiChoice::Auto),
    ];
    for (era, api) in cases {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, api);
        client.save_dashboard(&save(&dashboard("one", "One"))).await.unwrap();
        grafana.state().dashboard("one").is_v2 = true;
        let stored = client.dashboard("one").await.unwrap().unwrap();
        assert_eq!(stored.newer_form.as_deref(), Some("v2beta1"), "{era:?} {api:?}");
        assert_eq!(stored.json["title"], "One");
    }
    let grafana = Grafana::start(Era::Eleven);
    grafana.fail(fault("/api/dashboards", 1, answer(406, r#"{"message":"use /apis"}"#)));
    assert_eq!(reason(client(&grafana).dashboard("one").await), Some(Reason::NewerForm));
}

#[tokio::test]
async fn a_provisioned_dashboard_says_so() {
    for (era, api) in WAYS {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, api);
        let json = dashboard("one", "One");
        client.save_dashboard(&save(&json)).await.unwrap();
        grafana.state().dashboard("one").is_provisioned = true;
        assert!(client.dashboard("one").await.unwrap().unwrap().provisioned, "{era:?} {api:?}");
        let result = client.save_dashboard(&Save { overwrite: true, ..save(&json) }).await;
        assert_eq!(reason(result), Some(Reason::Provisioned));
    }
}

#[tokio::test]
async fn saves_that_race_are_tried_again_only_when_nothing_is_expected() {
    let conflict = || answer(409, r#"{"message":"requested RV does not match current RV"}"#);
    for api in [ApiChoice::Classic, ApiChoice::Kubernetes] {
        let grafana = Grafana::start(Era::Thirteen);
        let client = client_by(&grafana, api);
        let json = dashboard("one", "One");
        client.save_dashboard(&save(&json)).await.unwrap();
        let other = dashboard("one", "Two");
        let over = Save { overwrite: true, ..save(&other) };
        grafana.fail(fault("dashboards", 2, conflict()));
        assert_eq!(client.save_dashboard(&over).await.unwrap().revision.version, 2, "{api:?}");
        let expected = client.dashboard("one").await.unwrap().map(|stored| stored.revision);
        grafana.fail(fault("dashboards", 1, conflict()));
        let result = client.save_dashboard(&Save { expected, ..save(&json) }).await;
        assert_eq!(reason(result), Some(Reason::VersionMismatch));
    }
}

#[tokio::test]
async fn what_is_no_uid_is_not_sent() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    for uid in ["", "a b", "../x", &"a".repeat(41)] {
        let error = client.save_dashboard(&save(&dashboard(uid, "One"))).await.unwrap_err();
        assert!(matches!(error, Error::Name(_)), "{uid}: {error}");
    }
    assert_eq!(grafana.writes().len(), 0);
}

#[tokio::test]
async fn dashboards_are_found_by_tags_title_and_folder() {
    for era in Era::ALL {
        let grafana = Grafana::start(era);
        let client = client(&grafana);
        client.ensure_folder(FOLDER, None).await.unwrap();
        let inner = dashboard("inner", "In a folder");
        client.save_dashboard(&Save { folder_uid: "statsd", ..save(&inner) }).await.unwrap();
        let mut outer = dashboard("outer", "In none");
        outer["tags"] = json!(["tallyd", "more"]);
        client.save_dashboard(&save(&outer)).await.unwrap();

        let check = async |search: Search<'_>, expected: &[&str]| {
            let found = client.search(&search).await.unwrap();
            let uids: Vec<_> = found.iter().map(|found| found.uid.as_str()).collect();
            assert_eq!(uids, expected, "{era:?} {search:?}");
        };
        check(Search::default(), &["inner", "outer"]).await;
        check(Search { tags: &["tallyd", "more"], ..Search::default() }, &["outer"]).await;
        check(Search { query: Some("FOLDER"), ..Search::default() }, &["inner"]).await;
        check(Search { folder_uid: Some("statsd"), ..Search::default() }, &["inner"]).await;
        check(Search { folder_uid: Some(""), ..Search::default() }, &["outer"]).await;
    }
}

#[tokio::test]
async fn versions_and_permissions_of_a_dashboard_are_told() {
    for era in Era::ALL {
        let grafana = Grafana::start(era);
        let client = client(&grafana);
        let json = dashboard("one", "One");
        client.save_dashboard(&save(&json)).await.unwrap();
        let other = dashboard("one", "Two");
        let over = Save { overwrite: true, message: &"x".repeat(600), ..save(&other) };
        client.save_dashboard(&over).await.unwrap();
        let versions = client.versions("one", 10).await.unwrap();
        assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [2, 1], "{era:?}");
        assert_eq!((versions[0].message.len(), versions[1].message.as_str()), (500, "a test"));
        assert_eq!(reason(client.versions("none", 10).await), Some(Reason::NotFound));

        let permission = Permission {
            role: Some("Viewer".to_owned()),
            team_id: None,
            user_id: None,
            permission: PermissionLevel::Edit,
            inherited: false,
        };
        let inherited = Permission { inherited: true, ..permission.clone() };
        client.set_dashboard_permissions("one", &[permission.clone(), inherited]).await.unwrap();
        assert_eq!(client.dashboard_permissions("one").await.unwrap(), [permission]);
    }
}

#[tokio::test]
async fn dashboards_of_another_organisation_are_in_its_namespace() {
    let grafana = Grafana::start(Era::Thirteen);
    let org = server_admin(&grafana).create_org("Other").await.unwrap();
    let credentials =
        Credentials::Basic { user: "admin".to_owned(), password: Secret::new("admin") };
    let config = Config { credentials, org_id: Some(org), ..Config::new(&grafana.url) };
    let client = client_with(config);
    client.save_dashboard(&save(&dashboard("one", "One"))).await.unwrap();
    let written = grafana.writes().pop().unwrap();
    assert!(written.target.contains(&format!("/namespaces/org-{org}/")), "{}", written.target);
    assert!(grafana.state().orgs[&org].dashboards.contains_key("one"));
}
