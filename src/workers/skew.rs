//! Skew: how much slower the slowest worker is than the one in the middle.
//!
//! Workers of one role share one socket, so over a while each gets the same mix of requests. One that
//! takes longer for them than its siblings has a problem of its own: a leak, a lock, a full cache.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Over how long means are taken.
const WINDOW_MILLIS: u64 = 60_000;

/// How far apart the tables are that are kept of it.
const STEP_MILLIS: u64 = 15_000;

/// A mean of fewer requests tells more of the requests than of the worker.
const MIN_COUNT: f64 = 10.0;

/// Of two workers the slower one is no more than twice what lies between them, so two tell nothing.
const MIN_WORKERS: usize = 3;

/// Words that tell that a family holds durations.
const DURATIONS: [&str; 9] = [
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "ms",
    "duration",
    "durations",
    "latency",
    "time",
];

/// What a worker has observed in a histogram or a summary since it began, all series together.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The worker's role.
    pub role: Arc<str>,
    /// The worker.
    pub pid: u32,
    /// The family's name.
    pub family: Arc<str>,
    /// The sum of all that it observed.
    pub sum: f64,
    /// How many that are.
    pub count: f64,
}

/// How uneven the workers of a role are in one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Skew {
    /// Their role.
    pub role: Arc<str>,
    /// The family's name.
    pub family: Arc<str>,
    /// The mean of the slowest worker, by the median of the workers' means; at least 1.
    pub ratio: f64,
}

/// How uneven workers were between two tables, sorted by role and family.
///
/// Only families that hold durations by their names count, in which at least three workers have
/// observed at least ten of them. A worker that is in the later table alone began in between.
#[must_use]
pub fn skews(earlier: &[Observed], later: &[Observed]) -> Vec<Skew> {
    let before = totals(earlier);
    let mut means: BTreeMap<(&Arc<str>, &Arc<str>), Vec<f64>> = BTreeMap::new();
    for (worker, (sum, count)) in totals(later) {
        let (sum_before, count_before) = before.get(&worker).copied().unwrap_or_default();
        let (role, family, _) = worker;
        let count = count - count_before;
        let mean = (sum - sum_before) / count;
        if count >= MIN_COUNT && mean.is_finite() && mean >= 0.0 {
            means.entry((role, family)).or_default().push(mean);
        }
    }
    let skew = |((role, family), means): ((&Arc<str>, &Arc<str>), Vec<f64>)| {
        let ratio = slowest_by_median(means)?;
        Some(Skew { role: Arc::clone(role), family: Arc::clone(family), ratio })
    };
    means.into_iter().filter_map(skew).collect()
}

/// A role, a family that holds durations, and a worker.
type Key<'a> = (&'a Arc<str>, &'a Arc<str>, u32);

/// Sums and counts of each worker, which may have files in several directories.
fn totals(table: &[Observed]) -> BTreeMap<Key<'_>, (f64, f64)> {
    let mut totals: BTreeMap<Key<'_>, (f64, f64)> = BTreeMap::new();
    for row in table.iter().filter(|row| is_duration(&row.family)) {
        let total = totals.entry((&row.role, &row.family, row.pid)).or_default();
        *total = (total.0 + row.sum, total.1 + row.count);
    }
    totals
}

fn slowest_by_median(mut means: Vec<f64>) -> Option<f64> {
    if means.len() < MIN_WORKERS {
        return None;
    }
    means.sort_by(f64::total_cmp);
    let upper = *means.get(means.len() / 2)?;
    let lower = *means.get((means.len() - 1) / 2)?;
    let ratio = means.last()? / f64::midpoint(lower, upper);
    ratio.is_finite().then_some(ratio)
}

fn is_duration(family: &str) -> bool {
    family.split('_').any(|word| DURATIONS.contains(&word))
}

/// The tables of the last minute, and how uneven workers were in it.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// With the time at which each was taken.
    tables: VecDeque<(u64, Vec<Observed>)>,
    skews: Vec<Skew>,
}

impl Window {
    /// Whether it is time for another table.
    pub(super) fn is_due(&self, now_millis: u64) -> bool {
        let last = self.tables.back();
        last.is_none_or(|(millis, _)| now_millis.saturating_sub(*millis) >= STEP_MILLIS)
    }

    /// Takes a table in. One without workers begins anew: compared with it, all that they have observed
    /// since they began would be of the last minute.
    pub(super) fn take(&mut self, now_millis: u64, table: Vec<Observed>) {
        if table.is_empty() {
            return *self = Self::default();
        }
        // The oldest that is kept is the first one that is as old as the window.
        while self.tables.get(1).is_some_and(|(millis, _)| millis + WINDOW_MILLIS <= now_millis) {
            self.tables.pop_front();
        }
        self.skews = match self.tables.front() {
            Some((_, oldest)) => skews(oldest, &table),
            None => Vec::new(),
        };
        self.tables.push_back((now_millis, table));
    }

