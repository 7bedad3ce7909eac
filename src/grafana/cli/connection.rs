//! The flags that say where Grafana is and how to get in; the same on every command and on the
//! exporter.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{CommandError, OutputArgs};
use crate::grafana::client::{ApiChoice, Client, Config, Credentials, Secret, Tls};
use crate::units::parse_time;

/// How often a command asks again when Grafana cannot answer for now.
const RETRIES: u32 = 3;

/// Where Grafana is, and how to get in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Grafana")]
pub struct ConnectionArgs {
    /// Grafana's address, with its path (`GRAFANA_URL`)
    #[arg(long = "grafana.url", value_name = "URL", env = "GRAFANA_URL", hide_env = true)]
    pub url: Option<String>,
    /// How to get in.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// What every command needs that asks Grafana and prints the answer.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Where Grafana is, and how to get in.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How the answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How to get into Grafana.
#[derive(Args, Clone)]
#[command(next_help_heading = "Grafana")]
pub struct AccessArgs {
    /// Token of a service account (`GRAFANA_TOKEN`)
    #[arg(long = "grafana.token", value_name = "TOKEN", env = "GRAFANA_TOKEN", hide_env = true)]
    pub token: Option<String>,
    /// File with the token; read again when it changes
    #[arg(long = "grafana.token-file", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// User, instead of a token (`GRAFANA_USER`)
    #[arg(long = "grafana.user", value_name = "NAME", env = "GRAFANA_USER", hide_env = true)]
    pub user: Option<String>,
    /// The user's password (`GRAFANA_PASSWORD`)
    #[arg(
        long = "grafana.password",
        value_name = "PASSWORD",
        env = "GRAFANA_PASSWORD",
        hide_env = true
    )]
    pub password: Option<String>,
    /// File with the user's password
    #[arg(long = "grafana.password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Organisation [default: the token's or the user's]
    #[arg(long = "grafana.org-id", value_name = "N")]
    pub org_id: Option<u64>,
    /// PEM file of authorities to trust besides the system's
    #[arg(long = "grafana.ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate
    #[arg(long = "grafana.cert-file", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of our certificate's key
    #[arg(long = "grafana.key-file", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Proxy [default: what the environment names]
    #[arg(long = "grafana.proxy", value_name = "URL")]
    pub proxy: Option<String>,
    /// How long one request may take
    #[arg(long = "grafana.timeout", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,
    /// API: auto, classic (/api), k8s (/apis)
    #[arg(
        long = "grafana.api",
        value_name = "API",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    pub api: ApiChoice,
}

impl ConnectionArgs {
    /// The client that these flags describe.
    ///
    /// # Errors
    /// When the address is missing, or a flag or file cannot be used.
    pub fn client(&self) -> Result<Client, CommandError> {
        let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) else {
            let text = "where is Grafana? Say it with --grafana.url or the variable GRAFANA_URL";
            return Err(CommandError::Usage(text.to_owned()));
        };
        let config = self.access.config(url)?;
        Client::new(config).map_err(CommandError::failed("use the flags for Grafana"))
    }
}

impl AccessArgs {
    /// The settings of a client for the Grafana at `url`.
    ///
    /// # Errors
    /// When flags exclude each other, or the file with the password cannot be read.
    pub fn config(&self, url: &str) -> Result<Config, CommandError> {
        Ok(Config {
            url: url.to_owned(),
            credentials: self.credentials()?,
            org_id: self.org_id,
            tls: Tls {
                ca_file: self.ca_file.clone(),
                cert_file: self.cert_file.clone(),
                key_file: self.key_file.clone(),
            },
            proxy: self.proxy.clone(),
            timeout: self.timeout,
            retries: RETRIES,
            api: self.api,
        })
    }

    /// The credentials; a file goes before a value, for the value may be a variable's.
    fn credentials(&self) -> Result<Credentials, CommandError> {
        if let Some(user) = self.user.as_ref().filter(|user| !user.is_empty()) {
            let password = match (&self.password_file, &self.password) {
                (Some(path), _) => read_secret(path)?,
                (None, Some(password)) => Secret::new(password),
                (None, None) => {
                    let text = "--grafana.user needs --grafana.password-file, --grafana.password \
                                or the variable GRAFANA_PASSWORD";
                    return Err(CommandError::Usage(text.to_owned()));
                }
            };
            return Ok(Credentials::Basic { user: user.clone(), password });
        }
        Ok(match (&self.token_file, &self.token) {
            (Some(path), _) => Credentials::TokenFile(path.clone()),
            (None, Some(token)) if !token.is_empty() => Credentials::Token(Secret::new(token)),
            (None, _) => Credentials::None,
        })
    }
}

/// The first line of a file that holds a password.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read_secret(path: &Path) -> Result<Secret, CommandError> {
    let failed = |source| CommandError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

impl std::fmt::Debug for AccessArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the token nor the password may end up in a log.
        f.debug_struct("AccessArgs").field("user", &self.user).finish_non_exhaustive()
    }
}
