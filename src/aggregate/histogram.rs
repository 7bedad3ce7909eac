//! Histograms: classic buckets and native ones, one cell per lane and series.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use super::native::Table;
use super::saved::SavedHistogram;
use crate::map::observer::{HistogramSpec, NativeSpec};

pub use super::native::NativeValue;

/// Up to this many bounds a search from the first one is quicker than a binary one.
const LINEAR_BOUNDS: usize = 32;
/// Up to this many equal samples are added to a sum one by one.
const REPEATED_ADDITIONS: u64 = 64;

/// One lane's part of a histogram. One thread observes, any thread reads.
///
/// A sample is counted in one place only: in a classic bucket, or, once native buckets are
/// recorded, in the slot of the native table that stands for both of its buckets. So a reader at
/// any moment finds a count which classic and native buckets agree on.
#[derive(Debug)]
pub struct HistogramCell {
    buckets: Buckets,
    sum: AtomicU64,
    native: ArcSwapOption<Table>,
}

/// So many buckets lie in the cell itself: those of the default bounds, and the last one.
const INLINE_BUCKETS: usize = 12;

/// The classic buckets of a cell. Not to have them elsewhere saves a pointer and a cache miss;
/// unusual numbers of buckets are elsewhere, so that they waste nothing.
#[derive(Debug)]
enum Buckets {
    Inline([AtomicU64; INLINE_BUCKETS]),
    /// Not there before the first sample.
    Apart(OnceLock<Box<[AtomicU64]>>),
}

impl Buckets {
    fn new(bounds: &[f64]) -> Self {
        if bounds.len() + 1 == INLINE_BUCKETS {
            Self::Inline(Default::default())
        } else {
            Self::Apart(OnceLock::new())
        }
    }

    #[inline]
    fn get(&self) -> &[AtomicU64] {
        match self {
            Self::Inline(buckets) => buckets,
            Self::Apart(buckets) => buckets.get().map_or(&[], |buckets| buckets),
        }
    }

    #[inline]
    fn make(&self, bounds: &[f64]) -> &[AtomicU64] {
        match self {
            Self::Inline(buckets) => buckets,
            Self::Apart(buckets) => {
                buckets.get_or_init(|| (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect())
            }
        }
    }
}

/// A histogram added up over the lanes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramValue {
    /// Samples per bucket, not cumulative; one more than the spec has bounds.
    pub counts: Vec<u64>,
    /// The sum of all samples.
    pub sum: f64,
    /// The native buckets, if the family has them.
    pub native: Option<NativeValue>,
}

impl HistogramValue {
    /// Empties the value and gets it ready for a family's lanes to be added to. Native buckets are
    /// added up where the family has them and `native` asks for them.
    pub fn reset(&mut self, spec: &HistogramSpec, native: bool) {
        self.counts.clear();
        self.counts.resize(spec.bounds.len() + 1, 0);
        self.sum = 0.0;
        self.native = spec.native.filter(|_| native).map(NativeValue::empty);
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }
}

impl HistogramCell {
    /// An empty cell for the family's buckets.
    #[must_use]
    pub fn new(spec: &HistogramSpec) -> Self {
        Self {
            buckets: Buckets::new(&spec.bounds),
            sum: AtomicU64::new(0),
            native: ArcSwapOption::const_empty(),
        }
    }

    /// Takes `value` in `times` times over; `native` says whether native buckets are recorded where
    /// the family has them.
    #[inline]
    pub fn observe(&self, spec: &HistogramSpec, value: f64, times: u64, native: bool) {
        // A sample rate above one stands for no sample; an empty bucket must not come of it.
        if times == 0 {
            return;
        }
        let bucket = bucket_of(&spec.bounds, value);
        match spec.native {
            Some(native_spec) if native => {
                self.observe_native(native_spec, value, bucket, times);
            }
            _ => self.observe_classic(&spec.bounds, bucket, times),
        }
        add_times(&self.sum, value, times);
    }

