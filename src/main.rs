//! The program; everything else is in the library.

use std::process::ExitCode;

use tallyd::bench;
use tallyd::config::{Cli, Config, Request};
use tallyd::run::run;

/// What the bench client ends with when a run cannot be made; 1 says that too much was lost.
const BENCH_FAILED: u8 = 2;

#[expect(clippy::print_stderr, reason = "the log may not be up when the start fails")]
fn main() -> ExitCode {
    let args = std::env::args_os();
    // No flag of a server begins without a dash, so the word cannot be meant for one.
    let (result, failure) = if std::env::args_os().nth(1).is_some_and(|word| word == "bench") {
        let result = bench::cli::main(args.skip(2)).map_err(anyhow::Error::from);
        (result, ExitCode::from(BENCH_FAILED))
    } else {
        (serve(args), ExitCode::FAILURE)
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
