//! Lines as clients send them, the same at every start.

/// What fits a datagram of an Ethernet frame, with tags.
pub(crate) const LINES_PER_DATAGRAM: usize = 19;

/// As many different lines as `series`, in no order that a cache could profit from: half counters, three in ten timers,
/// two in ten gauges.
pub(crate) fn mixed(series: usize) -> Vec<String> {
    let lines = (0..series).map(|i| {
        let kind = match i % 10 {
            0..5 => "c",
            5..8 => "ms",
            _ => "g",
        };
        tagged(kind, i)
    });
    shuffled(lines.collect())
}

/// A line with as many tags as an instrumented service has; what stands behind `|` begins with `tail`.
pub(crate) fn tagged(tail: &str, i: usize) -> String {
    let (name, value, kind) = (i % 50, i % 97 + 1, tail.split('|').next().unwrap_or_default());
    format!("shop.{kind}.{name}:{value}|{tail}|#env:prod,region:eu-west-1,pod:p{i}")
}

/// Lines for [`glob_rules`]: twenty names for each rule.
pub(crate) fn mapped(rules: usize, lines: usize) -> Vec<String> {
    shuffled(
        (0..lines).map(|i| format!("team{}.host{}.latency:1|c", i % rules, i / rules)).collect(),
    )
}

/// A mapping file of so many glob rules.
pub(crate) fn glob_rules(rules: usize) -> String {
    mapping(rules, |i| format!("match: team{i}.*.latency"))
}

/// A mapping file of so many rules, whose first lines `matcher` writes.
pub(crate) fn mapping(rules: usize, matcher: impl Fn(usize) -> String) -> String {
    let rule = |i| format!("- {}\n  name: latency_{i}\n  labels: {{host: $1}}\n", matcher(i));
    format!("mappings:\n{}", (0..rules).map(rule).collect::<String>())
}

/// Packs lines into datagrams.
pub(crate) fn datagrams(lines: &[String], lines_each: usize) -> Vec<Vec<u8>> {
    lines.chunks(lines_each).map(|lines| lines.join("\n").into_bytes()).collect()
}

/// Puts lines in an order that no cache profits from.
pub(crate) fn shuffled(mut lines: Vec<String>) -> Vec<String> {
    fastrand::Rng::with_seed(1).shuffle(&mut lines);
    lines
}
