//! What a series holds, in a form that outlives the process.
//!
//! All times are on the process' clock, which the next process takes up where this one leaves it:
//! so windows, ages and created timestamps mean the same there. The numbers of the fields are those
//! of a saved state's format: one that has been used may not get another meaning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::cells::LaneCells;
use super::{FamilyKind, Refusal, Registry, Request, Series, SeriesSpec, label_pairs};
use crate::map::observer::{HistogramSpec, NativeSpec, SummarySpec};
use crate::map::sharing::{Combination, Combine};

/// The generation of restored families; any rules are newer.
pub(super) const RESTORED_GENERATION: u64 = 0;

/// Name and help of the families that follow.
#[derive(Clone, PartialEq, Message)]
pub struct SavedFamily {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The help text, unescaped.
    #[prost(string, tag = "2")]
    pub help: String,
}

/// What the series of a column are made of.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSpec {
    /// The place of the type in [`FamilyKind::ALL`].
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(double, repeated, tag = "2")]
    bounds: Vec<f64>,
    #[prost(sint32, optional, tag = "3")]
    native_schema: Option<i32>,
    #[prost(uint32, tag = "4")]
    native_max_buckets: u32,
    /// Quantiles and their errors, in turn.
    #[prost(double, repeated, tag = "5")]
    quantiles: Vec<f64>,
    #[prost(uint64, tag = "6")]
    max_age_seconds: u64,
    #[prost(uint32, tag = "7")]
    max_age_nanos: u32,
    #[prost(uint32, tag = "8")]
    age_buckets: u32,
    #[prost(uint64, tag = "9")]
    window_millis: u64,
    /// How the senders of a gauge become one, by name; nothing for a plain gauge.
    #[prost(string, tag = "10")]
    combine: String,
}

/// How senders are combined, by the names that a saved state has for it.
const COMBINES: [(&str, Combine); 6] = [
    ("sum", Combine::Sum),
    ("avg", Combine::Avg),
    ("min", Combine::Min),
    ("max", Combine::Max),
    ("min_seen", Combine::MinSeen),
    ("max_seen", Combine::MaxSeen),
];

/// One series.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSeries {
    /// The labels in their braces, as the text format writes them, or nothing.
    #[prost(string, tag = "1")]
    pub labels: String,
    /// Which of the specs it is made after.
    #[prost(uint32, tag = "2")]
    pub spec: u32,
    /// When it was registered.
    #[prost(uint64, tag = "3")]
    pub created_millis: u64,
    /// How long it lives without a sample; 0 for ever.
    #[prost(uint64, tag = "4")]
    pub ttl_millis: u64,
    /// When its last sample came.
    #[prost(uint64, tag = "5")]
    pub touched_millis: u64,
    /// The value of a counter or gauge.
    #[prost(double, tag = "6")]
    pub number: f64,
    /// What the senders of an absolute counter or a gauge of several senders last sent.
    #[prost(message, repeated, tag = "7")]
    pub reports: Vec<SavedReport>,
    /// The value of a histogram.
    #[prost(message, optional, tag = "8")]
    pub histogram: Option<SavedHistogram>,
    /// The value of a summary.
    #[prost(message, optional, tag = "9")]
    pub summary: Option<SavedSummary>,
    /// The value of a set.
    #[prost(message, optional, tag = "10")]
    pub set: Option<SavedSet>,
    /// The extremes of a gauge that shows the greatest or smallest sample of a window.
    #[prost(message, optional, tag = "11")]
    pub peaks: Option<SavedPeaks>,
}

/// What a sender last sent.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SavedReport {
    /// The sender, by a hash with the saved seed.
    #[prost(fixed64, tag = "1")]
    pub(super) sender: u64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(uint64, tag = "3")]
    pub(super) millis: u64,
}

/// Samples that are, or will yet be, the most extreme one in a window.
#[derive(Clone, PartialEq, Message)]
pub struct SavedPeaks {
    #[prost(double, tag = "1")]
    pub(super) level: f64,
    #[prost(double, repeated, tag = "2")]
    pub(super) values: Vec<f64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(super) until_millis: Vec<u64>,
}

