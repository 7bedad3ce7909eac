//! Workers' files beside samples of clients: on the page in every format, in limits, lists and dashboards.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/prom_files.rs"]
mod prom_files;
#[path = "support/server.rs"]
mod server;

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

use crate::prom_files::PromFile;
use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited";

/// What two workers wrote.
const FILES: &str = r#"# HELP jobs Help of jobs.
# TYPE jobs summary
jobs_sum 2.5
jobs_count 4
# HELP latency_seconds Help of latency_seconds.
# TYPE latency_seconds histogram
latency_seconds_bucket{view="home",le="0.5"} 3
latency_seconds_bucket{view="home",le="1"} 8
latency_seconds_bucket{view="home",le="+Inf"} 9
latency_seconds_sum{view="home"} 7.5
latency_seconds_count{view="home"} 9
# HELP requests_total Help of requests.
# TYPE requests_total counter
requests_total{code="200"} 15
requests_total{code="500"} 1
"#;

#[test]
fn families_of_files_are_on_the_page_in_every_format() {
    let directory = workers();
    let server = start(&directory, &["--web.enable-openmetrics"]);
    send(&server, "kilo:1|c\npages:2|c");
    assert!(wait_until(TIMEOUT, || server.total("/metrics", "pages") == Some(2.0)));
    let text = page(&server, "", "text/plain");
    let names = |page: &str| {
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    assert!(names(&text).is_sorted(), "{text}");
    for group in FILES.split("# HELP ").skip(1) {
        assert!(text.contains(&format!("# HELP {group}")), "{group} is not in\n{text}");
    }
    assert_eq!(
        page(&server, "?name[]=jobs", "text/plain"),
        FILES.split("# HELP latency").next().unwrap()
    );
    let openmetrics = page(&server, "", "application/openmetrics-text");
    assert!(openmetrics.contains("# TYPE requests counter\n"), "{openmetrics}");
    assert!(openmetrics.contains("latency_seconds_bucket{view=\"home\",le=\"+Inf\"} 9"));
    assert!(openmetrics.contains("requests_created{code=\"200\"} 1"), "{openmetrics}");
    let request = minreq::get(server.fill("http://127.0.0.1:{http}/metrics"));
    let reply = request.with_header("Accept", PROTOBUF).send().unwrap();
    let mut bytes = reply.as_bytes();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let family = Named::decode_length_delimited(&mut bytes).unwrap();
        found.push(family.name);
    }
    assert_eq!(found, names(&page(&server, "", "text/plain")));
}

#[test]
fn of_two_families_with_one_name_one_is_shown_and_the_other_named() {
    let directory = workers();
    for (flags, shown, left_out) in [
        (&[][..], "requests_total 7", ["requests_total", "files"]),
        (
            &["--multiproc.first=files"],
            "requests_total{code=\"500\"} 1",
            ["requests_total", "statsd"],
        ),
    ] {
        let server = start(&directory, flags);
        send(&server, "requests_total:7|g");
        let [metric, source] = left_out;
        let clash =
            format!("tallyd_multiproc_clashes{{metric=\"{metric}\",source=\"{source}\"}} 1");
        let text = wait_for_page(&server, &clash);
        assert!(text.contains(shown), "{text}");
        assert_eq!(text.matches("# TYPE requests_total ").count(), 1, "{text}");
        let told = &get(&server, "conflicts")["clashes"][0];
        assert_eq!((&told["metric"], &told["source"]), (&metric.into(), &source.into()));
        page(&server, "", "text/plain");
        let warned = server.output().matches("A family is left out").count();
        assert_eq!(warned, 1, "{}", server.output());
        let families = get(&server, "families");
        let kinds = families["families"].as_array().unwrap().iter();
        let kinds: Vec<&Value> =
            kinds.filter(|family| family["name"] == metric).map(|family| &family["kind"]).collect();
        assert_eq!(kinds, [if source == "files" { "gauge" } else { "counter" }]);
    }
}

#[test]
fn files_neither_take_tallyd_s_names_nor_those_of_others_samples() {
    let directory = TempDir::new().unwrap();
    let own = PromFile::new().with(("tallyd_series", "tallyd_series"), &[], 1e9);
    let own = own.with(("t_count", "t_count"), &[], 5.0);
    own.write(directory.path(), "gauge_max", std::process::id());
    let server = start(&directory, &[]);
    send(&server, "t:5|ms");
    let clash = "tallyd_multiproc_clashes{metric=\"t_count\",source=\"files\"} 1";
    let text = wait_for_page(&server, clash);
    assert!(text.contains("tallyd_multiproc_clashes{metric=\"tallyd_series\""), "{text}");
    assert!(!text.contains("tallyd_series 1e+09") && text.contains("\nt_count 1\n"), "{text}");
    assert_eq!(text.matches("\nt_count ").count(), 1, "{text}");
}

