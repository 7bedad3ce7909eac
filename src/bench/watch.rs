//! Looks on while lines are sent: progress, points of the timeline, scrapes, and probes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::BenchError;
use super::latency::Recorder;
use super::outcome::{Point, ScrapeFacts};
use super::page::{PROBE, Page};
use super::plan::Plan;
use super::process::{Usage, Watched};
use super::scrape::{Fetched, Scraper};
use super::sender::Counters;
use crate::progress::Progress;

const TICK: Duration = Duration::from_millis(50);
const POINT_EVERY: Duration = Duration::from_millis(500);
/// From one look for a probe to the next, at first; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// A server that shows none of so many probes is one that shows none at all.
const PROBES_TRIED: u64 = 2;

/// Everything needed to look at a server.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scraper: Option<&'a Scraper>,
    pub(super) server: Option<&'a Watched>,
    pub(super) progress: &'a Progress,
    pub(super) seen: Seen,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    latency: Recorder,
    first_byte: Recorder,
    visible: Recorder,
    pub(super) facts: ScrapeFacts,
    pub(super) timeline: Vec<Point>,
    /// Probes that were sent.
    pub(super) probes: u64,
    /// The counter of probes on the page seen last.
    pub(super) probes_on_page: f64,
}

impl Seen {
    pub(super) fn new() -> Result<Self, BenchError> {
        let recorder = || {
            let failed = |error| BenchError::System("cannot make a histogram", error);
            Recorder::new().map_err(std::io::Error::other).map_err(failed)
        };
        Ok(Self {
            latency: recorder()?,
            first_byte: recorder()?,
            visible: recorder()?,
            facts: ScrapeFacts::default(),
            timeline: Vec::new(),
            probes: 0,
            probes_on_page: 0.0,
        })
    }

    /// Scrapes so far, if there were any.
    pub(super) fn scrape_facts(&self) -> Option<ScrapeFacts> {
        let latency = self.latency.latencies()?;
        let first_byte = self.first_byte.latencies()?;
        Some(ScrapeFacts { latency, first_byte, ..self.facts.clone() })
    }

    /// Times to visible so far, if there were any.
    pub(super) fn time_to_visible(&self) -> Option<super::latency::Latencies> {
        self.visible.latencies()
    }

    fn page(&mut self, fetched: &Fetched) -> Page {
        self.latency.record(fetched.total);
        self.first_byte.record(fetched.first_byte);
        let page = Page::read(&fetched.text);
        self.facts.page_bytes = fetched.text.len() as u64;
        self.facts.wire_bytes = fetched.wire_bytes;
        self.facts.samples = page.samples;
        page
    }
}

impl Watch<'_> {
    /// Looks on until `is_over` is set.
    pub(super) fn look_on(
        &mut self,
        counters: &Counters,
        usage: Option<Usage>,
        is_over: &AtomicBool,
    ) {
        let begin = Instant::now();
        let mut probe =
            self.plan.scrape_every.and_then(|_| Client::connect(&self.plan.target).ok());
        let mut next_scrape = self.plan.scrape_every;
        let mut next_point = Duration::ZERO;
        // Acquire: whatever the senders did before they were done is seen.
        while !is_over.load(Ordering::Acquire) {
            let elapsed = begin.elapsed();
            let mut scrape_time = None;
            if let (Some(due), Some(every)) = (next_scrape, self.plan.scrape_every)
                && elapsed >= due
            {
                scrape_time = self.probe(probe.as_mut(), is_over);
                next_scrape = Some(due.max(begin.elapsed().saturating_sub(every)) + every);
            }
            if elapsed >= next_point || scrape_time.is_some() {
                self.point(begin, counters, usage, scrape_time);
                next_point = elapsed + POINT_EVERY;
            }
            self.say(begin, counters);
            thread::sleep(TICK);
        }
        self.point(begin, counters, usage, None);
    }

    fn point(
        &mut self,
        begin: Instant,
        counters: &Counters,
        before: Option<Usage>,
        scrape: Option<Duration>,
    ) {
        let usage = self.server.and_then(Watched::usage);
        let cpu_since = |(now, then): (Usage, Usage)| now.cpu_seconds - then.cpu_seconds;
        self.seen.timeline.push(Point {
            second: begin.elapsed().as_secs_f64(),
            metrics: counters.metrics.load(Ordering::Relaxed),
            scrape_ms: scrape.map(|time| time.as_secs_f64() * 1e3),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            cpu_seconds: usage.zip(before).map(cpu_since),
        });
    }

    fn say(&self, begin: Instant, counters: &Counters) {
        let metrics = counters.metrics.load(Ordering::Relaxed);
        let rate = metrics as f64 / begin.elapsed().as_secs_f64().max(1e-3);
        self.progress.say(format!("{metrics} metrics sent, {rate:.0} a second"));
    }

    /// Sends a probe and scrapes until it is on the page; returns how long the first page took.
    ///
    /// A probe that never shows is lost, which the accounting will tell.
    pub(super) fn probe(
        &mut self,
        client: Option<&mut Client>,
        is_over: &AtomicBool,
    ) -> Option<Duration> {
        let scraper = self.scraper?;
        let sent_at = Instant::now();
        let shows_probes = self.seen.probes < PROBES_TRIED || self.seen.time_to_visible().is_some();
        let line = format!("{PROBE}:1|c");
        let client = client.filter(|_| shows_probes);
        let is_sent = client.is_some_and(|client| client.send_one(line.as_bytes()));
        self.seen.probes += u64::from(is_sent);
        let mut first = None;
        let mut pause = FIRST_PAUSE;
        while sent_at.elapsed() < self.plan.settle {
            let Ok(fetched) = scraper.fetch() else {
                self.seen.facts.failed += 1;
                break;
            };
            first.get_or_insert(fetched.total);
            // The page may be large: the moment is that of its arrival, not of its reading.
            let arrived = sent_at.elapsed();
            let page = self.seen.page(&fetched);
            if page.probes > self.seen.probes_on_page {
                self.seen.probes_on_page = page.probes;
                self.seen.visible.record(arrived);
                break;
            }
            if !is_sent || is_over.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        first
    }
}
