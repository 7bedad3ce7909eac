//! Rules and names by rate: how much each of them has counted, now and a few seconds ago.

use std::collections::VecDeque;

use crate::telemetry::marks::{Counts, Mark, NameSort};

type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Sums that a sparkline has: ten minutes, one every five seconds.
const POINTS: usize = 120;

/// So many marks have sparklines at most, the busiest ones.
const SPARKLINES: usize = 64;

/// What marks have counted lately.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The last two moments, the older one first.
    last: [Moment; 2],
    /// When a mark last had counted something new.
    touched: FastMap<Mark, u64>,
    sparklines: FastMap<Mark, VecDeque<u32>>,
}

/// What each mark that had counted anything had counted then.
#[derive(Debug, Default)]
struct Moment {
    millis: u64,
    generation: u64,
    counts: FastMap<Mark, u64>,
}

impl Moment {
    /// What a mark had counted; nothing of what was before a reload.
    fn get(&self, counts: &Counts, mark: Mark) -> u64 {
        if self.generation != counts.generation {
            return 0;
        }
        self.counts.get(&mark).copied().unwrap_or(0)
    }
}

impl History {
    /// Takes down what marks have counted.
    pub(super) fn push(&mut self, millis: u64, counts: &Counts) {
        let [_, last] = &self.last;
        if last.generation != counts.generation {
            self.sparklines.clear();
        }
        let counted = counts.marks().map(|mark| (mark, counts.of(mark)));
        let counted: FastMap<_, _> = counted.filter(|(_, count)| *count > 0).collect();
        let rises = counted
            .iter()
            .map(|(mark, count)| (*mark, count.saturating_sub(last.get(counts, *mark))));
        let rises: FastMap<Mark, u64> = rises.filter(|(_, rise)| *rise > 0).collect();
        self.touched.retain(|mark, _| counted.contains_key(mark));
        self.touched.extend(rises.keys().map(|mark| (*mark, millis)));
        self.draw(counts, &rises);
        let moment = Moment { millis, generation: counts.generation, counts: counted };
        self.last.swap(0, 1);
        self.last[1] = moment;
    }

    /// Adds a point to each sparkline, and begins new ones for names that have become busy.
    fn draw(&mut self, counts: &Counts, rises: &FastMap<Mark, u64>) {
        let rise_of = |mark: &Mark| rises.get(mark).copied().unwrap_or(0);
        for (mark, points) in &mut self.sparklines {
            points.push_back(u32::try_from(rise_of(mark)).unwrap_or(u32::MAX));
            if points.len() > POINTS {
                points.pop_front();
            }
        }
        self.sparklines.retain(|_, points| points.iter().any(|rise| *rise > 0));
        let new = counts.names.iter().map(|name| (rise_of(&name.mark), name.mark));
        let mut new: Vec<(u64, Mark)> =
            new.filter(|(rise, mark)| *rise > 0 && !self.sparklines.contains_key(mark)).collect();
        new.sort_unstable_by_key(|(rise, _)| std::cmp::Reverse(*rise));
        for (rise, mark) in new {
            if self.sparklines.len() >= SPARKLINES && !self.give_up_one(rise) {
                break;
            }
            let first = u32::try_from(rise).unwrap_or(u32::MAX);
            self.sparklines.insert(mark, VecDeque::from([first]));
        }
    }

    /// Gives up the sparkline of the mark that counts least, if another counts more.
    fn give_up_one(&mut self, rise: u64) -> bool {
        let last = |points: &VecDeque<u32>| points.back().copied().unwrap_or(0);
        let calmest = self.sparklines.iter().min_by_key(|(_, points)| last(points));
        let Some((mark, points)) = calmest else { return false };
        if u64::from(last(points)) >= rise {
            return false;
        }
        let mark = *mark;
        self.sparklines.remove(&mark).is_some()
    }

    /// What everything has counted, and how fast.
    pub(super) fn rates(&self, now_millis: u64, counts: Counts) -> Rates {
        let [older, newer] = &self.last;
        // The newer one may be of a moment ago.
        let then = if now_millis.saturating_sub(newer.millis) >= 4000 { newer } else { older };
        let seconds = now_millis.saturating_sub(then.millis).max(1) as f64 / 1000.0;
        let per_second = counts
            .marks()
            .map(|mark| (mark, counts.of(mark).saturating_sub(then.get(&counts, mark))))
            .filter(|(_, rise)| *rise > 0)
            .map(|(mark, rise)| (mark, rise as f64 / seconds))
            .collect();
        Rates { counts, per_second, touched: self.touched.clone(), now_millis }
    }

