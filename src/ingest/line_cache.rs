//! The bounded memory of a lane: what a line means, all but its value.
//!
//! The key is everything before the first `:` and everything after the first `|` behind it, so
//! lines that differ in their value only are understood once. A verdict changes speed and nothing
//! else: whatever is not certain to mean the same again is not remembered.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::aggregate::cells::CellRef;
use crate::telemetry::RecipeId;

/// Where a line is cut: its value may change, the rest is the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts<'a> {
    /// Everything before the first `:`.
    pub name: &'a [u8],
    /// Between that and the next `|`.
    pub value: &'a [u8],
    /// Everything behind it.
    pub tail: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Cuts a line; `None` where it has no `:` or no `|` after it.
    #[inline]
    #[must_use]
    pub fn cut(line: &'a [u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', line)?;
        let (name, rest) = (line.get(..colon)?, line.get(colon + 1..)?);
        let bar = memchr::memchr(b'|', rest)?;
        Some(Self { name, value: rest.get(..bar)?, tail: rest.get(bar + 1..)? })
    }
}

/// What a known line does, once its value is there.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// What it adds to the self-metrics.
    pub recipe: RecipeId,
    /// What is done with the value, by number; see [`super::operation`].
    pub operation: u32,
    /// The cell the result goes to; `None` where it goes nowhere.
    pub cell: Option<CellRef>,
    /// When the cell's series was registered.
    pub created_millis: u64,
    /// Whether it says that the name belongs to another type, which expiry may change.
    pub is_conflict: bool,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    name_bytes: usize,
    key: Box<[u8]>,
    verdict: Verdict,
    /// Seen since the clock's hand last passed.
    seen: bool,
}

/// What a key costs besides its own bytes: the entry and its place in the table.
const ENTRY_BYTES: usize = size_of::<Option<Entry>>() + 2 * size_of::<u32>();

/// How many recent first sightings are remembered once the cache is full.
const DOOR_SLOTS: usize = 1 << 12;

/// One lane's known lines.
#[derive(Debug)]
pub struct LineCache {
    table: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
    max_bytes: usize,
    /// Hashes seen once while the cache was full.
    door: Vec<u64>,
    hasher: RandomState,
}

