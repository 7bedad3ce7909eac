//! Times gathered in a histogram, and the percentiles that are printed of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Three digits are kept: a tenth of a percent is less than any two runs differ by.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The percentiles of many times, in thousandths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// How many times there were.
    pub count: u64,
    /// The shortest.
    pub min_ms: f64,
    /// Half are shorter.
    pub p50_ms: f64,
    /// Nine of ten are shorter.
    pub p90_ms: f64,
    /// 99 of 100 are shorter.
    pub p99_ms: f64,
    /// 999 of 1,000 are shorter.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Longer times count as this one.
const LONGEST: Duration = Duration::from_hours(1);

/// Takes times, nanoseconds and longer.
#[derive(Clone, Debug)]
pub struct Recorder(Histogram<u64>);

impl Recorder {
    /// Begins with no times.
    ///
    /// # Errors
    /// Never for the number of digits used here; the histogram's own words otherwise.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_max(to_nanos(LONGEST), SIGNIFICANT_DIGITS).map(Self)
    }

    /// Adds one time.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(to_nanos(time));
    }

    /// The percentiles of what was added; `None` of nothing.
    #[must_use]
    pub fn latencies(&self) -> Option<Latencies> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| to_ms(self.0.value_at_quantile(quantile));
        Some(Latencies {
            count: self.0.len(),
            min_ms: to_ms(self.0.min()),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: to_ms(self.0.max()),
        })
    }
}

fn to_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn to_ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times_within_a_thousandth() {
        check(&[], None);
        check(&[5.0], Some([5.0, 5.0, 5.0, 5.0]));
        let times: Vec<f64> = (1..=1000).map(f64::from).collect();
        check(&times, Some([1.0, 500.0, 990.0, 1000.0]));
    }

    #[track_caller]
    fn check(times_ms: &[f64], expected: Option<[f64; 4]>) {
        let mut recorder = Recorder::new().unwrap();
        for time in times_ms {
            recorder.record(Duration::from_secs_f64(time / 1e3));
        }
        let got = recorder.latencies().map(|got| [got.min_ms, got.p50_ms, got.p99_ms, got.max_ms]);
        assert_eq!(got.is_some(), expected.is_some());
        for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
            assert!((got - expected).abs() <= expected * 2e-3, "{got} for {expected}");
        }
    }
}
