//! Each step from a line to the page, and the whole way.
//!
//! `cargo bench --bench steps -- map` measures those with `map` in their name.

#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/traffic.rs"]
mod traffic;

mod aggregate;
mod expose;
mod ingest;
mod line_cache;
mod map;
mod parse;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    steps,
    parse::lines,
    map::rules,
    line_cache::hits_and_misses,
    aggregate::cells,
    expose::formats,
    expose::lanes,
    ingest::shapes,
    ingest::kinds,
    ingest::captures,
);
criterion_main!(steps);
