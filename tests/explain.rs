//! `tallyd explain` and `GET /api/v1/explain`, with the real binary.

#[path = "support/server.rs"]
mod server;

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const RULES: &str = "\
mappings:
- {match: api.*, name: api_total, labels: {method: $1}}
- {match: debug.*, name: x, action: drop}
";

#[test]
fn the_exit_code_tells_whether_every_line_is_accepted() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, RULES).unwrap();
    let mapping = file.path().display().to_string();
    let explain = |lines: &[&str]| tallyd(&[lines, &["--mapping", &mapping]].concat(), "");
    check(&explain(&["api.get:1|c"]), 0, "series   api_total{method=\"get\"}\n");
    check(&explain(&["api.get:1|c", "debug.x:1|c"]), 1, "outcome  dropped\n");
    check(&explain(&["api.get:1|c\nnonsense"]), 1, "outcome  rejected\n");
    check(&tallyd(&["a:1|c", "--mapping", "/nowhere.yml"], ""), 2, "");
    check(&tallyd(&["a:1|c", "--from", "http://127.0.0.1:1"], ""), 2, "");
    check(&tallyd(&[], ""), 2, "");
}

#[test]
fn lines_come_from_stdin_as_well() {
    check(&tallyd(&["-"], "a:1|c\nb:2|g\n"), 0, "gauge, set to 2\n");
    check(&tallyd(&["-"], "a:1|c\n\nb\n"), 1, "malformed_line");
}

#[test]
fn json_is_a_list_with_one_explanation_for_each_line() {
    let output = tallyd(&["a:1|c", "api.x:2|ms", "--output=json", "--preset=gunicorn"], "");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["samples"][0]["series"], "a");
    assert_eq!(list[1]["samples"][0]["value"], "0.002");
    assert_eq!(list[1]["samples"][0]["rule"], Value::Null);
}

#[test]
fn flags_of_the_server_change_what_a_line_is() {
    let series = |flags: &[&str]| {
        let output = tallyd(&[&["a,k=v:1|c|#x:y", "--output=json"], flags].concat(), "");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        list[0]["samples"][0]["series"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(series(&[]), "");
    assert_eq!(series(&["--no-statsd.parse-influxdb-tags"]), "a_k_v{x=\"y\"}");
    assert_eq!(series(&["--no-statsd.parse-dogstatsd-tags", "--compat=reference"]), "");
    let output = tallyd(&["s:1|s", "--compat=reference"], "");
    check(&output, 1, "illegal_event");
}

#[test]
fn a_server_tells_by_its_rules_and_the_series_that_it_has() {
    let flags = ["--statsd.mapping-config={tmp}/m.yml"];
    let files = vec![("m.yml".to_owned(), RULES.as_bytes().to_vec())];
    let server = Server::start(&Launch { files, ..Launch::tallyd(&flags) }).unwrap();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.send_to(b"api.get:1|c", server.fill("127.0.0.1:{udp}")).unwrap();
    wait_until(TIMEOUT, || server.total("/metrics", "api_total") == Some(1.0));
    let from = server.fill("http://127.0.0.1:{http}");
    let explain = |line: &str| tallyd(&[line, "--from", &from], "");
    check(&explain("api.get:7|c|#a b:c+d"), 0, "without this series\n");
    check(&explain("api.get:7|c"), 0, "server   the server has this series\n");
    check(
        &explain("api.get:7|g"),
        1,
        "`api_total` is a counter already, so it cannot be a gauge\n",
    );
    // Nothing of what was asked about has been counted.
    assert_eq!(server.total("/metrics", "api_total"), Some(1.0));

    let reply = server.get("/api/v1/explain?line=api.get%3A%2B1%7Cc").unwrap();
    let told: Value = serde_json::from_str(reply.as_str().unwrap()).unwrap();
    assert_eq!(told["line"], "api.get:+1|c");
    assert_eq!(told["samples"][0]["rule"]["match"], "api.*");
    assert_eq!(told["samples"][0]["rule"]["line"], 2);
    for (path, status) in [
        ("/api/v1/explain", 400),
        ("/api/v1/explain?line=a&line=b", 400),
        ("/api/v1/explain?line=%FF%00:1|c", 200),
    ] {
        assert_eq!(server.get(path).unwrap().status_code, status, "{path}");
    }
    let long = format!("/api/v1/explain?line={}", "a".repeat(9_000));
    assert_eq!(server.get(&long).unwrap().status_code, 414);
    let long = format!("/api/v1/explain?line={}:1|c", "a".repeat(8_000));
    assert_eq!(server.get(&long).unwrap().status_code, 200);
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn tallyd(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.arg("explain").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, part: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(text.contains(part), "{text}");
}
