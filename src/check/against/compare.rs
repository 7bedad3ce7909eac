//! In what pages differ that were looked at several times.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Against, Round};
use crate::check::page::{self, Family, Page, Sample};
use crate::check::text::counted;

/// Sums of floats that went different ways may differ in their last digits.
const TOLERANCE: f64 = 1e-9;
/// By how much an approximate quantile may leave the range that it lies in.
const QUANTILE_TOLERANCE: f64 = 0.1;

/// Something in which the pages differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    /// What it is.
    pub(super) what: What,
    /// The family or the series.
    pub(super) name: String,
    /// What the old page has.
    pub(super) old: String,
    /// What the new page has.
    pub(super) new: String,
    /// Whether it is missing and nothing changed there during the look: then it may be from before
    /// the new server began.
    #[serde(rename = "quiet")]
    pub(super) is_quiet: bool,
}

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Only the old page has the family.
    FamilyMissing,
    /// Only the new page has it.
    FamilyNew,
    /// The type.
    Type,
    /// The names of labels.
    Labels,
    /// Upper bounds of a histogram.
    Buckets,
    /// Which quantiles a summary has.
    Quantiles,
    /// Only the old page has the series.
    SeriesMissing,
    /// Only the new page has it.
    SeriesNew,
    /// The value, or what was added.
    Value,
    /// The help text.
    Help,
}

/// Compares pages; with `values` counters have to stand at the same value too.
pub(super) fn compare(rounds: &[Round], values: bool) -> Against {
    let mut comparison = Comparison { rounds, values, found: Against::default() };
    if let (Some(first), Some(last)) = (rounds.first(), rounds.last()) {
        comparison.families(first, last);
    }
    comparison.found.differences.sort_by(|a, b| (a.what, &a.name).cmp(&(b.what, &b.name)));
    comparison.found
}

/// Both families of one name: in the first look and in the last.
#[derive(Clone, Copy)]
struct Pair<'a> {
    name: &'a str,
    old: &'a Family,
    new: &'a Family,
}

struct Comparison<'a> {
    rounds: &'a [Round],
    values: bool,
    found: Against,
}

