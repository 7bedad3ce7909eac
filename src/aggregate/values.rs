//! How a scrape reads cells: what lanes have counted apart is added up here.

use std::sync::atomic::Ordering;

use super::cells::{
    CellRef, ColumnId, LaneReader, LayoutReaders, Level, SharedCells, Sum, Touched,
};
use super::combined::CombinedCell;
use super::histogram::{HistogramCell, HistogramValue};
use super::saved::SavedSeries;
use super::senders::Totals;
use super::set::{SetCell, SetMerge};
use super::summary::{SummaryCell, SummaryMerge};
use super::{Series, SeriesSpec};
use crate::column::{Cells, ColumnReader};

type LayoutCells<T> = Vec<Option<Cells<Touched<T>>>>;

fn layout_cells<T>(readers: &LayoutReaders<T>) -> LayoutCells<T> {
    readers.lock().iter().map(|reader| reader.as_ref().map(ColumnReader::cells)).collect()
}

fn layout_cell<T>(cells: &LayoutCells<T>, layout: u32, id: u32) -> Option<&Touched<T>> {
    cells.get(layout as usize)?.as_ref()?.get(id)
}

/// One lane's cells at the moment of a scrape.
#[derive(Debug)]
pub(super) struct LaneValues {
    counters: Cells<Touched<Sum>>,
    histograms: LayoutCells<HistogramCell>,
    summaries: LayoutCells<SummaryCell>,
    sets: LayoutCells<SetCell>,
}

impl LaneValues {
    pub(super) fn of(lane: &LaneReader) -> Self {
        Self {
            counters: lane.counters.cells(),
            histograms: layout_cells(&lane.histograms),
            summaries: layout_cells(&lane.summaries),
            sets: layout_cells(&lane.sets),
        }
    }

    fn touched_millis(&self, cell: CellRef) -> u64 {
        let millis = match cell.column {
            ColumnId::Counter => self.counters.get(cell.id).map(|cell| &cell.millis),
            ColumnId::Gauge | ColumnId::Combined(_) => None,
            ColumnId::Histogram(layout) => {
                layout_cell(&self.histograms, layout, cell.id).map(|cell| &cell.millis)
            }
            ColumnId::Summary(layout) => {
                layout_cell(&self.summaries, layout, cell.id).map(|cell| &cell.millis)
            }
            ColumnId::Set(layout) => {
                layout_cell(&self.sets, layout, cell.id).map(|cell| &cell.millis)
            }
        };
        millis.map_or(0, |millis| millis.load(Ordering::Relaxed))
    }
}

/// The values of all series, added up over the lanes as they are read.
///
/// Lanes are always added in the same order: floating-point addition is monotone, so a counter
/// on the page never goes back by a rounding step, which Prometheus would take for a reset.
#[derive(Debug)]
pub struct Values {
    lanes: Vec<LaneValues>,
    gauges: Cells<Touched<Level>>,
    combined_cells: LayoutCells<CombinedCell>,
    combined: Vec<SeriesSpec>,
    totals: Cells<Totals>,
    histograms: Vec<SeriesSpec>,
    summaries: Vec<SeriesSpec>,
    sets: Vec<SeriesSpec>,
    native: bool,
    now_millis: u64,
}

impl Values {
    pub(super) fn new(lanes: Vec<LaneValues>, shared: &SharedCells, now_millis: u64) -> Self {
        Self {
            lanes,
            gauges: shared.gauges.cells(),
            combined_cells: layout_cells(&shared.combined_cells),
            combined: shared.combined.read().clone(),
            totals: shared.totals.cells(),
            histograms: shared.histograms.read().clone(),
            summaries: shared.summaries.read().clone(),
            sets: shared.sets.read().clone(),
            native: shared.native.load(Ordering::Relaxed),
            now_millis,
        }
    }

    /// The value of a counter.
    #[must_use]
    pub fn counter(&self, id: u32) -> f64 {
        let parts = self.lanes.iter().filter_map(|lane| lane.counters.get(id));
        parts.fold(0.0, |total, part| total + part.cell.get())
    }

