//! Questions that a mean does not answer: how lanes scale, what a flood of new names does, what rules cost.
//!
//! `cargo bench --bench load` asks them all, `cargo bench --bench load -- lanes` one. Datagrams are ready-made and are
//! fed in-process: sockets have no part in it.
#![expect(clippy::print_stdout, reason = "the results")]

#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/traffic.rs"]
mod traffic;

mod flood;
mod lanes;
mod rules;

use std::env;

use anyhow::Result;

/// How long to look.
#[derive(Clone, Copy)]
enum Extent {
    /// Long enough to measure.
    Full,
    /// Long enough to see that it works, as `cargo test --benches` wants it.
    Glance,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let extent = if is_bench { Extent::Full } else { Extent::Glance };
    let asked: Vec<&String> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
    let is_asked = |name| asked.is_empty() || asked.iter().any(|asked| *asked == name);
    if is_asked("lanes") {
        lanes::run(extent)?;
    }
    if is_asked("flood") {
        flood::run(extent)?;
    }
    if is_asked("rules") {
        rules::run(extent)?;
    }
    Ok(())
}
