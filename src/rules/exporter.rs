//! Alerts on the exporter itself, by the metrics it has about its own work.
//!
//! Those that begin with `statsd_exporter_` are the reference's as well, so these alerts hold for
//! it too; the others are silent there.

use std::collections::BTreeMap;

use super::expression::duration;
use super::proof::{Input, constant, rising};
use super::thresholds::{AlertKind, Condition, Thresholds};
use super::{Alert, Proof, Rule};

mod workers;

const TARGET: [(&str, &str); 2] = [("job", "tallyd"), ("instance", "tallyd:9102")];
/// For how long a failed reload is told, within what time a push to Grafana should succeed, and how
/// long ago a listener must have received for its silence to be odd.
const LONG_SECONDS: u64 = 3600;

/// One alert on the exporter.
struct Row {
    kind: AlertKind,
    name: &'static str,
    /// What is compared with the threshold, or the whole condition of alerts without one.
    expr: String,
    /// The part after a comparison with the threshold.
    only: &'static str,
    summary: &'static str,
    description: &'static str,
    fires: Vec<Sent>,
    rests: Vec<Sent>,
    /// A label that the alert has beside job and instance, with its value in the proof.
    label: Option<Told>,
}

/// A label and its value in a proof.
type Told = (&'static str, &'static str);

/// A series of a proof: name, a label, and how it goes on.
type Sent = (&'static str, Option<Told>, Course);

/// How a series of a proof goes on.
#[derive(Clone, Copy)]
enum Course {
    /// Rises by so much a minute.
    Rises(u64),
    /// Stays.
    Is(f64),
    /// Is 1 until the alert begins to hold, and then 0.
    Falls,
    /// Is not there until the alert begins to hold, and then 1.
    Appears,
    /// Rises until a window before the alert begins to hold, and then stays.
    Stops,
}

/// Every alert on the exporter that somebody wants.
pub(super) fn rules(thresholds: &Thresholds) -> Vec<Rule> {
    let window = duration(thresholds.window_seconds);
    let rows = [availability, losses, errors, accidents, limits, connections, workers::rows]
        .map(|rows| rows(&window));
    let rows = rows.into_iter().flatten().chain([grafana()]);
    rows.filter_map(|row| {
        let condition = thresholds.condition(row.kind, None)?;
        Some(Rule::Alert(Box::new(row.alert(condition, thresholds.window_seconds))))
    })
    .collect()
}

/// Whether it is there and receives.
fn availability(window: &str) -> Vec<Row> {
    let silent = |name, metric: &'static str, summary| Row {
        expr: format!(
            "sum by (job, instance) (rate({metric}[{}])) > 0 unless sum by (job, instance) (rate({metric}[{window}])) > 0",
            duration(LONG_SECONDS)
        ),
        description: "It received within the last hour and does not any more: the clients, the way \
                      to them or the address they send to may have changed.",
        fires: vec![(metric, None, Course::Stops)],
        rests: vec![(metric, None, Course::Rises(60))],
        ..Row::new(AlertKind::ListenerSilent, name, summary)
    };
    vec![
        Row {
            expr: "up == 0 and on (job, instance) last_over_time(statsd_exporter_build_info[1d])"
                .to_owned(),
            description: "Prometheus cannot scrape an exporter that it scraped within the last day. \
                          What clients send meanwhile is lost.",
            fires: vec![
                ("up", None, Course::Falls),
                ("statsd_exporter_build_info", None, Course::Falls),
            ],
            rests: vec![
                ("up", None, Course::Is(1.0)),
                ("statsd_exporter_build_info", None, Course::Is(1.0)),
            ],
            ..Row::new(AlertKind::Down, "TallydDown", "{{ $labels.instance }} cannot be scraped")
        },
        silent(
            "TallydReceivesNothing",
            "statsd_exporter_lines_total",
            "{{ $labels.instance }} receives no lines any more",
        ),
        silent(
            "TallydUdpSilent",
            "statsd_exporter_udp_packets_total",
            "{{ $labels.instance }} receives nothing over UDP any more",
        ),
        silent(
            "TallydUnixgramSilent",
            "statsd_exporter_unixgram_packets_total",
            "{{ $labels.instance }} receives nothing over its Unix socket any more",
        ),
    ]
}

