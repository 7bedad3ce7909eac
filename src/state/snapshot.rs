//! Snapshots: what is in a saved state, and how it is taken and taken over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::io;
use std::sync::Arc;

use prost::Message;
use tracing::warn;

use super::Clock;
use super::codec::{Packing, Reader, StateError, Tag, Writer, decode};
use crate::aggregate::saved::{SavedFamily, SavedSeries, SavedSpec};
use crate::aggregate::{Registry, SeriesSpec};
use crate::ingest::Ingest;
use crate::multiproc::Multiproc;
use crate::sample::EventType;
use crate::telemetry::{LimitReason, Limited, Stat, Telemetry};

/// What there is once.
#[derive(Clone, PartialEq, Message)]
pub struct Head {
    /// When the clock began, in milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub start_unix_millis: u64,
    /// What it showed when the snapshot was taken.
    #[prost(uint64, tag = "2")]
    pub stopped_millis: u64,
    /// The seed of the hash that sets count by.
    #[prost(fixed64, tag = "3")]
    pub member_seed: u64,
    /// The version of the program that took it, for people.
    #[prost(string, tag = "4")]
    pub version: String,
    /// How many processes have handed over, up to this one.
    #[prost(uint64, tag = "5")]
    pub handovers: u64,
}

/// One of our own counters.
#[derive(Clone, PartialEq, Message)]
struct SavedCounter {
    /// [`Stat::saved_name`], or the type of events in conflict, or the limit that was reached.
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    count: u64,
    /// The name in conflict or limited.
    #[prost(string, tag = "3")]
    metric: String,
    /// What is said of limited samples only.
    #[prost(message, optional, tag = "4")]
    limited: Option<SavedLimited>,
}

/// What [`Limited`] says besides the metric and the reason.
#[derive(Clone, PartialEq, Message)]
struct SavedLimited {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(bool, tag = "2")]
    overflows: bool,
}

/// The beginning of a line whose end a client has not sent yet.
#[derive(Clone, PartialEq, Message)]
struct Unfinished {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

/// What snapshots are taken of.
#[derive(Clone, Debug)]
pub struct Source {
    /// Families and series.
    pub registry: Arc<Registry>,
    /// Our own counters.
    pub telemetry: Arc<Telemetry>,
    /// Workers' files, where some are read.
    pub multiproc: Option<Arc<Multiproc>>,
    /// The process' clock.
    pub clock: Clock,
    /// The seed of the hash that sets count by.
    pub member_seed: u64,
    /// How many processes have handed over, up to this one.
    pub handovers: u64,
}

impl Source {
    /// Writes a snapshot, and with it the unfinished lines of connections in their order; returns
    /// the number of series.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(
        &self,
        out: impl io::Write,
        packing: Packing,
        unfinished: &[Vec<u8>],
    ) -> io::Result<u64> {
        let mut writer = Writer::new(out, packing)?;
        let now_millis = self.clock.now_millis();
        writer.put(
            Tag::Head,
            &Head {
                start_unix_millis: self.clock.start_unix_millis,
                stopped_millis: now_millis,
                member_seed: self.member_seed,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                handovers: self.handovers,
            },
        )?;
        for bytes in unfinished {
            writer.put(Tag::Unfinished, &Unfinished { bytes: bytes.clone() })?;
        }
        self.write_counters(&mut writer)?;
        let series = self.write_series(&mut writer, now_millis)?;
        if let Some(multiproc) = &self.multiproc {
            let writer = RefCell::new(&mut writer);
            multiproc.save(
                |slot| writer.borrow_mut().put(Tag::WorkersSlot, slot),
                |file| writer.borrow_mut().put(Tag::WorkersFile, file),
            )?;
        }
        writer.finish()?;
        Ok(series)
    }

    fn write_counters(&self, writer: &mut Writer<'_>) -> io::Result<()> {
        let totals = self.telemetry.totals();
        let stats = Stat::all().map(|stat| SavedCounter {
            name: stat.saved_name(),
            count: totals.get(stat),
            ..SavedCounter::default()
        });
        let conflicts = totals.conflicts().map(|(event, name, count)| SavedCounter {
            name: event.as_str().to_owned(),
            count,
            metric: name.to_owned(),
            limited: None,
        });
        let limited = totals.limited().map(|(limited, count)| SavedCounter {
            name: limited.reason.as_str().to_owned(),
            count,
            metric: limited.metric.to_string(),
            limited: Some(SavedLimited {
                label: limited.label.to_string(),
                overflows: limited.overflows,
            }),
        });
        let counters = stats.chain(conflicts).chain(limited);
        let mut counters = counters.filter(|counter| counter.count > 0);
        counters.try_for_each(|counter| writer.put(Tag::Counter, &counter))
    }

