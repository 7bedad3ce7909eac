//! One label set of a family, in one allocation together with its text.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use triomphe::ThinArc;

use super::Request;
use super::cells::CellRef;
use super::saved::RESTORED_GENERATION;

/// In a ttl: the series is among those that are looked after.
const WATCHED: u64 = 1 << 63;
/// In a ttl: an earlier process had the series, and no sample has come for it since.
const RESTORED: u64 = 1 << 62;
const MARKS: u64 = WATCHED | RESTORED;

/// One label set of a family; a clone is the same series.
///
/// There may be millions, so the head and the text, `name` or `name{key="value",…}` as the text
/// format writes it, lie together: one allocation a series, and mostly two cache lines.
#[derive(Clone, Debug)]
pub struct Series(ThinArc<SeriesHead, u8>);

/// What there is of a series besides its text.
#[derive(Debug)]
pub struct SeriesHead {
    /// Where its values are.
    pub cell: CellRef,
    name_bytes: u32,
    /// When it was registered, on the process' clock.
    pub created_millis: u64,
    /// How long it lives without a sample, 0 for ever, and [`MARKS`]. A reload may change it.
    /// Only written under the registry's lock.
    ttl_millis: AtomicU64,
}

impl Deref for Series {
    type Target = SeriesHead;

    fn deref(&self) -> &SeriesHead {
        &self.0.header.header
    }
}

impl Series {
    /// The series that a request asks for.
    pub(super) fn new(request: &Request<'_>, cell: CellRef) -> Self {
        let mark = if request.generation == RESTORED_GENERATION { RESTORED } else { 0 };
        let head = SeriesHead {
            cell,
            name_bytes: u32::try_from(request.name.len()).unwrap_or(u32::MAX),
            created_millis: request.now_millis,
            ttl_millis: AtomicU64::new(request.ttl_millis & !MARKS | mark),
        };
        Self(ThinArc::from_header_and_slice(head, request.text.as_bytes()))
    }

    fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// The name and the labels as the text format writes them.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The family's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.bytes().get(..self.name_bytes as usize).unwrap_or_default();
        str::from_utf8(name).unwrap_or_default()
    }

    /// The labels without their braces, in UTF-8.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        let braces = self.bytes().get(self.name_bytes as usize..).unwrap_or_default();
        braces.strip_prefix(b"{").and_then(|open| open.strip_suffix(b"}")).unwrap_or_default()
    }

    /// The labels without their braces.
    pub(super) fn labels_text(&self) -> &str {
        str::from_utf8(self.labels()).unwrap_or_default()
    }

    /// Whether two are one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.address() == other.address()
    }

    /// A number that no other series has while this one lives.
    pub(super) fn address(&self) -> usize {
        ThinArc::as_ptr(&self.0).addr()
    }

    /// Reads a little of the text, and returns nothing of use.
    pub(super) fn look_ahead(&self) -> u64 {
        let text = self.bytes();
        let middle = text.get(self.name_bytes as usize).copied().unwrap_or_default();
        u64::from(middle ^ text.last().copied().unwrap_or_default())
    }

    /// How long it lives without a sample; 0 for ever.
    pub(super) fn ttl_millis(&self) -> u64 {
        // Relaxed: it is a setting of its own.
        self.ttl_millis.load(Ordering::Relaxed) & !MARKS
    }

    /// Whether an earlier process had it, and no sample has come for it since.
    pub(super) fn is_restored(&self) -> bool {
        self.ttl_millis.load(Ordering::Relaxed) & RESTORED != 0
    }

    /// Takes note of the first sample for a restored series; `false` when it was none. The
    /// registry's lock must be held.
    pub(super) fn confirm(&self) -> bool {
        let ttl = self.ttl_millis.load(Ordering::Relaxed);
        self.ttl_millis.store(ttl & !RESTORED, Ordering::Relaxed);
        ttl & RESTORED != 0
    }

    /// Sets the ttl. The registry's lock must be held.
    pub(super) fn set_ttl(&self, ttl_millis: u64) {
        let marks = self.ttl_millis.load(Ordering::Relaxed) & MARKS;
        self.ttl_millis.store(ttl_millis & !MARKS | marks, Ordering::Relaxed);
    }

    /// Marks a series that can expire as looked after; `false` when it cannot or was so before.
    /// The registry's lock must be held.
    pub(super) fn watch(&self) -> bool {
        let ttl = self.ttl_millis.load(Ordering::Relaxed);
        let is_new = ttl & !MARKS != 0 && ttl & WATCHED == 0;
        if is_new {
            self.ttl_millis.store(ttl | WATCHED, Ordering::Relaxed);
        }
        is_new
    }
}

/// Names and values of a series' labels as the text format writes them between the braces, the
/// values still escaped; ends where the text is none of that format.
pub fn label_pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once("=\"")?;
        let bytes = after.as_bytes();
        let mut end = 0;
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            match bytes.get(end) {
                Some(b'\\') => end += 2,
                _ => break,
            }
        }
        let value = after.get(..end)?;
        let following = after.get(end + 1..)?;
        rest = following.strip_prefix(',').unwrap_or(following).trim_start();
        Some((name.trim(), value))
    })
}

/// A series that is found by its text.
#[derive(Clone, Debug)]
pub(super) struct ByText(pub(super) Series);

impl Borrow<[u8]> for ByText {
    fn borrow(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.bytes().hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes() == other.0.bytes()
    }
}

impl Eq for ByText {}
