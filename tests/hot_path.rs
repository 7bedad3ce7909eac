//! A known line costs no allocation: the claim of ARCHITECTURE.md, held against the allocator.

use std::sync::Arc;
use std::time::Instant;

use tallyd::aggregate::Registry;
use tallyd::compat::Compat;
use tallyd::ingest::{Config, Datagram, Ingest, Sender, Source};
use tallyd::map::ttl::Ttls;
use tallyd::map::{Rules, cache};
use tallyd::parse;
use tallyd::telemetry::Telemetry;

const MAPPING: &str = "
mappings:
- match: timed.*
  observer_type: histogram
  name: timed
  labels: {part: $1}
- match: dropped
  action: drop
  name: dropped
";

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn ingest() -> Ingest {
    let rules = Rules::parse(MAPPING.as_bytes(), "mapping.yml".as_ref(), Compat::Extended).unwrap();
    let config = Config {
        parse: parse::Options::new(Compat::Extended),
        rules: Arc::new(rules.rules),
        mapper_cache: cache::Config::default(),
        line_cache_bytes: 1 << 20,
        event_queue: None,
        start: Instant::now(),
        member_seed: 0,
        ttl: Ttls::default(),
    };
    let registry = Arc::new(Registry::new(Compat::Extended, []));
    Ingest::new(config, &registry, &Arc::new(Telemetry::default()))
}

fn datagram(bytes: &[u8]) -> Datagram<'_> {
    Datagram { bytes, sender: Sender::Unknown }
}

#[track_caller]
fn check(line: impl Fn(u32) -> String) {
    let mut ingest = ingest();
    ingest.begin_batch();
    // Long enough for a summary's window to leave its exact beginnings behind.
    for value in 0..200 {
        ingest.datagrams(&[datagram(line(value).as_bytes())], Source::Udp);
    }
    let lines = [line(7), line(8), line(9)].join("\n").into_bytes();
    let allocations = allocation_counter::measure(|| {
        ingest.begin_batch();
        ingest.datagrams(&[datagram(&lines)], Source::Udp);
    });
    assert_eq!(allocations.count_total, 0, "{}", line(0));
}

#[test]
fn a_known_line_allocates_nothing() {
    check(|value| format!("hits:{value}|c"));
    check(|value| format!("hits:{value}|c|@0.1|#env:prod,view:fire"));
    check(|value| format!("hits,env=prod:{value}.5|c"));
    check(|value| format!("level:{value}|g"));
    check(|value| format!("timed.a:{value}|ms"));
    check(|value| format!("seconds:{value}|ms|@0.5"));
    check(|value| format!("dropped:{value}|c"));
    check(|value| format!("bad:{value}|x"));
}
