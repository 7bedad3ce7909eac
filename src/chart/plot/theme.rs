//! Light and dark.

/// What a plot is looked at on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Theme {
    /// Dark lines on white
    #[default]
    Light,
    /// Bright lines on dark grey
    Dark,
}

/// The colours of a theme.
#[derive(Debug)]
pub(super) struct Colours {
    pub(super) ground: &'static str,
    pub(super) text: &'static str,
    pub(super) muted: &'static str,
    pub(super) grid: &'static str,
    lines: [&'static str; 12],
}

const LIGHT: Colours = Colours {
    ground: "#ffffff",
    text: "#1c1f24",
    muted: "#565c66",
    grid: "#e3e6ea",
    lines: [
        "#1f6fd0", "#d9480f", "#2b8a3e", "#ae3ec9", "#b08900", "#0b8f9c", "#c92a4b", "#5f4bd8",
        "#6b8e00", "#8a5a2b", "#d6338a", "#5c6773",
    ],
};

const DARK: Colours = Colours {
    ground: "#16191f",
    text: "#eceff4",
    muted: "#a9b1bd",
    grid: "#2c313a",
    lines: [
        "#62a8ff", "#ff9350", "#63d47c", "#dd8bf2", "#f2cc3d", "#4dd4e0", "#ff7b94", "#a799ff",
        "#b5d94c", "#d2a679", "#ff86c8", "#b4bec9",
    ],
};

impl Theme {
    pub(super) fn colours(self) -> Colours {
        match self {
            Self::Light => LIGHT,
            Self::Dark => DARK,
        }
    }
}

impl Colours {
    pub(super) fn line(&self, index: usize) -> &'static str {
        self.lines.get(index % self.lines.len()).unwrap_or(&self.text)
    }

    /// How a line is dashed: when all colours are in use they come again with other dashes.
    pub(super) fn dashes(&self, index: usize) -> Option<&'static str> {
        [None, Some("7 4"), Some("2 4"), Some("9 4 2 4")]
            .get(index / self.lines.len() % 4)
            .copied()
            .flatten()
    }
}
