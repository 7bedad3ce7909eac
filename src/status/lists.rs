//! What lanes have told, put beside what is counted: bad lines, conflicts, names without a rule, and
//! families.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::Serialize;

use super::Watch;
use super::any::{AnyFamily, families_of};
use super::names::Rates;
use crate::aggregate::view::View;
use crate::aggregate::{Reading, label_pairs};
use crate::expose::{Joined, own};
use crate::map::escape::escape_name;
use crate::multiproc::{Clash, Source};
use crate::parse::Reason;
use crate::state::Clock;
use crate::telemetry::insight::Sighting;
use crate::telemetry::marks::{Mark, NameSort};
use crate::telemetry::{EventError, Stat};

/// Entries that a list has at most.
const MAX_ENTRIES: usize = 100;

/// Families that are known of at most; of more, those that come first by name.
const MAX_FAMILIES: usize = 20_000;

/// Series looked at to find out since when a family exists.
const MAX_LOOKED_AT: usize = 1000;

/// What the samples of histograms and summaries are called behind the family's name.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

/// A line that was met.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its first 200 bytes; what is no UTF-8 is replaced.
    pub line: String,
    /// Whether it was longer.
    pub is_cut: bool,
    /// Transport and address of who sent it; empty where that is not known.
    pub sender: String,
    /// When it came, in seconds since 1970.
    pub at: f64,
}

impl Seen {
    fn new(sighting: Sighting, clock: Clock) -> Self {
        let Sighting { line, is_cut, sender, millis } = sighting;
        Self { line, is_cut, sender, at: clock.seconds(millis) }
    }
}

/// The last lines in error.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Errors {
    /// How often each reason was met since the start; those that never were are left out.
    pub reasons: Vec<ReasonTotal>,
    /// The last kinds of bad lines, the latest first; a kind is all but the value.
    pub errors: Vec<ErrorEntry>,
}

/// How often a reason was met.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonTotal {
    /// As in `statsd_exporter_sample_errors_total` and `statsd_exporter_events_error_total`.
    pub reason: &'static str,
    /// How often.
    pub total: u64,
}

/// A kind of bad line.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorEntry {
    /// What is wrong with it.
    pub reason: &'static str,
    /// The last line that was looked at.
    #[serde(flatten)]
    pub last: Seen,
    /// When the first one came, in seconds since 1970.
    pub first_at: f64,
    /// When the last one came, to some seconds.
    pub last_at: f64,
    /// How many there were; in a flood of different ones, at least so many.
    pub count: u64,
    /// How many come in a second.
    pub per_second: f64,
}

impl Errors {
    /// The bad lines as of now.
    #[must_use]
    pub fn of(watch: &Watch, rates: &Rates, clock: Clock) -> Self {
        let totals = watch.telemetry().totals();
        let parsing = Reason::ALL.map(|reason| (reason.as_str(), Stat::SampleErrors(reason)));
        let taking = EventError::ALL.map(|error| (error.as_str(), Stat::EventErrors(error)));
        let reasons = parsing.into_iter().chain(taking);
        let reasons = reasons.map(|(reason, stat)| ReasonTotal { reason, total: totals.get(stat) });
        let entry = |bad: crate::telemetry::insight::BadLine| {
            let last = Seen::new(bad.last, clock);
            let touched = bad.mark.and_then(|mark| rates.touched_millis(mark));
            ErrorEntry {
                reason: bad.reason,
                first_at: clock.seconds(bad.since_millis),
                last_at: touched.map_or(last.at, |millis| clock.seconds(millis).max(last.at)),
                count: bad.seen + bad.mark.map_or(0, |mark| rates.counts.of(mark)),
                per_second: bad.mark.map_or(0.0, |mark| rounded(rates.of(mark))),
                last,
            }
        };
        let bad_lines = watch.telemetry().insight.bad_lines().into_iter();
        let mut errors: Vec<_> = bad_lines.map(entry).collect();
        errors.sort_by(|a, b| b.last_at.total_cmp(&a.last_at));
        Self { reasons: reasons.filter(|reason| reason.total > 0).collect(), errors }
    }
}

/// Names that no rule matches.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Unmapped {
    /// Whether there are rules at all; without any, no name has one.
    pub has_rules: bool,
    /// How many such names are known.
    pub names_total: u64,
    /// The busiest of them.
    pub names: Vec<UnmappedName>,
    /// Lines of names that came when there were too many to count each.
    pub other_lines_total: u64,
}

/// A name that no rule matches.
#[derive(Clone, Debug, Serialize)]
pub struct UnmappedName {
    /// As the client sent it.
    pub name: String,
    /// The family that it is exposed as.
    pub family: String,
    /// Its lines since the rules were loaded.
    pub lines_total: u64,
    /// Its lines in a second.
    pub lines_per_second: f64,
}

