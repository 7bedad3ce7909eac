//! Random mapping files whose rules meet the names of the random lines.

use fastrand::Rng;

/// The words of the lines' names that a glob may hold, and the star.
const PARTS: [&str; 9] = ["a", "b", "c", "api", "req", "x1", "*", "*", "*"];

const NAMES: [&str; 14] = [
    "m", "n", "o", "m_$1", "n_$2", "$1", "${1}_x", "$1_x", "$0", "$1$2", "x_${2}_y", "m.$1", "a",
    "m_$9",
];

const PATTERNS: [&str; 10] = [
    "^a\\\\.(.*)$",
    "(a|b)\\\\.(\\\\w+)",
    "^([^.]*)\\\\.b",
    "c",
    "(.*)\\\\.(.*)\\\\.(.*)",
    "^$",
    "api(\\\\..*)?",
    "(?P<w>x1)",
    "[a-c]+$",
    "^(.)(.*)$",
];

const LABEL_VALUES: [&str; 12] =
    ["$1", "$2", "x", "${1}-$2", "", "$0", "a$1b", "$10", "$$1", "1", "true", "$w"];

const LABEL_KEYS: [&str; 5] = ["l1", "k_", "env", "job", "L_1"];

const BUCKETS: [&str; 8] = [
    "buckets: [1, 2.5, 10]",
    "buckets: [0.001, 0.25, .5]",
    "buckets: [1]",
    "buckets: [-1, 0, 1]",
    "buckets: [0.01, 1e1, 1e2]",
    "buckets: [1, 10], native_histogram_bucket_factor: 1.5",
    "native_histogram_bucket_factor: 1",
    "native_histogram_bucket_factor: 1.02, native_histogram_max_buckets: 4",
];

const QUANTILES: [&str; 3] = [
    "[{quantile: 0.5, error: 0.05}]",
    "[{quantile: 0.9, error: 0.01}, {quantile: 0.99, error: 0.001}]",
    "[]",
];

const SCALES: [&str; 7] = ["2", "0.001", "0", "-1", "1e3", "1_0", "~"];

/// A mapping file in parts, so that it can be made smaller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The `defaults` section.
    pub(crate) defaults: String,
    /// The entries of `mappings`.
    pub(crate) rules: Vec<String>,
}

impl Rules {
    /// Some rules; they may be wrong only in ways that both servers take.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut globs: Vec<Vec<&'static str>> = Vec::new();
        let count = rng.usize(1..9);
        let rules = (0..count).map(|_| rule(rng, &mut globs)).collect();
        Self { defaults: defaults(rng), rules }
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = self.defaults.clone();
        text.push_str("mappings:\n");
        text.extend(self.rules.iter().map(String::as_str));
        if self.rules.is_empty() {
            text.push_str("- {match: nothing.at.all, name: nothing}\n");
        }
        text
    }

    /// Whether a label comes from a rule; the reference hands those on to later samples of a line.
    pub(crate) fn add_labels(&self) -> bool {
        self.rules.iter().any(|rule| rule.contains("labels:"))
    }
}

fn defaults(rng: &mut Rng) -> String {
    let mut text = String::new();
    for (chance, line) in [
        (3, format!("  glob_disable_ordering: {}", rng.bool())),
        (3, format!("  observer_type: {}", pick(rng, &["histogram", "summary"]))),
        (4, format!("  histogram_options: {{{}}}", pick(rng, &BUCKETS))),
        (4, format!("  summary_options: {{quantiles: {}}}", pick(rng, &QUANTILES))),
    ] {
        if rng.u8(0..chance) == 0 {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if text.is_empty() { text } else { format!("defaults:\n{text}") }
}

fn rule(rng: &mut Rng, globs: &mut Vec<Vec<&'static str>>) -> String {
    let mut text = if rng.u8(0..3) == 0 {
        format!("- match: \"{}\"\n  match_type: regex\n", pick(rng, &PATTERNS))
    } else {
        format!("- match: \"{}\"\n", glob(rng, globs).join("."))
    };
    let mut line = |line: &str| text.extend(["  ", line, "\n"]);
    line(&format!("name: \"{}\"", pick(rng, &NAMES)));
    let mut labels = Vec::new();
    for key in LABEL_KEYS {
        if rng.u8(0..4) == 0 {
            labels.push(format!("{key}: \"{}\"", pick(rng, &LABEL_VALUES)));
        }
    }
    if !labels.is_empty() {
        line(&format!("labels: {{{}}}", labels.join(", ")));
    }
    let kinds = ["counter", "gauge", "observer"];
    let choices = [
        (6, format!("match_metric_type: {}", pick(rng, &kinds))),
        (10, format!("action: {}", pick(rng, &["drop", "map"]))),
        (3, observer(rng)),
        (6, format!("scale: {}", pick(rng, &SCALES))),
        (6, format!("honor_labels: {}", rng.bool())),
        (20, "ttl: 1h".to_owned()),
    ];
    for (chance, choice) in choices {
        if rng.u8(0..chance) == 0 {
            line(&choice);
        }
    }
    text
}

/// Mostly options that fit the type; both servers refuse the others.
fn observer(rng: &mut Rng) -> String {
    let histogram = format!("histogram_options: {{{}}}", pick(rng, &BUCKETS));
    let summary = format!("summary_options: {{quantiles: {}}}", pick(rng, &QUANTILES));
    match rng.u8(0..40) {
        0..10 => "observer_type: histogram".to_owned(),
        10..20 => format!("observer_type: histogram\n  {histogram}"),
        20..25 => "observer_type: summary".to_owned(),
        25..35 => format!("observer_type: summary\n  {summary}"),
        35 | 36 => summary,
        37 | 38 => histogram,
        _ => format!("observer_type: {}\n  {histogram}", pick(rng, &["summary", "x", ""])),
    }
}

/// A glob that neither repeats an earlier one nor is the beginning of one: the reference puts the
/// former behind later rules and loses the latter, we do neither.
fn glob(rng: &mut Rng, globs: &mut Vec<Vec<&'static str>>) -> Vec<&'static str> {
    loop {
        let parts: Vec<_> = (0..rng.usize(1..4)).map(|_| pick(rng, &PARTS)).collect();
        if !globs.iter().any(|earlier| earlier.starts_with(&parts)) {
            globs.push(parts.clone());
            return parts;
        }
    }
}

fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    rng.choice(from).copied().unwrap_or_default()
}
