//! Searches and comparisons with the real program as the server, and the reports on them.

use std::error::Error;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const TALLYD: &str = env!("CARGO_BIN_EXE_tallyd");

const SERVER: [&str; 4] = [
    TALLYD,
    "--statsd.listen-udp=127.0.0.1:{udp}",
    "--statsd.listen-tcp=",
    "--web.listen-address=127.0.0.1:{web}",
];

/// Short and slow: what is tested is that it works, in a debug build on a busy machine.
const LOAD: [&str; 4] = ["--workload=single", "--series=50", "--duration=100ms", "--output=json"];

/// What a subcommand printed as JSON, and its report.
fn bench(flags: &[&str], commands: &[&str]) -> Result<(Value, String), Box<dyn Error>> {
    let dir = TempDir::new()?;
    let report = dir.path().join("report.html");
    let output = Command::new(TALLYD)
        .arg("bench")
        .args(flags)
        .args(LOAD)
        .arg("--report")
        .arg(&report)
        .args(commands)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok((serde_json::from_slice(&output.stdout)?, fs::read_to_string(report)?))
}

#[test]
fn a_search_ends_at_a_rate_that_was_held() {
    let flags = ["find-max", "--start=1k", "--trial=100ms", "--precision=100%", "--max-loss=1%"];
    let commands = [&["--"][..], &SERVER].concat();
    let (found, report) = bench(&flags, &commands).unwrap();
    let max = found["max_per_second"].as_f64().unwrap();
    assert!(max > 100.0, "{found:#}");
    let trials = found["trials"].as_array().unwrap();
    assert!(trials.iter().any(|trial| trial["verdict"] == "held"), "{found:#}");
    check_report(&report, "highest rate without loss");
}

#[test]
fn two_servers_take_turns_and_are_compared() {
    let flags = ["compare", "--rounds=2", "--rate=1k", "--page-every=20ms"];
    let commands = [&["--"][..], &SERVER, &["--"], &SERVER].concat();
    let (comparison, report) = bench(&flags, &commands).unwrap();
    for side in ["a", "b"] {
        assert_eq!(comparison[side]["rounds"].as_array().unwrap().len(), 2, "{comparison:#}");
    }
    let measures = comparison["measures"].as_array().unwrap();
    let loss = measures.iter().find(|measure| measure["quantity"] == "loss").unwrap();
    assert_eq!((&loss["median_a"], &loss["median_b"]), (&Value::from(0.0), &Value::from(0.0)));
    for quantity in ["cpu_per_metric", "memory", "scrape", "gzip_scrape", "time_to_visible"] {
        let is_there = measures.iter().any(|measure| measure["quantity"] == quantity);
        assert!(is_there, "{quantity}: {comparison:#}");
    }
    check_report(&report, "tallyd A");
}

#[test]
fn a_run_has_a_report_too() {
    let commands = [&["--"][..], &SERVER].concat();
    let (outcome, report) = bench(&["run", "--rate=1k"], &commands).unwrap();
    assert_eq!(outcome["accounting"]["loss_ratio"], 0.0, "{outcome:#}");
    check_report(&report, "Where every metric is");
}

#[test]
fn a_comparison_needs_two_servers() {
    let commands = [&["--"][..], &SERVER].concat();
    let error = bench(&["compare", "--rounds=1"], &commands).unwrap_err().to_string();
    assert!(error.contains("name two servers"), "{error}");
}

/// One file with charts that asks nobody for anything.
#[track_caller]
fn check_report(html: &str, expected: &str) {
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    assert!(html.contains(expected) && html.contains("<svg"), "{html}");
    for foreign in ["<script", "src=", "href=", "url(", "@import", "NaN"] {
        assert!(!html.contains(foreign), "{foreign} in {html}");
    }
}
