//! Reasons, and what to do about them, in words.

use super::model::Refusal;
use crate::aggregate::FamilyKind;
use crate::aggregate::standing::Standing;
use crate::ingest::trace::End;
use crate::map::sharing::Combine;
use crate::parse::{Options, Reason};
use crate::sample::Kind;
use crate::telemetry::{EventError, LimitReason};

const SAMPLE_ERRORS: &str = "statsd_exporter_sample_errors_total";
const EVENT_ERRORS: &str = "statsd_exporter_events_error_total";
const TAG_ERRORS: &str = "statsd_exporter_tag_errors_total";
const LIMITED: &str = "tallyd_limited_samples_total";
const CONFLICTS: &str = "statsd_exporter_events_conflict_total";

/// What is wrong with a line, and how it would be right.
pub(super) fn of_reason(reason: Reason, line: &[u8]) -> Refusal {
    let (meaning, advice) = match reason {
        Reason::MalformedLine if str::from_utf8(line).is_err() => {
            ("the line is not UTF-8", "send names and tags as UTF-8")
        }
        Reason::MalformedLine if line.first() == Some(&b':') => {
            ("there is no name before the `:`", "write NAME:VALUE|TYPE")
        }
        Reason::MalformedLine => ("there is no `:` after the name", "write NAME:VALUE|TYPE"),
        Reason::MixedTaggingStyles => (
            "there are tags in the name and behind `|#` as well",
            "write all tags in one way, best behind `|#`",
        ),
        Reason::NotEnoughPartsAfterColon => (
            "there is no type: no `|` follows the value",
            "write NAME:VALUE|TYPE, with the type c, g, ms, h, d or s",
        ),
        Reason::InvalidExtendedAggregateType => (
            "several values (1:2:3) of a type that cannot have them, or of an unknown one",
            "write one line for each value",
        ),
        Reason::MalformedComponent => (
            "a section between two `|` is empty or broken, or there are too many",
            "write NAME:VALUE|TYPE|@RATE|#TAG:VALUE,… without empty parts",
        ),
        Reason::MalformedValue => (
            "the value is not a number",
            "write a number with a decimal point, without blanks or unit",
        ),
        Reason::InvalidSampleFactor => (
            "a rate that is no number above 0, or a section that nobody knows",
            "write the rate as @0.1, and tags behind `#`",
        ),
        Reason::MalformedContainerId => (
            "a section that begins with `c` is no container id",
            "write it as c:ID, or leave it out",
        ),
        Reason::IllegalEvent => (
            "the type is none that can be taken",
            "use c (counter), g (gauge), ms (timer), h, d or s (set)",
        ),
    };
    refusal(SAMPLE_ERRORS, reason.as_str(), meaning, advice)
}

/// What is wrong with a sample's value or name.
pub(super) fn of_event_error(error: EventError) -> Refusal {
    let (meaning, advice) = match error {
        EventError::IllegalNegativeCounter => {
            ("a counter cannot fall", "send a gauge (|g), or give the rule `counter_mode: updown`")
        }
        EventError::EmptyMetricName => (
            "no name is left for the metric",
            "look at `name` in the rule: a `$1` that stands for nothing leaves it empty",
        ),
        EventError::NonFiniteValue => {
            ("the value is NaN or infinite, which would spoil the series for ever", "send a number")
        }
    };
    refusal(EVENT_ERRORS, error.as_str(), meaning, advice)
}

/// Whose name it is.
pub(super) fn of_conflict(name: &str, kind: FamilyKind, standing: &Standing) -> Refusal {
    let kind = kind.as_str();
    let meaning = match standing {
        Standing::Taken(family) if *family.name == *name => {
            format!("`{name}` is a {} already, so it cannot be a {kind}", family.kind.as_str())
        }
        Standing::Taken(family) => format!(
            "`{name}` and the samples of the {} `{}` would share names",
            family.kind.as_str(),
            family.name
        ),
        Standing::Own => format!("`{name}` is one of the server's own metrics"),
        _ => format!("`{name}` cannot be a {kind}: the name belongs to another type"),
    };
    let advice = "give one of the two another name by a rule, with `match_metric_type` if the \
                  client's names are the same";
    refusal(CONFLICTS, "", &meaning, advice)
}

