//! The HTML report: what a run, a search or a comparison found, as one file that needs nothing else.

use maud::Markup;

use super::compare::{Comparison, Measure, Quantity};
use super::find_max::{Found, Trial, Verdict};
use super::latency::Latencies;
use super::outcome::{Accounting, Outcome, Point, WorkloadFacts};
use chart::{Bars, Duel, Search, Timeline};
use page::{Page, Section, Table, Tile};

use crate::chart::figure::{Figure, Unit, digits};

pub mod chart;
pub mod page;

/// The report on one run.
#[must_use]
pub fn of_run(outcome: &Outcome) -> String {
    let title = format!("{} → {}", outcome.workload.name, outcome.target);
    let lead = workload_words(&outcome.workload, &pace_words(outcome.asked_rate));
    let mut sections = vec![Section { tiles: run_tiles(outcome), ..Section::default() }];
    sections.extend(run_details(outcome));
    Page { title, lead, sections }.into_html()
}

/// The report on a search for the highest rate.
#[must_use]
pub fn of_search(found: &Found, target: &str) -> String {
    let max = found.max_per_second.map_or(f64::NAN, |max| max);
    let limit = format!("limited by {}", found.limited_by.as_str());
    let mut tiles = vec![
        Tile::new("highest rate without loss", Figure(max, Unit::PerSecond), limit)
            .judged(found.is_confirmed),
    ];
    if let Some(cpu) = found.cpu_us_per_metric {
        tiles.push(Tile::new("CPU per metric there", Figure(cpu, Unit::Micros), ""));
    }
    let chart = Search {
        title: "Rates tried, in metrics a second: a dot was held, a cross was not".to_owned(),
        trials: found.trials.iter().map(trial_point).collect(),
        found: found.max_per_second,
    };
    let search = Section {
        tiles,
        charts: vec![chart.draw()],
        tables: vec![trials_table(&found.trials)],
        ..Section::default()
    };
    let mut sections = vec![search];
    let at_max = found.at_max.as_ref();
    if let Some(outcome) = at_max {
        let heading = "The last run at this rate".to_owned();
        sections.push(Section { heading, tiles: run_tiles(outcome), ..Section::default() });
        sections.extend(run_details(outcome));
    }
    let lead = at_max
        .map(|outcome| workload_words(&outcome.workload, "at rising rates"))
        .unwrap_or_default();
    Page { title: format!("Highest rate of {target}"), lead, sections }.into_html()
}

/// The report on two servers side by side.
#[must_use]
pub fn of_comparison(comparison: &Comparison) -> String {
    let (a, b) = (&comparison.a, &comparison.b);
    let rounds = a.rounds.len();
    let workload = workload_words(&comparison.workload, &pace_words(comparison.asked_rate));
    let lead = if rounds == 1 {
        format!("{workload} Both took their turn once.")
    } else {
        format!("{workload} Medians of {rounds} rounds in which both took turns; a dot is a round.")
    };
    // How many times more one loses than the other says nothing: it is nothing at all that counts.
    let is_head = |m: &&Measure| m.ratio.is_some() && m.quantity != Quantity::Loss;
    let heads = comparison.measures.iter().filter(is_head);
    let result = Section {
        tiles: heads.map(|measure| ratio_tile(measure, &a.name)).collect(),
        charts: comparison.measures.iter().map(|m| duel(m, &a.name, &b.name)).collect(),
        tables: vec![measures_table(comparison)],
        ..Section::default()
    };
    let mut commands = Table::new(&["server", "command"]).of_words();
    commands.row([a.name.clone(), a.command.clone()]);
    commands.row([b.name.clone(), b.command.clone()]);
    let servers =
        Section { heading: "The servers".to_owned(), tables: vec![commands], ..Section::default() };
    let title = format!("{} and {}", a.name, b.name);
    Page { title, lead, sections: vec![result, servers] }.into_html()
}

