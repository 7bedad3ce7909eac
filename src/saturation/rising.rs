//! Counters of others as one that never falls.

use std::collections::HashMap;
use std::hash::Hash;

/// So many that are missing are remembered, and then none of them.
const MAX_MISSING: usize = 10_000;

/// The sum of counters that each may begin anew, come and go.
#[derive(Clone, Debug)]
pub(super) struct Rising<K> {
    total: u64,
    last: HashMap<K, u64>,
}

impl<K> Default for Rising<K> {
    fn default() -> Self {
        Self { total: 0, last: HashMap::new() }
    }
}

impl<K: Eq + Hash> Rising<K> {
    /// Takes in what the counters stand at. One that has fallen has begun anew, and one that is new has
    /// counted for as long as it has been there. One that is missing may come again.
    pub(super) fn take(&mut self, counters: impl IntoIterator<Item = (K, u64)>) -> u64 {
        let mut seen = HashMap::new();
        for (key, value) in counters {
            let before = self.last.get(&key).copied().filter(|before| *before <= value);
            self.total = self.total.saturating_add(value - before.unwrap_or(0));
            seen.insert(key, value);
        }
        if self.last.len() > MAX_MISSING {
            self.last.clear();
        }
        self.last.extend(seen);
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_never_falls() {
        check(&[(&[("a", 3), ("b", 1)], 4), (&[("a", 5), ("b", 1)], 6)]);
        check(&[(&[("a", 3)], 3), (&[("a", 1)], 4), (&[("a", 2)], 5)]);
        check(&[(&[("a", 3)], 3), (&[], 3), (&[("b", 2)], 5), (&[("a", 1), ("b", 2)], 6)]);
        check(&[(&[("a", 3)], 3), (&[], 3), (&[("a", 4)], 4)]);
        check(&[(&[("a", u64::MAX), ("b", 9)], u64::MAX)]);
    }

    #[track_caller]
    fn check(steps: &[(&[(&str, u64)], u64)]) {
        let mut rising = Rising::default();
        for (counters, total) in steps {
            assert_eq!(rising.take(counters.iter().copied()), *total, "{counters:?}");
        }
    }
}
