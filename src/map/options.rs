//! Histogram and summary options as written, to specs.
//!
//! Which option wins, and what holds without any, follows `statsd_exporter` (`pkg/mapper`,
//! `pkg/registry`) and its client library. What makes the reference panic at the first sample is
//! put right here, with a warning.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::Observer;
use super::error::Place;
use super::observer::{HistogramSpec, NativeSpec, SummarySpec};
use super::raw::{Nanos, RawBounds, RawHistogram, RawQuantiles, RawSummary};

/// The bounds of the reference's client library for want of others.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Quantile and rank error for want of others.
const DEFAULT_QUANTILES: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];
const DEFAULT_MAX_AGE: Duration = Duration::from_mins(10);
const DEFAULT_AGE_BUCKETS: u32 = 5;
/// Growth of native buckets where there is a mapping file that does not say otherwise.
const DEFAULT_NATIVE_FACTOR: f64 = 1.1;
const DEFAULT_NATIVE_MAX_BUCKETS: u32 = 256;

/// What the file says that is not as it should be, without being wrong.
pub(super) type Notes = Vec<(Place, String)>;

/// The kinds of observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObserverKind {
    Histogram,
    Summary,
}

/// The options of `defaults:`, and the specs that rules share.
#[derive(Debug)]
pub(super) struct Observers {
    /// `defaults.observer_type`
    pub(super) kind: Option<ObserverKind>,
    bounds: Vec<f64>,
    native_factor: f64,
    native_max_buckets: u32,
    quantiles: Vec<(f64, f64)>,
    max_age: Option<Duration>,
    age_buckets: Option<u32>,
    histograms: HashMap<Vec<u64>, Arc<HistogramSpec>>,
    summaries: HashMap<Vec<u64>, Arc<SummarySpec>>,
}

impl Observers {
    /// What holds without a mapping file: summaries, and no native buckets.
    pub(super) fn without_file() -> Self {
        Self {
            kind: None,
            bounds: DEFAULT_BOUNDS.to_vec(),
            native_factor: 0.0,
            native_max_buckets: 0,
            quantiles: DEFAULT_QUANTILES.to_vec(),
            max_age: None,
            age_buckets: None,
            histograms: HashMap::new(),
            summaries: HashMap::new(),
        }
    }

    /// What `defaults:` says.
    pub(super) fn new(
        kind: Option<ObserverKind>,
        histogram: &RawHistogram,
        summary: &RawSummary,
        notes: &mut Notes,
    ) -> Self {
        let factor = histogram.native_histogram_bucket_factor.unwrap_or_default().0;
        let max_buckets = histogram.native_histogram_max_buckets.unwrap_or_default().0;
        let without = Self::without_file();
        Self {
            kind,
            bounds: bounds(histogram.buckets.as_ref(), notes).unwrap_or(without.bounds),
            native_factor: if factor == 0.0 { DEFAULT_NATIVE_FACTOR } else { factor },
            native_max_buckets: if max_buckets == 0 {
                DEFAULT_NATIVE_MAX_BUCKETS
            } else {
                max_buckets
            },
            quantiles: quantiles(summary.quantiles.as_ref(), notes).unwrap_or(without.quantiles),
            max_age: max_age(summary.max_age.as_ref(), notes),
            age_buckets: age_buckets(summary),
            ..Self::without_file()
        }
    }

    /// What takes timings for which no rule says anything.
    pub(super) fn default_observer(&mut self) -> Observer {
        match self.kind {
            Some(ObserverKind::Histogram) => self.histogram(&RawHistogram::default(), &mut vec![]),
            Some(ObserverKind::Summary) | None => self.summary(None, &mut vec![]),
        }
    }

    /// The histogram of a rule; what it does not say is taken from `defaults:`.
    pub(super) fn histogram(&mut self, written: &RawHistogram, notes: &mut Notes) -> Observer {
        let own_bounds = bounds(written.buckets.as_ref(), notes);
        let factor = written.native_histogram_bucket_factor.map(|factor| factor.0);
        let max_buckets = written.native_histogram_max_buckets.map(|count| count.0);
        let spec = HistogramSpec {
            bounds: own_bounds.unwrap_or_else(|| self.bounds.clone()).into(),
            native: NativeSpec::from_factor(
                factor.filter(|factor| *factor > 0.0).unwrap_or(self.native_factor),
                max_buckets.filter(|count| *count > 0).unwrap_or(self.native_max_buckets),
            ),
        };
        let native = spec.native.map(|native| (native.schema, native.max_buckets));
        let (schema, max_buckets) = native.unwrap_or((i8::MAX, 0));
        let mut key = vec![u64::from(schema.cast_unsigned()), u64::from(max_buckets)];
        key.extend(spec.bounds.iter().map(|bound| bound.to_bits()));
        let shared = self.histograms.entry(key).or_insert_with(|| Arc::new(spec));
        Observer::Histogram(Arc::clone(shared))
    }

