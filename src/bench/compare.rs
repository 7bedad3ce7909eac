//! Two servers side by side, in turns, on the same machine in the same minutes.
//!
//! What one round finds for one server says little on a machine that others use as well. So both take part in every
//! round, the order changes from round to round, and what is shown are medians, their ratio, and how far the rounds
//! differ.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::error::BenchError;
use super::find_max::{self, Found, find_max, warm};
use super::launch::Launch;
use super::outcome::{Outcome, WorkloadFacts};
use super::plan::Plan;
use super::run::run;
use crate::chart::figure::Unit;
use crate::progress::Progress;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The server's CPU time for each metric at the asked rate.
    CpuPerMetric,
    /// The share of the metrics that was lost.
    Loss,
    /// From a line's sending to the end of the first page that shows it.
    TimeToVisible,
    /// A whole page, asked for while lines come in.
    Scrape,
    /// The same, compressed.
    GzipScrape,
    /// Memory in use after the pages.
    Memory,
    /// The most memory ever.
    PeakMemory,
    /// The highest rate without loss.
    MaxRate,
    /// CPU time for each metric at that rate.
    CpuPerMetricAtMax,
}

impl Quantity {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuPerMetric => "CPU per metric",
            Self::Loss => "loss",
            Self::TimeToVisible => "time to visible, median",
            Self::Scrape => "scrape, median",
            Self::GzipScrape => "gzip scrape, median",
            Self::Memory => "memory",
            Self::PeakMemory => "peak memory",
            Self::MaxRate => "highest rate without loss",
            Self::CpuPerMetricAtMax => "CPU per metric at that rate",
        }
    }

    /// How its numbers are written.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::CpuPerMetric | Self::CpuPerMetricAtMax => Unit::Micros,
            Self::Loss => Unit::Share,
            Self::TimeToVisible | Self::Scrape | Self::GzipScrape => Unit::Millis,
            Self::Memory | Self::PeakMemory => Unit::Bytes,
            Self::MaxRate => Unit::PerSecond,
        }
    }

    /// Whether more is better.
    #[must_use]
    pub fn is_gain(self) -> bool {
        self == Self::MaxRate
    }
}

/// What one server showed in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Round {
    /// The run at the asked rate that nobody disturbed, for the cost of lines.
    pub run: Outcome,
    /// The run while pages were asked for as plain text.
    pub scraped: Option<Outcome>,
    /// The run while compressed pages were asked for.
    pub gzip_run: Option<Outcome>,
    /// The search for the highest rate, where one was asked for.
    pub search: Option<Found>,
}

impl Round {
    /// What the round found; `None` where it did not look or could not see.
    #[must_use]
    pub fn value(&self, quantity: Quantity) -> Option<f64> {
        let server = self.run.server.as_ref();
        let (scraped, gzip_run) = (self.scraped.as_ref(), self.gzip_run.as_ref());
        let last = gzip_run.or(scraped).unwrap_or(&self.run);
        match quantity {
            Quantity::CpuPerMetric => server?.cpu_us_per_metric,
            Quantity::Loss => Some(self.run.accounting.as_ref()?.loss_ratio),
            Quantity::TimeToVisible => Some(scraped?.time_to_visible?.p50_ms),
            Quantity::Scrape => Some(scraped?.scrape.as_ref()?.latency.p50_ms),
            Quantity::GzipScrape => Some(gzip_run?.scrape.as_ref()?.latency.p50_ms),
            Quantity::Memory => Some(last.server.as_ref()?.rss_bytes as f64),
            Quantity::PeakMemory => Some(last.server.as_ref()?.peak_rss_bytes as f64),
            Quantity::MaxRate => self.search.as_ref()?.max_per_second,
            Quantity::CpuPerMetricAtMax => self.search.as_ref()?.cpu_us_per_metric,
        }
    }
}

/// One of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contender {
    /// The command line as given, with its placeholders.
    pub command: String,
    /// What it is called beside the other.
    pub name: String,
    /// Its rounds.
    pub rounds: Vec<Round>,
}

