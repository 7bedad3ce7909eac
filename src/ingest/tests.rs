//! The hot path held against the long way, and lanes against expiry.

use std::collections::VecDeque;
use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::aggregate::cells::ColumnId;
use crate::aggregate::expiry::Retired;
use crate::aggregate::histogram::HistogramValue;
use crate::aggregate::{self, Series};
use crate::telemetry::Totals;

mod limits;

const MAPPING: &str = r#"
mappings:
- match: "timed.*"
  observer_type: histogram
  name: "timed"
  labels: {part: "$1"}
- match: "scaled"
  name: "scaled"
  scale: 0.001
- match: "dropped"
  action: drop
  name: "x"
"#;

/// What the reference's mapping files do not know.
const EXTENDED_MAPPING: &str = r#"
- match: "level"
  name: "level"
  counter_mode: updown
- match: "total"
  name: "total"
  counter_mode: absolute
"#;

struct Bench {
    ingest: Ingest,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
}

impl Bench {
    fn new(compat: Compat, line_cache_bytes: usize) -> Self {
        let registry = Arc::new(Registry::new(compat, []));
        let telemetry = Arc::new(Telemetry::default());
        let mapping = match compat {
            Compat::Reference => MAPPING.to_owned(),
            Compat::Extended => format!("{}{EXTENDED_MAPPING}", MAPPING.trim_end()),
        };
        let rules = Rules::parse(mapping.as_bytes(), "test.yml".as_ref(), compat).unwrap();
        let config = Config {
            parse: parse::Options::new(compat),
            rules: Arc::new(rules.rules),
            mapper_cache: crate::map::cache::Config::default(),
            line_cache_bytes,
            event_queue: None,
            start: Instant::now(),
            member_seed: 0,
            ttl: Ttls::default(),
        };
        let ingest = Ingest::new(config, &registry, &telemetry);
        Self { ingest, registry, telemetry }
    }

    fn lines(&mut self, lines: &[String]) {
        self.ingest.begin_batch();
        let sender = &Sender::Unknown;
        self.ingest.lines(lines.iter().map(|line| Sent { line: line.as_bytes(), sender }));
    }

    /// Every series with a value that does not depend on the clock.
    fn page(&self) -> Vec<String> {
        let reading = self.registry.read(self.ingest.now_millis);
        let families = reading.view.families().iter();
        let series = families.flat_map(|family| family.series());
        let text = |series: &Series| {
            let id = series.cell.id;
            let value = match series.cell.column {
                ColumnId::Counter => format!("{:?}", reading.values.counter(id)),
                ColumnId::Gauge => format!("{:?}", reading.values.gauge(id)),
                ColumnId::Combined(layout) => format!("{:?}", reading.values.combined(id, layout)),
                ColumnId::Set(layout) => format!("{:?}", reading.values.set(series, layout)),
                ColumnId::Histogram(_) => {
                    let mut value = HistogramValue::default();
                    reading.values.histogram(series.cell, true, &mut value);
                    format!("{value:?}")
                }
                ColumnId::Summary(layout) => {
                    let mut merge = reading.values.summary(series, layout);
                    let median = merge.quantile(0.5);
                    format!("{} {:?} {median:?}", merge.count, merge.sum)
                }
            };
            format!("{} {value}", series.text())
        };
        series.map(text).collect()
    }

    fn totals(&self) -> Totals {
        self.telemetry.totals()
    }
}