    /// The summary of a rule with options of its own, or of one without.
    ///
    /// Where neither the rule nor `defaults:` names the type, a rule with options takes the
    /// quantiles alone from `defaults:`, as in the reference; `inherits` says whether it takes the
    /// window as well.
    pub(super) fn summary(
        &mut self,
        written: Option<(&RawSummary, bool)>,
        notes: &mut Notes,
    ) -> Observer {
        let (written, inherits) = match written {
            Some((written, inherits)) => (written.clone(), inherits),
            None => (RawSummary::default(), true),
        };
        let own_quantiles = quantiles(written.quantiles.as_ref(), notes);
        let own_max_age = max_age(written.max_age.as_ref(), notes);
        let spec = SummarySpec {
            quantiles: own_quantiles.unwrap_or_else(|| self.quantiles.clone()).into(),
            max_age: own_max_age.or(self.max_age.filter(|_| inherits)).unwrap_or(DEFAULT_MAX_AGE),
            age_buckets: age_buckets(&written)
                .or(self.age_buckets.filter(|_| inherits))
                .unwrap_or(DEFAULT_AGE_BUCKETS),
        };
        let window = [spec.max_age.as_secs(), u64::from(spec.max_age.subsec_nanos())];
        let mut key = vec![u64::from(spec.age_buckets)];
        key.extend(window);
        key.extend(spec.quantiles.iter().flat_map(|(q, error)| [q.to_bits(), error.to_bits()]));
        let shared = self.summaries.entry(key).or_insert_with(|| Arc::new(spec));
        Observer::Summary(Arc::clone(shared))
    }
}

/// Finite, rising bounds; `None` where none are written.
fn bounds(written: Option<&Spanned<RawBounds>>, notes: &mut Notes) -> Option<Vec<f64>> {
    let written = written.filter(|bounds| !bounds.value.is_empty())?;
    let mut bounds: Vec<f64> =
        written.value.iter().map(|bound| bound.unwrap_or_default().0).collect();
    // The bucket for everything is always there.
    bounds.retain(|bound| *bound != f64::INFINITY);
    let is_rising = bounds.is_sorted_by(|low, high| low < high);
    if !is_rising || bounds.iter().any(|bound| !bound.is_finite()) {
        bounds.retain(|bound| bound.is_finite());
        bounds.sort_unstable_by(f64::total_cmp);
        bounds.dedup();
        let text = "buckets have to be finite and rising; they are used sorted, each once";
        notes.push((Place::of(written), text.to_owned()));
    }
    Some(bounds)
}

/// Quantiles within 0 and 1, sorted, the last of equal ones; `None` where none are written.
fn quantiles(
    written: Option<&Spanned<RawQuantiles>>,
    notes: &mut Notes,
) -> Option<Vec<(f64, f64)>> {
    let written = written.filter(|quantiles| !quantiles.value.is_empty())?;
    let mut quantiles: Vec<(f64, f64)> = Vec::new();
    for entry in &written.value {
        let entry = entry.unwrap_or_default();
        let (quantile, error) =
            (entry.quantile.unwrap_or_default().0, entry.error.unwrap_or_default().0);
        if !(0.0..=1.0).contains(&quantile) {
            let text = format!("a quantile lies between 0 and 1; {quantile} is left out");
            notes.push((Place::of(written), text));
            continue;
        }
        let is_share = (0.0..=1.0).contains(&error);
        if !is_share {
            let text = format!("an error lies between 0 and 1; {error} is taken for the nearest");
            notes.push((Place::of(written), text));
        }
        let error = if error.is_nan() { 0.0 } else { error.clamp(0.0, 1.0) };
        // Adding 0 turns -0 into 0, so that equal numbers are equal bits.
        let (quantile, error) = (quantile + 0.0, error + 0.0);
        quantiles.retain(|(known, _)| known.to_bits() != quantile.to_bits());
        quantiles.push((quantile, error));
    }
    quantiles.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Some(quantiles)
}

/// How long a sample counts; `None` where nothing, zero or less is written.
fn max_age(written: Option<&Spanned<Nanos>>, notes: &mut Notes) -> Option<Duration> {
    let written = written?;
    if written.value.0 < 0 {
        let text = "max_age is negative; the default is used";
        notes.push((Place::of(written), text.to_owned()));
    }
    let nanos = u64::try_from(written.value.0).ok().filter(|nanos| *nanos > 0)?;
    Some(Duration::from_nanos(nanos))
}

fn age_buckets(written: &RawSummary) -> Option<u32> {
    written.age_buckets.map(|count| count.0).filter(|count| *count > 0)
}
