//! How a verdict is kept: three words beside the line's print.

use super::{Print, Verdict};
use crate::aggregate::cells::{CellRef, ColumnId};
use crate::telemetry::RecipeId;

const LAPSES: u16 = 1;
const SEEN: u16 = 1 << 1;

/// The kinds of columns; the layout's number stands above them.
const KIND_BITS: u32 = 3;

/// What is known of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    head: u64,
    rest: u32,
    /// The cell's place in its column.
    cell: u32,
    column: u16,
    recipe: u16,
    operation: u16,
    marks: u16,
}

impl Entry {
    /// What is kept of a verdict; `None` where a number is too large for its place.
    pub(super) fn new(Print { head, rest }: Print, verdict: &Verdict) -> Option<Self> {
        let (cell, column) = match verdict.cell {
            Some(CellRef { column, id }) => (id, pack_column(column)?),
            None => (0, 0),
        };
        let recipe = u16::try_from(verdict.recipe.number()).ok()?;
        let operation = u16::try_from(verdict.operation).ok()?;
        let marks = if verdict.lapses { LAPSES } else { 0 };
        Some(Self { head, rest, cell, column, recipe, operation, marks })
    }

    /// Whose entry it is.
    #[inline]
    pub(super) fn print(&self) -> Print {
        Print { head: self.head, rest: self.rest }
    }

    /// What the line means.
    #[inline]
    pub(super) fn verdict(self) -> Verdict {
        let column = unpack_column(self.column);
        Verdict {
            recipe: RecipeId::from(self.recipe),
            operation: u32::from(self.operation),
            cell: column.map(|column| CellRef { column, id: self.cell }),
            lapses: self.marks & LAPSES != 0,
        }
    }

    /// Notes that the line came.
    #[inline]
    pub(super) fn see(&mut self) {
        // Most have come before: what is only read need not be written back to memory.
        if self.marks & SEEN == 0 {
            self.marks |= SEEN;
        }
    }

    /// Whether the line came since this was last asked.
    pub(super) fn is_seen_again(&mut self) -> bool {
        let is_seen = self.marks & SEEN != 0;
        self.marks &= !SEEN;
        is_seen
    }
}

/// Zero stands for no column.
fn pack_column(column: ColumnId) -> Option<u16> {
    let (kind, layout) = match column {
        ColumnId::Counter => (1, 0),
        ColumnId::Gauge => (2, 0),
        ColumnId::Histogram(layout) => (3, layout),
        ColumnId::Summary(layout) => (4, layout),
        ColumnId::Set(layout) => (5, layout),
        ColumnId::Combined(layout) => (6, layout),
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
        6 => Some(ColumnId::Combined(layout)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT: Print = Print { head: u64::MAX, rest: 7 };

    #[track_caller]
    fn check(verdict: Verdict, is_kept: bool) {
        let kept = Entry::new(PRINT, &verdict);
        assert_eq!(kept.is_some(), is_kept, "{verdict:?}");
        let Some(mut kept) = kept else { return };
        assert!(!kept.is_seen_again());
        kept.see();
        assert_eq!((kept.verdict(), kept.print()), (verdict, PRINT));
        assert!(kept.is_seen_again() && !kept.is_seen_again());
    }

    #[test]
    fn what_is_kept_is_read() {
        let plain =
            Verdict { recipe: RecipeId::from(u16::MAX), operation: 4095, cell: None, lapses: true };
        check(plain, true);
        for column in [
            ColumnId::Counter,
            ColumnId::Gauge,
            ColumnId::Histogram(0),
            ColumnId::Summary(8191),
            ColumnId::Set(7),
        ] {
            let cell = Some(CellRef { column, id: u32::MAX });
            check(Verdict { cell, lapses: false, ..plain }, true);
        }
    }

    #[test]
    fn a_number_too_large_for_its_place_is_not_kept() {
        let plain = Verdict {
            recipe: RecipeId::from(1),
            operation: 1,
            cell: Some(CellRef { column: ColumnId::Set(8192), id: 1 }),
            lapses: false,
        };
        check(plain, false);
        check(Verdict { cell: None, operation: 65_536, ..plain }, false);
    }
}