impl Comparison<'_> {
    fn families(&mut self, first: &Round, last: &Round) {
        for (name, old) in &last.before.families {
            if let Some(new) = last.new.families.get(name) {
                self.found.families += 1;
                self.family(Pair { name, old, new });
            } else if last.after.families.contains_key(name) {
                let is_quiet = first.before.families.get(name) == last.after.families.get(name);
                self.add(What::FamilyMissing, name, (outline(old), String::new()), is_quiet);
            }
        }
        for (name, new) in &last.new.families {
            let is_known = |page: &Page| page.families.contains_key(name);
            if !is_known(&last.before) && !is_known(&last.after) {
                self.add(What::FamilyNew, name, (String::new(), outline(new)), false);
            }
        }
    }

    fn add(&mut self, what: What, name: &str, (old, new): (String, String), is_quiet: bool) {
        let name = name.to_owned();
        self.found.differences.push(Difference { what, name, old, new, is_quiet });
    }

    fn family(&mut self, pair: Pair<'_>) {
        let Pair { name, old, new } = pair;
        if old.help != new.help {
            self.add(What::Help, name, (old.help.clone(), new.help.clone()), false);
        }
        if old.kind != new.kind {
            self.add(What::Type, name, (old.kind.clone(), new.kind.clone()), false);
            return;
        }
        let (old_labels, new_labels) = (label_names(old), label_names(new));
        if old_labels.is_disjoint(&new_labels) {
            self.add(What::Labels, name, (joined(&old_labels), joined(&new_labels)), false);
            return;
        }
        let mut left_out = "";
        for (label, what) in [("le", What::Buckets), ("quantile", What::Quantiles)] {
            let (old, new) = (values_of(old, label), values_of(new, label));
            if old != new {
                self.add(what, name, (joined(&old), joined(&new)), false);
                left_out = label;
            }
        }
        self.series(pair, left_out);
    }

    /// Compares the samples of a family but for those with a certain label.
    fn series(&mut self, pair: Pair<'_>, left_out: &str) {
        let is_left_out = |series: &str| !left_out.is_empty() && label(series, left_out).is_some();
        let Pair { name, old, new } = pair;
        for series in old.samples.keys().filter(|series| !is_left_out(series)) {
            if new.samples.contains_key(series) {
                self.found.samples += 1;
                self.value(pair, series);
            } else if let Some((_, _, value)) = self.last(name, series) {
                let is_quiet = self.is_quiet(name, series);
                self.add(What::SeriesMissing, series, (value.to_string(), String::new()), is_quiet);
            }
        }
        for (series, value) in new.samples.iter().filter(|(series, _)| !is_left_out(series)) {
            if !old.samples.contains_key(series) && self.last(name, series).is_none() {
                self.add(What::SeriesNew, series, (String::new(), value.to_string()), false);
            }
        }
    }

    /// Whether a series of the old page stays as it is from the first round to the last.
    fn is_quiet(&self, name: &str, series: &str) -> bool {
        let value = |round: &Round| value_in(&round.before, name, series).map(f64::to_bits);
        self.rounds.first().map(value) == self.rounds.last().map(value)
    }

    /// What a series stands at in the last round: old, new, old. `None` where the old page lost it.
    fn last(&self, name: &str, series: &str) -> Option<(f64, Option<f64>, f64)> {
        let round = self.rounds.last()?;
        let after = value_in(&round.after, name, series)?;
        let before = value_in(&round.before, name, series).unwrap_or(after);
        Some((before, value_in(&round.new, name, series), after))
    }

    fn value(&mut self, pair: Pair<'_>, series: &str) {
        let is_counted = series.split('{').next() != Some(pair.name);
        match pair.old.kind.as_str() {
            "summary" if !is_counted => self.quantile(pair, series),
            "counter" | "histogram" | "summary" => self.increase(pair, series),
            _ => self.level(pair, series),
        }
    }

    /// Compares what was added since the first round.
    fn increase(&mut self, pair: Pair<'_>, series: &str) {
        let (Some(first), Some(last)) = (self.rounds.first(), self.rounds.last()) else { return };
        let at = |page| value_in(page, pair.name, series).unwrap_or_default();
        let before = [&first.before, &first.new, &first.after].map(at);
        let now = [&last.before, &last.new, &last.after].map(at);
        let scale = now.iter().fold(0_f64, |scale, value| scale.max(value.abs()));
        let (low, high) = (now[0] - before[2], now[2] - before[0]);
        let added = now[1] - before[1];
        // A server that was started again has nothing that could be compared.
        let is_nan = added.is_nan() && high.is_nan();
        if is_nan || high < 0.0 || added < 0.0 {
            return;
        }
        let is_level = is_within(now[1], (now[0], now[2]), scale);
        if !is_within(added, (low.max(0.0), high), scale) {
            let texts = (format!("+{}", range(low.max(0.0), high)), format!("+{added}"));
            self.add(What::Value, series, texts, false);
        } else if !is_level && self.values {
            self.add(What::Value, series, (range(now[0], now[2]), now[1].to_string()), false);
        } else if !is_level {
            self.found.offset += 1;
        }
    }

    /// Compares a gauge: it differs where it never is what it was on the old page just then.
    fn level(&mut self, pair: Pair<'_>, series: &str) {
        let seen = self.rounds.iter().filter_map(|round| {
            let old = [&round.before, &round.after];
            let old = old.map(|page| value_in(page, pair.name, series));
            Some((old[0].or(old[1])?, value_in(&round.new, pair.name, series)?, old[1].or(old[0])?))
        });
        let seen: Vec<(f64, f64, f64)> = seen.collect();
        let is_other = |(before, new, after): &(f64, f64, f64)| {
            let range = (before.min(*after), before.max(*after));
            !is_within(*new, range, before.abs().max(after.abs()))
        };
        let Some(last) = seen.last().filter(|_| seen.iter().all(is_other)) else { return };
        let texts = (range(last.0.min(last.2), last.0.max(last.2)), last.1.to_string());
        self.add(What::Value, series, texts, false);
    }

    /// Compares a quantile, which both only estimate: it has to lie between the old one's
    /// neighbours. It cannot be compared where the two have seen different samples.
    fn quantile(&mut self, pair: Pair<'_>, series: &str) {
        let Some(Sample { name, labels, .. }) = Sample::read_series(series) else { return };
        let others: Vec<_> =
            labels.iter().copied().filter(|(label, _)| *label != "quantile").collect();
        let count = page::series(&format!("{name}_count"), &others);
        let Some((before, Some(new), after)) = self.last(pair.name, &count) else { return };
        let Some((old, Some(value), _)) = self.last(pair.name, series) else { return };
        // Among them NaN and infinity, which lie in no range.
        let is_same = old.to_bits() == value.to_bits() || old.is_nan() && value.is_nan();
        if is_same || !is_within(new, (before, after), after) {
            return;
        }
        let rest = others.clone();
        let siblings = pair.old.samples.iter().filter_map(|(sibling, value)| {
            let read = Sample::read_series(sibling)?;
            let own = read.labels.iter().filter(|(label, _)| *label != "quantile");
            let is_sibling = read.name == name && own.copied().eq(rest.iter().copied());
            is_sibling.then(|| Some((quantile_of(sibling)?, *value)))?
        });
        let mut siblings: Vec<(f64, f64)> = siblings.collect();
        siblings.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = siblings.iter().position(|(quantile, _)| Some(*quantile) == quantile_of(series));
        let neighbour = |step: Option<usize>| {
            step.and_then(|at| siblings.get(at)).map_or(old, |(_, value)| *value)
        };
        let low = neighbour(at.and_then(|at| at.checked_sub(1)));
        let high = neighbour(at.map(|at| at + 1));
        let (low, high) = (low.min(high), low.max(high));
        let slack = QUANTILE_TOLERANCE * low.abs().max(high.abs());
        if !(low - slack..=high + slack).contains(&value) {
            self.add(What::Value, series, (old.to_string(), value.to_string()), false);
        }
    }
}

