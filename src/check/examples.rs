//! The examples beside the rules: lines are sent to a lane of their own, and its page has to show
//! what the example says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::page::{Page, Sample};
use crate::explain::sandbox::Sandbox;
use crate::ingest::trace::{End, Trace};
use crate::map::inspect::{Example, Places};
use crate::map::ttl::Ttls;
use crate::map::{Place, Rules};
use crate::parse::{self, parse_line};
use crate::telemetry::LineOutcome;

/// Sums of floats may differ in their last digits from what people write.
const TOLERANCE: f64 = 1e-9;
/// So many samples of the page are shown where an example fails.
const MAX_SHOWN: usize = 5;

/// Runs all examples; what is wrong with those that fail, and where they stand.
pub(super) fn run(
    rules: &Arc<Rules>,
    places: &[Places],
    options: parse::Options,
) -> Vec<(Place, String)> {
    let mut failed = Vec::new();
    for (index, rule) in places.iter().enumerate() {
        for example in &rule.examples {
            let end = Run::of(example, rules, options);
            let faults = end.faults(example, index, rules);
            failed.extend(faults.into_iter().map(|fault| (example.place, fault)));
        }
    }
    failed
}

/// What came of an example's lines.
struct Run {
    traces: Vec<Trace>,
    /// What was wrong with the last line.
    reasons: Vec<&'static str>,
    samples: BTreeMap<String, f64>,
}

impl Run {
    fn of(example: &Example, rules: &Arc<Rules>, options: parse::Options) -> Self {
        let mut sandbox = Sandbox::new(rules, options, Ttls::default());
        let traces: Vec<Trace> =
            example.lines.iter().map(|line| sandbox.take(line.as_bytes())).collect();
        let last = example.lines.last().map_or("", String::as_str);
        let parsed = parse_line(last.as_bytes(), &options);
        let mut reasons: Vec<_> = parsed.counts.errors.iter().map(|r| r.as_str()).collect();
        let samples = traces.last().into_iter().flat_map(|trace| &trace.samples);
        reasons.extend(samples.filter_map(|sample| match sample.end {
            End::Refused(error) => Some(error.as_str()),
            _ => None,
        }));
        let page = Page::read(&sandbox.page());
        let samples = page.samples().map(|(series, value)| (series.to_owned(), value)).collect();
        Self { traces, reasons, samples }
    }

    fn outcome(&self) -> LineOutcome {
        let last = self.traces.last().and_then(|trace| trace.outcome);
        last.unwrap_or(LineOutcome::Rejected)
    }

    /// What does not come true of an example beside the rule at `index`.
    fn faults(&self, example: &Example, index: usize, rules: &Rules) -> Vec<String> {
        let line = example.lines.join(" ");
        let mut faults: Vec<String> =
            example.gives.iter().filter_map(|expected| self.fault(expected, &line)).collect();
        let mut taken = self.traces.iter().flat_map(|trace| &trace.samples).map(|s| s.rule);
        // A line that is refused before its name is looked up has no rule.
        let is_refused = self.traces.iter().all(|trace| trace.samples.is_empty());
        if faults.is_empty() && !is_refused && !taken.clone().any(|rule| rule == Some(index)) {
            faults.push(match taken.find_map(|rule| rule) {
                Some(other) => {
                    let other = rules.rule(other);
                    let (source, place) = (&other.source, other.line);
                    format!("`{line}` is taken by another rule, `{source}` in line {place}")
                }
                None => format!("`{line}` is taken by no rule"),
            });
        }
        faults
    }

    /// Why an expectation is not met, if it is not.
    fn fault(&self, expected: &str, line: &str) -> Option<String> {
        let Some(sample) = Sample::read(expected) else {
            return self.outcome_fault(expected, line);
        };
        let series = sample.series();
        match self.samples.get(&series) {
            Some(value) if is_near(*value, sample.value) => None,
            Some(value) => Some(format!("`{line}` gives {series} {value}, not {}", sample.value)),
            None => Some(format!("`{line}` does not give {series}, but {}", self.shown(&sample))),
        }
    }

