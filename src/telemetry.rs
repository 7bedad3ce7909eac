//! Our own metrics: what is counted, and how lanes count without sharing anything.
//!
//! All that a line adds to the self-metrics is a [`Tally`]. Equal tallies of lines that may come
//! again are interned as a *recipe*, so a lane counts such a line by one addition; the scrape
//! multiplies out. Everything else is added to the lane's own counters directly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use indexmap::IndexSet;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::column::{Cells, Column, ColumnReader};
use crate::parse::Reason;
use crate::sample::EventType;

pub mod log;
pub mod insight;
pub mod limited;
pub mod marks;

use insight::Insight;
pub use limited::{LimitReason, Limited, LimitedId};
use marks::{Marking, Marks};

/// Why an event was refused after its line was understood: the `reason` of
/// `statsd_exporter_events_error_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventError {
    /// A decrement of a counter that may only rise.
    IllegalNegativeCounter,
    /// No name is left: the rule's template, or a line of nothing but tags, gave an empty one.
    EmptyMetricName,
    /// NaN or infinite, which would spoil the series for ever (extended mode only).
    NonFiniteValue,
}

impl EventError {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 3] =
        [Self::IllegalNegativeCounter, Self::EmptyMetricName, Self::NonFiniteValue];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IllegalNegativeCounter => "illegal_negative_counter",
            Self::EmptyMetricName => "empty_metric_name",
            Self::NonFiniteValue => "non_finite_value",
        }
    }
}

/// The generation of the rules to begin with. What was restored is older.
pub const FIRST_GENERATION: u64 = 1;

/// What became of a line: the `outcome` of `tallyd_lines_total`. Every line has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineOutcome {
    /// At least one of its samples reached a series.
    Accepted,
    /// None did, and one of them was in error.
    Rejected,
    /// A rule dropped it.
    Dropped,
    /// It would have gone over a limit.
    Limited,
    /// Its name belongs to a family of another type.
    Conflict,
    /// Nothing stood between two newlines.
    Empty,
    /// An event or a service check.
    Event,
}

impl LineOutcome {
    /// Every outcome, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Rejected,
        Self::Dropped,
        Self::Limited,
        Self::Conflict,
        Self::Empty,
        Self::Event,
    ];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
            Self::Limited => "limited",
            Self::Conflict => "conflict",
            Self::Empty => "empty",
            Self::Event => "event",
        }
    }
}

/// Why a connection came to its end: the `reason` of `tallyd_connections_closed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closing {
    /// The peer closed it.
    Peer,
    /// It failed, or the peer reset it.
    Error,
    /// A line was too long.
    LongLine,
    /// Nothing came for too long.
    Idle,
    /// There were too many already.
    Limit,
    /// The program ended.
    Shutdown,
}

impl Closing {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Peer, Self::Error, Self::LongLine, Self::Idle, Self::Limit, Self::Shutdown];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Error => "error",
            Self::LongLine => "long_line",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Everything that a lane counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// `statsd_exporter_lines_total`
    Lines,
    /// `statsd_exporter_udp_packets_total`
    UdpDatagrams,
    /// `statsd_exporter_unixgram_packets_total`
    UnixgramDatagrams,
    /// `tallyd_truncated_datagrams_total`
    TruncatedDatagrams,
    /// `statsd_exporter_tcp_connections_total`
    TcpConnections,
    /// `tallyd_unixstream_connections_total`
    UnixstreamConnections,
    /// `statsd_exporter_tcp_connection_errors_total`, of Unix streams as well.
    TcpConnectionErrors,
    /// `statsd_exporter_tcp_too_long_lines_total`, of Unix streams as well.
    TcpTooLongLines,
    /// `statsd_exporter_relay_packets_total{target}`
    RelayPackets,
    /// `statsd_exporter_relay_long_lines_total{target}`
    RelayLongLines,
    /// `statsd_exporter_relay_lines_relayed_total{target}`
    RelayLines,
    /// `tallyd_relay_dropped_lines_total{target}`: lines in datagrams the kernel would not send.
    RelayDroppedLines,
    /// `statsd_exporter_samples_total`
    Samples,
    /// `statsd_exporter_tags_total`
    Tags,
    /// `statsd_exporter_tag_errors_total`
    TagErrors,
    /// `statsd_exporter_events_unmapped_total`
    EventsUnmapped,
    /// `statsd_exporter_events_actions_total{action="map"}`
    EventsMapped,
    /// `statsd_exporter_events_actions_total{action="drop"}`
    EventsDropped,
    /// `statsd_metric_mapper_cache_gets_total`
    MapperCacheGets,
    /// `statsd_metric_mapper_cache_hits_total`
    MapperCacheHits,
    /// `tallyd_line_cache_hits_total`
    LineCacheHits,
    /// Connections that were not turned away; less those closed they are `tallyd_connections`.
    Connections,
    /// `statsd_exporter_event_queue_flushed_total`: batches handed on, where the reference counts
    /// the flushes of its queue.
    Batches,
    /// `tallyd_sender_overflow_total`
    SenderOverflow,
    /// `statsd_exporter_sample_errors_total{reason}`
    SampleErrors(Reason),
    /// `statsd_exporter_events_total{type}`
    Events(EventType),
    /// `statsd_exporter_events_error_total{reason}`
    EventErrors(EventError),
    /// `tallyd_lines_total{outcome}`
    Outcome(LineOutcome),
    /// `tallyd_connections_closed_total{reason}`
    Closed(Closing),
    /// `tallyd_limited_samples_total{action,label,metric,reason}`, by [`Telemetry::limited`].
    Limited(LimitedId),
    /// `statsd_exporter_events_conflict_total{type,metric_name}`, by [`Telemetry::conflict`].
    Conflict(ConflictId),
}

