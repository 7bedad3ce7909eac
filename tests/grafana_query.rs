//! `tallyd grafana query` as people and scripts use it, against a stand-in for Grafana.

#[path = "support/grafana.rs"]
#[expect(dead_code, reason = "the client's tests need more of it")]
mod grafana;

use std::fs;
use std::process::{Command, Output};

use crate::grafana::state::ADMIN_TOKEN;
use crate::grafana::{Era, Grafana};

const SVG_RANGE: [&str; 6] = [
    "--from=2026-03-29T00:00",
    "--to=2026-03-29T06:00",
    "--step=30m",
    "--tz=Europe/Berlin",
    "--unit=ratio",
    "--title=All & sundry",
];

#[test]
fn a_value_is_printed_with_time_and_labels() {
    let grafana = Grafana::start(Era::Thirteen);
    let output =
        query(&grafana, &["up", "--at=2026-01-01T12:00", "--tz=Asia/Tokyo", "--output=csv"]);
    check(&output, 0);
    assert_eq!(
        text(&output.stdout),
        "time,value,__name__,job\n2026-01-01T12:00:00+09:00,1,reqs_total,tallyd\n"
    );
    let output = query(&grafana, &["up", "--output=json"]);
    check(&output, 0);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["series"][0]["labels"]["job"], "tallyd");
}

#[test]
fn prometheus_is_asked_directly_as_well() {
    let grafana = Grafana::start(Era::Eleven);
    let url = grafana.url.replacen("://", "://admin:admin@", 1);
    let url = format!("--prometheus={url}/api/datasources/proxy/uid/prom/");
    let output =
        tallyd(&["up", &url, "--from=0", "--to=120", "--step=1m", "--tz=UTC", "--output=csv"]);
    check(&output, 0);
    let times: Vec<String> = text(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(',').map(|(time, _)| time.to_owned()))
        .collect();
    assert_eq!(
        times,
        [
            "time",
            "1970-01-01T00:00:00+00:00",
            "1970-01-01T00:01:00+00:00",
            "1970-01-01T00:02:00+00:00"
        ]
    );
}

#[test]
fn what_cannot_be_had_is_told_with_the_exit_code_2() {
    let grafana = Grafana::start(Era::Thirteen);
    let refused = query(&grafana, &["sum("]);
    check(&refused, 2);
    assert!(text(&refused.stderr).contains("unclosed left parenthesis"), "{refused:?}");
    for (flags, expected) in [
        (["--datasource=nobody", "--at=now"], "no data source with the uid or the name `nobody`"),
        (["--from=tomorrow", "--to=now"], "`tomorrow` is no time; write now, -6h"),
        (["--from=now", "--to=-1h"], "--from is not before --to"),
        (["--from=-7d", "--step=1s"], "604800 steps"),
        (["--tz=Nowhere/Near", "--at=now"], "no such time zone"),
        (["--at=now", "--plot=plot.gif"], "a drawing covers some time"),
        (["--from=-1h", "--plot=plot.gif"], "neither in .svg nor in .png"),
    ] {
        let output = query(&grafana, &[["up"].as_slice(), &flags].concat());
        check(&output, 2);
        assert!(text(&output.stderr).contains(expected), "{flags:?}: {output:?}");
    }
    let output = tallyd(&["up", "--prometheus=http://me:secret@127.0.0.1:9"]);
    check(&output, 2);
    let message = text(&output.stderr);
    assert!(message.contains("http://127.0.0.1:9") && !message.contains("secret"), "{message}");
}

#[test]
fn a_range_becomes_a_drawing_in_a_file_or_in_the_terminal() {
    let grafana = Grafana::start(Era::Thirteen);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for name in ["plot.svg", "plot.png"] {
        let flag = format!("--plot={}", file(name).display());
        check(&query(&grafana, &[["up", &flag].as_slice(), &SVG_RANGE].concat()), 0);
    }
    let svg = fs::read_to_string(file("plot.svg")).unwrap();
    for part in
        ["All &amp; sundry", "Europe/Berlin (UTC+01:00, then UTC+02:00)", ">03:00<", "100 %"]
    {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(!svg.contains(">02:00<"), "there is no such time on that day");
    assert!(fs::read(file("plot.png")).unwrap().starts_with(b"\x89PNG"));
    let chart = query(&grafana, &[["up", "--chart"].as_slice(), &SVG_RANGE].concat());
    check(&chart, 0);
    let chart = text(&chart.stdout);
    assert!(chart.starts_with("All & sundry\n") && !chart.contains('\u{1b}'), "{chart}");
    assert!(chart.contains("reqs_total job=tallyd: 100 %"), "{chart}");
}

fn query(grafana: &Grafana, arguments: &[&str]) -> Output {
    let url = format!("--grafana.url={}", grafana.url);
    let token = format!("--grafana.token={ADMIN_TOKEN}");
    tallyd(&[arguments, &[&url, &token]].concat())
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn tallyd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.args(["grafana", "query"]).args(arguments).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
