//! The whole way of a datagram, from its bytes to the cells: lines the cache knows, lines it does
//! not, and values that always take the long way.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tallyd::aggregate::Registry;
use tallyd::compat::Compat;
use tallyd::ingest::{Config, Ingest, Source};
use tallyd::map::{Rules, cache};
use tallyd::parse;
use tallyd::telemetry::Telemetry;

const LINES_PER_DATAGRAM: usize = 19;

fn ingest(line_cache_bytes: usize) -> Ingest {
    let config = Config {
        parse: parse::Options::new(Compat::Extended),
        rules: Arc::new(Rules::without_file(Compat::Extended)),
        mapper_cache: cache::Config::default(),
        line_cache_bytes,
        event_queue: None,
        start: Instant::now(),
        member_seed: foldhash::fast::RandomState::default(),
    };
    let registry = Arc::new(Registry::new(Compat::Extended, []));
    let mut ingest = Ingest::new(config, &registry, &Arc::new(Telemetry::default()));
    ingest.begin_batch();
    ingest
}

/// Datagrams that hold `series` different lines in all.
fn datagrams(series: usize, tail: &str) -> Vec<Vec<u8>> {
    let line = |i: usize| format!("app.requests.{i}:{}|{tail}|#env:prod,view:v{i}", i % 97);
    let lines: Vec<String> = (0..series).map(line).collect();
    lines.chunks(LINES_PER_DATAGRAM).map(|lines| lines.join("\n").into_bytes()).collect()
}

fn known_lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest/known");
    for (kind, tail) in [("counter", "c"), ("gauge", "g"), ("summary", "ms"), ("sampled", "c|@0.1")]
    {
        for series in [1_000, 100_000] {
            let datagrams = datagrams(series, tail);
            let mut ingest = ingest(256 << 20);
            group.throughput(Throughput::Elements(series as u64));
            group.bench_function(format!("{kind}/{series}"), |b| {
                b.iter(|| {
                    for datagram in &datagrams {
                        ingest.datagrams(&[black_box(datagram)], Source::Udp);
                    }
                });
            });
        }
    }
    group.finish();
}

fn new_lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest/new");
    let datagrams = datagrams(1_000, "c");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("counter/1000", |b| {
        b.iter_batched_ref(
            || ingest(64 << 20),
            |ingest| {
                for datagram in &datagrams {
                    ingest.datagrams(&[black_box(datagram)], Source::Udp);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn without_the_line_cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest/uncached");
    let datagrams = datagrams(1_000, "c");
    let mut ingest = ingest(0);
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("counter/1000", |b| {
        b.iter(|| {
            for datagram in &datagrams {
                ingest.datagrams(&[black_box(datagram)], Source::Udp);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, known_lines, new_lines, without_the_line_cache);
criterion_main!(benches);
