//! One file of one worker, followed over time: keys are understood once, then only values are read.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::admission::Admission;
use super::file::{Entries, Entry, FIRST_ENTRY, Width, bytes_in_use, known_value};
use super::key::{Added, Place};
use super::kind::{Kind, Merge, Merged};
use super::layout::{NO_SLOT, Slot};
use super::problem::{Problem, Problems};
use super::slots::{Refusal, Slots, Wanted};

/// Nobody's metrics take more; what says so is damage.
const MAX_FILE_BYTES: usize = 256 << 20;

/// What is read of a file beyond what is known of it; small files have no more.
const MORE_BYTES: usize = 1 << 10;

/// What tells a file from another of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file's number in its file system.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system does not know.
    pub born_nanos: i64,
}

/// One file.
#[derive(Debug)]
pub struct Member {
    /// Its name in its directory.
    pub name: Box<str>,
    /// What it holds.
    pub kind: Kind,
    /// Whose it is.
    pub worker: Arc<str>,
    /// Which of all files that have had the name.
    pub identity: Identity,
    /// Kept open while it may change, as long as there are descriptors to spare: what is written before a file
    /// is removed can then be read after it.
    pub file: Option<File>,
    /// Its worker is gone and all of it is among what is settled.
    pub is_settled: bool,
    /// The last look could read it.
    pub is_known: bool,
    /// It was settled when the state was saved last.
    pub is_saved: bool,
    /// When a value last changed, on the process' clock.
    pub changed_millis: u64,
    /// How many looks have found a change.
    pub changes: u64,
    width: Option<Width>,
    /// How far its entries are known.
    known_bytes: usize,
    slots: Vec<Slot>,
    /// Where each value stands in the file.
    places: Vec<u32>,
    values: Vec<f64>,
    /// When each was set, where that matters.
    times: Vec<f64>,
    /// As it was when the state was saved, until it is read.
    saved: Vec<(Slot, f64, f64)>,
    /// What was wrong at the last look, and what is at this one.
    problems: [u16; 2],
}

/// Everything that a look at a file needs besides it.
#[derive(Debug)]
pub struct Look<'a> {
    /// Where values stand.
    pub slots: &'a mut Slots,
    /// What is wrong.
    pub problems: &'a mut Problems,
    /// Room for a file, used again for the next.
    pub buffer: &'a mut Vec<u8>,
    /// Which directory it is.
    pub directory: u16,
    /// The directory's label.
    pub label: Option<(&'a str, &'a str)>,
    /// The directory's path, for people.
    pub path: &'a Path,
    /// Whether one more series may come in.
    pub admission: &'a Admission,
    /// How many more files may be held open.
    pub spare_files: &'a mut usize,
    /// The time on the process' clock.
    pub now_millis: u64,
}

impl Member {
    /// A file of which nothing is known yet.
    #[must_use]
    pub fn new(name: &str, kind: Kind, worker: Arc<str>, identity: Identity) -> Self {
        Self {
            name: name.into(),
            kind,
            worker,
            identity,
            file: None,
            is_settled: false,
            is_known: false,
            is_saved: false,
            changed_millis: 0,
            changes: 0,
            width: None,
            known_bytes: 0,
            slots: Vec::new(),
            places: Vec::new(),
            values: Vec::new(),
            times: Vec::new(),
            saved: Vec::new(),
            problems: [0; 2],
        }
    }

    /// A file as it was when the state was saved; its entries are still to be understood.
    #[must_use]
    pub fn restored(mut self, values: Vec<(Slot, f64, f64)>) -> Self {
        self.saved = values;
        self
    }

    /// Slots, values and, where it matters, when each was set.
    pub fn values(&self) -> impl Iterator<Item = (Slot, f64, f64)> {
        let times = self.times.iter().copied().chain(std::iter::repeat(0.0));
        let values = self.slots.iter().zip(&self.values).zip(times);
        let values = values.map(|((slot, value), time)| (*slot, *value, time));
        self.saved.iter().copied().chain(values)
    }

