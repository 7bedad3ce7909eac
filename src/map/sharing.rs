//! Series that several senders share: how a sender is told, and what their gauges become.

use std::sync::Arc;

use serde_saphyr::Spanned;

use super::check::{Checker, word};
use super::error::{Fault, Place, Problem};
use super::raw::{Nanos, RawDefaults, RawRule};
use super::{CounterMode, Rule};
use crate::sample::EventType;

/// How long a sender's last value counts for want of another time: two reports of whoever reports
/// once a minute, which is the slowest that is usual, and not much longer than a worker that died
/// should be seen.
const DEFAULT_WINDOW_MILLIS: u64 = 120_000;

const GAUGE_MODES: [(&str, Option<Combine>); 7] = [
    ("last", None),
    ("sum", Some(Combine::Sum)),
    ("avg", Some(Combine::Avg)),
    ("min", Some(Combine::Min)),
    ("max", Some(Combine::Max)),
    ("min_seen", Some(Combine::MinSeen)),
    ("max_seen", Some(Combine::MaxSeen)),
];

/// How the last values of a gauge's senders become one (`gauge_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// All of them together.
    Sum,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The smallest of all samples in the window, whoever sent them.
    MinSeen,
    /// The largest of all samples in the window, whoever sent them.
    MaxSeen,
}

/// How the samples of several senders become one gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Combination {
    /// What is made of them.
    pub how: Combine,
    /// How long a sample counts.
    pub window_millis: u64,
}

/// What tells the senders of a series from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderBy {
    /// Their addresses, connections or process ids.
    Peer,
    /// The value of a tag, which is then no label. Lines without it are one sender's.
    Tag(Arc<str>),
    /// Nothing: all of them are one.
    Nothing,
}

/// What a rule, or the defaults, say about series of several senders.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// How gauges are combined; none where the last sample counts, whoever sent it.
    pub gauge: Option<Combination>,
    /// Who is a sender of combined gauges.
    pub gauge_sender: SenderBy,
    /// Who is a sender of absolute counters.
    pub counter_sender: SenderBy,
    /// The window, also where no gauge is combined.
    window_millis: u64,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            gauge: None,
            gauge_sender: SenderBy::Peer,
            counter_sender: SenderBy::Peer,
            window_millis: DEFAULT_WINDOW_MILLIS,
        }
    }
}

impl Rule {
    /// What tells senders apart, where samples of a type are taken sender by sender.
    #[must_use]
    pub fn sender_by(&self, event: EventType) -> Option<&SenderBy> {
        match event {
            EventType::Gauge => self.sharing.gauge.map(|_| &self.sharing.gauge_sender),
            EventType::Counter => {
                (self.counter_mode == CounterMode::Absolute).then_some(&self.sharing.counter_sender)
            }
            EventType::Observer | EventType::Set => None,
        }
    }

    /// Whether the kernel has to be asked who sent a line.
    pub(super) fn needs_senders(&self) -> bool {
        let events = [EventType::Gauge, EventType::Counter];
        events.into_iter().any(|event| self.sender_by(event) == Some(&SenderBy::Peer))
    }
}

/// The keys as written.
#[derive(Debug)]
pub(super) struct RawSharing<'a> {
    mode: Option<&'a Spanned<String>>,
    window: Option<&'a Spanned<Nanos>>,
    gauge_tag: Option<&'a Spanned<String>>,
    counter_tag: Option<&'a Spanned<String>>,
}

impl<'a> From<&'a RawDefaults> for RawSharing<'a> {
    fn from(written: &'a RawDefaults) -> Self {
        Self {
            mode: written.gauge_mode.as_ref(),
            window: written.gauge_window.as_ref(),
            gauge_tag: written.gauge_sender_tag.as_ref(),
            counter_tag: written.counter_sender_tag.as_ref(),
        }
    }
}

impl<'a> From<&'a RawRule> for RawSharing<'a> {
    fn from(written: &'a RawRule) -> Self {
        Self {
            mode: written.gauge_mode.as_ref(),
            window: written.gauge_window.as_ref(),
            gauge_tag: written.gauge_sender_tag.as_ref(),
            counter_tag: written.counter_sender_tag.as_ref(),
        }
    }
}

