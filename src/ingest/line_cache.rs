//! The bounded memory of a lane: what a line means, all but its value.
//!
//! The key is everything before the first `:` and everything after the first `|` behind it, so
//! lines that differ in their value only are understood once. A verdict changes speed and nothing
//! else: whatever is not certain to mean the same again is not remembered.
//!
//! Asking is done in steps, from [`LineCache::tag`] to [`LineCache::confirm`], so that a lane can take
//! each with many lines before it takes the next: what the processor has to fetch for one line it
//! then fetches for all of them at once.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::aggregate::cells::CellRef;
use crate::parse::leading_number;
use crate::telemetry::RecipeId;

mod entry;
mod log;

use entry::Header;
use log::{Address, Log, MAX_ENTRY_BYTES};

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
    /// Whether it says that the name belongs to another type, which expiry may change.
    pub is_conflict: bool,
}

/// What is kept of a line's hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u32);

/// What the table says of a line.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    tag: Tag,
    /// A line of the same tag; almost certainly the same line.
    address: Option<Address>,
}

impl Sighting {
    /// Nothing sighted.
    #[must_use]
    pub fn none(tag: Tag) -> Self {
        Self { tag, address: None }
    }
}

/// A verdict as it is kept, which is quicker to carry along.
#[derive(Clone, Copy, Debug)]
pub struct Known(Header);

impl Known {
    /// The verdict.
    #[inline]
    #[must_use]
    pub fn verdict(self) -> Verdict {
        self.0.verdict()
    }
}

/// A place in the table. The tag is all that is kept of the hash; growing needs no more.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: Tag,
    address: Address,
}

/// What a slot takes in a table that is as full as they are in the mean.
const SLOT_BYTES: usize = 2 * size_of::<Slot>();

/// How many recent first sightings are remembered once the cache is full.
const DOOR_SLOTS: usize = 1 << 12;

/// How many old entries are looked at to make room for a new one. What all of them lack the new
/// one does not get, so that no line waits for long.
const MAX_TURNS: usize = 64;

/// One lane's known lines.
#[derive(Debug)]
pub struct LineCache {
    table: HashTable<Slot>,
    log: Log,
    /// What the entries cost, dead ones included.
    bytes: usize,
    dead_bytes: usize,
    max_bytes: usize,
    /// Rises whenever what was found before may be wrong by now.
    version: u64,
    /// Tags seen once while the cache was full.
    door: Vec<Tag>,
    hasher: RandomState,
    /// A key on its way to another place.
    key: Vec<u8>,
}

