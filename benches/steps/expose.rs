//! The page: each format, how it grows with series and lanes, and the way over HTTP.

use std::hint::black_box;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use tallyd::compat::Compat;
use tallyd::expose::negotiate::Format;
use tallyd::expose::{Page, walk};
use tallyd::web::{self, Backend};
use tokio::runtime::Runtime;

use crate::stage::{self, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

/// Half counters, three in ten histograms with default buckets, two in ten gauges, on every lane.
#[expect(clippy::expect_used, reason = "the rules are our own")]
fn filled(series: usize, lanes: usize) -> Stage {
    let stage = Stage::new(stage::HISTOGRAMS).expect("rules are valid");
    let datagrams = traffic::datagrams(&traffic::mixed(series), LINES_PER_DATAGRAM);
    for _ in 0..lanes {
        stage::feed(&mut stage.lane(0), &datagrams);
    }
    stage
}

/// Writes the whole page and returns its size.
fn render(stage: &Stage, format: Format) -> usize {
    let mut bytes = 0;
    let mut sink = |part: &mut Vec<u8>| {
        bytes += black_box(&part).len();
        part.clear();
        true
    };
    let mut page = Page::new(format.encoder(Arc::new(|_| false)), &mut sink);
    walk::walk(&stage.registry.read(1_000), &[], 0.0, &mut page);
    assert!(page.finish(), "the sink takes everything");
    bytes
}

pub(crate) fn formats(c: &mut Criterion) {
    for series in [1_000, 100_000] {
        let stage = filled(series, 1);
        let mut group = c.benchmark_group(format!("expose/{series}"));
        group.sample_size(10);
        for (name, format) in [
            ("text", Format::Text),
            ("openmetrics", Format::OpenMetrics),
            ("protobuf", Format::Protobuf),
        ] {
            group.throughput(Throughput::Bytes(render(&stage, format) as u64));
            group.bench_function(name, |b| b.iter(|| render(&stage, format)));
        }
        group.finish();
    }
}

pub(crate) fn lanes(c: &mut Criterion) {
    let mut group = c.benchmark_group("expose/lanes");
    group.sample_size(10).throughput(Throughput::Elements(10_000));
    for lanes in [1, 2, 4] {
        let stage = filled(10_000, lanes);
        group.bench_function(lanes.to_string(), |b| b.iter(|| render(&stage, Format::Text)));
    }
    group.finish();
}

/// A site whose only page is a stage's.
struct Site(Stage);

impl Backend for Site {
    fn scrape(&self, page: &mut Page<'_>) {
        walk::walk(&self.0.registry.read(1_000), &[], 0.0, page);
    }

    fn has_family(&self, _: &str) -> bool {
        false
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }

    fn quit(&self) {}
}

/// Serves a stage for as long as the runtime lives.
fn serve(stage: Stage) -> std::io::Result<(Runtime, SocketAddr)> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let config = web::Config {
        telemetry_path: "/metrics".to_owned(),
        enable_lifecycle: false,
        enable_openmetrics: true,
        compat: Compat::Extended,
    };
    let site = Arc::new(Site(stage));
    runtime.spawn(web::serve(listener, config, site, std::future::pending()));
    Ok((runtime, address))
}

/// Fetches the page, throws it away and returns its size.
fn fetch(address: SocketAddr, encoding: &str) -> Result<usize, minreq::Error> {
    let request = minreq::get(format!("http://{address}/metrics"));
    let mut response = request.with_header("Accept-Encoding", encoding).send_lazy()?;
    let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
    loop {
        match response.read(&mut buffer)? {
            0 => return Ok(bytes),
            n => bytes += n,
        }
    }
}

#[expect(clippy::expect_used, reason = "a benchmark without a server is none")]
pub(crate) fn http(c: &mut Criterion) {
    for series in [1_000, 100_000] {
        let (_runtime, address) = serve(filled(series, 1)).expect("loopback is there");
        let mut group = c.benchmark_group(format!("expose/http/{series}"));
        group.sample_size(10);
        for encoding in ["identity", "gzip", "zstd"] {
            let fetch = || fetch(address, encoding).expect("the page comes");
            group.throughput(Throughput::Bytes(fetch() as u64));
            group.bench_function(encoding, |b| b.iter(fetch));
        }
        group.finish();
    }
}
