//! What limits let in and what they do not.

use super::{OwnFamily, Sources, counters, gauge, label};
use crate::telemetry::{Closing, Stat, Totals};

pub(super) fn families(sources: &Sources, totals: &Totals) -> Vec<OwnFamily> {
    let limited = totals.limited().map(|(limited, count)| {
        let labels = [
            label("action", if limited.overflows { "overflow" } else { "drop" }),
            label("label", &limited.label),
            label("metric", &limited.metric),
            label("reason", limited.reason.as_str()),
        ];
        (labels.join(","), count)
    });
    let closed = Closing::ALL
        .map(|closing| (label("reason", closing.as_str()), totals.get(Stat::Closed(closing))));
    let ended = Closing::ALL.iter().filter(|closing| **closing != Closing::Limit);
    let ended: u64 = ended.map(|closing| totals.get(Stat::Closed(*closing))).sum();
    let open = totals.get(Stat::Connections).saturating_sub(ended);
    let mut families = vec![
        counters(
            "tallyd_limited_samples_total",
            "Samples that a limit kept from a series of their own, by metric, limit, the label to blame and what was done with them.",
            limited,
        ),
        gauge("tallyd_connections", "Connections of stream sockets that are open.", open as f64),
        counters(
            "tallyd_connections_closed_total",
            "Connections of stream sockets that came to an end, by reason.",
            closed,
        ),
    ];
    if let Some(most) = sources.registry.series_limit() {
        families.push(gauge(
            "tallyd_series_limit",
            "How many series may be kept, by --limits.series.",
            most as f64,
        ));
    }
    families
}