impl Unmapped {
    /// The names as of now.
    #[must_use]
    pub fn of(rates: &Rates, has_rules: bool) -> Self {
        let names = rates.names(NameSort::Unmapped);
        let entry = |(name, total, rate): &(&str, u64, f64)| UnmappedName {
            name: (*name).to_owned(),
            family: escape_name(name).into_owned(),
            lines_total: *total,
            lines_per_second: rounded(*rate),
        };
        Self {
            has_rules,
            names_total: names.len() as u64,
            names: names.iter().take(MAX_ENTRIES).map(entry).collect(),
            other_lines_total: rates.counts.other(NameSort::Unmapped),
        }
    }
}

/// Names that came with two types, or from two sources.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Conflicts {
    /// How many pairs of name and type were refused.
    pub conflicts_total: u64,
    /// Those refused most often.
    pub conflicts: Vec<ConflictEntry>,
    /// How many families are left out since another source has their name.
    pub clashes_total: u64,
    /// The first of them.
    pub clashes: Vec<Clash>,
}

/// A name that came with a type that is not its family's.
#[derive(Clone, Debug, Serialize)]
pub struct ConflictEntry {
    /// The family's name.
    pub name: String,
    /// The type that was refused.
    pub refused_kind: &'static str,
    /// How many samples were.
    pub count: u64,
    /// The first line that was; none where too many names quarrel.
    pub first_refused: Option<Seen>,
    /// Whose name it is; none once that is gone.
    pub owner: Option<Owner>,
}

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Owner {
    /// The family, which may be called otherwise: a histogram has all names of its samples.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Whether it is one of tallyd's own metrics.
    pub is_own: bool,
    /// When its oldest series came, in seconds since 1970.
    pub since: Option<f64>,
    /// One of its series.
    pub series: Option<String>,
    /// Its first line, where it is remembered.
    pub first_line: Option<String>,
    /// Who sent that.
    pub first_sender: Option<String>,
}

impl Conflicts {
    /// The conflicts as of now.
    #[must_use]
    pub fn of(watch: &Watch, view: &View, clock: Clock) -> Self {
        let totals = watch.telemetry().totals();
        let sightings = watch.telemetry().insight.conflicts();
        let mut all: Vec<_> = (0_u32..).zip(totals.conflicts()).collect();
        let conflicts_total = all.len() as u64;
        all.sort_by_key(|(_, (_, _, count))| std::cmp::Reverse(*count));
        let entry = |(id, (event, name, count)): (u32, (crate::sample::EventType, &str, u64))| {
            let known = sightings.iter().find(|known| known.id.number() == id);
            ConflictEntry {
                name: name.to_owned(),
                refused_kind: event.as_str(),
                count,
                first_refused: known.map(|known| Seen::new(known.first.clone(), clock)),
                owner: owner(watch, view, name, clock),
            }
        };
        let conflicts = all.into_iter().take(MAX_ENTRIES).map(entry).collect();
        Self { conflicts_total, conflicts, ..Self::default() }
    }

    /// The same with the families that are left out since another source has their name.
    #[must_use]
    pub fn with_clashes(mut self, mut clashes: Vec<Clash>) -> Self {
        self.clashes_total = clashes.len() as u64;
        clashes.truncate(MAX_ENTRIES);
        self.clashes = clashes;
        self
    }
}

/// Who has a name, or one that a sample of it would have.
fn owner(watch: &Watch, view: &View, name: &str, clock: Clock) -> Option<Owner> {
    if own::NAMES.contains(&name) {
        let (kind, is_own, name) = ("own", true, name.to_owned());
        let (since, series, first_line, first_sender) = (None, None, None, None);
        return Some(Owner { name, kind, is_own, since, series, first_line, first_sender });
    }
    let base = || SUFFIXES.iter().find_map(|suffix| view.family(name.strip_suffix(suffix)?));
    let sample = || SUFFIXES.iter().find_map(|suffix| view.family(&format!("{name}{suffix}")));
    let family = view.family(name).or_else(base).or_else(sample)?;
    let origin = watch.telemetry().insight.origin_of(&family.family.name);
    let (first_line, first_sender) = origin.map(|origin| (origin.line, origin.sender)).unzip();
    let created = family.series().take(MAX_LOOKED_AT).map(|series| series.created_millis).min();
    Some(Owner {
        name: family.family.name.to_string(),
        kind: family.family.kind.as_str(),
        is_own: false,
        since: created.map(|millis| clock.seconds(millis)),
        series: family.series().next().map(|series| series.text().chars().take(200).collect()),
        first_line,
        first_sender: first_sender.filter(|sender| !sender.is_empty()),
    })
}

/// A family as it is listed.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Its help.
    pub help: String,
    /// The names of its labels, as far as its first and last series have them.
    pub labels: Vec<String>,
    /// Its series.
    pub series: u64,
    /// The marks that count its lines.
    pub marks: Vec<Mark>,
}

