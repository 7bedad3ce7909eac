//! What wants a look: names without a rule, bad lines, conflicts, series, rules and dashboards.

use maud::{Markup, html};

use super::{Dashboard, ago, brief, number, rate, table};
use crate::multiproc::Clash;
use crate::status::cardinality::{
    Cardinality, FamilyCardinality, LabelCardinality, ValueCardinality,
};
use crate::status::facts::{Facts, Limits, RuleFacts};
use crate::status::lists::{ConflictEntry, Conflicts, ErrorEntry, Errors, Unmapped};

/// Entries shown of each list; the API has the rest.
const MAX_SHOWN: usize = 25;

/// Rules shown.
const MAX_RULES: usize = 100;

/// Characters of a line that are shown.
const LINE_CHARS: usize = 200;

/// A section that is kept up to date.
pub(super) fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby=(format!("{id}-title")) data-live {
            h2 id=(format!("{id}-title")) { (title) }
            (content)
        }
    }
}

/// What of a longer list is shown, and where the rest is.
fn rest(shown: usize, total: u64, path: &str) -> Markup {
    html! {
        @if (shown as u64) < total {
            p.small.soft {
                (number(shown as u64)) " of " (number(total)) "; more: "
                a href=(format!("./api/v1/{path}")) { "/api/v1/" (path) }
            }
        }
    }
}

/// Names that no rule matches.
pub(super) fn unmapped(unmapped: &Unmapped) -> Markup {
    let names = unmapped.names.iter().take(MAX_SHOWN);
    let content = html! {
        @if !unmapped.has_rules {
            p.soft { "There are no mapping rules, so every name is exposed as it comes." }
        } @else if unmapped.names.is_empty() {
            p.soft { "Every name that came has a rule." }
        } @else {
            (table("Unmapped names", &[("Name", false), ("Exposed as", false), ("Lines", true),
                ("In all", true)], &html! {
                @for name in names {
                    tr data-key=(brief(&name.name, 300)) {
                        th scope="row" { code { (brief(&name.name, LINE_CHARS)) } }
                        td.wide { code { (brief(&name.family, LINE_CHARS)) } }
                        td.n { (rate(name.lines_per_second)) }
                        td.n { (number(name.lines_total)) }
                    }
                }
            }))
            (rest(unmapped.names.len().min(MAX_SHOWN), unmapped.names_total, "unmapped"))
        }
    };
    section("unmapped", "Unmapped names", &content)
}

/// The last bad lines.
pub(super) fn errors(errors: &Errors, facts: &Facts) -> Markup {
    let content = html! {
        @if errors.errors.is_empty() {
            p.soft { "No line was in error." }
        } @else {
            p.small.soft {
                @for (i, reason) in errors.reasons.iter().enumerate() {
                    @if i > 0 { ", " }
                    (reason.reason.replace('_', " ")) " " (number(reason.total))
                }
            }
            (table("Bad lines", &[("Line", false), ("Reason", false), ("Sender", false),
                ("Last", true), ("Seen", true)], &html! {
                @for error in errors.errors.iter().take(MAX_SHOWN) { (error_row(error, facts)) }
            }))
            (rest(errors.errors.len().min(MAX_SHOWN), errors.errors.len() as u64, "errors"))
        }
    };
    section("errors", "Bad lines", &content)
}

fn error_row(error: &ErrorEntry, facts: &Facts) -> Markup {
    let line = &error.last;
    html! {
        tr {
            th scope="row" { code { (brief(&line.line, LINE_CHARS)) @if line.is_cut { "…" } } }
            td { (error.reason.replace('_', " ")) }
            td { @if line.sender.is_empty() { "unknown" } @else { (brief(&line.sender, 100)) } }
            td.n { (ago(error.last_at, facts)) }
            td.n {
                (number(error.count))
                @if error.per_second > 0.0 { div.small.soft { (rate(error.per_second)) } }
            }
        }
    }
}

