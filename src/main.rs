//! The program; everything else is in the library.

use std::process::ExitCode;

use tallyd::bench;
use tallyd::check;
use tallyd::command::FAILED;
use tallyd::config::{Cli, Config, Request};
use tallyd::explain;
use tallyd::grafana;
use tallyd::rules;
use tallyd::run::run;

#[expect(clippy::print_stderr, reason = "the log may not be up when the start fails")]
fn main() -> ExitCode {
    let args = std::env::args_os();
    let word = std::env::args_os().nth(1);
    let failed = ExitCode::from(FAILED);
    // No flag of a server begins without a dash, so these words cannot be meant for one.
    let (result, failure) = match word.as_ref().and_then(|word| word.to_str()) {
        Some("explain") => (explain::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("check") => (check::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("bench") => (bench::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("grafana") => (grafana::cli::main(args.skip(2)).map_err(Into::into), failed),
        Some("rules") => (rules::cli::main(args.skip(2)).map_err(Into::into), failed),
        _ => (serve(args), ExitCode::FAILURE),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tallyd: error: {error:#}");
        failure
    })
}

fn serve(args: std::env::ArgsOs) -> anyhow::Result<ExitCode> {
    match Cli::from_args(args)? {
        Request::Serve(cli) => run(&Config::try_from(*cli)?)?,
        Request::Show(answer) => answer.print()?,
    }
    Ok(ExitCode::SUCCESS)
}
