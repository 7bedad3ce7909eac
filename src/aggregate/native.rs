//! Native buckets: exponential ones, of which only those in use are kept.
//!
//! The layout of the buckets is that of Prometheus' native histograms. Which resolution they have
//! at what time follows `client_golang`, which the reference uses: the family's own to begin with,
//! half of it whenever a sample leaves more buckets behind than allowed, and −4 as the lowest.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::saved::SavedHistogram;
use crate::map::observer::{NativeSpec, frexp};

/// Values no further from zero than this are in the zero bucket: 2^−128, the default of
/// `client_golang`.
pub const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

const FINEST_SCHEMA: i8 = 8;
const COARSEST_SCHEMA: i8 = -4;
const FIRST_SLOTS: usize = 16;
/// No bucket is as far out as this.
const MAX_INDEX: u32 = 1 << 20;

/// Native buckets added up over the lanes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeValue {
    /// The resolution all lanes were brought to.
    pub schema: i8,
    /// The width of the zero bucket.
    pub zero_threshold: f64,
    /// Samples in the zero bucket.
    pub zero_count: u64,
    /// Index and count of the buckets for positive values, in rising order, none of them empty.
    pub positive: Vec<(i32, u64)>,
    /// The same for negative values.
    pub negative: Vec<(i32, u64)>,
}

impl NativeValue {
    /// Native buckets without a sample, to add lanes to.
    #[must_use]
    pub fn empty(spec: NativeSpec) -> Self {
        Self { schema: spec.schema, zero_threshold: ZERO_THRESHOLD, ..Self::default() }
    }

    /// Adds samples of which only the classic bucket is known: they count at its upper bound.
    pub(super) fn add_classic(&mut self, spec: NativeSpec, bounds: &[f64], counts: &[u64]) {
        let part = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let part = part.map(|(index, count)| {
            let bound = bounds.get(index).or(bounds.last()).copied().unwrap_or(0.0);
            (Bucket::of(bound, spec.schema), *count)
        });
        self.add(spec, spec.schema, part);
    }

    fn add(&mut self, spec: NativeSpec, schema: i8, part: impl IntoIterator<Item = (Bucket, u64)>) {
        // One lane alone keeps to the limit by itself, and at the moments the reference does.
        let had_buckets = self.buckets() > 0;
        while self.schema > schema {
            self.coarsen();
        }
        for (bucket, count) in part {
            match bucket.coarser(schema.abs_diff(self.schema)) {
                Bucket::Zero => self.zero_count = self.zero_count.saturating_add(count),
                Bucket::Positive(index) => self.positive.push((index, count)),
                Bucket::Negative(index) => self.negative.push((index, count)),
                Bucket::Nan => {}
            }
        }
        join_equal(&mut self.positive);
        join_equal(&mut self.negative);
        while had_buckets && is_over(self.buckets(), spec.max_buckets, self.schema) {
            self.coarsen();
        }
    }

    fn buckets(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn coarsen(&mut self) {
        for side in [&mut self.positive, &mut self.negative] {
            for (index, _) in side.iter_mut() {
                *index = coarser(*index, 1);
            }
            join_equal(side);
        }
        self.schema -= 1;
    }
}

fn join_equal(side: &mut Vec<(i32, u64)>) {
    side.sort_unstable_by_key(|(index, _)| *index);
    side.dedup_by(|next, kept| {
        let equal = next.0 == kept.0;
        if equal {
            kept.1 = kept.1.saturating_add(next.1);
        }
        equal
    });
}

/// Whether that many buckets are to be brought to half the resolution; a limit of 0 is none.
fn is_over(buckets: usize, max_buckets: u32, schema: i8) -> bool {
    let max_buckets = usize::try_from(max_buckets).unwrap_or(usize::MAX);
    max_buckets > 0 && buckets > max_buckets && schema > COARSEST_SCHEMA
}

/// The native bucket of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bucket {
    Zero,
    Positive(i32),
    Negative(i32),
    /// Not a bucket: such samples are in the histogram's count alone.
    Nan,
}

impl Bucket {
    fn of(value: f64, schema: i8) -> Self {
        if value.is_nan() {
            return Self::Nan;
        }
        let magnitude = value.abs();
        if magnitude <= ZERO_THRESHOLD {
            return Self::Zero;
        }
        // Infinity has a bucket of its own, next to that of the largest finite number.
        let (fraction, exponent) = frexp(magnitude.min(f64::MAX));
        let step = BOUNDS.partition_point(|bound| *bound < fraction);
        let finest = i32::try_from(step).unwrap_or(0) + (exponent - 1) * 256;
        let index = coarser(finest, FINEST_SCHEMA.abs_diff(schema));
        let index = index + i32::from(magnitude.is_infinite());
        if value > 0.0 { Self::Positive(index) } else { Self::Negative(index) }
    }

