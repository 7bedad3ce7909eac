//! The mapping file: checked as a whole, then asked name by name.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::check::{Checked, Checker, Matcher};
use super::error::{Fault, Place, RulesError};
use super::glob::{Globs, Preference, needs_backtracking};
use super::pattern::Pattern;
use super::raw::{self, RawFile};
use super::template::Template;
use super::{Action, Intake, Matched, Outline, Rule};
use crate::compat::Compat;
use crate::sample::EventType;

pub mod near;
pub mod reach;

/// A checked mapping file, ready to be asked.
///
/// Globs are asked before regexes, wherever they stand. Among globs the earliest wins, or with
/// `glob_disable_ordering` the one with literal parts; regexes are asked in the order of the file.
/// What it has no rule for is asked of the files behind it, each with its own `defaults`.
#[derive(Debug)]
pub struct Rules {
    compat: Compat,
    /// What the file is called; empty without one.
    origin: Arc<str>,
    entries: Vec<Entry>,
    globs: Globs,
    patterns: Vec<PatternRule>,
    default_rule: Rule,
    /// By the names of families; the first rule for a name counts.
    units: HashMap<String, Arc<str>>,
    /// Whether any of them depends on who sent a line.
    needs_senders: bool,
    /// Asked in this order for names that no rule of this file matches; none has any behind it.
    behind: Arc<[Rules]>,
}

#[derive(Debug)]
struct Entry {
    rule: Rule,
    event: Option<EventType>,
    is_observer: bool,
    name: Template,
    labels: Vec<(String, Template)>,
}

#[derive(Debug)]
struct PatternRule {
    index: usize,
    event: Option<EventType>,
    pattern: Pattern,
}

/// A mapping file that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub rules: Rules,
    /// What should be changed in it all the same, one line each.
    pub warnings: Vec<String>,
}

impl Rules {
    /// The rules that hold without a mapping file: every name is exposed as it comes.
    #[must_use]
    pub fn without_file(compat: Compat) -> Self {
        Self::new(compat, Checker::without_file(compat).default_rule(), Preference::Earliest)
    }

    /// Reads and checks a mapping file.
    ///
    /// # Errors
    /// `Read` when the file cannot be read, otherwise as [`parse`](Self::parse).
    pub fn load(file: &Path, compat: Compat) -> Result<Loaded, RulesError> {
        let text =
            fs::read(file).map_err(|source| RulesError::Read { path: file.to_owned(), source })?;
        Self::parse(&text, file, compat)
    }

    /// Checks the text of a mapping file; `file` is what messages call it.
    ///
    /// # Errors
    /// `Invalid` names the first thing that is wrong, with line and column.
    pub fn parse(text: &[u8], file: &Path, compat: Compat) -> Result<Loaded, RulesError> {
        let loaded = raw::read(text, compat).and_then(|written| Self::check(written, compat));
        let (mut rules, notes) = loaded.map_err(|fault| fault.in_file(file))?;
        let name = file.display();
        rules.origin = name.to_string().into();
        let warnings =
            notes.into_iter().map(|(place, text)| format!("{name}:{place}{text}")).collect();
        Ok(Loaded { rules, warnings })
    }

    /// Checks what a file says.
    pub(super) fn check(
        written: RawFile,
        compat: Compat,
    ) -> Result<(Self, super::options::Notes), Fault> {
        let mut checker = Checker::new(compat, written.defaults.unwrap_or_default())?;
        let mut sound = Vec::new();
        for rule in written.mappings.unwrap_or_default() {
            let place = Place::of(&rule);
            sound.push(checker.rule(rule.value.unwrap_or_default(), place)?);
        }
        let preference = if checker.is_ordered {
            Preference::Earliest
        } else {
            let globs = sound.iter().filter(|rule| matches!(rule.matcher, Matcher::Glob { .. }));
            let globs: Vec<&str> = globs.map(|rule| rule.rule.source.as_str()).collect();
            Preference::Literal { backtracks: needs_backtracking(&globs) }
        };
        let mut rules = Self::new(compat, checker.default_rule(), preference);
        let mut notes = checker.notes;
        for rule in sound {
            notes.extend(rules.push(rule));
        }
        Ok((rules, notes))
    }

    fn new(compat: Compat, default_rule: Rule, preference: Preference) -> Self {
        let globs = Globs::new(preference);
        let (entries, patterns, units) = (Vec::new(), Vec::new(), HashMap::new());
        let (origin, behind) = (Arc::default(), Arc::default());
        let needs_senders = default_rule.needs_senders();
        Self {
            compat,
            origin,
            entries,
            globs,
            patterns,
            default_rule,
            units,
            needs_senders,
            behind,
        }
    }

