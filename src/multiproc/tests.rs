//! Directories with workers that come and go, as the files' owners see them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::file::Width;
use super::file::tests::written;
use super::*;
use crate::aggregate::Registry;
use crate::aggregate::histogram::HistogramValue;
use crate::compat::Compat;
use crate::map::limits::RuleLimits;
use crate::multiproc::layout::Merged;

const HITS: &str = r#"["hits", "hits_total", {}, "Hits."]"#;
const BUSY: &str = r#"["busy", "busy", {}, "Busy."]"#;

/// A directory, and what reads it.
struct Bench {
    directory: TempDir,
    config: Config,
    multiproc: Multiproc,
}

/// A process that has its file open as long as it lives.
struct Running {
    process: Child,
    path: PathBuf,
}

impl Bench {
    fn new() -> Self {
        Self::with(Liveness::Pid)
    }

    fn with(liveness: Liveness) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let directories = vec![(None, directory.path().to_owned())];
        let config = Config { directories, label: "app".into(), liveness, reap: true };
        let multiproc = multiproc(&config);
        Self { directory, config, multiproc }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of a worker that never was.
    fn file(&self, name: &str, entries: &[(&str, f64, f64)]) {
        fs::write(self.path(name), written(Width::ValueAndTime, entries)).unwrap();
    }

    /// A worker that has a file of this kind open.
    fn worker(&self, kind: &str) -> Running {
        let script = r#"exec 3<>"$0_$$.db"; echo; exec cat"#;
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(self.path(kind))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let path = self.path(&format!("{kind}_{}.db", process.id()));
        Running { process, path }
    }

    /// The page: counters and gauges as `name{labels} value`, others with count and sum.
    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(page(&self.multiproc), expected);
    }

    fn problems(&self) -> Vec<(&'static str, u64)> {
        self.multiproc.facts().errors.iter().map(|error| (error.reason, error.total)).collect()
    }

    /// What another process would have after this one has saved its state.
    fn restarted(&mut self) {
        let saved = saved(&self.multiproc);
        self.multiproc = multiproc(&self.config);
        restore(&self.multiproc, &saved);
    }
}

impl Running {
    /// Writes into the file that is open.
    fn set(&self, entries: &[(&str, f64, f64)]) {
        let file = fs::File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(&written(Width::ValueAndTime, entries), 0).unwrap();
    }

    fn end(mut self) -> PathBuf {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
        self.path
    }
}

fn multiproc(config: &Config) -> Multiproc {
    let registry = Arc::new(Registry::new(Compat::Extended, []));
    let admission = Admission::new(&RuleLimits::default(), &registry, &Arc::default());
    // The process is an hour old.
    Multiproc::new(
        config.clone(),
        Instant::now().checked_sub(Duration::from_hours(1)).unwrap(),
        admission,
    )
}

fn page(multiproc: &Multiproc) -> Vec<String> {
    let snapshot = multiproc.read();
    let mut lines = Vec::new();
    for family in &snapshot.layout.families {
        for series in &family.series {
            let mut histogram = HistogramValue::default();
            let value = match snapshot.merged(series, &mut histogram) {
                None => continue,
                Some(Merged::Number(value)) => value.to_string(),
                Some(Merged::Histogram) => format!("{:?} {}", histogram.counts, histogram.sum),
                Some(Merged::Summary { sum, count }) => format!("{count} {sum}"),
            };
            let labels = &series.labels;
            lines.push(format!("{}{{{labels}}} {value}", family.name));
        }
    }
    lines
}

type Saved = (Vec<SavedSlot>, Vec<SavedFile>);

fn saved(multiproc: &Multiproc) -> Saved {
    let (mut slots, mut files) = (Vec::new(), Vec::new());
    let put_slot = |slot: &SavedSlot| -> Result<(), ()> {
        slots.push(slot.clone());
        Ok(())
    };
    let put_file = |file: &SavedFile| -> Result<(), ()> {
        files.push(file.clone());
        Ok(())
    };
    multiproc.save(put_slot, put_file).unwrap();
    (slots, files)
}

fn restore(multiproc: &Multiproc, (slots, files): &Saved) {
    for slot in slots {
        multiproc.restore_slot(slot);
    }
    for file in files {
        multiproc.restore_file(file);
    }
}

