//! What known lines cost while as many ever-new names come in.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tallyd::ingest::Ingest;
use tallyd::telemetry::Stat;

use crate::Extent;
use crate::stage::{self, HISTOGRAMS, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

/// So little that the flood has filled it long before its end.
const LINE_CACHE_BYTES: usize = 64 << 20;

const KNOWN: usize = 1_000;

/// New names made at a time, outside of what is measured.
const STRETCH: usize = 50_000;

/// Gives all new names to one series, so that only caches can grow.
const FLOOD_RULE: &str = "mappings: [{match: flood.*, name: flood}]";

/// Times rounds of known lines with nothing between them, then with as many new names before each.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let time = match extent {
        Extent::Full => Duration::from_secs(30),
        Extent::Glance => Duration::ZERO,
    };
    let known = traffic::datagrams(&traffic::mixed(KNOWN), LINES_PER_DATAGRAM);
    let stage = Stage::new(&[HISTOGRAMS, FLOOD_RULE].concat())?;
    let mut lane = stage.lane(LINE_CACHE_BYTES);
    let calm = calm_round(&mut lane, &known);

    let (began, mut new_lines) = (Instant::now(), 0);
    let (mut known_seconds, mut known_hits, mut rounds) = (0.0, 0, 0_u32);
    let mut resident_kib = Vec::new();
    loop {
        for names in new_names(new_lines, STRETCH).chunks(KNOWN) {
            stage::feed(&mut lane, &traffic::datagrams(names, LINES_PER_DATAGRAM));
            let before = stage.telemetry.totals().get(Stat::LineCacheHits);
            let start = Instant::now();
            stage::feed(&mut lane, &known);
            known_seconds += start.elapsed().as_secs_f64();
            known_hits += stage.telemetry.totals().get(Stat::LineCacheHits) - before;
            rounds += 1;
        }
        new_lines += STRETCH;
        resident_kib.push(resident()?);
        if began.elapsed() >= time {
            break;
        }
    }
    let known_lines = f64::from(rounds) * KNOWN as f64;
    let flooded = known_seconds / known_lines * 1e9;
    println!(
        "flood: {new_lines} new names; known lines: {:.1} % hits, {flooded:.0} ns each (calm: {calm:.0} ns, ratio {:.2})",
        known_hits as f64 / known_lines * 100.0,
        flooded / calm,
    );
    let mib = |at: usize| resident_kib.get(at).copied().unwrap_or_default() / 1024;
    println!(
        "flood: resident {} MiB at first, {} MiB half-way, {} MiB at the end",
        mib(0),
        mib(resident_kib.len() / 2),
        mib(resident_kib.len() - 1)
    );
    Ok(())
}

/// Lines of names that were not there before.
fn new_names(first: usize, count: usize) -> Vec<String> {
    (first..first + count).map(|i| format!("flood.{i}:1|c|#env:prod,region:eu-west-1")).collect()
}

/// Nanoseconds a line of lines that come round and round.
fn calm_round(lane: &mut Ingest, datagrams: &[Vec<u8>]) -> f64 {
    const ROUNDS: u32 = 1_000;
    // The first round is the one in which they become known.
    stage::feed(lane, datagrams);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        stage::feed(lane, datagrams);
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS) / KNOWN as f64
}

/// This process' resident memory in KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().unwrap_or_default();
    kib.parse().context("VmRSS is not a number")
}
