//! The inventory of a server that has only its page: the text format, read for names and labels.

use std::collections::BTreeMap;

use super::labels::Collector;
use super::{Family, Inventory, Kind, Part};
use crate::aggregate::label_pairs;
use crate::saturation;

/// Beginnings of names that an exporter has for itself.
const OWN: [&str; 6] =
    ["statsd_exporter_", "statsd_metric_mapper_", "tallyd_", "process_", "go_", "promhttp_"];

#[derive(Debug, Default)]
struct Found {
    kind: String,
    help: String,
    labels: Collector,
    series: u64,
    bounds: Vec<f64>,
    quantiles: Vec<f64>,
}

impl Inventory {
    /// What is on a page in the text format; lines that are none are left out. Sets cannot be told
    /// from gauges.
    #[must_use]
    pub fn of_page(page: &str) -> Self {
        let mut families: BTreeMap<String, Found> = BTreeMap::new();
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut parts = comment.splitn(3, ' ');
                let (what, name) = (parts.next(), parts.next().unwrap_or_default());
                let text = parts.next().unwrap_or_default().to_owned();
                match what {
                    Some("TYPE") => families.entry(name.to_owned()).or_default().kind = text,
                    Some("HELP") => families.entry(name.to_owned()).or_default().help = text,
                    _ => {}
                }
            } else if !line.starts_with('#') {
                sample(&mut families, line);
            }
        }
        let parts = families.contains_key("tallyd_workers").then_some(Part::Workers);
        let is_own = |name: &str| {
            let is_server = name.starts_with(saturation::PREFIX);
            !is_server && OWN.iter().any(|own| name.starts_with(own))
        };
        families.retain(|name, found| found.series > 0 && !is_own(name));
        Self {
            families: families.into_iter().map(family).collect(),
            parts: parts.into_iter().collect(),
        }
    }
}

fn sample(families: &mut BTreeMap<String, Found>, line: &str) {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    let labels = labels.map_or("", |(labels, _)| labels);
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
        let base = name.strip_suffix(suffix)?;
        let kind = families.get(base).map(|found| found.kind.as_str());
        matches!(kind, Some("histogram" | "summary")).then_some((base, *suffix))
    });
    let (base, suffix) = base.unwrap_or((name, ""));
    let Some(found) = families.get_mut(base) else { return };
    let bound = |wanted: &str| {
        let value = label_pairs(labels).find(|(name, _)| *name == wanted)?.1;
        value.parse::<f64>().ok().filter(|value| value.is_finite())
    };
    match (found.kind.as_str(), suffix) {
        ("histogram", "_bucket") => add(&mut found.bounds, bound("le")),
        ("summary", "") => add(&mut found.quantiles, bound("quantile")),
        (_, "_sum") => {}
        _ => {
            found.series += 1;
            found.labels.add(labels);
        }
    }
}

fn add(values: &mut Vec<f64>, value: Option<f64>) {
    if let Some(value) = value
        && let Err(place) = values.binary_search_by(|known| known.total_cmp(&value))
    {
        values.insert(place, value);
    }
}

fn family((name, found): (String, Found)) -> Family {
    let kind = match found.kind.as_str() {
        "counter" => Kind::Counter,
        "histogram" => Kind::Histogram { bounds: found.bounds, native: false },
        "summary" => Kind::Summary { quantiles: found.quantiles },
        _ => Kind::Gauge,
    };
    Family {
        name,
        kind,
        help: found.help,
        unit: None,
        rule: None,
        labels: found.labels.finish(""),
        series: Some(found.series),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_page(
            text in any::<String>(),
            lines in prop::collection::vec("(# (TYPE|HELP) )?[ab](_bucket|_sum)?[ {}a=,\"\\\\]{0,9}( (1|counter|histogram|summary))?", 0..9),
        ) {
            for page in [text, lines.join("\n")] {
                let families = Inventory::of_page(&page).families;
                prop_assert!(families.iter().all(|family| family.series > Some(0)));
            }
        }
    }

    #[test]
    fn a_page_tells_kinds_labels_and_buckets() {
        let page = "# HELP h_total Hits.\n# TYPE h_total counter\nh_total{a=\"1\"} 3\nh_total{a=\"2\"} 4\n\
            # TYPE t histogram\nt_bucket{a=\"x\",le=\"0.5\"} 1\nt_bucket{a=\"x\",le=\"+Inf\"} 1\n\
            t_sum{a=\"x\"} 1\nt_count{a=\"x\"} 1\n# TYPE s summary\ns{quantile=\"0.9\"} NaN\n\
            s_sum 0\ns_count 0\n# TYPE g gauge\ng 1\n# TYPE process_open_fds gauge\nprocess_open_fds 9\n\
            # TYPE empty gauge\n";
        let found: Vec<String> = Inventory::of_page(page)
            .families
            .iter()
            .map(|f| format!("{} {:?} {} {}", f.name, f.kind, f.labels.len(), f.series.unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                "g Gauge 0 1",
                "h_total Counter 1 2",
                "s Summary { quantiles: [0.9] } 0 1",
                "t Histogram { bounds: [0.5], native: false } 1 1",
            ]
        );
    }
}