/// What came and was lost.
fn losses(window: &str) -> Vec<Row> {
    vec![
        Row::rising(
            AlertKind::KernelDrops,
            "TallydKernelDrops",
            "{{ $labels.instance }} loses {{ $value | humanize }} datagrams a second at {{ $labels.listener }}",
            ("tallyd_udp_kernel_drops_total", Some(("listener", "udp")), window),
        )
        .because(
            "The kernel drops datagrams because a socket's buffer is full: the exporter has too \
             little CPU, or bursts are larger than --statsd.read-buffer.",
        ),
        Row::rising(
            AlertKind::TruncatedDatagrams,
            "TallydDatagramsTruncated",
            "{{ $labels.instance }} receives datagrams that are too long",
            ("tallyd_truncated_datagrams_total", None, window),
        )
        .because("The end of such a datagram is lost; let clients send shorter ones."),
        Row::rising(
            AlertKind::LongLines,
            "TallydLinesTooLong",
            "{{ $labels.instance }} receives lines over TCP that are too long",
            ("statsd_exporter_tcp_too_long_lines_total", None, window),
        )
        .because("Such a line is lost; does the client end its lines?"),
        Row::rising(
            AlertKind::RelayDrops,
            "TallydRelayDrops",
            "{{ $labels.instance }} cannot pass on {{ $value | humanize }} lines a second",
            ("tallyd_relay_dropped_lines_total", Some(("target", "relay:9125")), window),
        )
        .because("Datagrams to the relay's target cannot be sent."),
    ]
}

/// What came and could not be understood.
fn errors(window: &str) -> Vec<Row> {
    vec![
        Row::share(
            AlertKind::SampleErrors,
            "TallydSampleErrors",
            "{{ $value | humanizePercentage }} of the lines at {{ $labels.instance }} are bad: {{ $labels.reason }}",
            ("statsd_exporter_sample_errors_total", Some(("reason", "some")), "statsd_exporter_lines_total", window),
        )
        .because("A client sends what is no StatsD; the log at level debug tells the lines."),
        Row::share(
            AlertKind::EventErrors,
            "TallydEventErrors",
            "{{ $value | humanizePercentage }} of the events at {{ $labels.instance }} are refused: {{ $labels.reason }}",
            ("statsd_exporter_events_error_total", Some(("reason", "some")), "statsd_exporter_events_total", window),
        )
        .because("Values or names of a client make no sense; the log at level debug tells them."),
        Row::share(
            AlertKind::TagErrors,
            "TallydTagErrors",
            "{{ $value | humanizePercentage }} of the tags at {{ $labels.instance }} cannot be read",
            ("statsd_exporter_tag_errors_total", None, "statsd_exporter_tags_total", window),
        )
        .because("A client writes tags in a way that is not the one of its protocol."),
    ]
}

/// What must not happen once.
fn accidents(window: &str) -> Vec<Row> {
    vec![
        Row {
            expr: happened(
                "statsd_exporter_events_conflict_total",
                "",
                "job, instance, metric_name",
                window,
            ),
            description: "Clients use this name with two types, or it is taken; the samples of one of \
                          them are lost.",
            fires: vec![(
                "statsd_exporter_events_conflict_total",
                Some(("metric_name", "a")),
                Course::Appears,
            )],
            rests: vec![(
                "statsd_exporter_events_conflict_total",
                Some(("metric_name", "a")),
                Course::Is(3.0),
            )],
            label: Some(("metric_name", "a")),
            ..Row::new(
                AlertKind::Conflicts,
                "TallydConflicts",
                "{{ $labels.instance }} refuses samples of {{ $labels.metric_name }}",
            )
        },
        Row {
            expr: happened(
                "statsd_exporter_config_reloads_total",
                "{outcome=\"failure\"}",
                "job, instance",
                &duration(LONG_SECONDS),
            ) + " > 0",
            description: "The mapping file on disk has an error and the one before is in force; the \
                          log tells where.",
            fires: vec![(
                "statsd_exporter_config_reloads_total",
                Some(("outcome", "failure")),
                Course::Appears,
            )],
            rests: vec![(
                "statsd_exporter_config_reloads_total",
                Some(("outcome", "failure")),
                Course::Is(1.0),
            )],
            ..Row::new(
                AlertKind::ReloadFailed,
                "TallydReloadFailed",
                "{{ $labels.instance }} could not load its mapping file",
            )
        },
    ]
}

