//! A box to try a line in, and what would become of it.

use maud::{Markup, html};

use super::{Query, brief, shown, words};
use crate::explain::Explanation;
use crate::explain::model::{Near, Refusal, RuleName, Sample};

/// Characters of what is shown of a line's parts.
const PART_CHARS: usize = 300;

/// Lines of the page that are shown.
const MAX_EXPOSED: usize = 40;

/// The box and, where a line was given, its explanation.
pub(super) fn section(query: &Query, explanation: Option<&Explanation>) -> Markup {
    let line = query.line.as_deref().unwrap_or_default();
    html! {
        section id="try" aria-labelledby="try-title" {
            h2 id="try-title" { "Try a line" }
            form method="get" action="./#try" {
                div.grow {
                    label for="line" { "A line as a client would send it; it changes nothing here" }
                    input.code id="line" name="line" value=(line) placeholder="reqs:1|c|#view:home"
                        autocomplete="off" autocapitalize="none" spellcheck="false";
                }
                button.main type="submit" { "Explain" }
            }
            @if let Some(explanation) = explanation { (result(explanation)) }
        }
    }
}

fn result(explanation: &Explanation) -> Markup {
    let class = if explanation.is_accepted() { "tag good" } else { "tag bad" };
    html! {
        div.card id="try-result" {
            p { span class=(class) { (explanation.outcome) } " " code { (brief(&explanation.line, PART_CHARS)) } }
            @for error in &explanation.errors { (refusal(error)) }
            @for note in &explanation.notes { p.soft { (words(note)) } }
            @for sample in &explanation.samples { (of_sample(sample)) }
            @if explanation.more_samples > 0 { p.soft { (explanation.more_samples) " more samples" } }
            @if !explanation.exposed.is_empty() {
                p.small.soft { "On the page, if it were the only line ever sent:" }
                pre tabindex="0" {
                    @for line in explanation.exposed.iter().take(MAX_EXPOSED) {
                        (brief(line, PART_CHARS)) "\n"
                    }
                }
            }
        }
    }
}

fn of_sample(sample: &Sample) -> Markup {
    html! {
        dl.facts {
            dt { "Sample" }
            dd { (sample.kind) " " code { (brief(&sample.value, PART_CHARS)) } }
            dt { "Rule" }
            dd {
                @match &sample.rule {
                    Some(found) => {
                        (rule(&found.rule))
                        @for capture in &found.captures {
                            " " span.tag {
                                (brief(&capture.name, 40)) " = " (brief(&capture.value, 80))
                            }
                        }
                    }
                    None => { "none; the name is exposed as it comes" }
                }
            }
            @if !sample.near.is_empty() {
                dt { "Nearly" }
                dd { ul.plain { @for near in &sample.near { (nearly(near)) } } }
            }
            @if !sample.series.is_empty() {
                dt { "Series" }
                dd { code { (brief(&sample.series, PART_CHARS)) } }
            }
            @if let Some(standing) = &sample.standing { dt { "Here" } dd { (words(standing)) } }
        }
        @if let Some(why) = &sample.refusal { (refusal(why)) }
    }
}

fn rule(rule: &RuleName) -> Markup {
    html! {
        code { (brief(&rule.pattern, PART_CHARS)) }
        span.soft { " (" (shown(&rule.file)) ":" (rule.line) ")" }
    }
}

fn nearly(near: &Near) -> Markup {
    html! { li { (rule(&near.rule)) ": " (words(&near.why)) } }
}

fn refusal(refusal: &Refusal) -> Markup {
    html! { p { strong { (words(&refusal.meaning)) } " " (words(&refusal.advice)) } }
}
