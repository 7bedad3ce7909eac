//! Values over time as text: braille dots, axes and a legend.

use std::fmt::Write as _;

use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};
use ratatui_core::symbols::Marker;
use ratatui_core::text::Line as Text;
use ratatui_core::widgets::Widget as _;
use ratatui_widgets::chart::{Axis, Chart, Dataset, GraphType};

use super::figure::Figure;
use super::plot::Plot;
use super::scale::Scale;

/// How a chart is written.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// In letters.
    pub columns: u16,
    /// In lines, without the legend.
    pub rows: u16,
    /// Whether colours are understood.
    pub colours: bool,
}

const COLOURS: [Color; 6] =
    [Color::Blue, Color::Red, Color::Green, Color::Magenta, Color::Yellow, Color::Cyan];
/// A terminal of fewer columns or rows has no room for a chart.
const LEAST: (u16, u16) = (40, 8);

impl Terminal {
    /// The plot as lines of text.
    #[must_use]
    pub fn draw(self, plot: &Plot) -> String {
        let area = Rect::new(0, 0, self.columns.max(LEAST.0), self.rows.max(LEAST.1));
        let stretches: Vec<(usize, Vec<(f64, f64)>)> = plot
            .lines
            .iter()
            .enumerate()
            .flat_map(|(i, line)| line.stretches(plot.step).into_iter().map(move |s| (i, s)))
            .collect();
        let datasets = stretches.iter().map(|(i, stretch)| {
            let kind = if stretch.len() > 1 { GraphType::Line } else { GraphType::Scatter };
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(kind)
                .style(style(*i))
                .data(stretch)
        });
        let values = plot.lines.iter().flat_map(super::plot::Line::values);
        let scale = Scale::fitting(values, plot.unit, (0.0, 1.0));
        let ticks = scale.ticks();
        let bounds = [ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0)];
        let chart = Chart::new(datasets.collect())
            .x_axis(
                Axis::default()
                    .bounds([plot.range.0, plot.range.1])
                    .labels(times(plot, area.width)),
            )
            .y_axis(Axis::default().bounds(bounds).labels(scale.labels(plot.unit)));
        let mut buffer = Buffer::empty(area);
        chart.render(area, &mut buffer);
        let mut text = format!("{}\n", plot.title);
        for row in buffer.content.chunks(usize::from(area.width)) {
            self.write_row(&mut text, row);
        }
        self.write_legend(&mut text, plot);
        text
    }

    fn write_row(self, text: &mut String, cells: &[Cell]) {
        let mut colour = Color::Reset;
        let used = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
        for cell in cells.iter().take(used) {
            if self.colours && cell.fg != colour {
                colour = cell.fg;
                text.push_str(escape(colour));
            }
            text.push_str(cell.symbol());
        }
        if colour != Color::Reset {
            text.push_str(escape(Color::Reset));
        }
        text.push('\n');
    }

    fn write_legend(self, text: &mut String, plot: &Plot) {
        for (i, line) in plot.lines.iter().enumerate() {
            let last = line.values().last().unwrap_or(f64::NAN);
            let (on, off) = match style(i).fg {
                Some(colour) if self.colours => (escape(colour), escape(Color::Reset)),
                _ => ("", ""),
            };
            // Writing to a string cannot fail.
            writeln!(text, "  {on}──{off} {}: {}", line.name, Figure(last, plot.unit)).ok();
        }
        let (from, to) = plot.range;
        if plot.is_empty() {
            text.push_str("  no data\n");
        }
        writeln!(text, "  {}", plot.clock.name(from, to)).ok();
    }
}

/// The first, the middle and the last time; more where there is room.
fn times(plot: &Plot, columns: u16) -> Vec<Text<'static>> {
    let (from, to) = plot.range;
    let count = if columns >= 100 { 5 } else { 3 };
    let is_long = to - from > 86_400.0;
    let format = match to - from {
        range if range > 86_400.0 => "%b %-d %H:%M",
        range if range < 300.0 => "%H:%M:%S",
        _ => "%H:%M",
    };
    let place = |i: u16| from + (to - from) * f64::from(i) / f64::from(count - 1);
    (0..count)
        .filter(|i| !is_long || count == 3 || i % 2 == 0)
        .map(|i| plot.clock.at(place(i)))
        .map(|time| time.map_or(String::new(), |time| time.strftime(format).to_string()).into())
        .collect()
}

fn style(index: usize) -> Style {
    Style::new().fg(COLOURS.get(index % COLOURS.len()).copied().unwrap_or(Color::Reset))
}

/// What makes terminals write in a colour.
fn escape(colour: Color) -> &'static str {
    match colour {
        Color::Red => "\u{1b}[31m",
        Color::Green => "\u{1b}[32m",
        Color::Yellow => "\u{1b}[33m",
        Color::Blue => "\u{1b}[34m",
        Color::Magenta => "\u{1b}[35m",
        Color::Cyan => "\u{1b}[36m",
        _ => "\u{1b}[0m",
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::chart::plot::{Line, Theme};
    use crate::chart::{Clock, Unit};

    #[test]
    fn a_line_rises_from_the_corner_to_the_other() {
        let text = drawn(&[(0.0, 0.0), (60.0, 10.0), (120.0, 20.0)], false);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.first(), Some(&"up"));
        assert!(rows[1].trim_start().starts_with("20 ") && rows[1].ends_with('⠉'), "{text}");
        assert!(text.contains("00:00:00") && text.contains("00:02:00"), "{text}");
        assert!(text.ends_with("  ── a: 20\n  UTC\n") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing_and_colours_are_given_back() {
        assert!(drawn(&[], false).contains("no data"));
        let text = drawn(&[(0.0, 1.0), (60.0, f64::NAN), (120.0, 2.0)], true);
        assert_eq!(text.matches("\u{1b}[34m").count(), text.matches("\u{1b}[0m").count());
    }

    fn drawn(points: &[(f64, f64)], colours: bool) -> String {
        let plot = Plot {
            title: "up".to_owned(),
            lines: vec![Line { name: "a".to_owned(), points: points.to_vec() }],
            unit: Unit::Number,
            range: (0.0, 120.0),
            step: 60.0,
            clock: Clock::new(TimeZone::UTC),
            theme: Theme::Light,
            width: 800.0,
        };
        Terminal { columns: 60, rows: 12, colours }.draw(&plot)
    }
}
