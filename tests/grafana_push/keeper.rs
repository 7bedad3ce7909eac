//! A running server that keeps dashboards for what it receives.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::grafana::state::EDITOR_TOKEN;
use crate::grafana::{Action, Era, Fault, Grafana};
use crate::server::{Launch, Server, wait_until};
use crate::{Files, kept, run};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn dashboards_follow_what_is_received() {
    for era in [Era::Ten, Era::Thirteen] {
        let grafana = Grafana::start(era);
        let server = serve(&grafana.url, &[]);
        send(&server, "first_total:1|c|#view:fire");
        wait_for(&server, "written", 1.0);
        let uid = only_uid(&grafana);
        assert!(json_of(&grafana, &uid).contains("first_total"), "{era:?}");
        send(&server, "second:1|g");
        wait_for(&server, "written", 2.0);
        assert!(json_of(&grafana, &uid).contains("second"), "{era:?}");
        assert_eq!((only_uid(&grafana), kept(&grafana, &uid).0), (uid, 2), "{era:?}");
        let total = |name| server.total("/metrics", name);
        assert_eq!(total("tallyd_grafana_families_pending"), Some(0.0));
        assert_eq!(total("tallyd_grafana_dashboards{state=\"current\"}"), Some(1.0));
        assert!(total("tallyd_grafana_last_success_timestamp_seconds") > Some(1e9));
    }
}

#[test]
fn known_families_are_written_once() {
    let grafana = Grafana::start(Era::Thirteen);
    let servers: Vec<Server> = (0..4).map(|_| serve(&grafana.url, &[])).collect();
    for server in &servers {
        send(server, "first_total:1|c|#view:fire");
    }
    for server in &servers {
        let pushes = || server.total("/metrics", "tallyd_grafana_pushes_total");
        assert!(wait_until(TIMEOUT, || pushes() == Some(1.0)), "{}", server.output());
    }
    let uid = only_uid(&grafana);
    assert_eq!(kept(&grafana, &uid).0, 1);
}

#[test]
fn a_server_that_has_just_started_forgets_nothing_of_what_the_others_know() {
    let grafana = Grafana::start(Era::Eleven);
    let one = serve(&grafana.url, &[]);
    send(&one, "first_total:1|c");
    wait_for(&one, "written", 1.0);
    let other = serve(&grafana.url, &[]);
    send(&other, "second:1|g");
    wait_for(&other, "written", 1.0);
    let json = json_of(&grafana, &only_uid(&grafana));
    assert!(json.contains("first_total") && json.contains("second"), "{json}");
}

#[test]
fn a_command_pushes_what_a_server_has_received() {
    let grafana = Grafana::start(Era::Thirteen);
    let server = Server::start(&Launch::tallyd(&[])).unwrap();
    send(&server, "first_total:1|c");
    assert!(wait_until(TIMEOUT, || server.total("/metrics", "first_total") == Some(1.0)));
    let from = server.fill("--from=http://127.0.0.1:{http}");
    let done = run(&grafana, &["push", &from, "--name=Shop", "--environment=prod"]);
    assert_eq!(done.code, 0, "{done:?}");
    let uid = only_uid(&grafana);
    assert!(json_of(&grafana, &uid).contains("first_total"));
    assert!(json_of(&grafana, &uid).contains("tallyd:shop/prod"));
}

#[test]
fn a_dashboards_file_says_what_is_made() {
    const FILE: &str = "dashboards:\n- title: Shop\n  folder: Sales\n  rows:\n  - title: Orders\n    \
        panels:\n    - family: first_total\n";
    let grafana = Grafana::start(Era::Thirteen);
    let mut launch = launch(&grafana.url, &["--grafana.dashboards={tmp}/dashboards.yaml"]);
    launch.files.push(("dashboards.yaml".to_owned(), FILE.into()));
    let server = Server::start(&launch).unwrap();
    send(&server, "first_total:1|c");
    wait_for(&server, "written", 1.0);
    let (_, title, folder) = kept(&grafana, &only_uid(&grafana));
    assert_eq!(title, "Shop");
    assert_eq!(grafana.state().main_org().folders[&folder].title, "Sales");
}

#[test]
fn what_is_no_longer_made_is_deleted_on_demand() {
    let grafana = Grafana::start(Era::Thirteen);
    Files::new(&[("old", "Old")]).push(&grafana, &[]);
    let server = serve(&grafana.url, &["--grafana.prune"]);
    send(&server, "first:1|g");
    wait_for(&server, "written", 1.0);
    let name = "tallyd_grafana_writes_total{result=\"deleted\"}";
    assert_eq!(server.total("/metrics", name), Some(1.0));
    assert_ne!(only_uid(&grafana), "old");
}

