//! Whether the gauges on the page show what was sent last.

use std::collections::HashMap;

use super::outcome::GaugeCheck;
use super::page;
use super::payload::Payload;
use super::sender::Sent;

/// Compares the gauges of a page with the values sent last by one client that began with the first
/// datagram and ended before the one that `sent` names as the next.
///
/// `None` when the payload has no gauges whose series on the page are known.
pub(super) fn check(payload: &Payload, sent: &Sent, page: &[u8]) -> Option<GaugeCheck> {
    let mut last: HashMap<String, f64> = HashMap::new();
    let (sent_last, rest) = payload.datagrams.split_at_checked(sent.next)?;
    let went_round = sent.datagrams >= payload.datagrams.len() as u64;
    let sent_before = if went_round { rest } else { &[] };
    for datagram in sent_before.iter().chain(sent_last) {
        let bytes = payload.bytes.get(datagram.range()).unwrap_or_default();
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        last.extend(text.lines().filter_map(gauge));
    }
    if last.is_empty() {
        return None;
    }
    let shown = page::gauges(page);
    let is_current = |(series, value): (&String, &f64)| {
        shown.get(series).is_some_and(|shown| (shown - value).abs() < f64::EPSILON)
    };
    let current = last.iter().filter(|each| is_current(*each)).count();
    Some(GaugeCheck { checked: last.len() as u64, current: current as u64 })
}

/// The series that a line of a gauge becomes, labels in their order, and its value.
fn gauge(line: &str) -> Option<(String, f64)> {
    let (name, rest) = line.split_once(':')?;
    let (value, tail) = rest.split_once('|')?;
    let tags = tail.strip_prefix("g|#")?;
    let mut labels: Vec<String> = tags
        .split(',')
        .filter_map(|tag| tag.split_once(':'))
        .map(|(key, value)| format!("{key}=\"{value}\""))
        .collect();
    labels.sort_unstable();
    let name = name.replace('.', "_");
    Some((format!("{name}{{{}}}", labels.join(",")), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::workload::{Recipe, Source, Workload};
    use super::*;

    #[test]
    fn gauges_are_compared_with_the_values_sent_last() {
        let source = Source::Workload(Workload::Packed);
        let max_datagram_bytes = None;
        let recipe =
            Recipe { source, series: Some(20), max_datagram_bytes, new_share: 0.0, seed: 3 };
        let payload = Payload::build(&recipe).unwrap();
        let mut values = HashMap::new();
        for (series, value) in payload
            .datagrams()
            .flat_map(|datagram| std::str::from_utf8(datagram).unwrap().lines().filter_map(gauge))
        {
            values.insert(series, value);
        }
        let lines: Vec<String> =
            values.iter().map(|(series, value)| format!("{series} {value}")).collect();
        let page = lines.join("\n");
        let datagrams = payload.datagrams.len() as u64;
        let all = Sent { next: 0, datagrams, ..Sent::default() };
        let got = check(&payload, &all, page.as_bytes());
        assert_eq!(got, Some(GaugeCheck { checked: 4, current: 4 }));
        assert_eq!(check(&payload, &all, b""), Some(GaugeCheck { checked: 4, current: 0 }));
        let none = Sent { next: 0, datagrams: 0, ..Sent::default() };
        assert_eq!(check(&payload, &none, page.as_bytes()), None);
    }
}
