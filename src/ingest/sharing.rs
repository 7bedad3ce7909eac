//! What a line's sender and its type decide besides its rule.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{Ingest, millis};
use crate::aggregate::senders::SenderKey;
use crate::map::Rule;
use crate::map::sharing::SenderBy;
use crate::parse::Line;
use crate::sample::{EventType, Tags};

impl Ingest {
    /// Who sent a line, where that matters to its series.
    pub(super) fn sender_key(&self, line: &Line<'_>, by: Option<&SenderBy>) -> SenderKey {
        let seed = FixedState::with_seed(self.config.member_seed);
        SenderKey(match by {
            Some(SenderBy::Peer) => seed.hash_one(self.sender),
            Some(SenderBy::Tag(name)) => {
                let tag = line.tags.iter().rev().find(|tag| tag.key == &**name);
                tag.map_or(0, |tag| seed.hash_one(tag.value))
            }
            Some(SenderBy::Nothing) | None => 0,
        })
    }

    /// How long the series of a rule live, in milliseconds; 0 for ever.
    pub(super) fn ttl_millis(&self, rule: &Rule, event: Option<EventType>) -> u64 {
        let ttl = event.and_then(|event| rule.ttl.or(self.config.ttl).of(event));
        ttl.map_or(0, millis)
    }
}

/// The tag that tells senders apart and so is no label.
pub(super) fn sender_tag(rule: &Rule, event: Option<EventType>) -> Option<&str> {
    match rule.sender_by(event?)? {
        SenderBy::Tag(name) => Some(name),
        SenderBy::Peer | SenderBy::Nothing => None,
    }
}

/// A line's tags without those of one name.
pub(super) fn tags_without<'a>(tags: &Tags<'a>, name: &str) -> Tags<'a> {
    tags.iter().filter(|tag| tag.key != name).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Instant;

    use crate::aggregate::cells::ColumnId;
    use crate::aggregate::senders::MAX_SENDERS;
    use crate::aggregate::{Registry, Series};
    use crate::compat::Compat;
    use crate::ingest::{Config, Ingest, Sender};
    use crate::map::Rules;
    use crate::map::ttl::Ttls;
    use crate::parse;
    use crate::telemetry::{LineOutcome, Stat, Telemetry};

    const MAPPING: &str = "
