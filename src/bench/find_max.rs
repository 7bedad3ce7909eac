//! The highest rate that a server takes without loss.
//!
//! A rate is held when less is lost than is allowed, all of it can be seen soon after the last datagram, and the server
//! did not need more CPU time than the sending lasted: a server that only piles the load up in a queue does not pass.
//! From the first rate on it goes up by 1.7 or down by half until one rate is held and one is not, then to their
//! geometric mean until they are close. At the end the rate is tried again several times.

use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::sched_getaffinity;
use serde::Serialize;

use super::error::BenchError;
use super::outcome::Outcome;
use super::plan::{Extent, Pace, Plan};
use super::run::run;
use super::scrape::Scraper;
use crate::chart::figure::{Figure, Unit};
use crate::progress::Progress;

/// A search that has not ended by then is on a machine too noisy for an answer.
const MAX_TRIALS: usize = 24;

const FACTOR_UP: f64 = 1.7;
const FACTOR_DOWN: f64 = 0.5;

/// What is taken off a rate that was held once, but not again.
const STEP_BACK: f64 = 0.93;

/// How often the found rate is tried again, and how many of these must pass: one hiccup of the machine is no verdict.
const CONFIRMING_TRIALS: usize = 3;
const CONFIRMING_PASSES: usize = 2;
const CONFIRMED_RATES: usize = 4;

/// Less than this a second is not worth finding.
const LEAST_PER_SECOND: f64 = 100.0;

/// A generator that sends less than this share of what it was asked for is at its own limit.
const GENERATOR_SHARE: f64 = 0.97;

/// CPU time may be this much more than there was: the clocks do not begin at the same moment.
const CPU_SLACK: f64 = 1.03;

/// Every series is sent once at this rate before the search, so that its creation is no part of it.
const WARM_PER_SECOND: f64 = 100_000.0;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The first rate.
    pub start_per_second: f64,
    /// How close the highest rate that is held and the lowest that is not have to be; 0.05 is 5 %.
    pub precision: f64,
    /// The share of metrics that may be lost.
    pub max_loss: f64,
    /// How long each rate is tried.
    pub trial: Duration,
    /// How long after the last datagram all has to be visible, besides the time of a page.
    pub visible_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start_per_second: 100_000.0,
            precision: 0.05,
            max_loss: 0.001,
            trial: Duration::from_secs(3),
            visible_within: Duration::from_millis(700),
        }
    }
}

/// What became of one rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Metrics a second that were asked for.
    pub asked_per_second: f64,
    /// Metrics a second that were sent.
    pub sent_per_second: f64,
    /// The share of the metrics that was lost.
    pub loss_ratio: f64,
    /// Milliseconds from the last datagram until all was visible; `None` if that never was.
    pub visible_after_ms: Option<f64>,
    /// CPU time of the server for each metric, in microseconds, where it could be seen.
    pub cpu_us_per_metric: Option<f64>,
    /// The judgement.
    pub verdict: Verdict,
    /// Whether the rate had been found before and is tried again.
    pub is_confirming: bool,
}

/// Whether a rate was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was.
    Held,
    /// Too much was lost.
    Loss,
    /// The server was not done soon after the last datagram, or it needed more CPU time than there was.
    Backlog,
}

/// Why there is no higher rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The server loses more than allowed.
    Loss,
    /// The server falls behind.
    Backlog,
    /// The generator cannot send more: the server may be able to take more.
    Generator,
    /// The number of trials: the answer is a lower bound.
    Trials,
}

impl Limit {
    /// For people, as the end of "limited by".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Backlog => "backlog",
            Self::Generator => "the generator",
            Self::Trials => "the number of trials",
        }
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Metrics a second; `None` if not even the lowest rate was held.
    pub max_per_second: Option<f64>,
    /// What stands in the way of more.
    pub limited_by: Limit,
    /// Whether most of the last trials at this rate passed.
    pub is_confirmed: bool,
    /// The server's CPU time for each metric at this rate, in microseconds.
    pub cpu_us_per_metric: Option<f64>,
    /// All trials in their order.
    pub trials: Vec<Trial>,
    /// The last run that was held at this rate.
    pub at_max: Option<Outcome>,
}

/// Searches for the highest rate of a plan's lines; the plan's own pace and extent do not matter.
///
/// # Errors
/// When the server or its page cannot be reached, or there is no page to account by.
pub fn find_max(
    plan: &Plan,
    settings: &Settings,
    progress: &Progress,
) -> Result<Found, BenchError> {
    let Some(url) = &plan.scrape else {
        return Err(BenchError::Usage("a search needs the server's page: --scrape URL".into()));
    };
    warm(plan, progress)?;
    let page = Scraper::new(url, plan.gzip)?.fetch()?.total;
    let mut held = Vec::new();
    let mut number = 0;
    let mut found = search(settings.start_per_second, settings.precision, |rate| {
        number += 1;
        progress.say(format!("trial {number}: {}", Figure(rate, Unit::PerSecond)));
        let extent = Extent::Duration(settings.trial);
        let trial = Plan { pace: Pace::Even(rate), extent, scrape_every: None, ..plan.clone() };
        let outcome = run(&trial, progress)?;
        let trial = judge(&outcome, rate, settings, page);
        if trial.verdict == Verdict::Held {
            held.push(outcome);
        }
        Ok::<_, BenchError>(trial)
    })?;
    found.at_max = found.max_per_second.and_then(|max| {
        held.into_iter().rev().find(|outcome| is_near(outcome.sending.rate(), max))
    });
    Ok(found)
}

