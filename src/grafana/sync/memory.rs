//! What all replicas of a service have exposed lately, remembered in the dashboard itself.
//!
//! A server that has just started knows few families, and of several replicas each may know others.
//! If each wrote only what it knows, dashboards would shrink with every restart and change with
//! whoever wrote last. So the first dashboard carries, in a hidden variable, the families that it
//! was made of and the day on which each was last seen; who writes adds its own to them. A family
//! that nobody has seen for a month is left out.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::grafana::inventory::{Family, Inventory, Kind, Label, MAX_EXAMPLES};

/// The name of the hidden variable.
const VARIABLE: &str = "tallyd_families";
/// A family is remembered so long after it was last seen.
const KEPT_DAYS: u64 = 30;
/// The day of a family is renewed when it is so old; every renewal is a new version.
const RENEWED_DAYS: u64 = 7;
/// The most that a memory may unpack to.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Numbers of values are rounded up to these, for a number that grows is no news. Those at which
/// panels look another way are among them.
const STEPS: [u64; 10] = [0, 1, 2, 3, 5, 10, 20, 50, 1000, 10_000];
/// Compression is cheap for so little text.
const LEVEL: i32 = 19;

/// The families that dashboards are made of, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    families: BTreeMap<String, Remembered>,
    /// The packed text that they were read from; other releases may pack in another way.
    text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    family: Family,
    /// A day since 1970.
    seen: u64,
}

impl Memory {
    /// What a dashboard remembers; nothing when it has no memory or a damaged one.
    #[must_use]
    pub fn read(dashboard: &Value) -> Self {
        let variables = dashboard.pointer("/templating/list").and_then(Value::as_array);
        let is_ours = |variable: &&Value| variable.get("name") == Some(&VARIABLE.into());
        let variable = variables.into_iter().flatten().find(is_ours);
        let text = variable.and_then(|variable| variable.get("query")?.as_str());
        let families = text.and_then(unpack);
        families.map_or_else(Self::default, |families| Self {
            families: families.into_iter().map(|one| (one.family.name.clone(), one)).collect(),
            text: text.map(str::to_owned),
        })
    }

    /// This memory with what is exposed today added, and what is long gone left out.
    #[must_use]
    pub fn with(&self, own: &Inventory, today: u64) -> Self {
        let is_kept = |one: &Remembered| today.saturating_sub(one.seen) <= KEPT_DAYS;
        let kept = self.families.iter().filter(|(_, one)| is_kept(one));
        let mut families: BTreeMap<String, Remembered> =
            kept.map(|(name, one)| (name.clone(), one.clone())).collect();
        for family in &own.families {
            let old = families.remove(&family.name);
            families.insert(family.name.clone(), renewed(old, rounded(family), today));
        }
        let text = self.text.clone().filter(|_| families == self.families);
        Self { families, text }
    }

    /// The families as an inventory.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let families = self.families.values().map(|one| one.family.clone()).collect();
        Inventory { families, ..Inventory::default() }
    }

    /// Puts the memory into a dashboard; a dashboard that cannot take it goes without.
    pub fn write(&self, dashboard: &mut Value) {
        let Some(text) = self.text.clone().or_else(|| self.pack()) else { return };
        let variable = json!({
            "type": "constant",
            "name": VARIABLE,
            "label": "What tallyd knows",
            "hide": 2,
            "query": text,
            "skipUrlSync": true,
        });
        if let Some(Value::Array(list)) = dashboard.pointer_mut("/templating/list") {
            list.push(variable);
        } else if let Value::Object(members) = dashboard {
            members.insert("templating".to_owned(), json!({ "list": [variable] }));
        }
    }

    fn pack(&self) -> Option<String> {
        let json = serde_json::to_vec(&self.families.values().collect::<Vec<_>>()).ok()?;
        Some(STANDARD.encode(zstd::bulk::compress(&json, LEVEL).ok()?))
    }
}

fn unpack(text: &str) -> Option<Vec<Remembered>> {
    let packed = STANDARD.decode(text).ok()?;
    serde_json::from_slice(&zstd::bulk::decompress(&packed, MAX_BYTES).ok()?).ok()
}

/// The day as of now, since 1970.
#[must_use]
pub fn today() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_secs() / (24 * 60 * 60)
}

/// A family as it is now, with what is remembered of it.
fn renewed(old: Option<Remembered>, mut family: Family, today: u64) -> Remembered {
    let same = |old: &Remembered| {
        std::mem::discriminant(&old.family.kind) == std::mem::discriminant(&family.kind)
    };
    let Some(old) = old.filter(same) else { return Remembered { family, seen: today } };
    if let (Kind::Histogram { native, .. }, Kind::Histogram { native: true, .. }) =
        (&mut family.kind, &old.family.kind)
    {
        // A server that has just started has them only once somebody asks for them.
        *native = true;
    }
    for label in old.family.labels {
        match family.labels.iter_mut().find(|own| own.name == label.name) {
            Some(own) => *own = both(own, &label),
            None => family.labels.push(label),
        }
    }
    family.labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let is_old = today.saturating_sub(old.seen) >= RENEWED_DAYS;
    Remembered { family, seen: if is_old { today } else { old.seen } }
}

