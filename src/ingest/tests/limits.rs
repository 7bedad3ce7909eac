//! Limits held against streams of lines: what is kept, what is told, and that nothing is lost unseen.

use std::collections::HashMap;

use super::*;

/// What a lane does under a mapping file.
fn bench(mapping: &str) -> Bench {
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    let loaded = Rules::parse(mapping.as_bytes(), "test.yml".as_ref(), Compat::Extended).unwrap();
    let (done, _) = mpsc::channel();
    bench.ingest.obey(Order::Reload { rules: Arc::new(loaded.rules), generation: 1, done });
    bench
}

/// What was limited, as `action reason metric label count`.
fn limited(bench: &Bench) -> Vec<String> {
    let totals = bench.totals();
    let mut all: Vec<_> = totals
        .limited()
        .map(|(limited, count)| {
            let action = if limited.overflows { "overflow" } else { "drop" };
            let reason = limited.reason.as_str();
            format!("{action} {reason} {} {} {count}", limited.metric, limited.label)
        })
        .collect();
    all.sort();
    all
}

/// Sends lines three times, so that all ways of the line cache are gone, and compares the page and
/// what was limited.
#[track_caller]
fn check(mapping: &str, lines: &[&str], page: &[&str], expected: &[&str]) {
    let mut bench = bench(mapping);
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    for _ in 0..3 {
        bench.lines(&lines);
    }
    assert_eq!(bench.page(), page);
    assert_eq!(limited(&bench), expected);
    let totals = bench.totals();
    let outcomes = LineOutcome::ALL.map(|outcome| totals.get(Stat::Outcome(outcome)));
    assert_eq!(outcomes.iter().sum::<u64>(), totals.get(Stat::Lines));
    let lost: u64 = totals.limited().filter(|(what, _)| !what.overflows).map(|(_, n)| n).sum();
    assert_eq!(totals.get(Stat::Outcome(LineOutcome::Limited)), lost);
}

#[test]
fn kinds_that_add_up_go_to_the_overflow_and_levels_are_dropped() {
    let mapping = "defaults: {max_series: 1}\n\
                   mappings:\n- {match: total, name: total, counter_mode: absolute}\n\
                   - {match: level, name: level, counter_mode: updown}\n";
    check(
        mapping,
        &[
            "hits:1|c|#id:1",
            "hits:2|c|#id:2",
            "gauge:1|g|#id:1",
            "gauge:5|g|#id:2",
            "level:1|c|#id:1",
            "level:-3|c|#id:2",
            "total:1|c|#id:1",
            "total:9|c|#id:2",
        ],
        &[
            "gauge{id=\"1\"} 1.0",
            "hits{id=\"1\"} 3.0",
            "hits{id=\"__overflow__\"} 6.0",
            "level{id=\"1\"} 3.0",
            "level{id=\"__overflow__\"} -9.0",
            "total{id=\"1\"} 1.0",
        ],
        &[
            "drop series_per_family gauge id 3",
            "drop series_per_family total id 3",
            "overflow series_per_family hits id 3",
            "overflow series_per_family level id 3",
        ],
    );
}

#[test]
fn a_rule_may_drop_instead() {
    check(
        "mappings:\n- {match: a, name: a, max_label_values: {user: 1}, on_limit: drop}\n",
        &["a:1|c|#user:1,x:1", "a:1|c|#user:2,x:1", "a:1|c|#user:1,x:2", "b:1|c|#user:1", "b:1|c"],
        &["a{user=\"1\",x=\"1\"} 3.0", "a{user=\"1\",x=\"2\"} 3.0", "b 3.0", "b{user=\"1\"} 3.0"],
        &["drop values_per_label a user 3"],
    );
}

#[test]
fn every_value_of_a_packed_line_is_counted() {
    check(
        "defaults: {max_series: 1}\n",
        &["a:1|c|#id:1", "a:1:2:3|c|#id:2", "b:1|g|#id:1", "b:1|g|#id:2"],
        &["a{id=\"1\"} 3.0", "a{id=\"__overflow__\"} 18.0", "b{id=\"1\"} 1.0"],
        &["drop series_per_family b id 3", "overflow series_per_family a id 9"],
    );
}

#[test]
fn names_and_values_that_are_too_long_are_no_series() {
    let mut intake = crate::map::Intake::default();
    (intake.limits.name_bytes, intake.limits.value_bytes) = (8, 4);
    let mut bench = bench("defaults: {}\n");
    let rules = Rules::without_file(Compat::Extended).with_intake(&intake);
    let (done, _) = mpsc::channel();
    bench.ingest.obey(Order::Reload { rules: Arc::new(rules), generation: 2, done });
    let lines = [
        "much_too_long:1|c",
        "a:1|c|#much_too_long:x",
        "a:1|c|#b:12345",
        "a:1|c|#b:é12345",
        "a:1|c|#b:1234,twelve:1",
        "g:1|g|#b:12345",
    ];
    for _ in 0..2 {
        bench.lines(&lines.map(ToOwned::to_owned));
    }
    let page = ["a{b=\"1234\",twelve=\"1\"} 2.0", "a{b=\"__overflow__\"} 4.0"];
    assert_eq!(bench.page(), page);
    assert_eq!(
        limited(&bench),
        [
            "drop label_length g b 2",
            "drop name_length a much_too_long 2",
            "drop name_length much_too_long  2",
            "overflow label_length a b 4",
        ]
    );
}

