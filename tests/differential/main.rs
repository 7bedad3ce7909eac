//! Random input for tallyd and for the reference, whose pages and self-metrics have to agree.
//!
//! Every round draws a mapping file, flags and lines, gives them to one process of each, and
//! compares. A difference is cut down to the lines and rules that it takes and printed as a case
//! for `tests/data/conformance`. Lines at which the reference panics, or refuses to show a page
//! from then on, are left out of the comparison; tallyd has to survive them.
//!
//! `DIFFERENTIAL_SEED` names the first round, `DIFFERENTIAL_SECONDS` how long to go on. The
//! reference is `$STATSD_EXPORTER` or `target/peers/statsd_exporter`, else it is built with Go.

#[path = "../support/page.rs"]
mod page;
#[path = "../support/proto.rs"]
mod proto;
#[path = "../support/server.rs"]
mod server;

mod lines;
mod pair;
mod rules;
mod timers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::lines::Lines;
use crate::page::Page;
use crate::pair::{Answer, Input, Transport, answer_differences, reference};
use crate::rules::Rules;
use crate::server::{Launch, wait_until};

/// Rounds without `DIFFERENTIAL_SECONDS`.
const ROUNDS: u64 = 30;

const LINES: usize = 300;

/// A round with more lines than this that the reference does not survive is given up.
const MAX_POISON: usize = 12;

/// The reference hands its events on within its flush interval of 10 ms.
const FLUSH: Duration = Duration::from_millis(30);

/// How long answers that differ may take to become alike.
const PATIENCE: Duration = Duration::from_secs(1);

/// Flags that both servers know, drawn now and then.
const FLAGS: [&str; 4] = [
    "--no-statsd.parse-dogstatsd-tags",
    "--no-statsd.parse-influxdb-tags",
    "--no-statsd.parse-librato-tags",
    "--no-statsd.parse-signalfx-tags",
];

#[test]
#[ignore = "needs the reference; make test runs it"]
fn random_lines_give_the_reference_s_page() {
    check(run(0, |_| None));
}

#[test]
#[ignore = "needs the reference; make test runs it"]
fn random_lines_under_random_rules_give_the_reference_s_page() {
    check(run(1_000_000, |rng| Some(Rules::random(rng))));
}

#[test]
fn integer_timers_meet_bounds_of_exactly_their_value() {
    assert_eq!(timers::astray(Launch::tallyd(&["--compat=reference"])).unwrap(), [""; 0]);
}

#[test]
#[ignore = "needs the reference; make test runs it"]
fn integer_timers_meet_bounds_of_exactly_their_value_in_the_reference() {
    assert_eq!(timers::astray(Launch::program(reference().unwrap(), &[])).unwrap(), [""; 0]);
}

#[track_caller]
fn check(result: Result<(), String>) {
    let found = result.err().unwrap_or_default();
    assert!(found.is_empty(), "{found}");
}

