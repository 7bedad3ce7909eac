//! What rules cost: lines that are known, and lines that are not.

use std::time::Instant;

use anyhow::Result;

use crate::Extent;
use crate::stage::{self, AMPLE_CACHE_BYTES, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

const LINES: usize = 10_000;

/// Prints the cost of a line from ten rules to ten thousand; each rule has lines.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let rounds = match extent {
        Extent::Full => 200,
        Extent::Glance => 1,
    };
    [10, 100, 1_000, 10_000].into_iter().try_for_each(|rules| price(rules, rounds))
}

fn price(rules: usize, rounds: usize) -> Result<()> {
    let stage = Stage::new(&traffic::glob_rules(rules))?;
    let mut lane = stage.lane(AMPLE_CACHE_BYTES);
    let datagrams = traffic::datagrams(&traffic::mapped(rules, LINES), LINES_PER_DATAGRAM);
    let start = Instant::now();
    stage::feed(&mut lane, &datagrams);
    let new = start.elapsed().as_secs_f64() * 1e9 / LINES as f64;
    let start = Instant::now();
    for _ in 0..rounds {
        stage::feed(&mut lane, &datagrams);
    }
    let known = start.elapsed().as_secs_f64() * 1e9 / LINES as f64 / rounds as f64;
    println!("{rules} rules: a known line {known:.0} ns, a new one {new:.0} ns");
    Ok(())
}