    fn coarser(self, steps: u8) -> Self {
        match self {
            Self::Positive(index) => Self::Positive(coarser(index, steps)),
            Self::Negative(index) => Self::Negative(coarser(index, steps)),
            Self::Zero | Self::Nan => self,
        }
    }
}

/// The bucket at a resolution halved `steps` times: buckets are closed above, so indices round up.
fn coarser(index: i32, steps: u8) -> i32 {
    (index + (1 << steps) - 1) >> steps
}

/// The bounds of the 256 finest buckets between 0.5 and 1, which is left out. Those of a coarser
/// schema are among them.
///
/// Prometheus' own table, which decides to which bucket a value exactly on a bound belongs, was
/// made by repeated multiplication, coarse schemas first, and is rounded accordingly; the root of
/// two it began with is one unit below the nearest float.
static BOUNDS: LazyLock<[f64; 256]> = LazyLock::new(|| {
    let mut bounds = [0.5; 256];
    let mut growth = 2f64;
    for schema in 1..=8 {
        growth = growth.sqrt();
        let factor = if schema == 1 { growth.next_down() } else { growth };
        let step = 256 >> schema;
        for index in (step..256).step_by(2 * step) {
            bounds[index] = bounds[index - step] * factor;
        }
    }
    bounds
});

/// One lane's native buckets at one resolution.
///
/// Each slot counts the samples that are in the same native **and** the same classic bucket, so
/// that a reader gets both from one number: were they counted apart, a scrape in between would
/// find a count that disagrees with the buckets, for which Prometheus refuses the whole page.
#[derive(Debug)]
pub(super) struct Table {
    schema: i8,
    slots: Box<[Slot]>,
    used: AtomicU32,
    buckets: AtomicU32,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0 for a free slot.
    key: AtomicU64,
    count: AtomicU64,
}

const CLASSIC_MASK: u64 = 0xff_ffff;

/// What a slot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    bucket: Bucket,
    /// The index of the classic bucket, below 2^24.
    classic: u32,
}

impl Entry {
    /// As a slot's key, which is never 0: 8 bits of tag, 24 of the classic bucket, 32 of the index.
    fn pack(self) -> u64 {
        let (tag, index) = match self.bucket {
            Bucket::Zero => (1, 0),
            Bucket::Positive(index) => (2, index),
            Bucket::Negative(index) => (3, index),
            Bucket::Nan => (4, 0),
        };
        let classic = u64::from(self.classic) & CLASSIC_MASK;
        (tag << 56) | (classic << 32) | u64::from(index.cast_unsigned())
    }

    fn coarser(self, steps: u8) -> Self {
        Self { bucket: self.bucket.coarser(steps), ..self }
    }

    /// Whether there is a float in its bucket, at whatever resolution.
    fn is_possible(&self) -> bool {
        match self.bucket {
            Bucket::Positive(index) | Bucket::Negative(index) => index.unsigned_abs() < MAX_INDEX,
            Bucket::Zero | Bucket::Nan => true,
        }
    }

    fn unpack(key: u64) -> Option<Self> {
        let index = u32::try_from(key & u64::from(u32::MAX)).ok()?.cast_signed();
        let bucket = match key >> 56 {
            1 => Bucket::Zero,
            2 => Bucket::Positive(index),
            3 => Bucket::Negative(index),
            4 => Bucket::Nan,
            _ => return None,
        };
        Some(Self { bucket, classic: u32::try_from((key >> 32) & CLASSIC_MASK).ok()? })
    }
}

impl Table {
    /// An empty table at the family's own resolution.
    pub(super) fn new(spec: NativeSpec) -> Self {
        Self::with_slots(spec.schema, FIRST_SLOTS)
    }

    fn with_slots(schema: i8, slots: usize) -> Self {
        Self {
            schema,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            used: AtomicU32::new(0),
            buckets: AtomicU32::new(0),
        }
    }