defaults: {gauge_window: 10s}
mappings:
- {match: sum, name: sum, gauge_mode: sum}
- {match: tagged, name: tagged, gauge_mode: sum, gauge_sender_tag: worker}
- {match: peak, name: peak, gauge_mode: max_seen, gauge_sender_tag: worker}
- {match: one, name: one, gauge_mode: sum, gauge_sender_tag: ''}
- {match: total, name: total, counter_mode: absolute}
- {match: tagged_total, name: tagged_total, counter_mode: absolute, counter_sender_tag: worker}
- {match: one_total, name: one_total, counter_mode: absolute, counter_sender_tag: ''}
";

    /// Two lanes that share what lanes share.
    struct Bench {
        lanes: [Ingest; 2],
        registry: Arc<Registry>,
        telemetry: Arc<Telemetry>,
    }

    impl Bench {
        fn new() -> Self {
            let registry = Arc::new(Registry::new(Compat::Extended, []));
            let telemetry = Arc::new(Telemetry::default());
            let rules = Rules::parse(MAPPING.as_bytes(), "m.yml".as_ref(), Compat::Extended);
            let config = Config {
                parse: parse::Options::new(Compat::Extended),
                rules: Arc::new(rules.unwrap().rules),
                mapper_cache: crate::map::cache::Config::default(),
                line_cache_bytes: 1 << 20,
                event_queue: None,
                start: Instant::now(),
                member_seed: 0,
                ttl: Ttls::default(),
            };
            let lanes = [(); 2].map(|()| Ingest::new(config.clone(), &registry, &telemetry));
            Self { lanes, registry, telemetry }
        }

        /// Sends lines at a second, each from a port, on the lane that the kernel would choose.
        fn send(&mut self, second: u64, lines: &[(u16, &str)]) {
            for (port, line) in lines {
                let [even, odd] = &mut self.lanes;
                let lane = if port % 2 == 0 { even } else { odd };
                lane.now_millis = second * 1000;
                let address = SocketAddr::from(([127, 0, 0, 1], *port));
                lane.line(line.as_bytes(), Sender::Udp(address));
            }
        }

        fn page(&self, second: u64) -> Vec<String> {
            let reading = self.registry.read(second * 1000);
            let series = reading.view.families().iter().flat_map(|family| family.series());
            let value = |series: &Series| match series.cell.column {
                ColumnId::Combined(layout) => reading.values.combined(series.cell.id, layout),
                ColumnId::Gauge => Some(reading.values.gauge(series.cell.id)),
                _ => Some(reading.values.counter(series.cell.id)),
            };
            let shown = |series: &Series| Some(format!("{} {}", series.text(), value(series)?));
            series.filter_map(shown).collect()
        }
    }

    #[test]
    fn four_workers_with_five_connections_are_twenty_however_often_each_reports() {
        let workers = [(1, "sum:5|g"), (2, "sum:5|g"), (3, "sum:5|g"), (4, "sum:5|g")];
        check(&[(0, &workers), (1, &[(1, "sum:5|g"); 7])], 2, &["sum 20"]);
        check(&[(0, &workers), (5, &workers[..3])], 11, &["sum 15"]);
        check(&[(0, &workers)], 11, &[]);
    }

    #[test]
    fn a_change_is_of_the_sender_s_own_level() {
        let lines = [(1, "sum:5|g"), (2, "sum:3|g"), (1, "sum:+2|g"), (2, "sum:-1|g")];
        check(&[(0, &lines)], 1, &["sum 9"]);
        // It goes on from where it was, also after a silence.
        check(&[(0, &lines), (20, &[(1, "sum:-7|g")])], 20, &["sum 0"]);
    }

    #[test]
    fn a_tag_may_tell_the_sender_and_is_no_label_then() {
        let lines = [
            (1, "tagged:5|g|#worker:a,env:x"),
            (2, "tagged:6|g|#worker:a,env:x"),
            (3, "tagged:7|g|#env:x,worker:b"),
        ];
        check(&[(0, &lines)], 1, &["tagged{env=\"x\"} 13"]);
        let lines = [(1, "tagged:5|g"), (2, "tagged:6|g"), (3, "tagged:1|g|#worker:b")];
        check(&[(0, &lines)], 1, &["tagged 7"]);
        let lines =
            [(1, "peak:9|g|#worker:a"), (1, "peak:4|g|#worker:a"), (2, "peak:5|g|#worker:b")];
        check(&[(0, &lines)], 9, &["peak 9"]);
        check(&[(0, &[(1, "one:5|g"), (2, "one:6|g")])], 1, &["one 6"]);
    }

    #[test]
    fn totals_are_taken_sender_by_sender() {
        let first = [(1, "total:100|c"), (2, "total:40|c"), (3, "total:7|c")];
        let second = [(2, "total:42|c"), (1, "total:100|c"), (3, "total:2|c")];
        check(&[(0, &first)], 1, &["total 147"]);
        check(&[(0, &first), (1, &second), (2, &second)], 2, &["total 151"]);
        let tagged = [
            (1, "tagged_total:10|c|#worker:a"),
            (2, "tagged_total:12|c|#worker:a"),
            (3, "tagged_total:5|c|#worker:b"),
        ];
        check(&[(0, &tagged)], 1, &["tagged_total 17"]);
        check(&[(0, &[(1, "one_total:5|c"), (2, "one_total:6|c")])], 1, &["one_total 6"]);
    }

    #[test]
    fn senders_beyond_the_bound_are_counted_and_not_used() {
        let mut bench = Bench::new();
        for worker in 0..MAX_SENDERS + 3 {
            let line = format!("tagged:1|g|#worker:{worker}");
            bench.send(0, &[(u16::try_from(worker).unwrap(), &line)]);
        }
        assert_eq!(bench.page(0), [format!("tagged {MAX_SENDERS}")]);
        let totals = bench.telemetry.totals();
        assert_eq!(totals.get(Stat::SenderOverflow), 3);
        assert_eq!(totals.get(Stat::Outcome(LineOutcome::Limited)), 3);
        bench.send(11, &[(1, "tagged:5|g|#worker:late")]);
        assert_eq!(bench.page(11), ["tagged 5"]);
    }

    #[track_caller]
    fn check(steps: &[(u64, &[(u16, &str)])], second: u64, expected: &[&str]) {
        let mut bench = Bench::new();
        for (second, lines) in steps {
            bench.send(*second, lines);
        }
        assert_eq!(bench.page(second), expected);
        assert_eq!(bench.page(second), expected, "a scrape changes nothing");
    }
}
