//! How an entry of the line cache is written: two words, then the key.

use super::Verdict;
use crate::aggregate::cells::{CellRef, ColumnId};
use crate::telemetry::RecipeId;

/// Entries begin at multiples of this, so that four bytes are enough for an address.
pub(super) const GRAIN_BYTES: usize = 8;

const HEADER_BYTES: usize = 16;

/// Bits of the second word: the cell's place in its column and the column come first.
const CONFLICT: u64 = 1 << 48;
const DEAD: u64 = 1 << 49;
const SEEN: u64 = 1 << 50;

/// The kinds of columns; the layout's number stands above them.
const KIND_BITS: u32 = 3;

/// The size of an entry in bytes.
pub(super) fn size_bytes(name_bytes: usize, tail_bytes: usize) -> usize {
    (HEADER_BYTES + name_bytes + tail_bytes).next_multiple_of(GRAIN_BYTES)
}

/// The words of an entry's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// The lengths of name and tail, the recipe, the operation.
    first: u64,
    /// The cell and the marks.
    second: u64,
}

impl Header {
    /// The header of a line; `None` where a number is too large for its place.
    pub(super) fn new(name_bytes: usize, tail_bytes: usize, verdict: &Verdict) -> Option<Self> {
        let name_bytes = u16::try_from(name_bytes).ok()?;
        let tail_bytes = u16::try_from(tail_bytes).ok()?;
        let recipe = u16::try_from(verdict.recipe.number()).ok()?;
        let operation = u16::try_from(verdict.operation).ok()?;
        let (id, column) = match verdict.cell {
            Some(CellRef { column, id }) => (id, pack_column(column)?),
            None => (0, 0),
        };
        let conflict = if verdict.is_conflict { CONFLICT } else { 0 };
        Some(Self {
            first: u64::from(name_bytes)
                | u64::from(tail_bytes) << 16
                | u64::from(recipe) << 32
                | u64::from(operation) << 48,
            second: u64::from(id) | u64::from(column) << 32 | conflict,
        })
    }

    /// Reads the header at the beginning of `bytes`, and what follows it.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = bytes.split_first_chunk()?;
        let (second, rest) = rest.split_first_chunk()?;
        let header =
            Self { first: u64::from_le_bytes(*first), second: u64::from_le_bytes(*second) };
        Some((header, rest))
    }

    /// Writes the header to the beginning of `bytes`, if it has room there.
    pub(super) fn write(self, bytes: &mut [u8]) {
        let words = [self.first, self.second];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }

    /// Whether name and tail have these lengths.
    #[inline]
    pub(super) fn has_lengths(self, name_bytes: usize, tail_bytes: usize) -> bool {
        self.name_bytes() == name_bytes && self.tail_bytes() == tail_bytes
    }

    #[inline]
    pub(super) fn name_bytes(self) -> usize {
        usize::from(low_half(self.first))
    }

    #[inline]
    fn tail_bytes(self) -> usize {
        usize::from(low_half(self.first >> 16))
    }

    pub(super) fn size_bytes(self) -> usize {
        size_bytes(self.name_bytes(), self.tail_bytes())
    }

    pub(super) fn key_bytes(self) -> usize {
        self.name_bytes() + self.tail_bytes()
    }

    /// What the line means.
    #[inline]
    pub(super) fn verdict(self) -> Verdict {
        let id = u32::try_from(self.second & u64::from(u32::MAX)).unwrap_or_default();
        let column = unpack_column(low_half(self.second >> 32));
        Verdict {
            recipe: RecipeId::from(low_half(self.first >> 32)),
            operation: u32::from(low_half(self.first >> 48)),
            cell: column.map(|column| CellRef { column, id }),
            is_conflict: self.second & CONFLICT != 0,
        }
    }

    /// Whether nobody can find the entry any more.
    pub(super) fn is_dead(self) -> bool {
        self.second & DEAD != 0
    }

    /// Whether the line came since the clock's hand last passed.
    #[inline]
    pub(super) fn is_seen(self) -> bool {
        self.second & SEEN != 0
    }

    pub(super) fn dead(self) -> Self {
        Self { second: self.second | DEAD, ..self }
    }

    #[inline]
    pub(super) fn seen(self, seen: bool) -> Self {
        Self { second: if seen { self.second | SEEN } else { self.second & !SEEN }, ..self }
    }
}

#[inline]
fn low_half(word: u64) -> u16 {
    u16::try_from(word & u64::from(u16::MAX)).unwrap_or_default()
}

/// Zero stands for no column.
fn pack_column(column: ColumnId) -> Option<u16> {
    let (kind, layout) = match column {
        ColumnId::Counter => (1, 0),
        ColumnId::Gauge => (2, 0),
        ColumnId::Histogram(layout) => (3, layout),
        ColumnId::Summary(layout) => (4, layout),
        ColumnId::Set(layout) => (5, layout),
    };
    u16::try_from(u64::from(layout) << KIND_BITS | kind).ok()
}

#[inline]
fn unpack_column(packed: u16) -> Option<ColumnId> {
    let layout = u32::from(packed >> KIND_BITS);
    match packed & ((1 << KIND_BITS) - 1) {
        1 => Some(ColumnId::Counter),
        2 => Some(ColumnId::Gauge),
        3 => Some(ColumnId::Histogram(layout)),
        4 => Some(ColumnId::Summary(layout)),
        5 => Some(ColumnId::Set(layout)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(verdict: Verdict, is_kept: bool) {
        let written = Header::new(3, 65_535, &verdict);
        assert_eq!(written.is_some(), is_kept, "{verdict:?}");
        let Some(written) = written else { return };
        let mut bytes = [0; HEADER_BYTES + 1];
        written.write(&mut bytes);
        let (read, rest) = Header::read(&bytes).unwrap();
        assert_eq!((read.verdict(), rest.len()), (verdict, 1));
        assert!(read.has_lengths(3, 65_535) && !read.is_seen() && !read.is_dead());
        let marked = read.seen(true).dead();
        assert!(marked.is_seen() && marked.is_dead() && !marked.seen(false).is_seen());
        assert_eq!(marked.verdict(), verdict);
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Verdict {
            recipe: RecipeId::from(u16::MAX),
            operation: 4095,
            cell: None,
            is_conflict: true,
        };
        check(plain, true);
        for column in [
            ColumnId::Counter,
            ColumnId::Gauge,
            ColumnId::Histogram(0),
            ColumnId::Summary(8191),
            ColumnId::Set(7),
        ] {
            let cell = Some(CellRef { column, id: u32::MAX });
            check(Verdict { cell, is_conflict: false, ..plain }, true);
        }
    }

    #[test]
    fn a_number_too_large_for_its_place_is_not_written() {
        let plain = Verdict {
            recipe: RecipeId::from(1),
            operation: 1,
            cell: Some(CellRef { column: ColumnId::Set(8192), id: 1 }),
            is_conflict: false,
        };
        check(plain, false);
        check(Verdict { cell: None, operation: 65_536, ..plain }, false);
        assert!(Header::new(65_536, 0, &Verdict { cell: None, ..plain }).is_none());
    }
}
