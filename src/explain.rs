//! Why a line becomes what it becomes: how it was parsed, which rule took it, which nearly did,
//! and the series it goes to, or the reason it was refused.
//!
//! A line is taken through a lane and a registry of its own ([`sandbox`]), so what is told is what
//! happened; nothing here decides anything for itself. Where a server is asked, its registry
//! tells besides what the series would meet there.

use std::sync::Arc;

use crate::aggregate::standing::Standing;
use crate::aggregate::{FamilyKind, Registry, SeriesSpec};
use crate::ingest::trace::{End, Trace, Traced};
use crate::map::Rules;
use crate::map::ttl::Ttls;
use crate::parse::anatomy::anatomy;
use crate::parse::{self, Dialect, Line, parse_line};
use crate::telemetry::LineOutcome;

pub mod sandbox;
pub mod model;
mod words;
mod text;
pub mod cli;

pub use model::Explanation;
use model::{Family, Found, Label, RuleName, Sample, Section};
use sandbox::Sandbox;

/// Longer lines are not explained: percent-encoded they would not fit into the head of a request.
pub const MAX_LINE_BYTES: usize = 8 << 10;

/// What lines are explained by.
#[derive(Clone, Debug)]
pub struct Explainer {
    /// The rules.
    pub rules: Arc<Rules>,
    /// The dialects.
    pub parse: parse::Options,
    /// How long series live for which no rule says it.
    pub ttl: Ttls,
    /// The registry of a server, if one is asked.
    pub registry: Option<Arc<Registry>>,
}

impl Explainer {
    /// Explains one line, without its newline. The registry that is asked stays as it is.
    #[must_use]
    pub fn explain(&self, line: &[u8]) -> Explanation {
        let mut sandbox = Sandbox::new(&self.rules, self.parse, self.ttl);
        let trace = sandbox.take(line);
        let parsed = parse_line(line, &self.parse);
        let taken_apart = anatomy(line, &self.parse);
        let samples: Vec<Sample> = trace
            .samples
            .iter()
            .map(|sample| self.sample(&parsed.name, sample, &sandbox))
            .collect();
        let mut outcome = trace.outcome.unwrap_or(LineOutcome::Rejected);
        // The sandbox knows of no other lines; a server does.
        let is_taken = |sample: &Sample| sample.end == "conflict";
        if outcome == LineOutcome::Accepted && trace.more == 0 && samples.iter().all(is_taken) {
            outcome = LineOutcome::Conflict;
        }
        Explanation {
            line: String::from_utf8_lossy(line).into_owned(),
            outcome: outcome.as_str().to_owned(),
            name: parsed.name.clone().into_owned(),
            tags: parsed.tags.iter().map(|tag| Label::new(tag.key, tag.value)).collect(),
            dialect: dialect(&parsed, taken_apart.dialect),
            sections: taken_apart.sections.iter().map(Section::from).collect(),
            errors: errors(line, &parsed, &trace),
            notes: words::notes(&parsed.name, self.parse),
            samples,
            more_samples: trace.more,
            exposed: sandbox.page().lines().map(ToOwned::to_owned).collect(),
        }
    }

    fn sample(&self, name: &str, sample: &Traced, sandbox: &Sandbox) -> Sample {
        let event = sample.event();
        let near = self.rules.near(name, event, sample.rule);
        let near = near.iter().map(|near| model::Near {
            rule: self.rule_name(near.index),
            why: near.miss.to_string(),
        });
        let kind = sample.spec.kind();
        let ask = |registry: &Registry| registry.standing(&sample.series, &sample.family, kind);
        let standing = self.registry.as_deref().filter(|_| !sample.series.is_empty()).map(ask);
        let is_taken = matches!(standing, Some(Standing::Taken(_) | Standing::Own));
        let end = if is_taken { End::Conflict } else { sample.end };
        let refusal = match end {
            End::Refused(error) => Some(words::of_event_error(error)),
            End::Conflict => {
                // Where the server has no quarrel with it, an earlier sample of the line has.
                let owner = standing.clone().filter(|_| is_taken);
                let owner = owner.unwrap_or_else(|| ask(sandbox.registry()));
                Some(words::of_conflict(&sample.family, kind, &owner))
            }
            End::Limited(reason) => Some(words::of_limit(reason)),
            End::OneSenderTooMany => Some(words::of_senders()),
            End::NoEvent => Some(words::of_no_event()),
            End::Reached | End::Dropped => None,
        };
        Sample {
            kind: words::kind(sample.kind).to_owned(),
            event: event.as_str().to_owned(),
            value: sample.value.clone(),
            relative: sample.relative,
            times: sample.times,
            rule: sample.rule.map(|index| Found {
                rule: self.rule_name(index),
                captures: self.captures(name, sample),
            }),
            near: near.collect(),
            end: words::end(end).to_owned(),
            refusal,
            aggregated: (end == End::Reached).then(|| sample.scaled.to_string()),
            family: (!sample.series.is_empty()).then(|| self.family(sample)),
            series: sample.series.clone(),
            standing: standing.map(|standing| words::standing(&standing)),
        }
    }

