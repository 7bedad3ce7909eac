//! An answer of a uWSGI's stats socket: whatever it is, it is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::saturation::uwsgi::Stats;

fuzz_target!(|answer: &[u8]| {
    let stats = Stats::parse(answer);
    // A head of HTTP before it changes nothing.
    if !answer.starts_with(b"HTTP/") {
        let response = [b"HTTP/1.0 200 OK\r\n\r\n", answer].concat();
        assert_eq!(Stats::parse(&response), stats);
    }
});
