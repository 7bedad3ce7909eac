//! Limits on series: in all, in a family, and by the values of a label.
//!
//! A series that is there stays, whatever comes; it is new ones that are refused. What limits need
//! to know of a family is counted only once a limit asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::families::{Families, FamilyState, Refused};
use super::series::label_pairs;
use super::{Conflict, FastMap, Refusal, Registry, Request, Series};
use crate::map::limits::RuleLimits;
use crate::telemetry::LimitReason;

/// The value of a label in a series that takes what is over a limit.
pub const OVERFLOW: &str = "__overflow__";

/// The label of such a series in a family without labels.
const OVERFLOW_LABEL: &str = "overflow";

/// So many series are looked at to find the label that makes too many.
const MAX_LOOKED_AT: usize = 4096;

/// The limit that a new series would go over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Which limit.
    pub reason: LimitReason,
    /// The label that has too many values; empty where none has.
    pub label: Box<str>,
    /// Whether the series' family is there.
    pub is_family: bool,
}

/// How much there is, and which families have come to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Series in all, without those for what is over a limit.
    pub series: usize,
    /// How many there may be.
    pub most_series: Option<usize>,
    /// Families that were refused a series and have not lost one since, those with the most series
    /// first.
    pub families: Vec<FullFamily>,
}

/// A family that has come to a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullFamily {
    /// Its name.
    pub name: Arc<str>,
    /// How many series it has.
    pub series: usize,
    /// The label with the most values, or the one that may not have more.
    pub label: Box<str>,
}

/// What limits need to know of a family.
#[derive(Debug, Default)]
pub(super) struct Occupancy {
    /// The text of the series that takes what is over the family's limit.
    pub(super) overflow: Option<Box<str>>,
    counted: Counted,
    /// By counted label, how many series have each value.
    values: FastMap<Box<str>, FastMap<Box<str>, u32>>,
    /// The label that was to blame when a series was refused last.
    pub(super) guilty: Option<Box<str>>,
}

/// Which labels' values are counted. They are named by rules and not by clients.
#[derive(Debug, Default)]
struct Counted {
    all: bool,
    labels: Vec<Box<str>>,
}

impl Counted {
    fn has(&self, label: &str) -> bool {
        self.all || self.labels.iter().any(|counted| **counted == *label)
    }

    /// Whether everything is counted that some limits ask for.
    fn covers(&self, limits: &RuleLimits) -> bool {
        (self.all || !limits.has_values_of_each()) && limits.labels().all(|label| self.has(label))
    }

    fn extend(&mut self, limits: &RuleLimits) {
        self.all |= limits.has_values_of_each();
        for label in limits.labels() {
            if !self.has(label) {
                self.labels.push(label.into());
            }
        }
    }
}

impl Occupancy {
    /// Counts the labels of one more series.
    pub(super) fn add(&mut self, series: &Series) {
        let Self { counted, values, .. } = self;
        let is_counted = |(label, value): &(&str, &str)| counted.has(label) && *value != OVERFLOW;
        for (label, value) in label_pairs(series.labels_text()).filter(is_counted) {
            *values.entry(label.into()).or_default().entry(value.into()).or_default() += 1;
        }
    }

    /// Counts the labels of one series less, which makes room for others.
    pub(super) fn remove(&mut self, series: &Series) {
        self.guilty = None;
        for (label, value) in label_pairs(series.labels_text()) {
            let Some(values) = self.values.get_mut(label) else { continue };
            let Some(series) = values.get_mut(value) else { continue };
            *series -= 1;
            if *series == 0 {
                values.remove(value);
            }
            if values.is_empty() {
                self.values.remove(label);
            }
        }
    }

    /// Begins to count what some limits ask for, in the series that there are.
    fn count(&mut self, limits: &RuleLimits, live: &[Series]) {
        self.counted.extend(limits);
        self.values.clear();
        for series in live {
            self.add(series);
        }
    }

