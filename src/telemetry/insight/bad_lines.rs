//! The last bad lines, so kept that a flood for one reason does not push out those for another.

use super::Sighting;
use crate::telemetry::marks::Mark;

/// How many are kept in all.
const MAX_KEPT: usize = 100;

/// A kind of bad line: they differ in their values only.
#[derive(Clone, Debug)]
pub struct BadLine {
    /// Why it was refused, as the counters name it.
    pub reason: &'static str,
    /// When it came first, on the process' clock.
    pub since_millis: u64,
    /// The last one that was looked at.
    pub last: Sighting,
    /// How many were looked at before there was a counter for it.
    pub seen: u64,
    /// Counts the others.
    pub mark: Option<Mark>,
    key: u64,
}

/// What is to be done with a bad line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: the next one of the kind should be looked at as well.
    New,
    /// It came again; so may it be counted from here on.
    Known(Option<Mark>),
}

/// The bad lines that are kept, in the order in which their kinds came last.
#[derive(Debug, Default)]
pub struct BadLines(Vec<BadLine>);

impl BadLines {
    /// Takes a line in. Kinds are told apart by `key`, which lines have in common that differ in
    /// their values only. A kind gets its `mark` when it comes again, so that garbage which never
    /// repeats uses up none.
    pub(super) fn record(
        &mut self,
        reason: &'static str,
        key: u64,
        sighting: impl FnOnce() -> Sighting,
        mark: impl FnOnce() -> Option<Mark>,
    ) -> Verdict {
        let is_same = |known: &BadLine| known.key == key && known.reason == reason;
        if let Some(place) = self.0.iter().position(is_same) {
            let mut known = self.0.remove(place);
            known.last = sighting();
            known.mark = known.mark.or_else(mark);
            known.seen += u64::from(known.mark.is_none());
            let verdict = Verdict::Known(known.mark);
            self.0.push(known);
            return verdict;
        }
        self.make_room();
        let last = sighting();
        let since_millis = last.millis;
        self.0.push(BadLine { reason, since_millis, last, seen: 1, mark: None, key });
        Verdict::New
    }

    /// Gives up the oldest line of the reason that has the most.
    fn make_room(&mut self) {
        if self.0.len() < MAX_KEPT {
            return;
        }
        let count = |reason| self.0.iter().filter(|line| line.reason == reason).count();
        let most = self.0.iter().map(|line| line.reason).max_by_key(|reason| count(*reason));
        if let Some(place) = self.0.iter().position(|line| Some(line.reason) == most) {
            self.0.remove(place);
        }
    }

    /// The lines, the latest first.
    pub(super) fn list(&self) -> Vec<BadLine> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_for_one_reason_leaves_the_others() {
        let mut lines = BadLines::default();
        check(&mut lines, "malformed_line", 7, Verdict::New);
        for key in 0..10_000 {
            check(&mut lines, "malformed_value", key, Verdict::New);
        }
        let kept = lines.list();
        assert_eq!(kept.len(), MAX_KEPT);
        assert_eq!((kept[0].last.line.as_str(), kept[99].reason), ("9999", "malformed_line"));
    }

    #[test]
    fn a_line_that_comes_again_moves_to_the_front_and_gets_a_counter() {
        let mut lines = BadLines::default();
        for key in [1, 2] {
            check(&mut lines, "malformed_value", key, Verdict::New);
        }
        check(&mut lines, "malformed_value", 1, Verdict::Known(None));
        let first = &lines.list()[0];
        assert_eq!((first.last.line.as_str(), first.seen), ("1", 2));
    }

    #[track_caller]
    fn check(lines: &mut BadLines, reason: &'static str, key: u64, expected: Verdict) {
        let sighting = || Sighting::new(key.to_string().as_bytes(), String::new(), key);
        assert_eq!(lines.record(reason, key, sighting, || None), expected);
    }
}
