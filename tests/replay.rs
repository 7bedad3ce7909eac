//! Captured traffic of real applications gives the page that the reference gave.
//!
//! `tests/data/captures/NAME.txt` holds one datagram a line, as a JSON string; `expected` holds the
//! reference's page after a replay without rules and with the preset from `tests/data/presets`.
//! Quantiles are left out: the reference's own are approximate.

#[path = "support/page.rs"]
mod page;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use crate::page::{Page, differences};
use crate::server::{Launch, Server, wait_until};

/// Datagrams sent before we wait until they are counted, so that no buffer overflows.
const BATCH: usize = 64;

const TIMEOUT: Duration = Duration::from_secs(10);

macro_rules! captures {
    ($($capture:ident: $preset:expr),+ $(,)?) => {
        const CAPTURES: &[&str] = &[$(stringify!($capture)),+];

        $(#[test]
        fn $capture() {
            check(stringify!($capture), $preset);
        })+
    };
}

captures! {
    aiodogstatsd_aiohttp: Some("aiodogstatsd"),
    airflow_default: Some("airflow"),
    airflow_dogstatsd: Some("airflow-tags"),
    django_statsd_plain: Some("django-statsd"),
    django_statsd_tagslike: None,
    envoy_dogstatsd_batched: Some("envoy"),
    envoy_statsd: Some("envoy"),
    gometrics_consul_dogstatsd: Some("consul"),
    gometrics_nomad_statsd: None,
    gometrics_vault_dogstatsd: Some("vault"),
    gometrics_vault_statsd: Some("vault"),
    gunicorn_gthread_dogstatsd: Some("gunicorn"),
    gunicorn_sync: Some("gunicorn"),
    jupyterhub_chp: Some("jupyterhub-chp"),
    swift_labels_dogstatsd: Some("swift"),
    swift_labels_graphite: Some("swift"),
    swift_legacy: Some("swift"),
}

#[test]
fn every_capture_with_a_page_of_the_reference_has_a_test() {
    for file in fs::read_dir(data("captures")).expect("captures are in the repository") {
        let path = file.expect("a directory can be read to its end").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_capture = path.extension().is_some_and(|extension| extension == "txt")
            && data(&format!("captures/expected/{name}.nomap.prom")).exists();
        assert!(!is_capture || CAPTURES.contains(&name), "{name} belongs to no test");
    }
}

#[track_caller]
fn check(capture: &str, preset: Option<&str>) {
    let presets = [None, preset];
    for preset in presets.iter().take(if preset.is_some() { 2 } else { 1 }) {
        let differences = replay(capture, *preset).unwrap_or_else(|error| vec![error.to_string()]);
        assert!(differences.is_empty(), "{capture}, {preset:?}:\n{}", differences.join("\n"));
    }
}

/// Sends a capture to a server of its own and says how its page differs from the reference's.
fn replay(capture: &str, preset: Option<&str>) -> Result<Vec<String>, Box<dyn Error>> {
    let mapping = preset.map(|preset| {
        format!("--statsd.mapping-config={}", data(&format!("presets/{preset}.yaml")).display())
    });
    let mut flags = vec!["--compat=reference"];
    flags.extend(mapping.as_deref());
    let server = Server::start(&Launch::tallyd(&flags))?;
    send(&server, &fs::read_to_string(data(&format!("captures/{capture}.txt")))?)?;

    let kind = if preset.is_some() { "preset" } else { "nomap" };
    let expected = fs::read_to_string(data(&format!("captures/expected/{capture}.{kind}.prom")))?;
    let expected = without_quantiles(Page::parse(&expected)?.split().0);
    let mut findings = Vec::new();
    // The reference needs a moment after it counted a line.
    wait_until(TIMEOUT, || {
        findings = match page(&server) {
            Ok(got) => differences(&expected, &got, &BTreeMap::new()),
            Err(error) => vec![error.to_string()],
        };
        findings.is_empty()
    });
    Ok(findings)
}

fn send(server: &Server, capture: &str) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(server.fill("127.0.0.1:{udp}"))?;
    let mut lines = 0.0;
    let datagrams: Vec<String> =
        capture.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for batch in datagrams.chunks(BATCH) {
        for datagram in batch {
            socket.send(datagram.as_bytes())?;
            lines += datagram.split('\n').count() as f64;
        }
        let counted = || server.total("/metrics", "statsd_exporter_lines_total");
        if !wait_until(TIMEOUT, || counted() == Some(lines)) {
            return Err(format!("{lines} lines sent, counted {:?}", counted()).into());
        }
    }
    Ok(())
}

fn page(server: &Server) -> Result<Page, Box<dyn Error>> {
    let page = Page::parse(server.get("/metrics")?.as_str()?)?.split().0;
    Ok(without_quantiles(page))
}

fn without_quantiles(mut page: Page) -> Page {
    for family in page.families.values_mut() {
        family.samples.retain(|series, _| !series.contains("quantile=\""));
    }
    page
}

fn data(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data", path].iter().collect()
}