/// All counters but the one that says how often the cache was of use.
fn counters(totals: &Totals) -> String {
    let mut all = String::new();
    let plain = [
        Stat::Lines,
        Stat::Samples,
        Stat::Tags,
        Stat::TagErrors,
        Stat::EventsUnmapped,
        Stat::EventsMapped,
        Stat::EventsDropped,
        Stat::MapperCacheGets,
        Stat::MapperCacheHits,
    ];
    let reasons = parse::Reason::ALL.map(Stat::SampleErrors);
    let events = EventType::ALL.map(Stat::Events);
    let errors = EventError::ALL.map(Stat::EventErrors);
    let outcomes = LineOutcome::ALL.map(Stat::Outcome);
    for stat in plain.into_iter().chain(reasons).chain(events).chain(errors).chain(outcomes) {
        writeln!(all, "{stat:?} {}", totals.get(stat)).unwrap();
    }
    for conflict in totals.conflicts() {
        writeln!(all, "{conflict:?}").unwrap();
    }
    all
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let names = prop::sample::select(vec![
        "hits", "timed.a", "timed.b", "scaled", "dropped", "level", "total", "a.b", "t,x=1",
        "t#y=2", "bad]", "", "é",
    ]);
    let values = prop::sample::select(vec![
        "1",
        "2",
        "0.1",
        "17.25",
        "-1",
        "-0",
        "+3",
        "1e3",
        "0x1p4",
        "nan",
        "inf",
        "",
        "x",
        "1:2:3",
        "123456789012345",
        "1234567890123456",
        "0.3",
        "é",
    ]);
    let tails = prop::sample::select(vec![
        "c",
        "g",
        "ms",
        "h",
        "d",
        "s",
        "m",
        "",
        "c|@0.1",
        "ms|@0.3",
        "c|@0.5|@0.5",
        "c|@x",
        "ms|@2",
        "c|#a:b",
        "g|#a:b,c:d",
        "ms|#a:b|@0.1",
        "c|#__x:y,ok:z",
        "c|#bad",
        "c|c:id",
        "c|#a:b|c:id",
        "c|#a:b|T123",
        "c|#a:b|T456",
        "c|T",
        "c|e:x|card:low",
        "c|",
        "c||@1",
        "c:3|c",
        "g:+1|g",
    ]);
    let line = (names, values, tails).prop_map(|(n, v, t)| format!("{n}:{v}|{t}"));
    prop::collection::vec(line, 1..60)
}

proptest! {
    #[test]
    fn the_line_cache_changes_speed_only(
        lines in lines(),
        reference: bool,
        line_cache_bytes in prop::sample::select(vec![1 << 20, 4096, 2048]),
    ) {
        let compat = if reference { Compat::Reference } else { Compat::Extended };
        let (mut on, mut off) = (Bench::new(compat, line_cache_bytes), Bench::new(compat, 0));
        for _ in 0..3 {
            on.lines(&lines);
            off.lines(&lines);
        }
        prop_assert_eq!(on.page(), off.page());
        prop_assert_eq!(counters(&on.totals()), counters(&off.totals()));
    }

    #[test]
    fn every_line_has_one_outcome(lines in lines()) {
        let mut bench = Bench::new(Compat::Extended, 1 << 20);
        bench.lines(&lines);
        bench.lines(&lines);
        let totals = bench.totals();
        let outcomes = LineOutcome::ALL.map(|outcome| totals.get(Stat::Outcome(outcome)));
        prop_assert_eq!(outcomes.iter().sum::<u64>(), totals.get(Stat::Lines));
    }
}

#[test]
fn most_of_ordinary_traffic_hits() {
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    for value in 0..100 {
        bench.lines(&[format!("a:{value}|c|#x:y"), format!("timed.q:{value}|ms|@0.5|T{value}")]);
    }
    assert_eq!(bench.totals().get(Stat::LineCacheHits), 198);
}

#[test]
fn a_running_total_counts_its_growth_and_begins_anew_with_its_sender() {
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    for total in ["5", "7", "7", "2", "10"] {
        bench.lines(&[format!("total:{total}|c")]);
    }
    assert_eq!(bench.page(), ["total 17.0"]);
}

#[test]
fn a_rule_may_let_a_counter_fall() {
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    for value in ["5", "-7", "1"] {
        bench.lines(&[format!("level:{value}|c"), format!("plain:{value}|c")]);
    }
    assert_eq!(bench.page(), ["level -1.0", "plain 6.0"]);
    let error = Stat::EventErrors(EventError::IllegalNegativeCounter);
    assert_eq!(bench.totals().get(error), 1);
}

#[test]
fn a_poisonous_value_is_refused_unless_the_reference_takes_it() {
    for (compat, expected) in [(Compat::Extended, "a 1.0"), (Compat::Reference, "a NaN")] {
        let mut bench = Bench::new(compat, 1 << 20);
        bench.lines(&["a:1|c".to_owned(), "a:nan|c".to_owned()]);
        assert_eq!(bench.page(), [expected], "{compat:?}");
    }
}

#[test]
fn reloading_and_expiry_forget_what_was_known() {
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    bench.lines(&["a:1|c".to_owned(), "a:1|c".to_owned()]);
    let (done, all_done) = mpsc::channel();
    let rules = Arc::new(Rules::without_file(Compat::Extended));
    bench.ingest.obey(Order::Reload { rules, generation: 1, done });
    assert!(all_done.recv().is_err(), "the lane has dropped its end");
    bench.lines(&["a:1|c".to_owned()]);
    assert_eq!(bench.totals().get(Stat::LineCacheHits), 1);
    assert_eq!(bench.page(), ["a 3.0"]);
}

