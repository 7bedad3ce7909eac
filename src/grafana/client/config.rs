//! Where a Grafana is and how to get in; checked by [`Client::new`](super::Client::new).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

/// How long one request may take, the answer's body included.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is repeated that could not be served for now.
pub const DEFAULT_RETRIES: u32 = 3;

/// Where a Grafana is and how to get in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://` or `https://`, host, port, and the path under which Grafana is served.
    pub url: String,
    /// Who asks.
    pub credentials: Credentials,
    /// The organisation; the credentials' own when there is none.
    pub org_id: Option<u64>,
    /// Certificates.
    pub tls: Tls,
    /// A proxy's URL; without one the environment's (`HTTPS_PROXY`, `NO_PROXY` and so on).
    pub proxy: Option<String>,
    /// How long one attempt may take, the answer's body included.
    pub timeout: Duration,
    /// How often to repeat after 429, 502, 503, 504 and failed connections.
    pub retries: u32,
    /// Which of the two APIs to use for dashboards and folders.
    pub api: ApiChoice,
}

impl Config {
    /// Talks to `url` without credentials, all else as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credentials: Credentials::None,
            org_id: None,
            tls: Tls::default(),
            proxy: None,
            timeout: DEFAULT_TIMEOUT,
            retries: DEFAULT_RETRIES,
            api: ApiChoice::Auto,
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Nobody; only health is told then.
    #[default]
    None,
    /// A service account's token.
    Token(Secret),
    /// A file with such a token, read again when it changes and after a 401.
    TokenFile(PathBuf),
    /// A user; organisations and users are open only to a server administrator.
    Basic {
        /// The login name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// A text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Certificates in PEM files.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate; it may also stand in `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// Which of Grafana's APIs to use for dashboards and folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ApiChoice {
    /// `/apis` where the server has it as `v1`, which is since Grafana 13, else `/api`
    #[default]
    Auto,
    /// `/api`, which all versions have
    Classic,
    /// `/apis`, which Grafana 12 and later have
    #[value(name = "k8s")]
    Kubernetes,
}
