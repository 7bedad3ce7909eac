//! Glob rules as one automaton over the dot-separated parts of a name.
//!
//! The cost of a look-up depends on the parts of the name, not on the number of rules. The order
//! of preference is that of `statsd_exporter` (`pkg/mapper/fsm`), with one difference: a glob that
//! is the beginning of an earlier, longer one matches, which the reference forgets.

use std::collections::HashMap as StdHashMap;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use smallvec::SmallVec;

use crate::sample::EventType;

const NO_RULE: u32 = u32::MAX;
const ROOT: u32 = 0;

/// The parts of a name that the stars of a rule stood for.
pub(crate) type Captures<'n> = SmallVec<[&'n str; 8]>;

/// Which rule wins where several match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preference {
    /// The one that stands first in the file.
    Earliest,
    /// The one found first when literal parts are tried before stars
    /// (`glob_disable_ordering`).
    Literal {
        /// Whether a way that leads nowhere is left for the last star passed by.
        backtracks: bool,
    },
}

/// All glob rules.
#[derive(Clone, Debug)]
pub(crate) struct Globs {
    edges: HashMap<Edge, u32, RandomState>,
    nodes: Vec<Node>,
    preference: Preference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    from: u32,
    part: Box<str>,
}

/// An edge to ask for, without an owned part.
#[derive(Clone, Copy, PartialEq, Eq)]
struct EdgeKey<'a> {
    from: u32,
    part: &'a str,
}

// The two keys of one edge have to hash alike.
impl Hash for Edge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        EdgeKey { from: self.from, part: &self.part }.hash(state);
    }
}

impl Hash for EdgeKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.from);
        state.write(self.part.as_bytes());
    }
}

impl Equivalent<Edge> for EdgeKey<'_> {
    fn equivalent(&self, edge: &Edge) -> bool {
        self.from == edge.from && *self.part == *edge.part
    }
}

#[derive(Clone, Debug)]
struct Node {
    star: Option<u32>,
    /// What lies ahead for each type, in the order of [`EventType::ALL`].
    ahead: [Ahead; EventType::ALL.len()],
}

/// What the rules for one type hold from a node on.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// The rule that ends here.
    rule: u32,
    /// The earliest rule that ends here or further on.
    best: u32,
    /// The number of parts to the nearest end.
    least: u32,
    /// The number of parts to the farthest end.
    most: u32,
}

impl Ahead {
    const NOTHING: Self = Self { rule: NO_RULE, best: NO_RULE, least: u32::MAX, most: 0 };

    fn may_end_in(self, parts: usize) -> bool {
        u32::try_from(parts).is_ok_and(|parts| self.least <= parts && parts <= self.most)
    }
}

/// A place to return to: a star passed by in favour of a literal.
struct Turn<'n> {
    node: u32,
    depth: usize,
    captured: usize,
    part: &'n str,
}

impl Globs {
    pub(crate) fn new(preference: Preference) -> Self {
        let root = Node { star: None, ahead: [Ahead::NOTHING; EventType::ALL.len()] };
        Self { edges: HashMap::default(), nodes: vec![root], preference }
    }

    /// Adds a rule for the given types; of two equal globs the one added first stays.
    pub(crate) fn insert(&mut self, glob: &str, types: &[EventType], rule: u32) {
        let parts: Vec<&str> = glob.split('.').collect();
        let mut node = ROOT;
        self.reach(node, types, parts.len(), rule);
        for (index, part) in parts.iter().enumerate() {
            node = self.child_or_new(node, part);
            self.reach(node, types, parts.len() - index - 1, rule);
        }
        for event in types {
            if let Some(ahead) = self.ahead_mut(node, *event)
                && ahead.rule == NO_RULE
            {
                ahead.rule = rule;
            }
        }
    }

