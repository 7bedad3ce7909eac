//! The HTTP side: the page for Prometheus, health, reload and quit.
//!
//! Paths, methods and bodies are those of `statsd_exporter` 0.31; `/health` and `/healthz` come on
//! top, because the community's Helm chart probes the former.
//!
//! | path | answer |
//! |---|---|
//! | the telemetry path | the page; wins over every other path, `/` catches all unknown ones |
//! | `/` | the status page; under `--compat=reference` a plain one |
//! | `/-/healthy`, `/health`, `/healthz` | 200 |
//! | `/-/ready` | 200, or 503 before the start is done and once the stop has begun |
//! | `/-/reload`, `/-/quit` | with `--web.enable-lifecycle`, by PUT or POST |
//! | `/api/v1/families` | families, kinds, labels, units: what dashboards are made of |
//! | `/api/v1/dashboard` | a dashboard to import; `?uid=` or `?group=` where there are several |
//! | `/api/v1/explain` | what becomes of the line in `?line=`, and why |
//! | `/api/v1/status` | the server in numbers: rates, losses, rules and their hits |
//! | `/api/v1/unmapped` | names that no rule matches, the busiest first |
//! | `/api/v1/cardinality` | the families with most series, and the labels that make them |
//! | `/api/v1/conflicts` | names that came with two types, and who was first |
//! | `/api/v1/errors` | the last lines in error, with reasons and senders |
//! | `/api/v1/grafana` | with `--grafana.url`, how the keeping of dashboards goes |

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use crate::compat::Compat;
use crate::expose::Page;
use crate::expose::negotiate::{self, Compression};
use crate::net::Listener;
use crate::tls;

mod body;
mod crowd;
pub mod guard;
mod landing;
mod server;
pub mod status;

pub use guard::{Guard, GuardError};

/// What is served, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The path of the page, `/metrics` by default.
    pub telemetry_path: String,
    /// Whether `/-/reload` and `/-/quit` exist.
    pub enable_lifecycle: bool,
    /// Whether a client that asks for `OpenMetrics` gets it.
    pub enable_openmetrics: bool,
    /// Who is let in, and how what is said is kept from others.
    pub guard: Option<Arc<Guard>>,
    /// Whether the reply to a failed reload hides the failure, as the reference does.
    pub compat: Compat,
}

/// What a path of the API answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// A visit to the page at `/`.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The query as it was sent.
    pub query: &'a str,
    /// The path of the metrics.
    pub telemetry_path: &'a str,
    /// What the answer's policy lets the page's script and style run by.
    pub nonce: &'a str,
}

/// The program behind the paths.
///
/// `scrape`, `reload`, `status_page` and `api` run on threads that may block; the others must return at once.
pub trait Backend: Send + Sync + 'static {
    /// Writes all families, sorted by name, but does not finish the page.
    fn scrape(&self, page: &mut Page<'_>);
    /// Called before `scrape`; what it returns goes to `page_sent`.
    fn begin_page(&self) -> u64 {
        0
    }
    /// A page of all families has been written whole, and not to somebody who has gone.
    fn page_sent(&self, _begin: u64) {}
    /// Whether samples are taken in.
    fn is_ready(&self) -> bool;
    /// Reads the mapping file again; `Err` says for people what is wrong with it.
    ///
    /// # Errors
    /// When the old rules stay in force.
    fn reload(&self) -> Result<(), String>;
    /// The page at `/`; `None` where it is to be no more than a way to the metrics.
    fn status_page(&self, visit: &Visit<'_>) -> Option<String>;
    /// Answers a GET for one of the paths below `/api/v1`.
    fn api(&self, path: &str, query: &str) -> Reply;
    /// Makes the program end, beginning with the `shutdown` given to `serve`.
    fn quit(&self);
}

/// Serves until `shutdown` is done; then takes no new connections, and gives open requests five
/// seconds to end.
///
/// # Errors
/// When a listener cannot be handed over to the runtime.
pub async fn serve(
    listeners: Vec<Listener>,
    config: Config,
    backend: Arc<dyn Backend>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let guard = config.guard.clone();
    server::serve(listeners, router(config, backend), guard, shutdown).await
}

/// What a request needs.
struct Site {
    config: Config,
    backend: Arc<dyn Backend>,
    landing_page: String,
}

/// One handler for everything: axum's own table panics at a telemetry path that is also a fixed one
/// or that has a brace in it, and it answers 405 where the reference answers 200.
fn router(config: Config, backend: Arc<dyn Backend>) -> Router {
    let landing_page = landing::landing_page(&config.telemetry_path);
    let site = Arc::new(Site { config, backend, landing_page });
    Router::new().fallback(answer).with_state(site)
}

/// The paths that the backend answers.
const API_PATHS: [&str; 9] = [
    "/api/v1/families",
    "/api/v1/dashboard",
    "/api/v1/explain",
    "/api/v1/status",
    "/api/v1/unmapped",
    "/api/v1/cardinality",
    "/api/v1/conflicts",
    "/api/v1/errors",
    "/api/v1/grafana",
];

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Landing,
    Healthy,
    Ready,
    Reload,
    Quit,
    Api,
    Missing,
}

