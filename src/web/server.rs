//! Connections: who gets one, for how long, and what is spoken on it.
//!
//! Everything that a client can hold on to has a bound: how many connections there are and which
//! must go for a new one ([`Crowd`]), the time for a handshake, for a request's head and without a
//! request, the size of a head, the streams of an HTTP/2 connection and what they may send ahead.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::crowd::{Busy, Crowd, Place};
use super::guard::Guard;
use crate::net::{Listener, Stream};

/// Connections served at a time, and requests being answered on them; each may occupy a thread.
const MAX_CONNECTIONS: u32 = 256;

/// How long an answer may take before it may be cut off for the sake of others; more than a scrape
/// takes, and less than Prometheus waits by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests of one connection that are answered at a time; only HTTP/2 can bring several.
const REQUESTS_OF_ONE: usize = 4;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's head. The clock also runs between two requests of
/// a connection, hence a little more than Prometheus's usual scrape interval of one minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(65);

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// The same for HTTP/2, where `u32` is the protocol's own measure.
const MAX_HEADER_LIST_BYTES: u32 = 32 << 10;

/// How much of its requests' bodies, which nobody reads, an HTTP/2 client may send ahead.
const HTTP2_WINDOW_BYTES: u32 = 64 << 10;

/// How much of each answer waits for an HTTP/2 client to read on.
const HTTP2_SEND_BYTES: usize = 128 << 10;

/// Streams that an HTTP/2 client may have open at a time.
const HTTP2_STREAMS: u32 = 16;

/// How long sent bytes may stay unread, before the kernel breaks the connection.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long open requests may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection without a request yet is kept when the server stops, and how often
/// somebody looks whether one has come.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
const FIRST_REQUEST_PAUSE: Duration = Duration::from_millis(2);

/// The pause after a failed `accept`, which mostly means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Anything that bytes go over: a socket, or TLS on one. One type for all of them, so that the code
/// for HTTP is there once.
trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// What all connections share.
struct Server {
    site: Router,
    guard: Option<Arc<Guard>>,
    crowd: Arc<Crowd>,
    stopping: watch::Receiver<()>,
}

/// Serves until `shutdown` is done; then takes no new connections, and gives open requests five
/// seconds to end.
pub(super) async fn serve(
    listeners: Vec<Listener>,
    site: Router,
    guard: Option<Arc<Guard>>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let crowd = Crowd::new(MAX_CONNECTIONS as usize, PATIENCE);
    let (stop, stopping) = watch::channel(());
    let server = Arc::new(Server { site, guard, crowd: Arc::clone(&crowd), stopping });
    let mut acceptors = tokio::task::JoinSet::new();
    for listener in listeners {
        acceptors.spawn(Arc::clone(&server).accept_all(watch_listener(listener)?));
    }
    shutdown.await;
    acceptors.shutdown().await;
    drop((acceptors, server, stop));
    if timeout(STOP_TIMEOUT, crowd.emptied(MAX_CONNECTIONS)).await.is_err() {
        warn!("HTTP requests were still open at the end.");
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "the unsafe successor asks that the descriptor stay the same, as it does for sockets \
              that nothing but their drop closes"
)]
fn watch_listener(listener: Listener) -> io::Result<AsyncFd<Listener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

impl Server {
    async fn accept_all(self: Arc<Self>, listener: AsyncFd<Listener>) {
        while let Some(stream) = accept(&listener).await {
            let Some(place) = self.crowd.enter().await else { return };
            let place = Arc::new(place);
            let connection = Connection {
                server: Arc::clone(&self),
                place: Arc::clone(&place),
                requests: Arc::new(Semaphore::new(REQUESTS_OF_ONE)),
                has_asked: Arc::default(),
            };
            tokio::spawn(async move {
                let ended = tokio::select! {
                    served = connection.speak(stream) => served,
                    () = place.must_leave() => {
                        Err(io::Error::other("it made room for another connection"))
                    }
                };
                if let Err(error) = ended {
                    debug!(%error, "An HTTP connection ended early.");
                }
            });
        }
    }
}