    /// Notes that `rule` ends `left` parts behind the node.
    fn reach(&mut self, node: u32, types: &[EventType], left: usize, rule: u32) {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        for event in types {
            if let Some(ahead) = self.ahead_mut(node, *event) {
                ahead.best = ahead.best.min(rule);
                ahead.least = ahead.least.min(left);
                ahead.most = ahead.most.max(left);
            }
        }
    }

    fn child_or_new(&mut self, node: u32, part: &str) -> u32 {
        if let Some(child) = self.child(node, part) {
            return child;
        }
        let child = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { star: None, ahead: [Ahead::NOTHING; EventType::ALL.len()] });
        if part == "*" {
            if let Some(node) = self.nodes.get_mut(node as usize) {
                node.star = Some(child);
            }
        } else {
            self.edges.insert(Edge { from: node, part: part.into() }, child);
        }
        child
    }

    /// Where a part leads to that is spelt like this in a rule; a star for a star.
    fn child(&self, node: u32, part: &str) -> Option<u32> {
        if part == "*" {
            self.nodes.get(node as usize)?.star
        } else {
            self.edges.get(&EdgeKey { from: node, part }).copied()
        }
    }

    fn ahead(&self, node: u32, event: EventType) -> Ahead {
        let node = self.nodes.get(node as usize);
        node.and_then(|node| node.ahead.get(event as usize)).copied().unwrap_or(Ahead::NOTHING)
    }

    fn ahead_mut(&mut self, node: u32, event: EventType) -> Option<&mut Ahead> {
        self.nodes.get_mut(node as usize)?.ahead.get_mut(event as usize)
    }

    /// The rule for a name and what its stars stand for.
    pub(crate) fn find<'n>(&self, name: &'n str, event: EventType) -> Option<(u32, Captures<'n>)> {
        let parts_count = name.bytes().filter(|byte| *byte == b'.').count() + 1;
        if !self.ahead(ROOT, event).may_end_in(parts_count) {
            return None;
        }
        let parts: SmallVec<[&str; 16]> = name.split('.').collect();
        let mut found: Option<(u32, Captures<'n>)> = None;
        let mut turns: SmallVec<[Turn<'n>; 8]> = SmallVec::new();
        let mut captures = Captures::new();
        let (mut node, mut depth) = (ROOT, 0);
        loop {
            let best = found.as_ref().map_or(NO_RULE, |(rule, _)| *rule);
            let Some(part) = parts.get(depth) else {
                let rule = self.ahead(node, event).rule;
                if rule < best {
                    found = Some((rule, captures.clone()));
                    if self.preference != Preference::Earliest {
                        return found;
                    }
                }
                let Some(turn) = turns.pop() else { return found };
                (node, depth) = take(&turn, &mut captures);
                continue;
            };
            let left = parts.len() - depth - 1;
            let is_open = |child: &u32| {
                let ahead = self.ahead(*child, event);
                ahead.may_end_in(left) && ahead.best < best
            };
            // A part that is itself a star takes the star's way without being captured, as in
            // the reference.
            let literal = self.child(node, part).filter(is_open);
            let star = self.child(node, "*").filter(is_open);
            depth += 1;
            match (literal, star) {
                (Some(literal), star) => {
                    if let Some(star) = star.filter(|_| self.backtracks()) {
                        turns.push(Turn { node: star, depth, captured: captures.len(), part });
                    }
                    node = literal;
                }
                (None, Some(star)) => {
                    captures.push(part);
                    node = star;
                }
                (None, None) => {
                    let Some(turn) = turns.pop() else { return found };
                    (node, depth) = take(&turn, &mut captures);
                }
            }
        }
    }

    /// Whether the earliest rule wins.
    pub(crate) fn is_ordered(&self) -> bool {
        self.preference == Preference::Earliest
    }

    fn backtracks(&self) -> bool {
        matches!(self.preference, Preference::Earliest | Preference::Literal { backtracks: true })
    }

    /// A rule that takes every name of `glob` for one of the types away, if there is one for each
    /// of them.
    pub(crate) fn covering(&self, glob: &str, types: &[EventType]) -> Option<u32> {
        let mut rules = types.iter().map(|event| self.covering_one(glob, *event));
        let first = rules.next()??;
        rules.all(|rule| rule.is_some()).then_some(first)
    }

    fn covering_one(&self, glob: &str, event: EventType) -> Option<u32> {
        let parts: Vec<&str> = glob.split('.').collect();
        let mut turns = vec![(ROOT, 0)];
        while let Some((node, depth)) = turns.pop() {
            let Some(part) = parts.get(depth) else {
                let rule = self.ahead(node, event).rule;
                if rule != NO_RULE {
                    return Some(rule);
                }
                continue;
            };
            let left = parts.len() - depth - 1;
            let literal = self.child(node, part).filter(|_| *part != "*");
            let ways = [literal, self.child(node, "*")].into_iter().flatten();
            let open = ways.filter(|child| self.ahead(*child, event).may_end_in(left));
            turns.extend(open.map(|child| (child, depth + 1)));
        }
        None
    }

    /// Writes the automaton for the given types as a Dot file; equal rules give equal files.
    pub(crate) fn dump(&self, types: &[EventType], out: &mut impl Write) -> io::Result<()> {
        let children = self.sorted_children();
        writeln!(out, "digraph mapping {{")?;
        writeln!(out, "  rankdir=LR;")?;
        writeln!(out, "  node [label=\"\", shape=circle, style=filled, fillcolor=white];")?;
        writeln!(out, "  0 [color=\"#a94442\", fillcolor=\"#f2dede\"];")?;
        let mut last_id = 0;
        for event in types {
            last_id += 1;
            writeln!(out, "  0 -> {last_id} [label=\"{}\"];", event.as_str())?;
            writeln!(out, "  {last_id} [color=\"#d6b656\", fillcolor=\"#fff2cc\"];")?;
            let mut open = vec![(ROOT, last_id)];
            while let Some((node, id)) = open.pop() {
                for (part, child) in children.get(node as usize).into_iter().flatten() {
                    let ahead = self.ahead(*child, *event);
                    if ahead.best == NO_RULE {
                        continue;
                    }
                    last_id += 1;
                    writeln!(out, "  {id} -> {last_id} [label=\"{part}\"];")?;
                    if ahead.rule != NO_RULE {
                        let rule = ahead.rule;
                        writeln!(
                            out,
                            "  {last_id} [label=\"{rule}\", color=\"#82b366\", fillcolor=\"#d5e8d4\"];"
                        )?;
                    }
                    open.push((*child, last_id));
                }
            }
        }
        writeln!(out, "}}")
    }

    fn sorted_children(&self) -> Vec<Vec<(&str, u32)>> {
        let mut children: Vec<Vec<(&str, u32)>> = vec![Vec::new(); self.nodes.len()];
        for (edge, child) in &self.edges {
            if let Some(list) = children.get_mut(edge.from as usize) {
                list.push((&edge.part, *child));
            }
        }
        for (list, node) in children.iter_mut().zip(&self.nodes) {
            list.extend(node.star.map(|star| ("*", star)));
            list.sort_unstable();
        }
        children
    }
}

/// Goes back to a star passed by.
fn take<'n>(turn: &Turn<'n>, captures: &mut Captures<'n>) -> (u32, usize) {
    captures.truncate(turn.captured);
    captures.push(turn.part);
    (turn.node, turn.depth)
}

