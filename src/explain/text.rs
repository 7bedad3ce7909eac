//! An explanation for people: a field a line, within 80 columns where words allow it.

use std::fmt::Write as _;

use super::model::{Explanation, Family, Label, Refusal, RuleName, Sample};

/// Where the text of a field begins.
const INDENT: usize = 11;
const WIDTH: usize = 80;
/// Longer lists are cut in the middle.
const LISTED: usize = 12;

impl Explanation {
    /// The explanation for people, with a newline at its end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Text(format!("{}\n", self.line.escape_debug().collect::<Shown>().0));
        text.field("outcome", self.outcome_text());
        if !self.samples.is_empty() {
            text.field("name", &self.name);
        }
        if !self.tags.is_empty() {
            let dialect = self.dialect.as_deref().unwrap_or_default();
            text.field("tags", &format!("{} ({dialect})", pairs(&self.tags)));
        }
        for section in &self.sections {
            // Tags have a field of their own.
            if section.meaning != "tags" {
                text.field("section", &format!("|{}  {}", section.text, section.meaning));
            }
        }
        for refusal in &self.errors {
            text.refusal("error", refusal);
        }
        for note in &self.notes {
            text.field("note", note);
        }
        let mut last = None;
        for sample in &self.samples {
            text.sample(sample, last);
            last = Some(sample);
        }
        if self.more_samples > 0 {
            text.field("", &format!("and {} samples more", self.more_samples));
        }
        text.0
    }

    fn outcome_text(&self) -> &str {
        match self.outcome.as_str() {
            "event" => "event: an event or a service check, which Prometheus has no place for",
            "empty" => "empty: nothing stands between two newlines",
            outcome => outcome,
        }
    }
}

/// A line with what cannot be seen made visible, but quotes as they are.
#[derive(Default)]
struct Shown(String);

impl FromIterator<char> for Shown {
    fn from_iter<I: IntoIterator<Item = char>>(chars: I) -> Self {
        Self(chars.into_iter().collect::<String>().replace("\\\"", "\"").replace("\\'", "'"))
    }
}

struct Text(String);

impl Text {
    /// Writes a field; what is too long goes on below its beginning.
    fn field(&mut self, name: &str, value: &str) {
        let mut column = INDENT;
        self.push(format_args!("  {name:<9}"));
        for (i, word) in value.split(' ').enumerate() {
            let width = word.chars().count();
            if i > 0 && column + 1 + width > WIDTH {
                self.push(format_args!("\n{:INDENT$}", ""));
                column = INDENT;
            } else if i > 0 {
                self.0.push(' ');
                column += 1;
            }
            self.0.push_str(word);
            column += width;
        }
        self.0.push('\n');
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.0.write_fmt(text).unwrap_or_default();
    }

    fn refusal(&mut self, field: &str, refusal: &Refusal) {
        self.field(field, &refusal.meaning);
        self.field("", &refusal.advice);
        if !refusal.counter.is_empty() {
            let reason = match refusal.reason.as_str() {
                "" => String::new(),
                reason => format!("{{reason=\"{reason}\"}}"),
            };
            self.field("counted", &format!("{}{reason}", refusal.counter));
        }
    }

    /// Writes a sample; what it has in common with the last one is left out.
    fn sample(&mut self, sample: &Sample, last: Option<&Sample>) {
        self.field("sample", &sample_text(sample));
        let is_known = last.is_some_and(|last| last.event == sample.event);
        if !is_known {
            self.rules(sample);
        }
        if let Some(refusal) = &sample.refusal {
            self.refusal(&sample.end, refusal);
        }
        if sample.end == "dropped" {
            self.field("dropped", "the rule says `action: drop`");
        }
        if !is_known && !sample.series.is_empty() {
            self.field("series", &sample.series);
        }
        if let Some(family) =
            sample.family.as_ref().filter(|_| !is_known && sample.end == "reached")
        {
            self.family(family);
        }
        if let Some(standing) = sample.standing.as_ref().filter(|_| !is_known) {
            self.field("server", standing);
        }
    }

    fn rules(&mut self, sample: &Sample) {
        match &sample.rule {
            Some(found) => {
                let captures = found.captures.iter();
                let captures: String = captures
                    .flat_map(|part| [", $", part.name.as_str(), "=", part.value.as_str()])
                    .collect();
                self.field("rule", &format!("{}{captures}", rule_text(&found.rule)));
            }
            None if sample.end == "refused"
                && sample.series.is_empty()
                && sample.near.is_empty() => {}
            None => self.field("rule", "none; the name is exposed as it comes"),
        }
        for near in &sample.near {
            let field = if sample.rule.is_some() { "also" } else { "near" };
            self.field(field, &format!("{} {}", rule_text(&near.rule), near.why));
        }
    }

    fn family(&mut self, family: &Family) {
        let mut kind = family.kind.clone();
        for (what, values) in [("buckets", &family.buckets), ("quantiles", &family.quantiles)] {
            if !values.is_empty() {
                kind = format!("{kind}, {what} {}", list(values));
            }
        }
        if let Some(mode) = &family.gauge_mode {
            kind = format!("{kind}, {mode} of its senders' values");
        }
        for (what, value) in
            [("unit", &family.unit), ("scale", &family.scale.map(|n| n.to_string()))]
        {
            kind.extend(value.iter().flat_map(|value| [", ", what, " ", value]));
        }
        if let Some(ttl) = family.ttl_seconds {
            kind = format!("{kind}, gone after {ttl} s without a sample");
        }
        self.field("type", &kind);
        self.field("help", &family.help);
    }
}

fn sample_text(sample: &Sample) -> String {
    let Sample { kind, value, times, .. } = sample;
    let text = match kind.as_str() {
        _ if sample.end == "refused" => format!("{kind} of {value}"),
        "timer" => format!("timer of {value} s"),
        "gauge" if sample.relative => format!("gauge, changed by {value}"),
        "gauge" => format!("gauge, set to {value}"),
        "counter" => format!("counter, raised by {value}"),
        "set" => format!("set with the member {value}"),
        kind => format!("{kind} of {value}"),
    };
    let times = if *times > 1 { format!(", counted {times} times") } else { String::new() };
    let scaled = sample.aggregated.as_ref().filter(|scaled| *scaled != value && kind != "set");
    let scaled = scaled.map_or(String::new(), |scaled| format!(", scaled to {scaled}"));
    [text, times, scaled].concat()
}

fn rule_text(rule: &RuleName) -> String {
    let RuleName { number, pattern, file, line } = rule;
    let place = if file.is_empty() { format!("line {line}") } else { format!("{file}:{line}") };
    format!("{number} `{pattern}` ({place})")
}

fn pairs(labels: &[Label]) -> String {
    let pairs = labels.iter().map(|label| format!("{}={}", label.name, label.value));
    pairs.collect::<Vec<_>>().join(" ")
}

fn list(values: &[f64]) -> String {
    let text = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    match (values.first_chunk::<3>(), values.last()) {
        (Some(first), Some(last)) if values.len() > LISTED => format!("{} … {last}", text(first)),
        _ => text(values),
    }
}
