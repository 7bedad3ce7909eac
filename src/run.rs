//! Config to running threads; order of starting and of shutdown.

use std::fs::File;
use std::io::{BufWriter, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::expose::own::Sources;
use crate::ingest::Order;
use crate::map::{Rules, preset};
use crate::multiproc::Multiproc;
use crate::net::{self, KernelDrops, Lanes, Listener, Orders, Passing, Sockets, Spare};
use crate::saturation::Saturation;
use crate::state::Source;
use crate::state::codec::Packing;
use crate::status::Watch;
use crate::telemetry::log;
use crate::web::{self, Guard};
use crate::workers::{self, Roster};

pub mod housekeeping;
pub mod reload;
pub mod ending;
mod handover;
mod state;
pub mod inventory;
mod api;
mod sockets;
mod systemd;
mod explain;
pub mod site;
pub mod grafana;

use ending::{Farewell, Leave, Wishes};
use grafana::Connected;
use handover::Successor;
use housekeeping::Housekeeping;
use reload::Reloader;
use site::Site;
use sockets::Opened;
use state::{Beginning, Saver};

/// How long lanes may take to read what has arrived before they end.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the server until it is told to stop.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: &Config) -> anyhow::Result<()> {
    log::init(config.log.level, config.log.format);
    info!(version = env!("CARGO_PKG_VERSION"), compat = ?config.compat, "Starting tallyd");
    let rules = load_rules(config)?;
    let guard = guard(config)?;
    if config.check_only {
        info!("Configuration check successful, exiting");
        return Ok(());
    }
    Server::start(config, Arc::new(rules), guard)?.serve(config.restarts.max_wait)
}

fn load_rules(config: &Config) -> anyhow::Result<Rules> {
    let base = &config.limits.intake;
    let presets = preset::load(&config.mapping.presets, base)?;
    let Some(file) = &config.mapping.file else {
        let rules = Rules::without_file(config.compat).with_intake(base);
        return Ok(rules.with_behind(presets));
    };
    let loaded = Rules::load(file, config.compat)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Some(path) = &config.mapping.dump_fsm {
        // As in the reference: the operator asked for it, but the exporter works without.
        if let Err(error) = dump_fsm(&loaded.rules, path) {
            error!(error = %format!("{error:#}"), "error dumping FSM");
        }
    }
    Ok(loaded.rules.with_intake(base).with_behind(presets))
}

/// Reads the file about TLS, users and what else is before the site.
fn guard(config: &Config) -> anyhow::Result<Option<Arc<Guard>>> {
    let file = config.web.config_file.as_deref();
    Ok(file.map(Guard::load).transpose()?.map(Arc::new))
}

