//! From the file as written to checked rules.

use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::error::{Fault, Place, Problem};
use super::escape::is_label_name;
use super::glob::is_glob;
use super::options::{Notes, ObserverKind, Observers};
use super::pattern::Pattern;
use super::raw::{Nanos, RawDefaults, RawLabels, RawRule, nearest};
use super::sharing::{RawSharing, Sharing};
use super::template::Template;
use super::ttl::Ttls;
use super::{Action, CounterMode, Intake, Observer, Rule};
use crate::compat::Compat;
use crate::sample::EventType;

mod intake;

use intake::RawIntake;

/// The window of sets for want of another.
const DEFAULT_SET_WINDOW: Duration = Duration::from_mins(1);
/// What a negative `ttl` comes to: gone as soon as somebody looks, as in the reference.
const SHORTEST_TTL: Duration = Duration::from_nanos(1);

const OBSERVERS: [(&str, ObserverKind); 3] = [
    ("histogram", ObserverKind::Histogram),
    ("summary", ObserverKind::Summary),
    ("", ObserverKind::Summary),
];
const ACTIONS: [(&str, Action); 3] =
    [("map", Action::Map), ("drop", Action::Drop), ("", Action::Map)];
const MATCH_TYPES: [(&str, MatchType); 3] =
    [("glob", MatchType::Glob), ("regex", MatchType::Regex), ("", MatchType::Glob)];
const COUNTER_MODES: [(&str, CounterMode); 3] = [
    ("increment", CounterMode::Increment),
    ("updown", CounterMode::UpDown),
    ("absolute", CounterMode::Absolute),
];
const EVENT_TYPES: [(&str, EventType); 4] = [
    ("counter", EventType::Counter),
    ("gauge", EventType::Gauge),
    ("observer", EventType::Observer),
    ("set", EventType::Set),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatchType {
    Glob,
    Regex,
}

/// A checked rule and what is needed to ask it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) rule: Rule,
    pub(super) matcher: Matcher,
    /// `match_metric_type`
    pub(super) event: Option<EventType>,
    /// Whether it says how timings are taken.
    pub(super) is_observer: bool,
    pub(super) name: Template,
    pub(super) labels: Vec<(String, Template)>,
}

/// How a rule is matched.
#[derive(Debug)]
pub(super) enum Matcher {
    /// By the automaton, under the rule's source.
    Glob {
        /// How many parts are captured.
        stars: usize,
    },
    /// By a regex of its own.
    Regex(Pattern),
}

impl Matcher {
    fn template(&self, text: &str) -> Template {
        match self {
            Self::Glob { stars } => Template::for_glob(text, *stars),
            Self::Regex(pattern) => Template::for_regex(text, &pattern.names),
        }
    }
}

/// Checks rule after rule under the same defaults.
#[derive(Debug)]
pub(super) struct Checker {
    compat: Compat,
    observers: Observers,
    match_type: MatchType,
    ttl: Ttls,
    /// What rules without a `ttl` get.
    inherited_ttl: Ttls,
    counter_mode: CounterMode,
    set_window: Duration,
    pub(super) sharing: Sharing,
    intake: Arc<Intake>,
    pub(super) is_ordered: bool,
    pub(super) notes: Notes,
}

impl Checker {
    /// What holds without a mapping file.
    pub(super) fn without_file(compat: Compat) -> Self {
        Self {
            compat,
            observers: Observers::without_file(),
            match_type: MatchType::Glob,
            ttl: Ttls::default(),
            inherited_ttl: Ttls::default(),
            counter_mode: CounterMode::Increment,
            set_window: DEFAULT_SET_WINDOW,
            sharing: Sharing::default(),
            intake: Arc::default(),
            is_ordered: true,
            notes: Notes::new(),
        }
    }

