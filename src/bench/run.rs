//! One run: scrape, send, wait until everything is visible, and account for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::accounting::Evidence;
use super::client::Client;
use super::error::BenchError;
use super::gauges;
use super::outcome::{
    Accounting, GaugeCheck, Ledger, Outcome, Sending, ServerFacts, WorkloadFacts,
};
use super::page::Page;
use super::plan::{Pace, Plan};
use super::process::{UdpQueue, Usage, Watched, udp_queue};
use super::scrape::{Fetched, Scraper};
use super::sender::{Counters, Senders, Sent};
use super::target::{Target, resolve};
use super::watch::{Seen, Watch};
use super::workload::{Source, Workload};
use crate::progress::Progress;

/// From one look at a server that works off what it received to the next.
const DRAIN_TICK: Duration = Duration::from_millis(10);
/// A server that is busy for less than this share of a tick has nothing left to do.
const IDLE_SHARE: f64 = 0.1;
/// So many idle ticks in a row; servers that gather events first may pause for one.
const IDLE_TICKS: u32 = 3;
/// From one look at the page to the next, while it is waited for.
const PAGE_TICK: Duration = Duration::from_millis(20);
/// Probes sent afterwards when there were none under load.
const LATE_PROBES: usize = 5;
/// A sender that reaches less of the rate asked for says so.
const RATE_REACHED: f64 = 0.97;

/// Does what a plan says and tells what came of it.
///
/// Loss is an outcome and no error.
///
/// # Errors
/// When the server or its page cannot be reached, or goes away while lines are sent.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Outcome, BenchError> {
    let scraper = plan.scrape.as_deref().map(|url| Scraper::new(url, plan.gzip)).transpose()?;
    let before = scraper.as_ref().map(Scraper::fetch).transpose()?;
    let before = before.map_or_else(Page::default, |fetched| Page::read(&fetched.text));
    let server = find_server(plan)?;
    let mut watch = Watch {
        plan,
        scraper: scraper.as_ref(),
        server: server.as_ref(),
        progress,
        seen: Seen::new()?,
    };
    watch.seen.probes_on_page = before.probes;
    let mut trial = Trial::send(plan, before, &mut watch)?;
    progress.say("waiting until everything is visible");
    trial.settle(&mut watch)?;
    progress.say("");
    Ok(trial.outcome(&watch))
}

/// A run while it is made.
#[derive(Debug)]
struct Trial<'p> {
    plan: &'p Plan,
    before: Page,
    drops_before: Option<u64>,
    usage: Option<(Usage, Usage)>,
    sent: Sent,
    seconds: Duration,
    /// When the last datagram had been sent.
    ended: Instant,
    settled_after: Option<Duration>,
    accounting: Option<Accounting>,
}

impl<'p> Trial<'p> {
    /// Sends everything and waits until the server has worked it off.
    fn send(plan: &'p Plan, before: Page, watch: &mut Watch<'_>) -> Result<Self, BenchError> {
        let senders = Senders::connect(plan)?;
        let counters = Counters::default();
        let is_over = AtomicBool::new(false);
        let drops_before = local_queue(&plan.target).map(|queue| queue.drops);
        let server = watch.server;
        let usage = server.and_then(Watched::usage);
        let (sent, seconds) = thread::scope(|scope| {
            let looking = thread::Builder::new()
                .name("watch".into())
                .spawn_scoped(scope, || watch.look_on(&counters, usage, &is_over))
                .map_err(|error| BenchError::System("cannot start a thread", error))?;
            let result = senders.send(&counters);
            is_over.store(true, Ordering::Release);
            // It ends by itself; a panic in it has been told on stderr.
            drop(looking.join());
            result
        })?;
        let ended = Instant::now();
        drain(plan, server);
        let usage = usage.zip(server.and_then(Watched::usage));
        Ok(Self {
            plan,
            before,
            drops_before,
            usage,
            sent,
            seconds,
            ended,
            settled_after: None,
            accounting: None,
        })
    }

