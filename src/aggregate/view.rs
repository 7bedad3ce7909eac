//! What a scrape walks: all families and series in order, unchanging while it is looked at.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Family, FastMap, Series};

/// The families of one moment, sorted by name.
#[derive(Debug, Default)]
pub struct View {
    families: Vec<Arc<FamilyView>>,
}

/// One family and its series, sorted by their labels.
///
/// The series stand in blocks, of which a new view shares all but those that have changed.
#[derive(Debug)]
pub struct FamilyView {
    /// Name, help and type.
    pub family: Arc<Family>,
    blocks: Vec<Arc<[Series]>>,
}

impl FamilyView {
    /// The series in order, some at a time.
    pub fn blocks(&self) -> impl Iterator<Item = &[Series]> {
        self.blocks.iter().map(|block| &**block)
    }

    /// The series in order.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.blocks().flatten()
    }
}

/// What happened to one family since the last view.
#[derive(Debug)]
pub(super) struct Change {
    family: Arc<Family>,
    /// Nothing that was on the page before stays.
    restarted: bool,
    pub(super) added: Vec<Series>,
    pub(super) removed: Vec<Series>,
}

impl Change {
    /// What was added and is still there, or already on its way out.
    pub(super) fn added(&self) -> &[Series] {
        &self.added
    }

    /// The series after the change, in no order, of those that were there before.
    fn live<'a>(
        &'a self,
        before: impl Iterator<Item = &'a Series>,
    ) -> impl Iterator<Item = &'a Series> {
        let gone: HashSet<usize> = self.removed.iter().map(Series::address).collect();
        let before = before.take(if self.restarted { 0 } else { usize::MAX });
        before.chain(&self.added).filter(move |series| !gone.contains(&series.address()))
    }

    /// Marks everything the family has so far as gone.
    pub(super) fn restart(&mut self) {
        self.restarted = true;
        self.added.clear();
        self.removed.clear();
    }
}

/// What happened to all families since the last view.
#[derive(Debug, Default)]
pub(super) struct Changes(FastMap<Arc<str>, Change>);

impl Changes {
    pub(super) fn entry(&mut self, family: &Arc<Family>) -> &mut Change {
        let change = self.0.entry(Arc::clone(&family.name)).or_insert_with(|| Change {
            family: Arc::clone(family),
            restarted: false,
            added: Vec::new(),
            removed: Vec::new(),
        });
        // Another family may have had the name when the first of the changes came.
        change.family = Arc::clone(family);
        change
    }

    pub(super) fn get(&self, name: &str) -> Option<&Change> {
        self.0.get(name)
    }

    /// The series of a family, in no order, that the next view will have after `view`.
    pub(super) fn live<'a>(
        &'a self,
        name: &str,
        view: &'a View,
    ) -> Box<dyn Iterator<Item = &'a Series> + 'a> {
        let before = view.series_of(name);
        match self.get(name) {
            Some(change) => Box::new(change.live(before)),
            None => Box::new(before),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl View {
    /// The family of a name.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&FamilyView> {
        let place = self.families.binary_search_by(|family| (*family.family.name).cmp(name));
        self.families.get(place.ok()?).map(|family| &**family)
    }

    /// The series of a family, if there is one of that name.
    pub(super) fn series_of<'a>(
        &'a self,
        name: &str,
    ) -> impl Iterator<Item = &'a Series> + use<'a> {
        self.family(name).into_iter().flat_map(FamilyView::series)
    }

    /// The families, sorted by name.
    #[must_use]
    pub fn families(&self) -> &[Arc<FamilyView>] {
        &self.families
    }

    /// This view after some changes. New series are sorted among themselves and merged in, so the
    /// cost is that of a walk, never that of sorting everything.
    pub(super) fn with(&self, changes: Changes) -> Self {
        let mut by_name: Vec<Change> = changes.0.into_values().collect();
        by_name.sort_unstable_by(|a, b| a.family.name.cmp(&b.family.name));
        let mut families = Vec::with_capacity(self.families.len() + by_name.len());
        let mut old = self.families.iter().peekable();
        for change in by_name {
            while let Some(before) = old.next_if(|old| old.family.name < change.family.name) {
                families.push(Arc::clone(before));
            }
            let same = old.next_if(|old| old.family.name == change.family.name);
            let view = change.apply(same.map(|old| &**old));
            if !view.blocks.is_empty() {
                families.push(Arc::new(view));
            }
        }
        families.extend(old.cloned());
        Self { families }
    }
}

