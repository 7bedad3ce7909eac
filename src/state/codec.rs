//! Frames: how messages stand in a saved state, and how damage is noticed.

use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Write};

use prost::Message;
use twox_hash::XxHash64;

/// How a saved state begins. The first byte is in no text, the last two show whether somebody
/// has translated ends of lines.
pub const MAGIC: [u8; 8] = *b"\xf5tally\r\n";

/// The version of the format; one that older programs would misread gets another.
const VERSION: u32 = 1;

/// No message is nearly as long; a length beyond it can only be damage.
const MAX_FRAME_BYTES: u32 = 64 << 20;

/// zstd's fastest regular level: the file becomes a fraction of the size in little time.
const ZSTD_LEVEL: i32 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// The clock and what else there is once; comes first.
    Head = 1,
    /// One of our own counters.
    Counter = 2,
    /// Name and help of the series that follow.
    Family = 3,
    /// What later series are made of; numbered as they come.
    Spec = 4,
    /// A series of the last family.
    Series = 5,
    /// Bytes of a line that a handed-over connection has not ended yet.
    Unfinished = 6,
    /// A value of workers' files, by which these name it.
    WorkersSlot = 7,
    /// A worker's file; comes after all slots.
    WorkersFile = 8,
    /// The hash of all frames before it; comes last.
    End = 255,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Head,
            Self::Counter,
            Self::Family,
            Self::Spec,
            Self::Series,
            Self::Unfinished,
            Self::WorkersSlot,
            Self::WorkersFile,
            Self::End,
        ];
        all.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// Whether frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// They are not: for a successor on the same machine, who waits for them.
    Plain,
    /// By zstd: for disks.
    Zstd,
}

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system could not read it.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as one.
    #[error("it is no saved state of tallyd")]
    Foreign,
    /// The program that wrote it knew a later format.
    #[error("a later tallyd has written it (format {0}; this one reads {VERSION})")]
    Newer(u32),
    /// Its content is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(_), _) => Self::Read(error),
            (None, io::ErrorKind::UnexpectedEof) => Self::Damaged("its end is missing"),
            (None, _) => Self::Damaged("it cannot be unpacked"),
        }
    }
}

/// Writes frames.
pub struct Writer<'w> {
    out: Body<'w>,
    hash: XxHash64,
    message: Vec<u8>,
}

enum Body<'w> {
    Plain(BufWriter<Box<dyn Write + 'w>>),
    Zstd(BufWriter<zstd::stream::write::Encoder<'static, Box<dyn Write + 'w>>>),
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<'w> Writer<'w> {
    /// Begins a saved state.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(out: impl Write + 'w, packing: Packing) -> io::Result<Self> {
        let mut out: Box<dyn Write + 'w> = Box::new(out);
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&u32::from(packing == Packing::Zstd).to_le_bytes())?;
        let out = match packing {
            Packing::Plain => Body::Plain(BufWriter::with_capacity(1 << 17, out)),
            Packing::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                Body::Zstd(BufWriter::new(encoder))
            }
        };
        Ok(Self { out, hash: XxHash64::with_seed(0), message: Vec::new() })
    }

    /// Writes a message.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&mut self, tag: Tag, message: &impl Message) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.message);
        bytes.clear();
        // A vector has room for every message.
        message.encode(&mut bytes).map_err(io::Error::other)?;
        let written = self.frame(tag, &bytes);
        self.message = bytes;
        written
    }

    pub(super) fn frame(&mut self, tag: Tag, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        for part in [&[tag as u8][..], &length.to_le_bytes(), bytes] {
            self.hash.write(part);
            match &mut self.out {
                Body::Plain(out) => out.write_all(part)?,
                Body::Zstd(out) => out.write_all(part)?,
            }
        }
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<()> {
        let hash = self.hash.finish().to_le_bytes();
        self.frame(Tag::End, &hash)?;
        match self.out {
            Body::Plain(mut out) => out.flush(),
            Body::Zstd(out) => out.into_inner()?.finish()?.flush(),
        }
    }
}