/// Names that came with two types.
pub(super) fn conflicts(conflicts: &Conflicts) -> Markup {
    let content = html! {
        @if conflicts.conflicts.is_empty() {
            p.soft { "Every name has one type." }
        } @else {
            (table("Conflicts", &[("Family", false), ("First", false), ("Refused", false),
                ("Samples", true)], &html! {
                @for conflict in conflicts.conflicts.iter().take(MAX_SHOWN) {
                    (conflict_row(conflict))
                }
            }))
            (rest(conflicts.conflicts.len().min(MAX_SHOWN), conflicts.conflicts_total, "conflicts"))
        }
        @if !conflicts.clashes.is_empty() {
            p { "Left out, since another source has the name:" }
            (table("Names of two sources", &[("Left out", false), ("Shown", false)], &html! {
                @for clash in conflicts.clashes.iter().take(MAX_SHOWN) { (clash_row(clash)) }
            }))
            (rest(conflicts.clashes.len().min(MAX_SHOWN), conflicts.clashes_total, "conflicts"))
        }
    };
    section("conflicts", "Conflicts", &content)
}

fn conflict_row(conflict: &ConflictEntry) -> Markup {
    html! {
        tr data-key=(format!("{} {}", conflict.refused_kind, brief(&conflict.name, 300))) {
            th scope="row" { code { (brief(&conflict.name, LINE_CHARS)) } }
            td.wide {
                @if let Some(owner) = &conflict.owner {
                    span.tag { (owner.kind) } " "
                    @if owner.is_own { "tallyd's own metric" }
                    @if owner.name != conflict.name { code { (brief(&owner.name, 100)) } " " }
                    @if let Some(line) = &owner.first_line { code { (brief(line, LINE_CHARS)) } }
                    @if let Some(sender) = &owner.first_sender {
                        div.small.soft { (brief(sender, 100)) }
                    }
                } @else { "gone since" }
            }
            td.wide {
                span.tag.bad { (conflict.refused_kind) } " "
                @if let Some(first) = &conflict.first_refused {
                    code { (brief(&first.line, LINE_CHARS)) }
                    @if !first.sender.is_empty() { div.small.soft { (brief(&first.sender, 100)) } }
                }
            }
            td.n { (number(conflict.count)) }
        }
    }
}

fn clash_row(clash: &Clash) -> Markup {
    html! {
        tr data-key=(format!("{} {}", clash.source.as_str(), brief(&clash.metric, 300))) {
            th scope="row" {
                code { (brief(&clash.metric, LINE_CHARS)) } " "
                span.tag.bad { (clash.kind) } " of " (clash.source.as_str())
                @if let Some(file) = &clash.file { div.small.soft { (brief(file, 200)) } }
            }
            td.wide {
                code { (brief(&clash.owner, LINE_CHARS)) } " "
                span.tag { (clash.owner_kind) } " of " (clash.owner_source.as_str())
            }
        }
    }
}

