//! Rules that no name can find, since others take all their names first.
//!
//! Only what is certain is told; a rule that is not in the list may be out of reach all the same.

use std::collections::HashMap;

use super::near::literal_beginning;
use super::{PatternRule, Rules};
use crate::map::glob::{Globs, Preference};
use crate::sample::EventType;

/// Regexes that match whatever the name is, the empty one too.
const MATCH_ALL: [&str; 10] = ["", "^", "$", ".*", "^.*", ".*$", "^.*$", "(.*)", "^(.*)$", "^(.*)"];

/// A rule that no name can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The rule, as [`Matched::index`](crate::map::Matched::index) counts.
    pub index: usize,
    /// The rule that takes its names, or one of several.
    pub by: usize,
}

impl Rules {
    /// The rules that no name can find, in the order of the file.
    #[must_use]
    pub fn unreachable(&self) -> Vec<Unreachable> {
        let mut found = self.unreachable_globs();
        found.extend(self.unreachable_patterns());
        found.sort_unstable_by_key(|rule| rule.index);
        found
    }

    /// The name of a rule's family with `$` in the place of every reference.
    #[must_use]
    pub fn name_pattern(&self, index: usize) -> String {
        self.entries.get(index).map_or(String::new(), |entry| entry.name.fill(|_| "$"))
    }

    /// Globs are asked first, so only globs can stand before one.
    fn unreachable_globs(&self) -> Vec<Unreachable> {
        let mut found = Vec::new();
        let mut earlier = Globs::new(Preference::Earliest);
        let mut written: HashMap<(&str, EventType), usize> = HashMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if self.pattern(index).is_some() {
                continue;
            }
            let source = entry.rule.source.as_str();
            let types = types(entry.event.as_ref());
            let by = if self.globs.is_ordered() {
                earlier.covering(source, types).map(|wide| wide as usize)
            } else {
                // Which of several ways is taken depends on the name; equal globs have one way.
                let mut equal = types.iter().map(|event| written.get(&(source, *event)).copied());
                let first = equal.next().flatten();
                first.filter(|_| equal.all(|other| other.is_some()))
            };
            found.extend(by.map(|by| Unreachable { index, by }));
            earlier.insert(source, types, u32::try_from(index).unwrap_or(u32::MAX));
            for event in types {
                written.entry((source, *event)).or_insert(index);
            }
        }
        found
    }

    /// A regex may be out of reach because of an earlier regex, or any glob.
    fn unreachable_patterns(&self) -> Vec<Unreachable> {
        let mut found = Vec::new();
        let mut written: HashMap<(&str, EventType), usize> = HashMap::new();
        let mut all: HashMap<EventType, usize> = HashMap::new();
        for (place, rule) in self.patterns.iter().enumerate() {
            let source = self.rule(rule.index).source.as_str();
            let types = types(rule.event.as_ref());
            let (literal, is_whole) = literal_beginning(source);
            let earlier = self.patterns.get(..place).unwrap_or_default();
            let mut takers = types.iter().map(|event| {
                let equal = written.get(&(source, *event)).or_else(|| all.get(event)).copied();
                equal.or_else(|| self.taker(&literal, *event, earlier).filter(|_| is_whole))
            });
            let first = takers.next().flatten();
            let by = first.filter(|_| takers.all(|other| other.is_some()));
            found.extend(by.map(|by| Unreachable { index: rule.index, by }));
            for event in types {
                written.entry((source, *event)).or_insert(rule.index);
                if MATCH_ALL.contains(&source) {
                    all.entry(*event).or_insert(rule.index);
                }
            }
        }
        found
    }

    /// Who takes a name before the regexes that are not among `earlier`.
    fn taker(&self, name: &str, event: EventType, earlier: &[PatternRule]) -> Option<usize> {
        let glob = self.globs.find(name, event).map(|(index, _)| index as usize);
        let is_for = |rule: &&PatternRule| rule.event.is_none_or(|own| own == event);
        let mut regexes = earlier.iter().filter(is_for);
        glob.or_else(|| {
            let first = regexes.find(|rule| rule.pattern.captures(name).is_some());
            first.map(|rule| rule.index)
        })
    }
}

