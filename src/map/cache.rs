//! A bounded memory of what the rules said about a name (`--statsd.cache-size`,
//! `--statsd.cache-type`), one for each lane.
//!
//! A hit gives the name and the labels without filling a template in again. Names that no rule
//! matches are remembered as well.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use lru::LruCache;

use super::Rules;
use crate::sample::EventType;

/// Entries for want of another number; the reference's.
const DEFAULT_ENTRIES: usize = 1000;
/// Longer names are looked up each time, so that a flood of huge ones cannot fill the memory.
const MAX_NAME_BYTES: usize = 1024;

/// How much is remembered, and what makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of entries; 0 remembers nothing.
    pub entries: usize,
    /// What makes room for a new entry.
    pub eviction: Eviction,
}

impl Default for Config {
    fn default() -> Self {
        Self { entries: DEFAULT_ENTRIES, eviction: Eviction::Lru }
    }
}

/// Which entry a full cache gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Eviction {
    /// The one not asked for the longest.
    #[default]
    Lru,
    /// Any.
    Random,
}

/// What the rules said about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which rule it was; see [`Rules::rule`].
    pub index: usize,
    /// The family's name before escaping, as in [`Matched`](super::Matched).
    pub name: String,
    /// The labels that the rule sets: key and value.
    pub labels: Vec<(String, String)>,
}

/// Remembers [`Found`]s by name and type.
pub struct Cache {
    config: Config,
    memory: Memory,
    /// The key last asked for; kept so that asking allocates nothing.
    key: String,
    random: RandomState,
}

type Entry = Option<Arc<Found>>;

enum Memory {
    Lru(LruCache<Box<str>, Entry, RandomState>),
    Random(IndexMap<Box<str>, Entry, RandomState>),
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(config: Config) -> Self {
        // Room is taken as entries come: the size is the operator's, and may be anything.
        let memory = match config.eviction {
            Eviction::Lru => Memory::Lru(LruCache::unbounded_with_hasher(RandomState::default())),
            Eviction::Random => Memory::Random(IndexMap::default()),
        };
        Self { config, memory, key: String::new(), random: RandomState::default() }
    }

    /// What the rules say about a name, and whether the cache knew.
    ///
    /// `rules` have to be the same from one [`clear`](Self::clear) to the next.
    pub fn get_or_find(&mut self, rules: &Rules, name: &str, event: EventType) -> (Entry, bool) {
        if !self.remembers(name.as_bytes()) {
            return (find(rules, name, event), false);
        }
        self.key.clear();
        self.key.push_str(event.as_str());
        self.key.push('.');
        self.key.push_str(name);
        let key = self.key.as_str();
        let known = match &mut self.memory {
            Memory::Lru(memory) => memory.get(key).cloned(),
            Memory::Random(memory) => memory.get(key).cloned(),
        };
        if let Some(found) = known {
            return (found, true);
        }
        let found = find(rules, name, event);
        self.remember(found.clone());
        (found, false)
    }

    fn remember(&mut self, found: Entry) {
        let key = Box::from(self.key.as_str());
        let is_full = self.len() >= self.config.entries;
        match &mut self.memory {
            Memory::Lru(memory) => {
                if is_full {
                    memory.pop_lru();
                }
                memory.put(key, found);
            }
            Memory::Random(memory) => {
                if is_full && let Some(last) = memory.len().checked_sub(1) {
                    // The new key's seeded hash is as good a die as any.
                    let die = self.random.hash_one(&key);
                    let index = usize::try_from(die).unwrap_or_default() % (last + 1);
                    memory.swap_remove_index(index);
                }
                memory.insert(key, found);
            }
        }
    }

    /// Whether a name, asked for again at once, would be known.
    #[must_use]
    pub fn remembers(&self, name: &[u8]) -> bool {
        self.config.entries > 0 && name.len() <= MAX_NAME_BYTES
    }

    /// Whether the reference counts what is asked of such a cache: its random one never does.
    #[must_use]
    pub fn counts_hits(&self) -> bool {
        self.config.entries > 0 && self.config.eviction == Eviction::Lru
    }

    /// Forgets everything; due whenever the rules change.
    pub fn clear(&mut self) {
        match &mut self.memory {
            Memory::Lru(memory) => memory.clear(),
            Memory::Random(memory) => memory.clear(),
        }
    }

