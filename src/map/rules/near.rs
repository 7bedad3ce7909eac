//! Rules that nearly took a name, and what kept them from it.
//!
//! Each rule is looked at by itself, so this takes longer the more rules there are; it is for
//! people who ask, never for lines that come in.

use std::fmt;

use super::{Entry, PatternRule, Rules};
use crate::map::pattern::Pattern;
use crate::sample::EventType;

/// So many rules are told.
const MAX_NEAR: usize = 3;
/// So many regexes are compiled in another form to see whether that one would match.
const MAX_COMPILED: usize = 100;
/// A part of a name that is at least so alike is probably a slip of the pen.
const ALIKE: f64 = 0.7;
/// What clients write in the place of dots.
const SEPARATORS: [char; 4] = ['_', '-', '/', ':'];

/// A rule that did not take a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// The rule, as [`Matched::index`](crate::map::Matched::index) counts.
    pub index: usize,
    /// What kept it from it.
    pub miss: Miss,
}

/// What kept a rule from taking a name. The order is that of how near it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// Nothing; the one that took it is asked first.
    Later,
    /// It is for another type of samples.
    Type(EventType),
    /// Its letters are small where the name's are capitals, or the other way round.
    Case,
    /// The name has something else in the place of dots.
    Separators,
    /// A regex that would match if it had no `^` or `$`.
    Anchors,
    /// Without `glob_disable_ordering` it would match: a literal part led another way.
    Preference,
    /// A single part of a glob is not the name's, but nearly.
    Misspelt(Part),
    /// The name goes on behind the glob, or ends before it.
    Length(Parts),
    /// The same at the front.
    Front(Parts),
    /// A single part of a glob is not the name's.
    Differs(Part),
    /// A regex begins with this text, as the name does.
    Begins(String),
}

/// One part of a glob that a name has not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Counted from 1.
    pub number: usize,
    /// The rule's.
    pub rule: String,
    /// The name's.
    pub name: String,
}

/// How many parts a glob and a name have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts {
    /// By how many they differ; the first to be compared.
    pub by: usize,
    /// The rule's.
    pub rule: usize,
    /// The name's.
    pub name: usize,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = |parts: &Parts| {
            let of = if parts.rule == 1 { "part" } else { "parts" };
            format!("{} {of}, the name has {}", parts.rule, parts.name)
        };
        match self {
            Self::Later => write!(f, "matches as well, but is asked later"),
            Self::Type(event) => {
                write!(f, "would match, but is for {}s only (match_metric_type)", event.as_str())
            }
            Self::Case => write!(f, "would match if small and capital letters were the same"),
            Self::Separators => write!(f, "would match if the name had dots between its parts"),
            Self::Anchors => write!(f, "would match without `^` and `$`"),
            Self::Preference => write!(
                f,
                "would match, but a literal part of another rule leads away from it \
                 (glob_disable_ordering)"
            ),
            Self::Misspelt(part) | Self::Differs(part) => {
                let Part { number, rule, name } = part;
                write!(f, "wants `{rule}` as part {number}, the name has `{name}`")
            }
            Self::Length(parts) => write!(f, "matches the beginning, but has {}", dots(parts)),
            Self::Front(parts) => write!(f, "matches the end, but has {}", dots(parts)),
            Self::Begins(text) => {
                write!(f, "begins with `{text}` too, but does not match the rest")
            }
        }
    }
}

impl Rules {
    /// What the stars or the groups of the rule that takes a name stand for: numbers, or the names
    /// of groups, and the text.
    #[must_use]
    pub fn captures(&self, name: &str, event: EventType) -> Vec<(String, String)> {
        self.files().find_map(|file| file.captures_here(name, event)).unwrap_or_default()
    }

