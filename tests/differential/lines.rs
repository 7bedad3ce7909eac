//! Random lines: some grow from the grammar with all its oddities, some are mutated known ones.

use fastrand::Rng;

/// Few words, so that names meet each other and the rules.
const WORDS: [&str; 8] = ["a", "b", "c", "api", "req", "x1", "a-b", "0"];

const ODD_WORDS: [&str; 12] =
    ["", "-", "--", "_", "é", "日本", "A", "x y", "1", "a_b", "😱", "a/b"];

const VALUES: [&str; 12] = ["0", "1", "2", "3", "10", "250", "0.5", "1.25", "-1", "+1", "-0", "7"];

const ODD_VALUES: [&str; 30] = [
    "",
    "+",
    "-",
    ".",
    "1.",
    ".5",
    "1e3",
    "1E-2",
    "1e400",
    "-1e400",
    "1e-400",
    "0x1p-2",
    "0X1.8P1",
    "0x10",
    "1_000",
    "1__0",
    "_1",
    "inf",
    "-Inf",
    "+inf",
    "infinity",
    "nan",
    "NaN",
    "+nan",
    "-nan",
    " 1",
    "1 ",
    "1,5",
    "--1",
    "99999999999999999999",
];

const KINDS: [&str; 8] = ["c", "g", "ms", "h", "d", "c", "g", "ms"];

const ODD_KINDS: [&str; 8] = ["", "s", "m", "C", "cc", "ms ", "x", "g1"];

const RATES: [&str; 16] = [
    "1", "0.5", "0.1", "0.25", "0", "-1", "2", "", "x", "0.333", "1e-1", "inf", "-inf", "0x1p-1",
    "1e999", "+0.5",
];

const KEYS: [&str; 10] = ["k", "env", "host", "K", "a.b", "a-b", "1k", "é", "k_", "job"];

const TAG_VALUES: [&str; 12] =
    ["v", "prod", "1", "a b", "ü", "x.y", "\\", "\"q\"", "a/b", "v-1", "😱", "#v"];

/// What a mutation puts in: all that has a meaning, and a few things that have none.
const SCRAPS: [&str; 30] = [
    ":", "|", "@", "#", ",", "=", ";", "[", "]", ".", "-", "+", "_", "|#", "|@", ":1", "|c", "|g",
    "|ms", "|h", "|d", "k=v", "k:v", "c:x", "T1", " ", "\r", "1", "e", "é",
];

/// Where lines come from.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    rng: &'a mut Rng,
    corpus: &'a [Vec<u8>],
}

impl<'a> Lines<'a> {
    /// Draws from `rng`; `corpus` is what mutations start from.
    pub(crate) fn new(rng: &'a mut Rng, corpus: &'a [Vec<u8>]) -> Self {
        Self { rng, corpus }
    }

