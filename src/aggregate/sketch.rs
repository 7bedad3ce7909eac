//! Log-bucket sketches: the distribution of many values in little memory, each value to within
//! one per cent.
//!
//! Bins grow by a constant factor, as in `DDSketch` (Masson, Rim, Lee, 2019). Where the values
//! spread further than there are bins, every two neighbours become one, which doubles the error:
//! 1 % over three decades, 2 % over six, half as many decades where values of both signs share the
//! bins. The smallest and the largest value are exact.

use std::iter;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::saved::SavedSketch;

/// Width of the finest bins as a logarithm; the middle of a bin is off by tanh(0.01), below 1 %.
const BIN_WIDTH: f64 = 0.02;
/// Bins of a live sketch with values of one sign, and for each sign with values of both. Five
/// slices of that size stay below the 8 KiB that a busy series may take.
const ONE_SIGN_BINS: usize = 368;
const TWO_SIGN_BINS: usize = ONE_SIGN_BINS / 2;
/// Bins are made by so many at a time, so that a wider spread does not copy all of them each time.
const BIN_STEP: i32 = 8;
/// No float is in a bin as far out as this, at whatever width.
const MAX_BIN: u32 = 1 << 17;
/// Bins as wide as this hold all floats of a sign in a few.
const MAX_LEVEL: u8 = 16;

/// Where a value is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Special(Special),
    Positive(i32),
    Negative(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    NegativeInfinity,
    Zero,
    PositiveInfinity,
    Nan,
}

const SPECIALS: usize = 4;

impl Place {
    fn of(value: f64, level: u8) -> Self {
        if value.is_nan() {
            return Self::Special(Special::Nan);
        }
        if value == 0.0 {
            return Self::Special(Special::Zero);
        }
        match (value > 0.0, value.is_infinite()) {
            (true, true) => Self::Special(Special::PositiveInfinity),
            (false, true) => Self::Special(Special::NegativeInfinity),
            (true, false) => Self::Positive(bin_of(value, level)),
            (false, false) => Self::Negative(bin_of(-value, level)),
        }
    }
}

fn bin_of(magnitude: f64, level: u8) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a float is below 1,000")]
    let finest = (magnitude.ln() / BIN_WIDTH).ceil() as i32;
    coarser(finest, level)
}

/// The bin at a width doubled `steps` times: bins are closed above, so indices round up.
fn coarser(index: i32, steps: u8) -> i32 {
    (index + (1 << steps) - 1) >> steps
}

/// The value whose relative distance to both ends of a bin is the same.
fn middle_of(index: i32, level: u8) -> f64 {
    let width = BIN_WIDTH * f64::from(1 << level);
    let to_middle = (width.exp() + 1.0).ln() - std::f64::consts::LN_2;
    (f64::from(index) * width - to_middle).exp().min(f64::MAX)
}

/// A sketch to merge others into; it has as many bins as it takes.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    /// How many times the bins' width was doubled.
    level: u8,
    positive: Bins,
    negative: Bins,
    specials: [u64; SPECIALS],
    low: f64,
    high: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            level: 0,
            positive: Bins::default(),
            negative: Bins::default(),
            specials: [0; SPECIALS],
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        }
    }
}