    /// Checks `defaults:`.
    pub(super) fn new(compat: Compat, mut written: RawDefaults) -> Result<Self, Fault> {
        let mut checker = Self::without_file(compat);
        let intake = RawIntake::of_defaults(&mut written);
        checker.intake = Arc::new(checker.intake(intake)?.unwrap_or_default());
        checker.match_type = word(written.match_type.as_ref(), "match_type", &MATCH_TYPES)?
            .unwrap_or(MatchType::Glob);
        checker.is_ordered = !written.glob_disable_ordering.unwrap_or_default().0;
        checker.ttl = checker.default_ttls(written.ttl.as_ref(), written.ttl_by_kind.as_ref())?;
        // Rules do not take a negative one, as in the reference.
        let is_negative = written.ttl.as_ref().is_some_and(|ttl| ttl.value.0 < 0);
        checker.inherited_ttl = if is_negative { Ttls::default() } else { checker.ttl };
        checker.sharing = checker.sharing(&RawSharing::from(&written))?;
        checker.counter_mode = checker.counter_mode(written.counter_mode.as_ref())?;
        checker.set_window = checker.set_window(written.set_window.as_ref())?;
        let observer =
            checker.observer_type(written.observer_type.as_ref(), written.timer_type.as_ref())?;
        let mut histogram = written.histogram_options.unwrap_or_default();
        if let Some(legacy) = written.buckets {
            let has_both = histogram.buckets.is_some();
            checker.legacy(&legacy, "buckets", "`buckets` in `histogram_options`", has_both)?;
            histogram.buckets = Some(legacy);
        }
        let mut summary = written.summary_options.unwrap_or_default();
        if let Some(legacy) = written.quantiles {
            let has_both = summary.quantiles.is_some();
            checker.legacy(&legacy, "quantiles", "`quantiles` in `summary_options`", has_both)?;
            summary.quantiles = Some(legacy);
        }
        checker.observers = Observers::new(observer, &histogram, &summary, &mut checker.notes);
        Ok(checker)
    }

    /// What unmapped names get.
    pub(super) fn default_rule(&mut self) -> Rule {
        Rule {
            source: String::new(),
            line: 0,
            action: Action::Map,
            help: None,
            unit: None,
            honor_labels: false,
            scale: None,
            ttl: self.ttl,
            observer: self.observers.default_observer(),
            counter_mode: self.counter_mode,
            set_window: self.set_window,
            sharing: self.sharing.clone(),
            intake: Arc::clone(&self.intake),
        }
    }

    /// Checks one rule, which begins at `place`.
    pub(super) fn rule(&mut self, written: RawRule, place: Place) -> Result<Checked, Fault> {
        self.extended(written.examples.as_ref(), "examples")?;
        let match_place = written.glob_or_regex.as_ref().map_or(place, Place::of);
        let event = self.event_type(written.match_metric_type.as_ref())?;
        let match_type = word(written.match_type.as_ref(), "match_type", &MATCH_TYPES)?
            .unwrap_or(self.match_type);
        let name = metric_name(written.name.as_ref(), place)?;
        let labels = label_texts(written.labels.as_ref())?;
        let matcher = matcher(match_type, written.glob_or_regex.as_ref(), match_place)?;
        let name = matcher.template(name);
        let labels = labels.map(|(label, text)| (label.to_owned(), matcher.template(text)));
        let labels = labels.collect();
        let source = written.glob_or_regex.as_ref().map_or("", |text| text.value.as_str());
        let source = source.to_owned();
        let is_observer = names_observer(&written);
        let rule = self.settings(written, source, place, match_place.line)?;
        Ok(Checked { rule, matcher, event, is_observer, name, labels })
    }

    fn settings(
        &mut self,
        mut written: RawRule,
        source: String,
        place: Place,
        line: u64,
    ) -> Result<Rule, Fault> {
        self.note_negative_ttl(written.ttl.as_ref());
        let own_ttl = written.ttl.as_ref().map_or_else(Nanos::default, |ttl| ttl.value);
        let mut intake = Arc::clone(&self.intake);
        if let Some(mut own) = self.intake(RawIntake::of_rule(&mut written))? {
            own.inherit(&intake);
            intake = Arc::new(own);
        }
        Ok(Rule {
            source,
            line,
            action: word(written.action.as_ref(), "action", &ACTIONS)?.unwrap_or(Action::Map),
            honor_labels: written.honor_labels.unwrap_or_default().0,
            scale: written.scale.map(|scale| scale.0),
            ttl: Ttls::all(ttl(own_ttl)).or(self.inherited_ttl),
            counter_mode: self.counter_mode(written.counter_mode.as_ref())?,
            set_window: self.set_window(written.set_window.as_ref())?,
            sharing: self.sharing(&RawSharing::from(&written))?,
            intake,
            help: written.help.as_deref().filter(|help| !help.is_empty()).map(Arc::from),
            unit: written.unit.as_deref().filter(|unit| !unit.is_empty()).map(Arc::from),
            observer: self.observer(written, place)?,
        })
    }

