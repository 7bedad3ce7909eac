//! The totals of the last minutes.

use std::collections::VecDeque;
use std::time::Duration;

use super::totals::{TotalsAt, Track};

/// Moments that are kept: ten minutes, one every five seconds.
const POINTS: usize = 121;

/// The totals of the last minutes, the latest last.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<TotalsAt>);

impl History {
    pub(super) fn push(&mut self, totals: TotalsAt) {
        if self.0.len() == POINTS {
            self.0.pop_front();
        }
        self.0.push_back(totals);
    }

    pub(super) fn points(&self) -> &VecDeque<TotalsAt> {
        &self.0
    }

    /// The totals of a window's beginning, or the oldest there are.
    pub(super) fn before(&self, now_millis: u64, window: Duration) -> TotalsAt {
        let begin = now_millis.saturating_sub(millis(window));
        let young = self.0.partition_point(|point| point.millis < begin);
        let fitting = self.0.get(young).or(self.0.back()).copied();
        // A point of this very moment tells nothing; the one before it is hardly too old.
        let fitting = fitting.filter(|point| point.millis + 1000 <= now_millis);
        let older =
            young.checked_sub(1).or(self.0.len().checked_sub(2)).and_then(|at| self.0.get(at));
        fitting.or(older.copied()).or(self.0.front().copied()).unwrap_or(TotalsAt::at(now_millis))
    }

    /// By how much a total rose at most from one moment to the next.
    pub(super) fn worst(&self, track: Track, window: Duration) -> u64 {
        let last = self.0.back().map_or(0, |point| point.millis);
        let begin = last.saturating_sub(millis(window));
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let pairs = pairs.filter(|(then, _)| then.millis >= begin);
        pairs.map(|(then, now)| now.get(track).saturating_sub(then.get(track))).max().unwrap_or(0)
    }
}

fn millis(window: Duration) -> u64 {
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_with_the_first_moment_in_it() {
        let mut history = History::default();
        for n in 0..200 {
            history.push(point(n * 5000, n));
        }
        assert_eq!(history.points().len(), POINTS);
        let before = |now, seconds| history.before(now, Duration::from_secs(seconds)).millis;
        assert_eq!(before(995_000, 10), 985_000);
        assert_eq!(before(999_000, 10), 990_000);
        assert_eq!(before(999_000, 10_000), 395_000);
        assert_eq!(before(2_000_000, 10), 995_000, "nobody has looked for long");
    }

    #[test]
    fn a_moment_is_not_compared_with_itself() {
        let mut history = History::default();
        history.push(point(0, 0));
        assert_eq!(history.before(2000, Duration::from_secs(10)).millis, 0);
        history.push(point(5000, 1));
        assert_eq!(history.before(5001, Duration::from_secs(1)).millis, 0);
    }

    #[test]
    fn the_worst_step_is_found() {
        let mut history = History::default();
        for (millis, drops) in [(0, 0), (5000, 7), (10_000, 7), (15_000, 10)] {
            history.push(point(millis, drops));
        }
        let worst = |seconds| history.worst(Track::KernelDrops, Duration::from_secs(seconds));
        assert_eq!((worst(100), worst(10)), (7, 3));
    }

    fn point(millis: u64, drops: u64) -> TotalsAt {
        let mut point = TotalsAt::at(millis);
        point.set(Track::KernelDrops, drops);
        point
    }
}