    /// The same with other files behind it, asked in their order for what no rule here matches.
    ///
    /// Their rules are counted on from those before, and names that nobody has a rule for keep
    /// this file's `defaults`.
    #[must_use]
    pub fn with_behind(mut self, behind: Arc<[Self]>) -> Self {
        self.behind = behind;
        self
    }

    /// The same rules, with `base` for what neither they nor the file's `defaults` say about tags
    /// and limits.
    #[must_use]
    pub fn with_intake(mut self, base: &Intake) -> Self {
        let shared = Arc::clone(&self.default_rule.intake);
        let merged = |intake: &Intake| {
            let mut merged = intake.clone();
            merged.inherit(base);
            Arc::new(merged)
        };
        self.default_rule.intake = merged(&shared);
        for Entry { rule, .. } in &mut self.entries {
            rule.intake = if Arc::ptr_eq(&rule.intake, &shared) {
                Arc::clone(&self.default_rule.intake)
            } else {
                merged(&rule.intake)
            };
        }
        self
    }

    /// Adds a rule; returns a note where an earlier one takes all its names away.
    fn push(&mut self, checked: Checked) -> Option<(Place, String)> {
        let Checked { rule, matcher, event, is_observer, name, labels } = checked;
        let index = self.entries.len();
        let mut note = None;
        match matcher {
            Matcher::Regex(pattern) => self.patterns.push(PatternRule { index, event, pattern }),
            Matcher::Glob { .. } => {
                let types = event.as_ref().map_or(&EventType::ALL[..], std::slice::from_ref);
                note = self.shadow_note(&rule, types);
                self.globs.insert(&rule.source, types, u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        if let (Some(unit), Some(name)) = (&rule.unit, name.constant()) {
            self.units.entry(name).or_insert_with(|| Arc::clone(unit));
        }
        self.needs_senders |= rule.needs_senders();
        self.entries.push(Entry { rule, event, is_observer, name, labels });
        note
    }

    fn shadow_note(&self, rule: &Rule, types: &[EventType]) -> Option<(Place, String)> {
        if !self.globs.is_ordered() {
            return None;
        }
        let wide = self.rule(self.globs.covering(&rule.source, types)? as usize);
        let text = format!(
            "`{}` never matches: `{}` in line {} is a super set of it and comes first",
            rule.source, wide.source, wide.line
        );
        Some((Place { line: rule.line, column: 1 }, text))
    }

    /// The files behind this one, as [`with_behind`](Self::with_behind) was given them.
    #[must_use]
    pub fn behind(&self) -> Arc<[Self]> {
        Arc::clone(&self.behind)
    }

    /// How many rules there are, those of the files behind included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files().map(|file| file.entries.len()).sum()
    }

    /// Whether there is no rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// This file and those behind it, in the order in which they are asked.
    fn files(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.behind.iter())
    }

    /// The file of the rule that stands at `index`, and where in it.
    fn locate(&self, mut index: usize) -> Option<(&Self, &Entry)> {
        self.files().find_map(|file| {
            let entry = file.entries.get(index);
            index = index.saturating_sub(file.entries.len());
            entry.map(|entry| (file, entry))
        })
    }

    /// What names get that no rule matches.
    #[must_use]
    pub fn default_rule(&self) -> &Rule {
        &self.default_rule
    }

    /// The rule that stands at `index`, as [`Matched::index`] counts; the default rule where there
    /// is none.
    #[must_use]
    pub fn rule(&self, index: usize) -> &Rule {
        self.locate(index).map_or(&self.default_rule, |(_, entry)| &entry.rule)
    }

    /// What the file is called that holds the rule at `index`, such as `m.yml` or
    /// `preset gunicorn`; empty where there is no such rule.
    #[must_use]
    pub fn origin(&self, index: usize) -> &str {
        self.locate(index).map_or("", |(file, _)| &file.origin)
    }

    /// Whether the kernel has to be asked who sent each line.
    #[must_use]
    pub fn needs_senders(&self) -> bool {
        self.files().any(|file| file.needs_senders)
    }

    /// The unit of a family, where a rule for it says one.
    #[must_use]
    pub fn unit(&self, family: &str) -> Option<Arc<str>> {
        self.files().find_map(|file| file.units.get(family)).cloned()
    }

    /// What each rule makes as far as it does not depend on names that clients send, in the order
    /// which they are counted.
    pub fn outlines(&self) -> impl Iterator<Item = Outline<'_>> {
        self.files().flat_map(|file| &file.entries).map(|entry| Outline {
            rule: &entry.rule,
            event: entry.event,
            is_observer: entry.is_observer,
            name: entry.name.constant(),
            labels: entry
                .labels
                .iter()
                .map(|(key, text)| (key.as_str(), text.constant()))
                .collect(),
        })
    }

