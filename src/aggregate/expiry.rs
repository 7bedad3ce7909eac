//! Removal of idle series, in two steps, so that no sample falls between two owners of a cell.
//!
//! First the lanes are asked: a series that looks idle is taken out of the index, and each lane
//! forgets its cached lines for it, or vetoes because it has seen a sample since. A sample that
//! comes meanwhile finds the series marked and rescues it. Only what nobody wants goes off the page.
//!
//! Then its cells are taken back: once no scrape can be looking at an older view, each lane empties
//! them, and only after the last one has done so may another series own them.

use std::collections::HashSet;
use std::sync::Arc;

use super::cells::{CellRef, ColumnId};
use super::{ByText, Registry, Series};

/// Series that look idle; the lanes are asked whether they may go.
#[derive(Debug)]
pub struct Proposal {
    /// The series.
    pub series: Vec<Arc<Series>>,
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
    series: Vec<Arc<Series>>,
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
    /// Finds the series whose ttl is over and takes them out of the index; `None` if there are
    /// none. [`end_expiry`](Self::end_expiry) must follow.
    #[must_use]
    pub fn propose_expiry(&self, now_millis: u64) -> Option<Proposal> {
        let mortal = self.families.lock().mortal().to_vec();
        if mortal.is_empty() {
            return None;
        }
        let values = self.values(now_millis);
        let mut proposal = Proposal { series: Vec::new(), at_millis: now_millis };
        let idle = mortal.into_iter();
        let idle = idle.filter(|series| proposal.is_idle(series, values.touched_millis(series)));
        proposal.series = idle.collect();
        if proposal.series.is_empty() {
            return None;
        }
        self.begin_expiry(&mut proposal.series);
        (!proposal.series.is_empty()).then_some(proposal)
    }

    /// Takes series out of the index, leaving aside those that are no longer in it: their family
    /// has begun anew meanwhile, so they are on their way out or another one has their text.
    pub(super) fn begin_expiry(&self, series: &mut Vec<Arc<Series>>) {
        let mut families = self.families.lock();
        series.retain(|series| {
            let is_same = |known: &ByText| Arc::ptr_eq(&known.0, series);
            self.index.remove_if(series.text(), is_same).is_some()
        });
        families.begin_expiry(series);
    }

    /// Removes the proposed series but those that a lane has vetoed, by index, and those that
    /// were rescued. Returns whether a name became free.
    pub fn end_expiry(&self, proposal: &Proposal, vetoed: &[usize]) -> bool {
        let mut families = self.families.lock();
        let mut gone = Vec::new();
        let mut freed = false;
        let vetoed: HashSet<usize> = vetoed.iter().copied().collect();
        for (i, series) in proposal.series.iter().enumerate() {
            match families.end_expiry(series, vetoed.contains(&i)) {
                Some(true) => {}
                Some(false) => {
                    self.index.insert(ByText(Arc::clone(series)));
                    continue;
                }
                None => continue,
            }
            gone.push(Arc::clone(series));
            let is_empty = families.remove(series);
            // The reference keeps the name bound to its type for ever.
            if is_empty
                && !self.compat.is_reference()
                && let Some((kind, vectors)) = families.forget_family(series.name())
            {
                self.discount_vectors(kind, vectors);
                freed = true;
            }
        }
        families.retire(gone);
        freed
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
