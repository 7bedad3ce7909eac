//! What the files hold together, as a page shows it: families and series in order, and their values.
//!
//! A layout changes when a series comes or goes; values are taken anew for each page.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::Part;
use crate::aggregate::FamilyKind;
use crate::aggregate::histogram::HistogramValue;

/// Where a value stands among all values of a snapshot.
pub type Slot = u32;

/// The slot of a value that is not there.
pub const NO_SLOT: Slot = Slot::MAX;

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
    Histogram(Box<Buckets>),
    /// A summary; those of the files have no quantiles.
    Summary {
        /// The sum of all samples, or [`NO_SLOT`].
        sum: Slot,
        /// Their number, or [`NO_SLOT`].
        count: Slot,
    },
}

/// The values of a histogram.
#[derive(Debug)]
pub struct Buckets {
    /// Finite upper bounds, ascending.
    pub bounds: Arc<[f64]>,
    /// The count of each bucket by itself, and last that of `+Inf`.
    pub counts: Box<[Slot]>,
    /// The sum of all samples, or [`NO_SLOT`].
    pub sum: Slot,
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
        match &series.parts {
            Parts::Number(slot) => self.value(*slot).map(Merged::Number),
            Parts::Histogram(buckets) => {
                let Buckets { counts, sum, .. } = &**buckets;
                histogram.counts.clear();
                histogram
                    .counts
                    .extend(counts.iter().map(|slot| self.value(*slot).map_or(0, whole)));
                histogram.sum = self.value(*sum).unwrap_or_default();
                histogram.native = None;
                let has_any = counts.iter().any(|slot| self.value(*slot).is_some());
                has_any.then_some(Merged::Histogram)
            }
            Parts::Summary { sum, count } => {
                let (sum, count) = (self.value(*sum), self.value(*count));
                sum.or(count)?;
                Some(Merged::Summary {
                    sum: sum.unwrap_or_default(),
                    count: count.map_or(0, whole),
                })
            }
        }
    }
}

/// A value that is new.
#[derive(Debug)]
pub struct New {
    /// Its family's name.
    pub family: Arc<str>,
    /// Its family's type.
    pub kind: FamilyKind,
    /// Its family's help, if the family is new.
    pub help: Option<Box<str>>,
    /// Its series' labels, as [`SeriesLayout`] has them.
    pub labels: Box<str>,
    /// Which of the series' values it is.
    pub part: Part,
    /// Where it stands.
    pub slot: Slot,
    /// The time on the process' clock.
    pub created_millis: u64,
}

impl Layout {
    /// The family of a name.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&Arc<FamilyLayout>> {
        let place = self.families.binary_search_by(|family| (*family.name).cmp(name));
        self.families.get(place.ok()?)
    }

    /// This layout and what is new; families without anything new are shared.
    #[must_use]
    pub fn with(&self, added: Vec<New>) -> Self {
        let mut by_family: BTreeMap<Arc<str>, Vec<New>> = BTreeMap::new();
        for new in added {
            by_family.entry(Arc::clone(&new.family)).or_default().push(new);
        }
        let mut families = Vec::with_capacity(self.families.len() + by_family.len());
        let mut old = self.families.iter().peekable();
        for (name, added) in by_family {
            while let Some(before) = old.next_if(|old| old.name < name) {
                families.push(Arc::clone(before));
            }
            let same = old.next_if(|old| old.name == name);
            families.extend(FamilyLayout::with(same.map(|same| &**same), added).map(Arc::new));
        }
        families.extend(old.cloned());
        Self { families }
    }

    /// This layout without the series whose values are gone; `left` hears of each, by family and labels.
    #[must_use]
    pub fn without(&self, is_gone: impl Fn(Slot) -> bool, left: impl Fn(&str, &str)) -> Self {
        let stays = |series: &Arc<SeriesLayout>| series.parts.slots().any(|slot| !is_gone(slot));
        let families = self.families.iter().filter_map(|family| {
            if family.series.iter().all(stays) {
                return Some(Arc::clone(family));
            }
            let gone = family.series.iter().filter(|one| !stays(one));
            gone.for_each(|series| left(&family.name, &series.labels));
            let series: Vec<_> = family.series.iter().filter(|one| stays(one)).cloned().collect();
            let FamilyLayout { name, help, kind, .. } = &**family;
            let (name, help, kind) = (Arc::clone(name), Arc::clone(help), *kind);
            (!series.is_empty()).then(|| Arc::new(FamilyLayout { name, help, kind, series }))
        });
        Self { families: families.collect() }
    }
}

