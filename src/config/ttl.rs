//! The flags that say how long series live without a sample.

use std::time::Duration;

use clap::Args;

use crate::map::ttl::Ttls;
use crate::sample::EventType;
use crate::units::parse_time_or_none;

/// Flags about series that nobody sends to any more.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Expiry")]
pub struct TtlFlags {
    /// How long series live without a sample [default: for ever]
    #[arg(long = "statsd.default-ttl", value_name = "TIME", value_parser = parse_time_or_none)]
    pub all: Option<Duration>,
    /// The same for counters; 0s: for ever
    #[arg(long = "statsd.ttl.counter", value_name = "TIME", value_parser = parse_time_or_none)]
    pub counter: Option<Duration>,
    /// The same for gauges
    #[arg(long = "statsd.ttl.gauge", value_name = "TIME", value_parser = parse_time_or_none)]
    pub gauge: Option<Duration>,
    /// The same for histograms and summaries
    #[arg(long = "statsd.ttl.observer", value_name = "TIME", value_parser = parse_time_or_none)]
    pub observer: Option<Duration>,
    /// The same for sets
    #[arg(long = "statsd.ttl.set", value_name = "TIME", value_parser = parse_time_or_none)]
    pub set: Option<Duration>,
}

impl TtlFlags {
    /// What these flags say, the ones of a kind before the one for all.
    #[must_use]
    pub(crate) fn checked(self) -> Ttls {
        Ttls::all(self.all)
            .with(EventType::Counter, self.counter)
            .with(EventType::Gauge, self.gauge)
            .with(EventType::Observer, self.observer)
            .with(EventType::Set, self.set)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cli::{Cli, Request};
    use super::*;

    #[test]
    fn a_flag_of_a_kind_goes_before_the_one_for_all() {
        check(&[], [None; 4]);
        check(&["--statsd.default-ttl=10m"], [Some(600); 4]);
        let flags =
            ["--statsd.default-ttl=10m", "--statsd.ttl.counter=0s", "--statsd.ttl.gauge=1m"];
        check(&flags, [None, Some(60), Some(600), Some(600)]);
        let flags = ["--statsd.ttl.observer=5s", "--statsd.ttl.set=7s"];
        check(&flags, [None, None, Some(5), Some(7)]);
    }

    #[track_caller]
    fn check(flags: &[&str], expected: [Option<u64>; 4]) {
        let args = std::iter::once("tallyd").chain(flags.iter().copied());
        let Ok(Request::Serve(cli)) = Cli::from_args(args.map(Into::into)) else {
            panic!("{flags:?} are refused");
        };
        let ttls = cli.ttl.checked();
        let found = EventType::ALL.map(|event| ttls.of(event).map(|ttl| ttl.as_secs()));
        assert_eq!(found, expected, "{flags:?}");
    }
}
