//! How long series live without a sample, by the type of their samples.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::check::{Checker, ttl};
use super::error::Fault;
use super::raw::{Nanos, RawTtls};
use crate::sample::EventType;

/// Times to live by type, each of which may be left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ttls([Option<Duration>; EventType::ALL.len()]);

impl Ttls {
    /// One for all types; zero stands for ever, `None` for nothing said.
    #[must_use]
    pub fn all(ttl: Option<Duration>) -> Self {
        Self([ttl; EventType::ALL.len()])
    }

    /// The same, but for one type; `None` changes nothing.
    #[must_use]
    pub fn with(mut self, event: EventType, ttl: Option<Duration>) -> Self {
        if let Some(own) = self.0.get_mut(event as usize) {
            *own = ttl.or(*own);
        }
        self
    }

    /// What is said, and for what is left open what another one says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        EventType::ALL.into_iter().fold(other, |all, event| all.with(event, self.said(event)))
    }

    /// How long series of a type live; `None` for ever.
    #[must_use]
    pub fn of(&self, event: EventType) -> Option<Duration> {
        self.said(event).filter(|ttl| !ttl.is_zero())
    }

    fn said(&self, event: EventType) -> Option<Duration> {
        self.0.get(event as usize).copied().flatten()
    }
}

impl Checker {
    /// What `defaults:` says, `ttl_by_kind` before `ttl`.
    pub(super) fn default_ttls(
        &mut self,
        all: Option<&Spanned<Nanos>>,
        by_kind: Option<&Spanned<RawTtls>>,
    ) -> Result<Ttls, Fault> {
        self.extended(by_kind, "ttl_by_kind")?;
        self.note_negative_ttl(all);
        let all = all.and_then(|all| ttl(all.value));
        let Some(written) = by_kind.map(|by_kind| &by_kind.value) else {
            return Ok(Ttls::all(all));
        };
        let kinds = [
            (EventType::Counter, &written.counter),
            (EventType::Gauge, &written.gauge),
            (EventType::Observer, &written.observer),
            (EventType::Set, &written.set),
        ];
        Ok(kinds.into_iter().fold(Ttls::all(all), |ttls, (event, written)| {
            self.note_negative_ttl(written.as_ref());
            let own = written.as_ref().map(|own| ttl(own.value).unwrap_or(Duration::ZERO));
            ttls.with(event, own)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;
    use crate::map::Rules;

    #[test]
    fn what_is_nearer_to_the_series_wins() {
        let second = Duration::from_secs;
        let flags = Ttls::all(Some(second(10))).with(EventType::Set, Some(second(20)));
        let file = Ttls::default()
            .with(EventType::Gauge, Some(second(30)))
            .with(EventType::Counter, Some(Duration::ZERO));
        check(file.or(flags), [None, Some(30), Some(10), Some(20)]);
        check(flags, [Some(10), Some(10), Some(10), Some(20)]);
        check(Ttls::default(), [None; 4]);
        check(Ttls::all(Some(second(5))).or(flags), [Some(5); 4]);
    }

    #[test]
    fn a_rule_goes_before_the_kind_and_the_kind_before_the_default() {
        let text = "defaults: {ttl: 1m, ttl_by_kind: {counter: 1h, set: 0s}}\n\
                    mappings:\n- {match: a, name: a, ttl: 5s}\n- {match: b, name: b}\n";
        let loaded = Rules::parse(text.as_bytes(), "m".as_ref(), Compat::Extended).unwrap();
        check(loaded.rules.rule(0).ttl, [Some(5); 4]);
        let by_kind = [Some(3600), Some(60), Some(60), None];
        check(loaded.rules.rule(1).ttl, by_kind);
        check(loaded.rules.default_rule().ttl, by_kind);
        let flags = Ttls::all(Some(Duration::from_secs(9)));
        check(loaded.rules.default_rule().ttl.or(flags), by_kind);
        assert!(Rules::parse(text.as_bytes(), "m".as_ref(), Compat::Reference).is_err());
    }

    #[track_caller]
    fn check(ttls: Ttls, expected: [Option<u64>; 4]) {
        let found = EventType::ALL.map(|event| ttls.of(event).map(|ttl| ttl.as_secs()));
        assert_eq!(found, expected);
    }
}
