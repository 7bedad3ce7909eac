//! Data sources, queries, annotations, people and alert rules.

use serde_json::{Value, json};
use tallyd::grafana::client::{
    Annotation, AnnotationSearch, Config, Error, NewUser, Reason, Role, RuleImport, Secret,
};
use tallyd::grafana::prometheus::{AnswerError, Range};

use crate::grafana::state::{ADMIN_TOKEN, VIEWER_TOKEN};
use crate::grafana::{Era, Grafana};
use crate::{FOLDER, client, client_with, config, reason, server_admin};

#[tokio::test]
async fn data_sources_are_listed_found_and_asked_how_they_are() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    {
        let mut state = grafana.state();
        let mut source = state.main_org().sources["prom"].clone();
        source.insert("uid".to_owned(), "down".into());
        source.insert("name".to_owned(), "A/Down".into());
        source.insert("url".to_owned(), "http://127.0.0.1:9".into());
        source.insert("isDefault".to_owned(), false.into());
        state.main_org().sources.insert("down".to_owned(), source.clone());
        source.insert("uid".to_owned(), "logs".into());
        source.insert("type".to_owned(), "loki".into());
        state.main_org().sources.insert("logs".to_owned(), source);
    }
    assert_eq!(client.datasources().await.unwrap().len(), 3);
    let found = client.prometheus_datasources().await.unwrap();
    assert_eq!(found.iter().map(|one| one.uid.as_str()).collect::<Vec<_>>(), ["prom", "down"]);
    assert_eq!(found[0].scrape_interval(), Some("15s"));
    assert_eq!(client.datasource("prom").await.unwrap().unwrap().name, "Prometheus");
    assert_eq!(client.datasource("none").await.unwrap(), None);
    assert_eq!(client.datasource_named("A/Down").await.unwrap().unwrap().uid, "down");
    assert!(client.datasource_health("prom").await.unwrap().is_ok());
    let health = client.datasource_health("down").await.unwrap();
    assert!(!health.is_ok() && health.message.contains("refused"));
    assert_eq!(reason(client.datasource_health("none").await), Some(Reason::NotFound));
    let viewer = client_with(config(&grafana, VIEWER_TOKEN));
    assert_eq!(reason(viewer.datasources().await), Some(Reason::Forbidden));
}

#[tokio::test]
async fn queries_go_through_the_data_source() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client_with(Config { retries: 0, ..config(&grafana, ADMIN_TOKEN) });
    let found = client.query("prom", "rate(reqs_total[5m])", Some(9.5)).await.unwrap();
    let point = found.series[0].points[0];
    assert_eq!((point.time, point.value), (9.5, 1.0));
    let range = Range { start: 0.0, end: 60.0, step: 15.0 };
    let found = client.query_range("prom", "up", range).await.unwrap();
    assert_eq!(found.series[0].points.len(), 5);
    let long = format!("sum({})", "reqs_total + ".repeat(500) + "1");
    assert_eq!(client.query_range("prom", &long, range).await.unwrap(), found);
    assert_eq!(grafana.writes().len(), 1, "a long query is in the body");

    let Err(Error::Query(AnswerError::Refused { kind, message })) =
        client.query("prom", "sum(", None).await
    else {
        panic!("Prometheus' complaint is lost");
    };
    assert_eq!(kind, "bad_data");
    assert!(message.contains("unclosed"), "{message}");
    assert_eq!(reason(client.query("none", "up", None).await), Some(Reason::NotFound));
}

#[tokio::test]
async fn annotations_are_written_found_and_deleted() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    let note = Annotation {
        text: "reload",
        tags: &["tallyd", "reload"],
        time_ms: Some(1_700_000_000_000),
        end_ms: Some(1_700_000_060_000),
        dashboard_uid: Some("one"),
        panel_id: Some(3),
    };
    let id = client.annotate(&note).await.unwrap();
    let search = AnnotationSearch {
        tags: &["reload"],
        from_ms: Some(1_700_000_000_000),
        to_ms: Some(1_700_000_000_001),
        dashboard_uid: Some("one"),
        limit: Some(5),
    };
    let found = client.annotations(&search).await.unwrap();
    assert_eq!((found.len(), found[0].id, found[0].end_ms), (1, id, 1_700_000_060_000));
    let other = AnnotationSearch { tags: &["other"], ..search };
    assert_eq!(client.annotations(&other).await.unwrap(), []);
    assert!(client.delete_annotation(id).await.unwrap());
    assert!(!client.delete_annotation(id).await.unwrap());
    let empty = Annotation::default();
    assert_eq!(reason(client.annotate(&empty).await), Some(Reason::Invalid));
}

