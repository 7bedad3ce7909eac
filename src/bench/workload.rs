//! The workloads: which lines there are, and how they are packed.
//!
//! A built-in workload is half counters, three tenths timers and two tenths gauges. Its lines are
//! whole rounds over all series in an order of their own, so that the first round touches every
//! series exactly once. All its names begin with `bench.counter`, `bench.timer` or `bench.gauge`,
//! also after the rules of `mapped`, and by that they are found on the page.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use fastrand::Rng;

use super::error::BenchError;
use super::files;
use super::payload::{FRESH_DIGITS, Kind, Packer, Payload};

/// Fewer lines than this would be sent again so soon that they stay in the CPU's caches.
const MIN_LINES: u64 = 200_000;
/// What fits into an Ethernet frame after the headers of IP and UDP, with room for a tunnel's.
const DEFAULT_DATAGRAM_BYTES: usize = 1_400;
/// More do not fit into memory, nor into the digits of a name.
const MAX_SERIES: u64 = 100_000_000;
/// Every tenth series has the same kind.
const KINDS: u64 = 10;
const SERVICES: u64 = 20;
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "HEAD", "DELETE"];
/// Rules of `mapped` by kind: 200 in all, in the proportion of the metrics.
const COUNTER_RULES: u64 = 100;
const TIMER_RULES: u64 = 60;
const GAUGE_RULES: u64 = 40;

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Where the lines come from.
    pub source: Source,
    /// Names with their tags that differ; the workload's own number when not given.
    pub series: Option<u64>,
    /// The longest datagram; the workload's own when not given, 0 for one line each.
    pub max_datagram_bytes: Option<usize>,
    /// The share of lines with an ever-new name, for `churn`.
    pub new_share: f64,
    /// What the random choices are made from.
    pub seed: u64,
}

/// Where the lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A built-in workload.
    Workload(Workload),
    /// A capture: one datagram a line, as a JSON string or as it is.
    Replay(PathBuf),
    /// A description in YAML.
    Yaml(PathBuf),
}

/// The built-in workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// 1,000 series, one metric in a datagram
    Single,
    /// 1,000 series, about 19 metrics in a datagram
    Packed,
    /// 100,000 series, packed
    Wide,
    /// 20,000 names for 200 glob rules, packed; start the server with the rules of `bench mapping`
    Mapped,
    /// As packed, but silence and then all of a second's metrics at once
    Burst,
    /// As packed, but a share of the lines has a name that was never sent before
    Churn,
}

impl Workload {
    fn series(self) -> u64 {
        match self {
            Self::Wide => 100_000,
            Self::Mapped => 20_000,
            Self::Single | Self::Packed | Self::Burst | Self::Churn => 1_000,
        }
    }
}

impl Source {
    /// The workload's name, or the file's.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Workload(workload) => workload
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_owned()),
            Self::Replay(path) | Self::Yaml(path) => path.display().to_string(),
        }
    }
}

/// Renders what a recipe says.
pub(super) fn render(recipe: &Recipe) -> Result<Payload, BenchError> {
    let max_datagram_bytes = recipe.max_datagram_bytes.unwrap_or(match recipe.source {
        Source::Workload(Workload::Single) => 0,
        _ => DEFAULT_DATAGRAM_BYTES,
    });
    let packer = Packer::new(max_datagram_bytes);
    match &recipe.source {
        Source::Workload(workload) => render_workload(recipe, *workload, packer),
        Source::Replay(path) => files::replay(recipe, path, packer),
        Source::Yaml(path) => files::yaml(recipe, path, packer),
    }
}

fn render_workload(
    recipe: &Recipe,
    workload: Workload,
    mut packer: Packer,
) -> Result<Payload, BenchError> {
    let series = recipe.series.unwrap_or(workload.series());
    if series > MAX_SERIES {
        return Err(BenchError::TooManySeries(series));
    }
    let mut random = Rng::with_seed(recipe.seed);
    let mut order: Vec<u64> = (0..series).collect();
    let new_share = if workload == Workload::Churn { recipe.new_share } else { 0.0 };
    let mut line = String::new();
    for _ in 0..MIN_LINES.div_ceil(series.max(1)) {
        random.shuffle(&mut order);
        for number in &order {
            line.clear();
            let kind = kind(*number);
            if workload == Workload::Mapped {
                write_mapped(&mut line, *number, kind, &mut random);
                packer.line(line.as_bytes(), kind, None);
            } else {
                let is_new = random.f64() < new_share;
                let fresh_at = write_tagged(&mut line, *number, is_new, &mut random);
                packer.line(line.as_bytes(), kind, fresh_at);
            }
        }
    }
    let mapping = (workload == Workload::Mapped).then(mapping);
    packer.finish(recipe, series, mapping)
}

fn kind(number: u64) -> Kind {
    match number % KINDS {
        0..5 => Kind::Counter,
        5..8 => Kind::Timer,
        _ => Kind::Gauge,
    }
}

/// A line with `DogStatsD` tags; returns where the number of an ever-new name is.
fn write_tagged(line: &mut String, number: u64, is_new: bool, random: &mut Rng) -> Option<usize> {
    let (family, instance) = (number % KINDS, number / KINDS);
    let (name, leaf) = words(kind(number));
    push(line, format_args!("bench.{name}{family}.{leaf}:"));
    write_value(line, number, random);
    let service = instance % SERVICES;
    push(line, format_args!("|#env:prod,service:checkout-{service:02},route:"));
    if is_new {
        line.push('n');
        let at = line.len();
        push(line, format_args!("{:0width$}", 0, width = FRESH_DIGITS));
        Some(at)
    } else {
        push(line, format_args!("r{instance:05}"));
        None
    }
}

