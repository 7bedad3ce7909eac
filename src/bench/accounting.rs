//! Where every metric is: what the page shows, what was reported as lost, what nobody explains.

use std::collections::BTreeMap;

use super::outcome::{Accounting, Ledger};
use super::page::Page;
use super::sender::Sent;
use super::units::whole;

/// The outcomes of lines in tallyd's own count that keep a metric off the page. Conflicts and bad
/// samples are counted under the reference's names as well, by which every server is asked.
const LIMITED: &str = "limited";

/// All that is known when the page stands still.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) sent: &'a Sent,
    pub(super) probes: u64,
    /// What the page gained during the run.
    pub(super) gained: &'a Page,
    /// Datagrams that the kernel dropped at a socket of this machine.
    pub(super) kernel_drops: Option<u64>,
    pub(super) is_datagrams: bool,
    /// Whether the workload's names are known, so that its series can be found.
    pub(super) has_known_names: bool,
}

impl Evidence<'_> {
    /// Adds everything up.
    pub(super) fn account(&self) -> Accounting {
        let ledger = self.ledger();
        let (sent, counted, not_accounted) = match ledger {
            Ledger::Series => self.by_series(),
            Ledger::Lines => self.by_lines(),
        };
        let total = |kinds: &BTreeMap<String, u64>| kinds.values().sum::<u64>();
        let (sent_total, counted_total) = (total(&sent), total(&counted));
        let missing = sent_total.saturating_sub(counted_total);
        let (lost, kernel_dropped_datagrams) = self.lost(missing, sent_total);
        let explained = total(&lost) + counted_total;
        Accounting {
            ledger,
            not_accounted,
            unexplained: difference(sent_total, explained),
            loss_ratio: missing as f64 / sent_total.max(1) as f64,
            sent,
            counted,
            lost,
            kernel_dropped_datagrams,
            gauges: None,
        }
    }

    /// How many of the metrics sent are on the page or reported as lost, as far as that can be
    /// said while the run is not over; for those who wait for all.
    pub(super) fn is_complete(&self) -> bool {
        let accounting = self.account();
        accounting.unexplained <= 0
    }

    /// The series' values, unless none of them rose while the server counted lines.
    fn ledger(&self) -> Ledger {
        let gained = self.gained.counters + self.gained.timers;
        let lines = self.lines_received().unwrap_or_default();
        if self.has_known_names && (gained > 0.0 || lines <= 0.0) {
            Ledger::Series
        } else {
            Ledger::Lines
        }
    }

    fn by_series(&self) -> (Kinds, Kinds, Vec<String>) {
        let tally = self.sent.tally;
        let gauges = self.gained.own_with("statsd_exporter_events_total", "type", "gauge");
        let kinds = [
            ("counter", tally.counters, Some(self.gained.counters)),
            ("timer", tally.timers, Some(self.gained.timers)),
            ("gauge", tally.gauges, gauges),
        ];
        let (mut sent, mut counted) = (Kinds::new(), Kinds::new());
        let mut not_accounted = Vec::new();
        for (kind, number, on_page) in kinds {
            match on_page {
                _ if number == 0 => {}
                None => not_accounted.push(kind.to_owned()),
                Some(on_page) => {
                    sent.insert(kind.to_owned(), number);
                    counted.insert(kind.to_owned(), whole(on_page));
                }
            }
        }
        (sent, counted, not_accounted)
    }

    /// Lines that the server read. Those that it then refused are not counted: they are lost.
    fn by_lines(&self) -> (Kinds, Kinds, Vec<String>) {
        let received = whole(self.lines_received().unwrap_or_default());
        let refused: u64 = self.refused().values().sum();
        let of = |number| Kinds::from([("line".to_owned(), number)]);
        let sent = self.sent.tally.total() + self.probes;
        (of(sent), of(received.saturating_sub(refused)), Vec::new())
    }

    fn lines_received(&self) -> Option<f64> {
        self.gained.own_total("statsd_exporter_lines_total")
    }

    /// Metrics by the reason that they are missing for; never more than are missing.
    fn lost(&self, missing: u64, sent: u64) -> (Kinds, u64) {
        let mut lost = Kinds::new();
        let mut rest = missing;
        for (reason, number) in self.refused() {
            let number = number.min(rest);
            rest -= number;
            if number > 0 {
                lost.insert(reason, number);
            }
        }
        let dropped = self.dropped_datagrams();
        let all: u64 = dropped.values().sum();
        // How many metrics a lost datagram held is not known. If every datagram was either
        // received or reported as dropped, those that are missing were in the dropped ones.
        let in_dropped = if self
            .datagrams_received()
            .is_some_and(|received| received + all >= self.sent.datagrams)
        {
            rest
        } else {
            self.metrics_in(all, sent).min(rest)
        };
        let mut left = in_dropped;
        for (place, (reason, datagrams)) in dropped.iter().enumerate() {
            let is_last = place + 1 == dropped.len();
            let part = if is_last { left } else { share(in_dropped, *datagrams, all).min(left) };
            left -= part;
            if part > 0 {
                lost.insert((*reason).to_owned(), part);
            }
        }
        (lost, dropped.get("kernel_buffer_full").copied().unwrap_or_default())
    }

    /// Metrics that the server received and says it did not count.
    fn refused(&self) -> Kinds {
        let page = self.gained;
        let mut refused = Kinds::new();
        let mut add = |reason: String, number: f64| {
            if number >= 1.0 {
                refused.insert(reason, whole(number));
            }
        };
        for (name, prefix) in [
            ("statsd_exporter_sample_errors_total", "rejected"),
            ("statsd_exporter_events_error_total", "refused"),
        ] {
            for (reason, number) in page.own_by(name, "reason") {
                add(format!("{prefix}_{reason}"), number);
            }
        }
        add(
            "conflict".into(),
            page.own_total("statsd_exporter_events_conflict_total").unwrap_or(0.0),
        );
        let actions = page.own_with("statsd_exporter_events_actions_total", "action", "drop");
        add("dropped_by_rule".into(), actions.unwrap_or(0.0));
        let limited = page.own_with("tallyd_lines_total", "outcome", LIMITED);
        add("over_the_limit".into(), limited.unwrap_or(0.0));
        refused
    }

    /// Datagrams that never became lines, by reason.
    fn dropped_datagrams(&self) -> BTreeMap<&'static str, u64> {
        let page = self.gained;
        let mut dropped = BTreeMap::new();
        if !self.is_datagrams {
            return dropped;
        }
        let told = page.own_total("tallyd_udp_kernel_drops_total");
        let by_kernel = self.kernel_drops.or(told.map(whole)).unwrap_or_default();
        // tallyd counts the kernel's drops among its own as well, the reference does not.
        let by_server = page.own_total("statsd_exporter_udp_packet_drops_total").unwrap_or(0.0);
        let by_server = (by_server - told.unwrap_or(0.0)).max(0.0);
        let cut = page.own_total("tallyd_truncated_datagrams_total").unwrap_or(0.0);
        for (reason, number) in [
            ("kernel_buffer_full", by_kernel),
            ("server_queue_full", whole(by_server)),
            ("datagram_cut_off", whole(cut)),
        ] {
            if number > 0 {
                dropped.insert(reason, number);
            }
        }
        dropped
    }

    fn datagrams_received(&self) -> Option<u64> {
        let names = ["statsd_exporter_udp_packets_total", "statsd_exporter_unixgram_packets_total"];
        let received = names.iter().filter_map(|name| self.gained.own_total(name));
        // Probes are datagrams as well; without them the sum would look complete too early.
        let received = received.reduce(|sum, one| sum + one).map(whole)?;
        Some(received.saturating_sub(whole(self.gained.probes)))
    }

    /// Metrics in so many datagrams, on average; those of kinds that are not accounted for left out.
    fn metrics_in(&self, datagrams: u64, sent: u64) -> u64 {
        share(sent, datagrams, self.sent.datagrams)
    }
}