    /// How many names are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.memory {
            Memory::Lru(memory) => memory.len(),
            Memory::Random(memory) => memory.len(),
        }
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Cache");
        text.field("config", &self.config).field("len", &self.len()).finish_non_exhaustive()
    }
}

fn find(rules: &Rules, name: &str, event: EventType) -> Entry {
    let matched = rules.find(name, event)?;
    let labels = matched.labels.into_iter().map(|(label, text)| (label.to_owned(), text));
    let labels = labels.collect();
    Some(Arc::new(Found { index: matched.index, name: matched.name, labels }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;

    const RULES: &str = "mappings:\n\
                         - {match: a.*, name: one, labels: {part: $1}}\n\
                         - {match: m, match_metric_type: gauge, name: gauge}\n";

    #[test]
    fn a_second_look_is_a_hit_with_the_same_answer() {
        for eviction in [Eviction::Lru, Eviction::Random] {
            let mut bench = Bench::new(10, eviction);
            bench.check("a.x", EventType::Counter, Some("one"), false);
            bench.check("a.x", EventType::Counter, Some("one"), true);
            bench.check("zz", EventType::Counter, None, false);
            bench.check("zz", EventType::Counter, None, true);
            assert_eq!(bench.cache.len(), 2);
        }
    }

    #[test]
    fn types_are_told_apart() {
        let mut bench = Bench::new(10, Eviction::Lru);
        bench.check("m", EventType::Gauge, Some("gauge"), false);
        bench.check("m", EventType::Counter, None, false);
        bench.check("m", EventType::Gauge, Some("gauge"), true);
    }

    #[test]
    fn the_one_not_asked_for_the_longest_makes_room() {
        let mut bench = Bench::new(2, Eviction::Lru);
        for (name, is_hit) in [
            ("a.1", false),
            ("a.2", false),
            ("a.1", true),
            ("a.3", false),
            ("a.1", true),
            ("a.2", false),
        ] {
            bench.check(name, EventType::Counter, Some("one"), is_hit);
        }
        assert_eq!(bench.cache.len(), 2);
    }

    #[test]
    fn a_random_cache_stays_within_its_size() {
        let mut bench = Bench::new(3, Eviction::Random);
        for n in 0..100 {
            let name = format!("a.{n}");
            bench.check(&name, EventType::Counter, Some("one"), false);
            bench.check(&name, EventType::Counter, Some("one"), true);
        }
        assert_eq!(bench.cache.len(), 3);
    }

    #[test]
    fn nothing_is_remembered_without_room_or_of_huge_names() {
        let mut bench = Bench::new(0, Eviction::Lru);
        bench.check("a.x", EventType::Counter, Some("one"), false);
        bench.check("a.x", EventType::Counter, Some("one"), false);
        let mut bench = Bench::new(usize::MAX, Eviction::Lru);
        let huge = format!("a.{}", "x".repeat(MAX_NAME_BYTES));
        bench.check(&huge, EventType::Counter, Some("one"), false);
        bench.check(&huge, EventType::Counter, Some("one"), false);
        assert!(bench.cache.is_empty());
    }

    #[test]
    fn clearing_forgets_everything() {
        for eviction in [Eviction::Lru, Eviction::Random] {
            let mut bench = Bench::new(10, eviction);
            bench.check("a.x", EventType::Counter, Some("one"), false);
            bench.cache.clear();
            bench.check("a.x", EventType::Counter, Some("one"), false);
        }
    }

    struct Bench {
        rules: Rules,
        cache: Cache,
    }

    impl Bench {
        fn new(entries: usize, eviction: Eviction) -> Self {
            let loaded = Rules::parse(RULES.as_bytes(), "m.yml".as_ref(), Compat::Extended);
            Self { rules: loaded.unwrap().rules, cache: Cache::new(Config { entries, eviction }) }
        }

        #[track_caller]
        fn check(&mut self, name: &str, event: EventType, expected: Option<&str>, is_hit: bool) {
            let (found, was_hit) = self.cache.get_or_find(&self.rules, name, event);
            let found = found.as_deref().map(|found| found.name.as_str());
            assert_eq!((found, was_hit), (expected, is_hit), "{name}");
        }
    }
}
