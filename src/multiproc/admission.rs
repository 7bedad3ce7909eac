//! The gate that a new series of workers' files has to pass: the limits that hold for all.
//!
//! What is refused is left out and counted in `tallyd_limited_samples_total`, once for each entry of a
//! file. It goes to no overflow series: gauges could not be added up there, and the files
//! still have everything, so that a higher limit shows it as if it had never been left out.
//!
//! A family that has refused a series lets no other new one in until the process ends, even when there
//! is room again: another worker's part of the refused one would pass for the whole of it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::aggregate::limits::FullFamily;
use crate::aggregate::{Registry, label_pairs};
use crate::map::limits::{RuleLimits, beginning};
use crate::telemetry::{LaneCounters, LimitReason, Limited, Stat, Telemetry};

type FastMap<K, V> = HashMap<K, V, RandomState>;

/// Lets new series in, and counts what it does not let in.
///
/// Who asks says also when a series has left, with the same words.
#[derive(Debug)]
pub struct Admission {
    limits: RuleLimits,
    /// Keeps the limit on series in all, which is one for all sources.
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    families: FastMap<Box<str>, Occupancy>,
    /// Whether a series was refused because there were too many in all.
    is_closed: bool,
    /// Made for the first refusal.
    counters: Option<LaneCounters>,
}

/// What there is of a family.
#[derive(Debug, Default)]
struct Occupancy {
    series: usize,
    is_closed: bool,
    labels: FastMap<Box<str>, Values>,
}

/// By value of a label, how many series have it.
#[derive(Debug, Default)]
struct Values {
    series: FastMap<Box<str>, u32>,
    is_closed: bool,
}

/// The limit that a series would go over, and the label to blame; empty where none is.
type Excess<'a> = (LimitReason, &'a str);

impl Admission {
    /// A gate for the series that `registry` does not have; the limits are those that hold where no
    /// rule says otherwise.
    #[must_use]
    pub fn new(limits: &RuleLimits, registry: &Arc<Registry>, telemetry: &Arc<Telemetry>) -> Self {
        Self {
            limits: limits.clone(),
            registry: Arc::clone(registry),
            telemetry: Arc::clone(telemetry),
            state: Mutex::default(),
        }
    }

    /// Whether a new series may be shown; `labels` are as on the page, without braces. Asked again
    /// for each entry of each file that has it, as long as the answer is no.
    ///
    /// # Errors
    /// The limit that is in the way. The refusal has been counted.
    pub fn admit(&self, family: &str, labels: &str) -> Result<(), LimitReason> {
        let mut state = self.state.lock();
        let Err((reason, label)) = self.check(&mut state, family, labels) else {
            if self.counts() {
                state.families.entry(family.into()).or_default().add(labels);
            }
            return Ok(());
        };
        let limited = Limited {
            metric: beginning(family).into(),
            label: beginning(label).into(),
            reason,
            overflows: false,
        };
        let limited = self.telemetry.limited(&limited, state.families.contains_key(family));
        let counters = state.counters.get_or_insert_with(|| self.telemetry.lane());
        counters.add(Stat::Limited(limited), 1);
        Err(reason)
    }

    /// Takes note that a series that was let in is there no more.
    pub fn leave(&self, family: &str, labels: &str) {
        self.registry.give_room();
        let mut state = self.state.lock();
        let Some(occupancy) = state.families.get_mut(family) else { return };
        occupancy.remove(labels);
        if occupancy.series == 0 && !occupancy.is_full() {
            state.families.remove(family);
        }
    }

    /// The families that have refused a series, those with the most series first.
    #[must_use]
    pub fn full_families(&self, most: usize) -> Vec<FullFamily> {
        let state = self.state.lock();
        let full = state.families.iter().filter(|(_, occupancy)| occupancy.is_full());
        let mut full: Vec<FullFamily> = full
            .map(|(name, occupancy)| FullFamily {
                name: (**name).into(),
                series: occupancy.series,
                label: occupancy.guilty().into(),
            })
            .collect();
        full.sort_by(|a, b| b.series.cmp(&a.series).then(a.name.cmp(&b.name)));
        full.truncate(most);
        full
    }

