//! A running server tells what it exposes, and dashboards are made of that.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/server.rs"]
mod server;

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);
const MAPPING: &str = "defaults: {observer_type: histogram}\n\
    mappings:\n- {match: shop.*.time, name: shop_time, labels: {page: $1}, unit: seconds, help: Time.}\n";

#[test]
fn families_are_told_with_kinds_labels_and_units() {
    let server = start();
    let families = families(&server);
    let find = |name: &str| {
        let found = families.as_array().unwrap().iter().find(|family| family["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {families}"))
    };
    let time = find("shop_time");
    assert_eq!(time["kind"], "histogram");
    assert_eq!((&time["unit"], &time["help"]), (&"seconds".into(), &"Time.".into()));
    assert_eq!((&time["rule"], &time["native"]), (&"shop.*.time".into(), &false.into()));
    assert_eq!(time["labels"][0]["examples"], serde_json::json!(["cart", "home"]));
    assert_eq!(find("users")["kind"], "set");
    assert!(
        server.get("/api/v1/dashboard").unwrap().as_str().unwrap().contains("shop_time_bucket")
    );
}

#[test]
fn files_are_checked_against_what_a_server_exposes() {
    let server = start();
    let address = server.fill("http://127.0.0.1:{http}");
    let out = server.dir.path().join("dashboards");
    check(&generate(&["--from", &address], &out), 0, "written");
    check(&generate(&["--from", &address], &out), 0, "same");
    check(&generate(&["--from", &address, "--check"], &out), 0, "same");
    send(&server, &["more:1|c"]);
    assert!(wait_until(TIMEOUT, || families(&server).to_string().contains("\"more\"")));
    check(&generate(&["--from", &address, "--check"], &out), 1, "differs");
    check(&generate(&["--from", &(address + "/metrics")], &out), 0, "written");
    let found = std::fs::read_dir(&out).unwrap().count();
    assert_eq!(found, 1, "a page makes the same dashboard, under the same name");
}

#[test]
fn what_cannot_be_had_is_named() {
    let out = Path::new("/nowhere");
    check(&generate(&["--preset", "nginx"], out), 2, "there is no preset `nginx`; known are aio");
    check(&generate(&["--from", "127.0.0.1:1"], out), 2, "is not an address");
    check(&generate(&[], out), 2, "say what is known: --from URL, --mapping FILE or --preset");
    check(&generate(&["--mapping", "/nowhere.yaml"], out), 2, "cannot read mapping file");
}

fn start() -> Server {
    let mut launch = Launch::tallyd(&["--statsd.mapping-config={tmp}/m.yaml"]);
    launch.files = vec![("m.yaml".to_owned(), MAPPING.as_bytes().to_vec())];
    let server = Server::start(&launch).unwrap();
    send(&server, &["shop.home.time:3|ms", "shop.cart.time:3|ms", "users:ann|s", "hits:1|c"]);
    let is_there = || server.total("/metrics", "hits") == Some(1.0);
    assert!(wait_until(TIMEOUT, is_there), "{}", server.output());
    server
}

fn send(server: &Server, lines: &[&str]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.fill("127.0.0.1:{udp}");
    socket.send_to(lines.join("\n").as_bytes(), address).unwrap();
}

fn families(server: &Server) -> Value {
    let reply = server.get("/api/v1/families").unwrap();
    let told: Value = serde_json::from_str(reply.as_str().unwrap()).unwrap();
    assert_eq!(told["exporter"], "tallyd");
    told["families"].clone()
}

fn generate(flags: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.args(["grafana", "generate"]).args(flags).arg("--out").arg(out).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, part: &str) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "{said}");
}
