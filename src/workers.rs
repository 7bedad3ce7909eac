//! The worker processes of a pre-fork server: which of them live.

pub mod life;

pub use life::Life;
