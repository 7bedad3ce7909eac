//! Where lines end in a stream: at newlines, or in frames that say how long they are.
//!
//! `DogStatsD` clients send frames over Unix stream sockets: four bytes of length, the least first,
//! and then what would have been a datagram. Others send lines. The first four bytes tell which: no
//! line has a zero byte in it, and no frame is so long that its fourth byte is not zero.

use crate::net::listener::Stream;
use crate::parse::lines::{LineSplitter, STREAM_BUFFER_BYTES, TooLong, lines};

/// The bytes of a frame's length.
const HEADER_BYTES: usize = 4;

/// The longest frame, as long as the longest datagram.
const MAX_FRAME_BYTES: usize = 65_535;

/// What a stream has brought so far of the line or frame that is not yet complete.
#[derive(Debug)]
pub(super) enum Framing {
    /// Newlines end lines.
    Lines(LineSplitter),
    /// The first bytes, too few to tell.
    Undecided(Vec<u8>),
    /// Each frame is a datagram's worth of lines; what there is of one, with its header.
    Frames(Vec<u8>),
}

impl Framing {
    /// A stream of lines; a line and its newline fit into as many bytes as into the reference's
    /// `bufio.Reader`.
    pub(super) fn lines() -> Self {
        Self::Lines(LineSplitter::new(STREAM_BUFFER_BYTES))
    }

    /// A stream whose first bytes will tell.
    pub(super) fn undecided() -> Self {
        Self::Undecided(Vec::new())
    }

    /// TCP brings lines; clients of Unix sockets send lines or frames.
    pub(super) fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Tcp(_) => Self::lines(),
            Stream::Unix(_) => Self::undecided(),
        }
    }

    /// What has come of a line or frame that is not complete; fed to a new one, it is there again.
    ///
    /// For a stream of lines that may have been frames that holds too: where it begins anew, the
    /// next bytes tell once more.
    pub(super) fn unfinished(&self) -> &[u8] {
        match self {
            Self::Lines(splitter) => splitter.unfinished(),
            Self::Undecided(bytes) | Self::Frames(bytes) => bytes,
        }
    }

    /// Calls `each` with every line that `chunk` completes.
    ///
    /// # Errors
    /// [`TooLong`] when a line or a frame is longer than any may be.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        let held;
        let mut chunk = chunk;
        if let Self::Undecided(first) = self {
            first.extend_from_slice(chunk);
            let Some(header) = first.first_chunk::<HEADER_BYTES>() else { return Ok(()) };
            let is_framed = header.last() == Some(&0);
            held = std::mem::take(first);
            chunk = &held;
            *self = if is_framed { Self::Frames(Vec::new()) } else { Self::lines() };
        }
        match self {
            Self::Lines(splitter) => splitter.feed(chunk, each),
            Self::Frames(unfinished) => feed_frames(unfinished, chunk, &mut each),
            Self::Undecided(_) => Ok(()),
        }
    }

    /// Calls `each` with what the end of the stream has left: of a cut frame the whole lines.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Lines(splitter) => splitter.finish(each),
            Self::Undecided(first) => {
                let mut splitter = LineSplitter::new(STREAM_BUFFER_BYTES);
                // Fewer than four bytes fit.
                splitter.feed(&std::mem::take(first), &mut each).unwrap_or_default();
                splitter.finish(each);
            }
            Self::Frames(unfinished) => {
                let frame = std::mem::take(unfinished);
                let body = frame.get(HEADER_BYTES..).unwrap_or_default();
                if let Some(whole) = memchr::memrchr(b'\n', body).and_then(|end| body.get(..end)) {
                    lines(whole).for_each(each);
                }
            }
        }
    }
}

