//! What the server is to do: [`Cli`] holds what was written, [`Config`] what was understood.
//!
//! Addresses stay text here. They are resolved when the sockets are bound, after the mapping file
//! was read, because `--check-config` has to work on machines where the addresses do not.

use std::path::PathBuf;

use thiserror::Error;

use crate::compat::Compat;
use crate::expose::joined::First;
use crate::ingest::event_queue;
use crate::map::cache;
use crate::map::preset::Preset;
use crate::map::ttl::Ttls;
use crate::multiproc::Config as Multiproc;
use crate::net::{self, ReadBuffer, RelayConfig, Wanted};
use crate::parse;
use crate::saturation as watched;
use crate::telemetry::log;

pub mod units;
pub mod grafana;
pub mod preset;
pub mod joined;
pub mod ttl;
pub mod limits;
pub mod multiproc;
pub mod listen;
pub mod state;
pub mod workers;
pub mod saturation;
pub mod cli;

pub use cli::{Cli, Request};
pub use grafana::Grafana;
pub use limits::Limits;
pub use listen::WebListen;
pub use state::Restarts;

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
    /// Sockets that systemd is to pass.
    pub inherited: Wanted,
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
    /// What is taken of what clients send.
    pub limits: Limits,
    /// Whose family is shown where clients and workers' files have one of the same name.
    pub first: First,
    /// The web server.
    pub web: Web,
    /// What happens at the start and at the end.
    pub restarts: Restarts,
    /// Workers' files, where some are to be read.
    pub multiproc: Option<Multiproc>,
    /// Whose workers are looked at.
    pub workers: crate::workers::Config,
    /// Servers of others whose saturation is watched.
    pub saturation: watched::Config,
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
    /// What is asked behind it, in this order.
    pub presets: Vec<Preset>,
    /// The mapper cache; without entries it has no metrics.
    pub cache: cache::Config,
    /// Where to write the glob rules' automaton.
    pub dump_fsm: Option<PathBuf>,
}

/// What the web server serves, and where.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where it is served.
    pub listen: WebListen,
    /// TLS, users, headers and rate limit.
    pub config_file: Option<PathBuf>,
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
    /// What `statsd_exporter` does not have.
    #[error("--preset needs --compat=extended, since statsd_exporter has no presets")]
    PresetInReference,
    /// A source that `statsd_exporter` does not have.
    #[error("--multiproc.first needs --compat=extended: statsd_exporter reads no workers' files")]
    FirstInReference,
    /// What the reference's page has no room for.
    #[error("--workers.* needs --compat=extended: the reference's page has no workers")]
    WorkersInReference,
    /// A name that Prometheus would not take, or keeps for itself.
    #[error(
        "{flag}: `{name}` cannot be the name of a label; write letters, digits and `_`, no digit \
         and not `__` first"
    )]
    LabelName {
        /// The flag's name.
        flag: &'static str,
        /// As written.
        name: String,
    },
    /// Limits where nothing may be limited.
    #[error(
        "--limits.* for samples and --tags.* need --compat=extended: the reference's page cannot \
         count what is limited"
    )]
    LimitsOfReference,
    /// An address too many for `--compat=reference`.
    #[error("the reference takes {0} only once; leave out --compat=reference to give it again")]
    Repeated(&'static str),
    /// Flags about workers' files that are not right together, or lack something.
    #[error("{0}")]
    Multiproc(String),
    /// What only tallyd's own page can show.
    #[error(
        "--listen-queue.address and --uwsgi.stats need --compat=extended: the reference's page has no place for them"
    )]
    SaturationOfReference,
    /// The same server under the same name.
    #[error("{flag}: `{address}` is given twice; give it another NAME= or leave it out")]
    WatchedTwice {
        /// The flag's name.
        flag: &'static str,
        /// The address.
        address: String,
    },
    /// Flags about Grafana that lack another one, or a file that cannot be read.
    #[error("{0}")]
    Grafana(String),
}

impl TryFrom<Cli> for Config {
    type Error = ConfigError;