/// Whether dashboards reach Grafana.
fn grafana() -> Row {
    const PUSHES: &str = "tallyd_grafana_pushes_total";
    let (failed, written) = (Some(("outcome", "failed")), Some(("outcome", "written")));
    let pushes = |outcomes| {
        let long = duration(LONG_SECONDS);
        format!("sum by (job, instance) (rate({PUSHES}{{outcome{outcomes}}}[{long}])) > 0")
    };
    Row {
        expr: format!("{} unless {}", pushes("=\"failed\""), pushes("=~\"written|unchanged\"")),
        description: "No push has succeeded within the last hour; /api/v1/grafana and the log tell why.",
        fires: vec![(PUSHES, failed, Course::Rises(1)), (PUSHES, written, Course::Is(3.0))],
        rests: vec![(PUSHES, failed, Course::Rises(1)), (PUSHES, written, Course::Rises(1))],
        ..Row::new(
            AlertKind::Grafana,
            "TallydGrafanaUnreached",
            "{{ $labels.instance }} cannot bring its dashboards to Grafana",
        )
    }
}

/// What comes near a limit.
fn limits(window: &str) -> Vec<Row> {
    vec![
        Row::rising(
            AlertKind::Limited,
            "TallydLimitReached",
            "{{ $labels.instance }} has no room for {{ $value | humanize }} samples a second of {{ $labels.metric }}",
            ("tallyd_limited_samples_total", Some(("metric", "a")), window),
        )
        .because(
            "New series go to an overflow series or are lost; the label `label` of \
             tallyd_limited_samples_total tells which one has too many values.",
        ),
        Row {
            expr: "max by (job, instance) (tallyd_series)".to_owned(),
            description: "Each series costs memory here and in Prometheus; does a label hold ids?",
            fires: vec![("tallyd_series", None, Course::Is(1e12))],
            rests: vec![("tallyd_series", None, Course::Is(0.0))],
            ..Row::new(
                AlertKind::Series,
                "TallydSeriesHigh",
                "{{ $labels.instance }} keeps {{ $value | humanize }} series",
            )
        },
        Row {
            // Without a mapping file all events are unmapped, and meant to be.
            only: " and on (job, instance) statsd_exporter_loaded_mappings > 0",
            ..Row::share(
                AlertKind::Unmapped,
                "TallydUnmapped",
                "{{ $labels.instance }} has no rule for {{ $value | humanizePercentage }} of the events",
                ("statsd_exporter_events_unmapped_total", None, "statsd_exporter_events_total", window),
            )
            .because("Names that no rule of the mapping matches are exposed as they are.")
            .besides(("statsd_exporter_loaded_mappings", None, Course::Is(3.0)))
        },
    ]
}

/// Whether clients can connect.
fn connections(window: &str) -> Vec<Row> {
    let turned_away = Some(("reason", "limit"));
    vec![
        Row {
            expr: format!(
                "sum by (job, instance) (rate(tallyd_connections_closed_total{{reason=\"limit\"}}[{window}]))"
            ),
            description: "As many are open as --limits.connections or the number of open files allows.",
            fires: vec![("tallyd_connections_closed_total", turned_away, Course::Rises(60))],
            rests: vec![("tallyd_connections_closed_total", turned_away, Course::Is(60.0))],
            ..Row::new(
                AlertKind::Connections,
                "TallydConnectionsRefused",
                "{{ $labels.instance }} turns away {{ $value | humanize }} connections a second",
            )
        },
        Row {
            expr: "process_open_fds / process_max_fds".to_owned(),
            only: " and on (job, instance) statsd_exporter_build_info",
            description: "Each TCP connection needs one; beyond the last no client can connect.",
            fires: vec![
                ("process_open_fds", None, Course::Is(100.0)),
                ("process_max_fds", None, Course::Is(100.0)),
            ],
            rests: vec![
                ("process_open_fds", None, Course::Is(0.0)),
                ("process_max_fds", None, Course::Is(100.0)),
            ],
            ..Row::new(
                AlertKind::FileDescriptors,
                "TallydFileDescriptors",
                "{{ $labels.instance }} has used {{ $value | humanizePercentage }} of its file descriptors",
            )
        }
        .besides(("statsd_exporter_build_info", None, Course::Is(1.0))),
    ]
}

/// How much a counter rose within a time, the first increment included: the series appears with
/// it, which `increase` does not see.
fn happened(metric: &str, matcher: &str, by: &str, window: &str) -> String {
    let series = format!("{metric}{matcher}");
    format!(
        "sum by ({by}) (({series} unless {series} offset {window}) or increase({series}[{window}]))"
    )
}

impl Row {
    fn new(kind: AlertKind, name: &'static str, summary: &'static str) -> Self {
        Self {
            kind,
            name,
            expr: String::new(),
            only: "",
            summary,
            description: "",
            fires: Vec::new(),
            rests: Vec::new(),
            label: None,
        }
    }

