//! Families about servers that are watched, as far as they are known beforehand: a server that is not
//! up yet is to have its place on the dashboard.

use super::{Family, Inventory, Kind, Label, MAX_EXAMPLES};
use crate::expose::FamilyKind;
use crate::expose::own::saturation::{FAMILIES, ServerFamily};
use crate::saturation::{PREFIX, Saturation};

impl Inventory {
    /// Adds the families that `saturation` may put on the page.
    pub fn add_servers(&mut self, saturation: &Saturation) {
        let families = FAMILIES.iter().filter_map(|family| self::family(family, saturation));
        self.families.extend(families);
        self.families.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

impl Family {
    /// Whether it tells of servers of others.
    #[must_use]
    pub fn is_of_servers(&self) -> bool {
        self.name.starts_with(PREFIX)
    }
}

/// None when nobody who is watched tells of it.
fn family(family: &ServerFamily, saturation: &Saturation) -> Option<Family> {
    let mut sources = Vec::new();
    let mut apps = Some(Vec::new());
    for source in family.sources {
        let named = saturation.apps(*source);
        if named.as_ref().is_none_or(|apps| !apps.is_empty()) {
            sources.push(source.as_str());
        }
        apps = apps.zip(named).map(|(apps, named)| [apps, named].concat());
    }
    let mut labels = vec![label("source", Some(&sources))];
    labels.push(label("app", apps.as_deref()));
    labels.push(label("address", None));
    labels.extend(family.label.map(|(name, values)| label(name, Some(values))));
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    (!sources.is_empty()).then(|| Family {
        name: family.name.to_owned(),
        kind: match family.kind {
            FamilyKind::Counter => Kind::Counter,
            _ => Kind::Gauge,
        },
        help: family.help.to_owned(),
        unit: None,
        rule: None,
        labels,
        series: None,
    })
}

fn label(name: &str, values: Option<&[&str]>) -> Label {
    let mut examples: Vec<String> =
        values.unwrap_or_default().iter().map(|value| (*value).to_owned()).collect();
    examples.sort_unstable();
    examples.dedup();
    let count = values.map(|_| examples.len() as u64);
    examples.truncate(MAX_EXAMPLES);
    Label { name: name.to_owned(), values: count, examples }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturation::{Config, Presets};

    #[test]
    fn only_what_somebody_tells_of_is_there() {
        let socket = Config { queues: vec!["shop=:1".parse().unwrap()], ..Config::default() };
        check(&socket, "tallyd_server_backlog", Some("app: shop; source: socket"));
        check(&socket, "tallyd_server_workers", None);
        let uwsgi = Config { uwsgi: vec!["unix:/s".parse().unwrap()], ..socket };
        check(&uwsgi, "tallyd_server_backlog", Some("app: shop unix:/s; source: socket uwsgi"));
        check(&uwsgi, "tallyd_server_busy_ratio", Some("app: unix:/s; source: uwsgi"));
    }

    #[test]
    fn applications_that_name_themselves_are_not_known_beforehand() {
        let presets = Presets { gunicorn: true, uwsgi: false };
        let config = Config { presets, ..Config::default() };
        check(&config, "tallyd_server_busy_ratio", Some("app: ?; source: gunicorn"));
        check(&config, "tallyd_server_up", None);
        let presets = Presets { gunicorn: true, uwsgi: true };
        let config = Config { presets, ..Config::default() };
        check(&config, "tallyd_server_workers", Some("app: ?; source: gunicorn uwsgi"));
        check(&config, "tallyd_server_threads", None);
    }

    #[track_caller]
    fn check(config: &Config, name: &str, expected: Option<&str>) {
        let mut inventory = Inventory::default();
        inventory.add_servers(&Saturation::new(config).unwrap().unwrap());
        let family = inventory.families.iter().find(|family| family.name == name);
        let words = |label: &&Label| match label.values {
            Some(_) => format!("{}: {}", label.name, label.examples.join(" ")),
            None => format!("{}: ?", label.name),
        };
        let labels = family.map(|family| {
            let told = |label: &&Label| label.name == "app" || label.name == "source";
            family
                .labels
                .iter()
                .filter(told)
                .map(|label| words(&label))
                .collect::<Vec<_>>()
                .join("; ")
        });
        assert_eq!(labels.as_deref(), expected);
    }
}
