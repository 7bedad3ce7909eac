//! Rules, names and bad lines that are counted one by one, at no cost for known lines.
//!
//! A *mark* is a place in a table of fixed size. The marks of a line belong to its recipe, so the one
//! addition that counts a known line counts its rule and its name as well.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::FIRST_GENERATION;
use crate::column::Cells;

type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Rules beyond these are not counted one by one.
pub const MAX_RULES: usize = 4096;
/// Names beyond these are counted together.
pub const MAX_NAMES: usize = 1024;
/// Kinds of bad lines beyond these are counted by reason alone.
pub const MAX_BAD_LINES: usize = 256;
/// Longer names are counted together with those that came too late.
const MAX_NAME_BYTES: usize = 256;

// Where the runs begin; 0 is nobody's.
const RULES: usize = 1;
const NAMES: usize = RULES + MAX_RULES;
/// Names that have no mark of their own, unmapped and mapped ones.
const OTHER_NAMES: usize = NAMES + MAX_NAMES;
const BAD_LINES: usize = OTHER_NAMES + 2;
/// How many marks there can be.
const MARKS: usize = BAD_LINES + MAX_BAD_LINES;

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark(NonZeroU16);

impl Mark {
    fn new(place: usize) -> Option<Self> {
        NonZeroU16::new(u16::try_from(place).ok()?).map(Self)
    }

    /// The mark of the rule that stands at `index`; none where it is not counted.
    #[must_use]
    pub fn of_rule(index: usize) -> Option<Self> {
        if index < MAX_RULES { Self::new(RULES + index) } else { None }
    }

    /// Its cell in a lane's column.
    pub(super) fn cell(self) -> u32 {
        u32::from(self.0.get())
    }
}

/// What one line is counted by besides its tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// The rule that matched.
    pub rule: Option<Mark>,
    /// The name of its family, its own where no rule matched, or the bad line that it repeats.
    pub subject: Option<Mark>,
}

impl Marks {
    /// The marks that there are.
    pub(super) fn iter(self) -> impl Iterator<Item = Mark> {
        self.rule.into_iter().chain(self.subject)
    }
}

/// Whose marks are whose. Those of rules and names begin anew with every reload, as all lanes forget
/// their lines then.
#[derive(Debug, Default)]
pub struct Marking(RwLock<Table>);

#[derive(Debug)]
struct Table {
    generation: u64,
    unmapped: FastMap<Arc<str>, Mark>,
    families: FastMap<Arc<str>, Mark>,
    bad_lines: usize,
    /// What was counted before the last reload.
    before: Vec<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            generation: FIRST_GENERATION,
            unmapped: FastMap::default(),
            families: FastMap::default(),
            bad_lines: 0,
            before: Vec::new(),
        }
    }
}

impl Table {
    fn len(&self) -> usize {
        self.unmapped.len() + self.families.len()
    }

    fn names(&mut self, sort: NameSort) -> &mut FastMap<Arc<str>, Mark> {
        match sort {
            NameSort::Unmapped => &mut self.unmapped,
            NameSort::Family => &mut self.families,
        }
    }
}

/// What a name is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSort {
    /// As the client sent it; no rule matched.
    Unmapped,
    /// A family's, as a rule made it.
    Family,
}

impl Marking {
    /// Begins anew with the rules of a reload, the first time that a lane says so; `totals` is
    /// asked for what was counted so far.
    pub(super) fn begin(&self, generation: u64, totals: impl FnOnce() -> Vec<u64>) {
        if self.0.read().generation >= generation {
            return;
        }
        let mut table = self.0.write();
        if table.generation < generation {
            let mut before = totals();
            before.truncate(BAD_LINES);
            let bad_lines = table.bad_lines;
            *table = Table { generation, bad_lines, before, ..Table::default() };
        }
    }

    /// The mark of a name; names that come too late share one. None for a lane that does not follow
    /// the latest rules yet.
    #[must_use]
    pub fn name(&self, generation: u64, sort: NameSort, name: &str) -> Option<Mark> {
        let table = self.0.read();
        if table.generation != generation {
            return None;
        }
        let known = match sort {
            NameSort::Unmapped => table.unmapped.get(name),
            NameSort::Family => table.families.get(name),
        };
        if let Some(mark) = known {
            return Some(*mark);
        }
        let is_full = table.len() >= MAX_NAMES || name.len() > MAX_NAME_BYTES;
        drop(table);
        if is_full {
            return Mark::new(OTHER_NAMES + sort as usize);
        }
        let mut table = self.0.write();
        if table.generation != generation || table.len() >= MAX_NAMES {
            return None;
        }
        let mark = Mark::new(NAMES + table.len())?;
        Some(*table.names(sort).entry(name.into()).or_insert(mark))
    }

