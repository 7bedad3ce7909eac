//! A report for people: each finding with its place, the line of the file and a caret.

use std::fmt::Write as _;

use super::{Finding, Report, Severity};

impl Report {
    /// The report for people, with a newline at its end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            self.finding(&mut text, finding).unwrap_or_default();
        }
        self.summary(&mut text).unwrap_or_default();
        text
    }

    fn finding(&self, text: &mut String, finding: &Finding) -> std::fmt::Result {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Finding { line, column, message, source, .. } = finding;
        if *line == 0 {
            return writeln!(text, "{}: {severity}: {message}", self.file);
        }
        writeln!(text, "{}:{line}:{column}: {severity}: {message}", self.file)?;
        let before = usize::try_from(*column).unwrap_or_default().saturating_sub(1);
        // Tabs stay, so that the caret stands below its character.
        let indent: String =
            source.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(text, "{line:>5} | {source}")?;
        writeln!(text, "{:>5} | {indent}^", "")
    }

    fn summary(&self, text: &mut String) -> std::fmt::Result {
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let examples = match self.examples {
            1.. if !self.examples_run => "the examples wait for a sound file".to_owned(),
            examples => counted(examples, "example"),
        };
        let rules = counted(self.rules, "rule");
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        writeln!(text, "{}: {rules}, {errors}, {warnings}; {examples}", self.file)
    }
}

/// A number and what it counts.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = match what.strip_suffix('y') {
        _ if count == 1 => what.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None if what.ends_with('s') => what.to_owned(),
        None => format!("{what}s"),
    };
    format!("{count} {plural}")
}
