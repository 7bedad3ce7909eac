//! The flags about files of `prometheus_client`'s multiprocess mode.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::ConfigError;
use crate::compat::Compat;
use crate::map::escape::is_free_label_name;
use crate::multiproc::{Config, Liveness};
use crate::units::parse_time;

/// Names the directory for the flag without a value, as it does for `prometheus_client`.
const DIRECTORY_VARIABLE: &str = "PROMETHEUS_MULTIPROC_DIR";

/// Flags about workers' files.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workers' files")]
pub struct MultiprocFlags {
    /// Files of Python workers; bare: of the environment
    #[arg(long = "multiproc.dir", value_name = "[NAME=]DIR", num_args = 0..=1, default_missing_value = "")]
    pub directories: Vec<String>,
    /// Label that a directory's NAME becomes
    #[arg(long = "multiproc.label", value_name = "LABEL", default_value = "app")]
    pub label: String,
    /// Who is gone [pid, age=TIME, never]
    #[arg(long = "multiproc.liveness", value_name = "HOW", default_value = "pid")]
    pub liveness: LivenessArg,
    /// Remove files of workers that are gone; needs --state.file
    #[arg(long = "multiproc.reap")]
    pub reap: bool,
}

/// [`Liveness`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessArg(Liveness);

impl FromStr for LivenessArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let liveness = match (text, text.strip_prefix("age=")) {
            ("pid", _) => Liveness::Pid,
            ("never", _) => Liveness::Never,
            (_, Some(age)) => match parse_time(age) {
                Ok(age) if age >= Duration::from_secs(1) => Liveness::Age(age),
                Ok(_) => return Err("an age is a second or more".to_owned()),
                Err(error) => return Err(error),
            },
            _ => return Err("write `pid`, `never` or `age=TIME`, as in `age=5m`".to_owned()),
        };
        Ok(Self(liveness))
    }
}

impl MultiprocFlags {
    /// What these flags mean; none when there is no directory.
    ///
    /// # Errors
    /// Flags that are not right together, or lack something.
    pub(super) fn checked(
        self,
        compat: Compat,
        has_state_file: bool,
    ) -> Result<Option<Config>, ConfigError> {
        let refused = |reason: &str| Err(ConfigError::Multiproc(reason.to_owned()));
        if self.directories.is_empty() {
            return if self.reap {
                refused("--multiproc.reap needs --multiproc.dir")
            } else {
                Ok(None)
            };
        }
        if compat.is_reference() {
            return refused(
                "--multiproc.dir needs --compat=extended, since statsd_exporter has no such thing",
            );
        }
        if !is_free_label_name(&self.label) {
            return Err(ConfigError::LabelName { flag: "--multiproc.label", name: self.label });
        }
        let Liveness::Pid = self.liveness.0 else {
            if self.reap {
                return refused(
                    "--multiproc.reap needs --multiproc.liveness=pid: a worker that was only silent would \
                     go on writing into a file that is no more",
                );
            }
            return self.config().map(Some);
        };
        if self.reap && !has_state_file {
            return refused(
                "--multiproc.reap needs --state.file: what the files held has to be kept somewhere",
            );
        }
        self.config().map(Some)
    }

    fn config(self) -> Result<Config, ConfigError> {
        let directories = self.directories.into_iter().map(directory);
        Ok(Config {
            directories: directories.collect::<Result<_, _>>()?,
            label: self.label,
            liveness: self.liveness.0,
            reap: self.reap,
        })
    }
}

/// `NAME=DIR` or `DIR`. What stands before the first `=` is a name unless it has a slash.
fn directory(text: String) -> Result<(Option<String>, PathBuf), ConfigError> {
    let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
    let (name, path) = match named {
        Some((name, path)) => (Some(name.to_owned()), path.to_owned()),
        None => (None, text),
    };
    let path = if path.is_empty() { from_environment() } else { path };
    if path.is_empty() {
        return Err(ConfigError::Multiproc(format!(
            "--multiproc.dir names no directory and {DIRECTORY_VARIABLE} is not set"
        )));
    }
    Ok((name.filter(|name| !name.is_empty()), PathBuf::from(path)))
}

fn from_environment() -> String {
    env::var(DIRECTORY_VARIABLE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        flags: MultiprocFlags,
    }

    #[test]
    fn directories_may_have_names() {
        check(
            &["--multiproc.dir=/a", "--multiproc.dir=shop=/b", "--multiproc.dir=/c=d"],
            Ok("[(None, \"/a\"), (Some(\"shop\"), \"/b\"), (None, \"/c=d\")] app Pid false"),
        );
        check(&["--multiproc.dir==/a", "--multiproc.label=x"], Ok("[(None, \"/a\")] x Pid false"));
        check(&[], Err(""));
    }

    #[test]
    fn liveness_is_by_process_age_or_not_judged() {
        let dir = "--multiproc.dir=/a";
        check(&[dir, "--multiproc.liveness=never"], Ok("[(None, \"/a\")] app Never false"));
        check(&[dir, "--multiproc.liveness=age=90s"], Ok("[(None, \"/a\")] app Age(90s) false"));
        check(&[dir, "--multiproc.reap", "state"], Ok("[(None, \"/a\")] app Pid true"));
    }

    #[test]
    fn what_is_not_right_together_is_refused() {
        let dir = "--multiproc.dir=/a";
        check(&["--multiproc.reap"], Err("--multiproc.reap needs --multiproc.dir"));
        check(&[dir, "--multiproc.reap"], Err("--multiproc.reap needs --state.file"));
        check(
            &[dir, "--multiproc.reap", "--multiproc.liveness=never", "state"],
            Err("--multiproc.reap needs --multiproc.liveness=pid"),
        );
        check(&[dir, "reference"], Err("--multiproc.dir needs --compat=extended"));
        check(&[dir, "--multiproc.label=__x"], Err("--multiproc.label"));
        for liveness in ["", "age", "age=x", "age=10ms", "pids"] {
            assert!(LivenessArg::from_str(liveness).is_err(), "{liveness}");
        }
    }

    /// `state` and `reference` among the arguments stand for flags of other groups.
    #[track_caller]
    fn check(args: &[&str], expected: Result<&str, &str>) {
        let has = |word: &str| args.contains(&word);
        let compat = if has("reference") { Compat::Reference } else { Compat::Extended };
        let flags = args.iter().filter(|arg| arg.starts_with('-'));
        let flags = Only::parse_from(std::iter::once(&"tallyd").chain(flags)).flags;
        match (flags.checked(compat, has("state")), expected) {
            (Ok(Some(config)), Ok(expected)) => {
                let Config { directories, label, liveness, reap } = config;
                assert_eq!(format!("{directories:?} {label} {liveness:?} {reap}"), expected);
            }
            (Ok(None), Err("")) => {}
            (Err(error), Err(expected)) => {
                assert!(!expected.is_empty() && error.to_string().starts_with(expected), "{error}");
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}