fn pace_words(asked_rate: Option<f64>) -> String {
    match asked_rate {
        Some(rate) => format!("at {}", Figure(rate, Unit::PerSecond)),
        None => "as fast as possible".to_owned(),
    }
}

fn workload_words(workload: &WorkloadFacts, pace: &str) -> String {
    format!(
        "Workload {}: {} series, {} metrics and {} in a datagram, {pace}, from {} {}.",
        workload.name,
        Figure(workload.series as f64, Unit::Count),
        digits(workload.metrics_per_datagram),
        Figure(workload.bytes_per_datagram, Unit::Bytes),
        workload.clients,
        if workload.clients == 1 { "client" } else { "clients" },
    )
}

/// The numbers of a run that matter most.
fn run_tiles(outcome: &Outcome) -> Vec<Tile> {
    let sending = &outcome.sending;
    let sent =
        format!("{} in {} s", Figure(sending.metrics as f64, Unit::Count), digits(sending.seconds));
    let mut tiles = vec![Tile::new("metrics sent", Figure(sending.rate(), Unit::PerSecond), sent)];
    if let Some(accounting) = &outcome.accounting {
        let missing = accounting.sent_total().saturating_sub(accounting.counted_total());
        let detail = format!("{} of {}", count(missing), count(accounting.sent_total()));
        let loss = Figure(accounting.loss_ratio, Unit::Share);
        tiles.push(Tile::new("lost", loss, detail).judged(missing == 0));
    }
    if let Some(server) = &outcome.server {
        let seconds = format!("{} s in all", digits(server.cpu_seconds));
        let cpu = Figure(server.cpu_us_per_metric.unwrap_or(f64::NAN), Unit::Micros);
        tiles.push(Tile::new("CPU per metric", cpu, seconds));
        let peak = format!("peak {}", Figure(server.peak_rss_bytes as f64, Unit::Bytes));
        tiles.push(Tile::new("memory", Figure(server.rss_bytes as f64, Unit::Bytes), peak));
    }
    if let Some(visible) = &outcome.time_to_visible {
        tiles.push(latency_tile("time to visible", visible));
    }
    if let Some(scrape) = &outcome.scrape {
        tiles.push(latency_tile("scrape", &scrape.latency));
        let samples = format!("{} samples", Figure(scrape.samples as f64, Unit::Count));
        tiles.push(Tile::new("page", Figure(scrape.page_bytes as f64, Unit::Bytes), samples));
    }
    tiles
}

fn latency_tile(name: &str, latencies: &Latencies) -> Tile {
    let p99 = format!("p99 {}", Figure(latencies.p99_ms, Unit::Millis));
    Tile::new(name, Figure(latencies.p50_ms, Unit::Millis), p99)
}

/// A run from all sides.
fn run_details(outcome: &Outcome) -> Vec<Section> {
    let mut sections = Vec::new();
    let charts = timelines(&outcome.timeline);
    if !charts.is_empty() {
        sections.push(Section::of_charts("Over time", charts));
    }
    let scrape = outcome.scrape.as_ref();
    let latencies = [
        ("Time from sending to visible", outcome.time_to_visible),
        ("Scrape, whole page", scrape.map(|scrape| scrape.latency)),
        ("Scrape, first byte", scrape.map(|scrape| scrape.first_byte)),
    ];
    let charts: Vec<Markup> = latencies
        .into_iter()
        .filter_map(|(title, latencies)| Some(percentiles(title, &latencies?)))
        .collect();
    if !charts.is_empty() {
        sections.push(Section::of_charts("Latency", charts));
    }
    if let Some(accounting) = &outcome.accounting {
        sections.push(accounts(accounting));
    }
    sections.push(facts(outcome));
    sections
}

