//! Charts as SVG that is legible at 320 pixels and needs no script.
//!
//! Colours come from the page's style sheet by class, so that light and dark are decided there. What differs by colour
//! also differs by shape or stands beside its name.

use maud::{Markup, html};

use crate::bench::compare::median;
use crate::chart::figure::{Figure, Unit};

use crate::chart::scale::{Growth, Scale};

const WIDTH: f64 = 400.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 10.0;
const BOTTOM_MARGIN: f64 = 26.0;

/// A value that changes with time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// What is shown.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Second and value.
    pub points: Vec<(f64, f64)>,
}

impl Timeline {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let height = 190.0;
        let floor = height - BOTTOM_MARGIN;
        let (seconds, values) = (Growth::Linear(Unit::Seconds), Growth::Linear(self.unit));
        let x = Scale::over(self.points.iter().map(|(x, _)| *x), seconds, (LEFT, RIGHT));
        let y = Scale::over(self.points.iter().map(|(_, y)| *y), values, (floor, TOP));
        let places: Vec<(f64, f64)> =
            self.points.iter().map(|(at, value)| (x.place(*at), y.place(*value))).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let ends = (places.first().map_or(LEFT, |p| p.0), places.last().map_or(LEFT, |p| p.0));
        let area = format!("{:.1},{floor} {} {:.1},{floor}", ends.0, line.join(" "), ends.1);
        figure(
            &self.title,
            height,
            &html! {
                (rows(&y, self.unit))
                (columns(&x, Unit::Seconds, floor))
                polygon.area points=(area) {}
                polyline.line points=(line.join(" ")) {}
                @for ((at, value), (cx, cy)) in self.points.iter().zip(&places) {
                    circle.point cx=(px(*cx)) cy=(px(*cy)) r="2.5" {
                        title { (Figure(*at, Unit::Seconds)) ": " (Figure(*value, self.unit)) }
                    }
                }
            },
        )
    }
}

/// Named values side by side.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Name and value, from top to bottom.
    pub bars: Vec<(String, f64)>,
}

impl Bars {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> Markup {
        const ROW: f64 = 26.0;
        let height = ROW * self.bars.len() as f64 + 8.0;
        let values = self.bars.iter().map(|(_, value)| *value);
        let x = Scale::over(values, Growth::Linear(self.unit), (LEFT, RIGHT - 70.0));
        figure(
            &self.title,
            height,
            &html! {
                @for (row, (name, value)) in self.bars.iter().enumerate() {
                    @let top = 4.0 + ROW * row as f64;
                    text.label x=(px(LEFT - 8.0)) y=(px(top + 17.0)) text-anchor="end" { (name) }
                    rect.bar x=(px(LEFT)) y=(px(top + 4.0)) height=(px(ROW - 8.0))
                        width=(px((x.place(*value) - LEFT).max(1.0))) rx="2" {}
                    text.value x=(px(x.place(*value) + 6.0)) y=(px(top + 17.0)) {
                        (Figure(*value, self.unit))
                    }
                }
            },
        )
    }
}

/// The rounds of two servers, each a dot, their medians a stroke.
#[derive(Clone, Debug)]
pub struct Duel {
    /// What is compared.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Name and rounds of the first.
    pub a: (String, Vec<f64>),
    /// Name and rounds of the second.
    pub b: (String, Vec<f64>),
}

