//! The bytes of one file of `prometheus_client`.
//!
//! ```text
//! i32  bytes in use, these 8 included        little-endian; 0 in a file that has just been made
//! i32  nothing
//! then for each value:
//!   i32  length of the key
//!   key  JSON, padded with blanks so that what follows is at a multiple of 8
//!   f64  value
//!   f64  when it was set, in seconds since 1970; from prometheus_client 0.18 on
//! ```
//!
//! The worker writes while we read, without any lock: it raises the bytes in use when an entry is
//! whole, and changes values in place.

/// What comes before the first entry.
const HEADER_BYTES: usize = 8;

/// A key's length.
const LENGTH_BYTES: usize = 4;

/// The file holds what it cannot hold. What stands before that place is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The bytes in use are none, or less than the header.
    #[error("its first four bytes are no number of bytes in use")]
    Header,
    /// The file ends before the last entry does.
    #[error("it is shorter than it says")]
    Truncated,
    /// A key that is no key, or longer than what is there.
    #[error("an entry of it has no key")]
    Entry,
}

/// What follows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The value: up to `prometheus_client` 0.17.
    Value,
    /// The value and its time.
    ValueAndTime,
}

impl Width {
    /// How many bytes these are.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Value => 8,
            Self::ValueAndTime => 16,
        }
    }

    /// What the entries of a file have, which nothing in it says: with the wrong width only the first one is
    /// found. `bytes` begins with the first entry at a place, and may end anywhere.
    #[must_use]
    pub fn of(bytes: &[u8], at: usize) -> Self {
        let found = |width| Entries::new(bytes, width, at).take_while(Result::is_ok).count();
        if found(Self::Value) > found(Self::ValueAndTime) {
            Self::Value
        } else {
            Self::ValueAndTime
        }
    }
}

/// How many bytes a file says are in use; 0 for one that has just been made.
///
/// # Errors
/// [`FileError::Header`], [`FileError::Truncated`] for fewer than four bytes.
pub fn bytes_in_use(start: &[u8]) -> Result<usize, FileError> {
    // A file is empty until its worker has made room in it.
    if start.is_empty() {
        return Ok(0);
    }
    let used = start.first_chunk().ok_or(FileError::Truncated)?;
    match usize::try_from(i32::from_le_bytes(*used)) {
        Ok(0) => Ok(0),
        Ok(used) if used >= HEADER_BYTES => Ok(used),
        _ => Err(FileError::Header),
    }
}

/// One value and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// JSON, without padding.
    pub key: &'a [u8],
    /// The value.
    pub value: f64,
    /// When it was set; 0 where nobody said.
    pub time: f64,
}

/// Value and time of an entry that is known to begin at `start` and to have its value at `at`; none
/// if something else stands there now.
#[inline]
#[must_use]
pub fn known_value(used: &[u8], width: Width, start: usize, at: usize) -> Option<(f64, f64)> {
    let length = used.get(start..)?.first_chunk()?;
    let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
    if start + LENGTH_BYTES + padded(length) != at {
        return None;
    }
    let (value, after) = used.get(at..)?.split_first_chunk()?;
    let time = match width {
        Width::Value => 0.0,
        Width::ValueAndTime => f64::from_le_bytes(*after.first_chunk()?),
    };
    Some((f64::from_le_bytes(*value), time))
}

/// How long a key is with the blanks behind it, of which there are always some: they make the length and the
/// key a multiple of 8.
fn padded(length: usize) -> usize {
    length + (8 - (length + LENGTH_BYTES) % 8)
}

/// Where the first entry begins.
pub const FIRST_ENTRY: usize = HEADER_BYTES;

/// The entries of a file in their order; the first that is broken is the last.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    used: &'a [u8],
    width: Width,
    at: usize,
}

impl<'a> Entries<'a> {
    /// The entries in some bytes, from a place where one begins.
    #[must_use]
    pub fn new(used: &'a [u8], width: Width, at: usize) -> Self {
        Self { used, width, at }
    }