    /// The observer of a rule; options of the other kind are an error once the kind is known.
    fn observer(&mut self, written: RawRule, place: Place) -> Result<Observer, Fault> {
        let own_type =
            self.observer_type(written.observer_type.as_ref(), written.timer_type.as_ref())?;
        let kind = own_type.or(self.observers.kind);
        if let Some(legacy) = &written.buckets {
            let options = written.histogram_options.as_ref();
            let has_both = options.is_some_and(|options| options.buckets.is_some());
            self.legacy(legacy, "buckets", "`buckets` in `histogram_options`", has_both)?;
        }
        if let Some(legacy) = &written.quantiles {
            let options = written.summary_options.as_ref();
            let has_both = options.is_some_and(|options| options.quantiles.is_some());
            self.legacy(legacy, "quantiles", "`quantiles` in `summary_options`", has_both)?;
        }
        if kind == Some(ObserverKind::Histogram) {
            if written.summary_options.is_some() {
                return Err(Fault::new(place, Problem::SummaryOptionsOfHistogram));
            }
            let mut options = written.histogram_options.unwrap_or_default();
            options.buckets = options.buckets.or(written.buckets);
            return Ok(self.observers.histogram(&options, &mut self.notes));
        }
        if kind.is_some() && written.histogram_options.is_some() {
            return Err(Fault::new(place, Problem::HistogramOptionsOfSummary));
        }
        let has_options = written.summary_options.is_some();
        let mut options = written.summary_options.unwrap_or_default();
        options.quantiles = options.quantiles.or(written.quantiles);
        let inherits = kind.is_some() || !has_options;
        Ok(self.observers.summary(Some((&options, inherits)), &mut self.notes))
    }

    fn observer_type(
        &mut self,
        written: Option<&Spanned<String>>,
        legacy: Option<&Spanned<String>>,
    ) -> Result<Option<ObserverKind>, Fault> {
        if let Some(legacy) = legacy {
            self.legacy(legacy, "timer_type", "`observer_type`", written.is_some())?;
        }
        let legacy = word(legacy, "timer_type", &OBSERVERS)?;
        Ok(word(written, "observer_type", &OBSERVERS)?.or(legacy))
    }

    fn event_type(
        &mut self,
        written: Option<&Spanned<String>>,
    ) -> Result<Option<EventType>, Fault> {
        const KEY: &str = "match_metric_type";
        let Some(written) = written else { return Ok(None) };
        if self.compat.is_reference() {
            let known = EVENT_TYPES.iter().filter(|(_, event)| *event != EventType::Set);
            return word(Some(written), KEY, &known.copied().collect::<Vec<_>>());
        }
        if written.value == "timer" {
            self.note_legacy(Place::of(written), "match_metric_type: timer", "`observer`");
            return Ok(Some(EventType::Observer));
        }
        word(Some(written), KEY, &EVENT_TYPES)
    }

    fn counter_mode(&self, written: Option<&Spanned<String>>) -> Result<CounterMode, Fault> {
        self.extended(written, "counter_mode")?;
        Ok(word(written, "counter_mode", &COUNTER_MODES)?.unwrap_or(self.counter_mode))
    }

    fn set_window(&self, written: Option<&Spanned<Nanos>>) -> Result<Duration, Fault> {
        self.extended(written, "set_window")?;
        let Some(written) = written else { return Ok(self.set_window) };
        match u64::try_from(written.value.0) {
            Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
            _ => Err(Fault::new(Place::of(written), Problem::Window("set_window"))),
        }
    }

    /// Refuses a key of ours where the reference's own rules apply.
    pub(super) fn extended<T>(
        &self,
        value: Option<&Spanned<T>>,
        key: &'static str,
    ) -> Result<(), Fault> {
        const ADVICE: &str = "it needs `--compat=extended`";
        match value {
            Some(value) if self.compat.is_reference() => {
                Err(Fault::new(Place::of(value), Problem::NotInReference { key, advice: ADVICE }))
            }
            _ => Ok(()),
        }
    }

    /// Takes a spelling of older versions with a note, or refuses it as the reference does.
    fn legacy<T>(
        &mut self,
        value: &Spanned<T>,
        key: &'static str,
        successor: &'static str,
        has_both: bool,
    ) -> Result<(), Fault> {
        let place = Place::of(value);
        if self.compat.is_reference() {
            const ADVICE: &str = "old spellings need `--compat=extended`, which names the new one";
            return Err(Fault::new(place, Problem::NotInReference { key, advice: ADVICE }));
        }
        if has_both {
            return Err(Fault::new(place, Problem::TwoSpellings { old: key, new: successor }));
        }
        self.note_legacy(place, key, successor);
        Ok(())
    }

    fn note_legacy(&mut self, place: Place, old: &str, successor: &str) {
        self.notes.push((place, format!("`{old}` is an old spelling; write {successor}")));
    }

