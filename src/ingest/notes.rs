//! What a lane tells about lines that it meets for the first time; see [`crate::telemetry::insight`].

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::line_cache::Key;
use super::{Ingest, Mapped, Sender};
use crate::aggregate::Series;
use crate::parse::Line;
use crate::sample::{EventType, Value};
use crate::telemetry::insight::{CLIENT_PREFIX, Sighting, Verdict};
use crate::telemetry::marks::{Mark, Marks, NameSort};
use crate::telemetry::{ConflictId, EventError, Stat, Tally};

/// So many bad lines a lane tells of in a second; a flood of them costs no more.
const BAD_LINES_PER_SECOND: u32 = 32;

/// How much a lane may still tell in the second that has begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    second: u64,
    told: u32,
}

impl Allowance {
    fn take(&mut self, now_millis: u64) -> bool {
        let second = now_millis / 1000;
        if self.second != second {
            *self = Self { second, told: 0 };
        }
        self.told += 1;
        self.told <= BAD_LINES_PER_SECOND
    }
}

impl Ingest {
    /// What a mapped line is counted by besides its tally: its rule, and the name it came under.
    pub(super) fn marks(&self, line: &Line<'_>, mapped: &Mapped) -> Marks {
        let marking = &self.telemetry.marking;
        match &mapped.found {
            None => Marks {
                rule: None,
                subject: marking.name(self.generation, NameSort::Unmapped, &line.name),
            },
            Some(found) => Marks {
                rule: Mark::of_rule(found.index),
                subject: if mapped.name.is_empty() {
                    None
                } else {
                    marking.name(self.generation, NameSort::Family, &mapped.name)
                },
            },
        }
    }

    /// Takes note of a line with an error in it. Returns its marks, and whether it may be
    /// remembered: one that was new must be looked at again, to be told from garbage that never
    /// repeats.
    pub(super) fn note_errors(
        &mut self,
        parsed: &Line<'_>,
        key: Option<Key<'_>>,
        tally: &Tally,
        marks: Marks,
    ) -> (Marks, bool) {
        let refused = || {
            let is_told = |error: &EventError| tally.get(Stat::EventErrors(*error)) > 0;
            EventError::ALL.into_iter().find(is_told).map(EventError::as_str)
        };
        let reason = parsed.counts.errors.first().map(|reason| reason.as_str()).or_else(refused);
        let Some(reason) = reason else { return (marks, true) };
        if !self.allowance.take(self.now_millis) {
            return (marks, true);
        }
        let seed = FixedState::with_seed(self.config.member_seed);
        let hash = match key {
            Some(Key { name, tail }) => seed.hash_one((name, tail)),
            None => seed.hash_one(parsed.text),
        };
        let telemetry = &self.telemetry;
        // A line under a name of its own is never remembered, and counted here each time.
        let may_mark = key.is_some() && marks.subject.is_none();
        let mark = || if may_mark { telemetry.marking.bad_line() } else { None };
        let sighting = || self.sighting(parsed);
        match telemetry.insight.bad_line(reason, hash, sighting, mark) {
            Verdict::New => (marks, false),
            Verdict::Known(mark) => (Marks { subject: marks.subject.or(mark), ..marks }, true),
        }
    }

    /// Takes note of a line whose name belongs to another type.
    pub(super) fn note_conflict(&self, line: &Line<'_>, id: ConflictId) {
        self.telemetry.insight.conflict(id, || self.sighting(line));
    }

    /// Takes note of the line that made a series, if it was this one.
    pub(super) fn note_origin(&self, line: &Line<'_>, series: &Series) {
        if series.created_millis == self.now_millis {
            self.telemetry.insight.origin(series.name(), || self.sighting(line));
        }
    }

    /// Adds up what a client says of itself; whether it does. Such lines are never remembered: they
    /// are few, and each has to be looked at.
    pub(super) fn note_client(&self, line: &Line<'_>) -> bool {
        let Some(name) = line.name.strip_prefix(CLIENT_PREFIX) else { return false };
        for sample in &line.samples {
            if let (EventType::Counter, Value::Number(value)) =
                (sample.kind.event_type(), sample.value)
            {
                self.telemetry.insight.clients.take(name, value);
            }
        }
        true
    }

    fn sighting(&self, line: &Line<'_>) -> Sighting {
        let sender = match self.sender {
            Sender::Unknown => String::new(),
            Sender::Udp(address) => format!("udp {address}"),
            Sender::Tcp(address) => format!("tcp {address}"),
            Sender::Process(process) => format!("unix process {process}"),
        };
        Sighting::new(line.text, sender, self.now_millis)
    }
}