fn value_in(page: &Page, family: &str, series: &str) -> Option<f64> {
    page.families.get(family)?.samples.get(series).copied()
}

/// Whether a value lies in a range, but for rounding in numbers as large as `scale`.
fn is_within(value: f64, (low, high): (f64, f64), scale: f64) -> bool {
    let slack = TOLERANCE * scale.abs().max(value.abs());
    let is_same = value.to_bits() == low.to_bits() || (value.is_nan() && low.is_nan());
    is_same || (low - slack <= value && value <= high + slack)
}

fn range(low: f64, high: f64) -> String {
    if low.to_bits() == high.to_bits() { low.to_string() } else { format!("{low} to {high}") }
}

/// A family in short.
fn outline(family: &Family) -> String {
    let kind = if family.kind.is_empty() { "untyped" } else { &family.kind };
    format!("{kind}, {}", counted(family.samples.len(), "sample"))
}

fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let sample = Sample::read_series(series)?;
    sample.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| *value)
}

fn quantile_of(series: &str) -> Option<f64> {
    label(series, "quantile")?.parse().ok()
}

/// The names of labels that a family's series have, but for those of buckets and quantiles.
fn label_names(family: &Family) -> BTreeSet<String> {
    let names = family.samples.keys().filter_map(|series| {
        let labels = Sample::read_series(series)?.labels;
        let own = labels.iter().map(|(name, _)| *name);
        let own: Vec<&str> = own.filter(|name| !matches!(*name, "le" | "quantile")).collect();
        Some(if own.is_empty() { "none".to_owned() } else { own.join(",") })
    });
    names.collect()
}

/// All values of a label, numbers in their order.
fn values_of(family: &Family, name: &str) -> BTreeSet<String> {
    let values = family.samples.keys().filter_map(|series| label(series, name));
    // Servers write the same number in different ways.
    values.map(|value| value.parse().map_or(value.to_owned(), |n: f64| n.to_string())).collect()
}

