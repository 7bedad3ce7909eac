//! A line taken apart for people, by the functions that the parser itself uses.

use super::sections::{Section, section};
use super::tags::dialect_of_name;
use super::{Dialect, Options, before_bar, name, sample_text};

/// More sections than this are left out.
const MAX_SECTIONS: usize = 16;

/// How a line is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy<'a> {
    /// The dialect of the tags in its name.
    pub dialect: Option<Dialect>,
    /// The sections behind values and types, in their order.
    pub sections: Vec<SectionText<'a>>,
}

/// A section, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionText<'a> {
    /// As written, without the `|`.
    pub text: &'a str,
    /// What it is.
    pub meaning: &'static str,
}

/// Takes a line apart; what is no line of samples has no parts.
#[must_use]
pub fn anatomy<'a>(line: &'a [u8], options: &Options) -> Anatomy<'a> {
    let Some((samples, name)) = str::from_utf8(line).ok().and_then(|line| name(line).ok()) else {
        return Anatomy::default();
    };
    let samples = samples.strip_suffix('\r').unwrap_or(samples);
    let dialect = dialect_of_name(name, *options).map(|(dialect, _)| dialect);
    let mut sections = Vec::new();
    let mut rest = Some(samples);
    while let Some(samples) = rest.filter(|_| sections.len() < MAX_SECTIONS) {
        // As in the parser, a line with a section of tags is one sample.
        let (after, sample) = if samples.contains("|#") {
            ("", samples)
        } else {
            sample_text(samples, options.compat).unwrap_or(("", samples))
        };
        let kind_on = before_bar(sample).map_or("", |(kind_on, _)| kind_on);
        let texts = kind_on.split('|').skip(1);
        sections.extend(texts.map(|text| SectionText { text, meaning: meaning(text, *options) }));
        rest = after.strip_prefix(':');
    }
    sections.truncate(MAX_SECTIONS);
    Anatomy { dialect, sections }
}

fn meaning(text: &str, options: Options) -> &'static str {
    match section(text, options.compat) {
        Section::Rate(_) => "sample rate",
        Section::Tags(_) if options.dogstatsd_tags => "tags",
        Section::Tags(_) => "tags, not read (--no-statsd.parse-dogstatsd-tags)",
        Section::ContainerId(_) => "container id, the label container_id",
        Section::Ignored if text.starts_with('T') => "timestamp, not exposed",
        Section::Ignored if text.starts_with("e:") => "external data, not exposed",
        Section::Ignored => "cardinality, not exposed",
        Section::Refused(_) => "not understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;

    #[test]
    fn every_section_is_told() {
        check(
            "a:1|c|@0.5|#k:v|c:id|T12",
            None,
            "@0.5=sample rate #k:v=tags c:id=container id, the label container_id T12=timestamp, not exposed",
        );
        check("a:1|c|@0.5:2|c|x", None, "@0.5=sample rate x=not understood");
        check(
            "a:1|c|e:x|card:low",
            None,
            "e:x=external data, not exposed card:low=cardinality, not exposed",
        );
        check("a:1|c", None, "");
        check("nothing", None, "");
    }

    #[test]
    fn the_dialect_of_a_name_is_told() {
        check("a,k=v:1|c", Some(Dialect::InfluxDb), "");
        check("a#k=v:1|c", Some(Dialect::Librato), "");
        check("a[k=v]b:1|c", Some(Dialect::SignalFx), "");
        check("a;k=v:1|c", None, "");
    }

    #[track_caller]
    fn check(line: &str, dialect: Option<Dialect>, sections: &str) {
        let found = anatomy(line.as_bytes(), &Options::new(Compat::Extended));
        let texts = found.sections.iter().map(|part| format!("{}={}", part.text, part.meaning));
        assert_eq!(
            (found.dialect, texts.collect::<Vec<_>>().join(" ").as_str()),
            (dialect, sections)
        );
    }
}
