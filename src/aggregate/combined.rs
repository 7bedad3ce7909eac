//! Gauges of several senders as one: what each said last within a sliding window, combined.
//!
//! A scrape works the value out and changes nothing, so every scraper sees the same, however often
//! it comes and whoever else does.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::saved::{SavedPeaks, SavedSeries};
use super::senders::{SenderKey, Senders, TooManySenders};
use crate::map::sharing::{Combination, Combine};

/// In how many steps the window of the peaks slides.
const STEPS: u64 = 60;

/// What a gauge sample says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// The level itself.
    To(f64),
    /// A change of the sender's own level.
    By(f64),
}

impl Move {
    fn from(self, level: f64) -> f64 {
        match self {
            Self::To(level) => level,
            Self::By(change) => level + change,
        }
    }
}

/// A gauge of several senders, shared by all lanes.
#[derive(Debug, Default)]
pub(super) struct CombinedCell(Mutex<Option<Box<State>>>);

#[derive(Debug)]
enum State {
    Senders(Senders),
    Peaks(Peaks),
}

impl State {
    fn new(how: Combine) -> Self {
        match how {
            Combine::Sum | Combine::Avg | Combine::Min | Combine::Max => {
                Self::Senders(Senders::default())
            }
            Combine::MinSeen | Combine::MaxSeen => Self::Peaks(Peaks::default()),
        }
    }
}

impl CombinedCell {
    /// Takes a sample in.
    ///
    /// # Errors
    /// [`TooManySenders`] when the sender is new and there is no place for it.
    pub(super) fn take(
        &self,
        combination: &Combination,
        sender: SenderKey,
        sample: Move,
        now_millis: u64,
    ) -> Result<(), TooManySenders> {
        let mut state = self.0.lock();
        match &mut **state.get_or_insert_with(|| Box::new(State::new(combination.how))) {
            State::Senders(senders) => {
                // A silent one is kept as long as there is room: its next change builds on it.
                let level = senders.report(sender, now_millis, combination.window_millis)?;
                *level = sample.from(*level);
            }
            State::Peaks(peaks) => peaks.take(combination, sample, now_millis),
        }
        Ok(())
    }

    /// The value as of now; none when no sample is in the window.
    pub(super) fn value(&self, combination: &Combination, now_millis: u64) -> Option<f64> {
        match self.0.lock().as_deref()? {
            State::Senders(senders) => {
                let since = now_millis.saturating_sub(combination.window_millis);
                combine(combination.how, senders.since(since))
            }
            State::Peaks(peaks) => peaks.value(now_millis),
        }
    }

    /// What there is of it in a saved state.
    pub(super) fn save(&self, saved: &mut SavedSeries) {
        match self.0.lock().as_deref() {
            None => {}
            Some(State::Senders(senders)) => saved.reports = senders.save(),
            Some(State::Peaks(peaks)) => {
                saved.peaks = Some(SavedPeaks {
                    level: peaks.level,
                    values: peaks.peaks.iter().map(|peak| peak.value).collect(),
                    until_millis: peaks.peaks.iter().map(|peak| peak.until_millis).collect(),
                });
            }
        }
    }

    /// Puts back what was saved.
    pub(super) fn restore(&self, saved: &SavedSeries) {
        let state = match &saved.peaks {
            Some(saved) => {
                let peaks = saved.values.iter().zip(&saved.until_millis);
                let peak =
                    |(value, until): (&f64, &u64)| Peak { value: *value, until_millis: *until };
                State::Peaks(Peaks { peaks: peaks.map(peak).collect(), level: saved.level })
            }
            None => State::Senders(Senders::restore(&saved.reports)),
        };
        *self.0.lock() = Some(Box::new(state));
    }

    /// Forgets all samples.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }
}

fn combine(how: Combine, values: impl Iterator<Item = f64>) -> Option<f64> {
    match how {
        Combine::Sum => values.reduce(|sum, value| sum + value),
        Combine::Avg => {
            let (count, sum) =
                values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
            (count > 0.0).then(|| sum / count)
        }
        // Both take the other number for a NaN.
        Combine::Min | Combine::MinSeen => values.reduce(f64::min),
        Combine::Max | Combine::MaxSeen => values.reduce(f64::max),
    }
}

