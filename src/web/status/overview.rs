//! The first look: is anything lost, how much arrives, and where.

use maud::{Markup, html};

use super::spark::sparkline;
use super::{number, rate, shown, table, time, words};
use crate::chart::figure::{Figure, Unit};
use crate::status::facts::{Facts, Flow, Listener};
use crate::status::lists::Unmapped;

/// Losses up to this part of all lines are told, but in no alarming colour.
const SLIGHT_LOSS: f64 = 0.000_1;

/// Whether all is well, in one sentence, and what to do if not.
pub(super) fn verdict(facts: &Facts) -> Markup {
    let loss = &facts.loss;
    let received: u64 = facts.lines.iter().map(|flow| flow.total).sum();
    let reads_files = facts.files.as_ref().is_some_and(|files| files.series > 0);
    // The window begins with a moment that was taken down, some seconds after five minutes ago.
    let window = if loss.window_seconds > 290.0 { 300.0 } else { loss.window_seconds };
    let window = time(window);
    let share = Figure(loss.ratio, Unit::Share);
    let (mood, sentence) = match () {
        () if !facts.is_ready => ("verdict bad", "tallyd is stopping.".to_owned()),
        () if received == 0 && loss.ratio == 0.0 && reads_files => {
            ("verdict", "Workers' files are read; no line has arrived yet.".to_owned())
        }
        () if received == 0 && loss.ratio == 0.0 => {
            ("verdict idle", "Nothing has arrived yet.".to_owned())
        }
        () if loss.ratio == 0.0 => ("verdict", format!("Nothing was lost in the last {window}.")),
        () => {
            let mood = if loss.ratio > SLIGHT_LOSS { "verdict bad" } else { "verdict" };
            (mood, format!("About {share} of all lines were lost in the last {window}."))
        }
    };
    html! {
        section id="verdict" aria-labelledby="verdict-title" data-live {
            h2 id="verdict-title" { "How it goes" }
            div class=(mood) {
                p aria-live="polite" { (sentence) }
                @if !loss.causes.is_empty() { (causes(facts)) }
                @if !loss.advice.is_empty() {
                    ul { @for advice in &loss.advice { li { (words(&advice.text)) } } }
                }
                @if received == 0 && !reads_files { (first_line(facts)) }
            }
        }
    }
}

fn causes(facts: &Facts) -> Markup {
    let causes = facts.loss.causes.iter().map(|cause| {
        let name = match cause.cause {
            "kernel" => "dropped by the kernel",
            "client_queue" => "dropped in clients' queues",
            "client_writer" => "not written by clients",
            "client" => "dropped by clients",
            "truncated" => "cut off",
            "too_long" => "too long",
            "rejected" => "in error",
            "conflict" => "in conflict",
            _ => "over a limit",
        };
        format!("{name} {}", Figure(cause.ratio, Unit::Share))
    });
    html! { p { "By cause: " (causes.collect::<Vec<_>>().join(", ")) "." } }
}

/// How to send a first line.
fn first_line(facts: &Facts) -> Markup {
    let udp = facts.listeners.iter().find_map(|listener| listener.listener.strip_prefix("udp:"));
    let port = udp.and_then(|address| address.rsplit(':').next());
    html! {
        @if let Some(port) = port {
            p { "Send a line: " code { "echo 'hits:1|c' | nc -u -w1 127.0.0.1 " (port) } }
        }
    }
}