    /// The value of a gauge.
    #[must_use]
    pub fn gauge(&self, id: u32) -> f64 {
        self.gauges.get(id).map_or(0.0, |gauge| gauge.cell.get())
    }

    /// The value of a gauge that several senders make; none when nobody has been heard of within
    /// its window.
    #[must_use]
    pub fn combined(&self, id: u32, layout: u32) -> Option<f64> {
        let Some(SeriesSpec::Combined(combination)) = self.spec(ColumnId::Combined(layout)) else {
            return None;
        };
        let cell = layout_cell(&self.combined_cells, layout, id)?;
        cell.cell.value(combination, self.now_millis)
    }

    /// Whether a series has a value to show. All have but gauges of several senders, when none of
    /// them has been heard of lately.
    #[must_use]
    pub fn has_value(&self, series: &Series) -> bool {
        match series.cell.column {
            ColumnId::Combined(layout) => self.combined(series.cell.id, layout).is_some(),
            _ => true,
        }
    }

    /// Whether lanes fill native buckets, as they do once somebody has asked for them.
    #[must_use]
    pub fn fills_native(&self) -> bool {
        self.native
    }

    /// The spec of a column that has layouts.
    #[must_use]
    pub fn spec(&self, column: ColumnId) -> Option<&SeriesSpec> {
        match column {
            ColumnId::Counter | ColumnId::Gauge => None,
            ColumnId::Combined(layout) => self.combined.get(layout as usize),
            ColumnId::Histogram(layout) => self.histograms.get(layout as usize),
            ColumnId::Summary(layout) => self.summaries.get(layout as usize),
            ColumnId::Set(layout) => self.sets.get(layout as usize),
        }
    }

    /// Reads a little of each of these series and of its cells, and returns nothing of use.
    ///
    /// Series in the order of the page lie about in memory in the order in which they came. The
    /// reads here do not depend on each other, so the processor waits for many at a time, where
    /// writing one series after another would wait for each.
    #[must_use]
    pub fn look_ahead(&self, series: &[Series]) -> u64 {
        // A head may lie in two cache lines, and these are its two ends.
        let head = |series: &Series| series.created_millis ^ u64::from(series.cell.id);
        let heads = series.iter().fold(0, |sum, series| sum ^ head(series));
        let texts = series.iter().fold(0, |sum, series| sum ^ series.look_ahead());
        let cells = series.iter().fold(0, |sum, series| sum ^ self.look_at_cells(series.cell));
        let far = series.iter().fold(0, |sum, series| sum ^ self.look_at_buckets(series.cell));
        heads ^ texts ^ cells ^ far
    }

    fn look_at_cells(&self, cell: CellRef) -> u64 {
        self.lanes
            .iter()
            .fold(self.shared_millis(cell), |sum, lane| sum ^ lane.touched_millis(cell))
    }

    /// When a cell that all lanes share last took a sample in; 0 for the others.
    fn shared_millis(&self, cell: CellRef) -> u64 {
        let millis = match cell.column {
            ColumnId::Gauge => self.gauges.get(cell.id).map(|gauge| &gauge.millis),
            ColumnId::Combined(layout) => {
                layout_cell(&self.combined_cells, layout, cell.id).map(|gauge| &gauge.millis)
            }
            _ => None,
        };
        millis.map_or(0, |millis| millis.load(Ordering::Relaxed))
    }

    fn look_at_buckets(&self, cell: CellRef) -> u64 {
        let ColumnId::Histogram(layout) = cell.column else { return 0 };
        let parts = self.lanes.iter();
        let parts = parts.filter_map(|lane| layout_cell(&lane.histograms, layout, cell.id));
        parts.fold(0, |sum, part| sum ^ part.cell.look_ahead())
    }

