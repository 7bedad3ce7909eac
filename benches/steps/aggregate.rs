//! A value to its cell, for each type, without the way there.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use tallyd::aggregate::cells::{CellRef, ColumnId, LaneCells};
use tallyd::aggregate::combined::Move;
use tallyd::aggregate::senders::SenderKey;
use tallyd::aggregate::{Registry, Request, SeriesSpec};
use tallyd::compat::Compat;
use tallyd::map::observer::{HistogramSpec, NativeSpec, SummarySpec};
use tallyd::map::sharing::{Combination, Combine};

const SERIES: u64 = 1_000;

pub(crate) fn cells(c: &mut Criterion) {
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let histogram = |native| HistogramSpec { bounds: bounds.into(), native };
    let native = NativeSpec { schema: 3, max_buckets: 160 };
    let summary = SummarySpec {
        quantiles: [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)].into(),
        max_age: Duration::from_mins(10),
        age_buckets: 5,
    };
    for (name, spec) in [
        ("counter", SeriesSpec::Counter),
        ("gauge", SeriesSpec::Gauge),
        (
            "gauge-sum",
            SeriesSpec::Combined(Combination { how: Combine::Sum, window_millis: 120_000 }),
        ),
        ("histogram", SeriesSpec::Histogram(Arc::new(histogram(None)))),
        ("histogram-native", SeriesSpec::Histogram(Arc::new(histogram(Some(native))))),
        ("summary", SeriesSpec::Summary(Arc::new(summary))),
        ("set", SeriesSpec::Set(60_000)),
    ] {
        let registry = Registry::new(Compat::Extended, []);
        registry.start_native();
        let (lane, cells) = adopt(&registry, &spec);
        let mut group = c.benchmark_group("aggregate");
        group.throughput(Throughput::Elements(SERIES));
        let mut value = 0_u32;
        group.bench_function(name, |b| {
            b.iter(|| {
                for cell in &cells {
                    value = value.wrapping_mul(747_796_405).wrapping_add(1);
                    write(&lane, *black_box(cell), value);
                }
            });
        });
        group.finish();
    }
}

/// Series of a spec, and a lane that has their cells.
#[expect(clippy::expect_used, reason = "the names are our own")]
fn adopt(registry: &Registry, spec: &SeriesSpec) -> (LaneCells, Vec<CellRef>) {
    let mut lane = registry.lane();
    let series = |i: u64| {
        let text = format!("name{{i=\"{i}\"}}");
        let request = Request {
            text: &text,
            name: "name",
            label_names: "i,",
            spec,
            help: "",
            limits: None,
            ttl_millis: 0,
            generation: 1,
            now_millis: 0,
        };
        let series = registry.series(&request).expect("no other type has the name");
        registry.adopt(&mut lane, &series);
        series.cell
    };
    let cells = (0..SERIES).map(series).collect();
    (lane, cells)
}

fn write(lane: &LaneCells, cell: CellRef, random: u32) {
    let now_millis = 1_000;
    let value = f64::from(random) / f64::from(u32::MAX);
    match cell.column {
        ColumnId::Counter => lane.increment(cell.id, 1.0, now_millis),
        ColumnId::Gauge => lane.set(cell.id, value, now_millis),
        ColumnId::Histogram(_) | ColumnId::Summary(_) => lane.observe(cell, value, 1, now_millis),
        ColumnId::Combined(_) => {
            let sender = SenderKey(u64::from(random >> 30));
            lane.gauge(cell, sender, Move::To(value), now_millis).ok();
        }
        ColumnId::Set(_) => lane.insert(cell, u64::from(random) << 20, now_millis),
    }
}
