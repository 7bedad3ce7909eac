//! The program; everything else is in the library.

use std::io;
use std::process::ExitCode;

use tallyd::bench::{self, error::BenchError};
use tallyd::config::{Cli, Config, Request};
use tallyd::grafana::{self, cli::CommandError};
use tallyd::rules;
use tallyd::run::run;

/// What a command ends with when it cannot be done; 1 is an answer, such as that too much was lost.
const COMMAND_FAILED: u8 = 2;

#[expect(clippy::print_stderr, reason = "the log may not be up when the start fails")]
fn main() -> ExitCode {
    let args = std::env::args_os();
    let word = std::env::args_os().nth(1);
    let failed = ExitCode::from(COMMAND_FAILED);
    // No flag of a server begins without a dash, so these words cannot be meant for one.
    let (result, failure) = match word.as_ref().and_then(|word| word.to_str()) {
        Some("bench") => (bench::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("grafana") => (grafana::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("rules") => (rules::cli::main(args.skip(2)).map_err(Into::into), failed),
        _ => (serve(args), ExitCode::FAILURE),
    };
    result.unwrap_or_else(|error| {
        if reader_has_gone(&error) {
            return ExitCode::SUCCESS;
        }
        eprintln!("tallyd: error: {error:#}");
        failure
    })
}

/// Whether the result went to a pipe whose reader has had enough, such as `head`.
fn reader_has_gone(error: &anyhow::Error) -> bool {
    let printing = match error.downcast_ref() {
        Some(BenchError::System(_, io)) => Some(io),
        _ => match error.downcast_ref() {
            Some(CommandError::Print(io)) => Some(io),
            _ => None,
        },
    };
    printing.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

fn serve(args: std::env::ArgsOs) -> anyhow::Result<ExitCode> {
    match Cli::from_args(args)? {
        Request::Serve(cli) => run(&Config::try_from(*cli)?)?,
        Request::Show(answer) => answer.print()?,
    }
    Ok(ExitCode::SUCCESS)
}