    /// Where the next entry begins.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn entry(&self) -> Option<(Entry<'a>, usize)> {
        let rest = self.used.get(self.at..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
        let key = rest.get(..length)?;
        // Every key is a JSON list; this tells the two widths apart as well.
        if key.first() != Some(&b'[') || key.last() != Some(&b']') {
            return None;
        }
        let padded = padded(length);
        let (value, after) = rest.get(padded..)?.split_first_chunk()?;
        let time = match self.width {
            Width::Value => 0.0,
            Width::ValueAndTime => f64::from_le_bytes(*after.first_chunk()?),
        };
        let value = f64::from_le_bytes(*value);
        Some((Entry { key, value, time }, LENGTH_BYTES + padded + self.width.bytes()))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, FileError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.used.len() {
            return None;
        }
        let Some((entry, bytes)) = self.entry() else {
            self.used = &[];
            return Some(Err(FileError::Entry));
        };
        self.at += bytes;
        Some(Ok(entry))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file as `prometheus_client` would write it.
    pub(crate) fn written(width: Width, entries: &[(&str, f64, f64)]) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        for (key, value, time) in entries {
            file.extend(i32::try_from(key.len()).unwrap().to_le_bytes());
            file.extend(key.bytes());
            file.resize(file.len() + 8 - (key.len() + LENGTH_BYTES) % 8, b' ');
            file.extend(value.to_le_bytes());
            if width == Width::ValueAndTime {
                file.extend(time.to_le_bytes());
            }
        }
        let used = i32::try_from(file.len()).unwrap();
        file[..4].copy_from_slice(&used.to_le_bytes());
        file
    }

    #[test]
    fn both_widths_are_told_apart() {
        let all = [("[\"a\"]", 1.5, 0.0), ("[\"bc\",\"d\"]", -2.0, 1.7e9), ("[1]", 3.0, 4.0)];
        for count in 0..=all.len() {
            for width in [Width::Value, Width::ValueAndTime] {
                let file = written(width, &all[..count]);
                assert_eq!(bytes_in_use(&file), Ok(file.len()));
                let found = if count == 0 { Width::ValueAndTime } else { width };
                assert_eq!(Width::of(&file, FIRST_ENTRY), found);
                check(&file, width, &all[..count], None);
            }
        }
    }

    #[test]
    fn a_file_that_has_just_been_made_is_empty() {
        for file in [&[][..], &[0; 4], &[0; 4096]] {
            assert_eq!(bytes_in_use(file), Ok(0));
        }
        for (file, error) in [
            (&[1, 0][..], FileError::Truncated),
            (&[7, 0, 0, 0], FileError::Header),
            (&[255; 8], FileError::Header),
        ] {
            assert_eq!(bytes_in_use(file), Err(error));
        }
    }

    #[test]
    fn what_stands_before_a_broken_entry_counts() {
        let all = [("[\"a\"]", 1.0, 0.0), ("[\"b\"]", 2.0, 0.0)];
        let file = written(Width::ValueAndTime, &all);
        let second = 8 + (file.len() - 8) / 2;
        for (byte, changed) in [(0, 0), (0, 200), (3, 255), (4, b'x')] {
            let mut file = file.clone();
            file[second + byte] = changed;
            check(&file, Width::ValueAndTime, &all[..1], Some(FileError::Entry));
        }
        check(&file[..file.len() - 1], Width::ValueAndTime, &all[..1], Some(FileError::Entry));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_to_an_end(mut file in any::<Vec<u8>>(), from in 0_usize..64) {
            for used in [None, i32::try_from(file.len()).ok()] {
                if let (Some(used), Some(start)) = (used, file.first_chunk_mut()) {
                    *start = used.to_le_bytes();
                }
                let _used = bytes_in_use(&file);
                let width = Width::of(&file, FIRST_ENTRY);
                let entries = Entries::new(&file, width, from);
                let mut at = entries.at();
                for entry in entries.clone().flatten() {
                    prop_assert!(entry.key.len() >= 2);
                    at += 1;
                }
                prop_assert!(at <= file.len() + from + HEADER_BYTES);
            }
        }

        #[test]
        fn what_was_written_is_read(
            entries in prop::collection::vec(("\\[[a-z\", \u{e4}]{0,40}\\]", any::<f64>()), 1..9),
            is_old in any::<bool>(),
        ) {
            let width = if is_old { Width::Value } else { Width::ValueAndTime };
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| (key.as_str(), *value, 0.0)).collect();
            let file = written(width, &entries);
            prop_assert_eq!(Width::of(&file, FIRST_ENTRY), width);
            let read: Vec<_> = Entries::new(&file, width, FIRST_ENTRY).map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), entries.len());
            for (read, (key, value, _)) in read.iter().zip(&entries) {
                prop_assert_eq!(read.key, key.as_bytes());
                prop_assert_eq!(read.value.to_bits(), value.to_bits());
            }
        }
    }

    #[track_caller]
    fn check(file: &[u8], width: Width, expected: &[(&str, f64, f64)], error: Option<FileError>) {
        let (mut found, mut end) = (Vec::new(), None);
        for entry in Entries::new(file, width, FIRST_ENTRY) {
            match entry {
                Ok(Entry { key, value, time }) => {
                    found.push((str::from_utf8(key).unwrap(), value, time));
                }
                Err(error) => end = Some(error),
            }
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value, time)| {
                (*key, *value, if width == Width::Value { 0.0 } else { *time })
            })
            .collect();
        assert_eq!((found, end), (expected, error));
    }
}