#[test]
fn what_is_known_of_a_family_is_forgotten_when_it_begins_anew() {
    let rules = |bound: u32| {
        let mapping = format!(
            "mappings:\n\
             - {{match: one, name: h, observer_type: histogram, labels: {{part: one}},\
                histogram_options: {{buckets: [1]}}}}\n\
             - {{match: two, name: h, observer_type: histogram, labels: {{part: two}},\
                histogram_options: {{buckets: [{bound}]}}}}\n"
        );
        let loaded = Rules::parse(mapping.as_bytes(), "test.yml".as_ref(), Compat::Extended);
        Arc::new(loaded.unwrap().rules)
    };
    let mut bench = Bench::new(Compat::Extended, 1 << 20);
    for (generation, bound) in [(1, 1), (2, 2)] {
        let (done, _) = mpsc::channel();
        bench.ingest.obey(Order::Reload { rules: rules(bound), generation, done });
        bench.lines(&["one:1|h".to_owned(), "two:1|h".to_owned(), "one:1|h".to_owned()]);
        bench.lines(&["one:1|h".to_owned(), "two:1|h".to_owned()]);
    }
    let reading = bench.registry.read(0);
    let mut value = HistogramValue::default();
    let mut count = |series: &Series| {
        if let ColumnId::Histogram(_) = series.cell.column {
            reading.values.histogram(series.cell, true, &mut value);
        }
        value.count()
    };
    let counts: Vec<_> = reading.view.families()[0].series().map(&mut count).collect();
    // The sample of `one` that came before `two` went away with the old buckets.
    assert_eq!(counts, [2, 2]);
}

/// Two lanes and housekeeping, moved step by step in any order by one thread.
struct Model {
    registry: Arc<Registry>,
    lanes: Vec<(Ingest, VecDeque<Order>)>,
    expiring: Option<(Arc<Proposal>, mpsc::Receiver<Vec<usize>>)>,
    retired: VecDeque<Retired>,
    reclaiming: Option<(Arc<Reclaim>, mpsc::Receiver<()>)>,
    /// Those under way, with their beginnings.
    scrapes: VecDeque<(u64, aggregate::Reading)>,
    now_millis: u64,
    sent: f64,
    /// What series had counted when their cells were taken back.
    gone: f64,
}

#[derive(Clone, Debug)]
enum Step {
    Send { lane: usize, series: usize },
    Obey { lane: usize },
    Wait { millis: u64 },
    Housekeep,
    BeginScrape,
    EndScrape,
}

impl Model {
    fn new() -> Self {
        let registry = Arc::new(Registry::new(Compat::Extended, []));
        let telemetry = Arc::new(Telemetry::default());
        let mapping = b"defaults: {ttl: 1s}\nmappings: []\n";
        let rules = Rules::parse(mapping, "test.yml".as_ref(), Compat::Extended).unwrap().rules;
        let mut config = Bench::new(Compat::Extended, 1 << 20).ingest.config;
        config.rules = Arc::new(rules);
        let lane = || (Ingest::new(config.clone(), &registry, &telemetry), VecDeque::new());
        Self {
            lanes: vec![lane(), lane()],
            registry,
            expiring: None,
            retired: VecDeque::new(),
            reclaiming: None,
            scrapes: VecDeque::new(),
            now_millis: 0,
            sent: 0.0,
            gone: 0.0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { lane, series } => {
                let lane = &mut self.lanes[lane].0;
                lane.now_millis = self.now_millis;
                lane.line(format!("hits:1|c|#series:{series}").as_bytes(), Sender::Unknown);
                self.sent += 1.0;
            }
            Step::Obey { lane } => {
                let (lane, orders) = &mut self.lanes[lane];
                if let Some(order) = orders.pop_front() {
                    lane.obey(order);
                }
            }
            Step::Wait { millis } => self.now_millis += millis,
            Step::Housekeep => self.housekeep(),
            Step::BeginScrape => {
                let reading = self.registry.read(self.now_millis);
                self.scrapes.push_back((self.now_millis, reading));
            }
            Step::EndScrape => {
                if let Some((began_millis, _)) = self.scrapes.pop_front() {
                    self.registry.scraped(began_millis);
                }
            }
        }
    }

    fn order(&mut self, order: &Order) {
        for (_, orders) in &mut self.lanes {
            orders.push_back(order.clone());
        }
    }

