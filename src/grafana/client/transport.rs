//! Requests on their way: base URL, credentials, redirects, repetition, and what comes back.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity, Method, Proxy, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::call::Call;
use super::config::{Config, Secret, Tls};
use super::credentials::Authorizer;
use super::error::Error;
use super::refusal::{Asked, Refusal, excerpt};

/// The pauses between attempts begin with this, double, and are spread by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server that asks for more patience gets none.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are kept for the next call of a run, not for the next run.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 5;
/// No answer that we ask for is longer.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const ORG_HEADER: &str = "X-Grafana-Org-Id";

/// Sends calls to one Grafana.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    authorizer: Authorizer,
    org_id: Option<u64>,
    timeout: Duration,
    retries: u32,
}

/// An answer with a status below 300.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    url: String,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::NotGrafana {
            url: self.url.clone(),
            status: self.status,
            why: error.to_string(),
            excerpt: excerpt(&self.body),
        })
    }
}

impl Transport {
    pub(super) fn new(config: Config) -> Result<Self, Error> {
        let base = parse_base(&config.url)?;
        let builder = http_builder(&config, base.scheme() == "https")?;
        let http = builder.build().map_err(|error| Error::Unusable {
            what: "the settings of the connection".to_owned(),
            why: root_cause(&error),
        })?;
        Ok(Self {
            http,
            base,
            authorizer: Authorizer::new(config.credentials)?,
            org_id: config.org_id,
            timeout: config.timeout,
            retries: config.retries,
        })
    }

    /// The URL that everything is below, without a slash at its end.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The organisation that was asked for.
    pub(super) fn org_id(&self) -> Option<u64> {
        self.org_id
    }

    /// A link from an answer as a whole URL; Grafana's links hold the sub-path.
    pub(super) fn link(&self, path: &str) -> String {
        self.base.join(path).map_or_else(|_| path.to_owned(), String::from)
    }

    /// Sends a call and reads the JSON of its answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        self.send(call).await?.json()
    }

    /// Sends a call and reads the rows of its answer; an empty list may come as `null`.
    pub(super) async fn list<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Vec<T>, Error> {
        Ok(self.json::<Option<Vec<T>>>(call).await?.unwrap_or_default())
    }

    /// Sends a call, again where that may help.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(usize::try_from(self.retries).unwrap_or(usize::MAX))
            .with_jitter();
        (|| self.attempt(&call))
            .retry(pauses)
            .when(|error| call.may_repeat_after(error))
            .adjust(|error, pause| pause.and_then(|pause| patience(error, pause)))
            .notify(|error, pause| debug!(%error, ?pause, "Grafana is asked again."))
            .await
    }

    /// Sends a call once, or twice when the token was replaced meanwhile.
    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let token = self.authorizer.token()?;
        match self.exchange(call, token.as_ref()).await {
            Err(error) if error.status() == Some(401) => {
                match self.authorizer.token_unlike(token.as_ref()) {
                    Some(token) => self.exchange(call, Some(&token)).await,
                    None => Err(error),
                }
            }
            result => result,
        }
    }

    /// One request and what it redirects to.
    async fn exchange(&self, call: &Call<'_>, token: Option<&Secret>) -> Result<Answer, Error> {
        let first = self.url(call)?;
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(call, url.clone(), token).send().await;
            let response = response.map_err(|error| self.failure(&url, &error))?;
            let Some(to) = redirection(&response, &url) else {
                return self.read(call, response, &url).await;
            };
            // Credentials go nowhere else, and what is written goes where it was meant to.
            let is_followed = call.method == Method::GET && url.origin() == to.origin();
            url = to;
            if !is_followed {
                break;
            }
        }
        Err(Error::Redirected { url: without_query(&first), to: without_query(&url) })
    }

    fn request(&self, call: &Call<'_>, url: Url, token: Option<&Secret>) -> RequestBuilder {
        let request = self.http.request(call.method.clone(), url).timeout(self.timeout);
        let mut request = self.authorizer.sign(request, token).header(ACCEPT, "application/json");
        if let Some(org_id) = self.org_id {
            request = request.header(ORG_HEADER, org_id);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, body.content_type).body(body.text.clone());
        }
        request
    }

    fn url(&self, call: &Call<'_>) -> Result<Url, Error> {
        // The URL type drops such parts in silence, and another thing would be asked for.
        if let Some(part) = call.path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Error::Name((*part).to_owned()));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    async fn read(&self, call: &Call<'_>, response: Response, url: &Url) -> Result<Answer, Error> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.body(response, url).await?;
        let shown = without_query(url);
        if status.is_success() {
            return Ok(Answer { status: status.as_u16(), body, url: shown });
        }
        let asked = Asked { method: call.method.as_str(), path: url.path(), needs: call.needs };
        let mut refusal = Refusal::read(asked, status.as_u16(), &body);
        refusal.retry_after = retry_after;
        Err(Box::new(refusal).into())
    }

    async fn body(&self, mut response: Response, url: &Url) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(url, &error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(Error::NotGrafana {
                    url: without_query(url),
                    status: response.status().as_u16(),
                    why: format!("more than {MAX_ANSWER_BYTES} bytes"),
                    excerpt: excerpt(&body),
                });
            }
        }
        Ok(body)
    }

    fn failure(&self, url: &Url, error: &reqwest::Error) -> Error {
        let url = without_query(url);
        if let Some(cause) = tls_cause(error) {
            Error::Tls { url, cause }
        } else if error.is_connect() {
            Error::Connect { url, cause: root_cause(error) }
        } else if error.is_timeout() {
            Error::TimedOut { url, after: self.timeout }
        } else {
            Error::Broken { url, cause: root_cause(error) }
        }
    }
}

