//! Workloads from files: captures to be replayed, and descriptions in YAML.
//!
//! A description lists metrics; `{n}` in a name or a tag stands for the number of the series:
//!
//! ```yaml
//! metrics:
//!   - name: shop.orders      # any name
//!     type: c                # c, g, ms, h, d, s; whatever the server knows
//!     tags: {shop: "s{n}"}   # DogStatsD tags
//!     series: 50             # how many different {n} (default 1)
//!     weight: 3              # how often, beside the other metrics (default 1)
//!     values: [1, 1]         # whole numbers from the first to the second (default 1)
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use serde::Deserialize;

use super::error::BenchError;
use super::payload::{Kind, Packer, Payload};
use super::workload::Recipe;

/// Fewer lines than this would be sent again so soon that they stay in the CPU's caches.
const YAML_LINES: u64 = 200_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "one")]
    series: u64,
    #[serde(default = "one")]
    weight: u64,
    #[serde(default = "ones")]
    values: (i64, i64),
}

fn one() -> u64 {
    1
}

fn ones() -> (i64, i64) {
    (1, 1)
}

/// Reads a capture: one datagram a line, either as a JSON string or as it is.
pub(super) fn replay(
    recipe: &Recipe,
    path: &Path,
    mut packer: Packer,
) -> Result<Payload, BenchError> {
    let text = read(path)?;
    let mut names = std::collections::HashSet::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let datagram = if line.starts_with('"') {
            serde_json::from_str::<String>(line).map_err(|error| {
                wrong(path, format!("line {}: not a JSON string: {error}", number + 1))
            })?
        } else {
            line.to_owned()
        };
        for line in datagram.split('\n') {
            names.insert(series_of(line).to_owned());
        }
        packer.datagram(datagram.as_bytes());
    }
    let series = names.len() as u64;
    packer.finish(recipe, series, None)
}

/// A line without its value.
fn series_of(line: &str) -> (String, String) {
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    let (_, tail) = rest.split_once('|').unwrap_or((rest, ""));
    (name.to_owned(), tail.to_owned())
}

/// Reads a description and draws lines from it by their weight.
pub(super) fn yaml(
    recipe: &Recipe,
    path: &Path,
    mut packer: Packer,
) -> Result<Payload, BenchError> {
    let description: Description =
        serde_saphyr::from_str(&read(path)?).map_err(|error| wrong(path, error.to_string()))?;
    for metric in &description.metrics {
        if metric.values.0 > metric.values.1 || metric.series == 0 || metric.name.is_empty() {
            let reason = "needs a name, at least one series and values from low to high";
            return Err(wrong(path, format!("the metric `{}` {reason}", metric.name)));
        }
    }
    let weights: u64 = description.metrics.iter().map(|metric| metric.weight).sum();
    if weights == 0 {
        return Err(BenchError::Empty);
    }
    let mut random = Rng::with_seed(recipe.seed);
    let mut line = String::new();
    for _ in 0..YAML_LINES {
        let mut at = random.u64(..weights);
        let drawn = description.metrics.iter().find(|metric| {
            let is_here = at < metric.weight;
            at = at.saturating_sub(metric.weight);
            is_here
        });
        let Some(metric) = drawn else { continue };
        line.clear();
        write_line(&mut line, metric, &mut random);
        packer.line(line.as_bytes(), Kind::Line, None);
    }
    let series = description.metrics.iter().map(|metric| metric.series).sum();
    packer.finish(recipe, series, None)
}

fn write_line(line: &mut String, metric: &Metric, random: &mut Rng) {
    let number = random.u64(..metric.series).to_string();
    let fill = |text: &str| text.replace("{n}", &number);
    let value = random.i64(metric.values.0..=metric.values.1).to_string();
    line.push_str(&fill(&metric.name));
    line.push_str(&[":", &value, "|", &metric.kind].concat());
    for (place, (key, value)) in metric.tags.iter().enumerate() {
        line.push_str(if place == 0 { "|#" } else { "," });
        line.push_str(&[fill(key), fill(value)].join(":"));
    }
}

fn read(path: &Path) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(|source| BenchError::Read { path: path.to_owned(), source })
}

fn wrong(path: &Path, reason: String) -> BenchError {
    BenchError::Workload { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::super::workload::Source;
    use super::*;

    #[test]
    fn a_capture_is_replayed_datagram_by_datagram() {
        let capture = "\"a:1|c\\nb:2|g\"\nc:3|ms\n\n\"d:1|c\\n\"\n";
        let payload = check(Source::Replay, capture, Ok(5)).unwrap();
        let datagrams: Vec<&[u8]> = payload.datagrams().collect();
        assert_eq!(datagrams, [&b"a:1|c\nb:2|g"[..], b"c:3|ms", b"d:1|c\n"]);
        check(Source::Replay, "\"a:1|c\n", Err("line 1: not a JSON string"));
        check(Source::Replay, "\n", Err("no lines"));
    }

    #[test]
    fn a_description_gives_lines_by_weight() {
        let yaml = "metrics:\n- {name: a, type: c, weight: 3}\n\
                    - {name: 'b{n}', type: ms, tags: {t: 'x{n}'}, series: 2, values: [5, 5]}\n";
        let payload = check(Source::Yaml, yaml, Ok(YAML_LINES)).unwrap();
        let of = |wanted: &[u8]| {
            let lines = payload.datagrams().flat_map(|each| each.split(|byte| *byte == b'\n'));
            lines.filter(|line| *line == wanted).count() as f64 / YAML_LINES as f64
        };
        assert!((0.74..0.76).contains(&of(b"a:1|c")));
        assert!((0.12..0.13).contains(&of(b"b0:5|ms|#t:x0")));
        assert!((0.12..0.13).contains(&of(b"b1:5|ms|#t:x1")));
    }

    #[test]
    fn a_description_that_makes_no_sense_is_an_error() {
        check(Source::Yaml, "metrics: []", Err("no lines"));
        check(Source::Yaml, "metrics: [{name: a, type: c, weight: 0}]", Err("no lines"));
        check(Source::Yaml, "metrics: [{name: a, type: c, values: [2, 1]}]", Err("low to high"));
        check(Source::Yaml, "metrics: [{name: a, type: c, series: 0}]", Err("low to high"));
        check(Source::Yaml, "metrics: [{name: a, typ: c}]", Err("typ"));
    }

    fn check(
        source: fn(std::path::PathBuf) -> Source,
        content: &str,
        expected: Result<u64, &str>,
    ) -> Option<Payload> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, content).unwrap();
        let recipe = Recipe {
            source: source(path),
            series: None,
            max_datagram_bytes: None,
            new_share: 0.0,
            seed: 1,
        };
        let built = Payload::build(&recipe);
        match (&built, expected) {
            (Ok(payload), Ok(lines)) => assert_eq!(payload.tally().total(), lines),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (built, expected) => panic!("{built:?}, expected {expected:?}"),
        }
        built.ok()
    }
}