impl Parts {
    /// The slots of all values.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.draft().into_iter().map(|(_, slot)| slot)
    }

    /// The values one by one, and what each is.
    #[must_use]
    pub fn draft(&self) -> Vec<(Part, Slot)> {
        let parts = match self {
            Self::Number(slot) => vec![(Part::Value, *slot)],
            Self::Histogram(buckets) => {
                let bounds = buckets.bounds.iter().copied().chain([f64::INFINITY]);
                let counts = bounds.zip(&buckets.counts);
                let counts = counts.map(|(bound, slot)| (Part::Bucket(bound), *slot));
                counts.chain([(Part::Sum, buckets.sum)]).collect()
            }
            Self::Summary { sum, count } => vec![(Part::Sum, *sum), (Part::Count, *count)],
        };
        parts.into_iter().filter(|(_, slot)| *slot != NO_SLOT).collect()
    }

    fn of(kind: FamilyKind, draft: &[(Part, Slot)]) -> Self {
        let find = |wanted: Part| {
            let found = draft.iter().find(|(part, _)| *part == wanted);
            found.map_or(NO_SLOT, |(_, slot)| *slot)
        };
        match kind {
            FamilyKind::Histogram => {
                let mut buckets: Vec<_> = draft
                    .iter()
                    .filter_map(|(part, slot)| match part {
                        Part::Bucket(bound) if bound.is_finite() => Some((*bound, *slot)),
                        _ => None,
                    })
                    .collect();
                buckets.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                let last = find(Part::Bucket(f64::INFINITY));
                let counts = buckets.iter().map(|(_, slot)| *slot).chain([last]).collect();
                let bounds = buckets.iter().map(|(bound, _)| *bound).collect();
                Self::Histogram(Box::new(Buckets { bounds, counts, sum: find(Part::Sum) }))
            }
            FamilyKind::Summary => Self::Summary { sum: find(Part::Sum), count: find(Part::Count) },
            FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Set => {
                Self::Number(find(Part::Value))
            }
        }
    }

    /// Uses the bounds of another histogram where they are the same, which saves their memory.
    fn share_bounds(&mut self, other: &mut Option<Arc<[f64]>>) {
        let Self::Histogram(buckets) = self else { return };
        match other {
            Some(other) if **other == *buckets.bounds => buckets.bounds = Arc::clone(other),
            _ => *other = Some(Arc::clone(&buckets.bounds)),
        }
    }
}

impl FamilyLayout {
    /// A family with what is new in it.
    fn with(old: Option<&Self>, mut added: Vec<New>) -> Option<Self> {
        added.sort_by(|a, b| a.labels.cmp(&b.labels));
        let first = added.first()?;
        let (name, kind) = (Arc::clone(&first.family), first.kind);
        let help = added.iter().find_map(|new| new.help.as_deref()).unwrap_or_default();
        let help = old.map_or_else(|| help.into(), |old| Arc::clone(&old.help));
        let old = old.map_or(&[][..], |old| &old.series);
        let mut series = Vec::with_capacity(old.len() + added.len());
        let mut old = old.iter().peekable();
        let mut bounds = None;
        let mut added = added.into_iter().peekable();
        while let Some(New { labels, part, slot, created_millis, .. }) = added.next() {
            while let Some(before) = old.next_if(|old| old.labels < labels) {
                series.push(Arc::clone(before));
            }
            let same = old.next_if(|old| old.labels == labels);
            let mut draft = same.map(|same| same.parts.draft()).unwrap_or_default();
            draft.push((part, slot));
            while let Some(new) = added.next_if(|new| new.labels == labels) {
                draft.push((new.part, new.slot));
            }
            let mut parts = Parts::of(kind, &draft);
            parts.share_bounds(&mut bounds);
            let created_millis = same.map_or(created_millis, |same| same.created_millis);
            series.push(Arc::new(SeriesLayout { labels, created_millis, parts }));
        }
        series.extend(old.cloned());
        Some(Self { name, help, kind, series })
    }
    /// Whether any of its series has a value to show.
    #[must_use]
    pub fn has_values(&self, snapshot: &Snapshot) -> bool {
        let has = |slot: Slot| snapshot.value(slot).is_some();
        self.series.iter().any(|series| match &series.parts {
            Parts::Number(slot) => has(*slot),
            Parts::Histogram(buckets) => buckets.counts.iter().any(|slot| has(*slot)),
            Parts::Summary { sum, count } => has(*sum) || has(*count),
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