/// A histogram: samples are either in `counts` or in the native slots, never in both.
#[derive(Clone, PartialEq, Message)]
pub struct SavedHistogram {
    /// Samples per classic bucket.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) counts: Vec<u64>,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    /// The resolution of the native slots, if there are any.
    #[prost(sint32, optional, tag = "3")]
    pub(super) schema: Option<i32>,
    #[prost(fixed64, repeated, tag = "4")]
    pub(super) keys: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) key_counts: Vec<u64>,
}

/// A summary and its window.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSummary {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    /// What is in the window, by the numbers of its slices.
    #[prost(btree_map = "uint64, message", tag = "3")]
    pub(super) slices: BTreeMap<u64, SavedSamples>,
}

/// The samples of a slice.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSamples {
    #[prost(double, repeated, tag = "1")]
    pub(super) exact: Vec<f64>,
    #[prost(message, optional, tag = "2")]
    pub(super) sketch: Option<SavedSketch>,
}

/// A sketch of a slice with many samples.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSketch {
    #[prost(uint32, tag = "1")]
    pub(super) level: u32,
    #[prost(sint32, tag = "2")]
    pub(super) positive_first: i32,
    #[prost(uint64, repeated, tag = "3")]
    pub(super) positive: Vec<u64>,
    #[prost(sint32, tag = "4")]
    pub(super) negative_first: i32,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) negative: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub(super) specials: Vec<u64>,
    #[prost(double, tag = "7")]
    pub(super) low: f64,
    #[prost(double, tag = "8")]
    pub(super) high: f64,
}

/// A set's window.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSet {
    /// What is in the window, by the numbers of its slices.
    #[prost(btree_map = "uint64, message", tag = "1")]
    pub(super) slices: BTreeMap<u64, SavedMembers>,
}

/// The members of a slice.
#[derive(Clone, PartialEq, Message)]
pub struct SavedMembers {
    #[prost(fixed64, repeated, tag = "1")]
    pub(super) hashes: Vec<u64>,
    /// The estimate's registers, where there are too many members to keep them.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) registers: Vec<u8>,
}

impl SavedSeries {
    /// Begins with a series' head; the values are to follow.
    pub(super) fn begin(&mut self, series: &Series, touched_millis: u64) {
        self.clear();
        self.labels.push_str(series.text().get(series.name().len()..).unwrap_or_default());
        self.created_millis = series.created_millis;
        self.ttl_millis = series.ttl_millis();
        self.touched_millis = touched_millis;
    }

    /// Whether it has had no sample for longer than its ttl.
    #[must_use]
    pub fn is_expired(&self, now_millis: u64) -> bool {
        self.ttl_millis > 0 && self.touched_millis.saturating_add(self.ttl_millis) < now_millis
    }

    /// Whether it has native buckets.
    fn has_native(&self) -> bool {
        self.histogram.as_ref().is_some_and(|histogram| histogram.schema.is_some())
    }
}

impl SavedSpec {
    /// What is kept of a type and, where it has one, its spec.
    #[must_use]
    pub fn of(kind: FamilyKind, spec: Option<&SeriesSpec>) -> Self {
        let mut saved = Self { kind: kind as u32, ..Self::default() };
        match spec {
            None | Some(SeriesSpec::Counter | SeriesSpec::Gauge) => {}
            Some(SeriesSpec::Histogram(spec)) => {
                saved.bounds = spec.bounds.to_vec();
                saved.native_schema = spec.native.map(|native| native.schema.into());
                saved.native_max_buckets = spec.native.map_or(0, |native| native.max_buckets);
            }
            Some(SeriesSpec::Summary(spec)) => {
                saved.quantiles =
                    spec.quantiles.iter().flat_map(|(q, error)| [*q, *error]).collect();
                saved.max_age_seconds = spec.max_age.as_secs();
                saved.max_age_nanos = spec.max_age.subsec_nanos();
                saved.age_buckets = spec.age_buckets;
            }
            Some(SeriesSpec::Combined(combination)) => {
                let named = COMBINES.iter().find(|(_, how)| *how == combination.how);
                saved.combine = named.map_or(String::new(), |(name, _)| (*name).to_owned());
                saved.window_millis = combination.window_millis;
            }
            Some(SeriesSpec::Set(window_millis)) => saved.window_millis = *window_millis,
        }
        saved
    }

