//! What clients sent and what workers' files hold, on one page: which families are shown where both
//! have a name.
//!
//! A family is shown whole or not at all: one made of two sources would jump whenever one of them goes.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tracing::warn;

use super::own;
use super::walk::has_values;
use crate::aggregate::view::FamilyView;
use crate::aggregate::{Family, FamilyKind, Reading};
use crate::map::limits::beginning;
use crate::multiproc::layout::FamilyLayout;
use crate::multiproc::{Clash, Snapshot, Source};

/// So many families are warned of; more are counted without.
const MAX_WARNED: usize = 100;

/// Whose family is shown where clients and files both have one of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum First {
    /// That of clients.
    #[default]
    Statsd,
    /// That of files.
    Files,
}

/// What is shown of a reading and a snapshot.
#[derive(Debug, Default)]
pub struct Joined {
    snapshot: Snapshot,
    files: Arc<[Arc<FamilyLayout>]>,
    /// Clients' families that are left out.
    hidden: HashSet<Arc<str>, RandomState>,
    clashes: Vec<Clash>,
}

impl Joined {
    /// Finds the families of which only one can be shown. Those without a value are in nobody's way.
    ///
    /// The cost is a few looks at the reading for each family of the files.
    #[must_use]
    pub fn new(reading: &Reading, snapshot: Snapshot, first: First) -> Self {
        let mut joined = Self::default();
        let mut files: Vec<Arc<FamilyLayout>> = Vec::new();
        for family in &snapshot.layout.families {
            if !family.has_values(&snapshot) {
                continue;
            }
            let own = own_name(family).map(|name| (Source::Tallyd, name, "own"));
            // A histogram stands before everything that is called like its samples.
            let other = owner_of_samples(&files, &family.name)
                .map(|other| (Source::Files, &*other.name, other.kind.as_str()));
            let rivals = rivals(reading, family);
            let shown = || rivals.iter().filter(|rival| has_values(reading, rival));
            let statsd = shown()
                .next()
                .filter(|_| first == First::Statsd)
                .map(|rival| (Source::Statsd, &*rival.family.name, rival.family.kind.as_str()));
            if let Some(owner) = own.or(other).or(statsd) {
                let name = (&*family.name, family.kind);
                joined.clashes.push(clash(name, Source::Files, owner));
                continue;
            }
            joined.clashes.extend(shown().map(|rival| {
                let owner = (Source::Files, &*family.name, family.kind.as_str());
                clash((&rival.family.name, rival.family.kind), Source::Statsd, owner)
            }));
            joined.hidden.extend(rivals.iter().map(|rival| Arc::clone(&rival.family.name)));
            files.push(Arc::clone(family));
        }
        Self { files: files.into(), snapshot, ..joined }
    }

    /// The families of files that are shown, sorted by name.
    #[must_use]
    pub fn files(&self) -> &Arc<[Arc<FamilyLayout>]> {
        &self.files
    }

    /// Everything that the files hold.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The families that are left out.
    #[must_use]
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }

    /// Whether a family of clients is shown.
    #[must_use]
    pub fn shows(&self, family: &Family) -> bool {
        self.hidden.is_empty() || !self.hidden.contains(&family.name)
    }

    /// Whether a family of clients that has come since is in nobody's way.
    pub(super) fn has_room_for(&self, family: &Family) -> bool {
        let is_shown = |name: &str| find(&self.files, name).is_some();
        let mut samples = samples_of(&family.name, family.kind);
        self.files.is_empty()
            || !(is_shown(&family.name)
                || samples.any(|name| is_shown(&name))
                || owner_of_samples(&self.files, &family.name).is_some())
    }
}

/// Warns of families that are left out, of each once.
#[derive(Debug, Default)]
pub struct ClashLog(Mutex<HashSet<String, RandomState>>);

