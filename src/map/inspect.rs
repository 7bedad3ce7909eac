//! A mapping file with everything that `tallyd check` wants to know of it, places above all.

use super::error::{Place, Problem};
use super::options::Notes;
use super::raw::{self, RawFile, RawRule};
use super::{Rules, error::Fault};
use crate::compat::Compat;

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// A mapping file without errors.
#[derive(Debug)]
pub struct Inspected {
    /// Its rules.
    pub rules: Rules,
    /// What should be changed in it all the same.
    pub notes: Vec<(Place, String)>,
    /// Where everything stands, rule by rule.
    pub places: Vec<Places>,
}

/// Where the parts of a rule stand, and its examples.
#[derive(Clone, Debug)]
pub struct Places {
    /// The rule itself.
    pub rule: Place,
    /// Its `match`.
    pub pattern: Place,
    /// Its `name`.
    pub name: Place,
    /// Its labels, by name.
    pub labels: Vec<(String, Place)>,
    /// Its `examples`.
    pub examples: Vec<Example>,
}

/// What a rule's author expects of some lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Where it stands.
    pub place: Place,
    /// The lines, in the order in which they are sent.
    pub lines: Vec<String>,
    /// Samples that are then on the page, or what becomes of the last line.
    pub gives: Vec<String>,
}

/// Reads and checks the text of a mapping file.
///
/// # Errors
/// The first thing that is wrong.
pub fn inspect(text: &[u8], compat: Compat) -> Result<Inspected, Defect> {
    let (rules, notes, places) = read(text, compat).map_err(|fault| {
        let (place, problem) = fault.into_parts();
        Defect { place, problem }
    })?;
    Ok(Inspected { rules, notes, places })
}

fn read(text: &[u8], compat: Compat) -> Result<(Rules, Notes, Vec<Places>), Fault> {
    let written = raw::read(text, compat)?;
    let places = places(&written);
    let (rules, notes) = Rules::check(written, compat)?;
    Ok((rules, notes, places))
}

/// Where the rules of a file begin, whatever is in them; `None` where it is no YAML.
#[must_use]
pub fn rule_places(text: &str) -> Option<Vec<Place>> {
    raw::rule_places(text)
}

fn places(written: &RawFile) -> Vec<Places> {
    let empty = RawRule::default();
    let rules = written.mappings.iter().flatten();
    rules
        .map(|rule| {
            let place = Place::of(rule);
            let rule = rule.value.as_ref().unwrap_or(&empty);
            let labels = rule.labels.iter().flat_map(|labels| &labels.0);
            let examples = rule.examples.iter().flat_map(|examples| &examples.value);
            Places {
                rule: place,
                pattern: rule.glob_or_regex.as_ref().map_or(place, Place::of),
                name: rule.name.as_ref().map_or(place, Place::of),
                labels: labels.map(|(name, _)| (name.value.clone(), Place::of(name))).collect(),
                examples: examples
                    .map(|example| Example {
                        place: Place::of(example),
                        lines: example.value.line.0.clone(),
                        gives: example.value.gives.0.clone(),
                    })
                    .collect(),
            }
        })
        .collect()
}