fn dump_fsm(rules: &Rules, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    rules
        .dump_fsm(&mut BufWriter::new(file))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Everything that runs.
struct Server {
    lanes: Lanes,
    drops: KernelDrops,
    housekeeping: Worker<()>,
    saver: Option<Worker<Saver>>,
    web: WebServer,
    /// Keeps dashboards in Grafana.
    keeper: Option<JoinHandle<()>>,
    site: Arc<Site>,
    reloader: Arc<Reloader>,
    wishes: Wishes,
    successor: Successor,
    /// What is handed to it.
    spare: Spare,
    source: Source,
}

impl Server {
    /// Binds every socket before it starts any thread, so a taken port fails the start.
    fn start(
        config: &Config,
        rules: Arc<Rules>,
        guard: Option<Arc<Guard>>,
    ) -> anyhow::Result<Self> {
        let successor = Successor::new()?;
        let Opened { mut sockets, web: listeners, spare, state } = sockets::open(config)?;
        let file = state::claim(config)?;
        let Beginning { ingests, source, unfinished } =
            Beginning::new(config, &rules, state, file.as_ref())?;
        let workers = roster(&config.workers, &mut sockets, source.multiproc.as_deref());
        let clock = source.clock;
        let drops = sockets.kernel_drops();
        let saturation = Saturation::new(&config.saturation)?.map(Arc::new);
        let grafana = grafana::connect(config.grafana.as_ref(), config.compat)?;
        // Threads that begin from here on leave signals to this one.
        handover::block_signals()?;
        let lanes = net::start(sockets, ingests, unfinished)?;
        let orders = lanes.orders();

        let flushes = config.event_queue.map(|queue| queue.interval);
        flushes.map(|interval| start_flushing(interval, orders.clone())).transpose()?;
        let (registry, telemetry) = (&source.registry, &source.telemetry);
        let watch = Watch::new(telemetry, registry, &drops, (clock, orders.lanes()));
        let housekeeping = Housekeeping::new(registry, &orders, (&drops, &watch), clock.start)
            .with_workers(workers.clone(), source.multiproc.clone())
            .with_servers(saturation.clone());
        let housekeeping = Worker::start("housekeeping", move |stop| housekeeping.run(stop))?;
        let saver = file.map(|file| {
            let saver = Saver::new(file, source.clone(), config.restarts.state_interval);
            Worker::start("state", move |stop| saver.run(stop))
        });

        let (file, telemetry) = (config.mapping.file.clone(), Arc::clone(telemetry));
        let reloader = Reloader::new(file, config.compat, orders, telemetry, rules)
            .with_intake(config.limits.intake.clone());
        let reloader = Arc::new(reloader);
        let quit = Arc::new(Notify::new());
        let shown = shown(config, &source, &drops);
        let shown = Sources { workers, saturation: saturation.clone(), ..shown };
        let site = Site::new(shown, Arc::clone(&reloader), watch, Arc::clone(&quit));
        let site = site.explaining_by(config.parse, config.ttl);
        let site = site.with_grafana(grafana.as_ref().map(Connected::status));
        let site = Arc::new(site.with_guard(guard.clone()));
        let web = WebServer::start(listeners, web_config(config, guard), &site)?;
        drop(saturation.map(|servers| web.runtime.spawn(servers.poll())));
        let keeper = grafana.map(|grafana| web.runtime.spawn(grafana.keeper(&site).run()));
        let wishes = {
            let _inside = web.runtime.enter();
            Wishes::new(&quit)?
        };
        handover::unblock_signals()?;
        site.set_ready(true);
        systemd::ready();
        Ok(Self {
            lanes,
            drops,
            housekeeping,
            saver: saver.transpose()?,
            web,
            keeper,
            site,
            reloader,
            wishes,
            successor,
            spare,
            source,
        })
    }

    /// Serves until a signal or a client says that it is enough.
    fn serve(mut self, max_wait: Duration) -> anyhow::Result<()> {
        loop {
            match self.web.runtime.block_on(self.wishes.wait(&self.reloader)) {
                Leave::End => return self.end(max_wait),
                Leave::HandOver => {
                    // From here on a signal waits for the successor, but for the last ones.
                    handover::block_signals()?;
                    if self.web.runtime.block_on(self.wishes.is_to_end()) {
                        return self.end(max_wait);
                    }
                    let Err(error) = self.successor.check() else { return self.hand_over() };
                    handover::unblock_signals()?;
                    let failures = &self.source.telemetry.state.failed_handovers;
                    failures.fetch_add(1, Ordering::Relaxed);
                    let error = format!("{error:#}");
                    error!(error, "A successor would not start; going on.");
                }
            }
        }
    }

    /// Ends, for up to `max_wait` only when everything has been scraped.
    fn end(mut self, max_wait: Duration) -> anyhow::Result<()> {
        self.site.set_ready(false);
        systemd::stopping();
        // Whatever it waits for: what it has not written, the next start will.
        if let Some(keeper) = self.keeper {
            keeper.abort();
        }
        let mut farewell = Farewell::new(&self.site, &mut self.wishes, max_wait);
        self.web.runtime.block_on(farewell.while_receiving());
        // Clients that connect from here on are to be told that nobody is there.
        drop(self.spare);
        // Who is told that nothing is taken any more shall also find it counted on the last page.
        let sockets = self.drops.hold();
        self.lanes.stop(DRAIN);
        self.housekeeping.stop();
        if let Some(saver) = self.saver.and_then(Worker::stop) {
            saver.save();
        }
        self.web.runtime.block_on(farewell.after_receiving());
        let runtime = self.web.stop()?;
        drop(sockets);
        // A name that is still being looked up would hold the end up for as long as that takes.
        runtime.shutdown_background();
        info!("Stopped.");
        Ok(())
    }

    /// Makes room for a successor, which begins with the sockets, connections and numbers that there
    /// are. Everything that takes long happens while lines are still taken in; what comes after that
    /// waits in the sockets.
    fn hand_over(mut self) -> anyhow::Result<()> {
        info!("Handing over to a successor.");
        systemd::reloading();
        self.spare.pass_files_on();
        if let Some(keeper) = self.keeper {
            keeper.abort();
        }
        self.web.stop()?.shutdown_timeout(DRAIN);
        self.housekeeping.stop();
        let saver = self.saver.and_then(Worker::stop);
        let connections = self.lanes.hand_over(DRAIN);
        self.source.handovers += 1;
        let failure = pass_on(&self.source, self.spare, &connections, &self.successor);
        // There is no way back to the sockets, but what was counted need not be lost.
        if let Some(saver) = saver {
            saver.save();
        }
        Err(failure.context("cannot hand over"))
    }
}

/// Starts the successor with everything that there is; returns only what has kept it from that.
fn pass_on(
    source: &Source,
    mut spare: Spare,
    connections: &[Passing],
    successor: &Successor,
) -> anyhow::Error {
    let unfinished: Vec<_> = connections.iter().map(|one| one.unfinished.clone()).collect();
    let state = handover::memory("tallyd-state").and_then(|mut memory| {
        source.write(&memory, Packing::Plain, &unfinished)?;
        memory.rewind()?;
        spare.add_connections(connections)?;
        Ok(memory)
    });
    match state {
        Ok(state) => successor.take_over(spare, state),
        Err(error) => error.into(),
    }
}

/// The web server and its threads.
struct WebServer {
    runtime: Runtime,
    server: JoinHandle<std::io::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl WebServer {
    fn start(
        listeners: Vec<Listener>,
        config: web::Config,
        site: &Arc<Site>,
    ) -> anyhow::Result<Self> {
        let runtime = web_runtime()?;
        let (stop, stopping) = oneshot::channel();
        let shutdown = async { drop(stopping.await) };
        let backend = Arc::clone(site);
        let server = runtime.spawn(web::serve(listeners, config, backend, shutdown));
        Ok(Self { runtime, server, stop })
    }

    /// Answers the requests that there are; what else runs on the threads goes on.
    fn stop(self) -> anyhow::Result<Runtime> {
        drop(self.stop);
        self.runtime.block_on(self.server)??;
        Ok(self.runtime)
    }
}

/// A thread that works at low priority until it is told to stop.
struct Worker<T> {
    thread: thread::JoinHandle<T>,
    stop: mpsc::Sender<()>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `work`, which is to end when the other end of what it is given is gone.
    fn start(
        name: &str,
        work: impl FnOnce(&mpsc::Receiver<()>) -> T + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            yield_to_lanes();
            work(&stopped)
        });
        let thread = thread.with_context(|| format!("cannot start the {name} thread"))?;
        Ok(Self { thread, stop })
    }

    /// Ends the thread; what its work returned.
    fn stop(self) -> Option<T> {
        drop(self.stop);
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        let ended = self.thread.join();
        if ended.is_err() {
            error!(name, "A thread panicked.");
        }
        ended.ok()
    }
}

