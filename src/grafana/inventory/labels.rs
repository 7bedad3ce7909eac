//! The labels of many series, counted within bounds.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{Label, MAX_EXAMPLES};
use crate::aggregate::label_pairs;

/// Different values of a label are counted up to here.
const MAX_COUNTED: usize = 10_000;

/// The labels of a family, as far as its series have been looked at.
#[derive(Debug, Default)]
pub(super) struct Collector {
    labels: Vec<(String, Values)>,
}

#[derive(Debug, Default)]
struct Values {
    /// Hashes, since there may be very many.
    seen: HashSet<u64, FixedState>,
    /// The first ones in their order.
    examples: BTreeSet<String>,
}

impl Collector {
    /// Takes in the labels of a series, as the text format writes them between the braces.
    pub(super) fn add(&mut self, labels: &str) {
        for (name, value) in label_pairs(labels) {
            let known = self.labels.iter().position(|(known, _)| known == name);
            let at = known.unwrap_or_else(|| {
                self.labels.push((name.to_owned(), Values::default()));
                self.labels.len() - 1
            });
            if let Some((_, values)) = self.labels.get_mut(at) {
                values.add(value);
            }
        }
    }

    /// What has been found, without the labels that buckets and quantiles have.
    pub(super) fn finish(self, reserved: &str) -> Vec<Label> {
        let labels = self.labels.into_iter().filter(|(name, _)| name != reserved);
        let mut labels: Vec<Label> = labels
            .map(|(name, values)| Label {
                name,
                values: Some(values.seen.len() as u64),
                examples: values.examples.into_iter().collect(),
            })
            .collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels
    }
}

impl Values {
    fn add(&mut self, value: &str) {
        if self.seen.len() >= MAX_COUNTED
            || !self.seen.insert(FixedState::default().hash_one(value))
        {
            return;
        }
        let value = unescaped(value);
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.insert(value.into_owned());
        } else if self.examples.last().is_some_and(|last| **last > *value) {
            self.examples.insert(value.into_owned());
            self.examples.pop_last();
        }
    }
}

/// A label's value without the backslashes that the text format puts before some characters.
#[must_use]
pub fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            },
            _ => text.push(char),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_some_kept() {
        let labels =
            (0..30).map(|n| format!("n=\"{n:02}\",k=\"a\\\"\\n\\\\\"")).collect::<Vec<_>>();
        let labels = found(&labels.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(labels.len(), 2);
        assert_eq!((labels[0].name.as_str(), labels[0].values), ("k", Some(1)));
        assert_eq!(labels[0].examples, ["a\"\n\\"]);
        assert_eq!((labels[1].values, labels[1].examples.len()), (Some(30), MAX_EXAMPLES));
        assert_eq!(labels[1].examples[19], "19");
    }

    #[test]
    fn examples_do_not_depend_on_the_order() {
        let forth: Vec<String> = (0..50).map(|n| format!("n=\"{n}\"")).collect();
        let back: Vec<&str> = forth.iter().rev().map(String::as_str).collect();
        let forth: Vec<&str> = forth.iter().map(String::as_str).collect();
        assert_eq!(found(&forth), found(&back));
    }

    #[test]
    fn what_is_no_label_ends_the_list() {
        for text in ["", "x", "x=\"", "x=\"\\", "x=\"\\\"", "=", "x=\"a\" y"] {
            assert!(found(&[text]).len() <= 1, "{text}");
        }
    }

    fn found(series: &[&str]) -> Vec<Label> {
        let mut collector = Collector::default();
        for labels in series {
            collector.add(labels);
        }
        collector.finish("le")
    }
}