    fn captures(&self, name: &str, sample: &Traced) -> Vec<Label> {
        let captures = self.rules.captures(name, sample.event());
        captures.iter().map(|(name, value)| Label::new(name, value)).collect()
    }

    fn rule_name(&self, index: usize) -> RuleName {
        let rule = self.rules.rule(index);
        RuleName {
            number: index + 1,
            pattern: rule.source.clone(),
            file: self.rules.origin(index).to_owned(),
            line: rule.line,
        }
    }

    fn family(&self, sample: &Traced) -> Family {
        let rule = sample.rule.map_or(self.rules.default_rule(), |index| self.rules.rule(index));
        let (mut buckets, mut quantiles, mut mode) = (Vec::new(), Vec::new(), None);
        match &sample.spec {
            SeriesSpec::Histogram(spec) => buckets.extend_from_slice(&spec.bounds),
            SeriesSpec::Summary(spec) => quantiles.extend(spec.quantiles.iter().map(|pair| pair.0)),
            SeriesSpec::Combined(combination) => {
                mode = Some(words::mode(combination.how).to_owned());
            }
            SeriesSpec::Counter | SeriesSpec::Gauge | SeriesSpec::Set(_) => {}
        }
        let kind = match sample.spec.kind() {
            // What Prometheus sees of a set.
            FamilyKind::Set => FamilyKind::Gauge,
            kind => kind,
        };
        Family {
            name: sample.family.clone(),
            kind: kind.as_str().to_owned(),
            help: sample.help.clone(),
            unit: rule.unit.as_deref().map(ToOwned::to_owned),
            scale: rule.scale,
            gauge_mode: mode,
            ttl_seconds: Some(sample.ttl_millis)
                .filter(|ttl| *ttl > 0)
                .map(|ttl| ttl as f64 / 1000.0),
            buckets,
            quantiles,
        }
    }
}

/// The dialect of a line's tags, if it has any.
fn dialect(line: &Line<'_>, of_name: Option<Dialect>) -> Option<String> {
    let dialect = of_name.unwrap_or(Dialect::DogStatsD);
    (!line.tags.is_empty()).then(|| dialect.as_str().to_owned())
}

