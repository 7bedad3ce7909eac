//! A walk over all that the client can ask for, so that each request can be held against Grafana's
//! own description of its API.
//!
//! `TALLYD_TEST_GRAFANA_URL` names the server to walk over: the stand-in behind a validator, or a
//! Grafana that may be written to, with `TALLYD_TEST_GRAFANA_TOKEN` for it. Without, it is the
//! stand-in alone. Everything that the walk leaves behind is named `tallyd-walk`.

#[path = "support/grafana.rs"]
#[expect(dead_code, reason = "nothing fails here")]
mod grafana;

use std::env;

use serde_json::{Value, json};
use tallyd::grafana::client::{
    Annotation, AnnotationSearch, Api, ApiChoice, Client, Config, Credentials, FolderPart, NewUser,
    Permission, PermissionLevel, Reason, Role, RuleImport, Save, Search, Secret,
};
use tallyd::grafana::prometheus::Range;

use crate::grafana::state::ADMIN_TOKEN;
use crate::grafana::{Era, Grafana};

const NAME: &str = "tallyd-walk";
const DASHBOARD: &str = "tallyd-walk-dashboard";
const FOLDERS: [FolderPart<'_>; 2] = [
    FolderPart { uid: NAME, title: NAME },
    FolderPart { uid: "tallyd-walk-inner", title: "tallyd-walk inner" },
];

/// The server to walk over; it may be one that ends with this.
struct Server {
    url: String,
    token: String,
    _running: Option<Grafana>,
}

impl Server {
    fn find() -> Self {
        let token = env::var("TALLYD_TEST_GRAFANA_TOKEN").unwrap_or_else(|_| ADMIN_TOKEN.into());
        if let Ok(url) = env::var("TALLYD_TEST_GRAFANA_URL") {
            return Self { url, token, _running: None };
        }
        let running = Grafana::start(Era::Thirteen);
        Self { url: running.url.clone(), token, _running: Some(running) }
    }

    #[expect(clippy::expect_used, reason = "a helper of tests")]
    fn client(&self, credentials: Credentials, api: ApiChoice) -> Client {
        let config = Config { credentials, api, retries: 0, ..Config::new(&self.url) };
        Client::new(config).expect("the settings are good")
    }

    fn by_token(&self, api: ApiChoice) -> Client {
        self.client(Credentials::Token(Secret::new(&self.token)), api)
    }
}

fn dashboard(description: &str) -> Value {
    json!({
        "id": null, "uid": DASHBOARD, "title": DASHBOARD, "description": description,
        "tags": [NAME], "schemaVersion": 42, "panels": [],
    })
}

#[tokio::test]
async fn dashboards_and_folders_by_either_api_stay_within_the_contract() {
    let server = Server::find();
    for api in [ApiChoice::Classic, ApiChoice::Kubernetes, ApiChoice::Auto] {
        let client = server.by_token(api);
        assert_eq!(client.api().await.unwrap() == Api::Classic, api == ApiChoice::Classic);
        let folder = client.ensure_folder_path(&FOLDERS).await.unwrap();
        assert_eq!(client.folder(&folder.uid).await.unwrap().unwrap().parent_uid, NAME);
        assert_eq!(client.folder("tallyd-none").await.unwrap(), None);
        let renamed = FolderPart { title: "tallyd-walk renamed", ..FOLDERS[1] };
        client.ensure_folder(renamed, Some(NAME)).await.unwrap();
        assert!(client.folders(None).await.unwrap().iter().any(|folder| folder.uid == NAME));
        assert_eq!(client.folders(Some(NAME)).await.unwrap().len(), 1);

        let states = ["first", "second", "third"].map(dashboard);
        let (folder_uid, message) = (NAME, "a walk");
        let save =
            Save { dashboard: &states[0], folder_uid, message, expected: None, overwrite: false };
        let saved = client.save_dashboard(&save).await.unwrap();
        let again = client.save_dashboard(&save).await.unwrap_err();
        assert_eq!(again.reason(), Some(Reason::Exists));
        let expected = Some(saved.revision);
        let update = Save { dashboard: &states[1], expected, ..save.clone() };
        client.save_dashboard(&update).await.unwrap();
        let over = Save { dashboard: &states[2], overwrite: true, ..save };
        client.save_dashboard(&over).await.unwrap();
        let stored = client.dashboard(DASHBOARD).await.unwrap().unwrap();
        assert_eq!((stored.folder_uid.as_str(), stored.revision.version), (NAME, 3));
        assert_eq!(client.dashboard("tallyd-none").await.unwrap(), None);
        let search = Search { tags: &[NAME], folder_uid: Some(NAME), query: Some("tallyd") };
        assert_eq!(client.search(&search).await.unwrap().len(), 1);
        assert_eq!(client.versions(DASHBOARD, 2).await.unwrap()[0].version, 3);

        let may_look = Permission {
            role: Some("Viewer".to_owned()),
            team_id: None,
            user_id: None,
            permission: PermissionLevel::View,
            inherited: false,
        };
        client.set_dashboard_permissions(DASHBOARD, &[may_look]).await.unwrap();
        assert!(!client.dashboard_permissions(DASHBOARD).await.unwrap().is_empty());
        assert!(client.delete_dashboard(DASHBOARD).await.unwrap());
        assert!(!client.delete_dashboard(DASHBOARD).await.unwrap());
        assert!(client.delete_folder(NAME).await.unwrap());
    }
}

