//! The legend of a plot: which line is which, and its values in figures.

use maud::{Markup, html};

use super::theme::Colours;
use super::{EDGE, FONT_SIZE, Line, cut, px};
use crate::chart::figure::{Figure, Unit};

const ROW: f64 = 20.0;
/// Where names begin, behind a piece of their line.
const NAMES: f64 = EDGE + 30.0;
const COLUMN: f64 = 82.0;
/// Figures stand beside names only where enough room is left for these.
const NAMES_WIDTH: f64 = 180.0;
/// More lines than this nobody tells apart by their colours.
const MAX_ROWS: usize = 30;

/// Names and figures of the lines.
#[derive(Debug)]
pub(super) struct Legend {
    width: f64,
    has_figures: bool,
    /// Name, and lowest, average, highest and last value.
    rows: Vec<(String, [String; 4])>,
    /// How many lines have no row.
    more: usize,
}

impl Legend {
    pub(super) fn new(lines: &[Line], unit: Unit, width: f64) -> Self {
        let has_figures = width - NAMES - EDGE - 4.0 * COLUMN >= NAMES_WIDTH;
        let rows = lines.iter().take(MAX_ROWS).map(|line| (line.name.clone(), figures(line, unit)));
        Self {
            width,
            has_figures,
            rows: rows.collect(),
            more: lines.len().saturating_sub(MAX_ROWS),
        }
    }

    pub(super) fn height(&self) -> f64 {
        let rows = self.rows.len() + usize::from(self.has_figures) + usize::from(self.more > 0);
        if self.rows.is_empty() { 0.0 } else { ROW * rows as f64 }
    }

    pub(super) fn draw(&self, colours: &Colours, top: f64) -> Markup {
        let figures_width = if self.has_figures { 4.0 * COLUMN } else { 0.0 };
        let room = self.width - NAMES - EDGE - figures_width;
        let first = top + if self.has_figures { ROW } else { 0.0 };
        let base = |row: usize| first + ROW * row as f64 + 14.0;
        html! {
            @if self.has_figures && !self.rows.is_empty() {
                (self.cells(&["min", "mean", "max", "last"], top + 14.0, colours.muted))
            }
            @for (i, (name, figures)) in self.rows.iter().enumerate() {
                line x1=(EDGE) x2=(px(NAMES - 8.0)) y1=(px(base(i) - 4.0)) y2=(px(base(i) - 4.0))
                    stroke=(colours.line(i)) stroke-width="3" stroke-dasharray=[colours.dashes(i)] {}
                text x=(NAMES) y=(px(base(i))) fill=(colours.text) {
                    (cut(name, room, FONT_SIZE))
                    title { (name) }
                }
                @if self.has_figures { (self.cells(figures, base(i), colours.text)) }
            }
            @if self.more > 0 {
                text x=(NAMES) y=(px(base(self.rows.len()))) fill=(colours.muted) { "and " (self.more) " more" }
            }
        }
    }

    fn cells(&self, cells: &[impl AsRef<str>; 4], base: f64, colour: &str) -> Markup {
        html! {
            @for (i, cell) in cells.iter().enumerate() {
                @let right = self.width - EDGE - COLUMN * (3 - i) as f64;
                text x=(px(right)) y=(px(base)) text-anchor="end" fill=(colour) { (cell.as_ref()) }
            }
        }
    }
}

fn figures(line: &Line, unit: Unit) -> [String; 4] {
    let count = line.values().count() as f64;
    let low = line.values().fold(f64::INFINITY, f64::min);
    let high = line.values().fold(f64::NEG_INFINITY, f64::max);
    // Divided first: the sum of large values need not be a number.
    let mean = if count > 0.0 { line.values().map(|value| value / count).sum() } else { f64::NAN };
    let last = line.values().last().unwrap_or(f64::NAN);
    [low, mean, high, last].map(|value| Figure(value, unit).to_string())
}
