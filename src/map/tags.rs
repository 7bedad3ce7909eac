//! What becomes of clients' tags before anything is aggregated.
//!
//! A tag is renamed first, then kept or dropped under its new name; what is to be added comes last,
//! where nothing else has the name. Series that differ in dropped tags alone are one series.

use std::borrow::Cow;

use super::escape::escape_name;

/// `drop_tags`, `keep_tags`, `rename_tags` and `add_tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRules {
    /// Patterns of tags that are left out.
    pub drop: Option<Vec<String>>,
    /// Patterns of the only tags that are taken.
    pub keep: Option<Vec<String>>,
    /// Old and new names; the new ones are legal names of labels.
    pub rename: Option<Vec<(String, String)>>,
    /// Labels for series that have none of that name.
    pub add: Option<Vec<(String, String)>>,
}

impl TagRules {
    /// Takes what is not set here from `base`.
    pub fn inherit(&mut self, base: &Self) {
        let Self { drop, keep, rename, add } = base;
        self.drop = self.drop.take().or_else(|| drop.clone());
        self.keep = self.keep.take().or_else(|| keep.clone());
        self.rename = self.rename.take().or_else(|| rename.clone());
        self.add = self.add.take().or_else(|| add.clone());
    }

    /// The name of the label that a tag becomes; `None` where the tag is left out.
    #[must_use]
    pub fn label<'a>(&'a self, key: &'a str) -> Option<Cow<'a, str>> {
        let name = escape_name(key);
        let spellings = [key, &*name];
        let mut renames = self.rename.iter().flatten();
        if let Some((_, new)) = renames.find(|(old, _)| spellings.contains(&old.as_str())) {
            return self.takes([new]).then_some(Cow::Borrowed(new));
        }
        self.takes(spellings).then_some(name)
    }

    /// Labels to be added, where nothing else has the name.
    pub fn added(&self) -> impl Iterator<Item = (&str, &str)> {
        self.add.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a tag of that name, as it was sent or escaped, is taken.
    fn takes<const N: usize>(&self, spellings: [&str; N]) -> bool {
        let is_in = |patterns: &Vec<String>| {
            patterns.iter().any(|pattern| spellings.iter().any(|name| matches(pattern, name)))
        };
        self.keep.as_ref().is_none_or(is_in) && !self.drop.as_ref().is_some_and(is_in)
    }
}

/// Whether a text is what a pattern says, in which each `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("pod", "pod", true),
            ("pod", "pods", false),
            ("*", "", true),
            ("pod*", "pod_name", true),
            ("*_id", "request_id", true),
            ("*_id", "request_ids", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**é", "a-é", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_tag_is_renamed_and_then_kept_or_dropped_by_its_new_name() {
        let rules = rules(&["*id"], &["env", "user*", "req.id"], &[("stage", "env"), ("u", "uid")]);
        check(&rules, "env", Some("env"));
        check(&rules, "user.name", Some("user_name"));
        check(&rules, "stage", Some("env"));
        check(&rules, "user_id", None);
        check(&rules, "u", None);
        check(&rules, "req.id", None);
        check(&rules, "other", None);
        check(&TagRules::default(), "a.b", Some("a_b"));
    }

    #[test]
    fn patterns_and_old_names_hold_for_tags_as_sent_and_as_escaped() {
        for key in ["request.id", "request_id"] {
            check(&rules(&[key], &["*"], &[]), "request.id", None);
            check(&rules(&[], &["*"], &[(key, "id")]), "request.id", Some("id"));
        }
    }

    #[test]
    fn what_a_rule_does_not_say_is_taken_from_elsewhere() {
        let mut rule = TagRules { drop: Some(vec![]), ..TagRules::default() };
        rule.inherit(&rules(&["a"], &["b"], &[]));
        assert_eq!(rule.drop.as_deref(), Some(&[][..]));
        assert_eq!(rule.keep, Some(vec!["b".to_owned()]));
    }

    fn rules(drop: &[&str], keep: &[&str], rename: &[(&str, &str)]) -> TagRules {
        let texts = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect());
        let pair = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
        let rename = Some(rename.iter().map(pair).collect());
        TagRules { drop: texts(drop), keep: texts(keep), rename, add: None }
    }

    #[track_caller]
    fn check(rules: &TagRules, key: &str, expected: Option<&str>) {
        assert_eq!(rules.label(key).as_deref(), expected, "{key}");
    }
}
