//! The stand-in for Grafana as a program, for what is no Rust test.

#[path = "grafana.rs"]
#[expect(dead_code, reason = "only tests let it fail and look into it")]
mod grafana;

use std::net::SocketAddr;
use std::thread;

use clap::{Parser, ValueEnum};

use crate::grafana::{Era, Grafana, Options};

/// Serves what Grafana would until it is killed.
#[derive(Debug, Parser)]
struct Cli {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The major version to stand in for
    #[arg(long, value_enum, default_value = "13")]
    era: Version,
    /// The path that everything is below
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,
    /// The Prometheus behind the data source; without one, answers are made up
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    #[value(name = "10")]
    Ten,
    #[value(name = "11")]
    Eleven,
    #[value(name = "12")]
    Twelve,
    #[value(name = "13")]
    Thirteen,
}

impl From<Version> for Era {
    fn from(version: Version) -> Self {
        match version {
            Version::Ten => Self::Ten,
            Version::Eleven => Self::Eleven,
            Version::Twelve => Self::Twelve,
            Version::Thirteen => Self::Thirteen,
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever started it waits for the URL")]
fn main() {
    let cli = Cli::parse();
    let grafana = Grafana::launch(Options {
        address: cli.listen,
        prefix: cli.prefix,
        prometheus: cli.prometheus,
        ..Options::new(cli.era.into())
    });
    println!("{}", grafana.url);
    loop {
        thread::park();
    }
}