impl ClashLog {
    /// Takes note of the families that are left out at the moment.
    pub fn note<'a>(&self, clashes: impl IntoIterator<Item = &'a Clash>) {
        for clash in clashes {
            let mut warned = self.0.lock();
            if warned.contains(&clash.metric) || warned.len() >= MAX_WARNED {
                continue;
            }
            warned.insert(clash.metric.clone());
            warn!(
                metric = %beginning(&clash.metric),
                kind = clash.kind,
                source = clash.source.as_str(),
                file = clash.file,
                owner = %beginning(&clash.owner),
                owner_kind = clash.owner_kind,
                owner_source = clash.owner_source.as_str(),
                "A family is left out, since another source has its name."
            );
        }
    }
}

fn clash(
    (metric, kind): (&str, FamilyKind),
    source: Source,
    (owner_source, owner, owner_kind): (Source, &str, &'static str),
) -> Clash {
    Clash {
        metric: metric.to_owned(),
        kind: kind.as_str(),
        source,
        file: None,
        owner: owner.to_owned(),
        owner_kind,
        owner_source,
    }
}

/// The clients' families that cannot be shown beside one of the files.
fn rivals<'a>(reading: &'a Reading, family: &FamilyLayout) -> Vec<&'a FamilyView> {
    let view = &reading.view;
    let samples = samples_of(&family.name, family.kind);
    let samples = samples.filter_map(|name| view.family(&name));
    let owner = base_names(&family.name).find_map(|(base, suffix)| {
        view.family(base).filter(|base| suffixes(base.family.kind).contains(&suffix))
    });
    view.family(&family.name).into_iter().chain(samples).chain(owner).collect()
}

/// The name of ours that a family of the files would take, by itself or for its samples.
fn own_name(family: &FamilyLayout) -> Option<&'static str> {
    let find = |name: &str| own::NAMES.iter().find(|own| **own == name).copied();
    find(&family.name)
        .or_else(|| samples_of(&family.name, family.kind).find_map(|name| find(&name)))
}

/// The family of the files with samples of that name.
fn owner_of_samples<'a>(
    files: &'a [Arc<FamilyLayout>],
    name: &str,
) -> Option<&'a Arc<FamilyLayout>> {
    base_names(name).find_map(|(base, suffix)| {
        find(files, base).filter(|family| suffixes(family.kind).contains(&suffix))
    })
}

fn find<'a>(files: &'a [Arc<FamilyLayout>], name: &str) -> Option<&'a Arc<FamilyLayout>> {
    let place = files.binary_search_by(|family| (*family.name).cmp(name)).ok()?;
    files.get(place)
}

/// The names of a family's samples that are not its own.
fn samples_of(name: &str, kind: FamilyKind) -> impl Iterator<Item = String> {
    suffixes(kind).iter().map(move |suffix| format!("{name}{suffix}"))
}

/// What a name would be a sample of, and by which suffix.
fn base_names(name: &str) -> impl Iterator<Item = (&str, &'static str)> {
    let suffixes = suffixes(FamilyKind::Histogram).iter();
    suffixes.filter_map(move |suffix| Some((name.strip_suffix(suffix)?, *suffix)))
}

