//! The reference's event queue, for operators who ask `--compat=reference` for its delay by
//! giving `--statsd.event-flush-threshold`: what a line says is counted at once, its events only
//! when enough have gathered or the flush interval is over.

use std::time::Duration;

/// How long events may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// So many events are handed on at once (`--statsd.event-flush-threshold`).
    pub threshold: usize,
    /// And whatever there is after this time (`--statsd.event-flush-interval`).
    pub interval: Duration,
}

/// Lines whose events wait.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    lines: Vec<Box<[u8]>>,
    events: u64,
}

impl EventQueue {
    /// Keeps a line; whether there are enough events to be handed on.
    pub(super) fn push(&mut self, line: &[u8], events: u64, threshold: usize) -> bool {
        self.lines.push(line.into());
        self.events = self.events.saturating_add(events);
        self.events >= threshold as u64
    }

    /// Hands the lines on.
    pub(super) fn take(&mut self) -> Vec<Box<[u8]>> {
        self.events = 0;
        std::mem::take(&mut self.lines)
    }
}