/// How the run went; rates are those between two moments.
fn timelines(points: &[Point]) -> Vec<Markup> {
    let rate = |of: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let pairs = points.iter().zip(points.iter().skip(1));
        let change = pairs.filter_map(|(before, after)| {
            let seconds = after.second - before.second;
            (seconds > 0.0).then_some((after.second, (of(after)? - of(before)?) / seconds))
        });
        change.collect()
    };
    let value = |of: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        points.iter().filter_map(|point| Some((point.second, of(point)?))).collect()
    };
    let charts = [
        ("Metrics sent", Unit::PerSecond, rate(|point| Some(point.metrics as f64))),
        ("Server's CPU", Unit::Share, rate(|point| point.cpu_seconds)),
        ("Server's memory", Unit::Bytes, value(|point| Some(point.rss_bytes? as f64))),
        ("Scrape", Unit::Millis, value(|point| point.scrape_ms)),
    ];
    let shown = charts.into_iter().filter(|(_, _, points)| points.len() > 1);
    shown
        .map(|(title, unit, points)| Timeline { title: title.to_owned(), unit, points }.draw())
        .collect()
}

fn percentiles(title: &str, latencies: &Latencies) -> Markup {
    let bars = [
        ("p50", latencies.p50_ms),
        ("p90", latencies.p90_ms),
        ("p99", latencies.p99_ms),
        ("p99.9", latencies.p999_ms),
        ("max", latencies.max_ms),
    ];
    let bars = bars.map(|(name, value)| (name.to_owned(), value)).into();
    Bars { title: format!("{title} (n = {})", count(latencies.count)), unit: Unit::Millis, bars }
        .draw()
}

fn count(things: u64) -> String {
    Figure(things as f64, Unit::Count).into()
}

/// Where every metric is.
fn accounts(accounting: &Accounting) -> Section {
    let mut by_kind = Table::new(&["kind", "sent", "on the page"]);
    for (kind, sent) in &accounting.sent {
        let counted = accounting.counted.get(kind).copied().unwrap_or_default();
        by_kind.row([kind.clone(), count(*sent), count(counted)]);
    }
    let mut lost = Table::new(&["lost", "metrics"]);
    for (reason, metrics) in &accounting.lost {
        lost.row([reason.clone(), count(*metrics)]);
    }
    if accounting.unexplained != 0 {
        lost.row(["unexplained".to_owned(), accounting.unexplained.to_string()]);
    }
    let note = match accounting.not_accounted.as_slice() {
        [] => String::new(),
        kinds => {
            format!("The server does not tell how many of these it took: {}.", kinds.join(", "))
        }
    };
    let tables = if lost.rows.is_empty() { vec![by_kind] } else { vec![by_kind, lost] };
    Section { heading: "Where every metric is".to_owned(), note, tables, ..Section::default() }
}

/// What else a reader may want to know.
fn facts(outcome: &Outcome) -> Section {
    let (workload, sending) = (&outcome.workload, &outcome.sending);
    let mut table = Table::default().of_words();
    table.row(["datagrams".to_owned(), count(sending.datagrams)]);
    table.row(["bytes".to_owned(), Figure(sending.bytes as f64, Unit::Bytes).to_string()]);
    table.row(["refused by the sender's kernel".to_owned(), count(sending.refused)]);
    table.row(["sender's CPU".to_owned(), Figure(sending.cpu_seconds, Unit::Seconds).to_string()]);
    table.row([
        "sender's longest delay".to_owned(),
        Figure(sending.lag_max_ms, Unit::Millis).to_string(),
    ]);
    table.row(["threads".to_owned(), workload.threads.to_string()]);
    table.row(["seed".to_owned(), workload.seed.to_string()]);
    if let Some(seconds) = outcome.settled_after_seconds {
        let settled = Figure(seconds * 1e3, Unit::Millis).to_string();
        table.row(["all on the page after the last datagram".to_owned(), settled]);
    }
    if let Some(server) = &outcome.server {
        let user = Figure(server.cpu_user_seconds, Unit::Seconds).to_string();
        let system = Figure(server.cpu_system_seconds, Unit::Seconds).to_string();
        table.row(["server".to_owned(), format!("{} (process {})", server.command, server.pid)]);
        table.row(["server's CPU, user and kernel".to_owned(), format!("{user}, {system}")]);
    }
    let note = outcome.remarks.join(" ");
    Section { heading: "The run".to_owned(), note, tables: vec![table], ..Section::default() }
}

