//! The families of our own metrics: the reference's names, help and meaning, `process_*`
//! and, unless the reference's page is asked for, what only tallyd knows (`tallyd_*`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::aggregate::{Reading, Registry};
use crate::compat::Compat;
use crate::expose::FamilyKind;
use crate::expose::joined::{First, Joined};
use crate::multiproc::Multiproc;
use crate::net::KernelDrops;
use crate::parse::Reason;
use crate::sample::EventType;
use crate::saturation::Saturation;
use crate::telemetry::{EventError, LineOutcome, Stat, Telemetry, Totals};
use crate::workers::Roster;

mod limits;
pub mod multiproc;
mod process;
mod restarts;
mod workers;
pub mod saturation;

/// One family of our own.
#[derive(Debug)]
pub struct OwnFamily {
    /// The name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: FamilyKind,
    /// Rendered labels and value.
    pub series: Vec<(String, f64)>,
}

/// Where our own numbers come from.
#[derive(Debug)]
pub struct Sources {
    /// What lanes count.
    pub telemetry: Arc<Telemetry>,
    /// What there is.
    pub registry: Arc<Registry>,
    /// What the kernel threw away.
    pub drops: KernelDrops,
    /// Workers' files, where some are read.
    pub multiproc: Option<Arc<Multiproc>>,
    /// Whose family is shown where they and clients have one of the same name.
    pub first: First,
    /// Workers of pre-fork servers, where some are looked at.
    pub workers: Option<Arc<Roster>>,
    /// Servers of others, where some are watched.
    pub saturation: Option<Arc<Saturation>>,
    /// Where lines are relayed to.
    pub relay_target: Option<String>,
    /// Whether the mapper cache is on, and so has metrics.
    pub has_mapper_cache: bool,
    /// Whose page it is.
    pub compat: Compat,
}

impl Sources {
    /// What is shown of a reading and of what workers' files hold now.
    #[must_use]
    pub fn joined(&self, reading: &Reading) -> Joined {
        match &self.multiproc {
            Some(multiproc) => Joined::new(reading, multiproc.read(), self.first),
            None => Joined::default(),
        }
    }
}

/// Every name that a family of ours can have; no client may use one.
pub const NAMES: &[&str] = &[
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_network_receive_bytes_total",
    "process_network_transmit_bytes_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
    "statsd_exporter_build_info",
    "statsd_exporter_config_reloads_total",
    "statsd_exporter_event_queue_flushed_total",
    "statsd_exporter_events_actions_total",
    "statsd_exporter_events_conflict_total",
    "statsd_exporter_events_error_total",
    "statsd_exporter_events_total",
    "statsd_exporter_events_unmapped_total",
    "statsd_exporter_lines_total",
    "statsd_exporter_loaded_mappings",
    "statsd_exporter_metrics_total",
    "statsd_exporter_relay_lines_relayed_total",
    "statsd_exporter_relay_long_lines_total",
    "statsd_exporter_relay_packets_total",
    "statsd_exporter_sample_errors_total",
    "statsd_exporter_samples_total",
    "statsd_exporter_tag_errors_total",
    "statsd_exporter_tags_total",
    "statsd_exporter_tcp_connection_errors_total",
    "statsd_exporter_tcp_connections_total",
    "statsd_exporter_tcp_too_long_lines_total",
    "statsd_exporter_udp_packet_drops_total",
    "statsd_exporter_udp_packets_total",
    "statsd_exporter_unixgram_packets_total",
    "statsd_metric_mapper_cache_gets_total",
    "statsd_metric_mapper_cache_hits_total",
    "statsd_metric_mapper_cache_length",
    "tallyd_build_info",
    "tallyd_client_dropped_datagrams_total",
    "tallyd_connections",
    "tallyd_connections_closed_total",
    "tallyd_grafana_dashboards",
    "tallyd_grafana_drifted_dashboards",
    "tallyd_grafana_errors_total",
    "tallyd_grafana_families_pending",
    "tallyd_grafana_last_success_timestamp_seconds",
    "tallyd_grafana_pushes_total",
    "tallyd_grafana_writes_total",
    "tallyd_handovers_total",
    "tallyd_limited_samples_total",
    "tallyd_line_cache_hits_total",
    "tallyd_lines_total",
    "tallyd_listen_drops_total",
    "tallyd_loss_cause_ratio",
    "tallyd_loss_ratio",
    "tallyd_multiproc_clashes",
    "tallyd_multiproc_errors_total",
    "tallyd_multiproc_file_bytes",
    "tallyd_multiproc_files",
    "tallyd_multiproc_folded_files_total",
    "tallyd_multiproc_read_seconds_total",
    "tallyd_multiproc_reads_total",
    "tallyd_multiproc_reaped_files_total",
    "tallyd_multiproc_series",
    "tallyd_receive_queue_bytes",
    "tallyd_receive_queue_capacity_bytes",
    "tallyd_relay_dropped_lines_total",
    "tallyd_sender_overflow_total",
    "tallyd_series",
    "tallyd_series_limit",
    "tallyd_server_backlog",
    "tallyd_server_backlog_fill_ratio",
    "tallyd_server_backlog_limit",
    "tallyd_server_backlog_longest",
    "tallyd_server_busy_ratio",
    "tallyd_server_drops_total",
    "tallyd_server_read_failures_total",
    "tallyd_server_requests_total",
    "tallyd_server_threads",
    "tallyd_server_up",
    "tallyd_server_workers",
    "tallyd_state_last_save_timestamp_seconds",
    "tallyd_state_restored_series",
    "tallyd_state_save_failures_total",
    "tallyd_truncated_datagrams_total",
    "tallyd_udp_kernel_drops_total",
    "tallyd_unixstream_connections_total",
    "tallyd_web_config_last_reload_successful",
    "tallyd_web_config_reload_failures_total",
    "tallyd_worker_cpu_max_ratio",
    "tallyd_worker_cpu_min_ratio",
    "tallyd_worker_open_files_max",
    "tallyd_worker_open_files_min",
    "tallyd_worker_resident_memory_max_bytes",
    "tallyd_worker_resident_memory_min_bytes",
    "tallyd_worker_skew_ratio",
    "tallyd_workers",
    "tallyd_workers_cpu_seconds_total",
    "tallyd_workers_gone_total",
    "tallyd_workers_hidden",
    "tallyd_workers_masters",
    "tallyd_workers_open_files",
    "tallyd_workers_pidfile_errors_total",
    "tallyd_workers_resident_memory_bytes",
    "tallyd_workers_started_total",
];

