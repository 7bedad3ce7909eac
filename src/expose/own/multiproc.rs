//! How the reading of workers' files goes.

use std::collections::BTreeMap;

use super::{OwnFamily, counter, counters, gauge, label};
use crate::expose::FamilyKind;
use crate::map::limits::beginning;
use crate::multiproc::facts::Directory;
use crate::multiproc::{Clash, Facts};

/// So many families that are left out are named; the number of others stands for itself.
const MAX_NAMED: usize = 100;

/// The metrics of what files hold and how they are read; `clashes` are the families left out.
#[must_use]
pub fn families<'a>(facts: &Facts, clashes: impl IntoIterator<Item = &'a Clash>) -> Vec<OwnFamily> {
    let of_each = |name, help, kind, value: fn(&Directory) -> u64| {
        let series = |dir: &Directory| (label("dir", &dir.path), value(dir) as f64);
        OwnFamily { name, help, kind, series: facts.directories.iter().map(series).collect() }
    };
    let errors = facts.errors.iter().map(|error| (label("reason", error.reason), error.total));
    let mut all = vec![
        OwnFamily {
            name: "tallyd_multiproc_clashes",
            help: "Families that are left out since another source has their name, by name and source.",
            kind: FamilyKind::Gauge,
            series: left_out(clashes),
        },
        counters(
            "tallyd_multiproc_errors_total",
            "What could not be used of workers' files, by reason.",
            errors,
        ),
        of_each(
            "tallyd_multiproc_files",
            "Workers' files that are read.",
            FamilyKind::Gauge,
            |dir| dir.files,
        ),
        of_each(
            "tallyd_multiproc_file_bytes",
            "Size of workers' files that are read.",
            FamilyKind::Gauge,
            |dir| dir.bytes,
        ),
        of_each(
            "tallyd_multiproc_folded_files_total",
            "Files of workers that were gone, whose counts were taken over.",
            FamilyKind::Counter,
            |dir| dir.folded_files_total,
        ),
        of_each(
            "tallyd_multiproc_reaped_files_total",
            "Files that were unlinked, since what they counted was on disk.",
            FamilyKind::Counter,
            |dir| dir.reaped_files_total,
        ),
        OwnFamily {
            name: "tallyd_multiproc_read_seconds_total",
            help: "Time spent on reading workers' files.",
            kind: FamilyKind::Counter,
            series: vec![(String::new(), facts.read_seconds_total)],
        },
        counter(
            "tallyd_multiproc_reads_total",
            "Times that workers' files were read.",
            facts.reads_total,
        ),
        gauge(
            "tallyd_multiproc_series",
            "Series that workers' files hold; they are part of tallyd_series.",
            facts.series as f64,
        ),
    ];
    all.retain(|family| !family.series.is_empty());
    all
}

fn left_out<'a>(clashes: impl IntoIterator<Item = &'a Clash>) -> Vec<(String, f64)> {
    let mut left_out: BTreeMap<String, f64> = BTreeMap::new();
    for clash in clashes {
        let source = label("source", clash.source.as_str());
        let mut labels = format!("{},{source}", label("metric", &beginning(&clash.metric)));
        if left_out.len() >= MAX_NAMED && !left_out.contains_key(&labels) {
            labels = format!("{},{source}", label("metric", ""));
        }
        *left_out.entry(labels).or_default() += 1.0;
    }
    left_out.into_iter().collect()
}
