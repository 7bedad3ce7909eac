//! Families by the words that their names begin with.

use std::collections::BTreeMap;

use super::inventory::Family;
use super::names::{capitalized, title, words};

/// Families that belong together.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// What tells it from the other groups.
    pub(super) key: String,
    /// What people call it.
    pub(super) title: String,
    /// Sorted by name.
    pub(super) families: Vec<&'a Family>,
}

/// How large groups are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// More families than this are split, if their names allow it.
    pub(super) most: usize,
    /// Fewer families with a common beginning than this make no group of their own.
    pub(super) least: usize,
}

/// Splits families, sorted by name, by the first words of their names, as far as there are too
/// many of them. Those whose beginning hardly any other has stay together, some at a time.
pub(super) fn groups<'a>(families: &[&'a Family], limits: Limits) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    split(families, &[], limits, &mut groups);
    groups
}

fn split<'a>(
    families: &[&'a Family],
    prefix: &[&'a str],
    limits: Limits,
    groups: &mut Vec<Group<'a>>,
) {
    if families.is_empty() {
        return;
    }
    if families.len() <= limits.most {
        // Names may share more words than it took to split them.
        let prefix = common_words(families);
        let name = prefix.join("_");
        let title = if prefix.is_empty() { "Metrics".to_owned() } else { title(&name) };
        groups.push(Group { key: name, title, families: families.to_vec() });
        return;
    }
    let mut by_word: BTreeMap<&str, Vec<&Family>> = BTreeMap::new();
    let mut others = Vec::new();
    for family in families {
        match words(&family.name).nth(prefix.len()) {
            Some(word) => by_word.entry(word).or_default().push(family),
            None => others.push(*family),
        }
    }
    for (word, members) in by_word {
        if members.len() < limits.least {
            others.extend(members);
        } else {
            let prefix: Vec<&str> = prefix.iter().copied().chain([word]).collect();
            split(&members, &prefix, limits, groups);
        }
    }
    others.sort_by(|a, b| a.name.cmp(&b.name));
    let name = prefix.join("_");
    for (index, chunk) in others.chunks(limits.most).enumerate() {
        let number = if index == 0 { String::new() } else { format!(" {}", index + 1) };
        let title = match prefix {
            [] => format!("Other metrics{number}"),
            _ => format!("{}: others{number}", title(&name)),
        };
        let key = format!("{name}:others{number}");
        groups.push(Group { key, title: capitalized(&title), families: chunk.to_vec() });
    }
}

/// The words that all names begin with.
fn common_words<'a>(families: &[&'a Family]) -> Vec<&'a str> {
    let Some(first) = families.first() else { return Vec::new() };
    let mut common: Vec<&str> = words(&first.name).collect();
    if families.len() == 1 {
        // The last words say what it is, not whose.
        common.truncate(1);
    }
    for family in families {
        let same = words(&family.name).zip(&common).take_while(|(word, known)| word == *known);
        common.truncate(same.count());
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grafana::inventory::Kind;

    const LIMITS: Limits = Limits { most: 4, least: 2 };

    #[test]
    fn few_families_stay_together() {
        check(&[], &[]);
        check(&["a_b_x", "a_b_y", "a_b_z"], &["a_b=3"]);
        check(&["a_x", "b_y"], &["=2"]);
    }

    #[test]
    fn many_families_are_split_where_their_names_are() {
        check(
            &["a_p_1", "a_p_2", "a_q_1", "a_q_2", "a_r_1", "b_1", "b_2", "c"],
            &["a_p=2", "a_q=2", "a:others=1", "b=2", ":others=1"],
        );
    }

    #[test]
    fn names_that_share_nothing_are_split_all_the_same() {
        check(&["a", "b", "c", "d", "e"], &[":others=4", ":others 2=1"]);
        check(&["x_a", "x_b", "x_c", "x_d", "x_e"], &["x:others=4", "x:others 2=1"]);
        check(&["x", "x", "x", "x", "x"], &["x:others=4", "x:others 2=1"]);
    }

    #[track_caller]
    fn check(names: &[&str], expected: &[&str]) {
        let family = |name: &&str| Family {
            name: (*name).to_owned(),
            kind: Kind::Counter,
            help: String::new(),
            unit: None,
            rule: None,
            labels: vec![],
            series: None,
        };
        let families: Vec<Family> = names.iter().map(family).collect();
        let families: Vec<&Family> = families.iter().collect();
        let found = groups(&families, LIMITS);
        let found: Vec<String> =
            found.iter().map(|group| format!("{}={}", group.key, group.families.len())).collect();
        assert_eq!(found, expected);
    }
}
