//! Folders, and lists in pages.

use tallyd::grafana::client::{ApiChoice, Folder, FolderPart, Search};

use crate::grafana::state::VIEWER_TOKEN;
use crate::grafana::{self, Era, Fault, Grafana};
use crate::{FOLDER, WAYS, answer, client, client_by, client_with, config, fault};

#[tokio::test]
async fn folders_are_there_once_with_their_titles_and_parents() {
    for (era, api) in WAYS {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, api);
        let path = [FOLDER, FolderPart { uid: "sub", title: "Sub" }];
        let inner = client.ensure_folder_path(&path).await.unwrap();
        assert_eq!((inner.uid.as_str(), inner.parent_uid.as_str()), ("sub", "statsd"));
        let writes = grafana.writes().len();
        client.ensure_folder_path(&path).await.unwrap();
        assert_eq!(grafana.writes().len(), writes, "{era:?} {api:?}: nothing is written twice");

        let renamed = FolderPart { title: "Other", ..path[1] };
        assert_eq!(client.ensure_folder(renamed, Some("statsd")).await.unwrap().title, "Other");
        let titles = |found: Vec<_>| -> Vec<String> {
            found.into_iter().map(|folder: Folder| folder.title).collect()
        };
        assert_eq!(titles(client.folders(None).await.unwrap()), ["StatsD"]);
        assert_eq!(titles(client.folders(Some("statsd")).await.unwrap()), ["Other"]);
        assert!(client.delete_folder("statsd").await.unwrap());
        assert!(!client.delete_folder("statsd").await.unwrap());
        assert_eq!(client.folder("sub").await.unwrap(), None, "{era:?} {api:?}");
    }
}

#[tokio::test]
async fn a_folder_that_somebody_else_creates_meanwhile_is_taken() {
    for (era, api) in WAYS {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, api);
        client.ensure_folder(FOLDER, None).await.unwrap();
        let missing = Fault {
            method: Some("GET"),
            ..fault("folders/statsd", 1, answer(404, r#"{"kind":"Status","message":"not found"}"#))
        };
        grafana.fail(missing);
        let folder = client.ensure_folder(FOLDER, None).await.unwrap();
        assert_eq!(folder.title, "StatsD", "{era:?} {api:?}");
    }
}

#[tokio::test]
async fn a_title_that_another_folder_has_leads_to_that_folder() {
    let grafana = Grafana::start(Era::Ten);
    let client = client(&grafana);
    client.ensure_folder(FolderPart { uid: "theirs", title: "statsd" }, None).await.unwrap();
    assert_eq!(client.ensure_folder(FOLDER, None).await.unwrap().uid, "theirs");
}

#[tokio::test]
async fn a_folder_that_may_not_be_seen_is_created_anyway_or_refused_with_what_is_missing() {
    let grafana = Grafana::start(Era::Eleven);
    let denied = || fault("folders/statsd", 1, answer(403, r#"{"message":"Access denied"}"#));
    grafana.fail(denied());
    client(&grafana).ensure_folder(FOLDER, None).await.unwrap();
    grafana.fail(denied());
    let viewer = client_with(config(&grafana, VIEWER_TOKEN));
    let error = viewer.ensure_folder(FOLDER, None).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().permissions, ["folders:create"]);
}

#[tokio::test]
async fn lists_are_read_to_their_last_page() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    for number in 0..1001 {
        let mut state = grafana.state();
        let dashboard = grafana::state::dashboard(&format!("d{number}"), "One", &["tallyd"]);
        state.main_org().dashboards.insert(dashboard.uid.clone(), dashboard);
        let folder = grafana::state::folder(&format!("f{number}"));
        state.main_org().folders.insert(folder.uid.clone(), folder);
    }
    let search = Search { tags: &["tallyd"], ..Search::default() };
    assert_eq!(client.search(&search).await.unwrap().len(), 1001);
    assert_eq!(client.folders(None).await.unwrap().len(), 1001);
    let classic = client_by(&grafana, ApiChoice::Classic);
    assert_eq!(classic.folders(None).await.unwrap().len(), 1001);
}
