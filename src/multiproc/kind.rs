//! What kind of values a file holds, which its name tells, and how those of several workers are one.
//!
//! `TYPE_WORKER.db`, for gauges `gauge_MODE_WORKER.db`, as `prometheus_client` names them; the worker
//! is a process' number unless the application has it otherwise.

use crate::aggregate::FamilyKind;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `counter_…`
    Counter,
    /// `histogram_…`
    Histogram,
    /// `summary_…`
    Summary,
    /// `gauge_MODE_…`
    Gauge(Mode),
}

/// What a gauge's mode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode {
    /// Workers that have ended do not count.
    pub is_live: bool,
    /// How the workers' values are one.
    pub merge: Merge,
}

/// How values of several workers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merge {
    /// `sum`, and all that counts.
    Sum,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `mostrecent`
    Latest,
    /// `all`: they do not; each has a label `pid`.
    Each,
}

/// Every kind and how its files' names begin.
const PREFIXES: [(&str, Kind); 13] = [
    ("counter_", Kind::Counter),
    ("histogram_", Kind::Histogram),
    ("summary_", Kind::Summary),
    ("gauge_all_", gauge(false, Merge::Each)),
    ("gauge_liveall_", gauge(true, Merge::Each)),
    ("gauge_min_", gauge(false, Merge::Min)),
    ("gauge_livemin_", gauge(true, Merge::Min)),
    ("gauge_max_", gauge(false, Merge::Max)),
    ("gauge_livemax_", gauge(true, Merge::Max)),
    ("gauge_sum_", gauge(false, Merge::Sum)),
    ("gauge_livesum_", gauge(true, Merge::Sum)),
    ("gauge_mostrecent_", gauge(false, Merge::Latest)),
    ("gauge_livemostrecent_", gauge(true, Merge::Latest)),
];

const fn gauge(is_live: bool, merge: Merge) -> Kind {
    Kind::Gauge(Mode { is_live, merge })
}

impl Kind {
    /// What a file of this name holds, and of which worker; none for a name that is none of
    /// `prometheus_client`'s. The name has lost its `.db`.
    #[must_use]
    pub fn of_stem(stem: &str) -> Option<(Self, &str)> {
        PREFIXES.iter().find_map(|(prefix, kind)| {
            let worker = stem.strip_prefix(prefix).filter(|worker| !worker.is_empty())?;
            Some((*kind, worker))
        })
    }

    /// A number that stays the same in later versions, for saved states.
    #[must_use]
    pub fn number(self) -> u32 {
        let place = PREFIXES.iter().position(|(_, kind)| *kind == self);
        place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
    }

    /// The kind with this number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        PREFIXES.get(number as usize).map(|(_, kind)| *kind)
    }

    /// The type of a family.
    #[must_use]
    pub fn family_kind(self) -> FamilyKind {
        match self {
            Self::Counter => FamilyKind::Counter,
            Self::Histogram => FamilyKind::Histogram,
            Self::Summary => FamilyKind::Summary,
            Self::Gauge(_) => FamilyKind::Gauge,
        }
    }

    /// How values of several workers become one.
    #[must_use]
    pub fn merge(self) -> Merge {
        match self {
            Self::Gauge(mode) => mode.merge,
            Self::Counter | Self::Histogram | Self::Summary => Merge::Sum,
        }
    }

    /// Whether workers that have ended do not count.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Gauge(Mode { is_live: true, .. }))
    }

    /// Whether what a file held still counts when the file is no more.
    #[must_use]
    pub fn outlives_its_file(self) -> bool {
        !self.is_live() && self.merge() != Merge::Each
    }
}

/// A value made out of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merged {
    /// The value.
    pub value: f64,
    /// When it was set, in seconds since 1970, where that decides.
    time: f64,
}

impl Merged {
    /// Made out of no value yet.
    pub const NOTHING: Self = Self { value: 0.0, time: f64::NEG_INFINITY };

    /// What was saved.
    #[must_use]
    pub fn saved(value: f64, time: f64) -> Self {
        Self { value, time }
    }

    /// When it was set, for a saved state.
    #[must_use]
    pub fn time(self) -> f64 {
        self.time
    }

    /// The value, if there is one.
    #[must_use]
    pub fn get(self) -> Option<f64> {
        (self.time > f64::NEG_INFINITY).then_some(self.value)
    }

    /// Takes one more worker's value in, as `MultiProcessCollector` does.
    #[inline]
    pub fn add(&mut self, merge: Merge, value: f64, time: f64) {
        let is_first = self.time == f64::NEG_INFINITY;
        match merge {
            Merge::Sum => {
                self.value += value;
                self.time = 0.0;
            }
            Merge::Min if is_first || value < self.value => *self = Self { value, time: 0.0 },
            Merge::Max if is_first || value > self.value => *self = Self { value, time: 0.0 },
            // What was never set has the time 0, and is not shown.
            Merge::Latest if time > self.time.max(0.0) => *self = Self { value, time },
            Merge::Each => *self = Self { value, time: 0.0 },
            Merge::Min | Merge::Max | Merge::Latest => {}
        }
    }

    /// Takes in what was made out of others.
    pub fn join(&mut self, merge: Merge, other: Self) {
        if let Some(value) = other.get() {
            self.add(merge, value, other.time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_kind_and_worker() {
        check("counter_12", Some((Kind::Counter, "12")));
        check("histogram_web-1_2", Some((Kind::Histogram, "web-1_2")));
        check("gauge_livesum_7", Some((gauge(true, Merge::Sum), "7")));
        check("gauge_all_7", Some((gauge(false, Merge::Each), "7")));
        for foreign in ["counter_", "gauge_7", "gauge_median_7", "counters_7", "", "info_3"] {
            check(foreign, None);
        }
        for (_, kind) in PREFIXES {
            assert_eq!(Kind::of_number(kind.number()), Some(kind));
        }
    }

    #[test]
    fn values_are_merged_as_the_mode_says() {
        let merged = |merge, values: &[(f64, f64)]| {
            let mut all = Merged::NOTHING;
            for (value, time) in values {
                all.add(merge, *value, *time);
            }
            all.get()
        };
        let values = [(2.0, 10.0), (-1.0, 30.0), (5.0, 20.0)];
        assert_eq!(merged(Merge::Sum, &values), Some(6.0));
        assert_eq!(merged(Merge::Min, &values), Some(-1.0));
        assert_eq!(merged(Merge::Max, &values), Some(5.0));
        assert_eq!(merged(Merge::Latest, &values), Some(-1.0));
        assert_eq!(merged(Merge::Each, &values), Some(5.0));
        assert_eq!(merged(Merge::Latest, &[(3.0, 0.0)]), None);
        assert_eq!(merged(Merge::Sum, &[]), None);
    }

    #[track_caller]
    fn check(stem: &str, expected: Option<(Kind, &str)>) {
        assert_eq!(Kind::of_stem(stem), expected);
    }
}
