//! Every socket, bound by us or passed by systemd, before any thread runs.

use tracing::info;

use crate::config::Config;
use crate::net::{Inherited, Listener, Sockets};

/// Opens everything that lines and HTTP requests come from, and says where that is.
///
/// # Errors
/// What cannot be bound, or was not passed.
pub(super) fn open(config: &Config) -> anyhow::Result<(Sockets, Vec<Listener>)> {
    let mut inherited = Inherited::from_env(config.inherited)?;
    let mut web = std::mem::take(&mut inherited.web);
    let sockets = Sockets::bind(&config.net, inherited)?;
    for address in &config.web.listen.addresses {
        web.push(Listener::web(address, &config.web.listen.access)?);
    }
    log_addresses(&sockets, config, &web);
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
