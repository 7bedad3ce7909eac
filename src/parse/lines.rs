//! Bytes to lines: whole datagrams, and streams across reads.
//!
//! The limits are those of Go's `bufio.Reader.ReadLine`, with which `statsd_exporter` reads its TCP
//! connections.

use std::iter;

use memchr::memchr;

/// How many bytes of a line, its newline included, a stream may bring: the size of the reference's
/// read buffer.
pub const STREAM_BUFFER_BYTES: usize = 4096;

/// Splits a datagram at its newlines, which belong to no line.
///
/// As in the reference a datagram that ends in a newline has an empty last line, an empty datagram
/// is one empty line, and a carriage return stays where it is.
pub fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(datagram);
    iter::from_fn(move || {
        let bytes = rest?;
        match split_at_newline(bytes) {
            Some((line, after)) => {
                rest = Some(after);
                Some(line)
            }
            None => rest.take(),
        }
    })
}

fn split_at_newline(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, newline_on) = bytes.split_at_checked(memchr(b'\n', bytes)?)?;
    Some((line, newline_on.get(1..)?))
}

/// A line did not fit; where the next one begins is unknown, so the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than the read buffer")]
pub struct TooLong;

/// Puts the lines of a stream together from whatever pieces it arrives in.
///
/// A line within one piece is passed on without being copied; never more than one buffer is kept.
#[derive(Debug)]
pub struct LineSplitter {
    buffer_bytes: usize,
    /// The beginning of the line whose end has not arrived.
    unfinished: Vec<u8>,
}

impl LineSplitter {
    /// A splitter for lines that fit into `buffer_bytes` together with their newline;
    /// [`STREAM_BUFFER_BYTES`] is what the reference has.
    #[must_use]
    pub fn new(buffer_bytes: usize) -> Self {
        Self { buffer_bytes, unfinished: Vec::new() }
    }

    /// Calls `each` with every line that `chunk` completes, without its newline and without one
    /// carriage return before that.
    ///
    /// # Errors
    /// [`TooLong`] as soon as a line outgrows the buffer, also before its newline has arrived. The
    /// lines before it have been passed on; the line itself is lost.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut rest = chunk;
        while let Some((end_of_line, after)) = split_at_newline(rest) {
            self.check_length(end_of_line)?;
            if self.unfinished.is_empty() {
                each(without_carriage_return(end_of_line));
            } else {
                self.unfinished.extend_from_slice(end_of_line);
                each(without_carriage_return(&self.unfinished));
                self.unfinished.clear();
            }
            rest = after;
        }
        self.check_length(rest)?;
        self.unfinished.extend_from_slice(rest);
        Ok(())
    }

    /// The beginning of the line whose end has not arrived.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.unfinished
    }

    /// Calls `each` with the line that the end of the stream left without a newline, if there is one.
    ///
    /// To be called after a reset as well: the reference takes what had arrived until then. A
    /// carriage return stays, because only one before a newline is part of the line's end.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            each(&self.unfinished);
            self.unfinished.clear();
        }
    }

    fn check_length(&mut self, more: &[u8]) -> Result<(), TooLong> {
        if self.unfinished.len() + more.len() < self.buffer_bytes {
            return Ok(());
        }
        self.unfinished.clear();
        Err(TooLong)
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_datagram_is_split_at_every_newline() {
        for (datagram, expected) in [
            ("", vec![""]),
            ("\n", vec!["", ""]),
            ("a\nb", vec!["a", "b"]),
            ("a\n", vec!["a", ""]),
            ("\na\n\n\nb", vec!["", "a", "", "", "b"]),
            ("a\r\nb", vec!["a\r", "b"]),
        ] {
            let lines: Vec<_> = lines(datagram.as_bytes()).map(text).collect();
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_stream_gives_its_lines_however_it_is_cut() {
        check(&["a\nb\n"], 10, &["a", "b"], Ok(()));
        check(&["a", "b\nc", "\n"], 10, &["ab", "c"], Ok(()));
        check(&["\n\na", "", "\n"], 10, &["", "", "a"], Ok(()));
    }

    #[test]
    fn one_carriage_return_before_a_newline_goes() {
        check(&["a\r\nb\r\r\n\r\n"], 10, &["a", "b\r", ""], Ok(()));
        check(&["a\r", "\nb\r", "c\n"], 10, &["a", "b\rc"], Ok(()));
        check(&["a\r"], 10, &["a\r"], Ok(()));
    }

    #[test]
    fn the_end_of_a_stream_ends_its_last_line() {
        check(&["a\nb"], 10, &["a", "b"], Ok(()));
        check(&[], 10, &[], Ok(()));
    }

    #[test]
    fn a_line_and_its_newline_must_fit_into_the_buffer() {
        check(&["abc\nabc\n"], 4, &["abc", "abc"], Ok(()));
        check(&["a\nabcd\nb\n"], 4, &["a"], Err(TooLong));
        check(&["a\nabc", "\n"], 4, &["a", "abc"], Ok(()));
        check(&["a\nabc", "d", "\n"], 4, &["a"], Err(TooLong));
        check(&["abc\r\n"], 4, &[], Err(TooLong));
        check(&["abc"], 4, &["abc"], Ok(()));
        check(&["abcd"], 4, &[], Err(TooLong));
        let longest = "x".repeat(STREAM_BUFFER_BYTES - 1);
        check(&[&longest, "\n"], STREAM_BUFFER_BYTES, &[&longest], Ok(()));
        check(&[&longest, "x"], STREAM_BUFFER_BYTES, &[], Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_lines(
            stream in "[ab\r\n]{0,60}",
            cuts in prop::collection::vec(0_usize..10, 0..30),
        ) {
            let mut pieces = Vec::new();
            let mut rest = stream.as_str();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            for buffer_bytes in [4, 100] {
                prop_assert_eq!(split(&pieces, buffer_bytes), split(&[&stream], buffer_bytes));
            }
        }
    }

    fn text(line: &[u8]) -> String {
        String::from_utf8_lossy(line).into_owned()
    }

    fn split(pieces: &[&str], buffer_bytes: usize) -> (Vec<String>, Result<(), TooLong>) {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(buffer_bytes);
        let outcome = pieces
            .iter()
            .try_for_each(|piece| splitter.feed(piece.as_bytes(), |line| lines.push(text(line))));
        splitter.finish(|line| lines.push(text(line)));
        (lines, outcome)
    }

    #[track_caller]
    fn check(pieces: &[&str], buffer_bytes: usize, lines: &[&str], outcome: Result<(), TooLong>) {
        let expected = (lines.iter().map(|line| (*line).to_owned()).collect(), outcome);
        assert_eq!(split(pieces, buffer_bytes), expected, "{pieces:?}");
    }
}
