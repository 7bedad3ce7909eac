//! Tags in the five ways that clients write them.
//!
//! | Dialect | Form |
//! |---|---|
//! | DogStatsD | `name:1\|c\|#key:value,key:value` |
//! | InfluxDB | `name,key=value,key=value:1\|c` |
//! | Librato | `name#key=value,key=value:1\|c` |
//! | SignalFx | `na[key=value,key=value]me:1\|c` |
//! | Graphite | `name;key=value;key=value:1\|c` |
//!
//! A tag without a separator, a key or a value is an error which harms neither its neighbours nor
//! the sample (`parseTag` of `statsd_exporter`).

use std::borrow::Cow;

use nom::bytes::complete::{take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{rest, verify};
use nom::sequence::{delimited, separated_pair};
use nom::{IResult, Parser};

use super::Options;
use crate::sample::{Tag, Tags};

/// How a list of tags is punctuated.
#[derive(Clone, Copy)]
struct Punctuation {
    between_tags: char,
    within_tag: char,
    /// Whether one `#` in front of a key is left out: PHP's client writes it before every tag.
    strips_hash: bool,
}

const DOGSTATSD: Punctuation =
    Punctuation { between_tags: ',', within_tag: ':', strips_hash: true };
/// InfluxDB, Librato and SignalFx differ only in where the list stands.
const IN_NAME: Punctuation = Punctuation { between_tags: ',', within_tag: '=', strips_hash: false };
const GRAPHITE: Punctuation = Punctuation { between_tags: ';', ..IN_NAME };

/// Reads the content of a `|#` section; returns the number of bad tags.
pub(super) fn read_section<'a>(section: &'a str, tags: &mut Tags<'a>) -> u32 {
    read_list(section, DOGSTATSD, tags)
}

/// One of the ways to write tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `|#key:value,…`
    DogStatsD,
    /// `name,key=value,…`
    InfluxDb,
    /// `name#key=value,…`
    Librato,
    /// `na[key=value,…]me`
    SignalFx,
    /// `name;key=value;…`
    Graphite,
}

impl Dialect {
    /// What people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DogStatsD => "DogStatsD",
            Self::InfluxDb => "InfluxDB",
            Self::Librato => "Librato",
            Self::SignalFx => "SignalFx",
            Self::Graphite => "Graphite",
        }
    }

    fn punctuation(self) -> Punctuation {
        match self {
            Self::DogStatsD => DOGSTATSD,
            Self::InfluxDb | Self::Librato | Self::SignalFx => IN_NAME,
            Self::Graphite => GRAPHITE,
        }
    }
}

/// Takes the tags out of a name; returns what is left of it, maybe nothing, and the number of bad
/// tags.
///
/// SignalFx brackets win over the other dialects, whose marks then stay in the name. A name with
/// one bracket only, or with the closing one first, is left as it is and counts as one bad tag.
pub(super) fn split_name<'a>(
    name: &'a str,
    options: Options,
    tags: &mut Tags<'a>,
) -> (Cow<'a, str>, u32) {
    let Some((dialect, start)) = dialect_of_name(name, options) else {
        return (Cow::Borrowed(name), 0);
    };
    if dialect == Dialect::SignalFx {
        return split_brackets(name, tags);
    }
    let (bare_name, marked) = name.split_at_checked(start).unwrap_or((name, ""));
    let mut list = marked.chars();
    list.next();
    (Cow::Borrowed(bare_name), read_list(list.as_str(), dialect.punctuation(), tags))
}

/// In which dialect a name has tags, if it has any, and where their mark stands.
pub(super) fn dialect_of_name(name: &str, options: Options) -> Option<(Dialect, usize)> {
    if options.signalfx_tags
        && let Some(start) = name.find(['[', ']'])
    {
        return Some((Dialect::SignalFx, start));
    }
    name.char_indices().find_map(|(start, mark)| Some((opens_list(mark, options)?, start)))
}

/// The dialect in which a mark opens a list, if one does that is enabled.
fn opens_list(mark: char, options: Options) -> Option<Dialect> {
    match mark {
        ',' if options.influxdb_tags => Some(Dialect::InfluxDb),
        '#' if options.librato_tags => Some(Dialect::Librato),
        ';' if options.graphite_tags => Some(Dialect::Graphite),
        _ => None,
    }
}

/// Takes `[key=value,…]` out of a name which has at least one bracket.
fn split_brackets<'a>(name: &'a str, tags: &mut Tags<'a>) -> (Cow<'a, str>, u32) {
    let list = delimited(char('['), take_till(|c| c == ']'), char(']'));
    let parts: IResult<_, _> = (take_till(|c| c == '[' || c == ']'), list, rest).parse(name);
    let Ok((_, (before, list, after))) = parts else {
        return (Cow::Borrowed(name), 1);
    };
    let bare_name = match (before, after) {
        (name, "") | ("", name) => Cow::Borrowed(name),
        _ => Cow::Owned([before, after].concat()),
    };
    (bare_name, read_list(list, IN_NAME, tags))
}

/// Reads a list, which may end in one separator; returns the number of bad tags.
fn read_list<'a>(list: &'a str, punctuation: Punctuation, tags: &mut Tags<'a>) -> u32 {
    if list.is_empty() {
        return 0;
    }
    let mut errors = 0;
    let list = list.strip_suffix(punctuation.between_tags).unwrap_or(list);
    for text in list.split(punctuation.between_tags) {
        let text =
            if punctuation.strips_hash { text.strip_prefix('#').unwrap_or(text) } else { text };
        match read_tag(text, punctuation.within_tag) {
            Ok((_, tag)) => tags.push(tag),
            Err(_) => errors += 1,
        }
    }
    errors
}