/// The numbers that matter most.
pub(super) fn tiles(facts: &Facts, unmapped: &Unmapped) -> Markup {
    let flow = |name: &str| facts.lines.iter().find(|flow| flow.name == name);
    let of = |name: &str| flow(name).map_or(0.0, |flow| flow.per_second);
    let accepted = flow("accepted").map_or(0, |flow| flow.total);
    let all_lines: f64 = facts.lines.iter().map(|flow| flow.per_second).sum();
    let drops: u64 = facts.listeners.iter().map(|listener| listener.kernel_drops_total).sum();
    let lately = |values: &[f64]| values.iter().rev().take(12).any(|value| *value > 0.0);
    let unmapped_rate =
        facts.samples.iter().find(|flow| flow.name == "unmapped").map_or(0.0, |f| f.per_second);
    let bytes = facts.process.resident_bytes.map_or(f64::NAN, |bytes| bytes as f64);
    let history = &facts.history;
    let limit = facts.limits.series;
    let series_detail = limit.map_or("kept now".to_owned(), |most| format!("of {}", number(most)));
    let is_full = limit.is_some_and(|most| facts.series >= most) || !facts.limits.full.is_empty();
    html! {
        dl.tiles id="tiles" data-live {
            (tile("Lines", &rate(all_lines), &format!("{} taken in", number(accepted)), false,
                Some(&history.accepted)))
            (tile("Series", &number(facts.series), &series_detail, is_full, Some(&history.series)))
            (tile("Dropped by the kernel", &number(drops), "datagrams since the start",
                lately(&history.kernel_drops), Some(&history.kernel_drops)))
            (tile("Bad lines", &rate(of("rejected")),
                &format!("{} in all", number(flow("rejected").map_or(0, |flow| flow.total))),
                lately(&history.rejected), Some(&history.rejected)))
            @if unmapped.has_rules {
                (tile("Without a rule", &rate(unmapped_rate),
                    &format!("{} names", number(unmapped.names_total)), false, None))
            }
            (tile("CPU", &format!("{}", Figure(facts.process.cpus_used, Unit::Share)),
                &format!("of one core, {} in all", Figure(facts.process.cpu_seconds, Unit::Time)),
                false, None))
            (tile("Memory", &Figure(bytes, Unit::Bytes).to_string(), "resident", false, None))
            (tile("Up for", &time(facts.uptime_seconds),
                &format!("{} {}, {}", facts.lanes, if facts.lanes == 1 { "lane" } else { "lanes" },
                    facts.compat), false, None))
        }
    }
}

fn tile(name: &str, value: &str, detail: &str, is_bad: bool, past: Option<&[f64]>) -> Markup {
    html! {
        div.tile.bad[is_bad] data-key=(name) {
            dt { (name) }
            dd.number { (value) }
            dd.detail { (detail) }
            @if let Some(past) = past.filter(|past| past.len() > 1) {
                dd { (sparkline(past, &format!("{name} over the last minutes"))) }
            }
        }
    }
}

/// What arrives, by kind, transport and listener.
pub(super) fn receiving(facts: &Facts) -> Markup {
    html! {
        section id="receiving" aria-labelledby="receiving-title" data-live {
            h2 id="receiving-title" { "What arrives" }
            div.columns {
                div.card { h3 { "Samples" } (flows("Samples by kind", &facts.samples)) }
                div.card { h3 { "Lines" } (flows("Lines by outcome", &facts.lines)) }
                div.card { h3 { "Transports" } (flows("By transport", &facts.transports)) }
            }
            @if !facts.listeners.is_empty() {
                h3 { "Listeners" }
                (table("Listeners", &[("Listener", false), ("Receive queue", false),
                    ("Dropped by the kernel", true)], &html! {
                    @for listener in &facts.listeners { (row(listener)) }
                }))
            }
        }
    }
}

fn flows(name: &str, flows: &[Flow]) -> Markup {
    table(
        name,
        &[("", false), ("now", true), ("in all", true)],
        &html! {
            @for flow in flows {
                tr data-key=(flow.name) {
                    th scope="row" { (flow.name.replace('_', " ")) }
                    td.n { (rate(flow.per_second)) }
                    td.n { (number(flow.total)) }
                }
            }
        },
    )
}

fn row(listener: &Listener) -> Markup {
    let size = |bytes: u64| Figure(bytes as f64, Unit::Bytes);
    let text = format!("{} of {}", size(listener.queued_bytes), size(listener.capacity_bytes));
    html! {
        tr data-key=(listener.listener) {
            th scope="row" { code { (shown(&listener.listener)) } }
            td {
                meter min="0" max=(listener.capacity_bytes.max(1)) value=(listener.queued_bytes)
                    aria-label="filled" {}
                " " (text)
            }
            td.n { (number(listener.kernel_drops_total)) }
        }
    }
}
