//! A server without sockets: rules, registry and counters, and lanes that are fed by hand.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tallyd::aggregate::Registry;
use tallyd::compat::Compat;
use tallyd::ingest::{Config, Datagram, Ingest, Sender, Source};
use tallyd::map::ttl::Ttls;
use tallyd::map::{Rules, RulesError, cache};
use tallyd::parse;
use tallyd::telemetry::Telemetry;

/// A line cache that nothing here fills.
pub(crate) const AMPLE_CACHE_BYTES: usize = 512 << 20;

/// How many datagrams a lane takes in before it looks at the clock again.
const BATCH: usize = 32;

/// Timers become histograms with the default buckets, as most mapping files have it.
pub(crate) const HISTOGRAMS: &str = "defaults: {observer_type: histogram}\n";

/// What lanes share.
pub(crate) struct Stage {
    /// What there is.
    pub(crate) registry: Arc<Registry>,
    /// What was counted.
    pub(crate) telemetry: Arc<Telemetry>,
    rules: Arc<Rules>,
    start: Instant,
    member_seed: u64,
}

impl Stage {
    /// A stage with the rules of a mapping file; the empty text stands for no file.
    pub(crate) fn new(mapping: &str) -> Result<Self, RulesError> {
        let rules = if mapping.is_empty() {
            Rules::without_file(Compat::Extended)
        } else {
            Rules::parse(mapping.as_bytes(), "mapping.yml".as_ref(), Compat::Extended)?.rules
        };
        Ok(Self {
            registry: Arc::new(Registry::new(Compat::Extended, [])),
            telemetry: Arc::new(Telemetry::default()),
            rules: Arc::new(rules),
            start: Instant::now(),
            member_seed: 0,
        })
    }

    /// A lane with a line cache of its own; 0 is none.
    pub(crate) fn lane(&self, line_cache_bytes: usize) -> Ingest {
        let config = Config {
            parse: parse::Options::new(Compat::Extended),
            rules: Arc::clone(&self.rules),
            mapper_cache: cache::Config::default(),
            line_cache_bytes,
            event_queue: None,
            start: self.start,
            member_seed: self.member_seed,
            ttl: Ttls::default(),
        };
        Ingest::new(config, &self.registry, &self.telemetry)
    }
}

/// Lets a lane take datagrams in, in batches, as if they had come by UDP.
pub(crate) fn feed(lane: &mut Ingest, datagrams: &[Vec<u8>]) {
    for batch in datagrams.chunks(BATCH) {
        lane.begin_batch();
        let datagram = |bytes| Datagram { bytes, sender: Sender::Unknown };
        let batch: SmallVec<[Datagram<'_>; BATCH]> =
            batch.iter().map(|bytes| datagram(bytes.as_slice())).collect();
        lane.datagrams(&batch, Source::Udp);
    }
}
