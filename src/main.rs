//! The program; everything else is in the library.

use std::process::ExitCode;

use tallyd::config::{Cli, Config, Request};
use tallyd::run::run;

#[expect(clippy::print_stderr, reason = "the log may not be up when the start fails")]
fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    match Cli::from_args(std::env::args_os())? {
        Request::Serve(cli) => run(&Config::try_from(*cli)?),
        Request::Show(answer) => Ok(answer.print()?),
    }
}