fn suffixes(kind: FamilyKind) -> &'static [&'static str] {
    match kind {
        FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Set => &[],
        FamilyKind::Histogram => &["_sum", "_count", "_bucket"],
        FamilyKind::Summary => &["_sum", "_count"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Registry, Request, SeriesSpec};
    use crate::compat::Compat;
    use crate::map::observer::HistogramSpec;
    use crate::multiproc::made::{Made, snapshot};

    const HISTOGRAM: Made<'_> = Made::Histogram(&[1.0], &[1.0, 2.0], 3.0);

    #[test]
    fn of_two_families_with_one_name_the_first_source_s_is_shown() {
        let files = [("a", "", Made::Counter(1.0)), ("b", "", Made::Counter(1.0))];
        check(&["a", "c"], &files, First::Statsd, "a c | b | a of files for a of statsd");
        check(&["a", "c"], &files, First::Files, "c | a b | a of statsd for a of files");
    }

    #[test]
    fn samples_have_names_too() {
        let statsd = ["a_sum", "h{}"];
        let files = [("a", "", HISTOGRAM), ("h_bucket", "", Made::Gauge(1.0))];
        let clashes = "a of files for a_sum of statsd, h_bucket of files for h of statsd";
        check(&statsd, &files, First::Statsd, &format!("a_sum h |  | {clashes}"));
        let clashes = "a_sum of statsd for a of files, h of statsd for h_bucket of files";
        check(&statsd, &files, First::Files, &format!(" | a h_bucket | {clashes}"));
        // A summary has no buckets.
        let files = [("s", "", Made::Summary(1.0, 1.0))];
        check(&["s_bucket"], &files, First::Statsd, "s_bucket | s | ");
    }

    #[test]
    fn files_neither_take_our_names_nor_those_of_each_other_s_samples() {
        let files = [
            ("a", "", HISTOGRAM),
            ("a_count", "", Made::Counter(1.0)),
            ("tallyd_series", "", Made::Gauge(1.0)),
        ];
        let clashes = "a_count of files for a of files, \
                       tallyd_series of files for tallyd_series of tallyd";
        for first in [First::Statsd, First::Files] {
            check(&[], &files, first, &format!(" | a | {clashes}"));
        }
    }

    #[test]
    fn what_has_no_value_is_in_nobody_s_way() {
        check(&["a"], &[("a", "", Made::Absent)], First::Files, "a |  | ");
    }

    #[test]
    fn a_family_that_comes_later_waits_where_one_of_the_files_is_shown() {
        let joined = Joined::new(
            &registry(&[]).read(0),
            snapshot(&[("a", "", HISTOGRAM), ("c_sum", "", Made::Gauge(1.0))]),
            First::Statsd,
        );
        for (name, kind, has_room) in [
            ("a", FamilyKind::Counter, false),
            ("a_sum", FamilyKind::Counter, false),
            ("a_max", FamilyKind::Counter, true),
            ("c", FamilyKind::Summary, false),
            ("c", FamilyKind::Gauge, true),
        ] {
            let family = Family { name: name.into(), help: "".into(), kind };
            assert_eq!(joined.has_room_for(&family), has_room, "{name}");
        }
    }

    /// Families of clients that are shown, those of files, and what is left out for what; a client's
    /// family with braces is a histogram.
    #[track_caller]
    fn check(statsd: &[&str], files: &[(&str, &str, Made<'_>)], first: First, expected: &str) {
        let reading = registry(statsd).read(0);
        let joined = Joined::new(&reading, snapshot(files), first);
        let statsd = reading.view.families().iter().filter(|view| joined.shows(&view.family));
        let statsd: Vec<&str> = statsd.map(|view| &*view.family.name).collect();
        let files: Vec<&str> = joined.files().iter().map(|family| &*family.name).collect();
        let clashes: Vec<String> = joined.clashes().iter().map(told).collect();
        let found = format!("{} | {} | {}", statsd.join(" "), files.join(" "), clashes.join(", "));
        assert_eq!(found, expected);
    }

    fn told(clash: &Clash) -> String {
        let Clash { metric, owner, .. } = clash;
        let (source, owner_source) = (clash.source.as_str(), clash.owner_source.as_str());
        format!("{metric} of {source} for {owner} of {owner_source}")
    }

    fn registry(names: &[&str]) -> Registry {
        let registry = Registry::new(Compat::Extended, []);
        let mut lane = registry.lane();
        let spec = HistogramSpec { bounds: Box::new([1.0]), native: None };
        let histogram = SeriesSpec::Histogram(Arc::new(spec));
        for name in names {
            let plain = name.trim_end_matches("{}");
            let request = Request {
                text: plain,
                name: plain,
                label_names: "",
                spec: if plain == *name { &SeriesSpec::Counter } else { &histogram },
                help: "",
                limits: None,
                ttl_millis: 0,
                generation: 1,
                now_millis: 0,
            };
            let series = registry.series(&request).unwrap();
            registry.adopt(&mut lane, &series);
        }
        registry
    }
}
