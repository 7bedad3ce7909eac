//! The bounded memory of a lane: what a line means, all but its value.
//!
//! The key is everything before the first `:` and everything after the first `|` behind it, so
//! lines that differ in their value only are understood once. A verdict changes speed and nothing
//! else: whatever is not certain to mean the same again is not remembered.
//!
//! Kept of a key are 96 bits of two hashes that are seeded anew at every start. Two lines among a
//! million have the same once in 10¹⁷ processes, and nobody who does not know the seeds can look for them.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::aggregate::cells::CellRef;
use crate::parse::leading_number;
use crate::telemetry::RecipeId;

mod entry;

use entry::Entry;

/// A line without its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key<'a> {
    /// Everything before the first `:`.
    pub name: &'a [u8],
    /// Everything behind the next `|`.
    pub tail: &'a [u8],
}

impl<'a> Key<'a> {
    /// Cuts a line and reads its value; `None` where a line has no value in plain decimals between
    /// `:` and `|`.
    #[inline]
    #[must_use]
    pub fn cut(line: &'a [u8]) -> Option<(Self, f64)> {
        let colon = memchr::memchr(b':', line)?;
        let (name, rest) = line.split_at_checked(colon)?;
        let (value, rest) = leading_number(rest.get(1..)?)?;
        Some((Self { name, tail: rest.strip_prefix(b"|")? }, value))
    }
}

/// What a known line does, once its value is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What it adds to the self-metrics.
    pub recipe: RecipeId,
    /// What is done with the value, by number; see [`super::operation`].
    pub operation: u32,
    /// The cell the result goes to; `None` where it goes nowhere.
    pub cell: Option<CellRef>,
    /// Whether it may be another one once expiry has made a name or room free.
    pub lapses: bool,
}

/// What is kept of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// The table takes an entry's place from it.
    head: u64,
    rest: u32,
}

/// A verdict as it is kept, which is quicker to carry along.
#[derive(Clone, Copy, Debug)]
pub struct Known(Entry);

impl Known {
    /// The verdict.
    #[inline]
    #[must_use]
    pub fn verdict(self) -> Verdict {
        self.0.verdict()
    }
}

/// What a place in the table takes: the entry and the table's own mark.
const SLOT_BYTES: usize = size_of::<Entry>() + 1;

/// How many recent first sightings are remembered once the cache is full.
const DOOR_SLOTS: usize = 1 << 12;

/// How many places are looked at to make room for a new entry. What none of them gives up the new
/// one does not get, so that no line waits for long.
const MAX_TURNS: usize = 64;

/// One lane's known lines.
#[derive(Debug)]
pub struct LineCache {
    table: HashTable<Entry>,
    max_entries: usize,
    /// Where the next old entry is looked for.
    hand: usize,
    /// Rises whenever what was found before may be wrong by now.
    version: u64,
    /// Parts of prints seen once while the cache was full.
    door: Vec<u32>,
    hashers: [RandomState; 2],
}

