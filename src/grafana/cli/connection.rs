//! The flags that say where Grafana is and how to get in; the same on every command and on the
//! exporter.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parse_time;

/// Where Grafana is, and how to get in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Grafana")]
pub struct ConnectionArgs {
    /// Grafana's address, with the path it is served under
    #[arg(long = "grafana.url", value_name = "URL", env = "GRAFANA_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// How to get in.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// How to get into Grafana.
#[derive(Args, Clone)]
#[command(next_help_heading = "Grafana")]
pub struct AccessArgs {
    /// Token of a service account; better in the variable or in a file, where `ps` does not see it
    #[arg(
        long = "grafana.token",
        value_name = "TOKEN",
        env = "GRAFANA_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// File with the token; read again when it changes
    #[arg(long = "grafana.token-file", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// User, instead of a token
    #[arg(
        long = "grafana.user",
        value_name = "NAME",
        env = "GRAFANA_USER",
        hide_env_values = true
    )]
    pub user: Option<String>,
    /// The user's password; better in the variable or in a file
    #[arg(
        long = "grafana.password",
        value_name = "PASSWORD",
        env = "GRAFANA_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// File with the user's password
    #[arg(long = "grafana.password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Organisation [default: the token's or the user's own]
    #[arg(long = "grafana.org-id", value_name = "N", env = "GRAFANA_ORG_ID")]
    pub org_id: Option<u64>,
    /// PEM file with the authorities that may vouch for Grafana, instead of the system's
    #[arg(long = "grafana.ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show to Grafana
    #[arg(long = "grafana.cert-file", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(long = "grafana.key-file", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Proxy [default: what the environment names]
    #[arg(long = "grafana.proxy", value_name = "URL")]
    pub proxy: Option<String>,
    /// How long one request may take
    #[arg(long = "grafana.timeout", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,
    /// Which of Grafana's APIs to use
    #[arg(long = "grafana.api", value_name = "API", value_enum, default_value = "auto")]
    pub api: Api,
}

/// Which of Grafana's two APIs to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// Whichever the server's version is best at
    Auto,
    /// `/api`, which Grafana 10 to 13 have
    Classic,
    /// `/apis`, which Grafana has since 12
    K8s,
}

impl std::fmt::Debug for AccessArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the token nor the password may end up in a log.
        f.debug_struct("AccessArgs").field("user", &self.user).finish_non_exhaustive()
    }
}