    /// Scrapes until everything is accounted for, or nothing changes any more.
    fn settle(&mut self, watch: &mut Watch<'_>) -> Result<(), BenchError> {
        let Some(scraper) = watch.scraper else { return Ok(()) };
        let mut last_change = Instant::now();
        let mut last = self.before.clone();
        let page = loop {
            let fetched = scraper.fetch()?;
            let page = Page::read(&fetched.text);
            if self.evidence(&page.since(&self.before), watch.seen.probes).is_complete() {
                self.settled_after = Some(self.ended.elapsed());
                break fetched;
            }
            if is_further(&page, &last) {
                last_change = Instant::now();
                last = page;
            } else if last_change.elapsed() > self.plan.settle {
                break fetched;
            }
            // A server that needs long for its page should have time for its lines as well.
            thread::sleep(PAGE_TICK.max(fetched.total));
        };
        let gained = Page::read(&page.text).since(&self.before);
        let mut accounting = self.evidence(&gained, watch.seen.probes).account();
        // What was lost may have been the last value of any gauge.
        if accounting.ledger == Ledger::Series && accounting.loss_ratio <= 0.0 {
            accounting.gauges = self.check_gauges(&page);
        }
        self.accounting = Some(accounting);
        if watch.seen.time_to_visible().is_none() {
            watch.seen.probes_on_page = Page::read(&page.text).probes;
            self.probe_late(watch);
        }
        Ok(())
    }

    fn probe_late(&self, watch: &mut Watch<'_>) {
        let mut client = Client::connect(&self.plan.target).ok();
        for _ in 0..LATE_PROBES {
            watch.probe(client.as_mut(), &AtomicBool::new(false));
            if watch.seen.time_to_visible().is_none() {
                break;
            }
        }
    }

    fn evidence<'a>(&'a self, gained: &'a Page, probes: u64) -> Evidence<'a> {
        let drops = local_queue(&self.plan.target).zip(self.drops_before);
        Evidence {
            sent: &self.sent,
            probes,
            gained,
            kernel_drops: drops.map(|(queue, before)| queue.drops.saturating_sub(before)),
            is_datagrams: matches!(self.plan.target, Target::Udp(_) | Target::UnixDatagram(_)),
            has_known_names: matches!(self.plan.payload.recipe().source, Source::Workload(_)),
        }
    }

    /// Only one client's gauges have an order that is known.
    fn check_gauges(&self, page: &Fetched) -> Option<GaugeCheck> {
        let payload = &self.plan.payload;
        let is_tagged = !matches!(payload.recipe().source, Source::Workload(Workload::Mapped));
        let has_order = self.plan.clients == 1 && is_tagged;
        has_order.then(|| gauges::check(payload, &self.sent, &page.text)).flatten()
    }

    fn outcome(self, watch: &Watch<'_>) -> Outcome {
        let plan = self.plan;
        let payload = &plan.payload;
        let mut outcome = Outcome {
            workload: WorkloadFacts {
                name: payload.recipe().source.name(),
                series: payload.series(),
                metrics_per_datagram: payload.metrics_per_datagram(),
                bytes_per_datagram: payload.bytes_per_datagram(),
                clients: plan.clients.max(1),
                threads: plan.threads.clamp(1, plan.clients.max(1)),
                seed: payload.recipe().seed,
            },
            target: plan.target.to_string(),
            asked_rate: plan.pace.rate(),
            sending: Sending {
                seconds: self.seconds.as_secs_f64(),
                datagrams: self.sent.datagrams,
                metrics: self.sent.tally.total(),
                bytes: self.sent.bytes,
                cpu_seconds: self.sent.cpu_seconds,
                refused: self.sent.refused,
                lag_max_ms: self.sent.lag_max.as_secs_f64() * 1e3,
                probes: watch.seen.probes,
            },
            time_to_visible: watch.seen.time_to_visible(),
            scrape: watch.seen.scrape_facts(),
            settled_after_seconds: self.settled_after.map(|time| time.as_secs_f64()),
            server: watch.server.and_then(|server| self.server_facts(server)),
            timeline: watch.seen.timeline.clone(),
            remarks: Vec::new(),
            accounting: self.accounting,
        };
        outcome.remarks = remarks(plan, &outcome);
        outcome
    }

