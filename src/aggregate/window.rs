//! The sliding window of summaries and sets: a ring of slices that turn by the series' age, so
//! that all lanes' slices begin and end together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

/// Which slice of the window is the current one, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Slices in the window, the current one included; the same for the whole life of a window.
    pub slices: u32,
    /// The current slice, counted from the creation of the series.
    pub number: u64,
}

/// A ring of slices. One thread updates it, any thread reads it; nothing is allocated before the
/// first update.
#[derive(Debug)]
pub(super) struct Window<B> {
    /// When the series was registered.
    created_millis: AtomicU64,
    slots: OnceLock<Box<[ArcSwapOption<Slice<B>>]>>,
}

#[derive(Debug)]
struct Slice<B> {
    number: u64,
    content: B,
}

impl<B> Window<B> {
    /// An empty window.
    pub(super) fn new() -> Self {
        Self { created_millis: AtomicU64::new(0), slots: OnceLock::new() }
    }

    /// Tells when the series was registered; only the thread that updates may.
    pub(super) fn begin(&self, created_millis: u64) {
        self.created_millis.store(created_millis, Ordering::Relaxed);
    }

    /// How old the series is; for the thread that updates.
    pub(super) fn age_millis(&self, now_millis: u64) -> u64 {
        now_millis.saturating_sub(self.created_millis.load(Ordering::Relaxed))
    }

    /// Hands the current slice's content to `take`, or `None` where the slice is only beginning;
    /// what `take` returns replaces the content.
    pub(super) fn update(&self, at: Position, take: impl FnOnce(Option<&B>) -> Option<B>) {
        let slots = self
            .slots
            .get_or_init(|| (0..at.slices).map(|_| ArcSwapOption::const_empty()).collect());
        let index = usize::try_from(at.number % u64::from(at.slices.max(1)));
        let Some(slot) = index.ok().and_then(|index| slots.get(index)) else { return };
        let held = slot.load();
        let current = held.as_deref().filter(|slice| slice.number == at.number);
        if let Some(content) = take(current.map(|slice| &slice.content)) {
            slot.store(Some(Arc::new(Slice { number: at.number, content })));
        }
    }

    /// Visits the slices inside the window. A reader whose clock is a little behind the writer's
    /// also sees the slice that the writer has begun since.
    pub(super) fn each(&self, at: Position, mut visit: impl FnMut(&B)) {
        self.each_numbered(at, |_, content| visit(content));
    }

    /// Visits the slices inside the window with their numbers.
    pub(super) fn each_numbered(&self, at: Position, mut visit: impl FnMut(u64, &B)) {
        for slot in self.slots.get().into_iter().flatten() {
            if let Some(slice) = slot.load().as_deref()
                && at.number.saturating_sub(slice.number) < u64::from(at.slices)
            {
                visit(slice.number, &slice.content);
            }
        }
    }

    /// Empties the window; only the thread that updates may.
    pub(super) fn clear(&self) {
        for slot in self.slots.get().into_iter().flatten() {
            slot.store(None);
        }
    }

    /// What the window has allocated; `content_bytes` tells what one content has beside itself.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self, mut content_bytes: impl FnMut(&B) -> usize) -> usize {
        let counts_of_arc = 2 * size_of::<usize>();
        let slots = self.slots.get().into_iter().flatten();
        slots
            .map(|slot| {
                let own = slot.load().as_deref().map_or(0, |slice| {
                    counts_of_arc + size_of::<Slice<B>>() + content_bytes(&slice.content)
                });
                size_of_val(slot) + own
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_current_slice_and_those_before_it() {
        check(&[0, 1, 2], 2, &[0, 1, 2]);
        check(&[0, 1, 2], 3, &[1, 2]);
        check(&[0, 1, 2, 3], 3, &[1, 2, 3]);
        check(&[0], 2, &[0]);
        check(&[0], 3, &[]);
        check(&[7], 1_000_000, &[]);
    }

    #[test]
    fn a_reader_behind_the_writer_sees_the_newest_slice() {
        check(&[0, 1, 2, 3], 2, &[1, 2, 3]);
    }

    #[test]
    fn the_same_slice_is_updated_and_not_begun_again() {
        let window = Window::new();
        let at = Position { slices: 2, number: 5 };
        window.update(at, |held| {
            assert!(held.is_none());
            Some(1)
        });
        window.update(at, |held| held.map(|held| held + 1));
        window.update(at, |_| None);
        let mut seen = Vec::new();
        window.each(at, |content| seen.push(*content));
        assert_eq!(seen, [2]);
    }

    #[test]
    fn a_cleared_window_begins_anew() {
        let window = Window::new();
        let at = Position { slices: 3, number: 0 };
        window.update(at, |_| Some(1));
        window.clear();
        window.each(at, |_| panic!("the window was emptied"));
        window.update(at, |held| {
            assert!(held.is_none());
            None
        });
    }

    #[track_caller]
    fn check(written: &[u64], number: u64, expected: &[u64]) {
        let window = Window::new();
        for number in written {
            window.update(Position { slices: 3, number: *number }, |_| Some(*number));
        }
        let mut seen = Vec::new();
        window.each(Position { slices: 3, number }, |content| seen.push(*content));
        seen.sort_unstable();
        assert_eq!(seen, expected);
    }
}
