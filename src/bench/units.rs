//! Numbers as people write and read them.

/// Reads `200k`, `1.5M`, `2G` or a plain number.
///
/// # Errors
/// Says what a number looks like.
pub fn parse_number(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text.strip_prefix(digits) {
        Some("") => 1.0,
        Some("k" | "K") => 1e3,
        Some("m" | "M") => 1e6,
        Some("g" | "G") => 1e9,
        _ => 0.0,
    };
    match digits.parse::<f64>() {
        Ok(number) if factor > 0.0 && number > 0.0 && number.is_finite() => Ok(number * factor),
        _ => Err("not a number above zero; write for instance 500, 200k or 1.5M".to_owned()),
    }
}

/// Reads a whole number such as `1000000`, `200k` or `1M`.
///
/// # Errors
/// Says what a number looks like.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is above zero, whole and below the bound"
)]
pub fn parse_whole(text: &str) -> Result<u64, String> {
    const BOUND: f64 = 1e15;
    let number = parse_number(text)?.round();
    if (1.0..BOUND).contains(&number) { Ok(number as u64) } else { Err("out of range".to_owned()) }
}

/// Reads a share, as `0.1%` or as `0.001`, from 0 to 1.
///
/// # Errors
/// Says what a share looks like.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let (digits, divisor) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match digits.parse::<f64>().map(|number| number / divisor) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a share; write for instance 0.1% or 0.001".to_owned()),
    }
}

/// Digits in groups of three: `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number that may be large or have decimals: `1,234,567`, `12.34`, `0.0512`.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if (1_000.0..1e15).contains(&size) {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", grouped(whole(size)));
    }
    let decimals = match size {
        _ if size >= 100.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// Bytes in the unit that suits their number.
pub(super) fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// The nearest whole number; none is below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which no count comes near"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_have_a_suffix() {
        check("500", Some(500.0));
        check("200k", Some(200_000.0));
        check("1.5M", Some(1_500_000.0));
        check("1e6", Some(1_000_000.0));
        for text in ["", "0", "-1", "k", "5x", "nan", "inf", "1kk"] {
            check(text, None);
        }
    }

    #[test]
    fn a_share_is_a_part_of_one_or_a_percentage() {
        for (text, expected) in
            [("0.1%", Some(0.001)), ("0.5", Some(0.5)), ("0", Some(0.0)), ("2", None), ("%", None)]
        {
            assert_eq!(parse_share(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_printed_in_groups_or_with_decimals() {
        for (value, text) in
            [(1_234_567.0, "1,234,567"), (999.0, "999.0"), (12.345, "12.35"), (0.0512, "0.0512")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!((grouped(0), bytes(43_000_000)), ("0".to_owned(), "43.0 MB".to_owned()));
    }

    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        assert_eq!(parse_number(text).ok(), expected, "{text:?}");
    }
}
