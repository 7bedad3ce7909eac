//! One file of one worker, followed over time: keys are understood once, then only values are read.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::admission::Admission;
use super::file::{Entries, Entry, FIRST_ENTRY, FileError, Width, bytes_in_use, known_value};
use super::key::{Added, Place};
use super::kind::{Kind, Merge, Merged};
use super::layout::{NO_SLOT, Slot};
use super::problem::{Problem, Problems};
use super::slots::{Refusal, Slots, Wanted};

/// Nobody's metrics take more; what says so is damage.
const MAX_FILE_BYTES: usize = 256 << 20;

/// What is read of a file that is not known; small ones have no more.
const FIRST_READ_BYTES: usize = 4 << 10;

/// No key is nearly as long; what says so is damage.
const MAX_ENTRY_BYTES: usize = 2 << 20;

/// What is read at once of larger ones.
const WINDOW_BYTES: usize = 256 << 10;

/// What tells a file from another of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file's number in its file system.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system does not know.
    pub born_nanos: i64,
}

/// Where a file's values are besides in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nowhere: it is read at each scrape.
    Open,
    /// Its worker is gone, and they are among what is settled.
    Settled,
    /// And in the state that was saved last.
    Saved,
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
    /// Where its values are.
    pub standing: Standing,
    /// The last look could read it.
    pub is_known: bool,
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
    /// Room for a part of a file, used again for the next.
    pub window: &'a mut Window,
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
            standing: Standing::Open,
            is_known: false,
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
        let wanted = match self.known_bytes {
            0 => FIRST_READ_BYTES,
            known => known.min(WINDOW_BYTES),
        };
        let mut used = bytes_in_use(look.window.read(file, 0, wanted)?);
        if used.is_ok_and(|used| used < self.known_bytes) {
            // A file is not seen in the middle of a change twice.
            used = bytes_in_use(look.window.read(file, 0, wanted)?);
        }
        // Damage does not heal: what can be known of it is known.
        self.is_known = true;
        let used = used.map_err(Problem::from);
        let used = used.and_then(|used| match used {
            0..=MAX_FILE_BYTES => Ok(used),
            _ => Err(Problem::TooLarge),
        });
        let used = match used {
            Ok(used) => used,
            Err(problem) => {
                self.complain(look, problem, "");
                return Ok(());
            }
        };
        if used < self.known_bytes {
            // Somebody has made it anew in its old place.
            self.begin_anew(look.slots);
        }
        let fell = self.take_known(file, look)?;
        self.confirm(file, &fell, look)?;
        self.take_new(file, used, look)?;
        self.compare_with_saved(look.slots);
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

    /// Takes the values of entries that are known; those that have fallen though they cannot wait.
    fn take_known(&mut self, file: &File, look: &mut Look<'_>) -> io::Result<Vec<usize>> {
        let Some(width) = self.width else { return Ok(Vec::new()) };
        let (mut fell, mut bad, mut has_changed) = (Vec::new(), None, false);
        let mut start = FIRST_ENTRY;
        for place in 0..self.slots.len() {
            let at = self.places.get(place).map_or(0, |at| *at as usize);
            let end = at + width.bytes();
            if end > look.window.end() {
                look.window.read(file, start, WINDOW_BYTES.max(end - start))?;
            }
            let (bytes, base) = look.window.bytes();
            let Some(read) = known_value(bytes, width, start - base, at - base) else { break };
            match self.take(place, read, look.slots) {
                Taken::Same => {}
                Taken::Changed => has_changed = true,
                Taken::Fell => fell.push(place),
                Taken::Bad => bad = bytes.get(start - base..at - base).map(key_text),
            }
            start = end;
        }
        if has_changed {
            self.note_change(look.now_millis);
        }
        if start > look.window.end() || start != self.known_bytes && look.window.is_at_end() {
            // It is shorter than it was; it may grow again.
            self.complain(look, Problem::Truncated, "");
            fell.clear();
        } else if start != self.known_bytes {
            // Other keys stand where the known ones stood.
            self.begin_anew(look.slots);
            fell.clear();
        }
        if let Some(key) = bad {
            self.complain(look, Problem::Value, &key);
        }
        Ok(fell)
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

    /// Looks again at counters that have fallen: a value may have been caught while it was written. If it is
    /// so, their worker has begun them anew, and what they stood at is kept beside what they stand at.
    fn confirm(&mut self, file: &File, fell: &[usize], look: &mut Look<'_>) -> io::Result<()> {
        for place in fell {
            let (Some(at), Some(slot), Some(value)) =
                (self.places.get(*place), self.slots.get(*place), self.values.get_mut(*place))
            else {
                continue;
            };
            let mut read = [0; 8];
            file.read_exact_at(&mut read, u64::from(*at))?;
            let read = f64::from_le_bytes(read);
            if !look.slots.kind(*slot).is_some_and(|it| it.nature.takes(read)) {
                continue;
            }
            if read < *value {
                look.slots.bury(*slot, Merge::Sum, (*value, 0.0));
                look.slots.settle(*slot, Merge::Sum, (*value, 0.0));
            }
            *value = read;
        }
        if !fell.is_empty() {
            self.note_change(look.now_millis);
        }
        Ok(())
    }

    /// Understands entries that are new.
    fn take_new(&mut self, file: &File, used: usize, look: &mut Look<'_>) -> io::Result<()> {
        let before = self.slots.len();
        let mut wanted = WINDOW_BYTES;
        loop {
            let from = self.known_bytes.max(FIRST_ENTRY);
            if from >= used {
                break;
            }
            if look.window.base > from || look.window.end() < used {
                look.window.read(file, from, wanted.min(used - from))?;
            }
            let window = std::mem::take(look.window);
            let cut = self.take_entries(&window, (from, used), look);
            *look.window = window;
            match cut {
                // More of the file shows more of the entry.
                Some(FileError::Entry) if look.window.end() < used && !look.window.is_at_end() => {
                    wanted *= if self.known_bytes > from { 1 } else { 2 };
                    if wanted > MAX_ENTRY_BYTES {
                        self.complain(look, Problem::Entry, "");
                        break;
                    }
                }
                Some(FileError::Entry) if look.window.end() < used => {
                    self.complain(look, Problem::Truncated, "");
                    break;
                }
                Some(error) => {
                    self.complain(look, error.into(), "");
                    break;
                }
                None if look.window.is_at_end() && look.window.end() < used => {
                    self.complain(look, Problem::Truncated, "");
                    break;
                }
                None => {}
            }
        }
        if self.slots.len() > before {
            self.note_change(look.now_millis);
            self.slots.shrink_to_fit();
            self.places.shrink_to_fit();
            self.values.shrink_to_fit();
        }
        Ok(())
    }

    /// Understands the entries of a window from a place on; what ends them before the window does.
    fn take_entries(
        &mut self,
        window: &Window,
        (from, used): (usize, usize),
        look: &mut Look<'_>,
    ) -> Option<FileError> {
        let (bytes, base) = window.bytes();
        let bytes = bytes.get(..bytes.len().min(used - base)).unwrap_or_default();
        let width = match self.width {
            Some(width) => width,
            None => Width::of(bytes, from - base),
        };
        let mut entries = Entries::new(bytes, width, from - base);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(error),
            };
            let end = base + entries.at();
            self.places.push(u32::try_from(end - width.bytes()).unwrap_or(u32::MAX));
            if let Some(problem) = self.understand(entry, look) {
                self.complain(look, problem, &key_text(entry.key));
            }
            // The first entry tells the width.
            (self.width, self.known_bytes) = (Some(width), end);
        }
        None
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
        let mut add = |slot: Slot, value, time| {
            if let Some(merged) = all.get_mut(slot as usize) {
                merged.add(merge, value, time);
            }
        };
        if merge == Merge::Sum && self.saved.is_empty() {
            // Nearly all that there is: nothing but the loop.
            for (slot, value) in self.slots.iter().zip(&self.values) {
                add(*slot, *value, 0.0);
            }
            return;
        }
        self.values().for_each(|(slot, value, time)| add(slot, value, time));
    }

    /// Puts its values among those of workers that are gone.
    pub fn settle(&mut self, slots: &mut Slots) {
        self.standing = Standing::Settled;
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
            if self.standing == Standing::Open {
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

/// A part of a file.
#[derive(Debug, Default)]
pub struct Window {
    /// Room, of which the first so many bytes are the part.
    room: Vec<u8>,
    length: usize,
    base: usize,
    /// The file has no more.
    is_at_end: bool,
}

impl Window {
    /// Reads that many bytes of a file, fewer where it ends.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&mut self, file: &File, base: usize, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min(MAX_FILE_BYTES);
        self.base = base;
        if self.room.len() < wanted {
            self.room.resize(wanted, 0);
        }
        let mut read = 0;
        while read < wanted {
            let room = self.room.get_mut(read..wanted).unwrap_or_default();
            match file.read_at(room, (base + read) as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.is_at_end, self.length) = (read < wanted, read);
        Ok(self.bytes().0)
    }

    /// The bytes, and where the first of them stands in the file.
    fn bytes(&self) -> (&[u8], usize) {
        (self.room.get(..self.length).unwrap_or_default(), self.base)
    }

    /// Where they end.
    fn end(&self) -> usize {
        self.base + self.length
    }

    fn is_at_end(&self) -> bool {
        self.is_at_end
    }
}
