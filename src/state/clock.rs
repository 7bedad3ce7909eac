//! The process' clock, which a successor takes up where this process leaves it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the clock began; with a restored state that was before the process did.
///
/// All times of series are on this clock, so across a restart they stay what they are.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the clock began.
    pub start: Instant,
    /// The same, in milliseconds since 1970.
    pub start_unix_millis: u64,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { start: Instant::now(), start_unix_millis: unix_millis() }
    }

    /// The clock that began then and has shown `stopped_millis` already. It goes on even where the
    /// machine's time was put back meanwhile: nothing may become younger.
    ///
    /// `None` where the machine cannot tell times so long ago.
    #[must_use]
    pub fn resume(start_unix_millis: u64, stopped_millis: u64) -> Option<Self> {
        let age_millis = unix_millis().saturating_sub(start_unix_millis).max(stopped_millis);
        let start = Instant::now().checked_sub(Duration::from_millis(age_millis))?;
        Some(Self { start, start_unix_millis })
    }

    /// Seconds since 1970 when the clock showed `millis`.
    #[must_use]
    pub fn seconds(&self, millis: u64) -> f64 {
        self.start_unix_millis.saturating_add(millis) as f64 / 1000.0
    }

    /// What the clock shows.
    #[must_use]
    pub fn now_millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_millis() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_clock_shows_the_time_since_it_began() {
        let hour = 3_600_000;
        check(unix_millis() - hour, 0, hour);
        check(unix_millis() - hour, hour / 2, hour);
    }

    #[test]
    fn a_clock_never_goes_back_with_the_machines_time() {
        check(unix_millis() + 1_000_000, 5_000, 5_000);
    }

    #[track_caller]
    fn check(start_unix_millis: u64, stopped_millis: u64, expected: u64) {
        let clock = Clock::resume(start_unix_millis, stopped_millis).unwrap();
        assert_eq!(clock.start_unix_millis, start_unix_millis);
        assert!((expected..expected + 10_000).contains(&clock.now_millis()), "{clock:?}");
    }
}
