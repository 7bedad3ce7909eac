//! All that is wrong with a mapping file, not only the first thing.
//!
//! What is wrong is blanked out, with as little as possible around it, and the file is read again,
//! until nothing is left to be said. Lines and columns stay as they are by that.

use std::ops::Range;

use crate::compat::Compat;
use crate::map::inspect::{Defect, Inspected, inspect, rule_places};
use crate::map::{Place, Problem};

/// After so many errors the rest can wait.
pub(super) const MAX_ERRORS: usize = 100;
/// Keys that other keys of the rule depend on; without them the rule says something else.
const DECISIVE: [&str; 3] = ["match_type", "observer_type", "timer_type"];
/// Keys without which there is no rule, and what stands in for them.
const KEYS_OF_ALL_RULES: [(&str, &str); 2] = [("match", "match: _"), ("name", "name: _")];
/// Stands in the place of a rule that cannot be used.
const STAND_IN: &str = "{match: left.out, name: left_out}";

/// A file as far as it can be read.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Everything that is wrong, in the order of the file.
    pub(super) defects: Vec<Defect>,
    /// What is left of the file without that; `None` where too much is wrong.
    pub(super) rest: Option<Inspected>,
    /// The rules that something is wrong with, counted from 0.
    broken: Vec<usize>,
}

impl Recovered {
    /// Whether anything is wrong with a rule, counted from 0.
    pub(super) fn is_broken(&self, rule: usize) -> bool {
        self.broken.contains(&rule)
    }
}

/// Reads the text of a mapping file, however much is wrong with it.
pub(super) fn recover(text: &str, compat: Compat) -> Recovered {
    let mut recovered = Recovered { defects: Vec::new(), rest: None, broken: Vec::new() };
    let mut draft = text.to_owned();
    while recovered.defects.len() < MAX_ERRORS {
        let mut defect = match inspect(draft.as_bytes(), compat) {
            Ok(inspected) => {
                recovered.rest = Some(inspected);
                break;
            }
            Err(defect) => defect,
        };
        if let Problem::Label(label) = &defect.problem {
            defect.place = key_place(&draft, defect.place, label);
        }
        let rule = rule_at(&draft, defect.place);
        let next = without(&draft, &defect, rule);
        // What is no YAML has no rules before it is mended.
        let rule = rule.or_else(|| rule_at(next.as_deref()?, defect.place));
        let is_known = rule.is_some_and(|rule| recovered.is_broken(rule));
        // A rule that lacks something may lack it because it was blanked out.
        if !(is_known && is_about_the_rule(&defect.problem)) {
            recovered.defects.push(defect);
        }
        recovered.broken.extend(rule);
        match next {
            Some(next) => draft = next,
            None => break,
        }
    }
    recovered.defects.sort_by_key(|defect| (defect.place.line, defect.place.column));
    recovered
}

/// Whether a problem is one of a rule as a whole, so that no single key is to blame.
fn is_about_the_rule(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::NoName
            | Problem::NoMatch
            | Problem::SummaryOptionsOfHistogram
            | Problem::HistogramOptionsOfSummary
    )
}

/// The rule that holds a place.
fn rule_at(text: &str, place: Place) -> Option<usize> {
    let places = rule_places(text)?;
    let is_before = |rule: &Place| (rule.line, rule.column) <= (place.line, place.column);
    let index = places.iter().rposition(is_before)?;
    let rule = *places.get(index)?;
    let is_within = || Some(rule_range(text, rule)?.contains(&offset(text, place)?));
    (rule == place || is_within()?).then_some(index)
}

/// The text without what is wrong; `None` where it cannot be cut out.
fn without(text: &str, defect: &Defect, rule: Option<usize>) -> Option<String> {
    let is_sound = |draft: &String| draft != text && rule_places(draft).is_some();
    let entry = || {
        let range = entry_range(text, defect.place)?;
        let written = text.get(range.clone())?;
        Some(blank(text, range, stand_in(written, &defect.problem))).filter(is_sound)
    };
    let is_decisive =
        matches!(&defect.problem, Problem::UnknownWord { key, .. } if DECISIVE.contains(key));
    let whole_rule = || {
        let range = rule_range(text, *rule_places(text)?.get(rule?)?)?;
        Some(blank(text, range, STAND_IN)).filter(is_sound)
    };
    if is_decisive || is_about_the_rule(&defect.problem) {
        whole_rule()
    } else {
        entry().or_else(whole_rule)
    }
}

/// What keeps a rule whole where one of its keys is blanked out.
fn stand_in(entry: &str, problem: &Problem) -> &'static str {
    let meant = match problem {
        Problem::UnknownKey { nearest: Some(nearest), .. } => nearest.as_str(),
        _ => entry.split(':').next().unwrap_or_default(),
    };
    let known = KEYS_OF_ALL_RULES.iter().find(|(key, _)| *key == meant);
    let room = entry.lines().next().map_or(0, str::len);
    known.map(|(_, text)| *text).filter(|text| text.len() <= room).unwrap_or_default()
}

