//! A scrape of many series: what writing the page costs, what HTTP adds to it, and what HTTP alone
//! costs, measured by a server on the same stack that sends a page which is ready.

#![expect(clippy::unwrap_used, reason = "a bench that cannot start has nothing to measure")]

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tallyd::aggregate::Registry;
use tallyd::compat::Compat;
use tallyd::expose::Page;
use tallyd::expose::negotiate::Format;
use tallyd::expose::walk::walk;
use tallyd::ingest::{Config, Ingest, Sender};
use tallyd::map::{Rules, cache};
use tallyd::net::Listener;
use tallyd::parse;
use tallyd::telemetry::Telemetry;
use tallyd::web::{self, Backend, Reply};
use tokio::runtime::{Builder, Runtime};

const SERIES: u64 = 100_000;

/// A registry, and what keeps its cells.
struct Stock {
    registry: Arc<Registry>,
    _ingest: Ingest,
}

/// Half counters, a fifth gauges, the rest histograms with the default buckets, in no order.
fn stock() -> Stock {
    let registry = Arc::new(Registry::new(Compat::Extended, []));
    let rules = b"defaults: { observer_type: histogram }\nmappings: []";
    let rules = Rules::parse(rules, Path::new("mapping.yml"), Compat::Extended).unwrap().rules;
    let config = Config {
        parse: parse::Options::new(Compat::Extended),
        rules: Arc::new(rules),
        mapper_cache: cache::Config::default(),
        line_cache_bytes: 256 << 20,
        event_queue: None,
        start: Instant::now(),
        member_seed: 0,
        ttl: tallyd::map::ttl::Ttls::default(),
    };
    let mut ingest = Ingest::new(config, &registry, &Arc::new(Telemetry::default()));
    ingest.begin_batch();
    for i in 0..SERIES {
        // A prime step visits every number once and leaves no two neighbours together.
        let i = i * 48_271 % SERIES;
        let tags = format!("env:production,service:payments-{:02},route:r{i:05}", i % 20);
        let line = match i % 10 {
            family @ 0..5 => format!("bench.c{family}.requests:1|c|#{tags}"),
            family @ 5..7 => format!("bench.g{family}.inflight:{}|g|#{tags}", i % 1000),
            family => format!("bench.t{family}.latency:{}.3|ms|#{tags}", i % 5000),
        };
        ingest.line(line.as_bytes(), Sender::Unknown);
    }
    Stock { registry, _ingest: ingest }
}

impl Backend for Stock {
    fn scrape(&self, page: &mut Page<'_>) {
        walk(|| self.registry.read(0), &[], 0, page);
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }

    fn status_page(&self, _: &tallyd::web::Visit<'_>) -> Option<String> {
        None
    }

    fn api(&self, _path: &str, _query: &str) -> Reply {
        Reply { status: 404, content_type: "text/plain", body: String::new() }
    }

    fn quit(&self) {}
}

/// Writes the page and hands it over part by part.
fn render(stock: &Stock, format: Format, mut take: impl FnMut(&mut Vec<u8>)) {
    let mut sink = |part: &mut Vec<u8>| {
        take(part);
        true
    };
    let mut page = Page::new(format.encoder(), &mut sink);
    stock.scrape(&mut page);
    assert!(page.finish());
}

fn rendering(c: &mut Criterion) {
    let stock = stock();
    let mut group = c.benchmark_group("scrape/render");
    group.sample_size(20).warm_up_time(Duration::from_secs(1));
    for (name, format) in [
        ("text", Format::Text),
        ("openmetrics", Format::OpenMetrics),
        ("protobuf", Format::Protobuf),
    ] {
        let mut bytes = 0;
        render(&stock, format, |part| {
            bytes += part.len() as u64;
            part.clear();
        });
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |b| {
            b.iter(|| render(&stock, format, |part| black_box(part).clear()));
        });
    }
    group.finish();
}

/// Serves `stock` until the program ends.
fn serve(runtime: &Runtime, stock: Stock) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = web::Config {
        telemetry_path: "/metrics".to_owned(),
        enable_lifecycle: false,
        enable_openmetrics: false,
        guard: None,
        compat: Compat::Extended,
    };
    listener.set_nonblocking(true).unwrap();
    let listeners = vec![Listener::Tcp(listener)];
    runtime.spawn(web::serve(listeners, config, Arc::new(stock), std::future::pending()));
    address
}

/// A body whose parts are there before it is asked for.
struct Ready(std::vec::IntoIter<Bytes>);

impl HttpBody for Ready {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }
}

/// Serves these parts at any path, which is all that HTTP costs for a page of this size.
fn serve_ready(runtime: &Runtime, parts: Vec<Bytes>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |_| {
        let body = Ready(parts.clone().into_iter());
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    };
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(answer.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Reads a whole page and returns its length.
fn get(address: SocketAddr, headers: &str, buffer: &mut [u8]) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut total = 0;
    loop {
        match stream.read(buffer).unwrap() {
            0 => return total,
            read => total += read,
        }
    }
}

fn serving(c: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stock = stock();
    let mut parts = Vec::new();
    render(&stock, Format::Text, |part| parts.push(Bytes::from(std::mem::take(part))));
    let size = parts.iter().map(|part| part.len() as u64).sum();
    let ready = serve_ready(&runtime, parts);
    let address = serve(&runtime, stock);
    let mut buffer = vec![0; 1 << 20];
    let mut group = c.benchmark_group("scrape/http");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).throughput(Throughput::Bytes(size));
    for (name, address, headers) in [
        ("ready-made", ready, ""),
        ("text", address, ""),
        ("gzip", address, "Accept-Encoding: gzip\r\n"),
        ("zstd", address, "Accept-Encoding: zstd\r\n"),
    ] {
        group.bench_function(name, |b| b.iter(|| get(address, headers, &mut buffer)));
    }
    group.finish();
}

criterion_group!(benches, rendering, serving);
criterion_main!(benches);
