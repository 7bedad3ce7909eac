//! Mapping rules: which family and labels a sample goes to, or that it is dropped.
//!
//! ```text
//! mapping file ─ raw (YAML as written) ─► check, options ─► Rules ─ find ─► Matched
//!                                                             │
//!                                          glob (automaton), then pattern (regexes)
//! ```
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

pub mod observer;
pub mod escape;
mod template;
mod glob;
mod dialect;
mod pattern;
mod error;
mod raw;
mod options;
mod check;
pub mod sharing;
pub mod ttl;
mod rules;
pub mod tags;
pub mod limits;
pub mod inspect;
pub mod preset;
pub mod cache;

use crate::sample::EventType;
use limits::RuleLimits;
use observer::{HistogramSpec, SummarySpec};
use tags::TagRules;

pub use dialect::PatternError;
pub use error::{Place, Problem, RulesError};
pub use rules::{Loaded, Rules, near, reach};
use sharing::Sharing;
use ttl::Ttls;

/// A rule that matched, with its templates filled in.
#[derive(Clone, Debug)]
pub struct Matched<'r> {
    /// Where the rule stands among all rules, counted from 0.
    pub index: usize,
    /// The rule.
    pub rule: &'r Rule,
    /// The family's name before escaping; empty where the template gave nothing, and for a rule
    /// that drops.
    pub name: String,
    /// The labels that the rule sets, in the order of the file: key and value. None for a rule
    /// that drops.
    pub labels: Vec<(&'r str, String)>,
}

/// What one rule, or the defaults for unmapped names, ask for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The glob or regex as written; empty for the defaults.
    pub source: String,
    /// The line of the file that holds it; 0 for the defaults.
    pub line: u64,
    /// Map or drop.
    pub action: Action,
    /// The help text; `None` for the reference's default.
    pub help: Option<Arc<str>>,
    /// The unit of the values as exposed, such as `seconds`; only for dashboards.
    pub unit: Option<Arc<str>>,
    /// Whether a client's own tag wins over the rule's label of the same name.
    pub honor_labels: bool,
    /// What every value is multiplied by.
    pub scale: Option<f64>,
    /// How long series live without a sample.
    pub ttl: Ttls,
    /// What takes timings.
    pub observer: Observer,
    /// What `|c` values mean.
    pub counter_mode: CounterMode,
    /// Over which time the unique values of a set are counted.
    pub set_window: Duration,
    /// What becomes of series that several senders share.
    pub sharing: Sharing,
    /// Which tags are taken, and how many series; rules that say nothing of it share one.
    pub intake: Arc<Intake>,
}

/// What is taken of the samples of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// What becomes of clients' tags.
    pub tags: TagRules,
    /// How much they may bring.
    pub limits: RuleLimits,
}

impl Intake {
    /// Takes what is not set here from `base`.
    pub fn inherit(&mut self, base: &Self) {
        self.tags.inherit(&base.tags);
        self.limits.inherit(&base.limits);
    }
}

/// What a rule makes as far as the file alone tells.
#[derive(Clone, Debug)]
pub struct Outline<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// The kind of samples it is for, if it says so.
    pub event: Option<EventType>,
    /// Whether it says how timings are taken.
    pub is_observer: bool,
    /// The family's name, unless it depends on what clients send.
    pub name: Option<String>,
    /// The labels that it sets, and their values unless those depend on what clients send.
    pub labels: Vec<(&'r str, Option<String>)>,
}

/// What becomes of a matching sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to the rule's family.
    Map,
    /// It is counted and forgotten.
    Drop,
}

/// What the number of a counter sample means (`counter_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterMode {
    /// An increment, never negative; StatsD's own meaning.
    Increment,
    /// An increment or a decrement; exposed as a gauge.
    UpDown,
    /// A running total of its sender; a smaller one than before is a restart of that sender.
    Absolute,
}

/// What takes the timings of a rule.
#[derive(Clone, Debug)]
pub enum Observer {
    /// Buckets.
    Histogram(Arc<HistogramSpec>),
    /// Quantiles over a sliding window.
    Summary(Arc<SummarySpec>),
}