    /// Counts a value in; a table that is returned holds everything and takes this one's place.
    pub(super) fn observe(
        &self,
        max_buckets: u32,
        value: f64,
        classic: usize,
        times: u64,
    ) -> Option<Self> {
        let classic = u32::try_from(classic).unwrap_or(u32::MAX);
        let entry = Entry { bucket: Bucket::of(value, self.schema), classic };
        let mut next = None;
        if !self.add(entry, times) {
            let larger = self.rebuilt(self.schema, self.slots.len() * 2);
            larger.add(entry, times);
            next = Some(larger);
        }
        // The reference looks at the limit once per sample that is a number and then halves once,
        // even where that does not suffice.
        let samples = if entry.bucket == Bucket::Nan { 0 } else { times };
        let halvings = samples.min(u64::from(FINEST_SCHEMA.abs_diff(COARSEST_SCHEMA)));
        for _ in 0..halvings {
            let table = next.as_ref().unwrap_or(self);
            let buckets = usize::try_from(table.buckets.load(Ordering::Relaxed));
            if !is_over(buckets.unwrap_or(usize::MAX), max_buckets, table.schema) {
                break;
            }
            next = Some(table.rebuilt(table.schema - 1, table.slots.len()));
        }
        next
    }

    /// Adds to the entry's slot; `false` where it has none and the table is full.
    fn add(&self, entry: Entry, times: u64) -> bool {
        let key = entry.pack();
        let mut is_new_bucket = matches!(entry.bucket, Bucket::Positive(_) | Bucket::Negative(_));
        // All entries of a native bucket begin at the same slot and none is ever removed, so the
        // way to the free slot leads past all of them.
        for slot in self.probe(entry.bucket) {
            // Relaxed: this thread is the only writer.
            let held = slot.key.load(Ordering::Relaxed);
            if held == key {
                let count = slot.count.load(Ordering::Relaxed);
                slot.count.store(count.saturating_add(times), Ordering::Relaxed);
                return true;
            }
            if held == 0 {
                return self.fill(slot, key, times, is_new_bucket);
            }
            is_new_bucket &= Entry::unpack(held).is_some_and(|held| held.bucket != entry.bucket);
        }
        false
    }

