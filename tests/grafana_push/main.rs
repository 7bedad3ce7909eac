//! Dashboards kept in a stand-in for Grafana, by commands and by a running server.

#[path = "../support/grafana.rs"]
#[expect(dead_code, reason = "the client's tests need more of it")]
mod grafana;
#[path = "../support/server.rs"]
mod server;

mod commands;
mod drift;
mod keeper;
mod push;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::grafana::state::EDITOR_TOKEN;
use crate::grafana::{Era, Grafana};

/// The APIs that differ in what they do with a dashboard.
pub(crate) const ERAS: [Era; 3] = [Era::Ten, Era::Eleven, Era::Thirteen];

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The result of each dashboard, by uid.
    #[expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests")]
    pub(crate) fn results(&self) -> Vec<(String, String)> {
        let report: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}: {self:?}");
        });
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        let all = report["dashboards"].as_array().unwrap();
        all.iter().map(|one| (text(one, "uid"), text(one, "result"))).collect()
    }
}

/// The command `tallyd grafana …` for a stand-in, as an editor.
pub(crate) fn command(grafana: &Grafana, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.arg("grafana").args(args);
    for name in ["GRAFANA_USER", "GRAFANA_PASSWORD", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command.env("GRAFANA_URL", &grafana.url).env("GRAFANA_TOKEN", EDITOR_TOKEN);
    command
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
pub(crate) fn run(grafana: &Grafana, args: &[&str]) -> Done {
    done(command(grafana, args).stdin(Stdio::null()).output().unwrap())
}

/// The same as the server's administrator, with something on stdin.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
pub(crate) fn run_as_admin(grafana: &Grafana, args: &[&str], stdin: &str) -> Done {
    let mut command = command(grafana, args);
    command.env("GRAFANA_USER", "admin").env("GRAFANA_PASSWORD", "admin");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A command that needs no words may be gone already.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    done(child.wait_with_output().unwrap())
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Dashboards in files.
pub(crate) struct Files(pub(crate) TempDir);

impl Files {
    /// One dashboard for each uid and title.
    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    pub(crate) fn new(dashboards: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (uid, title) in dashboards {
            let panels = json!([{"id": 1, "type": "text", "title": "T"}]);
            let json = json!({"uid": uid, "title": title, "schemaVersion": 42, "panels": panels});
            fs::write(dir.path().join(format!("{uid}.json")), json.to_string()).unwrap();
        }
        Self(dir)
    }

    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Pushes all of them.
    pub(crate) fn push(&self, grafana: &Grafana, more: &[&str]) -> Done {
        run(grafana, &[&["push", self.path(), "--output=json"], more].concat())
    }
}

/// Pushes and compares what became of each dashboard, and the exit code.
#[track_caller]
pub(crate) fn check_push(
    (grafana, files): (&Grafana, &Files),
    more: &[&str],
    expected: &[(&str, &str)],
    code: i32,
) -> Done {
    let done = files.push(grafana, more);
    let results = done.results();
    let results: Vec<_> = results.iter().map(|(uid, result)| (&**uid, &**result)).collect();
    assert_eq!(results, expected, "{done:?}");
    assert_eq!(done.code, code, "{done:?}");
    done
}

/// The version, title and folder of a dashboard.
pub(crate) fn kept(grafana: &Grafana, uid: &str) -> (u64, String, String) {
    let mut state = grafana.state();
    let dashboard = state.dashboard(uid);
    let title = dashboard.json["title"].as_str().unwrap_or_default().to_owned();
    (dashboard.version, title, dashboard.folder.clone())
}