/// Our own families as of now, sorted by name. Families with labels appear with their first
/// series, as the reference's do.
#[must_use]
pub fn families(sources: &Sources) -> Vec<OwnFamily> {
    let totals = sources.telemetry.totals();
    let kernel_drops = sources.drops.read();
    let mut all = process::families();
    all.extend(plain(&totals));
    all.extend(labelled(&totals));
    all.extend(state(sources, &kernel_drops));
    if sources.has_mapper_cache {
        all.extend(mapper_cache(sources, &totals));
    }
    if let Some(target) = &sources.relay_target {
        all.extend(relay(target, &totals, sources.compat));
    }
    if sources.compat == Compat::Extended {
        all.extend(tallyd(sources, &totals, &kernel_drops));
        all.extend(limits::families(sources, &totals));
        all.extend(restarts::families(&sources.telemetry.state));
        all.extend(sources.workers.iter().flat_map(|workers| workers::families(&workers.report())));
        all.extend(sources.saturation.iter().flat_map(|servers| saturation::families(servers)));
    }
    all.retain(|family| !family.series.is_empty());
    all.sort_unstable_by_key(|family| family.name);
    all
}

fn counter(name: &'static str, help: &'static str, value: u64) -> OwnFamily {
    single(name, help, FamilyKind::Counter, value as f64)
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> OwnFamily {
    single(name, help, FamilyKind::Gauge, value)
}

fn single(name: &'static str, help: &'static str, kind: FamilyKind, value: f64) -> OwnFamily {
    OwnFamily { name, help, kind, series: vec![(String::new(), value)] }
}

/// A family of counters; those that never counted are left out.
fn counters(
    name: &'static str,
    help: &'static str,
    series: impl IntoIterator<Item = (String, u64)>,
) -> OwnFamily {
    let series = series.into_iter().filter(|(_, value)| *value > 0);
    let series = series.map(|(labels, value)| (labels, value as f64)).collect();
    OwnFamily { name, help, kind: FamilyKind::Counter, series }
}

fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}

