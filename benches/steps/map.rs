//! A name to its rule, without the mapper cache.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tallyd::compat::Compat;
use tallyd::map::Rules;
use tallyd::sample::EventType;

use crate::traffic;

pub(crate) fn rules(c: &mut Criterion) {
    for count in [10, 100, 1_000, 10_000] {
        bench(c, &format!("map/glob/{count}"), &traffic::glob_rules(count), count);
    }
    for count in [10, 100] {
        bench(c, &format!("map/regex/{count}"), &regex_rules(count), count);
    }
}

#[expect(clippy::expect_used, reason = "the rules are our own")]
fn bench(c: &mut Criterion, name: &str, mapping: &str, count: usize) {
    let rules = Rules::parse(mapping.as_bytes(), "mapping.yml".as_ref(), Compat::Extended)
        .expect("rules are valid")
        .rules;
    let names: Vec<String> = traffic::mapped(count, 1_000)
        .iter()
        .filter_map(|line| line.split(':').next().map(str::to_owned))
        .collect();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(names.len() as u64));
    let find = |name: &String| black_box(rules.find(black_box(name), EventType::Counter)).is_some();
    assert!(names.iter().all(find), "a name has no rule");
    group.bench_function("match", |b| b.iter(|| names.iter().filter(|name| find(name)).count()));
    group.bench_function("no-match", |b| {
        b.iter(|| rules.find(black_box("team1.host1.nobody"), EventType::Counter).is_some());
    });
    group.finish();
}

/// A mapping file of so many regex rules, for the same lines.
fn regex_rules(rules: usize) -> String {
    traffic::mapping(rules, |i| {
        format!("match: '^team{i}\\.([^.]+)\\.latency$'\n  match_type: regex")
    })
}