/// What is too many or too long.
pub(super) fn of_limit(reason: LimitReason) -> Refusal {
    let (meaning, advice) = match reason {
        LimitReason::Series => ("there are as many series as there may be", "--limits.series"),
        LimitReason::SeriesPerFamily => (
            "the family has as many series as it may have",
            "--limits.series-per-family, or `max_series` in the rule",
        ),
        LimitReason::ValuesPerLabel => (
            "a label has as many values as it may have",
            "--limits.values-per-label, or `max_label_values` in the rule",
        ),
        LimitReason::NameLength => {
            ("the name, or that of a label, is too long", "--limits.name-length")
        }
        LimitReason::LabelLength => ("the value of a label is too long", "--limits.label-length"),
    };
    let advice =
        format!("send fewer or shorter ones, drop the tag (`drop_tags`), or raise {advice}");
    refusal(LIMITED, reason.as_str(), meaning, &advice)
}

/// More senders than a series has places for.
pub(super) fn of_senders() -> Refusal {
    let meaning = "the series has as many senders as it has places for";
    refusal("", "", meaning, "have fewer senders in one series, by a label for some of them")
}

/// How gauges of several senders become one, as the mapping file calls it.
pub(super) fn mode(how: Combine) -> &'static str {
    match how {
        Combine::Sum => "sum",
        Combine::Avg => "avg",
        Combine::Min => "min",
        Combine::Max => "max",
        Combine::MinSeen => "min_seen",
        Combine::MaxSeen => "max_seen",
    }
}

/// A rate above 1 under the reference's rules.
pub(super) fn of_no_event() -> Refusal {
    refusal("", "", "at this rate the sample stands for no event", "send a rate of at most 1")
}

/// Tags without a key, a value or a separator.
pub(super) fn of_bad_tags(count: u64) -> Refusal {
    let meaning = format!("left out: {count} without a key, a value or the mark between them");
    refusal(TAG_ERRORS, "", &format!("tags {meaning}"), "write every tag with a key and a value")
}

/// Tags that Prometheus would not take.
pub(super) fn of_reserved_tags(count: u64) -> Refusal {
    let meaning = format!("tags left out: {count} whose name begins with `__` as a label");
    refusal(TAG_ERRORS, "", &meaning, "Prometheus keeps such names for itself; rename the tag")
}

fn refusal(counter: &str, reason: &str, meaning: &str, advice: &str) -> Refusal {
    Refusal {
        reason: reason.to_owned(),
        counter: counter.to_owned(),
        meaning: meaning.to_owned(),
        advice: advice.to_owned(),
    }
}

/// What in a name looks like tags of a dialect that is off.
pub(super) fn notes(name: &str, options: Options) -> Vec<String> {
    let marks = [
        (';', options.graphite_tags, "Graphite tags", "--statsd.parse-graphite-tags reads them"),
        (',', options.influxdb_tags, "InfluxDB tags", "--statsd.parse-influxdb-tags is off"),
        ('#', options.librato_tags, "Librato tags", "--statsd.parse-librato-tags is off"),
        ('[', options.signalfx_tags, "SignalFx tags", "--statsd.parse-signalfx-tags is off"),
    ];
    let unread = marks.iter().filter(|(mark, is_on, ..)| !is_on && name.contains(*mark));
    unread
        .map(|(mark, _, dialect, advice)| {
            format!("`{mark}` in the name looks like {dialect}; {advice}")
        })
        .collect()
}

/// What clients call a kind.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Timer => "timer",
        Kind::Histogram => "histogram",
        Kind::Distribution => "distribution",
        Kind::Set => "set",
    }
}

/// Where a sample's way ends, in a word.
pub(super) fn end(end: End) -> &'static str {
    match end {
        End::Reached => "reached",
        End::Dropped => "dropped",
        End::Conflict => "conflict",
        End::Limited(_) | End::OneSenderTooMany => "limited",
        End::Refused(_) | End::NoEvent => "refused",
    }
}

/// What a series meets on a server.
pub(super) fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Free => "the server has no such family yet".to_owned(),
        Standing::NewSeries(family) => {
            format!("the server has the family, a {}, without this series", family.kind.as_str())
        }
        Standing::Known(_) => "the server has this series".to_owned(),
        Standing::Taken(family) => {
            format!("the server has the {} `{}`", family.kind.as_str(), family.name)
        }
        Standing::Own => "the name is one of the server's own".to_owned(),
    }
}
