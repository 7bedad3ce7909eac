//! The body of a scrape: written by a thread that may block, sent part by part.
//!
//! However long the page, only some parts of it are in memory: one that the walk fills, one in the
//! channel, and what the connection is about to send. Their buffers go round: fresh ones would have
//! to be zeroed by the kernel, page by page.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use flate2::write::GzEncoder;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::expose::Page;
use crate::expose::negotiate::Compression;

/// Parts that wait between the walk and the connection: one to send while the next is written.
const PARTS_AHEAD: usize = 1;

/// zstd's fastest regular level; a scrape should cost less than what it measures.
const ZSTD_LEVEL: i32 = 1;

/// What a series may take beyond a part's size before its buffer must grow.
const PART_SLACK: usize = 4096;

/// Compressed bytes that are worth sending. A page shrinks to a tenth and less, so that the client
/// would wait long for the first part if that had to be as large as a plain one.
const COMPRESSED_BYTES: usize = 16 * 1024;

/// More buffers than this are not kept; a page has fewer on the way.
const SPARE_BUFFERS: usize = 16;

/// Buffers that have been sent.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A buffer that goes back to the others when it has been sent.
struct Loan {
    buffer: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_BUFFERS {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// One stretch of the body.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    is_last: bool,
}

/// Runs `write` on a thread of its own and returns what it writes as a body.
///
/// A page that fits one part is complete before this returns and thus has a known length. `write`
/// takes a sink and returns whether the page is complete; the sink says `false` when the client has
/// gone. An incomplete body breaks the connection, so that nobody takes it for a whole page.
///
/// # Errors
/// When not even the first part came.
pub(super) async fn streamed(
    compression: Compression,
    write: impl FnOnce(&mut dyn FnMut(&mut Vec<u8>) -> bool) -> bool + Send + 'static,
) -> io::Result<Body> {
    let (sender, mut parts) = mpsc::channel(PARTS_AHEAD);
    let compressor = Compressor::new(compression)?;
    let mut outlet = Outlet { sender, compressor, first: First::Wanted, spare: Spare::default() };
    tokio::task::spawn_blocking(move || {
        let is_complete = write(&mut |part| outlet.put(part));
        if is_complete {
            outlet.close();
        }
    });
    match parts.recv().await {
        Some(part) if part.is_last => Ok(Body::from(part.bytes)),
        Some(part) => Ok(Body::new(Parts { first: Some(part), rest: parts, is_done: false })),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The body of an answer to HEAD, empty but of no stated length: nobody knows it without a walk.
pub(super) fn omitted() -> Body {
    let (_, rest) = mpsc::channel(1);
    Body::new(Parts { first: None, rest, is_done: true })
}

/// The writing end.
struct Outlet {
    sender: mpsc::Sender<Part>,
    compressor: Compressor,
    first: First,
    spare: Spare,
}

/// The first part is held back until it is known whether more follows.
enum First {
    Wanted,
    Held(Vec<u8>),
    Sent,
}

impl Outlet {
    /// Takes a part of the page; `false` when nobody wants it any more.
    fn put(&mut self, part: &mut Vec<u8>) -> bool {
        let Ok(bytes) = self.compressor.compress(part, &self.spare) else { return false };
        if bytes.is_empty() {
            return !self.sender.is_closed();
        }
        match std::mem::replace(&mut self.first, First::Sent) {
            First::Wanted => {
                self.first = First::Held(bytes);
                true
            }
            First::Held(first) => self.send(first, false) && self.send(bytes, false),
            First::Sent => self.send(bytes, false),
        }
    }

    fn close(mut self) {
        if let Ok(rest) = std::mem::replace(&mut self.compressor, Compressor::Identity).finish() {
            let first = std::mem::replace(&mut self.first, First::Sent);
            let mut last = if let First::Held(first) = first { first } else { Vec::new() };
            last.extend(rest);
            self.send(last, true);
        }
    }

    fn send(&self, bytes: Vec<u8>, is_last: bool) -> bool {
        let loan = Loan { buffer: bytes, spare: Arc::clone(&self.spare) };
        self.sender.blocking_send(Part { bytes: Bytes::from_owner(loan), is_last }).is_ok()
    }
}

/// The reading end: a body that fails unless the last part was seen.
#[derive(Debug)]
struct Parts {
    first: Option<Part>,
    rest: mpsc::Receiver<Part>,
    is_done: bool,
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let part = match self.first.take() {
            Some(part) => Some(part),
            None => ready!(self.rest.poll_recv(context)),
        };
        self.is_done = part.as_ref().is_none_or(|part| part.is_last);
        Poll::Ready(match part {
            Some(part) if part.bytes.is_empty() => None,
            Some(part) => Some(Ok(Frame::data(part.bytes))),
            None => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the page broke off"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What becomes of the bytes on their way.
enum Compressor {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Identity => Self::Identity,
            Compression::Gzip => {
                Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast()))
            }
            Compression::Zstd => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)
            }
        })
    }

    /// Takes `part`, leaves it empty, and returns what is worth sending, often nothing.
    fn compress(&mut self, part: &mut Vec<u8>, spare: &Spare) -> io::Result<Vec<u8>> {
        let written = match self {
            Self::Identity => {
                let mut next = spare.lock().pop().unwrap_or_default();
                next.clear();
                next.reserve(Page::PART_BYTES + PART_SLACK);
                return Ok(std::mem::replace(part, next));
            }
            Self::Gzip(encoder) => {
                encoder.write_all(part)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(part)?;
                encoder.get_mut()
            }
        };
        part.clear();
        let is_enough = written.len() >= COMPRESSED_BYTES;
        Ok(if is_enough { std::mem::take(written) } else { Vec::new() })
    }

    /// Returns what ends the stream.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(Vec::new()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_small_page_has_a_length() {
        let body = page(Compression::Identity, 3, true).await;
        assert_eq!(body.size_hint().exact(), Some(15));
        let body = page(Compression::Gzip, 3, true).await;
        assert!(body.size_hint().exact().is_some());
        let body = page(Compression::Identity, 100_000, true).await;
        assert_eq!(body.size_hint().exact(), None);
    }

    #[tokio::test]
    async fn what_is_compressed_comes_out_whole() {
        for count in [0, 1, 20_000, 400_000] {
            check(Compression::Identity, count, <[u8]>::to_vec).await;
            check(Compression::Gzip, count, gunzip).await;
            check(Compression::Zstd, count, |bytes| zstd::decode_all(bytes).unwrap()).await;
        }
    }

    #[tokio::test]
    async fn a_page_that_broke_off_is_no_page() {
        let body = page(Compression::Identity, 100_000, false).await;
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_body_ends_the_writing() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let endless = move |sink: &mut dyn FnMut(&mut Vec<u8>) -> bool| {
            while sink(&mut vec![b'x'; Page::PART_BYTES]) {}
            ended.send(()).is_err()
        };
        drop(streamed(Compression::Gzip, endless).await.unwrap());
        end.await.unwrap();
    }

    fn lines(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| format!("{:04}\n", number * 7919 % 10_000))
    }

    async fn page(compression: Compression, count: usize, is_complete: bool) -> Body {
        let write = move |sink: &mut dyn FnMut(&mut Vec<u8>) -> bool| {
            let mut part = Vec::new();
            for line in lines(count) {
                part.extend_from_slice(line.as_bytes());
                if part.len() >= Page::PART_BYTES && !sink(&mut part) {
                    return false;
                }
            }
            sink(&mut part) && is_complete
        };
        streamed(compression, write).await.unwrap()
    }

    async fn check(compression: Compression, count: usize, decode: fn(&[u8]) -> Vec<u8>) {
        let sent = page(compression, count, true).await.collect().await.unwrap().to_bytes();
        assert!(decode(&sent) == lines(count).collect::<String>().into_bytes());
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }
}
