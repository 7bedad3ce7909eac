//! Where series come from: the families that have most, and the labels that make them.
//!
//! Counting series takes a look at each block of them, and labels are looked at of the largest
//! families only, a bounded number of series of each. What is told is kept for a multiple of the time
//! that it took.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};
use serde::Serialize;

use super::any::{AnyFamily, families_of};
use crate::aggregate::{Reading, label_pairs};
use crate::expose::Joined;
use crate::grafana::inventory::unescaped;
use crate::multiproc::Source;

/// Families that are told of.
const MAX_FAMILIES: usize = 20;

/// Labels of a family that are told of.
const MAX_LABELS: usize = 10;

/// Values of a label that are told of.
const MAX_VALUES: usize = 10;

/// Values are cut to so many characters.
const MAX_VALUE_CHARS: usize = 100;

/// Series looked at, of all families together and of one.
const MAX_LOOKED_AT: usize = 300_000;
const MAX_LOOKED_AT_EACH: usize = 100_000;

/// Where series come from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cardinality {
    /// Series in all.
    pub series: u64,
    /// Families in all.
    pub families_total: u64,
    /// The families with most series, those first.
    pub families: Vec<FamilyCardinality>,
}

/// One family's series.
#[derive(Clone, Debug, Serialize)]
pub struct FamilyCardinality {
    /// The family.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Its series.
    pub series: u64,
    /// How many of them were looked at for their labels.
    pub looked_at: u64,
    /// The labels with most values, those first.
    pub labels: Vec<LabelCardinality>,
}

/// One label's values.
#[derive(Clone, Debug, Serialize)]
pub struct LabelCardinality {
    /// The label.
    pub name: String,
    /// Different values among the series that were looked at.
    pub values: u64,
    /// The values with most series, those first.
    pub top: Vec<ValueCardinality>,
}

/// One value's series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueCardinality {
    /// The value, cut where it is very long.
    pub value: String,
    /// The series with it among those looked at.
    pub series: u64,
}

impl Cardinality {
    /// What is shown of a reading and of workers' files.
    #[must_use]
    pub fn of(reading: &Reading, joined: &Joined) -> Self {
        let mut families: Vec<AnyFamily<'_>> = families_of(reading, joined).collect();
        let series = families.iter().map(|family| family.series() as u64).sum();
        let families_total = families.len() as u64;
        families.sort_by_cached_key(|family| std::cmp::Reverse(family.series()));
        families.truncate(MAX_FAMILIES);
        let mut left = MAX_LOOKED_AT;
        let families = families.into_iter().map(|any| {
            let looked_at = any.series().min(MAX_LOOKED_AT_EACH).min(left);
            left -= looked_at;
            family(any, looked_at)
        });
        Self { series, families_total, families: families.collect() }
    }
}

fn family(any: AnyFamily<'_>, looked_at: usize) -> FamilyCardinality {
    let mut labels: HashMap<&str, Values<'_>, RandomState> = HashMap::default();
    let series = any.series();
    // Evenly over the family: its series are sorted, so the first ones are all alike.
    let step = series.div_ceil(looked_at.max(1));
    let mut seen = 0;
    for one in any.labels().step_by(step).take(looked_at) {
        seen += 1;
        for (name, value) in label_pairs(one) {
            labels.entry(name).or_default().add(value);
        }
    }
    let mut labels: Vec<LabelCardinality> =
        labels.into_iter().map(|(name, values)| values.told(name)).collect();
    labels.sort_by(|a, b| b.values.cmp(&a.values).then_with(|| a.name.cmp(&b.name)));
    labels.truncate(MAX_LABELS);
    FamilyCardinality {
        name: any.name().to_owned(),
        kind: any.kind().as_str(),
        source: any.source(),
        series: series as u64,
        looked_at: seen,
        labels,
    }
}

/// Values beyond these are counted, but not one by one: the frequent ones have come before.
const MAX_COUNTED: usize = 20_000;

#[derive(Default)]
struct Values<'a> {
    series: HashMap<&'a str, u64, RandomState>,
    /// Hashes of the others.
    others: HashSet<u64, FixedState>,
}

impl<'a> Values<'a> {
    fn add(&mut self, value: &'a str) {
        if let Some(series) = self.series.get_mut(value) {
            *series += 1;
        } else if self.series.len() < MAX_COUNTED {
            self.series.insert(value, 1);
        } else {
            self.others.insert(FixedState::default().hash_one(value));
        }
    }

    fn told(self, name: &str) -> LabelCardinality {
        let values = (self.series.len() + self.others.len()) as u64;
        let mut top: Vec<(&str, u64)> = self.series.into_iter().collect();
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(MAX_VALUES);
        let top = top.into_iter().map(|(value, series)| ValueCardinality {
            value: unescaped(value).chars().take(MAX_VALUE_CHARS).collect(),
            series,
        });
        LabelCardinality { name: name.to_owned(), values, top: top.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Registry, Request, SeriesSpec};
    use crate::compat::Compat;

    #[test]
    fn the_family_and_the_label_that_grow_come_first() {
        let registry = Registry::new(Compat::Extended, []);
        add(&registry, "calm", "calm{env=\"prod\"}");
        for n in 0..500 {
            let half = if n % 2 == 0 { "a" } else { "b" };
            add(&registry, "wild", &format!("wild{{half=\"{half}\",user=\"{n}\"}}"));
        }
        let told = Cardinality::of(&registry.read(0), &Joined::default());
        assert_eq!((told.series, told.families_total), (501, 2));
        let wild = &told.families[0];
        assert_eq!((wild.name.as_str(), wild.series, wild.looked_at), ("wild", 500, 500));
        assert_eq!((wild.labels[0].name.as_str(), wild.labels[0].values), ("user", 500));
        assert_eq!(wild.labels[0].top.len(), MAX_VALUES);
        let half = ValueCardinality { value: "a".to_owned(), series: 250 };
        assert_eq!((wild.labels[1].values, &wild.labels[1].top[0]), (2, &half));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let registry = Registry::new(Compat::Extended, []);
        let long = "v".repeat(10_000);
        for n in 0..100 {
            let labels: Vec<_> =
                (0..30).map(|label| format!("l{label:02}=\"{long}{n}\"")).collect();
            add(&registry, &format!("f{n}"), &format!("f{n}{{{}}}", labels.join(",")));
        }
        let told = Cardinality::of(&registry.read(0), &Joined::default());
        assert_eq!((told.families.len(), told.families[0].labels.len()), (20, 10));
        assert!(serde_json::to_string(&told).unwrap().len() < 100_000);
    }

    fn add(registry: &Registry, name: &str, text: &str) {
        let request = Request {
            text,
            name,
            label_names: "",
            spec: &SeriesSpec::Counter,
            help: "",
            ttl_millis: 0,
            generation: 1,
            now_millis: 0,
            limits: None,
        };
        registry.series(&request).unwrap();
    }
}