#[test]
fn limits_hold_for_series_of_files_and_a_scrape_counts_nothing_twice() {
    let directory = TempDir::new().unwrap();
    let file = |range: std::ops::Range<u32>| {
        range.fold(PromFile::new(), |file, n| {
            file.with(("logins", "logins_total"), &[("user", &format!("u{n}"))], 1.0)
        })
    };
    file(0..5).write(directory.path(), "counter", std::process::id());
    let flags = ["--limits.series-per-family=3", "--limits.series=4"];
    let server = start(&directory, &flags);
    let limited = "tallyd_limited_samples_total{action=\"drop\",label=\"user\",\
                   metric=\"logins_total\",reason=\"series_per_family\"} 2";
    let text = wait_for_page(&server, limited);
    assert_eq!(text.matches("\nlogins_total{").count(), 3, "{text}");
    assert!(text.contains("\ntallyd_series 3\n") && text.contains("\ntallyd_multiproc_series 3\n"));
    send(&server, "a:1|c");
    assert!(wait_until(TIMEOUT, || server.total("/metrics", "a") == Some(1.0)));
    send(&server, "b:1|c");
    let refused = "metric=\"b\",reason=\"series\"} 1";
    let text = wait_for_page(&server, refused);
    assert!(text.contains(limited), "{text}");
    assert_eq!(text.matches("\nb ").count(), 0);
    let status = get(&server, "status");
    assert_eq!(status["limits"]["full"][0]["family"], "logins_total", "{status}");
    assert_eq!(status["limits"]["full"][0]["label"], "user");
}

#[test]
fn lists_dashboards_and_the_status_page_have_families_of_files() {
    let directory = workers();
    let server = start(&directory, &[]);
    wait_for_page(&server, "requests_total{");
    let families = get(&server, "families");
    let latency = families["families"].as_array().unwrap().iter();
    let latency = latency.clone().find(|family| family["name"] == "latency_seconds").unwrap();
    assert_eq!((&latency["kind"], &latency["series"]), (&"histogram".into(), &1.into()));
    assert_eq!(latency["bounds"], serde_json::json!([0.5, 1.0]));
    assert_eq!(latency["labels"][0]["examples"][0], "home");
    let dashboard = server.get("/api/v1/dashboard").unwrap();
    assert!(dashboard.as_str().unwrap().contains("latency_seconds_bucket"));
    let cardinality = get(&server, "cardinality");
    assert_eq!((&cardinality["series"], &cardinality["families_total"]), (&4.into(), &3.into()));
    assert_eq!(cardinality["families"][0]["source"], "files");
    let status = get(&server, "status");
    let path = directory.path().to_str().unwrap();
    assert_eq!(status["files"]["directories"][0]["path"], path, "{status}");
    assert_eq!((&status["files"]["series"], &status["series"]), (&4.into(), &4.into()));
    assert_eq!(status["files"]["directories"][0]["files"], 4);
    let html = server.get("/").unwrap();
    let html = html.as_str().unwrap();
    for part in
        ["Workers' files are read", path, "when its process is", "latency_seconds", ">files<"]
    {
        assert!(html.contains(part), "{part} is not in {html}");
    }
}

#[test]
fn rules_are_made_of_families_of_files_too() {
    let directory = workers();
    let server = start(&directory, &[]);
    wait_for_page(&server, "requests_total{");
    let from = server.fill("http://127.0.0.1:{http}");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(["rules", "generate", &format!("--from={from}")])
        .output()
        .unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(made.contains("latency_seconds"), "{made}");
}

/// The name of a family in protobuf.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// A directory with what [`FILES`] shows, written by two workers that live.
fn workers() -> TempDir {
    let directory = TempDir::new().unwrap();
    let pids = [std::process::id(), parent()];
    for (pid, times) in pids.into_iter().zip([1.0, 2.0]) {
        write_worker(directory.path(), pid, times);
    }
    directory
}

fn write_worker(directory: &Path, pid: u32, times: f64) {
    let requests = |code| [("code", code)];
    PromFile::new()
        .with(("requests", "requests_total"), &requests("200"), 5.0 * times)
        .with(("requests", "requests_total"), &requests("500"), times - 1.0)
        .write(directory, "counter", pid);
    if times > 1.0 {
        PromFile::new()
            .with(("jobs", "jobs_count"), &[], 4.0)
            .with(("jobs", "jobs_sum"), &[], 2.5)
            .write(directory, "summary", pid);
        let name = |sample| ("latency_seconds", sample);
        let le = |le| [("le", le), ("view", "home")];
        PromFile::new()
            .with(name("latency_seconds_sum"), &[("view", "home")], 7.5)
            .with(name("latency_seconds_bucket"), &le("0.5"), 3.0)
            .with(name("latency_seconds_bucket"), &le("1.0"), 5.0)
            .with(name("latency_seconds_bucket"), &le("+Inf"), 1.0)
            .write(directory, "histogram", pid);
    }
}

/// A process that lives as long as this one.
fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

fn start(directory: &TempDir, flags: &[&str]) -> Server {
    let path = directory.path().display();
    let given = format!("--multiproc.dir={path}");
    let flags: Vec<&str> = std::iter::once(given.as_str()).chain(flags.iter().copied()).collect();
    Server::start(&Launch::tallyd(&flags)).unwrap()
}

fn send(server: &Server, lines: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(lines.as_bytes(), server.fill("127.0.0.1:{udp}")).unwrap();
}

fn page(server: &Server, query: &str, accept: &str) -> String {
    let request = minreq::get(server.fill("http://127.0.0.1:{http}/metrics") + query);
    let reply = request.with_header("Accept", accept).send().unwrap();
    reply.as_str().unwrap().to_owned()
}

/// The page once something is on it.
#[track_caller]
fn wait_for_page(server: &Server, expected: &str) -> String {
    let mut text = String::new();
    let found = wait_until(TIMEOUT, || {
        text = page(server, "", "text/plain");
        text.contains(expected)
    });
    assert!(found, "{expected} is not in\n{text}\n{}", server.output());
    text
}

fn get(server: &Server, list: &str) -> Value {
    let reply = server.get(&format!("/api/v1/{list}")).unwrap();
    serde_json::from_slice(reply.as_bytes()).unwrap()
}
