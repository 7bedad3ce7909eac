//! Workers' files: where they are, whose, and what could not be used of them.

use maud::{Markup, html};

use super::lists::section;
use super::{brief, number, table};
use crate::chart::figure::{Figure, Unit};
use crate::multiproc::Facts;
use crate::multiproc::facts::{Directory, ErrorTotal};

/// Directories shown; the API has the rest.
const MAX_SHOWN: usize = 25;

/// The section; only where files are read.
pub(super) fn files(facts: &Facts) -> Markup {
    let content = html! {
        p {
            (number(facts.series)) " series in " (number(facts.families)) " families"
            @if facts.reads_total > 0 {
                ", last read in " (Figure(facts.last_read_seconds, Unit::Time).to_string())
            }
            "."
        }
        (table("Directories", &[("Directory", false), ("Files", true), ("Size", true),
            ("Workers alive", true), ("Taken over", true), ("Unlinked", true)], &html! {
            @for directory in facts.directories.iter().take(MAX_SHOWN) { (row(directory)) }
        }))
        @if !facts.errors.is_empty() {
            h3 { "What could not be used" }
            (table("What could not be used", &[("Reason", false), ("Times", true),
                ("The last one", false)], &html! {
                @for error in &facts.errors { (error_row(error)) }
            }))
        }
    };
    section("files", "Workers' files", &content)
}

fn row(directory: &Directory) -> Markup {
    html! {
        tr data-key=(brief(&directory.path, 300)) {
            th scope="row" {
                code { (brief(&directory.path, 200)) }
                @if let Some(name) = &directory.name { " " span.tag { (brief(name, 60)) } }
                div.small.soft { "a worker is gone " (gone(directory.liveness)) }
                @if let Some(problem) = &directory.problem {
                    div { span.tag.bad { "problem" } " " (brief(problem, 500)) }
                }
            }
            td.n { (number(directory.files)) }
            td.n { (Figure(directory.bytes as f64, Unit::Bytes).to_string()) }
            td.n { (number(directory.workers_alive)) }
            td.n { (number(directory.folded_files_total)) }
            td.n { (number(directory.reaped_files_total)) }
        }
    }
}

/// When a worker is taken for gone.
fn gone(liveness: &str) -> &'static str {
    match liveness {
        "pid" => "when its process is",
        "age" => "when it has not written for long",
        _ => "never",
    }
}

fn error_row(error: &ErrorTotal) -> Markup {
    html! {
        tr data-key=(error.reason) {
            th scope="row" { span.tag.bad { (error.reason) } }
            td.n { (number(error.total)) }
            td.wide { @if let Some(last) = &error.last { code { (brief(last, 300)) } } }
        }
    }
}
