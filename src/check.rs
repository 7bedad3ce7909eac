//! What should be changed in a mapping file, and whether anything changes for those who switch.
//!
//! A file is read with all its errors (`recover`); what is sound in it is looked at for rules
//! that no name finds and for names that break Prometheus' conventions, and its examples are run.

use std::sync::Arc;

use serde::Serialize;

use crate::map::Place;
use crate::map::inspect::Inspected;
use crate::parse;

mod recover;
mod conventions;
mod page;
mod examples;
mod text;
mod against;
pub mod cli;

use recover::{MAX_ERRORS, Recovered, recover};

/// What was found in a mapping file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the file is called.
    pub file: String,
    /// How many rules it has; none where too much is wrong with it.
    pub rules: usize,
    /// How many examples it has.
    pub examples: usize,
    /// Whether they were run; they wait for a file that a server would take.
    pub examples_run: bool,
    /// Everything that was found, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Something that should be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked for.
    pub check: Check,
    /// Counted from 1; 0 where the place is unknown.
    pub line: u64,
    /// In characters, counted from 1.
    pub column: u64,
    /// What is wrong, and what to do.
    pub message: String,
    /// The line of the file.
    pub source: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used, or does not do what its examples say.
    Error,
    /// The file works.
    Warning,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Whether a server takes the file.
    Syntax,
    /// Whether a name can find each rule.
    Unreachable,
    /// Whether names are as Prometheus' users expect them.
    Convention,
    /// Whether the examples come true.
    Example,
}

impl Report {
    /// How many findings are so bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Looks at the text of a mapping file; `file` is what messages call it.
#[must_use]
pub fn check(bytes: &[u8], file: &str, options: parse::Options) -> Report {
    // What is not UTF-8 is told by the first error, and its place is right up to there.
    let text = String::from_utf8_lossy(bytes);
    let mut found = Findings { lines: text.lines().collect(), list: Vec::new() };
    if str::from_utf8(bytes).is_err() {
        if let Err(defect) = crate::map::inspect::inspect(bytes, options.compat) {
            found.add(Severity::Error, Check::Syntax, (defect.place, defect.problem.to_string()));
        }
        return found.report(file, 0, 0);
    }
    let mut recovered = recover(&text, options.compat);
    for defect in &recovered.defects {
        let told = (defect.place, defect.problem.to_string());
        found.add(Severity::Error, Check::Syntax, told);
    }
    if recovered.defects.len() == MAX_ERRORS {
        found.add(Severity::Error, Check::Syntax, (Place::UNKNOWN, "too many errors".to_owned()));
    }
    let Some(mut rest) = recovered.rest.take() else { return found.report(file, 0, 0) };
    mend_places(&mut rest, &text);
    sound(&rest, &recovered, &mut found);
    let rules = rest.rules.len();
    let examples = rest.places.iter().map(|places| places.examples.len()).sum();
    if !recovered.defects.is_empty() {
        return Report { examples, examples_run: false, ..found.report(file, rules, 0) };
    }
    let failed = examples::run(&Arc::new(rest.rules), &rest.places, options);
    for told in failed {
        found.add(Severity::Error, Check::Example, told);
    }
    found.report(file, rules, examples)
}

/// Gives labels the places of their own instead of that of their map.
fn mend_places(rest: &mut Inspected, text: &str) {
    for places in &mut rest.places {
        for (label, place) in &mut places.labels {
            *place = recover::key_place(text, *place, label);
        }
    }
}

/// Looks at the rules that nothing is wrong with.
fn sound(rest: &Inspected, recovered: &Recovered, found: &mut Findings<'_>) {
    let unreachable = rest.rules.unreachable();
    let shadowed: Vec<u64> =
        unreachable.iter().map(|rule| rest.rules.rule(rule.index).line).collect();
    for rule in unreachable {
        let is_sound = !recovered.is_broken(rule.index) && !recovered.is_broken(rule.by);
        let Some(places) = rest.places.get(rule.index).filter(|_| is_sound) else { continue };
        let (own, other) = (rest.rules.rule(rule.index), rest.rules.rule(rule.by));
        let text = format!(
            "no name finds `{}`: `{}` in line {} takes them all",
            own.source, other.source, other.line
        );
        found.add(Severity::Warning, Check::Unreachable, (places.pattern, text));
    }
    for (place, text) in &rest.notes {
        let is_shadow = place.column == 1 && shadowed.contains(&place.line);
        if !is_shadow && !recovered.defects.iter().any(|defect| defect.place.line == place.line) {
            found.add(Severity::Warning, Check::Syntax, (*place, text.clone()));
        }
    }
    for (index, outline) in rest.rules.outlines().enumerate() {
        let Some(places) = rest.places.get(index) else { continue };
        if !recovered.is_broken(index) {
            let name = rest.rules.name_pattern(index);
            for told in conventions::broken(&outline, &name, places) {
                found.add(Severity::Warning, Check::Convention, told);
            }
        }
    }
}

/// Findings in the making.
struct Findings<'t> {
    lines: Vec<&'t str>,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, check: Check, (place, message): (Place, String)) {
        let index = usize::try_from(place.line).ok().and_then(|line| line.checked_sub(1));
        let source = index.and_then(|index| self.lines.get(index)).copied().unwrap_or_default();
        let Place { line, column } = place;
        let source = source.to_owned();
        self.list.push(Finding { severity, check, line, column, message, source });
    }

    fn report(mut self, file: &str, rules: usize, examples: usize) -> Report {
        self.list.sort_by_key(|finding| (finding.line, finding.column));
        let (file, examples_run) = (file.to_owned(), true);
        Report { file, rules, examples, examples_run, findings: self.list }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;

    #[test]
    fn findings_are_shown_in_their_lines() {
        let file = "\
mappings:
- match: api.*
  name: api_total
  help: Requests.
  labels: {method: $1, le: x, __own: y}
  match_metric_type: counter
- match: api.get
  name: api_get
- match: jobs
  nmae: jobs
";
        let expected = r"m.yml:5:24: warning: the label `le` is that of histograms' buckets; it is exposed as `exported_le` there
    5 |   labels: {method: $1, le: x, __own: y}
      |                        ^
m.yml:5:31: warning: the label `__own` is left out: Prometheus keeps such names for itself
    5 |   labels: {method: $1, le: x, __own: y}
      |                               ^
m.yml:8:9: warning: the metric `api_get` has no help text
    8 |   name: api_get
      |         ^
m.yml:10:3: error: unknown key `nmae`; did you mean `name`?
   10 |   nmae: jobs
      |   ^
m.yml: 3 rules, 1 error, 3 warnings; 0 examples
";
        let report = check(file.as_bytes(), "m.yml", parse::Options::new(Compat::Extended));
        let text = report.to_text();
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn bytes_that_are_no_text_are_one_error() {
        let report = check(b"mappings:\n- \xff", "m.yml", parse::Options::new(Compat::Extended));
        assert_eq!(report.findings.len(), 1);
        assert_eq!((report.findings[0].line, report.findings[0].column), (2, 3));
    }

    #[test]
    fn every_mapping_that_comes_with_tallyd_is_sound() {
        for preset in crate::map::preset::all() {
            let (text, name) = (preset.text(), preset.name());
            let report = check(text.as_bytes(), name, parse::Options::new(Compat::Extended));
            assert_eq!(report.count(Severity::Error), 0, "{}", report.to_text());
            let is_unreachable = |finding: &&Finding| finding.check == Check::Unreachable;
            assert_eq!(report.findings.iter().find(is_unreachable), None);
        }
    }
}
