//! Columns: cells that one thread writes and any thread reads, without a lock on either way.
//!
//! A column is a list of chunks of atomics. The writer holds the list itself, so it reaches a cell
//! by two loads; readers take a copy of the list, which is locked only while a chunk comes or goes.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Cells per chunk. Small enough that a rare kind of cell costs little, large enough that a list
/// of a million cells is short.
pub const CHUNK_CELLS: u32 = 128;

type Chunks<T> = Vec<Option<Arc<[T]>>>;

/// The writer's half of a column.
pub struct Column<T> {
    chunks: Chunks<T>,
    published: Arc<Mutex<Chunks<T>>>,
}

/// The readers' half of a column.
pub struct ColumnReader<T>(Arc<Mutex<Chunks<T>>>);

/// The cells of a column at one moment; they go on changing, but none of them goes away.
pub struct Cells<T>(Chunks<T>);

impl<T> Column<T> {
    /// An empty column.
    #[must_use]
    pub fn new() -> Self {
        Self { chunks: Vec::new(), published: Arc::default() }
    }

    /// What readers use.
    #[must_use]
    pub fn reader(&self) -> ColumnReader<T> {
        ColumnReader(Arc::clone(&self.published))
    }

    /// A second writer's half of the same column, for cells that bear several writers.
    #[must_use]
    pub fn join(reader: &ColumnReader<T>) -> Self {
        Self { chunks: Vec::new(), published: Arc::clone(&reader.0) }
    }

    /// The cell of an id, if its chunk is there.
    #[inline]
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get(chunk_of(id))?.as_ref()?.get(slot_of(id))
    }

    /// Makes sure that [`get`](Self::get) finds the cell of an id.
    pub fn grow(&mut self, id: u32, make: impl Fn() -> T) {
        let chunk = chunk_of(id);
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let Some(own) = self.chunks.get_mut(chunk) else { return };
        if own.is_some() {
            return;
        }
        let mut published = self.published.lock();
        if published.len() <= chunk {
            published.resize_with(chunk + 1, || None);
        }
        // Another writer of a shared column may have made the chunk already.
        if let Some(slot) = published.get_mut(chunk) {
            let cells = slot.get_or_insert_with(|| (0..CHUNK_CELLS).map(|_| make()).collect());
            *own = Some(Arc::clone(cells));
        }
    }

    /// Gives back a chunk; its cells must be in nobody's use.
    pub fn release(&mut self, chunk: u32) {
        let chunk = chunk as usize;
        if let Some(own) = self.chunks.get_mut(chunk) {
            *own = None;
        }
        if let Some(slot) = self.published.lock().get_mut(chunk) {
            *slot = None;
        }
    }
}

impl<T> ColumnReader<T> {
    /// The cells there are now.
    #[must_use]
    pub fn cells(&self) -> Cells<T> {
        Cells(self.0.lock().clone())
    }
}

impl<T> Cells<T> {
    /// The cell of an id, if the writer ever had it.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&T> {
        self.0.get(chunk_of(id))?.as_ref()?.get(slot_of(id))
    }
}

fn chunk_of(id: u32) -> usize {
    (id / CHUNK_CELLS) as usize
}

fn slot_of(id: u32) -> usize {
    (id % CHUNK_CELLS) as usize
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for ColumnReader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ColumnReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnReader").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("chunks", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_reader_sees_what_the_writer_wrote() {
        let mut column = Column::<AtomicU64>::new();
        let reader = column.reader();
        column.grow(700, AtomicU64::default);
        column.get(700).unwrap().store(5, Ordering::Relaxed);
        assert_eq!(reader.cells().get(700).unwrap().load(Ordering::Relaxed), 5);
        assert!(reader.cells().get(3).is_none(), "chunk 0 was never asked for");
    }

    #[test]
    fn two_writers_of_a_shared_column_meet_in_one_cell() {
        let mut one = Column::<AtomicU64>::new();
        let mut two = Column::join(&one.reader());
        one.grow(9, AtomicU64::default);
        two.grow(9, AtomicU64::default);
        one.get(9).unwrap().fetch_add(1, Ordering::Relaxed);
        two.get(9).unwrap().fetch_add(1, Ordering::Relaxed);
        assert_eq!(one.get(9).unwrap().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_released_chunk_begins_anew() {
        let mut column = Column::<AtomicU64>::new();
        column.grow(1, AtomicU64::default);
        column.get(1).unwrap().store(5, Ordering::Relaxed);
        column.release(0);
        assert!(column.get(1).is_none());
        column.grow(1, AtomicU64::default);
        assert_eq!(column.get(1).unwrap().load(Ordering::Relaxed), 0);
    }
}
