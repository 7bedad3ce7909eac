//! What the senders of one series last said, each for itself.
//!
//! A map behind a lock of the series' own: a sender may reach tallyd on any lane. Only series that
//! ask for it have one, and lines for them are always read as a whole, so no other line waits here.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::saved::SavedReport;

/// Senders that one series keeps apart. A node with more workers for one series is rare; a client
/// that opens a socket for every report is not, and would take memory without an end.
pub const MAX_SENDERS: usize = 1000;

/// After so long without a total a sender may be forgotten when its place is needed.
const FORGET_TOTALS_MILLIS: u64 = 3_600_000;

/// Who sent a sample, as a hash that all lanes compute alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SenderKey(pub u64);

/// What a sender said last, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) value: f64,
    pub(super) millis: u64,
}

/// A series has no place for one more sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySenders;

/// The last reports by sender, at most [`MAX_SENDERS`].
#[derive(Debug, Default)]
pub(super) struct Senders {
    reports: BTreeMap<SenderKey, Report>,
    /// Nobody has been silent long enough to be forgotten before this time.
    full_until_millis: u64,
}

impl Senders {
    /// The report of a sender, to be changed; that of a new one is zero. Where there is no place
    /// left, those go first who have been silent for longer than `silence_millis`.
    ///
    /// # Errors
    /// [`TooManySenders`] when all of them are still heard of.
    pub(super) fn report(
        &mut self,
        sender: SenderKey,
        now_millis: u64,
        silence_millis: u64,
    ) -> Result<&mut f64, TooManySenders> {
        if self.reports.len() >= MAX_SENDERS && !self.reports.contains_key(&sender) {
            self.make_room(now_millis, silence_millis)?;
        }
        let report = self.reports.entry(sender).or_default();
        // Another lane's clock may have been read a moment later.
        report.millis = report.millis.max(now_millis);
        Ok(&mut report.value)
    }

    fn make_room(&mut self, now_millis: u64, silence_millis: u64) -> Result<(), TooManySenders> {
        if now_millis < self.full_until_millis {
            return Err(TooManySenders);
        }
        let end = |report: &Report| report.millis.saturating_add(silence_millis);
        self.reports.retain(|_, report| end(report) >= now_millis);
        if self.reports.len() < MAX_SENDERS {
            return Ok(());
        }
        self.full_until_millis = self.reports.values().map(end).min().unwrap_or(0);
        Err(TooManySenders)
    }

    /// All reports.
    pub(super) fn save(&self) -> Vec<SavedReport> {
        let reports = self.reports.iter();
        let save = |(sender, report): (&SenderKey, &Report)| SavedReport {
            sender: sender.0,
            value: report.value,
            millis: report.millis,
        };
        reports.map(save).collect()
    }

    /// The reports that were saved.
    pub(super) fn restore(saved: &[SavedReport]) -> Self {
        let report = |saved: &SavedReport| {
            (SenderKey(saved.sender), Report { value: saved.value, millis: saved.millis })
        };
        let reports = saved.iter().take(MAX_SENDERS).map(report).collect();
        Self { reports, full_until_millis: 0 }
    }

    /// The last values of those who were heard of since, always in the same order.
    pub(super) fn since(&self, millis: u64) -> impl Iterator<Item = f64> {
        let reports = self.reports.values();
        reports.filter(move |report| report.millis >= millis).map(|report| report.value)
    }
}

/// The totals that an absolute counter's senders last sent.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<Option<Box<Senders>>>);

impl Totals {
    /// Takes a sender's total in; what it has grown by. One that is smaller than before is a
    /// restart of its sender, which counts from zero again.
    ///
    /// # Errors
    /// [`TooManySenders`] when the sender is new and there is no place for it.
    pub(super) fn advance(
        &self,
        sender: SenderKey,
        total: f64,
        now_millis: u64,
    ) -> Result<f64, TooManySenders> {
        let mut senders = self.0.lock();
        let senders = senders.get_or_insert_default();
        let last = senders.report(sender, now_millis, FORGET_TOTALS_MILLIS)?;
        let last = std::mem::replace(last, total);
        Ok(if total >= last { total - last } else { total })
    }

    /// All totals.
    pub(super) fn save(&self) -> Vec<SavedReport> {
        self.0.lock().as_deref().map_or(Vec::new(), Senders::save)
    }

    /// Puts back what was saved.
    pub(super) fn restore(&self, saved: &[SavedReport]) {
        *self.0.lock() = Some(Box::new(Senders::restore(saved)));
    }

    /// Forgets all senders.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_grow_sender_by_sender() {
        check(&[(1, 5.0, 5.0), (1, 7.0, 2.0), (1, 7.0, 0.0)]);
        check(&[(1, 100.0, 100.0), (2, 40.0, 40.0), (1, 103.0, 3.0), (2, 41.0, 1.0)]);
        // The second one starts again, and the first one goes on.
        check(&[(1, 9.0, 9.0), (2, 9.0, 9.0), (2, 2.0, 2.0), (1, 10.0, 1.0), (2, 5.0, 3.0)]);
    }

    #[test]
    fn one_sender_too_many_is_refused_until_another_falls_silent() {
        let mut senders = Senders::default();
        for number in 0..MAX_SENDERS as u64 {
            senders.report(SenderKey(number), number, 10_000).unwrap();
        }
        let (one_more, known) = (SenderKey(u64::MAX), SenderKey(0));
        assert!(senders.report(one_more, 5000, 10_000).is_err());
        assert!(senders.report(known, 5000, 10_000).is_ok());
        assert!(senders.report(one_more, 10_001, 10_000).is_err(), "the oldest has spoken again");
        assert!(senders.report(one_more, 10_002, 10_000).is_ok(), "the second one is silent");
        assert!(senders.reports.len() <= MAX_SENDERS);
    }

    #[track_caller]
    fn check(reports: &[(u64, f64, f64)]) {
        let totals = Totals::default();
        for (sender, total, growth) in reports {
            assert_eq!(totals.advance(SenderKey(*sender), *total, 0), Ok(*growth));
        }
    }
}
