//! One line to its samples; nothing but StatsD's grammar is known here.
//!
//! The rules are those of `statsd_exporter` 0.31 (`pkg/line`), which are documented nowhere but in
//! its code; the extended mode adds what DogStatsD clients of today send.

#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;

use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};
use smallvec::SmallVec;

use crate::compat::Compat;
use crate::sample::{Kind, Sample, Tags};

pub mod anatomy;
mod event;
pub mod lines;
mod sections;
mod tags;
mod value;

pub use tags::Dialect;
pub use value::{leading_number, plain_number};

use sections::Modifiers;

/// Which dialects a line may use.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Options {
    /// `|#key:value,…` sections (`--statsd.parse-dogstatsd-tags`).
    pub dogstatsd_tags: bool,
    /// `name,key=value,…` (`--statsd.parse-influxdb-tags`).
    pub influxdb_tags: bool,
    /// `name#key=value,…` (`--statsd.parse-librato-tags`).
    pub librato_tags: bool,
    /// `name[key=value,…]` (`--statsd.parse-signalfx-tags`).
    pub signalfx_tags: bool,
    /// `name;key=value;…` (`--statsd.parse-graphite-tags`); off unless asked for.
    pub graphite_tags: bool,
    /// Whether the newer kinds and sections are taken as well.
    pub compat: Compat,
}

impl Options {
    /// What applies when no flag says otherwise: all dialects but Graphite's.
    #[must_use]
    pub fn new(compat: Compat) -> Self {
        Self {
            dogstatsd_tags: true,
            influxdb_tags: true,
            librato_tags: true,
            signalfx_tags: true,
            graphite_tags: false,
            compat,
        }
    }
}

/// Why a line or one of its samples was refused: the `reason` of
/// `statsd_exporter_sample_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No `:`, an empty name, or not UTF-8.
    MalformedLine,
    /// Tags in the name and a `|#` section in one line.
    MixedTaggingStyles,
    /// No `|` after the value.
    NotEnoughPartsAfterColon,
    /// Packed values (`1:2:3`) of a kind that cannot be packed.
    InvalidExtendedAggregateType,
    /// Too few, too many, or empty sections.
    MalformedComponent,
    /// The value is not a number.
    MalformedValue,
    /// A rate that is no number, or a section nobody knows.
    InvalidSampleFactor,
    /// A `c…` section that is no `c:ID`.
    MalformedContainerId,
    /// A kind that cannot be taken.
    IllegalEvent,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::MalformedLine,
        Self::MixedTaggingStyles,
        Self::NotEnoughPartsAfterColon,
        Self::InvalidExtendedAggregateType,
        Self::MalformedComponent,
        Self::MalformedValue,
        Self::InvalidSampleFactor,
        Self::MalformedContainerId,
        Self::IllegalEvent,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedLine => "malformed_line",
            Self::MixedTaggingStyles => "mixed_tagging_styles",
            Self::NotEnoughPartsAfterColon => "not_enough_parts_after_colon",
            Self::InvalidExtendedAggregateType => "invalid_extended_aggregate_type",
            Self::MalformedComponent => "malformed_component",
            Self::MalformedValue => "malformed_value",
            Self::InvalidSampleFactor => "invalid_sample_factor",
            Self::MalformedContainerId => "malformed_container_id",
            Self::IllegalEvent => "illegal_event",
        }
    }
}

/// What a line turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing between two newlines.
    Empty,
    /// A DogStatsD event `_e{…` or service check `_sc|…` (extended mode only).
    Event,
    /// Samples, or what errors left of them.
    Samples,
}

/// One line, understood. It borrows from the datagram; nothing is allocated for an ordinary line.
#[derive(Debug)]
pub struct Line<'a> {
    /// The line itself.
    pub text: &'a [u8],
    /// What kind of line it is.
    pub shape: Shape,
    /// The metric's name without the tags written into it. Owned only where a SignalFx tag block
    /// stood in the middle.
    pub name: Cow<'a, str>,
    /// The tags of all samples, as sent and in their order; duplicates are still there.
    pub tags: Tags<'a>,
    /// The samples that can be aggregated.
    pub samples: SmallVec<[Sample<'a>; 2]>,
    /// What to count besides.
    pub counts: Counts,
    /// How a later line that differs in its value only may be understood without parsing; `None`
    /// where it may not.
    pub repeat: Option<Repeat>,
}