    fn write_series(&self, writer: &mut Writer<'_>, now_millis: u64) -> io::Result<u64> {
        let reading = self.registry.read(now_millis);
        let values = &reading.values;
        let (mut specs, mut saved, mut count) = (HashMap::new(), SavedSeries::default(), 0);
        for view in reading.view.families() {
            let family = &view.family;
            let (name, help) = (family.name.to_string(), family.help.to_string());
            writer.put(Tag::Family, &SavedFamily { name, help })?;
            for block in view.blocks() {
                black_box(values.look_ahead(block));
                for series in block {
                    let column = series.cell.column;
                    let next = u32::try_from(specs.len()).unwrap_or(u32::MAX);
                    let spec = *specs.entry(column).or_insert(next);
                    if spec == next {
                        writer
                            .put(Tag::Spec, &SavedSpec::of(column.kind(), values.spec(column)))?;
                    }
                    values.save(series, &mut saved);
                    saved.spec = spec;
                    writer.put(Tag::Series, &saved)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}

/// How much of a saved state was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Series that go on.
    pub series: u64,
    /// Series whose ttl had ended.
    pub expired: u64,
    /// Series whose name belongs to something else.
    pub refused: u64,
}

/// A saved state that is being read.
#[derive(Debug)]
pub struct Snapshot<'r> {
    /// What there is once.
    pub head: Head,
    reader: Reader<'r>,
}

impl<'r> Snapshot<'r> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// Each variant of [`StateError`].
    pub fn open(input: impl io::Read + 'r) -> Result<Self, StateError> {
        let mut reader = Reader::new(input)?;
        let head = match reader.read()? {
            Some((Tag::Head, bytes)) => decode(bytes)?,
            _ => return Err(StateError::Damaged("its head is missing")),
        };
        Ok(Self { head, reader })
    }

    /// Takes everything over into the first lane, which has not read a line yet; returns also the
    /// unfinished lines of connections.
    ///
    /// # Errors
    /// [`StateError::Read`] or [`StateError::Damaged`]; what was taken over by then is of no use.
    pub fn restore(
        mut self,
        now_millis: u64,
        lane: &mut Ingest,
        multiproc: Option<&Multiproc>,
    ) -> Result<(Restored, Vec<Vec<u8>>), StateError> {
        let stats: HashMap<_, _> = Stat::all().map(|stat| (stat.saved_name(), stat)).collect();
        let (mut restored, mut unfinished) = (Restored::default(), Vec::new());
        let mut family = SavedFamily::default();
        let mut specs: Vec<Option<SeriesSpec>> = Vec::new();
        while let Some((tag, bytes)) = self.reader.read()? {
            match tag {
                Tag::Family => family = decode(bytes)?,
                Tag::Spec => specs.push(decode::<SavedSpec>(bytes)?.spec()),
                Tag::Series => {
                    let series: SavedSeries = decode(bytes)?;
                    let spec = specs.get(series.spec as usize).and_then(Option::as_ref);
                    let spec = spec.ok_or(StateError::Damaged("a series is of no known kind"))?;
                    if series.is_expired(now_millis) {
                        restored.expired += 1;
                    } else if lane.restore_series(&family, spec, &series).is_ok() {
                        restored.series += 1;
                    } else {
                        restored.refused += 1;
                    }
                }
                Tag::Counter => restore_counter(lane, &stats, &decode(bytes)?),
                Tag::WorkersSlot => {
                    let slot = decode(bytes)?;
                    multiproc.inspect(|multiproc| multiproc.restore_slot(&slot));
                }
                Tag::WorkersFile => {
                    let file = decode(bytes)?;
                    multiproc.inspect(|multiproc| multiproc.restore_file(&file));
                }
                Tag::Unfinished => unfinished.push(decode::<Unfinished>(bytes)?.bytes),
                Tag::Head | Tag::End => return Err(StateError::Damaged("a frame is out of place")),
            }
        }
        if restored.refused > 0 {
            let series = restored.refused;
            warn!(series, "Saved series were left out: their names belong to others.");
        }
        Ok((restored, unfinished))
    }
}

/// A counter that this version does not know is left out.
fn restore_counter(lane: &mut Ingest, stats: &HashMap<String, Stat>, saved: &SavedCounter) {
    if let Some(limited) = &saved.limited {
        let reason = LimitReason::ALL.into_iter().find(|reason| reason.as_str() == saved.name);
        let Some(reason) = reason else { return };
        let SavedLimited { label, overflows } = limited;
        let (metric, label) = (saved.metric.as_str().into(), label.as_str().into());
        lane.restore_limited(
            &Limited { metric, label, reason, overflows: *overflows },
            saved.count,
        );
    } else if let Some(stat) = stats.get(&saved.name) {
        lane.count(*stat, saved.count);
    } else if let Some(event) = EventType::ALL.into_iter().find(|e| e.as_str() == saved.name) {
        lane.restore_conflict(event, &saved.metric, saved.count);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::compat::Compat;
    use crate::expose::negotiate::Format;
    use crate::expose::{Page, walk};
    use crate::ingest::{self, Sender};
    use crate::map::Rules;
    use crate::map::ttl::Ttls;
    use crate::parse;

    const MAPPING: &str = r"
defaults: {summary_options: {max_age: 10m, age_buckets: 5}}
mappings:
- {match: h.*, observer_type: histogram, name: h, labels: {k: $1}}
- match: n.*
  observer_type: histogram
  name: n
  labels: {k: $1}
  histogram_options: {buckets: [1, 10], native_histogram_bucket_factor: 1.1, native_histogram_max_buckets: 20}
- {match: level, name: level, counter_mode: updown}
- {match: total, name: total, counter_mode: absolute}
- {match: sum, name: sum, gauge_mode: sum}
- {match: peak, name: peak, gauge_mode: max_seen}
- {match: short.*, name: short, ttl: 1s}
- {match: few.*, name: few, labels: {k: $1}, max_series: 2}
";

    /// Two lanes and what they share.
    struct Process {
        source: Source,
        lanes: Vec<Ingest>,
    }

    impl Process {
        fn new(clock: Clock, mapping: &str) -> Self {
            Self::with_own_names(clock, mapping, &["own_total"])
        }

        fn with_own_names(clock: Clock, mapping: &str, own: &[&str]) -> Self {
            let own = own.iter().map(ToString::to_string);
            let registry = Arc::new(Registry::new(Compat::Extended, own));
            let telemetry = Arc::new(Telemetry::default());
            let rules = Rules::parse(mapping.as_bytes(), "test.yml".as_ref(), Compat::Extended);
            let config = ingest::Config {
                parse: parse::Options::new(Compat::Extended),
                rules: Arc::new(rules.unwrap().rules),
                mapper_cache: crate::map::cache::Config::default(),
                line_cache_bytes: 1 << 20,
                event_queue: None,
                start: clock.start,
                member_seed: 7,
                ttl: Ttls::default(),
            };
            let lane = |_| Ingest::new(config.clone(), &registry, &telemetry);
            let lanes = (0..2).map(lane).collect();
            let multiproc = None;
            let (member_seed, handovers) = (7, 3);
            let source = Source { registry, telemetry, multiproc, clock, member_seed, handovers };
            Self { source, lanes }
        }

        fn take(&mut self, number: usize, line: &str) {
            self.lanes[number].begin_batch();
            self.lanes[number].line(line.as_bytes(), Sender::Unknown);
        }

        fn saved(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            let unfinished = [b"a:1".to_vec(), Vec::new()];
            self.source.write(&mut bytes, Packing::Plain, &unfinished).unwrap();
            bytes
        }

        /// A process that goes on with `bytes`, and what it restored.
        fn after(bytes: &[u8], clock: Clock, mapping: &str) -> (Self, Restored) {
            let snapshot = Snapshot::open(bytes).unwrap();
            assert_eq!((snapshot.head.member_seed, snapshot.head.handovers), (7, 3));
            let mut process = Self::new(clock, mapping);
            let now_millis = clock.now_millis();
            let (restored, unfinished) =
                snapshot.restore(now_millis, &mut process.lanes[0], None).unwrap();
            assert_eq!(unfinished, [b"a:1".to_vec(), Vec::new()]);
            (process, restored)
        }

        /// The pages in all formats as of then.
        fn pages(&self, now_millis: u64) -> Vec<Vec<u8>> {
            let start = self.source.clock.start_unix_millis;
            let read = || self.source.registry.read(now_millis);
            let formats = [Format::Text, Format::OpenMetrics, Format::Protobuf];
            let page = |format: Format| {
                let mut written = Vec::new();
                let mut sink = |part: &mut Vec<u8>| {
                    written.append(part);
                    true
                };
                let mut page = Page::new(format.encoder(), &mut sink);
                walk::walk(read, &[], start, &mut page);
                assert!(page.finish());
                written
            };
            formats.map(page).into()
        }

        fn text(&self) -> String {
            let mut pages = self.pages(self.source.clock.now_millis());
            String::from_utf8(pages.remove(0)).unwrap()
        }
    }

    fn lines() -> impl Strategy<Value = Vec<(usize, String)>> {
        let name = prop_oneof!["c[0-3]", "h\\.[ab]", "n\\.[ab]", "s[0-2]", "u", "g[01]"];
        let tags = prop_oneof![Just(""), Just("|#x:1"), Just("|#x:a\"b\\,y:2"), Just("|@0.1")];
        let line =
            (0_usize..2, name, -100.0..5000.0_f64, tags).prop_map(|(lane, name, value, tags)| {
                let (value, kind) = match name.as_bytes().first() {
                    Some(b'c') => (value.abs(), "c"),
                    Some(b'g') => (value, "g"),
                    Some(b'u') => (value.abs().trunc(), "s"),
                    _ => (value, "ms"),
                };
                (lane, format!("{name}:{value}|{kind}{tags}"))
            });
        let fixed = [
            "level:-3|c",
            "level:5|c",
            "total:7|c",
            "total:9|c",
            "sum:3|g",
            "peak:8|g",
            "peak:2|g",
            "few.a:1|c",
            "few.b:1|c",
            "few.c:1|c",
            "few.d:1|g",
        ];
        let fixed = (0_usize..2, prop::sample::select(fixed.to_vec()));
        let fixed = fixed.prop_map(|(lane, line)| (lane, line.to_owned()));
        prop::collection::vec(prop_oneof![8 => line, 3 => fixed], 0..150)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_restored_process_shows_the_same_and_counts_on_alike(
            lines in lines(),
            more in lines(),
            is_native in any::<bool>(),
        ) {
            let clock = Clock::begin();
            let mut before = Process::new(clock, MAPPING);
            if is_native {
                before.source.registry.start_native();
            }
            for (lane, line) in &lines {
                before.take(*lane, line);
            }
            let (mut after, _) = Process::after(&before.saved(), clock, MAPPING);
            if is_native {
                after.source.registry.start_native();
            }
            let now_millis = clock.now_millis();
            let pages = before.pages(now_millis);
            prop_assert!(pages == after.pages(now_millis), "{}", after.text());
            for stat in Stat::all() {
                let count = |process: &Process| process.source.telemetry.totals().get(stat);
                prop_assert_eq!(count(&before), count(&after), "{:?}", stat);
            }
            let named = |process: &Process| {
                let totals = process.source.telemetry.totals();
                let conflicts = totals.conflicts().map(|told| format!("{told:?}"));
                let limited = totals.limited().map(|told| format!("{told:?}"));
                conflicts.chain(limited).collect::<HashSet<_>>()
            };
            prop_assert_eq!(named(&before), named(&after));
            // A page is the same again from the second generation on, in which all is in one lane.
            let (mut grandchild, _) = Process::after(&after.saved(), clock, MAPPING);
            for (_, line) in &more {
                after.take(0, line);
                grandchild.take(0, line);
            }
            // The text alone has no created timestamps, in which new series may differ.
            prop_assert_eq!(after.text(), grandchild.text());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// The checksum keeps accidents out, not a file that somebody has made.
        #[test]
        fn a_forged_state_is_an_error_or_a_page_but_no_crash(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let clock = Clock::begin();
            let mut before = Process::new(clock, MAPPING);
            before.source.registry.start_native();
            for line in ["c:1|c|#a:b", "h.a:5|ms", "n.a:5|ms", "s:5|ms", "sum:3|g", "peak:8|g"] {
                before.take(0, line);
            }
            (0..70).for_each(|number| before.take(1, &format!("s:{number}|ms")));
            before.take(1, "u:5|s");
            let saved = before.saved();
            let (mut reader, mut frames) = (Reader::new(&*saved).unwrap(), Vec::new());
            while let Some((tag, bytes)) = reader.read().unwrap() {
                frames.push((tag, bytes.to_vec()));
            }
            for (index, bits) in flips {
                let number = index.index(frames.len());
                let (_, bytes) = &mut frames[number];
                let at = index.index(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            let mut forged = Vec::new();
            let mut writer = Writer::new(&mut forged, Packing::Plain).unwrap();
            for (tag, bytes) in &frames {
                writer.frame(*tag, bytes).unwrap();
            }
            writer.finish().unwrap();
            let mut after = Process::new(clock, MAPPING);
            let snapshot = Snapshot::open(&*forged);
            let now_millis = clock.now_millis();
            let restored = snapshot.and_then(|state| state.restore(now_millis, &mut after.lanes[0], None));
            if restored.is_ok() {
                after.take(0, "s:5|ms");
                after.take(0, "n.a:7|ms");
                after.pages(now_millis);
                after.saved();
            }
        }
    }

    #[test]
    fn many_samples_and_members_survive() {
        let clock = Clock::begin();
        let mut before = Process::new(clock, MAPPING);
        for number in 0..3_000 {
            before.take(0, &format!("s:{}|ms", number % 777));
            before.take(0, &format!("u:{number}|s"));
        }
        let (after, restored) = Process::after(&before.saved(), clock, MAPPING);
        assert_eq!(restored, Restored { series: 2, expired: 0, refused: 0 });
        let now_millis = clock.now_millis();
        assert_eq!(before.pages(now_millis), after.pages(now_millis));
    }

    #[test]
    fn what_has_expired_stays_away() {
        let clock = Clock::begin();
        let mut before = Process::new(clock, MAPPING);
        before.take(0, "short.a:1|c");
        before.take(0, "long:1|c");
        let later = Clock::resume(clock.start_unix_millis, 60_000).unwrap();
        let (after, restored) = Process::after(&before.saved(), later, MAPPING);
        assert_eq!(restored, Restored { series: 1, expired: 1, refused: 0 });
        assert!(after.text().contains("long 1") && !after.text().contains("short"));
    }

    #[test]
    fn new_buckets_in_the_mapping_begin_a_family_anew() {
        let clock = Clock::begin();
        let mut before = Process::new(clock, MAPPING);
        before.take(0, "h.a:100|ms");
        before.take(0, "n.a:100|ms");
        let changed = MAPPING.replace("buckets: [1, 10]", "buckets: [2, 20]");
        let (mut after, _) = Process::after(&before.saved(), clock, &changed);
        after.take(1, "h.a:100|ms");
        assert!(after.text().contains("n_bucket{k=\"a\",le=\"10\"} 1"), "{}", after.text());
        after.take(1, "n.a:100|ms");
        let text = after.text();
        assert!(
            text.contains("n_bucket{k=\"a\",le=\"20\"} 1") && !text.contains("le=\"10\"} 1\nn")
        );
        assert!(text.contains("h_count{k=\"a\"} 2"));
    }

    #[test]
    fn a_restored_family_yields_to_a_sample_of_another_type_unless_one_has_agreed() {
        for (lines, expected) in [
            (&["x:5|g"][..], "# TYPE x gauge\nx 5\n"),
            (&["x:1|c", "x:5|g"], "# TYPE x counter\nx 3\n"),
        ] {
            let clock = Clock::begin();
            let mut before = Process::new(clock, MAPPING);
            before.take(0, "x:2|c");
            let (mut after, _) = Process::after(&before.saved(), clock, MAPPING);
            for line in lines {
                after.take(1, line);
            }
            assert!(after.text().contains(expected), "{lines:?}: {}", after.text());
        }
    }

    #[test]
    fn a_name_that_has_become_our_own_is_left_out() {
        let clock = Clock::begin();
        let mut before = Process::with_own_names(clock, MAPPING, &[]);
        before.take(0, "own_total:1|c");
        let (_, restored) = Process::after(&before.saved(), clock, MAPPING);
        assert_eq!(restored, Restored { refused: 1, ..Restored::default() });
    }
}