/// The rounds of both for one quantity, and what they come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// What was measured.
    pub quantity: Quantity,
    /// The first server's rounds.
    pub a: Vec<f64>,
    /// The second's.
    pub b: Vec<f64>,
    /// The first's median.
    pub median_a: f64,
    /// The second's.
    pub median_b: f64,
    /// The first's median by the second's; absent where the second's is nothing.
    pub ratio: Option<f64>,
    /// The lowest and the highest ratio of a round.
    pub ratio_range: Option<(f64, f64)>,
}

/// Two servers compared: the format of `--output json`.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The lines that both got.
    pub workload: WorkloadFacts,
    /// Metrics a second at which CPU and memory were compared; absent for as fast as possible.
    pub asked_rate: Option<f64>,
    /// Median, ratio and spread of each quantity that both have.
    pub measures: Vec<Measure>,
    /// The first server.
    pub a: Contender,
    /// The second server.
    pub b: Contender,
}

const QUANTITIES: [Quantity; 9] = [
    Quantity::CpuPerMetric,
    Quantity::MaxRate,
    Quantity::CpuPerMetricAtMax,
    Quantity::Memory,
    Quantity::PeakMemory,
    Quantity::Scrape,
    Quantity::GzipScrape,
    Quantity::TimeToVisible,
    Quantity::Loss,
];

/// How to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How often both take their turn.
    pub rounds: usize,
    /// From one page to the next in the runs with pages.
    pub scrape_every: Duration,
    /// How to look for the highest rate in each round, if at all.
    pub search: Option<find_max::Settings>,
}

/// Lets two servers take turns; each round starts both anew.
///
/// The plan says what is sent, how fast and how long; its target and page are those of the server
/// whose turn it is.
///
/// # Errors
/// When a server cannot be started, or ends before its turn does.
pub fn compare(
    plan: &Plan,
    (a, b): (&Launch, &Launch),
    settings: &Settings,
    progress: &Progress,
) -> Result<Comparison, BenchError> {
    let mut turns = [Turns::new(a), Turns::new(b)];
    for round in 0..settings.rounds {
        for turns in &mut turns {
            progress.say(format!("round {} of {}", round + 1, settings.rounds));
            turns.take(plan, settings, progress)?;
        }
        // Who begins changes with every round.
        turns.reverse();
    }
    if settings.rounds % 2 == 1 {
        turns.reverse();
    }
    let [a, b] = turns.map(|turns| turns.contender);
    let workload = a.rounds.first().map(|round| round.run.workload.clone()).unwrap_or_default();
    let measures = measures(&a.rounds, &b.rounds);
    let (a, b) = told_apart(a, b);
    Ok(Comparison { workload, asked_rate: plan.pace.rate(), measures, a, b })
}

/// One server's turns.
struct Turns<'l> {
    launch: &'l Launch,
    contender: Contender,
}

impl<'l> Turns<'l> {
    fn new(launch: &'l Launch) -> Self {
        let command = launch.command.join(" ");
        let contender = Contender { command, name: name_of(&launch.command), rounds: Vec::new() };
        Self { launch, contender }
    }

