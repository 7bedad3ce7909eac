//! The mapping files that come with tallyd, by the names of the applications they are for.

use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::{Intake, Rules, RulesError};
use crate::compat::Compat;

pub mod tags;

/// What the names of presets' files begin with in messages.
const ORIGIN: &str = "preset ";
/// Names and texts, sorted by name.
const PRESETS: [(&str, &str); 15] = [
    ("aiodogstatsd", include_str!("../../mapping/aiodogstatsd.yaml")),
    ("airflow", include_str!("../../mapping/airflow.yaml")),
    ("airflow-tags", include_str!("../../mapping/airflow-tags.yaml")),
    ("consul", include_str!("../../mapping/consul.yaml")),
    ("django-statsd", include_str!("../../mapping/django-statsd.yaml")),
    ("envoy", include_str!("../../mapping/envoy.yaml")),
    ("gunicorn", include_str!("../../mapping/gunicorn.yaml")),
    ("jupyterhub-chp", include_str!("../../mapping/jupyterhub-chp.yaml")),
    ("kong", include_str!("../../mapping/kong.yaml")),
    ("spark", include_str!("../../mapping/spark.yaml")),
    ("superset", include_str!("../../mapping/superset.yaml")),
    ("swift", include_str!("../../mapping/swift.yaml")),
    ("traefik", include_str!("../../mapping/traefik.yaml")),
    ("uwsgi", include_str!("../../mapping/uwsgi.yaml")),
    ("vault", include_str!("../../mapping/vault.yaml")),
];

/// One of the mapping files that come with tallyd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    name: &'static str,
    text: &'static str,
}

/// A name that no preset has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no preset `{name}`; known are {}", names().collect::<Vec<_>>().join(", "))]
pub struct UnknownPreset {
    /// As written.
    pub name: String,
}

impl Preset {
    /// What the preset is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The mapping file as it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.text
    }

    /// Its rules; messages call the file `preset NAME`.
    ///
    /// # Errors
    /// As [`Rules::parse`].
    pub fn rules(self) -> Result<Rules, RulesError> {
        let origin = format!("{ORIGIN}{}", self.name);
        Rules::parse(self.text.as_bytes(), origin.as_ref(), Compat::Extended)
            .map(|loaded| loaded.rules)
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(wanted: &str) -> Result<Self, UnknownPreset> {
        all()
            .find(|preset| preset.name == wanted)
            .ok_or_else(|| UnknownPreset { name: wanted.to_owned() })
    }
}

/// All presets, sorted by name.
pub fn all() -> impl Iterator<Item = Preset> {
    PRESETS.iter().map(|(name, text)| Preset { name, text })
}

/// The names of all presets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(Preset::name)
}

/// The rules of presets, in the order in which they are to be asked; each once, and with `base` for
/// what they do not say about tags and limits.
///
/// # Errors
/// As [`Preset::rules`].
pub fn load(presets: &[Preset], base: &Intake) -> Result<Arc<[Rules]>, RulesError> {
    let is_first = |(index, preset): &(usize, &Preset)| {
        presets.iter().position(|other| other == *preset) == Some(*index)
    };
    let once = presets.iter().enumerate().filter(is_first);
    once.map(|(_, preset)| Ok(preset.rules()?.with_intake(base))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::EventType;

    #[test]
    fn rules_know_which_preset_they_are_of() {
        let presets: Vec<Preset> =
            ["vault", "gunicorn", "vault"].iter().filter_map(|name| name.parse().ok()).collect();
        let behind = load(&presets, &Intake::default()).unwrap();
        assert_eq!(behind.len(), 2, "each once");
        let own = Rules::parse(
            b"mappings:\n- {match: 'gunicorn\\.log\\..*', match_type: regex, name: mine}\n",
            "m.yml".as_ref(),
            Compat::Extended,
        );
        let rules = own.unwrap().rules.with_behind(behind);
        let origin = |name| {
            let index = rules.find(name, EventType::Counter).map(|found| found.index);
            rules.origin(index.unwrap_or(usize::MAX)).to_owned()
        };
        assert_eq!(origin("gunicorn.log.error"), "m.yml");
        assert_eq!(origin("gunicorn.requests"), "preset gunicorn");
        assert_eq!(origin("vault.token.creation"), "preset vault");
        assert_eq!(origin("unknown"), "");
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let error = "nginx".parse::<Preset>().unwrap_err().to_string();
        assert!(
            error.starts_with("there is no preset `nginx`; known are aiodogstatsd, air"),
            "{error}"
        );
    }
}
