//! Removal of idle series, in two steps, so that no sample falls between two owners of a cell.
//!
//! First the lanes are asked: a series that looks idle is taken out of the index, and each lane
//! forgets its cached lines for it, or vetoes because it has seen a sample since. A sample that
//! comes meanwhile finds the series marked and rescues it. Only what nobody wants goes off the page.
//!
//! Then its cells are taken back: once no scrape can be looking at an older view, each lane empties
//! them, and only after the last one has done so may another series own them.

use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;

use super::cells::{CellRef, ColumnId};
use super::families::Families;
use super::scrapes::Scrapes;
use super::series::ByText;
use super::{Registry, Series};

/// So many series are worked on at a time.
const PART_SERIES: usize = 256;

/// So many series are looked at in one round; what is left is looked at in the next.
const ROUND_SERIES: usize = 65_536;

/// The width of a [`Wheel`]'s slots.
const SLOT_MILLIS: u64 = 1024;

/// When series that can expire are to be looked at.
///
/// Each stands in the slot of the time at which it would be idle if no more samples came, so a
/// series with a ttl of five minutes costs one look in five minutes, however many there are.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    slots: BTreeMap<u64, Vec<Series>>,
    /// Idle series that wait for a scrape, by when they have waited long enough.
    held: BTreeMap<u64, Vec<Series>>,
    /// The scrape as of which they were looked at last.
    scrapes: Scrapes,
}

impl Wheel {
    /// Takes a series in that was last touched then, or when it began.
    fn add(&mut self, series: Series, touched_millis: u64) {
        let since = touched_millis.max(series.created_millis);
        // Without a ttl it is looked at when ttls change.
        let ttl_millis = Some(series.ttl_millis()).filter(|ttl| *ttl > 0);
        let due_millis = ttl_millis.map_or(u64::MAX, |ttl| since.saturating_add(ttl));
        self.slots.entry(due_millis / SLOT_MILLIS).or_default().push(series);
    }

    /// Has every series looked at soon, as its ttl may be another now.
    fn doubt(&mut self) {
        let slots = std::mem::take(&mut self.slots).into_values();
        let held = std::mem::take(&mut self.held).into_values();
        self.slots.insert(0, slots.chain(held).flatten().collect());
    }

    /// Takes an idle series in that nobody may have scraped yet.
    fn hold(&mut self, series: Series, until_millis: u64) {
        self.held.entry(until_millis / SLOT_MILLIS).or_default().push(series);
    }

    /// Has held series looked at again: all of them once there was another scrape, else those
    /// that have waited long enough.
    fn release(&mut self, scrapes: Scrapes, now_millis: u64) {
        let is_news = std::mem::replace(&mut self.scrapes, scrapes) != scrapes;
        let end = if is_news { u64::MAX } else { now_millis / SLOT_MILLIS };
        let due = self.held.extract_if(..=end, |_, _| true);
        let mut due = due.flat_map(|(_, series)| series).peekable();
        if due.peek().is_some() {
            self.slots.entry(0).or_default().extend(due);
        }
    }

    /// The series of the slots that have begun, as far as one round goes.
    fn take(&mut self, now_millis: u64) -> Vec<Series> {
        let mut due: Vec<Series> = Vec::new();
        while let Some(mut slot) = self.slots.first_entry()
            && *slot.key() <= now_millis / SLOT_MILLIS
            && due.len() < ROUND_SERIES
        {
            let series = slot.get_mut();
            let rest = series.len().saturating_sub(ROUND_SERIES - due.len());
            due.extend(series.drain(rest..));
            if rest == 0 {
                slot.remove();
            }
        }
        due
    }
}

/// Series that look idle; the lanes are asked whether they may go.
#[derive(Debug)]
pub struct Proposal {
    /// The series.
    pub series: Vec<Series>,
    /// When they were found idle.
    pub at_millis: u64,
}

/// Cells that belong to no series any more; every lane must empty them.
#[derive(Debug, Default)]
pub struct Reclaim {
    /// The cells.
    pub cells: Vec<CellRef>,
    /// The chunks in which no cell is left.
    pub chunks: Vec<(ColumnId, u32)>,
}

/// Cells that wait until no scrape can be reading them. They must be reclaimed in the order in
/// which they retired: a scrape holds the token of its own time only.
#[derive(Debug)]
pub struct Retired {
    series: Vec<Series>,
    /// Also held by the scrapes that began since the last retirement.
    token: Arc<()>,
}

impl Proposal {
    /// Whether a series that was last touched then is idle.
    #[must_use]
    pub fn is_idle(&self, series: &Series, touched_millis: u64) -> bool {
        let ttl = series.ttl_millis();
        ttl > 0 && touched_millis.saturating_add(ttl) < self.at_millis
    }
}