    /// Starts the server, looks at it from all sides, and ends it.
    fn take(
        &mut self,
        plan: &Plan,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<(), BenchError> {
        let server = self.launch.start(&plan.payload)?;
        let (target, scrape) = (server.target.clone(), Some(server.url.clone()));
        let quiet = Plan { target, scrape, scrape_every: None, server_pid: None, ..plan.clone() };
        let scrape_every = Some(settings.scrape_every);
        let scraped = Plan { scrape_every, gzip: false, ..quiet.clone() };
        let gzip = Plan { gzip: true, ..scraped.clone() };
        warm(&quiet, progress)?;
        let round = Round {
            run: run(&quiet, progress)?,
            scraped: Some(run(&scraped, progress)?),
            gzip_run: Some(run(&gzip, progress)?),
            search: match &settings.search {
                Some(search) => Some(find_max(&quiet, search, progress)?),
                None => None,
            },
        };
        self.contender.rounds.push(round);
        Ok(())
    }
}

/// Programs that only start another one.
const WRAPPERS: [&str; 6] = ["taskset", "nice", "env", "chrt", "numactl", "setarch"];

/// What a command's program is called.
fn name_of(command: &[String]) -> String {
    let is_program = |word: &&str| {
        !word.starts_with('-')
            && !word.contains('=')
            && !word.starts_with(|first: char| first.is_ascii_digit())
            && !WRAPPERS.contains(word)
    };
    let names = command.iter().filter_map(|word| Path::new(word).file_name()?.to_str());
    names.into_iter().find(is_program).unwrap_or("server").to_owned()
}

/// Two builds of one program need more than its name.
fn told_apart(a: Contender, b: Contender) -> (Contender, Contender) {
    if a.name != b.name {
        return (a, b);
    }
    let name = |letter| format!("{} {letter}", a.name);
    let (name_a, name_b) = (name("A"), name("B"));
    (Contender { name: name_a, ..a }, Contender { name: name_b, ..b })
}

/// Puts the rounds of two servers beside each other.
#[must_use]
pub fn measures(a: &[Round], b: &[Round]) -> Vec<Measure> {
    QUANTITIES.into_iter().filter_map(|quantity| Measure::of(quantity, a, b)).collect()
}

impl Measure {
    fn of(quantity: Quantity, a: &[Round], b: &[Round]) -> Option<Self> {
        let values = |rounds: &[Round]| -> Vec<f64> {
            rounds.iter().filter_map(|round| round.value(quantity)).collect()
        };
        let (in_a, in_b) = (values(a), values(b));
        let (median_a, median_b) = (median(&in_a)?, median(&in_b)?);
        let pairs =
            a.iter().zip(b).filter_map(|(a, b)| ratio(a.value(quantity)?, b.value(quantity)?));
        let range = pairs.fold(None, |range: Option<(f64, f64)>, ratio| {
            let (low, high) = range.unwrap_or((ratio, ratio));
            Some((low.min(ratio), high.max(ratio)))
        });
        let ratio = ratio(median_a, median_b);
        Some(Self { quantity, a: in_a, b: in_b, median_a, median_b, ratio, ratio_range: range })
    }
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    let ratio = a / b;
    ratio.is_finite().then_some(ratio)
}

/// The middle one, or the mean of the middle two.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::{Accounting, ServerFacts};

    fn round(cpu: f64, loss_ratio: f64) -> Round {
        let server = ServerFacts { cpu_us_per_metric: Some(cpu), ..ServerFacts::default() };
        let accounting = Accounting { loss_ratio, ..Accounting::default() };
        let run =
            Outcome { server: Some(server), accounting: Some(accounting), ..Outcome::default() };
        Round { run, ..Round::default() }
    }

    #[test]
    fn medians_are_compared_and_rounds_give_the_range() {
        let a = [round(0.1, 0.0), round(0.2, 0.0), round(0.4, 0.0)];
        let b = [round(2.0, 0.0), round(1.0, 0.0), round(4.0, 0.5)];
        let measures = measures(&a, &b);
        let cpu = measures.iter().find(|m| m.quantity == Quantity::CpuPerMetric).unwrap();
        assert_eq!((cpu.median_a, cpu.median_b), (0.2, 2.0));
        assert_eq!(cpu.ratio, Some(0.1));
        assert_eq!(cpu.ratio_range, Some((0.05, 0.2)));
    }

    #[test]
    fn nothing_lost_on_either_side_has_no_ratio() {
        let measures = measures(&[round(1.0, 0.0)], &[round(1.0, 0.0)]);
        let loss = measures.iter().find(|m| m.quantity == Quantity::Loss).unwrap();
        assert_eq!((loss.median_a, loss.ratio, loss.ratio_range), (0.0, None, None));
    }

    #[test]
    fn what_one_of_them_does_not_show_is_not_compared() {
        let measures = measures(&[round(1.0, 0.0)], &[Round::default()]);
        assert!(measures.is_empty());
    }

    #[test]
    fn a_server_is_called_after_its_program() {
        let check = |command: &str, expected: &str| {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(name_of(&words), expected);
        };
        check("target/release/tallyd --web.listen-address=:{web}", "tallyd");
        check("taskset -c 0 /usr/bin/statsd_exporter", "statsd_exporter");
        check("env GOMAXPROCS=1 nice -n 5 statsite -f x", "statsite");
        check("--", "server");
    }

    #[test]
    fn two_builds_of_one_program_are_told_apart() {
        let contender = || Contender { name: "tallyd".to_owned(), ..Contender::default() };
        let (a, b) = told_apart(contender(), contender());
        assert_eq!((a.name.as_str(), b.name.as_str()), ("tallyd A", "tallyd B"));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN]), None);
    }
}
