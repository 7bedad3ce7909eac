//! What the long way makes of one line, told step by step to whoever asks.
//!
//! An explanation is made of what really happened to the line in a lane of its own, so it cannot
//! differ from what lanes do.

use super::{DEFAULT_HELP, Fate, Ingest, Sender, scaled, series_spec};
use crate::aggregate::SeriesSpec;
use crate::sample::{EventType, Kind, Sample, Value};
use crate::telemetry::{EventError, LimitReason, LineOutcome, Stat, Tally};

/// More samples than this are counted only: a line may hold thousands.
pub const MAX_SAMPLES: usize = 16;

/// The way of one line.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What became of the line; `None` where its samples wait in the event queue.
    pub outcome: Option<LineOutcome>,
    /// Its first samples.
    pub samples: Vec<Traced>,
    /// How many samples came after those.
    pub more: u64,
    /// Tags whose names Prometheus keeps for itself; they are left out.
    pub refused_tags: u64,
    /// The refused events so far, in the order of [`EventError::ALL`].
    errors: [u64; EventError::ALL.len()],
}

/// The way of one sample.
#[derive(Clone, Debug)]
pub struct Traced {
    /// As sent.
    pub kind: Kind,
    /// As sent, but in seconds and divided by the rate; a set's member as it is.
    pub value: String,
    /// What is aggregated, after the rule's `scale`.
    pub scaled: f64,
    /// Whether it changes a gauge instead of setting it.
    pub relative: bool,
    /// How many events it stands for.
    pub times: u64,
    /// The rule, as [`Rules::rule`](crate::map::Rules::rule) counts.
    pub rule: Option<usize>,
    /// The family's name; empty where none is left, and for a rule that drops.
    pub family: String,
    /// The help text of its family, unless it has one already.
    pub help: String,
    /// How long its series lives without a sample, in milliseconds; 0 for ever.
    pub ttl_millis: u64,
    /// What its series is made of.
    pub spec: SeriesSpec,
    /// The series as the page writes it; empty where the sample did not come that far.
    pub series: String,
    /// What became of it.
    pub end: End,
}

/// Where the way of a sample ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In its series.
    Reached,
    /// A rule drops it.
    Dropped,
    /// Its name belongs to a family of another type.
    Conflict,
    /// It would go over a limit.
    Limited(LimitReason),
    /// Its series has no place for one more sender.
    OneSenderTooMany,
    /// Its value is refused.
    Refused(EventError),
    /// It stands for no event at all (a rate above 1 under the reference's rules).
    NoEvent,
}

impl Ingest {
    /// Takes one line in as [`line`](Self::line) does, and tells what became of it.
    pub fn traced(&mut self, line: &[u8]) -> Trace {
        self.trace = Some(Box::default());
        self.line(line, Sender::Unknown);
        self.trace.take().map(|trace| *trace).unwrap_or_default()
    }

    /// Notes what became of a line, if somebody asks.
    pub(super) fn note_outcome(&mut self, outcome: LineOutcome) {
        if let Some(trace) = &mut self.trace {
            trace.outcome = Some(outcome);
        }
    }

    /// Notes what became of a sample, if somebody asks. `tally` is that of the line so far.
    #[inline]
    pub(super) fn note_sample(&mut self, sample: &Sample<'_>, fate: Fate, tally: &Tally) {
        if self.trace.is_some() {
            self.note(sample, fate, tally);
        }
    }

    #[cold]
    fn note(&mut self, sample: &Sample<'_>, fate: Fate, tally: &Tally) {
        let Some(mut trace) = self.trace.take() else { return };
        let errors = EventError::ALL.map(|error| tally.get(Stat::EventErrors(error)));
        let mut raised = EventError::ALL.into_iter().zip(errors.iter().zip(&trace.errors));
        let error = raised.find(|(_, (now, then))| now > then).map(|(error, _)| error);
        let end = match (fate, error) {
            (Fate::Reached(_) | Fate::ReachedOnce, _) => End::Reached,
            (Fate::Conflict(_) | Fate::ConflictOnce, _) => End::Conflict,
            (Fate::Dropped, _) => End::Dropped,
            (Fate::Limited(_), _) => self.limit().map_or(End::NoEvent, End::Limited),
            (Fate::OneSenderTooMany, _) => End::OneSenderTooMany,
            (Fate::BadValue | Fate::Refused, Some(error)) => End::Refused(error),
            (Fate::BadValue | Fate::Refused, None) => End::NoEvent,
        };
        trace.errors = errors;
        trace.refused_tags = trace.refused_tags.max(self.mapped.refused_tags.into());
        if trace.samples.len() < MAX_SAMPLES {
            trace.samples.push(self.tell(sample, end));
        } else {
            trace.more += 1;
        }
        self.trace = Some(trace);
    }

    /// The limit that the sample that was last understood is over.
    fn limit(&self) -> Option<LimitReason> {
        let limited = self.mapped.admission.as_ref()?.limited?;
        self.telemetry.limit_reason(limited)
    }

    /// The way of the sample that was last understood.
    fn tell(&self, sample: &Sample<'_>, end: End) -> Traced {
        let (event, mapped) = (sample.kind.event_type(), &self.mapped);
        // One that stands for no event is not mapped; what is there is another's.
        let is_mapped = end != End::NoEvent;
        let rule = mapped.rule(&self.config.rules);
        let admission = mapped.admission.as_ref().filter(|_| is_mapped);
        let admitted = admission.map(|admission| {
            // One that was let in may not be the one that was asked for.
            let series = admission.series.as_ref();
            series.map_or_else(|| self.scratch.text.clone(), |series| series.text().to_owned())
        });
        Traced {
            kind: sample.kind,
            value: match sample.value {
                Value::Number(value) => value.to_string(),
                Value::Member(member) => member.to_owned(),
            },
            scaled: scaled(sample, rule),
            relative: sample.relative,
            times: sample.times,
            rule: mapped.found.as_ref().filter(|_| is_mapped).map(|found| found.index),
            family: if is_mapped { mapped.name.clone() } else { String::new() },
            help: rule.help.as_deref().unwrap_or(DEFAULT_HELP).to_owned(),
            ttl_millis: self.ttl_millis(rule, Some(event)),
            spec: series_spec(event, sample, rule).0,
            series: admitted.unwrap_or_default(),
            end,
        }
    }
}

impl Traced {
    /// The type that rules know the sample by.
    #[must_use]
    pub fn event(&self) -> EventType {
        self.kind.event_type()
    }
}
