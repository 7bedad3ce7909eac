//! A line of the last minutes, small enough for a table.

use std::fmt::Write as _;

use maud::{Markup, html};

/// The drawing's own units; it is stretched to where it stands.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

/// Points that a drawing has at most; of more, neighbours are put together.
const MAX_POINTS: usize = 60;

/// How a rate went, the latest to the right; `name` says for whom it is not seen what it is.
pub(super) fn sparkline(values: &[f64], name: &str) -> Markup {
    let values = thinned(values);
    let highest = values.iter().copied().fold(0.0, f64::max);
    let line = points(&values, highest);
    let area = format!("0,{HEIGHT} {line} {WIDTH},{HEIGHT}");
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label=(name) {
            line.base x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
            @if highest > 0.0 && values.len() > 1 {
                polygon.area points=(area) {}
                polyline.line points=(line) {}
            }
        }
    }
}

fn thinned(values: &[f64]) -> Vec<f64> {
    let step = values.len().div_ceil(MAX_POINTS).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    // From the end, so that the latest point is one of its own length.
    let mut thinned: Vec<f64> = values.rchunks(step).map(mean).collect();
    thinned.reverse();
    thinned
}

fn points(values: &[f64], highest: f64) -> String {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let mut points = String::new();
    for (i, value) in values.iter().enumerate() {
        let (x, y) =
            (i as f64 * step, HEIGHT - value / highest.max(f64::MIN_POSITIVE) * (HEIGHT - 2.0));
        let gap = if i == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        write!(points, "{gap}{x:.1},{y:.1}").unwrap_or_default();
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_left_to_right_and_its_peak_is_at_the_top() {
        assert_eq!(points(&[0.0, 2.0, 1.0], 2.0), "0.0,24.0 60.0,2.0 120.0,13.0");
        let drawn = sparkline(&[0.0, 2.0, 1.0], "a \"b\"").into_string();
        assert!(drawn.contains("aria-label=\"a &quot;b&quot;\"") && drawn.contains("polyline"));
        assert!(!sparkline(&[0.0; 9], "").into_string().contains("polyline"));
    }

    #[test]
    fn many_points_are_put_together_from_the_end() {
        let values: Vec<f64> = (0..121).map(f64::from).collect();
        let thinned = thinned(&values);
        assert_eq!(
            (thinned.len(), thinned.first(), thinned.last()),
            (41, Some(&0.0), Some(&119.0))
        );
    }
}