fn http_builder(config: &Config, is_https: bool) -> Result<ClientBuilder, Error> {
    crate::tls::install_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("tallyd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
        .pool_idle_timeout(IDLE_TIMEOUT);
    if let Some(url) = &config.proxy {
        let proxy = Proxy::all(url).map_err(|error| Error::Unusable {
            what: "the proxy's URL".to_owned(),
            why: root_cause(&error),
        })?;
        builder = builder.proxy(proxy);
    }
    let is_proxy_https = config.proxy.as_ref().is_some_and(|url| url.starts_with("https"));
    if is_https || is_proxy_https {
        with_certificates(builder, &config.tls)
    } else {
        // Reading the system's certificates takes time and memory, and images without any fail.
        Ok(builder.tls_certs_only([]))
    }
}

fn with_certificates(mut builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder, Error> {
    if let Some(path) = &tls.ca_file {
        let pem = read_file("the authority's certificate", path)?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(path, &error))?;
        if found.is_empty() {
            let what = path.display().to_string();
            return Err(Error::Unusable { what, why: "there is no certificate in it".to_owned() });
        }
        builder = builder.tls_certs_only(found);
    }
    let Some(path) = &tls.cert_file else { return Ok(builder) };
    let mut pem = read_file("the client's certificate", path)?;
    if let Some(key) = &tls.key_file {
        pem.push(b'\n');
        pem.extend(read_file("the client's key", key)?);
    }
    let identity = Identity::from_pem(&pem).map_err(|error| unusable(path, &error))?;
    Ok(builder.identity(identity))
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ReadFile { what, path: path.to_owned(), source })
}

fn unusable(path: &Path, error: &reqwest::Error) -> Error {
    Error::Unusable { what: path.display().to_string(), why: root_cause(error) }
}

fn parse_base(text: &str) -> Result<Url, Error> {
    let wrong = |why: &str| Error::Url { url: text.to_owned(), why: why.to_owned() };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it has to begin with http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Shown without what is secret in it.
        let why = "user and password do not belong into it, but have settings of their own";
        return Err(Error::Url {
            url: url.host_str().unwrap_or_default().to_owned(),
            why: why.into(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing may follow the path"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// Where a redirecting answer leads.
fn redirection(response: &Response, url: &Url) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

/// How long to wait by the answer's header: seconds or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The pause before the next attempt; none when the server wants to be left alone for long.
fn patience(error: &Error, pause: Duration) -> Option<Duration> {
    let asked = error.refusal().and_then(|refusal| refusal.retry_after).unwrap_or_default();
    (asked <= MAX_RETRY_AFTER).then(|| asked.max(pause))
}

type Cause<'e> = &'e (dyn StdError + 'static);

fn chain(error: &reqwest::Error) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(error as Cause<'_>), |error| (*error).source())
}

/// What the innermost error says; those around it repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// What TLS says, when it is TLS that failed.
fn tls_cause(error: &reqwest::Error) -> Option<String> {
    chain(error).find_map(tls_within)
}

/// An `io::Error` does not name what it holds as its source, but that one's source.
fn tls_within(error: Cause<'_>) -> Option<String> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => tls_within(error.get_ref()?),
        None => error.downcast_ref::<rustls::Error>().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_scheme_a_host_and_perhaps_a_path() {
        check("http://localhost:3000", Some("http://localhost:3000/"));
        check("https://example.org/grafana/", Some("https://example.org/grafana"));
        check("localhost:3000", None);
        check("example.org", None);
        check("ftp://example.org", None);
        check("http://user:secret@example.org", None);
        check("http://example.org/?orgId=1", None);
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let error = parse_base("http://user:hunter2@example.org").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_name_is_one_part_of_the_path_or_refused() {
        let transport = Transport::new(Config::new("http://h/g")).unwrap();
        let url = |name| transport.url(&Call::get(&["api", name])).map(String::from).ok();
        assert_eq!(url("a/b c?d").as_deref(), Some("http://h/g/api/a%2Fb%20c%3Fd"));
        assert_eq!(url(".."), None);
        assert_eq!(url(""), None);
    }

    #[test]
    fn links_of_answers_are_relative_to_the_host() {
        let transport = Transport::new(Config::new("http://h/g")).unwrap();
        assert_eq!(transport.link("/g/d/u/slug"), "http://h/g/d/u/slug");
    }

    #[track_caller]
    fn check(url: &str, base: Option<&str>) {
        assert_eq!(parse_base(url).ok().map(String::from).as_deref(), base);
    }
}
