//! `tallyd bench compare`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::find_max::SearchArgs;
use super::{SendArgs, Server};
use crate::bench::compare::{Settings, compare};
use crate::bench::error::BenchError;
use crate::bench::target::Target;
use crate::bench::{report, table};
use crate::progress::Progress;
use crate::units::parse_time;

/// What `--help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  This program beside statsd_exporter, at a rate that both can take:
    tallyd bench compare --rate 200k --report compare.html \\
        -- tallyd --statsd.listen-udp=127.0.0.1:{udp} --statsd.listen-tcp= \\
                  --web.listen-address=127.0.0.1:{web} \\
        -- statsd_exporter --statsd.listen-udp=127.0.0.1:{udp} --statsd.listen-tcp= \\
                  --web.listen-address=127.0.0.1:{web}

In each round both are started anew, get every series once, and then the workload three times: left
alone, scraped, and scraped with gzip. Who begins changes from round to round.";

/// The flags of a comparison.
#[derive(Args, Debug)]
pub(super) struct CompareArgs {
    /// How often both take their turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Search for the highest rate without loss, too
    #[arg(long)]
    find_max: bool,
    /// From one page to the next in the runs with pages
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_time)]
    page_every: Duration,
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    search: SearchArgs,
    /// The two servers, each after a `--`
    #[arg(last = true, required = true, value_name = "COMMAND A -- COMMAND B")]
    commands: Vec<String>,
}

impl CompareArgs {
    /// Compares, and prints what was found.
    pub(super) fn run(&self) -> Result<ExitCode, BenchError> {
        let (a, b) = split(&self.commands)?;
        let (a, b) = (self.send.launch.launch(a), self.send.launch.launch(b));
        let progress = Progress::on_terminal();
        let payload = self.send.payload(&progress)?;
        // Each turn puts its own server in this one's place.
        let nobody = Server {
            target: Target::Udp(([127, 0, 0, 1], 0).into()),
            scrape: None,
            pid: None,
            running: None,
        };
        let plan = self.send.load.plan(&payload, &nobody)?;
        let settings = Settings {
            rounds: self.rounds.into(),
            scrape_every: self.page_every,
            search: self.find_max.then(|| self.search.settings()),
        };
        let comparison = compare(&plan, (&a, &b), &settings, &progress);
        progress.clear();
        let comparison = comparison?;
        self.send.output.print(&comparison, table::comparison)?;
        self.send.output.report(|| report::of_comparison(&comparison))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The two commands on either side of the second `--`.
fn split(commands: &[String]) -> Result<(Vec<String>, Vec<String>), BenchError> {
    let mut parts = commands.split(|word| word == "--");
    match (parts.next(), parts.next(), parts.next()) {
        (Some(a), Some(b), None) if !a.is_empty() && !b.is_empty() => Ok((a.to_vec(), b.to_vec())),
        _ => Err(BenchError::Usage("name two servers: compare -- COMMAND A -- COMMAND B".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commands_stand_on_either_side_of_dashes() {
        check("a --x -- b --y", Some(("a --x", "b --y")));
        check("a --x", None);
        check("a --", None);
        check("-- b", None);
        check("a -- b -- c", None);
    }

    #[track_caller]
    fn check(words: &str, expected: Option<(&str, &str)>) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let got = split(&words).ok().map(|(a, b)| (a.join(" "), b.join(" ")));
        assert_eq!(got, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
