//! What the files hold together, as a page shows it: families and series in order, and their values.
//!
//! A layout changes when a series comes or goes; values are taken anew for each page.

use std::sync::Arc;

use crate::aggregate::FamilyKind;
use crate::aggregate::histogram::HistogramValue;

/// Where a value stands among all values of a snapshot.
pub type Slot = u32;

/// Everything that the files of all directories hold together, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Families and series.
    pub layout: Arc<Layout>,
    /// By slot; none where no worker that counts has the value.
    pub values: Vec<Option<f64>>,
}

/// Families, sorted by name.
#[derive(Debug, Default)]
pub struct Layout {
    /// Every family has a series.
    pub families: Vec<Arc<FamilyLayout>>,
}

/// One family.
#[derive(Debug)]
pub struct FamilyLayout {
    /// A legal metric name; a counter's is that of its samples.
    pub name: Arc<str>,
    /// Free text, unescaped.
    pub help: Arc<str>,
    /// Counter, gauge, histogram or summary.
    pub kind: FamilyKind,
    /// Its series, sorted by their labels.
    pub series: Vec<Arc<SeriesLayout>>,
}

/// One series.
#[derive(Debug)]
pub struct SeriesLayout {
    /// As the text format has them, without braces: escaped, sorted by name.
    pub labels: Box<str>,
    /// When it was first seen, on the process' clock.
    pub created_millis: u64,
    /// Where its values are.
    pub parts: Parts,
}

/// The values of a series.
#[derive(Debug)]
pub enum Parts {
    /// A counter or a gauge.
    Number(Slot),
    /// A histogram.
    Histogram {
        /// Finite upper bounds, ascending.
        bounds: Arc<[f64]>,
        /// The count of each bucket by itself, and last that of `+Inf`.
        buckets: Box<[Slot]>,
        /// The sum of all samples, if there is one.
        sum: Option<Slot>,
    },
    /// A summary; those of the files have no quantiles.
    Summary {
        /// The sum of all samples, if there is one.
        sum: Option<Slot>,
        /// Their number, if there is one.
        count: Option<Slot>,
    },
}

/// The value of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Merged {
    /// A counter or a gauge.
    Number(f64),
    /// A histogram, which was written where the caller wanted it.
    Histogram,
    /// A summary.
    Summary {
        /// The sum of all samples.
        sum: f64,
        /// Their number.
        count: u64,
    },
}

impl Snapshot {
    /// The value of a slot.
    #[must_use]
    pub fn value(&self, slot: Slot) -> Option<f64> {
        self.values.get(slot as usize).copied().flatten()
    }

    /// The value of a series, if it has one to show; a histogram's goes to `histogram`.
    pub fn merged(&self, series: &SeriesLayout, histogram: &mut HistogramValue) -> Option<Merged> {
        let optional = |slot: &Option<Slot>| slot.and_then(|slot| self.value(slot));
        match &series.parts {
            Parts::Number(slot) => self.value(*slot).map(Merged::Number),
            Parts::Histogram { buckets, sum, .. } => {
                histogram.counts.clear();
                let counts = buckets.iter().map(|slot| self.value(*slot).map_or(0, whole));
                histogram.counts.extend(counts);
                histogram.sum = optional(sum).unwrap_or_default();
                histogram.native = None;
                let has_any = buckets.iter().any(|slot| self.value(*slot).is_some());
                has_any.then_some(Merged::Histogram)
            }
            Parts::Summary { sum, count } => {
                let (sum, count) = (optional(sum), optional(count));
                sum.or(count)?;
                Some(Merged::Summary {
                    sum: sum.unwrap_or_default(),
                    count: count.map_or(0, whole),
                })
            }
        }
    }
}

impl FamilyLayout {
    /// Whether any of its series has a value to show.
    #[must_use]
    pub fn has_values(&self, snapshot: &Snapshot) -> bool {
        let has = |slot: Slot| snapshot.value(slot).is_some();
        self.series.iter().any(|series| match &series.parts {
            Parts::Number(slot) => has(*slot),
            Parts::Histogram { buckets, .. } => buckets.iter().any(|slot| has(*slot)),
            Parts::Summary { sum, count } => [*sum, *count].into_iter().flatten().any(has),
        })
    }
}

/// A count as the integer that it is: only those are taken in.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and only whole numbers from 0 are let in"
)]
fn whole(count: f64) -> u64 {
    count as u64
}
