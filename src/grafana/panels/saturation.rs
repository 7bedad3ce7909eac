//! How full servers of others are.

use super::describe;
use crate::grafana::inventory::Family;
use crate::grafana::panel::{Panel, Query, Row, View};
use crate::grafana::promql::{Scope, aggregate};

/// The row about servers, if any are watched.
#[must_use]
pub fn row(scope: &Scope, families: &[&Family]) -> Option<Row> {
    let panels: Vec<Panel> = families.iter().filter_map(|family| panel(scope, family)).collect();
    (!panels.is_empty()).then(|| Row { title: "Servers".to_owned(), is_collapsed: false, panels })
}

fn panel(scope: &Scope, family: &Family) -> Option<Panel> {
    let vector = format!("{}{{{}}}", family.name, scope.filter(family, ""));
    let key = |part: &str| format!("{}:{part}", family.name);
    let max = |title: &str| {
        let query = Query::new(aggregate("max", &["app", "source"], &vector), LEGEND);
        Panel::lines(key("max"), title, vec![query])
    };
    let share = |panel: Panel| {
        panel.unit("percentunit").thresholds("green", &[(0.8, "orange"), (1.0, "red")])
    };
    let states = |title: &str| {
        let query = Query::new(aggregate("sum", &["app", "state"], &vector), "{{app}} {{state}}");
        Panel::lines(key("states"), title, vec![query]).view(View::Stack)
    };
    let rate = |title: &str| {
        let query = Query::new(scope.rate(family, &["app", "source"], ""), LEGEND);
        Panel::lines(key("rate"), title, vec![query]).unit("cps")
    };
    let (panel, what) = match family.name.as_str() {
        "tallyd_server_busy_ratio" => (
            share(max("Busy share")).range(Some(0.0), Some(1.0)),
            "Near 1 there is nobody left for the next request.",
        ),
        "tallyd_server_backlog_fill_ratio" => (
            share(max("Accept queue: how full")),
            "The fullest socket of each application; beyond 1 connections are dropped.",
        ),
        "tallyd_server_backlog" => {
            (max("Connections waiting"), "They wait for a worker to accept them.")
        }
        "tallyd_server_drops_total" => {
            (rate("Connections dropped"), "Attempts to connect, per second; clients try again.")
        }
        "tallyd_server_workers" => (states("Workers"), "Processes by what they do."),
        "tallyd_server_threads" => (states("Threads"), "Threads of the workers by what they do."),
        "tallyd_server_requests_total" => (rate("Requests"), "Requests handled, per second."),
        "tallyd_server_up" => {
            let query = Query::new(aggregate("min", &["app", "source"], &vector), LEGEND);
            let panel = Panel::lines(key("value"), "Servers there", vec![query]).view(View::Switch);
            let panel = panel.thresholds("red", &[(1.0, "green")]);
            (panel, "Off where nobody listens or answers.")
        }
        _ => return None,
    };
    Some(panel.about(describe(family, what)))
}

const LEGEND: &str = "{{app}} ({{source}})";
