//! The inventory that a mapping file promises.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Family, Inventory, Kind, Label, MAX_EXAMPLES};
use crate::grafana::names::words;
use crate::map::{Action, CounterMode, Observer, Outline, Rules, preset};
use crate::sample::EventType;

/// Last words of names that counters have.
const COUNTER_WORDS: [&str; 3] = ["total", "count", "counter"];
/// Last words of names that timers have.
const TIMER_WORDS: [&str; 5] = ["seconds", "duration", "latency", "time", "timer"];

/// What a mapping file says about the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Promise {
    /// The families whose names it tells.
    pub inventory: Inventory,
    /// The patterns of rules whose names depend on what clients send.
    pub open: Vec<String>,
}

impl Inventory {
    /// The families that rules make, whatever clients send. Where a rule does not say what kind of
    /// sample it is for, names and options tell.
    #[must_use]
    pub fn of_rules(rules: &Rules) -> Promise {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut open = Vec::new();
        for (index, outline) in rules.outlines().enumerate() {
            if outline.rule.action == Action::Drop {
                continue;
            }
            let Some(name) = outline.name.clone() else {
                open.push(outline.rule.source.clone());
                continue;
            };
            let family = match families.entry(name) {
                Entry::Vacant(entry) => {
                    let family = family(entry.key().clone(), &outline);
                    entry.insert(family)
                }
                Entry::Occupied(entry) => {
                    let family = entry.into_mut();
                    extend(family, &outline);
                    family
                }
            };
            for name in preset::tags::of(rules.origin(index), &family.name.clone()) {
                label(family, name);
            }
        }
        let mut families: Vec<Family> = families.into_values().collect();
        for family in &mut families {
            family.labels.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Promise { inventory: Self { families, ..Self::default() }, open }
    }
}

fn family(name: String, outline: &Outline<'_>) -> Family {
    let rule = outline.rule;
    let mut family = Family {
        kind: kind(&name, outline),
        name,
        help: String::new(),
        unit: None,
        rule: Some(rule.source.clone()),
        labels: Vec::new(),
        series: None,
    };
    extend(&mut family, outline);
    family
}

/// Adds what another rule for the same family knows.
fn extend(family: &mut Family, outline: &Outline<'_>) {
    let rule = outline.rule;
    if family.help.is_empty() {
        rule.help.as_deref().unwrap_or_default().clone_into(&mut family.help);
    }
    if family.unit.is_none() {
        family.unit = rule.unit.as_deref().map(str::to_owned);
    }
    for (name, value) in &outline.labels {
        let Some(label) = label(family, name) else { continue };
        if let Some(value) = value.as_ref().filter(|_| label.examples.len() < MAX_EXAMPLES)
            && let Err(place) = label.examples.binary_search(value)
        {
            label.examples.insert(place, value.clone());
        }
    }
}

/// The label of that name, which is added if the family has none.
fn label<'f>(family: &'f mut Family, name: &str) -> Option<&'f mut Label> {
    let at = family.labels.iter().position(|label| label.name == name).unwrap_or_else(|| {
        let label = Label { name: name.to_owned(), values: None, examples: Vec::new() };
        family.labels.push(label);
        family.labels.len() - 1
    });
    family.labels.get_mut(at)
}

fn kind(name: &str, outline: &Outline<'_>) -> Kind {
    let last = words(name).next_back().unwrap_or_default();
    let event = outline.event.unwrap_or_else(|| {
        if COUNTER_WORDS.contains(&last) {
            EventType::Counter
        } else if outline.is_observer || TIMER_WORDS.contains(&last) {
            EventType::Observer
        } else {
            EventType::Gauge
        }
    });
    match event {
        EventType::Counter if outline.rule.counter_mode == CounterMode::UpDown => Kind::Gauge,
        EventType::Counter => Kind::Counter,
        EventType::Gauge => Kind::Gauge,
        EventType::Set => Kind::Set,
        EventType::Observer => match &outline.rule.observer {
            // Whether Prometheus asks for native buckets is not in the file.
            Observer::Histogram(spec) => {
                Kind::Histogram { bounds: spec.bounds.to_vec(), native: false }
            }
            Observer::Summary(spec) => Kind::Summary {
                quantiles: spec.quantiles.iter().map(|(quantile, _)| *quantile).collect(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Compat;

    #[test]
    fn rules_for_one_name_are_one_family() {
        let promise = read(
            "- {match: a.*, name: a_total, labels: {x: $1, s: ok}, help: A.}\n\
             - {match: b.*, name: a_total, labels: {y: $1, s: bad}, unit: bytes}\n",
        );
        let [family] = &promise.inventory.families[..] else { panic!("{promise:?}") };
        assert_eq!((family.help.as_str(), family.unit.as_deref()), ("A.", Some("bytes")));
        assert_eq!(family.rule.as_deref(), Some("a.*"));
        let labels =
            family.labels.iter().map(|label| format!("{}={:?}", label.name, label.examples));
        assert_eq!(labels.collect::<Vec<_>>(), ["s=[\"bad\", \"ok\"]", "x=[]", "y=[]"]);
    }

    #[test]
    fn kinds_come_from_the_rule_or_else_from_the_name() {
        for (rule, expected) in [
            ("name: x_total", "Counter"),
            ("name: x_total, counter_mode: updown", "Gauge"),
            ("name: x_total, match_metric_type: gauge", "Gauge"),
            ("name: x, match_metric_type: set", "Set"),
            ("name: x", "Gauge"),
            ("name: x_seconds", "Summary { quantiles: [0.5, 0.9, 0.99] }"),
            (
                "name: x, observer_type: histogram, histogram_options: {buckets: [1]}",
                "Histogram { bounds: [1.0], native: false }",
            ),
        ] {
            let promise = read(&format!("- {{match: a, {rule}}}\n"));
            assert_eq!(format!("{:?}", promise.inventory.families[0].kind), expected, "{rule}");
        }
    }

    #[test]
    fn names_that_clients_choose_are_told_apart() {
        let promise = read("- {match: a.*, name: a_$1}\n- {match: b, name: b, action: drop}\n");
        assert_eq!((promise.inventory.families.len(), promise.open), (0, vec!["a.*".to_owned()]));
    }

    fn read(rules: &str) -> Promise {
        let text = format!("mappings:\n{rules}");
        let loaded = Rules::parse(text.as_bytes(), "m.yml".as_ref(), Compat::Extended);
        Inventory::of_rules(&loaded.unwrap().rules)
    }
}
