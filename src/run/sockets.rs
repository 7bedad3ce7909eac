//! Every socket, bound by us or passed by systemd, before any thread runs.

use std::fs::File;

use anyhow::Context;
use tracing::info;

use super::handover;
use crate::config::Config;
use crate::net::{Inherited, Listener, Passed, Sockets, Spare};

/// What was opened.
pub(super) struct Opened {
    /// Where lines come from.
    pub(super) sockets: Sockets,
    /// Where HTTP requests come from.
    pub(super) web: Vec<Listener>,
    /// The same once more, for a successor.
    pub(super) spare: Spare,
    /// What a predecessor has counted, if there is one.
    pub(super) state: Option<File>,
}

/// Opens everything that lines and HTTP requests come from, or goes on with what a predecessor has
/// passed on, and says where that is.
///
/// # Errors
/// What cannot be bound, or was not passed.
pub(super) fn open(config: &Config) -> anyhow::Result<Opened> {
    let passed = Passed::from_env().context("cannot take over from the process before")?;
    let (sockets, web, state) = if let Some(mut passed) = passed {
        let web = std::mem::take(&mut passed.web);
        let state = handover::state_of_predecessor()?;
        (Sockets::resume(&config.net, passed)?, web, Some(state))
    } else {
        let (sockets, web) = bind(config)?;
        (sockets, web, None)
    };
    log_addresses(&sockets, config, &web);
    let mut spare = sockets.spare()?;
    spare.add_web(&web)?;
    Ok(Opened { sockets, web, spare, state })
}

fn bind(config: &Config) -> anyhow::Result<(Sockets, Vec<Listener>)> {
    let mut inherited = Inherited::from_env(config.inherited)?;
    let mut web = std::mem::take(&mut inherited.web);
    let sockets = Sockets::bind(&config.net, inherited)?;
    for address in &config.web.listen.addresses {
        web.push(Listener::web(address, &config.web.listen.access)?);
    }
    Ok((sockets, web))
}

/// Says where to send to and where to look.
fn log_addresses(sockets: &Sockets, config: &Config, web: &[Listener]) {
    let (tcp, unix): (Vec<_>, Vec<_>) =
        sockets.listeners().iter().partition(|listener| listener.tcp_addr().is_some());
    info!(
        udp = list(sockets.udp_addrs()),
        tcp = list(tcp),
        unixgram = list(sockets.unixgram_paths()),
        unixstream = list(unix),
        "Accepting StatsD Traffic"
    );
    info!(addr = list(web), path = config.web.telemetry_path, "Accepting Prometheus Requests");
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
