//! How much the samples of a rule may bring: series, values of a label, bytes.

use std::borrow::Cow;

/// What is done with a sample of a series that would go over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnLimit {
    /// It goes to a series that takes all of them, if its kind can be added up.
    Overflow,
    /// It is counted and forgotten.
    Drop,
}

/// The limits for the samples of a rule. Zero stands for none, nothing for what others say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLimits {
    /// Series of the family (`max_series`).
    pub series: Option<u32>,
    /// Different values of each label (`max_label_values: N`).
    pub values: Option<u32>,
    /// Different values of some labels (`max_label_values: {LABEL: N}`).
    pub values_of: Vec<(String, u32)>,
    /// What is done beyond (`on_limit`).
    pub on_limit: Option<OnLimit>,
    /// Length of the names of metrics and labels in bytes (`--limits.name-length`).
    pub name_bytes: usize,
    /// Length of the values of labels in bytes (`--limits.label-length`).
    pub value_bytes: usize,
}

impl RuleLimits {
    /// Takes what is not set here from `base`.
    pub fn inherit(&mut self, base: &Self) {
        self.series = self.series.or(base.series);
        // A number for every label of this rule stands above what is said elsewhere of some.
        if self.values.is_none() {
            self.values = base.values;
            let is_new = |limit: &&(String, u32)| self.own_values_of(&limit.0).is_none();
            let more: Vec<_> = base.values_of.iter().filter(is_new).cloned().collect();
            self.values_of.extend(more);
        }
        self.on_limit = self.on_limit.or(base.on_limit);
        self.name_bytes = base.name_bytes;
        self.value_bytes = base.value_bytes;
    }

    fn own_values_of(&self, label: &str) -> Option<u32> {
        self.values_of.iter().find(|(name, _)| name == label).map(|(_, limit)| *limit)
    }

    /// How many series the family may have.
    #[must_use]
    pub fn series(&self) -> Option<usize> {
        at_least_one(self.series)
    }

    /// How many values a label may have.
    #[must_use]
    pub fn values_of(&self, label: &str) -> Option<usize> {
        at_least_one(self.own_values_of(label).or(self.values))
    }

    /// Whether a label that is not named may have so many values only.
    #[must_use]
    pub fn has_values_of_each(&self) -> bool {
        self.values.is_some_and(|limit| limit > 0)
    }

    /// The labels that have a limit of their own.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let limited = self.values_of.iter().filter(|(_, limit)| *limit > 0);
        limited.map(|(label, _)| label.as_str())
    }

    /// Whether any label may have so many values only.
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.has_values_of_each() || self.labels().next().is_some()
    }

    /// Whether what is beyond a limit goes to an overflow series.
    #[must_use]
    pub fn overflows(&self) -> bool {
        self.on_limit != Some(OnLimit::Drop)
    }

    /// Whether a name of a metric or label is too long.
    #[must_use]
    pub fn is_name_too_long(&self, name: &str) -> bool {
        self.name_bytes > 0 && name.len() > self.name_bytes
    }

    /// Whether a value of a label is too long.
    #[must_use]
    pub fn is_value_too_long(&self, value: &str) -> bool {
        self.value_bytes > 0 && value.len() > self.value_bytes
    }
}

fn at_least_one(limit: Option<u32>) -> Option<usize> {
    limit.filter(|limit| *limit > 0).and_then(|limit| usize::try_from(limit).ok())
}

/// The beginning of a text that may be of any length, to be shown.
#[must_use]
pub fn beginning(text: &str) -> Cow<'_, str> {
    const MAX_SHOWN_BYTES: usize = 100;
    if text.len() <= MAX_SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(MAX_SHOWN_BYTES);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_the_limit_that_is_said_nearest_to_it() {
        let limits = |values, values_of: &[(&str, u32)]| RuleLimits {
            values,
            values_of: values_of.iter().map(|(label, n)| ((*label).to_owned(), *n)).collect(),
            ..RuleLimits::default()
        };
        let base = limits(Some(9), &[("user", 2), ("app", 3)]);
        check(limits(None, &[]), &base, [Some(2), Some(3), Some(9)]);
        check(limits(None, &[("user", 0)]), &base, [None, Some(3), Some(9)]);
        check(limits(Some(5), &[("user", 7)]), &base, [Some(7), Some(5), Some(5)]);
        check(limits(Some(0), &[]), &base, [None, None, None]);
        check(limits(None, &[]), &RuleLimits::default(), [None, None, None]);
    }

    #[track_caller]
    fn check(mut limits: RuleLimits, base: &RuleLimits, expected: [Option<usize>; 3]) {
        limits.inherit(base);
        assert_eq!(["user", "app", "other"].map(|label| limits.values_of(label)), expected);
        assert_eq!(limits.has_values(), expected.iter().any(Option::is_some));
    }

    #[test]
    fn what_is_too_long_to_be_shown_ends_in_an_ellipsis() {
        assert_eq!(beginning("short"), "short");
        let shown = beginning(&"é".repeat(200)).into_owned();
        assert_eq!(shown, "é".repeat(50) + "…");
    }
}
