//! What a rule may ask of histograms and summaries.

use std::time::Duration;

/// The buckets of a histogram family.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSpec {
    /// Upper bounds, finite and rising; the bucket for everything above them is implied.
    pub bounds: Box<[f64]>,
    /// Native buckets beside the classic ones, if any.
    pub native: Option<NativeSpec>,
}

/// The native (exponential) buckets of a histogram family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeSpec {
    /// Resolution to begin with: buckets grow by `2^(2^-schema)`; −4 to 8.
    pub schema: i8,
    /// More buckets than this halve the resolution.
    pub max_buckets: u32,
}

impl NativeSpec {
    /// The coarsest resolution whose buckets grow by no more than `factor`, within −4 to 8;
    /// `None` where `factor` asks for no native buckets, which 1 and everything below it does.
    ///
    /// The rule, with its rounding, is that of `client_golang` for `NativeHistogramBucketFactor`.
    #[must_use]
    pub fn from_factor(factor: f64, max_buckets: u32) -> Option<Self> {
        let level = (factor > 1.0).then(|| log2(log2(factor)).floor())?;
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what a schema can be")]
        let schema = -(level.clamp(-8.0, 4.0) as i8);
        Some(Self { schema, max_buckets })
    }
}

/// The logarithm as Go's `math.Log2` rounds it: `f64::log2` picks another schema for factors that
/// are exactly the growth of one.
fn log2(value: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let (fraction, exponent) = frexp(value);
    if fraction <= 0.5 {
        return f64::from(exponent - 1);
    }
    fraction.ln() * (1.0 / std::f64::consts::LN_2) + f64::from(exponent)
}

/// Splits a positive finite number into `fraction * 2^exponent`, the fraction in `[0.5, 1.0)`.
pub(crate) fn frexp(value: f64) -> (f64, i32) {
    const EXPONENT_BITS: u64 = 0x7ff << 52;
    const BIAS: i32 = 1022;
    let (value, shifted) = if value.is_normal() { (value, 0) } else { (value * 2f64.powi(64), 64) };
    let bits = value.to_bits();
    let exponent = i32::try_from((bits & EXPONENT_BITS) >> 52).unwrap_or(0);
    let fraction = f64::from_bits((bits & !EXPONENT_BITS) | (0x3fe << 52));
    (fraction, exponent - BIAS - shifted)
}

/// The quantiles of a summary family.
#[derive(Clone, Debug, PartialEq)]
pub struct SummarySpec {
    /// Quantile and permitted rank error, both 0 to 1, sorted by quantile without duplicates.
    pub quantiles: Box<[(f64, f64)]>,
    /// How long a sample counts.
    pub max_age: Duration,
    /// In how many steps the window slides; at least 1.
    pub age_buckets: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_picks_the_coarsest_schema_that_keeps_to_it() {
        check(1.1, Some(3));
        check(1.5, Some(1));
        check(2.0, Some(0));
        check(4.0, Some(-1));
        check(3.0, Some(0));
        check(65_536.0, Some(-4));
        check(f64::MAX, Some(-4));
        check(f64::INFINITY, Some(-4));
        check(1.002, Some(8));
        check(1.0 + f64::EPSILON, Some(8));
    }

    #[test]
    fn a_factor_of_one_or_less_asks_for_nothing() {
        check(1.0, None);
        check(0.5, None);
        check(-3.0, None);
        check(f64::NAN, None);
    }

    // Where rounding decides: recorded from `client_golang`.
    #[test]
    fn factors_beside_a_growth_round_as_in_go() {
        check(255.999_999_999_999_97, Some(-3));
        check(1.021_897_148_654_116_6, Some(5));
        check(1.189_207_115_002_721, Some(3));
        check(1.044_273_782_427_413_8, Some(5));
        check(1.005_429_901_112_802_7, Some(8));
    }

    #[track_caller]
    fn check(factor: f64, schema: Option<i8>) {
        let spec = NativeSpec::from_factor(factor, 160);
        assert_eq!(spec, schema.map(|schema| NativeSpec { schema, max_buckets: 160 }), "{factor}");
    }
}
