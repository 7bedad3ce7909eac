//! The one walk over the families that every format shares.

use std::hint::black_box;

use super::own::OwnFamily;
use super::{Family, FamilyKind, Page, Series, Value};
use crate::aggregate::cells::ColumnId;
use crate::aggregate::histogram::HistogramValue;
use crate::aggregate::view::FamilyView;
use crate::aggregate::{self, Reading, SeriesSpec};

/// A walk under way.
struct Walk<'a, 'p> {
    reading: &'a Reading,
    page: &'a mut Page<'p>,
    /// When the process' clock began, in seconds since 1970.
    start_seconds: f64,
    histogram: HistogramValue,
    quantiles: Vec<(f64, f64)>,
}

/// Writes the clients' families and our own, sorted by name, until done or nobody listens.
pub fn walk(reading: &Reading, own: &[OwnFamily], start_seconds: f64, page: &mut Page<'_>) {
    let mut walk = Walk {
        reading,
        page,
        start_seconds,
        histogram: HistogramValue::default(),
        quantiles: Vec::new(),
    };
    let mut own = own.iter().peekable();
    for family in reading.view.families() {
        while let Some(before) = own.next_if(|own| *own.name < *family.family.name) {
            walk.own_family(before);
        }
        walk.family(family);
        if !walk.page.is_open() {
            return;
        }
    }
    own.for_each(|family| walk.own_family(family));
}

impl Walk<'_, '_> {
    fn own_family(&mut self, own: &OwnFamily) {
        let family = Family { name: own.name, help: own.help, kind: own.kind };
        if !self.page.begin(&family) {
            return;
        }
        for (labels, value) in &own.series {
            let value = Value::Number(*value);
            let labels = labels.as_bytes();
            let series = Series { labels, created_seconds: self.start_seconds, value };
            self.page.series(&family, &series);
        }
        self.page.end(&family);
    }

    fn family(&mut self, view: &FamilyView) {
        let family = Family {
            name: &view.family.name,
            help: &view.family.help,
            kind: match view.family.kind {
                aggregate::FamilyKind::Counter => FamilyKind::Counter,
                aggregate::FamilyKind::Gauge | aggregate::FamilyKind::Set => FamilyKind::Gauge,
                aggregate::FamilyKind::Histogram => FamilyKind::Histogram,
                aggregate::FamilyKind::Summary => FamilyKind::Summary,
            },
        };
        if !self.page.begin(&family) {
            return;
        }
        for block in view.blocks() {
            black_box(self.reading.values.look_ahead(block));
            for series in block {
                self.series(&family, series);
                if !self.page.is_open() {
                    return;
                }
            }
        }
        self.page.end(&family);
    }

    fn series(&mut self, family: &Family<'_>, series: &aggregate::Series) {
        let values = &self.reading.values;
        let cell = series.cell;
        let value = match cell.column {
            ColumnId::Counter => Value::Number(values.counter(cell.id)),
            ColumnId::Gauge => Value::Number(values.gauge(cell.id)),
            ColumnId::Set(layout) => Value::Number(values.set(series, layout)),
            ColumnId::Histogram(_) => {
                let Some(SeriesSpec::Histogram(spec)) = values.spec(cell.column) else { return };
                values.histogram(cell, self.page.shows_native(), &mut self.histogram);
                Value::Histogram { bounds: &spec.bounds, value: &self.histogram }
            }
            ColumnId::Summary(layout) => {
                let Some(SeriesSpec::Summary(spec)) = values.spec(cell.column) else { return };
                let mut merge = values.summary(series, layout);
                self.quantiles.clear();
                let quantiles = spec.quantiles.iter().map(|(q, _)| (*q, merge.quantile(*q)));
                self.quantiles.extend(quantiles);
                let quantiles = &self.quantiles;
                Value::Summary { quantiles, sum: merge.sum, count: merge.count }
            }
        };
        let created_seconds = self.start_seconds + series.created_millis as f64 / 1000.0;
        self.page.series(family, &Series { labels: series.labels(), created_seconds, value });
    }
}
