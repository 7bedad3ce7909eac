//! What a dashboard says, as a short text that is equal where it says the same.
//!
//! Grafana changes what it is given: it sets `id`, `uid` and `version`, trims titles, writes `1.0`
//! as `1`, sorts tags and loses keys that are null. None of that counts here.

use std::fmt::Write as _;

use serde_json::Value;
use twox_hash::XxHash64;

use super::mark;

/// What Grafana sets, or what says only which dashboard it is.
const IDENTITY: [&str; 4] = ["id", "uid", "version", "iteration"];

/// Whole numbers up to here have a float of their own.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Sixteen hexadecimal digits, equal for dashboards that say the same. Our marks do not count.
#[must_use]
pub fn fingerprint(dashboard: &Value) -> String {
    format!("{:016x}", XxHash64::oneshot(0, canonical(&bare(dashboard)).as_bytes()))
}

/// Sixteen hexadecimal digits that stand for a text.
#[must_use]
pub fn digest(text: &str) -> String {
    format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
}

/// A dashboard without what Grafana sets and without our marks: what files hold, and what two
/// dashboards are compared by.
#[must_use]
pub fn bare(dashboard: &Value) -> Value {
    let Value::Object(members) = dashboard else { return dashboard.clone() };
    let mut members = members.clone();
    for key in IDENTITY {
        members.remove(key);
    }
    if let Some(Value::String(title)) = members.get_mut("title") {
        title.truncate(title.trim_end().len());
    }
    let mut tags = mark::other_tags(dashboard);
    tags.sort_unstable();
    tags.dedup();
    members.insert("tags".to_owned(), tags.into());
    Value::Object(members)
}

/// JSON with sorted keys and without nulls, laid out for people and for `diff`.
#[must_use]
pub fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, Some(0));
    text.push('\n');
    text
}

/// JSON in one line, with sorted keys and without nulls.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, None);
    text
}

/// Writes a value; `depth` is how far it stands from the margin, or none for one line.
fn write_value(text: &mut String, value: &Value, depth: Option<usize>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            write_block(text, ('{', '}'), depth, members, |text, (key, value), depth| {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push_str(if depth.is_some() { ": " } else { ":" });
                write_value(text, value, depth);
            });
        }
        Value::Array(values) => write_block(text, ('[', ']'), depth, values, write_value),
        Value::Number(number) => match number.as_f64() {
            // Written to a String, so it cannot fail.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < MAX_WHOLE => {
                write!(text, "{float:.0}").unwrap_or_default();
            }
            _ => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

fn write_block<T>(
    text: &mut String,
    (open, close): (char, char),
    depth: Option<usize>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut String, T, Option<usize>),
) {
    let inner = depth.map(|depth| depth + 1);
    let mut is_empty = true;
    text.push(open);
    for item in items {
        if !is_empty {
            text.push(',');
        }
        is_empty = false;
        new_line(text, inner);
        write(text, item, inner);
    }
    if !is_empty {
        new_line(text, depth);
    }
    text.push(close);
}

fn new_line(text: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_grafana_does_to_a_dashboard_does_not_count() {
        let ours = json!({"title": "A ", "panels": [{"w": 1.0, "b": null}], "tags": ["z", "a"]});
        let stored = json!({"version": 3, "id": 7, "uid": "u", "title": "A",
            "tags": ["a", "hash:12.3", "tallyd", "tallyd:x", "z"], "panels": [{"w": 1}]});
        check(&ours, &stored, true);
    }

    #[test]
    fn what_a_person_does_counts() {
        let ours = json!({"title": "A", "panels": [{"w": 1}, {"w": 2}], "tags": ["a"]});
        for theirs in [
            json!({"title": "B", "panels": [{"w": 1}, {"w": 2}], "tags": ["a"]}),
            json!({"title": "A", "panels": [{"w": 2}, {"w": 1}], "tags": ["a"]}),
            json!({"title": "A", "panels": [{"w": 1}], "tags": ["a"]}),
            json!({"title": "A", "panels": [{"w": 1.5}, {"w": 2}], "tags": ["a"]}),
            json!({"title": "A", "panels": [{"w": 1}, {"w": 2}], "tags": ["a", "mine"]}),
            json!({"title": "A", "panels": [{"w": 1}, {"w": 2}], "tags": ["a"], "x": false}),
        ] {
            check(&ours, &theirs, false);
        }
    }

    #[test]
    fn a_fingerprint_is_the_same_on_every_machine_and_day() {
        assert_eq!(fingerprint(&json!({"title": "A"})), "d8a71b4f0ff7f002");
    }

    #[test]
    fn files_have_sorted_keys_and_no_nulls() {
        let text = pretty(&json!({"b": [1.0, {"d": "\n"}], "a": {}, "c": null, "e": []}));
        let expected = "{\n  \"a\": {},\n  \"b\": [\n    1,\n    {\n      \"d\": \"\\n\"\n    }\n  ],\n  \"e\": []\n}\n";
        assert_eq!(text, expected);
    }

    #[track_caller]
    fn check(one: &Value, other: &Value, are_equal: bool) {
        assert_eq!(fingerprint(one) == fingerprint(other), are_equal, "{one} {other}");
    }
}