impl LineCache {
    /// A cache of at most `max_bytes`; 0 remembers nothing.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            table: HashTable::new(),
            max_entries: max_entries(max_bytes),
            hand: 0,
            version: 0,
            door: Vec::new(),
            // Seeded anew at every start: nobody can prepare names that collide.
            hashers: [RandomState::default(), RandomState::default()],
        }
    }

    /// Whether it remembers anything at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max_entries > 0
    }

    /// What changes whenever a verdict taken before may be wrong.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The print of a line.
    #[inline]
    #[must_use]
    pub fn print(&self, key: Key<'_>) -> Print {
        let [head, rest] = self.hashers.each_ref().map(|hasher| {
            let mut hasher = hasher.build_hasher();
            hasher.write(key.name);
            // The length belongs to the key: `a|b` + `c` is not `a` + `b|c`.
            hasher.write_usize(key.name.len());
            hasher.write(key.tail);
            hasher.finish()
        });
        Print { head, rest: u32::try_from(rest >> 32).unwrap_or_default() }
    }

    /// The verdict on the line of a print.
    #[inline]
    pub fn find(&mut self, print: Print) -> Option<Known> {
        let entry = self.table.find_mut(print.head, |entry| entry.print() == print)?;
        entry.see();
        Some(Known(*entry))
    }

    /// The verdict on a line.
    #[inline]
    pub fn get(&mut self, key: Key<'_>) -> Option<Verdict> {
        self.find(self.print(key)).map(Known::verdict)
    }

    /// Remembers a verdict. In a full cache a line must be seen twice first, so that a flood of
    /// ever-new names does not push the known ones out; a verdict that may lapse needs that sooner.
    pub fn insert(&mut self, key: Key<'_>, verdict: Verdict) {
        let print = self.print(key);
        let Some(entry) = Entry::new(print, &verdict) else { return };
        // A value that its verdict does not hold for brings a known line here as well.
        if let Some(known) = self.table.find_mut(print.head, |entry| entry.print() == print) {
            self.version += 1;
            *known = entry;
            return;
        }
        // What limits and conflicts keep out comes in floods as well.
        let first_sights = if verdict.lapses { self.max_entries / 8 } else { self.max_entries };
        let is_welcome = self.table.len() < first_sights || self.seen_before(print);
        if is_welcome && (self.table.len() < self.max_entries || self.make_room()) {
            self.version += 1;
            self.table.insert_unique(print.head, entry, |entry| entry.print().head);
        }
    }

    fn seen_before(&mut self, Print { rest, .. }: Print) -> bool {
        self.door.resize(DOOR_SLOTS, 0);
        let Some(door) = self.door.get_mut(rest as usize % DOOR_SLOTS) else { return false };
        std::mem::replace(door, rest) == rest
    }

    /// Gives an old entry up; what was seen since its last turn stays.
    fn make_room(&mut self) -> bool {
        for _ in 0..MAX_TURNS {
            self.hand = if self.hand + 1 < self.table.num_buckets() { self.hand + 1 } else { 0 };
            let Ok(mut entry) = self.table.get_bucket_entry(self.hand) else { continue };
            if !entry.get_mut().is_seen_again() {
                entry.remove();
                return true;
            }
        }
        false
    }

    /// Forgets the verdicts that do not pass.
    pub fn retain(&mut self, mut stays: impl FnMut(&Verdict) -> bool) {
        self.version += 1;
        self.table.retain(|entry| stays(&entry.verdict()));
        if self.table.len() < self.table.num_buckets() / 4 {
            self.table.shrink_to_fit(|entry| entry.print().head);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.version += 1;
        self.table = HashTable::new();
        self.door = Vec::new();
    }
}

/// How many entries fit. A table is at most seven eighths full, and one whose entries come and go
/// takes twice the places, because what was taken out leaves marks behind.
fn max_entries(max_bytes: usize) -> usize {
    let places = max_bytes / 2 / SLOT_BYTES;
    places.checked_ilog2().map_or(0, |log| (1 << log) / 8 * 7)
}

