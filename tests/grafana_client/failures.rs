//! What Grafana, or whatever stands before it, refuses or breaks.

use std::time::{Duration, Instant};

use serde_json::json;
use tallyd::grafana::client::{Annotation, ApiChoice, Client, Config, Error, Reason, Save, Search};

use crate::grafana::state::{ADMIN_TOKEN, VIEWER_TOKEN};
use crate::grafana::{Action, Era, Grafana};
use crate::{answer, client, client_with, config, dashboard, fault, reason, save};

#[tokio::test]
async fn every_refusal_has_its_meaning() {
    let cases = [
        (
            401,
            r#"{"message":"Invalid API key","messageId":"api-key.invalid"}"#,
            Reason::Unauthorized,
        ),
        (403, r#"{"message":"Permissions needed: orgs:read"}"#, Reason::Forbidden),
        (404, r#"{"message":"Organization not found"}"#, Reason::NotFound),
        (404, "<html>nginx</html>", Reason::NoSuchRoute),
        (409, r#"{"message":"Organization name taken"}"#, Reason::Exists),
        (412, r#"{"message":"changed","status":"version-mismatch"}"#, Reason::VersionMismatch),
        (413, "", Reason::TooLarge),
        (422, r#"{"message":"Limit is above maximum"}"#, Reason::Invalid),
        (429, "", Reason::Busy),
        (500, r#"{"message":"Internal server error"}"#, Reason::Server),
        (502, "<html>Bad Gateway</html>", Reason::Server),
        (418, "", Reason::Other),
    ];
    let grafana = Grafana::start(Era::Thirteen);
    let client = client_with(Config { retries: 0, ..config(&grafana, ADMIN_TOKEN) });
    for (status, body, expected) in cases {
        grafana.fail(fault("/api/org", 1, answer(status, body)));
        let error = client.org().await.unwrap_err();
        assert_eq!((error.status(), error.reason()), (Some(status), Some(expected)));
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.method.as_str(), refusal.path.as_str()), ("GET", "/api/org"));
        let expected: &[&str] = if status == 403 { &["orgs:read"] } else { &[] };
        assert_eq!(refusal.permissions, expected);
    }
}

#[tokio::test]
async fn whoever_may_not_write_is_told_what_is_missing() {
    let grafana = Grafana::start(Era::Thirteen);
    for (api, needed) in
        [(ApiChoice::Classic, "dashboards:create"), (ApiChoice::Kubernetes, "dashboards:create")]
    {
        let viewer = client_with(Config { api, ..config(&grafana, VIEWER_TOKEN) });
        let error = viewer.save_dashboard(&save(&dashboard("one", "One"))).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().permissions, [needed]);
        assert!(error.to_string().contains(needed), "{error}");
    }
    let stranger = client_with(config(&grafana, "glsa_wrong"));
    assert_eq!(reason(stranger.org().await), Some(Reason::Unauthorized));
    let nobody = client_with(Config::new(&grafana.url));
    assert_eq!(reason(nobody.org().await), Some(Reason::Unauthorized));
    let elsewhere = client_with(Config { org_id: Some(7), ..config(&grafana, ADMIN_TOKEN) });
    assert_eq!(reason(elsewhere.org().await), Some(Reason::Unauthorized));
}

#[tokio::test]
async fn reading_is_tried_again_and_so_is_writing_where_that_does_no_harm() {
    type Try = for<'a> fn(&'a Client) -> std::pin::Pin<Box<dyn Future<Output = bool> + 'a>>;
    let read: Try = |client| Box::pin(async { client.org().await.is_ok() });
    let note: Try = |client| {
        let annotation = Annotation { text: "x", ..Annotation::default() };
        Box::pin(async move { client.annotate(&annotation).await.is_ok() })
    };
    let write: Try = |client| {
        Box::pin(async {
            let json = dashboard("one", "One");
            client.save_dashboard(&Save { overwrite: true, ..save(&json) }).await.is_ok()
        })
    };
    let cases = [
        (answer(429, ""), read, true),
        (answer(500, ""), read, true),
        (answer(503, ""), read, true),
        (Action::Cut, read, true),
        (answer(422, ""), read, false),
        (answer(401, ""), read, false),
        (answer(429, ""), note, true),
        (answer(503, ""), note, true),
        (answer(502, ""), note, false),
        (answer(500, ""), note, false),
        (Action::Cut, note, false),
        (answer(502, "<html>"), write, true),
        (answer(504, ""), write, true),
        (answer(500, ""), write, false),
        (Action::CutAfter, write, true),
    ];
    for (action, attempt, is_mended) in cases {
        let grafana = Grafana::start(Era::Eleven);
        let api = ApiChoice::Classic;
        let client = client_with(Config { retries: 1, api, ..config(&grafana, ADMIN_TOKEN) });
        client.health().await.unwrap();
        let before = grafana.log().len();
        grafana.fail(fault("/api/", 1, action.clone()));
        assert_eq!(attempt(&client).await, is_mended, "{action:?}");
        assert_eq!(grafana.log().len() - before, 1 + usize::from(is_mended), "{action:?}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_some() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    grafana.fail(fault("/api/org", 1, Action::Answer(429, "", &[("retry-after", "1")])));
    let begin = Instant::now();
    client.org().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));

    grafana.fail(fault("/api/org", 1, Action::Answer(503, "", &[("retry-after", "3600")])));
    let error = client.org().await.unwrap_err();
    assert_eq!(error.refusal().unwrap().retry_after, Some(Duration::from_hours(1)));
}

#[tokio::test]
async fn what_is_null_is_empty() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    client.api().await.unwrap();
    let null = |path, body| grafana.fail(fault(path, 1, answer(200, body)));
    null("/api/datasources", "null");
    assert_eq!(client.datasources().await.unwrap(), []);
    null("/api/search", r#"[{"uid":"one","tags":null}]"#);
    assert!(client.search(&Search::default()).await.unwrap()[0].tags.is_empty());
    null("/api/teams/search", r#"{"teams":null}"#);
    assert_eq!(client.teams(None).await.unwrap(), []);
    null("/folders", r#"{"metadata":{},"items":null}"#);
    assert_eq!(client.folders(None).await.unwrap(), []);
    null("/dashboards/one", r#"{"metadata":{"name":"one","annotations":null},"spec":null}"#);
    let stored = client.dashboard("one").await.unwrap().unwrap();
    assert_eq!(stored.json, json!({"uid": "one", "version": 0}));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let grafana = Grafana::start(Era::Thirteen);
    let timeout = Duration::from_millis(50);
    let client = client_with(Config { timeout, ..config(&grafana, ADMIN_TOKEN) });
    grafana.fail(fault("/api/org", 1, Action::Slow(Duration::from_secs(20))));
    let error = client.org().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.is_transient() && error.to_string().contains("/api/org"), "{error}");
}

#[tokio::test]
async fn a_connection_that_fails_says_where_to() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}/grafana");
    let error = client_with(Config { retries: 0, ..Config::new(&url) }).health().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");

    let grafana = Grafana::start(Era::Thirteen);
    grafana.fail(fault("/api/health", 1, Action::Cut));
    let client = client_with(Config { retries: 0, ..Config::new(&grafana.url) });
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_page_that_is_not_grafanas_is_told_with_its_beginning() {
    let grafana = Grafana::start(Era::Thirteen);
    grafana.fail(fault("/api/org", 1, answer(200, "<html>\n<title>Log in</title>")));
    let error = client(&grafana).org().await.unwrap_err();
    assert!(matches!(error, Error::NotGrafana { .. }), "{error}");
    assert!(error.to_string().contains("<html> <title>Log in"), "{error}");
}
