//! What a page says about the lines that were sent.
//!
//! Pages may be large, so only the samples that count are looked at: those of the built-in
//! workloads, known by the beginnings of their names, and the server's own.

use std::collections::{BTreeMap, HashMap};

use memchr::memchr_iter;

/// Beginnings of the names of a server's own counters.
const OWN: [&[u8]; 2] = [b"statsd_exporter_", b"tallyd_"];
/// The counter that probes raise.
pub(super) const PROBE: &str = "bench_probe";

/// The sums of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// All counters of the built-in workloads together.
    pub counters: f64,
    /// All timers' counts together.
    pub timers: f64,
    /// Probes that are counted.
    pub probes: f64,
    /// Samples on the page.
    pub samples: u64,
    /// The server's own counters by their series, as written.
    pub own: BTreeMap<String, f64>,
}

impl Page {
    /// Reads the text format. Whatever is no sample is passed over.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        let mut page = Self::default();
        for sample in samples(text) {
            page.samples += 1;
            page.add(&sample);
        }
        page
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let name = sample.name;
        if let Some(rest) = name.strip_prefix(b"bench_") {
            if rest.starts_with(b"counter") {
                self.counters += sample.value().unwrap_or_default();
            } else if rest.starts_with(b"timer") && rest.ends_with(b"_count") {
                self.timers += sample.value().unwrap_or_default();
            } else if rest == b"probe" || rest == b"probe_total" {
                self.probes += sample.value().unwrap_or_default();
            }
        } else if OWN.iter().any(|own| name.starts_with(own))
            && let Some((series, value)) = sample.parts()
        {
            self.own.insert(series.to_owned(), value);
        }
    }

    /// What was added since an earlier page. A counter that is less than it was has begun anew.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let risen = |now: f64, then: f64| if now >= then { now - then } else { now };
        let own = self.own.iter().map(|(series, now)| {
            let then = before.own.get(series).copied().unwrap_or_default();
            (series.clone(), risen(*now, then))
        });
        Self {
            counters: risen(self.counters, before.counters),
            timers: risen(self.timers, before.timers),
            probes: risen(self.probes, before.probes),
            samples: self.samples,
            own: own.collect(),
        }
    }

    /// The sum of one of the server's own counters over all its labels; `None` without any.
    #[must_use]
    pub fn own_total(&self, name: &str) -> Option<f64> {
        self.own_series(name).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// One of the server's own counters where a label has a certain value.
    #[must_use]
    pub fn own_with(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let matching = self.own_series(name).filter(|(labels, _)| label_is(labels, label, value));
        matching.map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// One of the server's own counters, by the value of a label.
    #[must_use]
    pub fn own_by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut by = BTreeMap::new();
        for (labels, value) in self.own_series(name) {
            let Some(word) = label_value(labels, label) else { continue };
            *by.entry(word.to_owned()).or_default() += value;
        }
        by
    }

    fn own_series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.own
            .range(name.to_owned()..)
            .map_while(move |(series, value)| {
                let labels = series.strip_prefix(name)?;
                Some((labels, *value))
            })
            // `a_b` lies between `a` and `a{…}`.
            .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
    }
}

/// The gauges of a page by their series.
#[must_use]
pub fn gauges(text: &[u8]) -> HashMap<String, f64> {
    let of_ours = samples(text).filter(|sample| sample.name.starts_with(b"bench_gauge"));
    of_ours
        .filter_map(|sample| sample.parts())
        .map(|(series, value)| (series.to_owned(), value))
        .collect()
}

/// One line of a page.
#[derive(Clone, Copy, Debug)]
struct Sample<'a> {
    name: &'a [u8],
    line: &'a [u8],
}

impl<'a> Sample<'a> {
    fn value(&self) -> Option<f64> {
        Some(self.parts()?.1)
    }

    /// The series, name and labels as written, and its value.
    fn parts(&self) -> Option<(&'a str, f64)> {
        let labels = self.line.get(self.name.len()..)?;
        let length = if labels.first() == Some(&b'{') { labels_length(labels)? } else { 0 };
        let (series, rest) = self.line.split_at_checked(self.name.len() + length)?;
        let words = std::str::from_utf8(rest).ok()?;
        let value = words.split_ascii_whitespace().next()?.parse().ok()?;
        Some((std::str::from_utf8(series).ok()?, value))
    }
}