    /// The same in this file alone; `None` where no rule takes the name.
    fn captures_here(&self, name: &str, event: EventType) -> Option<Vec<(String, String)>> {
        if let Some((_, stars)) = self.globs.find(name, event) {
            let numbered = stars.iter().zip(1_u32..);
            return Some(numbered.map(|(text, n)| (n.to_string(), (*text).to_owned())).collect());
        }
        let is_for = |rule: &&PatternRule| rule.event.is_none_or(|own| own == event);
        let mut own = self.patterns.iter().filter(is_for);
        let (rule, groups) = own.find_map(|rule| Some((rule, rule.pattern.captures(name)?)))?;
        let groups = rule.pattern.names.iter().zip(groups.iter()).enumerate().skip(1);
        let captures = groups.map(|(number, (group, text))| {
            let name = group.clone().unwrap_or_else(|| number.to_string());
            (name, text.map_or("", |text| text.as_str()).to_owned())
        });
        Some(captures.collect())
    }

    /// The regex of a rule of this file, if it has one.
    pub(super) fn pattern(&self, here: usize) -> Option<&PatternRule> {
        let at = self.patterns.binary_search_by_key(&here, |rule| rule.index).ok()?;
        self.patterns.get(at)
    }

    /// The rules that would have taken a name as well if `taken` had not, or that nearly did where
    /// none has; the nearest first, at most three.
    #[must_use]
    pub fn near(&self, name: &str, event: EventType, taken: Option<usize>) -> Vec<Near> {
        let mut found: Vec<Near> = Vec::new();
        let (mut before, mut compiled) = (0, 0);
        for file in self.files() {
            for (here, entry) in file.entries.iter().enumerate() {
                let index = before + here;
                let pattern = file.pattern(here);
                compiled += usize::from(pattern.is_some());
                let miss = match pattern {
                    _ if Some(index) == taken => None,
                    Some(rule) => {
                        let tries = taken.is_none() && compiled <= MAX_COMPILED;
                        regex_miss(&entry.rule.source, &rule.pattern, name, tries)
                    }
                    None => glob_miss(&entry.rule.source, name),
                };
                let miss = miss.and_then(|miss| judge(miss, entry, event, taken.is_some()));
                found.extend(miss.map(|miss| Near { index, miss }));
            }
            before += file.entries.len();
        }
        found.sort_by(|a, b| (&a.miss, a.index).cmp(&(&b.miss, b.index)));
        found.truncate(MAX_NEAR);
        found
    }
}

/// What a rule that misses by its pattern, or not at all (`Later`), comes to for a type.
fn judge(miss: Miss, entry: &Entry, event: EventType, is_taken: bool) -> Option<Miss> {
    let other = entry.event.filter(|own| *own != event);
    match (miss, other) {
        (Miss::Later, None) if is_taken => Some(Miss::Later),
        (_, _) if is_taken => None,
        (Miss::Later, Some(own)) => Some(Miss::Type(own)),
        (Miss::Later, None) => Some(Miss::Preference),
        // Two reasons at once are not near.
        (_, Some(_)) => None,
        (miss, None) => Some(miss),
    }
}

/// `Later` where the glob matches.
fn glob_miss(glob: &str, name: &str) -> Option<Miss> {
    if matches_glob(glob, name) {
        return Some(Miss::Later);
    }
    if matches_glob(&glob.to_lowercase(), &name.to_lowercase()) {
        return Some(Miss::Case);
    }
    if glob.contains('.') && matches_glob(&dotted(glob), &dotted(name)) {
        return Some(Miss::Separators);
    }
    let wanted: Vec<&str> = glob.split('.').collect();
    let parts: Vec<&str> = name.split('.').collect();
    if wanted.len() == parts.len() {
        differing_part(&wanted, &parts)
    } else {
        length(&wanted, &parts)
    }
}

fn dotted(text: &str) -> String {
    text.replace(SEPARATORS, ".")
}

fn matches_glob(glob: &str, name: &str) -> bool {
    let (mut wanted, mut parts) = (glob.split('.'), name.split('.'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == "*" || wanted == part => {}
            _ => return false,
        }
    }
}