/// What was wrong with a line, each reason once.
fn errors(line: &[u8], parsed: &Line<'_>, trace: &Trace) -> Vec<model::Refusal> {
    let mut errors: Vec<model::Refusal> = Vec::new();
    for reason in &parsed.counts.errors {
        let refusal = words::of_reason(*reason, line);
        if !errors.contains(&refusal) {
            errors.push(refusal);
        }
    }
    if parsed.counts.tag_errors > 0 {
        errors.push(words::of_bad_tags(parsed.counts.tag_errors.into()));
    }
    if trace.refused_tags > 0 {
        errors.push(words::of_reserved_tags(trace.refused_tags));
    }
    errors
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::compat::Compat;
    use crate::ingest::{self, Ingest, Sender};
    use crate::parse::Options;
    use crate::telemetry::{Stat, Telemetry};

    const RULES: &str = "\
defaults: {observer_type: histogram}
mappings:
- match: api.*.*
  name: api_seconds
  help: Time to answer.
  unit: seconds
  labels: {method: $1, status: '$2'}
- match: api.get.*
  name: never
- {match: debug.*, name: x, action: drop}
- {match: size, name: size_bytes, scale: 1024, match_metric_type: gauge}
- {match: '^void(.*)$', match_type: regex, name: $1}
- {match: le.*, name: with_le, labels: {le: $1, __x: y}}
";

    #[test]
    fn a_mapped_line_is_told_from_its_parts_to_its_series() {
        check(
            "api.get.200:12|ms|@0.5|#env:prod,bad,__n:x",
            r#"api.get.200:12|ms|@0.5|#env:prod,bad,__n:x
  outcome  accepted
  name     api.get.200
  tags     env=prod __n=x (DogStatsD)
  section  |@0.5  sample rate
  error    tags left out: 1 without a key, a value or the mark between them
           write every tag with a key and a value
  counted  statsd_exporter_tag_errors_total
  error    tags left out: 1 whose name begins with `__` as a label
           Prometheus keeps such names for itself; rename the tag
  counted  statsd_exporter_tag_errors_total
  sample   timer of 0.012 s, counted 2 times
  rule     1 `api.*.*` (m.yml:3), $1=get, $2=200
  also     2 `api.get.*` (m.yml:8) matches as well, but is asked later
  series   api_seconds{env="prod",method="get",status="200"}
  type     histogram, buckets 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10,
           unit seconds
  help     Time to answer.
"#,
        );
    }

    #[test]
    fn a_name_without_a_rule_is_told_which_nearly_took_it() {
        check(
            "api.get:+3|g",
            r"api.get:+3|g
  outcome  accepted
  name     api.get
  sample   gauge, changed by 3
  rule     none; the name is exposed as it comes
  near     1 `api.*.*` (m.yml:3) matches the beginning, but has 3 parts, the
           name has 2
  near     2 `api.get.*` (m.yml:8) matches the beginning, but has 3 parts, the
           name has 2
  series   api_get
  type     gauge
  help     Metric autogenerated by statsd_exporter.
",
        );
    }

    #[test]
    fn what_is_refused_is_told_with_what_to_do() {
        check(
            "a",
            r#"a
  outcome  rejected
  error    there is no `:` after the name
           write NAME:VALUE|TYPE
  counted  statsd_exporter_sample_errors_total{reason="malformed_line"}
"#,
        );
        check(
            "hits:-1|c",
            r#"hits:-1|c
  outcome  rejected
  name     hits
  sample   counter of -1
  refused  a counter cannot fall
           send a gauge (|g), or give the rule `counter_mode: updown`
  counted  statsd_exporter_events_error_total{reason="illegal_negative_counter"}
"#,
        );
        check(
            "void:1|c",
            r#"void:1|c
  outcome  rejected
  name     void
  sample   counter of 1
  rule     5 `^void(.*)$` (m.yml:12), $1=
  refused  no name is left for the metric
           look at `name` in the rule: a `$1` that stands for nothing leaves it
           empty
  counted  statsd_exporter_events_error_total{reason="empty_metric_name"}
"#,
        );
        check(
            "le.x:1|h|@0.1",
            r#"le.x:1|h|@0.1
  outcome  accepted
  name     le.x
  section  |@0.1  sample rate
  sample   histogram of 1, counted 10 times
  rule     6 `le.*` (m.yml:13), $1=x
  series   with_le{exported_le="x"}
  type     histogram, buckets 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10
  help     Metric autogenerated by statsd_exporter.
"#,
        );
    }

    #[test]
    fn what_goes_nowhere_on_purpose_is_told_in_short() {
        check(
            "debug.x:1|c",
            r"debug.x:1|c
  outcome  dropped
  name     debug.x
  sample   counter, raised by 1
  rule     3 `debug.*` (m.yml:10), $1=x
  dropped  the rule says `action: drop`
",
        );
        check(
            "_sc|x|0",
            r"_sc|x|0
  outcome  event: an event or a service check, which Prometheus has no place for
",
        );
        check(
            "",
            r"
  outcome  empty: nothing stands between two newlines
",
        );
    }

    #[test]
    fn samples_of_a_line_are_told_one_by_one() {
        check(
            "size:1:+2|g",
            r"size:1:+2|g
  outcome  accepted
  name     size
  sample   gauge, set to 1, scaled to 1024
  rule     4 `size` (m.yml:11)
  series   size_bytes
  type     gauge, scale 1024
  help     Metric autogenerated by statsd_exporter.
  sample   gauge, changed by 2, scaled to 2048
",
        );
        check(
            "a;b=c:1|c:2|g",
            r"a;b=c:1|c:2|g
  outcome  accepted
  name     a;b=c
  note     `;` in the name looks like Graphite tags;
           --statsd.parse-graphite-tags reads them
  sample   counter, raised by 1
  rule     none; the name is exposed as it comes
  series   a_b_c
  type     counter
  help     Metric autogenerated by statsd_exporter.
  sample   gauge, set to 2
  rule     none; the name is exposed as it comes
  conflict `a_b_c` is a counter already, so it cannot be a gauge
           give one of the two another name by a rule, with `match_metric_type`
           if the client's names are the same
  counted  statsd_exporter_events_conflict_total
  series   a_b_c
",
        );
        let packed = format!("a{}|h", ":1".repeat(20));
        let text = explainer(Compat::Extended).explain(packed.as_bytes()).to_text();
        assert!(text.contains("and 4 samples more"), "{text}");
    }

    #[test]
    fn the_registry_of_a_server_knows_who_has_a_name() {
        let Explainer { rules, parse, ttl, .. } = explainer(Compat::Extended);
        let mut sandbox = Sandbox::new(&rules, parse, ttl);
        sandbox.take(b"hits:1|c|#a:b");
        sandbox.take(b"took:1|h");
        let standing = |line: &str| {
            let registry = Some(Arc::clone(sandbox.registry()));
            let explainer = Explainer { registry, ..explainer(Compat::Extended) };
            let explanation = explainer.explain(line.as_bytes());
            let sample = explanation.samples.first().cloned().unwrap();
            let refusal = sample.refusal.map_or(String::new(), |refusal| refusal.meaning);
            format!("{}: {}; {refusal}", explanation.outcome, sample.standing.unwrap_or_default())
        };
        assert_eq!(standing("hits:1|c|#a:b"), "accepted: the server has this series; ");
        assert_eq!(
            standing("hits:1|c"),
            "accepted: the server has the family, a counter, without this series; "
        );
        assert_eq!(standing("other:1|c"), "accepted: the server has no such family yet; ");
        assert_eq!(
            standing("hits:1|g"),
            "conflict: the server has the counter `hits`; `hits` is a counter already, so it cannot be a gauge"
        );
        assert_eq!(
            standing("took_count:1|c"),
            "conflict: the server has the histogram `took`; `took_count` and the samples of the histogram `took` would share names"
        );
        assert_eq!(
            standing("process_open_fds:1|g"),
            "conflict: the name is one of the server's own; `process_open_fds` is one of the server's own metrics"
        );
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_the_page_of_a_lane_shows(
            line in "(api[.](get|x)[.]|debug[.]|size|void|le[.]|[a-c]{0,2})[a-c]{0,2}(,[kl]=v)?(:[-+]?[0-9]{0,2}([.]5)?){1,2}[|](c|g|ms|h|d|s|x)([|]@(0[.]5|2|x))?([|]#[a:,_]{0,6})?",
            is_reference in any::<bool>(),
        ) {
            let compat = if is_reference { Compat::Reference } else { Compat::Extended };
            agrees(line.as_bytes(), compat);
        }

        #[test]
        fn any_bytes_are_explained(line in proptest::collection::vec(any::<u8>(), 0..60), text in "\\PC*") {
            agrees(&line, Compat::Extended);
            agrees(text.as_bytes(), Compat::Reference);
        }
    }

    /// Gives a line to a lane as a server has it, and compares its page and what it counts with
    /// what the explanation says.
    #[track_caller]
    fn agrees(line: &[u8], compat: Compat) {
        let explainer = explainer(compat);
        let explanation = explainer.explain(line);
        let (page, outcomes) = served(&explainer, line);
        let outcome = LineOutcome::ALL.into_iter().find(|o| o.as_str() == explanation.outcome);
        assert_eq!(outcomes, outcome.into_iter().collect::<Vec<_>>(), "{explanation:?}");
        assert_eq!(explanation.exposed.join("\n"), page.trim_end(), "{explanation:?}");
        let reached = explanation.samples.iter().filter(|sample| sample.end == "reached");
        let told: BTreeSet<String> = reached
            .clone()
            .filter_map(|sample| sample.family.as_ref())
            .map(|f| format!("{} {}", f.name, f.kind))
            .collect();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        if explanation.more_samples == 0 {
            assert_eq!(told, types.map(ToOwned::to_owned).collect(), "{explanation:?}");
        }
        for sample in reached {
            let labels = sample
                .series
                .split_once('{')
                .map_or("", |(_, labels)| labels.trim_end_matches('}'));
            assert!(page.lines().any(|line| line.contains(labels)), "{explanation:?}");
        }
        assert!(!explanation.to_text().is_empty());
        let json = serde_json::to_string(&explanation).unwrap();
        let read: Explanation = serde_json::from_str(&json).unwrap();
        assert_eq!(read, explanation);
    }

    /// The page of a lane that got one line, and the outcomes that it counted.
    fn served(explainer: &Explainer, line: &[u8]) -> (String, Vec<LineOutcome>) {
        let registry = Arc::new(Registry::new(explainer.parse.compat, []));
        let telemetry = Arc::new(Telemetry::default());
        let config = ingest::Config {
            parse: explainer.parse,
            rules: Arc::clone(&explainer.rules),
            mapper_cache: crate::map::cache::Config::default(),
            line_cache_bytes: 1 << 20,
            event_queue: None,
            start: Instant::now(),
            member_seed: 0,
            ttl: explainer.ttl,
        };
        let mut ingest = Ingest::new(config, &registry, &telemetry);
        ingest.begin_batch();
        ingest.line(line, Sender::Unknown);
        let totals = telemetry.totals();
        let outcomes = LineOutcome::ALL.into_iter();
        let outcomes = outcomes.filter(|outcome| totals.get(Stat::Outcome(*outcome)) > 0).collect();
        (sandbox::page(&registry, 0), outcomes)
    }

    fn explainer(compat: Compat) -> Explainer {
        let loaded = Rules::parse(RULES.as_bytes(), "m.yml".as_ref(), compat).unwrap();
        let rules = Arc::new(loaded.rules);
        Explainer { rules, parse: Options::new(compat), ttl: Ttls::default(), registry: None }
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let text = explainer(Compat::Extended).explain(line.as_bytes()).to_text();
        assert_eq!(text, expected, "\n{text}");
    }
}