    /// What the housekeeping thread would do next, if it need not wait for a lane.
    fn housekeep(&mut self) {
        self.expire();
        self.reclaim();
    }

    fn expire(&mut self) {
        let Some((proposal, answers)) = self.expiring.take() else {
            if let Some(proposal) = self.registry.propose_expiry(self.now_millis).map(Arc::new) {
                let (vetoes, answers) = mpsc::channel();
                self.order(&Order::Expire { proposal: Arc::clone(&proposal), vetoes });
                self.expiring = Some((proposal, answers));
            }
            return;
        };
        if self.lanes.iter().any(|(_, orders)| orders.iter().any(is_expire)) {
            self.expiring = Some((proposal, answers));
            return;
        }
        let vetoed: Vec<usize> = answers.iter().flatten().collect();
        self.registry.end_expiry(&proposal, &vetoed);
        self.retired.extend(self.registry.take_retired());
    }

    fn reclaim(&mut self) {
        if let Some((reclaim, done)) = self.reclaiming.take() {
            if done.try_recv() == Err(mpsc::TryRecvError::Empty) {
                self.reclaiming = Some((reclaim, done));
                return;
            }
            self.registry.free(&reclaim);
        }
        let Some(retired) = self.retired.pop_front() else { return };
        match self.registry.reclaim(retired) {
            Err(retired) => self.retired.push_front(retired),
            Ok(reclaim) => {
                let values = self.registry.read(self.now_millis).values;
                self.gone += reclaim.cells.iter().map(|cell| values.counter(cell.id)).sum::<f64>();
                let reclaim = Arc::new(reclaim);
                let (sender, done) = mpsc::channel();
                self.order(&Order::Reclaim { reclaim: Arc::clone(&reclaim), done: sender });
                self.reclaiming = Some((reclaim, done));
            }
        }
    }

    /// Lets everything under way come to its end, and adds up what is left.
    fn counted(mut self) -> f64 {
        self.scrapes.clear();
        while self.expiring.is_some() || self.reclaiming.is_some() || !self.retired.is_empty() {
            for lane in 0..self.lanes.len() {
                while !self.lanes[lane].1.is_empty() {
                    self.step(&Step::Obey { lane });
                }
            }
            // Nothing more may expire, or this would go on until every series has.
            match self.expiring {
                Some(_) => self.expire(),
                None => self.reclaim(),
            }
        }
        let reading = self.registry.read(self.now_millis);
        let series = reading.view.families().iter().flat_map(|family| family.series());
        let live: f64 = series.map(|series| reading.values.counter(series.cell.id)).sum();
        live + self.gone
    }
}

fn is_expire(order: &Order) -> bool {
    matches!(order, Order::Expire { .. })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..2_usize, 0..3_usize).prop_map(|(lane, series)| Step::Send { lane, series }),
        3 => (0..2_usize).prop_map(|lane| Step::Obey { lane }),
        3 => (100..1500_u64).prop_map(|millis| Step::Wait { millis }),
        4 => Just(Step::Housekeep),
        1 => Just(Step::BeginScrape),
        1 => Just(Step::EndScrape),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_sample_is_lost_between_expiry_and_a_lane(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        let sent = model.sent;
        prop_assert!((model.counted() - sent).abs() < 0.5);
    }
}

/// The datagrams of every conformance case, case by case.
fn corpus() -> Vec<Vec<String>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/conformance");
    let mut cases = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let area: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        for case in area {
            let steps = case["steps"].as_array().cloned().unwrap_or_default();
            let sent = steps.iter().filter(|step| step["send"] == "udp");
            let texts = sent.filter_map(|step| step["text"].as_str());
            cases.push(texts.map(ToOwned::to_owned).collect());
        }
    }
    cases
}

#[test]
fn at_least_three_of_five_repeated_lines_of_the_corpus_hit() {
    let (mut lines, mut hits) = (0, 0);
    for datagrams in corpus() {
        let mut bench = Bench::new(Compat::Extended, 1 << 20);
        bench.ingest.begin_batch();
        for datagram in datagrams {
            for _ in 0..3 {
                let datagram = Datagram { bytes: datagram.as_bytes(), sender: Sender::Unknown };
                bench.ingest.datagrams(&[datagram], Source::Udp);
            }
        }
        lines += bench.totals().get(Stat::Lines);
        hits += bench.totals().get(Stat::LineCacheHits);
    }
    assert!(hits * 5 >= lines * 3, "{hits} of {lines} lines");
}
