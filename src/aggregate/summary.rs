//! Summaries: quantiles over a sliding window, one cell per lane and series.
//!
//! The window is that of `client_golang`, which the reference uses: the current slice and those
//! before it, as many as `age_buckets` in all. A quantile is exact, by nearest rank, while no slice
//! has more than 64 samples; beyond that it is good to one per cent of its value.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::histogram::add_times;
use super::saved::SavedSummary;
use super::sketch::{LiveSketch, Sketch};
use super::window::{Position, Window};
use crate::map::observer::SummarySpec;

/// How many exact values a slice has room for, in the order in which it grows. A series of a few
/// samples per slice stays below 1 KiB.
const EXACT_SIZES: [usize; 3] = [4, 16, 64];
/// A window slides in no more steps than this, whatever the mapping asks for: each may take
/// memory for every series, and a finer step than this changes no quantile that anyone could see.
const MAX_SLICES: u32 = 256;

/// One lane's part of a summary. One thread observes, any thread reads.
#[derive(Debug)]
pub struct SummaryCell {
    count: AtomicU64,
    sum: AtomicU64,
    window: Window<Samples>,
}

/// What the lanes' windows are merged into.
#[derive(Debug, Default)]
pub struct SummaryMerge {
    /// Samples since the series began.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    exact: Vec<f64>,
    sketch: Option<Sketch>,
}

impl SummaryCell {
    /// An empty cell with the family's number of slices.
    #[must_use]
    pub fn new(_spec: &SummarySpec) -> Self {
        Self { count: AtomicU64::new(0), sum: AtomicU64::new(0), window: Window::new() }
    }

    /// Tells when the series was registered; only the thread that observes may.
    pub fn begin(&self, created_millis: u64) {
        self.window.begin(created_millis);
    }

    /// Takes `value` in `times` times over.
    pub fn observe(&self, spec: &SummarySpec, now_millis: u64, value: f64, times: u64) {
        // Relaxed, and no atomic addition: this thread is the only writer.
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count.saturating_add(times), Ordering::Relaxed);
        add_times(&self.sum, value, times);
        // Nobody asks such a window for anything.
        if spec.quantiles.is_empty() || times == 0 {
            return;
        }
        let age_millis = self.window.age_millis(now_millis);
        self.window.update(position(spec, age_millis), |samples| match samples {
            Some(samples) => samples.take(value, times),
            None => Some(Samples::none().and(value, times)),
        });
    }

    /// Adds what of this lane is inside the window at `age_millis` to `merge`.
    pub fn add_to(&self, spec: &SummarySpec, age_millis: u64, merge: &mut SummaryMerge) {
        // Relaxed: each number only rises by itself, and none stands for another.
        merge.count = merge.count.saturating_add(self.count.load(Ordering::Relaxed));
        merge.sum += f64::from_bits(self.sum.load(Ordering::Relaxed));
        self.window.each(position(spec, age_millis), |samples| match samples {
            Samples::Exact(exact) => merge.exact.extend(exact.values()),
            Samples::Sketch(sketch) => {
                sketch.add_to(merge.sketch.get_or_insert_default());
            }
        });
    }

    /// Adds what of this lane is inside the window at `age_millis` to `saved`, slice by slice.
    pub(super) fn save(&self, spec: &SummarySpec, age_millis: u64, saved: &mut SavedSummary) {
        saved.count = saved.count.saturating_add(self.count.load(Ordering::Relaxed));
        saved.sum += f64::from_bits(self.sum.load(Ordering::Relaxed));
        self.window.each_numbered(position(spec, age_millis), |number, samples| {
            let slice = saved.slices.entry(number).or_default();
            match samples {
                Samples::Exact(exact) => slice.exact.extend(exact.values()),
                Samples::Sketch(own) => {
                    let held = slice.sketch.as_ref().and_then(Sketch::restore);
                    let mut sketch = held.unwrap_or_default();
                    own.add_to(&mut sketch);
                    slice.sketch = Some(sketch.save());
                }
            }
        });
    }

    /// Puts back what was saved; only the thread that observes may.
    pub(super) fn restore(&self, spec: &SummarySpec, saved: &SavedSummary) {
        self.count.store(saved.count, Ordering::Relaxed);
        self.sum.store(saved.sum.to_bits(), Ordering::Relaxed);
        for (number, slice) in &saved.slices {
            let at = Position { number: *number, ..position(spec, 0) };
            self.window.update(at, |_| {
                let sketch = slice.sketch.as_ref().and_then(Sketch::restore);
                let mut samples = sketch.map_or_else(Samples::none, |sketch| {
                    Samples::Sketch(Box::new(LiveSketch::new(sketch)))
                });
                for value in &slice.exact {
                    if let Some(larger) = samples.take(*value, 1) {
                        samples = larger;
                    }
                }
                Some(samples)
            });
        }
    }

    /// Empties the cell; only the thread that observes may.
    pub fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.sum.store(0, Ordering::Relaxed);
        self.window.clear();
    }

    /// What the cell takes in memory.
    #[cfg(test)]
    fn size_bytes(&self) -> usize {
        let heap = self.window.heap_bytes(|samples| match samples {
            Samples::Exact(exact) => size_of_val(&*exact.values),
            Samples::Sketch(sketch) => size_of_val(&**sketch) + sketch.heap_bytes(),
        });
        size_of::<Self>() + heap
    }
}

