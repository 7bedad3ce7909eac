//! An explanation as it goes over the wire: what `GET /api/v1/explain` answers.

use serde::{Deserialize, Serialize};

use crate::parse::anatomy::SectionText;

/// What becomes of a line, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The line; bytes that are no UTF-8 are replaced.
    pub line: String,
    /// What `tallyd_lines_total` counts it as: accepted, rejected, dropped, limited, conflict, empty
    /// or event.
    pub outcome: String,
    /// The metric's name without the tags in it.
    pub name: String,
    /// The tags as sent.
    pub tags: Vec<Label>,
    /// How the tags are written, if there are any.
    pub dialect: Option<String>,
    /// What stands behind the type, section by section.
    pub sections: Vec<Section>,
    /// What is wrong with the line.
    pub errors: Vec<Refusal>,
    /// What may be not as it was meant.
    pub notes: Vec<String>,
    /// Its samples; no more than 16 are told.
    pub samples: Vec<Sample>,
    /// How many samples there are besides.
    pub more_samples: u64,
    /// The page, if this were the only line ever sent.
    pub exposed: Vec<String>,
}

impl Explanation {
    /// Whether at least one sample reached its series, or there was none to do so.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome.as_str(), "accepted" | "empty" | "event")
    }
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Label {
    /// A name and a value.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

/// What stands between two `|`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// As written.
    pub text: String,
    /// What it is.
    pub meaning: String,
}

impl From<&SectionText<'_>> for Section {
    fn from(section: &SectionText<'_>) -> Self {
        Self { text: section.text.to_owned(), meaning: section.meaning.to_owned() }
    }
}

/// Why something is not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The `reason` of the counter, where it has one.
    pub reason: String,
    /// The counter that rises.
    pub counter: String,
    /// What is wrong.
    pub meaning: String,
    /// What to do about it.
    pub advice: String,
}

/// One sample of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What the client calls it: counter, gauge, timer, histogram, distribution or set.
    pub kind: String,
    /// What rules call it: counter, gauge, observer or set.
    pub event: String,
    /// As sent, but in seconds and divided by the rate.
    pub value: String,
    /// Whether it changes a gauge instead of setting it.
    pub relative: bool,
    /// How many events it stands for.
    pub times: u64,
    /// The rule that takes its name.
    pub rule: Option<Found>,
    /// Rules that would have taken it as well, or nearly did where none has; at most three.
    pub near: Vec<Near>,
    /// Where its way ends: reached, dropped, conflict or refused.
    pub end: String,
    /// Why it does not reach its series.
    pub refusal: Option<Refusal>,
    /// The value after the rule's `scale`.
    pub aggregated: Option<String>,
    /// The family it goes to.
    pub family: Option<Family>,
    /// The series as the page writes it.
    pub series: String,
    /// What the series would meet on the server that was asked.
    pub standing: Option<String>,
}

/// A rule and what it captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleName,
    /// What its stars or groups stand for.
    pub captures: Vec<Label>,
}

/// Which rule it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleName {
    /// Its place among the rules, counted from 1.
    pub number: usize,
    /// Its glob or regex.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The file, or the preset.
    pub file: String,
    /// The line in it.
    pub line: u64,
}

/// A rule that did not take the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleName,
    /// What kept it from it.
    pub why: String,
}

/// The family of a sample, as its rule asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its type on the page.
    pub kind: String,
    /// Its help text.
    pub help: String,
    /// The unit that the rule names.
    pub unit: Option<String>,
    /// What values are multiplied by.
    pub scale: Option<f64>,
    /// How the values of several senders become one, where they do.
    pub gauge_mode: Option<String>,
    /// How long a series lives without a sample; none for ever.
    pub ttl_seconds: Option<f64>,
    /// Upper bounds of a histogram.
    pub buckets: Vec<f64>,
    /// Quantiles of a summary.
    pub quantiles: Vec<f64>,
}
