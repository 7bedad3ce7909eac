//! What is remembered for people: the last bad lines, who quarrels over a name, who was first to send
//! a name, and what clients say of their own losses.
//!
//! All of it is bounded, and lanes tell of it when they meet a line for the first time only, not of
//! every one in a flood.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::ConflictId;
use super::marks::Mark;

mod bad_lines;
mod clients;

pub use bad_lines::{BadLine, BadLines, Verdict};
pub use clients::{ClientStat, Clients, PREFIX as CLIENT_PREFIX};

type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Lines are remembered up to this length.
const MAX_LINE_BYTES: usize = 200;

/// Conflicts beyond these are counted, but their lines are not remembered.
const MAX_CONFLICTS: u32 = 100;

/// Families beyond these have no first line.
const MAX_ORIGINS: usize = 512;

/// A line that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its beginning.
    pub line: String,
    /// Whether the rest of it was cut off.
    pub is_cut: bool,
    /// Who sent it; empty where that is not known.
    pub sender: String,
    /// When, on the process' clock.
    pub millis: u64,
}

impl Sighting {
    /// A line that somebody sent. What is no UTF-8 is replaced.
    #[must_use]
    pub fn new(line: &[u8], sender: String, millis: u64) -> Self {
        let beginning = line.get(..MAX_LINE_BYTES).unwrap_or(line);
        let text = String::from_utf8_lossy(beginning);
        let is_cut = beginning.len() < line.len();
        // The cut may have gone through a character.
        let text = if is_cut { text.trim_end_matches('\u{fffd}') } else { &text };
        Self { line: text.to_owned(), is_cut, sender, millis }
    }
}

/// A name that came with two types.
#[derive(Clone, Debug)]
pub struct ConflictSighting {
    /// Which counter counts it.
    pub id: ConflictId,
    /// The first line that was refused.
    pub first: Sighting,
}

/// What lanes have told.
#[derive(Debug, Default)]
pub struct Insight {
    bad_lines: Mutex<BadLines>,
    conflicts: Mutex<Vec<ConflictSighting>>,
    origins: Mutex<FastMap<Box<str>, Sighting>>,
    has_all_origins: AtomicBool,
    /// What clients say of themselves.
    pub clients: Clients,
}

impl Insight {
    /// Takes a bad line in; `mark` is asked for a counter once the same line comes again. While
    /// another lane is at it the line stays as new as it was.
    pub fn bad_line(
        &self,
        reason: &'static str,
        key: u64,
        sighting: impl FnOnce() -> Sighting,
        mark: impl FnOnce() -> Option<Mark>,
    ) -> Verdict {
        match self.bad_lines.try_lock() {
            Some(mut bad_lines) => bad_lines.record(reason, key, sighting, mark),
            None => Verdict::New,
        }
    }

    /// The bad lines that are remembered, the latest first.
    #[must_use]
    pub fn bad_lines(&self) -> Vec<BadLine> {
        self.bad_lines.lock().list()
    }

    /// Takes a line in that was refused since its name has another type.
    pub fn conflict(&self, id: ConflictId, sighting: impl FnOnce() -> Sighting) {
        // The first ones are remembered, and they are numbered as they come.
        if id.number() >= MAX_CONFLICTS {
            return;
        }
        let mut conflicts = self.conflicts.lock();
        if conflicts.iter().all(|known| known.id != id) {
            conflicts.push(ConflictSighting { id, first: sighting() });
        }
    }

    /// The first line of each conflict, as far as they are remembered.
    #[must_use]
    pub fn conflicts(&self) -> Vec<ConflictSighting> {
        self.conflicts.lock().clone()
    }

    /// Takes the line in that made a series; only the first one of a family is remembered.
    pub fn origin(&self, family: &str, sighting: impl FnOnce() -> Sighting) {
        // Relaxed: a lane that learns it late asks once more.
        if self.has_all_origins.load(Ordering::Relaxed) {
            return;
        }
        let mut origins = self.origins.lock();
        if origins.len() >= MAX_ORIGINS {
            self.has_all_origins.store(true, Ordering::Relaxed);
        } else if !origins.contains_key(family) {
            origins.insert(family.into(), sighting());
        }
    }

    /// The first line of a family, if it is remembered.
    #[must_use]
    pub fn origin_of(&self, family: &str) -> Option<Sighting> {
        self.origins.lock().get(family).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_what_is_no_text_replaced() {
        let check = |line: &[u8], text: &str, is_cut| {
            let sighting = Sighting::new(line, String::new(), 0);
            assert_eq!((sighting.line.as_str(), sighting.is_cut), (text, is_cut));
        };
        check(b"a\xff:1|x", "a\u{fffd}:1|x", false);
        check(&[b'a'; 300], &"a".repeat(200), true);
        let umlauts = "ä".repeat(150);
        check(&[b"x", umlauts.as_bytes()].concat(), &format!("x{}", "ä".repeat(99)), true);
    }

    #[test]
    fn only_the_first_line_of_a_family_is_remembered_and_of_so_many_families() {
        let insight = Insight::default();
        let sighting = |line: &str| Sighting::new(line.as_bytes(), "udp x".to_owned(), 5);
        insight.origin("a", || sighting("a:1|c"));
        insight.origin("a", || panic!("known"));
        (0..MAX_ORIGINS).for_each(|n| insight.origin(&format!("f{n}"), || sighting("f:1|c")));
        assert_eq!(insight.origin_of("a").unwrap().line, "a:1|c");
        assert_eq!(insight.origin_of("f511"), None);
        insight.origin("late", || panic!("there is no room"));
    }
}