/// Plays rounds, each with a seed of its own, and ends with the first difference found.
fn run(offset: u64, rules: impl Fn(&mut Rng) -> Option<Rules>) -> Result<(), String> {
    let reference = reference()?;
    let corpus = corpus();
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("DIFFERENTIAL_SEED").unwrap_or(1) + offset;
    let end =
        number("DIFFERENTIAL_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_over = |round| end.map_or(round >= ROUNDS, |end| Instant::now() > end);
    let mut given_up = 0;
    let mut round = 0;
    while !is_over(round) {
        let mut rng = Rng::with_seed(first + round);
        let rules = rules(&mut rng);
        let outcome = play(&reference, input(&mut rng, rules, &corpus))
            .map_err(|error| format!("round {}: {error}", first + round))?;
        match outcome {
            Outcome::Alike => {}
            Outcome::GivenUp => given_up += 1,
            Outcome::Different(found) => return Err(format!("round {}:\n{found}", first + round)),
        }
        round += 1;
    }
    if given_up * 4 > round {
        return Err(format!("the reference gave no page in {given_up} of {round} rounds"));
    }
    Ok(())
}

enum Outcome {
    Alike,
    GivenUp,
    Different(String),
}

fn input(rng: &mut Rng, rules: Option<Rules>, corpus: &[Vec<u8>]) -> Input {
    let transport = if rng.bool() { Transport::Tcp } else { Transport::Unixgram };
    let flags = FLAGS.into_iter().filter(|_| rng.u8(0..10) == 0).collect();
    let keeps_to_one_sample = rules.as_ref().is_some_and(Rules::add_labels);
    let mut lines = Lines::new(rng, corpus);
    let mut lines: Vec<_> = (0..LINES).map(|_| lines.line()).collect();
    lines.retain(|line| !(keeps_to_one_sample && has_several_samples(line)));
    // Known lines come again, which is what the line cache is for.
    let again: Vec<_> = (0..LINES / 3).filter_map(|_| rng.choice(&lines).cloned()).collect();
    lines.extend(again);
    if transport == Transport::Tcp {
        return Input { rules, flags, transport, datagrams: lines };
    }
    let mut datagrams = Vec::new();
    while !lines.is_empty() {
        let rest = lines.split_off(rng.usize(1..5).min(lines.len()));
        datagrams.push(lines.join(&b'\n'));
        lines = rest;
    }
    Input { rules, flags, transport, datagrams }
}

/// Whether the part of a line behind its name has samples of several types.
fn has_several_samples(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let kind = text.find('|').and_then(|at| text.get(at..)).unwrap_or_default();
    kind.contains(':') && !kind.contains("|#")
}

/// One round: both servers are asked, and a difference is cut down.
fn play(reference: &Path, mut input: Input) -> Result<Outcome, String> {
    if let Err(refusal) = input.ask(Launch::program(reference.to_path_buf(), &[])) {
        return Ok(refused(&input, &refusal));
    }
    let Some(expected) = survivable(reference, &mut input)? else { return Ok(Outcome::GivenUp) };
    let found = differing(&input, &expected)?;
    if found.is_empty() {
        return Ok(Outcome::Alike);
    }
    let small = smaller(reference, input);
    let expected = ask_reference(reference, &small)?.unwrap_or(expected);
    let again = differing(&small, &expected)?;
    let what = if again.is_empty() {
        format!("seen once, and not again:\n{}", found.join("\n"))
    } else {
        format!("{}\n{}", again.join("\n"), case(&small, &expected))
    };
    Ok(Outcome::Different(what))
}

/// What the reference refuses tallyd has to refuse, too.
fn refused(input: &Input, refusal: &str) -> Outcome {
    if input.ask(Launch::tallyd(&["--compat=reference"])).is_err() {
        return Outcome::Alike;
    }
    let rules = input.rules.as_ref().map(Rules::text).unwrap_or_default();
    Outcome::Different(format!("tallyd takes what the reference refuses: {refusal}\n{rules}"))
}

/// Takes out what the reference does not survive, and says what it answers to the rest.
fn survivable(reference: &Path, input: &mut Input) -> Result<Option<Answer>, String> {
    for _ in 0..MAX_POISON {
        if let Some(answer) = ask_reference(reference, input)? {
            return Ok(Some(answer));
        }
        let poison = poison(reference, input)?;
        input.datagrams.remove(poison);
    }
    Ok(None)
}

/// The first datagram with which the reference has no page any more.
fn poison(reference: &Path, input: &Input) -> Result<usize, String> {
    let (mut good, mut bad) = (0, input.datagrams.len());
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        let datagrams = input.datagrams.iter().take(middle).cloned().collect();
        let survives = ask_reference(reference, &Input { datagrams, ..input.clone() })?.is_some();
        if survives { good = middle } else { bad = middle }
    }
    Ok(bad - 1)
}

/// What the reference answers once nothing changes any more; it counts a line before its samples.
fn ask_reference(reference: &Path, input: &Input) -> Result<Option<Answer>, String> {
    let asked = input.ask(Launch::program(reference.to_path_buf(), &[]))?;
    let mut last = asked.answer()?;
    wait_until(PATIENCE, || {
        thread::sleep(FLUSH);
        let answer = asked.answer().ok().flatten();
        let is_quiet = match (&last, &answer) {
            (Some(last), Some(answer)) => answer_differences(last, answer).is_empty(),
            _ => true,
        };
        last = answer;
        is_quiet
    });
    Ok(last)
}