fn trial_point(trial: &Trial) -> (f64, bool, String) {
    let is_held = trial.verdict == Verdict::Held;
    let words = format!(
        "{}, {}, loss {}",
        Figure(trial.sent_per_second, Unit::PerSecond),
        verdict_words(trial),
        Figure(trial.loss_ratio, Unit::Share)
    );
    (trial.sent_per_second, is_held, words)
}

fn verdict_words(trial: &Trial) -> &'static str {
    match trial.verdict {
        Verdict::Held => "held",
        Verdict::Loss => "loss",
        Verdict::Backlog => "backlog",
    }
}

fn trials_table(trials: &[Trial]) -> Table {
    let mut table = Table::new(&[
        "trial",
        "asked",
        "sent",
        "lost",
        "visible after",
        "CPU per metric",
        "verdict",
    ]);
    for (i, trial) in trials.iter().enumerate() {
        table.row([
            if trial.is_confirming { format!("{} (again)", i + 1) } else { (i + 1).to_string() },
            Figure(trial.asked_per_second, Unit::PerSecond).to_string(),
            Figure(trial.sent_per_second, Unit::PerSecond).to_string(),
            Figure(trial.loss_ratio, Unit::Share).to_string(),
            Figure(trial.visible_after_ms.unwrap_or(f64::NAN), Unit::Millis).to_string(),
            Figure(trial.cpu_us_per_metric.unwrap_or(f64::NAN), Unit::Micros).to_string(),
            verdict_words(trial).to_owned(),
        ]);
    }
    table
}

/// How many times better or worse the first server is.
fn ratio_tile(measure: &Measure, name: &str) -> Tile {
    let ratio = measure.ratio.unwrap_or(f64::NAN);
    let is_better = if measure.quantity.is_gain() { ratio >= 1.0 } else { ratio <= 1.0 };
    let (times, word) = if ratio < 1.0 { (1.0 / ratio, "less with") } else { (ratio, "more with") };
    let value = format!("{} ×", digits(times));
    Tile::new(measure.quantity.as_str(), value, format!("{word} {name}")).judged(is_better)
}

fn duel(measure: &Measure, a: &str, b: &str) -> Markup {
    Duel {
        title: capitalised(measure.quantity.as_str()),
        unit: measure.quantity.unit(),
        a: (a.to_owned(), measure.a.clone()),
        b: (b.to_owned(), measure.b.clone()),
    }
    .draw()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn measures_table(comparison: &Comparison) -> Table {
    let (a, b) = (comparison.a.name.as_str(), comparison.b.name.as_str());
    let mut table = Table::new(&["", a, "spread", b, "spread", "ratio", "in the rounds"]);
    for measure in &comparison.measures {
        let unit = measure.quantity.unit();
        let ratio = measure.ratio.map_or("–".to_owned(), digits);
        let range = measure
            .ratio_range
            .map_or(String::new(), |(low, high)| format!("{} to {}", digits(low), digits(high)));
        table.row([
            measure.quantity.as_str().to_owned(),
            Figure(measure.median_a, unit).to_string(),
            spread(&measure.a, unit),
            Figure(measure.median_b, unit).to_string(),
            spread(&measure.b, unit),
            ratio,
            range,
        ]);
    }
    table
}

/// The lowest and the highest of some rounds.
fn spread(rounds: &[f64], unit: Unit) -> String {
    let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let high = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} to {}", Figure(low, unit), Figure(high, unit))
}
