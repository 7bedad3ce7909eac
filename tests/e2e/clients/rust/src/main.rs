//! Sends every kind that `cadence` can send, then exits.
//!
//! usage: send-cadence udp | buffered | unix

use std::env;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, BufferedUnixMetricSink, StatsdClient, UdpMetricSink};

/// Any time will do: a timestamp is accepted and not exposed.
const STAMP: i64 = 1_656_581_400;

fn main() -> Result<()> {
    let mode = env::args().nth(1).context("say which transport to use")?;
    let client = connect(&mode)?;
    send_counters(&client)?;
    send_observers(&client)?;
    client.gauge("temperature", 21.5)?;
    client.gauge("level", 7u64)?;
    client.meter("meter", 7u64)?;
    for user in [1, 2, 1] {
        client.set("users", user)?;
    }
    client.flush()?;
    Ok(())
}

fn connect(mode: &str) -> Result<StatsdClient> {
    let address = (env::var("STATSD_HOST")?, env::var("STATSD_UDP_PORT")?.parse()?);
    let builder = match mode {
        "udp" => StatsdClient::builder("rs", UdpMetricSink::from(address, any_port()?)?),
        "buffered" => {
            StatsdClient::builder("rs", BufferedUdpMetricSink::from(address, any_port()?)?)
        }
        "unix" => {
            let socket = UnixDatagram::unbound()?;
            let path = env::var("STATSD_SOCKET")?;
            StatsdClient::builder("rs", BufferedUnixMetricSink::from(path, socket))
        }
        other => bail!("no transport is called {other}"),
    };
    Ok(builder.with_tag("app", "shop").build())
}

fn any_port() -> Result<UdpSocket> {
    Ok(UdpSocket::bind("127.0.0.1:0")?)
}

fn send_counters(client: &StatsdClient) -> Result<()> {
    for _ in 0..30 {
        client.count_with_tags("requests", 1).with_tag("view", "fire").try_send()?;
    }
    client.count("stock", 7)?;
    client.count("stock", -3)?;
    client.count_with_tags("valueless", 1).with_tag_value("beta").try_send()?;
    client.count_with_tags("stamped", 3).with_timestamp(u64::try_from(STAMP)?).try_send()?;
    client.count_with_tags("sampled", 1).with_sampling_rate(0.5).try_send()?;
    client.count_with_tags("contained", 1).with_container_id("abc123").try_send()?;
    Ok(())
}

fn send_observers(client: &StatsdClient) -> Result<()> {
    for value in 1..=3u64 {
        client.time("latency", value * 10)?;
        client.histogram("size", value)?;
        client.distribution("spread", value)?;
    }
    client.time("duration", Duration::from_millis(1500))?;
    client.histogram("nanoseconds", Duration::from_nanos(5))?;
    client.time_with_tags("packed", vec![1u64, 2, 3]).with_tag("k", "v").try_send()?;
    client.histogram_with_tags("packed_size", vec![1.5f64, 2.5]).try_send()?;
    Ok(())
}