impl Registry {
    /// Finds series whose ttl is over, and which could be scraped since their last sample, and
    /// takes them out of the index; `None` if there are none.
    /// Some may be left for the next call. [`end_expiry`](Self::end_expiry) must follow.
    #[must_use]
    pub fn propose_expiry(&self, now_millis: u64) -> Option<Proposal> {
        let (mortal, has_new_ttls) = self.families.lock().take_mortal();
        let mut wheel = self.wheel.lock();
        if has_new_ttls {
            wheel.doubt();
        }
        for series in mortal {
            wheel.add(series, 0);
        }
        let scrapes = self.scrapes();
        wheel.release(scrapes, now_millis);
        let due = wheel.take(now_millis);
        if due.is_empty() {
            return None;
        }
        let values = self.values(now_millis);
        let mut proposal = Proposal { series: Vec::new(), at_millis: now_millis };
        for part in due.chunks(PART_SERIES) {
            black_box(values.look_ahead(part));
            for series in part {
                let touched_millis = values.touched_millis(series);
                if !proposal.is_idle(series, touched_millis) {
                    wheel.add(series.clone(), touched_millis);
                } else if let Some(until_millis) =
                    scrapes.hold_until(touched_millis, series.ttl_millis(), now_millis)
                {
                    wheel.hold(series.clone(), until_millis);
                } else {
                    proposal.series.push(series.clone());
                }
            }
        }
        drop(wheel);
        self.begin_expiry(&mut proposal.series);
        (!proposal.series.is_empty()).then_some(proposal)
    }

    /// Takes series out of the index, leaving aside those that are no longer in it: their family
    /// has begun anew meanwhile, so they are on their way out or another one has their text.
    pub(super) fn begin_expiry(&self, series: &mut Vec<Series>) {
        let mut proposed = Vec::with_capacity(series.len());
        for part in series.chunks(PART_SERIES) {
            // Locked for some at a time: a lane may be waiting with a new series.
            let mut families = self.families.lock();
            let start = proposed.len();
            proposed.extend(part.iter().filter_map(|series| {
                let is_same = |known: &ByText| known.0.is_same(series);
                self.index.remove_if(series.text().as_bytes(), is_same).map(|known| known.0)
            }));
            families.begin_expiry(proposed.get(start..).unwrap_or_default());
        }
        *series = proposed;
    }

    /// Removes the proposed series but those that a lane has vetoed, by index, and those that
    /// were rescued. Returns whether a name became free, or room for series that were refused.
    pub fn end_expiry(&self, proposal: &Proposal, vetoed: &[usize]) -> bool {
        let vetoed: HashSet<usize> = vetoed.iter().copied().collect();
        let series = proposal.series.iter().enumerate();
        let mut series = series.map(|(i, series)| (series, vetoed.contains(&i))).peekable();
        let mut freed = false;
        while series.peek().is_some() {
            // Locked for some at a time: a lane may be waiting with a new series.
            let mut families = self.families.lock();
            for (series, is_vetoed) in series.by_ref().take(PART_SERIES) {
                freed |= self.end_one(&mut families, series, is_vetoed);
            }
        }
        freed
    }

    /// Ends the expiry of one series; whether a name became free, or room for others.
    fn end_one(&self, families: &mut Families, series: &Series, is_vetoed: bool) -> bool {
        match families.end_expiry(series, is_vetoed) {
            Some(true) => {}
            Some(false) => {
                self.index.insert(ByText(series.clone()));
                families.watch_again(series);
                return false;
            }
            None => return false,
        }
        let is_empty = families.remove(series);
        families.retire(vec![series.clone()]);
        let makes_room = families.take_refused();
        // The reference keeps the name bound to its type for ever.
        let forgotten = (is_empty && !self.compat.is_reference())
            .then(|| families.forget_family(series.name()));
        let Some((kind, vectors)) = forgotten.flatten() else { return makes_room };
        self.discount_vectors(kind, vectors);
        true
    }

    pub(super) fn discount_vectors(&self, kind: super::FamilyKind, n: u64) {
        if let Some(count) = self.vectors.get(kind as usize) {
            count.fetch_sub(n, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The series that have left since the last call.
    #[must_use]
    pub fn take_retired(&self) -> Option<Retired> {
        let series = self.families.lock().take_retired();
        if series.is_empty() {
            return None;
        }
        // From here on scrapes hold another token, and a view without these series.
        drop(self.view());
        let token = std::mem::take(&mut *self.token.lock());
        Some(Retired { series, token })
    }

    /// What the lanes must empty, once no scrape looks at an old view any more.
    ///
    /// # Errors
    /// Gives the argument back while one does.
    pub fn reclaim(&self, retired: Retired) -> Result<Reclaim, Retired> {
        if Arc::strong_count(&retired.token) > 1 {
            return Err(retired);
        }
        let cells: Vec<_> = retired.series.iter().map(|series| series.cell).collect();
        let chunks = self.families.lock().chunks_emptied_by(&cells);
        Ok(Reclaim { cells, chunks })
    }

    /// Lets new series have cells that every lane has emptied.
    pub fn free(&self, reclaimed: &Reclaim) {
        self.families.lock().free(&reclaimed.cells, &reclaimed.chunks);
    }
}