/// The part that keeps a glob from a name of the same length, if it is one alone.
fn differing_part(wanted: &[&str], parts: &[&str]) -> Option<Miss> {
    let pairs = wanted.iter().zip(parts).zip(1..);
    let mut others = pairs.filter(|((wanted, part), _)| **wanted != "*" && wanted != part);
    let ((rule, name), number) = others.next().filter(|_| others.next().is_none())?;
    let part = Part { number, rule: (*rule).to_owned(), name: (*name).to_owned() };
    if strsim::normalized_damerau_levenshtein(rule, name) >= ALIKE {
        return Some(Miss::Misspelt(part));
    }
    // Stars match everything, so it takes a literal in common to be near.
    let has_common = wanted.iter().zip(parts).any(|(wanted, part)| wanted == part);
    has_common.then_some(Miss::Differs(part))
}

/// Whether the shorter of the two is the beginning or the end of the longer one.
fn length(wanted: &[&str], parts: &[&str]) -> Option<Miss> {
    let by = wanted.len().abs_diff(parts.len());
    let counts = Parts { by, rule: wanted.len(), name: parts.len() };
    let alike = |wanted: &mut dyn Iterator<Item = &&str>,
                 parts: &mut dyn Iterator<Item = &&str>| {
        let mut has_literal = false;
        let all = wanted.zip(parts).all(|(wanted, part)| {
            has_literal |= wanted == part;
            *wanted == "*" || wanted == part
        });
        all && has_literal
    };
    if alike(&mut wanted.iter(), &mut parts.iter()) {
        Some(Miss::Length(counts))
    } else if alike(&mut wanted.iter().rev(), &mut parts.iter().rev()) {
        Some(Miss::Front(counts))
    } else {
        None
    }
}

/// `Later` where the regex matches; other forms are tried where `tries` says so.
fn regex_miss(source: &str, pattern: &Pattern, name: &str, tries: bool) -> Option<Miss> {
    let matches = |text: &str| Pattern::new(text).is_ok_and(|other| other.captures(name).is_some());
    if pattern.captures(name).is_some() {
        return Some(Miss::Later);
    }
    if !tries {
        return None;
    }
    if matches(&format!("(?i){source}")) {
        return Some(Miss::Case);
    }
    let open = source.strip_prefix('^').unwrap_or(source);
    let open = open.strip_suffix('$').unwrap_or(open);
    if open.len() < source.len() && !open.is_empty() && matches(open) {
        return Some(Miss::Anchors);
    }
    let (literal, _) = literal_beginning(source);
    let is_telling = literal.trim_matches('.').len() >= 3 && name.starts_with(&literal);
    is_telling.then_some(Miss::Begins(literal))
}