impl Route {
    fn of(path: &str, config: &Config) -> Self {
        let telemetry = config.telemetry_path.as_str();
        match path {
            _ if path == telemetry => Self::Metrics,
            "/" => Self::Landing,
            "/-/healthy" | "/health" | "/healthz" => Self::Healthy,
            "/-/ready" => Self::Ready,
            "/-/reload" if config.enable_lifecycle => Self::Reload,
            "/-/quit" if config.enable_lifecycle => Self::Quit,
            _ if API_PATHS.contains(&path) => Self::Api,
            // As in Go's mux, a path that ends in a slash stands for all below it.
            _ if telemetry.ends_with('/') && path.starts_with(telemetry) => Self::Metrics,
            _ if telemetry.strip_suffix('/') == Some(path) => Self::Metrics,
            _ => Self::Missing,
        }
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let path = percent_decode_str(request.uri.path()).decode_utf8_lossy();
    let method = &request.method;
    let is_get = method == Method::GET;
    let is_write = method == Method::PUT || method == Method::POST;
    match Route::of(&path, &site.config) {
        Route::Metrics => metrics(&site, &request).await,
        Route::Landing => landing(&site, request.uri.query().unwrap_or_default().to_owned()).await,
        Route::Healthy if is_get => text(StatusCode::OK, "Statsd Exporter is Healthy.\n"),
        Route::Ready if !site.backend.is_ready() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "Statsd Exporter is not Ready.\n")
        }
        Route::Ready if is_get => text(StatusCode::OK, "Statsd Exporter is Ready.\n"),
        Route::Reload if is_write => reload(&site).await,
        Route::Quit if is_write => {
            site.backend.quit();
            text(StatusCode::OK, "Requesting termination... Goodbye!")
        }
        Route::Api if is_get || method == Method::HEAD => {
            api(&site, &path, request.uri.query().unwrap_or_default()).await
        }
        Route::Api => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
        Route::Healthy | Route::Ready | Route::Reload | Route::Quit => Response::new(Body::empty()),
        Route::Missing => missing(),
    }
}