    /// The rule for a name, if there is one, with the templates filled in.
    ///
    /// Only the result is allocated, and the cost does not grow with the number of globs.
    #[must_use]
    pub fn find(&self, name: &str, event: EventType) -> Option<Matched<'_>> {
        let mut before = 0;
        self.files().find_map(|file| {
            let matched = file.find_here(name, event);
            let index = before;
            before += file.entries.len();
            matched.map(|matched| Matched { index: index + matched.index, ..matched })
        })
    }

    /// As [`find`](Self::find), in this file alone.
    fn find_here(&self, name: &str, event: EventType) -> Option<Matched<'_>> {
        if let Some((index, captures)) = self.globs.find(name, event) {
            let part = |number: usize| match number.checked_sub(1) {
                None => name,
                Some(star) => captures.get(star).copied().unwrap_or_default(),
            };
            return self.fill(index as usize, part);
        }
        self.patterns.iter().find_map(|rule| {
            if rule.event.is_some_and(|own| own != event) {
                return None;
            }
            let captures = rule.pattern.captures(name)?;
            let part = |number| captures.get(number).map_or("", |group| group.as_str());
            self.fill(rule.index, part)
        })
    }

    fn fill<'n>(&self, index: usize, part: impl Fn(usize) -> &'n str) -> Option<Matched<'_>> {
        let Entry { rule, name, labels, .. } = self.entries.get(index)?;
        if rule.action == Action::Drop {
            return Some(Matched { index, rule, name: String::new(), labels: Vec::new() });
        }
        let labels = labels.iter().map(|(label, text)| (label.as_str(), text.fill(&part)));
        Some(Matched { index, rule, name: name.fill(&part), labels: labels.collect() })
    }

    /// Writes the automaton of this file's glob rules as a Dot file (`--debug.dump-fsm`); the
    /// circles in which a rule ends carry its number, counted from 0.
    ///
    /// # Errors
    /// Whatever `out` says.
    pub fn dump_fsm(&self, out: &mut impl Write) -> io::Result<()> {
        let types = EventType::ALL;
        let types =
            types.iter().filter(|event| !self.compat.is_reference() || **event != EventType::Set);
        self.globs.dump(&types.copied().collect::<Vec<_>>(), out)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::map::ttl::Ttls;
    use crate::map::{CounterMode, Observer};

    #[test]
    fn globs_go_before_regexes() {
        let rules = parse(
            "mappings:\n\
             - {match: '^a\\.(.*)$', match_type: regex, name: rx, labels: {part: $1}}\n\
             - {match: a.b, name: gl}\n\
             - {match: '*.b', name: gl2}\n\
             - {match: '.*', match_type: regex, name: rest}\n",
        );
        check(&rules, "a.b", EventType::Counter, Some("gl{}"));
        check(&rules, "a.c", EventType::Counter, Some("rx{part=c}"));
        check(&rules, "x.b", EventType::Counter, Some("gl2{}"));
        check(&rules, "zz", EventType::Counter, Some("rest{}"));
    }

    #[test]
    fn files_behind_are_asked_for_what_no_rule_before_matches() {
        let own = parse(
            "defaults: {ttl: 1m}\nmappings:\n\
             - {match: 'app\\.b.*', match_type: regex, name: own_regex}\n\
             - {match: app.drop, name: x, action: drop}\n",
        );
        let first = parse(
            "mappings:\n- {match: app.*, name: first}\n- {match: u.*, name: u, unit: bytes}\n",
        );
        let second = parse("mappings:\n- {match: '*.*', name: second, labels: {app: $1}}\n");
        let rules = own.with_behind([first, second].into());
        check(&rules, "app.b", EventType::Counter, Some("own_regex{}"));
        check(&rules, "app.drop", EventType::Counter, Some("{}"));
        check(&rules, "app.c", EventType::Counter, Some("first{}"));
        check(&rules, "web.c", EventType::Counter, Some("second{app=web}"));
        check(&rules, "web", EventType::Counter, None);
        assert_eq!(rules.default_rule().ttl, Ttls::all(Some(Duration::from_mins(1))));
        assert_eq!(rules.len(), 5);
        let index = |name| rules.find(name, EventType::Counter).map(|found| found.index);
        assert_eq!([index("app.b"), index("app.c"), index("web.c")], [Some(0), Some(2), Some(4)]);
        let sources: Vec<&str> = (0..6).map(|index| rules.rule(index).source.as_str()).collect();
        assert_eq!(sources, ["app\\.b.*", "app.drop", "app.*", "u.*", "*.*", ""]);
        let named = rules.outlines().filter_map(|rule| rule.name).collect::<Vec<_>>();
        assert_eq!(named, ["own_regex", "x", "first", "u", "second"]);
        assert_eq!(rules.unit("u").as_deref(), Some("bytes"));
    }

    #[test]
    fn a_rule_for_another_type_is_passed_over() {
        let rules = parse(
            "mappings:\n\
             - {match: a.*, match_metric_type: gauge, name: gau}\n\
             - {match: 'a\\..*', match_type: regex, match_metric_type: counter, name: cnt}\n\
             - {match: '^a', match_type: regex, match_metric_type: set, name: set}\n\
             - {match: '^a', match_type: regex, match_metric_type: timer, name: obs}\n",
        );
        check(&rules, "a.b", EventType::Gauge, Some("gau{}"));
        check(&rules, "a.b", EventType::Counter, Some("cnt{}"));
        check(&rules, "a.b", EventType::Set, Some("set{}"));
        check(&rules, "a.b", EventType::Observer, Some("obs{}"));
        check(&rules, "b.b", EventType::Observer, None);
    }

    #[test]
    fn names_and_labels_are_filled_in() {
        let rules = parse(
            "mappings:\n\
             - match: a.*.*\n  name: n_${1}\n  \
             labels: {z: $2, one: 5, b: '$1-$2', yes: yes, f: 1.50, nul: ~, o: 010, h: 0x1F}\n\
             - {match: '^r(?P<id>.)$', match_type: regex, name: $0_, labels: {id: '$id'}}\n\
             - {match: x.*, name: $1}\n",
        );
        let expected = "n_x{z=y,one=5,b=x-y,yes=yes,f=1.50,nul=,o=010,h=0x1F}";
        check(&rules, "a.x.y", EventType::Counter, Some(expected));
        check(&rules, "r1", EventType::Counter, Some("{id=1}"));
        check(&rules, "x.", EventType::Counter, Some("{}"));
    }

    #[test]
    fn a_dropping_rule_fills_nothing_in() {
        let rules = parse("mappings:\n- {match: a.*, name: $1, action: drop, labels: {l: $1}}\n");
        let matched = rules.find("a.b", EventType::Gauge).unwrap();
        assert_eq!(matched.rule.action, Action::Drop);
        check(&rules, "a.b", EventType::Gauge, Some("{}"));
    }

    #[test]
    fn without_order_literals_win() {
        let rules = parse(
            "defaults: {glob_disable_ordering: true}\n\
             mappings:\n- {match: a.*, name: star}\n- {match: a.b, name: literal}\n",
        );
        check(&rules, "a.b", EventType::Counter, Some("literal{}"));
    }

    #[test]
    fn settings_are_taken_over() {
        let rules = parse(
            "defaults: {ttl: 1m, counter_mode: absolute, set_window: 2m}\n\
             mappings:\n\
             - {match: a, name: a, help: Text, honor_labels: true, scale: 0, ttl: 10}\n\
             - {match: b, name: b, help: '', ttl: 0, counter_mode: updown, set_window: 1_000}\n\
             - {match: c, name: c, ttl: -1s, scale: ~}\n",
        );
        let rule = |index| rules.rule(index);
        assert_eq!(rule(0).help.as_deref(), Some("Text"));
        assert!(rule(0).honor_labels);
        assert_eq!((rule(0).scale, rule(2).scale), (Some(0.0), None));
        let ttl = |nanos| Ttls::all(Some(Duration::from_nanos(nanos)));
        assert_eq!(rule(0).ttl, ttl(10));
        assert_eq!(rule(1).ttl, ttl(60_000_000_000));
        assert_eq!(rule(2).ttl, ttl(1));
        assert_eq!(rule(1).help, None);
        assert_eq!(
            (rule(0).counter_mode, rule(1).counter_mode),
            (CounterMode::Absolute, CounterMode::UpDown)
        );
        assert_eq!(
            (rule(0).set_window, rule(1).set_window),
            (Duration::from_mins(2), Duration::from_micros(1))
        );
        assert_eq!((rule(2).source.as_str(), rule(2).line), ("c", 5));
        assert_eq!(rules.default_rule().ttl, rule(1).ttl);
        assert_eq!(rules.default_rule().counter_mode, CounterMode::Absolute);
    }

    #[test]
    fn observers_take_what_they_lack_from_the_defaults() {
        let rules = parse(
            "defaults:\n  \
             histogram_options: {buckets: [1, 5, .inf]}\n  \
             summary_options: {quantiles: [{quantile: 0.9, error: 0.1}], max_age: 5m, age_buckets: 2}\n\
             mappings:\n\
             - {match: h, name: h, observer_type: histogram}\n\
             - {match: i, name: i, observer_type: histogram, histogram_options: {buckets: [2], native_histogram_bucket_factor: 1}}\n\
             - {match: s, name: s, observer_type: summary, summary_options: {buf_cap: 10}}\n\
             - {match: o, name: o, summary_options: {age_buckets: 3}}\n\
             - {match: n, name: n, histogram_options: {buckets: [1]}}\n",
        );
        check_observer(rules.rule(0), "histogram [1.0, 5.0] native 3/256");
        check_observer(rules.rule(1), "histogram [2.0] native off");
        check_observer(rules.rule(2), "summary [(0.9, 0.1)] 300s/2");
        check_observer(rules.rule(3), "summary [(0.9, 0.1)] 600s/3");
        check_observer(rules.rule(4), "summary [(0.9, 0.1)] 300s/2");
        check_observer(rules.default_rule(), "summary [(0.9, 0.1)] 300s/2");
        let (Observer::Summary(a), Observer::Summary(b)) =
            (&rules.rule(2).observer, &rules.rule(4).observer)
        else {
            panic!("no summaries");
        };
        assert!(std::sync::Arc::ptr_eq(a, b));
    }

    #[test]
    fn a_default_observer_type_holds_for_every_name() {
        let rules = parse(
            "defaults: {observer_type: histogram}\n\
             mappings:\n- {match: a, name: a}\n\
             - {match: s, name: s, observer_type: summary}\n- {match: e, name: e, observer_type: ''}\n",
        );
        let default = "histogram [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0] native 3/256";
        check_observer(rules.default_rule(), default);
        check_observer(rules.rule(0), default);
        check_observer(rules.rule(1), "summary [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] 600s/5");
        check_observer(rules.rule(2), "summary [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] 600s/5");
    }

    #[test]
    fn without_a_file_everything_is_exposed_as_it_comes() {
        let rules = Rules::without_file(Compat::Extended);
        assert!(rules.is_empty());
        check(&rules, "a.b", EventType::Counter, None);
        let default = rules.default_rule();
        check_observer(default, "summary [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] 600s/5");
        assert_eq!((default.ttl, default.set_window), (Ttls::default(), Duration::from_mins(1)));
    }

    // The reference panics at the first sample of such a family.
    #[test]
    fn impossible_options_are_put_right_with_a_warning() {
        let (rules, warnings) = parse_with_warnings(
            "mappings:\n\
             - {match: a, name: a, observer_type: histogram, histogram_options: {buckets: [2, 1, 2, .nan]}}\n\
             - {match: b, name: b, summary_options: {max_age: -1s}}\n\
             - {match: c, name: c, summary_options: {quantiles: [{quantile: 95, error: 0}, {quantile: .5, error: 7}]}}\n",
        );
        check_observer(rules.rule(0), "histogram [1.0, 2.0] native 3/256");
        check_observer(rules.rule(1), "summary [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] 600s/5");
        check_observer(rules.rule(2), "summary [(0.5, 1.0)] 600s/5");
        assert_eq!(
            warnings,
            [
                "m.yml:2:78: buckets have to be finite and rising; they are used sorted, each once",
                "m.yml:3:50: max_age is negative; the default is used",
                "m.yml:4:52: a quantile lies between 0 and 1; 95 is left out",
                "m.yml:4:52: an error lies between 0 and 1; 7 is taken for the nearest",
            ]
        );
    }

    #[test]
    fn quantiles_are_sorted_and_the_last_of_equal_ones_counts() {
        let rules = parse(
            "mappings:\n- {match: a, name: a, summary_options: {quantiles: [\
             {quantile: .9, error: .01}, {quantile: .1, error: .01}, {quantile: .9, error: .05}]}}\n",
        );
        check_observer(rules.rule(0), "summary [(0.1, 0.01), (0.9, 0.05)] 600s/5");
    }

    #[test]
    fn old_spellings_are_read_with_a_warning() {
        let text = "defaults: {timer_type: histogram, buckets: [.05, .1, .25, .5, 1, 2.5]}";
        let (rules, warnings) = parse_with_warnings(text);
        check_observer(
            rules.default_rule(),
            "histogram [0.05, 0.1, 0.25, 0.5, 1.0, 2.5] native 3/256",
        );
        assert_eq!(
            warnings,
            [
                "m.yml:1:24: `timer_type` is an old spelling; write `observer_type`",
                "m.yml:1:44: `buckets` is an old spelling; write `buckets` in `histogram_options`",
            ]
        );
        let (rules, warnings) = parse_with_warnings(
            "defaults: {quantiles: [{quantile: 0.7, error: 0}]}\n\
             mappings:\n\
             - {match: a, name: a, timer_type: histogram, buckets: [3]}\n\
             - {match: b, name: b, quantiles: [{quantile: 0.2, error: 0.1}]}\n\
             - {match: c, name: c, timer_type: summary, match_metric_type: timer}\n",
        );
        check_observer(rules.rule(0), "histogram [3.0] native 3/256");
        check_observer(rules.rule(1), "summary [(0.2, 0.1)] 600s/5");
        check_observer(rules.rule(2), "summary [(0.7, 0.0)] 600s/5");
        assert_eq!(warnings.len(), 6, "{warnings:?}");
        check_error(
            Compat::Reference,
            text,
            "m.yml:1:24: unknown key `timer_type`; old spellings need `--compat=extended`, which names the new one",
        );
    }

    #[test]
    fn a_rule_that_never_matches_is_noted() {
        let (_, warnings) = parse_with_warnings(
            "mappings:\n- match: a.*.*\n  name: one\n- match: a.b.*\n  name: two\n",
        );
        assert_eq!(
            warnings,
            [
                "m.yml:4:1: `a.b.*` never matches: `a.*.*` in line 2 is a super set of it and comes first"
            ]
        );
    }

    #[test]
    fn yaml_is_read_as_the_reference_reads_it() {
        for text in ["", "---\n", "# nothing\n", "mappings:\ndefaults:\n", "mappings: []\n"] {
            assert!(parse(text).is_empty(), "{text:?}");
        }
        for text in [
            "mappings:\n- match: a\n  name: b\n---\n[broken",
            "\u{feff}mappings:\n- match: a\n  name: b\n",
            "mappings:\r\n- match: a\r\n  name: b\r\n",
            "{\"mappings\": [{\"match\": \"a\", \"name\": \"b\"}]}",
            "mappings:\n- &base\n  match: q\n  name: b\n- {<<: *base, match: a}\n",
            "mappings:\n- match: a\n  name: b\n  summary_options: {age_buckets: 1_0, buf_cap: 0x10}\n",
        ] {
            check(&parse(text), "a", EventType::Counter, Some("b{}"));
        }
    }

    #[test]
    fn errors_name_the_place_and_the_way_out() {
        for (text, expected) in [
            (
                "mappings:\n- match: a\n  name: b\n  label: {}\n",
                "4:3: unknown key `label`; did you mean `labels`?",
            ),
            ("defalts: {}\n", "1:1: unknown key `defalts`; did you mean `defaults`?"),
            ("foo: 1\n", "1:1: unknown key `foo`; known are defaults, mappings"),
            (
                "mappings:\n- match: a\n  name: b\n  histogram_options: {bukets: [1]}\n",
                "4:23: unknown key `bukets`; did you mean `buckets`?",
            ),
            ("mappings: []\nmappings: []\n", "2:1: the key `mappings` stands here twice"),
            (
                "mappings:\n- match: a\n  name: b\n  labels:\n    x: 1\n    x: 2\n",
                "6:5: the key `x` stands here twice",
            ),
            (
                "mappings:\n- match: a\n  labels: {}\n",
                "2:3: the rule has no `name`; every rule needs one, also one that drops",
            ),
            (
                "mappings:\n- ~\n",
                "2:3: the rule has no `name`; every rule needs one, also one that drops",
            ),
            ("mappings:\n- name: b\n", "2:3: the rule has no `match`; every rule needs one"),
            (
                "mappings:\n- match: a\n  name: b-c\n",
                "3:9: `b-c` cannot be the name of a metric; write letters, digits, `_` and references such as `$1` or `${1}`, no digit first",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  labels: {foo-bar: y}\n",
                "4:12: `foo-bar` cannot be the name of a label; write letters, digits and `_`, no digit first",
            ),
        ] {
            check_error(Compat::Extended, text, &format!("m.yml:{expected}"));
        }
    }

    #[test]
    fn wrong_values_are_named_with_what_would_be_right() {
        for (text, expected) in [
            (
                "mappings:\n- match: a\n  name: b\n  observer_type: histogramm\n",
                "4:18: unknown observer_type `histogramm`; did you mean `histogram`?",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  match_metric_type: ''\n",
                "4:22: unknown match_metric_type ``; known are counter, gauge, observer, set",
            ),
            (
                "mappings:\n- match: '*.foo'\n  name: b\n  match_type: regex\n",
                "2:10: `*.foo` is not a regex: repetition operator missing expression",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  observer_type: histogram\n  summary_options: {}\n",
                "2:3: a histogram cannot have `summary_options`; remove them, or set `observer_type: summary`",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  observer_type: summary\n  histogram_options: {}\n",
                "2:3: a summary cannot have `histogram_options`; remove them, or set `observer_type: histogram`",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  ttl: '10'\n",
                "4:8: `10` is a duration without its unit; write for instance 10s",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  ttl: soon\n",
                "4:8: `soon` is not a duration; write for instance 500ms, 90s or 1h30m",
            ),
            ("mappings:\n- match: a\n  name: b\n  scale: big\n", "4:10: `big` is not a number"),
            (
                "mappings:\n- match: a\n  name: b\n  summary_options: {buf_cap: -1}\n",
                "4:30: `-1` is not a whole number that is not negative",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  set_window: 0s\n",
                "4:15: `set_window` must be more than zero",
            ),
            (
                "mappings:\n- match: *.foo\n",
                "2:10: `*` refers to an anchor that is not there; quote a text that begins with a star",
            ),
            ("- a\n", "1:1: keys with values are expected here"),
        ] {
            check_error(Compat::Extended, text, &format!("m.yml:{expected}"));
        }
    }

    #[test]
    fn a_setting_under_two_spellings_is_refused() {
        for (text, expected) in [
            (
                "mappings:\n- match: a\n  name: b\n  quantiles: []\n  \
                 summary_options: {quantiles: []}\n",
                "4:14: `quantiles` is an old spelling of `quantiles` in `summary_options`, which \
                 is set as well; remove `quantiles`",
            ),
            (
                "defaults: {timer_type: summary, observer_type: summary}\n",
                "1:24: `timer_type` is an old spelling of `observer_type`, which is set as well; \
                 remove `timer_type`",
            ),
        ] {
            check_error(Compat::Extended, text, &format!("m.yml:{expected}"));
        }
    }

    #[test]
    fn the_reference_knows_none_of_our_keys() {
        for (text, expected) in [
            (
                "defaults: {counter_mode: updown}\n",
                "1:26: unknown key `counter_mode`; it needs `--compat=extended`",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  set_window: 1s\n",
                "4:15: unknown key `set_window`; it needs `--compat=extended`",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  match_metric_type: set\n",
                "4:22: unknown match_metric_type `set`; known are counter, gauge, observer",
            ),
            (
                "mappings:\n- match: a\n  name: b\n  buckets: [1]\n",
                "4:12: unknown key `buckets`; old spellings need `--compat=extended`, which names the new one",
            ),
        ] {
            check_error(Compat::Reference, text, &format!("m.yml:{expected}"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_at_their_place() {
        let error =
            Rules::parse(b"mappings:\n- name: \"\xff\"", "m.yml".as_ref(), Compat::Extended);
        assert_eq!(error.unwrap_err().to_string(), "m.yml:2:10: the file is not UTF-8");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Rules::load("/nowhere/m.yml".as_ref(), Compat::Extended).unwrap_err();
        assert_eq!(error.to_string(), "cannot read mapping file /nowhere/m.yml");
    }

    #[test]
    fn ten_thousand_rules_can_be_read() {
        let rule = |n| {
            format!("- {{match: app{n}.*, name: a, labels: {{a: 1, b: 2, c: 3, d: 4, e: $1}}}}\n")
        };
        let text = "mappings:\n".to_owned() + &(0..10_000).map(rule).collect::<String>();
        let rules = parse(&text);
        assert_eq!(rules.len(), 10_000);
        check(&rules, "app9999.x", EventType::Gauge, Some("a{a=1,b=2,c=3,d=4,e=x}"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<Vec<u8>>()) {
            for compat in [Compat::Reference, Compat::Extended] {
                Rules::parse(&text, "m.yml".as_ref(), compat).ok();
            }
        }

        #[test]
        fn any_values_are_read_or_refused(
            rules in prop::collection::vec(prop::collection::vec((key(), value()), 0..5), 0..4),
            defaults in prop::collection::vec((key(), value()), 0..4),
        ) {
            let line = |(key, value): &(String, String)| format!("  {key}: {value}\n");
            let mut text = "defaults:\n".to_owned();
            text.extend(defaults.iter().map(line));
            text.push_str("mappings:\n");
            for rule in &rules {
                text.push_str("- match: a.*\n  name: n\n");
                text.extend(rule.iter().map(line));
            }
            for compat in [Compat::Reference, Compat::Extended] {
                if let Ok(loaded) = Rules::parse(text.as_bytes(), "m.yml".as_ref(), compat) {
                    let found = loaded.rules.find("a.b", EventType::Observer);
                    prop_assert!(found.is_none_or(|found| found.index < rules.len()));
                }
            }
        }
    }

    fn key() -> impl Strategy<Value = String> {
        let keys = [
            "labels",
            "honor_labels",
            "observer_type",
            "match_type",
            "help",
            "action",
            "ttl",
            "match_metric_type",
            "summary_options",
            "histogram_options",
            "scale",
            "counter_mode",
            "set_window",
            "timer_type",
            "buckets",
            "quantiles",
            "glob_disable_ordering",
            "nonsense",
        ];
        prop::sample::select(keys.to_vec()).prop_map(str::to_owned)
    }

    fn value() -> impl Strategy<Value = String> {
        let values = [
            "",
            "~",
            "1",
            "-1",
            "1.5",
            ".inf",
            ".nan",
            "1e300",
            "99999999999999999999",
            "yes",
            "x",
            "''",
            "histogram",
            "summary",
            "glob",
            "regex",
            "drop",
            "map",
            "set",
            "timer",
            "updown",
            "10s",
            "-10s",
            "1h1",
            "[1, 2]",
            "[2, 1, .nan]",
            "[~]",
            "[[]]",
            "{a: $1}",
            "{a: [1]}",
            "{buckets: [1, .inf, 0]}",
            "{native_histogram_bucket_factor: 1.00001}",
            "{max_age: -1s, age_buckets: 4294967295}",
            "{quantiles: [{quantile: 2, error: .nan}]}",
            "[{quantile: .5}, ~]",
            "&a [*a]",
            "!!binary x",
            "|\n    text",
        ];
        prop::sample::select(values.to_vec()).prop_map(str::to_owned)
    }

    fn parse(text: &str) -> Rules {
        parse_with_warnings(text).0
    }

    #[track_caller]
    fn parse_with_warnings(text: &str) -> (Rules, Vec<String>) {
        match Rules::parse(text.as_bytes(), "m.yml".as_ref(), Compat::Extended) {
            Ok(loaded) => (loaded.rules, loaded.warnings),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn check(rules: &Rules, name: &str, event: EventType, expected: Option<&str>) {
        let found = rules.find(name, event).map(|matched| {
            let labels: Vec<String> =
                matched.labels.iter().map(|(label, text)| format!("{label}={text}")).collect();
            format!("{}{{{}}}", matched.name, labels.join(","))
        });
        assert_eq!(found.as_deref(), expected, "{name}");
    }

    #[track_caller]
    fn check_observer(rule: &Rule, expected: &str) {
        let text = match &rule.observer {
            Observer::Histogram(spec) => {
                let native = spec.native.map(|native| (native.schema, native.max_buckets));
                let native =
                    native.map_or("off".to_owned(), |(schema, most)| format!("{schema}/{most}"));
                format!("histogram {:?} native {native}", spec.bounds)
            }
            Observer::Summary(spec) => format!(
                "summary {:?} {}s/{}",
                spec.quantiles,
                spec.max_age.as_secs(),
                spec.age_buckets
            ),
        };
        assert_eq!(text, expected);
    }

    #[track_caller]
    fn check_error(compat: Compat, text: &str, expected: &str) {
        let error = Rules::parse(text.as_bytes(), "m.yml".as_ref(), compat).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}