/// Where a key stands, at a place or below it: the YAML library tells the place of the map.
pub(super) fn key_place(text: &str, map: Place, key: &str) -> Place {
    let lines = (1..).zip(text.lines()).filter(|(line, _)| *line >= map.line);
    let found = lines.filter_map(|(line, content)| {
        let starts = content.match_indices(key);
        let mut keys = starts.filter(|(at, _)| {
            let after = content.get(at + key.len()..).unwrap_or_default();
            let before = content.get(..*at).unwrap_or_default();
            let is_whole = before.is_empty() || before.ends_with([' ', '{', ',', '"', '\'']);
            is_whole && after.trim_start_matches(['"', '\'']).trim_start().starts_with(':')
        });
        let (at, _) = keys.next()?;
        let before = content.get(..at)?.chars().count();
        Some(Place { line, column: u64::try_from(before).ok()? + 1 })
    });
    found.take(1).next().unwrap_or(map)
}

/// Puts blanks in the place of a part, behind what stands in for it. Newlines stay.
fn blank(text: &str, range: Range<usize>, stand_in: &str) -> String {
    let (before, rest) = text.split_at_checked(range.start).unwrap_or((text, ""));
    let (part, after) = rest.split_at_checked(range.len()).unwrap_or((rest, ""));
    let blanks = part.chars().skip(stand_in.chars().count());
    let blanks = blanks.map(|c| if c == '\n' { '\n' } else { ' ' });
    let lost = part.chars().take(stand_in.chars().count()).filter(|c| *c == '\n');
    [before, stand_in, &lost.chain(blanks).collect::<String>(), after].concat()
}

/// The bytes of a text before a place.
fn offset(text: &str, place: Place) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?.lines().next().unwrap_or_default();
    Some(start + rest.chars().take(column).map(char::len_utf8).sum::<usize>())
}

/// The key and value, or the item, in whose first line a place lies; block style only.
fn entry_range(text: &str, place: Place) -> Option<Range<usize>> {
    let start = offset(text, Place { column: 1, ..place })?;
    let line = text.get(start..)?.lines().next()?;
    let entry = line.trim_start_matches([' ', '-']);
    let indent = line.len() - entry.len();
    if entry.is_empty() || entry.starts_with(['{', '[', '#', '"', '\'']) {
        return None;
    }
    let range = start + indent..block_end(text, start, indent, false);
    range.contains(&offset(text, place)?).then_some(range)
}

/// A whole rule, in whichever style.
fn rule_range(text: &str, rule: Place) -> Option<Range<usize>> {
    let start = offset(text, rule)?;
    let rest = text.get(start..)?;
    if rest.starts_with('{') {
        return Some(start..start + flow_length(rest)?);
    }
    let line_start = offset(text, Place { column: 1, ..rule })?;
    Some(start..block_end(text, line_start, start - line_start, true))
}

/// Where a block ends that begins in the line at `start`, `indent` bytes into it: with `is_map`
/// lines as far in belong to it as well, otherwise only lists right below a key.
fn block_end(text: &str, start: usize, indent: usize, is_map: bool) -> usize {
    let mut lines = text.get(start..).unwrap_or_default().split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let mut end = start + first.trim_end().len();
    let mut at = start + first.len();
    for line in lines {
        let content = line.trim_start_matches(' ');
        let (depth, is_empty) = (line.len() - content.len(), content.trim_end().is_empty());
        let is_item = content.starts_with("- ") || content.trim_end() == "-";
        let belongs = depth > indent || (depth == indent && (is_map || is_item));
        if !is_empty && !belongs {
            break;
        }
        at += line.len();
        if !is_empty {
            end = at - (line.len() - line.trim_end().len());
        }
    }
    end
}

/// How long a `{…}` is.
fn flow_length(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_error_of_a_file_is_told() {
        check(
            "\
defaults:
  ttl: never
  observer_typ: histogram
mappings:
- mtch: a.*
  name: 9lives
  labels:
    bad-label: x
    good: y
    worse.label: z
- match: b.*
  name: b
  histogram_options:
    buckets:
    - 1
    - two
- match: c
- {match: d, nmae: d}
- match: 'e('
  match_type: regex
  name: e
- match: f
  name: f
  action: dorp
  ttl: 1x
# the end
",
            "2 3 5 6 8 10 16 17 18 19 24 25",
        );
    }

    #[test]
    fn what_follows_from_an_error_is_not_told() {
        check("mappings:\n- match: a b\n", "2");
        check("mappings:\n- match: '^a'\n  match_type: regx\n  name: x\n- match: y\n", "3 5");
        check("defaults: {match_type: regx}\nmappings:\n- match: '('\n", "1");
        check("mappings:\n- nmae: x\n", "2");
    }

    #[test]
    fn a_file_that_is_no_yaml_has_one_error() {
        check("mappings:\n- match: [\n", "2");
        check("a: b: c\n- x", "1");
        check("mappings: 5\n", "1");
    }

    #[test]
    fn a_sound_file_has_none() {
        check("", "");
        check("mappings:\n- {match: a, name: b}\n", "");
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            text in any::<String>(),
            lines in proptest::collection::vec("(- )?( ){0,2}(match|name|labels|mappings|defaults|x)?:?( )?[a{}'\\[\\]*&-]{0,3}", 0..12),
        ) {
            for text in [text, lines.join("\n"), format!("mappings:\n{}", lines.join("\n"))] {
                let recovered = recover(&text, Compat::Extended);
                prop_assert_eq!(
                    recovered.defects.is_empty(),
                    inspect(text.as_bytes(), Compat::Extended).is_ok()
                );
            }
        }
    }

    /// Checks in which lines errors are told.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let recovered = recover(text, Compat::Extended);
        let lines = recovered.defects.iter().map(|defect| defect.place.line.to_string());
        assert_eq!(lines.collect::<Vec<_>>().join(" "), expected, "{:#?}", recovered.defects);
    }
}
