//! How the keeping of the state and hand-overs go: `tallyd_state_*` and `tallyd_handovers_total`.

use std::sync::atomic::Ordering;

use super::{OwnFamily, counter, counters, gauge, label};
use crate::telemetry::StateCounters;

/// The families that there is something to tell of.
pub(super) fn families(counts: &StateCounters) -> Vec<OwnFamily> {
    let relaxed = Ordering::Relaxed;
    let outcome = |outcome: &str, count| (label("outcome", outcome), count);
    let mut all = vec![counters(
        "tallyd_handovers_total",
        "Attempts to hand over to a successor, by whether it took over.",
        [
            outcome("failure", counts.failed_handovers.load(relaxed)),
            outcome("success", counts.handovers.load(relaxed)),
        ],
    )];
    if !counts.is_kept.load(relaxed) {
        return all;
    }
    all.push(counter(
        "tallyd_state_save_failures_total",
        "Times that the state could not be saved; the file keeps the last one that could.",
        counts.failed_saves.load(relaxed),
    ));
    all.push(gauge(
        "tallyd_state_restored_series",
        "Series that this process has taken over from the one before it.",
        counts.restored_series.load(relaxed) as f64,
    ));
    let last_save = counts.last_save_unix_millis.load(relaxed);
    if last_save > 0 {
        all.push(gauge(
            "tallyd_state_last_save_timestamp_seconds",
            "When the state was last saved, in seconds since 1970.",
            last_save as f64 / 1000.0,
        ));
    }
    all
}