/// A pair of type and name that was refused once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConflictId(u32);

impl ConflictId {
    /// Its number; conflicts are numbered as they come.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it is among the first few thousand, which may have recipes: a client that makes up
    /// names must not use up those of the others.
    #[must_use]
    pub fn may_have_a_recipe(self) -> bool {
        self.0 < 1 << 12
    }
}

// Where the counters with labels begin, one run after the other.
const SAMPLE_ERRORS: u32 = 24;
const EVENTS: u32 = SAMPLE_ERRORS + Reason::IllegalEvent as u32 + 1;
const EVENT_ERRORS: u32 = EVENTS + EventType::Set as u32 + 1;
const OUTCOMES: u32 = EVENT_ERRORS + EventError::NonFiniteValue as u32 + 1;
const CLOSED: u32 = OUTCOMES + LineOutcome::Event as u32 + 1;
const LIMITED: u32 = CLOSED + Closing::Shutdown as u32 + 1;
const CONFLICTS: u32 = LIMITED + MAX_LIMITED;

/// How much that was limited is told apart.
const MAX_LIMITED: u32 = 1000;

impl Stat {
    /// Where it stands among a lane's counters.
    fn slot(self) -> u32 {
        match self {
            Self::Lines => 0,
            Self::UdpDatagrams => 1,
            Self::UnixgramDatagrams => 2,
            Self::TruncatedDatagrams => 3,
            Self::TcpConnections => 4,
            Self::TcpConnectionErrors => 5,
            Self::TcpTooLongLines => 6,
            Self::RelayPackets => 7,
            Self::RelayLongLines => 8,
            Self::RelayLines => 9,
            Self::RelayDroppedLines => 10,
            Self::Samples => 11,
            Self::Tags => 12,
            Self::TagErrors => 13,
            Self::EventsUnmapped => 14,
            Self::EventsMapped => 15,
            Self::EventsDropped => 16,
            Self::MapperCacheGets => 17,
            Self::MapperCacheHits => 18,
            Self::LineCacheHits => 19,
            Self::Batches => 20,
            Self::SenderOverflow => 21,
            Self::Connections => 22,
            Self::UnixstreamConnections => 23,
            Self::SampleErrors(reason) => SAMPLE_ERRORS + reason as u32,
            Self::Events(event) => EVENTS + event as u32,
            Self::EventErrors(reason) => EVENT_ERRORS + reason as u32,
            Self::Outcome(outcome) => OUTCOMES + outcome as u32,
            Self::Closed(closing) => CLOSED + closing as u32,
            Self::Limited(LimitedId(id)) => LIMITED + id,
            Self::Conflict(ConflictId(id)) => CONFLICTS + id,
        }
    }
}

