//! A stand-in for Grafana on a loopback port, with what it keeps in memory.
//!
//! It does what the versions 10 to 13 are known to do with dashboards, folders and so on, and fails
//! on demand; it draws nothing and asks nobody. Everything it was asked is in its log.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::state::{Era, State};
use self::wire::{Answer, Request};

#[path = "grafana/access.rs"]
mod access;
#[path = "grafana/alerting.rs"]
mod alerting;
#[path = "grafana/dashboards.rs"]
mod dashboards;
#[path = "grafana/folders.rs"]
mod folders;
#[path = "grafana/resources.rs"]
mod resources;
#[path = "grafana/routes.rs"]
mod routes;
#[path = "grafana/sources.rs"]
mod sources;
#[path = "grafana/state.rs"]
pub(crate) mod state;
#[path = "grafana/wire.rs"]
mod wire;

/// What to stand in for.
#[derive(Clone)]
pub(crate) struct Options {
    /// The version's semantics.
    pub(crate) era: Era,
    /// Where to listen.
    pub(crate) address: SocketAddr,
    /// The path that everything is below, such as `/grafana`; empty for none.
    pub(crate) prefix: String,
    /// Speaks TLS when there is one.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// The Prometheus behind the data source; none makes answers up.
    pub(crate) prometheus: Option<String>,
}

impl Options {
    /// A free loopback port, no path, no TLS.
    pub(crate) fn new(era: Era) -> Self {
        Self {
            era,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            prefix: String::new(),
            tls: None,
            prometheus: None,
        }
    }
}

/// A running stand-in; it ends when this is dropped.
pub(crate) struct Grafana {
    /// Where it is, with its path.
    pub(crate) url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What goes wrong, with which requests.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Only requests with this method; all without one.
    pub(crate) method: Option<&'static str>,
    /// Only requests with this in their path.
    pub(crate) path: &'static str,
    /// How many of them.
    pub(crate) times: usize,
    /// What happens to them.
    pub(crate) action: Action,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// The answer is this status and body, with these headers.
    Answer(u16, &'static str, &'static [(&'static str, &'static str)]),
    /// The answer takes so long.
    Slow(Duration),
    /// The connection ends before anything is done.
    Cut,
    /// The connection ends when what was asked for is done.
    CutAfter,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Its method.
    pub(crate) method: String,
    /// Its path and query.
    pub(crate) target: String,
    /// Its headers, with small names.
    pub(crate) headers: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: String,
}

struct Shared {
    prefix: String,
    prometheus: Option<String>,
    state: Mutex<State>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<Logged>>,
}

impl Grafana {
    /// Starts one of this version.
    pub(crate) fn start(era: Era) -> Self {
        Self::launch(Options::new(era))
    }

    /// Starts one.
    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    pub(crate) fn launch(options: Options) -> Self {
        let listener = std::net::TcpListener::bind(options.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let origin = match options.tls {
            // Certificates are made out to the name.
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let url = origin + &options.prefix;
        let shared = Arc::new(Shared {
            prefix: options.prefix,
            prometheus: options.prometheus,
            state: Mutex::new(State::new(options.era)),
            faults: Mutex::default(),
            log: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let acceptor = options.tls.map(TlsAcceptor::from);
        let thread = thread::Builder::new().name("grafana".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = accept(listener, acceptor, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { url, shared, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    /// Lets requests fail; the first fault that fits is taken.
    pub(crate) fn fail(&self, fault: Fault) {
        self.shared.faults.lock().push(fault);
    }

    /// All requests so far.
    pub(crate) fn log(&self) -> Vec<Logged> {
        self.shared.log.lock().clone()
    }

    /// All requests so far that can have changed something.
    pub(crate) fn writes(&self) -> Vec<Logged> {
        let is_write = |logged: &Logged| logged.method != "GET";
        self.log().into_iter().filter(is_write).collect()
    }

    /// What is kept, to be looked at or changed as a person would.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }
}

impl Drop for Grafana {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
    // A connection that was cut on demand ends with an error, as it should.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// An error ends the connection.
async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<hyper::Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the request was cut")?.to_bytes();
    let logged = Logged {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
            })
            .collect(),
        body: String::from_utf8_lossy(&body).into(),
    };
    shared.log.lock().push(logged.clone());
    let fault = shared.fault(&logged.method, head.uri.path());
    match &fault {
        Some(Action::Answer(status, body, headers)) => {
            return Answer::raw(*status, body, headers).into_response();
        }
        Some(Action::Slow(time)) => tokio::time::sleep(*time).await,
        Some(Action::Cut) => return Err("cut on demand"),
        Some(Action::CutAfter) | None => {}
    }
    let answer = shared.handle(&logged);
    if matches!(fault, Some(Action::CutAfter)) {
        return Err("cut on demand");
    }
    answer.into_response()
}

impl Shared {
    fn fault(&self, method: &str, path: &str) -> Option<Action> {
        let mut faults = self.faults.lock();
        let fault = faults.iter_mut().find(|fault| {
            fault.times > 0
                && path.contains(fault.path)
                && fault.method.is_none_or(|wanted| wanted == method)
        })?;
        fault.times -= 1;
        Some(fault.action.clone())
    }

    fn handle(&self, logged: &Logged) -> Answer {
        let Some(target) = logged.target.strip_prefix(&self.prefix) else {
            return Answer::refuse(404, "Not found");
        };
        let request = Request::new(logged, target);
        let mut state = self.state.lock();
        state.prefix.clone_from(&self.prefix);
        state.prometheus.clone_from(&self.prometheus);
        routes::handle(&mut state, &request).unwrap_or_else(|refused| refused)
    }
}
