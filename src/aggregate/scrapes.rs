//! Which series have been on a page since their last sample: those that have not may not expire.
//!
//! A job that reports once and is silent from then on would otherwise be seen by Prometheus only if
//! its `ttl` happens to be longer than the scrape interval.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Registry;

/// A series waits so long for a scrape at most, beyond its ttl: a minute, less what housekeeping may
/// be late by.
const LONGEST_WAIT_MILLIS: u64 = 57_000;
/// After so long without a scrape nobody is waited for. Prometheus itself forgets what it has not
/// seen for as long.
const NOBODY_SCRAPES_MILLIS: u64 = 300_000;
/// A sample is on the page a little after the time that its batch began at, which is what its
/// series remembers.
const LAG_MILLIS: u64 = 250;

/// When the last scrape that came to its end had begun; 0 for none.
#[derive(Debug, Default)]
pub(super) struct ScrapeClock(AtomicU64);

/// The scrapes there were, as expiry sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scrapes {
    /// When the last whole one began, on the process' clock; none where series wait for none.
    began_millis: Option<u64>,
}

impl Registry {
    /// Tells that a page of all series has been handed out, and when its writing began.
    pub fn scraped(&self, began_millis: u64) {
        // Relaxed: who sees it late waits for the next one. One at time 0 counts, too.
        self.scraped.0.fetch_max(began_millis.max(1), Ordering::Relaxed);
    }

    /// The scrapes so far. The reference expires series whether or not anybody has seen them.
    pub(super) fn scrapes(&self) -> Scrapes {
        let began_millis = Some(self.scraped.0.load(Ordering::Relaxed));
        Scrapes {
            began_millis: began_millis.filter(|began| *began > 0 && !self.compat.is_reference()),
        }
    }
}

impl Scrapes {
    /// Until when an idle series that was last touched then stays for the sake of a scrape; `None`
    /// when it was on a page since, or has waited long enough, or nobody scrapes.
    pub(super) fn hold_until(
        self,
        touched_millis: u64,
        ttl_millis: u64,
        now_millis: u64,
    ) -> Option<u64> {
        let began = self.began_millis?;
        let is_unseen = touched_millis.saturating_add(LAG_MILLIS) >= began;
        let is_scraped = now_millis.saturating_sub(began) < NOBODY_SCRAPES_MILLIS;
        let until = touched_millis.saturating_add(ttl_millis).saturating_add(LONGEST_WAIT_MILLIS);
        (is_unseen && is_scraped && now_millis < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_waits_for_the_scrape_after_its_last_sample() {
        check(Some(50_000), 10_000, 60_000, None);
        check(Some(10_000), 50_000, 60_000, Some(108_000));
        check(Some(50_000), 50_000, 60_000, Some(108_000));
        // What came in the moment before a scrape may not be on its page.
        check(Some(50_100), 50_000, 60_000, Some(108_000));
        check(Some(50_251), 50_000, 60_000, None);
    }

    #[test]
    fn it_waits_no_longer_than_a_minute_and_only_while_somebody_scrapes() {
        check(Some(10_000), 50_000, 107_999, Some(108_000));
        check(Some(10_000), 50_000, 108_000, None);
        check(Some(10_000), 309_000, 309_999, Some(367_000));
        check(Some(10_000), 309_000, 310_000, None);
        check(None, 50_000, 60_000, None);
    }

    /// A series with a ttl of a second.
    #[track_caller]
    fn check(began: Option<u64>, touched: u64, now: u64, expected: Option<u64>) {
        let scrapes = Scrapes { began_millis: began };
        assert_eq!(scrapes.hold_until(touched, 1000, now), expected);
    }
}
