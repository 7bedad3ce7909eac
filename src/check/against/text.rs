//! A comparison for people: a table of what differs, and a sentence.

use std::fmt::Write as _;

use super::Against;
use super::compare::{Difference, What};
use crate::check::text::counted;
use crate::grafana::cli::output::table;

/// So many differences are shown unless all are asked for.
const MAX_SHOWN: usize = 40;
/// Longer texts are cut, so that tables stay readable.
const MAX_WIDTH: usize = 60;

impl Against {
    /// The comparison for people, with a newline at its end.
    pub(in crate::check) fn to_text(&self, all: bool) -> String {
        let mut text = String::new();
        let (quiet, loud): (Vec<_>, Vec<_>) =
            self.differences.iter().partition(|difference| difference.is_quiet);
        rows(&mut text, &loud, all);
        if !quiet.is_empty() {
            text.push_str(
                "Nothing changed here meanwhile, so this may be from before the new one began:\n",
            );
            rows(&mut text, &quiet, all);
        }
        self.summary(&mut text, loud.len()).unwrap_or_default();
        text
    }

    fn summary(&self, text: &mut String, differences: usize) -> std::fmt::Result {
        let (families, samples) =
            (counted(self.families, "family"), counted(self.samples, "sample"));
        write!(text, "{families} and {samples} compared over {} s: ", self.seconds)?;
        match differences {
            0 => writeln!(text, "no difference")?,
            differences => writeln!(text, "{}", counted(differences, "difference"))?,
        }
        if self.offset > 0 {
            let counters = counted(self.offset, "counter");
            writeln!(text, "{counters} grew alike from different values (--absolute shows them)")?;
        }
        if self.families == 0 {
            writeln!(text, "The two have no family in common: do both get the same lines?")?;
        }
        Ok(())
    }
}

fn rows(text: &mut String, differences: &[&Difference], all: bool) {
    if differences.is_empty() {
        return;
    }
    let shown = if all { differences.len() } else { MAX_SHOWN };
    let cells = differences.iter().take(shown).map(|difference| {
        let Difference { what, name, old, new, .. } = difference;
        [words(*what).to_owned(), name.clone(), cut(old), cut(new)]
    });
    text.push_str(&table(["What", "Where", "Old", "New"], cells));
    if let Some(more @ 1..) = differences.len().checked_sub(shown) {
        writeln!(text, "and {more} more (--all)").unwrap_or_default();
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_WIDTH {
        return text.to_owned();
    }
    text.chars().take(MAX_WIDTH - 1).chain(['…']).collect()
}

fn words(what: What) -> &'static str {
    match what {
        What::FamilyMissing => "family missing",
        What::FamilyNew => "family new",
        What::Type => "type",
        What::Labels => "labels",
        What::Buckets => "buckets",
        What::Quantiles => "quantiles",
        What::SeriesMissing => "series missing",
        What::SeriesNew => "series new",
        What::Value => "value",
        What::Help => "help",
    }
}