    /// Whether a label would get one value too many.
    fn is_full(&self, limits: &RuleLimits, label: &str, value: &str) -> bool {
        let Some(most) = limits.values_of(label) else { return false };
        let values = self.values.get(label);
        value != OVERFLOW
            && values.is_some_and(|known| known.len() >= most && !known.contains_key(value))
    }
}

impl Registry {
    /// Bounds the series in all.
    #[must_use]
    pub fn with_series_limit(mut self, most: Option<usize>) -> Self {
        self.families.get_mut().most_series = most;
        self
    }

    /// How many series there may be in all.
    #[must_use]
    pub fn series_limit(&self) -> Option<usize> {
        self.families.lock().most_series
    }

    /// How much of the limits is used; of the families that have come to one at most so many.
    #[must_use]
    pub fn limit_use(&self, most_families: usize) -> LimitUse {
        let mut limit_use = self.families.lock().limit_use();
        limit_use.families.sort_by(|a, b| b.series.cmp(&a.series).then(a.name.cmp(&b.name)));
        limit_use.families.truncate(most_families);
        limit_use
    }

    /// Takes the room of one series that another source keeps; `false` where none is left.
    pub fn take_room(&self) -> bool {
        let mut families = self.families.lock();
        let has_room = !families.is_full();
        families.elsewhere += usize::from(has_room);
        has_room
    }

    /// Gives back the room of one series that another source kept.
    pub fn give_room(&self) {
        let mut families = self.families.lock();
        families.elsewhere = families.elsewhere.saturating_sub(1);
        if families.refused == Refused::Waiting {
            families.refused = Refused::HaveRoom;
        }
    }

    /// Whether another source has made room, since the last call, for a series that was refused.
    pub fn take_room_again(&self) -> bool {
        let mut families = self.families.lock();
        families.refused == Refused::HaveRoom && families.take_refused()
    }

    /// The series that takes what a request would bring over a limit: a label that may not have more
    /// values has [`OVERFLOW`] for one, and where that is not enough, all labels have.
    ///
    /// # Errors
    /// The family is not there, or has become one of another type.
    pub fn overflow(&self, request: &Request<'_>) -> Result<Series, Refusal> {
        let mut families = self.families.lock();
        if let Some(text) = families.with_full_labels_replaced(request) {
            let request = Request { text: &text, ..*request };
            if let Some(known) = self.known(&mut families, &request)? {
                return Ok(known);
            }
            if families.has_room(&request) {
                return Ok(self.add(&mut families, &request));
            }
        }
        families.check_name(request.name, request.spec.kind())?;
        let (text, label_names) = families.family_overflow(request).ok_or(Conflict)?;
        let request = Request { text: &text, label_names: &label_names, ..*request };
        let series = match self.known(&mut families, &request)? {
            Some(known) => known,
            None => self.add(&mut families, &request),
        };
        families.set_overflow(&series);
        Ok(series)
    }

    /// Begins to count the values of labels that have a limit and had none so far.
    pub(super) fn count_values(&self, request: &Request<'_>, limits: &RuleLimits) {
        if !self.families.lock().lacks_counts(request.name, limits) {
            return;
        }
        // While no other view can be made, this one and the pending changes hold all series.
        let _merging = self.merging.lock();
        let view = self.view.load_full();
        let mut families = self.families.lock();
        let live: Vec<Series> = families.live(request.name, &view).cloned().collect();
        families.count_values(request.name, limits, &live);
    }
}

