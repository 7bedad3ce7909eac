//! Config to running threads; order of starting and of shutdown.

use std::fs::File;
use std::io::BufWriter;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use foldhash::fast::RandomState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::aggregate::Registry;
use crate::config::Config;
use crate::expose::own::{self, Sources};
use crate::ingest::{self, Ingest, Order};
use crate::map::Rules;
use crate::net::{self, Lanes, Orders, Sockets};
use crate::status::Watch;
use crate::telemetry::{Telemetry, log};
use crate::web;

pub mod housekeeping;
pub mod reload;
pub mod inventory;
mod api;
mod explain;
pub mod site;
pub mod grafana;

use grafana::Connected;
use housekeeping::Housekeeping;
use reload::Reloader;
use site::Site;

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
    if config.check_only {
        info!("Configuration check successful, exiting");
        return Ok(());
    }
    Server::start(config, Arc::new(rules))?.serve()
}

fn load_rules(config: &Config) -> anyhow::Result<Rules> {
    let Some(file) = &config.mapping.file else { return Ok(Rules::without_file(config.compat)) };
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
    Ok(loaded.rules)
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
    housekeeping: thread::JoinHandle<()>,
    stop_housekeeping: mpsc::Sender<()>,
    runtime: Runtime,
    web: JoinHandle<std::io::Result<()>>,
    stop_web: oneshot::Sender<()>,
    /// Keeps dashboards in Grafana.
    keeper: Option<JoinHandle<()>>,
    site: Arc<Site>,
    reloader: Arc<Reloader>,
    quit: Arc<Notify>,
}

impl Server {
    /// Binds every socket before it starts any thread, so a taken port fails the start.
    fn start(config: &Config, rules: Arc<Rules>) -> anyhow::Result<Self> {
        let start = Instant::now();
        let sockets = Sockets::bind(&config.net)?;
        let listener = net::listen_tcp("--web.listen-address", &config.web.listen_address)?;
        log_addresses(&sockets, config, &listener);

        let own_names = own::NAMES.iter().map(|name| (*name).to_owned());
        let registry = Arc::new(Registry::new(config.compat, own_names));
        let telemetry = Arc::new(Telemetry::default());
        telemetry.process.loaded_mappings.store(rules.len() as u64, Ordering::Relaxed);
        let drops = sockets.kernel_drops();
        let ingests = ingests(config, Arc::clone(&rules), start, &registry, &telemetry);
        let grafana = grafana::connect(config.grafana.as_ref(), config.compat)?;
        let lanes = net::start(sockets, ingests)?;
        let orders = lanes.orders();

        if let Some(queue) = config.event_queue {
            start_flushing(queue.interval, orders.clone())?;
        }
        let watch = Watch::new(&telemetry, &registry, &drops, (start, orders.lanes()));
        let housekeeping = Housekeeping::new(&registry, &orders, (&drops, &watch), start);
        let (stop_housekeeping, stopped) = mpsc::channel();
        let housekeeping = thread::Builder::new()
            .name("housekeeping".to_owned())
            .spawn(move || {
                yield_to_lanes();
                housekeeping.run(&stopped);
            })
            .context("cannot start the housekeeping thread")?;

        let file = config.mapping.file.clone();
        let reloader = Reloader::new(file, config.compat, orders, Arc::clone(&telemetry), rules);
        let reloader = Arc::new(reloader);
        let sources = Sources {
            telemetry,
            registry,
            drops,
            relay_target: config.net.relay.as_ref().map(|relay| relay.address.clone()),
            has_mapper_cache: config.mapping.cache.entries > 0,
            compat: config.compat,
        };
        let quit = Arc::new(Notify::new());
        let site = Site::new(sources, Arc::clone(&reloader), watch, Arc::clone(&quit));
        let site = site.explaining_by(config.parse, config.ttl);
        let site = Arc::new(site.with_grafana(grafana.as_ref().map(Connected::status)));
        let runtime = web_runtime()?;
        let (stop_web, stopping) = oneshot::channel();
        let shutdown = async { drop(stopping.await) };
        let backend = Arc::clone(&site);
        let web = runtime.spawn(web::serve(listener, web_config(config), backend, shutdown));
        let keeper = grafana.map(|grafana| runtime.spawn(grafana.keeper(&site).run()));
        site.set_ready(true);
        Ok(Self {
            lanes,
            housekeeping,
            stop_housekeeping,
            runtime,
            web,
            stop_web,
            keeper,
            site,
            reloader,
            quit,
        })
    }

    /// Serves until a signal or a client says that it is enough.
    fn serve(self) -> anyhow::Result<()> {
        self.runtime.block_on(wait(&self.reloader, &self.quit))?;
        self.site.set_ready(false);
        // Whatever it waits for: what it has not written, the next start will.
        if let Some(keeper) = self.keeper {
            keeper.abort();
        }
        self.lanes.stop(DRAIN);
        drop(self.stop_housekeeping);
        if self.housekeeping.join().is_err() {
            error!("The housekeeping thread panicked.");
        }
        drop(self.stop_web);
        self.runtime.block_on(self.web)??;
        // A name that is still being looked up would hold the end up for as long as that takes.
        self.runtime.shutdown_background();
        info!("Stopped.");
        Ok(())
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

/// Waits for the end, and reloads when asked to.
async fn wait(reloader: &Arc<Reloader>, quit: &Notify) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => info!(signal = "terminated", "Received os signal, exiting"),
            _ = interrupt.recv() => info!(signal = "interrupt", "Received os signal, exiting"),
            () = quit.notified() => info!("Received lifecycle api quit, exiting"),
            _ = hangup.recv() => {
                let reloader = Arc::clone(reloader);
                // What is wrong has been logged; nobody waits for an answer to a signal.
                tokio::task::spawn_blocking(move || reloader.reload().is_ok()).await?;
                continue;
            }
        }
        return Ok(());
    }
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

fn web_config(config: &Config) -> web::Config {
    web::Config {
        telemetry_path: config.web.telemetry_path.clone(),
        enable_lifecycle: config.web.lifecycle,
        enable_openmetrics: config.web.openmetrics,
        compat: config.compat,
    }
}

/// Says where to send to and where to look.
fn log_addresses(sockets: &Sockets, config: &Config, web: &TcpListener) {
    let text = |address: Option<SocketAddr>| address.map_or(String::new(), |a| a.to_string());
    let unixgram = config.net.unixgram.as_deref().unwrap_or(Path::new(""));
    info!(
        udp = text(sockets.udp_addr()),
        tcp = text(sockets.tcp_addr()),
        unixgram = %unixgram.display(),
        "Accepting StatsD Traffic"
    );
    info!(
        addr = text(web.local_addr().ok()),
        path = config.web.telemetry_path,
        "Accepting Prometheus Requests"
    );
}

/// One ingest per lane; the lanes share the line caches' memory evenly.
fn ingests(
    config: &Config,
    rules: Arc<Rules>,
    start: Instant,
    registry: &Arc<Registry>,
    telemetry: &Arc<Telemetry>,
) -> Vec<Ingest> {
    let lane = ingest::Config {
        parse: config.parse,
        rules,
        mapper_cache: config.mapping.cache,
        line_cache_bytes: config.line_cache_bytes / config.net.lanes.max(1),
        event_queue: config.event_queue,
        start,
        member_seed: RandomState::default(),
        ttl: config.ttl,
    };
    (0..config.net.lanes.max(1)).map(|_| Ingest::new(lane.clone(), registry, telemetry)).collect()
}