/// Takes frames that lie whole in `chunk` without copying them.
fn feed_frames(
    unfinished: &mut Vec<u8>,
    chunk: &[u8],
    each: &mut impl FnMut(&[u8]),
) -> Result<(), TooLong> {
    let mut rest = chunk;
    while !unfinished.is_empty() {
        let wanted = length(unfinished)?.map_or(HEADER_BYTES, |body| HEADER_BYTES + body);
        if let (true, Some(body)) = (unfinished.len() == wanted, unfinished.get(HEADER_BYTES..)) {
            take_frame(body, each);
            unfinished.clear();
            break;
        }
        let missing = wanted.saturating_sub(unfinished.len()).min(rest.len());
        let (more, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
        unfinished.extend_from_slice(more);
        rest = after;
        if unfinished.len() < wanted {
            return Ok(());
        }
    }
    while let Some(body_bytes) = length(rest)? {
        let end = HEADER_BYTES + body_bytes;
        let Some((frame, after)) = rest.split_at_checked(end) else { break };
        take_frame(frame.get(HEADER_BYTES..).unwrap_or_default(), each);
        rest = after;
    }
    unfinished.extend_from_slice(rest);
    Ok(())
}

/// How long the frame is that begins here; `None` before its whole header has come.
fn length(frame: &[u8]) -> Result<Option<usize>, TooLong> {
    let Some(header) = frame.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*header)).map_err(|_| TooLong)?;
    if length <= MAX_FRAME_BYTES { Ok(Some(length)) } else { Err(TooLong) }
}

/// A frame's last newline is the end of a line, not the beginning of an empty one.
fn take_frame(body: &[u8], each: &mut impl FnMut(&[u8])) {
    if !body.is_empty() {
        lines(body.strip_suffix(b"\n").unwrap_or(body)).for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_bytes_tell_lines_from_frames() {
        check(b"a:1|c\nb:2|c\n", &["a:1|c", "b:2|c"], Ok(()));
        check(b"a\nb:2|c", &["a", "b:2|c"], Ok(()));
        check(b"a", &["a"], Ok(()));
        check(b"", &[], Ok(()));
        check(&frames(&["a:1|c\nb:2|c\n", "c:3|c"]), &["a:1|c", "b:2|c", "c:3|c"], Ok(()));
        check(&frames(&["", "c:3|c"]), &["c:3|c"], Ok(()));
    }

    #[test]
    fn what_is_too_long_ends_the_stream() {
        check(&[0, 0, 1, 0, b'a'], &[], Err(TooLong));
        let mut second = frames(&["a:1|c"]);
        second.extend_from_slice(b"xxxx");
        check(&second, &["a:1|c"], Err(TooLong));
        let longest = "x".repeat(MAX_FRAME_BYTES);
        check(&frames(&[&longest]), &[&longest], Ok(()));
        check(&[b'x'; STREAM_BUFFER_BYTES], &[], Err(TooLong));
    }

    #[test]
    fn of_a_cut_frame_the_whole_lines_are_taken() {
        let mut cut = frames(&["a:1|c\nb:2|c|#tag"]);
        cut.truncate(cut.len() - 4);
        check(&cut, &["a:1|c"], Ok(()));
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_lines(
            bodies in prop::collection::vec("[ab:\n]{0,12}", 0..6),
            cuts in prop::collection::vec(0_usize..9, 0..30),
        ) {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            let stream = frames(&bodies);
            prop_assert_eq!(split(&stream, &cuts), split(&stream, &[]));
        }
    }

    fn frames(bodies: &[&str]) -> Vec<u8> {
        let frame = |body: &&str| {
            let header = u32::try_from(body.len()).unwrap().to_le_bytes();
            [&header, body.as_bytes()].concat()
        };
        bodies.iter().flat_map(frame).collect()
    }

    fn split(stream: &[u8], cuts: &[usize]) -> (Vec<String>, Result<(), TooLong>) {
        let mut framing = Framing::undecided();
        let mut found = Vec::new();
        let mut each = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        let mut rest = stream;
        let mut outcome = Ok(());
        for cut in cuts {
            let (piece, after) = rest.split_at(*cut.min(&rest.len()));
            outcome = outcome.and_then(|()| framing.feed(piece, &mut each));
            rest = after;
        }
        outcome = outcome.and_then(|()| framing.feed(rest, &mut each));
        if outcome.is_ok() {
            framing.finish(&mut each);
        }
        (found, outcome)
    }

    #[track_caller]
    fn check(stream: &[u8], lines: &[&str], outcome: Result<(), TooLong>) {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let one_by_one = vec![1; stream.len()];
        assert_eq!(split(stream, &[]), (lines.clone(), outcome));
        assert_eq!(split(stream, &one_by_one), (lines, outcome));
    }
}