    /// The sum of some marks' sparklines.
    pub(super) fn sparkline(&self, marks: &[Mark]) -> Vec<f64> {
        let mut sum = vec![0.0; POINTS];
        for points in marks.iter().filter_map(|mark| self.sparklines.get(mark)) {
            for (sum, rise) in sum.iter_mut().rev().zip(points.iter().rev()) {
                *sum += f64::from(*rise);
            }
        }
        if sum.iter().any(|rise| *rise > 0.0) { sum } else { Vec::new() }
    }
}

/// How many lines each rule and name had since the last reload, and has in a second.
#[derive(Debug, Default)]
pub struct Rates {
    /// The counts.
    pub counts: Counts,
    per_second: FastMap<Mark, f64>,
    touched: FastMap<Mark, u64>,
    now_millis: u64,
}

impl Rates {
    /// Lines a second of a mark.
    #[must_use]
    pub fn of(&self, mark: Mark) -> f64 {
        self.per_second.get(&mark).copied().unwrap_or(0.0)
    }

    /// Lines a second of the rule at `index`.
    #[must_use]
    pub fn rule(&self, index: usize) -> f64 {
        Mark::of_rule(index).map_or(0.0, |mark| self.of(mark))
    }

    /// When a mark last counted something, to some seconds; none where that was never seen.
    #[must_use]
    pub fn touched_millis(&self, mark: Mark) -> Option<u64> {
        if self.of(mark) > 0.0 { Some(self.now_millis) } else { self.touched.get(&mark).copied() }
    }

    /// The names of a sort: name, total and rate, the busiest first.
    #[must_use]
    pub fn names(&self, sort: NameSort) -> Vec<(&str, u64, f64)> {
        let names = self.counts.names.iter().filter(|name| name.sort == sort);
        let mut names: Vec<_> = names
            .map(|name| (&*name.name, self.counts.of(name.mark), self.of(name.mark)))
            .filter(|(_, total, _)| *total > 0)
            .collect();
        names.sort_by(|a, b| b.2.total_cmp(&a.2).then(b.1.cmp(&a.1)).then(a.0.cmp(b.0)));
        names
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::marks::Marks;
    use crate::telemetry::{FIRST_GENERATION, Telemetry};

    #[test]
    fn names_are_told_by_rate_and_then_by_total() {
        let mut bench = Bench::default();
        bench.count("old", 1000);
        bench.push(5000);
        bench.count("busy", 50);
        bench.push(10_000);
        bench.count("busy", 50);
        let rates = bench.history.rates(10_100, bench.telemetry.marks());
        let names = rates.names(NameSort::Unmapped);
        let plain: Vec<_> = names.iter().map(|(name, total, _)| (*name, *total)).collect();
        assert_eq!(plain, [("busy", 100), ("old", 1000)]);
        assert!((names[0].2 - 100.0 / 5.1).abs() < 0.01 && names[1].2 == 0.0, "{names:?}");
        bench.telemetry.begin_generation(FIRST_GENERATION + 1);
        bench.push(15_000);
        assert!(bench.history.sparklines.is_empty());
    }

    #[test]
    fn the_busiest_names_have_sparklines() {
        let mut bench = Bench::default();
        for n in 0..100_u64 {
            bench.count(&format!("n{n}"), n + 1);
        }
        bench.push(5000);
        assert_eq!(bench.history.sparklines.len(), SPARKLINES);
        let sparkline = |bench: &Bench, name: &str| {
            let counts = bench.telemetry.marks();
            let mark = counts.names.iter().find(|known| *known.name == *name).unwrap().mark;
            bench.history.sparkline(&[mark])
        };
        assert_eq!(sparkline(&bench, "n99").last(), Some(&100.0));
        assert!(sparkline(&bench, "n0").is_empty());
        bench.count("n0", 5000);
        bench.push(10_000);
        assert_eq!(bench.history.sparklines.len(), SPARKLINES);
        assert_eq!(sparkline(&bench, "n0").last(), Some(&5000.0));
    }

    #[derive(Default)]
    struct Bench {
        telemetry: Arc<Telemetry>,
        lane: Option<crate::telemetry::LaneCounters>,
        history: History,
    }

    impl Bench {
        fn count(&mut self, name: &str, lines: u64) {
            let subject = self.telemetry.marking.name(FIRST_GENERATION, NameSort::Unmapped, name);
            let lane = self.lane.get_or_insert_with(|| self.telemetry.lane());
            (0..lines).for_each(|_| lane.mark(Marks { rule: None, subject }));
        }

        fn push(&mut self, millis: u64) {
            self.history.push(millis, &self.telemetry.marks());
        }
    }
}