    /// How uneven workers were, by the last table.
    pub(super) fn skews(&self) -> &[Skew] {
        &self.skews
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &str = "request_duration_seconds";

    #[test]
    fn the_slowest_is_compared_with_the_one_in_the_middle() {
        let none = [];
        check(&none, &[(1, 1.0, 10.0), (2, 1.0, 10.0), (3, 4.0, 10.0)], Some(4.0));
        // Of four, the middle lies between two.
        let four = [(1, 1.0, 16.0), (2, 2.0, 16.0), (3, 4.0, 16.0), (4, 6.0, 16.0)];
        check(&none, &four, Some(2.0));
        // One has files in two directories.
        let twice = [(1, 1.0, 8.0), (1, 7.0, 8.0), (2, 2.0, 16.0), (3, 2.0, 16.0)];
        check(&none, &twice, Some(4.0));
        check(&none, &[(1, 20.0, 10.0), (2, 40.0, 20.0), (3, 2.0, 1e0)], None);
    }

    #[test]
    fn only_what_came_between_the_tables_counts() {
        let earlier = [(1, 900.0, 10.0), (2, 1.0, 10.0), (3, 1.0, 10.0), (4, 5.0, 90.0)];
        let later = [(1, 910.0, 20.0), (2, 21.0, 30.0), (3, 31.0, 20.0), (4, 5.0, 90.0)];
        check(&earlier, &later, Some(3.0));
        // The third one is new, and the first one counts anew.
        let later = [(1, 9.0, 9.0), (2, 21.0, 30.0), (4, 15.0, 100.0), (5, 50.0, 10.0)];
        check(&earlier, &later, Some(5.0));
    }

    #[test]
    fn too_few_workers_or_requests_or_nonsense_tell_nothing() {
        check(&[], &[(1, 1.0, 10.0), (2, 9.0, 10.0)], None);
        check(&[], &[(1, 1.0, 9.0), (2, 9.0, 10.0), (3, 9.0, 10.0)], None);
        for sum in [0.0, f64::NAN, f64::INFINITY, -1.0] {
            check(&[], &[(1, sum, 10.0), (2, sum, 10.0), (3, sum, 10.0)], None);
        }
    }

    #[test]
    fn families_count_whose_names_tell_of_time() {
        for (family, is_time) in [
            ("http_request_duration_seconds", true),
            ("latency_ms", true),
            ("flask_http_request_time", true),
            ("response_size_bytes", false),
            ("times_asked", false),
        ] {
            assert_eq!(is_duration(family), is_time, "{family}");
        }
        let sizes = [(1, 1.0), (2, 1.0), (3, 9.0)]
            .map(|(pid, sum)| Observed { family: "sizes_bytes".into(), ..row((pid, sum, 10.0)) });
        assert_eq!(skews(&[], &sizes), []);
    }

    #[test]
    fn the_window_moves() {
        let mut window = Window::default();
        let table = |slow: f64, millis: u64| {
            let count = (millis / 100) as f64;
            [(1, count, count), (2, count, count), (3, slow, count)].map(row).to_vec()
        };
        assert!(window.is_due(0));
        window.take(1000, table(10.0, 1000));
        assert_eq!(window.skews(), []);
        assert!(!window.is_due(15_999) && window.is_due(16_000));
        // Five times as slow for a minute, and like the others after that.
        let mut slow = 10.0;
        let ratios: Vec<f64> = (1..10_u32)
            .map(|step| {
                let millis = 1000 + 15_000 * u64::from(step);
                slow += if step <= 4 { 750.0 } else { 150.0 };
                window.take(millis, table(slow, millis));
                window.skews()[0].ratio
            })
            .collect();
        assert_eq!(ratios, [5.0, 5.0, 5.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0]);
        assert_eq!(window.tables.len(), 5);
        window.take(300_000, Vec::new());
        assert!(window.is_due(300_000) && window.skews().is_empty());
        window.take(300_000, table(9e9, 300_000));
        assert_eq!(window.skews(), []);
    }

    fn row((pid, sum, count): (u32, f64, f64)) -> Observed {
        Observed { role: "web".into(), pid, family: TIMES.into(), sum, count }
    }

    #[track_caller]
    fn check(earlier: &[(u32, f64, f64)], later: &[(u32, f64, f64)], expected: Option<f64>) {
        let table = |rows: &[(u32, f64, f64)]| rows.iter().copied().map(row).collect::<Vec<_>>();
        let found = skews(&table(earlier), &table(later));
        let skew = |ratio| Skew { role: "web".into(), family: TIMES.into(), ratio };
        assert_eq!(found, expected.map(skew).into_iter().collect::<Vec<_>>());
    }
}
