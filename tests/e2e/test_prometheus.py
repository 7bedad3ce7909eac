"""A real Prometheus over tallyd: rates and quantiles in every format that it can ask for."""

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.prometheus import Prometheus, steady_traffic
from support.server import REPOSITORY, Server, tallyd_binary
from support.wait import wait_for

Start = Callable[..., Server]
Scrape = Callable[..., Prometheus]

CLASSIC = """
defaults:
  observer_type: histogram
  histogram_options: {buckets: [.01, .02, .03, .04, .05, .06, .07, .08, .09, .1]}
"""
NATIVE = """
defaults:
  observer_type: histogram
  histogram_options: {buckets: [.05], native_histogram_bucket_factor: 1.1, native_histogram_max_buckets: 160}
"""
PER_SECOND = 100
CAPTURES = REPOSITORY / "tests" / "data" / "captures"


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scrape]:
    """Starts a Prometheus: `scraped(SERVER, *FLAGS)`; ended with the test."""
    with ExitStack() as running:

        def begin(server: Server, *flags: str) -> Prometheus:
            prometheus = Prometheus(server, tmp_path, flags)
            running.callback(prometheus.stop)
            return prometheus

        yield begin


def request(number: int) -> list[str]:
    """One request's samples: two counters and a time that runs evenly through 1 to 100 ms."""
    return ["reqs_total:1|c|#view:fire", "orders:2|c", f"duration_seconds:{number % 100 + 1}|ms|#view:fire"]


def test_rates_and_quantiles_over_the_text_format(start_compatible: Start, scraped: Scrape) -> None:
    """Names stay as they were sent, as an exporter in use must keep them."""
    server = start_compatible(mapping=CLASSIC)
    prometheus = scraped(server)
    with steady_traffic(server, PER_SECOND, request):
        prometheus.wait_for_value("rate(reqs_total[5s])", about(PER_SECOND))
        prometheus.wait_for_value("rate(orders[5s])", about(2 * PER_SECOND))
        prometheus.wait_for_value(quantile(0.5, "duration_seconds_bucket"), about(0.05))
        prometheus.wait_for_value(quantile(0.9, "duration_seconds_bucket"), about(0.09))


def test_open_metrics_names_counters_as_it_must(start: Start, scraped: Scrape) -> None:
    """With `--web.enable-openmetrics` every counter ends in `_total`."""
    server = start("--web.enable-openmetrics", mapping=CLASSIC)
    prometheus = scraped(server)
    with steady_traffic(server, PER_SECOND, request):
        prometheus.wait_for_value("rate(reqs_total[5s])", about(PER_SECOND))
        prometheus.wait_for_value("rate(orders_total[5s])", about(2 * PER_SECOND))
        prometheus.wait_for_value(quantile(0.5, "duration_seconds_bucket"), about(0.05))
    assert prometheus.value("orders") is None


def test_quantiles_over_a_native_histogram(start_compatible: Start, scraped: Scrape) -> None:
    """A Prometheus with native histograms asks for protobuf and needs no buckets chosen by hand."""
    server = start_compatible(mapping=NATIVE)
    prometheus = scraped(server, "--enable-feature=native-histograms")
    with steady_traffic(server, PER_SECOND, request):
        prometheus.wait_for_value("rate(reqs_total[5s])", about(PER_SECOND))
        prometheus.wait_for_value(quantile(0.5, "duration_seconds"), about(0.05))
        prometheus.wait_for_value(quantile(0.9, "duration_seconds"), about(0.09))
        prometheus.wait_for_value("histogram_count(rate(duration_seconds[5s]))", about(PER_SECOND))
    assert prometheus.value("duration_seconds_bucket") is None


@pytest.mark.parametrize("flags", [["--compat=reference"], []], ids=["reference", "extended"])
def test_promtool_finds_nothing_new(start: Start, start_reference: Start, flags: list[str]) -> None:
    """On real applications' traffic `promtool check metrics` says no more of us than of statsd_exporter."""
    if tallyd_binary().name == "statsd_exporter":
        flags = []
    ours, theirs = replay(start(*flags)), replay(start_reference())
    assert lint(ours) - lint(theirs) == set()


def about(value: float) -> object:
    """A number that a rate over a few seconds of even traffic comes near to."""
    return pytest.approx(value, rel=0.1)


def quantile(share: float, series: str) -> str:
    """The query for a quantile over the last five seconds."""
    return f"histogram_quantile({share}, rate({series}[5s]))"


def replay(server: Server) -> str:
    """Sends every captured datagram over the Unix socket, which loses none, and returns the page."""
    captures = sorted(CAPTURES.glob("*.txt"))
    assert captures, f"no captures in {CAPTURES}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(server.socket_path)
        for capture in captures:
            for text in capture.read_text().splitlines():
                client.send(json.loads(text).encode("utf-8", "surrogateescape"))
        # The socket and what follows it keep the order, so this series is the last to appear.
        client.send(b"end_of_replay:1|c")
    wait_for("the last line", lambda: "end_of_replay" in server.scrape().series, seconds=30)
    return server.scrape().text


def lint(page: str) -> set[str]:
    """What promtool says about a page; a page it cannot read fails the test."""
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "error while linting" not in said, said
    return set(re.findall(r"^.+$", said, re.MULTILINE))