#[tokio::test]
async fn organisations_users_and_teams_are_made_by_whoever_may() {
    let grafana = Grafana::start(Era::Thirteen);
    let admin = server_admin(&grafana);
    let org = admin.create_org("Team A").await.unwrap();
    assert_eq!(reason(admin.create_org("Team A").await), Some(Reason::Exists));
    assert_eq!(admin.org_named("Team A").await.unwrap().map(|org| org.id), Some(org));
    assert_eq!(admin.org_named("Team B").await.unwrap(), None);
    assert_eq!(admin.orgs().await.unwrap().len(), 2);

    let password = Secret::new("secret1");
    let email = Some("bob@example.org");
    let bob = NewUser { login: "bob", email, name: None, password: &password, org_id: None };
    let id = admin.create_user(&bob).await.unwrap();
    assert_eq!(reason(admin.create_user(&bob).await), Some(Reason::Exists));
    let short = Secret::new("1");
    let eve = NewUser { login: "eve", email: None, password: &short, ..bob.clone() };
    assert_eq!(reason(admin.create_user(&eve).await), Some(Reason::Invalid));
    assert_eq!(admin.user("bob@example.org").await.unwrap().map(|user| user.id), Some(id));
    assert_eq!(admin.user("eve").await.unwrap(), None);
    assert_eq!(admin.users().await.unwrap().len(), 2);
    admin.set_password(id, &Secret::new("secret2")).await.unwrap();
    assert_eq!(grafana.state().users[&id].password, "secret2");
    admin.add_org_user(org, "bob", Role::Editor).await.unwrap();
    assert_eq!(reason(admin.add_org_user(org, "bob", Role::Editor).await), Some(Reason::Exists));
    assert_eq!(reason(admin.add_org_user(org, "eve", Role::Editor).await), Some(Reason::NotFound));

    let team = admin.create_team("ops").await.unwrap();
    assert_eq!(reason(admin.create_team("ops").await), Some(Reason::Exists));
    admin.add_team_member(team, id).await.unwrap();
    assert_eq!(reason(admin.add_team_member(team, id).await), Some(Reason::Exists));
    assert_eq!(admin.team_members(team).await.unwrap()[0].login, "bob");
    assert_eq!(reason(admin.team_members(99).await), Some(Reason::NotFound));
    assert_eq!(admin.teams(None).await.unwrap()[0].member_count, 1);
    assert_eq!(admin.teams(Some("none")).await.unwrap(), []);

    let error = client(&grafana).create_org("Mine").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Forbidden));
}

#[tokio::test]
async fn alert_rules_are_replaced_by_the_group() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    client.ensure_folder(FOLDER, None).await.unwrap();
    let rule = json!({
        "uid": "r1", "title": "R", "ruleGroup": "g", "folderUID": "statsd", "orgID": 1,
        "condition": "A", "for": "5m", "noDataState": "NoData", "execErrState": "Error",
        "data": [],
    });
    let group =
        |rules: Value| json!({"title": "g", "folderUid": "statsd", "interval": 60, "rules": rules});
    assert_eq!(client.rule_group("statsd", "g").await.unwrap(), None);
    client.put_rule_group("statsd", "g", &group(json!([rule]))).await.unwrap();
    assert_eq!(client.alert_rules().await.unwrap()[0].uid, "r1");
    assert_eq!(grafana.state().main_org().rules["r1"]["provenance"], "", "stays editable");
    let stored = client.rule_group("statsd", "g").await.unwrap().unwrap();
    assert_eq!(stored["rules"][0]["title"], "R");
    let wrong = client.put_rule_group("statsd", "g", &group(json!([{"title": "x"}]))).await;
    assert_eq!(reason(wrong), Some(Reason::Invalid));
    assert_eq!(reason(client.delete_folder("statsd").await), Some(Reason::Invalid));
    assert!(client.delete_rule_group("statsd", "g").await.unwrap());
    assert!(!client.delete_rule_group("statsd", "g").await.unwrap());
}

#[tokio::test]
async fn rules_of_prometheus_are_imported() {
    let grafana = Grafana::start(Era::Thirteen);
    let client = client(&grafana);
    let group = json!({"name": "g", "rules": [{"alert": "Down", "expr": "up == 0"}]});
    let import = RuleImport {
        namespace: "StatsD rules",
        parent_uid: None,
        datasource_uid: "prom",
        target_uid: Some("prom"),
        group: &group,
    };
    client.import_rules(&import).await.unwrap();
    client.import_rules(&import).await.unwrap();
    let stored = client.imported_rules("StatsD rules").await.unwrap().unwrap();
    assert_eq!(stored["StatsD rules"], json!([group]));
    assert_eq!(client.imported_rules("none").await.unwrap(), None);
    assert!(client.delete_imported("StatsD rules", "g").await.unwrap());
    assert!(!client.delete_imported("StatsD rules", "g").await.unwrap());
    let unknown = RuleImport { datasource_uid: "none", ..import };
    assert_eq!(reason(client.import_rules(&unknown).await), Some(Reason::NotFound));
}