impl Stat {
    /// Everything that is counted apart from conflicts.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Lines,
            Self::UdpDatagrams,
            Self::UnixgramDatagrams,
            Self::TruncatedDatagrams,
            Self::TcpConnections,
            Self::TcpConnectionErrors,
            Self::TcpTooLongLines,
            Self::RelayPackets,
            Self::RelayLongLines,
            Self::RelayLines,
            Self::RelayDroppedLines,
            Self::Samples,
            Self::Tags,
            Self::TagErrors,
            Self::EventsUnmapped,
            Self::EventsMapped,
            Self::EventsDropped,
            Self::MapperCacheGets,
            Self::MapperCacheHits,
            Self::LineCacheHits,
            Self::Batches,
            Self::SenderOverflow,
            Self::Connections,
            Self::UnixstreamConnections,
        ];
        let plain = plain.into_iter();
        let events = EventType::ALL.into_iter().map(Self::Events);
        let outcomes = LineOutcome::ALL.into_iter().map(Self::Outcome);
        plain
            .chain(Reason::ALL.into_iter().map(Self::SampleErrors))
            .chain(events)
            .chain(EventError::ALL.into_iter().map(Self::EventErrors))
            .chain(outcomes)
            .chain(Closing::ALL.into_iter().map(Self::Closed))
    }

    /// A name by which a saved state knows the counter.
    #[must_use]
    pub fn saved_name(self) -> String {
        format!("{self:?}")
    }
}

/// What one line adds to the self-metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally(SmallVec<[(u32, u64); 8]>);

impl Tally {
    /// Adds `n` to a counter.
    pub fn add(&mut self, stat: Stat, n: u64) {
        if n == 0 {
            return;
        }
        let slot = stat.slot();
        match self.0.iter_mut().find(|entry| entry.0 == slot) {
            Some(entry) => entry.1 = entry.1.saturating_add(n),
            None => self.0.push((slot, n)),
        }
    }

    /// How much it adds to a counter.
    #[must_use]
    pub fn get(&self, stat: Stat) -> u64 {
        let slot = stat.slot();
        self.0.iter().find(|entry| entry.0 == slot).map_or(0, |entry| entry.1)
    }

    /// Replaces what it adds to a counter.
    pub fn set(&mut self, stat: Stat, n: u64) {
        let slot = stat.slot();
        self.0.retain(|entry| entry.0 != slot);
        self.add(stat, n);
    }

    /// Begins the next line.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// An interned tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipeId(u32);

impl RecipeId {
    /// Its number; small, since recipes are.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<u16> for RecipeId {
    fn from(number: u16) -> Self {
        Self(number.into())
    }
}

/// Recipes beyond this number are not interned, so that odd traffic costs time and not memory.
const MAX_RECIPES: usize = 1 << 16;

/// Recipes beyond this number have no marks, which would use up those of others.
const MAX_MARKED: usize = MAX_RECIPES / 2;

/// What a known line adds: a tally, and one to each of some marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Recipe {
    tally: u32,
    marks: Marks,
}

/// Recipes by number. Many differ in their marks alone and share a tally.
#[derive(Debug, Default)]
struct Recipes {
    tallies: IndexSet<Tally, RandomState>,
    all: IndexSet<Recipe, RandomState>,
}

impl Recipes {
    fn intern(&mut self, tally: &Tally, marks: Marks) -> Option<u32> {
        let place = match self.tallies.get_index_of(tally) {
            Some(place) => place,
            None if self.tallies.len() < MAX_RECIPES => self.tallies.insert_full(tally.clone()).0,
            None => return None,
        };
        let mut recipe = Recipe { tally: u32::try_from(place).ok()?, marks };
        if self.all.len() >= MAX_MARKED && !self.all.contains(&recipe) {
            recipe.marks = Marks::default();
        }
        if self.all.len() >= MAX_RECIPES && !self.all.contains(&recipe) {
            return None;
        }
        u32::try_from(self.all.insert_full(recipe).0).ok()
    }
}

/// The process' own metrics; lanes count through [`LaneCounters`].
#[derive(Debug, Default)]
pub struct Telemetry {
    conflicts: Mutex<Interner<(EventType, Arc<str>)>>,
    limited: Mutex<Interner<Limited>>,
    recipes: Mutex<Recipes>,
    lanes: Mutex<Vec<LaneReader>>,
    /// What is counted one by one.
    pub marking: Marking,
    /// What is remembered for people.
    pub insight: Insight,
    /// What does not belong to a lane.
    pub process: ProcessCounters,
    /// How the keeping of the state goes.
    pub state: StateCounters,
}

