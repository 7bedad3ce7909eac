//! The keys about tags and limits, which rules and `defaults:` share.

use serde_saphyr::Spanned;

use super::{Checker, word};
use crate::map::Intake;
use crate::map::error::{Fault, Place, Problem};
use crate::map::escape::is_free_label_name;
use crate::map::limits::{OnLimit, RuleLimits};
use crate::map::raw::{Count, RawDefaults, RawLabels, RawRule, RawValueLimits};
use crate::map::tags::TagRules;

const ON_LIMIT: [(&str, OnLimit); 2] = [("overflow", OnLimit::Overflow), ("drop", OnLimit::Drop)];

type Written<T> = Option<Spanned<T>>;

/// The keys as written.
#[derive(Debug, Default)]
pub(super) struct RawIntake {
    drop_tags: Written<Vec<String>>,
    keep_tags: Written<Vec<String>>,
    rename_tags: Written<RawLabels>,
    add_tags: Written<RawLabels>,
    max_series: Written<Count>,
    max_label_values: Written<RawValueLimits>,
    on_limit: Written<String>,
}

impl RawIntake {
    pub(super) fn of_rule(rule: &mut RawRule) -> Self {
        Self {
            drop_tags: rule.drop_tags.take(),
            keep_tags: rule.keep_tags.take(),
            rename_tags: rule.rename_tags.take(),
            add_tags: rule.add_tags.take(),
            max_series: rule.max_series.take(),
            max_label_values: rule.max_label_values.take(),
            on_limit: rule.on_limit.take(),
        }
    }

    pub(super) fn of_defaults(defaults: &mut RawDefaults) -> Self {
        Self {
            drop_tags: defaults.drop_tags.take(),
            keep_tags: defaults.keep_tags.take(),
            rename_tags: defaults.rename_tags.take(),
            add_tags: defaults.add_tags.take(),
            max_series: defaults.max_series.take(),
            max_label_values: defaults.max_label_values.take(),
            on_limit: defaults.on_limit.take(),
        }
    }
}

impl Checker {
    /// What the keys say; `None` where none is written.
    pub(super) fn intake(&self, written: RawIntake) -> Result<Option<Intake>, Fault> {
        self.extended(written.drop_tags.as_ref(), "drop_tags")?;
        self.extended(written.keep_tags.as_ref(), "keep_tags")?;
        self.extended(written.rename_tags.as_ref(), "rename_tags")?;
        self.extended(written.add_tags.as_ref(), "add_tags")?;
        self.extended(written.max_series.as_ref(), "max_series")?;
        self.extended(written.max_label_values.as_ref(), "max_label_values")?;
        self.extended(written.on_limit.as_ref(), "on_limit")?;
        let on_limit = word(written.on_limit.as_ref(), "on_limit", &ON_LIMIT)?;
        let values = written.max_label_values.map(|limits| limits.value).unwrap_or_default();
        let mut limits = RuleLimits {
            series: written.max_series.map(|limit| limit.value.0),
            values: values.each.map(|limit| limit.0),
            on_limit,
            ..RuleLimits::default()
        };
        for (label, limit) in values.of {
            limits.values_of.push((legal(label)?, limit.0));
        }
        let tags = TagRules {
            drop: written.drop_tags.map(|patterns| patterns.value),
            keep: written.keep_tags.map(|patterns| patterns.value),
            rename: written.rename_tags.map(renames).transpose()?,
            add: written.add_tags.map(labels).transpose()?,
        };
        let intake = Intake { tags, limits };
        Ok((intake != Intake::default()).then_some(intake))
    }
}

/// Old names of tags and their new ones, which are to be names of labels.
fn renames(written: Spanned<RawLabels>) -> Result<Vec<(String, String)>, Fault> {
    let pairs = written.value.0.into_iter().map(|(old, new)| {
        let new = new.unwrap_or_default();
        if is_free_label_name(&new) {
            Ok((old.value, new))
        } else {
            Err(Fault::new(Place::of(&old), Problem::TagName(new)))
        }
    });
    pairs.collect()
}

fn labels(written: Spanned<RawLabels>) -> Result<Vec<(String, String)>, Fault> {
    let pairs = written.value.0.into_iter();
    pairs.map(|(name, value)| Ok((legal(name)?, value.unwrap_or_default()))).collect()
}

