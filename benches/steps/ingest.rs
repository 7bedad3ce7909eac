//! The whole way of a datagram, from its bytes to the cells, for lines that are known.

use std::fs;
use std::path::Path;

use criterion::{Criterion, Throughput};

use crate::line_cache;
use crate::stage::{self, AMPLE_CACHE_BYTES, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

/// Measures a lane that has seen the datagrams before.
#[expect(clippy::expect_used, reason = "the rules are our own")]
fn bench(c: &mut Criterion, name: &str, mapping: &str, datagrams: &[Vec<u8>]) {
    let stage = Stage::new(mapping).expect("rules are valid");
    let mut lane = stage.lane(AMPLE_CACHE_BYTES);
    stage::feed(&mut lane, datagrams);
    let lines = datagrams.iter().map(|datagram| datagram.split(|byte| *byte == b'\n').count());
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(lines.sum::<usize>() as u64));
    group.bench_function(name, |b| b.iter(|| stage::feed(&mut lane, datagrams)));
    group.finish();
}

pub(crate) fn shapes(c: &mut Criterion) {
    let packed = |series| traffic::datagrams(&traffic::mixed(series), LINES_PER_DATAGRAM);
    bench(c, "single", stage::HISTOGRAMS, &traffic::datagrams(&traffic::mixed(1_000), 1));
    bench(c, "packed", stage::HISTOGRAMS, &packed(1_000));
    bench(c, "wide", stage::HISTOGRAMS, &packed(100_000));
    bench(c, "summary", "", &packed(1_000));
    let mapped = traffic::datagrams(&traffic::mapped(200, 20_000), LINES_PER_DATAGRAM);
    bench(c, "mapped", &traffic::glob_rules(200), &mapped);
}

pub(crate) fn kinds(c: &mut Criterion) {
    for (name, tail) in
        [("counter", "c"), ("gauge", "g"), ("histogram", "h"), ("sampled", "c|@0.1"), ("set", "s")]
    {
        let datagrams = traffic::datagrams(&line_cache::uniform(tail, 1_000), LINES_PER_DATAGRAM);
        bench(c, &format!("kind/{name}"), stage::HISTOGRAMS, &datagrams);
    }
    // Lines that are read as a whole each time, as they depend on their sender.
    let gauges = traffic::datagrams(&line_cache::uniform("g", 1_000), LINES_PER_DATAGRAM);
    bench(c, "kind/gauge-sum", "defaults: {gauge_mode: sum}\n", &gauges);
}

/// Traffic recorded from real applications, with the presets made for them.
#[expect(clippy::expect_used, reason = "the captures are in the repository")]
pub(crate) fn captures(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |path: String| fs::read_to_string(folder.join(path)).expect("it can be read");
    for (capture, preset) in [
        ("airflow_dogstatsd", "airflow-tags"),
        ("airflow_default", "airflow"),
        ("envoy_dogstatsd_batched", "envoy"),
        ("envoy_statsd", "envoy"),
        ("swift_labels_dogstatsd", "swift"),
    ] {
        let text = read(format!("captures/{capture}.txt"));
        let datagrams = text.lines().map(|line| {
            serde_json::from_str::<String>(line).expect("a JSON string a line").into_bytes()
        });
        let preset = read(format!("presets/{preset}.yaml"));
        bench(c, &format!("capture/{capture}"), &preset, &datagrams.collect::<Vec<_>>());
    }
}