/// Reads frames.
pub struct Reader<'r> {
    input: Box<dyn Read + 'r>,
    hash: XxHash64,
    message: Vec<u8>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<'r> Reader<'r> {
    /// Reads the header.
    ///
    /// # Errors
    /// Each variant of [`StateError`].
    pub fn new(mut input: impl Read + 'r) -> Result<Self, StateError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) => return Err(StateError::Foreign),
            // Even an empty file is somebody's.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(StateError::Foreign);
            }
            Err(error) => return Err(error.into()),
        }
        let version = read_u32(&mut input)?;
        match version {
            VERSION => {}
            0 => return Err(StateError::Damaged("its version is missing")),
            later => return Err(StateError::Newer(later)),
        }
        let input: Box<dyn Read + 'r> = match read_u32(&mut input)? {
            0 => Box::new(BufReader::with_capacity(1 << 17, input)),
            1 => Box::new(BufReader::new(zstd::stream::read::Decoder::new(input)?)),
            _ => return Err(StateError::Damaged("its packing is unknown")),
        };
        Ok(Self { input, hash: XxHash64::with_seed(0), message: Vec::new() })
    }

    /// The next frame; `None` after the last one, whose hash is right.
    ///
    /// # Errors
    /// [`StateError::Read`] or [`StateError::Damaged`].
    pub fn read(&mut self) -> Result<Option<(Tag, &[u8])>, StateError> {
        let hash = self.hash.finish();
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        let [byte] = byte;
        let tag = Tag::of(byte).ok_or(StateError::Damaged("a frame is of no known kind"))?;
        let length = read_u32(&mut self.input)?;
        if length > MAX_FRAME_BYTES {
            return Err(StateError::Damaged("a frame is too long"));
        }
        self.message.clear();
        let count = (&mut self.input).take(length.into()).read_to_end(&mut self.message)?;
        if u32::try_from(count) != Ok(length) {
            return Err(StateError::Damaged("its end is missing"));
        }
        for part in [&[byte][..], &length.to_le_bytes(), &self.message] {
            self.hash.write(part);
        }
        if tag != Tag::End {
            return Ok(Some((tag, &self.message)));
        }
        if *self.message != hash.to_le_bytes() {
            return Err(StateError::Damaged("its checksum is wrong"));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(None),
            _ => Err(StateError::Damaged("something follows its end")),
        }
    }
}

/// Reads a message of a frame.
///
/// # Errors
/// [`StateError::Damaged`].
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, StateError> {
    M::decode(bytes).map_err(|_| StateError::Damaged("a frame makes no sense"))
}

fn read_u32(input: &mut impl Read) -> Result<u32, StateError> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(packing: Packing) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, packing).unwrap();
        for text in ["a", "", "ccc"] {
            writer.put(Tag::Family, &text.to_owned()).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, StateError> {
        let mut reader = Reader::new(bytes)?;
        let mut texts = Vec::new();
        while let Some((tag, message)) = reader.read()? {
            // A flipped tag is only noticed at the end.
            if tag == Tag::Family {
                texts.push(decode::<String>(message)?);
            }
        }
        Ok(texts)
    }

    #[test]
    fn what_was_written_is_read() {
        for packing in [Packing::Plain, Packing::Zstd] {
            assert_eq!(read(&written(packing)).unwrap(), ["a", "", "ccc"]);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        for packing in [Packing::Plain, Packing::Zstd] {
            let whole = written(packing);
            for end in 0..whole.len() {
                assert!(read(&whole[..end]).is_err(), "{packing:?} cut at {end}");
            }
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                // zstd has a few bits that mean nothing; then nothing is lost either.
                if let Ok(texts) = read(&bytes) {
                    assert_eq!(texts, ["a", "", "ccc"], "{packing:?} bit {bit}");
                    assert_eq!(packing, Packing::Zstd);
                }
            }
        }
    }

    #[test]
    fn what_is_no_state_is_told_apart() {
        check(b"", "it is no saved state of tallyd");
        check(b"# HELP x", "it is no saved state of tallyd");
        let mut newer = written(Packing::Plain);
        newer[8] = 2;
        check(&newer, "a later tallyd has written it (format 2; this one reads 1)");
        let mut longer = written(Packing::Plain);
        longer.push(0);
        check(&longer, "it is damaged: something follows its end");
        let whole = written(Packing::Plain);
        check(&whole[..whole.len() - 1], "it is damaged: its end is missing");
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(read(bytes).unwrap_err().to_string(), expected);
    }
}