impl Sketch {
    /// Takes a value in, `times` times over.
    pub(super) fn add(&mut self, value: f64, times: u64) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        match Place::of(value, self.level) {
            Place::Special(special) => self.add_special(special, times),
            Place::Positive(index) => self.positive.add(index, times),
            Place::Negative(index) => self.negative.add(index, times),
        }
    }

    fn add_special(&mut self, special: Special, times: u64) {
        if let Some(count) = self.specials.get_mut(special as usize) {
            *count = count.saturating_add(times);
        }
    }

    fn special(&self, special: Special) -> u64 {
        self.specials.get(special as usize).copied().unwrap_or(0)
    }

    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.in_order().fold(0, |total, (_, count)| total.saturating_add(count))
    }

    /// The value that has `rank` others before it, NaN being the greatest.
    pub(super) fn at_rank(&self, rank: u64) -> f64 {
        let mut before = rank;
        let place = self.in_order().find(|(_, count)| match before.checked_sub(*count) {
            Some(rest) => {
                before = rest;
                false
            }
            None => true,
        });
        match place.map(|(place, _)| place) {
            Some(Place::Special(Special::NegativeInfinity)) => f64::NEG_INFINITY,
            Some(Place::Special(Special::Zero)) => 0.0,
            Some(Place::Special(Special::PositiveInfinity)) => f64::INFINITY,
            Some(Place::Special(Special::Nan)) | None => f64::NAN,
            Some(Place::Positive(index)) => self.within(middle_of(index, self.level)),
            Some(Place::Negative(index)) => self.within(-middle_of(index, self.level)),
        }
    }

    /// Values that are all equal come out as they went in.
    fn within(&self, value: f64) -> f64 {
        value.max(self.low).min(self.high)
    }

    fn in_order(&self) -> impl Iterator<Item = (Place, u64)> {
        let special = |special| iter::once((Place::Special(special), self.special(special)));
        let negative = self.negative.used().rev();
        let positive = self.positive.used();
        special(Special::NegativeInfinity)
            .chain(negative.map(|(index, count)| (Place::Negative(index), count)))
            .chain(special(Special::Zero))
            .chain(positive.map(|(index, count)| (Place::Positive(index), count)))
            .chain(special(Special::PositiveInfinity))
            .chain(special(Special::Nan))
    }

    /// What there is of it in a saved state.
    pub(super) fn save(&self) -> SavedSketch {
        SavedSketch {
            level: self.level.into(),
            positive_first: self.positive.first,
            positive: self.positive.counts.clone(),
            negative_first: self.negative.first,
            negative: self.negative.counts.clone(),
            specials: self.specials.into(),
            low: self.low,
            high: self.high,
        }
    }

    /// The sketch that was saved; `None` for numbers that no sketch can have.
    pub(super) fn restore(saved: &SavedSketch) -> Option<Self> {
        let bins = |first: i32, counts: &[u64]| {
            let is_possible = first.unsigned_abs() < MAX_BIN && counts.len() < MAX_BIN as usize;
            is_possible.then(|| Bins { first, counts: counts.to_vec() })
        };
        Some(Self {
            level: u8::try_from(saved.level).ok().filter(|level| *level <= MAX_LEVEL)?,
            positive: bins(saved.positive_first, &saved.positive)?,
            negative: bins(saved.negative_first, &saved.negative)?,
            specials: saved.specials.as_slice().try_into().ok()?,
            low: saved.low,
            high: saved.high,
        })
    }

    fn coarsen(&mut self) {
        self.positive.coarsen();
        self.negative.coarsen();
        self.level += 1;
    }

    /// Doubles the width until a live sketch has room for all bins.
    fn fit(&mut self) {
        let bins = if self.positive.counts.is_empty() || self.negative.counts.is_empty() {
            ONE_SIGN_BINS
        } else {
            TWO_SIGN_BINS
        };
        while self.positive.stepped().1 > bins || self.negative.stepped().1 > bins {
            self.coarsen();
        }
    }
}

/// Neighbouring bins and their counts.
#[derive(Clone, Debug, Default)]
struct Bins {
    first: i32,
    counts: Vec<u64>,
}

impl Bins {
    fn add(&mut self, index: i32, times: u64) {
        self.cover(index, 1);
        if let Some(count) = distance(self.first, index).and_then(|at| self.counts.get_mut(at)) {
            *count = count.saturating_add(times);
        }
    }

    /// Makes sure that `bins` bins from `first` on are there.
    fn cover(&mut self, first: i32, bins: usize) {
        if self.counts.is_empty() {
            self.first = first;
        }
        if let Some(missing @ 1..) = distance(first, self.first) {
            self.counts.splice(..0, iter::repeat_n(0, missing));
            self.first = first;
        }
        let end = distance(self.first, first).unwrap_or(0) + bins;
        if end > self.counts.len() {
            self.counts.resize(end, 0);
        }
    }

    fn used(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> {
        let first = self.first;
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(move |(at, count)| (first + i32::try_from(at).unwrap_or(i32::MAX), *count))
    }

    fn coarsen(&mut self) {
        let mut coarse = Self::default();
        for (index, count) in self.used() {
            coarse.add(coarser(index, 1), count);
        }
        *self = coarse;
    }

    /// The first bin and the number of bins when they are made `BIN_STEP` at a time.
    fn stepped(&self) -> (i32, usize) {
        let bins = i32::try_from(self.counts.len()).unwrap_or(i32::MAX);
        let first = self.first.div_euclid(BIN_STEP) * BIN_STEP;
        let last = self.first + bins - 1;
        let end = (last.div_euclid(BIN_STEP) + 1) * BIN_STEP;
        (first, if bins == 0 { 0 } else { distance(first, end).unwrap_or(0) })
    }
}

fn distance(from: i32, to: i32) -> Option<usize> {
    usize::try_from(i64::from(to) - i64::from(from)).ok()
}

/// A sketch of bounded size that one thread adds to while others read.
///
/// Counts are relaxed: a reader may find a value one scrape late, and works out ranks from the
/// counts that it found. They stop at the greatest 32-bit number.
#[derive(Debug)]
pub(super) struct LiveSketch {
    level: u8,
    positive: LiveBins,
    negative: LiveBins,
    specials: [AtomicU32; SPECIALS],
    low: AtomicU64,
    high: AtomicU64,
}

impl LiveSketch {
    /// Holds what `sketch` holds, in wider bins where it is too wide.
    pub(super) fn new(mut sketch: Sketch) -> Self {
        sketch.fit();
        Self {
            level: sketch.level,
            positive: LiveBins::new(&sketch.positive),
            negative: LiveBins::new(&sketch.negative),
            specials: sketch.specials.map(|count| AtomicU32::new(saturated(count))),
            low: AtomicU64::new(sketch.low.to_bits()),
            high: AtomicU64::new(sketch.high.to_bits()),
        }
    }

