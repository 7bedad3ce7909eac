//! The workers of pre-fork servers: `tallyd_workers*` and `tallyd_worker_*`, where some are looked at.

use super::{OwnFamily, label};
use crate::expose::FamilyKind;
use crate::workers::{Report, RoleReport, Spread};

/// A value of a role, if it has one.
type Value = fn(&RoleReport) -> Option<f64>;

/// What each role has, by one value.
const OF_ROLES: [(&str, &str, FamilyKind, Value); 12] = [
    ("tallyd_workers", "Workers that live.", FamilyKind::Gauge, |role| Some(role.alive as f64)),
    (
        "tallyd_workers_started_total",
        "Workers that have begun while tallyd looked.",
        FamilyKind::Counter,
        |role| Some(role.started as f64),
    ),
    (
        "tallyd_workers_gone_total",
        "Workers that have ended while tallyd looked.",
        FamilyKind::Counter,
        |role| Some(role.gone as f64),
    ),
    (
        "tallyd_workers_cpu_seconds_total",
        "CPU time that workers have used while tallyd looked, those that are gone included.",
        FamilyKind::Counter,
        |role| (role.hidden_usage == 0).then_some(role.cpu_seconds),
    ),
    (
        "tallyd_worker_cpu_min_ratio",
        "Processors that the least busy worker kept busy over the last minute.",
        FamilyKind::Gauge,
        |role| role.cpu.map(|cpu| cpu.min),
    ),
    (
        "tallyd_worker_cpu_max_ratio",
        "Processors that the busiest worker kept busy over the last minute.",
        FamilyKind::Gauge,
        |role| role.cpu.map(|cpu| cpu.max),
    ),
    (
        "tallyd_workers_resident_memory_bytes",
        "Resident memory of all workers; what they share counts for each of them.",
        FamilyKind::Gauge,
        |role| sum(role.resident_bytes, role.alive),
    ),
    (
        "tallyd_worker_resident_memory_min_bytes",
        "Resident memory of the smallest worker.",
        FamilyKind::Gauge,
        |role| role.resident_bytes.map(|bytes| bytes.min),
    ),
    (
        "tallyd_worker_resident_memory_max_bytes",
        "Resident memory of the largest worker.",
        FamilyKind::Gauge,
        |role| role.resident_bytes.map(|bytes| bytes.max),
    ),
    (
        "tallyd_workers_open_files",
        "Open file descriptors of all workers.",
        FamilyKind::Gauge,
        |role| sum(role.open_files, role.alive),
    ),
    (
        "tallyd_worker_open_files_min",
        "Open file descriptors of the worker with the fewest.",
        FamilyKind::Gauge,
        |role| role.open_files.map(|files| files.min),
    ),
    (
        "tallyd_worker_open_files_max",
        "Open file descriptors of the worker with the most.",
        FamilyKind::Gauge,
        |role| role.open_files.map(|files| files.max),
    ),
];