    pub(super) fn note_negative_ttl(&mut self, written: Option<&Spanned<Nanos>>) {
        if let Some(written) = written.filter(|ttl| ttl.value.0 < 0) {
            let text = "ttl is negative, so series go at once; leave it out to keep them for ever";
            self.notes.push((Place::of(written), text.to_owned()));
        }
    }
}

/// Whether a rule says how timings are taken, and so is for timings.
fn names_observer(written: &RawRule) -> bool {
    written.observer_type.is_some()
        || written.timer_type.is_some()
        || written.histogram_options.is_some()
        || written.summary_options.is_some()
        || written.buckets.is_some()
        || written.quantiles.is_some()
}

/// What a `ttl` means; `None` for nothing said.
pub(super) fn ttl(written: Nanos) -> Option<Duration> {
    match u64::try_from(written.0) {
        Ok(0) => None,
        Ok(nanos) => Some(Duration::from_nanos(nanos)),
        Err(_) => Some(SHORTEST_TTL),
    }
}

/// What a word stands for; `None` where there is none.
pub(super) fn word<T: Copy>(
    written: Option<&Spanned<String>>,
    key: &'static str,
    known: &[(&str, T)],
) -> Result<Option<T>, Fault> {
    let Some(written) = written else { return Ok(None) };
    let word = &written.value;
    if let Some((_, meaning)) = known.iter().find(|(known, _)| known == word) {
        return Ok(Some(*meaning));
    }
    let words: Vec<&str> =
        known.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
    let problem = Problem::UnknownWord {
        key,
        word: word.clone(),
        nearest: nearest(word, &words).map(str::to_owned),
        known: words.join(", "),
    };
    Err(Fault::new(Place::of(written), problem))
}

fn matcher(
    match_type: MatchType,
    written: Option<&Spanned<String>>,
    place: Place,
) -> Result<Matcher, Fault> {
    let text = written.map_or("", |text| text.value.as_str());
    let fault = |problem| Fault::new(place, problem);
    match match_type {
        MatchType::Regex => Pattern::new(text)
            .map(Matcher::Regex)
            .map_err(|error| fault(Problem::Regex { text: text.to_owned(), error })),
        MatchType::Glob if written.is_none() => Err(fault(Problem::NoMatch)),
        MatchType::Glob if !is_glob(text) => Err(fault(Problem::Glob(text.to_owned()))),
        MatchType::Glob => {
            let stars = text.split('.').filter(|part| *part == "*").count();
            Ok(Matcher::Glob { stars })
        }
    }
}

fn metric_name(written: Option<&Spanned<String>>, place: Place) -> Result<&str, Fault> {
    let written = written
        .filter(|name| !name.value.is_empty())
        .ok_or_else(|| Fault::new(place, Problem::NoName))?;
    if is_name_template(&written.value) {
        Ok(&written.value)
    } else {
        Err(Fault::new(Place::of(written), Problem::Name(written.value.clone())))
    }
}

/// Whether a text consists of letters, digits, `_` and numbered references, no digit first; the
/// reference's `metricNameRE`.
fn is_name_template(text: &str) -> bool {
    let mut rest = text;
    let mut is_first = true;
    while !rest.is_empty() {
        if let Some(reference) = rest.strip_prefix('$') {
            let digits = reference.strip_prefix('{').unwrap_or(reference);
            let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == digits.len() {
                return false;
            }
            rest = after.strip_prefix('}').unwrap_or(after);
        } else {
            let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            let is_legal = |c: char| is_letter(c) || (!is_first && c.is_ascii_digit());
            match rest.strip_prefix(is_legal) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        is_first = false;
    }
    true
}

fn label_texts(written: Option<&RawLabels>) -> Result<impl Iterator<Item = (&str, &str)>, Fault> {
    let labels = written.map_or(&[][..], |labels| &labels.0);
    match labels.iter().find(|(label, _)| !is_label_name(&label.value)) {
        Some((label, _)) => Err(Fault::new(Place::of(label), Problem::Label(label.value.clone()))),
        None => Ok(labels
            .iter()
            .map(|(label, text)| (label.value.as_str(), text.as_deref().unwrap_or_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_letters_digits_underscores_and_numbered_references() {
        for name in ["a", "_", "a1", "$1", "${1}_$2", "a_$10_b", "$1x2", "$1}", "${1", "a$0"] {
            assert!(is_name_template(name), "{name}");
        }
        for name in ["0foo", "b-c", "b:c", "b c", "${foo}", "b\n", "$", "a$", "$$1", "ä", "}"] {
            assert!(!is_name_template(name), "{name}");
        }
    }
}
