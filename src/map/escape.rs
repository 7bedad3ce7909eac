//! Legal names of metrics and labels.

use std::borrow::Cow;

/// Turns any text into a legal name of a metric or a label; an empty one stays empty.
///
/// The rule is that of `statsd_exporter` (`EscapeMetricName`): every character but ASCII letters,
/// digits and `_` becomes one `_`, a run of dashes becomes a single one, and a leading digit gets
/// one in front. A legal name costs no allocation.
#[must_use]
pub fn escape_name(name: &str) -> Cow<'_, str> {
    let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    if !starts_with_digit && name.bytes().all(is_name_byte) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 1);
    if starts_with_digit {
        escaped.push('_');
    }
    let mut after_dash = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            escaped.push(c);
        } else if c != '-' || !after_dash {
            escaped.push('_');
        }
        after_dash = c == '-';
    }
    Cow::Owned(escaped)
}

/// Whether `name` can be the name of a label: ASCII letters, digits and `_`, no digit in front.
///
/// The reference refuses names of one letter in mapping files; Prometheus does not, nor do we.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(is_name_byte)
}

/// Whether a label may have the name and Prometheus does not keep it for itself.
#[must_use]
pub fn is_free_label_name(name: &str) -> bool {
    is_label_name(name) && !name.starts_with("__")
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_foreign_character_becomes_one_underscore() {
        check("clean", "clean");
        check("with_underscore", "with_underscore");
        check("with.dot", "with_dot");
        check("a..c", "a__c");
        check("größe", "gr__e");
        check("日本", "__");
        check("a😱😱b", "a__b");
        check("with.*.multiple", "with___multiple");
        check("", "");
    }

    #[test]
    fn a_run_of_dashes_becomes_one_underscore() {
        check("with---multiple-dashes", "with_multiple_dashes");
        check("--x--9", "_x_9");
        check("é--é", "___");
        check("a-.-b", "a___b");
        check("-_-", "___");
    }

    #[test]
    fn a_leading_digit_gets_an_underscore_in_front() {
        check("0starts_with_digit", "_0starts_with_digit");
        check("9", "_9");
        check("1-2--3", "_1_2_3");
        check("0--0", "_0_0");
    }

    #[test]
    fn a_label_has_letters_digits_and_underscores() {
        for name in ["x", "_", "code_2", "__a", "A"] {
            assert!(is_label_name(name), "{name}");
        }
        for name in ["", "2x", "a-b", "a.b", "ä", "a\n"] {
            assert!(!is_label_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn escaped_names_are_legal_and_stay_as_they_are(name in any::<String>()) {
            let escaped = escape_name(&name);
            prop_assert!(escaped.is_empty() || is_label_name(&escaped));
            prop_assert_eq!(escape_name(&escaped), escaped.as_ref());
        }
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(escape_name(name), expected);
    }
}
