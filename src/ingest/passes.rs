//! Known lines, a group at a time.
//!
//! With many series nearly every step of a known line waits for memory: its entry, its cell. So each step is taken with all lines of a group before the next step is; the
//! processor then waits for all of them at once. What a line does, and in which order, stays as if
//! each were taken alone.

use std::hint::black_box;

use smallvec::SmallVec;

use super::line_cache::{Key, Known, Print};
use super::{Ingest, Sender};

/// Lines taken together: more than the processor can wait for at once, few enough for its nearest
/// cache.
const GROUP_LINES: usize = 32;

/// A line and who sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) line: &'a [u8],
    pub(super) sender: &'a Sender,
}

/// A line on its way through the passes.
#[derive(Clone, Copy, Debug)]
struct Candidate<'a> {
    sent: Sent<'a>,
    plain: Option<Plain<'a>>,
    known: Option<Known>,
}

/// A line that the cache may know.
#[derive(Clone, Copy, Debug)]
struct Plain<'a> {
    key: Key<'a>,
    value: f64,
    print: Print,
}

impl Ingest {
    /// Takes lines in, in their order.
    pub(super) fn lines<'a>(&mut self, mut lines: impl Iterator<Item = Sent<'a>>) {
        if !self.line_cache.is_on() {
            return lines.for_each(|line| self.understand(line, None));
        }
        let mut group = SmallVec::<[Candidate<'a>; GROUP_LINES]>::new();
        loop {
            group.clear();
            for line in lines.by_ref().take(GROUP_LINES) {
                group.push(self.cut(line));
            }
            if group.is_empty() {
                return;
            }
            self.group(&mut group);
        }
    }

    #[inline]
    fn cut<'a>(&self, sent: Sent<'a>) -> Candidate<'a> {
        let plain = Key::cut(sent.line).map(|(key, value)| {
            let print = self.line_cache.print(key);
            Plain { key, value, print }
        });
        Candidate { sent, plain, known: None }
    }

    fn group(&mut self, group: &mut [Candidate<'_>]) {
        let version = self.line_cache.version();
        for candidate in &mut *group {
            candidate.known = candidate.plain.and_then(|plain| self.line_cache.find(plain.print));
        }
        for cell in group.iter().filter_map(|candidate| candidate.known?.verdict().cell) {
            black_box(self.cells.look_ahead(cell));
        }
        for &Candidate { sent, plain, known } in &*group {
            let Some(Plain { key, value, print }) = plain else {
                self.understand(sent, None);
                continue;
            };
            // A line before it may have changed what the cache says of this one.
            let is_current = self.line_cache.version() == version;
            let known = if is_current { known } else { self.line_cache.find(print) };
            if !known.is_some_and(|known| self.repeat(&known.verdict(), value)) {
                self.look_closer(sent, key, value);
            }
        }
    }
}
