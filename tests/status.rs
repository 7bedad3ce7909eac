//! What a running server tells of itself: lists, the status page, and losses with advice.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/prom_files.rs"]
mod prom_files;
#[path = "support/server.rs"]
mod server;

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

use crate::prom_files::PromFile;
use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

const MAPPING: &str = "mappings:\n\
    - {match: shop.*.requests, name: shop_requests_total, labels: {page: $1}, help: Requests.}\n\
    - {match: debug.*, name: x, action: drop}\n\
    - {match: never.*, name: never_total}\n";

#[test]
fn rules_and_names_are_counted_for_known_lines_too() {
    let server = start(&[]);
    for _ in 0..5 {
        send(&server, &["shop.home.requests:1|c", "debug.a:1|c", "cache.hits:1|c", "users:ann|s"]);
    }
    let status = wait_for(&server, "status", |status| status["lines"][0]["total"] == 15);
    let hits = |rule: usize| status["rules"][rule]["lines_total"].as_u64();
    assert_eq!((hits(0), hits(1), hits(2)), (Some(5), Some(5), Some(0)), "{status}");
    assert!(status["rules"][0]["lines_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(status["rules"][1]["action"], "drop");
    let unmapped = get(&server, "unmapped");
    assert_eq!(unmapped["has_rules"], true);
    let names = &unmapped["names"];
    assert_eq!((&names[0]["name"], &names[0]["lines_total"]), (&"cache.hits".into(), &5.into()));
    assert_eq!((&names[0]["family"], &names[1]["name"]), (&"cache_hits".into(), &"users".into()));
    assert_eq!(names[2], Value::Null);
}

#[test]
fn a_reload_begins_the_counts_of_rules_anew() {
    let server = start(&["--web.enable-lifecycle"]);
    send(&server, &["shop.home.requests:1|c", "cache.hits:1|c"]);
    wait_for(&server, "status", |status| status["rules"][0]["lines_total"] == 1);
    let rule = "- {match: cache.*, name: cache_total}\n";
    std::fs::write(server.dir.path().join("m.yaml"), format!("{MAPPING}{rule}")).unwrap();
    let reload = || minreq::post(server.fill("http://127.0.0.1:{http}/-/reload")).send().unwrap();
    assert_eq!(reload().status_code, 200);
    send(&server, &["cache.hits:1|c"]);
    let status = wait_for(&server, "status", |status| status["rules"][3]["lines_total"] == 1);
    assert_eq!(status["rules"][0]["lines_total"], 0, "{status}");
    assert_eq!(get(&server, "unmapped")["names"][0], Value::Null);
    std::fs::write(server.dir.path().join("m.yaml"), "mappings: nonsense\n").unwrap();
    assert_eq!(reload().status_code, 400);
    let mapping = &get(&server, "status")["mapping"];
    assert_eq!(
        (&mapping["reloads_total"], &mapping["failed_reloads_total"]),
        (&1.into(), &1.into())
    );
    assert!(mapping["last_error"].as_str().unwrap().contains("m.yaml:1"), "{mapping}");
}

#[test]
fn bad_lines_are_told_with_reason_sender_and_number() {
    let server = start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.fill("127.0.0.1:{udp}");
    for n in 0..7 {
        socket.send_to(format!("login.time:{n}|parsec").as_bytes(), &address).unwrap();
    }
    let long = format!("hits:{}|c", "9x".repeat(300));
    socket.send_to(long.as_bytes(), &address).unwrap();
    socket.send_to(b"negative:-1|c", &address).unwrap();
    let errors = wait_for(&server, "errors", |errors| {
        let count = |at: usize| errors["errors"][at]["count"].as_u64().unwrap_or(0);
        count(0) + count(1) + count(2) == 9
    });
    let entry = |reason: &str| {
        let all = errors["errors"].as_array().unwrap();
        all.iter().find(|entry| entry["reason"] == reason).unwrap_or_else(|| panic!("{errors}"))
    };
    let kind = entry("illegal_event");
    assert_eq!(kind["count"], 7);
    assert_eq!(kind["sender"], format!("udp {}", socket.local_addr().unwrap()));
    assert!(kind["line"].as_str().unwrap().starts_with("login.time:"));
    let cut = entry("malformed_value");
    assert_eq!((cut["line"].as_str().unwrap().len(), &cut["is_cut"]), (200, &true.into()));
    assert_eq!(entry("illegal_negative_counter")["line"], "negative:-1|c");
    assert_eq!(errors["reasons"].as_array().unwrap().len(), 3);
}

#[test]
fn both_sides_of_a_conflict_are_told() {
    let server = start(&[]);
    let (first, second) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = server.fill("127.0.0.1:{udp}");
    first.send_to(b"size:1|c|#a:b", &address).unwrap();
    assert!(wait_until(TIMEOUT, || server.total("/metrics", "size") == Some(1.0)));
    for _ in 0..3 {
        second.send_to(b"size:7|g", &address).unwrap();
    }
    let told = wait_for(&server, "conflicts", |told| told["conflicts"][0]["count"] == 3);
    let conflict = &told["conflicts"][0];
    assert_eq!((&conflict["name"], &conflict["refused_kind"]), (&"size".into(), &"gauge".into()));
    assert_eq!(conflict["first_refused"]["line"], "size:7|g");
    let sender = |socket: &UdpSocket| format!("udp {}", socket.local_addr().unwrap());
    assert_eq!(conflict["first_refused"]["sender"], sender(&second));
    let owner = &conflict["owner"];
    assert_eq!((&owner["kind"], &owner["series"]), (&"counter".into(), &"size{a=\"b\"}".into()));
    assert_eq!(owner["first_sender"], sender(&first));
    assert_eq!(owner["first_line"], "size:1|c|#a:b");
}

#[test]
fn the_label_that_makes_most_series_is_named() {
    let server = start(&[]);
    for n in 0..50 {
        send(&server, &[format!("logins:1|c|#user:{n},env:prod").as_str()]);
    }
    let told = wait_for(&server, "cardinality", |told| told["series"] == 50);
    let family = &told["families"][0];
    assert_eq!((&family["name"], &family["series"]), (&"logins".into(), &50.into()));
    let label = &family["labels"][0];
    assert_eq!((&label["name"], &label["values"]), (&"user".into(), &50.into()));
    assert_eq!(family["labels"][1]["top"][0]["series"], 50);
}

#[test]
fn the_page_shows_what_arrives_and_refuses_every_other_script() {
    let server = start(&[]);
    let evil = "<script>alert(1)</script>";
    send(&server, &["shop.home.requests:1|c", "cache.hits:1|c", evil, "evil<b>:1|c|#<i>:\"x\""]);
    wait_for(&server, "errors", |errors| errors["errors"][0]["reason"] == "malformed_line");
    let reply = server.get("/?line=shop.home.requests%3A1%7Cc&q=shop").unwrap();
    let page = reply.as_str().unwrap();
    for expected in [
        "shop_requests_total",
        "cache.hits",
        "never.*",
        "&lt;script&gt;alert(1)",
        "id=\"try-result\"",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    let policy = policy(&reply);
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    let nonce = policy.split('\'').nth(3).unwrap();
    assert!(page.contains(&format!("<script nonce=\"{}\"", nonce.trim_start_matches("nonce-"))));
    let other = server.get("/").unwrap();
    assert_ne!(self::policy(&other), policy, "a nonce is used once");
}

fn policy(reply: &minreq::Response) -> String {
    let header = reply.headers.iter().find(|(name, _)| name == "content-security-policy");
    header.unwrap().1.clone()
}

#[test]
fn the_reference_s_page_is_as_plain_as_ever() {
    let server = Server::start(&Launch::tallyd(&["--compat=reference"])).unwrap();
    let page = server.get("/").unwrap();
    assert!(page.as_str().unwrap().contains("<a href=\"./metrics\">Metrics</a>"));
    assert!(!page.as_str().unwrap().contains("<script"));
    let metrics = server.get("/metrics").unwrap();
    assert!(!metrics.as_str().unwrap().contains("tallyd_"));
}

#[test]
fn what_the_kernel_dropped_is_a_loss_with_a_cause_and_advice() {
    let flags = ["--lanes=1", "--statsd.read-buffer=4096", "--statsd.listen-tcp="];
    let server = Server::start(&Launch::tallyd(&flags)).unwrap();
    send(&server, &["hits:1|c"]);
    assert!(wait_until(TIMEOUT, || server.total("/metrics", "hits") == Some(1.0)));
    let process = server.child.id().to_string();
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, &process]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..500 {
        socket.send_to(b"hits:1|c", server.fill("127.0.0.1:{udp}")).unwrap();
    }
    signal("-CONT");
    let status = wait_for(&server, "status", |status| {
        let hits = status["lines"][0]["total"].as_f64().unwrap_or(0.0);
        let drops = status["listeners"][0]["kernel_drops_total"].as_f64().unwrap_or(0.0);
        hits + drops >= 501.0 && status["loss"]["ratio"].as_f64().unwrap_or(0.0) > 0.5
    });
    assert_eq!(status["loss"]["causes"][0]["cause"], "kernel", "{status}");
    let advice = status["loss"]["advice"][0]["text"].as_str().unwrap();
    assert!(advice.contains("--statsd.read-buffer=") && advice.contains("net.core.rmem_max"));
    let metric = |name| server.total("/metrics", name).unwrap();
    assert!(metric("tallyd_loss_ratio") > 0.5);
    let parts = metric("tallyd_loss_cause_ratio");
    assert!((parts - metric("tallyd_loss_ratio")).abs() < 1e-6);
    assert!(metric("tallyd_receive_queue_capacity_bytes") >= 4096.0);
    let page = server.get("/").unwrap();
    assert!(page.as_str().unwrap().contains("of all lines were lost"));
}

#[test]
fn what_clients_say_they_dropped_is_a_loss_even_where_a_rule_drops_the_line() {
    let mut launch = Launch::tallyd(&["--statsd.mapping-config={tmp}/m.yaml"]);
    let rule = "mappings:\n- {match: '^datadog', match_type: regex, name: x, action: drop}\n";
    launch.files = vec![("m.yaml".to_owned(), rule.as_bytes().to_vec())];
    let server = Server::start(&launch).unwrap();
    let tags = "|#client:py,client_version:0.56.0,client_transport:udp";
    for n in [3, 4] {
        send(
            &server,
            &[
                "hits:1|c",
                &format!("datadog.dogstatsd.client.packets_dropped:{n}|c{tags}"),
                &format!("datadog.dogstatsd.client.packets_dropped_queue:{n}|c{tags}"),
            ],
        );
    }
    let dropped = || server.total("/metrics", "tallyd_client_dropped_datagrams_total");
    assert!(wait_until(TIMEOUT, || dropped() == Some(7.0)), "{:?}", dropped());
    let loss = &get(&server, "status")["loss"];
    assert_eq!(loss["causes"][0]["cause"], "client_queue");
    assert!(loss["advice"][0]["text"].as_str().unwrap().contains("their own queues"));
}

#[test]
fn every_field_of_the_api_is_documented() {
    let files = tempfile::tempdir().unwrap();
    let file = PromFile::new().with(("cache_hits", "cache_hits"), &[], 1.0);
    file.with_entry("no key", 1.0).write(files.path(), "gauge_all", std::process::id());
    let server = start(&[&format!("--multiproc.dir={}", files.path().display())]);
    send(&server, &["shop.home.requests:1|c", "cache.hits:1|c", "cache.hits:1|g", "bad", "t:1|ms"]);
    wait_for(&server, "conflicts", |told| told["clashes_total"] == 1);
    wait_for(&server, "conflicts", |told| told["conflicts"][0]["count"] == 1);
    wait_for(&server, "errors", |told| told["errors"][0]["count"] == 1);
    let docs = include_str!("../docs/api.md");
    for list in ["status", "families", "unmapped", "cardinality", "conflicts", "errors"] {
        let heading = format!("## /api/v1/{list}\n");
        let section = docs.split(&heading).nth(1).unwrap_or_else(|| panic!("{heading}"));
        let section = section.split("\n## ").next().unwrap();
        let mut keys = Vec::new();
        keys_of(&get(&server, list), "", &mut keys);
        for key in keys {
            assert!(section.contains(&format!("| `{key}` |")), "docs/api.md, {list}: {key}");
        }
    }
}

/// The names of all fields, `a[].b` for one in a list.
fn keys_of(value: &Value, path: &str, keys: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if !value.is_object() && !value.is_array() {
                    keys.push(path.clone());
                }
                keys_of(value, &path, keys);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                if entry.is_object() {
                    keys_of(entry, &format!("{path}[]"), keys);
                } else if !keys.contains(&format!("{path}[]")) {
                    keys.push(format!("{path}[]"));
                }
            }
        }
        _ => {}
    }
}

fn start(flags: &[&str]) -> Server {
    let flags: Vec<_> =
        ["--statsd.mapping-config={tmp}/m.yaml"].iter().chain(flags).copied().collect();
    let mut launch = Launch::tallyd(&flags);
    launch.files = vec![("m.yaml".to_owned(), MAPPING.as_bytes().to_vec())];
    Server::start(&launch).unwrap()
}

fn send(server: &Server, lines: &[&str]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(lines.join("\n").as_bytes(), server.fill("127.0.0.1:{udp}")).unwrap();
}

fn get(server: &Server, list: &str) -> Value {
    let reply = server.get(&format!("/api/v1/{list}")).unwrap();
    serde_json::from_slice(reply.as_bytes()).unwrap()
}

/// A list once it is as expected.
#[track_caller]
fn wait_for(server: &Server, list: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let mut answer = Value::Null;
    let found = wait_until(TIMEOUT, || {
        answer = get(server, list);
        is_there(&answer)
    });
    assert!(found, "{answer}");
    answer
}
