//! Where the entries of the line cache are: header and key side by side, in the order they came.
//!
//! One entry is one stretch of memory, so comparing a key brings its verdict along. The log grows
//! at its end and gives memory back at its beginning, chunk by chunk; what is to stay is written
//! once more at the end.

use std::collections::VecDeque;

use super::entry::{GRAIN_BYTES, Header};

/// Memory comes and goes in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// The same as a power of two of grains.
const CHUNK_GRAINS_LOG2: u32 = CHUNK_BYTES.ilog2() - GRAIN_BYTES.ilog2();

/// No entry is longer, so that little is lost at a chunk's end.
pub(super) const MAX_ENTRY_BYTES: usize = CHUNK_BYTES / 8;

/// What the processor fetches at once. Most entries are longer than one and shorter than two.
const CACHE_LINE_BYTES: usize = 64;

/// Where an entry begins: grains since the log's beginning, modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(u32);

/// Entries in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Log {
    chunks: VecDeque<Chunk>,
    /// The address of the first chunk.
    first: u32,
    /// Where in the first chunk the oldest entry begins.
    oldest: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    used: usize,
}

impl Log {
    /// Whether an entry of this size makes the log take more memory.
    pub(super) fn must_grow(&self, size: usize) -> bool {
        self.chunks.back().is_none_or(|chunk| chunk.used + size > CHUNK_BYTES)
    }

    /// Writes an entry at the end. Its key comes in two parts.
    pub(super) fn append(&mut self, header: Header, key: [&[u8]; 2]) -> Option<Address> {
        let size = header.size_bytes();
        if self.must_grow(size) {
            self.chunks.push_back(Chunk { bytes: vec![0; CHUNK_BYTES].into(), used: 0 });
        }
        let number = u32::try_from(self.chunks.len() - 1).ok()?;
        let chunk = self.chunks.back_mut()?;
        let place = chunk.bytes.get_mut(chunk.used..chunk.used + size)?;
        header.write(place);
        let (_, rest) = place.split_at_mut_checked(size_of::<Header>())?;
        let (name, rest) = rest.split_at_mut_checked(key[0].len())?;
        name.copy_from_slice(key[0]);
        rest.get_mut(..key[1].len())?.copy_from_slice(key[1]);
        let grain = u32::try_from(chunk.used / GRAIN_BYTES).ok()?;
        chunk.used += size;
        Some(Address(self.first.wrapping_add(number << CHUNK_GRAINS_LOG2).wrapping_add(grain)))
    }

    /// The entry at an address, with all that follows its header in the chunk.
    #[inline]
    pub(super) fn get(&self, address: Address) -> Option<(Header, &[u8])> {
        let (chunk, at) = self.place(address);
        Header::read(self.chunks.get(chunk)?.bytes.get(at..)?)
    }

    /// A byte of the entry's beginning, and one of what most likely is its end.
    #[inline]
    pub(super) fn glimpse(&self, address: Address) -> Option<u8> {
        let (chunk, at) = self.place(address);
        let bytes = &self.chunks.get(chunk)?.bytes;
        Some(bytes.get(at)? ^ bytes.get(at + CACHE_LINE_BYTES).unwrap_or(&0))
    }

    /// Replaces the header of the entry at an address; the lengths must be the same.
    #[inline]
    pub(super) fn set_header(&mut self, address: Address, header: Header) {
        let (chunk, at) = self.place(address);
        if let Some(bytes) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.bytes.get_mut(at..))
        {
            header.write(bytes);
        }
    }

    #[inline]
    fn place(&self, Address(address): Address) -> (usize, usize) {
        let grains = address.wrapping_sub(self.first);
        let at = (grains & ((1 << CHUNK_GRAINS_LOG2) - 1)) as usize * GRAIN_BYTES;
        ((grains >> CHUNK_GRAINS_LOG2) as usize, at)
    }

    /// The oldest entry.
    pub(super) fn oldest(&self) -> Option<(Address, Header)> {
        let chunk = self.chunks.front()?;
        let grain = u32::try_from(self.oldest / GRAIN_BYTES).ok()?;
        let bytes = chunk.bytes.get(self.oldest..chunk.used)?;
        Some((Address(self.first.wrapping_add(grain)), Header::read(bytes)?.0))
    }

    /// Gives up the place of the oldest entry.
    pub(super) fn drop_oldest(&mut self) {
        let Some((_, header)) = self.oldest() else { return };
        self.oldest += header.size_bytes();
        if self.chunks.front().is_some_and(|chunk| self.oldest >= chunk.used) {
            self.chunks.pop_front();
            self.first = self.first.wrapping_add(1 << CHUNK_GRAINS_LOG2);
            self.oldest = 0;
        }
    }

    /// All entries, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, Header)> {
        self.chunks.iter().zip(0_u32..).flat_map(|(chunk, number)| {
            let start = self.first.wrapping_add(number << CHUNK_GRAINS_LOG2);
            let mut at = if number == 0 { self.oldest } else { 0 };
            std::iter::from_fn(move || {
                let (header, _) = Header::read(chunk.bytes.get(at..chunk.used)?)?;
                let grain = u32::try_from(at / GRAIN_BYTES).ok()?;
                at += header.size_bytes();
                Some((Address(start.wrapping_add(grain)), header))
            })
        })
    }
}