    /// The same for an outcome, with or without a reason: `dropped`, `rejected malformed_value`.
    fn outcome_fault(&self, expected: &str, line: &str) -> Option<String> {
        let (word, reason) = expected.trim().split_once(' ').unwrap_or((expected.trim(), ""));
        let outcomes = LineOutcome::ALL.map(LineOutcome::as_str);
        if !outcomes.contains(&word) {
            let known = outcomes.join(", ");
            return Some(format!(
                "`{expected}` is neither a sample, such as `a_total{{b=\"c\"}} 1`, nor one of {known}"
            ));
        }
        let outcome = self.outcome().as_str();
        let reason = reason.trim();
        if outcome == word && (reason.is_empty() || self.reasons.contains(&reason)) {
            return None;
        }
        let reasons = self.reasons.join(" ");
        Some(format!("`{line}` is {} (not {expected})", [outcome, &reasons].join(" ").trim_end()))
    }

    /// What the page shows instead of a sample.
    fn shown(&self, missing: &Sample<'_>) -> String {
        if self.samples.is_empty() {
            let reasons = self.reasons.join(" ");
            return format!("is {}", [self.outcome().as_str(), &reasons].join(" ").trim_end());
        }
        let is_alike = |series: &str| series.split('{').next() == Some(missing.name);
        let has_alike = self.samples.keys().any(|series| is_alike(series));
        let alike = self.samples.iter().filter(|(series, _)| !has_alike || is_alike(series));
        let texts = alike.map(|(series, value)| format!("{series} {value}"));
        texts.take(MAX_SHOWN).collect::<Vec<_>>().join(", ")
    }
}

/// Whether two values are the same but for rounding.
fn is_near(value: f64, expected: f64) -> bool {
    let is_same = value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan());
    is_same || (value - expected).abs() <= TOLERANCE * expected.abs().max(value.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;
    use crate::map::inspect::inspect;

    #[test]
    fn an_example_says_what_the_page_shows() {
        check(
            "{line: 'api.get.2:250|ms|@0.5', gives: ['api_count{method=\"get\",code=\"2\"} 2', 'api_sum{code=\"2\",method=\"get\"} 0.5', 'api_bucket{code=\"2\",method=\"get\",le=\"0.25\"} 2']}",
            "",
        );
        check(
            "{line: ['api.x.2:1|g', 'api.x.2:+2|g'], gives: 'api{method=\"x\",code=\"2\"} 3'}",
            "",
        );
        check("{line: 'api.get.2:x|c', gives: rejected}", "");
        check("{line: 'api.get.2:x|c', gives: rejected malformed_value}", "");
        check("{line: 'api.get.2:-1|c', gives: rejected illegal_negative_counter}", "");
    }

    #[test]
    fn an_example_that_does_not_come_true_tells_what_does() {
        check(
            "{line: 'api.get.2:1|c', gives: 'api{method=\"get\",code=\"2\"} 2'}",
            "`api.get.2:1|c` gives api{code=\"2\",method=\"get\"} 1, not 2",
        );
        check(
            "{line: 'api.get.2:1|c', gives: 'api{method=\"get\"} 1'}",
            "`api.get.2:1|c` does not give api{method=\"get\"}, but api{code=\"2\",method=\"get\"} 1",
        );
        check(
            "{line: 'api.get.2:1|c', gives: dropped}",
            "`api.get.2:1|c` is accepted (not dropped)",
        );
        check(
            "{line: 'api.get.2:x|c', gives: rejected malformed_line}",
            "`api.get.2:x|c` is rejected malformed_value (not rejected malformed_line)",
        );
        check(
            "{line: 'api.get.2:x|c', gives: api 1}",
            "`api.get.2:x|c` does not give api, but is rejected malformed_value",
        );
        check("{line: 'other:1|c', gives: other 1}", "`other:1|c` is taken by no rule");
        check(
            "{line: 'debug:1|c', gives: dropped}",
            "`debug:1|c` is taken by another rule, `debug` in line 7",
        );
        check(
            "{line: 'api.get.2:1|c', gives: api}",
            "`api` is neither a sample, such as `a_total{b=\"c\"} 1`, nor one of accepted, rejected, dropped, limited, conflict, empty, event",
        );
    }

    #[track_caller]
    fn check(example: &str, expected: &str) {
        let text = format!(
            "defaults: {{observer_type: histogram}}\nmappings:\n- match: api.*.*\n  name: api\n  \
             labels: {{method: $1, code: $2}}\n  examples: [{example}]\n\
             - {{match: debug, name: x, action: drop}}\n"
        );
        let inspected = inspect(text.as_bytes(), Compat::Extended).unwrap();
        let options = parse::Options::new(Compat::Extended);
        let faults = run(&Arc::new(inspected.rules), &inspected.places, options);
        let told: Vec<String> = faults.into_iter().map(|(_, text)| text).collect();
        assert_eq!(told.join("\n"), expected);
    }
}