    fn server_facts(&self, server: &Watched) -> Option<ServerFacts> {
        let (before, after) = self.usage?;
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        let per = |number: u64| (number > 0).then(|| cpu_seconds * 1e6 / number as f64);
        let last = server.usage().unwrap_or(after);
        let counted = self.accounting.as_ref().map(|accounting| {
            // Kinds that are not accounted for cost CPU time as well.
            let ratio = 1.0 - accounting.loss_ratio;
            self.sent.tally.total() as f64 * ratio
        });
        let counted = counted.filter(|counted| *counted > 0.0);
        Some(ServerFacts {
            pid: server.pid(),
            command: server.command.clone(),
            cpu_user_seconds: after.user_seconds - before.user_seconds,
            cpu_system_seconds: after.system_seconds - before.system_seconds,
            cpu_seconds,
            cpu_us_per_metric: counted.map(|counted| cpu_seconds * 1e6 / counted),
            cpu_us_per_datagram: per(self.sent.datagrams),
            rss_bytes: last.rss_bytes,
            peak_rss_bytes: last.peak_rss_bytes,
        })
    }
}

/// Whether a page shows more of what was sent than another.
fn is_further(page: &Page, last: &Page) -> bool {
    const TOLD: [&str; 3] = [
        "statsd_exporter_lines_total",
        "statsd_exporter_events_total",
        "statsd_exporter_udp_packet_drops_total",
    ];
    page.counters > last.counters
        || page.timers > last.timers
        || TOLD.iter().any(|name| page.own_total(name) > last.own_total(name))
}

/// The process behind the page, if it runs here.
fn find_server(plan: &Plan) -> Result<Option<Watched>, BenchError> {
    if let Some(pid) = plan.server_pid {
        return Watched::new(pid).map(Some);
    }
    let Some(url) = &plan.scrape else { return Ok(None) };
    let Ok(url) = reqwest::Url::parse(url) else { return Ok(None) };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Ok(None);
    };
    let address = resolve(&format!("{host}:{port}"))?;
    let is_here = address.ip().to_canonical().is_loopback() && plan.target.is_local();
    Ok(is_here.then(|| Watched::listening_on(port)).flatten())
}

fn local_queue(target: &Target) -> Option<UdpQueue> {
    target.udp_port().filter(|_| target.is_local()).and_then(udp_queue)
}

/// Waits until a server on this machine has read its socket empty and uses no more CPU time, so
/// that the scrapes that follow do not count among the cost of the lines.
fn drain(plan: &Plan, server: Option<&Watched>) {
    let Some(mut last) = server.and_then(Watched::usage) else { return };
    let begin = Instant::now();
    let mut idle_ticks = 0;
    while idle_ticks < IDLE_TICKS && begin.elapsed() < plan.settle {
        thread::sleep(DRAIN_TICK);
        let Some(usage) = server.and_then(Watched::usage) else { return };
        let is_empty = local_queue(&plan.target).is_none_or(|queue| queue.waiting_bytes == 0);
        let busy = usage.cpu_seconds - last.cpu_seconds;
        let is_idle = busy < DRAIN_TICK.as_secs_f64() * IDLE_SHARE;
        idle_ticks = if is_empty && is_idle { idle_ticks + 1 } else { 0 };
        last = usage;
    }
}

/// What a reader should know before trusting the figures.
fn remarks(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut remarks = Vec::new();
    let rate = outcome.sending.rate();
    if let Pace::Even(asked) = plan.pace
        && rate < asked * RATE_REACHED
        && outcome.sending.seconds > 0.1
    {
        remarks.push(format!(
            "The sender reached only {rate:.0} of {asked:.0} metrics a second; the generator or a \
             server that holds it back is the limit."
        ));
    }
    let Some(accounting) = &outcome.accounting else {
        remarks.push("Without a page nothing is accounted for; name it with --scrape.".into());
        return remarks;
    };
    if !accounting.not_accounted.is_empty() {
        let kinds = accounting.not_accounted.join(", ");
        remarks.push(format!("The server does not say how many it received of: {kinds}."));
    }
    if accounting.ledger == Ledger::Lines {
        remarks.push("Lines were counted by the server, series were not looked at.".into());
    }
    if accounting.unexplained < 0 {
        remarks.push("More is on the page than was sent; does somebody else send as well?".into());
    }
    if outcome.server.is_none() && plan.target.is_local() {
        remarks.push(
            "The server's process was not found by the page's port; name it with --server-pid."
                .into(),
        );
    }
    remarks
}