    #[inline]
    fn observe_classic(&self, bounds: &[f64], bucket: usize, times: u64) {
        if let Some(count) = self.buckets.make(bounds).get(bucket) {
            // Relaxed, and no atomic addition: this thread is the only writer, and the count
            // publishes no other data.
            let old = count.load(Ordering::Relaxed);
            count.store(old.saturating_add(times), Ordering::Relaxed);
        }
    }

    fn observe_native(&self, spec: NativeSpec, value: f64, bucket: usize, times: u64) {
        let held = self.native.load();
        let first = held.is_none().then(|| Table::new(spec));
        let Some(table) = held.as_deref().or(first.as_ref()) else { return };
        let next = table.observe(spec.max_buckets, value, bucket, times);
        if let Some(next) = next.or(first) {
            self.native.store(Some(Arc::new(next)));
        }
    }

    /// Adds this lane's part to `total`, which [`HistogramValue::reset`] has got ready.
    ///
    /// Samples from before native buckets were recorded count there at their classic bucket's
    /// upper bound: the two then agree on the count, which Prometheus insists on, and nobody has
    /// seen native buckets before whose growth this could spoil.
    pub fn add_to(&self, spec: &HistogramSpec, total: &mut HistogramValue) {
        if total.counts.len() <= spec.bounds.len() {
            total.counts.resize(spec.bounds.len() + 1, 0);
        }
        // Relaxed loads: each number only rises by itself, and none stands for another.
        total.sum += f64::from_bits(self.sum.load(Ordering::Relaxed));
        let counts = self.buckets.get().iter().map(|count| count.load(Ordering::Relaxed));
        match (spec.native, &mut total.native) {
            (Some(native_spec), Some(native)) => {
                // Read once, so that both kinds of buckets show the same.
                let counts: SmallVec<[u64; 16]> = counts.collect();
                add_counts(&mut total.counts, counts.iter().copied());
                native.add_classic(native_spec, &spec.bounds, &counts);
            }
            _ => add_counts(&mut total.counts, counts),
        }
        if let Some(native_spec) = spec.native
            && let Some(table) = self.native.load().as_deref()
        {
            table.add_to(native_spec, &mut total.counts, total.native.as_mut());
        }
    }

    /// Adds this lane's part to `saved`, classic and native buckets as they are kept.
    pub(super) fn save(&self, saved: &mut SavedHistogram) {
        saved.sum += f64::from_bits(self.sum.load(Ordering::Relaxed));
        let counts = self.buckets.get();
        if saved.counts.len() < counts.len() {
            saved.counts.resize(counts.len(), 0);
        }
        add_counts(&mut saved.counts, counts.iter().map(|count| count.load(Ordering::Relaxed)));
        if let Some(table) = self.native.load().as_deref() {
            table.save(saved);
        }
    }

    /// Puts back what was saved; only the thread that observes may.
    pub(super) fn restore(&self, spec: &HistogramSpec, saved: &SavedHistogram) {
        self.sum.store(saved.sum.to_bits(), Ordering::Relaxed);
        for (count, saved) in self.buckets.make(&spec.bounds).iter().zip(&saved.counts) {
            count.store(*saved, Ordering::Relaxed);
        }
        if let Some(native) = spec.native {
            self.native.store(Table::restore(native, saved).map(Arc::new));
        }
    }

    /// Reads a little of what [`add_to`](Self::add_to) will read, to have it in the cache by then.
    pub fn look_ahead(&self) -> u64 {
        let load =
            |count: Option<&AtomicU64>| count.map_or(0, |count| count.load(Ordering::Relaxed));
        load(self.buckets.get().first()) ^ load(self.buckets.get().last())
    }

    /// Empties the cell; only the thread that observes may.
    pub fn clear(&self) {
        for count in self.buckets.get() {
            count.store(0, Ordering::Relaxed);
        }
        self.sum.store(0, Ordering::Relaxed);
        self.native.store(None);
    }
}

fn add_counts(totals: &mut [u64], counts: impl Iterator<Item = u64>) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total = total.saturating_add(count);
    }
}

