//! Every value that any file has, once: where it stands, and what is known of workers that are gone.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::key::{Nature, Part};
use super::kind::{Kind, Merge, Merged};
use super::layout::{Layout, New, Slot, Snapshot};

/// A counter is added up in another order when a worker has ended, which changes digits beyond these.
const ROUNDING: f64 = 1e-12;

/// 96 bits of two hashes: two keys in a million share them once in many processes' lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Print([u32; 3]);

impl Print {
    /// What a table finds its place by.
    fn head(self) -> u64 {
        let [low, high, _] = self.0;
        u64::from(high) << 32 | u64::from(low)
    }
}

/// What a slot's values are.
#[derive(Clone, Copy, Debug)]
pub struct SlotKind {
    /// The kind of its files.
    pub kind: Kind,
    /// What values it takes.
    pub nature: Nature,
    /// The directory in which it was seen first.
    pub directory: u16,
}

/// Where a value that may be new belongs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The kind of its file.
    pub kind: Kind,
    /// Which of its series' values it is.
    pub part: Part,
    /// Its directory.
    pub directory: u16,
    /// Its family's name.
    pub family: &'a str,
    /// Its family's help.
    pub help: &'a str,
    /// Its series' labels, as the text format has them.
    pub labels: &'a str,
    /// When its series began, if it is new.
    pub created_millis: u64,
}

/// Why a value does not get a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something of another kind has the name.
    Clash(Kind),
    /// A limit keeps the series out.
    Limit,
}

/// All slots.
#[derive(Debug, Default)]
pub struct Slots {
    known: HashTable<(Print, Slot)>,
    hashers: [RandomState; 2],
    kinds: Vec<SlotKind>,
    families: HashMap<Arc<str>, Kind>,
    /// What workers counted whose files are no more, as far as the last slot of which that is known.
    ledger: Vec<Merged>,
    /// The same, and what those counted that are gone but for their files.
    settled: Vec<Merged>,
    /// What was shown last of what only rises; 0 for all else.
    shown: Vec<f64>,
    free: Vec<Slot>,
    layout: Arc<Layout>,
    /// Not in the layout yet.
    added: Vec<New>,
    series: usize,
}

impl Slots {
    /// The slot that keys of these bytes have in files like this one, if it is known already.
    #[must_use]
    pub fn find(&self, key: &impl Hash) -> Option<Slot> {
        self.by_print(self.print(key))
    }

    /// Remembers that keys of these bytes have that slot.
    pub fn learn(&mut self, key: &impl Hash, slot: Slot) {
        let print = self.print(key);
        self.insert(print, slot);
    }

    /// The slot of a value, made if there is none and `admits` lets its series in.
    ///
    /// # Errors
    /// Why there is none.
    pub fn slot(
        &mut self,
        wanted: &Wanted<'_>,
        admits: impl FnOnce() -> bool,
    ) -> Result<Slot, Refusal> {
        let Wanted { kind, part, directory, family, help, labels, created_millis } = *wanted;
        if let Some(first) = self.families.get(family)
            && first.family_kind() != kind.family_kind()
        {
            return Err(Refusal::Clash(*first));
        }
        let series = self.print(&(family, labels));
        let print = match part {
            Part::Value => series,
            part => self.print(&(series, part_bits(part))),
        };
        if let Some(slot) = self.by_print(print) {
            let first = self.kinds.get(slot as usize).map_or(kind, |slot| slot.kind);
            return if first == kind { Ok(slot) } else { Err(Refusal::Clash(first)) };
        }
        let is_new_series = self.by_print(series).is_none();
        if is_new_series && !admits() {
            return Err(Refusal::Limit);
        }
        self.series += usize::from(is_new_series);
        let nature = part.nature(kind);
        let slot = self.make(SlotKind { kind, nature, directory });
        self.insert(print, slot);
        // Any of its slots stands for the series.
        self.insert(series, slot);
        // The first help of a family counts.
        let help = (!self.families.contains_key(family)).then(|| help.into());
        let family = self.family_name(family, kind);
        let (kind, labels) = (kind.family_kind(), labels.into());
        self.added.push(New { family, kind, help, labels, part, slot, created_millis });
        Ok(slot)
    }

    fn family_name(&mut self, name: &str, kind: Kind) -> Arc<str> {
        if let Some((name, _)) = self.families.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        self.families.insert(Arc::clone(&name), kind);
        name
    }