/// Has lanes hand on the events of their queues every so often, until they end.
fn start_flushing(interval: Duration, orders: Orders) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("flush".to_owned())
        .spawn(move || {
            while orders.send_to_all(|_| Order::Flush) > 0 {
                thread::sleep(interval);
            }
        })
        .context("cannot start the flush thread")?;
    Ok(())
}

/// Lets lanes go first where CPU is short: a scrape can wait, a full socket buffer cannot.
fn yield_to_lanes() {
    // Linux keeps this number per thread. Where it is refused, nothing but the preference is lost.
    rustix::process::nice(5).unwrap_or_default();
}

/// The threads for all that speaks HTTP.
fn web_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("web")
        .on_thread_start(yield_to_lanes)
        .enable_all()
        .build()
        .context("cannot start the web server's threads")
}

/// The workers that are looked at, if any are.
fn roster(
    config: &workers::Config,
    sockets: &mut Sockets,
    multiproc: Option<&Multiproc>,
) -> Option<Arc<Roster>> {
    let is_wanted = multiproc.is_some() || *config != workers::Config::default();
    let processes = config.unix_peers.is_some().then(|| sockets.name_processes());
    let roster = is_wanted.then(|| Roster::new(config, processes))?;
    let roles = multiproc.map(Multiproc::roles).unwrap_or_default();
    for role in &roles {
        roster.add(role);
    }
    Some(Arc::new(roster))
}

/// What the page is written from.
fn shown(config: &Config, source: &Source, drops: &KernelDrops) -> Sources {
    Sources {
        telemetry: Arc::clone(&source.telemetry),
        registry: Arc::clone(&source.registry),
        drops: drops.clone(),
        multiproc: source.multiproc.clone(),
        first: config.first,
        workers: None,
        saturation: None,
        relay_target: config.net.relay.as_ref().map(|relay| relay.address.clone()),
        has_mapper_cache: config.mapping.cache.entries > 0,
        compat: config.compat,
    }
}

fn web_config(config: &Config, guard: Option<Arc<Guard>>) -> web::Config {
    web::Config {
        guard,
        telemetry_path: config.web.telemetry_path.clone(),
        enable_lifecycle: config.web.lifecycle,
        enable_openmetrics: config.web.openmetrics,
        compat: config.compat,
    }
}