fn position(spec: &SummarySpec, age_millis: u64) -> Position {
    let slices = spec.age_buckets.clamp(1, MAX_SLICES);
    let max_age_nanos = u64::try_from(spec.max_age.as_nanos()).unwrap_or(u64::MAX);
    let slice_nanos = (max_age_nanos / u64::from(slices)).max(1);
    Position { slices, number: age_millis.saturating_mul(1_000_000) / slice_nanos }
}

impl SummaryMerge {
    /// The value at a quantile; NaN for an empty window.
    #[must_use]
    pub fn quantile(&mut self, q: f64) -> f64 {
        let Some(sketch) = &mut self.sketch else {
            self.exact.sort_unstable_by(f64::total_cmp);
            let rank = usize::try_from(nearest_rank(self.exact.len() as u64, q));
            return rank.ok().and_then(|rank| self.exact.get(rank)).copied().unwrap_or(f64::NAN);
        };
        self.exact.drain(..).for_each(|value| sketch.add(value, 1));
        sketch.at_rank(nearest_rank(sketch.count(), q))
    }
}

/// How many values are before the one at a quantile, as the reference has it for few values.
fn nearest_rank(count: u64, q: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast stops at zero and at the greatest number, and makes NaN zero"
    )]
    let rank = (count as f64 * q).ceil() as u64;
    rank.min(count).saturating_sub(1)
}

/// The samples of a slice.
#[derive(Debug)]
enum Samples {
    Exact(Exact),
    Sketch(Box<LiveSketch>),
}

impl Samples {
    fn none() -> Self {
        Self::Exact(Exact { len: AtomicUsize::new(0), values: Box::default() })
    }

    /// Takes a value in, or returns what takes this one's place, the value included.
    fn take(&self, value: f64, times: u64) -> Option<Self> {
        match self {
            Self::Exact(exact) if exact.append(value, times) => None,
            Self::Exact(_) => Some(self.and(value, times)),
            Self::Sketch(sketch) => sketch.add(value, times).map(Box::new).map(Self::Sketch),
        }
    }

    /// Larger samples, with a value more.
    fn and(&self, value: f64, times: u64) -> Self {
        let mut sketch = Sketch::default();
        match self {
            Self::Exact(exact) => {
                if let Some(grown) = exact.grown(times) {
                    grown.append(value, times);
                    return Self::Exact(grown);
                }
                exact.values().for_each(|value| sketch.add(value, 1));
            }
            Self::Sketch(own) => own.add_to(&mut sketch),
        }
        sketch.add(value, times);
        Self::Sketch(Box::new(LiveSketch::new(sketch)))
    }
}