/// The tail with its DogStatsD timestamp set to zero, in `scratch`; `None` if it has no valid one.
///
/// A timestamp is accepted and not exposed, and no two lines have the same: they would all be new.
pub fn without_timestamp<'s>(tail: &[u8], scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
    let digits = |section: &[u8]| match section.split_first() {
        Some((b'T', rest)) => !rest.is_empty() && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !tail.split(|byte| *byte == b'|').any(digits) {
        return None;
    }
    scratch.clear();
    for (i, section) in tail.split(|byte| *byte == b'|').enumerate() {
        if i > 0 {
            scratch.push(b'|');
        }
        scratch.extend_from_slice(if digits(section) { b"T0" } else { section });
    }
    Some(scratch)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn verdict(operation: u32) -> Verdict {
        let recipe = RecipeId::from(0);
        Verdict { recipe, operation, cell: None, lapses: false }
    }

    fn key<'a>(name: &'a [u8], tail: &'a [u8]) -> Key<'a> {
        Key { name, tail }
    }

    #[test]
    fn the_key_is_everything_but_the_value() {
        assert_eq!(Key::cut(b"a.b:-1.7|c|#x:y:z"), Some((key(b"a.b", b"c|#x:y:z"), -1.7)));
        for line in ["no colon|c", "no:bar", "a:1", "a:1:2|c", "a:+1|c", "a:1.|c", "a:|c", ""] {
            assert_eq!(Key::cut(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn name_and_tail_do_not_run_into_each_other() {
        let mut cache = LineCache::new(1 << 20);
        cache.insert(key(b"ab", b"c"), verdict(1));
        assert_eq!(cache.get(key(b"ab", b"c")).map(|verdict| verdict.operation), Some(1));
        assert!(cache.get(key(b"a", b"bc")).is_none());
    }

    #[test]
    fn a_flood_of_new_names_keeps_the_known_ones_in() {
        let mut cache = LineCache::new(64 << 10);
        for known in 0..100_u32 {
            cache.insert(key(format!("known{known}").as_bytes(), b"c"), verdict(known));
        }
        for new in 0..100_000_u32 {
            let name = format!("new{new}");
            if cache.get(key(name.as_bytes(), b"c")).is_none() {
                cache.insert(key(name.as_bytes(), b"c"), verdict(0));
            }
            let known = new % 100;
            let found = cache.get(key(format!("known{known}").as_bytes(), b"c"));
            assert_eq!(found.map(|verdict| verdict.operation), Some(known));
        }
        assert!(cache.table.allocation_size() <= 64 << 10);
    }

    #[test]
    fn a_full_cache_takes_a_line_in_at_its_second_sighting() {
        let mut cache = LineCache::new(16 << 10);
        for old in 0..1000_u32 {
            cache.insert(key(format!("old{old}").as_bytes(), b"c"), verdict(0));
        }
        cache.insert(key(b"new", b"c"), verdict(1));
        assert!(cache.get(key(b"new", b"c")).is_none());
        cache.insert(key(b"new", b"c"), verdict(1));
        assert!(cache.get(key(b"new", b"c")).is_some());
    }

    #[test]
    fn lines_that_are_kept_out_leave_room_for_others() {
        let mut cache = LineCache::new(64 << 10);
        let kept_out = Verdict { lapses: true, ..verdict(0) };
        for n in 0..10_000_u32 {
            cache.insert(key(format!("flood{n}").as_bytes(), b"c"), kept_out);
        }
        assert!(cache.table.len() <= cache.max_entries / 8);
        for (inserts, is_known) in [(1, false), (2, true)] {
            for _ in 0..inserts {
                cache.insert(key(b"again", b"c"), kept_out);
            }
            assert_eq!(cache.get(key(b"again", b"c")).is_some(), is_known);
            cache.door.clear();
        }
        cache.insert(key(b"new", b"c"), verdict(1));
        assert!(cache.get(key(b"new", b"c")).is_some());
    }

    #[test]
    fn what_is_forgotten_can_be_learnt_again() {
        let mut cache = LineCache::new(1 << 20);
        cache.insert(key(b"a", b"c"), verdict(1));
        cache.insert(key(b"b", b"c"), verdict(2));
        cache.retain(|verdict| verdict.operation == 2);
        assert!(cache.get(key(b"a", b"c")).is_none());
        assert!(cache.get(key(b"b", b"c")).is_some());
        cache.insert(key(b"a", b"c"), verdict(3));
        assert_eq!(cache.get(key(b"a", b"c")).map(|verdict| verdict.operation), Some(3));
        cache.clear();
        assert!(cache.get(key(b"b", b"c")).is_none());
    }

    #[test]
    fn a_timestamp_does_not_make_a_line_new() {
        let check = |tail: &str, expected: Option<&str>| {
            let mut scratch = Vec::new();
            let found = without_timestamp(tail.as_bytes(), &mut scratch);
            assert_eq!(found, expected.map(str::as_bytes), "{tail}");
        };
        check("c|#a:b|T1656581400", Some("c|#a:b|T0"));
        check("c|T12|#a:b", Some("c|T0|#a:b"));
        check("c|#T:b", None);
        check("c|Tx", None);
        check("c|T", None);
    }

    #[test]
    fn a_line_is_kept_once_and_its_latest_verdict_counts() {
        let mut cache = LineCache::new(1 << 20);
        cache.insert(key(b"a", b"c"), verdict(1));
        cache.insert(key(b"a", b"c"), verdict(2));
        assert_eq!(cache.table.len(), 1);
        assert_eq!(cache.get(key(b"a", b"c")).map(|verdict| verdict.operation), Some(2));
    }

    #[test]
    fn the_memory_of_forgotten_lines_comes_back() {
        let mut cache = LineCache::new(64 << 20);
        let name = |i: u32| format!("some.name.{i}").into_bytes();
        for round in 0..20 {
            for i in 0..10_000 {
                cache.insert(key(&name(round * 10_000 + i), b"c"), verdict(round));
            }
            // All but the last hundred of each round expire.
            let mut left = 0;
            cache.retain(|verdict| {
                left += u32::from(verdict.operation == round);
                verdict.operation == round && left > 9_900
            });
        }
        assert_eq!(cache.table.len(), 100);
        assert!(cache.table.allocation_size() < 10_000, "{}", cache.table.allocation_size());
    }

    #[test]
    fn a_cache_stays_within_its_bytes_whatever_comes_and_goes() {
        for max_bytes in [0, 100, 1_000, 10_000, 100_000] {
            let mut cache = LineCache::new(max_bytes);
            for line in 0..50_000_u32 {
                let name = (line % 20_000).to_le_bytes();
                cache.insert(key(&name, b"c"), verdict(line % 8));
                cache.insert(key(&name, b"c"), verdict(line % 8));
                if line % 5_000 == 0 {
                    cache.retain(|verdict| verdict.operation != 3);
                }
                assert!(cache.table.allocation_size() <= max_bytes, "{max_bytes}");
            }
            assert_eq!(cache.is_on(), !cache.table.is_empty(), "{max_bytes}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        Get(u8),
        Forget(u32),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (any::<u8>(), 0..8_u32).prop_map(|(line, number)| Step::Insert(line, number)),
            20 => any::<u8>().prop_map(Step::Get),
            2 => (0..8_u32).prop_map(Step::Forget),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn a_verdict_is_the_last_one_or_none_at_all(
            steps in prop::collection::vec(step(), 1..600),
            max_bytes in prop::sample::select(vec![2_000, 8_000, 1 << 20]),
        ) {
            let mut cache = LineCache::new(max_bytes);
            let mut model = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(line, number) => {
                        cache.insert(key(&vec![line; line.into()], b"c"), verdict(number));
                        model.insert(line, number);
                    }
                    Step::Get(line) => {
                        let found = cache.get(key(&vec![line; line.into()], b"c"));
                        let found = found.map(|verdict| verdict.operation);
                        prop_assert!(found.is_none() || found == model.get(&line).copied());
                        let is_large = max_bytes == 1 << 20;
                        prop_assert!(!is_large || found.is_some() == model.contains_key(&line));
                    }
                    Step::Forget(number) => {
                        cache.retain(|verdict| verdict.operation != number);
                        model.retain(|_, known| *known != number);
                    }
                    Step::Clear => {
                        cache.clear();
                        model.clear();
                    }
                }
                prop_assert!(cache.table.allocation_size() <= max_bytes);
            }
        }
    }
}
