//! How full servers of others are: `tallyd_server_*`.

use super::{OwnFamily, counter, label};
use crate::expose::FamilyKind;
use crate::saturation::{Facts, Saturation, Source};

/// A family about servers, whatever there is in it at the moment.
#[derive(Debug)]
pub struct ServerFamily {
    /// The name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: FamilyKind,
    /// Who tells of it.
    pub sources: &'static [Source],
    /// The label that it has beside `address`, `app` and `source`, with all values.
    pub label: Option<(&'static str, &'static [&'static str])>,
    values: fn(&Facts) -> Vec<(&'static str, f64)>,
}

const ALL: &[Source] = &[Source::Gunicorn, Source::Socket, Source::UwsgiPush, Source::UwsgiStats];
const ASKED: &[Source] = &[Source::Socket, Source::UwsgiStats];
const WITH_WORKERS: &[Source] = &[Source::Gunicorn, Source::UwsgiPush, Source::UwsgiStats];
const REASONS: &[&str] = &["connect", "invalid", "read", "timeout", "too_large", "unreadable"];
const STATES: &[&str] = &["busy", "cheap", "idle", "other", "paused", "unknown"];

/// The families that there can be, sorted by name.
pub static FAMILIES: [ServerFamily; 11] = [
    gauge(
        ("tallyd_server_backlog", ALL),
        "Connections that wait to be accepted; of gunicorn the mean of the last minute.",
        |facts| one(facts.backlog.length),
    ),
    gauge(
        ("tallyd_server_backlog_fill_ratio", &[Source::Socket]),
        "How full the fullest accept queue was at a look within the last minute; 1 at its limit.",
        |facts| one(facts.backlog.fill_ratio),
    ),
    gauge(("tallyd_server_backlog_limit", ASKED), "Connections that may wait.", |facts| {
        one(facts.backlog.limit)
    }),
    gauge(
        ("tallyd_server_backlog_longest", &[Source::Socket]),
        "The most connections that waited at a look within the last minute.",
        |facts| one(facts.backlog.longest),
    ),
    gauge(
        ("tallyd_server_busy_ratio", WITH_WORKERS),
        "The part of all threads, or else workers, that is busy; of gunicorn the mean of the last minute.",
        |facts| one(facts.busy_ratio),
    ),
    ServerFamily {
        kind: FamilyKind::Counter,
        ..gauge(
            ("tallyd_server_drops_total", ASKED),
            "Attempts to connect for which there was no room in the accept queue.",
            |facts| one(facts.backlog.drops_total.map(|drops| drops as f64)),
        )
    },
    ServerFamily {
        kind: FamilyKind::Counter,
        label: Some(("reason", REASONS)),
        ..gauge(
            ("tallyd_server_read_failures_total", ASKED),
            "Attempts to look at a server that failed.",
            |facts| {
                let failures = facts.failures.iter().filter(|(_, count)| *count > 0);
                failures.map(|(reason, count)| (*reason, *count as f64)).collect()
            },
        )
    },
    ServerFamily {
        kind: FamilyKind::Counter,
        ..gauge(
            ("tallyd_server_requests_total", &[Source::UwsgiStats]),
            "Requests that all workers together have handled.",
            |facts| one(facts.requests_total.map(|requests| requests as f64)),
        )
    },
    ServerFamily {
        label: Some(("state", STATES)),
        ..gauge(
            ("tallyd_server_threads", &[Source::UwsgiStats]),
            "Threads of the workers by what they do.",
            |facts| facts.threads.clone(),
        )
    },
    gauge(
        ("tallyd_server_up", ASKED),
        "Whether somebody listens there, or answered, at the last look.",
        |facts| one(facts.is_up.map(f64::from)),
    ),
    ServerFamily {
        label: Some(("state", STATES)),
        ..gauge(
            ("tallyd_server_workers", WITH_WORKERS),
            "Worker processes by what they do; of gunicorn the mean of the last minute.",
            |facts| facts.workers.clone(),
        )
    },
];

const fn gauge(
    (name, sources): (&'static str, &'static [Source]),
    help: &'static str,
    values: fn(&Facts) -> Vec<(&'static str, f64)>,
) -> ServerFamily {
    ServerFamily { name, help, kind: FamilyKind::Gauge, sources, label: None, values }
}

fn one(value: Option<f64>) -> Vec<(&'static str, f64)> {
    value.map(|value| ("", value)).into_iter().collect()
}

/// The families as of now.
pub(super) fn families(saturation: &Saturation) -> Vec<OwnFamily> {
    let facts = saturation.facts();
    let family = |family: &ServerFamily| {
        let ServerFamily { name, help, kind, .. } = *family;
        let mut series: Vec<_> = facts.iter().flat_map(|facts| series(family, facts)).collect();
        series.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        OwnFamily { name, help, kind, series }
    };
    let mut all: Vec<OwnFamily> = FAMILIES.iter().map(family).collect();
    all.extend(saturation.listen_drops().map(|drops| {
        counter(
            "tallyd_listen_drops_total",
            "Attempts to connect that the kernel dropped at any listening socket; only where it does not tell for each.",
            drops,
        )
    }));
    all
}

fn series<'a>(
    family: &'a ServerFamily,
    facts: &'a Facts,
) -> impl Iterator<Item = (String, f64)> + 'a {
    (family.values)(facts).into_iter().map(move |(detail, value)| {
        // As on every page, sorted by name.
        let mut labels: Vec<String> =
            facts.address.iter().map(|address| label("address", address)).collect();
        labels.push(label("app", &facts.app));
        labels.push(label("source", facts.source.as_str()));
        labels.extend(family.label.map(|(name, _)| label(name, detail)));
        labels.sort_unstable();
        (labels.join(","), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::own::NAMES;
    use crate::saturation::PREFIX;

    #[test]
    fn families_of_servers_are_known_by_their_names() {
        assert!(FAMILIES.is_sorted_by_key(|family| family.name));
        for family in &FAMILIES {
            assert!(
                family.name.starts_with(PREFIX) && NAMES.contains(&family.name),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn what_is_not_known_has_no_series() {
        let config = crate::saturation::Config {
            uwsgi: vec!["shop=unix:/\"x".parse().unwrap()],
            ..Default::default()
        };
        let saturation = Saturation::new(&config).unwrap().unwrap();
        assert!(families(&saturation).iter().all(|family| family.series.is_empty()));
        let mut facts = saturation.facts().remove(0);
        facts.failures = vec![("connect", 3), ("read", 0)];
        check("tallyd_server_up", &facts, &[]);
        let labels = "address=\"unix:/\\\"x\",app=\"shop\",reason=\"connect\",source=\"uwsgi\"";
        check("tallyd_server_read_failures_total", &facts, &[(labels, 3.0)]);
    }

    #[track_caller]
    fn check(name: &str, facts: &Facts, expected: &[(&str, f64)]) {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let found: Vec<(String, f64)> = series(family, facts).collect();
        let found: Vec<(&str, f64)> = found.iter().map(|(labels, one)| (&**labels, *one)).collect();
        assert_eq!(found, expected);
    }
}
