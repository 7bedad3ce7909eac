//! The page, fetched as Prometheus fetches it.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use tokio::runtime::{Builder, Runtime};

use super::error::BenchError;

/// The page of a server with millions of series takes half a minute.
const TIMEOUT: Duration = Duration::from_mins(2);
/// The text format: it shows all that is accounted for, and every server has it.
const TEXT_FORMAT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Fetches one page again and again over one connection.
#[derive(Debug)]
pub struct Scraper {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
    gzip: bool,
}

/// A page, and how long it took.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The page's text.
    pub text: Vec<u8>,
    /// Bytes of the body as it came.
    pub wire_bytes: u64,
    /// From the request to the first byte of the body.
    pub first_byte: Duration,
    /// From the request to the last byte.
    pub total: Duration,
}

impl Scraper {
    /// Connects with the first request.
    ///
    /// # Errors
    /// When the machine has no event loop or no HTTP to offer.
    pub fn new(url: &str, gzip: bool) -> Result<Self, BenchError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BenchError::System("cannot start an event loop", error))?;
        crate::tls::install_provider();
        // A proxy of the environment would be measured instead of the server; the system's
        // certificates take time to read and are not needed.
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(TIMEOUT)
            .build()
            .map_err(|source| BenchError::Scrape { url: url.to_owned(), source })?;
        Ok(Self { runtime, client, url: url.to_owned(), gzip })
    }

    /// Fetches the page.
    ///
    /// # Errors
    /// When there is no whole page, or its status is not 200.
    pub fn fetch(&self) -> Result<Fetched, BenchError> {
        let (mut fetched, is_packed) = self
            .runtime
            .block_on(self.persistent_request())
            .map_err(|source| BenchError::Scrape { url: self.url.clone(), source })?;
        if is_packed {
            fetched.text = unpack(&fetched.text)
                .map_err(|source| BenchError::Unpack { url: self.url.clone(), source })?;
        }
        Ok(fetched)
    }

    /// A server that restarts may close a connection just when a request goes out on it.
    /// Prometheus' client then asks once more, over another one.
    async fn persistent_request(&self) -> Result<(Fetched, bool), reqwest::Error> {
        match self.request().await {
            Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {
                self.request().await
            }
            fetched => fetched,
        }
    }

    async fn request(&self) -> Result<(Fetched, bool), reqwest::Error> {
        let begin = Instant::now();
        let encoding = if self.gzip { "gzip" } else { "identity" };
        let mut reply = self
            .client
            .get(&self.url)
            .header(ACCEPT, TEXT_FORMAT)
            .header(ACCEPT_ENCODING, encoding)
            .send()
            .await?
            .error_for_status()?;
        let is_packed = reply.headers().get(CONTENT_ENCODING).is_some_and(|name| name == "gzip");
        let mut text = Vec::new();
        let mut first_byte = None;
        while let Some(chunk) = reply.chunk().await? {
            first_byte.get_or_insert_with(|| begin.elapsed());
            text.extend_from_slice(&chunk);
        }
        let total = begin.elapsed();
        let wire_bytes = text.len() as u64;
        let first_byte = first_byte.unwrap_or(total);
        Ok((Fetched { text, wire_bytes, first_byte, total }, is_packed))
    }
}

fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut text)?;
    Ok(text)
}
