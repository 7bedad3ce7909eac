//! Values over time as one SVG that needs nothing else: axes, a legend, light or dark.

use maud::{Markup, html};
use unicode_width::UnicodeWidthStr;

use super::clock::{Clock, Tick};
use super::figure::Unit;
use super::scale::Scale;
use legend::Legend;
use theme::Colours;

mod legend;
mod theme;

pub use theme::Theme;

/// Whoever looks has one of these, or something like them; pictures are drawn with the first.
const FONTS: &str = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif";
/// No plot is narrower than this.
pub const MIN_WIDTH: f64 = 320.0;
const EDGE: f64 = 16.0;
/// Half of the last time of day may stand to the right of the drawing.
const RIGHT_EDGE: f64 = 26.0;
const TITLE_HEIGHT: f64 = 40.0;
const DRAWING_HEIGHT: f64 = 300.0;
/// Below the drawing: times, days, and the zone.
const TIMES_HEIGHT: f64 = 52.0;
const FONT_SIZE: f64 = 12.0;
const TITLE_SIZE: f64 = 15.0;
/// The width of a letter in the fonts above, beside its height; few are wider.
const LETTER: f64 = 0.64;
/// So wide is a time of day with the room around it.
const TICK_WIDTH: f64 = 84.0;

/// Values over time.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// In the order of the legend.
    pub lines: Vec<Line>,
    /// The unit of the values.
    pub unit: Unit,
    /// The first and the last time that is shown, in Unix seconds.
    pub range: (f64, f64),
    /// Seconds between two points of a line; where there are more, the line has a gap.
    pub step: f64,
    /// In whose zone times are told.
    pub clock: Clock,
    /// Light or dark.
    pub theme: Theme,
    /// In pixels; at least [`MIN_WIDTH`].
    pub width: f64,
}

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Unix seconds and values, rising in time; values that are no number are gaps.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// The values that can be drawn.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|(_, value)| *value).filter(|value| value.is_finite())
    }

    /// The stretches without a gap; none is empty.
    #[must_use]
    pub fn stretches(&self, step: f64) -> Vec<Vec<(f64, f64)>> {
        let mut stretches: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut is_joined = false;
        let mut before = f64::NEG_INFINITY;
        for (time, value) in &self.points {
            if !value.is_finite() {
                is_joined = false;
                continue;
            }
            // A point that comes half a step late is late, not missing.
            match stretches.last_mut().filter(|_| is_joined && time - before <= step * 1.5) {
                Some(stretch) => stretch.push((*time, *value)),
                None => stretches.push(vec![(*time, *value)]),
            }
            (is_joined, before) = (true, *time);
        }
        stretches
    }
}

/// Where the drawing lies in the picture, and its axes.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    values: Scale,
    labels: Vec<String>,
    range: (f64, f64),
}

impl Frame {
    fn of(plot: &Plot) -> Self {
        let (top, bottom) = (TITLE_HEIGHT, TITLE_HEIGHT + DRAWING_HEIGHT);
        let values = plot.lines.iter().flat_map(Line::values);
        let values = Scale::fitting(values, plot.unit, (bottom, top));
        // An axis of nothing would look like one of values from 0 to 1.
        let labels = if plot.is_empty() { Vec::new() } else { values.labels(plot.unit) };
        let widest = labels.iter().map(|label| text_width(label, FONT_SIZE)).fold(0.0, f64::max);
        let right = plot.width.max(MIN_WIDTH) - RIGHT_EDGE;
        Self { left: EDGE + widest + 8.0, right, top, bottom, values, labels, range: plot.range }
    }

    fn x(&self, time: f64) -> f64 {
        let (from, to) = self.range;
        let share = (time - from) / (to - from);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 };
        self.left + share * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.values.place(value)
    }
}