/// How the keeping of the state goes.
#[derive(Debug, Default)]
pub struct StateCounters {
    /// Whether there is a state file.
    pub is_kept: AtomicBool,
    /// `tallyd_state_last_save_timestamp_seconds`, in milliseconds; 0 for never.
    pub last_save_unix_millis: AtomicU64,
    /// `tallyd_state_save_failures_total`
    pub failed_saves: AtomicU64,
    /// `tallyd_state_restored_series`
    pub restored_series: AtomicU64,
    /// `tallyd_handovers_total{outcome="success"}`
    pub handovers: AtomicU64,
    /// `tallyd_handovers_total{outcome="failure"}`
    pub failed_handovers: AtomicU64,
}

/// Counters that are written rarely and by any thread.
#[derive(Debug, Default)]
pub struct ProcessCounters {
    /// `statsd_exporter_config_reloads_total{outcome="success"}`
    pub reloads: AtomicU64,
    /// `statsd_exporter_config_reloads_total{outcome="failure"}`
    pub failed_reloads: AtomicU64,
    /// `statsd_exporter_loaded_mappings`
    pub loaded_mappings: AtomicU64,
}

#[derive(Debug)]
struct Interner<T> {
    ids: HashMap<T, u32, foldhash::fast::RandomState>,
    entries: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: HashMap::default(), entries: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn intern(&mut self, entry: &T, limit: usize) -> Option<u32> {
        if let Some(id) = self.ids.get(entry) {
            return Some(*id);
        }
        if self.entries.len() >= limit {
            return None;
        }
        let id = u32::try_from(self.entries.len()).ok()?;
        self.entries.push(entry.clone());
        self.ids.insert(entry.clone(), id);
        Some(id)
    }
}

impl Telemetry {
    /// The counters of one more lane.
    #[must_use]
    pub fn lane(self: &Arc<Self>) -> LaneCounters {
        let lane = LaneCounters {
            telemetry: Arc::clone(self),
            counters: Column::new(),
            recipes: Column::new(),
            marks: Column::new(),
            mapper_cache_length: Arc::default(),
        };
        self.lanes.lock().push(LaneReader {
            counters: lane.counters.reader(),
            recipes: lane.recipes.reader(),
            marks: lane.marks.reader(),
            mapper_cache_length: Arc::clone(&lane.mapper_cache_length),
        });
        lane
    }

    /// The counter of a conflict between a type and a name.
    #[must_use]
    pub fn conflict(&self, event: EventType, name: &str) -> ConflictId {
        let entry = (event, Arc::from(name));
        let limit = u32::MAX as usize - CONFLICTS as usize;
        ConflictId(self.conflicts.lock().intern(&entry, limit).unwrap_or_default())
    }

    /// The counter of what was limited; `is_family` tells whether its metric is there already.
    #[must_use]
    pub fn limited(&self, limited: &Limited, is_family: bool) -> LimitedId {
        limited::intern(&mut self.limited.lock(), limited, is_family)
    }

    /// Which limit a counter of what was limited is about.
    #[must_use]
    pub fn limit_reason(&self, LimitedId(id): LimitedId) -> Option<LimitReason> {
        self.limited.lock().entries.get(id as usize).map(|limited| limited.reason)
    }

