//! `rate_limit`: a bucket that gains one token each interval and holds no more than the burst.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many requests there may be, of all clients together.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: u32,
    bucket: Mutex<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// A full bucket.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let bucket = Bucket { tokens: burst.into(), filled: Instant::now() };
        Self { interval, burst, bucket: Mutex::new(bucket) }
    }

    /// Goes on with what is left in another bucket of the same kind.
    pub(super) fn continue_from(&self, other: &Self) {
        if (self.interval, self.burst) == (other.interval, other.burst) {
            *self.bucket.lock() = *other.bucket.lock();
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn allow(&self) -> bool {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled);
        let gained = passed.as_secs_f64() / self.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(self.burst.into());
        bucket.filled = bucket.filled.max(now);
        let is_allowed = bucket.tokens >= 1.0;
        if is_allowed {
            bucket.tokens -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_each_interval() {
        let rate = Rate::new(Duration::from_secs(1), 2);
        let first = [(0, true), (0, true), (0, false), (999, false), (1001, true), (1001, false)];
        let later = [(9000, true), (9000, true), (9000, false)];
        check(&rate, &[&first[..], &later[..]].concat());
        check(&Rate::new(Duration::from_secs(1), 0), &[(0, false), (5000, false)]);
    }

    #[test]
    fn a_new_bucket_of_the_same_kind_is_no_fuller() {
        let old = Rate::new(Duration::from_hours(1), 1);
        assert!(old.allow());
        let new = Rate::new(Duration::from_hours(1), 1);
        new.continue_from(&old);
        assert!(!new.allow());
    }

    #[track_caller]
    fn check(rate: &Rate, steps: &[(u64, bool)]) {
        let start = rate.bucket.lock().filled;
        for &(millis, expected) in steps {
            let now = start + Duration::from_millis(millis);
            assert_eq!(rate.allow_at(now), expected, "{millis}");
        }
    }
}