impl Families {
    /// Whether there is room for a new series; `blame` finds series of the family in which a label
    /// may have too many values.
    pub(super) fn check_room(
        &mut self,
        request: &Request<'_>,
        blame: impl FnOnce(&Self) -> Option<Box<str>>,
    ) -> Result<(), Excess> {
        let Some(limits) = request.limits else { return Ok(()) };
        let state = self.by_name.get(request.name);
        let occupancy = state.and_then(|state| state.occupancy.as_deref());
        let is_family = state.is_some();
        let used = state.map_or(0, FamilyState::used);
        let full = occupancy.and_then(|occupancy| {
            let mut pairs = label_pairs(request.labels());
            pairs.find(|(label, value)| occupancy.is_full(limits, label, value))
        });
        let known_guilty = occupancy.and_then(|occupancy| occupancy.guilty.clone());
        let (reason, label) = if let Some((label, _)) = full {
            (LimitReason::ValuesPerLabel, Some(Box::from(label)))
        } else if limits.series().is_some_and(|most| used >= most) {
            (LimitReason::SeriesPerFamily, known_guilty.or_else(|| blame(self)))
        } else if self.is_full() {
            (LimitReason::Series, known_guilty.or_else(|| blame(self)))
        } else {
            return Ok(());
        };
        if self.refused == Refused::None {
            self.refused = Refused::Waiting;
        }
        let first = || label_pairs(request.labels()).next().map(|(label, _)| Box::from(label));
        let label = label.or_else(first).unwrap_or_default();
        if let Some(state) = self.by_name.get_mut(request.name) {
            state.occupancy.get_or_insert_default().guilty = Some(label.clone());
        }
        Err(Excess { reason, label, is_family })
    }

    /// Whether there may be no more series in all.
    fn is_full(&self) -> bool {
        self.most_series.is_some_and(|most| self.series + self.elsewhere >= most)
    }

    fn has_room(&mut self, request: &Request<'_>) -> bool {
        self.check_room(request, |_| None).is_ok()
    }

    /// The request's text with [`OVERFLOW`] for the values of labels that may not have more; `None`
    /// where there are none.
    fn with_full_labels_replaced(&self, request: &Request<'_>) -> Option<String> {
        let limits = request.limits?;
        let occupancy = self.by_name.get(request.name)?.occupancy.as_deref()?;
        let is_full = |label: &str, value: &str| occupancy.is_full(limits, label, value);
        let mut pairs = label_pairs(request.labels());
        pairs.any(|(label, value)| is_full(label, value)).then(|| replaced(request, is_full))
    }

    /// The text and label names of the series for what is over the limit of a request's family.
    fn family_overflow(&self, request: &Request<'_>) -> Option<(String, String)> {
        let state = self.by_name.get(request.name)?;
        let known = state.occupancy.as_ref().and_then(|occupancy| occupancy.overflow.as_deref());
        if let Some(known) = known {
            // It is there, so nothing is made of the names.
            return Some((known.to_owned(), String::new()));
        }
        if request.labels().is_empty() {
            let text = format!("{}{{{OVERFLOW_LABEL}=\"{OVERFLOW}\"}}", request.name);
            return Some((text, format!("{OVERFLOW_LABEL},")));
        }
        Some((replaced(request, |_, _| true), request.label_names.to_owned()))
    }

    /// Remembers which series takes what is over its family's limit; it does not count against it.
    fn set_overflow(&mut self, series: &Series) {
        let Some(state) = self.by_name.get_mut(series.name()) else { return };
        let occupancy = state.occupancy.get_or_insert_default();
        if occupancy.overflow.is_none() {
            occupancy.overflow = Some(series.text().into());
            self.series = self.series.saturating_sub(1);
        }
    }

    /// Whether a series was refused since the last call, which may be let in by now.
    pub(super) fn take_refused(&mut self) -> bool {
        std::mem::replace(&mut self.refused, Refused::None) != Refused::None
    }

    fn lacks_counts(&self, name: &str, limits: &RuleLimits) -> bool {
        let Some(state) = self.by_name.get(name) else { return false };
        !state.occupancy.as_ref().is_some_and(|occupancy| occupancy.counted.covers(limits))
    }