fn samples(text: &[u8]) -> impl Iterator<Item = Sample<'_>> {
    let mut start = 0;
    let ends = memchr_iter(b'\n', text).chain(std::iter::once(text.len()));
    ends.filter_map(move |end| {
        let line = text.get(start..end)?;
        start = end + 1;
        sample(line)
    })
}

fn sample(line: &[u8]) -> Option<Sample<'_>> {
    if line.first().is_none_or(|first| matches!(first, b'#' | b' ' | b'{')) {
        return None;
    }
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'))?;
    Some(Sample { name: line.get(..end)?, line })
}

/// How long `{…}` is; a brace inside a quoted value does not end it.
fn labels_length(labels: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, byte) in labels.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The value of a label, as written.
fn label_value<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let mut rest = labels.strip_prefix('{')?;
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let end = quoted_length(after)?;
        let value = after.get(..end)?;
        if name.trim_start_matches(',').trim() == label {
            return Some(value);
        }
        rest = after.get(end + 1..)?;
    }
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

fn label_is(labels: &str, label: &str, value: &str) -> bool {
    label_value(labels, label) == Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_was_sent_is_added_up() {
        let counters = |page: &Page| Some(page.counters);
        let timers = |page: &Page| Some(page.timers);
        check("bench_counter0{route=\"r1\"} 3\nbench_counter1_total 2 17\n", counters, Some(5.0));
        check("bench_timer5_latency_count 4\nbench_timer5_latency_sum 9\n", timers, Some(4.0));
        check("bench_timer5_latency_bucket{le=\"1\"} 4\nhits 5\n", timers, Some(0.0));
        check("hits 5\n# TYPE bench_counter0 counter\n\nbench_counter0\n", counters, Some(0.0));
        check("bench_probe 7", |page| Some(page.probes), Some(7.0));
    }

    #[test]
    fn the_servers_own_counters_are_found_by_name_and_label() {
        const TEXT: &str = "statsd_exporter_events_total{type=\"counter\"} 5\n\
                            statsd_exporter_events_total{type=\"gauge\"} 2\n\
                            statsd_exporter_events_total_of_others 9\n\
                            statsd_exporter_lines_total 11\n";
        const EVENTS: &str = "statsd_exporter_events_total";
        check(TEXT, |page| page.own_total("statsd_exporter_lines_total"), Some(11.0));
        check(TEXT, |page| page.own_total(EVENTS), Some(7.0));
        check(TEXT, |page| page.own_total("statsd_exporter_events"), None);
        check(TEXT, |page| page.own_with(EVENTS, "type", "gauge"), Some(2.0));
        check(TEXT, |page| page.own_with(EVENTS, "type", "observer"), None);
        check(TEXT, |page| page.own_by(EVENTS, "type").get("counter").copied(), Some(5.0));
    }

    #[test]
    fn a_counter_that_began_anew_counts_from_zero() {
        let page = |value: u32| Page::read(format!("bench_counter {value}\n").as_bytes());
        for (before, after, risen) in [(1, 4, 3.0), (4, 4, 0.0), (9, 2, 2.0)] {
            assert_eq!(Some(page(after).since(&page(before)).counters), Some(risen));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_label_holds_its_sample_is_read(value in "\\PC*", count in 0..1_000_000_u32) {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let name = "tallyd_lines_total";
            let text = format!("{name}{{a=\"{quoted}\",b=\"c\"}} {count}\nbench_counter {count}\n");
            let page = Page::read(text.as_bytes());
            prop_assert_eq!(Some(page.counters), Some(f64::from(count)));
            let by_label = page.own_by(name, "a");
            prop_assert_eq!(by_label.get(&quoted), Some(&f64::from(count)));
            prop_assert_eq!(page.own_with(name, "b", "c"), Some(f64::from(count)));
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[{}\"\\\\ =,a_\\n0-9#]{0,100}",
        ) {
            prop_assert!(Page::read(&bytes).samples <= bytes.len() as u64);
            let text = format!("statsd_exporter_{text}\nbench_gauge{text}");
            let page = Page::read(text.as_bytes());
            prop_assert!(page.own_by("statsd_exporter_", "a").len() <= text.len());
            prop_assert!(gauges(text.as_bytes()).len() <= text.len());
        }
    }

    #[track_caller]
    fn check(text: &str, read: fn(&Page) -> Option<f64>, expected: Option<f64>) {
        assert_eq!(read(&Page::read(text.as_bytes())), expected, "{text}");
    }
}