    /// Everything counted so far, added up over the lanes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        // Lanes first: a recipe that a lane has used is then sure to be in the table.
        let lanes: Vec<_> = self
            .lanes
            .lock()
            .iter()
            .map(|lane| (lane.counters.cells(), lane.recipes.cells()))
            .collect();
        let conflicts = self.conflicts.lock().entries.clone();
        let limited = self.limited.lock().entries.clone();
        let mut slots = vec![0; CONFLICTS as usize + conflicts.len()];
        for (counters, _) in &lanes {
            add_counters(&mut slots, counters);
        }
        let recipes = self.recipes.lock();
        for ((_, used), (id, recipe)) in
            lanes.iter().flat_map(|lane| (0..).zip(&recipes.all).map(move |recipe| (lane, recipe)))
        {
            let times = used.get(id).map_or(0, |cell| cell.load(Ordering::Relaxed));
            if times > 0
                && let Some(tally) = recipes.tallies.get_index(recipe.tally as usize)
            {
                add_tally(&mut slots, tally, times);
            }
        }
        Totals { slots, conflicts, limited }
    }

    /// What each rule, name and bad line has counted since the last reload, over all lanes.
    #[must_use]
    pub fn marks(&self) -> marks::Counts {
        self.marking.counts(self.mark_totals())
    }

    /// Has the marks begin anew with the rules of a reload.
    pub fn begin_generation(&self, generation: u64) {
        self.marking.begin(generation, || self.mark_totals());
    }

    fn mark_totals(&self) -> Vec<u64> {
        let mut totals = Vec::new();
        let lanes = self.lanes.lock();
        let lanes: Vec<_> =
            lanes.iter().map(|lane| (lane.marks.cells(), lane.recipes.cells())).collect();
        let recipes = self.recipes.lock();
        for (marks, used) in &lanes {
            marks::add_cells(&mut totals, marks);
            for (id, recipe) in (0..).zip(&recipes.all) {
                let times = used.get(id).map_or(0, |cell| cell.load(Ordering::Relaxed));
                marks::add(&mut totals, recipe.marks, times);
            }
        }
        totals
    }

    /// `statsd_metric_mapper_cache_length`
    #[must_use]
    pub fn mapper_cache_length(&self) -> u64 {
        let lanes = self.lanes.lock();
        lanes.iter().map(|lane| lane.mapper_cache_length.load(Ordering::Relaxed)).sum()
    }
}

fn add_counters(slots: &mut [u64], counters: &Cells<AtomicU64>) {
    for (slot, total) in (0..).zip(slots.iter_mut()) {
        let count = counters.get(slot).map_or(0, |cell| cell.load(Ordering::Relaxed));
        *total = total.wrapping_add(count);
    }
}

fn add_tally(slots: &mut [u64], tally: &Tally, times: u64) {
    for (slot, n) in &tally.0 {
        if let Some(total) = slots.get_mut(*slot as usize) {
            *total = total.wrapping_add(times.wrapping_mul(*n));
        }
    }
}

#[derive(Debug)]
struct LaneReader {
    counters: ColumnReader<AtomicU64>,
    recipes: ColumnReader<AtomicU64>,
    marks: ColumnReader<AtomicU64>,
    mapper_cache_length: Arc<AtomicU64>,
}

/// One lane's counters; only the lane writes them.
#[derive(Debug)]
pub struct LaneCounters {
    telemetry: Arc<Telemetry>,
    counters: Column<AtomicU64>,
    recipes: Column<AtomicU64>,
    marks: Column<AtomicU64>,
    mapper_cache_length: Arc<AtomicU64>,
}

impl LaneCounters {
    /// Adds to one counter.
    pub fn add(&mut self, stat: Stat, n: u64) {
        self.add_slot(stat.slot(), n);
    }

    /// Adds a whole tally.
    pub fn add_tally(&mut self, tally: &Tally) {
        for (slot, n) in &tally.0 {
            self.add_slot(*slot, *n);
        }
    }

    fn add_slot(&mut self, slot: u32, n: u64) {
        self.counters.grow(slot, AtomicU64::default);
        bump(self.counters.get(slot), n);
    }

    /// Counts one line by its marks.
    pub fn mark(&mut self, marks: Marks) {
        for mark in marks.iter() {
            self.marks.grow(mark.cell(), AtomicU64::default);
            bump(self.marks.get(mark.cell()), 1);
        }
    }

    /// The recipe of a tally and some marks, for lines that may come again; `None` when there are
    /// too many.
    #[must_use]
    pub fn recipe(&mut self, tally: &Tally, marks: Marks) -> Option<RecipeId> {
        let id = self.telemetry.recipes.lock().intern(tally, marks)?;
        self.recipes.grow(id, AtomicU64::default);
        Some(RecipeId(id))
    }

    /// Counts one line by its recipe.
    #[inline]
    pub fn repeat(&self, recipe: RecipeId) {
        bump(self.recipes.get(recipe.0), 1);
    }

    /// Tells how many names the lane's mapper cache holds.
    pub fn set_mapper_cache_length(&self, length: u64) {
        self.mapper_cache_length.store(length, Ordering::Relaxed);
    }
}

