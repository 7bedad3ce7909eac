//! The inventory of a running server, from its own registry and from workers' files.

use super::labels::Collector;
use super::{Family, Inventory, Kind};
use crate::aggregate::view::FamilyView;
use crate::aggregate::{FamilyKind, Reading, SeriesSpec};
use crate::expose::Joined;
use crate::map::Rules;
use crate::multiproc::layout::{FamilyLayout, Parts};

impl Inventory {
    /// What is on a page of this moment; units, and which rule it comes from, as the rules in
    /// force have them. No lock is held meanwhile.
    ///
    /// The cost is a look at each series.
    #[must_use]
    pub fn of_reading(reading: &Reading, joined: &Joined, rules: &Rules) -> Self {
        let known = Self::of_rules(rules).inventory;
        let families = reading.view.families().iter();
        let families = families.filter(|view| joined.shows(&view.family)).map(|view| {
            let mut family = family(reading, view);
            let place = known.families.binary_search_by(|rule| rule.name.cmp(&family.name));
            if let Some(rule) = place.ok().and_then(|place| known.families.get(place)) {
                family.unit.clone_from(&rule.unit);
                family.rule.clone_from(&rule.rule);
            }
            family
        });
        let mut families: Vec<Family> = families.collect();
        if !joined.files().is_empty() {
            families.extend(joined.files().iter().map(|layout| of_files(layout)));
            families.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Self { families, ..Self::default() }
    }
}

/// A family of workers' files. No rule has made it, and its unit shows in its name, if anywhere.
fn of_files(layout: &FamilyLayout) -> Family {
    let mut labels = Collector::default();
    layout.series.iter().for_each(|series| labels.add(&series.labels));
    let bounds = || {
        let of_series = layout.series.iter().filter_map(|series| match &series.parts {
            Parts::Histogram(buckets) => Some(&buckets.bounds),
            _ => None,
        });
        let mut different: Vec<_> = of_series.collect();
        different.dedup();
        let mut bounds: Vec<f64> =
            different.iter().flat_map(|these| these.iter().copied()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    };
    Family {
        name: layout.name.to_string(),
        help: layout.help.to_string(),
        kind: match layout.kind {
            FamilyKind::Counter => Kind::Counter,
            FamilyKind::Gauge | FamilyKind::Set => Kind::Gauge,
            FamilyKind::Histogram => Kind::Histogram { bounds: bounds(), native: false },
            FamilyKind::Summary => Kind::Summary { quantiles: Vec::new() },
        },
        unit: None,
        rule: None,
        labels: labels.finish(""),
        series: Some(layout.series.len() as u64),
    }
}

fn family(reading: &Reading, view: &FamilyView) -> Family {
    let mut labels = Collector::default();
    let mut series = 0;
    for one in view.series() {
        series += 1;
        labels.add(str::from_utf8(one.labels()).unwrap_or_default());
    }
    let kind = kind(reading, view);
    Family {
        name: view.family.name.to_string(),
        help: view.family.help.to_string(),
        unit: None,
        rule: None,
        // A registered series has no label of that name: it was renamed.
        labels: labels.finish(""),
        series: Some(series),
        kind,
    }
}

fn kind(reading: &Reading, view: &FamilyView) -> Kind {
    let spec = view.series().next().and_then(|one| reading.values.spec(one.cell.column));
    match (view.family.kind, spec) {
        (FamilyKind::Counter, _) => Kind::Counter,
        (FamilyKind::Gauge, _) => Kind::Gauge,
        (FamilyKind::Set, _) => Kind::Set,
        (FamilyKind::Histogram, Some(SeriesSpec::Histogram(spec))) => Kind::Histogram {
            bounds: spec.bounds.to_vec(),
            native: spec.native.is_some() && reading.values.fills_native(),
        },
        (FamilyKind::Histogram, _) => Kind::Histogram { bounds: Vec::new(), native: false },
        (FamilyKind::Summary, Some(SeriesSpec::Summary(spec))) => Kind::Summary {
            quantiles: spec.quantiles.iter().map(|(quantile, _)| *quantile).collect(),
        },
        (FamilyKind::Summary, _) => Kind::Summary { quantiles: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::aggregate::{Registry, Request};
    use crate::compat::Compat;
    use crate::map::observer::HistogramSpec;

    #[test]
    fn a_registry_tells_names_labels_and_buckets() {
        let registry = Registry::new(Compat::Extended, []);
        let spec = HistogramSpec { bounds: Box::new([0.1, 1.0]), native: None };
        let histogram = SeriesSpec::Histogram(Arc::new(spec));
        for (text, name, spec) in [
            ("t{a=\"1\",b=\"x\"}", "t", &histogram),
            ("t{a=\"2\",b=\"x\"}", "t", &histogram),
            ("hits_total", "hits_total", &SeriesSpec::Counter),
        ] {
            let request = Request {
                text,
                name,
                label_names: if name == "t" { "a,b," } else { "" },
                spec,
                limits: None,
                help: "Help.",
                ttl_millis: 0,
                generation: 1,
                now_millis: 0,
            };
            registry.series(&request).unwrap();
        }
        let mapping = b"mappings:\n- {match: t.*, name: t, unit: bytes, labels: {a: $1}}\n";
        let rules = Rules::parse(mapping, "m.yml".as_ref(), Compat::Extended).unwrap().rules;
        let inventory = Inventory::of_reading(&registry.read(0), &Joined::default(), &rules);
        let [hits, timer] = &inventory.families[..] else { panic!("{inventory:?}") };
        assert_eq!(
            (hits.name.as_str(), &hits.kind, hits.series),
            ("hits_total", &Kind::Counter, Some(1))
        );
        assert_eq!(timer.kind, Kind::Histogram { bounds: vec![0.1, 1.0], native: false });
        assert_eq!((timer.unit.as_deref(), timer.rule.as_deref()), (Some("bytes"), Some("t.*")));
        let labels: Vec<_> =
            timer.labels.iter().map(|label| (label.name.as_str(), label.values)).collect();
        assert_eq!(labels, [("a", Some(2)), ("b", Some(1))]);
        let json = serde_json::to_string(&inventory).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&json).unwrap(), inventory);
    }
}
