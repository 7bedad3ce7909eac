//! The flag that names presets.

use clap::Args;

use super::ConfigError;
use crate::compat::Compat;
use crate::map::preset::Preset;

/// Which of the mappings that come with tallyd hold.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mapping")]
pub struct PresetFlags {
    /// Mappings of tallyd's own, asked behind the file
    #[arg(long = "preset", value_name = "NAME,…", value_delimiter = ',')]
    pub presets: Vec<Preset>,
}

impl PresetFlags {
    /// The presets, which only tallyd's own mode knows.
    pub(super) fn checked(self, compat: Compat) -> Result<Vec<Preset>, ConfigError> {
        if compat.is_reference() && !self.presets.is_empty() {
            return Err(ConfigError::PresetInReference);
        }
        Ok(self.presets)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Cli;
    use crate::map::preset;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        flags: PresetFlags,
    }

    #[test]
    fn the_help_names_every_preset() {
        let help = Cli::command().get_after_help().unwrap().to_string();
        let names = help.split_once("Presets: ").unwrap().1.trim_end_matches('.');
        assert_eq!(names, preset::names().collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn presets_stand_behind_commas_or_flags_in_their_order() {
        check(&["--preset=gunicorn,airflow", "--preset", "envoy"], Ok("gunicorn airflow envoy"));
        check(&[], Ok(""));
        check(
            &["--preset=nginx"],
            Err("there is no preset `nginx`; known are aiodogstatsd, airflow"),
        );
    }

    #[test]
    fn the_reference_has_none() {
        let flags = PresetFlags { presets: preset::all().collect() };
        assert_eq!(flags.checked(Compat::Reference), Err(ConfigError::PresetInReference));
        let flags = PresetFlags { presets: Vec::new() };
        assert_eq!(flags.checked(Compat::Reference), Ok(Vec::new()));
    }

    #[track_caller]
    fn check(args: &[&str], expected: Result<&str, &str>) {
        use clap::Parser;
        let args = std::iter::once("tallyd").chain(args.iter().copied());
        match (Program::try_parse_from(args), expected) {
            (Ok(program), Ok(expected)) => {
                let names = program.flags.presets.iter().map(|preset| preset.name());
                assert_eq!(names.collect::<Vec<_>>().join(" "), expected);
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (found, expected) => panic!("{:?}, not {expected:?}", found.map(|p| p.flags)),
        }
    }
}