/// Adds to a cell of which this thread is the only writer.
#[inline]
fn bump(cell: Option<&AtomicU64>, n: u64) {
    if let Some(cell) = cell {
        // Relaxed: the number publishes nothing else; a scrape may see it a little late.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// What all lanes have counted.
#[derive(Clone, Debug)]
pub struct Totals {
    slots: Vec<u64>,
    conflicts: Vec<(EventType, Arc<str>)>,
    limited: Vec<Limited>,
}

impl Totals {
    /// The total of one counter.
    #[must_use]
    pub fn get(&self, stat: Stat) -> u64 {
        self.slots.get(stat.slot() as usize).copied().unwrap_or(0)
    }

    /// What was limited, with the number of samples.
    pub fn limited(&self) -> impl Iterator<Item = (&Limited, u64)> {
        let numbered = (0..).zip(&self.limited);
        numbered.map(|(id, limited)| (limited, self.get(Stat::Limited(LimitedId(id)))))
    }

    /// Type, name and total of every conflict.
    pub fn conflicts(&self) -> impl Iterator<Item = (EventType, &str, u64)> {
        (0..)
            .zip(&self.conflicts)
            .map(|(id, (event, name))| (*event, &**name, self.get(Stat::Conflict(ConflictId(id)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_counts_what_its_tally_says_every_time() {
        let telemetry = Arc::new(Telemetry::default());
        let mut lane = telemetry.lane();
        let mut tally = Tally::default();
        tally.add(Stat::Lines, 1);
        tally.add(Stat::Samples, 2);
        tally.add(Stat::Samples, 1);
        let recipe = lane.recipe(&tally, Marks::default()).unwrap();
        lane.repeat(recipe);
        lane.repeat(recipe);
        lane.add_tally(&tally);
        let totals = telemetry.totals();
        assert_eq!(totals.get(Stat::Lines), 3);
        assert_eq!(totals.get(Stat::Samples), 9);
    }

    #[test]
    fn every_counter_has_a_slot_and_a_name_of_its_own() {
        let slots: Vec<u32> = Stat::all().map(Stat::slot).collect();
        assert_eq!(slots, (0..LIMITED).collect::<Vec<_>>());
        let names: std::collections::HashSet<_> = Stat::all().map(Stat::saved_name).collect();
        assert_eq!(names.len(), slots.len());
    }

    #[test]
    fn a_recipe_counts_its_marks_and_those_of_its_first_line_are_counted_apart() {
        let telemetry = Arc::new(Telemetry::default());
        let mut lane = telemetry.lane();
        let rule = marks::Mark::of_rule(3);
        let marks = Marks { rule, subject: telemetry.marking.bad_line() };
        lane.mark(marks);
        let recipe = lane.recipe(&Tally::default(), marks).unwrap();
        let other = lane.recipe(&Tally::default(), Marks { subject: None, ..marks }).unwrap();
        for recipe in [recipe, recipe, other] {
            lane.repeat(recipe);
        }
        let counts = telemetry.marks();
        assert_eq!((counts.rule(3), counts.rule(4)), (Some(4), Some(0)));
        assert_eq!(counts.of(marks.subject.unwrap()), 3);
        telemetry.begin_generation(FIRST_GENERATION + 1);
        assert_eq!(telemetry.marks().rule(3), Some(0));
    }

    #[test]
    fn lanes_add_up_and_share_recipes() {
        let telemetry = Arc::new(Telemetry::default());
        let (mut one, mut two) = (telemetry.lane(), telemetry.lane());
        let conflict = telemetry.conflict(EventType::Gauge, "hits");
        let mut tally = Tally::default();
        tally.add(Stat::Conflict(conflict), 1);
        let first = one.recipe(&tally, Marks::default()).unwrap();
        let second = two.recipe(&tally, Marks::default()).unwrap();
        assert_eq!(first, second);
        one.repeat(first);
        two.repeat(second);
        two.add(Stat::Outcome(LineOutcome::Conflict), 7);
        let totals = telemetry.totals();
        assert_eq!(totals.conflicts().collect::<Vec<_>>(), [(EventType::Gauge, "hits", 2)]);
        assert_eq!(totals.get(Stat::Outcome(LineOutcome::Conflict)), 7);
    }
}