impl LineCache {
    /// A cache of at most `max_bytes`; 0 remembers nothing.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            table: HashTable::new(),
            log: Log::default(),
            bytes: 0,
            dead_bytes: 0,
            max_bytes,
            version: 0,
            door: Vec::new(),
            // Seeded anew at every start: nobody can prepare names that collide.
            hasher: RandomState::default(),
            key: Vec::new(),
        }
    }

    /// Whether it remembers anything at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    /// What changes whenever a sighting or a verdict taken before may be wrong.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The tag of a line.
    #[inline]
    #[must_use]
    pub fn tag(&self, key: Key<'_>) -> Tag {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.name);
        // The length belongs to the key: `a|b` + `c` is not `a` + `b|c`.
        hasher.write_usize(key.name.len());
        hasher.write(key.tail);
        Tag(u32::try_from(hasher.finish() >> 32).unwrap_or_default())
    }

    /// Looks for a line by its tag.
    #[inline]
    #[must_use]
    pub fn sight(&self, tag: Tag) -> Sighting {
        let slot = self.table.find(spread(tag), |slot| slot.tag == tag);
        Sighting { tag, address: slot.map(|slot| slot.address) }
    }

    /// A part of the entry that was sighted, only to have it fetched.
    #[inline]
    #[must_use]
    pub fn glimpse(&self, sighting: Sighting) -> Option<u8> {
        self.log.glimpse(sighting.address?)
    }

    /// The verdict on a line that was sighted, the version being the same.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "handing the header over in memory would take longer than reading it"
    )]
    pub fn confirm(&mut self, sighting: Sighting, key: Key<'_>) -> Option<Known> {
        let address = sighting.address?;
        let (header, rest) = self.log.get(address)?;
        if is_key(header, rest, key) {
            return Some(self.take(address, header));
        }
        self.find_namesake(sighting.tag, key)
    }

    /// What is known of a line whose tag another line has as well.
    #[cold]
    fn find_namesake(&mut self, tag: Tag, key: Key<'_>) -> Option<Known> {
        let (address, header) = self.find(tag, key)?;
        Some(self.take(address, header))
    }

    /// The verdict on a line.
    #[inline]
    pub fn get(&mut self, key: Key<'_>) -> Option<Verdict> {
        self.confirm(self.sight(self.tag(key)), key).map(Known::verdict)
    }

    #[inline]
    fn take(&mut self, address: Address, header: Header) -> Known {
        if !header.is_seen() {
            self.log.set_header(address, header.seen(true));
        }
        Known(header)
    }

    fn find(&self, tag: Tag, key: Key<'_>) -> Option<(Address, Header)> {
        let slot = self.table.find(spread(tag), |slot| {
            let entry = self.log.get(slot.address);
            slot.tag == tag && entry.is_some_and(|(header, rest)| is_key(header, rest, key))
        })?;
        Some((slot.address, self.log.get(slot.address)?.0))
    }

    /// Remembers a verdict. In a full cache a line must be seen twice first, so that a flood of
    /// ever-new names does not push the known ones out.
    pub fn insert(&mut self, key: Key<'_>, verdict: Verdict) {
        let Some(header) = Header::new(key.name.len(), key.tail.len(), &verdict) else { return };
        let cost = cost_bytes(header);
        if header.size_bytes() > MAX_ENTRY_BYTES || cost > self.max_bytes / 16 {
            return;
        }
        let tag = self.tag(key);
        // A value that its verdict does not hold for brings a known line here as well.
        if let Some((address, known)) = self.find(tag, key) {
            self.version += 1;
            return self.log.set_header(address, header.seen(known.is_seen()));
        }
        let has_room =
            self.bytes + cost <= self.max_bytes || (self.seen_before(tag) && self.make_room(cost));
        if !has_room {
            return;
        }
        self.version += 1;
        let Some(address) = self.log.append(header, [key.name, key.tail]) else { return };
        self.bytes += cost;
        self.table.insert_unique(spread(tag), Slot { tag, address }, |slot| spread(slot.tag));
    }

    fn seen_before(&mut self, tag: Tag) -> bool {
        self.door.resize(DOOR_SLOTS, Tag::default());
        let Some(door) = self.door.get_mut(tag.0 as usize % DOOR_SLOTS) else { return false };
        std::mem::replace(door, tag) == tag
    }

    /// Gives up old entries until there is room; what was seen since its last turn stays.
    fn make_room(&mut self, cost: usize) -> bool {
        for _ in 0..MAX_TURNS {
            if self.bytes + cost <= self.max_bytes {
                break;
            }
            self.turn(Header::is_seen);
        }
        self.bytes + cost <= self.max_bytes
    }

    /// Writes the oldest entry anew if it stays, and gives up its place.
    fn turn(&mut self, stays: impl Fn(Header) -> bool) {
        let Some((address, header)) = self.log.oldest() else { return };
        self.version += 1;
        if header.is_dead() {
            self.dead_bytes -= cost_bytes(header);
        } else {
            self.relocate(address, stays(header));
        }
        self.bytes -= cost_bytes(header);
        self.log.drop_oldest();
    }

    /// Writes an entry anew, or takes it out of the table.
    fn relocate(&mut self, address: Address, stays: bool) {
        let Some((header, rest)) = self.log.get(address) else { return };
        self.key.clear();
        self.key.extend(rest.get(..header.key_bytes()).unwrap_or_default());
        let (name, tail) = self.key.split_at(header.name_bytes());
        let tag = self.tag(Key { name, tail });
        let found = self.table.find_entry(spread(tag), |slot| slot.address == address);
        let Ok(mut slot) = found else { return };
        let moved = if stays { self.log.append(header.seen(false), [name, tail]) } else { None };
        match moved {
            Some(address) => {
                slot.get_mut().address = address;
                self.bytes += cost_bytes(header);
            }
            None => drop(slot.remove()),
        }
    }

    /// Forgets the verdicts that do not pass.
    pub fn retain(&mut self, mut stays: impl FnMut(&Verdict) -> bool) {
        self.version += 1;
        let gone: Vec<_> = self
            .log
            .iter()
            .filter(|(_, header)| !header.is_dead() && !stays(&header.verdict()))
            .collect();
        for (address, header) in gone {
            self.relocate(address, false);
            self.log.set_header(address, header.dead());
            self.dead_bytes += cost_bytes(header);
        }
        if self.dead_bytes > self.bytes / 2 {
            self.compact();
        }
    }

    /// Gives the places of dead entries back.
    fn compact(&mut self) {
        while self.dead_bytes > 0 {
            self.turn(|_| true);
        }
        self.table.shrink_to_fit(|slot| spread(slot.tag));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self {
            hasher: self.hasher.clone(),
            version: self.version + 1,
            ..Self::new(self.max_bytes)
        };
    }
}

/// The table takes a place from the low bits and compares the highest seven.
#[inline]
fn spread(Tag(tag): Tag) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline]
fn is_key(header: Header, rest: &[u8], key: Key<'_>) -> bool {
    header.has_lengths(key.name.len(), key.tail.len())
        && rest.strip_prefix(key.name).is_some_and(|rest| rest.starts_with(key.tail))
}

fn cost_bytes(header: Header) -> usize {
    header.size_bytes() + SLOT_BYTES
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
        Verdict { recipe, operation, cell: None, is_conflict: false }
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
        assert!(cache.bytes <= cache.max_bytes);
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
        let bytes = cache.bytes;
        cache.insert(key(b"a", b"c"), verdict(2));
        assert_eq!(cache.bytes, bytes);
        assert_eq!(cache.get(key(b"a", b"c")).map(|verdict| verdict.operation), Some(2));
    }

    #[test]
    fn the_memory_of_forgotten_lines_comes_back() {
        let mut cache = LineCache::new(64 << 20);
        let name = |i: u32| format!("some.name.that.is.not.short.{i}").into_bytes();
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
        assert!(cache.get(key(&name(199_999), b"c")).is_some());
        assert!(cache.dead_bytes <= cache.bytes / 2 && cache.bytes < 1 << 20, "{}", cache.bytes);
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
                prop_assert!(cache.bytes <= max_bytes && cache.dead_bytes <= cache.bytes);
            }
        }
    }
}