    /// Takes a value in where it has a bin for it; else returns a sketch that holds this one's
    /// values and the new one.
    pub(super) fn add(&self, value: f64, times: u64) -> Option<Self> {
        let count = match Place::of(value, self.level) {
            Place::Special(special) => self.specials.get(special as usize),
            Place::Positive(index) => self.positive.bin(index),
            Place::Negative(index) => self.negative.bin(index),
        };
        let Some(count) = count else {
            let mut sketch = Sketch::default();
            self.add_to(&mut sketch);
            sketch.add(value, times);
            return Some(Self::new(sketch));
        };
        self.widen(value);
        let old = u64::from(count.load(Ordering::Relaxed));
        count.store(saturated(old.saturating_add(times)), Ordering::Relaxed);
        None
    }

    fn widen(&self, value: f64) {
        if value < f64::from_bits(self.low.load(Ordering::Relaxed)) {
            self.low.store(value.to_bits(), Ordering::Relaxed);
        }
        if value > f64::from_bits(self.high.load(Ordering::Relaxed)) {
            self.high.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// Adds what there is to `total`, at the coarser resolution of both.
    pub(super) fn add_to(&self, total: &mut Sketch) {
        while total.level < self.level {
            total.coarsen();
        }
        let steps = total.level - self.level;
        self.positive.add_to(&mut total.positive, steps);
        self.negative.add_to(&mut total.negative, steps);
        for (total, count) in total.specials.iter_mut().zip(&self.specials) {
            *total = total.saturating_add(u64::from(count.load(Ordering::Relaxed)));
        }
        total.low = total.low.min(f64::from_bits(self.low.load(Ordering::Relaxed)));
        total.high = total.high.max(f64::from_bits(self.high.load(Ordering::Relaxed)));
    }

    /// What the sketch has allocated beside itself.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.positive.counts) + size_of_val(&*self.negative.counts)
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct LiveBins {
    first: i32,
    counts: Box<[AtomicU32]>,
}

impl LiveBins {
    fn new(bins: &Bins) -> Self {
        let (first, len) = bins.stepped();
        let before = distance(first, bins.first).unwrap_or(0).min(len);
        let counts = iter::repeat_n(&0, before).chain(&bins.counts).chain(iter::repeat(&0));
        let counts = counts.take(len).map(|count| AtomicU32::new(saturated(*count)));
        Self { first, counts: counts.collect() }
    }

    fn bin(&self, index: i32) -> Option<&AtomicU32> {
        self.counts.get(distance(self.first, index)?)
    }

    fn add_to(&self, total: &mut Bins, steps: u8) {
        let counts = self.counts.iter().map(|count| u64::from(count.load(Ordering::Relaxed)));
        let used = (self.first..).zip(counts).filter(|(_, count)| *count > 0);
        used.for_each(|(index, count)| total.add(coarser(index, steps), count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_decades_fit_the_finest_bins() {
        check(&[0.01, 10.0], 0);
        check(&[-0.01, -10.0], 0);
    }

    #[test]
    fn a_wider_spread_doubles_the_width() {
        check(&[1e-3, 1e3], 1);
        check(&[-0.01, -10.0, 0.01, 10.0], 1);
        check(&[f64::MIN_POSITIVE, f64::MAX], 8);
        check(&[f64::MIN, -f64::MIN_POSITIVE, f64::MIN_POSITIVE, f64::MAX], 9);
    }

    #[track_caller]
    fn check(values: &[f64], level: u8) {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(*value, 1);
        }
        assert_eq!(LiveSketch::new(sketch).level, level);
    }

    #[test]
    fn the_middle_of_a_bin_is_near_both_of_its_ends() {
        for (value, level, error) in
            [(1.0, 0, 0.01), (3.7, 0, 0.01), (1e300, 1, 0.02), (1e-9, 3, 0.08)]
        {
            let middle = middle_of(bin_of(value, level), level);
            assert!((middle / value - 1.0).abs() <= error, "{middle} for {value}");
        }
    }

    #[test]
    fn counts_stop_at_the_greatest_number() {
        let live = LiveSketch::new(Sketch::default());
        let live = live.add(1.0, u64::MAX).unwrap();
        assert!(live.add(1.0, u64::MAX).is_none());
        let mut sketch = Sketch::default();
        live.add_to(&mut sketch);
        assert_eq!(sketch.count(), u64::from(u32::MAX));
    }

    proptest! {
        #[test]
        fn no_value_is_lost_and_none_is_invented(
            bits in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let mut live = LiveSketch::new(Sketch::default());
            let mut whole = Sketch::default();
            for value in bits.iter().map(|bits| f64::from_bits(*bits)) {
                if let Some(next) = live.add(value, 1) {
                    live = next;
                }
                whole.add(value, 1);
            }
            let mut merged = Sketch::default();
            live.add_to(&mut merged);
            prop_assert_eq!(merged.count(), bits.len() as u64);
            prop_assert_eq!(merged.specials, whole.specials);
            prop_assert_eq!((merged.low, merged.high), (whole.low, whole.high));
            let values: Vec<f64> = (0..merged.count()).map(|rank| merged.at_rank(rank)).collect();
            prop_assert!(values.is_sorted_by(|a, b| a <= b || b.is_nan()), "{:?}", values);
        }
    }
}
