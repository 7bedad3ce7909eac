//! A lane with a registry of its own, in which lines can be tried without anybody noticing.

use std::sync::Arc;
use std::time::Instant;

use crate::aggregate::Registry;
use crate::expose::walk::walk;
use crate::expose::{Page, own, text::Text};
use crate::ingest::trace::Trace;
use crate::ingest::{self, Ingest};
use crate::map::ttl::Ttls;
use crate::map::{Rules, cache};
use crate::parse;
use crate::telemetry::Telemetry;

/// A lane that nobody sends to.
#[derive(Debug)]
pub struct Sandbox {
    lane: Ingest,
    registry: Arc<Registry>,
    start: Instant,
}

impl Sandbox {
    /// A lane that follows these rules and has seen nothing.
    #[must_use]
    pub fn new(rules: &Arc<Rules>, parse: parse::Options, ttl: Ttls) -> Self {
        let start = Instant::now();
        let own_names = own::NAMES.iter().map(|name| (*name).to_owned());
        let registry = Arc::new(Registry::new(parse.compat, own_names));
        let config = ingest::Config {
            parse,
            rules: Arc::clone(rules),
            mapper_cache: cache::Config { entries: 0, ..cache::Config::default() },
            // Nothing is learnt from a line that is known.
            line_cache_bytes: 0,
            event_queue: None,
            start,
            member_seed: 0,
            ttl,
        };
        let lane = Ingest::new(config, &registry, &Arc::new(Telemetry::default()));
        Self { lane, registry, start }
    }

    /// Takes a line in and tells what became of it.
    pub fn take(&mut self, line: &[u8]) -> Trace {
        self.lane.begin_batch();
        self.lane.traced(line)
    }

    /// What it has registered.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The page in the text format, without anything of our own.
    #[must_use]
    pub fn page(&self) -> String {
        page(&self.registry, u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The page of a registry in the text format, without anything of our own.
pub(super) fn page(registry: &Registry, now_millis: u64) -> String {
    let mut text = Vec::new();
    let mut sink = |part: &mut Vec<u8>| {
        text.append(part);
        true
    };
    let mut page = Page::new(Box::new(Text::default()), &mut sink);
    walk(|| registry.read(now_millis), &[], 0, &mut page);
    let is_whole = page.finish();
    debug_assert!(is_whole, "the sink takes everything");
    String::from_utf8(text).unwrap_or_default()
}