/// The samples that are, or will yet be, the most extreme one in the window.
///
/// A sample goes as soon as a later one is at least as extreme. What is left lies in the order of
/// time and becomes less and less extreme, so the first one in the window is the value. Samples of
/// one step of time stay as long as its last one, which bounds their number.
#[derive(Debug, Default)]
struct Peaks {
    peaks: VecDeque<Peak>,
    /// What the last sample came to, whoever sent it; changes build on it.
    level: f64,
}

#[derive(Clone, Copy, Debug)]
struct Peak {
    value: f64,
    /// When it leaves the window.
    until_millis: u64,
}

impl Peaks {
    fn take(&mut self, combination: &Combination, sample: Move, now_millis: u64) {
        self.level = sample.from(self.level);
        let value = self.level;
        let step = (combination.window_millis / STEPS).max(1);
        let end_of_step = (now_millis / step + 1).saturating_mul(step);
        // Another lane's clock may have been read a moment later.
        let last = self.peaks.back().map_or(0, |last| last.until_millis);
        let until_millis = end_of_step.saturating_add(combination.window_millis).max(last);
        while self.peaks.front().is_some_and(|peak| peak.until_millis <= now_millis) {
            self.peaks.pop_front();
        }
        let exceeds = |other: f64| match combination.how {
            Combine::MinSeen => value <= other,
            _ => value >= other,
        };
        while self.peaks.back().is_some_and(|last| exceeds(last.value) || last.value.is_nan()) {
            self.peaks.pop_back();
        }
        let is_hidden = |last: &Peak| last.until_millis == until_millis || value.is_nan();
        if !self.peaks.back().is_some_and(is_hidden) {
            self.peaks.push_back(Peak { value, until_millis });
        }
    }

