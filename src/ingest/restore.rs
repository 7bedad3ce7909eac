//! What the lanes of an earlier process have counted, taken over before the first line.

use super::Ingest;
use crate::aggregate::saved::{SavedFamily, SavedSeries};
use crate::aggregate::{Refusal, SeriesSpec};
use crate::sample::EventType;
use crate::telemetry::{Limited, Stat};

impl Ingest {
    /// Takes a series over; the first lane may, before any lane has read a line.
    ///
    /// # Errors
    /// [`Refusal`] when the name belongs to something else by now.
    pub fn restore_series(
        &mut self,
        family: &SavedFamily,
        spec: &SeriesSpec,
        saved: &SavedSeries,
    ) -> Result<(), Refusal> {
        self.registry.restore(&mut self.cells, family, spec, saved)
    }

    /// Takes a count of conflicts over.
    pub fn restore_conflict(&mut self, event: EventType, name: &str, n: u64) {
        let conflict = self.telemetry.conflict(event, name);
        self.count(Stat::Conflict(conflict), n);
    }

    /// Takes a count of limited samples over.
    pub fn restore_limited(&mut self, limited: &Limited, n: u64) {
        let limited = self.telemetry.limited(limited, true);
        self.count(Stat::Limited(limited), n);
    }
}