/// Whether a look-up that prefers literals has to come back to the stars it passed by.
///
/// The reference decides so once for all rules (`TestIfNeedBacktracking`), and what it decides
/// shows: without it a name is lost whose literal way leads nowhere. It comes back as soon as one
/// rule shares what stands before its first star with another one of its length, unless one of the
/// two rules of such a length holds the other.
pub(crate) fn needs_backtracking(globs: &[&str]) -> bool {
    let mut by_length: StdHashMap<usize, Vec<Vec<&str>>> = StdHashMap::new();
    for glob in globs {
        let parts: Vec<&str> = glob.split('.').collect();
        by_length.entry(parts.len()).or_default().push(parts);
    }
    by_length.values().any(|rules| group_needs_backtracking(rules))
}

fn group_needs_backtracking(rules: &[Vec<&str>]) -> bool {
    let before_star = |rule: &Vec<&'_ str>| rule.iter().position(|part| *part == "*");
    let mut sharing: StdHashMap<&[&str], usize> = StdHashMap::new();
    for rule in rules {
        for end in 0..rule.len() {
            *sharing.entry(rule.get(..end).unwrap_or_default()).or_default() += 1;
        }
    }
    rules.iter().enumerate().any(|(index, rule)| {
        let Some(end) = before_star(rule) else { return false };
        let shares = rule.get(..end).and_then(|start| sharing.get(start));
        let mut others = rules.iter().enumerate().filter(|(other, _)| *other != index);
        shares.is_some_and(|count| *count > 1)
            && !others.any(|(_, other)| holds(rule, other) || holds(other, rule))
    })
}