/// One key and one value; only the first separator counts, so values may hold more of them.
fn read_tag(text: &str, within_tag: char) -> IResult<&str, Tag<'_>> {
    let key = take_till1(|c| c == within_tag);
    let value = verify(rest, |value: &str| !value.is_empty());
    separated_pair(key, char(within_tag), value).map(|(key, value)| Tag { key, value }).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;

    #[test]
    fn librato_and_influxdb_tags_follow_the_name() {
        for (name, expected) in [
            ("a#x=1,y=2", "a{x=1,y=2}"),
            ("a,x=1,y=2", "a{x=1,y=2}"),
            ("a#", "a{}"),
            ("a#x=1,", "a{x=1}"),
            ("a#x", "a{} 1"),
            ("a#x=,=v", "a{} 2"),
            ("a,,", "a{} 1"),
            ("a#x=1,,y=2", "a{x=1,y=2} 1"),
            ("a#x=1=2", "a{x=1=2}"),
            ("a,x=1#y=2", "a{x=1#y=2}"),
            ("a,09digits=0,tag.with.dots=\u{e9}", "a{09digits=0,tag.with.dots=\u{e9}}"),
            ("#x=1", "{x=1}"),
        ] {
            check_name(name, all(), expected);
        }
    }

    #[test]
    fn signalfx_tags_stand_anywhere_and_win_over_the_others() {
        for (name, expected) in [
            ("foo.[a=1,b=2]test", "foo.test{a=1,b=2}"),
            ("[a=1]foo", "foo{a=1}"),
            ("foo[a=1]", "foo{a=1}"),
            ("foo.[]test", "foo.test{}"),
            ("foo.[a,b]test", "foo.test{} 2"),
            ("foo[[a=1]b=2]", "foob=2]{[a=1}"),
            ("a#y=2[x=1]", "a#y=2{x=1}"),
            ("c[x=1]#y=2", "c#y=2{x=1}"),
            ("[x=1]", "{x=1}"),
        ] {
            check_name(name, all(), expected);
        }
    }

    #[test]
    fn a_name_with_unpaired_brackets_is_left_as_it_is() {
        for name in ["[a=1,b=2foo", "a=1,b=2]foo", "a]x=1[b", "a#b=1]", "]["] {
            check_name(name, all(), &format!("{name}{{}} 1"));
        }
    }

    #[test]
    fn a_dialect_that_is_off_leaves_the_name_alone() {
        let none = Options {
            influxdb_tags: false,
            librato_tags: false,
            signalfx_tags: false,
            graphite_tags: false,
            ..all()
        };
        for name in ["a,x=1", "a#x=1", "a[x=1]", "a]", "a;x=1"] {
            check_name(name, none, &format!("{name}{{}}"));
        }
        let librato = Options { librato_tags: true, ..none };
        check_name("a,b#x=1", librato, "a,b{x=1}");
        check_name("foo[t=1,u=2]b#x=1]", librato, "foo[t=1,u=2]b{x=1]}");
    }

    #[test]
    fn graphite_tags_are_separated_by_semicolons() {
        let graphite = Options { graphite_tags: true, ..all() };
        check_name("disk.used;dc=1;rack=a,b", graphite, "disk.used{dc=1,rack=a,b}");
        check_name("a;x=1;;y;", graphite, "a{x=1} 2");
        check_name("a,x=1;y=2", graphite, "a{x=1;y=2}");
        check_name("a;x=1", all(), "a;x=1{}");
    }

    #[test]
    fn dogstatsd_tags_lose_one_hash_and_keep_later_colons() {
        for (section, expected) in [
            ("", "{}"),
            ("x:y,#z:w", "{x=y,z=w}"),
            ("#x:y,##z:w", "{x=y,#z=w}"),
            ("x:#y", "{x=#y}"),
            ("url:http://x:80/y", "{url=http://x:80/y}"),
            ("k::", "{k=:}"),
            ("k:1,k:2", "{k=1,k=2}"),
            ("prod,x:y", "{x=y} 1"),
            ("k:,:v,:", "{} 3"),
            ("tag:value,,", "{tag=value} 1"),
            ("#,#:v", "{} 2"),
            ("k=v", "{} 1"),
        ] {
            let mut tags = Tags::new();
            let errors = read_section(section, &mut tags);
            assert_eq!(render("", &tags, errors), expected, "{section}");
        }
    }

    #[test]
    fn only_a_name_with_brackets_in_its_middle_is_copied() {
        for (name, is_copied) in [("a[x=1]b", true), ("a[x=1]", false), ("[x=1]b", false)] {
            let (name, _) = split_name(name, all(), &mut Tags::new());
            assert_eq!(matches!(name, Cow::Owned(_)), is_copied);
        }
    }

    fn all() -> Options {
        Options::new(Compat::Reference)
    }

    /// Writes `NAME{KEY=VALUE,…}` and the number of errors, if there are any.
    fn render(name: &str, tags: &Tags<'_>, errors: u32) -> String {
        let tags: Vec<_> = tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
        let errors = if errors == 0 { String::new() } else { format!(" {errors}") };
        format!("{name}{{{}}}{errors}", tags.join(","))
    }

    #[track_caller]
    fn check_name(name: &str, options: Options, expected: &str) {
        let mut tags = Tags::new();
        let (bare_name, errors) = split_name(name, options, &mut tags);
        assert_eq!(render(&bare_name, &tags, errors), expected, "{name}");
    }
}
