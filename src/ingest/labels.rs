//! From a client's tags and a rule's labels to the text that names a series.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::aggregate::FamilyKind;
use crate::aggregate::limits::OVERFLOW;
use crate::map::Rule;
use crate::map::limits::RuleLimits;
use crate::map::tags::TagRules;
use crate::sample::Tag;

/// Among so many tags duplicates are searched for one by one, which beats sorting. A datagram has
/// room for ten thousand: searching among those would take it a second.
const MAX_SEARCHED: usize = 32;

/// The labels of one series to be, sorted by name and without duplicates.
#[derive(Debug, Default)]
pub struct Labels<'a>(SmallVec<[(Cow<'a, str>, &'a str); 8]>);

impl<'a> Labels<'a> {
    /// The labels that a line's tags, its rule and the labels which that sets come to, and how many
    /// tags have a name that Prometheus keeps for itself.
    #[must_use]
    pub fn gather(tags: &[Tag<'a>], rule: &'a Rule, set: &'a [(String, String)]) -> (Self, u32) {
        let mut labels = Self::default();
        let tag_rules = &rule.intake.tags;
        let refused = labels.take_tags(tags, tag_rules);
        for (name, value) in set {
            labels.take_rule_label(name, value, rule.honor_labels);
        }
        for (name, value) in tag_rules.added() {
            labels.take_rule_label(name, value, true);
        }
        (labels, refused)
    }

    /// Takes tags in; of duplicates after escaping the last one counts. Returns how many tags had
    /// a name that Prometheus keeps for itself.
    fn take_tags(&mut self, tags: &[Tag<'a>], rules: &'a TagRules) -> u32 {
        let mut refused = 0;
        for tag in tags {
            let Some(name) = rules.label(tag.key) else { continue };
            if name.starts_with("__") {
                refused += 1;
            } else if tags.len() <= MAX_SEARCHED {
                self.set(name, tag.value);
            } else {
                self.0.push((name, tag.value));
            }
        }
        if tags.len() > MAX_SEARCHED {
            self.keep_last_of_each_name();
        }
        refused
    }

    fn keep_last_of_each_name(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
        self.0.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                earlier.1 = later.1;
            }
            is_same
        });
    }

    /// Takes a rule's label in. It wins over a tag of the same name unless `honor` is set.
    fn take_rule_label(&mut self, name: &'a str, value: &'a str, honor: bool) {
        let is_taken = honor && self.0.iter().any(|label| label.0 == name);
        if !is_taken && !name.starts_with("__") {
            self.set(Cow::Borrowed(name), value);
        }
    }

    fn set(&mut self, name: Cow<'a, str>, value: &'a str) {
        match self.0.iter_mut().find(|label| label.0 == name) {
            Some(label) => label.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Renames the label that the samples of a histogram or summary need for themselves, the way
    /// Prometheus does on a clash; the reference panics.
    pub fn make_room_for(&mut self, kind: FamilyKind) {
        let reserved = match kind {
            FamilyKind::Histogram => "le",
            FamilyKind::Summary => "quantile",
            FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Set => return,
        };
        if let Some(label) = self.0.iter_mut().find(|label| label.0 == reserved) {
            label.0 = Cow::Owned(format!("exported_{reserved}"));
        }
    }

    /// A name that is too long, if there is one.
    #[must_use]
    pub fn long_name(&self, limits: &RuleLimits) -> Option<&str> {
        let mut names = self.0.iter().map(|label| &*label.0);
        names.find(|name| limits.is_name_too_long(name))
    }

    /// Puts the overflow's value in the place of those that are too long; the first such label.
    pub fn replace_long_values(&mut self, limits: &RuleLimits) -> Option<&str> {
        let mut first = None;
        for (name, value) in &mut self.0 {
            if limits.is_value_too_long(value) {
                *value = OVERFLOW;
                first = first.or(Some(&**name));
            }
        }
        first
    }

    /// Sorts the labels and writes the series as the text format does, and the names for
    /// themselves, each with a comma after it.
    pub fn write(&mut self, family: &str, text: &mut String, names: &mut String) {
        self.0.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        // A label that was renamed may meet one that had the name already.
        self.0.dedup_by(|a, b| a.0 == b.0);
        text.clear();
        names.clear();
        text.push_str(family);
        for (i, (name, value)) in self.0.iter().enumerate() {
            text.push(if i == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(text, value);
            text.push('"');
            names.push_str(name);
            names.push(',');
        }
        if !self.0.is_empty() {
            text.push('}');
        }
    }
}

/// Escapes a label value as the text format wants it.
pub(crate) fn push_escaped(text: &mut String, value: &str) {
    for part in value.split_inclusive(['\\', '"', '\n']) {
        let mut chars = part.chars();
        let (plain, special) = match chars.next_back() {
            Some('\\') => (chars.as_str(), "\\\\"),
            Some('"') => (chars.as_str(), "\\\""),
            Some('\n') => (chars.as_str(), "\\n"),
            _ => (part, ""),
        };
        text.push_str(plain);
        text.push_str(special);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[track_caller]
    fn check(tags: &[(&str, &str)], rule: &[(&str, &str)], honor: bool, expected: &str) {
        let tags: Vec<_> = tags.iter().map(|(key, value)| Tag { key, value }).collect();
        let rules = TagRules::default();
        let mut labels = Labels::default();
        labels.take_tags(&tags, &rules);
        for (name, value) in rule {
            labels.take_rule_label(name, value, honor);
        }
        labels.make_room_for(FamilyKind::Histogram);
        let (mut text, mut names) = (String::new(), String::new());
        labels.write("f", &mut text, &mut names);
        assert_eq!(text, expected);
    }

    #[test]
    fn labels_are_sorted_escaped_and_unique() {
        check(&[], &[], false, "f");
        check(&[("b", "2"), ("a", "1")], &[], false, r#"f{a="1",b="2"}"#);
        check(&[("a", "1"), ("a", "2")], &[], false, r#"f{a="2"}"#);
        check(&[("a.b", "1"), ("a-b", "2")], &[], false, r#"f{a_b="2"}"#);
        check(&[("a", "x\"y\\z\nw")], &[], false, r#"f{a="x\"y\\z\nw"}"#);
    }

    #[test]
    fn a_rule_wins_unless_it_honors_the_client() {
        check(&[("a", "client")], &[("a", "rule")], false, r#"f{a="rule"}"#);
        check(
            &[("a", "client")],
            &[("a", "rule"), ("b", "rule")],
            true,
            r#"f{a="client",b="rule"}"#,
        );
    }

    #[test]
    fn names_that_are_not_the_clients_are_kept_off_the_page() {
        check(&[("__name__", "x"), ("..x", "y"), ("ok", "z")], &[], false, r#"f{ok="z"}"#);
        check(&[("le", "x")], &[], false, r#"f{exported_le="x"}"#);
        check(&[("le", "x"), ("exported_le", "y")], &[], false, r#"f{exported_le="x"}"#);
    }

    #[test]
    fn of_very_many_tags_the_last_one_of_each_name_counts() {
        let keys: Vec<_> = (0..60_000).map(|n| format!("k{}", n % 50_000)).collect();
        let values: Vec<_> = (0..60_000).map(|n| n.to_string()).collect();
        let tags = keys.iter().zip(&values).map(|(key, value)| Tag { key, value });
        let rules = TagRules::default();
        let begin = Instant::now();
        let mut labels = Labels::default();
        labels.take_tags(&tags.collect::<Vec<_>>(), &rules);
        let (mut text, mut names) = (String::new(), String::new());
        labels.write("f", &mut text, &mut names);
        assert!(begin.elapsed() < Duration::from_secs(5), "the time must not grow as a square");
        assert_eq!(names.matches(',').count(), 50_000);
        assert!(text.contains("k7=\"50007\"") && text.contains("k49999=\"49999\""));
    }
}
