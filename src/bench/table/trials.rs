//! A search and a comparison as tables for people.

use super::{finished, table};
use crate::bench::compare::{Comparison, Measure};
use crate::bench::find_max::{Found, Trial, Verdict};
use crate::chart::figure::{Figure, Unit, digits};

/// The rates that were tried, and what was found.
pub(in crate::bench) fn search(found: &Found) -> String {
    let mut table =
        table(["Trial", "asked for", "sent", "lost", "visible after", "CPU per metric", ""]);
    for (i, trial) in found.trials.iter().enumerate() {
        table.add_row([
            (i + 1).to_string(),
            Figure(trial.asked_per_second, Unit::PerSecond).into(),
            Figure(trial.sent_per_second, Unit::PerSecond).into(),
            Figure(trial.loss_ratio, Unit::Share).into(),
            Figure(trial.visible_after_ms.unwrap_or(f64::NAN), Unit::Millis).into(),
            Figure(trial.cpu_us_per_metric.unwrap_or(f64::NAN), Unit::Micros).into(),
            verdict(trial).to_owned(),
        ]);
    }
    format!("{}\n{}\n", finished(table), answer(found))
}

fn verdict(trial: &Trial) -> &'static str {
    match (trial.verdict, trial.is_confirming) {
        (Verdict::Held, false) => "held",
        (Verdict::Held, true) => "held again",
        (Verdict::Loss, _) => "loss",
        (Verdict::Backlog, _) => "backlog",
    }
}

/// The answer in a sentence.
fn answer(found: &Found) -> String {
    let limit = found.limited_by.as_str();
    let Some(max) = found.max_per_second else {
        return format!("No rate was held; limited by {limit}.");
    };
    let max = Figure(max, Unit::Count);
    let doubt = if found.is_confirmed { "" } else { ", but not held again when it was tried" };
    let cpu = found.cpu_us_per_metric.map_or_else(String::new, |cpu| {
        format!(
            " The server needs {} of CPU time for each metric there.",
            Figure(cpu, Unit::Micros)
        )
    });
    format!(
        "The highest rate without loss is {max} metrics a second, limited by {limit}{doubt}.{cpu}"
    )
}

/// Medians, spreads and ratios.
pub(in crate::bench) fn comparison(comparison: &Comparison) -> String {
    let (a, b) = (&comparison.a, &comparison.b);
    let ratio = format!("{} / {}", a.name, b.name);
    let mut table = table(["Median", &a.name, "rounds", &b.name, "rounds", &ratio, "rounds"]);
    for measure in &comparison.measures {
        table.add_row(row(measure));
    }
    finished(table) + "\n"
}

fn row(measure: &Measure) -> [String; 7] {
    let unit = measure.quantity.unit();
    let spread = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{}–{}", Figure(low, unit), Figure(high, unit))
    };
    let range = measure.ratio_range.map(|(low, high)| format!("{}–{}", digits(low), digits(high)));
    [
        measure.quantity.as_str().to_owned(),
        Figure(measure.median_a, unit).into(),
        spread(&measure.a),
        Figure(measure.median_b, unit).into(),
        spread(&measure.b),
        measure.ratio.map_or_else(|| "–".to_owned(), digits),
        range.unwrap_or_default(),
    ]
}
