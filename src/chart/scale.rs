//! From numbers to places on a chart's axis.

use super::figure::{Figure, Unit, without_zeros};

/// How an axis grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// From zero in equal steps that are round in a unit.
    Linear(Unit),
    /// Each step a factor.
    Logarithmic,
}

/// An axis: a range of values over a range of places.
#[derive(Clone, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    growth: Growth,
    places: (f64, f64),
    ticks: Vec<f64>,
}

impl Scale {
    /// An axis that shows all of `values` between two places. A linear one begins at zero unless
    /// values are below; one that grows by factors takes values above zero only.
    #[must_use]
    pub fn over(values: impl Iterator<Item = f64>, growth: Growth, places: (f64, f64)) -> Self {
        let is_shown =
            |value: &f64| value.is_finite() && (growth != Growth::Logarithmic || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(is_shown) {
            (low, high) = (low.min(value), high.max(value));
        }
        match growth {
            Growth::Linear(unit) => Self::linear(low.min(0.0), high.max(0.0), unit, places),
            Growth::Logarithmic if low <= high => Self::logarithmic(low, high, places),
            Growth::Logarithmic => Self::logarithmic(1.0, 10.0, places),
        }
    }

    /// An axis that shows all of `values` and little else: it begins at zero only where that costs
    /// no more than a quarter of the room.
    #[must_use]
    pub fn fitting(values: impl Iterator<Item = f64>, unit: Unit, places: (f64, f64)) -> Self {
        // Beyond these the steps between them would not be numbers any more.
        let tame = |value: f64| if value.abs() < 1e-300 { 0.0 } else { value.clamp(-1e307, 1e307) };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()).map(tame) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let (spread, size) = (high - low, low.abs().max(high.abs()));
        if spread <= size * 1e-12 {
            let room = if size > 0.0 { size * 0.05 } else { 1.0 };
            (low, high) = (low - room, high + room);
        } else if low > 0.0 && spread >= high * 0.75 {
            low = 0.0;
        } else if high < 0.0 && spread >= -low * 0.75 {
            high = 0.0;
        }
        Self::linear(low, high, unit, places)
    }

    fn linear(low: f64, high: f64, unit: Unit, places: (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = match unit {
            Unit::Bytes => 2_f64.powf(((high - low) / 4.0).log2().ceil()),
            _ => round_step((high - low) / 4.0),
        };
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= last {
            ticks.push(at * step);
            at += 1.0;
        }
        Self { low: first * step, high: last * step, growth: Growth::Linear(unit), places, ticks }
    }

    fn logarithmic(low: f64, high: f64, places: (f64, f64)) -> Self {
        let (low, high) = (low / 1.25, high * 1.25);
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(low.log10().floor());
        while decade <= high {
            ticks.extend([1.0, 2.0, 5.0].map(|part| part * decade));
            decade *= 10.0;
        }
        ticks.retain(|tick| (low..=high).contains(tick));
        // Beyond two decades the lines between them would stand too close.
        if ticks.len() > 6 {
            ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
        }
        Self { low, high, growth: Growth::Logarithmic, places, ticks }
    }

    /// The values worth a line.
    #[must_use]
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// What to write at each of the ticks: figures, with more digits where they would be the same.
    #[must_use]
    pub fn labels(&self, unit: Unit) -> Vec<String> {
        let figures: Vec<String> =
            self.ticks.iter().map(|tick| Figure(*tick, unit).to_string()).collect();
        let mut sorted = figures.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() == figures.len() {
            return figures;
        }
        let step = match self.ticks.as_slice() {
            [first, second, ..] => second - first,
            _ => 1.0,
        };
        let decimals = (0..=12).find(|places| step * 10_f64.powi(*places) >= 0.999);
        let decimals = usize::try_from(decimals.unwrap_or(12)).unwrap_or(12) + 1;
        self.ticks.iter().map(|tick| without_zeros(&format!("{tick:.decimals$}"))).collect()
    }

    /// Where a value stands; outside of the range it stands at the nearer end.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let (from, to) = self.places;
        let share = match self.growth {
            Growth::Linear(_) => (value - self.low) / (self.high - self.low),
            Growth::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        from + share * (to - from)
    }
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let lead = [1.0, 2.0, 2.5, 5.0].into_iter().find(|lead| step <= lead * power * 1.000_001);
    lead.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_round_ticks() {
        let scale =
            Scale::over([37.0, 93.0].into_iter(), Growth::Linear(Unit::Count), (0.0, 100.0));
        assert_eq!(scale.ticks(), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert!((scale.place(50.0) - 50.0).abs() < 1e-9);
        assert!((scale.place(1e9) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn bytes_have_ticks_at_powers_of_two() {
        let scale = Scale::over([5e6].into_iter(), Growth::Linear(Unit::Bytes), (0.0, 1.0));
        assert_eq!(scale.ticks(), [0.0, 2e6, 4e6, 6e6].map(|tick| tick / 2e6 * 2_097_152.0));
    }

    #[test]
    fn an_axis_of_factors_spreads_them_evenly() {
        let scale = Scale::over([10.0, 1000.0].into_iter(), Growth::Logarithmic, (0.0, 1.0));
        assert_eq!(scale.ticks(), [10.0, 100.0, 1000.0]);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_fitting_axis_is_tight_unless_zero_is_near() {
        let check = |values: &[f64], expected: &[&str]| {
            let scale = Scale::fitting(values.iter().copied(), Unit::Number, (0.0, 1.0));
            assert_eq!(scale.labels(Unit::Number), expected, "{values:?}");
            assert!(values.iter().all(|value| (0.0..=1.0).contains(&scale.place(*value))));
        };
        check(&[10.0, 100.0], &["0", "25", "50", "75", "100"]);
        check(&[90.0, 100.0], &["90", "92.5", "95", "97.5", "100"]);
        check(&[-4.0, 4.0], &["-4", "-2", "0", "2", "4"]);
        check(
            &[1e9, 1e9 + 2.0],
            &["1000000000", "1000000000.5", "1000000001", "1000000001.5", "1000000002"],
        );
        check(&[5.0, 5.0], &["4.6", "4.8", "5", "5.2", "5.4"]);
        check(&[0.0], &["-1", "-0.5", "0", "0.5", "1"]);
        check(&[], &["0", "0.25", "0.5", "0.75", "1"]);
        for extreme in [[1e-310, 2e-310], [-1e308, 1e308], [1e300, 1e300], [1e16, 1e16 + 2.0]] {
            let scale = Scale::fitting(extreme.into_iter(), Unit::Bytes, (0.0, 1.0));
            let ticks = scale.ticks();
            assert!(
                ticks.len() > 1 && ticks.len() < 20 && ticks.iter().all(|tick| tick.is_finite())
            );
        }
    }

    #[test]
    fn an_axis_without_values_still_stands() {
        for growth in [Growth::Linear(Unit::Bytes), Growth::Logarithmic] {
            let scale = Scale::over([f64::NAN].into_iter(), growth, (0.0, 10.0));
            assert!(scale.place(f64::NAN).is_finite() && !scale.ticks().is_empty());
        }
    }
}
