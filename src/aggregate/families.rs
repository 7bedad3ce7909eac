//! What the registry keeps under its lock: who owns a name, which cells are free, what changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::cells::{CellRef, ColumnId, SharedCells};
use super::limits::Occupancy;
use super::saved::RESTORED_GENERATION;
use super::view::{Changes, View};
use super::{Conflict, Family, FamilyKind, FastMap, Request, Series};
use crate::column::CHUNK_CELLS;

/// One name's state.
#[derive(Debug)]
pub(super) struct FamilyState {
    family: Arc<Family>,
    /// By label names. The reference keeps buckets and quantiles per such a vector.
    vectors: FastMap<Box<str>, Vector>,
    series: usize,
    /// Made when a limit first asks for it.
    pub(super) occupancy: Option<Box<Occupancy>>,
}

impl FamilyState {
    /// The series that count against limits.
    pub(super) fn used(&self) -> usize {
        let overflow = self.occupancy.as_ref().and_then(|occupancy| occupancy.overflow.as_ref());
        self.series.saturating_sub(usize::from(overflow.is_some()))
    }

    /// Whether it has no series.
    pub(super) fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Whether a series takes what is over the family's limit.
    fn is_overflow(&self, series: &Series) -> bool {
        let overflow = self.occupancy.as_ref().and_then(|occupancy| occupancy.overflow.as_deref());
        overflow.is_some_and(|text| text == series.text())
    }
}

/// What the series of a family with the same label names have in common.
#[derive(Clone, Copy, Debug)]
struct Vector {
    column: ColumnId,
    /// Which reload its buckets or quantiles come from.
    generation: u64,
}

/// A series whose removal the lanes are being asked about.
#[derive(Debug)]
struct Expiring {
    series: Series,
    rescued: bool,
}

/// What a family that begins anew leaves behind.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Its type.
    pub(super) kind: FamilyKind,
    /// How many vectors it had.
    pub(super) vectors: u64,
    /// Its series that are not in the index, since lanes are being asked about them.
    pub(super) expiring: Vec<Series>,
}

/// What is to be done about series that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are none.
    None,
    /// They may be let in once others have left.
    Waiting,
    /// They may be let in, since another source has made room.
    HaveRoom,
}

/// Families, free cells and pending changes.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) by_name: FastMap<Arc<str>, FamilyState>,
    /// Series in all that count against limits, and how many there may be.
    pub(super) series: usize,
    /// Series that other sources keep, which count against the limit as well.
    pub(super) elsewhere: usize,
    pub(super) most_series: Option<usize>,
    pub(super) refused: Refused,
    own_names: HashSet<String>,
    pools: BTreeMap<ColumnId, IdPool>,
    changes: Changes,
    /// Series that can expire and that the wheel does not have yet.
    mortal: Vec<Series>,
    /// Whether a series that the wheel has got another ttl.
    has_new_ttls: bool,
    expiring: FastMap<Box<str>, Expiring>,
    /// Series that are gone from the page, and whose cells no lane may write to any more.
    retired: Vec<Series>,
}

impl Families {
    pub(super) fn new(own_names: impl IntoIterator<Item = String>) -> Self {
        Self {
            by_name: FastMap::default(),
            series: 0,
            elsewhere: 0,
            most_series: None,
            refused: Refused::None,
            own_names: own_names.into_iter().collect(),
            pools: BTreeMap::new(),
            changes: Changes::default(),
            mortal: Vec::new(),
            has_new_ttls: false,
            expiring: FastMap::default(),
            retired: Vec::new(),
        }
    }

    /// Refuses a name that is taken, as `statsd_exporter` does (`pkg/registry`): by another type,
    /// by the samples of a histogram or summary, or by one of our own metrics. Of two observers
    /// whose samples would share a name the reference takes both and fails every scrape; here the
    /// second one is refused.
    pub(super) fn check_name(&self, name: &str, kind: FamilyKind) -> Result<(), Conflict> {
        if self.own_names.contains(name) || self.is_other(name, kind) {
            return Err(Conflict);
        }
        let taken = match kind {
            FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Set => {
                ["_bucket", "_count", "_sum"].iter().any(|suffix| {
                    name.strip_suffix(suffix)
                        .is_some_and(|base| self.is_other(base, FamilyKind::Counter))
                })
            }
            FamilyKind::Histogram | FamilyKind::Summary => {
                let samples = sample_suffixes(kind);
                samples.iter().any(|suffix| self.has(&format!("{name}{suffix}")))
                    || self.is_sample_of_another(name)
            }
        };
        if taken { Err(Conflict) } else { Ok(()) }
    }