async fn metrics(site: &Site, request: &Parts) -> Response {
    let headers = &request.headers;
    let accept = headers.get(ACCEPT).and_then(readable).unwrap_or_default();
    let content_type = negotiate::content_type(accept, site.config.enable_openmetrics);
    let encodings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(readable);
    let compression = negotiate::compression(encodings);
    let body = if request.method == Method::HEAD {
        Ok(body::omitted())
    } else {
        let names = names(request.uri.query().unwrap_or_default());
        page(&site.backend, content_type.format, compression, names).await
    };
    match body {
        Ok(body) => {
            let mut response = Response::new(body);
            put(response.headers_mut(), CONTENT_TYPE, &content_type.to_string());
            match compression {
                Compression::Identity => {}
                Compression::Gzip => put(response.headers_mut(), CONTENT_ENCODING, "gzip"),
                Compression::Zstd => put(response.headers_mut(), CONTENT_ENCODING, "zstd"),
            }
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no page: {error}\n")),
    }
}

async fn page(
    backend: &Arc<dyn Backend>,
    format: negotiate::Format,
    compression: Compression,
    names: Vec<String>,
) -> io::Result<Body> {
    let backend = Arc::clone(backend);
    body::streamed(compression, move |sink| {
        let (begin, is_of_all) = (backend.begin_page(), names.is_empty());
        let mut page = Page::new(format.encoder(), sink).only(names);
        backend.scrape(&mut page);
        let is_whole = page.finish();
        if is_whole && is_of_all {
            backend.page_sent(begin);
        }
        is_whole
    })
    .await
}

/// The values of all `name[]` parameters: the families to which the client limits the page.
fn names(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decode = |text| percent_decode_str(text).decode_utf8_lossy();
    pairs
        .filter(|&(key, _)| decode(key) == "name[]")
        .map(|(_, value)| decode(value).into_owned())
        .collect()
}

async fn reload(site: &Site) -> Response {
    const DONE: &str = "Requesting reload";
    let backend = Arc::clone(&site.backend);
    match tokio::task::spawn_blocking(move || backend.reload()).await {
        Ok(Err(error)) if !site.config.compat.is_reference() => {
            let reply = format!("Reload failed, the old rules stay in force: {error}\n");
            text(StatusCode::BAD_REQUEST, reply)
        }
        Ok(_) => text(StatusCode::OK, DONE),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no reload: {error}\n")),
    }
}

async fn api(site: &Site, path: &str, query: &str) -> Response {
    let (path, query) = (path.to_owned(), query.to_owned());
    let backend = Arc::clone(&site.backend);
    match tokio::task::spawn_blocking(move || backend.api(&path, &query)).await {
        Ok(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or_default();
            let mut response = text(status, reply.body);
            put(response.headers_mut(), CONTENT_TYPE, reply.content_type);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no answer: {error}\n")),
    }
}

/// The status page, or the plain one.
async fn landing(site: &Arc<Site>, query: String) -> Response {
    // Without randomness no script may run, and the page is complete all the same.
    let nonce = tls::nonce().unwrap_or_default();
    let (page_of, page_nonce) = (Arc::clone(site), nonce.clone());
    let page = tokio::task::spawn_blocking(move || {
        let telemetry_path = &page_of.config.telemetry_path;
        page_of.backend.status_page(&Visit { query: &query, telemetry_path, nonce: &page_nonce })
    });
    let Ok(Some(page)) = page.await else { return html(site.landing_page.clone()) };
    let mut response = html(page);
    let headers = response.headers_mut();
    put(headers, CONTENT_SECURITY_POLICY, &status::policy(&nonce));
    put(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(headers, REFERRER_POLICY, "no-referrer");
    put(headers, CACHE_CONTROL, "no-store");
    response
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    put(response.headers_mut(), CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

fn html(page: String) -> Response {
    let mut response = Response::new(page.into());
    put(response.headers_mut(), CONTENT_TYPE, "text/html; charset=UTF-8");
    response
}

fn missing() -> Response {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    put(response.headers_mut(), X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// Sets a header to one of our own texts, all of which are legal there.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn readable(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::expose::{Family, FamilyKind, Series, Value};

    const PAGE: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{k=\"v\"} 3\n\
        # HELP b B.\n# TYPE b gauge\nb{k=\"v\"} 3\n";

    #[tokio::test]
    async fn health_is_told_to_get_alone() {
        let server = Server::start(Fake::default(), |_| {});
        for path in ["/-/healthy", "/health", "/healthz"] {
            server.check("GET", path, 200, "Statsd Exporter is Healthy.\n").await;
            server.check("POST", path, 200, "").await;
            server.check("HEAD", path, 200, "").await;
        }
        server.check("GET", "/-/ready", 200, "Statsd Exporter is Ready.\n").await;
        server.check("DELETE", "/-/ready", 200, "").await;
        server.backend.is_busy.store(true, Ordering::Relaxed);
        server.check("GET", "/-/ready", 503, "Statsd Exporter is not Ready.\n").await;
        server.check("GET", "/-/healthy", 200, "Statsd Exporter is Healthy.\n").await;
    }

    #[tokio::test]
    async fn the_page_comes_by_any_method() {
        let server = Server::start(Fake::default(), |_| {});
        for method in ["GET", "POST", "OPTIONS"] {
            server.check(method, "/metrics", 200, PAGE).await;
        }
        server.check("HEAD", "/metrics", 200, "").await;
        assert!(!server.request("HEAD", "/metrics", "").await.contains("content-length"));
        server.check("GET", "/%6detrics?foo=bar", 200, PAGE).await;
        server.check("GET", "/metrics/", 404, "404 page not found\n").await;
        server.check("GET", "/nope", 404, "404 page not found\n").await;
    }

    #[tokio::test]
    async fn a_client_may_name_the_families_it_wants() {
        let server = Server::start(Fake::default(), |_| {});
        let only_b = "# HELP b B.\n# TYPE b gauge\nb{k=\"v\"} 3\n";
        server.check("GET", "/metrics?name[]=b", 200, only_b).await;
        server.check("GET", "/metrics?x=1&name%5B%5D=b&name[]=c", 200, only_b).await;
        server.check("GET", "/metrics?name[]=nobody", 200, "").await;
    }

    #[tokio::test]
    async fn the_format_and_the_coding_are_stated() {
        let server = Server::start(Fake::default(), |config| config.enable_openmetrics = true);
        let plain = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        server.check_header("GET", "/metrics", "", ("content-type", plain)).await;
        server.check_header("HEAD", "/metrics", "", ("content-type", plain)).await;
        server
            .check_header("GET", "/metrics", "", ("content-length", &PAGE.len().to_string()))
            .await;
        let accept = "Accept: application/openmetrics-text;version=1.0.0\r\n";
        let openmetrics =
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
        server.check_header("GET", "/metrics", accept, ("content-type", openmetrics)).await;
        let accept = "Accept-Encoding: br\r\nAccept-Encoding: gzip;q=0.5\r\n";
        server.check_header("GET", "/metrics", accept, ("content-encoding", "gzip")).await;
        server.check_header("GET", "/nope", "", ("x-content-type-options", "nosniff")).await;
        server.check_header("GET", "/", "", ("content-type", "text/html; charset=UTF-8")).await;
    }

    #[test]
    fn the_telemetry_path_wins() {
        check_route("/metrics", "/metrics", Route::Metrics);
        check_route("/metrics", "/", Route::Landing);
        check_route("/foo", "/metrics", Route::Missing);
        check_route("/", "/", Route::Metrics);
        check_route("/", "/anything", Route::Metrics);
        check_route("/", "/-/healthy", Route::Healthy);
        check_route("/-/healthy", "/-/healthy", Route::Metrics);
        check_route("/{a}*:", "/{a}*:", Route::Metrics);
        check_route("/sub/", "/sub/x", Route::Metrics);
        check_route("/sub/", "/sub", Route::Metrics);
        check_route("/sub/", "/su", Route::Missing);
        check_route("/metrics", "/-/reload", Route::Missing);
    }

    #[tokio::test]
    async fn the_api_gets_path_and_query() {
        let server = Server::start(Fake::default(), |_| {});
        let path = "/api/v1/dashboard?uid=a";
        server.check("GET", path, 404, "/api/v1/dashboard uid=a").await;
        server.check_header("GET", path, "", ("content-type", "application/json")).await;
        server.check("POST", "/api/v1/families", 405, "only GET\n").await;
    }

    #[tokio::test]
    async fn lifecycle_paths_exist_on_request_only() {
        let server = Server::start(Fake::default(), |_| {});
        server.check("POST", "/-/quit", 404, "404 page not found\n").await;
        server.check("PUT", "/-/reload", 404, "404 page not found\n").await;
        let server = Server::start(Fake::default(), |config| config.enable_lifecycle = true);
        server.check("GET", "/-/reload", 200, "").await;
        server.check("GET", "/-/quit", 200, "").await;
        server.check("PUT", "/-/reload", 200, "Requesting reload").await;
        server.check("POST", "/-/reload", 200, "Requesting reload").await;
        assert_eq!(server.backend.reloads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_failed_reload_is_told_unless_the_reference_would_hide_it() {
        let reply = "Reload failed, the old rules stay in force: line 3\n";
        for (compat, status, body) in
            [(Compat::Extended, 400, reply), (Compat::Reference, 200, "Requesting reload")]
        {
            let fake = Fake { has_bad_file: true, ..Fake::default() };
            let server = Server::start(fake, |config| {
                config.enable_lifecycle = true;
                config.compat = compat;
            });
            server.check("POST", "/-/reload", status, body).await;
        }
    }

    #[tokio::test]
    async fn quit_answers_and_then_ends_the_server() {
        let server = Server::start(Fake::default(), |config| config.enable_lifecycle = true);
        server.check("PUT", "/-/quit", 200, "Requesting termination... Goodbye!").await;
        server.task.await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn idle_connections_do_not_delay_the_end() {
        let server = Server::start(Fake::default(), |_| {});
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = [0; 512];
        assert!(idle.read(&mut reply).await.unwrap() > 0);
        server.backend.quit();
        server.task.await.unwrap().unwrap();
        assert_eq!(idle.read(&mut reply).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_long_page_arrives_whole_and_its_parts_are_not_kept() {
        let series = 100_000;
        let server = Server::start(Fake { series, ..Fake::default() }, |_| {});
        let reply = server.request("GET", "/metrics", "").await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(body.ends_with("\r\n0\r\n\r\n"));
        assert!(
            dechunked(body) == PAGE.replace("b{k=\"v\"} 3\n", &"b{k=\"v\"} 3\n".repeat(series))
        );
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_walk() {
        let server = Server::start(Fake { series: usize::MAX, ..Fake::default() }, |_| {});
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut some = vec![0; 100_000];
        client.read_exact(&mut some).await.unwrap();
        drop(client);
        server.backend.walk_ended.notified().await;
    }

    #[tokio::test]
    async fn a_client_may_close_its_sending_side() {
        let server = Server::start(Fake::default(), |_| {});
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with(PAGE), "{reply}");
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused() {
        let server = Server::start(Fake::default(), |_| {});
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(b"hits:1|c\n\xff\0\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    }

    /// Two families, the second with as many series as asked for.
    struct Fake {
        series: usize,
        has_bad_file: bool,
        is_busy: AtomicBool,
        reloads: AtomicUsize,
        walk_ended: Notify,
        quit: Notify,
    }

    impl Default for Fake {
        fn default() -> Self {
            Self {
                series: 1,
                has_bad_file: false,
                is_busy: AtomicBool::new(false),
                reloads: AtomicUsize::new(0),
                walk_ended: Notify::new(),
                quit: Notify::new(),
            }
        }
    }

    impl Backend for Fake {
        fn scrape(&self, page: &mut Page<'_>) {
            let (value, labels) = (Value::Number(3.0), "k=\"v\"");
            let labels = labels.as_bytes();
            let series = Series { labels, created_seconds: 0.0, value };
            for (name, help, kind, count) in [
                ("a_total", "A.", FamilyKind::Counter, 1),
                ("b", "B.", FamilyKind::Gauge, self.series),
            ] {
                let family = Family { name, help, kind };
                let is_shown = page.begin(&family);
                if is_shown && (0..count).all(|_| page.series(&family, &series)) {
                    page.end(&family);
                }
            }
            self.walk_ended.notify_one();
        }

        fn is_ready(&self) -> bool {
            !self.is_busy.load(Ordering::Relaxed)
        }

        fn reload(&self) -> Result<(), String> {
            self.reloads.fetch_add(1, Ordering::Relaxed);
            if self.has_bad_file { Err("line 3".to_owned()) } else { Ok(()) }
        }

        fn status_page(&self, _: &Visit<'_>) -> Option<String> {
            None
        }

        fn api(&self, path: &str, query: &str) -> Reply {
            let body = format!("{path} {query}");
            Reply { status: 404, content_type: "application/json", body }
        }

        fn quit(&self) {
            self.quit.notify_one();
        }
    }

    struct Server {
        address: SocketAddr,
        backend: Arc<Fake>,
        task: JoinHandle<io::Result<()>>,
    }

    impl Server {
        fn start(fake: Fake, change: impl FnOnce(&mut Config)) -> Self {
            let mut config = Config {
                telemetry_path: "/metrics".to_owned(),
                enable_lifecycle: false,
                enable_openmetrics: false,
                guard: None,
                compat: Compat::Extended,
            };
            change(&mut config);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let backend = Arc::new(fake);
            let served = Arc::clone(&backend);
            let task = tokio::spawn(async move {
                let quit = Arc::clone(&served);
                listener.set_nonblocking(true).unwrap();
                let listeners = vec![Listener::Tcp(listener)];
                serve(listeners, config, served, quit.quit.notified()).await
            });
            Self { address, backend, task }
        }

        async fn request(&self, method: &str, path: &str, headers: &str) -> String {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
            );
            client.write_all(request.as_bytes()).await.unwrap();
            let mut reply = Vec::new();
            client.read_to_end(&mut reply).await.unwrap();
            String::from_utf8_lossy(&reply).into_owned()
        }

        async fn check(&self, method: &str, path: &str, status: u16, body: &str) {
            let reply = self.request(method, path, "").await;
            let (head, found) = reply.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
            assert_eq!(found, body, "{method} {path}");
        }

        async fn check_header(
            &self,
            method: &str,
            path: &str,
            headers: &str,
            (name, value): (&str, &str),
        ) {
            let reply = self.request(method, path, headers).await;
            let expected = format!("\r\n{name}: {value}\r\n");
            assert!(reply.contains(&expected), "{method} {path}: {reply:?}");
        }
    }

    #[track_caller]
    fn check_route(telemetry_path: &str, path: &str, expected: Route) {
        let config = Config {
            telemetry_path: telemetry_path.to_owned(),
            enable_lifecycle: false,
            enable_openmetrics: false,
            guard: None,
            compat: Compat::Extended,
        };
        assert_eq!(Route::of(path, &config), expected);
    }

    fn dechunked(mut body: &str) -> String {
        let mut whole = String::new();
        loop {
            let (size, rest) = body.split_once("\r\n").unwrap();
            let (chunk, rest) = rest.split_at(usize::from_str_radix(size, 16).unwrap());
            whole.push_str(chunk);
            body = rest.strip_prefix("\r\n").unwrap();
            if chunk.is_empty() {
                return whole;
            }
        }
    }
}