/// A list of values that one thread appends to while others read.
#[derive(Debug)]
struct Exact {
    len: AtomicUsize,
    values: Box<[AtomicU64]>,
}

impl Exact {
    /// Appends `times` values; `false`, and nothing is changed, where there is no room for them.
    fn append(&self, value: f64, times: u64) -> bool {
        // Relaxed: this thread is the only writer.
        let len = self.len.load(Ordering::Relaxed);
        let end = usize::try_from(times).ok().and_then(|times| len.checked_add(times));
        let Some((room, end)) = end.and_then(|end| Some((self.values.get(len..end)?, end))) else {
            return false;
        };
        // One NaN like another: those with a sign would be sorted first.
        let value = if value.is_nan() { f64::NAN } else { value };
        for slot in room {
            slot.store(value.to_bits(), Ordering::Relaxed);
        }
        // Release: a reader that finds the length finds the values.
        self.len.store(end, Ordering::Release);
        true
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        // Acquire: pairs with the release that published the values.
        let len = self.len.load(Ordering::Acquire);
        self.values.iter().take(len).map(|value| f64::from_bits(value.load(Ordering::Relaxed)))
    }

    /// The same values with room for `more`, unless those are too many to be kept exactly.
    fn grown(&self, more: u64) -> Option<Self> {
        let len = self.len.load(Ordering::Relaxed);
        let needed = usize::try_from(more).ok()?.checked_add(len)?;
        let size = *EXACT_SIZES.iter().find(|size| needed <= **size)?;
        let values = self.values().map(f64::to_bits).chain(std::iter::repeat(0)).take(size);
        Some(Self { len: AtomicUsize::new(len), values: values.map(AtomicU64::new).collect() })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is compared here is exact")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_samples_give_the_value_of_the_nearest_rank() {
        check(&[42.0], &[(0.5, 42.0), (0.9, 42.0), (0.99, 42.0)]);
        check(&[5.0, 1.0, 4.0, 2.0, 3.0], &[(0.5, 3.0), (0.9, 5.0), (0.99, 5.0)]);
        check(&[1.0, 2.0, 3.0], &[(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)]);
        check(&[1.0, 3.0], &[(0.25, 1.0), (0.5, 1.0), (0.75, 3.0)]);
    }

    #[test]
    fn what_is_no_finite_number_has_its_rank() {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        check(&[high, low, 0.0], &[(0.0, low), (0.5, 0.0), (1.0, high)]);
        check(&[f64::NAN], &[(0.5, f64::NAN)]);
        check(&[-f64::NAN, 1.0, 2.0], &[(0.5, 2.0), (1.0, f64::NAN)]);
        let many: Vec<f64> = (0..100).flat_map(|_| [high, low, 0.0, f64::NAN]).collect();
        check(&many, &[(0.25, low), (0.5, 0.0), (0.75, high), (1.0, f64::NAN)]);
    }

    #[test]
    fn an_empty_window_has_no_quantiles() {
        check(&[], &[(0.5, f64::NAN)]);
    }

    #[test]
    fn many_equal_samples_come_out_as_they_went_in() {
        check(&[0.123; 1_000], &[(0.0, 0.123), (0.5, 0.123), (1.0, 0.123)]);
    }

    #[test]
    fn the_largest_and_the_smallest_value_are_exact() {
        let values: Vec<f64> = (1..=1_000).map(f64::from).collect();
        check(&values, &[(0.0, 1.0), (1.0, 1_000.0)]);
    }

    /// Values in the first slice, and quantiles of the window.
    #[track_caller]
    fn check(values: &[f64], quantiles: &[(f64, f64)]) {
        let mut merge = merge([&filled(values)], 0);
        assert_eq!(merge.count, values.len() as u64);
        for (q, expected) in quantiles {
            let value = merge.quantile(*q);
            let is_equal = value == *expected || value.is_nan() && expected.is_nan();
            assert!(is_equal, "{value} at {q}, not {expected}");
        }
    }