fn joined(texts: &BTreeSet<String>) -> String {
    let mut texts: Vec<(Option<f64>, &str)> =
        texts.iter().map(|text| (text.parse().ok(), text.as_str())).collect();
    texts.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    texts.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_that_say_the_same_do_not_differ() {
        let page = "# HELP a A.\n# TYPE a counter\na{x=\"1\"} 5\n# TYPE g gauge\ng 1\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 0\ns_count 0\n";
        check(&[[page, page, page]], "");
        check(&[["", "", ""]], "");
    }

    #[test]
    fn a_counter_has_to_grow_as_much() {
        let at = |value: u32| format!("# TYPE a counter\na {value}\n");
        let rounds =
            |values: &[[u32; 3]]| values.iter().map(|round| round.map(at)).collect::<Vec<_>>();
        check_pages(&rounds(&[[10, 10, 11], [20, 20, 21]]), "");
        // From another beginning, and with what the relay still has.
        check_pages(&rounds(&[[110, 9, 112], [120, 19, 122]]), "");
        check_pages(&rounds(&[[10, 10, 11], [20, 15, 21]]), "Value a: +9 to 11 | +5");
        check_pages(&rounds(&[[10, 10, 10], [20, 40, 20]]), "Value a: +10 | +30");
        // Started again.
        check_pages(&rounds(&[[10, 10, 10], [2, 12, 2]]), "");
    }

    #[test]
    fn a_gauge_differs_that_never_is_what_it_was() {
        let at = |value: u32| format!("# TYPE g gauge\ng {value}\n");
        let rounds =
            |values: &[[u32; 3]]| values.iter().map(|round| round.map(at)).collect::<Vec<_>>();
        check_pages(&rounds(&[[1, 2, 3], [9, 9, 8]]), "");
        check_pages(&rounds(&[[1, 7, 3], [9, 9, 8]]), "");
        check_pages(&rounds(&[[1, 7, 3], [9, 2, 8]]), "Value g: 8 to 9 | 2");
        check_pages(&rounds(&[[1, 7, 1], [1, 7, 1]]), "Value g: 1 | 7");
    }

    #[test]
    fn what_only_one_page_has_is_told_once() {
        let old = "# TYPE a counter\na 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
        let new = "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# TYPE b gauge\nb 1\n";
        check(
            &[[old, new, old]],
            "FamilyMissing a: counter, 1 sample |  (quiet)\nFamilyNew b:  | gauge, 1 sample\nBuckets h: 1 inf | 1 2 inf",
        );
        let (old, new) = (
            "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 1\n",
            "# TYPE a counter\na{x=\"1\"} 1\na{x=\"3\"} 1\n",
        );
        check(
            &[[old, new, old]],
            "SeriesMissing a{x=\"2\"}: 1 |  (quiet)\nSeriesNew a{x=\"3\"}:  | 1",
        );
        check(
            &[["", "", ""], [old, new, old]],
            "SeriesMissing a{x=\"2\"}: 1 | \nSeriesNew a{x=\"3\"}:  | 1",
        );
        check(&[[new, old, old]], "");
    }

    #[test]
    fn types_labels_and_help_are_compared() {
        let family = |kind: &str, help: &str, label: &str| {
            format!("# HELP a {help}\n# TYPE a {kind}\na{{{label}=\"1\"}} 1\n")
        };
        let (old, new) = (family("counter", "A.", "x"), family("gauge", "B.", "x"));
        check(&[[&old, &new, &old]], "Type a: counter | gauge\nHelp a: A. | B.");
        let new = family("counter", "A.", "y");
        check(&[[&old, &new, &old]], "Labels a: x | y");
    }

    #[test]
    fn quantiles_are_compared_as_estimates_of_the_same_samples() {
        let at = |quantiles: [f64; 3], count: u32| {
            let lines = [0.5, 0.9, 0.99].iter().zip(quantiles);
            let lines: Vec<String> =
                lines.map(|(q, value)| format!("s{{quantile=\"{q}\"}} {value}")).collect();
            format!("# TYPE s summary\n{}\ns_sum 9\ns_count {count}\n", lines.join("\n"))
        };
        let old = at([1.0, 2.0, 3.0], 9);
        check(&[[&old, &at([1.2, 2.5, 3.1], 9), &old]], "");
        check(&[[&old, &at([1.0, 9.0, 3.0], 9), &old]], "Value s{quantile=\"0.9\"}: 2 | 9");
        check(&[[&old, &at([1.0, 9.0, 3.0], 4), &old]], "");
    }

    proptest! {
        #[test]
        fn any_pages_can_be_compared(
            pages in proptest::collection::vec("(# TYPE [ab] (counter|gauge|summary|histogram)\n|[ab](_sum|_count|_bucket)?([{](le|quantile|x)=\"[01]?\"[}])? (NaN|[0-9]|-1|[+]Inf)\n){0,9}", 9),
        ) {
            let read: Vec<Page> = pages.iter().map(|page| Page::read(page)).collect();
            let rounds: Vec<Round> = read.chunks_exact(3).map(|pages| Round {
                before: pages[0].clone(), new: pages[1].clone(), after: pages[2].clone(),
            }).collect();
            compare(&rounds, true);
            let same: Vec<Round> = rounds.iter().map(|round| Round {
                new: round.before.clone(), after: round.before.clone(), before: round.before.clone(),
            }).collect();
            prop_assert_eq!(compare(&same, true).differences, []);
        }
    }

    #[track_caller]
    fn check_pages(rounds: &[[String; 3]], expected: &str) {
        let rounds: Vec<[&str; 3]> = rounds.iter().map(|r| [&*r[0], &*r[1], &*r[2]]).collect();
        check(&rounds, expected);
    }

    #[track_caller]
    fn check(rounds: &[[&str; 3]], expected: &str) {
        let round = |pages: &[&str; 3]| {
            let [before, new, after] = pages.map(Page::read);
            Round { before, new, after }
        };
        let rounds: Vec<Round> = rounds.iter().map(round).collect();
        let found = compare(&rounds, false).differences;
        let told = found.iter().map(|found| {
            let quiet = if found.is_quiet { " (quiet)" } else { "" };
            format!("{:?} {}: {} | {}{quiet}", found.what, found.name, found.old, found.new)
        });
        assert_eq!(told.collect::<Vec<_>>().join("\n"), expected);
    }
}
