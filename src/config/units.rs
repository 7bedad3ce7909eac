//! Numbers, sizes and times as people write them in flags.

use std::time::Duration;

use thiserror::Error;

use crate::units::{DurationError, parse_go_duration};

/// Why the value of a flag is not a number, a size or a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a number at all.
    #[error("not a number")]
    NotANumber,
    /// A number below zero.
    #[error("must not be negative")]
    Negative,
    /// A number with a fraction.
    #[error("not a whole number")]
    Fraction,
    /// More than this machine can count.
    #[error("too large")]
    TooLarge,
    /// A size with a suffix nobody knows.
    #[error("not a size; write bytes, or a number followed by KiB, MiB or GiB")]
    NotASize,
    /// A duration that is none.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A duration of nothing where something has to pass.
    #[error("must be more than zero")]
    NoTime,
}

/// Reads a whole number that is not negative.
///
/// The exponent form is taken as well: Helm renders a large number of a values file as `1e+06`,
/// and the reference takes that for most of its numbers.
///
/// # Errors
/// Names what is wrong with the number.
pub fn parse_count(text: &str) -> Result<usize, UnitError> {
    if let Ok(count) = text.parse() {
        return Ok(count);
    }
    let number: f64 = text.parse().map_err(|_| UnitError::NotANumber)?;
    if number.is_nan() {
        return Err(UnitError::NotANumber);
    }
    if number < 0.0 {
        return Err(UnitError::Negative);
    }
    if number.fract() != 0.0 {
        return Err(UnitError::Fraction);
    }
    format!("{number:.0}").parse().map_err(|_| UnitError::TooLarge)
}

/// Reads a number of bytes, plain or with one of the suffixes `KiB`, `MiB` and `GiB`.
///
/// # Errors
/// Names what is wrong with the size.
pub fn parse_bytes(text: &str) -> Result<usize, UnitError> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_bytes: usize = match text.strip_prefix(digits) {
        Some("") => 1,
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        _ => return Err(UnitError::NotASize),
    };
    parse_count(digits)?.checked_mul(unit_bytes).ok_or(UnitError::TooLarge)
}

/// Reads a duration in the notation of Go's `time.ParseDuration`; zero is one as well.
///
/// # Errors
/// Names what is wrong with the duration.
pub fn parse_time(text: &str) -> Result<Duration, UnitError> {
    match parse_interval(text) {
        Err(UnitError::NoTime) => Ok(Duration::ZERO),
        result => result,
    }
}

/// Reads a duration above zero in the notation of Go's `time.ParseDuration`.
///
/// # Errors
/// Names what is wrong with the duration.
pub fn parse_interval(text: &str) -> Result<Duration, UnitError> {
    let nanos = u64::try_from(parse_go_duration(text)?).map_err(|_| UnitError::Negative)?;
    if nanos == 0 { Err(UnitError::NoTime) } else { Ok(Duration::from_nanos(nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_that_is_not_negative() {
        check(parse_count, "0", Ok(0));
        check(parse_count, "1000", Ok(1000));
        check(parse_count, "+5", Ok(5));
        check(parse_count, "1e+06", Ok(1_000_000));
        check(parse_count, "-1", Err(UnitError::Negative));
        check(parse_count, "-inf", Err(UnitError::Negative));
        check(parse_count, "1.5", Err(UnitError::Fraction));
        check(parse_count, "1e30", Err(UnitError::TooLarge));
        check(parse_count, "99999999999999999999", Err(UnitError::TooLarge));
        for text in ["", " 5", "abc", "0x10", "nan", "5 "] {
            check(parse_count, text, Err(UnitError::NotANumber));
        }
    }

    #[test]
    fn a_size_may_have_a_binary_suffix() {
        check(parse_bytes, "0", Ok(0));
        check(parse_bytes, "4096", Ok(4096));
        check(parse_bytes, "3KiB", Ok(3072));
        check(parse_bytes, "64MiB", Ok(67_108_864));
        check(parse_bytes, "2GiB", Ok(2_147_483_648));
        check(parse_bytes, "1e+06", Ok(1_000_000));
        check(parse_bytes, "64MB", Err(UnitError::NotASize));
        check(parse_bytes, "64 mib", Err(UnitError::NotASize));
        check(parse_bytes, "MiB", Err(UnitError::NotANumber));
        check(parse_bytes, "", Err(UnitError::NotANumber));
        check(parse_bytes, "-1KiB", Err(UnitError::Negative));
        check(parse_bytes, "99999999999999GiB", Err(UnitError::TooLarge));
    }

    #[test]
    fn an_interval_is_a_duration_above_zero() {
        check(parse_interval, "200ms", Ok(Duration::from_millis(200)));
        check(parse_interval, "10", Err(UnitError::Duration(DurationError::MissingUnit)));
        check(parse_interval, "0s", Err(UnitError::NoTime));
        check(parse_interval, "-1s", Err(UnitError::Negative));
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the tables above stay readable")]
    fn check<T: std::fmt::Debug + PartialEq>(
        parse: fn(&str) -> Result<T, UnitError>,
        text: &str,
        expected: Result<T, UnitError>,
    ) {
        assert_eq!(parse(text), expected, "{text:?}");
    }
}