fn types(event: Option<&EventType>) -> &[EventType] {
    event.map_or(&EventType::ALL[..], std::slice::from_ref)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::Compat;

    #[test]
    fn a_glob_behind_a_wider_one_is_out_of_reach() {
        check("", &["match: a.*", "match: a.b"], "2 by 1");
        check("", &["match: a.b", "match: a.*"], "");
        check("", &["match: a.*, match_metric_type: gauge", "match: a.b"], "");
        check("", &["match: a.*", "match: a.b, match_metric_type: gauge"], "2 by 1");
        check("", &["match: a.b", "match: a.b", "match: a.b"], "2 by 1\n3 by 1");
    }

    #[test]
    fn without_order_only_equal_globs_are_out_of_reach() {
        let literal = "defaults: {glob_disable_ordering: true}\n";
        check(literal, &["match: a.*", "match: a.b"], "");
        check(literal, &["match: a.*", "match: a.*"], "2 by 1");
    }

    #[test]
    fn a_regex_is_out_of_reach_behind_its_equal_all_names_or_a_glob() {
        check(
            "",
            &["match: 'a.*', match_type: regex", "match: 'a.*', match_type: regex"],
            "2 by 1",
        );
        check("", &["match: '.*', match_type: regex", "match: 'b', match_type: regex"], "2 by 1");
        check("", &["match: '^a\\.b$', match_type: regex", "match: a.*"], "1 by 2");
        check("", &["match: '^a\\.b', match_type: regex", "match: a.*"], "");
        check(
            "",
            &["match: '^a\\.b$', match_type: regex", "match: a.*, match_metric_type: set"],
            "",
        );
        check("", &["match: '.+', match_type: regex", "match: 'b*', match_type: regex"], "");
    }

    proptest! {
        #[test]
        fn no_name_finds_a_rule_that_is_out_of_reach(
            rules in proptest::collection::vec(
                ("[ab*]([.][ab*]){0,2}", "|, match_metric_type: (gauge|set)", any::<bool>(), "(\\^?[ab]([\\\\][.][ab])?\\$?|[.][*]|)"),
                1..7,
            ),
            is_ordered in any::<bool>(),
            names in proptest::collection::vec("[abc]?([.][abc*]){0,3}", 40),
        ) {
            let rules: Vec<String> = rules.iter().map(|(glob, event, is_glob, regex)| {
                if *is_glob { format!("match: '{glob}'{event}") } else { format!("match: '{regex}', match_type: regex{event}") }
            }).collect();
            let defaults = format!("defaults: {{glob_disable_ordering: {}}}\n", !is_ordered);
            let rules = load(&defaults, &rules.iter().map(String::as_str).collect::<Vec<_>>());
            let unreachable = rules.unreachable();
            for (name, event) in names.iter().flat_map(|name| EventType::ALL.map(|event| (name, event))) {
                let found = rules.find(name, event).map(|found| found.index);
                prop_assert!(unreachable.iter().all(|rule| Some(rule.index) != found), "{name} {event:?} {unreachable:?}");
            }
        }
    }

    fn load(defaults: &str, rules: &[&str]) -> Rules {
        let rules: Vec<String> =
            rules.iter().map(|rule| format!("- {{{rule}, name: n}}")).collect();
        let text = format!("{defaults}mappings:\n{}\n", rules.join("\n"));
        Rules::parse(text.as_bytes(), "m.yml".as_ref(), Compat::Extended).unwrap().rules
    }

    #[track_caller]
    fn check(defaults: &str, rules: &[&str], expected: &str) {
        let found = load(defaults, rules).unreachable();
        let told = found.iter().map(|rule| format!("{} by {}", rule.index + 1, rule.by + 1));
        assert_eq!(told.collect::<Vec<_>>().join("\n"), expected, "{rules:?}");
    }
}