/// Waits for a connection; `None` when there will be none.
async fn accept(listener: &AsyncFd<Listener>) -> Option<Stream> {
    loop {
        let mut ready = listener.readable().await.ok()?;
        match listener.get_ref().accept() {
            Ok(stream) => return Some(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "Cannot accept an HTTP connection; trying again in a second.");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection and what its requests need.
#[derive(Clone)]
struct Connection {
    server: Arc<Server>,
    place: Arc<Place>,
    /// Whose turn it is, where several requests come at once.
    requests: Arc<Semaphore>,
    /// Whether there was a request.
    has_asked: Arc<AtomicBool>,
}

impl Connection {
    /// Serves the connection until it ends.
    async fn speak(self, stream: Stream) -> io::Result<()> {
        let plain = channel(stream)?;
        let policy = match &self.server.guard {
            Some(guard) => Some(guard.policy().await),
            None => None,
        };
        let Some(tls) = policy.as_ref().and_then(|policy| policy.tls.clone()) else {
            return self.speak_http1(plain).await;
        };
        let encrypted = timeout(HANDSHAKE_TIMEOUT, tls.accept(plain)).await??;
        let is_http2 = encrypted.get_ref().1.alpn_protocol() == Some(b"h2");
        let encrypted: Box<dyn Channel> = Box::new(encrypted);
        if is_http2 { self.speak_http2(encrypted).await } else { self.speak_http1(encrypted).await }
    }

    async fn speak_http1(self, channel: Box<dyn Channel>) -> io::Result<()> {
        let mut http = http1::Builder::new();
        // A client may close its sending side once its request is out, `nc` for one.
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true);
        http.max_header_size(MAX_HEAD_BYTES);
        let mut stopping = self.server.stopping.clone();
        let answer = service_fn(|request| self.clone().answer(request));
        let mut served = pin!(http.serve_connection(TokioIo::new(channel), answer));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            // Nothing is ever sent: the change is that the sender has been dropped.
            _ = stopping.changed() => {
                let first = timeout(FIRST_REQUEST_TIMEOUT, self.first_request());
                tokio::select! {
                    biased;
                    ended = served.as_mut() => return ended.map_err(io::Error::other),
                    _ = first => {}
                }
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        ended.map_err(io::Error::other)
    }

    /// Waits until the connection has brought a request. Whoever has just connected gets an answer
    /// even if the server is about to stop.
    async fn first_request(&self) {
        while !self.has_asked.load(Ordering::Relaxed) {
            sleep(FIRST_REQUEST_PAUSE).await;
        }
    }

    async fn speak_http2(self, channel: Box<dyn Channel>) -> io::Result<()> {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .max_send_buf_size(HTTP2_SEND_BYTES);
        let mut stopping = self.server.stopping.clone();
        let place = Arc::clone(&self.place);
        let answer = service_fn(move |request| self.clone().answer(request));
        let mut served = pin!(http.serve_connection(TokioIo::new(channel), answer));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = idle(&place) => return Ok(()),
            _ = stopping.changed() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        ended.map_err(io::Error::other)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        self.has_asked.store(true, Ordering::Relaxed);
        let turn = self.requests.acquire_owned().await.ok();
        let policy = match &self.server.guard {
            Some(guard) => match guard.admit(request.headers()).await {
                Ok(policy) => Some(policy),
                Err(refusal) => return Ok(refusal),
            },
            None => None,
        };
        let busy = self.place.begin().await;
        let answer = TowerToHyperService::new(self.server.site.clone()).call(request).await?;
        let mut answer = answer.map(|body| Body::new(Held { body, _while: (busy, turn) }));
        if let Some(policy) = policy {
            policy.add_headers(answer.headers_mut());
        }
        Ok(answer)
    }
}

/// Waits until there was no request for as long as HTTP/1 lets a connection wait for one.
async fn idle(place: &Place) {
    loop {
        let rest = HEAD_TIMEOUT.saturating_sub(place.idle_time());
        if rest.is_zero() {
            return;
        }
        sleep(rest).await;
    }
}

fn channel(stream: Stream) -> io::Result<Box<dyn Channel>> {
    Ok(match stream {
        Stream::Tcp(stream) => {
            let socket = SockRef::from(&stream);
            let options =
                [socket.set_tcp_nodelay(true), socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))];
            for error in options.into_iter().filter_map(Result::err) {
                debug!(%error, "An HTTP connection goes without a socket option.");
            }
            stream.set_nonblocking(true)?;
            Box::new(TcpStream::from_std(stream)?)
        }
        Stream::Unix(stream) => {
            stream.set_nonblocking(true)?;
            Box::new(UnixStream::from_std(stream)?)
        }
    })
}

/// An answer's body, and what is held until it is over.
struct Held {
    body: Body,
    _while: (Busy, Option<tokio::sync::OwnedSemaphorePermit>),
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