/// The plain text that an anchored regex begins with, and whether that is all of it up to a `$`.
pub(super) fn literal_beginning(source: &str) -> (String, bool) {
    let Some(rest) = source.strip_prefix('^') else { return (String::new(), false) };
    let mut literal = String::new();
    let mut chars = rest.chars().peekable();
    loop {
        let c = match (chars.next(), chars.peek()) {
            (Some('$'), None) => return (literal, true),
            (Some('\\'), Some('.' | '-' | '_')) => chars.next().unwrap_or('.'),
            (Some(c), _) if c.is_ascii_alphanumeric() || c == '_' || c == '-' => c,
            _ => return (literal, false),
        };
        // What is repeated or made optional belongs to the rest.
        if matches!(chars.peek(), Some('?' | '*' | '+' | '{')) {
            return (literal, false);
        }
        literal.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::Compat;

    #[test]
    fn a_name_without_a_rule_is_told_the_nearest_ones() {
        check(
            "{match: api.*.*, name: n}",
            "api.get",
            "1 matches the beginning, but has 3 parts, the name has 2",
        );
        check(
            "{match: api.*, name: n}",
            "prod.api.get",
            "1 matches the end, but has 2 parts, the name has 3",
        );
        check(
            "{match: api.requests.*, name: n}",
            "api.requets.get",
            "1 wants `requests` as part 2, the name has `requets`",
        );
        check(
            "{match: api.x.*, name: n}",
            "api.other.get",
            "1 wants `x` as part 2, the name has `other`",
        );
        check(
            "{match: a.b, match_metric_type: gauge, name: n}",
            "a.b",
            "1 would match, but is for gauges only (match_metric_type)",
        );
        check(
            "{match: api.get, name: n}",
            "Api.Get",
            "1 would match if small and capital letters were the same",
        );
        check(
            "{match: api.*.total, name: n}",
            "api_get_total",
            "1 would match if the name had dots between its parts",
        );
        check(
            "{match: '^get$', match_type: regex, name: n}",
            "api.get.x",
            "1 would match without `^` and `$`",
        );
        check(
            "{match: '^api\\.(\\d+)$', match_type: regex, name: n}",
            "api.x",
            "1 begins with `api.` too, but does not match the rest",
        );
        check("{match: x.y, name: n}", "a.b", "");
        check("{match: '*.*', name: n}", "a", "");
    }

    #[test]
    fn a_name_with_a_rule_is_told_the_others_that_match() {
        check(
            "{match: a.*, name: n}\n- {match: a.b, name: o}\n- {match: a.c, name: p}",
            "a.b",
            "2 matches as well, but is asked later",
        );
        check(
            "{match: 'a.*', match_type: regex, name: n}\n- {match: a.b, name: o}",
            "a.b",
            "1 matches as well, but is asked later",
        );
    }

    #[test]
    fn captures_are_told_by_number_or_name() {
        let captures = |rule, name| rules(rule).captures(name, EventType::Counter);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(captures("{match: a.*.*, name: n}", "a.x.y"), [pair("1", "x"), pair("2", "y")]);
        let regex = "{match: '^(?P<id>.)(.)(z)?', match_type: regex, name: n}";
        assert_eq!(captures(regex, "xy"), [pair("id", "x"), pair("2", "y"), pair("3", "")]);
        assert_eq!(captures(regex, ""), []);
    }

    #[test]
    fn rules_of_files_behind_are_told_as_well() {
        let behind = [rules("{match: a.*.*, name: n}"), rules("{match: b.*, name: n}")];
        let all = rules("{match: a.b, name: n}").with_behind(behind.into());
        let event = EventType::Counter;
        assert_eq!(all.captures("b.x", event), [("1".to_owned(), "x".to_owned())]);
        let near = all.near("a.x.y.z", event, None);
        assert_eq!(near.iter().map(|near| near.index).collect::<Vec<_>>(), [1]);
        assert_eq!(all.near("b.x", event, Some(2)), []);
    }

    #[test]
    fn the_literal_beginning_of_a_regex_ends_before_what_may_be_missing() {
        for (source, expected) in [
            ("^a\\.b$", ("a.b", true)),
            ("^ab?c", ("a", false)),
            ("^a(b)", ("a", false)),
            ("ab", ("", false)),
            ("^$", ("", true)),
        ] {
            let (literal, is_all) = literal_beginning(source);
            assert_eq!((literal.as_str(), is_all), expected, "{source}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_near_or_not(name in any::<String>(), short in "[ab.*_]{0,7}") {
            let rules = rules("{match: a.*.b, name: n}\n- {match: '^a\\..(b)*$', match_type: regex, name: n}");
            for name in [name, short] {
                let taken = rules.find(&name, EventType::Gauge).map(|found| found.index);
                let near = rules.near(&name, EventType::Gauge, taken);
                let is_later = |near: &Near| near.miss == Miss::Later;
                prop_assert!(near.iter().all(|near| is_later(near) == taken.is_some()));
                prop_assert!(taken.is_some() || rules.captures(&name, EventType::Gauge).is_empty());
            }
        }
    }

    fn rules(list: &str) -> Rules {
        let text = format!("mappings:\n- {list}\n");
        Rules::parse(text.as_bytes(), "m.yml".as_ref(), Compat::Extended).unwrap().rules
    }

    #[track_caller]
    fn check(list: &str, name: &str, expected: &str) {
        let rules = rules(list);
        let taken = rules.find(name, EventType::Counter).map(|found| found.index);
        let near = rules.near(name, EventType::Counter, taken);
        let told = near.iter().map(|near| format!("{} {}", near.index + 1, near.miss));
        assert_eq!(told.collect::<Vec<_>>().join("\n"), expected);
    }
}