    /// Begins to count what limits ask for in a family that has no series yet.
    pub(super) fn count_values_anew(&mut self, request: &Request<'_>) {
        let is_new = self.by_name.get(request.name).is_some_and(FamilyState::is_empty);
        if let Some(limits) = request.limits.filter(|limits| is_new && limits.has_values()) {
            self.count_values(request.name, limits, &[]);
        }
    }

    fn count_values(&mut self, name: &str, limits: &RuleLimits, live: &[Series]) {
        if let Some(state) = self.by_name.get_mut(name) {
            state.occupancy.get_or_insert_default().count(limits, live);
        }
    }

    fn limit_use(&self) -> LimitUse {
        let full = self.by_name.iter().filter_map(|(name, state)| {
            let label = state.occupancy.as_ref()?.guilty.clone()?;
            Some(FullFamily { name: Arc::clone(name), series: state.used(), label })
        });
        LimitUse { series: self.series, most_series: self.most_series, families: full.collect() }
    }
}

/// A request's text with [`OVERFLOW`] for the values of some labels.
fn replaced(request: &Request<'_>, is_replaced: impl Fn(&str, &str) -> bool) -> String {
    let mut text = request.name.to_owned();
    let mut before = '{';
    for (label, value) in label_pairs(request.labels()) {
        let value = if is_replaced(label, value) { OVERFLOW } else { value };
        text.push(before);
        text.extend([label, "=\"", value, "\""]);
        before = ',';
    }
    text.push('}');
    text
}

