//! The sections behind a value: `kind|@rate|#tags|c:ID|T1656581400|…`.
//!
//! All values of a packed sample share them, so they are read once.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, rest, value, verify};
use nom::sequence::preceded;
use nom::{IResult, Parser};
use smallvec::SmallVec;

use super::tags::read_section;
use super::value::{NumberError, parse_number, repetitions};
use super::{Options, Reason, Repeat};
use crate::compat::Compat;
use crate::sample::{Kind, Tag, Tags, Value};

/// How many sections the reference takes after value and kind.
const MAX_REFERENCE_SECTIONS: usize = 4;
/// How many the extended mode takes. DogStatsD has six; the bound keeps the work for packed values,
/// each of which repeats the errors of the sections, proportional to the line.
pub(super) const MAX_EXTENDED_SECTIONS: usize = 16;
/// The label that carries the ID of a `|c:ID` section.
const CONTAINER_ID: &str = "container_id";

/// What the kind and the sections say about all values in front of them.
#[derive(Debug)]
pub(super) struct Modifiers {
    /// `None` where no sample can be made of it.
    pub(super) kind: Option<Kind>,
    /// What counters are divided by, one after the other.
    divisors: SmallVec<[f64; 2]>,
    /// How many events an observer's value stands for.
    pub(super) times: u64,
    /// Whether there are more sections than are taken.
    pub(super) is_overlong: bool,
    pub(super) tag_errors: u32,
    /// Errors that leave the sample as it is.
    pub(super) rate_errors: SmallVec<[Reason; 2]>,
    /// The error that costs the sample; what stands behind it is not read.
    pub(super) sections: Result<(), Reason>,
}

impl Modifiers {
    /// Reads `kind|section|…`; the tags go to `tags`.
    pub(super) fn read<'a>(kind_on: &'a str, options: Options, tags: &mut Tags<'a>) -> Self {
        let mut parts = kind_on.split('|');
        let kind = parts.next().and_then(Kind::from_wire);
        let is_reference = options.compat.is_reference();
        let max_sections =
            if is_reference { MAX_REFERENCE_SECTIONS } else { MAX_EXTENDED_SECTIONS };
        let mut modifiers = Self {
            kind: kind.filter(|kind| *kind != Kind::Set || !is_reference),
            divisors: SmallVec::new(),
            times: 1,
            is_overlong: parts.clone().count() > max_sections,
            tag_errors: 0,
            rate_errors: SmallVec::new(),
            sections: Ok(()),
        };
        modifiers.sections = if modifiers.is_overlong || parts.clone().any(str::is_empty) {
            Err(Reason::MalformedComponent)
        } else {
            parts.try_for_each(|part| modifiers.take_section(part, options, tags))
        };
        modifiers
    }

    fn take_section<'a>(
        &mut self,
        text: &'a str,
        options: Options,
        tags: &mut Tags<'a>,
    ) -> Result<(), Reason> {
        match section(text, options.compat) {
            Section::Rate(rate) => self.take_rate(rate, options.compat),
            Section::Tags(list) if options.dogstatsd_tags => {
                self.tag_errors += read_section(list, tags);
            }
            Section::ContainerId(id) => tags.push(Tag { key: CONTAINER_ID, value: id }),
            Section::Tags(_) | Section::Ignored => {}
            Section::Refused(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Counters are divided by every rate, the last one alone repeats an observer's sample.
    fn take_rate(&mut self, text: &str, compat: Compat) {
        let (rate, is_valid) = read_rate(text, compat);
        if !is_valid {
            self.rate_errors.push(Reason::InvalidSampleFactor);
        }
        match self.kind {
            Some(Kind::Counter) => self.divisors.push(rate),
            Some(Kind::Timer | Kind::Histogram | Kind::Distribution) => {
                // A rate above 1 truncates to no event at all; what arrived happened at least once.
                let at_least = u64::from(!compat.is_reference() && rate.is_finite());
                self.times = repetitions(rate).max(at_least);
            }
            Some(Kind::Gauge | Kind::Set) | None => {}
        }
    }

    /// Reads one of the values, as the sections change it.
    pub(super) fn value<'a>(&self, text: &'a str) -> Result<Value<'a>, Reason> {
        if self.kind == Some(Kind::Set) {
            return if text.is_empty() {
                Err(Reason::MalformedValue)
            } else {
                Ok(Value::Member(text))
            };
        }
        let number = parse_number(text).map_err(|_| Reason::MalformedValue)?;
        Ok(Value::Number(match self.kind {
            Some(Kind::Timer) => number / 1000.0,
            _ => self.divisors.iter().fold(number, |number, rate| number / rate),
        }))
    }

    /// What holds for another plain value in front of them.
    pub(super) fn repeat(&self) -> Option<Repeat> {
        let milliseconds = self.kind == Some(Kind::Timer);
        match (self.kind, self.divisors.as_slice()) {
            (Some(Kind::Set), _) => None,
            (_, []) => Some(Repeat { milliseconds, rate: 1.0 }),
            (_, [rate]) => Some(Repeat { milliseconds, rate: *rate }),
            _ => None,
        }
    }
}

