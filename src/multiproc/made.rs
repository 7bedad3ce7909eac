//! Snapshots made by hand, for tests of what shows them.

use std::sync::Arc;

use super::layout::{Buckets, FamilyLayout, Layout, Parts, SeriesLayout, Slot, Snapshot};
use crate::aggregate::FamilyKind;

/// The value of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made<'a> {
    /// A counter.
    Counter(f64),
    /// A gauge.
    Gauge(f64),
    /// A gauge that no worker has a value for at the moment.
    Absent,
    /// Bounds, counts of each bucket and the sum.
    Histogram(&'a [f64], &'a [f64], f64),
    /// Sum and count.
    Summary(f64, f64),
}

/// A snapshot of series, each with the name of its family, its labels and its value; in the order of the page.
pub(crate) fn snapshot(series: &[(&str, &str, Made<'_>)]) -> Snapshot {
    let mut values = Vec::new();
    let mut families: Vec<Arc<FamilyLayout>> = Vec::new();
    for group in series.chunk_by(|a, b| a.0 == b.0) {
        let kind = group[0].2.kind();
        let series = group.iter().map(|(_, labels, made)| {
            let parts = made.parts(&mut values);
            Arc::new(SeriesLayout { labels: (*labels).into(), created_millis: 500, parts })
        });
        let series = series.collect();
        let (name, help) = (group[0].0.into(), "Of files.".into());
        families.push(Arc::new(FamilyLayout { name, help, kind, series }));
    }
    Snapshot { layout: Arc::new(Layout { families }), values }
}

impl Made<'_> {
    fn kind(self) -> FamilyKind {
        match self {
            Self::Counter(_) => FamilyKind::Counter,
            Self::Gauge(_) | Self::Absent => FamilyKind::Gauge,
            Self::Histogram(..) => FamilyKind::Histogram,
            Self::Summary(..) => FamilyKind::Summary,
        }
    }

    fn parts(self, values: &mut Vec<Option<f64>>) -> Parts {
        let mut slot = |value| {
            values.push(value);
            Slot::try_from(values.len() - 1).unwrap_or_default()
        };
        match self {
            Self::Counter(value) | Self::Gauge(value) => Parts::Number(slot(Some(value))),
            Self::Absent => Parts::Number(slot(None)),
            Self::Histogram(bounds, counts, sum) => Parts::Histogram(Box::new(Buckets {
                bounds: bounds.into(),
                counts: counts.iter().map(|count| slot(Some(*count))).collect(),
                sum: slot(Some(sum)),
            })),
            Self::Summary(sum, count) => {
                Parts::Summary { sum: slot(Some(sum)), count: slot(Some(count)) }
            }
        }
    }
}
