//! Sets: the number of unique values in a sliding window, one cell per lane and series.
//!
//! Exact while no slice of the window has more than 1,024 values, estimated to about two per cent
//! beyond that.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;

use super::hyperloglog::{LiveRegisters, Registers};
use super::saved::SavedSet;
use super::window::{Position, Window};

/// In how many steps the window slides.
const SLICES: u32 = 6;
/// More values than this in a slice are estimated.
const MAX_EXACT: usize = 1_024;
const FIRST_SLOTS: usize = 8;

/// One lane's part of a set. One thread inserts, any thread reads.
#[derive(Debug)]
pub struct SetCell {
    window: Window<Members>,
}

/// What the lanes' windows are merged into.
#[derive(Debug, Default)]
pub struct SetMerge {
    exact: HashSet<u64, FixedState>,
    registers: Option<Registers>,
}

impl SetCell {
    /// An empty cell.
    #[must_use]
    pub fn new() -> Self {
        Self { window: Window::new() }
    }

    /// Tells when the series was registered; only the thread that inserts may.
    pub fn begin(&self, created_millis: u64) {
        self.window.begin(created_millis);
    }

    /// Takes a value in by its 64-bit hash, which all lanes compute alike.
    pub fn insert(&self, window_millis: u64, now_millis: u64, hash: u64) {
        let hash = spread(hash);
        let age_millis = self.window.age_millis(now_millis);
        self.window.update(position(window_millis, age_millis), |members| match members {
            Some(Members::Exact(table)) => table.insert(hash),
            Some(Members::Estimate(registers)) => {
                registers.insert(hash);
                None
            }
            None => Some(Table::with_slots(0).with(hash)),
        });
    }

    /// Adds what of this lane is inside the window to `merge`.
    pub fn add_to(&self, window_millis: u64, age_millis: u64, merge: &mut SetMerge) {
        self.window.each(position(window_millis, age_millis), |members| match members {
            Members::Exact(table) => merge.exact.extend(table.hashes()),
            Members::Estimate(registers) => {
                registers.add_to(merge.registers.get_or_insert_default());
            }
        });
    }

    /// Adds what of this lane is inside the window to `saved`, slice by slice.
    pub(super) fn save(&self, window_millis: u64, age_millis: u64, saved: &mut SavedSet) {
        self.window.each_numbered(position(window_millis, age_millis), |number, members| {
            let slice = saved.slices.entry(number).or_default();
            match members {
                Members::Exact(table) => slice.hashes.extend(table.hashes()),
                Members::Estimate(own) => {
                    let mut registers = Registers::default();
                    if let Some(held) = LiveRegisters::of_bytes(&slice.registers) {
                        held.add_to(&mut registers);
                    }
                    own.add_to(&mut registers);
                    slice.registers = registers.as_bytes().to_vec();
                }
            }
        });
    }

    /// Puts the slices back that were saved; only the thread that inserts may.
    pub(super) fn restore(&self, saved: &SavedSet) {
        for (number, slice) in &saved.slices {
            let at = Position { slices: SLICES, number: *number };
            self.window.update(at, |_| {
                let mut members = match LiveRegisters::of_bytes(&slice.registers) {
                    Some(registers) => Members::Estimate(registers),
                    None => Members::Exact(Table::with_slots(FIRST_SLOTS)),
                };
                for hash in &slice.hashes {
                    match &members {
                        Members::Estimate(registers) => registers.insert(*hash),
                        Members::Exact(table) => {
                            if let Some(larger) = table.insert(*hash) {
                                members = larger;
                            }
                        }
                    }
                }
                Some(members)
            });
        }
    }

    /// Empties the cell; only the thread that inserts may.
    pub fn clear(&self) {
        self.window.clear();
    }
}

impl Default for SetCell {
    fn default() -> Self {
        Self::new()
    }
}

impl SetMerge {
    /// How many unique values there were.
    #[must_use]
    pub fn unique(&self) -> f64 {
        let Some(registers) = &self.registers else { return self.exact.len() as f64 };
        let mut registers = registers.clone();
        self.exact.iter().for_each(|hash| registers.insert(*hash));
        // There are no halves of a value.
        registers.estimate().round()
    }
}

fn position(window_millis: u64, age_millis: u64) -> Position {
    let number = age_millis.saturating_mul(u64::from(SLICES)) / window_millis.max(1);
    Position { slices: SLICES, number }
}

