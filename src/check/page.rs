//! A page in the text format, family by family, with series that can be compared.

use std::collections::BTreeMap;

/// What is on a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    /// By name.
    pub(super) families: BTreeMap<String, Family>,
}

/// One family.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Family {
    /// What `# TYPE` says; empty without.
    pub(super) kind: String,
    /// What `# HELP` says, as written.
    pub(super) help: String,
    /// Samples by their series: the name, and the labels in order.
    pub(super) samples: BTreeMap<String, f64>,
}

impl Page {
    /// Reads the text format; lines that are none are left out.
    pub(super) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                page.comment(comment, &mut current);
            } else if let Some(sample) = Sample::read(line) {
                let family = if page.is_of(&current, sample.name) { &current } else { sample.name };
                let family = page.families.entry(family.to_owned()).or_default();
                family.samples.insert(sample.series(), sample.value);
            }
        }
        page.families.retain(|_, family| !family.samples.is_empty());
        page
    }

    fn comment(&mut self, comment: &str, current: &mut String) {
        let mut parts = comment.splitn(3, ' ');
        let (what, name) = (parts.next(), parts.next().unwrap_or_default());
        let text = parts.next().unwrap_or_default().to_owned();
        match what {
            Some("TYPE") => self.families.entry(name.to_owned()).or_default().kind = text,
            Some("HELP") => self.families.entry(name.to_owned()).or_default().help = text,
            _ => return,
        }
        name.clone_into(current);
    }

    /// Whether a sample of that name belongs to a family.
    fn is_of(&self, family: &str, name: &str) -> bool {
        let Some(suffix) = name.strip_prefix(family) else { return false };
        let kind = self.families.get(family).map_or("", |family| family.kind.as_str());
        match kind {
            "histogram" => matches!(suffix, "" | "_bucket" | "_sum" | "_count"),
            "summary" => matches!(suffix, "" | "_sum" | "_count"),
            _ => suffix.is_empty(),
        }
    }

    /// All samples by their series.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let families = self.families.values();
        families.flat_map(|family| family.samples.iter().map(|(series, value)| (&**series, *value)))
    }
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    /// Sorted by name; values as written.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    /// Reads `name{label="value",…} 1`, perhaps with a time behind it.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let end = line.find(['{', ' ', '\t'])?;
        let (name, rest) = line.split_at_checked(end)?;
        let (mut labels, rest) = match rest.strip_prefix('{') {
            Some(open) => labels(open)?,
            None => (Vec::new(), rest),
        };
        labels.sort_unstable();
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        let is_name = !name.is_empty() && !name.starts_with('#');
        is_name.then_some(Self { name, labels, value })
    }

    /// Reads a series as it stands in a family; it has no value.
    pub(super) fn read_series(series: &'a str) -> Option<Self> {
        let (name, labels) = match series.split_once('{') {
            Some((name, open)) => (name, labels(open)?.0),
            None => (series, Vec::new()),
        };
        Some(Self { name, labels, value: f64::NAN })
    }

    /// The series with its labels in order.
    pub(super) fn series(&self) -> String {
        series(self.name, &self.labels)
    }
}

/// Writes a series as the text format does.
pub(super) fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value_on) = rest.split_once('=')?;
        let value_on = value_on.trim_start().strip_prefix('"')?;
        let mut is_escaped = false;
        let end = value_on.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        labels.push((name.trim(), value_on.get(..end)?));
        let after = value_on.get(end + 1..)?.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sample_is_read_whatever_the_order_of_its_labels() {
        check("a 1", Some("a 1"));
        check("a{} 1 1700000000", Some("a 1"));
        check("a{c=\"}\\\"\",b = \"x=y\", } +Inf", Some("a{b=\"x=y\",c=\"}\\\"\"} inf"));
        for line in ["", "a", "a{b} 1", "a{b=\"c} 1", "{a=\"b\"} 1", "a x", "#a 1"] {
            check(line, None);
        }
    }

    #[test]
    fn samples_stand_in_their_families() {
        let page = Page::read(
            "# HELP t Time.\n# TYPE t histogram\nt_bucket{le=\"1\"} 1\nt_sum 1\nt_count 1\n\
             # TYPE t_count_total counter\nt_count_total 1\nlone 5\n# TYPE empty gauge\n",
        );
        let told = page.families.iter();
        let told: Vec<String> = told
            .map(|(name, f)| format!("{name} {} {} {}", f.kind, f.help, f.samples.len()))
            .collect();
        assert_eq!(told, ["lone   1", "t histogram Time. 3", "t_count_total counter  1"]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_page(text in any::<String>(), lines in "(# TYPE )?[ab_]{0,3}[{}a=,\"\\\\ 1\n]{0,20}") {
            for text in [text, lines] {
                prop_assert!(Page::read(&text).samples().count() <= text.lines().count());
            }
        }
    }

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let read = Sample::read(line).map(|sample| format!("{} {}", sample.series(), sample.value));
        assert_eq!(read.as_deref(), expected, "{line}");
    }
}
