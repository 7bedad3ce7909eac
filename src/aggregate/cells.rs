//! Cells: where values are. One lane's columns, and what all lanes share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::combined::{CombinedCell, Move};
use super::histogram::HistogramCell;
use super::saved::SavedSeries;
use super::senders::{SenderKey, TooManySenders, Totals};
use super::set::SetCell;
use super::summary::SummaryCell;
use super::{FamilyKind, SeriesSpec};
use crate::column::{Column, ColumnReader};

/// Which column a cell stands in. Families with equal buckets, quantiles or windows share one
/// column, which is numbered by its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnId {
    /// The counters.
    Counter,
    /// The gauges, shared by all lanes.
    Gauge,
    /// The gauges of several senders, combined in one way; shared by all lanes.
    Combined(u32),
    /// The histograms of a layout.
    Histogram(u32),
    /// The summaries of a layout.
    Summary(u32),
    /// The sets of a layout.
    Set(u32),
}

impl ColumnId {
    /// The type of the families in it.
    #[must_use]
    pub fn kind(self) -> FamilyKind {
        match self {
            Self::Counter => FamilyKind::Counter,
            Self::Gauge | Self::Combined(_) => FamilyKind::Gauge,
            Self::Histogram(_) => FamilyKind::Histogram,
            Self::Summary(_) => FamilyKind::Summary,
            Self::Set(_) => FamilyKind::Set,
        }
    }
}

/// Where the values of a series are, on every lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellRef {
    /// The column.
    pub column: ColumnId,
    /// The place in it.
    pub id: u32,
}

/// A cell and when it last took a sample in.
#[derive(Debug, Default)]
pub(super) struct Touched<T> {
    pub(super) cell: T,
    /// On the process' clock.
    pub(super) millis: AtomicU64,
}

impl<T> Touched<T> {
    fn new(cell: T) -> Self {
        Self { cell, millis: AtomicU64::new(0) }
    }

    #[inline]
    fn touch(&self, now_millis: u64) -> &T {
        // Relaxed: expiry asks the lane itself before it believes that a series is idle.
        self.millis.store(now_millis, Ordering::Relaxed);
        &self.cell
    }
}

/// A float that one thread adds to.
#[derive(Debug, Default)]
pub(super) struct Sum(AtomicU64);