impl LineCache {
    /// A cache of at most `max_bytes`; 0 remembers nothing.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            max_bytes,
            door: Vec::new(),
            // Seeded anew at every start: nobody can prepare names that collide.
            hasher: RandomState::default(),
        }
    }

    /// Whether it remembers anything at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    #[inline]
    fn hash(&self, name: &[u8], tail: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        // The length belongs to the key: `a|b` + `c` is not `a` + `b|c`.
        hasher.write_usize(name.len());
        hasher.write(tail);
        hasher.finish()
    }

    /// The verdict on a line.
    #[inline]
    pub fn get(&mut self, name: &[u8], tail: &[u8]) -> Option<Verdict> {
        let entry = self.entry(self.hash(name, tail), name, tail)?;
        entry.seen = true;
        Some(entry.verdict)
    }

    #[inline]
    fn entry(&mut self, hash: u64, name: &[u8], tail: &[u8]) -> Option<&mut Entry> {
        let entries = &self.entries;
        let index = *self.table.find(hash, |index| {
            entries
                .get(*index as usize)
                .is_some_and(|entry| entry.as_ref().is_some_and(|entry| entry.is(hash, name, tail)))
        })?;
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Remembers a verdict. In a full cache a line must be seen twice first, so that a flood of
    /// ever-new names does not push the known ones out.
    pub fn insert(&mut self, name: &[u8], tail: &[u8], verdict: Verdict) {
        let cost = ENTRY_BYTES + name.len() + tail.len();
        if cost > self.max_bytes / 16 {
            return;
        }
        let hash = self.hash(name, tail);
        // A value that its verdict does not hold for brings a known line here as well.
        if let Some(known) = self.entry(hash, name, tail) {
            known.verdict = verdict;
            return;
        }
        if self.bytes + cost > self.max_bytes {
            if !self.seen_before(hash) {
                return;
            }
            self.make_room(cost);
        }
        let entry = Entry {
            hash,
            name_bytes: name.len(),
            key: [name, tail].concat().into_boxed_slice(),
            verdict,
            seen: false,
        };
        let Some(index) = self.place(entry) else { return };
        self.bytes += cost;
        let entries = &self.entries;
        self.table.insert_unique(hash, index, |index| hash_of(entries, *index));
    }

    fn place(&mut self, entry: Entry) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            *self.entries.get_mut(index as usize)? = Some(entry);
            return Some(index);
        }
        let index = u32::try_from(self.entries.len()).ok()?;
        self.entries.push(Some(entry));
        Some(index)
    }

    fn seen_before(&mut self, hash: u64) -> bool {
        self.door.resize(DOOR_SLOTS, 0);
        let slot = usize::try_from(hash).unwrap_or_default() % DOOR_SLOTS;
        let Some(door) = self.door.get_mut(slot) else { return false };
        std::mem::replace(door, hash) == hash
    }

    /// Moves the clock's hand on until enough is free: what was seen since the last round stays.
    fn make_room(&mut self, cost: usize) {
        // Two rounds reach every entry: the first may find all of them just seen.
        for _ in 0..2 * self.entries.len() {
            if self.bytes + cost <= self.max_bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.entries.len();
            if let Some(Some(entry)) = self.entries.get_mut(self.hand)
                && !std::mem::take(&mut entry.seen)
            {
                self.remove(self.hand);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index).and_then(Option::take) else { return };
        if let Ok(found) = self.table.find_entry(entry.hash, |at| *at as usize == index) {
            found.remove();
        }
        self.bytes -= ENTRY_BYTES + entry.key.len();
        self.free.extend(u32::try_from(index));
    }

    /// Forgets the verdicts that do not pass.
    pub fn retain(&mut self, mut stays: impl FnMut(&Verdict) -> bool) {
        for index in 0..self.entries.len() {
            if let Some(Some(entry)) = self.entries.get(index)
                && !stays(&entry.verdict)
            {
                self.remove(index);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self { hasher: self.hasher.clone(), ..Self::new(self.max_bytes) };
    }
}

impl Entry {
    #[inline]
    fn is(&self, hash: u64, name: &[u8], tail: &[u8]) -> bool {
        self.hash == hash
            && self.name_bytes == name.len()
            && self.key.split_at_checked(name.len()) == Some((name, tail))
    }
}

fn hash_of(entries: &[Option<Entry>], index: u32) -> u64 {
    entries.get(index as usize).and_then(Option::as_ref).map_or(0, |entry| entry.hash)
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
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::{Tally, Telemetry};

    fn verdict(operation: u32) -> Verdict {
        let recipe = Arc::new(Telemetry::default()).lane().recipe(&Tally::default()).unwrap();
        Verdict { recipe, operation, cell: None, created_millis: 0, is_conflict: false }
    }

    #[test]
    fn the_key_is_everything_but_the_value() {
        let parts = Parts::cut(b"a.b:17|c|#x:y:z").unwrap();
        assert_eq!(parts, Parts { name: b"a.b", value: b"17", tail: b"c|#x:y:z" });
        assert_eq!(Parts::cut(b"no colon|c"), None);
        assert_eq!(Parts::cut(b"no:bar"), None);
    }

    #[test]
    fn name_and_tail_do_not_run_into_each_other() {
        let mut cache = LineCache::new(1 << 20);
        cache.insert(b"ab", b"c", verdict(1));
        assert_eq!(cache.get(b"ab", b"c").map(|verdict| verdict.operation), Some(1));
        assert!(cache.get(b"a", b"bc").is_none());
    }

    #[test]
    fn a_flood_of_new_names_keeps_the_known_ones_in() {
        let mut cache = LineCache::new(64 << 10);
        for known in 0..100_u32 {
            cache.insert(format!("known{known}").as_bytes(), b"c", verdict(known));
        }
        for new in 0..100_000_u32 {
            let name = format!("new{new}");
            if cache.get(name.as_bytes(), b"c").is_none() {
                cache.insert(name.as_bytes(), b"c", verdict(0));
            }
            let known = new % 100;
            let found = cache.get(format!("known{known}").as_bytes(), b"c");
            assert_eq!(found.map(|verdict| verdict.operation), Some(known));
        }
        assert!(cache.bytes <= cache.max_bytes);
    }

    #[test]
    fn a_full_cache_takes_a_line_in_at_its_second_sighting() {
        let mut cache = LineCache::new(16 << 10);
        for old in 0..1000_u32 {
            cache.insert(format!("old{old}").as_bytes(), b"c", verdict(0));
        }
        cache.insert(b"new", b"c", verdict(1));
        assert!(cache.get(b"new", b"c").is_none());
        cache.insert(b"new", b"c", verdict(1));
        assert!(cache.get(b"new", b"c").is_some());
    }

    #[test]
    fn what_is_forgotten_can_be_learnt_again() {
        let mut cache = LineCache::new(1 << 20);
        cache.insert(b"a", b"c", verdict(1));
        cache.insert(b"b", b"c", verdict(2));
        cache.retain(|verdict| verdict.operation == 2);
        assert!(cache.get(b"a", b"c").is_none());
        assert!(cache.get(b"b", b"c").is_some());
        cache.insert(b"a", b"c", verdict(3));
        assert_eq!(cache.get(b"a", b"c").map(|verdict| verdict.operation), Some(3));
        cache.clear();
        assert!(cache.get(b"b", b"c").is_none());
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
        cache.insert(b"a", b"c", verdict(1));
        let bytes = cache.bytes;
        cache.insert(b"a", b"c", verdict(2));
        assert_eq!(cache.bytes, bytes);
        assert_eq!(cache.get(b"a", b"c").map(|verdict| verdict.operation), Some(2));
    }
}