    /// Whether series have to be counted for any limit.
    fn counts(&self) -> bool {
        let (limits, registry) = (&self.limits, &self.registry);
        limits.series().is_some() || limits.has_values() || registry.series_limit().is_some()
    }

    fn check<'a>(
        &self,
        state: &'a mut State,
        family: &str,
        labels: &'a str,
    ) -> Result<(), Excess<'a>> {
        self.check_lengths(family, labels)?;
        let State { families, is_closed, .. } = state;
        let known = families.get_mut(family);
        let Some(occupancy) = known else {
            // A family with one series is within its limits, so there is nothing to close.
            return self.check_room(is_closed).map_err(|reason| (reason, ""));
        };
        if let Some(label) = occupancy.full_label(&self.limits, labels) {
            return Err((LimitReason::ValuesPerLabel, label));
        }
        occupancy.is_closed |= self.limits.series().is_some_and(|most| occupancy.series >= most);
        if occupancy.is_closed {
            return Err((LimitReason::SeriesPerFamily, occupancy.guilty()));
        }
        self.check_room(is_closed).map_err(|reason| (reason, occupancy.guilty()))
    }

    /// Takes room for one more among all series.
    fn check_room(&self, is_closed: &mut bool) -> Result<(), LimitReason> {
        *is_closed = *is_closed || !self.registry.take_room();
        if *is_closed { Err(LimitReason::Series) } else { Ok(()) }
    }

    fn check_lengths<'a>(&self, family: &str, labels: &'a str) -> Result<(), Excess<'a>> {
        if self.limits.is_name_too_long(family) {
            return Err((LimitReason::NameLength, ""));
        }
        if self.limits.name_bytes == 0 && self.limits.value_bytes == 0 {
            return Ok(());
        }
        for (label, value) in label_pairs(labels) {
            if self.limits.is_name_too_long(label) {
                return Err((LimitReason::NameLength, label));
            }
            if self.limits.value_bytes > 0 && plain_bytes(value) > self.limits.value_bytes {
                return Err((LimitReason::LabelLength, label));
            }
        }
        Ok(())
    }
}

impl Occupancy {
    fn add(&mut self, labels: &str) {
        self.series += 1;
        for (label, value) in label_pairs(labels) {
            let values = &mut self.labels.entry(label.into()).or_default().series;
            *values.entry(value.into()).or_default() += 1;
        }
    }

    fn remove(&mut self, labels: &str) {
        self.series = self.series.saturating_sub(1);
        for (label, value) in label_pairs(labels) {
            let Some(values) = self.labels.get_mut(label) else { continue };
            let Some(series) = values.series.get_mut(value) else { continue };
            *series -= 1;
            if *series == 0 {
                values.series.remove(value);
            }
        }
    }

    /// The first label that would get one value too many, which gets no new ones from here on.
    fn full_label<'a>(&mut self, limits: &RuleLimits, labels: &'a str) -> Option<&'a str> {
        let full = label_pairs(labels).find(|(label, value)| {
            let most = limits.values_of(label);
            let Some((values, most)) = self.labels.get_mut(*label).zip(most) else { return false };
            let is_new = !values.series.contains_key(*value);
            values.is_closed |= is_new && values.series.len() >= most;
            is_new && values.is_closed
        });
        full.map(|(label, _)| label)
    }

    fn is_full(&self) -> bool {
        self.is_closed || self.labels.values().any(|values| values.is_closed)
    }

    /// The label with the most values; empty where no label has two.
    fn guilty(&self) -> &str {
        let several = self.labels.iter().filter(|(_, values)| values.series.len() > 1);
        let most = several.max_by(|(a, these), (b, those)| {
            these.series.len().cmp(&those.series.len()).then(b.cmp(a))
        });
        most.map_or("", |(label, _)| label)
    }
}