impl Sum {
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    fn add(&self, value: f64) {
        // Relaxed, and no compare-and-swap: this thread is the only writer.
        self.0.store((self.get() + value).to_bits(), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A float that every lane may set and add to.
#[derive(Debug, Default)]
pub(super) struct Level(AtomicU64);

impl Level {
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    #[inline]
    fn add(&self, change: f64) {
        let mut old = self.0.load(Ordering::Relaxed);
        while let Err(now) = self.0.compare_exchange_weak(
            old,
            (f64::from_bits(old) + change).to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            old = now;
        }
    }
}

/// What does not belong to one lane: gauges, the totals that senders of absolute counters last
/// sent, and the layouts' specs.
#[derive(Debug)]
pub struct SharedCells {
    pub(super) gauges: ColumnReader<Touched<Level>>,
    pub(super) combined_cells: LayoutReaders<CombinedCell>,
    pub(super) totals: ColumnReader<Totals>,
    pub(super) combined: RwLock<Vec<SeriesSpec>>,
    pub(super) histograms: RwLock<Vec<SeriesSpec>>,
    pub(super) summaries: RwLock<Vec<SeriesSpec>>,
    pub(super) sets: RwLock<Vec<SeriesSpec>>,
    /// Whether native buckets are filled.
    pub(super) native: Arc<AtomicBool>,
}

impl SharedCells {
    /// No cell and no layout yet.
    #[must_use]
    pub fn new(native: bool) -> Self {
        Self {
            native: Arc::new(AtomicBool::new(native)),
            gauges: Column::new().reader(),
            combined_cells: Arc::default(),
            totals: Column::new().reader(),
            combined: RwLock::default(),
            histograms: RwLock::default(),
            summaries: RwLock::default(),
            sets: RwLock::default(),
        }
    }

    /// The column for a spec; a new layout where no other family has asked for the same.
    #[must_use]
    pub fn column(&self, spec: &SeriesSpec) -> ColumnId {
        match spec {
            SeriesSpec::Counter => ColumnId::Counter,
            SeriesSpec::Gauge => ColumnId::Gauge,
            SeriesSpec::Combined(_) => ColumnId::Combined(layout(&self.combined, spec)),
            SeriesSpec::Histogram(_) => ColumnId::Histogram(layout(&self.histograms, spec)),
            SeriesSpec::Summary(_) => ColumnId::Summary(layout(&self.summaries, spec)),
            SeriesSpec::Set(_) => ColumnId::Set(layout(&self.sets, spec)),
        }
    }

    /// The spec of a column; none for counters, which are all alike.
    #[must_use]
    pub fn spec(&self, column: ColumnId) -> Option<SeriesSpec> {
        let (specs, layout) = match column {
            ColumnId::Counter => return None,
            ColumnId::Gauge => return Some(SeriesSpec::Gauge),
            ColumnId::Combined(layout) => (&self.combined, layout),
            ColumnId::Histogram(layout) => (&self.histograms, layout),
            ColumnId::Summary(layout) => (&self.summaries, layout),
            ColumnId::Set(layout) => (&self.sets, layout),
        };
        specs.read().get(layout as usize).cloned()
    }
}

fn layout(specs: &RwLock<Vec<SeriesSpec>>, spec: &SeriesSpec) -> u32 {
    let mut specs = specs.write();
    let known = specs.iter().position(|known| known == spec);
    let layout = known.unwrap_or_else(|| {
        specs.push(spec.clone());
        specs.len() - 1
    });
    u32::try_from(layout).unwrap_or(u32::MAX)
}

/// One lane's column of a layout.
#[derive(Debug)]
struct LayoutColumn<T> {
    spec: SeriesSpec,
    column: Column<Touched<T>>,
}

/// A lane's columns of all layouts, and where readers find them.
struct Layouts<T> {
    columns: Vec<Option<LayoutColumn<T>>>,
    readers: LayoutReaders<T>,
}

impl<T> fmt::Debug for Layouts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layouts").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

impl<T> Default for Layouts<T> {
    fn default() -> Self {
        Self { columns: Vec::new(), readers: Arc::default() }
    }
}

impl<T> Layouts<T> {
    fn grow(&mut self, layout: u32, id: u32, spec: &SeriesSpec, make: impl Fn() -> T) {
        let layout = layout as usize;
        if self.columns.len() <= layout {
            self.columns.resize_with(layout + 1, || None);
        }
        let Some(slot) = self.columns.get_mut(layout) else { return };
        let column = slot.get_or_insert_with(|| {
            let mut readers = self.readers.lock();
            if readers.len() <= layout {
                readers.resize_with(layout + 1, || None);
            }
            let column = match readers.get_mut(layout) {
                // Another lane has made the column, where lanes share it.
                Some(Some(reader)) => Column::join(reader),
                Some(slot) => {
                    let column = Column::new();
                    *slot = Some(column.reader());
                    column
                }
                None => Column::new(),
            };
            LayoutColumn { spec: spec.clone(), column }
        });
        column.column.grow(id, || Touched::new(make()));
    }

    #[inline]
    fn get(&self, layout: u32, id: u32) -> Option<(&SeriesSpec, &Touched<T>)> {
        let column = self.columns.get(layout as usize)?.as_ref()?;
        Some((&column.spec, column.column.get(id)?))
    }

    fn release(&mut self, layout: u32, chunk: u32) {
        if let Some(Some(column)) = self.columns.get_mut(layout as usize) {
            column.column.release(chunk);
        }
    }
}

/// One lane's cells. Only the lane writes them; [`Values`](super::values::Values) reads them.
#[derive(Debug)]
pub struct LaneCells {
    counters: Column<Touched<Sum>>,
    gauges: Column<Touched<Level>>,
    combined: Layouts<CombinedCell>,
    totals: Column<Totals>,
    histograms: Layouts<HistogramCell>,
    summaries: Layouts<SummaryCell>,
    sets: Layouts<SetCell>,
    native: Arc<AtomicBool>,
}

impl LaneCells {
    pub(super) fn new(shared: &SharedCells) -> Self {
        Self {
            counters: Column::new(),
            gauges: Column::join(&shared.gauges),
            combined: Layouts { readers: Arc::clone(&shared.combined_cells), ..Layouts::default() },
            totals: Column::join(&shared.totals),
            histograms: Layouts::default(),
            summaries: Layouts::default(),
            sets: Layouts::default(),
            native: Arc::clone(&shared.native),
        }
    }

    /// Makes sure that this lane has the cell of a series, which was registered at `created_millis`.
    pub(super) fn adopt(&mut self, cell: CellRef, spec: Option<&SeriesSpec>, created_millis: u64) {
        let CellRef { column, id } = cell;
        match (column, spec) {
            (ColumnId::Counter, _) => self.counters.grow(id, Touched::default),
            (ColumnId::Gauge, _) => self.gauges.grow(id, Touched::default),
            (ColumnId::Combined(layout), Some(spec)) => {
                self.combined.grow(layout, id, spec, CombinedCell::default);
            }
            (ColumnId::Histogram(layout), Some(spec @ SeriesSpec::Histogram(own))) => {
                self.histograms.grow(layout, id, spec, || HistogramCell::new(own));
            }
            (ColumnId::Summary(layout), Some(spec @ SeriesSpec::Summary(own))) => {
                self.summaries.grow(layout, id, spec, || SummaryCell::new(own));
                if let Some((_, cell)) = self.summaries.get(layout, id) {
                    cell.cell.begin(created_millis);
                }
            }
            (ColumnId::Set(layout), Some(spec)) => {
                self.sets.grow(layout, id, spec, SetCell::new);
                if let Some((_, cell)) = self.sets.get(layout, id) {
                    cell.cell.begin(created_millis);
                }
            }
            (
                ColumnId::Combined(_)
                | ColumnId::Histogram(_)
                | ColumnId::Summary(_)
                | ColumnId::Set(_),
                _,
            ) => {}
        }
    }

    /// Adds to a counter; the increment is not negative.
    #[inline]
    pub fn increment(&self, id: u32, value: f64, now_millis: u64) {
        if let Some(cell) = self.counters.get(id) {
            cell.touch(now_millis).add(value);
        }
    }

    /// Adds what a sender's running total has grown by since any lane last saw it. A smaller total
    /// is a restart of its sender, which counts from zero again.
    ///
    /// # Errors
    /// [`TooManySenders`] when the sender is new and there is no place for it.
    pub fn advance(
        &mut self,
        id: u32,
        sender: SenderKey,
        total: f64,
        now_millis: u64,
    ) -> Result<(), TooManySenders> {
        self.totals.grow(id, Totals::default);
        if let Some(totals) = self.totals.get(id) {
            self.increment(id, totals.advance(sender, total, now_millis)?, now_millis);
        }
        Ok(())
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, id: u32, value: f64, now_millis: u64) {
        if let Some(cell) = self.gauges.get(id) {
            cell.touch(now_millis).set(value);
        }
    }

    /// Changes a gauge.
    #[inline]
    pub fn change(&self, id: u32, change: f64, now_millis: u64) {
        if let Some(cell) = self.gauges.get(id) {
            cell.touch(now_millis).add(change);
        }
    }

    /// Takes a sample into a gauge, whether several senders make it or the last one does.
    ///
    /// # Errors
    /// [`TooManySenders`] when the sender is new and there is no place for it.
    pub fn gauge(
        &self,
        cell: CellRef,
        sender: SenderKey,
        sample: Move,
        now_millis: u64,
    ) -> Result<(), TooManySenders> {
        if let ColumnId::Combined(layout) = cell.column {
            let known = self.combined.get(layout, cell.id);
            let Some((SeriesSpec::Combined(combination), cell)) = known else { return Ok(()) };
            cell.cell.take(combination, sender, sample, now_millis)?;
            cell.touch(now_millis);
            return Ok(());
        }
        match sample {
            Move::To(value) => self.set(cell.id, value, now_millis),
            Move::By(change) => self.change(cell.id, change, now_millis),
        }
        Ok(())
    }

    /// Takes a value into a histogram or summary, `times` times over.
    #[inline]
    pub fn observe(&self, cell: CellRef, value: f64, times: u64, now_millis: u64) {
        match cell.column {
            ColumnId::Histogram(layout) => {
                if let Some((SeriesSpec::Histogram(spec), cell)) =
                    self.histograms.get(layout, cell.id)
                {
                    // Relaxed: when exactly native buckets begin does not matter.
                    let native = self.native.load(Ordering::Relaxed);
                    cell.touch(now_millis).observe(spec, value, times, native);
                }
            }
            ColumnId::Summary(layout) => {
                if let Some((SeriesSpec::Summary(spec), cell)) = self.summaries.get(layout, cell.id)
                {
                    cell.touch(now_millis).observe(spec, now_millis, value, times);
                }
            }
            ColumnId::Counter | ColumnId::Gauge | ColumnId::Combined(_) | ColumnId::Set(_) => {}
        }
    }

    /// Takes a member into a set by its hash.
    pub fn insert(&self, cell: CellRef, hash: u64, now_millis: u64) {
        if let ColumnId::Set(layout) = cell.column
            && let Some((SeriesSpec::Set(window), cell)) = self.sets.get(layout, cell.id)
        {
            cell.touch(now_millis).insert(*window, now_millis, hash);
        }
    }

    /// When this lane last took a sample in for a series; 0 for never.
    #[must_use]
    pub fn touched_millis(&self, cell: CellRef) -> u64 {
        let millis = match cell.column {
            ColumnId::Counter => self.counters.get(cell.id).map(|cell| &cell.millis),
            ColumnId::Gauge => self.gauges.get(cell.id).map(|cell| &cell.millis),
            ColumnId::Combined(layout) => {
                self.combined.get(layout, cell.id).map(|(_, cell)| &cell.millis)
            }
            ColumnId::Histogram(layout) => {
                self.histograms.get(layout, cell.id).map(|(_, cell)| &cell.millis)
            }
            ColumnId::Summary(layout) => {
                self.summaries.get(layout, cell.id).map(|(_, cell)| &cell.millis)
            }
            ColumnId::Set(layout) => self.sets.get(layout, cell.id).map(|(_, cell)| &cell.millis),
        };
        millis.map_or(0, |millis| millis.load(Ordering::Relaxed))
    }

    /// Reads a little of a cell, only to have it fetched.
    #[inline]
    #[must_use]
    pub fn look_ahead(&self, cell: CellRef) -> u64 {
        let buckets = match cell.column {
            ColumnId::Histogram(layout) => self.histograms.get(layout, cell.id),
            _ => None,
        };
        self.touched_millis(cell) ^ buckets.map_or(0, |(_, cell)| cell.cell.look_ahead())
    }

    /// Empties a cell that no series owns any more.
    pub fn clear(&self, cell: CellRef) {
        match cell.column {
            ColumnId::Counter => {
                if let Some(cell) = self.counters.get(cell.id) {
                    cell.touch(0).clear();
                }
                if let Some(total) = self.totals.get(cell.id) {
                    total.clear();
                }
            }
            ColumnId::Gauge => self.set(cell.id, 0.0, 0),
            ColumnId::Combined(layout) => {
                if let Some((_, cell)) = self.combined.get(layout, cell.id) {
                    cell.touch(0).clear();
                }
            }
            ColumnId::Histogram(layout) => {
                if let Some((_, cell)) = self.histograms.get(layout, cell.id) {
                    cell.touch(0).clear();
                }
            }
            ColumnId::Summary(layout) => {
                if let Some((_, cell)) = self.summaries.get(layout, cell.id) {
                    cell.touch(0).clear();
                }
            }
            ColumnId::Set(layout) => {
                if let Some((_, cell)) = self.sets.get(layout, cell.id) {
                    cell.touch(0).clear();
                }
            }
        }
    }

    /// Puts back what was saved of a series, whose cell this lane has adopted.
    pub(super) fn restore(&mut self, cell: CellRef, saved: &SavedSeries) {
        let CellRef { column, id } = cell;
        let touched_millis = saved.touched_millis;
        match column {
            ColumnId::Counter => {
                self.increment(id, saved.number, touched_millis);
                if !saved.reports.is_empty() {
                    self.totals.grow(id, Totals::default);
                    if let Some(totals) = self.totals.get(id) {
                        totals.restore(&saved.reports);
                    }
                }
            }
            ColumnId::Gauge => self.set(id, saved.number, touched_millis),
            ColumnId::Combined(layout) => {
                if let Some((_, cell)) = self.combined.get(layout, id) {
                    cell.touch(touched_millis).restore(saved);
                }
            }
            ColumnId::Histogram(layout) => {
                if let (Some((SeriesSpec::Histogram(spec), cell)), Some(saved)) =
                    (self.histograms.get(layout, id), &saved.histogram)
                {
                    cell.touch(touched_millis).restore(spec, saved);
                }
            }
            ColumnId::Summary(layout) => {
                if let (Some((SeriesSpec::Summary(spec), cell)), Some(saved)) =
                    (self.summaries.get(layout, id), &saved.summary)
                {
                    cell.touch(touched_millis).restore(spec, saved);
                }
            }
            ColumnId::Set(layout) => {
                if let (Some((_, cell)), Some(saved)) = (self.sets.get(layout, id), &saved.set) {
                    cell.touch(touched_millis).restore(saved);
                }
            }
        }
    }

    /// Gives back a chunk in which no cell is owned.
    pub fn release(&mut self, column: ColumnId, chunk: u32) {
        match column {
            ColumnId::Counter => {
                self.counters.release(chunk);
                self.totals.release(chunk);
            }
            ColumnId::Gauge => self.gauges.release(chunk),
            ColumnId::Combined(layout) => self.combined.release(layout, chunk),
            ColumnId::Histogram(layout) => self.histograms.release(layout, chunk),
            ColumnId::Summary(layout) => self.summaries.release(layout, chunk),
            ColumnId::Set(layout) => self.sets.release(layout, chunk),
        }
    }

    pub(super) fn reader(&self) -> LaneReader {
        LaneReader {
            counters: self.counters.reader(),
            histograms: Arc::clone(&self.histograms.readers),
            summaries: Arc::clone(&self.summaries.readers),
            sets: Arc::clone(&self.sets.readers),
        }
    }
}

pub(super) type LayoutReaders<T> = Arc<Mutex<Vec<Option<ColumnReader<Touched<T>>>>>>;

/// Where the other threads find a lane's columns.
pub(super) struct LaneReader {
    pub(super) counters: ColumnReader<Touched<Sum>>,
    pub(super) histograms: LayoutReaders<HistogramCell>,
    pub(super) summaries: LayoutReaders<SummaryCell>,
    pub(super) sets: LayoutReaders<SetCell>,
}

impl fmt::Debug for LaneReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneReader").finish_non_exhaustive()
    }
}