fn legal(name: Spanned<String>) -> Result<String, Fault> {
    if is_free_label_name(&name.value) {
        Ok(name.value)
    } else {
        Err(Fault::new(Place::of(&name), Problem::TagName(name.value)))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use crate::compat::Compat;
    use crate::map::{Intake, Rules};

    #[test]
    fn a_rule_says_what_defaults_and_flags_leave_open() {
        let text = "defaults: {drop_tags: [a], max_series: 5, max_label_values: {user: 2}}\n\
                    mappings:\n\
                    - {match: m, name: m, keep_tags: [b], max_label_values: 7, on_limit: drop}\n\
                    - {match: n, name: n, rename_tags: {old: new}, add_tags: {env: 1.50}}\n";
        let rules = load(text, Compat::Extended).unwrap();
        let mut flags = Intake::default();
        flags.tags.keep = Some(vec!["flag".to_owned()]);
        flags.limits.values = Some(9);
        let rules = rules.with_intake(&flags);
        let limits = |index| {
            let limits = &rules.rule(index).intake.limits;
            (limits.series(), ["user", "x"].map(|label| limits.values_of(label)))
        };
        assert_eq!(limits(0), (Some(5), [Some(7), Some(7)]));
        assert_eq!(limits(1), (Some(5), [Some(2), Some(9)]));
        assert!(!rules.rule(0).intake.limits.overflows());
        let label =
            |index: usize, key: &str| rules.rule(index).intake.tags.label(key).map(Cow::into_owned);
        assert_eq!(["a", "b", "flag"].map(|key| label(0, key)), [None, Some("b".into()), None]);
        assert_eq!(["a", "b", "flag"].map(|key| label(1, key)), [None, None, Some("flag".into())]);
        let added: Vec<_> = rules.rule(1).intake.tags.added().collect();
        assert_eq!(added, [("env", "1.50")]);
        assert_eq!(rules.default_rule().intake.limits.series(), Some(5));
    }

    #[test]
    fn what_cannot_be_followed_is_told_with_its_place() {
        let rule = |key: &str| format!("mappings:\n- match: a\n  name: a\n  {key}\n");
        let name = "cannot be the name of a label here; write letters, digits and `_`, no digit \
                    and not `__` first";
        check(&rule("rename_tags: {a: b-c}"), &format!("m.yml:4:17: `b-c` {name}"));
        check(&rule("rename_tags: {a: ~}"), &format!("m.yml:4:17: `` {name}"));
        check(&rule("add_tags: {__x: y}"), &format!("m.yml:4:14: `__x` {name}"));
        check(&rule("max_label_values: {'a b': 1}"), &format!("m.yml:4:22: `a b` {name}"));
        check(&rule("on_limit: dorp"), "m.yml:4:13: unknown on_limit `dorp`; did you mean `drop`?");
        check(
            &rule("max_series: -1"),
            "m.yml:4:15: `-1` is not a whole number that is not negative",
        );
        check(
            &rule("max_label_value: 1"),
            "m.yml:4:3: unknown key `max_label_value`; did you mean `max_label_values`?",
        );
    }

    #[test]
    fn the_reference_knows_none_of_the_keys() {
        for key in [
            "drop_tags: [a]",
            "keep_tags: [a]",
            "rename_tags: {a: b}",
            "add_tags: {a: b}",
            "max_series: 1",
            "max_label_values: 1",
            "on_limit: drop",
        ] {
            for text in [
                format!("defaults:\n  {key}\n"),
                format!("mappings:\n- match: a\n  name: a\n  {key}\n"),
            ] {
                let error = load(&text, Compat::Reference).unwrap_err();
                assert!(error.contains("needs `--compat=extended`"), "{error}");
                assert!(load(&text, Compat::Extended).is_ok(), "{text}");
            }
        }
    }

    fn load(text: &str, compat: Compat) -> Result<Rules, String> {
        let loaded = Rules::parse(text.as_bytes(), "m.yml".as_ref(), compat);
        loaded.map(|loaded| loaded.rules).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(load(text, Compat::Extended).unwrap_err(), expected, "{text}");
    }
}