#[test]
fn lines_over_a_limit_are_known_until_there_is_room() {
    let mut bench = bench("defaults: {max_series: 1, ttl: 1s}\n");
    let line = |id: u32| format!("a:1|c|#id:{id}");
    bench.lines(&[line(1), line(2), line(2)]);
    assert_eq!(bench.totals().get(Stat::LineCacheHits), 1);
    bench.ingest.now_millis = 5000;
    let proposal = Arc::new(bench.registry.propose_expiry(5000).unwrap());
    let (vetoes, answers) = mpsc::channel();
    bench.ingest.obey(Order::Expire { proposal: Arc::clone(&proposal), vetoes });
    assert_eq!(answers.recv(), Ok(vec![]));
    assert!(bench.registry.end_expiry(&proposal, &[]), "there is room for what was refused");
    bench.ingest.obey(Order::ForgetLapsing);
    bench.ingest.line(line(2).as_bytes(), Sender::Unknown);
    assert_eq!(bench.page(), ["a{id=\"2\"} 1.0"]);
}

#[test]
fn tags_are_changed_before_anything_is_aggregated() {
    check(
        "defaults: {drop_tags: ['*_id', pod], rename_tags: {stage: env}, add_tags: {team: x}}\n\
         mappings:\n\
         - {match: 'm.*', name: m, labels: {part: $1, team: rule}, keep_tags: [env], drop_tags: []}\n",
        &[
            "a:1|c|#request_id:1,pod:a,env:prod",
            "a:1|c|#request_id:2,pod:b,stage:prod,team:y",
            "a:1|c|#request.id:2,stage:dev",
            "m.1:1|c|#pod:a,stage:prod",
            "m.1:1|c|#pod:b,env:prod,team:y",
        ],
        &[
            "a{env=\"dev\",team=\"x\"} 3.0",
            "a{env=\"prod\",team=\"x\"} 3.0",
            "a{env=\"prod\",team=\"y\"} 3.0",
            "m{env=\"prod\",part=\"1\",team=\"rule\"} 6.0",
        ],
        &[],
    );
}

/// Mapping files, and how many series a family of each may have beside its overflow.
const LIMITS: [(&str, usize); 4] = [
    ("defaults: {max_series: 3}\n", 3),
    // Two values each, the overflow's and none at all.
    ("defaults: {max_label_values: 2}\n", 16),
    ("defaults: {max_series: 4, max_label_values: {x: 1, y: 3}}\n", 4),
    (
        "defaults: {max_series: 2}\nmappings:\n\
         - {match: a, name: c, max_series: 5, max_label_values: 2, labels: {from: a}}\n",
        5,
    ),
];

/// A counter's sample with up to two tags.
#[derive(Clone, Debug)]
struct Sample {
    name: &'static str,
    tags: Vec<(&'static str, u32)>,
    count: u32,
}

impl Sample {
    fn line(&self) -> String {
        let tags: Vec<_> = self.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let line = format!("{}:{}|c|#{}", self.name, self.count, tags.join(","));
        line.trim_end_matches("|#").to_owned()
    }

    /// Its family and its series under a mapping file.
    fn series(&self, mapping: &str) -> (&'static str, String) {
        let is_mapped = self.name == "a" && mapping.contains("from: a");
        let family = if is_mapped { "c" } else { self.name };
        let from = is_mapped.then(|| "from=\"a\"".to_owned());
        let tags = self.tags.iter().map(|(key, value)| format!("{key}=\"{value}\""));
        let labels: Vec<_> = from.into_iter().chain(tags).collect();
        let braces = if labels.is_empty() { [""; 2] } else { ["{", "}"] };
        (family, [family, braces[0], &labels.join(","), braces[1]].concat())
    }
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let names = prop::sample::select(vec!["a", "b", "c"]);
    let sample = (names, 0..6_u32, 0..6_u32, 1..9_u32).prop_map(|(name, x, y, count)| {
        let tags = [("x", x), ("y", y)].into_iter().filter(|(_, value)| *value > 0).collect();
        Sample { name, tags, count }
    });
    prop::collection::vec(sample, 1..120)
}

proptest! {
    #[test]
    fn sums_stay_right_and_known_series_exact_whatever_comes(
        samples in samples(),
        (mapping, most) in prop::sample::select(LIMITS.to_vec()),
    ) {
        let mut bench = bench(mapping);
        let mut sums: HashMap<&str, f64> = HashMap::new();
        let mut known: HashMap<String, f64> = HashMap::new();
        for sample in samples {
            bench.lines(&[sample.line()]);
            let (family, series) = sample.series(mapping);
            *sums.entry(family).or_default() += f64::from(sample.count);
            if bench.page().iter().any(|line| line.starts_with(&format!("{series} "))) {
                *known.entry(series).or_default() += f64::from(sample.count);
            } else {
                prop_assert!(!known.contains_key(&series), "{series} was pushed out");
            }
        }
        let page = bench.page();
        let values = |family: &str| -> Vec<(&str, f64)> {
            let lines = page.iter().filter_map(|line| line.rsplit_once(' '));
            let of_family = lines.filter(|(text, _)| text.split('{').next() == Some(family));
            of_family.map(|(text, value)| (text, value.parse().unwrap())).collect()
        };
        for (family, sum) in sums {
            let values = values(family);
            prop_assert!(values.len() <= most + 1, "{values:?}");
            prop_assert!((values.iter().map(|(_, value)| value).sum::<f64>() - sum).abs() < 0.5);
            for (text, value) in values {
                let exact = known.get(text).copied().unwrap_or(value);
                prop_assert!((value - exact).abs() < 0.5, "{text}");
            }
        }
    }
}