impl Duel {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> Markup {
        const EDGE: f64 = 18.0;
        let height = 132.0;
        let floor = height - BOTTOM_MARGIN;
        let all = self.a.1.iter().chain(&self.b.1).copied();
        let (left, right) = (EDGE, WIDTH - EDGE);
        let x = Scale::over(all, Growth::Linear(self.unit), (left, right));
        let drawing = html! {
            (columns(&x, self.unit, floor))
            @for (class, (name, rounds), y) in [("a", &self.a, 38.0), ("b", &self.b, 86.0)] {
                g class=(class) {
                    line.track x1=(px(left)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                    text.label x=(px(left)) y=(px(y - 14.0)) { (name) }
                    @for value in rounds {
                        circle.round cx=(px(x.place(*value))) cy=(px(y)) r="4.5" {
                            title { (name) ": " (Figure(*value, self.unit)) }
                        }
                    }
                    @if let Some(median) = median(rounds) {
                        @let at = x.place(median);
                        line.median x1=(px(at)) x2=(px(at)) y1=(px(y - 9.0)) y2=(px(y + 9.0)) {}
                        text.value x=(px(right)) y=(px(y - 14.0)) text-anchor="end" {
                            (Figure(median, self.unit))
                        }
                    }
                }
            }
        };
        figure(&self.title, height, &drawing)
    }
}

/// Rates that were tried one after the other, and whether the server held them.
#[derive(Clone, Debug)]
pub struct Search {
    /// What is shown.
    pub title: String,
    /// Rate, whether it passed, and what there is to say.
    pub trials: Vec<(f64, bool, String)>,
    /// The rate that was found.
    pub found: Option<f64>,
}

impl Search {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let height = 240.0;
        let floor = height - BOTTOM_MARGIN;
        let rates = self.trials.iter().map(|trial| trial.0).chain(self.found);
        let y = Scale::over(rates, Growth::Logarithmic, (floor, TOP));
        let step = (RIGHT - LEFT) / self.trials.len().max(1) as f64;
        figure(
            &self.title,
            height,
            &html! {
                (rows(&y, Unit::PerSecond))
                @if let Some(found) = self.found {
                    @let at = y.place(found);
                    line.found x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(at)) y2=(px(at)) {}
                    text.value x=(px(RIGHT)) y=(px(at - 5.0)) text-anchor="end" {
                        (Figure(found, Unit::PerSecond))
                    }
                }
                @for (i, (rate, passed, note)) in self.trials.iter().enumerate() {
                    @let (x, y) = (LEFT + step * (i as f64 + 0.5), y.place(*rate));
                    (trial_mark(x, y, *passed, note))
                    text.tick x=(px(x)) y=(px(floor + 16.0)) text-anchor="middle" { (i + 1) }
                }
            },
        )
    }
}

/// A dot for a rate that was held, a cross for one that was not.
fn trial_mark(x: f64, y: f64, passed: bool, note: &str) -> Markup {
    const ARM: f64 = 4.5;
    let (left, right, top, bottom) = (px(x - ARM), px(x + ARM), px(y - ARM), px(y + ARM));
    html! {
        @if passed {
            circle.passed cx=(px(x)) cy=(px(y)) r="5" { title { (note) } }
        } @else {
            path.failed d=(format!("M{left} {top}L{right} {bottom}M{right} {top}L{left} {bottom}")) {
                title { (note) }
            }
        }
    }
}

/// Lines across, with their values on the left.
fn rows(scale: &Scale, unit: Unit) -> Markup {
    html! {
        @for tick in scale.ticks() {
            @let y = scale.place(*tick);
            line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y)) y2=(px(y)) {}
            text.tick x=(px(LEFT - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (Figure(*tick, unit)) }
        }
    }
}

/// Lines upwards, with their values below.
fn columns(scale: &Scale, unit: Unit, floor: f64) -> Markup {
    html! {
        @for tick in scale.ticks() {
            @let x = scale.place(*tick);
            line.grid x1=(px(x)) x2=(px(x)) y1=(px(TOP)) y2=(px(floor)) {}
            text.tick x=(px(x)) y=(px(floor + 16.0)) text-anchor="middle" { (Figure(*tick, unit)) }
        }
    }
}

fn figure(title: &str, height: f64, drawing: &Markup) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
                (drawing)
            }
        }
    }
}

fn px(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notes_are_escaped() {
        let evil = "<script>alert('&')</script>".to_owned();
        let bars = Bars { title: evil.clone(), unit: Unit::Count, bars: vec![(evil.clone(), 1.0)] };
        let search = Search {
            title: evil.clone(),
            trials: vec![(1.0, true, evil.clone()), (2.0, false, evil)],
            found: None,
        };
        for chart in [bars.draw(), search.draw()] {
            assert!(!chart.into_string().contains("<script"));
        }
    }

    #[test]
    fn charts_of_nothing_and_of_what_is_no_number_are_drawn() {
        let check = |chart: Markup| assert!(!chart.into_string().contains("NaN"));
        let (title, unit) = (String::new(), Unit::Millis);
        check(Timeline { title: title.clone(), unit, points: Vec::new() }.draw());
        check(Timeline { title: title.clone(), unit, points: vec![(0.0, f64::NAN)] }.draw());
        check(Bars { title: title.clone(), unit, bars: Vec::new() }.draw());
        let nobody = (String::new(), Vec::new());
        check(Duel { title: title.clone(), unit, a: nobody.clone(), b: nobody }.draw());
        check(Search { title, trials: Vec::new(), found: None }.draw());
    }
}