/// The counters without labels.
fn plain(totals: &Totals) -> Vec<OwnFamily> {
    let of = |name, help, stat| counter(name, help, totals.get(stat));
    vec![
        of(
            "statsd_exporter_lines_total",
            "The total number of StatsD lines received.",
            Stat::Lines,
        ),
        of(
            "statsd_exporter_udp_packets_total",
            "The total number of StatsD packets received over UDP.",
            Stat::UdpDatagrams,
        ),
        of(
            "statsd_exporter_unixgram_packets_total",
            "The total number of StatsD packets received over Unixgram.",
            Stat::UnixgramDatagrams,
        ),
        of(
            "statsd_exporter_tcp_connections_total",
            "The total number of TCP connections handled.",
            Stat::TcpConnections,
        ),
        of(
            "statsd_exporter_tcp_connection_errors_total",
            "The number of errors encountered reading from TCP.",
            Stat::TcpConnectionErrors,
        ),
        of(
            "statsd_exporter_tcp_too_long_lines_total",
            "The number of lines discarded due to being too long.",
            Stat::TcpTooLongLines,
        ),
        of(
            "statsd_exporter_samples_total",
            "The total number of StatsD samples received.",
            Stat::Samples,
        ),
        of(
            "statsd_exporter_tags_total",
            "The total number of DogStatsD tags processed.",
            Stat::Tags,
        ),
        of(
            "statsd_exporter_tag_errors_total",
            "The number of errors parsing DogStatsD tags.",
            Stat::TagErrors,
        ),
        of(
            "statsd_exporter_events_unmapped_total",
            "The total number of StatsD events no mapping was found for.",
            Stat::EventsUnmapped,
        ),
        of(
            "statsd_exporter_event_queue_flushed_total",
            "Number of times events were flushed to exporter",
            Stat::Batches,
        ),
    ]
}

/// The counters with labels.
fn labelled(totals: &Totals) -> Vec<OwnFamily> {
    vec![
        counters(
            "statsd_exporter_sample_errors_total",
            "The total number of errors parsing StatsD samples.",
            Reason::ALL.map(|reason| {
                (label("reason", reason.as_str()), totals.get(Stat::SampleErrors(reason)))
            }),
        ),
        counters(
            "statsd_exporter_events_total",
            "The total number of StatsD events seen.",
            EventType::ALL
                .map(|event| (label("type", event.as_str()), totals.get(Stat::Events(event)))),
        ),
        counters(
            "statsd_exporter_events_error_total",
            "The total number of StatsD events discarded due to errors.",
            EventError::ALL.map(|reason| {
                (label("reason", reason.as_str()), totals.get(Stat::EventErrors(reason)))
            }),
        ),
        counters(
            "statsd_exporter_events_actions_total",
            "The total number of StatsD events by action.",
            [
                (label("action", "drop"), totals.get(Stat::EventsDropped)),
                (label("action", "map"), totals.get(Stat::EventsMapped)),
            ],
        ),
        counters(
            "statsd_exporter_events_conflict_total",
            "The total number of StatsD events with conflicting names.",
            totals.conflicts().map(|(event, name, count)| {
                let labels = [label("metric_name", name), label("type", event.as_str())];
                (labels.join(","), count)
            }),
        ),
    ]
}

/// What the process is and has, under the reference's names.
fn state(sources: &Sources, kernel_drops: &[(String, u64)]) -> Vec<OwnFamily> {
    let process = &sources.telemetry.process;
    let relaxed = Ordering::Relaxed;
    // The kernel's drops appear here so that existing alerts fire; the reference knows its own only.
    let dropped = match sources.compat {
        Compat::Reference => 0,
        Compat::Extended => kernel_drops.iter().map(|(_, count)| count).sum(),
    };
    let version = concat!("0.31.0+tallyd.", env!("CARGO_PKG_VERSION"));
    let build = [
        label("branch", ""),
        label("goarch", std::env::consts::ARCH),
        label("goos", std::env::consts::OS),
        label("goversion", ""),
        label("revision", ""),
        label("tags", ""),
        label("version", version),
    ];
    vec![
        OwnFamily {
            name: "statsd_exporter_build_info",
            help: "A metric with a constant '1' value labeled by version, revision, branch, goversion from which statsd_exporter was built, and the goos and goarch for the build.",
            kind: FamilyKind::Gauge,
            series: vec![(build.join(","), 1.0)],
        },
        counter(
            "statsd_exporter_udp_packet_drops_total",
            "The total number of dropped StatsD packets which received over UDP.",
            dropped,
        ),
        counters(
            "statsd_exporter_config_reloads_total",
            "The number of configuration reloads.",
            [
                (label("outcome", "failure"), process.failed_reloads.load(relaxed)),
                (label("outcome", "success"), process.reloads.load(relaxed)),
            ],
        ),
        gauge(
            "statsd_exporter_loaded_mappings",
            "The current number of configured metric mappings.",
            process.loaded_mappings.load(relaxed) as f64,
        ),
        OwnFamily {
            name: "statsd_exporter_metrics_total",
            help: "The total number of metrics.",
            kind: FamilyKind::Gauge,
            series: sources
                .registry
                .vectors()
                .filter(|(_, count)| *count > 0)
                .map(|(kind, count)| (label("type", kind.as_str()), count as f64))
                .collect(),
        },
    ]
}