    /// Adds a histogram up into `total`, with its native buckets where `native` asks for them;
    /// whatever `total` held before is gone.
    pub fn histogram(&self, cell: CellRef, native: bool, total: &mut HistogramValue) {
        let ColumnId::Histogram(layout) = cell.column else { return };
        let id = cell.id;
        let Some(SeriesSpec::Histogram(spec)) = self.spec(cell.column) else { return };
        total.reset(spec, self.native && native);
        for lane in &self.lanes {
            if let Some(part) = layout_cell(&lane.histograms, layout, id) {
                part.cell.add_to(spec, total);
            }
        }
    }

    /// Merges a summary's windows.
    #[must_use]
    pub fn summary(&self, series: &Series, layout: u32) -> SummaryMerge {
        let mut merge = SummaryMerge::default();
        if let Some(SeriesSpec::Summary(spec)) = self.spec(ColumnId::Summary(layout)) {
            for lane in &self.lanes {
                if let Some(part) = layout_cell(&lane.summaries, layout, series.cell.id) {
                    part.cell.add_to(spec, self.age_millis(series), &mut merge);
                }
            }
        }
        merge
    }

    /// The number of unique values of a set.
    #[must_use]
    pub fn set(&self, series: &Series, layout: u32) -> f64 {
        let mut merge = SetMerge::default();
        if let Some(SeriesSpec::Set(window)) = self.spec(ColumnId::Set(layout)) {
            for lane in &self.lanes {
                if let Some(part) = layout_cell(&lane.sets, layout, series.cell.id) {
                    part.cell.add_to(*window, self.age_millis(series), &mut merge);
                }
            }
        }
        merge.unique()
    }

    /// Adds a series up into `saved`, as a later process is to find it; whatever `saved` held before
    /// is gone.
    pub fn save(&self, series: &Series, saved: &mut SavedSeries) {
        saved.begin(series, self.touched_millis(series));
        let id = series.cell.id;
        let age_millis = self.age_millis(series);
        match (series.cell.column, self.spec(series.cell.column)) {
            (ColumnId::Counter, _) => {
                saved.number = self.counter(id);
                saved.reports = self.totals.get(id).map_or(Vec::new(), Totals::save);
            }
            (ColumnId::Gauge, _) => saved.number = self.gauge(id),
            (ColumnId::Combined(layout), _) => {
                if let Some(cell) = layout_cell(&self.combined_cells, layout, id) {
                    cell.cell.save(saved);
                }
            }
            (ColumnId::Histogram(layout), _) => {
                let total = saved.histogram.get_or_insert_default();
                let parts = self.lanes.iter();
                parts
                    .filter_map(|lane| layout_cell(&lane.histograms, layout, id))
                    .for_each(|part| part.cell.save(total));
            }
            (ColumnId::Summary(layout), Some(SeriesSpec::Summary(spec))) => {
                let total = saved.summary.get_or_insert_default();
                let parts = self.lanes.iter();
                parts
                    .filter_map(|lane| layout_cell(&lane.summaries, layout, id))
                    .for_each(|part| part.cell.save(spec, age_millis, total));
            }
            (ColumnId::Set(layout), Some(SeriesSpec::Set(window))) => {
                let total = saved.set.get_or_insert_default();
                let parts = self.lanes.iter();
                parts
                    .filter_map(|lane| layout_cell(&lane.sets, layout, id))
                    .for_each(|part| part.cell.save(*window, age_millis, total));
            }
            (ColumnId::Summary(_) | ColumnId::Set(_), _) => {}
        }
    }

    fn age_millis(&self, series: &Series) -> u64 {
        self.now_millis.saturating_sub(series.created_millis)
    }

    /// When any lane last took a sample in for a series.
    #[must_use]
    pub fn touched_millis(&self, series: &Series) -> u64 {
        let shared = self.shared_millis(series.cell);
        let lanes = self.lanes.iter().map(|lane| lane.touched_millis(series.cell)).max();
        // A series that was registered and not yet written to is as young as its registration.
        shared.max(lanes.unwrap_or(0)).max(series.created_millis)
    }
}
