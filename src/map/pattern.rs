//! Regex rules: compiled once, asked in the order of the file.

use regex::{Regex, RegexBuilder};

use super::dialect::{PatternError, translate};

/// How large one compiled regex may be; above it the rule is refused instead of eating memory.
const COMPILED_BYTES: usize = 32 << 20;

/// A compiled regex rule.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// The names of the groups, the whole match first.
    pub(crate) names: Vec<Option<String>>,
}

impl Pattern {
    /// Compiles a regex written for Go.
    ///
    /// # Errors
    /// Whatever Go refuses; besides, what would take more than 32 MiB.
    pub(crate) fn new(text: &str) -> Result<Self, PatternError> {
        let translated = translate(text)?;
        let regex = RegexBuilder::new(&translated.regex)
            .size_limit(COMPILED_BYTES)
            .nest_limit(1000)
            .build()
            .map_err(|error| PatternError::Compile(last_line(&error)))?;
        Ok(Self { regex, names: translated.names })
    }

    /// What the groups captured, if the regex matches anywhere in `name`.
    pub(crate) fn captures<'n>(&self, name: &'n str) -> Option<regex::Captures<'n>> {
        // Asking first costs less than room for captures that are seldom there.
        if self.regex.is_match(name) { self.regex.captures(name) } else { None }
    }
}

/// The crate's message without its drawing of the place, which shows our translation.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_know_ascii_only() {
        check(r"^(\w+)$", "abc_1", Some(&["abc_1", "abc_1"]));
        check(r"^\w+$", "größe", None);
        check(r"^\d$", "٣", None);
        check(r"^[\d.]+$", "1.5", Some(&["1.5"]));
        check(r"^[\D]$", "٣", Some(&["٣"]));
        check(r"\s", "a\u{a0}b", None);
        check(r"\s", "a\u{b}b", None);
        check(r"\bö", "aö", Some(&["ö"]));
        check(r"^[[:word:]]+$", "ö", None);
        check(r"\B.", "äö", Some(&["ä"]));
    }

    #[test]
    fn unicode_classes_and_the_dot_know_every_character() {
        check(r"^(\pL+)\.(.)$", "größe.ü", Some(&["größe.ü", "größe", "ü"]));
        check(r"^\p{^L}\P{^L}[\pN_]$", "1a2", Some(&["1a2"]));
        check(r"^\p{Greek}$", "λ", Some(&["λ"]));
    }

    #[test]
    fn quotes_and_escapes_are_gos() {
        check(r"^\Qa.b*c\E$", "a.b*c", Some(&["a.b*c"]));
        check(r"^\Qa.b", "a.b", Some(&["a.b"]));
        check(r"^x\x41\.\x{e9}\101\0$", "xA.éA\0", Some(&["xA.éA\0"]));
        check(r"^\<\_\-\#\&$", "<_-#&", Some(&["<_-#&"]));
        check(r"^a\tb\vc$", "a\tb\u{b}c", Some(&["a\tb\u{b}c"]));
    }

    #[test]
    fn a_brace_that_repeats_nothing_is_a_brace() {
        check("^a{b}$", "a{b}", Some(&["a{b}"]));
        check("^a{,2}$", "a{,2}", Some(&["a{,2}"]));
        check("^a{$", "a{", Some(&["a{"]));
        check("^a{02}$", "a{02}", Some(&["a{02}"]));
        check("^a{2}b{1,}?c{1,3}$", "aabbccc", Some(&["aabbccc"]));
    }

    #[test]
    fn brackets_hold_plain_characters() {
        check("^[a&&b]+$", "&a&b", Some(&["&a&b"]));
        check("^[a[b]+$", "a[b", Some(&["a[b"]));
        check("^[]a]+$", "]a", Some(&["]a"]));
        check("^[^]a]$", "b", Some(&["b"]));
        check("^[a-c-9]+$", "b-9", Some(&["b-9"]));
        check("^[a-]+$", "a-", Some(&["a-"]));
        check("^[a~~b]+$", "~b", Some(&["~b"]));
        check("^[[:^alpha:]]$", "1", Some(&["1"]));
        check("^[[:]+$", "[:", Some(&["[:"]));
    }

    #[test]
    fn the_leftmost_first_match_counts() {
        check("(a|ab)(c|bcd)?", "abcd", Some(&["abcd", "a", "bcd"]));
        check(r"^(.*?)\.(.*)$", "a.b.c", Some(&["a.b.c", "a", "b.c"]));
        check("", "foo", Some(&[""]));
        check("(?i)FOO(?-i:b)(?U:x+)", "foobxx", Some(&["foobx"]));
    }

    #[test]
    fn groups_may_have_names() {
        let names = Pattern::new("(?P<host>a)(b)(?<what_1>c)(?:d)").unwrap().names;
        assert_eq!(names, [None, Some("host".to_owned()), None, Some("what_1".to_owned())]);
        check_error("(?P<a>x)(?P<a>y)", "an invalid name of a group (`a`)");
        check_error("(?P<a.b>x)", "an invalid name of a group (`a.b`)");
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        check_error(r"(a)\1", r"invalid escape `\1`");
        check_error(
            "a(?=b)",
            "an unsupported group `(?=`; there are names and the flags i, m, s and U",
        );
        check_error(
            "(?x)a",
            "an unsupported group `(?x`; there are names and the flags i, m, s and U",
        );
        check_error(
            "(?<!a)b",
            "an unsupported group `(?<`; there are names and the flags i, m, s and U",
        );
        check_error("a++", "a repetition of a repetition (`+`)");
        check_error("a{2}{3}", "a repetition of a repetition (`{`)");
        check_error("a{1001}", "an invalid repeat count (at most 1000, the smaller number first)");
        check_error("a{3,2}", "an invalid repeat count (at most 1000, the smaller number first)");
        check_error("[z-a]", "an invalid character range in brackets");
        check_error("[a", "it ends too early");
        check_error("a\\", "it ends too early");
        check_error(r"\C", r"invalid escape `\C`");
        check_error(r"\Z", r"invalid escape `\Z`");
        check_error(r"\pÄ", "an unknown character class `Ä`");
        check_error("[[:foo:]]", "an unknown character class `foo`");
    }

    #[test]
    fn what_the_compiler_refuses_is_told_in_one_line() {
        for text in ["*a", "(a", "a)", r"\p{Nonsense}", "((((a{1000}){1000}){1000}){1000})"] {
            let error = Pattern::new(text).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_compiled_or_refused(
            text in r"([a-z\\(){}\[\]?*+.^$|:<>,PQEdwpx0-9é&~-]|\\[A-Za-z]|\(\?){0,12}",
            name in "[a-z.é]{0,8}",
        ) {
            if let Ok(pattern) = Pattern::new(&text)
                && let Some(captures) = pattern.captures(&name)
            {
                prop_assert_eq!(captures.len(), pattern.names.len());
            }
        }
    }

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: Option<&[&str]>) {
        let pattern = Pattern::new(pattern).unwrap();
        let captures = pattern.captures(name);
        let groups = captures.map(|captures| {
            captures.iter().map(|group| group.map_or("", |group| group.as_str())).collect()
        });
        let groups: Option<Vec<&str>> = groups;
        assert_eq!(groups.as_deref(), expected);
    }

    #[track_caller]
    fn check_error(pattern: &str, expected: &str) {
        assert_eq!(Pattern::new(pattern).unwrap_err().to_string(), expected);
    }
}
