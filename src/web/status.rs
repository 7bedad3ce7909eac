//! The page at `/`: how the server fares, for people.
//!
//! It is one document that needs nothing else and is complete without JavaScript; a small script
//! keeps it up to date. Everything that clients sent goes through `maud`, which escapes it, and the
//! page's own policy lets no other script run.

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::figure::{Figure, Unit};
use crate::explain::Explanation;
use crate::multiproc::Source;
use crate::status::cardinality::Cardinality;
use crate::status::facts::Facts;
use crate::status::lists::{Conflicts, Errors, Unmapped};

mod families;
mod files;
mod lists;
mod overview;
mod spark;
mod trial;

const STYLE: &str = include_str!("status/style.css");
const SCRIPT: &str = include_str!("status/script.js");

/// A small bar chart, in the colour of the page's lines.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 \
                    16'%3E%3Cpath d='M2 9h3v5H2zm4.500-4h3v9h-3zM11 2h3v12h-3z' \
                    fill='%231f5fd0'/%3E%3C/svg%3E";

/// Everything that the page shows.
#[derive(Debug)]
pub struct Model<'a> {
    /// The server in numbers.
    pub facts: &'a Facts,
    /// The families that were asked for.
    pub families: Families,
    /// Names without a rule.
    pub unmapped: &'a Unmapped,
    /// Bad lines.
    pub errors: &'a Errors,
    /// Names with two types.
    pub conflicts: &'a Conflicts,
    /// Where series come from.
    pub cardinality: &'a Cardinality,
    /// Dashboards that can be had.
    pub dashboards: &'a [Dashboard],
    /// The path of the metrics.
    pub telemetry_path: &'a str,
    /// What was asked for.
    pub query: &'a Query,
    /// What becomes of the line to try.
    pub explanation: Option<&'a Explanation>,
}

/// What a visitor asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A part of the names of families to show.
    pub filter: String,
    /// What families are sorted by.
    pub sort: Sort,
    /// A line to try.
    pub line: Option<String>,
}

/// What families are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Lines a second.
    #[default]
    Rate,
    /// Series.
    Series,
    /// The name.
    Name,
}

impl Sort {
    /// Every order, as the page offers them.
    pub const ALL: [Self; 3] = [Self::Rate, Self::Series, Self::Name];

    /// The value of `sort` in the query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Series => "series",
            Self::Name => "name",
        }
    }
}

/// The families that are shown.
#[derive(Debug, Default)]
pub struct Families {
    /// Those shown.
    pub shown: Vec<Family>,
    /// How many the filter lets through.
    pub matching: u64,
    /// How many there are.
    pub total: u64,
}

/// A family that is shown.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Its help.
    pub help: String,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// Its series.
    pub series: u64,
    /// Its lines since the rules were loaded; none where they are not counted.
    pub lines: Option<u64>,
    /// Its lines in a second.
    pub rate: f64,
    /// Its lines over the last minutes.
    pub spark: Vec<f64>,
}

/// A dashboard that can be had.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its uid.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What the last push to Grafana found, if there is one.
    pub state: Option<&'static str>,
    /// Where it is in Grafana.
    pub url: Option<String>,
}

