//! Times as Go programs write them.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a sequence of numbers and units.
    #[error("not a duration; write for instance 500ms, 90s or 1h30m")]
    Malformed,
    /// A number that no unit follows.
    #[error("a duration without its unit; write for instance 10s")]
    MissingUnit,
    /// A unit that Go does not know, days among them.
    #[error("a duration with an unknown unit; known are ns, us, ms, s, m and h")]
    UnknownUnit,
    /// More than 292 years.
    #[error("a duration of more than 292 years")]
    TooLong,
}

/// Reads a duration and returns its nanoseconds, below zero where a `-` stands before it.
///
/// The notation is that of Go's `time.ParseDuration`: numbers with an optional fraction, each
/// followed by its unit, as in `1h2m3.5s`; a lone `0` needs none.
///
/// # Errors
/// Names what is wrong with the text.
pub fn parse_go_duration(text: &str) -> Result<i64, DurationError> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let (part_nanos, after) = parse_part(rest)?;
        nanos = nanos.checked_add(part_nanos).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    if is_negative {
        0_i64.checked_sub_unsigned(nanos).ok_or(DurationError::TooLong)
    } else {
        i64::try_from(nanos).map_err(|_| DurationError::TooLong)
    }
}

/// Reads a time of more than zero, such as `10s`.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_time_or_none(text)?;
    if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(time) }
}

/// Reads a time that may be zero.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_time_or_none(text: &str) -> Result<Duration, String> {
    let nanos = parse_go_duration(text).map_err(|error| error.to_string())?;
    let nanos = u64::try_from(nanos).map_err(|_| "must not be negative".to_owned())?;
    Ok(Duration::from_nanos(nanos))
}

/// One number with its unit, and what follows them.
fn parse_part(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed);
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end).ok_or(DurationError::Malformed)?;
    let unit_nanos = unit_nanos(unit)?;
    let whole: u64 =
        if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::TooLong)? };
    let nanos = whole.checked_mul(unit_nanos).ok_or(DurationError::TooLong)?;
    let nanos = nanos.checked_add(fraction_nanos(fraction, unit_nanos));
    Ok((nanos.ok_or(DurationError::TooLong)?, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The share of a unit that decimals stand for, cut to whole nanoseconds as Go does.
fn fraction_nanos(decimals: &str, unit_nanos: u64) -> u64 {
    // Beyond 18 decimals an hour's share is below a nanosecond.
    let decimals: String = decimals.chars().take(18).collect();
    let scale = 10_u128.pow(u32::try_from(decimals.len()).unwrap_or_default());
    let value: u128 = decimals.parse().unwrap_or_default();
    u64::try_from(value * u128::from(unit_nanos) / scale).unwrap_or_default()
}

fn unit_nanos(unit: &str) -> Result<u64, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::MissingUnit),
        _ => return Err(DurationError::UnknownUnit),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_units_add_up() {
        check("0", Ok(0));
        check("1h", Ok(3_600_000_000_000));
        check("1m20s", Ok(80_000_000_000));
        check("500ms", Ok(500_000_000));
        check("1.5h", Ok(5_400_000_000_000));
        check("100us", Ok(100_000));
        check("100µs", Ok(100_000));
        check("100μs", Ok(100_000));
        check("5ns", Ok(5));
        check("1h2m3.5s", Ok(3_723_500_000_000));
        check(".5s", Ok(500_000_000));
        check("1.s", Ok(1_000_000_000));
        check("1.9ns", Ok(1));
        check("+5s", Ok(5_000_000_000));
        check("-1s", Ok(-1_000_000_000));
        check("0s", Ok(0));
        check("-9223372036854775808ns", Ok(i64::MIN));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        check("", Err(DurationError::Malformed));
        check("-", Err(DurationError::Malformed));
        check("soon", Err(DurationError::Malformed));
        check(".s", Err(DurationError::Malformed));
        check("10", Err(DurationError::MissingUnit));
        check("1h10", Err(DurationError::MissingUnit));
        check("10 s", Err(DurationError::UnknownUnit));
        check("1d", Err(DurationError::UnknownUnit));
        check("9223372036854775808ns", Err(DurationError::TooLong));
        check("300000000h", Err(DurationError::TooLong));
        check("99999999999999999999s", Err(DurationError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[-+.0-9a-zµ ]{0,30}") {
            parse_go_duration(&text).ok();
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<i64, DurationError>) {
        assert_eq!(parse_go_duration(text), expected, "{text:?}");
    }
}