    fn make(&mut self, kind: SlotKind) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.clear(slot, kind);
            return slot;
        }
        let slot = Slot::try_from(self.kinds.len()).unwrap_or(super::layout::NO_SLOT);
        self.kinds.push(kind);
        self.shown.push(0.0);
        slot
    }

    fn clear(&mut self, slot: Slot, kind: SlotKind) {
        let place = slot as usize;
        for column in [&mut self.ledger, &mut self.settled] {
            if let Some(merged) = column.get_mut(place) {
                *merged = Merged::NOTHING;
            }
        }
        if let (Some(old), Some(shown)) = (self.kinds.get_mut(place), self.shown.get_mut(place)) {
            (*old, *shown) = (kind, 0.0);
        }
    }

    /// What a slot's values are.
    #[must_use]
    pub fn kind(&self, slot: Slot) -> Option<SlotKind> {
        self.kinds.get(slot as usize).copied()
    }

    /// How many series there are.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// Takes in what a worker counted whose file is no more.
    pub fn bury(&mut self, slot: Slot, merge: Merge, (value, time): (f64, f64)) {
        if let Some(merged) = reached(&mut self.ledger, slot, self.kinds.len()) {
            merged.add(merge, value, time);
        }
    }

    /// Takes in what a worker that is gone counted, be its file there or not.
    pub fn settle(&mut self, slot: Slot, merge: Merge, (value, time): (f64, f64)) {
        if let Some(merged) = reached(&mut self.settled, slot, self.kinds.len()) {
            merged.add(merge, value, time);
        }
    }

    /// Forgets those that are gone but for their files; they must be settled again.
    pub fn unsettle_all(&mut self) {
        self.settled.clone_from(&self.ledger);
    }

    /// What is known of workers whose files are no more.
    #[must_use]
    pub fn buried(&self, slot: Slot) -> Merged {
        self.ledger.get(slot as usize).copied().unwrap_or(Merged::NOTHING)
    }

    /// What is known of an earlier process' workers.
    pub fn restore(&mut self, slot: Slot, merged: Merged) {
        let Some(kind) = self.kind(slot) else { return };
        for column in [&mut self.ledger, &mut self.settled] {
            if let Some(place) = reached(column, slot, self.kinds.len()) {
                place.join(kind.kind.merge(), merged);
            }
        }
    }

    /// The values of workers that are gone, to which those of the others are added.
    #[must_use]
    pub fn begin(&self) -> Vec<Merged> {
        let mut all = Vec::with_capacity(self.kinds.len());
        all.extend_from_slice(&self.settled);
        all.resize(self.kinds.len(), Merged::NOTHING);
        all
    }

    /// Families and series, the latest ones among them.
    pub fn layout(&mut self) -> &Arc<Layout> {
        if !self.added.is_empty() {
            let added = std::mem::take(&mut self.added);
            self.layout = Arc::new(self.layout.with(added));
        }
        &self.layout
    }

    /// What a page shows of these values.
    pub fn snapshot(&mut self, all: &[Merged]) -> Snapshot {
        let layout = Arc::clone(self.layout());
        let each = self.shown.iter_mut().zip(all).zip(&self.kinds);
        let values = each.map(|((shown, merged), kind)| {
            let value = merged.get()?;
            if kind.nature == Nature::Number {
                return Some(value);
            }
            let is_rounded = value < *shown && *shown - value <= *shown * ROUNDING;
            if !is_rounded {
                *shown = value;
            }
            Some(*shown)
        });
        Snapshot { values: values.collect(), layout }
    }

    /// Gives up slots that no file has any more and nobody who is gone has left anything in.
    pub fn sweep(&mut self, in_use: impl Iterator<Item = Slot>, left: impl Fn(&str, &str)) {
        let mut is_kept: Vec<bool> =
            self.settled.iter().map(|merged| merged.get().is_some()).collect();
        is_kept.resize(self.kinds.len(), false);
        for slot in in_use {
            if let Some(kept) = is_kept.get_mut(slot as usize) {
                *kept = true;
            }
        }
        self.free.iter().for_each(|slot| {
            if let Some(kept) = is_kept.get_mut(*slot as usize) {
                *kept = true;
            }
        });
        if is_kept.iter().all(|kept| *kept) {
            return;
        }
        let is_kept = |slot: Slot| is_kept.get(slot as usize).copied().unwrap_or(false);
        let layout = self.layout().without(|slot| !is_kept(slot), left);
        self.layout = Arc::new(layout);
        self.known.retain(|(_, slot)| is_kept(*slot));
        let slots = 0..Slot::try_from(self.kinds.len()).unwrap_or(Slot::MAX);
        let gone: Vec<Slot> = slots.filter(|slot| !is_kept(*slot)).collect();
        for slot in &gone {
            if let Some(kind) = self.kind(*slot) {
                self.clear(*slot, kind);
            }
        }
        self.free.extend(gone);
        let layout = Arc::clone(&self.layout);
        self.families.retain(|name, _| layout.family(name).is_some());
        self.series = layout.families.iter().map(|family| family.series.len()).sum();
    }

    fn print(&self, key: &impl Hash) -> Print {
        let [head, rest] = self.hashers.each_ref().map(|hasher| hasher.hash_one(key));
        let (low, rest) = (head & u64::from(u32::MAX), rest & u64::from(u32::MAX));
        Print([low, head >> 32, rest].map(|bits| u32::try_from(bits).unwrap_or_default()))
    }

    fn by_print(&self, print: Print) -> Option<Slot> {
        self.known.find(print.head(), |(known, _)| *known == print).map(|(_, slot)| *slot)
    }

    fn insert(&mut self, print: Print, slot: Slot) {
        if self.by_print(print).is_none() {
            self.known.insert_unique(print.head(), (print, slot), |(print, _)| print.head());
        }
    }
}

/// The place of a slot in a column that is as long as it has to be.
fn reached(column: &mut Vec<Merged>, slot: Slot, slots: usize) -> Option<&mut Merged> {
    if column.len() <= slot as usize && (slot as usize) < slots {
        column.resize(slots, Merged::NOTHING);
    }
    column.get_mut(slot as usize)
}

/// Something to tell the parts of a series apart by.
fn part_bits(part: Part) -> (u8, u64) {
    match part {
        Part::Value => (0, 0),
        Part::Bucket(bound) => (1, bound.to_bits()),
        Part::Sum => (2, 0),
        Part::Count => (3, 0),
    }
}