    #[test]
    fn a_sample_counts_for_max_age_and_no_slice_longer() {
        let cell = SummaryCell::new(&spec());
        cell.observe(&spec(), 0, 1.0, 1);
        cell.observe(&spec(), 119_999, 2.0, 1);
        cell.observe(&spec(), 120_000, 3.0, 1);
        let highest = |age| merge([&cell], age).quantile(1.0);
        let lowest = |age| merge([&cell], age).quantile(0.0);
        assert_eq!((lowest(120_000), highest(120_000)), (1.0, 3.0));
        assert_eq!(lowest(599_999), 1.0);
        assert_eq!(lowest(600_000), 3.0);
        assert!(lowest(720_000).is_nan());
        let end = merge([&cell], 720_000);
        assert_eq!((end.count, end.sum), (3, 6.0), "these are older than the window");
    }

    #[test]
    fn a_reader_whose_clock_is_behind_sees_the_newest_sample() {
        let cell = SummaryCell::new(&spec());
        cell.observe(&spec(), 120_000, 3.0, 1);
        assert_eq!(merge([&cell], 119_999).quantile(0.5), 3.0);
    }

    #[test]
    fn odd_windows_work() {
        for (max_age, age_buckets) in [
            (Duration::from_nanos(1), 5),
            (Duration::from_millis(7), 3),
            (Duration::MAX, 1),
            (Duration::from_mins(1), u32::MAX),
        ] {
            let spec = SummarySpec { max_age, age_buckets, ..spec() };
            let cell = SummaryCell::new(&spec);
            cell.observe(&spec, u64::MAX, 1.0, 1);
            let mut merge = SummaryMerge::default();
            cell.add_to(&spec, u64::MAX, &mut merge);
            assert_eq!(merge.quantile(0.5), 1.0);
        }
    }

    #[test]
    fn a_sample_rate_counts_for_as_many_samples() {
        for times in [1, 3, 64, 65, 5_000_000_000, u64::MAX] {
            let cell = SummaryCell::new(&spec());
            cell.observe(&spec(), 0, 7.0, times);
            cell.observe(&spec(), 0, 7.0, 0);
            let mut merge = merge([&cell], 0);
            assert_eq!((merge.count, merge.quantile(0.5)), (times, 7.0));
        }
    }

    #[test]
    fn a_cleared_cell_begins_anew() {
        let cell = SummaryCell::new(&spec());
        (0..100).for_each(|value| cell.observe(&spec(), 0, f64::from(value), 1));
        cell.clear();
        let mut merge = merge([&cell], 0);
        assert_eq!((merge.count, merge.sum), (0, 0.0));
        assert!(merge.quantile(0.5).is_nan());
    }

    #[test]
    fn uniform_values_come_out_within_one_per_cent() {
        let cell = SummaryCell::new(&spec());
        (1..=1_000).for_each(|value| cell.observe(&spec(), 0, f64::from(value * 7 % 1_000 + 1), 1));
        let mut merge = merge([&cell], 0);
        for (q, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let value = merge.quantile(q);
            assert!((value / expected - 1.0).abs() <= 0.01, "{value} at {q}");
        }
    }

