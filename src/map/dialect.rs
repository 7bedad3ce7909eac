//! Go's regex dialect written again for the `regex` crate.
//!
//! Both are RE2's language, but they differ in what mapping files use: Go's `\d`, `\w`, `\s` and
//! `\b` know ASCII only, `\Q…\E` quotes, a brace that repeats nothing is a brace, and `[a&&b]` is a
//! set of three characters. So a regex is read here by Go's grammar (package `regexp/syntax`) and
//! every literal is written escaped.

use std::str::Chars;

use thiserror::Error;

/// How often Go lets `{n,m}` repeat.
const MAX_REPEATS: u32 = 1000;

/// Why a regex cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// A `\` with a character that has no meaning there, backreferences included.
    #[error("invalid escape `\\{0}`")]
    Escape(char),
    /// The text ends where something has to follow.
    #[error("it ends too early")]
    TooShort,
    /// `a**`, `a++`, `a{2}{3}`.
    #[error("a repetition of a repetition (`{0}`)")]
    NestedRepeat(char),
    /// More than 1000, or the larger number first.
    #[error("an invalid repeat count (at most {MAX_REPEATS}, the smaller number first)")]
    RepeatCount,
    /// Lookaround, backreferences by name and the like.
    #[error("an unsupported group `(?{0}`; there are names and the flags i, m, s and U")]
    Group(String),
    /// A group's name with other characters than letters, digits and `_`, or used twice.
    #[error("an invalid name of a group (`{0}`)")]
    GroupName(String),
    /// `[z-a]`
    #[error("an invalid character range in brackets")]
    Range,
    /// An unknown `[:name:]` or `\p{name}`.
    #[error("an unknown character class `{0}`")]
    Class(String),
    /// What the compiler finds.
    #[error("{0}")]
    Compile(String),
}

/// A regex in the crate's dialect.
pub(super) struct Translated {
    pub(super) regex: String,
    /// The names of the groups, the whole match first; the groups of `regex` have none.
    pub(super) names: Vec<Option<String>>,
}

/// Translates a regex written for Go.
///
/// # Errors
/// Whatever Go refuses and the crate's compiler would not.
pub(super) fn translate(text: &str) -> Result<Translated, PatternError> {
    let mut translator = Translator { rest: text.chars(), out: String::new(), names: vec![None] };
    translator.translate()?;
    Ok(Translated { regex: translator.out, names: translator.names })
}

struct Translator<'a> {
    rest: Chars<'a>,
    out: String,
    names: Vec<Option<String>>,
}

impl<'a> Translator<'a> {
    fn translate(&mut self) -> Result<(), PatternError> {
        let mut after_repeat = false;
        while let Some(c) = self.rest.next() {
            let repeat = match c {
                '*' | '+' | '?' => Some(c.to_string()),
                '{' => self.repeat_count()?,
                _ => None,
            };
            let is_repeat = repeat.is_some();
            if is_repeat && after_repeat {
                return Err(PatternError::NestedRepeat(c));
            }
            match (repeat, c) {
                (Some(repeat), _) => self.repeat(&repeat),
                (None, '\\') => self.escape()?,
                (None, '[') => self.class()?,
                (None, '(') => self.group()?,
                (None, '^' | '$' | '.' | '|' | ')') => self.out.push(c),
                (None, _) => self.literal(c),
            }
            after_repeat = is_repeat;
        }
        Ok(())
    }