/// A dotted name that one of the rules matches.
fn write_mapped(line: &mut String, number: u64, kind: Kind, random: &mut Rng) {
    let (round, place) = (number / KINDS, number % KINDS);
    let (name, leaf) = words(kind);
    let (rules, own) = match kind {
        Kind::Counter => (COUNTER_RULES, round * 5 + place),
        Kind::Timer => (TIMER_RULES, round * 3 + place - 5),
        _ => (GAUGE_RULES, round * 2 + place - 8),
    };
    let (rule, instance) = (own % rules, own / rules);
    let method = METHODS.iter().cycle().nth((instance % 5) as usize).copied().unwrap_or_default();
    let route = instance / 5;
    push(
        line,
        format_args!("bench.{name}.zone{}.svc{rule:03}.route{route:04}.{method}.{leaf}:", rule % 3),
    );
    write_value(line, number, random);
}

fn write_value(line: &mut String, number: u64, random: &mut Rng) {
    match kind(number) {
        // Ones, so that the sum is the number of lines.
        Kind::Counter => line.push_str("1|c"),
        Kind::Timer => {
            let hundredths = random.u64(..400_000);
            push(line, format_args!("{}.{:02}|ms", hundredths / 100, hundredths % 100));
        }
        _ => push(line, format_args!("{}|g", random.u64(..1_000))),
    }
}

/// The rules that belong to `mapped`.
fn mapping() -> String {
    let mut text = String::from("defaults:\n  observer_type: histogram\nmappings:\n");
    let kinds =
        [(Kind::Timer, TIMER_RULES), (Kind::Counter, COUNTER_RULES), (Kind::Gauge, GAUGE_RULES)];
    for (kind, rules) in kinds {
        let (kind, leaf) = words(kind);
        for rule in 0..rules {
            push(
                &mut text,
                format_args!(
                    "- match: \"bench.{kind}.*.svc{rule:03}.*.*.{leaf}\"\n  \
                     name: \"bench_{kind}_svc{rule:03}_{leaf}\"\n  \
                     labels: {{zone: \"$1\", route: \"$2\", method: \"$3\"}}\n"
                ),
            );
        }
    }
    text
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    text.write_fmt(arguments).ok();
}

/// The words in a name that say what is counted.
fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Counter | Kind::Line => ("counter", "requests"),
        Kind::Timer => ("timer", "latency"),
        Kind::Gauge => ("gauge", "inflight"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        for workload in [Workload::Mapped, Workload::Churn] {
            let first = built(workload, 1);
            assert!(first.bytes == built(workload, 1).bytes, "{workload:?}");
            assert!(first.bytes != built(workload, 2).bytes, "{workload:?}");
        }
    }

    #[test]
    fn single_has_one_line_in_a_datagram_and_packed_about_nineteen() {
        check(Workload::Single, 1.0..=1.0);
        check(Workload::Packed, 18.5..=19.5);
        check(Workload::Wide, 18.5..=19.5);
        check(Workload::Mapped, 20.0..=26.0);
    }

    #[test]
    fn half_of_the_metrics_are_counters_and_three_tenths_timers() {
        let tally = built(Workload::Packed, 1).tally();
        assert_eq!(tally.counters * 2, tally.total());
        assert_eq!(tally.timers * 10, tally.total() * 3);
        assert_eq!(tally.gauges * 10, tally.total() * 2);
    }

    #[test]
    fn the_first_round_touches_every_series_once() {
        let payload = built(Workload::Mapped, 7);
        let names: std::collections::HashSet<&[u8]> = payload
            .datagrams()
            .flat_map(|datagram| datagram.split(|byte| *byte == b'\n'))
            .take(20_000)
            .filter_map(|line| line.split(|byte| *byte == b':').next())
            .collect();
        assert_eq!(names.len(), 20_000);
    }

    #[test]
    fn a_share_of_the_lines_of_churn_is_marked_as_ever_new() {
        let payload = built(Workload::Churn, 1);
        let places = || payload.datagrams.iter().flat_map(|each| payload.fresh_places(each));
        let share = places().count() as f64 / payload.tally().total() as f64;
        assert!((0.24..0.26).contains(&share), "{share}");
        for place in places() {
            let start = *place as usize;
            assert_eq!(payload.bytes.get(start..start + FRESH_DIGITS).unwrap(), b"000000000000");
        }
    }

    #[test]
    fn the_rules_of_mapped_are_two_hundred() {
        let payload = built(Workload::Mapped, 1);
        assert_eq!(payload.mapping().unwrap().matches("- match").count(), 200);
        assert_eq!(built(Workload::Packed, 1).mapping(), None);
    }

    #[track_caller]
    fn check(workload: Workload, metrics: std::ops::RangeInclusive<f64>) {
        let payload = built(workload, 1);
        let average = payload.metrics_per_datagram();
        assert!(metrics.contains(&average), "{average} metrics in a datagram");
        let longest = payload.datagrams().map(<[u8]>::len).max().unwrap();
        assert!(longest <= DEFAULT_DATAGRAM_BYTES, "{longest} bytes");
    }

    fn built(workload: Workload, seed: u64) -> Payload {
        let source = Source::Workload(workload);
        let recipe =
            Recipe { source, series: None, max_datagram_bytes: None, new_share: 0.25, seed };
        Payload::build(&recipe).unwrap()
    }
}
