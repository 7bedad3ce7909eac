//! `$1` in names and label values.
//!
//! Globs and regexes fill templates in by different rules, both those of `statsd_exporter`:
//! globs by its own `TemplateFormatter`, regexes by Go's `Regexp.Expand`.

use std::ops::Range;

/// A text with places to be filled in from a metric's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The n-th captured part; 0 is the metric's whole name.
    Capture(usize),
}

impl Template {
    /// Reads a template of a glob rule with `captures` stars.
    ///
    /// `$1` and `${1}` stand for the first star, `$0` for the whole name. Letters, digits, `_` and
    /// `$` that follow a `$` belong to the reference, and one that is no number of a star is
    /// replaced by nothing: so `$1_x`, `$1$2` and `$name` are empty. A reference is replaced
    /// wherever its text occurs, so `$1` also within a later `$10`. A percent sign is a percent
    /// sign (the reference takes it for a formatting directive).
    pub(crate) fn for_glob(text: &str, captures: usize) -> Self {
        let mut pieces = vec![Piece::Text(text.to_owned())];
        let mut numbers = Vec::new();
        for Reference { written, name } in glob_references(text) {
            let number = name.parse::<usize>().ok().filter(|number| *number <= captures);
            pieces = replace_all(pieces, written, number);
            numbers.extend(number);
        }
        // The reference fills the places in from left to right with its references in the order
        // of the text; the two differ where one reference is the beginning of a later one.
        let places = pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Capture(number) => Some(number),
            Piece::Text(_) => None,
        });
        let places: Vec<&mut usize> = places.collect();
        if places.len() == numbers.len() {
            places.into_iter().zip(numbers).for_each(|(place, number)| *place = number);
        }
        Self(pieces)
    }

    /// Reads a template of a regex rule; `names` holds the names of its groups, the whole match
    /// first.
    ///
    /// `$name` and `${name}` take as many letters, digits and `_` as follow; a name that is no
    /// group is replaced by nothing (`$1_x` is the group `1_x`), `$$` is a dollar sign, and so is a
    /// `$` that nothing sensible follows.
    pub(crate) fn for_regex(text: &str, names: &[Option<String>]) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some((name, after)) = regex_reference(after) {
                if let Some(group) = group_number(name, names) {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    pieces.push(Piece::Capture(group));
                }
                rest = after;
            } else {
                literal.push('$');
                rest = after;
            }
        }
        literal.push_str(rest);
        pieces.push(Piece::Text(literal));
        Self(pieces)
    }

    /// The text of a template without places.
    pub(crate) fn constant(&self) -> Option<String> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Capture(_) => None,
        });
        pieces.collect()
    }

    /// The text with every place filled in; `capture` gives the n-th part, 0 being the whole.
    pub(crate) fn fill<'a>(&self, capture: impl Fn(usize) -> &'a str) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            filled.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Capture(number) => capture(*number),
            });
        }
        filled
    }
}

struct Reference<'a> {
    /// As it stands in the template, `$` and braces included.
    written: &'a str,
    name: &'a str,
}

/// The references of a glob's template in their order.
fn glob_references(text: &str) -> impl Iterator<Item = Reference<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let from_dollar = rest.get(rest.find('$')?..)?;
            let inner = from_dollar.strip_prefix('$')?;
            let inner = inner.strip_prefix('{').unwrap_or(inner);
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
            let after = inner.trim_start_matches(is_part);
            let name = inner.strip_suffix(after)?;
            if name.is_empty() {
                rest = from_dollar.strip_prefix('$')?;
                continue;
            }
            rest = after.strip_prefix('}').unwrap_or(after);
            return Some(Reference { written: from_dollar.strip_suffix(rest)?, name });
        }
    })
}

/// Replaces `written` in every text by a place for the capture, or by nothing without one.
fn replace_all(pieces: Vec<Piece>, written: &str, number: Option<usize>) -> Vec<Piece> {
    let mut replaced = Vec::new();
    for piece in pieces {
        match (piece, number) {
            (Piece::Text(text), None) => replaced.push(Piece::Text(text.replace(written, ""))),
            (Piece::Text(text), Some(number)) => {
                for (index, part) in text.split(written).enumerate() {
                    if index > 0 {
                        replaced.push(Piece::Capture(number));
                    }
                    replaced.push(Piece::Text(part.to_owned()));
                }
            }
            (place @ Piece::Capture(_), _) => replaced.push(place),
        }
    }
    replaced
}

