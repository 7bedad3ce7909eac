//! Everything that a run sends, rendered before its clock starts.
//!
//! Datagrams lie one behind the other, each followed by a newline that only streams send. A run
//! begins again at the first when it has sent the last.

use std::ops::{AddAssign, Range};

use super::error::BenchError;
use super::workload::{self, Recipe};

/// Digits of the number in an ever-new name.
pub(super) const FRESH_DIGITS: usize = 12;

/// Metrics by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Counters, each of value 1.
    pub counters: u64,
    /// Timers, histograms and distributions.
    pub timers: u64,
    /// Gauges.
    pub gauges: u64,
    /// Lines of a file, whose kinds nobody looked at.
    pub lines: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.counters + self.timers + self.gauges + self.lines
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.counters += other.counters;
        self.timers += other.timers;
        self.gauges += other.gauges;
        self.lines += other.lines;
    }
}

/// What a line counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Timer,
    Gauge,
    Line,
}

/// One datagram's place, and what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    start: usize,
    length: u32,
    counters: u16,
    timers: u16,
    gauges: u16,
    lines: u16,
    /// Where its ever-new names begin among all of them, and how many there are.
    fresh: (u32, u16),
}

impl Datagram {
    /// Its bytes without the newline.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.length as usize
    }

    /// Its bytes with the newline.
    pub(super) fn range_with_newline(&self) -> Range<usize> {
        self.start..self.start + self.length as usize + 1
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            counters: self.counters.into(),
            timers: self.timers.into(),
            gauges: self.gauges.into(),
            lines: self.lines.into(),
        }
    }
}

/// Datagrams ready to be sent, as often as one likes.
#[derive(Clone, Debug)]
pub struct Payload {
    pub(super) recipe: Recipe,
    pub(super) series: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) datagrams: Vec<Datagram>,
    /// Where in `bytes` the numbers of ever-new names are.
    fresh: Vec<u32>,
    mapping: Option<String>,
}

impl Payload {
    /// Renders what a recipe says; equal recipes give equal bytes.
    ///
    /// # Errors
    /// When its file cannot be read or understood, or there would be nothing to send.
    pub fn build(recipe: &Recipe) -> Result<Self, BenchError> {
        workload::render(recipe)
    }

    /// The rules that belong to the workload, as a mapping file; only `mapped` has them.
    #[must_use]
    pub fn mapping(&self) -> Option<&str> {
        self.mapping.as_deref()
    }

    /// The recipe it was made by.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Names with their tags that differ; ever-new ones are not among them.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Metrics in all datagrams together.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        for datagram in &self.datagrams {
            all += datagram.tally();
        }
        all
    }

    /// Metrics in a datagram, on average.
    #[must_use]
    pub fn metrics_per_datagram(&self) -> f64 {
        self.tally().total() as f64 / self.datagrams.len().max(1) as f64
    }

    /// Bytes in a datagram, on average.
    #[must_use]
    pub fn bytes_per_datagram(&self) -> f64 {
        let newlines = self.datagrams.len();
        self.bytes.len().saturating_sub(newlines) as f64 / newlines.max(1) as f64
    }

    /// The datagrams in their order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.datagrams.iter().filter_map(|datagram| self.bytes.get(datagram.range()))
    }

    /// Whether some names are new each time they are sent.
    pub(super) fn has_fresh_names(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Where the numbers of a datagram's ever-new names are.
    pub(super) fn fresh_places(&self, datagram: &Datagram) -> &[u32] {
        let (start, count) = (datagram.fresh.0 as usize, usize::from(datagram.fresh.1));
        self.fresh.get(start..start + count).unwrap_or_default()
    }
}

/// Packs lines into datagrams.
#[derive(Debug)]
pub(super) struct Packer {
    max_datagram_bytes: usize,
    bytes: Vec<u8>,
    datagrams: Vec<Datagram>,
    fresh: Vec<u32>,
    open: Option<Datagram>,
}

impl Packer {
    /// Datagrams of at most so many bytes; of 0 bytes means one line each.
    pub(super) fn new(max_datagram_bytes: usize) -> Self {
        Self {
            max_datagram_bytes,
            bytes: Vec::new(),
            datagrams: Vec::new(),
            fresh: Vec::new(),
            open: None,
        }
    }

    /// Adds a line, to the open datagram if it fits. `fresh_at` is where in it the number of an
    /// ever-new name stands.
    pub(super) fn line(&mut self, line: &[u8], kind: Kind, fresh_at: Option<usize>) {
        let fits = |open: &Datagram| {
            open.length as usize + 1 + line.len() <= self.max_datagram_bytes
                && open.tally().total() < u64::from(u16::MAX)
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.end_datagram();
        }
        let datagram = self.open.get_or_insert(Datagram {
            start: self.bytes.len(),
            length: 0,
            counters: 0,
            timers: 0,
            gauges: 0,
            lines: 0,
            fresh: (u32::try_from(self.fresh.len()).unwrap_or(u32::MAX), 0),
        });
        if datagram.length > 0 {
            self.bytes.push(b'\n');
        }
        let place = fresh_at.and_then(|at| u32::try_from(self.bytes.len() + at).ok());
        self.fresh.extend(place);
        datagram.fresh.1 += u16::from(place.is_some());
        self.bytes.extend_from_slice(line);
        datagram.length = u32::try_from(self.bytes.len() - datagram.start).unwrap_or(u32::MAX);
        match kind {
            Kind::Counter => datagram.counters += 1,
            Kind::Timer => datagram.timers += 1,
            Kind::Gauge => datagram.gauges += 1,
            Kind::Line => datagram.lines += 1,
        }
    }

    /// Adds a datagram as it is; what comes next begins another.
    pub(super) fn datagram(&mut self, bytes: &[u8]) {
        self.end_datagram();
        let lines = memchr::memchr_iter(b'\n', bytes).count() + 1;
        self.datagrams.push(Datagram {
            start: self.bytes.len(),
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            counters: 0,
            timers: 0,
            gauges: 0,
            lines: u16::try_from(lines).unwrap_or(u16::MAX),
            fresh: (0, 0),
        });
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
    }

    fn end_datagram(&mut self) {
        if let Some(datagram) = self.open.take() {
            self.bytes.push(b'\n');
            self.datagrams.push(datagram);
        }
    }

    /// Everything packed so far.
    ///
    /// # Errors
    /// When that is nothing.
    pub(super) fn finish(
        mut self,
        recipe: &Recipe,
        series: u64,
        mapping: Option<String>,
    ) -> Result<Payload, BenchError> {
        self.end_datagram();
        if self.datagrams.is_empty() {
            return Err(BenchError::Empty);
        }
        let Self { bytes, datagrams, fresh, .. } = self;
        Ok(Payload { recipe: recipe.clone(), series, bytes, datagrams, fresh, mapping })
    }
}
