//! Any bytes are a worker's file or a problem of one; and a file that is read as it grows is read as one
//! that is read at once.
//!
//! The first byte of the input is the file's kind, the second how much of it is there at first. What
//! follows is the file; or if that byte is odd, a key and a value on each line, written as a worker does.

#![no_main]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use tallyd::aggregate::Registry;
use tallyd::aggregate::histogram::HistogramValue;
use tallyd::compat::Compat;
use tallyd::map::limits::RuleLimits;
use tallyd::multiproc::{Admission, Config, Liveness, Multiproc};

const NAMES: [&str; 8] = [
    "counter_1.db",
    "histogram_1.db",
    "summary_1.db",
    "gauge_all_1.db",
    "gauge_livesum_1.db",
    "gauge_min_1.db",
    "gauge_max_1.db",
    "gauge_mostrecent_1.db",
];

/// Where the file is; one process has it for itself.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("tallyd-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("there is room for files");
    directory
});

/// Made once, since that takes longer than all the rest.
static REGISTRY: LazyLock<Arc<Registry>> =
    LazyLock::new(|| Arc::new(Registry::new(Compat::Extended, [])));

fuzz_target!(|input: &[u8]| {
    let Some(([kind, share], content)) = input.split_first_chunk() else { return };
    let path = DIRECTORY.join(NAMES[usize::from(*kind) % NAMES.len()]);
    let is_whole = share % 2 == 1;
    let file = if is_whole { written(content) } else { content.to_vec() };
    let ends = entry_ends(&file);
    let first = if is_whole {
        ends[ends.len() * usize::from(*share) / 256]
    } else {
        file.len() * usize::from(*share) / 256
    };

    let growing = reader();
    put(&path, &file, first, is_whole);
    let _first = growing.read();
    put(&path, &file, file.len(), is_whole);
    let grown = shown(&growing);
    assert_eq!(shown(&growing), grown, "a file that does not change");
    if is_whole {
        assert_eq!(shown(&reader()), grown, "a file that has grown");
    }
    fs::remove_file(&path).expect("it is there");
});

fn reader() -> Multiproc {
    let config = Config {
        directories: vec![(None, DIRECTORY.clone())],
        label: "app".to_owned(),
        liveness: Liveness::Never,
        reap: false,
    };
    let admission = Admission::new(&RuleLimits::default(), &REGISTRY, &Arc::default());
    Multiproc::new(config, Instant::now(), admission)
}

/// The file as a worker writes it that has keys and values from the input.
fn written(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 8];
    for line in content.split(|byte| *byte == b'\n') {
        let (value, key) = line.split_at(line.len().min(2));
        // What is no key tells nothing of where its entry ends.
        if !(key.starts_with(b"[") && key.ends_with(b"]")) {
            continue;
        }
        let mut entry = u32::try_from(key.len()).expect("it is short").to_le_bytes().to_vec();
        entry.extend(key);
        entry.resize(entry.len() + 8 - entry.len() % 8, b' ');
        entry.extend(
            f64::from(value.iter().fold(0, |sum, byte| sum * 256 + i32::from(*byte))).to_le_bytes(),
        );
        entry.extend(1.7e9_f64.to_le_bytes());
        file.extend(entry);
    }
    file
}

/// Where entries end in what [`written`] wrote; the last is the file's.
fn entry_ends(file: &[u8]) -> Vec<usize> {
    let mut ends = vec![8];
    let mut at = 8;
    while let Some(length) = file.get(at..).and_then(|rest| rest.first_chunk()) {
        at += 4 + u32::from_le_bytes(*length) as usize;
        at += 8 - at % 8 + 16;
        ends.push(at);
    }
    ends
}

/// Writes the file in place, since its reader holds it open: all of it, but only `used` is said to be in use.
fn put(path: &PathBuf, file: &[u8], used: usize, is_whole: bool) {
    let mut file = if is_whole { file.to_vec() } else { file[..used].to_vec() };
    if let (true, Some(start)) = (is_whole, file.first_chunk_mut()) {
        *start = u32::try_from(used).expect("it is short").to_le_bytes();
    }
    let mut opened = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .expect("it can be made");
    opened.write_all(&file).expect("there is room");
}

/// What a page would show.
fn shown(multiproc: &Multiproc) -> Vec<String> {
    let snapshot = multiproc.read();
    let mut histogram = HistogramValue::default();
    let mut lines = Vec::new();
    for family in &snapshot.layout.families {
        for series in &family.series {
            let value = snapshot.merged(series, &mut histogram);
            let (name, kind, labels) = (&family.name, family.kind, &series.labels);
            lines.push(format!(
                "{name} {kind:?} {labels} {value:?} {:?} {}",
                histogram.counts, histogram.sum
            ));
            histogram = HistogramValue::default();
        }
    }
    lines
}