/// Reads a sample rate; says as well whether it is a valid one.
///
/// Zero and what is no number count as 1, an overflow as infinite: Go's `ParseFloat` gives both a
/// value and an error, and the reference uses both. It also takes negative rates, NaN and infinity,
/// by which samples are lost uncounted; the extended mode refuses them and uses 1.
fn read_rate(text: &str, compat: Compat) -> (f64, bool) {
    /// Smaller ones stand for more events than can be counted.
    const MIN_EXTENDED_RATE: f64 = 1e-18;

    let rate = match parse_number(text) {
        Ok(rate) => rate,
        Err(NumberError::OutOfRange(infinity)) => return (infinity, false),
        Err(NumberError::Syntax) => return (1.0, false),
    };
    if rate == 0.0 {
        (1.0, true)
    } else if compat.is_reference() || (MIN_EXTENDED_RATE..f64::INFINITY).contains(&rate) {
        (rate, true)
    } else {
        (1.0, false)
    }
}

/// One section, by the letter it begins with.
#[derive(Clone, Copy)]
pub(super) enum Section<'a> {
    Rate(&'a str),
    Tags(&'a str),
    ContainerId(&'a str),
    /// A timestamp, external data or a cardinality: nothing that a scrape could show.
    Ignored,
    Refused(Reason),
}

pub(super) fn section(text: &str, compat: Compat) -> Section<'_> {
    let section = if compat.is_reference() {
        reference_section(text)
    } else {
        alt((newer_section, reference_section)).parse(text)
    };
    section.map_or(Section::Refused(Reason::InvalidSampleFactor), |(_, section)| section)
}

/// The sections that `statsd_exporter` 0.31 knows; its timestamps are not looked at.
fn reference_section(text: &str) -> IResult<&str, Section<'_>> {
    let id = verify(rest, |id: &str| !id.is_empty());
    alt((
        preceded(char('@'), rest).map(Section::Rate),
        preceded(char('#'), rest).map(Section::Tags),
        preceded(tag("c:"), id).map(Section::ContainerId),
        value(Section::Refused(Reason::MalformedContainerId), char('c')),
        value(Section::Ignored, char('T')),
    ))
    .parse(text)
}

/// What DogStatsD's clients send and the reference refuses, cardinality and external data; and
/// timestamps, which have to be seconds here.
fn newer_section(text: &str) -> IResult<&str, Section<'_>> {
    alt((
        value(Section::Ignored, alt((tag("card:"), tag("e:")))),
        value(Section::Ignored, all_consuming((char('T'), digit1))),
        value(Section::Refused(Reason::MalformedComponent), char('T')),
    ))
    .parse(text)
}