    fn try_from(cli: Cli) -> Result<Self, ConfigError> {
        let limits = Limits::of(&cli)?;
        let inherited = listen::wanted(&cli.listen, &cli.web);
        let net = net_config(&cli)?;
        let addresses = cli.exposing.listen_address;
        listen::check_once("--web.listen-address", &addresses, cli.compat)?;
        let presets = cli.preset.checked(cli.compat)?;
        Ok(Self {
            compat: cli.compat,
            check_only: cli.check_config,
            log: Log { level: cli.logging.level, format: cli.logging.format },
            net,
            inherited,
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
                presets: presets.clone(),
                cache: cache::Config {
                    entries: cli.mapping.cache_size,
                    eviction: cli.mapping.cache_type,
                },
                dump_fsm: given_path(cli.mapping.dump_fsm),
            },
            ttl: cli.ttl.checked(),
            limits,
            first: cli.joined.checked(cli.compat)?,
            web: Web {
                listen: cli.web.listen(addresses),
                config_file: given_path(cli.web.web_config_file),
                telemetry_path: telemetry_path(cli.exposing.telemetry_path)?,
                lifecycle: cli.exposing.enable_lifecycle,
                openmetrics: cli.exposing.enable_openmetrics,
            },
            multiproc: cli.multiproc.checked(cli.compat, cli.restarts.keeps_state())?,
            restarts: cli.restarts.checked(),
            workers: cli.workers.checked(cli.compat)?,
            saturation: cli.saturation.checked(cli.compat, &presets)?,
            grafana: cli.grafana.checked()?,
        })
    }
}

