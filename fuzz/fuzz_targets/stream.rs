//! A stream cut anywhere gives the lines that it gives in one piece.
//!
//! The first byte of the input is the length of the pieces, the others are the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::parse::lines::{LineSplitter, TooLong};

/// Small, so that long lines are met early.
const BUFFER_BYTES: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((&piece_bytes, stream)) = input.split_first() else { return };
    let pieces = stream.chunks(usize::from(piece_bytes).max(1));
    assert_eq!(split(pieces), split([stream].into_iter()));
});

fn split<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let mut lines = Vec::new();
    let mut splitter = LineSplitter::new(BUFFER_BYTES);
    let outcome =
        pieces.try_for_each(|piece| splitter.feed(piece, |line| lines.push(line.to_vec())));
    splitter.finish(|line| lines.push(line.to_vec()));
    (lines, outcome)
}