    /// A mark for one more kind of bad line, while there are any.
    #[must_use]
    pub fn bad_line(&self) -> Option<Mark> {
        let mut table = self.0.write();
        if table.bad_lines >= MAX_BAD_LINES {
            return None;
        }
        table.bad_lines += 1;
        Mark::new(BAD_LINES + table.bad_lines - 1)
    }

    /// What the marks have come to, given everything counted since the start.
    pub(super) fn counts(&self, mut totals: Vec<u64>) -> Counts {
        let table = self.0.read();
        for (total, before) in totals.iter_mut().zip(&table.before) {
            *total = total.saturating_sub(*before);
        }
        let list = |names: &FastMap<Arc<str>, Mark>, sort| -> Vec<Name> {
            let name = |(name, mark): (&Arc<str>, &Mark)| Name {
                name: Arc::clone(name),
                sort,
                mark: *mark,
            };
            names.iter().map(name).collect()
        };
        let mut names = list(&table.unmapped, NameSort::Unmapped);
        names.extend(list(&table.families, NameSort::Family));
        Counts { generation: table.generation, totals, names }
    }
}

/// A name that has a mark of its own.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name.
    pub name: Arc<str>,
    /// What it is one of.
    pub sort: NameSort,
    /// Its mark.
    pub mark: Mark,
}

/// How many lines each mark has counted since the last reload.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Which reload that was.
    pub generation: u64,
    totals: Vec<u64>,
    /// The names that have marks, in no order.
    pub names: Vec<Name>,
}

impl Counts {
    /// How many lines a mark has counted.
    #[must_use]
    pub fn of(&self, mark: Mark) -> u64 {
        self.totals.get(mark.cell() as usize).copied().unwrap_or(0)
    }

    /// Every mark there may be.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        (RULES..self.totals.len()).filter_map(Mark::new)
    }

    /// How many lines the rule at `index` matched; none where it is not counted.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<u64> {
        (index < MAX_RULES).then(|| self.totals.get(RULES + index).copied().unwrap_or(0))
    }

    /// How many lines had a name without a mark of its own.
    #[must_use]
    pub fn other(&self, sort: NameSort) -> u64 {
        self.totals.get(OTHER_NAMES + sort as usize).copied().unwrap_or(0)
    }
}

/// Adds one lane's directly counted marks.
pub(super) fn add_cells(totals: &mut Vec<u64>, cells: &Cells<AtomicU64>) {
    totals.resize(MARKS, 0);
    for (place, total) in (0..).zip(totals.iter_mut()) {
        *total += cells.get(place).map_or(0, |cell| cell.load(Ordering::Relaxed));
    }
}

/// Adds what a recipe has counted.
pub(super) fn add(totals: &mut Vec<u64>, marks: Marks, times: u64) {
    totals.resize(MARKS, 0);
    for mark in marks.iter() {
        if let Some(total) = totals.get_mut(mark.cell() as usize) {
            *total += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_mark_and_those_that_come_too_late_share_one() {
        let marking = Marking::default();
        let mark = |name: &str| marking.name(FIRST_GENERATION, NameSort::Unmapped, name);
        let first = mark("a");
        assert!(first.is_some() && mark("a") == first && mark("b") != first);
        assert_ne!(marking.name(FIRST_GENERATION, NameSort::Family, "a"), first);
        assert!((0..MAX_NAMES).all(|n| mark(&format!("n{n}")).is_some()));
        let late = mark("late");
        assert!(late.is_some() && late == mark("later") && late == mark(&"x".repeat(300)));
        assert_ne!(late, marking.name(FIRST_GENERATION, NameSort::Family, "late"));
        assert_eq!(mark("a"), first);
    }

    #[test]
    fn a_reload_begins_anew_and_leaves_lanes_that_lag_without_marks() {
        let marking = Marking::default();
        let old = marking.name(FIRST_GENERATION, NameSort::Family, "a").unwrap();
        let mut totals = vec![0; MARKS];
        totals[old.cell() as usize] = 7;
        assert_eq!(marking.counts(totals.clone()).of(old), 7);
        marking.begin(FIRST_GENERATION + 1, || totals.clone());
        marking.begin(FIRST_GENERATION + 1, || panic!("asked twice"));
        assert_eq!(marking.name(FIRST_GENERATION, NameSort::Family, "a"), None);
        totals[old.cell() as usize] = 9;
        let counts = marking.counts(totals);
        assert!(counts.names.is_empty() && counts.of(old) == 2);
    }

    #[test]
    fn rules_and_bad_lines_are_bounded() {
        let marking = Marking::default();
        assert!(Mark::of_rule(MAX_RULES - 1).is_some() && Mark::of_rule(MAX_RULES).is_none());
        let marks: Vec<_> = std::iter::from_fn(|| marking.bad_line()).collect();
        assert_eq!(marks.len(), MAX_BAD_LINES);
        assert_eq!(marks.last().unwrap().cell() as usize, MARKS - 1);
    }
}