/// The families, by name.
#[derive(Debug, Default)]
pub struct Families {
    /// The families that are known of.
    pub rows: Vec<Row>,
    /// How many there are in all.
    pub total: u64,
}

impl Families {
    /// The families that are shown. The cost is a look at each block of series.
    #[must_use]
    pub fn of(reading: &Reading, joined: &Joined, rates: &Rates) -> Self {
        let mut marks: HashMap<String, Vec<Mark>, RandomState> = HashMap::default();
        for name in &rates.counts.names {
            let family = match name.sort {
                NameSort::Unmapped => escape_name(&name.name).into_owned(),
                NameSort::Family => name.name.to_string(),
            };
            marks.entry(family).or_default().push(name.mark);
        }
        let mut families: Vec<AnyFamily<'_>> = families_of(reading, joined).collect();
        families.sort_by_key(|family| family.name());
        let total = families.len() as u64;
        let rows = families.into_iter().take(MAX_FAMILIES).map(|family| {
            let marks = match family.source() {
                Source::Statsd => marks.remove(family.name()).unwrap_or_default(),
                // What clients send under that name goes elsewhere.
                Source::Files | Source::Tallyd => Vec::new(),
            };
            row(family, marks)
        });
        Self { rows: rows.collect(), total }
    }
}

fn row(family: AnyFamily<'_>, marks: Vec<Mark>) -> Row {
    let mut labels = Vec::new();
    for series in family.outer_labels() {
        for (name, _) in label_pairs(series) {
            if !labels.iter().any(|known| known == name) {
                labels.push(name.to_owned());
            }
        }
    }
    Row {
        name: family.name().to_owned(),
        kind: family.kind().as_str(),
        source: family.source(),
        help: family.help().to_owned(),
        labels,
        series: family.series() as u64,
        marks,
    }
}

/// A rate to three digits behind the point.
#[must_use]
pub fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::aggregate::{Registry, Request, SeriesSpec};
    use crate::compat::Compat;
    use crate::net::KernelDrops;
    use crate::sample::EventType;
    use crate::telemetry::{FIRST_GENERATION, Telemetry};

    #[test]
    fn the_owner_of_a_name_is_found_under_the_names_of_its_samples_too() {
        let bench = Bench::new(&["hits", "shop_count"]);
        let origin = || Sighting::new(b"hits:1|c", "udp 10.0.0.7:1".to_owned(), 0);
        bench.telemetry.insight.origin("hits", origin);
        let owner = |name: &str| bench.conflict(name).owner;
        let hits = owner("hits").unwrap();
        assert_eq!((hits.kind, hits.first_sender.as_deref()), ("counter", Some("udp 10.0.0.7:1")));
        assert_eq!((hits.since, hits.series.as_deref()), (Some(100.0), Some("hits")));
        assert_eq!(owner("shop").unwrap().name, "shop_count");
        assert_eq!(owner("hits_sum").unwrap().name, "hits");
        assert!(owner("tallyd_series").unwrap().is_own);
        assert_eq!(owner("nobodys"), None);
    }

    #[test]
    fn families_know_the_names_that_are_counted_for_them() {
        let bench = Bench::new(&["a_b", "c"]);
        let marking = &bench.telemetry.marking;
        marking.name(FIRST_GENERATION, NameSort::Unmapped, "a.b").unwrap();
        marking.name(FIRST_GENERATION, NameSort::Family, "a_b").unwrap();
        let rates = bench.watch.rates();
        let families = Families::of(&bench.registry.read(0), &Joined::default(), &rates);
        let marks: Vec<_> = families.rows.iter().map(|row| row.marks.len()).collect();
        assert_eq!((marks, families.total), (vec![2, 0], 2));
    }

    struct Bench {
        telemetry: Arc<Telemetry>,
        registry: Arc<Registry>,
        watch: Arc<Watch>,
    }

    impl Bench {
        fn new(counters: &[&str]) -> Self {
            let telemetry = Arc::new(Telemetry::default());
            let registry = Arc::new(Registry::new(Compat::Extended, []));
            for name in counters {
                let request = Request {
                    text: name,
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
            let drops = KernelDrops::default();
            let watch = Watch::new(&telemetry, &registry, &drops, (Clock::begin(), 1));
            Self { telemetry, registry, watch }
        }

        fn conflict(&self, name: &str) -> ConflictEntry {
            let id = self.telemetry.conflict(EventType::Gauge, name);
            self.telemetry.insight.conflict(id, || Sighting::new(b"x", String::new(), 0));
            let reading = self.registry.read(0);
            let clock = Clock { start: Instant::now(), start_unix_millis: 100_000 };
            let all = Conflicts::of(&self.watch, &reading.view, clock).conflicts;
            all.into_iter().find(|entry| entry.name == name).unwrap()
        }
    }
}
