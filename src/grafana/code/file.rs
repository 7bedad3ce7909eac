//! The dashboards file as written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Fault;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) dashboards: Vec<RawDashboard>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDashboard {
    pub(super) title: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) description: String,
    pub(super) folder: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Patterns of families that it is about.
    #[serde(default)]
    pub(super) families: Vec<Spanned<String>>,
    /// Patterns of families that are not shown, unless a panel names them.
    #[serde(default)]
    pub(super) hide: Vec<Spanned<String>>,
    /// Titles of families.
    #[serde(default)]
    pub(super) rename: BTreeMap<String, String>,
    pub(super) variables: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) rows: Vec<Spanned<RawRow>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRow {
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) collapsed: bool,
    #[serde(rename = "for")]
    pub(super) each: Option<Spanned<RawLoop>>,
    pub(super) insert: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) panels: Vec<Spanned<RawPanel>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLoop {
    /// What stands between `<<` and `>>`.
    #[serde(rename = "as")]
    pub(super) name: String,
    #[serde(rename = "in")]
    pub(super) values: Option<Vec<String>>,
    pub(super) label: Option<String>,
    pub(super) of: Option<Spanned<String>>,
    pub(super) families: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPanel {
    #[serde(rename = "for")]
    pub(super) each: Option<Spanned<RawLoop>>,
    pub(super) family: Option<Spanned<String>>,
    /// Which of a family's panels.
    pub(super) show: Option<Vec<Spanned<String>>>,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) promql: Option<String>,
    pub(super) legend: Option<String>,
    pub(super) queries: Option<Vec<RawQuery>>,
    pub(super) text: Option<String>,
    pub(super) view: Option<Spanned<String>>,
    pub(super) unit: Option<String>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) thresholds: Vec<RawThreshold>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuery {
    pub(super) promql: String,
    #[serde(default)]
    pub(super) legend: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawThreshold {
    pub(super) from: f64,
    pub(super) color: String,
}

/// Reads the text of a file.
pub(super) fn read(text: &str) -> Result<RawFile, Fault> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(&error))
}

fn fault(error: &serde_saphyr::Error) -> Fault {
    use serde_saphyr::Error;
    let (line, column) =
        error.location().map_or((0, 0), |location| (location.line(), location.column()));
    let problem = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        error => {
            let text = error.to_string();
            text.split(" at line ").next().unwrap_or(&text).to_owned()
        }
    };
    Fault { line, column, problem }
}

/// What to say of a word that is not known.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("unknown {what} `{word}`; did you mean `{nearest}`?"),
        None => format!("unknown {what} `{word}`; known are {}", known.join(", ")),
    }
}

/// The word that was most likely meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(word, known);
    let best = known.min_by_key(distance)?;
    (distance(&best) <= 1 + best.len() / 4).then_some(best)
}