type Kinds = BTreeMap<String, u64>;

fn share(of: u64, part: u64, all: u64) -> u64 {
    let product = u128::from(of) * u128::from(part);
    u64::try_from(product.div_ceil(u128::from(all.max(1)))).unwrap_or(u64::MAX)
}

fn difference(sent: u64, found: u64) -> i64 {
    i64::try_from(i128::from(sent) - i128::from(found)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::payload::Tally;
    use super::*;

    #[test]
    fn what_is_on_the_page_is_counted_and_the_kernels_drops_explain_the_rest() {
        let page = "bench_counter0_requests 40\nbench_timer5_latency_count 25\n\
                    statsd_exporter_events_total{type=\"gauge\"} 15\n\
                    statsd_exporter_udp_packets_total 8\n";
        check(page, Some(2), &[("kernel_buffer_full", 20)], 0);
        check(page, Some(1), &[("kernel_buffer_full", 10)], 10);
        check(page, None, &[], 20);
    }

    #[test]
    fn a_server_tells_its_own_losses() {
        let page = "bench_counter0_requests 40\nbench_timer5_latency_count 25\n\
                    statsd_exporter_events_total{type=\"gauge\"} 15\n\
                    statsd_exporter_udp_packets_total 10\n\
                    statsd_exporter_sample_errors_total{reason=\"not_enough_parts\"} 3\n\
                    statsd_exporter_events_conflict_total{type=\"counter\"} 2\n\
                    tallyd_lines_total{outcome=\"limited\"} 5\n";
        let lost = [("conflict", 2), ("over_the_limit", 5), ("rejected_not_enough_parts", 3)];
        check(page, Some(0), &lost, 10);
        let drops = format!("{page}statsd_exporter_udp_packet_drops_total 1\n");
        check(&drops, Some(0), &[&lost[..], &[("server_queue_full", 10)]].concat(), 0);
    }

    #[test]
    fn drops_that_tallyd_reports_twice_count_once() {
        let page = "bench_counter0_requests 40\nbench_timer5_latency_count 25\n\
                    statsd_exporter_events_total{type=\"gauge\"} 15\n\
                    statsd_exporter_udp_packets_total 8\n\
                    statsd_exporter_udp_packet_drops_total 2\ntallyd_udp_kernel_drops_total 2\n";
        check(page, None, &[("kernel_buffer_full", 20)], 0);
    }

    #[test]
    fn without_series_the_servers_count_of_lines_is_taken() {
        check("statsd_exporter_lines_total 100\n", None, &[], 0);
        let page = "statsd_exporter_lines_total 90\nstatsd_exporter_udp_packets_total 9\n";
        check(page, Some(1), &[("kernel_buffer_full", 10)], 0);
    }

    #[test]
    fn more_on_the_page_than_was_sent_shows_as_less_than_nothing_missing() {
        check(
            "bench_counter0_requests 55\nbench_timer5_latency_count 30\n\
             statsd_exporter_events_total{type=\"gauge\"} 20\n",
            None,
            &[],
            -5,
        );
    }

    /// A hundred metrics in ten datagrams were sent.
    #[track_caller]
    fn check(page: &str, kernel_drops: Option<u64>, lost: &[(&str, u64)], unexplained: i64) {
        let tally = Tally { counters: 50, timers: 30, gauges: 20, lines: 0 };
        let sent = Sent { tally, datagrams: 10, ..Sent::default() };
        let accounting = Evidence {
            sent: &sent,
            probes: 0,
            gained: &Page::read(page.as_bytes()),
            kernel_drops,
            is_datagrams: true,
            has_known_names: true,
        }
        .account();
        let expected: Kinds = lost.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        assert_eq!(accounting.lost, expected);
        assert_eq!(accounting.unexplained, unexplained);
        let found = accounting.counted_total() + accounting.lost_total();
        let sum = i64::try_from(found).unwrap() + accounting.unexplained;
        assert_eq!(sum, i64::try_from(accounting.sent_total()).unwrap());
    }
}