    /// A counter that must not rise faster than so much: its name, a label to tell, the window.
    fn rising(
        kind: AlertKind,
        name: &'static str,
        summary: &'static str,
        (metric, label, window): (&'static str, Option<Told>, &str),
    ) -> Self {
        let by = label.map_or(String::new(), |(label, _)| format!(", {label}"));
        Self {
            expr: format!("sum by (job, instance{by}) (rate({metric}[{window}]))"),
            fires: vec![(metric, label, Course::Rises(6_000_000))],
            rests: vec![(metric, label, Course::Is(6000.0))],
            label,
            ..Self::new(kind, name, summary)
        }
    }

    /// A counter that must not be more than a share of another one: its name, a label to tell, the
    /// other one's name, the window.
    fn share(
        kind: AlertKind,
        name: &'static str,
        summary: &'static str,
        (metric, label, all, window): (&'static str, Option<Told>, &'static str, &str),
    ) -> Self {
        let sum =
            |metric, by: &str| format!("sum by (job, instance{by}) (rate({metric}[{window}]))");
        let (by, join) = match label {
            Some((label, _)) => (format!(", {label}"), "on (job, instance) group_left () "),
            None => (String::new(), ""),
        };
        Self {
            expr: format!("{} / {join}{}", sum(metric, &by), sum(all, "")),
            fires: vec![(metric, label, Course::Rises(60)), (all, None, Course::Rises(60))],
            rests: vec![(metric, label, Course::Is(60.0)), (all, None, Course::Rises(60))],
            label,
            ..Self::new(kind, name, summary)
        }
    }

    fn because(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// The same with a series that is there in both cases.
    fn besides(mut self, sent: Sent) -> Self {
        self.fires.push(sent);
        self.rests.push(sent);
        self
    }

    fn alert(self, condition: Condition, window_seconds: u64) -> Alert {
        let times = Times::of(self.kind, &condition, window_seconds);
        let input = |sent: &Sent| sent.2.input(sent.0, sent.1, &times);
        let labels = TARGET.into_iter().chain(self.label);
        let proof = Proof {
            fires: self.fires.iter().map(input).collect(),
            rests: self.rests.iter().map(input).collect(),
            minute: times.end,
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        let expr = if self.kind.has_threshold() {
            format!("{} > {}{}", self.expr, condition.threshold, self.only)
        } else {
            self.expr
        };
        let name = self.name.to_owned();
        let runbook = condition.runbook_url.map(|url| url.replace("{alert}", &name));
        let annotations = runbook.map(|url| ("runbook_url".to_owned(), url)).into_iter().collect();
        let alert = Alert {
            name,
            plain_expr: expr.clone(),
            expr,
            for_seconds: condition.for_seconds,
            labels: condition.labels,
            annotations,
            proof: Some(proof),
        };
        alert.saying(self.summary.to_owned(), self.description.to_owned())
    }
}

/// The minutes of a proof.
struct Times {
    /// When the alert begins to hold.
    begin: u64,
    /// When it is looked at.
    end: u64,
    window: u64,
}

impl Times {
    fn of(kind: AlertKind, condition: &Condition, window_seconds: u64) -> Self {
        let window = window_seconds.div_ceil(60);
        let looks_back = match kind {
            AlertKind::ListenerSilent | AlertKind::ReloadFailed | AlertKind::Grafana => {
                LONG_SECONDS / 60
            }
            _ => window,
        };
        let begin = looks_back + window + 2;
        // The rule sees a minute later what happens at a scrape.
        Self { begin, end: begin + condition.for_seconds.div_ceil(60) + 1, window }
    }
}

impl Course {
    fn input(self, name: &str, label: Option<Told>, times: &Times) -> Input {
        let labels: BTreeMap<&str, &str> = TARGET.into_iter().chain(label).collect();
        let labels: Vec<(&str, &str)> = labels.into_iter().collect();
        let Times { begin, end, window } = *times;
        let values = match self {
            Self::Rises(step) => rising(step, end),
            Self::Is(value) => constant(value, end),
            Self::Falls => format!("1x{begin} 0x{end}"),
            Self::Appears => format!("_x{begin} 1x{end}"),
            Self::Stops => {
                let stop = begin - window;
                format!("0+60x{stop} {}x{end}", 60 * stop)
            }
        };
        Input::new(name, &labels, values)
    }
}