/// The families that there is something to tell of.
pub(super) fn families(report: &Report) -> Vec<OwnFamily> {
    let of_roles = OF_ROLES.iter().map(|(name, help, kind, value)| {
        let series = report.roles.iter().filter_map(|role| Some((labels(role), value(role)?)));
        OwnFamily { name, help, kind: *kind, series: series.collect() }
    });
    let of_masters = |value: fn(u64, u64) -> u64| {
        let masters = report.masters.iter();
        masters
            .map(|(role, alive, faults)| (label("role", role), value(*alive, *faults) as f64))
            .collect()
    };
    let hidden = report.roles.iter().flat_map(|role| {
        [("open_files", role.hidden_files), ("usage", role.hidden_usage)].map(
            |(resource, count)| {
                let labels = [label("resource", resource), labels(role)].join(",");
                (labels, count as f64)
            },
        )
    });
    let mut hidden: Vec<_> = hidden.collect();
    hidden.sort_by(|a, b| a.0.cmp(&b.0));
    let skews = report.skews.iter().map(|skew| {
        let labels = [label("metric", &skew.family), label("role", &skew.role)].join(",");
        (labels, skew.ratio)
    });
    let gauge = |name, help, series| OwnFamily { name, help, kind: FamilyKind::Gauge, series };
    let others = [
        gauge(
            "tallyd_workers_hidden",
            "Workers that tallyd may not look at: for their open files, or for CPU time and memory.",
            hidden,
        ),
        gauge(
            "tallyd_workers_masters",
            "Master processes that live, of those that pid files name.",
            of_masters(|alive, _| alive),
        ),
        OwnFamily {
            name: "tallyd_workers_pidfile_errors_total",
            help: "Times that a pid file began to be unreadable, or to name no master.",
            kind: FamilyKind::Counter,
            series: of_masters(|_, faults| faults),
        },
        gauge(
            "tallyd_worker_skew_ratio",
            "Mean duration of the slowest worker by that of the one in the middle, over the last minute.",
            skews.collect(),
        ),
    ];
    of_roles.chain(others).collect()
}

fn labels(role: &RoleReport) -> String {
    label("role", &role.name)
}

/// All together; nobody has nothing.
fn sum(spread: Option<Spread>, alive: usize) -> Option<f64> {
    spread.map(|spread| spread.sum).or((alive == 0).then_some(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::own::NAMES;
    use crate::workers::Skew;

    #[test]
    fn what_is_not_known_is_not_shown() {
        let spread = Some(Spread { sum: 3.0, min: 1.0, max: 2.0 });
        let all = role(2, spread, 0);
        check(&all, "tallyd_workers", Some(2.0));
        check(&all, "tallyd_workers_open_files", Some(3.0));
        check(&all, "tallyd_worker_open_files_min", Some(1.0));
        check(&all, "tallyd_worker_resident_memory_max_bytes", Some(2.0));
        let hidden = role(2, None, 2);
        check(&hidden, "tallyd_workers", Some(2.0));
        check(&hidden, "tallyd_workers_open_files", None);
        check(&hidden, "tallyd_worker_cpu_max_ratio", None);
        check(&hidden, "tallyd_workers_cpu_seconds_total", None);
        let nobody = role(0, None, 0);
        check(&nobody, "tallyd_workers_open_files", Some(0.0));
        check(&nobody, "tallyd_worker_open_files_max", None);
    }

    #[test]
    fn every_name_is_reserved_and_every_label_sorted() {
        let report = Report {
            roles: vec![role(2, Some(Spread { sum: 3.0, min: 1.0, max: 2.0 }), 0)],
            masters: vec![("web".into(), 1, 0)],
            skews: vec![Skew { role: "web".into(), family: "t_seconds".into(), ratio: 2.0 }],
        };
        let families = families(&report);
        assert_eq!(families.len(), 16);
        for family in families {
            assert!(NAMES.contains(&family.name), "{} can be taken by a client", family.name);
            assert!(!family.series.is_empty(), "{}", family.name);
            assert!(family.series.is_sorted_by_key(|(labels, _)| labels.clone()));
        }
    }

    fn role(alive: usize, spread: Option<Spread>, hidden: usize) -> RoleReport {
        RoleReport {
            name: "web".into(),
            alive,
            started: 0,
            gone: 0,
            cpu_seconds: 0.0,
            cpu: spread,
            resident_bytes: spread,
            open_files: spread,
            hidden_usage: hidden,
            hidden_files: hidden,
        }
    }

    #[track_caller]
    fn check(role: &RoleReport, name: &str, expected: Option<f64>) {
        let report = Report { roles: vec![role.clone()], ..Report::default() };
        let families = families(&report);
        let family = families.iter().find(|family| family.name == name).unwrap();
        let expected = expected.map(|value| ("role=\"web\"".to_owned(), value));
        assert_eq!(family.series, expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
}