/// The name that a `$` refers to and what follows it; `None` where it refers to nothing.
fn regex_reference(text: &str) -> Option<(&str, &str)> {
    let (inner, is_braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let after = inner.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    let name = inner.strip_suffix(after).filter(|name| !name.is_empty())?;
    let after = if is_braced { after.strip_prefix('}')? } else { after };
    Some((name, after))
}

fn group_number(name: &str, names: &[Option<String>]) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = name.len() > 1 && name.starts_with('0');
    if is_number && !is_padded {
        let groups: Range<usize> = 0..names.len();
        return name.parse().ok().filter(|number| groups.contains(number));
    }
    names.iter().position(|group| group.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTS: [&str; 12] = ["name", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K"];

    #[test]
    fn globs_refer_to_their_stars_by_number() {
        check_glob("plain", 2, "plain");
        check_glob("$1", 2, "A");
        check_glob("${1}_foo", 2, "A_foo");
        check_glob("x${2}y-$1", 2, "xBy-A");
        check_glob("$1-$2-$1", 2, "A-B-A");
        check_glob("$0/${0}", 2, "name/name");
        check_glob("x${0}y", 2, "xnamey");
        check_glob("$01", 2, "A");
        check_glob("${10}/$11", 11, "J/K");
    }

    #[test]
    fn what_is_no_star_is_replaced_by_nothing() {
        check_glob("$3", 2, "");
        check_glob("x${3}y", 2, "xy");
        check_glob("$99999999999999999999999", 2, "");
        check_glob("$name", 2, "");
        check_glob("a${name}b", 2, "ab");
        check_glob("$1_x", 2, "");
        check_glob("$1$2", 2, "");
        check_glob("$$1", 2, "");
    }

    #[test]
    fn what_is_no_reference_stays() {
        check_glob("$", 2, "$");
        check_glob("$-1", 2, "$-1");
        check_glob("5 $ and {1}", 2, "5 $ and {1}");
        check_glob("${}", 2, "${}");
        check_glob("$ä", 2, "$ä");
    }

    #[test]
    fn a_percent_sign_is_a_percent_sign() {
        check_glob("100% $1 %s %d %%", 2, "100% A %s %d %%");
        check_glob("$1%", 2, "A%");
    }

    // The reference replaces `$1` within `$10`, and then fills in by position.
    #[test]
    fn a_reference_is_replaced_within_a_later_one() {
        check_glob("$1 $10", 11, "A J0");
        check_glob("$10 $1", 11, "J A");
        check_glob("$1 $10", 2, "A A0");
        check_glob("${1 $1", 2, "A A");
    }

    #[test]
    fn regexes_refer_to_their_groups_by_number_or_name() {
        check_regex("$1", "A");
        check_regex("${2}x", "Bx");
        check_regex("$0", "name");
        check_regex("$1-$2", "A-B");
        check_regex("$host/${host}", "B/B");
        check_regex("${1}_total", "A_total");
    }

    #[test]
    fn an_unknown_group_is_replaced_by_nothing() {
        check_regex("$1_total", "");
        check_regex("x$7y", "x");
        check_regex("x${7}y", "xy");
        check_regex("$none", "");
        check_regex("$01", "");
        check_regex("$1ä", "");
    }

    #[test]
    fn a_lone_dollar_sign_stays() {
        check_regex("$$", "$");
        check_regex("$$1", "$1");
        check_regex("$", "$");
        check_regex("$-", "$-");
        check_regex("${1", "${1");
        check_regex("${}", "${}");
        check_regex("5$", "5$");
    }

    proptest! {
        #[test]
        fn any_text_is_a_template(text in "[${}1029a_ ä]{0,20}", captures in 0_usize..12) {
            Template::for_glob(&text, captures).fill(part);
            Template::for_regex(&text, &[None, None]).fill(part);
        }
    }

    fn part(number: usize) -> &'static str {
        PARTS[number]
    }

    #[track_caller]
    fn check_glob(text: &str, captures: usize, expected: &str) {
        assert_eq!(Template::for_glob(text, captures).fill(part), expected, "{text:?}");
    }

    #[track_caller]
    fn check_regex(text: &str, expected: &str) {
        let names = [None, None, Some("host".to_owned())];
        assert_eq!(Template::for_regex(text, &names).fill(part), expected, "{text:?}");
    }
}
