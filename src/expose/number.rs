//! Numbers as the text formats write them: the way Go's `strconv` prints a float in format `g`,
//! shortest form, which is what readers of a `statsd_exporter` page have always seen.

/// From this decimal exponent on Go's shortest `g` turns to scientific notation.
const SCIENTIFIC_FROM: i32 = 6;
/// The least integer that is written so.
pub(super) const SCIENTIFIC_FROM_INTEGER: u64 = 1_000_000;
/// Below this decimal exponent as well.
const DECIMAL_FROM: i32 = -4;

/// Appends an integer.
pub(super) fn write_uint(page: &mut Vec<u8>, value: u64) {
    page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a float as the text format has it: `1`, `0.05`, `1e+06`, `+Inf`, `NaN`; `-0` is `0`.
pub(super) fn write_float(page: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        page.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        page.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        if value < 0.0 {
            page.push(b'-');
        }
        match small_integer(value.abs()) {
            Some(integer) => write_uint(page, integer),
            None => write_digits(page, value.abs()),
        }
    }
}

/// Appends a float as `OpenMetrics` has it: like `write_float`, but an integer ends in `.0`, which
/// its ABNF asks for in `le` and `quantile`.
pub(super) fn write_real(page: &mut Vec<u8>, value: f64) {
    let start = page.len();
    write_float(page, value);
    let is_integer = page.iter().skip(start).all(|&byte| byte.is_ascii_digit() || byte == b'-');
    if is_integer {
        page.extend_from_slice(b".0");
    }
}

/// The value as an integer when it is one and Go writes it without an exponent.
///
/// Most values of a page are such, and an integer takes a fifth of the time of a float to print.
fn small_integer(magnitude: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and the next line compares")]
    #[expect(clippy::cast_sign_loss, reason = "the magnitude has no sign")]
    let integer = magnitude as u64;
    #[expect(clippy::float_cmp, reason = "asks whether the conversion was exact")]
    let is_exact = integer as f64 == magnitude;
    (is_exact && integer < SCIENTIFIC_FROM_INTEGER).then_some(integer)
}

/// Appends a positive float digit by digit. `ryu` finds the shortest digits; only the place of the
/// point and the form of the exponent differ from Go's.
fn write_digits(page: &mut Vec<u8>, magnitude: f64) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(magnitude);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = exponent.parse().unwrap_or(0);
    let fraction = fraction.trim_end_matches('0');
    if whole == "0" {
        let digits = fraction.trim_start_matches('0');
        write_number(page, digits, "", shift - length(fraction) + length(digits));
    } else if fraction.is_empty() {
        write_number(page, whole.trim_end_matches('0'), "", shift + length(whole));
    } else {
        write_number(page, whole, fraction, shift + length(whole));
    }
}

/// Appends the number `0.HEADTAIL × 10^point`; `head` begins and the digits end with no zero.
fn write_number(page: &mut Vec<u8>, head: &str, tail: &str, point: i32) {
    let digits = head.bytes().chain(tail.bytes());
    let exponent = point - 1;
    if (DECIMAL_FROM..SCIENTIFIC_FROM).contains(&exponent) {
        write_decimal(page, digits, point);
    } else {
        write_scientific(page, digits, exponent);
    }
}

fn write_decimal(page: &mut Vec<u8>, digits: impl Iterator<Item = u8>, point: i32) {
    if point <= 0 {
        page.extend_from_slice(b"0.");
        page.extend((point..0).map(|_| b'0'));
        page.extend(digits);
        return;
    }
    let mut place = 0;
    for digit in digits {
        if place == point {
            page.push(b'.');
        }
        page.push(digit);
        place += 1;
    }
    page.extend((place..point).map(|_| b'0'));
}

fn write_scientific(page: &mut Vec<u8>, mut digits: impl Iterator<Item = u8>, exponent: i32) {
    page.extend(digits.next());
    let mut digits = digits.peekable();
    if digits.peek().is_some() {
        page.push(b'.');
    }
    page.extend(digits);
    page.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let size = exponent.unsigned_abs();
    if size < 10 {
        page.push(b'0');
    }
    write_uint(page, u64::from(size));
}

/// The length of at most seventeen digits and some zeros.
fn length(digits: &str) -> i32 {
    i32::try_from(digits.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `strconv.FormatFloat(value, 'g', -1, 64)` printed.
    const GO: &[(f64, &str)] = &[
        (1.0, "1"),
        (-1.0, "-1"),
        (3.0, "3"),
        (0.05, "0.05"),
        (0.1 + 0.2, "0.30000000000000004"),
        (123_456.789, "123456.789"),
        (-123_456.789, "-123456.789"),
        (100_000.0, "100000"),
        (999_999.0, "999999"),
        (999_999.5, "999999.5"),
        (1e6, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (-1_234_567.5, "-1.2345675e+06"),
        (12_345_678_900.0, "1.23456789e+10"),
        (9_007_199_254_740_993.0, "9.007199254740992e+15"),
        (1e15, "1e+15"),
        (1e16, "1e+16"),
        (1.5e16, "1.5e+16"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (1e21, "1e+21"),
        (1e22, "1e+22"),
        (1e100, "1e+100"),
        (f64::MAX, "1.7976931348623157e+308"),
        (0.001, "0.001"),
        (0.0001, "0.0001"),
        (0.000_123_4, "0.0001234"),
        (0.00001, "1e-05"),
        (0.000_012_5, "1.25e-05"),
        (0.000_001, "1e-06"),
        (1e-7, "1e-07"),
        (2.5e-10, "2.5e-10"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (5e-324, "5e-324"),
        (1.0 / 3.0, "0.3333333333333333"),
        (10.5, "10.5"),
        (1_700_000_000.123, "1.700000000123e+09"),
    ];

    #[test]
    fn floats_read_as_go_prints_them() {
        for &(value, text) in GO {
            check(write_float, value, text);
        }
    }

    #[test]
    fn zero_has_no_sign_and_infinity_always_has() {
        check(write_float, 0.0, "0");
        check(write_float, -0.0, "0");
        check(write_float, f64::INFINITY, "+Inf");
        check(write_float, f64::NEG_INFINITY, "-Inf");
        check(write_float, f64::NAN, "NaN");
    }

    #[test]
    fn open_metrics_marks_an_integer_as_a_float() {
        check(write_real, 1.0, "1.0");
        check(write_real, -3.0, "-3.0");
        check(write_real, -0.0, "0.0");
        check(write_real, 0.5, "0.5");
        check(write_real, 1e6, "1e+06");
        check(write_real, f64::INFINITY, "+Inf");
        check(write_real, f64::NAN, "NaN");
    }

    #[test]
    fn every_finite_float_reads_back_as_itself() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let mut page = Vec::new();
                write_float(&mut page, value);
                let text = String::from_utf8(page).unwrap();
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            }
        }
    }

    #[track_caller]
    fn check(write: fn(&mut Vec<u8>, f64), value: f64, expected: &str) {
        let mut page = b"7".to_vec();
        write(&mut page, value);
        assert_eq!(String::from_utf8_lossy(&page), format!("7{expected}"));
    }
}
