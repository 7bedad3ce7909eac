//! The flags that name servers of others whose saturation is watched.

use clap::Args;

use super::ConfigError;
use crate::compat::Compat;
use crate::map::preset::Preset;
use crate::saturation::{Config, Presets, Target};

/// Which servers are watched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers of others")]
pub struct SaturationFlags {
    /// Watch this accept queue: HOST:PORT or unix:PATH
    #[arg(long = "listen-queue.address", value_name = "[NAME=]ADDRESS")]
    pub listen_queues: Vec<Target>,
    /// Ask uWSGI's stats socket: HOST:PORT or unix:PATH
    #[arg(long = "uwsgi.stats", value_name = "[NAME=]ADDRESS")]
    pub uwsgi: Vec<Target>,
}

impl SaturationFlags {
    /// What is watched, which only tallyd's own page can show.
    pub(super) fn checked(self, compat: Compat, presets: &[Preset]) -> Result<Config, ConfigError> {
        let is_asked = !self.listen_queues.is_empty() || !self.uwsgi.is_empty();
        if compat.is_reference() && is_asked {
            return Err(ConfigError::SaturationOfReference);
        }
        check_once("--listen-queue.address", &self.listen_queues)?;
        check_once("--uwsgi.stats", &self.uwsgi)?;
        let has = |name: &str| presets.iter().any(|preset| preset.name() == name);
        let presets = Presets { gunicorn: has("gunicorn"), uwsgi: has("uwsgi") };
        Ok(Config { queues: self.listen_queues, uwsgi: self.uwsgi, presets })
    }
}

/// Two series with the same labels would make the page one that Prometheus refuses.
fn check_once(flag: &'static str, targets: &[Target]) -> Result<(), ConfigError> {
    let mut labels: Vec<_> = targets.iter().map(|one| (one.app(), &one.address)).collect();
    labels.sort_unstable();
    match labels.array_windows().find(|[one, next]| one == next) {
        Some([(_, address), _]) => {
            Err(ConfigError::WatchedTwice { flag, address: (*address).clone() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_watched_without_a_flag() {
        let check = |presets: &[&str], expected| {
            let presets: Vec<Preset> = presets.iter().map(|name| name.parse().unwrap()).collect();
            let config = flags(&[]).checked(Compat::Extended, &presets).unwrap();
            assert_eq!(config, Config { presets: expected, ..Config::default() });
        };
        check(&["airflow"], Presets::default());
        check(&["airflow", "gunicorn"], Presets { gunicorn: true, uwsgi: false });
        check(&["uwsgi"], Presets { gunicorn: false, uwsgi: true });
    }

    #[test]
    fn an_address_is_watched_once_and_not_for_the_reference() {
        check(&["a=:1", "b=:1", ":1"], Compat::Extended, Ok(()));
        let twice =
            ConfigError::WatchedTwice { flag: "--listen-queue.address", address: ":1".to_owned() };
        check(&["a=:1", "b=:1", "a=:1"], Compat::Extended, Err(twice));
        check(&[":1"], Compat::Reference, Err(ConfigError::SaturationOfReference));
        check(&[], Compat::Reference, Ok(()));
    }

    fn flags(queues: &[&str]) -> SaturationFlags {
        let queues = queues.iter().map(|text| text.parse().unwrap());
        SaturationFlags { listen_queues: queues.collect(), uwsgi: Vec::new() }
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the tables above stay readable")]
    fn check(queues: &[&str], compat: Compat, expected: Result<(), ConfigError>) {
        assert_eq!(flags(queues).checked(compat, &[]).map(drop), expected);
    }
}
