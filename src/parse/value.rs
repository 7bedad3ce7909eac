//! Numbers as Go's `strconv.ParseFloat` reads them, since `statsd_exporter` reads them with it, and
//! what a sample rate does to them.
//!
//! Decimals are what Rust's `str::parse` takes; Go adds hexadecimal floats and underscores between
//! digits, and refuses a signed `nan` and whatever overflows.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit1, hex_digit0, one_of};
use nom::combinator::{all_consuming, opt, verify};
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NumberError {
    /// It does not follow the grammar.
    Syntax,
    /// It does, but lies beyond the largest float; the infinity of its sign.
    OutOfRange(f64),
}

/// Reads a value of the plain form, `-?digits[.digits]` with at most 15 digits; `None` for any other.
///
/// These are the values a [`Repeat`](super::Repeat) applies to.
#[must_use]
#[inline]
pub fn plain_number(text: &[u8]) -> Option<f64> {
    leading_number(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// Reads the plain number that a text begins with, and what follows it; `None` where there is none,
/// or where it has too many digits.
///
/// Both steps are exact below 2⁵³ and 10²², so one correctly rounded division gives what a full
/// parser gives.
#[must_use]
#[inline]
pub fn leading_number(text: &[u8]) -> Option<(f64, &[u8])> {
    const MAX_DIGITS: usize = 15;
    const POWERS_OF_TEN: [f64; MAX_DIGITS] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = unsigned;
    let (mut mantissa, mut digits, mut point) = (0_u64, 0, None);
    while let [byte, after @ ..] = rest {
        match byte {
            b'0'..=b'9' if digits < MAX_DIGITS => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'0'..=b'9' => return None,
            b'.' if digits > 0 && point.is_none() => point = Some(digits),
            _ => break,
        }
        rest = after;
    }
    let fraction_digits = point.map_or(0, |whole_digits| digits - whole_digits);
    if digits == 0 || (point.is_some() && fraction_digits == 0) {
        return None;
    }
    let mut number = mantissa as f64;
    if fraction_digits > 0 {
        number /= POWERS_OF_TEN.get(fraction_digits)?;
    }
    Some((if unsigned.len() < text.len() { -number } else { number }, rest))
}

/// Reads a number by Go's rules.
///
/// # Errors
/// `Syntax` for what is no number at all, `OutOfRange` for one that only infinity is near to.
pub(super) fn parse_number(text: &str) -> Result<f64, NumberError> {
    if let Some(number) = plain_number(text.as_bytes()) {
        return Ok(number);
    }
    if !text.contains('_') {
        return parse_without_underscores(text);
    }
    if underscores_separate_digits(text) {
        parse_without_underscores(&text.replace('_', ""))
    } else {
        Err(NumberError::Syntax)
    }
}

fn parse_without_underscores(text: &str) -> Result<f64, NumberError> {
    let unsigned = without_sign(text);
    let is_signed = unsigned.len() < text.len();
    let number = if is_hexadecimal(unsigned) {
        let magnitude = hexadecimal(unsigned).ok_or(NumberError::Syntax)?;
        if text.starts_with('-') { -magnitude } else { magnitude }
    } else {
        text.parse().map_err(|_| NumberError::Syntax)?
    };
    if number.is_nan() && is_signed {
        return Err(NumberError::Syntax);
    }
    if number.is_infinite() && !unsigned.starts_with(['i', 'I']) {
        return Err(NumberError::OutOfRange(number));
    }
    Ok(number)
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_hexadecimal(unsigned: &str) -> bool {
    unsigned.starts_with("0x") || unsigned.starts_with("0X")
}

/// Whether each underscore stands between two digits, or between `0x` and a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let unsigned = without_sign(text);
    let is_hex = is_hexadecimal(unsigned);
    let is_digit = |byte: u8| byte.is_ascii_digit() || (is_hex && byte.is_ascii_hexdigit());
    let mut follows_digit = false;
    let mut follows_underscore = false;
    for (position, byte) in unsigned.bytes().enumerate() {
        if byte == b'_' {
            if !follows_digit {
                return false;
            }
        } else if follows_underscore && !is_digit(byte) {
            return false;
        }
        follows_digit = is_digit(byte) || (is_hex && position == 1);
        follows_underscore = byte == b'_';
    }
    !follows_underscore
}

/// Reads `0x1.8p3`, infinite where it overflows; `None` where the grammar is not met.
fn hexadecimal(unsigned: &str) -> Option<f64> {
    let (_, (whole, fraction, exponent)) = all_consuming(hexadecimal_parts).parse(unsigned).ok()?;
    let mut mantissa = 0_u64;
    let mut is_cut = false;
    let mut exponent = exponent;
    let digits = whole.chars().map(|c| (c, 4)).chain(fraction.chars().map(|c| (c, 0)));
    for (digit, weight) in digits {
        let digit = digit.to_digit(16)?;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent += weight - 4;
        } else {
            is_cut |= digit != 0;
            exponent += weight;
        }
    }
    Some(round_to_float(mantissa, exponent, is_cut))
}

/// The digits before and after the point, and the binary exponent, which Go requires.
fn hexadecimal_parts(text: &str) -> IResult<&str, (&str, &str, i32)> {
    let digits = (hex_digit0, opt(preceded(char('.'), hex_digit0)));
    let mantissa = preceded(
        alt((tag("0x"), tag("0X"))),
        verify(digits, |(whole, fraction): &(&str, Option<&str>)| {
            !whole.is_empty() || fraction.is_some_and(|digits| !digits.is_empty())
        }),
    );
    let exponent = preceded(one_of("pP"), (opt(one_of("+-")), digit1));
    (mantissa, exponent)
        .map(|((whole, fraction), (sign, digits))| {
            let magnitude = saturating_exponent(digits);
            let exponent = if sign == Some('-') { -magnitude } else { magnitude };
            (whole, fraction.unwrap_or(""), exponent)
        })
        .parse(text)
}

/// Digits to a number, up to 99,999; the float's range ends long before.
fn saturating_exponent(digits: &str) -> i32 {
    digits.bytes().fold(0, |exponent, digit| {
        if exponent < 10_000 { exponent * 10 + i32::from(digit - b'0') } else { exponent }
    })
}

/// The float nearest to `mantissa × 2^exponent`, ties to even; `is_cut` says that the exact number
/// is a little larger.
fn round_to_float(mantissa: u64, exponent: i32, is_cut: bool) -> f64 {
    const MIN_EXPONENT: i32 = -1022;
    const MAX_EXPONENT: i32 = 1023;
    const KEPT_BITS: i32 = 53;

    if mantissa == 0 {
        return 0.0;
    }
    let shift = mantissa.leading_zeros();
    let mantissa = u128::from(mantissa << shift);
    // The number lies in [2^magnitude, 2^(magnitude + 1)).
    let magnitude = exponent.saturating_add(63).saturating_sub(shift.cast_signed());
    if magnitude > MAX_EXPONENT {
        return f64::INFINITY;
    }
    // A subnormal number has fewer bits, down to none at all.
    let missing_bits = (MIN_EXPONENT - magnitude).clamp(0, KEPT_BITS + 1);
    let dropped_bits = (u64::BITS.cast_signed() - KEPT_BITS + missing_bits).cast_unsigned();
    let kept = mantissa >> dropped_bits;
    let rest = mantissa & ((1 << dropped_bits) - 1);
    let half = 1 << (dropped_bits - 1);
    let rounds_up = rest > half || (rest == half && (is_cut || kept & 1 == 1));
    // A mantissa that rounds up to the next power of two carries into the exponent, which is right.
    let significand = u64::try_from(kept).unwrap_or(u64::MAX) + u64::from(rounds_up);
    let biased_exponent = u64::try_from(magnitude - MIN_EXPONENT).unwrap_or(0);
    f64::from_bits((biased_exponent << 52) + significand)
}

/// How many events an observer's sample stands for: Go's `int(1 / rate)` on amd64, where NaN and
/// whatever does not fit become the smallest integer, hence no event at all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "truncation is the rule, and the range was checked"
)]
pub(super) fn repetitions(rate: f64) -> u64 {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;

    let events = 1.0 / rate;
    if (1.0..TOO_LARGE).contains(&events) { events as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("5.", 5.0),
            (".5", 0.5),
            ("0005", 5.0),
            ("+.5e1", 5.0),
            ("1E-3", 0.001),
            ("1e00003", 1000.0),
            ("1e-400", 0.0),
            ("0e99999999999999999999", 0.0),
            ("2.4703282292062327e-324", 0.0),
            ("2.4703282292062328e-324", 5e-324),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("1.7976931348623157e308", f64::MAX),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn words_are_taken_in_any_case_but_a_nan_has_no_sign() {
        for text in ["inf", "Inf", "+inf", "INFINITY", "iNfInItY"] {
            check(text, Ok(f64::INFINITY));
        }
        check("-Infinity", Ok(f64::NEG_INFINITY));
        for text in ["nan", "NaN", "NAN"] {
            assert!(parse_number(text).unwrap().is_nan(), "{text}");
        }
        for text in ["+nan", "-NaN", "nano", "infinit", "in_f"] {
            check(text, Err(NumberError::Syntax));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", " 1", "1 ", "\t1", "1,5", "1'000", "1/2", "--1", "+-1", "1e", "1e+", "e5", ".",
            "+", "-", "1f", "1o", "10ms", "1%", "0b1", "0o7", "\u{663}", "1.2.3",
        ] {
            check(text, Err(NumberError::Syntax));
        }
    }

    #[test]
    fn an_overflow_keeps_its_sign() {
        check("1e999", Err(NumberError::OutOfRange(f64::INFINITY)));
        check("-1e999", Err(NumberError::OutOfRange(f64::NEG_INFINITY)));
        check("1.7976931348623159e308", Err(NumberError::OutOfRange(f64::INFINITY)));
        check("0x1p1024", Err(NumberError::OutOfRange(f64::INFINITY)));
        check("-0x1.fffffffffffff8p1023", Err(NumberError::OutOfRange(f64::NEG_INFINITY)));
    }

    #[test]
    fn underscores_stand_between_digits_only() {
        for (text, expected) in [
            ("1_000", 1000.0),
            ("1_0.5", 10.5),
            ("1e1_0", 1e10),
            ("0x_1p4", 16.0),
            ("0x1_0p0", 16.0),
        ] {
            check(text, Ok(expected));
        }
        for text in
            ["_1", "1_", "1__0", "1_.5", "1._5", "1e_5", "1_e5", "0_x1p4", "0x1_p4", "0x1p_4", "_"]
        {
            check(text, Err(NumberError::Syntax));
        }
    }

    #[test]
    fn hexadecimal_floats_are_rounded_to_even() {
        for (text, expected) in [
            ("0X1P3", 8.0),
            ("-0x.8p1", -1.0),
            ("0x1.8p-3", 0.1875),
            ("0x10000000000000001p0", 18_446_744_073_709_551_616.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.0000000000000801p0", 1.0 + f64::EPSILON),
            ("0x1.000000000000080001p0", 1.0 + f64::EPSILON),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x1.fffffffffffffp-1023", f64::MIN_POSITIVE),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1074", 1e-323),
            ("0x1.8p-1075", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1p-99999999999", 0.0),
            ("0x0p99999999999", 0.0),
        ] {
            check(text, Ok(expected));
        }
        for text in ["0x", "0x1", "0x.p1", "0xp1", "0x1p", "0x1p+", "0x1pf", "0x1.8.0p1", "0x-1p1"]
        {
            check(text, Err(NumberError::Syntax));
        }
    }

    #[test]
    fn plain_numbers_are_short_decimals() {
        for text in ["0", "-0", "007", "1.50", "-12.5", "123456789012345", "0.12345678901234"] {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(plain_number(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()));
        }
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "5.",
            "-.5",
            "1e3",
            "1_0",
            "0x1",
            "nan",
            "1 ",
            "1.2.3",
            "--1",
            "1234567890123456",
            "0.123456789012345",
            "00000000000000000",
        ] {
            assert_eq!(plain_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn repetitions_truncate_and_what_does_not_fit_is_no_event() {
        for (rate, expected) in [
            (1.0, 1),
            (0.5, 2),
            (0.3, 3),
            (0.07, 14),
            (0.51, 1),
            (1.5, 0),
            (-0.5, 0),
            (2_f64.powi(-62), 1 << 62),
            (2_f64.powi(-63), 0),
            (f64::NAN, 0),
            (f64::INFINITY, 0),
        ] {
            assert_eq!(repetitions(rate), expected, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn printed_floats_are_read_back(number in any::<f64>()) {
            let text = format!("{number:e}");
            prop_assert_eq!(parse_number(&text).map(f64::to_bits), Ok(number.to_bits()));
        }

        #[test]
        fn plain_numbers_are_what_a_full_parser_reads(text in "-?[0-9]{1,8}([.][0-9]{1,7})?") {
            let expected: f64 = text.parse().unwrap();
            let number = plain_number(text.as_bytes());
            prop_assert_eq!(number.map(f64::to_bits), Some(expected.to_bits()));
        }

        #[test]
        fn hexadecimal_floats_of_53_bits_are_exact(
            mantissa in 0_u64..1 << 53,
            exponent in -1022_i32..970,
        ) {
            let expected = mantissa as f64 * 2_f64.powi(exponent);
            prop_assert_eq!(parse_number(&format!("0x{mantissa:x}p{exponent}")), Ok(expected));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<f64, NumberError>) {
        assert_eq!(parse_number(text), expected, "{text}");
    }
}
