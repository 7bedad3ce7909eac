//! Integer timers against a bucket bound of exactly their value: `9|ms` belongs to `le="0.009"`.
//!
//! Milliseconds become seconds by a division; multiplied by 0.001 instead, one in seven of the
//! values up to 10,000 falls into the bucket above its own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::server::{Launch, Server, wait_until};

const TIMERS: u32 = 100_000;

/// Bounds of one histogram.
const BOUNDS: u32 = 5_000;

/// Sends each timer to the histogram that has its bound, and says which of them went astray.
///
/// # Errors
/// When the server does not start or does not take the lines.
pub(crate) fn astray(launch: Launch) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut launch = launch;
    launch.flags.push("--statsd.mapping-config={tmp}/mapping.yml".to_owned());
    launch.files.push(("mapping.yml".to_owned(), mapping()?.into_bytes()));
    let server = Server::start(&launch)?;

    let mut lines = String::new();
    for timer in 1..=TIMERS {
        writeln!(lines, "t{}:{timer}|ms", (timer - 1) / BOUNDS)?;
    }
    let mut stream = TcpStream::connect(server.fill("127.0.0.1:{tcp}"))?;
    stream.write_all(lines.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    let counted = || server.total("/metrics", "statsd_exporter_events_total");
    wait_until(Duration::from_secs(30), || counted() == Some(f64::from(TIMERS)));

    let page = server.get("/metrics")?;
    let page: std::collections::HashSet<_> = page.as_str()?.lines().collect();
    let expected = (1..=TIMERS).map(|timer| {
        let (rule, counted) = ((timer - 1) / BOUNDS, (timer - 1) % BOUNDS + 1);
        format!("t{rule}_bucket{{le=\"{}\"}} {counted}", f64::from(timer) / 1000.0)
    });
    Ok(expected.filter(|line| !page.contains(line.as_str())).collect())
}

fn mapping() -> Result<String, std::fmt::Error> {
    let mut text = "mappings:\n".to_owned();
    for rule in 0..TIMERS / BOUNDS {
        writeln!(text, "- match: t{rule}\n  name: t{rule}\n  observer_type: histogram")?;
        write!(text, "  histogram_options:\n    buckets: [")?;
        for timer in rule * BOUNDS + 1..=(rule + 1) * BOUNDS {
            write!(text, "{}.{:03}, ", timer / 1000, timer % 1000)?;
        }
        text.push_str("]\n");
    }
    Ok(text)
}
