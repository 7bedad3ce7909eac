//! The worker processes of pre-fork servers: which of them live, what they use, and who is slow.
//!
//! Nothing here knows how a server works: all it takes is the numbers of processes, from wherever
//! they come, and `/proc`.

pub mod life;
pub mod usage;
pub mod skew;
pub mod pidfile;
pub mod role;
pub mod roster;

pub use life::Life;
pub use pidfile::PidFile;
pub use role::{RoleReport, Spread};
pub use roster::{Config, Report, Roster};
pub use skew::{Observed, Skew};