    /// How much of it is understood.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.known_bytes as u64
    }

    /// Whether nothing of it has been understood yet.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.known_bytes == 0
    }

    /// Forgets what it holds, until it is read again.
    pub fn forget(&mut self) {
        self.slots = Vec::new();
        self.places = Vec::new();
        self.values = Vec::new();
        self.times = Vec::new();
        self.saved = Vec::new();
        (self.width, self.known_bytes) = (None, 0);
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&mut self, file: &File, look: &mut Look<'_>) -> io::Result<()> {
        let [_, last] = self.problems;
        self.problems = [last, 0];
        let mut used = self.fill(file, look)?;
        if used.is_ok() && look.buffer.len() < self.known_bytes {
            // A file is not seen in the middle of a change twice.
            used = self.fill(file, look)?;
        }
        if let Err(problem) = used {
            self.complain(look, problem, "");
            // Damage does not heal: what can be known of it is known.
            self.is_known = true;
            if problem != Problem::Truncated || look.buffer.len() < self.known_bytes {
                return Ok(());
            }
        }
        if look.buffer.len() < self.known_bytes {
            // Somebody has made it anew in its old place.
            self.begin_anew(look.slots);
        }
        let fell = self.take_known(look);
        if !fell.is_empty() {
            // A value may have been caught while it was written. What is read twice is so.
            self.fill(file, look)?.unwrap_or_default();
            self.confirm(&fell, look);
        }
        self.take_new(look);
        self.compare_with_saved(look.slots);
        self.is_known = true;
        Ok(())
    }

    /// What stood in the file when the state was saved and has fallen since, or is gone, was counted by
    /// a worker before.
    fn compare_with_saved(&mut self, slots: &mut Slots) {
        let saved = std::mem::take(&mut self.saved);
        if saved.is_empty() {
            return;
        }
        let now: HashMap<Slot, f64> = self.values().map(|(slot, value, _)| (slot, value)).collect();
        for (slot, value, _) in saved {
            let rises = slots.kind(slot).is_some_and(|it| it.nature.only_rises());
            if rises && now.get(&slot).is_none_or(|now| *now < value) {
                slots.bury(slot, Merge::Sum, (value, 0.0));
                slots.settle(slot, Merge::Sum, (value, 0.0));
            }
        }
    }

    /// Reads all bytes in use into the buffer.
    fn fill(&self, file: &File, look: &mut Look<'_>) -> io::Result<Result<(), Problem>> {
        let buffer = &mut *look.buffer;
        read_up_to(file, buffer, 0, self.known_bytes + MORE_BYTES)?;
        let used = match bytes_in_use(buffer) {
            Ok(used) if used > MAX_FILE_BYTES => {
                buffer.clear();
                return Ok(Err(Problem::TooLarge));
            }
            Ok(used) => used,
            Err(error) => {
                buffer.clear();
                return Ok(Err(error.into()));
            }
        };
        if used > buffer.len() {
            let read = buffer.len();
            read_up_to(file, buffer, read, used - read)?;
        }
        let is_whole = buffer.len() >= used;
        buffer.truncate(used);
        Ok(if is_whole { Ok(()) } else { Err(Problem::Truncated) })
    }

    /// Takes the values of entries that are known; those that have fallen though they cannot wait.
    fn take_known(&mut self, look: &mut Look<'_>) -> Vec<usize> {
        let Some(width) = self.width else { return Vec::new() };
        let mut fell = Vec::new();
        let (mut bad, mut has_changed) = (None, false);
        let mut start = FIRST_ENTRY;
        for place in 0..self.slots.len() {
            let at = self.places.get(place).map_or(0, |at| *at as usize);
            let Some(read) = known_value(look.buffer, width, start, at) else { break };
            match self.take(place, read, look.slots) {
                Taken::Same => {}
                Taken::Changed => has_changed = true,
                Taken::Fell => fell.push(place),
                Taken::Bad => bad = look.buffer.get(start..at).map(key_text),
            }
            start = at + width.bytes();
        }
        if has_changed {
            self.note_change(look.now_millis);
        }
        if start != self.known_bytes {
            // Other keys stand where the known ones stood.
            self.begin_anew(look.slots);
            fell.clear();
        }
        if let Some(key) = bad {
            self.complain(look, Problem::Value, &key);
        }
        fell
    }

    fn note_change(&mut self, now_millis: u64) {
        self.changed_millis = now_millis;
        self.changes += 1;
    }

    #[inline]
    fn take(&mut self, place: usize, (read, time): (f64, f64), slots: &Slots) -> Taken {
        let (Some(slot), Some(value)) = (self.slots.get(place), self.values.get_mut(place)) else {
            return Taken::Same;
        };
        let set_time = |times: &mut Vec<f64>| {
            if let Some(place) = times.get_mut(place) {
                *place = time;
            }
        };
        if value.to_bits() == read.to_bits() {
            // A gauge that is set to what it was is set all the same.
            set_time(&mut self.times);
            return Taken::Same;
        }
        let Some(kind) = slots.kind(*slot) else { return Taken::Same };
        if !kind.nature.takes(read) {
            return Taken::Bad;
        }
        if read < *value && kind.nature.only_rises() {
            return Taken::Fell;
        }
        *value = read;
        set_time(&mut self.times);
        Taken::Changed
    }

    /// Counters that have fallen twice: their worker has begun them anew, so what they stood at is kept
    /// beside what they stand at.
    fn confirm(&mut self, fell: &[usize], look: &mut Look<'_>) {
        let Some(width) = self.width else { return };
        let mut has_changed = false;
        let entries = Entries::new(look.buffer, width, 0).map_while(Result::ok).enumerate();
        for (place, entry) in entries.filter(|(place, _)| fell.binary_search(place).is_ok()) {
            let (Some(slot), Some(value)) = (self.slots.get(place), self.values.get_mut(place))
            else {
                continue;
            };
            let takes = look.slots.kind(*slot).is_some_and(|it| it.nature.takes(entry.value));
            if takes && entry.value < *value {
                look.slots.bury(*slot, Merge::Sum, (*value, 0.0));
                look.slots.settle(*slot, Merge::Sum, (*value, 0.0));
            }
            if takes {
                *value = entry.value;
                has_changed = true;
            }
        }
        if has_changed {
            self.note_change(look.now_millis);
        }
    }

    /// Understands entries that are new.
    fn take_new(&mut self, look: &mut Look<'_>) {
        let buffer = std::mem::take(look.buffer);
        if buffer.len() > self.known_bytes {
            let width = *self.width.get_or_insert_with(|| Width::of(&buffer));
            let mut entries = Entries::new(&buffer, width, self.known_bytes);
            self.note_change(look.now_millis);
            let mut problem = None;
            while let Some(entry) = entries.next() {
                match entry {
                    Ok(entry) => {
                        let at = entries.at() - width.bytes();
                        self.places.push(u32::try_from(at).unwrap_or(u32::MAX));
                        let found = self.understand(entry, look);
                        problem = found.map(|found| (found, key_text(entry.key))).or(problem);
                        self.known_bytes = entries.at();
                    }
                    Err(error) => {
                        if self.slots.is_empty() {
                            // Nothing says yet that it is of this width.
                            self.width = None;
                        }
                        problem = Some((error.into(), String::new()));
                    }
                }
            }
            if let Some((problem, detail)) = problem {
                self.complain(look, problem, &detail);
            }
            self.slots.shrink_to_fit();
            self.places.shrink_to_fit();
            self.values.shrink_to_fit();
        }
        *look.buffer = buffer;
    }

    /// Finds the slot of an entry; what is wrong with it, if anything is.
    fn understand(&mut self, entry: Entry<'_>, look: &mut Look<'_>) -> Option<Problem> {
        let worker = (self.kind.merge() == Merge::Each).then_some(&*self.worker);
        let key = (look.directory, self.kind.number(), worker, entry.key);
        let mut problem = None;
        let slot = look.slots.find(&key).or_else(|| {
            let added = Added { directory: look.label, worker: &self.worker };
            let place = Place::of(entry.key, self.kind, added);
            let Some(place) = place else {
                problem = Some(Problem::Key);
                return None;
            };
            let (labels, directory) = (place.label_text(), look.directory);
            let wanted = Wanted {
                kind: self.kind,
                part: place.part,
                directory,
                family: &place.family,
                help: &place.help,
                labels: &labels,
                created_millis: look.now_millis,
            };
            match look.slots.slot(&wanted, || look.admission.admit(&place.family, &labels).is_ok())
            {
                Ok(slot) => {
                    look.slots.learn(&key, slot);
                    Some(slot)
                }
                // It has been counted with the other limited samples.
                Err(Refusal::Limit) => None,
                Err(Refusal::Clash(first)) => {
                    look.problems.note_clash(&place.family, first, self.kind);
                    problem = Some(Problem::Clash);
                    None
                }
            }
        });
        let slot = slot.unwrap_or(NO_SLOT);
        // An entry without a slot keeps its place among the others.
        self.push(slot, 0.0, 0.0);
        let place = self.slots.len() - 1;
        if slot != NO_SLOT
            && matches!(self.take(place, (entry.value, entry.time), look.slots), Taken::Bad)
        {
            problem = Some(Problem::Value);
        }
        if let Some(time) = self.times.last_mut() {
            *time = entry.time;
        }
        problem
    }

    fn push(&mut self, slot: Slot, value: f64, time: f64) {
        self.slots.push(slot);
        self.values.push(value);
        if self.kind.merge() == Merge::Latest {
            self.times.push(time);
        }
    }

    /// Adds its values to those of the others.
    pub fn add_to(&self, all: &mut [Merged]) {
        let merge = self.kind.merge();
        for (slot, value, time) in self.values() {
            if let Some(merged) = all.get_mut(slot as usize) {
                merged.add(merge, value, time);
            }
        }
    }

    /// Puts its values among those of workers that are gone.
    pub fn settle(&mut self, slots: &mut Slots) {
        self.is_settled = true;
        if !self.kind.is_live() {
            let merge = self.kind.merge();
            self.values().for_each(|(slot, value, time)| slots.settle(slot, merge, (value, time)));
        }
    }

    /// Keeps what it counted, now that it is no more. Whoever is not settled is.
    pub fn bury(&mut self, slots: &mut Slots) {
        if !self.kind.outlives_its_file() {
            return;
        }
        let merge = self.kind.merge();
        for (slot, value, time) in self.values() {
            slots.bury(slot, merge, (value, time));
            if !self.is_settled {
                slots.settle(slot, merge, (value, time));
            }
        }
    }

    /// Keeps what it counted, and understands it from its beginning.
    fn begin_anew(&mut self, slots: &mut Slots) {
        self.bury(slots);
        self.forget();
    }

    /// Tells of a problem, unless it was there at the last look.
    fn complain(&mut self, look: &mut Look<'_>, problem: Problem, detail: &str) {
        let bit = 1 << problem as u16;
        let [last, now] = &mut self.problems;
        if (*last | *now) & bit == 0 {
            look.problems.note(problem, &look.path.join(&*self.name), detail);
        }
        *now |= bit;
    }

    /// Tells that it cannot be opened, unless that was so at the last look.
    pub fn complain_unreadable(&mut self, look: &mut Look<'_>, error: &io::Error) {
        let [_, last] = self.problems;
        self.problems = [last, 0];
        self.is_known = false;
        self.complain(look, Problem::Unreadable, &error.to_string());
    }
}

/// What became of a value.
enum Taken {
    Same,
    Changed,
    Fell,
    Bad,
}

/// A key for people, what surrounds it in the file left out.
fn key_text(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let from = text.find('[').unwrap_or_default();
    text.get(from..).unwrap_or_default().trim_end().to_owned()
}

/// Reads more of a file to the end of a buffer, until it has `bytes` more or the file ends.
fn read_up_to(file: &File, buffer: &mut Vec<u8>, from: usize, bytes: usize) -> io::Result<()> {
    buffer.resize(from + bytes, 0);
    let mut at = from;
    while at < from + bytes {
        let room = buffer.get_mut(at..).unwrap_or_default();
        match file.read_at(room, at as u64) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(at);
    Ok(())
}
