//! The gate that a new series has to pass.

use super::labels::Labels;
use crate::aggregate::limits::Excess;
use crate::aggregate::{Refusal, Registry, Request, Series};
use crate::map::limits::{RuleLimits, beginning};
use crate::map::{CounterMode, Rule};
use crate::sample::EventType;
use crate::telemetry::{LimitReason, Limited, LimitedId, Telemetry};

/// Which series a sample goes to, and what that has to do with limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    /// `None` where the sample goes nowhere: to a name of another type, or over a limit.
    pub(super) series: Option<Series>,
    /// What was limited, if anything.
    pub(super) limited: Option<LimitedId>,
    /// Whether all this may be different once a name or room has become free.
    pub(super) lapses: bool,
}

/// Lets series in, and counts what it does not let in as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate<'a> {
    pub(super) registry: &'a Registry,
    pub(super) telemetry: &'a Telemetry,
    /// Whether what is over a limit may go to an overflow series.
    pub(super) overflows: bool,
}

impl Gate<'_> {
    /// Replaces values of labels that are too long, and tells so.
    ///
    /// # Errors
    /// A name is too long, or a value, and no overflow is wanted.
    pub(super) fn check_lengths(
        self,
        metric: &str,
        labels: &mut Labels<'_>,
        limits: &RuleLimits,
    ) -> Result<Option<LimitedId>, LimitedId> {
        let is_long_metric = limits.is_name_too_long(metric);
        let long_label = if is_long_metric { Some("") } else { labels.long_name(limits) };
        if let Some(label) = long_label {
            let excess = excess(LimitReason::NameLength, label, !is_long_metric);
            return Err(self.count(metric, &excess, false));
        }
        let Some(label) = labels.replace_long_values(limits) else { return Ok(None) };
        let excess = excess(LimitReason::LabelLength, label, true);
        let limited = self.count(metric, &excess, self.overflows);
        if self.overflows { Ok(Some(limited)) } else { Err(limited) }
    }

    /// Finds the series of a request, or the one that takes what is over a limit; what was
    /// `shortened` counts where no other limit is reached.
    pub(super) fn admit(self, request: &Request<'_>, shortened: Option<LimitedId>) -> Admission {
        let excess = match self.registry.series(request) {
            Ok(series) => {
                return Admission { series: Some(series), limited: shortened, lapses: false };
            }
            Err(Refusal::Conflict) => return Admission { lapses: true, ..Admission::default() },
            Err(Refusal::Limited(excess)) => excess,
        };
        let series = if self.overflows { self.registry.overflow(request).ok() } else { None };
        let limited = Some(self.count(request.name, &excess, series.is_some()));
        Admission { series, limited, lapses: true }
    }

    fn count(self, metric: &str, excess: &Excess, overflows: bool) -> LimitedId {
        let limited = Limited {
            metric: beginning(metric).into(),
            label: beginning(&excess.label).into(),
            reason: excess.reason,
            overflows,
        };
        self.telemetry.limited(&limited, excess.is_family)
    }
}

fn excess(reason: LimitReason, label: &str, is_family: bool) -> Excess {
    Excess { reason, label: label.into(), is_family }
}

/// Whether samples of different series make sense in one: the last of many levels says nothing, nor
/// do running totals of several senders.
pub(super) fn adds_up(event: Option<EventType>, rule: &Rule) -> bool {
    match event {
        Some(EventType::Gauge) | None => false,
        Some(EventType::Counter) => rule.counter_mode != CounterMode::Absolute,
        Some(EventType::Observer | EventType::Set) => true,
    }
}