/// In what tallyd's answer differs from the expected one.
fn differing(input: &Input, expected: &Answer) -> Result<Vec<String>, String> {
    let asked = input.ask(Launch::tallyd(&["--compat=reference"]))?;
    let mut found = Vec::new();
    wait_until(PATIENCE, || {
        found = match asked.answer() {
            Ok(Some(answer)) => answer_differences(expected, &answer),
            Ok(None) => vec!["tallyd has no page".to_owned()],
            Err(error) => vec![error],
        };
        found.is_empty()
    });
    Ok(found)
}

/// Leaves out datagrams, lines and rules for as long as a difference remains.
fn smaller(reference: &Path, mut input: Input) -> Input {
    let differs = |input: &Input| {
        let expected = ask_reference(reference, input).ok().flatten();
        expected.is_some_and(|expected| {
            differing(input, &expected).is_ok_and(|found| !found.is_empty())
        })
    };
    let lines = input.datagrams.join(&b'\n');
    let lines: Vec<_> = lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let apart = Input { datagrams: lines, ..input.clone() };
    if differs(&apart) {
        input = apart;
    }
    let mut step = input.datagrams.len().div_ceil(2);
    while step > 0 {
        let mut at = 0;
        while at < input.datagrams.len() {
            let mut less = input.clone();
            drop(less.datagrams.drain(at..(at + step).min(input.datagrams.len())));
            if differs(&less) { input = less } else { at += step }
        }
        step = if step == 1 { 0 } else { step.div_ceil(2) };
    }
    for at in (0..input.rules.as_ref().map_or(0, |rules| rules.rules.len())).rev() {
        let mut less = input.clone();
        if let Some(rules) = &mut less.rules {
            rules.rules.remove(at);
        }
        if differs(&less) {
            input = less;
        }
    }
    input
}

/// What was found, as a case for the corpus.
fn case(input: &Input, expected: &Answer) -> String {
    let send = match input.transport {
        Transport::Tcp => "tcp",
        Transport::Unixgram => "unixgram",
    };
    let step = |datagram: &Vec<u8>| match std::str::from_utf8(datagram) {
        Ok(text) => json!({"send": send, "text": text}),
        Err(_) => json!({"send": send, "b64": BASE64_STANDARD.encode(datagram)}),
    };
    let steps: Vec<Value> = match input.transport {
        Transport::Tcp => vec![step(&input.datagrams.join(&b'\n'))],
        Transport::Unixgram => input.datagrams.iter().map(step).collect(),
    };
    let case = json!({
        "name": "", "area": "", "origin": "own", "desc": "",
        "mapping": input.rules.as_ref().map(Rules::text),
        "flags": input.flags,
        "unixgram": input.transport == Transport::Unixgram,
        "steps": steps,
        "expect": lines_of(&expected.page),
        "expect_self": expected.own,
    });
    format!("{case:#}")
}

fn lines_of(page: &Page) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, family) in &page.families {
        lines.extend(family.help.iter().map(|help| format!("# HELP {name} {help}")));
        lines.extend(family.kind.iter().map(|kind| format!("# TYPE {name} {kind}")));
        lines.extend(family.samples.iter().map(|(series, value)| format!("{series} {value}")));
    }
    lines
}

/// The lines of all cases that were recorded.
#[expect(clippy::expect_used, reason = "the corpus is in the repository")]
fn corpus() -> Vec<Vec<u8>> {
    let directory: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/data/conformance"].iter().collect();
    let mut lines = Vec::new();
    for file in fs::read_dir(directory).expect("the corpus is in the repository") {
        let text = fs::read_to_string(file.expect("a directory can be read").path());
        let cases: Value = serde_json::from_str(&text.expect("a case file is text")).expect("JSON");
        for case in cases.as_array().into_iter().flatten() {
            let steps = case["steps"].as_array().into_iter().flatten();
            let texts = steps.filter_map(|step| step["text"].as_str());
            lines.extend(
                texts.flat_map(|text| text.split('\n')).map(|line| line.as_bytes().to_vec()),
            );
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}