    fn value(&self, now_millis: u64) -> Option<f64> {
        self.peaks.iter().find(|peak| peak.until_millis > now_millis).map(|peak| peak.value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const WINDOW_MILLIS: u64 = 60_000;

    /// One sample of a random history.
    #[derive(Clone, Debug)]
    struct Sent {
        wait_millis: u64,
        sender: u64,
        sample: Move,
    }

    fn history() -> impl Strategy<Value = Vec<Sent>> {
        let value = (-20_i32..20).prop_map(f64::from);
        let sample =
            prop_oneof![3 => value.clone().prop_map(Move::To), 1 => value.prop_map(Move::By)];
        let sent = (0..20_000_u64, 0..5_u64, sample);
        let sent =
            sent.prop_map(|(wait_millis, sender, sample)| Sent { wait_millis, sender, sample });
        prop::collection::vec(sent, 1..60)
    }

    /// What a sentence of the documentation says, with nothing forgotten.
    fn model(how: Combine, history: &[Sent], now_millis: u64) -> Option<f64> {
        let (mut time, mut level) = (0, 0.0);
        let (mut last, mut seen) = (BTreeMap::new(), Vec::new());
        for sent in history {
            time += sent.wait_millis;
            let own = last.get(&sent.sender).map_or(0.0, |(value, _)| *value);
            last.insert(sent.sender, (sent.sample.from(own), time));
            level = sent.sample.from(level);
            seen.push((level, time));
        }
        let in_window =
            |(value, time): &(f64, u64)| (*time + WINDOW_MILLIS >= now_millis).then_some(*value);
        match how {
            Combine::MinSeen | Combine::MaxSeen => combine(how, seen.iter().filter_map(in_window)),
            _ => combine(how, last.values().filter_map(in_window)),
        }
    }

    proptest! {
        #[test]
        fn the_value_is_that_of_the_model(
            how in prop::sample::select(vec![
                Combine::Sum, Combine::Avg, Combine::Min, Combine::Max,
                Combine::MinSeen, Combine::MaxSeen,
            ]),
            history in history(),
            later in 0..2 * WINDOW_MILLIS,
        ) {
            let combination = Combination { how, window_millis: WINDOW_MILLIS };
            let cell = CombinedCell::default();
            let mut now = 0;
            for sent in &history {
                now += sent.wait_millis;
                cell.take(&combination, SenderKey(sent.sender), sent.sample, now).unwrap();
            }
            now += later;
            let value = cell.value(&combination, now);
            prop_assert_eq!(value, cell.value(&combination, now), "looking changes nothing");
            let expected = model(how, &history, now);
            if matches!(how, Combine::MinSeen | Combine::MaxSeen) {
                // A peak stays until its step of time is over.
                let step_before = model(how, &history, now - now.min(WINDOW_MILLIS / STEPS));
                prop_assert!(value == expected || is_between(how, value, expected, step_before));
            } else {
                prop_assert_eq!(value, expected);
            }
        }
    }

    /// Whether a value is at least as extreme as the one and at most as extreme as the other.
    fn is_between(how: Combine, value: Option<f64>, least: Option<f64>, most: Option<f64>) -> bool {
        let sign = if how == Combine::MinSeen { -1.0 } else { 1.0 };
        let rank = |value: Option<f64>| value.map_or(f64::NEG_INFINITY, |value| sign * value);
        rank(least) <= rank(value) && rank(value) <= rank(most)
    }

    #[test]
    fn each_sender_counts_once_however_often_it_reports() {
        let sent = [(0, 1, 5.0), (1, 1, 5.0), (2, 1, 5.0), (3, 2, 7.0), (4, 1, 6.0)];
        check(Combine::Sum, &sent, 5, Some(13.0));
        check(Combine::Avg, &sent, 5, Some(6.5));
        check(Combine::Min, &sent, 5, Some(6.0));
        check(Combine::Max, &sent, 5, Some(7.0));
        check(Combine::MinSeen, &sent, 5, Some(5.0));
        check(Combine::MaxSeen, &sent, 5, Some(7.0));
    }

    #[test]
    fn a_silent_sender_leaves_with_the_window() {
        let sent = [(0, 1, 5.0), (1000, 2, 7.0)];
        check(Combine::Sum, &sent, WINDOW_MILLIS, Some(12.0));
        check(Combine::Sum, &sent, WINDOW_MILLIS + 1, Some(7.0));
        check(Combine::Sum, &sent, WINDOW_MILLIS + 1001, None);
        check(Combine::MaxSeen, &sent, 3 * WINDOW_MILLIS, None);
    }

    #[test]
    fn what_is_no_number_spoils_sums_alone() {
        let sent = [(0, 1, f64::NAN), (1, 2, 7.0), (2, 3, f64::INFINITY), (3, 4, f64::NAN)];
        check(Combine::Min, &sent, 5, Some(7.0));
        check(Combine::MinSeen, &sent, 5, Some(7.0));
        check(Combine::MaxSeen, &sent, 5, Some(f64::INFINITY));
        check(Combine::Sum, &sent, 5, Some(f64::NAN));
        check(Combine::Max, &sent[..1], 5, Some(f64::NAN));
    }

    #[test]
    fn peaks_take_little_memory_whatever_comes() {
        let combination = Combination { how: Combine::MaxSeen, window_millis: WINDOW_MILLIS };
        let mut peaks = Peaks::default();
        for number in 0..1_000_000_u32 {
            peaks.take(&combination, Move::To(-f64::from(number)), u64::from(number));
        }
        assert!(peaks.peaks.len() as u64 <= STEPS + 2, "{}", peaks.peaks.len());
    }

    #[track_caller]
    fn check(how: Combine, sent: &[(u64, u64, f64)], now_millis: u64, expected: Option<f64>) {
        let combination = Combination { how, window_millis: WINDOW_MILLIS };
        let cell = CombinedCell::default();
        for (time, sender, value) in sent {
            cell.take(&combination, SenderKey(*sender), Move::To(*value), *time).unwrap();
        }
        let value = cell.value(&combination, now_millis);
        assert_eq!(value.map(f64::to_bits), expected.map(f64::to_bits), "{value:?}");
    }
}