impl Change {
    fn apply(mut self, old: Option<&FamilyView>) -> FamilyView {
        let gone: HashSet<usize> = self.removed.iter().map(Series::address).collect();
        let stays = |series: &Series| gone.is_empty() || !gone.contains(&series.address());
        self.added.retain(stays);
        self.added.sort_unstable_by(|a, b| a.labels().cmp(b.labels()));
        self.removed.sort_unstable_by(|a, b| a.labels().cmp(b.labels()));
        let old = if self.restarted { None } else { old };
        let old = old.map_or(&[][..], |old| &old.blocks);
        let mut blocks = Blocks::default();
        let mut added = self.added.into_iter().peekable();
        let mut removed = self.removed.into_iter().peekable();
        for (i, block) in old.iter().enumerate() {
            let next = old.get(i + 1).and_then(|next| next.first());
            let is_here = |series: &Series| next.is_none_or(|next| series.labels() < next.labels());
            let loses = removed.next_if(is_here).is_some();
            while removed.next_if(is_here).is_some() {}
            if !loses && added.peek().is_none_or(|series| !is_here(series)) {
                blocks.share(block);
                continue;
            }
            for known in block.iter().filter(|series| stays(series)) {
                while let Some(new) = added.next_if(|new| new.labels() < known.labels()) {
                    blocks.push(new);
                }
                blocks.push(known.clone());
            }
            while let Some(new) = added.next_if(is_here) {
                blocks.push(new);
            }
        }
        added.for_each(|series| blocks.push(series));
        FamilyView { family: self.family, blocks: blocks.finish() }
    }
}

/// Series in a block; a change copies one, and a scrape looks that far ahead.
const BLOCK_SERIES: usize = 64;

/// Blocks in the making.
#[derive(Default)]
struct Blocks {
    done: Vec<Arc<[Series]>>,
    open: Vec<Series>,
}

impl Blocks {
    fn push(&mut self, series: Series) {
        self.open.push(series);
        if self.open.len() == BLOCK_SERIES {
            self.close();
        }
    }

    /// Takes a block as it is, unless what stands before it is too little for one of its own.
    fn share(&mut self, block: &Arc<[Series]>) {
        if !self.open.is_empty() && self.open.len() < BLOCK_SERIES / 4 {
            block.iter().for_each(|series| self.push(series.clone()));
            return;
        }
        self.close();
        self.done.push(Arc::clone(block));
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(self.open.drain(..).collect());
        }
    }

    fn finish(mut self) -> Vec<Arc<[Series]>> {
        self.close();
        self.done.shrink_to_fit();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::cells::{CellRef, ColumnId};
    use crate::aggregate::{FamilyKind, Request, SeriesSpec};

    #[test]
    fn a_view_holds_what_was_added_and_not_removed_in_order() {
        let mut check = Check::default();
        check.step(&[], &[]);
        check.step(&(0..500).map(|i| i * 10).collect::<Vec<_>>(), &[]);
        check.step(&[5, 4_995, 1], &[0, 640, 4_990]);
        check.step(&(0..300).map(|i| i * 7 + 3).collect::<Vec<_>>(), &[1, 5]);
        check.step(&[], &(100..450).map(|i| i * 10).collect::<Vec<_>>());
        check.step(&[5_000], &[]);
    }

    #[test]
    fn blocks_without_a_change_are_shared() {
        let mut check = Check::default();
        check.step(&(0..1_000).collect::<Vec<_>>(), &[]);
        let before = check.view.families[0].blocks.clone();
        check.step(&[], &[500]);
        let after = &check.view.families[0].blocks;
        let shared = after.iter().filter(|block| before.iter().any(|old| Arc::ptr_eq(old, block)));
        assert_eq!((shared.count(), after.len()), (before.len() - 1, before.len()));
    }

    #[test]
    fn a_series_that_came_again_replaces_the_one_that_left() {
        let mut check = Check::default();
        check.step(&[1, 2, 3], &[]);
        check.step(&[2], &[2]);
    }

    #[test]
    fn a_family_without_series_is_not_shown() {
        let mut check = Check::default();
        check.step(&[1], &[]);
        check.step(&[], &[1]);
        assert!(check.view.families.is_empty());
    }

    #[derive(Default)]
    struct Check {
        view: View,
        expected: Vec<Series>,
    }

    impl Check {
        /// Adds and removes series by number, and compares the view with a sorted list.
        #[track_caller]
        fn step(&mut self, added: &[u32], removed: &[u32]) {
            let family = Family { name: "a".into(), help: "".into(), kind: FamilyKind::Counter };
            let mut changes = Changes::default();
            let change = changes.entry(&Arc::new(family));
            for number in removed {
                let text = text(*number);
                let at = self.expected.iter().position(|series| series.text() == text).unwrap();
                change.removed.push(self.expected.remove(at));
            }
            change.added.extend(added.iter().map(|number| series(&text(*number))));
            self.expected.extend(change.added.iter().cloned());
            self.expected.sort_by(|a, b| a.text().cmp(b.text()));
            self.view = self.view.with(changes);
            let found: Vec<_> = self.view.series_of("a").map(Series::address).collect();
            let expected: Vec<_> = self.expected.iter().map(Series::address).collect();
            assert_eq!(found, expected);
        }
    }

    fn text(number: u32) -> String {
        format!("a{{k=\"{number:05}\"}}")
    }

    fn series(text: &str) -> Series {
        let request = Request {
            text,
            name: "a",
            label_names: "k,",
            spec: &SeriesSpec::Counter,
            help: "",
            limits: None,
            ttl_millis: 0,
            generation: 1,
            now_millis: 0,
        };
        Series::new(&request, CellRef { column: ColumnId::Counter, id: 0 })
    }
}