    #[test]
    fn a_quiet_series_takes_a_kilobyte_and_a_busy_one_eight() {
        let fill = |samples: u64, value: &dyn Fn(u64) -> f64| {
            let cell = SummaryCell::new(&spec());
            for slice in 0..5 {
                for number in 0..samples {
                    cell.observe(&spec(), slice * 120_000, value(number), 1);
                }
            }
            cell.size_bytes()
        };
        assert!(fill(0, &|_| 0.0) <= 64, "nothing is allocated before the first sample");
        assert!(fill(16, &|_| 1.0) <= 1_024, "{}", fill(16, &|_| 1.0));
        let signs = |number: u64| (number as f64 - 5_000.0) * 1e-6;
        let wide = |number: u64| 10_f64.powf(number as f64 / 20.0 - 250.0);
        for value in [&signs as &dyn Fn(u64) -> f64, &wide, &|number| number as f64] {
            assert!(fill(10_000, value) <= 8_192, "{}", fill(10_000, value));
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_exact_for_few_and_close_for_many(
            values in prop::collection::vec(-1_000.0..1_000.0_f64, 1..400),
            q in 0.0..=1.0_f64,
        ) {
            let value = merge([&filled(&values)], 0).quantile(q);
            let exact = nearest(values.clone(), q);
            // Both signs over many decades may widen the bins a few times.
            let bound = if values.len() <= 64 { 0.0 } else { 0.09 * exact.abs() };
            prop_assert!((value - exact).abs() <= bound, "{} is not {}", value, exact);
        }

        #[test]
        fn three_decades_come_out_within_one_per_cent(
            values in prop::collection::vec(0.01..10.0_f64, 65..600),
            q in 0.0..=1.0_f64,
        ) {
            let value = merge([&filled(&values)], 0).quantile(q);
            let exact = nearest(values.clone(), q);
            prop_assert!((value / exact - 1.0).abs() <= 0.01, "{} is not {}", value, exact);
        }

        #[test]
        fn lanes_add_up_to_one_in_any_order(
            samples in prop::collection::vec((0_usize..3, 0_u64..5, any::<i16>()), 0..400),
            q in 0.0..=1.0_f64,
        ) {
            let lanes = [(); 3].map(|()| SummaryCell::new(&spec()));
            let one = SummaryCell::new(&spec());
            for (lane, slice, value) in &samples {
                lanes[*lane].observe(&spec(), slice * 120_000, f64::from(*value), 1);
                one.observe(&spec(), slice * 120_000, f64::from(*value), 1);
            }
            let [a, b, c] = &lanes;
            let (mut forth, mut back) = (merge([a, b, c], 0), merge([c, b, a], 0));
            prop_assert_eq!(forth.quantile(q).to_bits(), back.quantile(q).to_bits());
            let mut one = merge([&one], 0);
            prop_assert_eq!((forth.count, forth.sum.to_bits()), (one.count, one.sum.to_bits()));
            if samples.len() <= 64 {
                prop_assert_eq!(forth.quantile(q).to_bits(), one.quantile(q).to_bits());
            }
        }
    }

    #[test]
    fn a_reader_never_sees_count_or_sum_fall() {
        let cell = SummaryCell::new(&spec());
        let samples = 200_000_u32;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..samples {
                    let age_millis = u64::from(number) * 20;
                    cell.observe(&spec(), age_millis, f64::from(number % 1_000), 1);
                }
            });
            let mut last = merge([&cell], 0);
            while !writer.is_finished() {
                let mut next = merge([&cell], last.count * 20);
                assert!(next.count >= last.count && next.sum >= last.sum);
                let median = next.quantile(0.5);
                assert!(median.is_nan() || (0.0..1_000.0).contains(&median));
                last = next;
            }
        });
    }

    fn filled(values: &[f64]) -> SummaryCell {
        let cell = SummaryCell::new(&spec());
        for value in values {
            cell.observe(&spec(), 0, *value, 1);
        }
        cell
    }

    /// The first value that has a share of `q` up to and with it.
    fn nearest(mut values: Vec<f64>, q: f64) -> f64 {
        values.sort_unstable_by(f64::total_cmp);
        let count = values.len() as f64;
        let mut ranked = (1_u32..).map(f64::from).zip(&values);
        ranked.find(|(rank, _)| *rank >= count * q).map_or(f64::NAN, |(_, value)| *value)
    }

    fn spec() -> SummarySpec {
        let quantiles = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)].into();
        SummarySpec { quantiles, max_age: Duration::from_mins(10), age_buckets: 5 }
    }

    fn merge<'a>(
        lanes: impl IntoIterator<Item = &'a SummaryCell>,
        age_millis: u64,
    ) -> SummaryMerge {
        let mut merge = SummaryMerge::default();
        lanes.into_iter().for_each(|lane| lane.add_to(&spec(), age_millis, &mut merge));
        merge
    }
}
