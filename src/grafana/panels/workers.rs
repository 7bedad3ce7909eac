//! The workers of pre-fork servers.

use crate::grafana::panel::{Panel, Query, Row};
use crate::grafana::promql::TARGETS;

/// The row about them, for servers that look at some.
#[must_use]
pub fn row() -> Row {
    let panels = turnover().into_iter().chain(usage()).collect();
    Row { title: "Workers".to_owned(), is_collapsed: false, panels }
}

/// Who lives, who came and went, and whether they are alike.
fn turnover() -> Vec<Panel> {
    vec![
        Panel::lines("workers:alive", "Workers", vec![of_roles("sum", "tallyd_workers", "")])
            .range(Some(0.0), None)
            .about("Workers that live, by role."),
        Panel::lines(
            "workers:turnover",
            "Workers that came and went",
            vec![
                of_rates("increase", "tallyd_workers_started_total", ": came"),
                of_rates("increase", "tallyd_workers_gone_total", ": went"),
            ],
        )
        .about(
            "Workers that began and ended within each step: deployments, `--max-requests` and \
             crashes.",
        ),
        Panel::lines(
            "workers:skew",
            "Slowest worker by the middle one",
            vec![Query::new(
                format!("max by (role, metric) (tallyd_worker_skew_ratio{{{TARGETS}}})"),
                "{{role}}: {{metric}}",
            )],
        )
        .about(
            "How many times as long the slowest worker takes as the one in the middle, over the last \
             minute; 1 where all are alike.",
        ),
    ]
}

/// What they use.
fn usage() -> Vec<Panel> {
    vec![
        Panel::lines(
            "workers:cpu",
            "CPU of workers",
            vec![of_rates("rate", "tallyd_workers_cpu_seconds_total", "")],
        )
        .about("Processors that are busy with all workers of a role."),
        Panel::lines("workers:cpu:spread", "CPU of one worker", spread("cpu", "ratio"))
            .about("Processors that the busiest and the least busy worker keep busy."),
        Panel::lines(
            "workers:memory",
            "Memory of workers",
            vec![of_roles("sum", "tallyd_workers_resident_memory_bytes", "")],
        )
        .unit("bytes")
        .about("Resident memory of all workers; what they share counts for each of them."),
        Panel::lines(
            "workers:memory:spread",
            "Memory of one worker",
            spread("resident_memory", "bytes"),
        )
        .unit("bytes")
        .about("Resident memory of the largest and the smallest worker."),
        Panel::lines(
            "workers:files",
            "Open files of workers",
            vec![
                of_roles("sum", "tallyd_workers_open_files", ": all"),
                of_roles("max", "tallyd_worker_open_files_max", ": most"),
            ],
        )
        .about("File descriptors of all workers, and of the one that has most."),
    ]
}

/// The worker with most and the one with least.
fn spread(what: &str, unit: &str) -> Vec<Query> {
    ["max", "min"]
        .map(|end| {
            of_roles(end, &format!("tallyd_worker_{what}_{end}_{unit}"), &format!(": {end}"))
        })
        .to_vec()
}

fn of_roles(aggregation: &str, name: &str, legend: &str) -> Query {
    let promql = format!("{aggregation} by (role) ({name}{{{TARGETS}}})");
    Query::new(promql, format!("{{{{role}}}}{legend}"))
}

fn of_rates(function: &str, name: &str, legend: &str) -> Query {
    let promql = format!("sum by (role) ({function}({name}{{{TARGETS}}}[$__rate_interval]))");
    Query::new(promql, format!("{{{{role}}}}{legend}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::own::NAMES;

    #[test]
    fn every_query_asks_for_a_metric_of_ours() {
        for query in row().panels.iter().flat_map(|panel| &panel.queries) {
            let names = query.promql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names: Vec<_> = names.filter(|name| name.starts_with("tallyd_")).collect();
            assert!(!names.is_empty(), "{}", query.promql);
            assert!(names.iter().all(|name| NAMES.contains(name)), "{}", query.promql);
        }
    }
}