#[test]
fn workers_are_added_up_alive_or_not() {
    let bench = Bench::new();
    let worker = bench.worker("counter");
    let busy = bench.worker("gauge_livesum");
    worker.set(&[(HITS, 3.0, 0.0)]);
    busy.set(&[(BUSY, 2.0, 0.0)]);
    bench.file("counter_999999999.db", &[(HITS, 4.0, 0.0)]);
    bench.file("gauge_livesum_999999999.db", &[(BUSY, 7.0, 0.0)]);
    bench.check(&["busy{} 2", "hits_total{} 7"]);
    worker.set(&[(HITS, 5.0, 0.0), (r#"["a", "a_total", {}, ""]"#, 1.0, 0.0)]);
    bench.check(&["a_total{} 1", "busy{} 2", "hits_total{} 9"]);
    worker.end();
    busy.end();
    bench.check(&["a_total{} 1", "hits_total{} 9"]);
    assert_eq!(bench.problems(), []);
}

#[test]
fn what_was_written_before_a_file_went_counts() {
    let bench = Bench::new();
    let worker = bench.worker("counter");
    worker.set(&[(HITS, 3.0, 0.0)]);
    bench.check(&["hits_total{} 3"]);
    worker.set(&[(HITS, 5.0, 0.0)]);
    fs::remove_file(&worker.path).unwrap();
    bench.check(&["hits_total{} 5"]);
    worker.end();
    bench.check(&["hits_total{} 5"]);
}

#[test]
fn a_number_that_comes_again_goes_on_with_its_file_or_begins_another() {
    let bench = Bench::new();
    let other = bench.worker("counter");
    let worker = bench.worker("counter");
    worker.set(&[(HITS, 3.0, 0.0)]);
    bench.check(&["hits_total{} 3"]);
    let path = worker.end();
    bench.check(&["hits_total{} 3"]);
    // Nobody can have written into it, but a test can; the file is not read until it is replaced.
    fs::remove_file(&path).unwrap();
    fs::write(&path, written(Width::ValueAndTime, &[(HITS, 1.0, 0.0)])).unwrap();
    bench.check(&["hits_total{} 4"]);
    other.end();
}

#[test]
fn a_counter_that_falls_has_begun_anew() {
    let bench = Bench::with(Liveness::Never);
    bench.file("counter_1.db", &[(HITS, 5.0, 0.0)]);
    bench.file("gauge_max_1.db", &[(BUSY, 5.0, 0.0)]);
    bench.check(&["busy{} 5", "hits_total{} 5"]);
    bench.file("counter_1.db", &[(HITS, 2.0, 0.0)]);
    bench.file("gauge_max_1.db", &[(BUSY, 2.0, 0.0)]);
    bench.check(&["busy{} 2", "hits_total{} 7"]);
    fs::write(bench.path("counter_1.db"), [0; 64]).unwrap();
    bench.check(&["busy{} 2", "hits_total{} 7"]);
    bench.file("counter_1.db", &[(HITS, 1.0, 0.0)]);
    bench.check(&["busy{} 2", "hits_total{} 8"]);
}

#[test]
fn histograms_and_summaries_are_put_together() {
    let bench = Bench::with(Liveness::Never);
    let bucket = |le: &str| format!(r#"["t", "t_bucket", {{"le": "{le}"}}, "T."]"#);
    let (one, two, inf) = (bucket("1.0"), bucket("2.0"), bucket("+Inf"));
    let sum = r#"["t", "t_sum", {}, "T."]"#;
    let a = [(sum, 3.5, 0.0), (&*one, 1.0, 0.0), (&*inf, 2.0, 0.0)];
    let b = [(sum, 1.0, 0.0), (&*two, 4.0, 0.0), (&*inf, 0.0, 0.0)];
    bench.file("histogram_1.db", &a);
    bench.file("histogram_2.db", &b);
    let (sum, count) = (r#"["s", "s_sum", {}, ""]"#, r#"["s", "s_count", {}, ""]"#);
    bench.file("summary_1.db", &[(count, 2.0, 0.0), (sum, -1.0, 0.0)]);
    bench.check(&["s{} 2 -1", "t{} [1, 4, 2] 4.5"]);
}

#[test]
fn bad_files_are_counted_once_and_others_go_on() {
    let bench = Bench::with(Liveness::Never);
    bench.file("counter_1.db", &[(HITS, 1.0, 0.0)]);
    bench.file("counter_2.db", &[(HITS, f64::NAN, 0.0), ("[1]", 1.0, 0.0), (HITS, 2.0, 0.0)]);
    bench.file("gauge_sum_1.db", &[(r#"["hits_total", "hits_total", {}, ""]"#, 1.0, 0.0)]);
    fs::write(bench.path("counter_3.db"), [9, 0, 0]).unwrap();
    fs::write(bench.path("counter_4.db"), [255; 100]).unwrap();
    let whole = written(Width::ValueAndTime, &[(HITS, 4.0, 0.0), (HITS, 9.0, 0.0)]);
    fs::write(bench.path("counter_5.db"), &whole[..whole.len() - 3]).unwrap();
    let mut huge = whole.clone();
    huge[..4].copy_from_slice(&i32::MAX.to_le_bytes());
    fs::write(bench.path("counter_6.db"), huge).unwrap();
    bench.file("counters_7.db", &[(HITS, 1.0, 0.0)]);
    fs::create_dir(bench.path("counter_8.db")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("counter_9.db"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::write(bench.path("README"), "no file of a worker").unwrap();
    for _ in 0..3 {
        bench.check(&["hits_total{} 7"]);
    }
    let problems = [
        ("name", 3),
        ("too_large", 1),
        ("header", 1),
        ("truncated", 2),
        ("key", 1),
        ("value", 1),
        ("clash", 1),
    ];
    let mut found = bench.problems();
    found.sort_unstable();
    let mut expected = problems.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn large_files_are_read_part_by_part() {
    let bench = Bench::with(Liveness::Never);
    let key = |number: usize| {
        let long = "x".repeat(if number == 500 { 600_000 } else { 700 });
        format!(r#"["hits", "hits_total", {{"k": "{number:04}", "l": "{long}"}}, ""]"#)
    };
    let keys: Vec<String> = (0..1_500).map(key).collect();
    for (count, value) in [(700, 1.0), (700, 2.0), (1_500, 3.0), (1_500, 4.0)] {
        let entries: Vec<_> = keys[..count].iter().map(|key| (&**key, value, 0.0)).collect();
        bench.file("counter_1.db", &entries);
        let page = page(&bench.multiproc);
        assert_eq!(page.len(), count);
        assert!(page.iter().all(|line| line.ends_with(&format!(" {value}"))));
    }
    // Others in their places: what these stand at is added to what those stood at.
    let others: Vec<_> = keys.iter().rev().map(|key| (&**key, 1.0, 0.0)).collect();
    bench.file("counter_1.db", &others);
    assert!(page(&bench.multiproc).iter().all(|line| line.ends_with(" 5")));
    assert_eq!(bench.problems(), []);
}

#[test]
fn a_file_without_a_value_is_no_problem() {
    let bench = Bench::with(Liveness::Never);
    fs::write(bench.path("counter_1.db"), []).unwrap();
    fs::write(bench.path("counter_2.db"), [0; 4096]).unwrap();
    bench.file("counter_3.db", &[]);
    bench.check(&[]);
    bench.file("counter_3.db", &[(HITS, 1.0, 0.0)]);
    bench.check(&["hits_total{} 1"]);
    assert_eq!(bench.problems(), []);
}

#[test]
fn a_directory_that_cannot_be_read_keeps_what_is_known() {
    let bench = Bench::with(Liveness::Never);
    bench.file("counter_1.db", &[(HITS, 1.0, 0.0)]);
    bench.check(&["hits_total{} 1"]);
    let away = bench.directory.path().with_extension("away");
    fs::rename(bench.directory.path(), &away).unwrap();
    bench.check(&["hits_total{} 1"]);
    bench.check(&["hits_total{} 1"]);
    assert_eq!(bench.problems(), [("directory", 1)]);
    fs::rename(&away, bench.directory.path()).unwrap();
    bench.file("counter_1.db", &[(HITS, 2.0, 0.0)]);
    bench.check(&["hits_total{} 2"]);
    assert!(bench.multiproc.facts().directories[0].problem.is_none());
}

#[test]
fn numbers_of_another_namespace_are_noticed() {
    let bench = Bench::new();
    bench.file("counter_999999998.db", &[(HITS, 1.0, 0.0)]);
    bench.file("gauge_livesum_999999998.db", &[(BUSY, 3.0, 0.0)]);
    bench.check(&["hits_total{} 1"]);
    bench.check(&["hits_total{} 1"]);
    bench.file("counter_999999998.db", &[(HITS, 2.0, 0.0)]);
    page(&bench.multiproc);
    bench.check(&["busy{} 3", "hits_total{} 2"]);
    assert!(bench.multiproc.facts().directories[0].problem.is_some());
}

#[test]
fn everything_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    let worker = bench.worker("counter");
    worker.set(&[(HITS, 3.0, 0.0)]);
    bench.file("counter_999999999.db", &[(HITS, 4.0, 0.0)]);
    bench.file("gauge_max_999999999.db", &[(BUSY, 4.0, 0.0)]);
    bench.check(&["busy{} 4", "hits_total{} 7"]);
    bench.restarted();
    bench.check(&["busy{} 4", "hits_total{} 7"]);
    fs::remove_file(bench.path("counter_999999999.db")).unwrap();
    fs::remove_file(bench.path("gauge_max_999999999.db")).unwrap();
    bench.check(&["busy{} 4", "hits_total{} 7"]);
    bench.restarted();
    worker.set(&[(HITS, 5.0, 0.0)]);
    bench.check(&["busy{} 4", "hits_total{} 9"]);
    // What goes while nobody looks was counted here alone.
    let saved = saved(&bench.multiproc);
    fs::remove_file(worker.end()).unwrap();
    bench.multiproc = multiproc(&bench.config);
    restore(&bench.multiproc, &saved);
    bench.check(&["busy{} 4", "hits_total{} 9"]);
}

#[test]
fn files_are_removed_when_what_they_held_is_saved() {
    let mut bench = Bench::new();
    let other = bench.worker("counter");
    let worker = bench.worker("counter");
    worker.set(&[(HITS, 3.0, 0.0)]);
    bench.check(&["hits_total{} 3"]);
    let path = worker.end();
    bench.check(&["hits_total{} 3"]);
    bench.multiproc.reap();
    assert!(path.exists(), "nothing was saved yet");
    let saved = saved(&bench.multiproc);
    bench.multiproc.reap();
    assert!(!path.exists() && other.path.exists());
    bench.check(&["hits_total{} 3"]);
    assert_eq!(bench.multiproc.facts().directories[0].reaped_files_total, 1);
    // The state that was saved before the file went is as good as the next one.
    bench.multiproc = multiproc(&bench.config);
    restore(&bench.multiproc, &saved);
    bench.check(&["hits_total{} 3"]);
    bench.restarted();
    bench.check(&["hits_total{} 3"]);
    other.end();
}

#[test]
fn a_file_that_was_on_its_way_out_comes_back() {
    let mut bench = Bench::new();
    bench.file("counter_999999999.db", &[(HITS, 3.0, 0.0)]);
    bench.check(&["hits_total{} 3"]);
    let name = bench.path("counter_999999999.db");
    fs::rename(&name, bench.path("counter_999999999.db.reaped")).unwrap();
    bench.multiproc = multiproc(&bench.config);
    bench.check(&["hits_total{} 3"]);
    assert!(name.exists());
}

#[test]
fn a_silent_worker_is_gone_by_its_age() {
    let bench = Bench::with(Liveness::Age(Duration::from_mins(1)));
    bench.file("counter_7.db", &[(HITS, 3.0, 0.0)]);
    bench.file("gauge_livesum_7.db", &[(BUSY, 3.0, 0.0)]);
    bench.file("gauge_livesum_8.db", &[(BUSY, 1.0, 0.0)]);
    bench.file("gauge_all_8.db", &[(r#"["each", "each", {}, ""]"#, 2.0, 0.0)]);
    let long_ago = std::time::SystemTime::now() - Duration::from_mins(10);
    let old = fs::File::options().write(true).open(bench.path("gauge_livesum_8.db")).unwrap();
    old.set_modified(long_ago).unwrap();
    let old = fs::File::options().write(true).open(bench.path("gauge_all_8.db")).unwrap();
    old.set_modified(long_ago).unwrap();
    page(&bench.multiproc);
    bench.check(&["busy{} 3", "each{pid=\"8\"} 2", "hits_total{} 3"]);
    bench.file("gauge_livesum_8.db", &[(BUSY, 2.0, 0.0)]);
    page(&bench.multiproc);
    bench.check(&["busy{} 5", "each{pid=\"8\"} 2", "hits_total{} 3"]);
}

#[test]
fn workers_tell_what_they_observed() {
    let bench = Bench::new();
    let worker = bench.worker("histogram");
    let key = |part: &str, labels: &str| format!(r#"["t", "t_{part}", {{{labels}}}, ""]"#);
    let (sum, one) = (key("sum", ""), key("bucket", r#""le": "1""#));
    let inf = key("bucket", r#""le": "+Inf""#);
    worker.set(&[(&sum, 4.5, 0.0), (&one, 1.0, 0.0), (&inf, 2.0, 0.0)]);
    page(&bench.multiproc);
    let pid = worker.process.id();
    let observed = bench.multiproc.observed();
    let [row] = &observed[..] else { panic!("{observed:?}") };
    assert_eq!((row.pid, &*row.family, row.sum, row.count), (pid, "t", 4.5, 3.0));
    let [(role, living)] = &bench.multiproc.living()[..] else { panic!("one lives") };
    assert_eq!((role, *living), (&bench.multiproc.roles()[0], pid));
    worker.end();
    page(&bench.multiproc);
    assert!(bench.multiproc.living().is_empty() && bench.multiproc.observed().is_empty());
}
