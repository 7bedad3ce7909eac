//! The kinds of alerts and what holds for them when nobody says otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Condition;

/// What an alert is about; the keys of `alerts:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A quantile of a service's durations, in seconds.
    Latency,
    /// The share of a service's requests that fail.
    Errors,
    /// A service that had requests and has none any more.
    Silence,
    /// A service of which there is no series at all.
    Absence,
    /// A well-known application that says of itself that it does not work.
    Unhealthy,
    /// A well-known application that says of itself that it has too much to do or to keep.
    Strained,
    /// An exporter that is not to be scraped any more.
    Down,
    /// A listener that received and does not receive any more.
    ListenerSilent,
    /// Datagrams the kernel dropped, a second.
    KernelDrops,
    /// Datagrams that were cut because they are too long.
    TruncatedDatagrams,
    /// The share of lines with a bad sample, by reason.
    SampleErrors,
    /// The share of events that were refused, by reason.
    EventErrors,
    /// The share of tags that could not be read.
    TagErrors,
    /// Names that clients use with two types.
    Conflicts,
    /// Samples that a limit kept from a series of their own, a second, by metric.
    Limited,
    /// Connections that were turned away, a second.
    Connections,
    /// Series that are kept.
    Series,
    /// The share of events that no rule of the mapping matches.
    Unmapped,
    /// Lines of TCP connections that are too long.
    LongLines,
    /// Lines that could not be passed on.
    RelayDrops,
    /// A mapping file that could not be loaded.
    ReloadFailed,
    /// The share of the file descriptors that are in use.
    FileDescriptors,
    /// Dashboards that cannot be brought to Grafana.
    Grafana,
    /// A role of a pre-fork server that had workers and has none any more.
    NoWorkers,
    /// Workers that were replaced within the window, for each one that lives.
    WorkerChurn,
    /// How many times as slow the slowest worker is as the one in the middle.
    WorkerSkew,
}

/// What holds for a kind when nobody says otherwise.
struct Defaults {
    name: &'static str,
    /// None where there is nothing to compare.
    threshold: Option<f64>,
    minutes: u64,
    severity: &'static str,
}

impl AlertKind {
    /// The key in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    pub(in crate::rules) fn has_threshold(self) -> bool {
        self.row().threshold.is_some()
    }

    pub(super) fn has_min_rate(self) -> bool {
        matches!(self, Self::Latency | Self::Errors | Self::Silence)
    }

    pub(super) fn defaults(self) -> Condition {
        let Defaults { threshold, minutes, severity, .. } = self.row();
        Condition {
            threshold: threshold.unwrap_or_default(),
            quantile: 0.99,
            // A request in ten seconds: with fewer, one slow or failed request is a large share.
            min_rate: 0.1,
            for_seconds: 60 * minutes,
            labels: BTreeMap::from([("severity".to_owned(), severity.to_owned())]),
            runbook_url: None,
            is_explicit: false,
        }
    }

    fn row(self) -> Defaults {
        let (name, threshold, minutes, severity) = match self {
            Self::Latency => ("latency", Some(1.0), 10, "warning"),
            Self::Errors => ("errors", Some(0.05), 10, "warning"),
            Self::Silence => ("silence", None, 10, "warning"),
            Self::Absence => ("absence", None, 15, "warning"),
            Self::Unhealthy => ("unhealthy", None, 5, "critical"),
            Self::Strained => ("strained", None, 10, "warning"),
            Self::Down => ("down", None, 5, "critical"),
            Self::ListenerSilent => ("listener_silent", None, 10, "warning"),
            Self::KernelDrops => ("kernel_drops", Some(0.0), 5, "critical"),
            Self::TruncatedDatagrams => ("truncated_datagrams", Some(0.0), 5, "warning"),
            Self::SampleErrors => ("sample_errors", Some(0.01), 10, "warning"),
            Self::EventErrors => ("event_errors", Some(0.01), 10, "warning"),
            Self::TagErrors => ("tag_errors", Some(0.01), 10, "warning"),
            Self::Conflicts => ("conflicts", Some(0.0), 0, "warning"),
            Self::Limited => ("limited", Some(0.0), 5, "critical"),
            Self::Connections => ("connections", Some(0.0), 5, "critical"),
            Self::Series => ("series", Some(1e6), 10, "warning"),
            Self::Unmapped => ("unmapped", Some(0.5), 30, "info"),
            Self::LongLines => ("long_lines", Some(0.0), 0, "warning"),
            Self::RelayDrops => ("relay_drops", Some(0.0), 5, "warning"),
            Self::ReloadFailed => ("reload_failed", None, 0, "critical"),
            Self::FileDescriptors => ("file_descriptors", Some(0.8), 10, "warning"),
            Self::Grafana => ("grafana", None, 15, "warning"),
            Self::NoWorkers => ("no_workers", None, 2, "critical"),
            Self::WorkerChurn => ("worker_churn", Some(5.0), 5, "warning"),
            Self::WorkerSkew => ("worker_skew", Some(3.0), 15, "warning"),
        };
        Defaults { name, threshold, minutes, severity }
    }
}