/// Sends every series once, gently.
///
/// # Errors
/// When the server or its page cannot be reached.
pub fn warm(plan: &Plan, progress: &Progress) -> Result<(), BenchError> {
    progress.say("sending every series once");
    let rate = plan.pace.rate().unwrap_or(WARM_PER_SECOND).min(WARM_PER_SECOND);
    let extent = Extent::Metrics(plan.payload.series().max(1));
    run(&Plan { pace: Pace::Even(rate), extent, scrape_every: None, ..plan.clone() }, progress)?;
    Ok(())
}

/// Whether a server held a rate; `page` is how long it needs for its page.
fn judge(outcome: &Outcome, rate: f64, settings: &Settings, page: Duration) -> Trial {
    let loss_ratio = outcome.accounting.as_ref().map_or(1.0, |accounting| accounting.loss_ratio);
    let within = (settings.visible_within + 2 * page).as_secs_f64();
    let is_visible = outcome.settled_after_seconds.is_some_and(|seconds| seconds <= within);
    let is_overdrawn = outcome.server.as_ref().is_some_and(|server| {
        let there_was = outcome.sending.seconds * cpus_of(server.pid);
        server.cpu_seconds > CPU_SLACK * there_was
    });
    let verdict = match () {
        () if loss_ratio > settings.max_loss => Verdict::Loss,
        () if is_overdrawn || !(is_visible || loss_ratio > 0.0) => Verdict::Backlog,
        () => Verdict::Held,
    };
    Trial {
        asked_per_second: rate,
        sent_per_second: outcome.sending.rate(),
        loss_ratio,
        visible_after_ms: outcome.settled_after_seconds.map(|seconds| seconds * 1e3),
        cpu_us_per_metric: outcome.server.as_ref().and_then(|server| server.cpu_us_per_metric),
        verdict,
        is_confirming: false,
    }
}

/// How many CPUs a process may use at a time.
fn cpus_of(pid: u32) -> f64 {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let cpus = sched_getaffinity(pid).map_or(1, |cpus| cpus.count());
    f64::from(cpus.max(1))
}

fn is_near(rate: f64, max: f64) -> bool {
    (rate / max - 1.0).abs() < 0.02
}

/// Searches from `start` on for the highest rate that `attempt` finds held, to within `precision` (0.05 is 5 %).
///
/// # Errors
/// When a trial could not be made.
pub fn search<E>(
    start_per_second: f64,
    precision: f64,
    attempt: impl FnMut(f64) -> Result<Trial, E>,
) -> Result<Found, E> {
    let mut search =
        Search { attempt, trials: Vec::new(), limit: Limit::Trials, is_confirming: false };
    let (max_per_second, is_confirmed) = match search.bracket(start_per_second, precision)? {
        Some(rate) => {
            let (rate, is_confirmed) = search.confirm(rate)?;
            (Some(rate), is_confirmed)
        }
        None => (None, false),
    };
    let at_max = |trial: &&Trial| {
        trial.verdict == Verdict::Held
            && max_per_second.is_some_and(|max| is_near(trial.sent_per_second, max))
    };
    let cpu_us_per_metric =
        search.trials.iter().rev().find(at_max).and_then(|trial| trial.cpu_us_per_metric);
    Ok(Found {
        max_per_second,
        limited_by: search.limit,
        is_confirmed,
        cpu_us_per_metric,
        trials: search.trials,
        at_max: None,
    })
}

/// A search under way.
struct Search<A> {
    attempt: A,
    trials: Vec<Trial>,
    limit: Limit,
    is_confirming: bool,
}

impl<E, A: FnMut(f64) -> Result<Trial, E>> Search<A> {
    fn attempt(&mut self, per_second: f64) -> Result<&Trial, E> {
        let trial = (self.attempt)(per_second)?;
        Ok(self.trials.push_mut(Trial { is_confirming: self.is_confirming, ..trial }))
    }

