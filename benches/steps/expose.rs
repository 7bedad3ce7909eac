//! The page: each format, and how it grows with series and lanes.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tallyd::expose::negotiate::Format;
use tallyd::expose::{Page, walk};

use crate::stage::{self, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

/// Half counters, three in ten histograms with default buckets, two in ten gauges, on every lane.
#[expect(clippy::expect_used, reason = "the rules are our own")]
fn filled(series: usize, lanes: usize) -> Stage {
    let stage = Stage::new(stage::HISTOGRAMS).expect("rules are valid");
    let datagrams = traffic::datagrams(&traffic::mixed(series), LINES_PER_DATAGRAM);
    for _ in 0..lanes {
        stage::feed(&mut stage.lane(0), &datagrams);
    }
    stage
}

/// Writes the whole page and returns its size.
fn render(stage: &Stage, format: Format) -> usize {
    let mut bytes = 0;
    let mut sink = |part: &mut Vec<u8>| {
        bytes += black_box(&part).len();
        part.clear();
        true
    };
    let mut page = Page::new(format.encoder(), &mut sink);
    walk::walk(|| stage.registry.read(1_000), &[], 0, &mut page);
    assert!(page.finish(), "the sink takes everything");
    bytes
}

pub(crate) fn formats(c: &mut Criterion) {
    for series in [1_000, 100_000] {
        let stage = filled(series, 1);
        let mut group = c.benchmark_group(format!("expose/{series}"));
        group.sample_size(10);
        for (name, format) in [
            ("text", Format::Text),
            ("openmetrics", Format::OpenMetrics),
            ("protobuf", Format::Protobuf),
        ] {
            group.throughput(Throughput::Bytes(render(&stage, format) as u64));
            group.bench_function(name, |b| b.iter(|| render(&stage, format)));
        }
        group.finish();
    }
}

pub(crate) fn lanes(c: &mut Criterion) {
    let mut group = c.benchmark_group("expose/lanes");
    group.sample_size(10).throughput(Throughput::Elements(10_000));
    for lanes in [1, 2, 4] {
        let stage = filled(10_000, lanes);
        group.bench_function(lanes.to_string(), |b| b.iter(|| render(&stage, Format::Text)));
    }
    group.finish();
}