impl Checker {
    /// What is written about several senders; the rest is taken from the defaults.
    pub(super) fn sharing(&self, written: &RawSharing<'_>) -> Result<Sharing, Fault> {
        self.extended(written.mode, "gauge_mode")?;
        self.extended(written.window, "gauge_window")?;
        self.extended(written.gauge_tag, "gauge_sender_tag")?;
        self.extended(written.counter_tag, "counter_sender_tag")?;
        let default = &self.sharing;
        let window_millis = match written.window {
            Some(written) => window_millis(written)?,
            None => default.window_millis,
        };
        let how = word(written.mode, "gauge_mode", &GAUGE_MODES)?;
        let how = how.unwrap_or(default.gauge.map(|gauge| gauge.how));
        Ok(Sharing {
            gauge: how.map(|how| Combination { how, window_millis }),
            gauge_sender: written.gauge_tag.map_or(default.gauge_sender.clone(), sender_tag),
            counter_sender: written.counter_tag.map_or(default.counter_sender.clone(), sender_tag),
            window_millis,
        })
    }
}

fn window_millis(written: &Spanned<Nanos>) -> Result<u64, Fault> {
    match u64::try_from(written.value.0) {
        Ok(nanos) if nanos > 0 => Ok(nanos.div_ceil(1_000_000)),
        _ => Err(Fault::new(Place::of(written), Problem::Window("gauge_window"))),
    }
}

fn sender_tag(written: &Spanned<String>) -> SenderBy {
    match written.value.as_str() {
        "" => SenderBy::Nothing,
        name => SenderBy::Tag(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;
    use crate::map::Rules;

    #[test]
    fn a_rule_takes_from_the_defaults_what_it_does_not_say() {
        let defaults = "{gauge_mode: sum, gauge_window: 1m, gauge_sender_tag: pid}";
        check(defaults, "help: x", Some((Combine::Sum, 60_000)), &tag("pid"));
        check(defaults, "gauge_mode: max_seen", Some((Combine::MaxSeen, 60_000)), &tag("pid"));
        check(defaults, "gauge_window: 1500us", Some((Combine::Sum, 2)), &tag("pid"));
        check(defaults, "gauge_mode: last", None, &tag("pid"));
        check(defaults, "gauge_sender_tag: ''", Some((Combine::Sum, 60_000)), &SenderBy::Nothing);
        check("{}", "gauge_mode: avg", Some((Combine::Avg, 120_000)), &SenderBy::Peer);
        check("{gauge_window: 5s}", "gauge_mode: min", Some((Combine::Min, 5000)), &SenderBy::Peer);
        check("{}", "help: x", None, &SenderBy::Peer);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refuse("gauge_mode: summ", "unknown gauge_mode `summ`; did you mean `sum`?");
        refuse("gauge_window: 0s", "`gauge_window` must be more than zero");
        refuse("gauge_windows: 1s", "unknown key `gauge_windows`; did you mean `gauge_window`?");
    }

    #[test]
    fn the_reference_knows_none_of_these_keys() {
        for key in
            ["gauge_mode: sum", "gauge_window: 1s", "gauge_sender_tag: a", "counter_sender_tag: a"]
        {
            let text = mapping("{}", key);
            let refusal =
                Rules::parse(text.as_bytes(), "m".as_ref(), Compat::Reference).unwrap_err();
            assert!(refusal.to_string().contains("it needs `--compat=extended`"), "{refusal}");
        }
    }

    fn tag(name: &str) -> SenderBy {
        SenderBy::Tag(name.into())
    }

    fn mapping(defaults: &str, key: &str) -> String {
        format!("defaults: {defaults}\nmappings:\n- match: a\n  name: a\n  {key}\n")
    }

    #[track_caller]
    fn check(defaults: &str, key: &str, expected: Option<(Combine, u64)>, sender: &SenderBy) {
        let text = mapping(defaults, key);
        let loaded = Rules::parse(text.as_bytes(), "m".as_ref(), Compat::Extended).unwrap();
        let sharing = &loaded.rules.rule(0).sharing;
        assert_eq!(sharing.gauge.map(|gauge| (gauge.how, gauge.window_millis)), expected);
        assert_eq!(sharing.gauge_sender, *sender);
    }

    #[track_caller]
    fn refuse(key: &str, expected: &str) {
        let text = mapping("{}", key);
        let refusal = Rules::parse(text.as_bytes(), "m".as_ref(), Compat::Extended).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
}