impl Model<'_> {
    /// The document; `nonce` is what the policy of the answer lets the script and the style run by.
    #[must_use]
    pub fn into_html(self, nonce: &str) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // Not while a line is being tried: the reload would come in the way of reading.
                    @if self.query.line.is_none() {
                        noscript { meta http-equiv="refresh" content="30"; }
                    }
                    title { "tallyd" }
                    link rel="icon" href=(ICON);
                    style nonce=(nonce) { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.header())
                    main id="main" tabindex="-1" { (self.sections()) }
                    (self.footer())
                    script nonce=(nonce) { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }

    fn header(&self) -> Markup {
        let sections = [
            ("#try", "Try a line"),
            ("#families", "Families"),
            ("#files", "Workers' files"),
            ("#unmapped", "Unmapped names"),
            ("#errors", "Bad lines"),
            ("#conflicts", "Conflicts"),
            ("#series", "Series"),
            ("#rules", "Rules"),
            ("#dashboards", "Dashboards"),
        ];
        // Without files there is no such section.
        let is_there = |target: &str| target != "#files" || self.facts.files.is_some();
        let sections = sections.into_iter().filter(|(target, _)| is_there(target));
        html! {
            header {
                div.top {
                    h1 { "tallyd " small { (self.facts.version) } }
                    p.small.soft {
                        span id="live-state" role="status" { "reload for newer numbers" } " "
                        button.quiet id="live-pause" type="button" hidden { "Pause" }
                    }
                }
                nav aria-label="Page" {
                    ul {
                        li { a href=(link(self.telemetry_path)) { "Metrics" } }
                        @for (target, name) in sections { li { a href=(target) { (name) } } }
                    }
                }
            }
        }
    }

    fn sections(&self) -> Markup {
        html! {
            (overview::verdict(self.facts))
            (overview::tiles(self.facts, self.unmapped))
            (overview::receiving(self.facts))
            (trial::section(self.query, self.explanation))
            (families::section(&self.families, self.query))
            @if let Some(facts) = &self.facts.files { (files::files(facts)) }
            (lists::unmapped(self.unmapped))
            (lists::errors(self.errors, self.facts))
            (lists::conflicts(self.conflicts))
            (lists::series(self.cardinality, &self.facts.limits))
            (lists::rules(self.facts))
            (lists::dashboards(self.dashboards, self.facts))
        }
    }

    fn footer(&self) -> Markup {
        let endpoints =
            ["status", "families", "unmapped", "cardinality", "conflicts", "errors", "dashboard"];
        html! {
            footer {
                p {
                    "tallyd " (self.facts.version) ", " (self.facts.target) ". The same as JSON: "
                    @for (i, name) in endpoints.iter().enumerate() {
                        @if i > 0 { ", " }
                        a href=(format!("./api/v1/{name}")) { (name) }
                    }
                    "."
                }
            }
        }
    }
}

/// What a browser may do with the page: run its own script, use its own style, ask this server.
pub(super) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// A path as a link that also leads home behind a proxy's prefix; what has a meaning in a URL but
/// not in a path is percent-encoded.
pub(super) fn link(path: &str) -> String {
    let mut link = String::from("./");
    for byte in path.trim_start_matches('/').bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-._~:@!$*+,;=()".contains(&byte);
        if is_plain {
            link.push(char::from(byte));
        } else if write!(link, "%{byte:02X}").is_err() {
            return String::new();
        }
    }
    link
}

/// What clients sent, as it may be shown: control characters and those that turn the direction of
/// writing are made visible.
fn shown(text: &str) -> String {
    let visible = |char: char| match char {
        '\t' => '→',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => {
            '\u{fffd}'
        }
        char if char.is_control() => '\u{fffd}',
        char => char,
    };
    text.chars().map(visible).collect()
}

/// What clients sent, cut to a length that fits the page.
fn brief(text: &str, chars: usize) -> String {
    let text = shown(text);
    if text.chars().count() <= chars {
        return text;
    }
    text.chars().take(chars).chain(['…']).collect()
}

fn rate(per_second: f64) -> String {
    if per_second == 0.0 {
        "–".to_owned()
    } else {
        Figure(per_second, Unit::PerSecond).to_string()
    }
}

fn number(count: u64) -> String {
    Figure(count as f64, Unit::Count).to_string()
}

/// How long ago a moment was.
fn ago(at: f64, facts: &Facts) -> String {
    let seconds = (facts.started_at + facts.uptime_seconds - at).max(0.0);
    if seconds < 1.5 { "just now".to_owned() } else { format!("{} ago", time(seconds)) }
}

/// A time in its largest unit, without a fraction.
fn time(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];
    let fitting = UNITS.into_iter().find(|(length, _)| seconds >= *length);
    let (length, unit) = fitting.unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", (seconds / length).floor())
}

/// Words in which code stands between backticks.
fn words(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 1 { code { (shown(part)) } } @else { (shown(part)) }
        }
    }
}

