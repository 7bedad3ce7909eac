//! The inventory of a server that is asked over HTTP.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use thiserror::Error;

use super::Inventory;
use crate::grafana::panels::health::Exporter;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Where tallyd tells what it exposes.
const FAMILIES: &str = "api/v1/families";
/// Where everybody else has a page.
const PAGE: &str = "metrics";

/// What kept a server's inventory away.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The address is none.
    #[error("`{0}` is not an address; write for instance http://127.0.0.1:9102")]
    Address(String),
    /// Nobody answers.
    #[error("cannot ask {url}")]
    Ask {
        /// Who was asked.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The answer is a refusal.
    #[error("{url} answers {status}")]
    Status {
        /// Who was asked.
        url: String,
        /// What was answered.
        status: StatusCode,
    },
    /// The answer is something else.
    #[error("{url} does not answer with families")]
    Answer {
        /// Who was asked.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A server's inventory, and what the server is.
#[derive(Clone, Debug, Deserialize)]
pub struct Fetched {
    /// Whose own metrics it has.
    #[serde(default)]
    pub exporter: Exporter,
    /// What it exposes.
    #[serde(flatten)]
    pub inventory: Inventory,
}

/// Asks a server what it exposes. From one that cannot tell, the page is read instead; an address
/// with a path of its own is taken for that of a page.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(address: &str) -> Result<Fetched, FetchError> {
    let base = Url::parse(address).map_err(|_| FetchError::Address(address.to_owned()))?;
    if base.path() != "/" && base.path() != format!("/{FAMILIES}") {
        return Ok(page(&get(base).await?.1));
    }
    let join = |path| base.join(path).map_err(|_| FetchError::Address(address.to_owned()));
    let url = join(FAMILIES)?;
    let name = url.to_string();
    match get(url).await {
        Ok((_, text)) => {
            serde_json::from_str(&text).map_err(|source| FetchError::Answer { url: name, source })
        }
        Err(FetchError::Status { status: StatusCode::NOT_FOUND, .. }) => {
            Ok(page(&get(join(PAGE)?).await?.1))
        }
        Err(error) => Err(error),
    }
}

fn page(text: &str) -> Fetched {
    let has = |name: &str| text.lines().any(|line| line.starts_with(name));
    let exporter = if has("tallyd_build_info") {
        Exporter::Tallyd
    } else if has("statsd_exporter_build_info") {
        Exporter::Reference
    } else {
        Exporter::Unknown
    };
    Fetched { exporter, inventory: Inventory::of_page(text) }
}

/// Asks for a page, whatever is on it.
///
/// # Errors
/// When there is no whole answer, or its status tells of a failure.
pub async fn get(url: Url) -> Result<(StatusCode, String), FetchError> {
    let name = url.to_string();
    let ask = |source| FetchError::Ask { url: name.clone(), source };
    crate::tls::install_provider();
    let client = Client::builder().timeout(TIMEOUT).build().map_err(ask)?;
    let answer = client.get(url).send().await.map_err(ask)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(FetchError::Status { url: name, status });
    }
    let text = answer.text().await.map_err(ask)?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_whose_it_is() {
        for (own, expected) in [
            ("statsd_exporter_build_info 1\ntallyd_build_info 1\n", Exporter::Tallyd),
            ("statsd_exporter_build_info{version=\"0.31.0\"} 1\n", Exporter::Reference),
            ("", Exporter::Unknown),
        ] {
            let fetched = page(&format!("# TYPE hits counter\nhits 1\n{own}"));
            assert_eq!(fetched.exporter, expected);
            assert_eq!(fetched.inventory.families.len(), 1);
        }
    }
}