/// What two replicas know of a label.
fn both(one: &Label, other: &Label) -> Label {
    let mut examples = [one.examples.as_slice(), &other.examples].concat();
    examples.sort_unstable();
    examples.dedup();
    // Values that only one of the two has seen make the number greater than either.
    let values = one.values.max(other.values).max(Some(examples.len() as u64));
    rounded_label(&Label { name: one.name.clone(), values, examples })
}

/// A family without what changes all the time.
fn rounded(family: &Family) -> Family {
    let labels = family.labels.iter().map(rounded_label).collect();
    Family { labels, series: None, ..family.clone() }
}

fn rounded_label(label: &Label) -> Label {
    let step = |values: u64| STEPS.into_iter().find(|step| *step >= values).unwrap_or(u64::MAX);
    let values = label.values.map(step);
    let is_many = values.is_some_and(|values| values > MAX_EXAMPLES as u64);
    let examples = if is_many { Vec::new() } else { label.examples.clone() };
    Label { name: label.name.clone(), values, examples }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_remembers() {
        let memory = Memory::default().with(&inventory(&["a", "b"], 3), 100);
        for mut dashboard in [json!({}), json!({"templating": {"list": [{"name": "job"}]}})] {
            memory.write(&mut dashboard);
            assert_eq!(Memory::read(&dashboard).families, memory.families);
        }
        for damaged in
            [json!(7), json!({"templating": {"list": [{"name": VARIABLE, "query": "x"}]}})]
        {
            assert_eq!(Memory::read(&damaged), Memory::default());
        }
    }

    #[test]
    fn replicas_that_know_different_families_agree() {
        let (one, other) = (inventory(&["a", "b"], 3), inventory(&["b", "c"], 3));
        let written = read_back(&Memory::default().with(&one, 100));
        let both = read_back(&written.with(&other, 100));
        check(&both, &["a", "b", "c"]);
        assert_eq!(both.with(&one, 101), both);
        assert_eq!(both.with(&other, 103), both);
    }

    #[test]
    fn a_family_that_nobody_sees_is_forgotten_after_a_month() {
        let memory = Memory::default().with(&inventory(&["a", "b"], 3), 100);
        let own = inventory(&["b"], 3);
        check(&memory.with(&own, 130), &["a", "b"]);
        check(&memory.with(&own, 131), &["b"]);
        // Seen meanwhile, it lives on.
        let renewed = memory.with(&inventory(&["a", "b"], 3), 110);
        check(&renewed.with(&own, 131), &["a", "b"]);
    }

    #[test]
    fn a_number_of_values_that_grows_is_no_news() {
        let memory = Memory::default().with(&inventory(&["a"], 60), 100);
        assert_eq!(memory.with(&inventory(&["a"], 900), 100), memory);
        assert_eq!(memory.with(&inventory(&["a"], 2), 100), memory);
        assert_ne!(memory.with(&inventory(&["a"], 1001), 100), memory);
    }

    #[test]
    fn another_kind_takes_a_family_s_place() {
        let memory = Memory::default().with(&inventory(&["a"], 3), 100);
        let mut own = inventory(&["a"], 3);
        own.families[0].kind = Kind::Histogram { bounds: vec![1.0], native: true };
        let memory = memory.with(&own, 101);
        assert_eq!(memory.inventory().families[0].kind, own.families[0].kind);
        let classic = Kind::Histogram { bounds: vec![2.0], native: false };
        own.families[0].kind = classic;
        let both = Kind::Histogram { bounds: vec![2.0], native: true };
        assert_eq!(memory.with(&own, 101).inventory().families[0].kind, both);
    }

    fn read_back(memory: &Memory) -> Memory {
        let mut dashboard = json!({});
        memory.write(&mut dashboard);
        Memory::read(&dashboard)
    }

    fn inventory(names: &[&str], values: u64) -> Inventory {
        let label = Label { name: "l".into(), values: Some(values), examples: vec!["x".into()] };
        let family = |name: &&str| Family {
            name: (*name).to_owned(),
            kind: Kind::Counter,
            help: String::new(),
            unit: None,
            rule: None,
            labels: vec![label.clone()],
            series: Some(values),
        };
        Inventory { families: names.iter().map(family).collect(), ..Inventory::default() }
    }

    #[track_caller]
    fn check(memory: &Memory, names: &[&str]) {
        assert_eq!(memory.families.keys().map(String::as_str).collect::<Vec<_>>(), names);
    }
}
