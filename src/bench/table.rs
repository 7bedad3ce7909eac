//! An outcome as a table for people.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::latency::Latencies;
use super::outcome::{Accounting, Outcome, ServerFacts};
use super::sink::SinkFacts;
use super::units::{bytes, grouped, number};

mod trials;

pub(super) use trials::{comparison, search};

/// The whole outcome of a run.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut parts = vec![sending(outcome)];
    parts.extend(outcome.accounting.as_ref().map(accounting));
    parts.extend(outcome.server.as_ref().map(server));
    parts.extend(latencies(outcome));
    parts.extend(outcome.remarks.iter().cloned());
    parts.join("\n") + "\n"
}

/// What a sink threw away.
pub(super) fn sink(facts: &SinkFacts) -> String {
    let mut table = table(["Sink", &facts.listener]);
    table.add_row(["datagrams", &grouped(facts.datagrams)]);
    table.add_row(["lines", &grouped(facts.lines)]);
    table.add_row(["bytes", &grouped(facts.bytes)]);
    table.add_row(["reads", &grouped(facts.reads)]);
    table.add_row(["dropped by the kernel", &grouped(facts.kernel_drops)]);
    table.add_row(["CPU seconds", &number(facts.cpu_seconds)]);
    table.add_row(["CPU for each datagram", &micros(facts.cpu_us_per_datagram)]);
    table.add_row(["CPU for each line", &micros(facts.cpu_us_per_line)]);
    finished(table) + "\n"
}

fn sending(outcome: &Outcome) -> String {
    let (sending, workload) = (&outcome.sending, &outcome.workload);
    let mut table = table(["Sent", &format!("{} to {}", workload.name, outcome.target)]);
    table.add_row(["metrics", &grouped(sending.metrics)]);
    table.add_row([
        "datagrams".to_owned(),
        format!(
            "{} of {:.1} metrics and {:.0} bytes",
            grouped(sending.datagrams),
            workload.metrics_per_datagram,
            workload.bytes_per_datagram
        ),
    ]);
    let asked = outcome
        .asked_rate
        .map_or("as fast as possible".to_owned(), |rate| format!("{} asked for", number(rate)));
    table.add_row(["metrics a second".to_owned(), format!("{} ({asked})", number(sending.rate()))]);
    table.add_row(["seconds", &number(sending.seconds)]);
    table.add_row(["series", &grouped(workload.series)]);
    table.add_row([
        "clients".to_owned(),
        format!("{} on {} threads", workload.clients, workload.threads),
    ]);
    table.add_row(["CPU seconds of the sender", &number(sending.cpu_seconds)]);
    if sending.refused > 0 {
        table.add_row(["refused by the kernel", &grouped(sending.refused)]);
    }
    finished(table)
}

fn accounting(accounting: &Accounting) -> String {
    let mut table = table(["Accounted for", "sent", "counted"]);
    for (kind, sent) in &accounting.sent {
        let counted = accounting.counted.get(kind).copied().unwrap_or_default();
        table.add_row([kind.clone(), grouped(*sent), grouped(counted)]);
    }
    let all =
        ["all".to_owned(), grouped(accounting.sent_total()), grouped(accounting.counted_total())];
    table.add_row(all);
    for (reason, lost) in &accounting.lost {
        table.add_row([
            format!("lost: {}", reason.replace('_', " ")),
            String::new(),
            grouped(*lost),
        ]);
    }
    table.add_row(["unexplained".to_owned(), String::new(), accounting.unexplained.to_string()]);
    let percent = format!("{:.4} %", accounting.loss_ratio * 100.0);
    table.add_row(["loss".to_owned(), String::new(), percent]);
    if let Some(gauges) = accounting.gauges {
        let shown = format!("{} of {}", grouped(gauges.current), grouped(gauges.checked));
        table.add_row(["gauges with the last value".to_owned(), String::new(), shown]);
    }
    finished(table)
}

fn server(server: &ServerFacts) -> String {
    let mut table = table(["Server", &format!("process {}", server.pid)]);
    let split = format!(
        "{} ({} in user space, {} in the kernel)",
        number(server.cpu_seconds),
        number(server.cpu_user_seconds),
        number(server.cpu_system_seconds)
    );
    table.add_row(["CPU seconds", &split]);
    table.add_row(["CPU for each metric", &micros(server.cpu_us_per_metric)]);
    table.add_row(["CPU for each datagram", &micros(server.cpu_us_per_datagram)]);
    let memory = format!("{}, at most {}", bytes(server.rss_bytes), bytes(server.peak_rss_bytes));
    table.add_row(["memory", &memory]);
    finished(table)
}

fn latencies(outcome: &Outcome) -> Option<String> {
    let mut rows: Vec<(&str, Latencies)> = Vec::new();
    rows.extend(outcome.time_to_visible.map(|times| ("sent to visible", times)));
    if let Some(scrape) = &outcome.scrape {
        rows.push(("scrape", scrape.latency));
        rows.push(("scrape, first byte", scrape.first_byte));
    }
    if rows.is_empty() {
        return None;
    }
    let mut table = table(["Milliseconds", "times", "min", "p50", "p90", "p99", "p99.9", "max"]);
    for (name, times) in rows {
        let percentiles =
            [times.min_ms, times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms, times.max_ms];
        let cells = [name.to_owned(), grouped(times.count)].into_iter();
        table.add_row(cells.chain(percentiles.map(number)));
    }
    let size = outcome.scrape.as_ref().map(|scrape| {
        format!(
            "The page has {} samples in {}, {} on the wire.",
            grouped(scrape.samples),
            bytes(scrape.page_bytes),
            bytes(scrape.wire_bytes)
        )
    });
    Some(std::iter::once(finished(table)).chain(size).collect::<Vec<_>>().join("\n"))
}

fn micros(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| format!("{} µs", number(value)))
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header);
    table
}

/// Numbers stand to the right, names to the left.
fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