/// A table that is scrolled by itself where it is wider than the screen.
fn table(name: &str, head: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table {
                thead { tr {
                    @for (title, is_number) in head {
                        th.n[*is_number] scope="col" { (title) }
                    }
                } }
                tbody { (rows) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::aggregate::Registry;
    use crate::compat::Compat;
    use crate::map::Rules;
    use crate::multiproc::facts::{Directory, ErrorTotal};
    use crate::multiproc::{Clash, Facts as FilesFacts};
    use crate::net::KernelDrops;
    use crate::state::Clock;
    use crate::status::Watch;
    use crate::status::facts::{FullFamily, Limits, Mapping, Setting};
    use crate::status::lists::{ErrorEntry, Seen, UnmappedName};

    const EVIL: &str = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&";

    #[test]
    fn what_clients_sent_is_text_and_nothing_else() {
        let page = page(EVIL, 3);
        assert!(!page.contains("<img") && !page.contains("alert(1)</script>"), "{page}");
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!((page.matches("</style>").count(), page.matches("</script>").count()), (1, 1));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;"));
    }

    #[test]
    fn signs_that_would_turn_or_hide_text_are_made_visible() {
        assert_eq!(
            shown("a\u{202e}b\u{0}c\td\u{7f}\u{2066}"),
            "a\u{fffd}b\u{fffd}c→d\u{fffd}\u{fffd}"
        );
        assert_eq!(brief("äöüß", 3), "äöü…");
        let page = page("txt.\u{202e}exe", 1);
        assert!(!page.contains('\u{202e}') && page.contains("txt.\u{fffd}exe"));
    }

    #[test]
    fn the_page_is_bounded_however_much_there_is() {
        let page = page(&"x".repeat(60_000), 100);
        assert!(page.len() < 700_000, "{}", page.len());
    }

    #[test]
    fn the_way_to_the_metrics_is_the_telemetry_path() {
        assert!(page("a", 1).contains("href=\"./m/%22x\""));
        assert_eq!(link("/größe?x"), "./gr%C3%B6%C3%9Fe%3Fx");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        assert_eq!(
            [0.2, 59.9, 61.0, 7200.0, 1e6].map(time),
            ["0 s", "59 s", "1 min", "2 h", "11 d"]
        );
    }

    /// A page on which everything is called `text`, with so many of each.
    fn page(text: &str, count: usize) -> String {
        let text = text.to_owned();
        let seen = Seen { line: text.clone(), is_cut: true, sender: text.clone(), at: 0.0 };
        let error = ErrorEntry {
            reason: "malformed_line",
            last: seen,
            first_at: 0.0,
            last_at: 0.0,
            count: 1,
            per_second: 1.0,
        };
        let name = UnmappedName {
            name: text.clone(),
            family: text.clone(),
            lines_total: 1,
            lines_per_second: 1.0,
        };
        let typed = brief(&text, 100);
        let query = Query { filter: typed.clone(), sort: Sort::Name, line: Some(typed) };
        let shown = vec![family(&text); count];
        let unmapped =
            Unmapped { has_rules: true, names: vec![name; count], ..Unmapped::default() };
        Model {
            facts: &facts(&text, count),
            families: Families { shown, matching: 1, total: 1 },
            unmapped: &unmapped,
            errors: &Errors { errors: vec![error; count], ..Errors::default() },
            conflicts: &Conflicts::default().with_clashes(vec![clash(&text); count]),
            cardinality: &Cardinality::default(),
            dashboards: &[],
            telemetry_path: "/m/\"x",
            query: &query,
            explanation: None,
        }
        .into_html("n0nce")
    }

    fn family(text: &str) -> Family {
        Family {
            name: text.to_owned(),
            kind: "counter",
            source: Source::Files,
            help: text.to_owned(),
            labels: vec![text.to_owned(); 30],
            series: 1,
            lines: Some(1),
            rate: 1.0,
            spark: vec![1.0; 120],
        }
    }

    fn facts(text: &str, count: usize) -> Facts {
        let (telemetry, drops) = (Arc::default(), KernelDrops::default());
        let registry = Arc::new(Registry::new(Compat::Extended, []));
        let watch = Watch::new(&telemetry, &registry, &drops, (Clock::begin(), 1));
        let full = FullFamily { family: text.to_owned(), series: 1, label: text.to_owned() };
        let (file, last_error) = (Some(text.to_owned()), Some(text.to_owned()));
        let setting = Setting {
            compat: Compat::Extended,
            is_ready: true,
            rules: &Rules::without_file(Compat::Extended),
            limits: Limits { series: Some(1), full: vec![full; count] },
            mapping: Mapping { file, last_error, ..Mapping::default() },
            servers: Vec::new(),
            grafana: None,
            files: Some(files(text, count)),
        };
        Facts::of(&watch, &watch.now(), &watch.rates(), setting)
    }

    fn files(text: &str, count: usize) -> FilesFacts {
        let text = || text.to_owned();
        let directory = Directory {
            path: text(),
            name: Some(text()),
            problem: Some(text()),
            ..Directory::default()
        };
        let error = ErrorTotal { reason: "truncated", total: 1, last: Some(text()) };
        FilesFacts {
            directories: vec![directory; count],
            errors: vec![error; count.min(20)],
            ..FilesFacts::default()
        }
    }

    fn clash(text: &str) -> Clash {
        Clash {
            metric: text.to_owned(),
            kind: "gauge",
            source: Source::Files,
            file: Some(text.to_owned()),
            owner: text.to_owned(),
            owner_kind: "counter",
            owner_source: Source::Statsd,
        }
    }
}
