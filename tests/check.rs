//! `tallyd check`, with the real binary, and with `statsd_exporter` as the old server.

#[path = "support/server.rs"]
mod server;

use std::io::Write as _;
use std::net::UdpSocket;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, thread};

use serde_json::Value;

use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn the_exit_code_tells_whether_a_file_is_sound() {
    const RULE: &str = "match: a.*\n  name: a_seconds\n  help: A.";
    let sound = format!("mappings:\n- {RULE}\n");
    check(&tallyd(&["-"], &sound), 0, "stdin: 1 rule, 0 errors, 0 warnings; 0 examples\n");
    let warned = "mappings:\n- {match: a, name: a_ms, help: A.}\n";
    check(&tallyd(&["-"], warned), 0, "stdin:2:20: warning: `a_ms` has a unit in short");
    check(&tallyd(&["-", "--strict"], warned), 1, "1 warning");
    let broken = "mappings:\n- {match: a b, name: a}\n- {mtch: c, name: c}\n";
    let output = tallyd(&["-"], broken);
    check(&output, 1, "stdin:2:11: error: `a b` is not a glob;");
    check(&output, 1, "    3 | - {mtch: c, name: c}\n      |    ^\n");
    check(&tallyd(&["/nowhere.yml"], ""), 2, "");
    check(&tallyd(&[], ""), 2, "");
    check(&tallyd(&["a", "--against=http://b"], ""), 2, "");
    check(&tallyd(&["--against=http://127.0.0.1:1", "--for=1ms"], ""), 2, "");
}

#[test]
fn examples_beside_the_rules_are_run() {
    let file = |gives: &str| {
        format!(
            "mappings:\n- match: api.*\n  name: api_seconds\n  help: A.\n  observer_type: histogram\n  \
             labels: {{method: $1}}\n  examples:\n  - line: api.get:250|ms|@0.5|#env:prod\n    gives: {gives}\n"
        )
    };
    let sound = file("'api_seconds_sum{env=\"prod\",method=\"get\"} 0.5'");
    check(&tallyd(&["-"], &sound), 0, "0 errors, 0 warnings; 1 example\n");
    let wrong = file("'api_seconds_sum{env=\"prod\",method=\"get\"} 500'");
    let said = "stdin:8:5: error: `api.get:250|ms|@0.5|#env:prod` gives \
                api_seconds_sum{env=\"prod\",method=\"get\"} 0.5, not 500\n";
    check(&tallyd(&["-"], &wrong), 1, said);
    check(&tallyd(&["-"], &file("dropped")), 1, "is accepted (not dropped)");
    // The server takes them and does nothing with them; the reference does not know them.
    check(&tallyd(&["-", "--compat=reference"], &sound), 1, "unknown key `examples`; it needs");
    let flags = ["--statsd.mapping-config={tmp}/m.yml"];
    let files = vec![("m.yml".to_owned(), wrong.into_bytes())];
    Server::start(&Launch { files, ..Launch::tallyd(&flags) }).unwrap();
}

#[test]
fn json_has_a_place_for_every_finding() {
    let output = tallyd(&["-", "--output=json"], "mappings:\n- {match: a, nam: a}\n");
    check(&output, 1, "");
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &reports[0]["findings"][0];
    assert_eq!((&finding["line"], &finding["column"]), (&Value::from(2), &Value::from(14)));
    assert_eq!((&finding["severity"], &finding["check"]), (&"error".into(), &"syntax".into()));
}

#[test]
fn two_servers_with_the_same_lines_are_compared() {
    compared(&Launch::tallyd(&[]), Way::Direct);
}

#[test]
#[ignore = "needs the reference; make test runs it"]
fn what_the_reference_relays_is_compared() {
    let exporter = env::var_os("STATSD_EXPORTER").map_or_else(
        || env::current_dir().unwrap().join("target/peers/statsd_exporter"),
        PathBuf::from,
    );
    compared(&Launch::program(exporter, &[]), Way::Relayed);
}

/// How the lines come to the new servers.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Direct,
    /// From the old one to the first, and from there to the second.
    Relayed,
}

/// Gives the lines of an old server to two new ones, of which only the first has the same rules.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn compared(old: &Launch, way: Way) {
    const RULES: &str = "mappings:\n- {match: api.*, name: api_total, labels: {method: $1}}\n";
    const OTHERS: &str = "mappings:\n- {match: api.*, name: api_total, labels: {verb: $1}}\n\
                          - {match: temp, name: temp, scale: 2}\n";
    let new = Launch::tallyd(&[]);
    let differing = start(&new, OTHERS, None);
    let target = |server| Some(server).filter(|_| way == Way::Relayed);
    let same = start(&new, RULES, target(&differing));
    let old = start(old, RULES, target(&same));
    let servers = [&old, &same, &differing];
    // A relay hands lines on once a second.
    let (fed, times) = match way {
        Way::Direct => (&servers[..], ["--for=300ms", "--lag=300ms"]),
        Way::Relayed => (&servers[..1], ["--for=2s", "--lag=1500ms"]),
    };
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send(fed, &is_done));
        let compared = panic::catch_unwind(AssertUnwindSafe(|| {
            for server in servers {
                wait_until(TIMEOUT, || server.total("/metrics", "took_count") > Some(0.0));
            }
            let against = |new: &Server| {
                let address = |server: &Server| server.fill("http://127.0.0.1:{http}");
                let (old, new) = (address(&old), address(new));
                tallyd(&[&["--against", &old, "--from", &new], &times[..]].concat(), "")
            };
            check(&against(&same), 0, " s: no difference\n");
            let output = against(&differing);
            for part in [" s: 2 differences\n", "labels", "verb", "temp"] {
                check(&output, 1, part);
            }
        }));
        is_done.store(true, Ordering::Relaxed);
        compared.unwrap();
    });
}

/// Starts a server with these rules, which relays to another one.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn start(launch: &Launch, rules: &str, target: Option<&Server>) -> Server {
    let files = vec![("m.yml".to_owned(), rules.as_bytes().to_vec())];
    let mut flags = launch.flags.clone();
    flags.push("--statsd.mapping-config={tmp}/m.yml".to_owned());
    flags.extend(target.map(|target| target.fill("--statsd.relay.address=127.0.0.1:{udp}")));
    Server::start(&Launch { flags, files, ..launch.clone() }).unwrap()
}

/// Sends until it is enough.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn send(servers: &[&Server], is_done: &AtomicBool) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    for n in 0_u32.. {
        if is_done.load(Ordering::Relaxed) {
            return;
        }
        let lines = format!(
            "api.get:1|c\napi.put:{n}|c\ntook:{}|ms\ntemp:{}|g\nfree,city=rome:1|c",
            n % 7,
            50 + n % 5
        );
        for server in servers {
            socket.send_to(lines.as_bytes(), server.fill("127.0.0.1:{udp}")).unwrap();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn tallyd(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.arg("check").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever wants no file does not read.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap_or_default();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, part: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{text}{output:?}");
    assert!(text.contains(part), "{text}");
}
