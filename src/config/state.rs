//! The flags about restarts: what is kept, and how the server leaves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cli::any_path;
use super::units::parse_interval;
use crate::units::parse_time_or_none;

/// Flags about restarts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Restarts")]
pub struct RestartFlags {
    /// Keep all series in this file across restarts
    #[arg(long = "state.file", value_name = "FILE", default_value = "", hide_default_value = true, value_parser = any_path())]
    pub state_file: PathBuf,
    /// How often to save them, besides at the end
    #[arg(long = "state.interval", value_name = "TIME", default_value = "1m", value_parser = parse_interval)]
    pub state_interval: Duration,
    /// At the end, wait so long for a last scrape
    #[arg(long = "shutdown.max-wait", value_name = "TIME", default_value = "0s", value_parser = parse_time_or_none)]
    pub max_wait: Duration,
}

/// What happens at the start and at the end.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// Where the state is kept, if it is.
    pub state_file: Option<PathBuf>,
    /// How often it is saved.
    pub state_interval: Duration,
    /// How long the end may take until everything has been scraped; nothing is waited for at 0.
    pub max_wait: Duration,
}

impl RestartFlags {
    /// Whether there is a state file.
    pub(super) fn keeps_state(&self) -> bool {
        !self.state_file.as_os_str().is_empty()
    }

    /// What these flags mean.
    pub(super) fn checked(self) -> Restarts {
        let Self { state_file, state_interval, max_wait } = self;
        let state_file = Some(state_file).filter(|path| !path.as_os_str().is_empty());
        Restarts { state_file, state_interval, max_wait }
    }
}