/// How long a value of a label is without the backslashes that the page's format needs.
fn plain_bytes(value: &str) -> usize {
    let mut bytes = value.bytes();
    let mut length = 0;
    while let Some(byte) = bytes.next() {
        length += 1;
        if byte == b'\\' {
            bytes.next();
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Request, SeriesSpec};
    use crate::compat::Compat;

    struct Bench {
        admission: Admission,
        telemetry: Arc<Telemetry>,
        registry: Arc<Registry>,
    }

    impl Bench {
        fn new(most_series: Option<usize>, limits: &RuleLimits) -> Self {
            let registry = Registry::new(Compat::Extended, []).with_series_limit(most_series);
            let (registry, telemetry) = (Arc::new(registry), Arc::default());
            let admission = Admission::new(limits, &registry, &telemetry);
            Self { admission, telemetry, registry }
        }

        /// Whether a series is let in, or why not.
        #[track_caller]
        fn check(&self, family: &str, labels: &str, expected: Result<(), LimitReason>) {
            assert_eq!(self.admission.admit(family, labels), expected, "{family}{{{labels}}}");
        }

        /// What was refused, as `metric label reason count`.
        #[track_caller]
        fn counted(&self, expected: &[&str]) {
            let totals = self.telemetry.totals();
            let counted = totals.limited().map(|(limited, count)| {
                assert!(!limited.overflows);
                let reason = limited.reason.as_str();
                format!("{} {} {reason} {count}", limited.metric, limited.label)
            });
            assert_eq!(counted.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_full_family_stays_closed_for_what_was_refused_once() {
        let limits = RuleLimits { series: Some(2), ..RuleLimits::default() };
        let bench = Bench::new(None, &limits);
        bench.check("f", "a=\"1\",b=\"x\"", Ok(()));
        bench.check("f", "a=\"2\",b=\"x\"", Ok(()));
        bench.check("f", "a=\"3\",b=\"x\"", Err(LimitReason::SeriesPerFamily));
        bench.check("g", "a=\"3\"", Ok(()));
        bench.counted(&["f a series_per_family 1"]);
        let full = bench.admission.full_families(9);
        assert_eq!((&*full[0].name, full[0].series, &*full[0].label), ("f", 2, "a"));
        bench.admission.leave("f", "a=\"2\",b=\"x\"");
        bench.check("f", "a=\"3\",b=\"x\"", Err(LimitReason::SeriesPerFamily));
    }

    #[test]
    fn a_label_with_too_many_values_gets_no_new_ones() {
        let limits = RuleLimits { values: Some(2), ..RuleLimits::default() };
        let bench = Bench::new(None, &limits);
        bench.check("f", "a=\"1\"", Ok(()));
        bench.check("f", "a=\"2\"", Ok(()));
        bench.check("f", "a=\"3\"", Err(LimitReason::ValuesPerLabel));
        bench.check("f", "a=\"1\",b=\"1\"", Ok(()));
        bench.admission.leave("f", "a=\"2\"");
        bench.check("f", "a=\"4\"", Err(LimitReason::ValuesPerLabel));
        bench.counted(&["f a values_per_label 2"]);
    }

    #[test]
    fn the_limit_on_all_series_counts_both_sources() {
        let bench = Bench::new(Some(2), &RuleLimits::default());
        bench.check("f", "", Ok(()));
        let limits = RuleLimits::default();
        let statsd = |text| {
            let request = Request {
                text,
                name: text,
                label_names: "",
                spec: &SeriesSpec::Counter,
                help: "",
                limits: Some(&limits),
                ttl_millis: 0,
                generation: 1,
                now_millis: 0,
            };
            bench.registry.series(&request).is_ok()
        };
        assert!(statsd("a") && !statsd("b"));
        bench.check("g", "", Err(LimitReason::Series));
        assert_eq!(bench.registry.len_of_all(), 2);
        bench.admission.leave("f", "");
        assert!(bench.registry.take_room_again() && !bench.registry.take_room_again());
        bench.check("g", "", Err(LimitReason::Series));
        bench.counted(&["g  series 2"]);
        assert!(statsd("b"), "there is room again");
    }

    #[test]
    fn lengths_are_those_of_the_plain_text() {
        let limits = RuleLimits { name_bytes: 3, value_bytes: 3, ..RuleLimits::default() };
        let bench = Bench::new(None, &limits);
        bench.check("abc", r#"a="\\\"\n""#, Ok(()));
        bench.check("abcd", "", Err(LimitReason::NameLength));
        bench.check("abc", "long=\"\"", Err(LimitReason::NameLength));
        bench.check("abc", "x=\"\",a=\"1234\"", Err(LimitReason::LabelLength));
        bench.counted(&["abcd  name_length 1", "abc long name_length 1", "abc a label_length 1"]);
    }
}
