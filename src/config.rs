//! What the server is to do: [`Cli`] holds what was written, [`Config`] what was understood.
//!
//! Addresses stay text here. They are resolved when the sockets are bound, after the mapping file
//! was read, because `--check-config` has to work on machines where the addresses do not.

use std::path::PathBuf;

use thiserror::Error;

use crate::compat::Compat;
use crate::ingest::event_queue;
use crate::map::cache;
use crate::map::ttl::Ttls;
use crate::net::{self, ReadBuffer, RelayConfig};
use crate::parse;
use crate::telemetry::log;

pub mod units;
pub mod grafana;
pub mod ttl;
pub mod cli;

pub use cli::{Cli, Request};
pub use grafana::Grafana;

/// One lane takes in millions of lines a second, and each costs memory.
const MAX_DEFAULT_LANES: usize = 4;

/// Everything the server has to know, checked; each module gets its own part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose rules apply.
    pub compat: Compat,
    /// Whether to read the mapping file and stop there.
    pub check_only: bool,
    /// The log.
    pub log: Log,
    /// Sockets and lanes.
    pub net: net::Config,
    /// Dialects.
    pub parse: parse::Options,
    /// Memory for the line caches of all lanes together; 0 turns them off.
    pub line_cache_bytes: usize,
    /// The reference's event queue, where it is asked for.
    pub event_queue: Option<event_queue::Config>,
    /// The mapping file.
    pub mapping: Mapping,
    /// How long series live for which the mapping file does not say it.
    pub ttl: Ttls,
    /// The web server.
    pub web: Web,
    /// The Grafana in which dashboards are kept, if there is one.
    pub grafana: Option<Grafana>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The least severity that is logged.
    pub level: log::Level,
    /// How a record is written.
    pub format: log::Format,
}

/// Where the rules are, and what is done with them besides.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The mapping file.
    pub file: Option<PathBuf>,
    /// The mapper cache; without entries it has no metrics.
    pub cache: cache::Config,
    /// Where to write the glob rules' automaton.
    pub dump_fsm: Option<PathBuf>,
}

/// What the web server serves, and where.
#[derive(Clone, Debug)]
pub struct Web {
    /// Address, not yet resolved.
    pub listen_address: String,
    /// Path of the metrics; begins with `/` and has neither blanks nor braces.
    pub telemetry_path: String,
    /// Whether `/-/reload` and `/-/quit` exist.
    pub lifecycle: bool,
    /// Whether OpenMetrics is offered.
    pub openmetrics: bool,
}

/// Why flags that are right one by one are not right together, or mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A path that no request could have.
    #[error(
        "--web.telemetry-path=`{0}`: a path begins with `/` and has no blanks, `?`, `#` or braces"
    )]
    TelemetryPath(String),
    /// Flags about Grafana that lack another one, or a file that cannot be read.
    #[error("{0}")]
    Grafana(String),
}

impl TryFrom<Cli> for Config {
    type Error = ConfigError;

    fn try_from(cli: Cli) -> Result<Self, ConfigError> {
        let net = net::Config {
            udp: given(cli.receiving.listen_udp),
            tcp: given(cli.receiving.listen_tcp),
            unixgram: given_path(cli.receiving.listen_unixgram),
            unixsocket_mode: cli.receiving.unixsocket_mode,
            read_buffer: cli.receiving.read_buffer.map_or(ReadBuffer::Default, ReadBuffer::Given),
            lanes: lanes(cli.receiving.lanes, cli.compat),
            relay: given(cli.relaying.address)
                .map(|address| RelayConfig { address, packet_length: cli.relaying.packet_length }),
            compat: cli.compat,
        };
        Ok(Self {
            compat: cli.compat,
            check_only: cli.check_config,
            log: Log { level: cli.logging.level, format: cli.logging.format },
            net,
            parse: cli.parsing.options(cli.compat),
            line_cache_bytes: cli.receiving.line_cache_bytes,
            event_queue: cli
                .queues
                .event_flush_threshold
                .filter(|_| cli.compat.is_reference())
                .map(|threshold| event_queue::Config {
                    threshold,
                    interval: cli.queues.event_flush_interval,
                }),
            mapping: Mapping {
                file: given_path(cli.mapping.file),
                cache: cache::Config {
                    entries: cli.mapping.cache_size,
                    eviction: cli.mapping.cache_type,
                },
                dump_fsm: given_path(cli.mapping.dump_fsm),
            },
            ttl: cli.ttl.checked(),
            web: Web {
                listen_address: cli.exposing.listen_address,
                telemetry_path: telemetry_path(cli.exposing.telemetry_path)?,
                lifecycle: cli.exposing.enable_lifecycle,
                openmetrics: cli.exposing.enable_openmetrics,
            },
            grafana: cli.grafana.checked()?,
        })
    }
}

