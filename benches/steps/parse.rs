//! One line to its samples, without cache, mapping or aggregation.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tallyd::compat::Compat;
use tallyd::parse::{Options, parse_line};

pub(crate) fn lines(c: &mut Criterion) {
    let options = Options::new(Compat::Extended);
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, line) in [
        ("plain", "app.requests:1|c"),
        ("dogstatsd", "app.requests:1|c|@0.5|#env:prod,view:fire,code:200"),
        ("influxdb", "app.requests,env=prod,view=fire:320|ms"),
        ("packed", "app.latency:1:2:3:4:5:6:7:8|d|#env:prod"),
        ("malformed", "app.requests:x|c|#env:prod"),
    ] {
        group.bench_function(name, |b| b.iter(|| parse_line(black_box(line.as_bytes()), &options)));
    }
    group.finish();
}