/// Addresses of sockets from systemd are systemd's, so where those are wanted ours do not count.
fn net_config(cli: &Cli) -> Result<net::Config, ConfigError> {
    let Cli { receiving, listen, relaying, limits, compat, .. } = cli;
    listen::check_once("--statsd.listen-udp", &receiving.listen_udp, *compat)?;
    listen::check_once("--statsd.listen-tcp", &receiving.listen_tcp, *compat)?;
    listen::check_once("--statsd.listen-unixgram", &receiving.listen_unixgram, *compat)?;
    let is_ours = !listen.systemd_socket;
    let texts = |given: &[String]| {
        given.iter().filter(|text| is_ours && !text.is_empty()).cloned().collect()
    };
    let paths = |given: &[PathBuf]| {
        given.iter().filter(|path| is_ours && !path.as_os_str().is_empty()).cloned().collect()
    };
    Ok(net::Config {
        udp: texts(&receiving.listen_udp),
        tcp: texts(&receiving.listen_tcp),
        unixgram: paths(&receiving.listen_unixgram),
        unixstream: paths(&listen.unixstream),
        access: listen.access(receiving.unixsocket_mode.clone()),
        read_buffer: receiving.read_buffer.map_or(ReadBuffer::Default, ReadBuffer::Given),
        lanes: lanes(receiving.lanes, *compat),
        relay: given(relaying.address.clone())
            .map(|address| RelayConfig { address, packet_length: relaying.packet_length }),
        streams: limits.streams(),
        compat: *compat,
        may_be_deaf: !cli.multiproc.directories.is_empty(),
    })
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
    use std::borrow::Cow;
    use std::time::Duration;

    use super::*;
    use crate::grafana::sync::Place;
    use crate::map::Intake;
    use crate::net::StreamLimits;

    #[test]
    fn without_flags_the_reference_s_defaults_apply() {
        let config = config(&[]);
        assert_eq!(config.compat, Compat::Extended);
        assert_eq!((config.net.udp, config.net.tcp), (vec![":9125".into()], vec![":9125".into()]));
        assert!(config.net.unixgram.is_empty() && config.net.unixstream.is_empty());
        assert_eq!(config.net.access.mode, "755");
        assert_eq!(config.net.relay, None);
        assert_eq!(config.mapping.file, None);
        assert!(config.mapping.presets.is_empty());
        assert_eq!(config.mapping.dump_fsm, None);
        assert_eq!(config.mapping.cache, cache::Config::default());
        assert_eq!(config.web.listen.addresses, [":9102"]);
        assert_eq!(config.web.config_file, None);
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
    fn addresses_may_be_several_but_not_for_the_reference() {
        let config = config(&[
            "--statsd.listen-udp=:1",
            "--statsd.listen-udp=:2",
            "--statsd.listen-tcp=",
            "--statsd.listen-unixstream=/run/s",
            "--statsd.unixsocket-group=statsd",
            "--web.listen-address=:3",
            "--web.listen-address=unix:/run/w",
            "--web.unixsocket-mode=660",
        ]);
        assert_eq!((config.net.udp, config.net.tcp), (vec![":1".into(), ":2".into()], vec![]));
        assert_eq!(config.net.unixstream, [PathBuf::from("/run/s")]);
        assert_eq!(
            (config.net.access.flags, config.net.access.group.as_str()),
            ("--statsd", "statsd")
        );
        assert_eq!(config.web.listen.addresses, [":3", "unix:/run/w"]);
        assert_eq!(
            (config.web.listen.access.flags, config.web.listen.access.mode.as_str()),
            ("--web", "660")
        );
        for flag in ["--statsd.listen-udp", "--statsd.listen-tcp", "--web.listen-address"] {
            let arg = format!("{flag}=:1");
            let refusal = ConfigError::Repeated(flag);
            check(&["--compat=reference", &arg, &arg], Err(refusal));
        }
    }

    #[test]
    fn sockets_from_systemd_take_the_place_of_ours() {
        let config = config(&["--statsd.systemd-socket", "--web.listen-address=:3"]);
        assert_eq!(config.inherited, Wanted { statsd: true, web: false });
        assert!(config.net.udp.is_empty() && config.net.tcp.is_empty());
        assert_eq!(config.web.listen.addresses, [":3"]);
        let config = load(&["--web.systemd-socket", "--web.listen-address=:3"]).expect("flags");
        assert!(config.web.listen.addresses.is_empty() && config.net.udp == [":9125"]);
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
    fn nothing_is_limited_unless_asked_for() {
        let limits = config(&[]).limits;
        assert_eq!((limits.series, limits.intake), (None, Intake::default()));
        let streams = StreamLimits { connections: None, idle: None };
        assert_eq!(config(&["--limits.idle-time=0"]).net.streams, streams);
        let flags = ["--limits.connections=9", "--limits.idle-time=1m30s"];
        let streams = StreamLimits { connections: Some(9), idle: Some(Duration::from_secs(90)) };
        assert_eq!(config(&flags).net.streams, streams);
    }

    #[test]
    fn limits_and_tags_are_as_the_flags_say() {
        let flags = [
            "--limits.series=1e6",
            "--limits.series-per-family=5",
            "--limits.values-per-label=7",
            "--limits.on-limit=drop",
            "--limits.name-length=200",
            "--limits.label-length=100",
            "--tags.drop=pod,*_id",
            "--tags.keep=env",
            "--tags.rename=stage=env,u=user",
            "--tags.add=team=a=b",
        ];
        let Limits { series, intake } = config(&flags).limits;
        assert_eq!(series, Some(1_000_000));
        let Intake { tags, limits } = intake;
        assert_eq!((limits.series(), limits.values_of("any")), (Some(5), Some(7)));
        assert!(!limits.overflows());
        assert_eq!((limits.name_bytes, limits.value_bytes), (200, 100));
        let label = |key| tags.label(key).map(Cow::into_owned);
        let labels = ["stage", "pod", "request_id", "other"].map(label);
        assert_eq!(labels, [Some("env".to_owned()), None, None, None]);
        assert_eq!(tags.added().collect::<Vec<_>>(), [("team", "a=b")]);
    }

    #[test]
    fn limits_need_a_page_that_counts_and_labels_need_names() {
        for flag in ["--limits.series=1", "--limits.label-length=1", "--tags.drop=a"] {
            check(&["--compat=reference", flag], Err(ConfigError::LimitsOfReference));
        }
        check(&["--compat=reference", "--limits.idle-time=1s"], Ok(()));
        for (flag, name) in [("--tags.rename", "b-c"), ("--tags.add", "__x")] {
            let arg = if flag == "--tags.add" { "__x=1" } else { "a=b-c" };
            let refusal = ConfigError::LabelName { flag, name: name.to_owned() };
            check(&[flag, arg], Err(refusal));
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
