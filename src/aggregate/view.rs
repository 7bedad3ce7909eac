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
#[derive(Debug)]
pub struct FamilyView {
    /// Name, help and type.
    pub family: Arc<Family>,
    /// The series.
    pub series: Vec<Arc<Series>>,
}

/// What happened to one family since the last view.
#[derive(Debug)]
pub(super) struct Change {
    family: Arc<Family>,
    /// Nothing that was on the page before stays.
    restarted: bool,
    pub(super) added: Vec<Arc<Series>>,
    pub(super) removed: Vec<Arc<Series>>,
}

impl Change {
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

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl View {
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
            if !view.series.is_empty() {
                families.push(Arc::new(view));
            }
        }
        families.extend(old.cloned());
        Self { families }
    }
}

impl Change {
    fn apply(mut self, old: Option<&FamilyView>) -> FamilyView {
        let gone: HashSet<*const Series> = self.removed.iter().map(Arc::as_ptr).collect();
        let stays = |series: &&Arc<Series>| gone.is_empty() || !gone.contains(&Arc::as_ptr(series));
        self.added.retain(|series| stays(&series));
        self.added.sort_unstable_by(|a, b| a.labels().cmp(b.labels()));
        let old = if self.restarted { None } else { old };
        let old = old.map_or(&[][..], |old| &old.series);
        let mut series = Vec::with_capacity(old.len() + self.added.len());
        let mut added = self.added.into_iter().peekable();
        for known in old.iter().filter(stays) {
            while let Some(new) = added.next_if(|new| new.labels() < known.labels()) {
                series.push(new);
            }
            series.push(Arc::clone(known));
        }
        series.extend(added);
        FamilyView { family: self.family, series }
    }
}
