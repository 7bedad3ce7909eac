//! A line that is known, one that is not, and a lane without a line cache.

use criterion::{BatchSize, Criterion, Throughput};
use tallyd::ingest::Ingest;

use crate::stage::{self, AMPLE_CACHE_BYTES, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

#[expect(clippy::expect_used, reason = "the rules are our own")]
fn lane(line_cache_bytes: usize) -> Ingest {
    Stage::new(stage::HISTOGRAMS).expect("rules are valid").lane(line_cache_bytes)
}

pub(crate) fn hits_and_misses(c: &mut Criterion) {
    let datagrams = traffic::datagrams(&uniform("c", 1_000), LINES_PER_DATAGRAM);
    let mut group = c.benchmark_group("line-cache");
    group.throughput(Throughput::Elements(1_000));
    let mut known = lane(AMPLE_CACHE_BYTES);
    stage::feed(&mut known, &datagrams);
    group.bench_function("hit", |b| b.iter(|| stage::feed(&mut known, &datagrams)));
    let mut uncached = lane(0);
    group.bench_function("off", |b| b.iter(|| stage::feed(&mut uncached, &datagrams)));
    group.bench_function("miss-and-register", |b| {
        let feed = |lane: &mut Ingest| stage::feed(lane, &datagrams);
        b.iter_batched_ref(|| lane(AMPLE_CACHE_BYTES), feed, BatchSize::LargeInput);
    });
    group.finish();
}

/// Different lines of one kind; what stands behind `|` is `tail`.
pub(crate) fn uniform(tail: &str, series: usize) -> Vec<String> {
    traffic::shuffled((0..series).map(|i| traffic::tagged(tail, i)).collect())
}