#[test]
fn an_edit_is_kept_counted_and_said_once() {
    let grafana = Grafana::start(Era::Twelve);
    let server = serve(&grafana.url, &[]);
    send(&server, "first:1|g");
    wait_for(&server, "written", 1.0);
    let uid = only_uid(&grafana);
    grafana.state().edit(&uid, |json| drop(json.insert("title".to_owned(), json!("Mine"))));
    for (line, pushes) in [("second:1|g", 1.0), ("third:1|g", 2.0)] {
        send(&server, line);
        wait_for(&server, "unchanged", pushes);
    }
    assert_eq!(kept(&grafana, &uid).1, "Mine");
    assert_eq!(server.total("/metrics", "tallyd_grafana_drifted_dashboards"), Some(1.0));
    let log = server.output();
    assert_eq!(log.matches("changed in Grafana since").count(), 1, "{log}");
}

#[test]
fn a_server_serves_on_when_grafana_is_down_or_refuses() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let grafana = Grafana::start(Era::Thirteen);
    for (url, token, reason) in [
        (format!("http://127.0.0.1:{closed}"), EDITOR_TOKEN, "connection"),
        (grafana.url.clone(), "wrong", "unauthorized"),
    ] {
        let mut launch = launch(&url, &["--grafana.timeout=5s"]);
        launch.env.push(("GRAFANA_TOKEN".to_owned(), token.to_owned()));
        let server = Server::start(&launch).unwrap();
        send(&server, "first:1|g");
        let name = format!("tallyd_grafana_errors_total{{reason=\"{reason}\"}}");
        let is_counted = || server.total("/metrics", &name) >= Some(1.0);
        assert!(wait_until(TIMEOUT, is_counted), "{}", server.output());
        assert_eq!(server.total("/metrics", "first"), Some(1.0));
        let state: Value =
            serde_json::from_str(server.get("/api/v1/grafana").unwrap().as_str().unwrap()).unwrap();
        assert_eq!(state["is_healthy"], json!(false), "{state}");
        assert!(state["last_error"].is_string(), "{state}");
    }
}

#[test]
fn a_server_ends_at_once_when_grafana_hangs() {
    let grafana = Grafana::start(Era::Eleven);
    let action = Action::Slow(Duration::from_mins(1));
    grafana.fail(Fault { method: None, path: "/api", times: 100, action });
    let mut server = serve(&grafana.url, &["--grafana.timeout=50s"]);
    send(&server, "first:1|g");
    assert!(wait_until(TIMEOUT, || !grafana.log().is_empty()), "{}", server.output());
    assert_eq!(server.total("/metrics", "first"), Some(1.0));
    let begin = Instant::now();
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let has_ended = wait_until(TIMEOUT, || server.child.try_wait().unwrap().is_some());
    assert!(has_ended && begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn without_an_address_grafana_is_left_alone() {
    let grafana = Grafana::start(Era::Thirteen);
    let mut launch = Launch::tallyd(&["--grafana.settle-time=50ms"]);
    launch.env.push(("GRAFANA_URL".to_owned(), grafana.url.clone()));
    launch.env.push(("GRAFANA_TOKEN".to_owned(), EDITOR_TOKEN.to_owned()));
    let server = Server::start(&launch).unwrap();
    assert_eq!(server.get("/api/v1/grafana").unwrap().status_code, 404);
    assert_eq!(server.total("/metrics", "tallyd_grafana_families_pending"), None);
    assert!(grafana.log().is_empty());
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    let url = "--grafana.url=http://127.0.0.1:1";
    for (flags, words) in [
        (&["--grafana.url=nonsense"][..], "nonsense"),
        (&[url, "--grafana.token-file=/no/such/file"], "/no/such/file"),
        (&[url, "--grafana.dashboards=/no/such/file"], "/no/such/file"),
        (&[url, "--grafana.user=me"], "--grafana.password-file"),
    ] {
        let output = Server::start(&Launch::tallyd(flags)).unwrap_err();
        assert!(output.contains(words), "{flags:?}: {output}");
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn serve(url: &str, flags: &[&str]) -> Server {
    Server::start(&launch(url, flags)).unwrap()
}

/// A server that hurries.
fn launch(url: &str, flags: &[&str]) -> Launch {
    let url = format!("--grafana.url={url}");
    let quick = [&*url, "--grafana.settle-time=100ms", "--grafana.min-interval=50ms"];
    let mut launch = Launch::tallyd(&[&quick, flags].concat());
    launch.env.push(("GRAFANA_TOKEN".to_owned(), EDITOR_TOKEN.to_owned()));
    launch
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn send(server: &Server, line: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(line.as_bytes(), server.fill("127.0.0.1:{udp}")).unwrap();
}

/// Waits until so many pushes have had an outcome.
#[track_caller]
fn wait_for(server: &Server, outcome: &str, count: f64) {
    let name = format!("tallyd_grafana_pushes_total{{outcome=\"{outcome}\"}}");
    let is_so = || server.total("/metrics", &name) >= Some(count);
    assert!(wait_until(TIMEOUT, is_so), "{}", server.output());
}

fn only_uid(grafana: &Grafana) -> String {
    let mut state = grafana.state();
    let uids: Vec<String> = state.main_org().dashboards.keys().cloned().collect();
    assert_eq!(uids.len(), 1, "{uids:?}");
    uids.concat()
}

fn json_of(grafana: &Grafana, uid: &str) -> String {
    Value::Object(grafana.state().dashboard(uid).json.clone()).to_string()
}