fn mapper_cache(sources: &Sources, totals: &Totals) -> Vec<OwnFamily> {
    vec![
        gauge(
            "statsd_metric_mapper_cache_length",
            "The count of unique metrics currently cached.",
            sources.telemetry.mapper_cache_length() as f64,
        ),
        counter(
            "statsd_metric_mapper_cache_gets_total",
            "The count of total metric cache gets.",
            totals.get(Stat::MapperCacheGets),
        ),
        counter(
            "statsd_metric_mapper_cache_hits_total",
            "The count of total metric cache hits.",
            totals.get(Stat::MapperCacheHits),
        ),
    ]
}

fn relay(target: &str, totals: &Totals, compat: Compat) -> Vec<OwnFamily> {
    let of = |name, help, stat| OwnFamily {
        name,
        help,
        kind: FamilyKind::Counter,
        series: vec![(label("target", target), totals.get(stat) as f64)],
    };
    let mut families = vec![
        of(
            "statsd_exporter_relay_packets_total",
            "The number of StatsD packets relayed.",
            Stat::RelayPackets,
        ),
        of(
            "statsd_exporter_relay_long_lines_total",
            "The number lines that were too long to relay.",
            Stat::RelayLongLines,
        ),
        of(
            "statsd_exporter_relay_lines_relayed_total",
            "The number of lines that were buffered to be relayed.",
            Stat::RelayLines,
        ),
    ];
    if compat == Compat::Extended {
        families.push(of(
            "tallyd_relay_dropped_lines_total",
            "Lines in datagrams that the relay could not send.",
            Stat::RelayDroppedLines,
        ));
    }
    families
}

/// How the reading of the web config file goes; there only with `--web.config.file`.
#[must_use]
pub fn web_config(is_current: bool, failures: u64) -> [OwnFamily; 2] {
    [
        gauge(
            "tallyd_web_config_last_reload_successful",
            "Whether what is in force is what the web config file says.",
            is_current.into(),
        ),
        counter(
            "tallyd_web_config_reload_failures_total",
            "Times that the changed web config file, or a file it names, could not be used.",
            failures,
        ),
    ]
}

/// What only tallyd knows.
fn tallyd(sources: &Sources, totals: &Totals, kernel_drops: &[(String, u64)]) -> Vec<OwnFamily> {
    vec![
        OwnFamily {
            name: "tallyd_build_info",
            help: "The version of tallyd.",
            kind: FamilyKind::Gauge,
            series: vec![(label("version", env!("CARGO_PKG_VERSION")), 1.0)],
        },
        OwnFamily {
            name: "tallyd_lines_total",
            help: "Lines received, by what became of them; every line has one outcome.",
            kind: FamilyKind::Counter,
            series: LineOutcome::ALL
                .map(|outcome| {
                    (label("outcome", outcome.as_str()), totals.get(Stat::Outcome(outcome)) as f64)
                })
                .into(),
        },
        OwnFamily {
            name: "tallyd_udp_kernel_drops_total",
            help: "UDP datagrams the kernel dropped because a socket's buffer was full.",
            kind: FamilyKind::Counter,
            series: kernel_drops
                .iter()
                .map(|(listener, count)| (label("listener", listener), *count as f64))
                .collect(),
        },
        counter(
            "tallyd_truncated_datagrams_total",
            "Datagrams longer than the largest that can be read; their rest is lost.",
            totals.get(Stat::TruncatedDatagrams),
        ),
        counter(
            "tallyd_line_cache_hits_total",
            "Lines whose meaning was known from an earlier one.",
            totals.get(Stat::LineCacheHits),
        ),
        counter(
            "tallyd_sender_overflow_total",
            "Samples not used because their series had too many senders already.",
            totals.get(Stat::SenderOverflow),
        ),
        counter(
            "tallyd_unixstream_connections_total",
            "Connections to Unix stream sockets.",
            totals.get(Stat::UnixstreamConnections),
        ),
        gauge("tallyd_series", "Series that are being kept.", sources.registry.len_of_all() as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(compat: Compat) -> Sources {
        Sources {
            telemetry: Arc::default(),
            registry: Arc::new(Registry::new(compat, NAMES.iter().map(ToString::to_string))),
            multiproc: None,
            first: First::default(),
            workers: None,
            saturation: None,
            drops: KernelDrops::default(),
            relay_target: Some("127.0.0.1:9125".into()),
            has_mapper_cache: true,
            compat,
        }
    }

    #[test]
    fn every_family_of_ours_has_a_reserved_name() {
        for family in families(&sources(Compat::Extended)) {
            assert!(NAMES.contains(&family.name), "{} can be taken by a client", family.name);
        }
    }

    #[test]
    fn the_reference_page_has_nothing_of_tallyd_alone() {
        let own = families(&sources(Compat::Reference));
        assert!(own.iter().all(|family| !family.name.starts_with("tallyd_")));
        assert!(own.is_sorted_by_key(|family| family.name));
    }
}
