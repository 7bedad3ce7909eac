//! The flags about workers: whose are looked at.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ConfigError;
use crate::compat::Compat;
use crate::workers::{self, PidFile};

/// Flags about the workers of pre-fork servers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workers")]
pub struct WorkerFlags {
    /// Count the children of the process named there; repeatable
    #[arg(long = "workers.pidfile", value_name = "[ROLE=]FILE", value_parser = pidfile)]
    pub pidfiles: Vec<PidFile>,
    /// Count processes that send over Unix sockets
    #[arg(long = "workers.unix-peers", value_name = "ROLE", value_parser = role)]
    pub unix_peers: Option<String>,
}

impl WorkerFlags {
    /// What these flags mean; only tallyd's own page has room for workers.
    pub(super) fn checked(self, compat: Compat) -> Result<workers::Config, ConfigError> {
        let Self { pidfiles, unix_peers } = self;
        let config = workers::Config { pidfiles, unix_peers };
        if compat.is_reference() && config != workers::Config::default() {
            return Err(ConfigError::WorkersInReference);
        }
        Ok(config)
    }
}

/// `ROLE=FILE`, or a file whose name tells the role.
fn pidfile(text: &str) -> Result<PidFile, &'static str> {
    let (role, path) = match text.split_once('=') {
        Some((role, path)) if !role.contains('/') => (role.to_owned(), path),
        _ => (stem(Path::new(text)).unwrap_or_default(), text),
    };
    if path.is_empty() {
        return Err("there is no file in it");
    }
    Ok(PidFile { role: self::role(&role)?, path: PathBuf::from(path) })
}

fn role(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a role needs a name") } else { Ok(text.to_owned()) }
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: WorkerFlags,
    }

    #[test]
    fn a_pid_file_has_a_role() {
        check("/run/gunicorn.pid", Ok(("gunicorn", "/run/gunicorn.pid")));
        check("web=/run/gunicorn.pid", Ok(("web", "/run/gunicorn.pid")));
        check("web=a=b.pid", Ok(("web", "a=b.pid")));
        check("/run/a=b.pid", Ok(("a=b", "/run/a=b.pid")));
        check("api.pid", Ok(("api", "api.pid")));
        check("=/run/x.pid", Err("a role needs a name"));
        check("web=", Err("there is no file in it"));
        check("", Err("there is no file in it"));
        check("/", Err("a role needs a name"));
    }

    #[test]
    fn the_reference_has_no_workers() {
        let none = parse(&[]).unwrap();
        assert_eq!(none.clone().checked(Compat::Reference), Ok(workers::Config::default()));
        for flag in ["--workers.pidfile=a.pid", "--workers.unix-peers=web"] {
            let flags = parse(&[flag]).unwrap();
            assert!(flags.clone().checked(Compat::Extended).is_ok());
            assert_eq!(flags.checked(Compat::Reference), Err(ConfigError::WorkersInReference));
        }
        assert!(parse(&["--workers.unix-peers="]).is_err());
    }

    fn parse(args: &[&str]) -> Result<WorkerFlags, clap::Error> {
        let args = std::iter::once("tallyd").chain(args.iter().copied());
        Program::try_parse_from(args).map(|program| program.flags)
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        let file = |(role, path): (&str, &str)| PidFile { role: role.into(), path: path.into() };
        assert_eq!(pidfile(text), expected.map(file), "{text}");
    }
}
