//! Alerts on the workers of pre-fork servers; silent where none are looked at.

use super::{Course, LONG_SECONDS, Row, Told};
use crate::rules::expression::duration;
use crate::rules::thresholds::AlertKind;

const ALIVE: &str = "tallyd_workers";
const GONE: &str = "tallyd_workers_gone_total";
const SKEW: &str = "tallyd_worker_skew_ratio";
const ROLE: Option<Told> = Some(("role", "web"));

/// Whether there are any, whether they stay, and whether they are alike.
pub(super) fn rows(window: &str) -> Vec<Row> {
    let alive = format!("sum by (job, instance, role) ({ALIVE})");
    let long = duration(LONG_SECONDS);
    vec![
        Row {
            expr: format!(
                "{alive} == 0 and sum by (job, instance, role) (max_over_time({ALIVE}[{long}])) > 0"
            ),
            description: "It had some within the last hour. Requests wait for a worker until they are \
                          given up.",
            fires: vec![(ALIVE, ROLE, Course::Falls)],
            rests: vec![(ALIVE, ROLE, Course::Is(1.0))],
            label: ROLE,
            ..Row::new(
                AlertKind::NoWorkers,
                "TallydNoWorkers",
                "{{ $labels.role }} has no worker any more ({{ $labels.instance }})",
            )
        },
        Row {
            expr: format!("sum by (job, instance, role) (increase({GONE}[{window}])) / {alive}"),
            description: "Workers end soon after they have begun: they crash, are killed for lack of \
                          memory or by a timeout, or --max-requests is low for the load.",
            fires: vec![(GONE, ROLE, Course::Rises(600_000)), (ALIVE, ROLE, Course::Is(1.0))],
            rests: vec![(GONE, ROLE, Course::Is(60.0)), (ALIVE, ROLE, Course::Is(1.0))],
            label: ROLE,
            ..Row::new(
                AlertKind::WorkerChurn,
                "TallydWorkerChurn",
                "Every worker of {{ $labels.role }} was replaced {{ $value | humanize }} times in a row \
                 ({{ $labels.instance }})",
            )
        },
        Row {
            expr: format!("max by (job, instance, role) ({SKEW})"),
            description: "All workers get the same mix of requests, so one that takes longer has a \
                          problem of its own; the label `metric` of tallyd_worker_skew_ratio tells in \
                          what it shows.",
            fires: vec![(SKEW, ROLE, Course::Is(1e6))],
            rests: vec![(SKEW, ROLE, Course::Is(1.0))],
            label: ROLE,
            ..Row::new(
                AlertKind::WorkerSkew,
                "TallydWorkerSkew",
                "A worker of {{ $labels.role }} is {{ $value | humanize }} times as slow as the others \
                 ({{ $labels.instance }})",
            )
        },
    ]
}