/// The number of lanes: as given, else one where the order of arrival has to be kept, else one for
/// each CPU that affinity and the cgroup's quota leave us.
fn lanes(given: Option<u16>, compat: Compat) -> usize {
    if let Some(lanes) = given {
        return lanes.into();
    }
    if compat.is_reference() {
        return 1;
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    cpus.min(MAX_DEFAULT_LANES)
}

/// The reference panics on most paths that are refused here, and never serves the others.
fn telemetry_path(path: String) -> Result<String, ConfigError> {
    let never_in_a_path =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '{' | '}');
    if path.starts_with('/') && !path.contains(never_in_a_path) {
        Ok(path)
    } else {
        Err(ConfigError::TelemetryPath(path))
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn given_path(path: PathBuf) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grafana::sync::Place;

    #[test]
    fn without_flags_the_reference_s_defaults_apply() {
        let config = config(&[]);
        assert_eq!(config.compat, Compat::Extended);
        assert_eq!(config.net.udp.as_deref(), Some(":9125"));
        assert_eq!(config.net.tcp.as_deref(), Some(":9125"));
        assert_eq!(config.net.unixgram, None);
        assert_eq!(config.net.unixsocket_mode, "755");
        assert_eq!(config.net.relay, None);
        assert_eq!(config.mapping.file, None);
        assert_eq!(config.mapping.dump_fsm, None);
        assert_eq!(config.mapping.cache, cache::Config::default());
        assert_eq!(config.web.listen_address, ":9102");
        assert_eq!(config.web.telemetry_path, "/metrics");
        assert!(!config.web.lifecycle && !config.web.openmetrics && !config.check_only);
        assert_eq!((config.log.level, config.log.format), (log::Level::Info, log::Format::Logfmt));
        assert_eq!(config.line_cache_bytes, 256 * 1024 * 1024);
    }

    #[test]
    fn all_dialects_but_graphite_are_on() {
        let on = |options: parse::Options| {
            [
                options.dogstatsd_tags,
                options.influxdb_tags,
                options.librato_tags,
                options.signalfx_tags,
                options.graphite_tags,
            ]
        };
        assert_eq!(on(config(&[]).parse), [true, true, true, true, false]);
        let changed = [
            "--no-statsd.parse-dogstatsd-tags",
            "--no-statsd.parse-influxdb-tags",
            "--no-statsd.parse-librato-tags",
            "--no-statsd.parse-signalfx-tags",
            "--statsd.parse-graphite-tags",
        ];
        assert_eq!(on(config(&changed).parse), [false, false, false, false, true]);
    }

    #[test]
    fn the_reference_s_rules_mean_one_lane_unless_more_are_asked_for() {
        let lanes = |args| config(args).net.lanes;
        assert_eq!(lanes(&["--compat=reference"]), 1);
        assert_eq!(lanes(&["--compat=reference", "--lanes=3"]), 3);
        assert_eq!(lanes(&["--lanes=7"]), 7);
        assert!((1..=4).contains(&lanes(&[])));
    }

    #[test]
    fn a_read_buffer_of_zero_is_the_kernel_s_own() {
        let read_buffer = |args| config(args).net.read_buffer;
        assert_eq!(read_buffer(&[]), ReadBuffer::Default);
        assert_eq!(read_buffer(&["--statsd.read-buffer=0"]), ReadBuffer::Given(0));
        assert_eq!(read_buffer(&["--statsd.read-buffer=65536"]), ReadBuffer::Given(65_536));
    }

    #[test]
    fn the_relay_has_an_address_and_a_packet_length() {
        let relay =
            config(&["--statsd.relay.address=h:1", "--statsd.relay.packet-length=12"]).net.relay;
        assert_eq!(relay, Some(RelayConfig { address: "h:1".to_owned(), packet_length: 12 }));
    }

    #[test]
    fn addresses_are_not_looked_at() {
        check(&["--statsd.listen-udp=", "--statsd.listen-tcp="], Ok(()));
        check(&["--statsd.listen-udp=nonsense", "--statsd.relay.address=nope"], Ok(()));
    }

    #[test]
    fn a_telemetry_path_is_a_path() {
        for path in ["/", "/foo/bar", "/-/healthy", "/a:b/*"] {
            check(&["--web.telemetry-path", path], Ok(()));
        }
        for path in ["", "foo", "/a b", "GET /x", "/{x}", "/a?b", "/a#b", "/a\n"] {
            let refusal = ConfigError::TelemetryPath(path.to_owned());
            check(&["--web.telemetry-path", path], Err(refusal));
        }
    }

    #[test]
    fn grafana_is_left_alone_unless_its_address_is_given() {
        assert!(config(&["--grafana.folder=A", "--grafana.user=u"]).grafana.is_none());
        let grafana = config(&["--grafana.url=http://g", "--grafana.min-interval=1m"]).grafana;
        let grafana = grafana.expect("an address");
        assert_eq!(grafana.client.url, "http://g");
        assert_eq!(grafana.settings.place, Place::parse("StatsD"));
        assert_eq!(grafana.settings.settle, Duration::from_secs(30));
        assert_eq!(grafana.settings.min_interval, Duration::from_mins(1));
        let text = "--grafana.user needs --grafana.password-file, --grafana.password or the \
                    variable GRAFANA_PASSWORD";
        let refusal = ConfigError::Grafana(text.to_owned());
        check(&["--grafana.url=http://g", "--grafana.user=u"], Err(refusal));
    }

    fn load(args: &[&str]) -> Result<Config, ConfigError> {
        let args = std::iter::once("tallyd").chain(args.iter().copied());
        match Cli::from_args(args.map(Into::into)) {
            Ok(Request::Serve(cli)) => Config::try_from(*cli),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn config(args: &[&str]) -> Config {
        load(args).expect("flags that fit together")
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the tables above stay readable")]
    fn check(args: &[&str], expected: Result<(), ConfigError>) {
        assert_eq!(load(args).map(drop), expected, "{args:?}");
    }
}
