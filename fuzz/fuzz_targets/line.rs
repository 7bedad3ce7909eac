//! One line in any dialect: nothing panics, and what a line says may be repeated does hold.
//!
//! The first byte of the input chooses the dialects, the others are the line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::compat::Compat;
use tallyd::parse::{Options, parse_line, plain_number};
use tallyd::sample::{Kind, Value};

fuzz_target!(|input: &[u8]| {
    let Some((&dialects, line)) = input.split_first() else { return };
    let options = options(dialects);
    let mut parsed = parse_line(line, &options);
    assert!(parsed.samples.len() <= parsed.counts.samples as usize);
    let Some(repeat) = parsed.repeat else { return };
    let is_gauge = parsed.samples.iter().any(|sample| sample.kind == Kind::Gauge);
    let value = if is_gauge { "72.5" } else { "-72.5" };
    let number = plain_number(value.as_bytes()).expect("it is plain");
    for sample in &mut parsed.samples {
        sample.value = Value::Number(repeat.apply(number));
    }
    let other_line = with_value(line, value).expect("only a line with a value may be repeated");
    let mut other = parse_line(&other_line, &options);
    // The one thing that must differ.
    (parsed.text, other.text) = (b"", b"");
    assert_eq!(format!("{parsed:?}"), format!("{other:?}"));
});

/// Puts another value between the first `:` and the first `|` after it.
fn with_value(line: &[u8], value: &str) -> Option<Vec<u8>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, rest) = line.split_at(colon + 1);
    let bar = rest.iter().position(|byte| *byte == b'|')?;
    Some([name, value.as_bytes(), &rest[bar..]].concat())
}

fn options(dialects: u8) -> Options {
    let has = |bit: u8| dialects & (1 << bit) != 0;
    Options {
        dogstatsd_tags: has(0),
        influxdb_tags: has(1),
        librato_tags: has(2),
        signalfx_tags: has(3),
        graphite_tags: has(4),
        compat: if has(5) { Compat::Extended } else { Compat::Reference },
    }
}
