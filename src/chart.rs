//! Charts: numbers as people read them, axes, and values over time as a picture or in a terminal.

pub mod figure;
pub mod scale;
pub mod clock;
pub mod plot;
pub mod picture;
pub mod terminal;

pub use clock::Clock;
pub use figure::{Figure, Unit};
pub use plot::Plot;