    fn eat(&mut self, expected: &str) -> bool {
        match self.rest.as_str().strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest.chars();
                true
            }
            None => false,
        }
    }

    /// Takes everything before `end`, and `end`; nothing where there is no `end`.
    fn eat_until(&mut self, end: &str) -> Option<&'a str> {
        let (inner, rest) = self.rest.as_str().split_once(end)?;
        self.rest = rest.chars();
        Some(inner)
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            self.out.extend(format!("\\x{:02x}", u32::from(c)).chars());
        } else {
            self.out.push(c);
        }
    }

    fn repeat(&mut self, operator: &str) {
        self.out.push_str(operator);
        if self.eat("?") {
            self.out.push('?');
        }
    }

    /// What follows a `{`, if it is a repetition; otherwise the brace is a brace.
    fn repeat_count(&mut self) -> Result<Option<String>, PatternError> {
        let Some((inner, rest)) = self.rest.as_str().split_once('}') else { return Ok(None) };
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let is_open = inner.ends_with(',');
        if !is_count(least) || !(is_open && most.is_empty() || is_count(most)) {
            return Ok(None);
        }
        let limit = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= MAX_REPEATS);
        let least = limit(least).ok_or(PatternError::RepeatCount)?;
        if !is_open && limit(most).is_none_or(|most| most < least) {
            return Err(PatternError::RepeatCount);
        }
        self.rest = rest.chars();
        Ok(Some(format!("{{{inner}}}")))
    }

    /// Reads what follows a `\` outside of brackets.
    fn escape(&mut self) -> Result<(), PatternError> {
        let c = self.rest.next().ok_or(PatternError::TooShort)?;
        match c {
            'Q' => {
                let quoted = self.eat_until("\\E").unwrap_or_else(|| {
                    let all = self.rest.as_str();
                    self.rest = "".chars();
                    all
                });
                quoted.chars().for_each(|c| self.literal(c));
            }
            'A' => self.out.push_str("\\A"),
            'z' => self.out.push_str("\\z"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            'p' | 'P' => self.unicode_class(c)?,
            _ => {
                if let Some((members, is_negated)) = perl_class(c) {
                    self.perl_class(members, is_negated);
                } else {
                    let c = self.escaped_char(c)?;
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    fn perl_class(&mut self, members: &str, is_negated: bool) {
        self.out.push_str(if is_negated { "[^" } else { "[" });
        self.out.push_str(members);
        self.out.push(']');
    }

    /// Reads what follows `\p` or `\P`: one letter, or a name in braces that may begin with `^`.
    fn unicode_class(&mut self, letter: char) -> Result<(), PatternError> {
        let name = if self.eat("{") {
            self.eat_until("}").ok_or(PatternError::TooShort)?.to_owned()
        } else {
            self.rest.next().ok_or(PatternError::TooShort)?.to_string()
        };
        let (bare, is_flipped) = match name.strip_prefix('^') {
            Some(bare) => (bare, true),
            None => (name.as_str(), false),
        };
        if bare.is_empty() || !bare.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(PatternError::Class(name));
        }
        let is_negated = (letter == 'P') != is_flipped;
        self.out.push_str(if is_negated { "\\P{" } else { "\\p{" });
        self.out.push_str(bare);
        self.out.push('}');
        Ok(())
    }

    /// Reads what follows a `(`.
    fn group(&mut self) -> Result<(), PatternError> {
        if !self.eat("?") {
            self.names.push(None);
            self.out.push('(');
            return Ok(());
        }
        let is_lookbehind = ["<=", "<!"].iter().any(|sign| self.rest.as_str().starts_with(sign));
        if !is_lookbehind && (self.eat("P<") || self.eat("<")) {
            return self.named_group();
        }
        let mut flags = String::new();
        loop {
            let c = self.rest.next().ok_or(PatternError::TooShort)?;
            flags.push(c);
            match c {
                ':' | ')' => break,
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => return Err(PatternError::Group(flags)),
            }
        }
        self.out.push_str("(?");
        self.out.push_str(&flags);
        Ok(())
    }

    /// Reads what follows a `(?<`.
    fn named_group(&mut self) -> Result<(), PatternError> {
        let name = self.eat_until(">").ok_or(PatternError::TooShort)?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_taken = self.names.iter().any(|taken| taken.as_deref() == Some(name));
        if is_taken || name.is_empty() || !name.chars().all(is_word) {
            return Err(PatternError::GroupName(name.to_owned()));
        }
        self.names.push(Some(name.to_owned()));
        self.out.push('(');
        Ok(())
    }

    /// Reads what follows a `[`.
    fn class(&mut self) -> Result<(), PatternError> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        // A bracket that closes nothing yet is a member.
        while is_first || !self.eat("]") {
            is_first = false;
            self.class_item()?;
        }
        self.out.push(']');
        Ok(())
    }

    fn class_item(&mut self) -> Result<(), PatternError> {
        let named = self.rest.as_str().strip_prefix("[:");
        if named.is_some_and(|rest| rest.contains(":]")) {
            self.eat("[:");
            return self.posix_class();
        }
        let c = self.rest.next().ok_or(PatternError::TooShort)?;
        let next = self.rest.clone().next();
        if let ('\\', Some(letter @ ('p' | 'P'))) = (c, next) {
            self.rest.next();
            return self.unicode_class(letter);
        }
        if let ('\\', Some((members, is_negated))) = (c, next.and_then(perl_class)) {
            self.rest.next();
            self.perl_class(members, is_negated);
            return Ok(());
        }
        let low = self.class_char(c)?;
        self.literal(low);
        let rest = self.rest.as_str();
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            self.eat("-");
            let c = self.rest.next().ok_or(PatternError::TooShort)?;
            let high = self.class_char(c)?;
            if high < low {
                return Err(PatternError::Range);
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn posix_class(&mut self) -> Result<(), PatternError> {
        const KNOWN: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let name = self.eat_until(":]").ok_or(PatternError::TooShort)?;
        if !KNOWN.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(PatternError::Class(name.to_owned()));
        }
        self.out.push_str("[:");
        self.out.push_str(name);
        self.out.push_str(":]");
        Ok(())
    }

    fn class_char(&mut self, c: char) -> Result<char, PatternError> {
        if c != '\\' {
            return Ok(c);
        }
        let c = self.rest.next().ok_or(PatternError::TooShort)?;
        self.escaped_char(c)
    }

    /// The character that `\` and `c` stand for.
    fn escaped_char(&mut self, c: char) -> Result<char, PatternError> {
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.hex_char()?,
            '0'..='7' => self.octal_char(c)?,
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(PatternError::Escape(c)),
        })
    }

    fn hex_char(&mut self) -> Result<char, PatternError> {
        let digits: String = if self.eat("{") {
            self.eat_until("}").ok_or(PatternError::TooShort)?.to_owned()
        } else {
            self.rest.by_ref().take(2).collect()
        };
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
        code.and_then(char::from_u32).ok_or(PatternError::Escape('x'))
    }

    /// Up to three octal digits; a single one other than 0 would be a backreference.
    fn octal_char(&mut self, first: char) -> Result<char, PatternError> {
        let mut code = first.to_digit(8).unwrap_or_default();
        let mut digits = 1;
        while let Some(digit) = self.rest.clone().next().and_then(|c| c.to_digit(8)) {
            if digits == 3 {
                break;
            }
            self.rest.next();
            code = code * 8 + digit;
            digits += 1;
        }
        if digits == 1 && first != '0' {
            return Err(PatternError::Escape(first));
        }
        char::from_u32(code).ok_or(PatternError::Escape(first))
    }
}

/// Whether Go reads the text as a count: digits without a leading zero.
fn is_count(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'))
}

/// The members of Go's `\d`, `\s` and `\w`, and whether the capital letter was given.
fn perl_class(c: char) -> Option<(&'static str, bool)> {
    let members = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x0c\\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((members, c.is_ascii_uppercase()))
}