impl Plot {
    /// Whether there is no value that can be drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.values().next().is_none())
    }

    /// The plot as an SVG document.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let colours = self.theme.colours();
        let frame = Frame::of(self);
        let width = self.width.max(MIN_WIDTH);
        let legend = Legend::new(&self.lines, self.unit, width);
        let legend_top = frame.bottom + TIMES_HEIGHT;
        let height = legend_top + legend.height() + EDGE;
        let svg = html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox={"0 0 " (width) " " (height)}
                width=(width) height=(height) font-family=(FONTS) font-size=(FONT_SIZE)
                role="img" aria-label=(self.title) {
                rect width="100%" height="100%" fill=(colours.ground) {}
                (self.title(&colours, width))
                (rows(&frame, &colours))
                (self.times(&frame, &colours))
                @for (i, line) in self.lines.iter().enumerate() {
                    (self.line(line, &frame, &colours, i))
                }
                @if self.is_empty() {
                    text x=(px(f64::midpoint(frame.left, frame.right)))
                        y=(px(f64::midpoint(frame.top, frame.bottom)))
                        font-size=(TITLE_SIZE) text-anchor="middle" fill=(colours.muted) { "no data" }
                }
                (legend.draw(&colours, legend_top))
            }
        };
        format!("{}\n", svg.into_string())
    }

    fn title(&self, colours: &Colours, width: f64) -> Markup {
        let shown = cut(&self.title, width - 2.0 * EDGE, TITLE_SIZE);
        html! {
            text x=(EDGE) y="26" font-size=(TITLE_SIZE) font-weight="bold" fill=(colours.text) {
                (shown)
                title { (self.title) }
            }
        }
    }

    /// Lines upwards, with times below, and whose times they are.
    fn times(&self, frame: &Frame, colours: &Colours) -> Markup {
        let room = (frame.right - frame.left) / TICK_WIDTH;
        // At least two, and never more than fit.
        let limit =
            if room < 2.0 { 2 } else { room.min(40.0).floor().to_string().parse().unwrap_or(2) };
        let (from, to) = self.range;
        let ticks = self.clock.ticks(from, to, limit);
        html! {
            @for Tick { time, label, day } in &ticks {
                @let x = px(frame.x(*time));
                line x1=(x) x2=(x) y1=(frame.top) y2=(px(frame.bottom + 4.0)) stroke=(colours.grid) {}
                text x=(x) y=(px(frame.bottom + 18.0)) text-anchor="middle" fill=(colours.muted) { (label) }
                @if let Some(day) = day {
                    text x=(x) y=(px(frame.bottom + 34.0)) text-anchor="middle" fill=(colours.muted) { (day) }
                }
            }
            text x=(px(frame.right)) y=(px(frame.bottom + TIMES_HEIGHT - 4.0)) text-anchor="end"
                font-size="11" fill=(colours.muted) { (self.clock.name(from, to)) }
        }
    }

    fn line(&self, line: &Line, frame: &Frame, colours: &Colours, index: usize) -> Markup {
        let colour = colours.line(index);
        let stretches = line.stretches(self.step);
        let place =
            |(time, value): &(f64, f64)| format!("{},{}", px(frame.x(*time)), px(frame.y(*value)));
        html! {
            g fill="none" stroke=(colour) stroke-width="1.6" stroke-linejoin="round"
                stroke-linecap="round" stroke-dasharray=[colours.dashes(index)] {
                title { (line.name) }
                @for stretch in &stretches {
                    @match stretch.as_slice() {
                        [(time, value)] => circle cx=(px(frame.x(*time))) cy=(px(frame.y(*value)))
                            r="2" fill=(colour) stroke="none" {},
                        points => polyline points=(points.iter().map(place).collect::<Vec<_>>().join(" ")) {},
                    }
                }
            }
        }
    }
}

/// Lines across, with their values on the left.
fn rows(frame: &Frame, colours: &Colours) -> Markup {
    html! {
        @for (tick, label) in frame.values.ticks().iter().zip(&frame.labels) {
            @let y = frame.y(*tick);
            line x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(y)) y2=(px(y)) stroke=(colours.grid) {}
            text x=(px(frame.left - 8.0)) y=(px(y + 4.0)) text-anchor="end" fill=(colours.muted) { (label) }
        }
    }
}

/// About how wide a text is; hardly any is wider.
fn text_width(text: &str, size: f64) -> f64 {
    text.width() as f64 * size * LETTER
}

/// As much of a text as there is room for, with an ellipsis where that is not all.
fn cut(text: &str, room: f64, size: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    for letter in text.chars() {
        shown.push(letter);
        if text_width(&shown, size) + size > room {
            shown.pop();
            break;
        }
    }
    shown + "…"
}

fn px(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn a_line_breaks_where_values_are_missing_or_no_numbers() {
        let line = |points: &[(f64, f64)]| {
            let line = Line { points: points.to_vec(), ..Line::default() };
            line.stretches(10.0).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(line(&[(0.0, 1.0), (10.0, 1.0), (25.0, 1.0)]), [3]);
        assert_eq!(line(&[(0.0, 1.0), (10.0, 1.0), (26.0, 1.0)]), [2, 1]);
        assert_eq!(line(&[(0.0, 1.0), (10.0, f64::NAN), (20.0, 1.0)]), [1, 1]);
        assert!(line(&[(0.0, f64::INFINITY)]).is_empty());
    }

    #[test]
    fn whatever_is_drawn_is_a_document_without_holes() {
        let hard = "<script>&\"' \u{202e}日本語 ".repeat(40);
        let constant = vec![(0.0, 5.0), (60.0, 5.0)];
        let wild = vec![(0.0, f64::NAN), (30.0, 1e308), (60.0, -1e308)];
        check(&[]);
        check(&[("", &[])]);
        check(&[(&hard, &constant), ("b", &wild)]);
        check(&[("infinite", &[(0.0, f64::INFINITY)])]);
    }

    #[test]
    fn texts_are_cut_where_there_is_no_room() {
        assert_eq!(cut("short", 100.0, 12.0), "short");
        assert_eq!(cut("far too long for this", 60.0, 10.0), "far too…");
        assert_eq!(cut("日本語日本語", 60.0, 10.0), "日本語…");
    }

    #[track_caller]
    fn check(lines: &[(&str, &[(f64, f64)])]) {
        for (theme, range) in [(Theme::Light, (0.0, 60.0)), (Theme::Dark, (7.0, 7.0))] {
            let plot = Plot {
                title: "a < b".to_owned(),
                lines: lines
                    .iter()
                    .map(|(name, points)| Line {
                        name: (*name).to_owned(),
                        points: points.to_vec(),
                    })
                    .collect(),
                unit: Unit::Number,
                range,
                step: 60.0,
                clock: Clock::new(TimeZone::UTC),
                theme,
                width: 0.0,
            };
            let svg = plot.to_svg();
            assert!(svg.starts_with("<svg") && svg.contains("a &lt; b"));
            for hole in ["NaN", "inf", "<script"] {
                assert!(!svg.replace("infinite", "").contains(hole), "{svg}");
            }
            super::super::picture::png(&svg).unwrap();
        }
    }
}