    /// One line, not always valid and not always text.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        loop {
            let line = match self.rng.u8(0..10) {
                0..=5 => self.grown().into_bytes(),
                6 | 7 => {
                    let line = self.grown().into_bytes();
                    self.mutated(line)
                }
                _ => {
                    let known = self.rng.choice(self.corpus).cloned().unwrap_or_default();
                    self.mutated(known)
                }
            };
            if is_harmless(&line) {
                return line;
            }
        }
    }

    fn odd(&mut self) -> bool {
        self.rng.u8(0..16) == 0
    }

    fn pick(&mut self, usual: &[&'static str], odd: &[&'static str]) -> &'static str {
        let from = if self.odd() { odd } else { usual };
        self.rng.choice(from).copied().unwrap_or_default()
    }

    fn grown(&mut self) -> String {
        let name = self.name();
        let packed = self.rng.u8(0..8) == 0;
        let count = if packed { self.rng.usize(2..5) } else { 1 };
        let values: Vec<_> = (0..count).map(|_| self.pick(&VALUES, &ODD_VALUES)).collect();
        let mut line = format!("{name}:{}|{}", values.join(":"), self.pick(&KINDS, &ODD_KINDS));
        for _ in 0..[0, 0, 0, 1, 1, 2, 3][self.rng.usize(0..7)] {
            line.push('|');
            line.push_str(&self.section());
        }
        if self.rng.u8(0..20) == 0 {
            // Without tags the rest of a line is several samples.
            let (value, kind) = (self.pick(&VALUES, &ODD_VALUES), self.pick(&KINDS, &ODD_KINDS));
            line.extend([":", value, "|", kind]);
        }
        line
    }

    fn name(&mut self) -> String {
        let parts: Vec<_> =
            (0..self.rng.usize(1..4)).map(|_| self.pick(&WORDS, &ODD_WORDS)).collect();
        let name = parts.join(".");
        match self.rng.u8(0..12) {
            0 => format!("{name},{}", self.tags("=", ",")),
            1 => format!("{name}#{}", self.tags("=", ",")),
            2 => format!("{name}[{}]", self.tags("=", ",")),
            3 => format!("{}[{}]{name}", self.pick(&WORDS, &ODD_WORDS), self.tags("=", ",")),
            _ => name,
        }
    }

    fn tags(&mut self, between: &str, after: &str) -> String {
        let tags: Vec<_> = (0..self.rng.usize(1..4))
            .map(|_| {
                let key = self.pick(&KEYS, &["", "k:", "k=", "#k"]);
                let value = self.pick(&TAG_VALUES, &["", "v:w", "v=w", ",", "|"]);
                let between = if self.odd() { "" } else { between };
                format!("{key}{between}{value}")
            })
            .collect();
        let end = if self.odd() { after } else { "" };
        tags.join(after) + end
    }

    fn section(&mut self) -> String {
        match self.rng.u8(0..12) {
            0..=3 => format!("@{}", self.rng.choice(&RATES).copied().unwrap_or_default()),
            4..=8 => format!("#{}", self.tags(":", ",")),
            9 => "c:abc".to_owned(),
            10 => "T1656581400".to_owned(),
            _ => self.pick(&["c:", "T", "c:x=y"], &["", "e:x", "card:low", "x", "c"]).to_owned(),
        }
    }

    fn mutated(&mut self, mut line: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.usize(1..4) {
            let at = self.rng.usize(..=line.len());
            let end = (at + self.rng.usize(1..4)).min(line.len());
            match self.rng.u8(0..8) {
                0 | 1 => drop(line.drain(at..end)),
                2 => {
                    let again: Vec<_> = line.get(at..end).unwrap_or_default().to_vec();
                    drop(line.splice(at..at, again));
                }
                3 => {
                    let other = self.rng.choice(self.corpus).cloned().unwrap_or_default();
                    line.truncate(at);
                    line.extend(other.iter().skip(self.rng.usize(..=other.len())));
                }
                4 if self.odd() => line.insert(at, self.rng.u8(..)),
                _ => {
                    let scrap = self.rng.choice(&SCRAPS).copied().unwrap_or_default();
                    drop(line.splice(at..at, scrap.bytes()));
                }
            }
        }
        line
    }
}

/// Whether the reference survives a line, and we have not decided to treat it otherwise.
fn is_harmless(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let is_reversed = match (text.find('['), text.find(']')) {
        (Some(open), Some(close)) => close < open,
        _ => false,
    };
    let words = ["le", "quantile", "statsd_", "go_", "process_", "promhttp_"];
    !line.contains(&b'\n')
        && line.len() < 1_000
        && !is_reversed
        && !text.starts_with(['#', ',', '['])
        && !may_have_reserved_key(&text)
        && !words.iter().any(|word| text.contains(word))
        && text
            .split('@')
            .skip(1)
            .all(|rest| is_bearable(rest.split(['|', ':']).next().unwrap_or_default()))
}

/// Whether a tag's key may become one with two underscores in front. The reference has no page from
/// then on, unless it refuses the sample for other reasons; we drop the tag and count an error.
fn may_have_reserved_key(text: &str) -> bool {
    let is_underscore = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, ':' | ',');
    let chars: Vec<_> = text.chars().collect();
    chars.windows(3).any(|window| match window {
        ['#' | ',' | '[', first, second] => is_underscore(*first) && is_underscore(*second),
        _ => false,
    })
}

/// Whether a rate stands for so few events that the reference has the memory for them.
fn is_bearable(rate: &str) -> bool {
    match rate.parse::<f64>() {
        // The reference loses observations at this rate without a trace.
        Ok(value) if value.is_nan() => false,
        Ok(value) => value == 0.0 || value.abs() >= 0.005,
        Err(_) => RATES.contains(&rate) || !rate.contains(['x', 'X', '_']),
    }
}
