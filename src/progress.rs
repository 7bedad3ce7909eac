//! The progress line: one on a terminal, nothing in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Says on stderr what is going on.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A line on stderr where that is a terminal, nothing otherwise.
    #[must_use]
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::quiet();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is a constant that is known to be right; the default serves as well.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(DRAWN_EVERY);
        Self(bar)
    }

    /// Says nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Replaces the line.
    pub fn say(&self, message: impl Into<std::borrow::Cow<'static, str>>) {
        self.0.set_message(message);
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
