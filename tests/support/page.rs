//! The exposition as Prometheus reads it, and how two pages differ.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

/// Sums of floats that went different ways may differ in their last digits.
const TOLERANCE: f64 = 1e-9;

/// Families that say nothing about the lines sent.
const RUNTIME: [&str; 4] = ["go_", "process_", "promhttp_", "tallyd_"];

/// Families that say what became of the lines sent.
const OWN: [&str; 2] = ["statsd_exporter_", "statsd_metric_mapper_"];

/// Never alike: what was built, and how often the reference emptied its queue.
const NOT_COMPARED: [&str; 2] =
    ["statsd_exporter_build_info", "statsd_exporter_event_queue_flushed_total"];

/// The samples of a page by their series, whose labels are sorted.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Series that are approximate, with the least and the greatest value they may have.
pub(crate) type Ranges = BTreeMap<String, [f64; 2]>;

/// One metric family.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    /// The text of the `# HELP` line, as written.
    pub(crate) help: Option<String>,
    /// The type of the `# TYPE` line.
    pub(crate) kind: Option<String>,
    /// Its samples.
    pub(crate) samples: Samples,
}

/// The families of a page by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// The families by their names.
    pub(crate) families: BTreeMap<String, Family>,
}

impl Page {
    /// Reads the text format and accepts no more than Prometheus does.
    ///
    /// # Errors
    /// Names the first line that is not right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let mut current = String::new();
        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
            let taken = match line.strip_prefix("# ") {
                Some(comment) => page.take_comment(comment, &mut current),
                None => page.take_sample(line, &current),
            };
            taken.ok_or_else(|| format!("not a line of an exposition: {line:?}"))?;
        }
        Ok(page)
    }

    /// Splits what users sent from what the server counted; what no two runs share is left out.
    pub(crate) fn split(mut self) -> (Self, Samples) {
        let has_prefix = |name: &str, of: &[&str]| of.iter().any(|prefix| name.starts_with(prefix));
        let mut own = Samples::new();
        self.families.retain(|name, family| {
            let is_own = has_prefix(name, &OWN);
            if is_own && !NOT_COMPARED.contains(&name.as_str()) {
                own.append(&mut family.samples);
            }
            !is_own && !has_prefix(name, &RUNTIME)
        });
        (self, own)
    }

    fn take_comment(&mut self, comment: &str, current: &mut String) -> Option<()> {
        let Some((keyword @ ("HELP" | "TYPE"), rest)) = comment.split_once(' ') else {
            return Some(());
        };
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let family = self.families.entry(name.to_owned()).or_default();
        let field = if keyword == "HELP" { &mut family.help } else { &mut family.kind };
        // A second line, or one after the samples, makes Prometheus drop the whole page.
        if field.is_some() || !family.samples.is_empty() {
            return None;
        }
        *field = Some(text.to_owned());
        name.clone_into(current);
        Some(())
    }

    fn take_sample(&mut self, line: &str, current: &str) -> Option<()> {
        let (name, rest) = line.split_at_checked(line.find(['{', ' '])?)?;
        if !is_name(name) {
            return None;
        }
        let mut chars = rest.chars().peekable();
        let labels = labels(&mut chars)?;
        let value: String = chars.collect();
        let value = value.strip_prefix(' ')?.parse().ok()?;
        let owner = if self.is_part_of(name, current) { current } else { name };
        let family = self.families.entry(owner.to_owned()).or_default();
        family.samples.insert(series(name, &labels), value).is_none().then_some(())
    }

    /// Whether a series such as `h_sum` belongs to the histogram or summary written above it.
    fn is_part_of(&self, name: &str, current: &str) -> bool {
        let kind = self.families.get(current).and_then(|family| family.kind.as_deref());
        match name.strip_prefix(current) {
            Some("_sum" | "_count") => matches!(kind, Some("summary" | "histogram")),
            Some("_bucket") => kind == Some("histogram"),
            _ => false,
        }
    }
}

/// Says in what `got` differs from `expected`.
pub(crate) fn differences(expected: &Page, got: &Page, ranges: &Ranges) -> Vec<String> {
    let mut differences = Vec::new();
    let nothing = Family::default();
    for name in union(&expected.families, &got.families) {
        let expected = expected.families.get(name).unwrap_or(&nothing);
        let got = got.families.get(name).unwrap_or(&nothing);
        if (&expected.help, &expected.kind) != (&got.help, &got.kind) {
            differences.push(format!(
                "! {name}: expected {:?} {:?}, got {:?} {:?}",
                expected.kind, expected.help, got.kind, got.help
            ));
        }
        differences.extend(sample_differences(&expected.samples, &got.samples, ranges));
    }
    differences
}

/// Says in what the samples `got` differ from those `expected`.
pub(crate) fn sample_differences(
    expected: &Samples,
    got: &Samples,
    ranges: &Ranges,
) -> Vec<String> {
    let mut differences = Vec::new();
    for series in union(expected, got) {
        match (expected.get(series), got.get(series)) {
            (Some(value), None) => differences.push(format!("- {series} {value}")),
            (None, Some(value)) => differences.push(format!("+ {series} {value}")),
            (Some(&expected), Some(&got)) => {
                let agree = match ranges.get(series) {
                    Some(&[low, high]) => (low..=high).contains(&got),
                    None => are_close(expected, got),
                };
                if !agree {
                    differences.push(format!("! {series}: expected {expected}, got {got}"));
                }
            }
            (None, None) => {}
        }
    }
    differences
}

/// Whether two floats are the same but for rounding.
fn are_close(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
        || (a.is_nan() && b.is_nan())
        || (a.is_finite() && b.is_finite() && (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()))
}

fn union<'a, V>(a: &'a BTreeMap<String, V>, b: &'a BTreeMap<String, V>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

fn series(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// Reads a label block, if there is one; values stay escaped.
fn labels(chars: &mut Peekable<Chars<'_>>) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    if chars.next_if_eq(&'{').is_none() {
        return Some(labels);
    }
    while chars.next_if_eq(&'}').is_none() {
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=') {
            key.push(c);
        }
        chars.next()?;
        let value = quoted(chars)?;
        if !is_name(&key) || labels.insert(key, value).is_some() {
            return None;
        }
        if chars.next_if_eq(&',').is_none() && chars.peek() != Some(&'}') {
            return None;
        }
    }
    Some(labels)
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    chars.next_if_eq(&'"')?;
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => {
                let escaped = chars.next_if(|c| matches!(c, '\\' | '"' | 'n'))?;
                text.extend(['\\', escaped]);
            }
            c => text.push(c),
        }
    }
}