/// What a line adds to the self-metrics of the parser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `statsd_exporter_samples_total`
    pub samples: u32,
    /// `statsd_exporter_tags_total`: samples that had at least one label.
    pub tagged: u32,
    /// `statsd_exporter_tag_errors_total`
    pub tag_errors: u32,
    /// `statsd_exporter_sample_errors_total`, one entry per error in the order met.
    pub errors: SmallVec<[Reason; 2]>,
}

/// The arithmetic between the number on the wire and [`Sample::value`](crate::sample::Sample),
/// in the reference's operations and order, for lines that hold exactly one sample.
///
/// It holds for every line that differs in nothing but the value, the bytes between the first `:`
/// and the first `|` after it, if that value is a [`plain_number`], without a sign for gauges.
/// Everything else about such a line, its counts and errors included, is the same, also where no
/// sample came out of it.
///
/// Products would not do: `v × 0.001` is not `v ÷ 1000` for 1,338 of the first 10,000 integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeat {
    /// Divide by 1000 (timers).
    pub milliseconds: bool,
    /// Then divide by this; 1 where no rate applies.
    pub rate: f64,
}

impl Repeat {
    /// The number itself.
    const AS_SENT: Self = Self { milliseconds: false, rate: 1.0 };

    /// What [`Sample::value`](crate::sample::Sample) is for a number on the wire.
    #[must_use]
    pub fn apply(self, number: f64) -> f64 {
        let seconds = if self.milliseconds { number / 1000.0 } else { number };
        // A division by one takes as long as any other.
        if self.rate.to_bits() == 1_f64.to_bits() { seconds } else { seconds / self.rate }
    }
}

/// Parses one line, without its newline; nothing is allocated for an ordinary one.
///
/// Packed values (`a:1:2|h`) and several samples in a row (`a:1|c:2|c`) give one sample each, in
/// their order. Whatever is wrong is found in [`Line::counts`].
///
/// In extended mode all kinds but sets may be packed, and a set's value may hold colons: so says
/// DogStatsD's protocol 1.1, <https://docs.datadoghq.com/extend/dogstatsd/datagram_shell>.
///
/// # Examples
/// ```
/// use tallyd::compat::Compat;
/// use tallyd::parse::{Options, parse_line};
/// use tallyd::sample::{Kind, Value};
///
/// let options = Options::new(Compat::Extended);
/// let line = parse_line(b"reqs:1|c|@0.5|#view:fire", &options);
/// assert_eq!(line.name, "reqs");
/// assert_eq!(line.tags[0].value, "fire");
/// assert_eq!(line.samples[0].kind, Kind::Counter);
/// assert_eq!(line.samples[0].value, Value::Number(2.0));
/// ```
#[must_use]
pub fn parse_line<'a>(line: &'a [u8], options: &Options) -> Line<'a> {
    let is_extended = !options.compat.is_reference();
    let line = match line.strip_suffix(b"\r") {
        Some(bare) if is_extended => bare,
        _ => line,
    };
    if line.is_empty() {
        return Line::new(line, Shape::Empty);
    }
    if is_extended && event::is_event(line) {
        return Line::new(line, Shape::Event);
    }
    let mut parsed = Line::new(line, Shape::Samples);
    // Whether the line is refused as a whole never depends on the digits of a plain value.
    parsed.repeat = has_plain_value(line).then_some(Repeat::AS_SENT);
    if let Err(reason) = parsed.read(line, *options) {
        parsed.counts.errors.push(reason);
    }
    parsed
}

fn has_plain_value(line: &[u8]) -> bool {
    let value = memchr(b':', line).and_then(|colon| {
        let from_value = line.get(colon + 1..)?;
        from_value.get(..memchr(b'|', from_value)?)
    });
    value.is_some_and(|value| plain_number(value).is_some())
}

