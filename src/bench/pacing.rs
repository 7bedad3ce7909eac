//! When the next metrics are due.

use std::time::{Duration, Instant};

use super::plan::Pace;

/// Shorter sleeps would take longer than asked for and wake the CPU too often.
const MIN_SLEEP: Duration = Duration::from_micros(250);
/// Longer ones would miss the end of a run.
const MAX_SLEEP: Duration = Duration::from_millis(20);
/// A sender that was held up sends what is due of this time at once, and lets go of the rest.
const MAX_CATCH_UP: Duration = Duration::from_millis(20);

/// One thread's share of a pace.
#[derive(Debug)]
pub(super) struct Clock {
    pace: Pace,
    begin: Instant,
    lag_max: Duration,
}

/// What to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Due {
    /// At most so many metrics may go.
    Send(u64),
    /// Nothing for so long.
    Wait(Duration),
}

impl Clock {
    pub(super) fn new(pace: Pace, begin: Instant) -> Self {
        Self { pace, begin, lag_max: Duration::ZERO }
    }

    /// The longest time the sender was behind.
    pub(super) fn lag_max(&self) -> Duration {
        self.lag_max
    }

    /// What to do when `sent` metrics went out so far.
    pub(super) fn due(&mut self, sent: u64, now: Instant) -> Due {
        let elapsed = now.saturating_duration_since(self.begin);
        match self.pace {
            Pace::Unbounded => Due::Send(u64::MAX),
            Pace::Even(rate) => self.due_evenly(rate, sent, elapsed),
            Pace::Bursts { rate, every } => {
                due_in_bursts(rate * every.as_secs_f64(), every, sent, elapsed)
            }
        }
    }

    fn due_evenly(&mut self, rate: f64, sent: u64, elapsed: Duration) -> Due {
        let next_due =
            Duration::try_from_secs_f64((sent + 1) as f64 / rate).unwrap_or(Duration::MAX);
        let Some(lag) = elapsed.checked_sub(next_due) else {
            return Due::Wait((next_due.saturating_sub(elapsed)).clamp(MIN_SLEEP, MAX_SLEEP));
        };
        self.lag_max = self.lag_max.max(lag);
        let mut elapsed = elapsed;
        if let Some(too_late) = lag.checked_sub(MAX_CATCH_UP) {
            self.begin += too_late;
            elapsed = elapsed.saturating_sub(too_late);
        }
        Due::Send(whole(elapsed.as_secs_f64() * rate).saturating_sub(sent).max(1))
    }
}

/// A burst at the beginning of each interval, however long it takes to send it.
fn due_in_bursts(size: f64, every: Duration, sent: u64, elapsed: Duration) -> Due {
    let begun = (elapsed.as_secs_f64() / every.as_secs_f64()).floor() + 1.0;
    match whole(begun * size).saturating_sub(sent) {
        0 => {
            let next = Duration::try_from_secs_f64(begun * every.as_secs_f64());
            let pause = next.unwrap_or(MAX_SLEEP).saturating_sub(elapsed);
            Due::Wait(pause.clamp(MIN_SLEEP, MAX_SLEEP))
        }
        due => Due::Send(due),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a number of metrics is never negative"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Pace = Pace::Even(1_000.0);
    const BURSTS: Pace = Pace::Bursts { rate: 100.0, every: Duration::from_secs(2) };

    #[test]
    fn an_even_pace_sends_what_is_due_and_sleeps_until_more_is() {
        check(EVEN, 0, 10, Due::Send(10));
        check(EVEN, 10, 10, Due::Wait(Duration::from_millis(1)));
        check(EVEN, 500, 10, Due::Wait(MAX_SLEEP));
        check(Pace::Even(1e6), 10_000, 10, Due::Wait(MIN_SLEEP));
    }

    #[test]
    fn what_was_missed_for_longer_than_the_catch_up_is_let_go() {
        let begin = Instant::now();
        let mut clock = Clock::new(EVEN, begin);
        let Due::Send(count) = clock.due(0, begin + Duration::from_secs(1)) else {
            panic!("something is due")
        };
        assert!((20..=22).contains(&count), "{count}");
        assert_eq!(clock.lag_max(), Duration::from_millis(999));
        let after = clock.due(count, begin + Duration::from_secs(1));
        assert!(matches!(after, Due::Wait(_)), "{after:?}");
    }

    #[test]
    fn a_burst_is_all_of_an_interval_at_its_beginning() {
        check(BURSTS, 0, 0, Due::Send(200));
        check(BURSTS, 150, 1_000, Due::Send(50));
        check(BURSTS, 200, 1_990, Due::Wait(Duration::from_millis(10)));
        check(BURSTS, 200, 2_000, Due::Send(200));
    }

    #[test]
    fn without_a_bound_everything_may_go() {
        check(Pace::Unbounded, 1 << 40, 0, Due::Send(u64::MAX));
    }

    #[track_caller]
    fn check(pace: Pace, sent: u64, elapsed_ms: u64, expected: Due) {
        let begin = Instant::now();
        let got = Clock::new(pace, begin).due(sent, begin + Duration::from_millis(elapsed_ms));
        assert_eq!(got, expected);
    }
}