/// The label with the most values.
pub(super) fn guilty<'a>(series: impl Iterator<Item = &'a Series>) -> Option<Box<str>> {
    let mut values: HashMap<&str, HashSet<&str, RandomState>, RandomState> = HashMap::default();
    for series in series.take(MAX_LOOKED_AT) {
        for (label, value) in label_pairs(series.labels_text()) {
            values.entry(label).or_default().insert(value);
        }
    }
    let most = values.into_iter().max_by_key(|(label, values)| (values.len(), *label));
    most.map(|(label, _)| label.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::SeriesSpec;
    use crate::compat::Compat;

    struct Bench {
        registry: Registry,
        limits: RuleLimits,
    }

    impl Bench {
        fn new(most_series: Option<usize>, limits: RuleLimits) -> Self {
            let registry = Registry::new(Compat::Extended, []);
            Self { registry: registry.with_series_limit(most_series), limits }
        }

        fn with<T>(&self, text: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
            ask(&Request {
                text,
                name: text.split('{').next().unwrap_or_default(),
                label_names: "",
                spec: &SeriesSpec::Counter,
                help: "",
                limits: Some(&self.limits),
                ttl_millis: 1000,
                generation: 0,
                now_millis: 0,
            })
        }

        /// What a request comes to: its own series, or the limit, the label to blame and the
        /// overflow's series.
        fn ask(&self, text: &str) -> String {
            let excess = match self.with(text, |request| self.registry.series(request)) {
                Ok(series) => return series.text().to_owned(),
                Err(Refusal::Conflict) => return "conflict".to_owned(),
                Err(Refusal::Limited(excess)) => excess,
            };
            let overflow = self.with(text, |request| self.registry.overflow(request));
            let overflow = overflow.map_or("dropped".to_owned(), |series| series.text().to_owned());
            format!("{} {} {overflow}", excess.reason.as_str(), excess.label)
        }

        #[track_caller]
        fn check(&self, text: &str, expected: &str) {
            assert_eq!(self.ask(text), expected, "{text}");
            // The same again: what is over a limit is so as long as nothing leaves.
            assert_eq!(self.ask(text), expected, "{text}");
        }

        #[track_caller]
        fn is_let_in(&self, text: &str) {
            self.check(text, text);
        }

        /// Lets series with these texts expire; whether there is room for others.
        fn expire(&self, gone: &[&str]) -> bool {
            let proposal = self.registry.propose_expiry(10_000).unwrap();
            let stays =
                |(i, series): (usize, &Series)| (!gone.contains(&series.text())).then_some(i);
            let vetoed: Vec<_> = proposal.series.iter().enumerate().filter_map(stays).collect();
            self.registry.end_expiry(&proposal, &vetoed)
        }
    }

    fn per_family(series: u32) -> RuleLimits {
        RuleLimits { series: Some(series), ..RuleLimits::default() }
    }

    fn per_label(values: u32) -> RuleLimits {
        RuleLimits { values: Some(values), ..RuleLimits::default() }
    }

    #[test]
    fn what_is_over_a_familys_limit_goes_to_one_series() {
        let bench = Bench::new(None, per_family(2));
        for text in ["a{id=\"1\",z=\"x\"}", "a{id=\"2\",z=\"x\"}", "b{id=\"1\"}"] {
            bench.is_let_in(text);
        }
        let overflow = "series_per_family id a{id=\"__overflow__\",z=\"__overflow__\"}";
        bench.check("a{id=\"3\",z=\"x\"}", overflow);
        bench.check("a{other=\"1\"}", overflow);
        bench.check("a", overflow);
        bench.is_let_in("a{id=\"1\",z=\"x\"}");
        bench.is_let_in("b{id=\"2\"}");
        assert_eq!(bench.registry.len(), 5);
    }

    #[test]
    fn a_family_without_labels_has_an_overflow_too() {
        let bench = Bench::new(None, per_family(1));
        bench.is_let_in("a{id=\"1\"}");
        bench.check("a", "series_per_family id a{overflow=\"__overflow__\"}");
        bench.check("a{id=\"2\"}", "series_per_family id a{overflow=\"__overflow__\"}");
    }

    #[test]
    fn a_label_with_too_many_values_gets_one_for_the_rest() {
        let bench = Bench::new(None, per_label(2));
        bench.is_let_in("a{app=\"x\",user=\"1\"}");
        bench.is_let_in("a{app=\"x\",user=\"2\"}");
        bench.is_let_in("a{app=\"y\",user=\"2\"}");
        let limit = |label: &str, text: &str| format!("values_per_label {label} {text}");
        bench
            .check("a{app=\"x\",user=\"3\"}", &limit("user", "a{app=\"x\",user=\"__overflow__\"}"));
        bench.check(
            "a{app=\"z\",user=\"4\"}",
            &limit("app", "a{app=\"__overflow__\",user=\"__overflow__\"}"),
        );
        bench.is_let_in("a{app=\"y\",user=\"1\"}");
        bench.is_let_in("a{user=\"1\"}");
    }

    #[test]
    fn limits_for_some_labels_leave_the_others_alone() {
        let values_of = vec![("user".to_owned(), 1)];
        let bench = Bench::new(None, RuleLimits { values_of, ..RuleLimits::default() });
        for text in ["a{app=\"1\",user=\"\\\"\"}", "a{app=\"2\",user=\"\\\"\"}"] {
            bench.is_let_in(text);
        }
        bench.check(
            "a{app=\"3\",user=\"2\"}",
            "values_per_label user a{app=\"3\",user=\"__overflow__\"}",
        );
    }

    #[test]
    fn an_overflow_by_label_keeps_to_the_familys_limit() {
        let bench = Bench::new(None, RuleLimits { values: Some(1), ..per_family(2) });
        bench.is_let_in("a{app=\"x\",user=\"1\"}");
        bench.check(
            "a{app=\"x\",user=\"2\"}",
            "values_per_label user a{app=\"x\",user=\"__overflow__\"}",
        );
        bench.check(
            "a{app=\"y\",user=\"1\"}",
            "values_per_label app a{app=\"__overflow__\",user=\"__overflow__\"}",
        );
    }

    #[test]
    fn in_all_there_are_no_more_than_the_limit_and_no_new_family() {
        let bench = Bench::new(Some(2), RuleLimits::default());
        bench.is_let_in("a{id=\"1\"}");
        bench.is_let_in("b");
        bench.check("a{id=\"2\"}", "series id a{id=\"__overflow__\"}");
        bench.check("c", "series  dropped");
        bench.check("b{x=\"1\"}", "series x b{x=\"__overflow__\"}");
        let LimitUse { series, most_series, families } = bench.registry.limit_use(10);
        assert_eq!((series, most_series), (2, Some(2)));
        let families: Vec<_> = families.iter().map(|full| (&*full.name, &*full.label)).collect();
        assert_eq!(families, [("a", "id"), ("b", "x")]);
    }

    #[test]
    fn what_leaves_makes_room() {
        for (most, limits) in
            [(None, per_family(2)), (None, per_label(2)), (Some(2), RuleLimits::default())]
        {
            let bench = Bench::new(most, limits);
            bench.is_let_in("a{id=\"1\"}");
            bench.is_let_in("a{id=\"2\"}");
            assert!(!bench.expire(&["a{id=\"2\"}"]), "nobody was refused");
            bench.is_let_in("a{id=\"3\"}");
            assert_ne!(bench.ask("a{id=\"4\"}"), "a{id=\"4\"}");
            assert!(bench.expire(&["a{id=\"1\"}", "a{id=\"__overflow__\"}"]));
            bench.is_let_in("a{id=\"4\"}");
            assert_ne!(bench.ask("a{id=\"5\"}"), "a{id=\"5\"}");
        }
    }

    #[test]
    fn what_was_there_before_a_limit_stays_and_counts() {
        let mut bench = Bench::new(None, RuleLimits::default());
        for id in 0..5 {
            bench.is_let_in(&format!("a{{id=\"{id}\"}}"));
        }
        assert!(!bench.expire(&["a{id=\"0\"}"]));
        bench.limits = per_label(5);
        bench.is_let_in("a{id=\"5\"}");
        bench.check("a{id=\"6\"}", "values_per_label id a{id=\"__overflow__\"}");
        bench.limits = per_family(3);
        bench.is_let_in("a{id=\"4\"}");
        bench.check("a{id=\"7\"}", "series_per_family id a{id=\"__overflow__\"}");
        let restored = bench.with("a{id=\"8\"}", |request| {
            bench.registry.series(&Request { limits: None, ..*request }).is_ok()
        });
        assert!(restored, "without limits everything is let in");
    }

    #[test]
    fn a_flood_of_labels_leaves_nothing_behind() {
        let bench = Bench::new(None, RuleLimits { values: Some(2), ..per_family(2) });
        bench.is_let_in("a{x=\"1\"}");
        bench.is_let_in("a{y=\"1\"}");
        for n in 0..100 {
            assert_ne!(bench.ask(&format!("a{{x{n}=\"1\"}}")), "");
        }
        let families = bench.registry.families.lock();
        let occupancy = families.by_name["a"].occupancy.as_ref().unwrap();
        assert_eq!(occupancy.values.len(), 2);
    }

    #[test]
    fn a_series_about_to_expire_is_known() {
        let bench = Bench::new(None, per_family(1));
        bench.is_let_in("a{id=\"1\"}");
        let proposal = bench.registry.propose_expiry(10_000).unwrap();
        bench.is_let_in("a{id=\"1\"}");
        bench.registry.end_expiry(&proposal, &[]);
        bench.check("a{id=\"2\"}", "series_per_family id a{id=\"__overflow__\"}");
    }

    #[test]
    fn another_type_is_told_before_a_limit() {
        let bench = Bench::new(Some(1), RuleLimits::default());
        bench.is_let_in("a");
        let kind = bench.with("a{x=\"1\"}", |request| {
            bench.registry.series(&Request { spec: &SeriesSpec::Gauge, ..*request }).unwrap_err()
        });
        assert_eq!(kind, Refusal::Conflict);
    }
}