impl<'a> Line<'a> {
    fn new(text: &'a [u8], shape: Shape) -> Self {
        Self {
            text,
            shape,
            name: Cow::Borrowed(""),
            tags: Tags::new(),
            samples: SmallVec::new(),
            counts: Counts::default(),
            repeat: None,
        }
    }

    /// Reads a line that is not empty; an error is one that concerns the whole of it.
    ///
    /// The order of the checks is the reference's (`LineToEvents`), since it decides what is counted.
    fn read(&mut self, line: &'a [u8], options: Options) -> Result<(), Reason> {
        let line = str::from_utf8(line).map_err(|_| Reason::MalformedLine)?;
        let (samples, name) = name(line).map_err(|_| Reason::MalformedLine)?;
        (self.name, self.counts.tag_errors) = tags::split_name(name, options, &mut self.tags);
        let has_tag_section = samples.contains("|#");
        if has_tag_section && !self.tags.is_empty() {
            return Err(Reason::MixedTaggingStyles);
        }
        let (kind_on, value) = before_bar(samples).map_err(|_| Reason::NotEnoughPartsAfterColon)?;
        if value.contains(':') {
            self.read_packed(value, kind_on, options)
        } else if has_tag_section {
            self.read_sample(samples, options);
            Ok(())
        } else {
            self.read_samples(samples, options);
            Ok(())
        }
    }

    /// Reads `1:2:3|kind|…`, the values of which share everything that follows.
    fn read_packed(
        &mut self,
        values: &'a str,
        kind_on: &'a str,
        options: Options,
    ) -> Result<(), Reason> {
        let kind = kind_on.split('|').next().and_then(Kind::from_wire);
        let is_reference = options.compat.is_reference();
        match kind {
            Some(Kind::Counter | Kind::Gauge) if is_reference => {
                return Err(Reason::InvalidExtendedAggregateType);
            }
            Some(Kind::Set) if !is_reference => self.take_values([values], kind_on, options),
            Some(Kind::Set) | None => return Err(Reason::InvalidExtendedAggregateType),
            Some(_) => self.take_values(values.split(':'), kind_on, options),
        }
        Ok(())
    }

    /// Reads samples in a row, `1|c:2|c`, mostly just one.
    fn read_samples(&mut self, samples: &'a str, options: Options) {
        let mut rest = Some(samples);
        while let Some(samples) = rest {
            let (after, sample) = sample_text(samples, options.compat).unwrap_or(("", samples));
            self.read_sample(sample, options);
            rest = after.strip_prefix(':');
            if rest.is_some() {
                self.repeat = None;
            }
        }
    }

    fn read_sample(&mut self, sample: &'a str, options: Options) {
        if let Ok((kind_on, value)) = before_bar(sample) {
            self.take_values([value], kind_on, options);
        } else {
            self.counts.samples += 1;
            self.counts.errors.push(Reason::MalformedComponent);
        }
    }

    /// Takes one sample for each value; `kind_on` is what follows them.
    fn take_values(
        &mut self,
        values: impl IntoIterator<Item = &'a str>,
        kind_on: &'a str,
        options: Options,
    ) {
        let (tags_before, samples_before) = (self.tags.len(), self.samples.len());
        let modifiers = Modifiers::read(kind_on, options, &mut self.tags);
        for value in values {
            self.counts.samples += 1;
            if let Err(reason) = self.take_value(value, &modifiers) {
                self.counts.errors.push(reason);
            }
        }
        // A sign makes a gauge relative, which another value need not be.
        let is_relative = self.samples.iter().any(|sample| sample.relative);
        self.repeat = self.repeat.and_then(|_| modifiers.repeat()).filter(|_| !is_relative);
        if self.samples.len() == samples_before {
            self.tags.truncate(tags_before);
        }
    }

    fn take_value(&mut self, text: &'a str, modifiers: &Modifiers) -> Result<(), Reason> {
        if modifiers.is_overlong {
            return Err(Reason::MalformedComponent);
        }
        let value = modifiers.value(text)?;
        self.counts.tag_errors += modifiers.tag_errors;
        self.counts.errors.extend_from_slice(&modifiers.rate_errors);
        modifiers.sections?;
        self.counts.tagged += u32::from(!self.tags.is_empty());
        let kind = modifiers.kind.ok_or(Reason::IllegalEvent)?;
        let relative = kind == Kind::Gauge && text.starts_with(['+', '-']);
        self.samples.push(Sample { kind, value, relative, times: modifiers.times });
        Ok(())
    }
}

