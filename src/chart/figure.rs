//! Numbers as people read them: three digits and a unit.

use std::fmt;

/// What a number counts, which decides how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things a second, shown with a thousands prefix.
    PerSecond,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// Bytes, in powers of 1,024.
    Bytes,
    /// A share of one, shown as per cent.
    Share,
    /// Per cent.
    Percent,
    /// Things, shown to the last one up to ten million.
    Count,
    /// A time in seconds, from nanoseconds to days.
    Time,
    /// Whatever it is, with a thousands prefix.
    Number,
}

/// A number with its unit, for people: three significant digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure(pub f64, pub Unit);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        if !value.is_finite() {
            return f.write_str("–");
        }
        match unit {
            Unit::PerSecond => write!(f, "{}/s", prefixed(value, 1e3, [" k", " M", " G"], "")),
            Unit::Count if value.abs() < 1e7 => f.write_str(&grouped(value)),
            Unit::Bytes => f.write_str(&prefixed(value, 1024.0, [" KiB", " MiB", " GiB"], " B")),
            Unit::Millis if value >= 1e4 => write!(f, "{} s", digits(value / 1e3)),
            Unit::Millis => write!(f, "{} ms", digits(value)),
            Unit::Micros if value >= 1e4 => write!(f, "{} ms", digits(value / 1e3)),
            Unit::Micros => write!(f, "{} µs", digits(value)),
            Unit::Seconds => write!(f, "{} s", digits(value)),
            Unit::Share => write!(f, "{} %", digits(value * 100.0)),
            Unit::Percent => write!(f, "{} %", digits(value)),
            Unit::Time => f.write_str(&time(value)),
            Unit::Number if value.abs() >= 1e15 => f.write_str(&digits(value)),
            Unit::Number | Unit::Count => {
                f.write_str(&prefixed(value, 1e3, [" k", " M", " G"], ""))
            }
        }
    }
}

impl From<Figure> for String {
    fn from(figure: Figure) -> Self {
        figure.to_string()
    }
}

/// A time in the largest unit of which there is one.
fn time(seconds: f64) -> String {
    const UNITS: [(f64, &str); 6] =
        [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    let size = seconds.abs();
    let fitting = UNITS.into_iter().find(|(length, _)| size >= *length);
    let (length, unit) = match fitting {
        Some(fitting) => fitting,
        None if size > 0.0 => (1e-9, "ns"),
        None => (1.0, "s"),
    };
    format!("{} {unit}", digits(seconds / length))
}

fn prefixed(value: f64, base: f64, prefixes: [&str; 3], unprefixed: &str) -> String {
    let [first, second, third] = prefixes;
    let size = value.abs();
    match () {
        () if size >= base.powi(3) => format!("{}{third}", digits(value / base.powi(3))),
        () if size >= base.powi(2) => format!("{}{second}", digits(value / base.powi(2))),
        () if size >= base => format!("{}{first}", digits(value / base)),
        () => format!("{}{unprefixed}", digits(value)),
    }
}

/// A whole number with a comma for each thousand.
fn grouped(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits, without a fraction of nothing but zeros.
#[must_use]
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        return exponential(value);
    }
    let decimals = match size {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.01 => 4,
        size if size >= 0.001 => 5,
        _ => 6,
    };
    without_zeros(&format!("{value:.decimals$}"))
}

/// Three digits and a power of ten.
fn exponential(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", without_zeros(digits)),
        None => text,
    }
}

/// A number without the zeros that end its fraction.
#[must_use]
pub fn without_zeros(number: &str) -> String {
    match number.split_once('.') {
        Some(_) => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_three_digits_and_its_unit() {
        let check = |value, unit, expected: &str| {
            assert_eq!(Figure(value, unit).to_string(), expected);
        };
        check(5_430_000.0, Unit::PerSecond, "5.43 M/s");
        check(999.0, Unit::PerSecond, "999/s");
        check(0.104, Unit::Micros, "0.104 µs");
        check(38.2, Unit::Millis, "38.2 ms");
        check(24_800.0, Unit::Millis, "24.8 s");
        check(40.0 * 1024.0 * 1024.0, Unit::Bytes, "40 MiB");
        check(12.0, Unit::Bytes, "12 B");
        check(0.001, Unit::Share, "0.1 %");
        check(0.0, Unit::Share, "0 %");
        check(100.0, Unit::Count, "100");
        check(1_234_567.0, Unit::Count, "1,234,567");
        check(-1000.0, Unit::Count, "-1,000");
        check(12_345_678.0, Unit::Count, "12.3 M");
        check(f64::NAN, Unit::Count, "–");
        check(1.5e-5, Unit::Number, "1.5e-5");
        check(-2e300, Unit::Number, "-2e300");
        check(0.000_25, Unit::Number, "0.00025");
        check(0.000_25, Unit::Time, "250 µs");
        check(2e-9, Unit::Time, "2 ns");
        check(-5400.0, Unit::Time, "-1.5 h");
        check(0.0, Unit::Time, "0 s");
        check(12.5, Unit::Percent, "12.5 %");
    }
}