/// The first bucket whose upper bound is not below the value; the last for NaN, as in the
/// reference.
#[inline]
fn bucket_of(bounds: &[f64], value: f64) -> usize {
    if bounds.len() <= LINEAR_BOUNDS {
        return bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
    }
    if value.is_nan() { bounds.len() } else { bounds.partition_point(|bound| *bound < value) }
}

/// Adds `value` to a sum that only this thread writes, `times` times over. A client that sends a
/// sample rate must get the same sum as one that sends every sample, to the last digit.
#[inline]
pub(super) fn add_times(sum: &AtomicU64, value: f64, times: u64) {
    // Relaxed, and no compare-and-swap: this thread is the only writer.
    let old = f64::from_bits(sum.load(Ordering::Relaxed));
    let new = if times <= REPEATED_ADDITIONS {
        (0..times).fold(old, |sum, _| sum + value)
    } else {
        old + value * times as f64
    };
    sum.store(new.to_bits(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_reaches_it() {
        check(&[(1.0, 1)], &[1, 0, 0, 0], 1.0);
        check(&[(1.000_000_1, 1)], &[0, 1, 0, 0], 1.000_000_1);
        check(&[(2.5, 3), (-7.0, 1)], &[1, 3, 0, 0], 0.5);
        check(&[(10.0, 1), (10.1, 1)], &[0, 0, 1, 1], 20.1);
    }

    #[test]
    fn what_is_no_finite_number_has_a_bucket_too() {
        check(&[(f64::INFINITY, 1)], &[0, 0, 0, 1], f64::INFINITY);
        check(&[(f64::NEG_INFINITY, 2)], &[2, 0, 0, 0], f64::NEG_INFINITY);
        check(&[(f64::NAN, 1), (1.0, 1)], &[1, 0, 0, 1], f64::NAN);
    }

    #[test]
    fn a_sample_rate_gives_the_sum_of_the_single_samples() {
        let mut sum = 0.0;
        (0..10).for_each(|_| sum += 0.1);
        assert!(sum < 1.0, "repeated addition rounds, so the test can tell");
        check(&[(0.1, 10)], &[10, 0, 0, 0], sum);
        check(&[(0.5, 1_000_000)], &[1_000_000, 0, 0, 0], 500_000.0);
    }

    #[test]
    fn no_sample_leaves_no_trace() {
        check(&[(1.0, 0)], &[0, 0, 0, 0], 0.0);
    }

    #[test]
    fn counts_stop_at_the_greatest_number() {
        check(&[(0.0, u64::MAX), (0.0, 5)], &[u64::MAX, 0, 0, 0], 0.0);
    }

    /// Observes with and without native buckets, which must not change the classic ones.
    #[track_caller]
    fn check(samples: &[(f64, u64)], counts: &[u64], sum: f64) {
        let spec = spec();
        for native in [false, true] {
            let cell = HistogramCell::new(&spec);
            for (value, times) in samples {
                cell.observe(&spec, *value, *times, native);
            }
            let total = total(&spec, [&cell]);
            assert_eq!(total.counts, counts, "native: {native}");
            assert!(
                total.sum.to_bits() == sum.to_bits() || total.sum.is_nan() && sum.is_nan(),
                "{} is not {sum}",
                total.sum
            );
        }
    }

    #[test]
    fn many_bounds_are_searched_like_few() {
        let bounds: Vec<f64> = (0..100).map(f64::from).collect();
        for value in [-1.0, 0.0, 0.5, 57.0, 57.1, 99.0, 99.5, f64::INFINITY, f64::NAN] {
            let linear = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
            assert_eq!(bucket_of(&bounds, value), linear, "{value}");
        }
    }

    #[test]
    fn samples_from_before_native_buckets_count_at_their_bound() {
        let spec = spec();
        let cell = HistogramCell::new(&spec);
        cell.observe(&spec, 0.3, 2, false);
        cell.observe(&spec, 99.0, 1, false);
        let before = total(&spec, [&cell]).native.unwrap();
        assert_eq!(before.positive, [(0, 2), (27, 1)], "at 1, and at 10 for all above");
        cell.observe(&spec, 4.0, 1, true);
        let after = total(&spec, [&cell]);
        assert_eq!(after.counts, [2, 0, 1, 1]);
        assert_eq!(after.native.unwrap().positive, [(0, 2), (16, 1), (27, 1)]);
    }

    #[test]
    fn native_buckets_are_left_out_unless_asked_for() {
        let spec = spec();
        let cell = HistogramCell::new(&spec);
        cell.observe(&spec, 0.3, 2, true);
        let mut total = HistogramValue::default();
        total.reset(&spec, false);
        cell.add_to(&spec, &mut total);
        assert_eq!(total.native, None);
        assert_eq!(total.counts, [2, 0, 0, 0]);
    }

    #[test]
    fn a_cleared_cell_begins_anew() {
        let spec = spec();
        let cell = HistogramCell::new(&spec);
        for native in [false, true] {
            cell.observe(&spec, 3.0, 1, native);
        }
        cell.clear();
        let mut empty = HistogramValue::default();
        empty.reset(&spec, true);
        assert_eq!(total(&spec, [&cell]), empty);
    }

    proptest! {
        #[test]
        fn lanes_add_up_to_one_in_any_order(
            samples in prop::collection::vec((0_usize..3, -20.0..2_000.0_f64, any::<bool>()), 0..300),
        ) {
            let spec = spec();
            let lanes = [(); 3].map(|()| HistogramCell::new(&spec));
            let one = HistogramCell::new(&spec);
            for (lane, value, native) in samples {
                // Whole numbers, so that sums do not depend on the order.
                lanes[lane].observe(&spec, value.round(), 1, native);
                one.observe(&spec, value.round(), 1, native);
            }
            let [a, b, c] = &lanes;
            let (forth, back) = (total(&spec, [a, b, c]), total(&spec, [c, b, a]));
            prop_assert_eq!(&forth, &back);
            let one = total(&spec, [&one]);
            prop_assert_eq!(&forth.counts, &one.counts);
            prop_assert_eq!(forth.sum.to_bits(), one.sum.to_bits());
            for total in [forth, one] {
                let native = total.native.as_ref().unwrap();
                let sides = native.positive.iter().chain(&native.negative);
                let buckets: u64 = sides.map(|(_, count)| count).sum();
                prop_assert_eq!(native.zero_count + buckets, total.count());
            }
        }
    }

    #[test]
    fn a_reader_never_sees_a_number_fall_nor_the_buckets_disagree() {
        let spec = spec();
        let cell = HistogramCell::new(&spec);
        let samples = 200_000_u32;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..samples {
                    // The second half is native; its values force larger tables and wider buckets.
                    let value = f64::from(number % 1_000) * 0.37;
                    cell.observe(&spec, value, 1, number > samples / 2);
                }
            });
            let mut last = total(&spec, [&cell]);
            while !writer.is_finished() {
                let next = total(&spec, [&cell]);
                assert!(next.sum >= last.sum);
                assert!(next.counts.iter().zip(&last.counts).all(|(next, last)| next >= last));
                let native = next.native.as_ref().unwrap();
                let buckets: u64 = native.positive.iter().map(|(_, count)| count).sum();
                assert_eq!(native.zero_count + buckets, next.count());
                last = next;
            }
        });
    }

    fn spec() -> HistogramSpec {
        let native = NativeSpec { schema: 3, max_buckets: 20 };
        HistogramSpec { bounds: [1.0, 2.5, 10.0].into(), native: Some(native) }
    }

    fn total<'a>(
        spec: &HistogramSpec,
        lanes: impl IntoIterator<Item = &'a HistogramCell>,
    ) -> HistogramValue {
        let mut total = HistogramValue::default();
        total.reset(spec, true);
        lanes.into_iter().for_each(|lane| lane.add_to(spec, &mut total));
        total
    }
}