/// Whether every name that `narrow` matches is matched by `wide`, both of one length.
fn holds(wide: &[&str], narrow: &[&str]) -> bool {
    wide.iter().zip(narrow).all(|(wide, narrow)| *wide == "*" || wide == narrow)
}

/// Whether a glob can be a rule: parts of ASCII letters, digits, `_` and `-`, or a star, between
/// dots; a dash never comes first in a part, and a digit not in the first one.
///
/// The rule is that of the reference (`metricLineRE`).
pub(crate) fn is_glob(text: &str) -> bool {
    text.split('.').enumerate().all(|(index, part)| {
        let starts_well = part.starts_with(|c: char| {
            c.is_ascii_alphabetic() || c == '_' || (index > 0 && c.is_ascii_digit())
        });
        let is_member = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        part == "*" || (starts_well && part.chars().all(is_member))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: &[EventType] = &EventType::ALL;
    const LITERAL: Preference = Preference::Literal { backtracks: false };
    const LITERAL_BACK: Preference = Preference::Literal { backtracks: true };

    #[test]
    fn the_earliest_rule_wins() {
        check(Preference::Earliest, &["a.*", "a.b"], "a.b", Some((0, &["b"])));
        check(Preference::Earliest, &["a.b", "a.*"], "a.b", Some((0, &[])));
        check(Preference::Earliest, &["a.*", "a.*"], "a.x", Some((0, &["x"])));
        check(Preference::Earliest, &["*.x.c", "a.*.d", "a.x.e"], "a.x.d", Some((1, &["x"])));
        check(Preference::Earliest, &["*.x.c", "a.*.d", "a.x.e"], "a.x.f", None);
    }

    #[test]
    fn every_star_passed_by_is_tried_again() {
        let globs = ["a.b.c.d.x", "a.b.c.*.y", "a.b.*.*.z", "a.*.*.*.w", "*.*.*.*.v"];
        for preference in [Preference::Earliest, LITERAL_BACK] {
            check(preference, &globs, "a.b.c.d.x", Some((0, &[])));
            check(preference, &globs, "a.b.c.d.y", Some((1, &["d"])));
            check(preference, &globs, "a.b.c.d.z", Some((2, &["c", "d"])));
            check(preference, &globs, "a.b.c.d.w", Some((3, &["b", "c", "d"])));
            check(preference, &globs, "a.b.c.d.v", Some((4, &["a", "b", "c", "d"])));
            check(preference, &globs, "a.b.c.d.u", None);
        }
    }

    #[test]
    fn without_order_literals_are_preferred() {
        let globs = ["a.*.*", "a.*.d", "a.b.*", "a.b.c"];
        check(LITERAL, &globs, "a.b.c", Some((3, &[])));
        check(LITERAL, &globs, "a.b.x", Some((2, &["x"])));
        check(LITERAL, &globs, "a.x.d", Some((1, &["x"])));
        check(LITERAL, &globs, "a.x.y", Some((0, &["x", "y"])));
        check(LITERAL, &globs, "a.b.d", Some((2, &["d"])));
    }

    #[test]
    fn without_backtracking_a_literal_may_lead_nowhere() {
        let globs = ["*", "a.*", "a.*.c", "a.b.*.d", "*.*.*.*"];
        check(LITERAL, &globs, "a.b.x.d", Some((3, &["x"])));
        check(LITERAL, &globs, "a.b.x.e", None);
        check(LITERAL_BACK, &globs, "a.b.x.e", Some((4, &["a", "b", "x", "e"])));
        check(LITERAL, &globs, "z.b.x.e", Some((4, &["z", "b", "x", "e"])));
    }

    // The reference forgets the shorter rule in both cases.
    #[test]
    fn a_glob_that_begins_an_earlier_one_matches() {
        check(Preference::Earliest, &["one.two.*", "one.two"], "one.two", Some((1, &[])));
        check(LITERAL, &["a.*.c", "a.*"], "a.b", Some((1, &["b"])));
    }

    #[test]
    fn a_star_is_exactly_one_part() {
        check(Preference::Earliest, &["*.b"], ".b", Some((0, &[""])));
        check(Preference::Earliest, &["a.*"], "a.", Some((0, &[""])));
        check(Preference::Earliest, &["a.*"], "a..", None);
        check(Preference::Earliest, &["a.*"], "a", None);
        check(Preference::Earliest, &["*"], "", Some((0, &[""])));
        check(Preference::Earliest, &["a.*"], "a.ü😱 /", Some((0, &["ü😱 /"])));
    }

    // As recorded from the reference.
    #[test]
    fn a_part_that_is_a_star_is_not_captured() {
        check(Preference::Earliest, &["a.*"], "a.*", Some((0, &[])));
        check(Preference::Earliest, &["*.*"], "*.x", Some((0, &["x"])));
    }

    #[test]
    fn rules_hold_for_their_types_only() {
        let mut globs = Globs::new(Preference::Earliest);
        globs.insert("a.*", &[EventType::Gauge], 0);
        globs.insert("a.*", ANY, 1);
        let rule = |event| globs.find("a.b", event).map(|(rule, _)| rule);
        assert_eq!(EventType::ALL.map(rule), [Some(1), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn a_rule_knows_which_earlier_one_takes_its_names() {
        let mut globs = Globs::new(Preference::Earliest);
        globs.insert("a.*.*", ANY, 0);
        globs.insert("b.*", &[EventType::Gauge], 1);
        assert_eq!(globs.covering("a.b.*", ANY), Some(0));
        assert_eq!(globs.covering("a.*.c", &[EventType::Set]), Some(0));
        assert_eq!(globs.covering("*.b.c", ANY), None);
        assert_eq!(globs.covering("a.b", ANY), None);
        assert_eq!(globs.covering("b.c", ANY), None);
        assert_eq!(globs.covering("b.c", &[EventType::Gauge]), Some(1));
    }

    #[test]
    fn backtracking_is_needed_where_the_reference_says_so() {
        assert!(needs_backtracking(&["*.x.c", "a.*.d", "a.x.e"]));
        assert!(!needs_backtracking(&["a.*", "a.b"]));
        assert!(!needs_backtracking(&["a.*", "b.*"]));
        assert!(!needs_backtracking(&["*", "a.*", "a.*.c", "a.b.*.d", "*.*.*.*"]));
        assert!(!needs_backtracking(&["a.*", "a.*"]));
        assert!(!needs_backtracking(&[]));
    }

    #[test]
    fn a_glob_has_legal_parts() {
        for text in ["*", "a", "*.*", "a-b.9x.a_b", "_x.*", "a--b.1", "test.99test.*"] {
            assert!(is_glob(text), "{text}");
        }
        for text in
            ["", "a?b.*", ".foo", "foo.", "a..b", "-a.b", "a.-b", "a b", "a/b", "9a", "a*", "ä"]
        {
            assert!(!is_glob(text), "{text}");
        }
    }

    #[test]
    fn the_dump_is_the_same_each_time() {
        let dump = || {
            let mut globs = Globs::new(Preference::Earliest);
            for (rule, glob) in (0..).zip(["b.x", "a.*", "a.b.c"]) {
                globs.insert(glob, &[EventType::Counter], rule);
            }
            let mut text = Vec::new();
            globs.dump(&[EventType::Counter], &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let text = dump();
        assert!(text.starts_with("digraph mapping {\n"), "{text}");
        assert_eq!(text.matches("->").count(), 7, "{text}");
        assert_eq!(text, dump());
    }

    proptest! {
        #[test]
        fn the_automaton_finds_what_a_plain_search_finds(
            globs in prop::collection::vec("([abc]|\\*)(\\.([abc]|\\*)){0,4}", 1..12),
            name in "[abcd]?(\\.[abcd]?){0,4}",
        ) {
            let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
            let found = automaton(Preference::Earliest, &globs).find(&name, EventType::Counter);
            let expected = globs.iter().position(|glob| plainly_matches(glob, &name));
            prop_assert_eq!(found.as_ref().map(|(rule, _)| *rule as usize), expected);
            if let Some((rule, captures)) = found {
                let stars = globs[rule as usize].split('.').zip(name.split('.'));
                let parts: Vec<&str> =
                    stars.filter(|(glob, _)| *glob == "*").map(|(_, part)| part).collect();
                prop_assert_eq!(captures.as_slice(), parts);
            }
            let literal = automaton(LITERAL_BACK, &globs).find(&name, EventType::Counter);
            prop_assert_eq!(literal.is_some(), expected.is_some());
        }

        #[test]
        fn a_covered_rule_never_wins(
            globs in prop::collection::vec("([ab]|\\*)(\\.([ab]|\\*)){0,3}", 2..8),
            name in "[abc](\\.[abc]){0,3}",
        ) {
            let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
            let (last, earlier) = globs.split_last().unwrap();
            let covering = automaton(Preference::Earliest, earlier).covering(last, ANY);
            let covered = earlier.iter().any(|glob| {
                glob.split('.').count() == last.split('.').count()
                    && holds(
                        &glob.split('.').collect::<Vec<_>>(),
                        &last.split('.').collect::<Vec<_>>(),
                    )
            });
            prop_assert_eq!(covering.is_some(), covered);
            let found = automaton(Preference::Earliest, &globs).find(&name, EventType::Counter);
            if let (Some((rule, _)), true) = (found, covered) {
                prop_assert_ne!(rule as usize, globs.len() - 1);
            }
        }
    }

    fn plainly_matches(glob: &str, name: &str) -> bool {
        glob.split('.').count() == name.split('.').count()
            && glob.split('.').zip(name.split('.')).all(|(glob, part)| glob == "*" || glob == part)
    }

    fn automaton(preference: Preference, globs: &[&str]) -> Globs {
        let mut automaton = Globs::new(preference);
        for (rule, glob) in (0..).zip(globs) {
            automaton.insert(glob, ANY, rule);
        }
        automaton
    }

    #[track_caller]
    fn check(preference: Preference, globs: &[&str], name: &str, expected: Option<(u32, &[&str])>) {
        let globs = automaton(preference, globs);
        let found = globs.find(name, EventType::Counter);
        let found = found.as_ref().map(|(rule, captures)| (*rule, captures.as_slice()));
        assert_eq!(found, expected, "{name}");
    }
}