    /// Whether a histogram or summary has samples of that name.
    fn is_sample_of_another(&self, name: &str) -> bool {
        ["_bucket", "_count", "_sum"].iter().any(|suffix| {
            let base = name.strip_suffix(suffix).and_then(|base| self.by_name.get(base));
            base.is_some_and(|state| sample_suffixes(state.family.kind).contains(suffix))
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The family of a name.
    pub(super) fn family(&self, name: &str) -> Option<Arc<Family>> {
        self.by_name.get(name).map(|state| Arc::clone(&state.family))
    }

    fn is_other(&self, name: &str, kind: FamilyKind) -> bool {
        self.by_name.get(name).is_some_and(|state| state.family.kind != kind)
    }

    /// The column for a request's label names, and whether they are new to the family. The name
    /// must have been checked.
    pub(super) fn vector(
        &mut self,
        request: &Request<'_>,
        shared: &SharedCells,
    ) -> (ColumnId, bool) {
        if !self.by_name.contains_key(request.name) {
            let name: Arc<str> = request.name.into();
            let family = Arc::new(Family {
                name: Arc::clone(&name),
                help: request.help.into(),
                kind: request.spec.kind(),
            });
            let vectors = FastMap::default();
            let state = FamilyState { family, vectors, series: 0, occupancy: None };
            self.by_name.insert(name, state);
        }
        let Some(state) = self.by_name.get_mut(request.name) else {
            return (shared.column(request.spec), false);
        };
        if let Some(vector) = state.vectors.get(request.label_names) {
            return (vector.column, false);
        }
        let column = shared.column(request.spec);
        let vector = Vector { column, generation: request.generation };
        state.vectors.insert(request.label_names.into(), vector);
        (column, true)
    }

    /// A free cell of a column, the lowest there is.
    pub(super) fn cell(&mut self, column: ColumnId) -> CellRef {
        CellRef { column, id: self.pools.entry(column).or_default().take() }
    }

    /// Puts a series on the next page.
    pub(super) fn add(&mut self, series: &Series) {
        if let Some(state) = self.by_name.get_mut(series.name()) {
            state.series += 1;
            self.series += 1;
            if let Some(occupancy) = &mut state.occupancy {
                occupancy.add(series);
            }
            let change = self.changes.entry(&state.family);
            change.added.push(series.clone());
        }
        self.watch(series);
    }

    /// Lists a series that can expire, once however often its ttl comes and goes.
    fn watch(&mut self, series: &Series) {
        if series.watch() {
            self.mortal.push(series.clone());
        }
    }

    /// Lists a series again that was taken off the wheel, but stays.
    pub(super) fn watch_again(&mut self, series: &Series) {
        self.mortal.push(series.clone());
    }

    /// Gives a known series the ttl that its rule asks for since a reload.
    pub(super) fn set_ttl(&mut self, series: &Series, ttl_millis: u64) {
        if series.ttl_millis() != ttl_millis {
            series.set_ttl(ttl_millis);
            self.has_new_ttls = true;
        }
        self.watch(series);
    }

    /// Saves a series from expiry, if lanes are being asked about it: a sample has come.
    pub(super) fn rescue(&mut self, text: &str) -> Option<Series> {
        let entry = self.expiring.get_mut(text)?;
        entry.rescued = true;
        Some(entry.series.clone())
    }

    /// Whether a reload has changed the buckets, quantiles or window of a request's family, or
    /// whether that was restored and no sample has agreed with its type since.
    pub(super) fn is_outdated(&self, request: &Request<'_>, shared: &SharedCells) -> bool {
        let Some(state) = self.by_name.get(request.name) else { return false };
        if state.family.kind != request.spec.kind() {
            let is_restored = |vector: &Vector| vector.generation == RESTORED_GENERATION;
            return request.generation != RESTORED_GENERATION
                && state.vectors.values().all(is_restored);
        }
        let vector = state.vectors.get(request.label_names);
        vector.is_some_and(|vector| {
            vector.generation < request.generation
                && shared.spec(vector.column).is_some_and(|spec| spec != *request.spec)
        })
    }

    /// Series of a family that no view has yet.
    pub(super) fn pending(&self, name: &str) -> Vec<Series> {
        self.changes.get(name).map_or(Vec::new(), |change| change.added().to_vec())
    }

    /// The series of a family as the next view will have them after `view`, in no order.
    pub(super) fn live<'a>(
        &'a self,
        name: &str,
        view: &'a View,
    ) -> impl Iterator<Item = &'a Series> {
        self.changes.live(name, view)
    }

    /// Remembers that a sample has agreed with a restored series.
    pub(super) fn confirm(&mut self, series: &Series, request: &Request<'_>) {
        if !series.confirm() {
            return;
        }
        let state = self.by_name.get_mut(request.name);
        if let Some(vector) = state.and_then(|state| state.vectors.get_mut(request.label_names)) {
            vector.generation = vector.generation.max(request.generation);
        }
    }

    /// Begins a request's family anew; what it leaves behind. The caller retires its series.
    pub(super) fn restart(&mut self, request: &Request<'_>) -> Leftovers {
        let (name, mut kind, mut vectors) = (request.name, request.spec.kind(), 0);
        if let Some(state) = self.by_name.get_mut(name) {
            kind = state.family.kind;
            vectors = state.vectors.len() as u64;
            state.vectors.clear();
            self.series = self.series.saturating_sub(state.used());
            state.series = 0;
            state.occupancy = None;
            self.changes.entry(&state.family).restart();
        }
        if kind != request.spec.kind() {
            self.by_name.remove(name);
        }
        // Whatever lanes say, these are gone; what was rescued is in the index again.
        let expiring = self.expiring.extract_if(|_, entry| entry.series.name() == name);
        let expiring = expiring.filter(|(_, entry)| !entry.rescued);
        let expiring = expiring.map(|(_, entry)| entry.series).collect();
        Leftovers { kind, vectors, expiring }
    }

    /// Remembers series that are off the page, until their cells can be taken back.
    pub(super) fn retire(&mut self, series: Vec<Series>) {
        self.retired.extend(series);
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The series that have begun to be mortal, and whether the ttl of any other has changed, since
    /// the last call.
    pub(super) fn take_mortal(&mut self) -> (Vec<Series>, bool) {
        (std::mem::take(&mut self.mortal), std::mem::take(&mut self.has_new_ttls))
    }

    /// Marks series whose removal the lanes will be asked about.
    pub(super) fn begin_expiry(&mut self, series: &[Series]) {
        for series in series {
            let entry = Expiring { series: series.clone(), rescued: false };
            self.expiring.insert(series.text().into(), entry);
        }
    }

    /// Ends what [`begin_expiry`](Self::begin_expiry) began for one series: `true` when it goes,
    /// `None` when it has left already because its family began anew.
    pub(super) fn end_expiry(&mut self, series: &Series, vetoed: bool) -> Option<bool> {
        let entry = self.expiring.remove(series.text())?;
        Some(!vetoed && !entry.rescued)
    }

    /// Takes an expired series off the page; whether its family has no series left.
    pub(super) fn remove(&mut self, series: &Series) -> bool {
        let Some(state) = self.by_name.get_mut(series.name()) else { return false };
        let is_overflow = state.is_overflow(series);
        state.series = state.series.saturating_sub(1);
        if let Some(occupancy) = &mut state.occupancy {
            occupancy.remove(series);
            occupancy.overflow.take_if(|_| is_overflow);
        }
        if !is_overflow {
            self.series = self.series.saturating_sub(1);
        }
        let change = self.changes.entry(&state.family);
        change.removed.push(series.clone());
        state.series == 0
    }

    /// Frees a family's name; the number of its vectors.
    pub(super) fn forget_family(&mut self, name: &str) -> Option<(FamilyKind, u64)> {
        let state = self.by_name.remove(name)?;
        Some((state.family.kind, state.vectors.len() as u64))
    }

    pub(super) fn take_retired(&mut self) -> Vec<Series> {
        std::mem::take(&mut self.retired)
    }

    /// The chunks that become empty when these cells are given back.
    pub(super) fn chunks_emptied_by(&mut self, cells: &[CellRef]) -> Vec<(ColumnId, u32)> {
        let mut emptied = Vec::new();
        for cell in cells {
            if let Some(pool) = self.pools.get_mut(&cell.column)
                && pool.put_aside(cell.id)
            {
                emptied.push((cell.column, cell.id / CHUNK_CELLS));
            }
        }
        emptied
    }

    /// Gives cells and chunks back that every lane has emptied.
    pub(super) fn free(&mut self, cells: &[CellRef], chunks: &[(ColumnId, u32)]) {
        for cell in cells {
            if let Some(pool) = self.pools.get_mut(&cell.column) {
                pool.free.insert(cell.id);
            }
        }
        for (column, chunk) in chunks {
            if let Some(pool) = self.pools.get_mut(column) {
                pool.reopen(*chunk);
            }
        }
    }
}

/// What a family's samples are called behind its own name.
fn sample_suffixes(kind: FamilyKind) -> &'static [&'static str] {
    match kind {
        FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Set => &[],
        FamilyKind::Histogram => &["_sum", "_count", "_bucket"],
        FamilyKind::Summary => &["_sum", "_count"],
    }
}

/// The ids of one column.
#[derive(Debug, Default)]
struct IdPool {
    next: u32,
    free: BTreeSet<u32>,
    /// Ids in use per chunk.
    used: Vec<u32>,
    /// Free ids of chunks that lanes are about to give back: nobody may have one until they did.
    withheld: FastMap<u32, Vec<u32>>,
}

impl IdPool {
    /// The lowest free id, so that a column shrinks from its end.
    fn take(&mut self) -> u32 {
        let id = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let chunk = (id / CHUNK_CELLS) as usize;
        if self.used.len() <= chunk {
            self.used.resize(chunk + 1, 0);
        }
        if let Some(used) = self.used.get_mut(chunk) {
            *used += 1;
        }
        id
    }