#[tokio::test]
async fn data_sources_and_annotations_stay_within_the_contract() {
    let server = Server::find();
    let client = server.by_token(ApiChoice::Auto);
    assert!(client.health().await.unwrap().version.is_some());
    assert_eq!(client.org().await.unwrap().id, 1);
    let sources = client.prometheus_datasources().await.unwrap();
    let source = &sources[0];
    assert_eq!(
        client.datasource(&source.uid).await.unwrap().as_ref().map(|s| &s.uid),
        Some(&source.uid)
    );
    assert!(client.datasource_named(&source.name).await.unwrap().is_some());
    assert_eq!(client.datasource("tallyd-none").await.unwrap(), None);
    assert!(client.datasource_health(&source.uid).await.unwrap().is_ok());
    client.query(&source.uid, "vector(1)", Some(1_700_000_000.0)).await.unwrap();
    let range = Range { start: 1_700_000_000.0, end: 1_700_000_060.0, step: 15.0 };
    client.query_range(&source.uid, "vector(1)", range).await.unwrap();

    let time_ms = Some(1_700_000_000_000);
    let note = Annotation {
        text: NAME,
        tags: &[NAME],
        time_ms,
        end_ms: Some(1_700_000_060_000),
        dashboard_uid: None,
        panel_id: None,
    };
    let id = client.annotate(&note).await.unwrap();
    let search = AnnotationSearch { tags: &[NAME], limit: Some(5), ..Default::default() };
    assert_eq!(client.annotations(&search).await.unwrap()[0].id, id);
    assert!(client.delete_annotation(id).await.unwrap());
}

#[tokio::test]
async fn organisations_users_and_teams_stay_within_the_contract() {
    let server = Server::find();
    let credentials =
        Credentials::Basic { user: "admin".to_owned(), password: Secret::new("admin") };
    let admin = server.client(credentials, ApiChoice::Auto);
    let org = match admin.org_named(NAME).await.unwrap() {
        Some(org) => org.id,
        None => admin.create_org(NAME).await.unwrap(),
    };
    assert!(admin.orgs().await.unwrap().iter().any(|one| one.id == org));
    let password = Secret::new("tallyd-walk-1");
    let email = Some("tallyd-walk@localhost");
    let new =
        NewUser { login: NAME, email, name: Some(NAME), password: &password, org_id: Some(1) };
    let user = match admin.user(NAME).await.unwrap() {
        Some(user) => user.id,
        None => admin.create_user(&new).await.unwrap(),
    };
    assert_eq!(admin.create_user(&new).await.unwrap_err().reason(), Some(Reason::Exists));
    assert!(admin.users().await.unwrap().iter().any(|one| one.id == user));
    admin.set_password(user, &Secret::new("tallyd-walk-2")).await.unwrap();
    admin.add_org_user(org, NAME, Role::Editor).await.unwrap();

    let team = admin.create_team(NAME).await.unwrap();
    assert_eq!(admin.teams(Some(NAME)).await.unwrap()[0].id, team);
    admin.add_team_member(team, user).await.unwrap();
    assert_eq!(admin.team_members(team).await.unwrap()[0].user_id, user);
}

#[tokio::test]
async fn alert_rules_stay_within_the_contract() {
    let server = Server::find();
    let client = server.by_token(ApiChoice::Auto);
    let part = FolderPart { uid: "tallyd-walk-rules", title: "tallyd-walk rules" };
    client.ensure_folder(part, None).await.unwrap();
    let rule = json!({
        "uid": NAME, "title": NAME, "ruleGroup": NAME, "folderUID": part.uid, "orgID": 1,
        "condition": "B", "for": "5m", "noDataState": "OK", "execErrState": "Error",
        "labels": {"severity": "page"}, "annotations": {"summary": "walking"}, "isPaused": true,
        "data": [{
            "refId": "A", "datasourceUid": "prom", "relativeTimeRange": {"from": 600, "to": 0},
            "model": {"refId": "A", "expr": "up", "instant": true},
        }, {
            "refId": "B", "datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0},
            "model": {"refId": "B", "type": "math", "expression": "$A < 1"},
        }],
    });
    let group = json!({"title": NAME, "folderUid": part.uid, "interval": 60, "rules": [rule]});
    assert_eq!(client.rule_group(part.uid, NAME).await.unwrap(), None);
    client.put_rule_group(part.uid, NAME, &group).await.unwrap();
    assert!(client.rule_group(part.uid, NAME).await.unwrap().is_some());
    assert!(client.alert_rules().await.unwrap().iter().any(|rule| rule.uid == NAME));
    assert!(client.delete_rule_group(part.uid, NAME).await.unwrap());

    let group = json!({
        "name": NAME, "interval": "1m",
        "rules": [{"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "page"}}],
    });
    let import = RuleImport {
        namespace: NAME,
        parent_uid: Some(part.uid),
        datasource_uid: "prom",
        target_uid: Some("prom"),
        group: &group,
    };
    client.import_rules(&import).await.unwrap();
    assert!(client.imported_rules(NAME).await.unwrap().is_some());
    assert!(client.delete_imported(NAME, NAME).await.unwrap());
    assert!(client.delete_folder(part.uid).await.unwrap());
}