    fn fill(&self, slot: &Slot, key: u64, times: u64, is_new_bucket: bool) -> bool {
        let used = self.used.load(Ordering::Relaxed) + 1;
        // Probing is quick while a quarter of the slots is free.
        if usize::try_from(used).unwrap_or(usize::MAX) > self.slots.len() / 4 * 3 {
            return false;
        }
        self.used.store(used, Ordering::Relaxed);
        if is_new_bucket {
            self.buckets.store(self.buckets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        slot.count.store(times, Ordering::Relaxed);
        // Release: a reader that finds the key finds the count.
        slot.key.store(key, Ordering::Release);
        true
    }

    /// All slots, beginning where a native bucket's entries are.
    fn probe(&self, bucket: Bucket) -> impl Iterator<Item = &Slot> {
        let hash = Entry { bucket, classic: 0 }.pack().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mask = self.slots.len() - 1;
        let start = usize::try_from(hash >> 32).unwrap_or(0) & mask;
        let (before, after) = self.slots.split_at(start);
        after.iter().chain(before)
    }

    fn rebuilt(&self, schema: i8, slots: usize) -> Self {
        let table = Self::with_slots(schema, slots);
        for (entry, count) in self.entries() {
            table.add(entry.coarser(self.schema.abs_diff(schema)), count);
        }
        table
    }

    fn entries(&self) -> impl Iterator<Item = (Entry, u64)> {
        self.slots.iter().filter_map(|slot| {
            // Acquire: pairs with the release that published the slot.
            let entry = Entry::unpack(slot.key.load(Ordering::Acquire))?;
            Some((entry, slot.count.load(Ordering::Relaxed)))
        })
    }

    /// Adds the slots to `saved`, at the coarser resolution of both.
    pub(super) fn save(&self, saved: &mut SavedHistogram) {
        let held = saved.schema.and_then(|schema| i8::try_from(schema).ok()).unwrap_or(self.schema);
        let schema = held.min(self.schema);
        saved.schema = Some(schema.into());
        for key in &mut saved.keys {
            let entry = Entry::unpack(*key).map(|entry| entry.coarser(held.abs_diff(schema)));
            *key = entry.map_or(0, Entry::pack);
        }
        for (entry, count) in self.entries() {
            saved.keys.push(entry.coarser(self.schema.abs_diff(schema)).pack());
            saved.key_counts.push(count);
        }
    }

    /// The table that was saved, if there was one.
    pub(super) fn restore(spec: NativeSpec, saved: &SavedHistogram) -> Option<Self> {
        let schema = i8::try_from(saved.schema?).ok()?;
        if !(COARSEST_SCHEMA..=FINEST_SCHEMA).contains(&schema) {
            return None;
        }
        let mut table = Self::with_slots(schema, FIRST_SLOTS);
        for (key, count) in saved.keys.iter().zip(&saved.key_counts) {
            let Some(entry) = Entry::unpack(*key).filter(Entry::is_possible) else { continue };
            while !table.add(entry, *count) {
                table = table.rebuilt(schema, table.slots.len() * 2);
            }
        }
        // Lanes keep to the limit one by one; what they have together may not.
        while is_over(table.used_buckets(), spec.max_buckets, table.schema) {
            table = table.rebuilt(table.schema - 1, table.slots.len());
        }
        Some(table)
    }

    fn used_buckets(&self) -> usize {
        usize::try_from(self.buckets.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Adds to the classic buckets, and to the native ones where they are asked for.
    pub(super) fn add_to(
        &self,
        spec: NativeSpec,
        counts: &mut [u64],
        native: Option<&mut NativeValue>,
    ) {
        let parts = self.entries().inspect(|(entry, count)| {
            let classic = usize::try_from(entry.classic).unwrap_or(usize::MAX);
            if let Some(total) = counts.get_mut(classic) {
                *total = total.saturating_add(*count);
            }
        });
        match native {
            Some(native) => {
                native.add(spec, self.schema, parts.map(|(entry, count)| (entry.bucket, count)));
            }
            None => parts.for_each(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INFINITY: f64 = f64::INFINITY;

    // All buckets here were recorded from `client_golang`.
    #[test]
    fn values_are_where_the_reference_has_them() {
        let zero = value(3, 1, &[(-8, 1), (0, 1), (13, 1)], &[(8, 1)]);
        check(1.1, 256, &[0.5, 1.0, 3.0, -2.0, 0.0], &zero);
        check(2.0, 256, &[0.5, 1.0, 3.0], &value(0, 0, &[(-1, 1), (0, 1), (2, 1)], &[]));
        let four = value(-1, 0, &[(0, 2), (1, 2), (2, 1)], &[(2, 1)]);
        check(4.0, 256, &[0.5, 1.0, 3.0, 4.0, 4.5, -16.0], &four);
        let fine = value(8, 0, &[(0, 1), (1, 1), (256, 1), (1_701, 1)], &[]);
        check(1.002, 256, &[1.0, 1.001, 2.0, 100.0], &fine);
    }

    #[test]
    fn the_ends_of_the_number_line_are_where_the_reference_has_them() {
        let narrow = [5e-324, ZERO_THRESHOLD, -ZERO_THRESHOLD, ZERO_THRESHOLD.next_up(), f64::NAN];
        check(1.1, 256, &narrow, &value(3, 3, &[(-1_023, 1)], &[]));
        let wide = value(3, 0, &[(8_192, 1), (8_193, 1)], &[(8_193, 1)]);
        check(1.1, 256, &[INFINITY, -INFINITY, f64::MAX], &wide);
        check(2.0, 256, &[INFINITY, f64::MAX], &value(0, 0, &[(1_024, 1), (1_025, 1)], &[]));
        let coarse = value(-4, 0, &[(0, 2), (1, 1), (64, 1), (65, 1)], &[]);
        check(65_536.0, 256, &[INFINITY, f64::MAX, 1.0, 1.5, 0.5], &coarse);
    }

    #[test]
    fn too_many_buckets_halve_the_resolution() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        check(1.1, 4, &values, &value(-1, 0, &[(0, 1), (1, 3), (2, 6)], &[]));
    }

    #[test]
    fn each_sample_that_is_a_number_halves_once() {
        let sparse = value(2, 0, &[(-398, 1), (0, 1), (399, 1)], &[]);
        check(1.1, 2, &[1e-30, 1.0, 1e30], &sparse);
        let again = value(0, 0, &[(-99, 1), (0, 1), (100, 3)], &[]);
        check(1.1, 2, &[1e-30, 1.0, 1e30, 1e30, 1e30], &again);
        let nan = value(2, 0, &[(-398, 1), (0, 1)], &[]);
        check(1.1, 1, &[1e-30, 1.0, f64::NAN, f64::NAN], &nan);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let values: Vec<f64> = (0..=2_000).map(|step| f64::from(step).exp2().min(1e300)).collect();
        let spec = NativeSpec { schema: 0, max_buckets: 0 };
        let (native, _) = observed(spec, &values);
        assert_eq!((native.schema, native.positive.len()), (0, 998));
    }

    #[track_caller]
    fn check(factor: f64, max_buckets: u32, values: &[f64], expected: &NativeValue) {
        let spec = NativeSpec::from_factor(factor, max_buckets).unwrap();
        let (native, counts) = observed(spec, values);
        assert_eq!(native, *expected);
        assert_eq!(counts, [values.len() as u64]);
    }

    fn value(
        schema: i8,
        zero_count: u64,
        positive: &[(i32, u64)],
        negative: &[(i32, u64)],
    ) -> NativeValue {
        let (positive, negative) = (positive.to_vec(), negative.to_vec());
        NativeValue { schema, zero_threshold: ZERO_THRESHOLD, zero_count, positive, negative }
    }

    fn observed(spec: NativeSpec, values: &[f64]) -> (NativeValue, [u64; 1]) {
        let (mut native, mut counts) = (NativeValue::empty(spec), [0]);
        table(spec, values).add_to(spec, &mut counts, Some(&mut native));
        (native, counts)
    }

    fn table(spec: NativeSpec, values: &[f64]) -> Table {
        values.iter().fold(Table::new(spec), |table, value| {
            table.observe(spec.max_buckets, *value, 0, 1).unwrap_or(table)
        })
    }

    /// FNV-1a, by words, over the bits of Prometheus' own table for schema 8; those of the other
    /// schemas are among its numbers.
    #[test]
    fn the_bounds_are_those_of_prometheus_to_the_bit() {
        let digest = BOUNDS.iter().fold(0xcbf2_9ce4_8422_2325_u64, |digest, bound| {
            (digest ^ bound.to_bits()).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(digest, 0x3a54_89a2_c419_aae6);
    }

    #[test]
    fn lanes_at_different_schemas_meet_at_the_lowest() {
        let spec = NativeSpec { schema: 3, max_buckets: 8 };
        let many: Vec<f64> = (1..=60).map(f64::from).collect();
        let [fine, coarse] = [table(spec, &[1.0, 3.0]), table(spec, &many)];
        assert!(coarse.schema < fine.schema, "else this tests nothing");
        let mut native = NativeValue::empty(spec);
        for lane in [&fine, &coarse, &fine] {
            lane.add_to(spec, &mut [0], Some(&mut native));
        }
        assert_eq!(native.schema, coarse.schema);
        assert_eq!(native.positive.iter().map(|(_, count)| count).sum::<u64>(), 64);
    }

    proptest! {
        #[test]
        fn lanes_together_keep_to_the_limit_in_any_order(
            samples in prop::collection::vec((0_usize..3, -1e6..1e6_f64), 0..200),
            max_buckets in 8_u32..40,
        ) {
            let spec = NativeSpec { schema: 5, max_buckets };
            let lanes = [0, 1, 2].map(|lane| {
                let own = samples.iter().filter(|(index, _)| *index == lane);
                table(spec, &own.map(|(_, value)| *value).collect::<Vec<_>>())
            });
            let merged = |order: [usize; 3]| {
                let mut native = NativeValue::empty(spec);
                let mut counts = [0];
                for lane in order {
                    lanes[lane].add_to(spec, &mut counts, Some(&mut native));
                }
                (native, counts)
            };
            let (forth, counts) = merged([0, 1, 2]);
            prop_assert_eq!(&(forth.clone(), counts), &merged([2, 0, 1]));
            let sides = forth.positive.iter().chain(&forth.negative);
            let buckets: u64 = sides.map(|(_, count)| count).sum();
            prop_assert_eq!(buckets + forth.zero_count, samples.len() as u64);
            prop_assert_eq!(counts, [samples.len() as u64]);
            prop_assert!(forth.buckets() <= max_buckets as usize);
        }

        #[test]
        fn coarser_buckets_are_those_of_the_coarser_schema(bits in any::<u64>(), steps in 0_u8..=12) {
            let value = f64::from_bits(bits);
            let schema = FINEST_SCHEMA - i8::try_from(steps).unwrap();
            prop_assert_eq!(
                Bucket::of(value, FINEST_SCHEMA).coarser(steps),
                Bucket::of(value, schema)
            );
        }

        #[test]
        fn an_entry_survives_packing(index in any::<i32>(), classic in 0_u32..1 << 24) {
            for bucket in [Bucket::Positive(index), Bucket::Negative(index), Bucket::Zero] {
                let entry = Entry { bucket, classic };
                prop_assert_eq!(Entry::unpack(entry.pack()), Some(entry));
            }
        }
    }
}