fn name(line: &str) -> IResult<&str, &str> {
    terminated(take_till1(|c| c == ':'), char(':')).parse(line)
}

/// What stands before the first `|`; what follows it is the rest.
fn before_bar(text: &str) -> IResult<&str, &str> {
    terminated(take_till(|c| c == '|'), char('|')).parse(text)
}

/// The first of several samples in a row; the `:` before the next one stays in the rest.
///
/// In the reference every `:` ends a sample. In extended mode those of `c:ID`, `card:` and `e:`
/// sections do not; such a section reaches up to the next `|`.
fn sample_text(samples: &str, compat: Compat) -> IResult<&str, &str> {
    if compat.is_reference() {
        return take_till(|c| c == ':').parse(samples);
    }
    let labelled = recognize((alt((tag("c:"), tag("card:"), tag("e:"))), take_till(|c| c == '|')));
    let sections = many0_count(preceded(char('|'), alt((labelled, field))));
    recognize((field, opt((char('|'), field, sections)))).parse(samples)
}

fn field(text: &str) -> IResult<&str, &str> {
    take_till(|c| c == '|' || c == ':').parse(text)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::sections::MAX_EXTENDED_SECTIONS;
    use super::*;
    use crate::sample::Value;

    #[test]
    fn each_kind_gives_its_sample() {
        check("foo:2|c", "foo c=2 | samples 1");
        check("foo:3|g", "foo g=3 | samples 1");
        check("foo:200|ms", "foo ms=0.2 | samples 1");
        check("foo:200|h", "foo h=200 | samples 1");
        check("foo:0.5|d", "foo d=0.5 | samples 1");
        check("foo:-1|c", "foo c=-1 | samples 1");
        check("foo:nan|c", "foo c=NaN | samples 1");
        check("foo:-inf|d", "foo d=-inf | samples 1");
    }

    #[test]
    fn a_sign_makes_a_gauge_relative_and_nothing_else() {
        check("foo:+4|g", "foo g~4 | samples 1");
        check("foo:-10|g", "foo g~-10 | samples 1");
        check("foo:+5|c", "foo c=5 | samples 1");
        check("foo:-20|ms", "foo ms=-0.02 | samples 1");
    }

    #[test]
    fn a_line_without_name_value_or_kind_is_refused() {
        check("foo", " | malformed_line");
        check(":100|ms", " | malformed_line");
        check("#", " | malformed_line");
        check("foo:", "foo | not_enough_parts_after_colon");
        check("foo:1", "foo | not_enough_parts_after_colon");
        check("b:#x:y", "b | not_enough_parts_after_colon");
        check("foo:|c", "foo | samples 1 malformed_value");
        check("foo:||", "foo | samples 1 malformed_value");
        check("foo:1|", "foo | samples 1 illegal_event");
        check("foo:1|m", "foo | samples 1 illegal_event");
        check("foo:1|#x:y", "foo | samples 1 illegal_event");
        check("bar:1|c\r", "bar | samples 1 illegal_event");
    }

    #[test]
    fn a_line_that_is_not_utf8_is_refused() {
        let line = parse_line(b"bar:200|c|#tag:\xc3(", &Options::new(Compat::Reference));
        assert_eq!(render(&line), " | malformed_line");
        check("\u{feff}a:1|c|#k:v\0w", "\u{feff}a{k=v\0w} c=1 | samples 1 tagged 1");
    }

    #[test]
    fn an_empty_line_says_nothing() {
        check("", "empty |");
        check_extended("\r", "empty |");
    }

    #[test]
    fn counters_are_divided_by_every_rate() {
        check("foo:100|c|@0.1", "foo c=1000 | samples 1");
        check("foo:5|c|@2", "foo c=2.5 | samples 1");
        check("foo:1|c|@0.5|#x:y|@0.5", "foo{x=y} c=4 | samples 1 tagged 1");
        check("foo:1|c|@0", "foo c=1 | samples 1");
        check("foo:1|c|@nan", "foo c=NaN | samples 1");
    }

    #[test]
    fn observers_repeat_by_the_last_rate_and_gauges_ignore_it() {
        check("foo:10|ms|@0.5", "foo ms=0.01x2 | samples 1");
        check("foo:10|h|@0.3", "foo h=10x3 | samples 1");
        check("foo:10|d|@0.1|@0.5", "foo d=10x2 | samples 1");
        check("foo:10|ms|@nan", "foo ms=0.01x0 | samples 1");
        check("foo:10|ms|@2", "foo ms=0.01x0 | samples 1");
        check("foo:3|g|@0.2", "foo g=3 | samples 1");
        check("foo:3|g|@x", "foo g=3 | samples 1 invalid_sample_factor");
    }

    #[test]
    fn a_bad_rate_is_counted_and_the_sample_stays() {
        check("foo:1|c|@bar", "foo c=1 | samples 1 invalid_sample_factor");
        check("foo:1|ms|@", "foo ms=0.001 | samples 1 invalid_sample_factor");
        check("foo:1|c|@1e999", "foo c=0 | samples 1 invalid_sample_factor");
        check("foo:1|ms|@1e999", "foo ms=0.001x0 | samples 1 invalid_sample_factor");
    }

    #[test]
    fn samples_in_a_row_share_the_tags_in_the_name() {
        check("b:1|c:2|ms:3|g", "b c=1 ms=0.002 g=3 | samples 3");
        check("c#x=1:1|c:2|c", "c{x=1} c=1 c=2 | samples 2 tagged 2");
        check("b:1|ms:2:3|ms", "b ms=0.001 ms=0.003 | samples 3 malformed_component");
        check("b:1|c:", "b c=1 | samples 2 malformed_component");
        check("a:1|c:2|c|#x:y", "a | samples 1 malformed_container_id");
    }

    #[test]
    fn packed_values_share_everything_behind_them() {
        check("a:1:x:3|ms", "a ms=0.001 ms=0.003 | samples 3 malformed_value");
        check("a:1:2|h|@0.5|#k:v", "a{k=v} h=1x2 h=2x2 | samples 2 tagged 2");
        check("a[t=v]:1:2|d", "a{t=v} d=1 d=2 | samples 2 tagged 2");
        check("a:1:2|d|c:id", "a{container_id=id} d=1 d=2 | samples 2 tagged 2");
        check("a:1:2|c|#k:v", "a | invalid_extended_aggregate_type");
        check("a:1:2|g", "a | invalid_extended_aggregate_type");
        check("a:1:2|s", "a | invalid_extended_aggregate_type");
        check("a:1:2|ms:3|ms", "a | invalid_extended_aggregate_type");
    }

    #[test]
    fn packed_values_count_what_their_sections_say_each() {
        check("a:1:2|h|#k", "a h=1 h=2 | samples 2 tag_errors 2");
        check("a:1:2|h|bad", "a | samples 2 invalid_sample_factor invalid_sample_factor");
        check("a:1:2|h|@x|#k:v|", "a | samples 2 malformed_component malformed_component");
        check("a:1:x|h|@x", "a h=1 | samples 2 invalid_sample_factor malformed_value");
    }

    #[test]
    fn empty_sections_and_too_many_cost_the_sample() {
        check("foo:1|c|", "foo | samples 1 malformed_component");
        check("foo:1|c||#x", "foo | samples 1 malformed_component");
        check("foo:1|c|@1|@1|@1|@1", "foo c=1 | samples 1");
        check("foo:1|c|@1|@1|@1|@1|@1", "foo | samples 1 malformed_component");
        check("foo:x|c|@1|@1|@1|@1|@1", "foo | samples 1 malformed_component");
        check("foo:x|c|", "foo | samples 1 malformed_value");
    }

    #[test]
    fn container_ids_become_a_tag_where_colons_are_kept() {
        check(
            "foo:1|c|#x:y|c:sha256:abc",
            "foo{x=y,container_id=sha256:abc} c=1 | samples 1 tagged 1",
        );
        check("foo:1|c|#x:y|c:", "foo | samples 1 malformed_container_id");
        check("foo:1|c|#x:y|cabc", "foo | samples 1 malformed_container_id");
        check("foo:1|c|c:abc", "foo | samples 2 malformed_container_id malformed_component");
    }

    #[test]
    fn sections_nobody_knows_cost_the_sample_after_its_tags_were_read() {
        check("foo:1|c|#x|m:1", "foo | samples 1 tag_errors 1 invalid_sample_factor");
        check("foo:1|c|m|#x", "foo | samples 1 invalid_sample_factor");
        check("foo:1|c|t1656581400", "foo | samples 1 invalid_sample_factor");
        check("foo:1|c|T", "foo c=1 | samples 1");
        check("foo:1|c|#x:y|e:it-false", "foo | samples 1 invalid_sample_factor");
        check("foo:1|x|#x:y", "foo | samples 1 tagged 1 illegal_event");
    }

    #[test]
    fn tags_in_the_name_and_in_a_section_do_not_mix() {
        check("foo#a=1:1|c|#y:2", "foo{a=1} | mixed_tagging_styles");
        check("foo[a=1]:1:2|c|#y:2", "foo{a=1} | mixed_tagging_styles");
        check("d#x:1|c|#y:2", "d{y=2} c=1 | samples 1 tagged 1 tag_errors 1");
        check("e[]:1|c|#y:2", "e{y=2} c=1 | samples 1 tagged 1");
        let off = Options { dogstatsd_tags: false, ..Options::new(Compat::Reference) };
        check_with("a#x=1:1|c|#y:2", off, "a{x=1} | mixed_tagging_styles");
        check_with("b:1|c|#y:2,z", off, "b c=1 | samples 1");
        check_with("b:1|c|#y:2|c:id", off, "b{container_id=id} c=1 | samples 1 tagged 1");
    }

    #[test]
    fn sets_are_an_illegal_event_of_the_reference() {
        check("foo:1|s|#x:y", "foo | samples 1 tagged 1 illegal_event");
        check("foo:joe|s", "foo | samples 1 malformed_value");
    }

    #[test]
    fn the_extended_mode_takes_sets() {
        check_extended("foo:joe|s|#x:y", "foo{x=y} s=joe | samples 1 tagged 1");
        check_extended("foo:joe|s:jim|s", "foo s=joe s=jim | samples 2");
        check_extended("foo:http://x/|s", "foo s=http://x/ | samples 1");
        check_extended("foo:1|s|@0.5", "foo s=1 | samples 1");
        check_extended("foo:|s", "foo | samples 1 malformed_value");
    }

    #[test]
    fn the_extended_mode_takes_packed_counters_and_gauges() {
        check_extended("a:1:2|c|@0.5", "a c=2 c=4 | samples 2");
        check_extended("a:1:+2|g|#k:v", "a{k=v} g=1 g~2 | samples 2 tagged 2");
        check_extended("a:1:2|q", "a | invalid_extended_aggregate_type");
    }

    #[test]
    fn the_extended_mode_takes_the_newer_sections() {
        check_extended("a:1|c|c:ci-1", "a{container_id=ci-1} c=1 | samples 1 tagged 1");
        check_extended("a:1|c|e:it-false,cn-app|card:low", "a c=1 | samples 1");
        check_extended("a:1|c|card:low", "a c=1 | samples 1");
        check_extended(
            "a:1|d|@0.5|#x:y|c:in-7|e:it-false|card:low|T1656581400",
            "a{x=y,container_id=in-7} d=1x2 | samples 1 tagged 1",
        );
        check_extended("a:1|c|T1656581400", "a c=1 | samples 1");
        check_extended("a:1|c|T", "a | samples 1 malformed_component");
        check_extended("a:1|c|T16x", "a | samples 1 malformed_component");
        check_extended("a:1|c|x:1", "a | samples 2 invalid_sample_factor malformed_component");
        check_extended("a:1|c|card", "a | samples 1 malformed_container_id");
    }

    #[test]
    fn the_extended_mode_still_takes_samples_in_a_row() {
        check_extended("b:1|c:2|c:3|c", "b c=1 c=2 c=3 | samples 3");
        check_extended("b:1|c|@0.5:2|ms|T1:3|g", "b c=2 ms=0.002 g=3 | samples 3");
        check_extended("b:1|c|T1:x|g", "b c=1 | samples 2 malformed_value");
    }

    #[test]
    fn the_extended_mode_bounds_the_sections() {
        let line = |sections: usize| format!("a:1|c{}", "|@1".repeat(sections));
        check_extended(&line(MAX_EXTENDED_SECTIONS), "a c=1 | samples 1");
        check_extended(&line(MAX_EXTENDED_SECTIONS + 1), "a | samples 1 malformed_component");
    }

    #[test]
    fn the_extended_mode_loses_no_sample_to_its_rate_uncounted() {
        check_extended("a:1|ms|@2", "a ms=0.001 | samples 1");
        check_extended("a:1|ms|@nan", "a ms=0.001 | samples 1 invalid_sample_factor");
        check_extended("a:1|c|@-1", "a c=1 | samples 1 invalid_sample_factor");
        check_extended("a:1|h|@inf", "a h=1 | samples 1 invalid_sample_factor");
        check_extended("a:1|h|@1e-300", "a h=1 | samples 1 invalid_sample_factor");
        check_extended("a:1|ms|@1e999", "a ms=0.001x0 | samples 1 invalid_sample_factor");
    }

    #[test]
    fn the_extended_mode_knows_events_and_carriage_returns() {
        check_extended("_e{5,4}:title|text", "event |");
        check_extended("_sc|db|0", "event |");
        check_extended("a:1|c\r", "a c=1 | samples 1");
        check("_sc|db|0", " | malformed_line");
        check("_e{5}:1|c", "_e{5} c=1 | samples 1");
    }

    #[test]
    fn a_line_can_be_repeated_when_another_number_changes_nothing_else() {
        let counter = Repeat { milliseconds: false, rate: 0.1 };
        check_repeat("a:1|c|@0.1|#x:y", Some(counter));
        check_repeat("a:1.5|ms|@0.1", Some(Repeat { milliseconds: true, rate: 1.0 }));
        for line in ["a:1|g", "a:-1|c", "a:1|c|bad", "a:1|q", "a:1|c|", ":1|c", "a#b=1:1|c|#c:1"] {
            check_repeat(line, Some(Repeat::AS_SENT));
        }
        for line in [
            "a:1|c|@0.1|@0.1",
            "a:-1|g",
            "a:1e3|c",
            "a:1|c:2|c",
            "a:1:2|ms",
            "a:x|c",
            "a:1",
            "a",
            "",
        ] {
            check_repeat(line, None);
        }
    }

    #[test]
    fn sets_and_events_are_never_repeated() {
        for line in ["a:1|s", "_e{1,1}:1|c"] {
            let line = parse_line(line.as_bytes(), &Options::new(Compat::Extended));
            assert_eq!(line.repeat, None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_in_any_dialect(
            line in prop::collection::vec(any::<u8>(), 0..80),
            options in any_options(),
        ) {
            let line = parse_line(&line, &options);
            prop_assert!(line.samples.len() <= line.counts.samples as usize);
        }

        #[test]
        fn a_repeated_line_is_what_parsing_it_gives(
            name in "[a-c#,=;\\[\\]]{0,6}",
            tail in any_tail(),
            values in ("-?[0-9]{1,9}([.][0-9]{1,4})?", "[0-9]{1,9}([.][0-9]{1,4})?"),
            options in any_options(),
        ) {
            let first = format!("{name}:{}|{tail}", values.0);
            let second = format!("{name}:{}|{tail}", values.1);
            let first = parse_line(first.as_bytes(), &options);
            let second = parse_line(second.as_bytes(), &options);
            let Some(repeat) = first.repeat else { return Ok(()) };
            let mut repeated = Line { text: second.text, ..first };
            let number = plain_number(values.1.as_bytes()).unwrap();
            for sample in &mut repeated.samples {
                sample.value = Value::Number(repeat.apply(number));
            }
            prop_assert_eq!(format!("{:?}", repeated), format!("{:?}", second));
        }

        #[test]
        fn what_the_reference_takes_without_error_is_taken_alike(
            name in "[a-c][#,\\[]?(k=v)?\\]?",
            tail in "(c|g|ms|h|d)([|](@0[.][1-9]|#k:v|T1|c:x)){0,4}(:2[|]c)?",
            options in any_options(),
        ) {
            let line = format!("{name}:1|{tail}");
            let parse = |compat| parse_line(line.as_bytes(), &Options { compat, ..options });
            let reference = parse(Compat::Reference);
            if reference.counts.errors.is_empty() {
                prop_assert_eq!(
                    format!("{reference:?}"),
                    format!("{:?}", parse(Compat::Extended))
                );
            }
        }
    }

    fn any_tail() -> impl Strategy<Value = String> {
        let section = prop_oneof![
            "@(0[.]5|0|2|x|nan|1e999|)",
            "#([a-c]:[a-c]|[a-c]|,)*",
            "c:[a-c:]{0,2}",
            "T[0-9x]{0,2}",
            "(card:|e:)[a-c:]{0,2}",
            "[@#cTe:x]{0,3}",
        ];
        let kind = prop_oneof!["c", "g", "ms", "h", "d", "s", "q", ""];
        let row = (kind, prop::collection::vec(section, 0..6))
            .prop_map(|(kind, sections)| [vec![kind], sections].concat().join("|"));
        (row, prop::option::weighted(0.1, "1[|](c|ms)"))
            .prop_map(|(row, next)| next.map_or(row.clone(), |next| format!("{row}:{next}")))
    }

    fn any_options() -> impl Strategy<Value = Options> {
        any::<[bool; 6]>().prop_map(
            |[dogstatsd, influxdb, librato, signalfx, graphite, extended]| Options {
                dogstatsd_tags: dogstatsd,
                influxdb_tags: influxdb,
                librato_tags: librato,
                signalfx_tags: signalfx,
                graphite_tags: graphite,
                compat: if extended { Compat::Extended } else { Compat::Reference },
            },
        )
    }

    /// Writes a line as `NAME{TAGS} SAMPLES | COUNTS`; `~` marks relative values, `x` repetitions.
    fn render(line: &Line<'_>) -> String {
        let mut text = match line.shape {
            Shape::Empty => "empty".to_owned(),
            Shape::Event => "event".to_owned(),
            Shape::Samples => line.name.clone().into_owned(),
        };
        let tags: Vec<_> =
            line.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
        if !tags.is_empty() {
            write!(text, "{{{}}}", tags.join(",")).unwrap();
        }
        for sample in &line.samples {
            text += &render_sample(sample);
        }
        text += " |";
        let Counts { samples, tagged, tag_errors, errors } = &line.counts;
        for (count, name) in [(samples, "samples"), (tagged, "tagged"), (tag_errors, "tag_errors")]
        {
            if *count > 0 {
                write!(text, " {name} {count}").unwrap();
            }
        }
        for reason in errors {
            write!(text, " {}", reason.as_str()).unwrap();
        }
        text
    }

    fn render_sample(sample: &Sample<'_>) -> String {
        let kind = match sample.kind {
            Kind::Counter => "c",
            Kind::Gauge => "g",
            Kind::Timer => "ms",
            Kind::Histogram => "h",
            Kind::Distribution => "d",
            Kind::Set => "s",
        };
        let value = match sample.value {
            Value::Number(number) => number.to_string(),
            Value::Member(member) => member.to_owned(),
        };
        let sign = if sample.relative { '~' } else { '=' };
        let times = if sample.times == 1 { String::new() } else { format!("x{}", sample.times) };
        format!(" {kind}{sign}{value}{times}")
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        check_with(line, Options::new(Compat::Reference), expected);
    }

    #[track_caller]
    fn check_extended(line: &str, expected: &str) {
        check_with(line, Options::new(Compat::Extended), expected);
    }

    #[track_caller]
    fn check_with(line: &str, options: Options, expected: &str) {
        assert_eq!(render(&parse_line(line.as_bytes(), &options)), expected, "{line}");
    }

    #[track_caller]
    fn check_repeat(line: &str, expected: Option<Repeat>) {
        let parsed = parse_line(line.as_bytes(), &Options::new(Compat::Reference));
        assert_eq!(parsed.repeat, expected, "{line}");
    }
}