/// The families with most series, and their labels.
pub(super) fn series(cardinality: &Cardinality, limits: &Limits) -> Markup {
    let content = html! {
        p {
            (number(cardinality.series))
            @if let Some(limit) = limits.series { " of at most " (number(limit)) }
            " series in " (number(cardinality.families_total)) " families."
        }
        @if !limits.full.is_empty() {
            p { "At a limit, so that what is new goes to an overflow series or is dropped:" }
            ul.plain {
                @for full in &limits.full {
                    li {
                        span.tag.bad { (number(full.series)) " series" } " "
                        code { (brief(&full.family, 200)) }
                        @if !full.label.is_empty() { " by its label " code { (brief(&full.label, 60)) } }
                    }
                }
            }
        }
        @if !cardinality.families.is_empty() {
            (table("Series by family", &[("Family", false), ("Series", true),
                ("Labels by number of values", false)], &html! {
                @for family in cardinality.families.iter().take(10) {
                    tr data-key=(brief(&family.name, 300)) {
                        th scope="row" { code { (brief(&family.name, 100)) } }
                        td.n { (number(family.series)) }
                        td.wide {
                            @for label in family.labels.iter().take(3) {
                                div data-key=(brief(&label.name, 100)) {
                                    code { (brief(&label.name, 60)) } " " (number(label.values))
                                    @if let Some(top) = standing_out(family, label) {
                                        span.soft {
                                            ", most: " (brief(&top.value, 40)) " (" (number(top.series)) ")"
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }))
        }
    };
    section("series", "Series", &content)
}

/// The value that clearly more series have than others, if there is one.
fn standing_out<'a>(
    family: &FamilyCardinality,
    label: &'a LabelCardinality,
) -> Option<&'a ValueCardinality> {
    let is_more = |top: &&ValueCardinality| {
        label.values > 1 && top.series.saturating_mul(label.values) > family.looked_at * 2
    };
    label.top.first().filter(is_more)
}

/// The rules with their hits.
pub(super) fn rules(facts: &Facts) -> Markup {
    let mapping = &facts.mapping;
    let never = facts.rules.iter().filter(|rule| rule.lines_total == Some(0)).count();
    let total = (facts.rules.len() + facts.rules_left_out) as u64;
    let content = html! {
        @if mapping.file.is_some() || !mapping.presets.is_empty() {
            p {
                @if let Some(file) = &mapping.file { code { (brief(file, 300)) } " " }
                @for preset in &mapping.presets { span.tag { "preset " (preset) } " " }
                (number(mapping.rules as u64)) " rules, "
                (number(never as u64)) " of them without a hit"
                @if let Some(at) = mapping.last_reload_at { ", last reloaded " (ago(at, facts)) }
                "."
            }
        } @else {
            p.soft { "No mapping file (--statsd.mapping-config) and no preset (--preset)." }
        }
        @if let Some(error) = &mapping.last_error {
            p { span.tag.bad { "reload failed" } " " (brief(error, 500)) }
        }
        @if !facts.rules.is_empty() {
            (table("Rules", &[("Match", false), ("Where", false), ("Makes", false), ("Lines", true),
                ("In all", true)], &html! {
                @for rule in facts.rules.iter().take(MAX_RULES) { (rule_row(rule)) }
            }))
            (rest(facts.rules.len().min(MAX_RULES), total, "status"))
        }
    };
    section("rules", "Rules", &content)
}

fn rule_row(rule: &RuleFacts) -> Markup {
    html! {
        tr data-key=(rule.index) {
            th scope="row" { code { (brief(&rule.source, LINE_CHARS)) } }
            td { span.soft { (brief(&rule.origin, 60)) ":" (rule.line) } }
            td.wide {
                @if rule.action == "drop" { span.tag { "drop" } }
                @else if let Some(name) = &rule.name { code { (brief(name, LINE_CHARS)) } }
                @else { span.soft { "by name" } }
            }
            td.n { (rate(rule.lines_per_second)) }
            td.n { (rule.lines_total.map_or("–".to_owned(), number)) }
        }
    }
}

/// Dashboards, where they are and whether they are up to date.
pub(super) fn dashboards(dashboards: &[Dashboard], facts: &Facts) -> Markup {
    let content = html! {
        @if let Some(grafana) = &facts.grafana {
            p {
                @if grafana.is_healthy { span.tag.good { "up to date" } }
                @else { span.tag.bad { "not up to date" } }
                " in Grafana at " code { (brief(&grafana.url, 300)) }
                @if let Some(at) = grafana.last_success { ", last looked at " (ago(at, facts)) }
                "."
            }
            @if let Some(error) = &grafana.last_error { p { (brief(error, 500)) } }
        } @else {
            p.soft { "None is kept in a Grafana (--grafana.url); they can be imported by hand." }
        }
        @if dashboards.is_empty() {
            p { a href="./api/v1/dashboard" download { "Download the dashboard" } }
        } @else {
            ul.plain {
                @for dashboard in dashboards {
                    li data-key=(dashboard.uid) {
                        (brief(&dashboard.title, 120))
                        @if let Some(state) = dashboard.state { " " span.tag { (state) } }
                        " · "
                        a href=(format!("./api/v1/dashboard?uid={}", dashboard.uid))
                            download=(format!("{}.json", dashboard.uid)) { "download" }
                    }
                }
            }
        }
    };
    section("dashboards", "Dashboards", &content)
}
