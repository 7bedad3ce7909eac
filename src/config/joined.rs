//! The flag that says which source goes first on the page.

use clap::Args;

use super::ConfigError;
use crate::compat::Compat;
use crate::expose::joined::First;

/// Whose family is shown where two sources have one of the same name.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Workers' files")]
pub struct JoinedFlags {
    /// Who gets a name of both [statsd, files] [default: statsd]
    #[arg(
        long = "multiproc.first",
        value_name = "SOURCE",
        value_enum,
        hide_possible_values = true
    )]
    pub first: Option<First>,
}

impl JoinedFlags {
    /// Who goes first; in the reference there is nobody else.
    pub(super) fn checked(self, compat: Compat) -> Result<First, ConfigError> {
        match self.first {
            Some(_) if compat.is_reference() => Err(ConfigError::FirstInReference),
            first => Ok(first.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        flags: JoinedFlags,
    }

    #[test]
    fn clients_go_first_unless_files_are_to() {
        check(&[], Compat::Extended, Some(First::Statsd));
        check(&["--multiproc.first=files"], Compat::Extended, Some(First::Files));
        check(&[], Compat::Reference, Some(First::Statsd));
        check(&["--multiproc.first=statsd"], Compat::Reference, None);
    }

    #[track_caller]
    fn check(args: &[&str], compat: Compat, expected: Option<First>) {
        let args = ["tallyd"].iter().chain(args);
        let program = <Program as clap::Parser>::try_parse_from(args).unwrap();
        assert_eq!(program.flags.checked(compat).ok(), expected);
    }
}