    /// The highest rate that was held once.
    fn bracket(&mut self, start: f64, precision: f64) -> Result<Option<f64>, E> {
        let (mut held, mut not_held) = (None, None);
        let mut rate = start;
        while self.trials.len() < MAX_TRIALS && rate >= LEAST_PER_SECOND {
            let trial = self.attempt(rate)?;
            let (verdict, sent) = (trial.verdict, trial.sent_per_second);
            let is_short = sent < GENERATOR_SHARE * rate;
            match verdict {
                Verdict::Held => held = Some(sent),
                Verdict::Loss | Verdict::Backlog => not_held = Some(rate.min(sent)),
            }
            match verdict {
                Verdict::Held if is_short => {
                    self.limit = Limit::Generator;
                    break;
                }
                Verdict::Held => {}
                Verdict::Loss => self.limit = Limit::Loss,
                Verdict::Backlog => self.limit = Limit::Backlog,
            }
            rate = match (held, not_held) {
                (Some(low), Some(high)) if high <= low * (1.0 + precision) => break,
                (Some(low), Some(high)) => (low * high).sqrt(),
                (Some(low), None) => low * FACTOR_UP,
                (None, _) => rate.min(sent) * FACTOR_DOWN,
            };
        }
        Ok(held)
    }

    /// A rate at or below `rate` that is held most of the time; or the last one tried, and `false`.
    fn confirm(&mut self, rate: f64) -> Result<(f64, bool), E> {
        self.is_confirming = true;
        let mut rate = rate;
        for _ in 0..CONFIRMED_RATES {
            let mut sent = Vec::new();
            for left in (0..CONFIRMING_TRIALS).rev() {
                let trial = self.attempt(rate)?;
                if trial.verdict == Verdict::Held {
                    sent.push(trial.sent_per_second);
                }
                if sent.len() + left < CONFIRMING_PASSES {
                    break;
                }
            }
            if sent.len() >= CONFIRMING_PASSES {
                return Ok((sent.iter().sum::<f64>() / sent.len() as f64, true));
            }
            rate *= STEP_BACK;
        }
        Ok((rate, false))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A server that holds rates up to `capacity`, before a generator that sends up to `sendable`.
    struct Machine {
        capacity: f64,
        sendable: f64,
        hiccups: Vec<usize>,
        verdict: Verdict,
    }

    impl Default for Machine {
        fn default() -> Self {
            let verdict = Verdict::Loss;
            Self { capacity: 1e6, sendable: 1e9, hiccups: Vec::new(), verdict }
        }
    }

    impl Machine {
        fn search(&self, start: f64) -> Found {
            let mut number = 0;
            let attempt = |asked_per_second: f64| {
                number += 1;
                let sent_per_second = asked_per_second.min(self.sendable);
                let is_held = sent_per_second <= self.capacity && !self.hiccups.contains(&number);
                Ok::<_, Infallible>(Trial {
                    asked_per_second,
                    sent_per_second,
                    loss_ratio: if is_held { 0.0 } else { 0.1 },
                    visible_after_ms: Some(10.0),
                    cpu_us_per_metric: Some(1.0),
                    verdict: if is_held { Verdict::Held } else { self.verdict },
                    is_confirming: false,
                })
            };
            let Ok(found) = search(start, 0.05, attempt);
            found
        }
    }

    #[track_caller]
    fn check(machine: &Machine, start: f64, limit: Limit, at_most: f64) {
        let found = machine.search(start);
        assert_eq!(found.limited_by, limit, "{found:#?}");
        let max = found.max_per_second.unwrap();
        assert!(found.is_confirmed && max <= at_most && max >= 0.95 * at_most, "{found:#?}");
        assert_eq!(found.cpu_us_per_metric, Some(1.0));
    }

    #[test]
    fn the_highest_rate_is_found_from_either_side() {
        for start in [1e3, 3e5, 1e6, 7e7] {
            check(&Machine::default(), start, Limit::Loss, 1e6);
        }
        let backlog = Machine { verdict: Verdict::Backlog, ..Machine::default() };
        check(&backlog, 2e5, Limit::Backlog, 1e6);
    }

    #[test]
    fn a_generator_at_its_end_is_named() {
        let machine = Machine { sendable: 5e5, ..Machine::default() };
        check(&machine, 1e5, Limit::Generator, 5e5);
    }

    #[test]
    fn one_hiccup_at_the_end_changes_nothing() {
        let calm = Machine::default();
        let trials = calm.search(5e5).trials;
        let first = trials.iter().position(|trial| trial.is_confirming).unwrap() + 1;
        check(&Machine { hiccups: vec![first], ..calm }, 5e5, Limit::Loss, 1e6);
    }

    #[test]
    fn a_rate_that_does_not_last_is_taken_back() {
        let first = 1 + Machine::default()
            .search(5e5)
            .trials
            .iter()
            .position(|trial| trial.is_confirming)
            .unwrap();
        let machine = Machine { hiccups: vec![first, first + 1], ..Machine::default() };
        check(&machine, 5e5, Limit::Loss, 0.93e6);
    }

    #[test]
    fn a_server_that_holds_nothing_has_no_rate() {
        let found = Machine { capacity: 0.0, ..Machine::default() }.search(1e5);
        assert_eq!((found.max_per_second, found.limited_by), (None, Limit::Loss));
    }
}
