//! Flags about sockets: several of each kind, Unix ones, and those that systemd passes.

use std::path::PathBuf;

use clap::Args;

use super::ConfigError;
use super::cli::any_path;
use crate::compat::Compat;
use crate::net::{Access, Wanted, parse_mode};

const DEFAULT_SOCKET_MODE: &str = "755";

/// Flags about Unix sockets and sockets from systemd.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Receiving")]
pub struct ListenFlags {
    /// Unix stream socket; repeatable
    #[arg(long = "statsd.listen-unixstream", value_name = "PATH", value_parser = any_path())]
    pub unixstream: Vec<PathBuf>,
    /// Owner of Unix sockets, by name or number
    #[arg(
        long = "statsd.unixsocket-owner",
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    pub owner: String,
    /// Group of Unix sockets, by name or number
    #[arg(
        long = "statsd.unixsocket-group",
        value_name = "GROUP",
        default_value = "",
        hide_default_value = true
    )]
    pub group: String,
    /// Take the sockets that systemd passes, not these flags'
    #[arg(long = "statsd.systemd-socket")]
    pub systemd_socket: bool,
}

/// Flags about where and how HTTP is spoken.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Exposing")]
pub struct WebFlags {
    /// TLS, users, headers, rate limit: exporter-toolkit's file
    #[arg(long = "web.config.file", value_name = "FILE", default_value = "", hide_default_value = true, value_parser = any_path())]
    pub web_config_file: PathBuf,
    /// Take the sockets that systemd passes, not the address
    #[arg(long = "web.systemd-socket")]
    pub web_systemd_socket: bool,
    /// Permissions of a Unix socket for HTTP, octal
    #[arg(long = "web.unixsocket-mode", value_name = "MODE", default_value = DEFAULT_SOCKET_MODE, value_parser = octal)]
    pub web_mode: String,
    /// Its owner, by name or number
    #[arg(
        long = "web.unixsocket-owner",
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    pub web_owner: String,
    /// Its group, by name or number
    #[arg(
        long = "web.unixsocket-group",
        value_name = "GROUP",
        default_value = "",
        hide_default_value = true
    )]
    pub web_group: String,
}

/// Where HTTP is spoken.
#[derive(Clone, Debug)]
pub struct WebListen {
    /// Addresses, not yet resolved, or `unix:PATH`; none where systemd passes the sockets.
    pub addresses: Vec<String>,
    /// Who may use the Unix sockets among them.
    pub access: Access,
}

impl ListenFlags {
    /// Who may use the Unix sockets, given their mode.
    pub(super) fn access(&self, mode: String) -> Access {
        let (owner, group) = (self.owner.clone(), self.group.clone());
        Access { flags: "--statsd", mode, owner, group }
    }
}

impl WebFlags {
    /// Where to listen, given the addresses.
    pub(super) fn listen(&self, addresses: Vec<String>) -> WebListen {
        let (owner, group) = (self.web_owner.clone(), self.web_group.clone());
        let access = Access { flags: "--web", mode: self.web_mode.clone(), owner, group };
        WebListen {
            addresses: if self.web_systemd_socket { Vec::new() } else { addresses },
            access,
        }
    }
}

/// The sockets that systemd is to pass.
pub(super) fn wanted(statsd: &ListenFlags, web: &WebFlags) -> Wanted {
    Wanted { statsd: statsd.systemd_socket, web: web.web_systemd_socket }
}

/// A flag that may be given several times, but not where the reference would refuse that.
pub(super) fn check_once<T>(
    flag: &'static str,
    values: &[T],
    compat: Compat,
) -> Result<(), ConfigError> {
    let is_refused = compat.is_reference() && values.len() > 1;
    if is_refused { Err(ConfigError::Repeated(flag)) } else { Ok(()) }
}

fn octal(text: &str) -> Result<String, &'static str> {
    match parse_mode(text) {
        Some(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("not an octal number such as 660"),
    }
}