    /// Counts an id as no longer used, though not yet free; whether its chunk is empty, and closed
    /// by that.
    fn put_aside(&mut self, id: u32) -> bool {
        let chunk = id / CHUNK_CELLS;
        let Some(used) = self.used.get_mut(chunk as usize) else { return false };
        *used = used.saturating_sub(1);
        if *used > 0 {
            return false;
        }
        let end = (chunk + 1) * CHUNK_CELLS;
        let mut withheld: Vec<u32> =
            self.free.extract_if(chunk * CHUNK_CELLS..end, |_| true).collect();
        if self.next < end {
            withheld.extend(self.next..end);
            self.next = end;
        }
        self.withheld.entry(chunk).or_default().extend(withheld);
        true
    }

    /// Lets the ids of a chunk be had again.
    fn reopen(&mut self, chunk: u32) {
        self.free.extend(self.withheld.remove(&chunk).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_id_is_taken_first() {
        let mut pool = IdPool::default();
        assert_eq!([pool.take(), pool.take(), pool.take()], [0, 1, 2]);
        assert!(!pool.put_aside(1));
        assert!(!pool.put_aside(0));
        pool.free.extend([1, 0]);
        assert_eq!([pool.take(), pool.take(), pool.take()], [0, 1, 3]);
    }

    #[test]
    fn an_empty_chunk_is_closed_until_lanes_have_given_it_back() {
        let mut pool = IdPool::default();
        assert_eq!([pool.take(), pool.take()], [0, 1]);
        assert!(!pool.put_aside(0));
        assert!(pool.put_aside(1));
        assert_eq!(pool.take(), CHUNK_CELLS);
        pool.free.extend([0, 1]);
        pool.reopen(0);
        assert_eq!([pool.take(), pool.take(), pool.take()], [0, 1, 2]);
    }
}