/// Makes every bit of a hash depend on every other, as slots and registers need it, and keeps
/// different hashes different (the finaliser of `SplitMix64`).
fn spread(hash: u64) -> u64 {
    let hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The values of a slice.
#[derive(Debug)]
enum Members {
    Exact(Table),
    Estimate(LiveRegisters),
}

/// A hash table of hashes that one thread inserts into while others read.
#[derive(Debug)]
struct Table {
    used: AtomicUsize,
    /// 0 for a free slot.
    slots: Box<[AtomicU64]>,
}

impl Table {
    fn with_slots(slots: usize) -> Self {
        let slots = (0..slots).map(|_| AtomicU64::new(0)).collect();
        Self { used: AtomicUsize::new(0), slots }
    }

    /// Inserts, or returns what takes this table's place, the hash included.
    fn insert(&self, hash: u64) -> Option<Members> {
        // 0 is a free slot; the one hash that would be taken for it counts as another.
        let hash = hash.max(1);
        let start = usize::try_from(hash >> 32).unwrap_or(0) & (self.slots.len() - 1);
        let (before, after) = self.slots.split_at(start);
        for slot in after.iter().chain(before) {
            // Relaxed: this thread is the only writer, and a hash publishes no other data.
            match slot.load(Ordering::Relaxed) {
                0 if self.is_full() => break,
                0 => {
                    slot.store(hash, Ordering::Relaxed);
                    self.used.store(self.used.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    return None;
                }
                held if held == hash => return None,
                _ => {}
            }
        }
        Some(self.with(hash))
    }

    fn is_full(&self) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        // Probing is quick while a quarter of the slots is free.
        used >= MAX_EXACT.min(self.slots.len() / 4 * 3)
    }

    /// Larger members, with a hash more.
    fn with(&self, hash: u64) -> Members {
        if self.used.load(Ordering::Relaxed) >= MAX_EXACT {
            let registers = LiveRegisters::new();
            self.hashes().chain([hash]).for_each(|hash| registers.insert(hash));
            return Members::Estimate(registers);
        }
        let table = Self::with_slots((self.slots.len() * 2).max(FIRST_SLOTS));
        self.hashes().chain([hash]).for_each(|hash| {
            table.insert(hash);
        });
        Members::Exact(table)
    }

    fn hashes(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|hash| *hash != 0)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is compared here is exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW_MILLIS: u64 = 60_000;

    #[test]
    fn a_value_counts_once() {
        check(&[], 0.0);
        check(&[7], 1.0);
        check(&[7, 7, 8, 7], 2.0);
        check(&[0, 1, u64::MAX, 0], 3.0);
    }

    #[test]
    fn a_thousand_values_are_counted_exactly() {
        let hashes: Vec<u64> = (0..1_024).chain(0..1_024).collect();
        check(&hashes, 1_024.0);
    }

    #[track_caller]
    fn check(hashes: &[u64], unique: f64) {
        let cell = SetCell::new();
        for hash in hashes {
            cell.insert(WINDOW_MILLIS, 0, *hash);
        }
        assert_eq!(self::unique([&cell], 0), unique);
    }

    #[test]
    fn lanes_and_slices_are_joined_exactly() {
        let lanes = [(); 2].map(|()| SetCell::new());
        for hash in 0..3_000_u64 {
            let age_millis = hash % 6 * 10_000;
            lanes[0].insert(WINDOW_MILLIS, age_millis, hash);
            lanes[1].insert(WINDOW_MILLIS, age_millis, hash + 1_500);
        }
        assert_eq!(unique(&lanes, 50_000), 4_500.0);
    }

    #[test]
    fn more_values_are_estimated_to_a_few_per_cent() {
        for values in [1_025_u64, 2_000, 10_000, 100_000, 1_000_000] {
            let lanes = [(); 2].map(|()| SetCell::new());
            for hash in 0..values {
                lanes[0].insert(WINDOW_MILLIS, 0, hash);
                if hash % 100 == 0 {
                    lanes[1].insert(WINDOW_MILLIS, 10_000, hash);
                }
            }
            let ratio = unique(&lanes, 10_000) / values as f64;
            assert!((ratio - 1.0).abs() < 0.04, "{ratio} of {values}");
        }
    }

    #[test]
    fn values_leave_with_their_slice() {
        let cell = SetCell::new();
        cell.insert(WINDOW_MILLIS, 0, 1);
        cell.insert(WINDOW_MILLIS, 10_000, 2);
        assert_eq!(unique([&cell], 59_999), 2.0);
        assert_eq!(unique([&cell], 60_000), 1.0);
        assert_eq!(unique([&cell], 70_000), 0.0);
        cell.insert(WINDOW_MILLIS, 60_001, 1);
        assert_eq!(unique([&cell], 60_001), 2.0);
    }

    #[test]
    fn odd_windows_work() {
        for window_millis in [0, 1, 5, u64::MAX] {
            let cell = SetCell::new();
            cell.insert(window_millis, u64::MAX, 1);
            let mut merge = SetMerge::default();
            cell.add_to(window_millis, u64::MAX, &mut merge);
            assert_eq!(merge.unique(), 1.0);
        }
    }

    #[test]
    fn a_cleared_cell_begins_anew() {
        let cell = SetCell::new();
        (0..2_000).for_each(|hash| cell.insert(WINDOW_MILLIS, 0, hash));
        cell.clear();
        assert_eq!(unique([&cell], 0), 0.0);
    }

    proptest! {
        #[test]
        fn lanes_add_up_to_one_in_any_order(
            samples in prop::collection::vec((0_usize..3, 0_u64..6, 0_u64..200), 0..400),
        ) {
            let lanes = [(); 3].map(|()| SetCell::new());
            let values: HashSet<u64> = samples.iter().map(|(_, _, hash)| *hash).collect();
            for (lane, slice, hash) in samples {
                lanes[lane].insert(WINDOW_MILLIS, slice * 10_000, hash);
            }
            let [a, b, c] = &lanes;
            prop_assert_eq!(unique([a, b, c], 0), values.len() as f64);
            prop_assert_eq!(unique([c, b, a], 0), values.len() as f64);
        }
    }

    #[test]
    fn a_reader_never_sees_unique_values_vanish() {
        let cell = SetCell::new();
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..1_024).for_each(|hash| cell.insert(WINDOW_MILLIS, 0, hash)));
            let mut last = 0.0;
            while !writer.is_finished() {
                let next = unique([&cell], 0);
                assert!(next >= last);
                last = next;
            }
        });
    }

    fn unique<'a>(lanes: impl IntoIterator<Item = &'a SetCell>, age_millis: u64) -> f64 {
        let mut merge = SetMerge::default();
        lanes.into_iter().for_each(|lane| lane.add_to(WINDOW_MILLIS, age_millis, &mut merge));
        merge.unique()
    }
}
