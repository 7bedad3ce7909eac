//! What a server exposes: families, kinds, labels, units. No values.
//!
//! Dashboards and rules are made of this alone, so it does not matter whether a running server, a
//! mapping file or a preset said it. As JSON it is the answer of `GET /api/v1/families`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

mod labels;
mod registry;
mod mapping;
mod page;
mod servers;
pub mod remote;

pub use labels::unescaped;
pub use mapping::Promise;
pub use remote::{FetchError, Fetched, fetch};

/// How many values of a label are kept as examples; beyond that only their number is known.
pub const MAX_EXAMPLES: usize = 20;

/// Everything that clients' samples become on a page; the server's own families are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Sorted by name, each name once.
    pub families: Vec<Family>,
    /// What the server tells of besides, by its own metrics.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub parts: BTreeSet<Part>,
}

/// Something that not every server tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Workers of pre-fork servers.
    Workers,
}

/// One metric family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The name in the text format, without `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// What its series are.
    #[serde(flatten)]
    pub kind: Kind,
    /// The help text; empty when nobody gave one.
    #[serde(default)]
    pub help: String,
    /// The unit as the mapping names it, such as `seconds` or `bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The pattern of the mapping rule that made it; none for names without a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Sorted by name, each once; `le` and `quantile` are not among them.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// How many series it has; none when no server was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<u64>,
}

/// What the series of a family are, and what queries must know of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The number of different values seen; exposed as a gauge.
    Set,
    /// Observations in buckets.
    Histogram {
        /// Upper bounds of the classic buckets, rising, without `+Inf`.
        #[serde(default)]
        bounds: Vec<f64>,
        /// Whether the page also has native buckets, as it does once somebody has scraped it by
        /// protobuf.
        #[serde(default)]
        native: bool,
    },
    /// Observations as quantiles.
    Summary {
        /// The quantiles, rising, each from 0 to 1.
        #[serde(default)]
        quantiles: Vec<f64>,
    },
}

/// A label of a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// How many different values it has, counted up to some thousands; none when no server was
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<u64>,
    /// Some of the values, sorted; at most [`MAX_EXAMPLES`].
    #[serde(default)]
    pub examples: Vec<String>,
}
