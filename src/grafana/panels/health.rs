//! The exporter's own health.

use serde::{Deserialize, Serialize};

use crate::grafana::panel::{Panel, Query, Row, View};
use crate::grafana::promql::TARGETS;

/// Whose own metrics there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    /// tallyd's.
    #[default]
    Tallyd,
    /// Those that tallyd shares with `statsd_exporter`.
    Reference,
    /// None that are of interest.
    Unknown,
}

/// A series that every target of interest has, so that processes of others stay out.
const MARK: &str = "statsd_exporter_build_info";

impl Exporter {
    /// The name of a series that every target has.
    #[must_use]
    pub fn mark(self) -> &'static str {
        if self == Self::Unknown { "up" } else { MARK }
    }

    /// The numbers to see first.
    #[must_use]
    pub fn stats(self) -> Vec<Panel> {
        if self == Self::Unknown {
            return Vec::new();
        }
        let up = format!("avg(up{{{TARGETS}}} and on (job) {MARK}{{{TARGETS}}})");
        let mut stats = vec![
            Panel::stat("own:up", "Exporters up", up)
                .unit("percentunit")
                .range(Some(0.0), Some(1.0))
                .thresholds("red", &[(0.5, "orange"), (1.0, "green")])
                .about("The share of the exporters that Prometheus reaches."),
            Panel::stat("own:samples:now", "Samples", sum_rate("statsd_exporter_samples_total"))
                .unit("cps")
                .about("Samples that clients send, per second."),
            Panel::stat(
                "own:drops:now",
                "Lost datagrams",
                format!(
                    "sum(increase(statsd_exporter_udp_packet_drops_total{{{TARGETS}}}[$__range]))"
                ),
            )
            .thresholds("green", &[(1.0, "red")])
            .about("Datagrams dropped in the time shown, before they could be read."),
        ];
        if self == Self::Tallyd {
            stats.push(
                Panel::stat("own:series:now", "Series", format!("sum(tallyd_series{{{TARGETS}}})"))
                    .about("Series that are alive."),
            );
        }
        stats
    }

    /// The row about the exporter itself, if it has one.
    #[must_use]
    pub fn row(self) -> Option<Row> {
        if self == Self::Unknown {
            return None;
        }
        let mut panels = vec![
            by("own:samples", "Samples by type", ("type", "statsd_exporter_events_total"))
                .about("Samples per second by type."),
        ];
        panels.extend(self.intake());
        panels.extend(self.faults());
        panels.extend(self.process());
        Some(Row { title: "Exporter".to_owned(), is_collapsed: false, panels })
    }

    fn intake(self) -> Vec<Panel> {
        let unmapped = format!(
            "{} / {}",
            sum_rate("statsd_exporter_events_unmapped_total"),
            sum_rate("statsd_exporter_events_total")
        );
        let mut panels = match self {
            Self::Tallyd => {
                vec![
                    by("own:lines", "Lines by outcome", ("outcome", "tallyd_lines_total"))
                        .about("Lines per second, by what became of them."),
                ]
            }
            Self::Reference | Self::Unknown => {
                let query = Query::new(sum_rate("statsd_exporter_lines_total"), "lines");
                let panel = Panel::lines("own:lines", "Lines", vec![query]);
                vec![panel.unit("cps").about("Lines per second.")]
            }
        };
        panels.push(
            Panel::lines("own:unmapped", "Unmapped share", vec![Query::new(unmapped, "unmapped")])
                .unit("percentunit")
                .range(Some(0.0), Some(1.0))
                .about("The share of samples that no mapping rule was found for."),
        );
        panels
    }

    fn faults(self) -> Vec<Panel> {
        let faults = |name, label| Query::new(with_zero(name, label), format!("{{{{{label}}}}}"));
        let refused = vec![faults("statsd_exporter_sample_errors_total", "reason")];
        let events = vec![
            faults("statsd_exporter_events_error_total", "reason"),
            Query::new(
                with_zero("statsd_exporter_events_conflict_total", "type"),
                "conflict: {{type}}",
            ),
        ];
        let mut lost =
            vec![Query::new(sum_rate("statsd_exporter_udp_packet_drops_total"), "dropped")];
        if self == Self::Tallyd {
            lost.push(Query::new(sum_rate("tallyd_truncated_datagrams_total"), "cut off"));
        }
        vec![
            Panel::lines("own:errors", "Refused samples", refused)
                .unit("cps")
                .about("Samples per second that cannot be read, by reason."),
            Panel::lines("own:conflicts", "Refused events and conflicts", events)
                .unit("cps")
                .about(
                    "Samples per second that were read, but not taken: by reason, and those whose \
                     name belongs to a metric of another type.",
                ),
            Panel::lines("own:drops", "Lost datagrams", lost)
                .unit("pps")
                .about("Datagrams per second dropped before they were read, or longer than room."),
        ]
    }

    fn process(self) -> Vec<Panel> {
        let ours = |vector: &str| format!("{vector} and on (job, instance) {MARK}{{{TARGETS}}}");
        let plain = |name: &str| format!("max by (job, instance) ({name}{{{TARGETS}}})");
        let per_instance = |vector: String| vec![Query::new(ours(&vector), "{{instance}}")];
        let cpu = format!(
            "sum by (job, instance) (rate(process_cpu_seconds_total{{{TARGETS}}}[$__rate_interval]))"
        );
        let mut panels = vec![
            Panel::lines(
                "own:scrape",
                "Scrape time",
                per_instance(plain("scrape_duration_seconds")),
            )
            .unit("s")
            .about("How long Prometheus waits for the page."),
            Panel::lines("own:cpu", "CPU", per_instance(cpu))
                .about("Processors that are busy with it."),
            Panel::lines(
                "own:memory",
                "Memory",
                per_instance(plain("process_resident_memory_bytes")),
            )
            .unit("bytes")
            .about("Resident memory."),
        ];
        if self == Self::Tallyd {
            let series = format!("sum by (instance) (tallyd_series{{{TARGETS}}})");
            let hits = format!(
                "{} / {}",
                sum_rate("tallyd_line_cache_hits_total"),
                sum_rate("statsd_exporter_lines_total")
            );
            panels.push(
                Panel::lines("own:series", "Series", vec![Query::new(series, "{{instance}}")])
                    .about("Series that are alive."),
            );
            panels.push(
                Panel::lines("own:cache", "Known lines", vec![Query::new(hits, "known")])
                    .unit("percentunit")
                    .range(Some(0.0), Some(1.0))
                    .about("The share of lines that need no parsing, since they came before."),
            );
        }
        panels
    }
}

fn sum_rate(name: &str) -> String {
    format!("sum(rate({name}{{{TARGETS}}}[$__rate_interval]))")
}

fn by(key: &str, title: &str, (label, name): (&str, &str)) -> Panel {
    let promql = format!("sum by ({label}) (rate({name}{{{TARGETS}}}[$__rate_interval]))");
    let queries = vec![Query::new(promql, format!("{{{{{label}}}}}"))];
    Panel::lines(key, title, queries).unit("cps").view(View::Stack)
}

/// The rates of counters that appear with their first fault; a zero called `none` before.
fn with_zero(name: &str, label: &str) -> String {
    let lines = sum_rate("statsd_exporter_lines_total");
    format!(
        "sum by ({label}) (rate({name}{{{TARGETS}}}[$__rate_interval])) \
         or on () label_replace(0 * {lines}, \"{label}\", \"none\", \"\", \"\")"
    )
}
