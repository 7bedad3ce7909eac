//! The client against a stand-in for Grafana: every call, every refusal, both APIs, all versions.

#[path = "../support/grafana.rs"]
mod grafana;

mod connection;
mod dashboards;
mod failures;
mod folders;
mod other;
mod tls;

use serde_json::{Value, json};
use tallyd::grafana::client::{
    ApiChoice, Client, Config, Credentials, Error, FolderPart, Reason, Save, Secret,
};

use crate::grafana::state::ADMIN_TOKEN;
use crate::grafana::{Action, Era, Fault, Grafana};

/// The APIs that a version has.
pub(crate) const WAYS: [(Era, ApiChoice); 7] = [
    (Era::Ten, ApiChoice::Auto),
    (Era::Eleven, ApiChoice::Auto),
    (Era::Twelve, ApiChoice::Classic),
    (Era::Twelve, ApiChoice::Kubernetes),
    (Era::Thirteen, ApiChoice::Classic),
    (Era::Thirteen, ApiChoice::Kubernetes),
    (Era::Thirteen, ApiChoice::Auto),
];
pub(crate) const FOLDER: FolderPart<'_> = FolderPart { uid: "statsd", title: "StatsD" };

pub(crate) fn config(grafana: &Grafana, token: &str) -> Config {
    Config { credentials: Credentials::Token(Secret::new(token)), ..Config::new(&grafana.url) }
}

#[expect(clippy::expect_used, reason = "a helper of tests")]
pub(crate) fn client_with(config: Config) -> Client {
    Client::new(config).expect("the settings are good")
}

pub(crate) fn client(grafana: &Grafana) -> Client {
    client_with(config(grafana, ADMIN_TOKEN))
}

pub(crate) fn server_admin(grafana: &Grafana) -> Client {
    let credentials =
        Credentials::Basic { user: "admin".to_owned(), password: Secret::new("admin") };
    client_with(Config { credentials, ..Config::new(&grafana.url) })
}

pub(crate) fn client_by(grafana: &Grafana, api: ApiChoice) -> Client {
    client_with(Config { api, ..config(grafana, ADMIN_TOKEN) })
}

pub(crate) fn dashboard(uid: &str, title: &str) -> Value {
    json!({"uid": uid, "title": title, "tags": ["tallyd"], "schemaVersion": 42, "panels": []})
}

pub(crate) fn save(dashboard: &Value) -> Save<'_> {
    Save { dashboard, folder_uid: "", message: "a test", expected: None, overwrite: false }
}

pub(crate) fn fault(path: &'static str, times: usize, action: Action) -> Fault {
    Fault { method: None, path, times, action }
}

pub(crate) fn answer(status: u16, body: &'static str) -> Action {
    Action::Answer(status, body, &[])
}

/// What a refusal means; none when there was no refusal.
pub(crate) fn reason<T>(result: Result<T, Error>) -> Option<Reason> {
    result.err()?.reason()
}
