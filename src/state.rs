//! What a process leaves to the next one: families, series, values, counts and its clock.
//!
//! A saved state is a header, [`codec::MAGIC`] and a version, and after it frames, each a tag, a
//! length and a message; the last one holds a hash of all others. The same format is written to
//! `--state.file` and handed to a successor in memory. Reading one never trusts it: what is damaged,
//! foreign or newer is an error that says so.
//!
//! A snapshot is taken from a reading like a scrape's, series by series, so it neither holds lanes up
//! nor takes memory that grows with the number of series.

pub mod clock;
pub mod codec;
pub mod snapshot;
pub mod file;

pub use clock::Clock;
pub use codec::StateError;
pub use file::{FileError, StateFile};
pub use snapshot::{Head, Restored, Snapshot, Source};
