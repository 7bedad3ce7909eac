//! On the way to Grafana: which API, which path, which headers, which token.

use std::time::Duration;

use serde_json::Value;
use tallyd::grafana::client::{
    Annotation, Api, ApiChoice, Config, Credentials, Error, Reason, Save,
};
use tempfile::TempDir;

use crate::grafana::state::{ADMIN_TOKEN, EDITOR_TOKEN};
use crate::grafana::{Action, Era, Grafana, Options};
use crate::{WAYS, answer, client, client_by, client_with, config, dashboard, fault, reason, save};

#[tokio::test]
async fn the_api_is_chosen_by_what_the_server_has() {
    let kubernetes = |version: &str| Api::Kubernetes {
        namespace: "default".to_owned(),
        dashboards: version.to_owned(),
        folders: Some(version.to_owned()),
    };
    let cases = [
        (Era::Ten, ApiChoice::Auto, Api::Classic),
        (Era::Eleven, ApiChoice::Auto, Api::Classic),
        (Era::Twelve, ApiChoice::Auto, Api::Classic),
        (Era::Twelve, ApiChoice::Kubernetes, kubernetes("v1beta1")),
        (Era::Thirteen, ApiChoice::Auto, kubernetes("v1")),
        (Era::Thirteen, ApiChoice::Classic, Api::Classic),
    ];
    for (era, choice, expected) in cases {
        let grafana = Grafana::start(era);
        let client = client_by(&grafana, choice);
        assert_eq!(client.api().await.unwrap(), expected, "{era:?} {choice:?}");
        let asked = grafana.log().len();
        client.api().await.unwrap();
        assert_eq!(grafana.log().len(), asked, "asked once");
    }
    let grafana = Grafana::start(Era::Thirteen);
    grafana.fail(fault("/api/org", 1, answer(403, "")));
    assert_eq!(client(&grafana).api().await.unwrap(), Api::Classic, "no namespace is known");
    let grafana = Grafana::start(Era::Eleven);
    let error = client_by(&grafana, ApiChoice::Kubernetes).api().await.unwrap_err();
    assert!(matches!(error, Error::NoResourceApi(_)), "{error}");
}

#[tokio::test]
async fn an_api_that_vanishes_gives_way_to_the_other() {
    for gone in [answer(404, "404 page not found"), answer(406, "")] {
        let grafana = Grafana::start(Era::Thirteen);
        let client = client(&grafana);
        grafana.fail(fault("/namespaces/", 1, gone));
        client.save_dashboard(&save(&dashboard("one", "One"))).await.unwrap();
        assert_eq!(client.api().await.unwrap(), Api::Classic);
        assert_eq!(grafana.state().dashboard("one").version, 1);
    }
}

#[tokio::test]
async fn a_path_before_grafana_is_kept() {
    for (era, api) in WAYS {
        let options = Options { prefix: "/some/grafana".to_owned(), ..Options::new(era) };
        let grafana = Grafana::launch(options);
        for url in [grafana.url.clone(), format!("{}/", grafana.url)] {
            let client = client_with(Config { url, api, ..config(&grafana, ADMIN_TOKEN) });
            let json = dashboard("one", "One");
            let over = Save { overwrite: true, ..save(&json) };
            let saved = client.save_dashboard(&over).await.unwrap();
            let link = format!("{}/d/one", grafana.url);
            assert!(saved.url.starts_with(&link), "{} {}", saved.url, link);
        }
    }
}

#[tokio::test]
async fn redirects_are_followed_where_nothing_is_written_and_told_otherwise() {
    let grafana = Grafana::start(Era::Eleven);
    let client = client(&grafana);
    let moved = |headers| fault("/api/", 1, Action::Answer(302, "", headers));
    grafana.fail(moved(&[("location", "/api/org")]));
    client.datasource("prom").await.unwrap_err();
    grafana.fail(moved(&[("location", "/api/health")]));
    assert!(client.health().await.unwrap().version.is_some());

    let elsewhere = &[("location", "http://127.0.0.1:1/api/health")];
    grafana.fail(moved(elsewhere));
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, Error::Redirected { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1/"), "{error}");

    grafana.fail(moved(&[("location", "/api/annotations")]));
    let note = Annotation { text: "x", ..Annotation::default() };
    let error = client.annotate(&note).await.unwrap_err();
    assert!(matches!(error, Error::Redirected { .. }), "{error}");
}

#[tokio::test]
async fn a_proxy_is_asked_instead() {
    let proxy = Grafana::start(Era::Thirteen);
    proxy.fail(fault("/api/health", 1, answer(200, r#"{"database":"ok","version":"12.0.1"}"#)));
    let url = "http://grafana.invalid:3000".to_owned();
    let client = client_with(Config { proxy: Some(proxy.url.clone()), ..Config::new(&url) });
    assert_eq!(client.health().await.unwrap().version.unwrap().to_string(), "12.0.1");
    assert_eq!(proxy.log()[0].target, format!("{url}/api/health"));
}

#[tokio::test]
async fn headers_are_those_that_grafana_needs() {
    let grafana = Grafana::start(Era::Eleven);
    let client = client_with(Config { org_id: Some(1), ..config(&grafana, ADMIN_TOKEN) });
    client.save_dashboard(&save(&dashboard("one", "One"))).await.unwrap();
    let writes = grafana.writes();
    let header = |name: &str| {
        let found = writes[0].headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("x-grafana-org-id"), "1");
    assert_eq!(header("authorization"), "Bearer glsa_admin");
    assert!(header("user-agent").starts_with("tallyd/"));
    let body: Value = serde_json::from_str(&writes[0].body).unwrap();
    assert_eq!(body["folderUid"], "", "a body without it moves the dashboard");
    assert_eq!(body["dashboard"].get("id"), None);
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_again() {
    let grafana = Grafana::start(Era::Thirteen);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, format!("{ADMIN_TOKEN}\n")).unwrap();
    let credentials = Credentials::TokenFile(path.clone());
    let client = client_with(Config { credentials, ..Config::new(&grafana.url) });
    client.org().await.unwrap();

    // The file's time stays the same, so that only the refusal tells.
    let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "glsa_new").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
    grafana.state().rotate(ADMIN_TOKEN, "glsa_new");
    client.org().await.unwrap();

    // With another time, there is no refusal.
    std::fs::write(&path, EDITOR_TOKEN).unwrap();
    let later = changed + Duration::from_secs(5);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let before = grafana.log().len();
    client.org().await.unwrap();
    assert_eq!(grafana.log().len(), before + 1);

    grafana.state().rotate(EDITOR_TOKEN, "glsa_lost");
    assert_eq!(reason(client.org().await), Some(Reason::Unauthorized));
    assert_eq!(grafana.log().len(), before + 2, "an old token is not tried twice");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(client.org().await, Err(Error::ReadFile { .. })));
}