    /// The spec that was saved; `None` for one that a later version may know.
    #[must_use]
    pub fn spec(&self) -> Option<SeriesSpec> {
        let kind = FamilyKind::ALL.get(usize::try_from(self.kind).ok()?)?;
        Some(match kind {
            FamilyKind::Counter => SeriesSpec::Counter,
            FamilyKind::Gauge if self.combine.is_empty() => SeriesSpec::Gauge,
            FamilyKind::Gauge => SeriesSpec::Combined(Combination {
                how: COMBINES.iter().find(|(name, _)| *name == self.combine)?.1,
                window_millis: self.window_millis,
            }),
            FamilyKind::Histogram => SeriesSpec::Histogram(Arc::new(HistogramSpec {
                bounds: self.bounds.clone().into(),
                native: match self.native_schema {
                    Some(schema) => Some(NativeSpec {
                        schema: i8::try_from(schema).ok()?,
                        max_buckets: self.native_max_buckets,
                    }),
                    None => None,
                },
            })),
            FamilyKind::Summary => SeriesSpec::Summary(Arc::new(SummarySpec {
                quantiles: self
                    .quantiles
                    .as_chunks()
                    .0
                    .iter()
                    .map(|[q, error]| (*q, *error))
                    .collect(),
                max_age: Duration::from_secs(self.max_age_seconds)
                    .saturating_add(Duration::from_nanos(self.max_age_nanos.into())),
                age_buckets: self.age_buckets,
            })),
            FamilyKind::Set => SeriesSpec::Set(self.window_millis),
        })
    }
}

impl Registry {
    /// Registers a series that was saved and puts its value into the cells of `lane`, which must be
    /// the first one and not have read a line yet.
    ///
    /// Its family yields to rules that have other buckets, quantiles or windows for it, as it would
    /// to a reload.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] when the name belongs to something else by now.
    pub fn restore(
        &self,
        lane: &mut LaneCells,
        family: &SavedFamily,
        spec: &SeriesSpec,
        saved: &SavedSeries,
    ) -> Result<(), Refusal> {
        let series = self.series(&Request {
            text: &format!("{}{}", family.name, saved.labels),
            name: &family.name,
            label_names: &label_names(&saved.labels),
            spec,
            help: &family.help,
            ttl_millis: saved.ttl_millis,
            generation: RESTORED_GENERATION,
            now_millis: saved.created_millis,
            // They were there before; what is over a limit leaves by its ttl.
            limits: None,
        })?;
        if saved.has_native() {
            self.start_native();
        }
        self.adopt(lane, &series);
        lane.restore(series.cell, saved);
        Ok(())
    }
}

/// The names of such labels, each followed by a comma.
fn label_names(labels: &str) -> String {
    let pairs = label_pairs(labels.trim_start_matches('{'));
    pairs.flat_map(|(name, _)| [name, ","]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_labels_are_found_behind_any_value() {
        check("", "");
        check(r#"{a="1"}"#, "a,");
        check(r#"{a="1",b_c="2"}"#, "a,b_c,");
        check(r#"{a="x=\"y\",z=\\",b="{}",c=""}"#, "a,b,c,");
    }

    #[track_caller]
    fn check(labels: &str, expected: &str) {
        assert_eq!(label_names(labels), expected);
    }

    #[test]
    fn a_spec_is_the_same_again() {
        let native = Some(NativeSpec { schema: -4, max_buckets: 160 });
        for spec in [
            SeriesSpec::Counter,
            SeriesSpec::Gauge,
            SeriesSpec::Histogram(Arc::new(HistogramSpec { bounds: [0.1, 5.0].into(), native })),
            SeriesSpec::Histogram(Arc::new(HistogramSpec { bounds: [].into(), native: None })),
            SeriesSpec::Summary(Arc::new(SummarySpec {
                quantiles: [(0.5, 0.05), (0.9, 0.01)].into(),
                max_age: Duration::MAX,
                age_buckets: 5,
            })),
            SeriesSpec::Set(60_000),
            SeriesSpec::Combined(Combination { how: Combine::MaxSeen, window_millis: 7 }),
        ] {
            assert_eq!(SavedSpec::of(spec.kind(), Some(&spec)).spec(), Some(spec));
        }
    }
}
