"""The pre-fork story: four gunicorn workers, and one scrape that has the right numbers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
from support.server import Server, tallyd_binary
from support.wait import wait_for
from support.web_app import AIOHTTP_WORKERS, EXAMPLE, Gunicorn

Start = Callable[..., Server]
Serve = Callable[..., Gunicorn]

COUNTER = 'reqs_total{view="fire"}'
COUNT = 'req_duration_seconds_count{view="fire"}'
# The spelling of older statsd_exporters, which many files in use still have.
LEGACY_MAPPING = "defaults: {timer_type: histogram, buckets: [.05, .1, .25, .5, 1, 2.5]}\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts gunicorn: `serve(APPLICATION, directory=…, flags=…, statsd=…)`; ended with the test."""
    with ExitStack() as running:

        def begin(
            application: str,
            directory: Path = EXAMPLE,
            flags: tuple[str, ...] = AIOHTTP_WORKERS,
            statsd: Server | None = None,
        ) -> Gunicorn:
            gunicorn = Gunicorn(application, directory, tmp_path / "gunicorn.log", flags, statsd)
            running.callback(gunicorn.stop)
            return gunicorn

        yield begin


def test_thirty_requests_to_four_workers_are_thirty(start_compatible: Start, serve: Serve) -> None:
    """The example as it stands, against a drop-in for statsd_exporter."""
    server = start_compatible()
    application = serve("app:create_app", statsd=server)
    fire(application, 30)
    wait_for_line(server, COUNTER, f"{COUNTER} 30")


@pytest.mark.parametrize("mapping", [EXAMPLE / "mapping.yaml", LEGACY_MAPPING], ids=["example", "legacy"])
def test_thirty_requests_fill_a_histogram(start: Start, serve: Serve, mapping: str | Path) -> None:
    """The timer is a histogram with the mapping's buckets, and counts all workers' requests."""
    if mapping == LEGACY_MAPPING and tallyd_binary().name == "statsd_exporter":
        pytest.skip("statsd_exporter refuses the older spelling")
    server = start(mapping=mapping)
    application = serve("app:create_app", statsd=server)
    fire(application, 30)
    wait_for_line(server, COUNT, f"{COUNT} 30")
    page = server.scrape()
    bounds = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")
    buckets = [page.series[f'req_duration_seconds_bucket{{le="{bound}",view="fire"}}'] for bound in bounds]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 30
    assert page.types["req_duration_seconds"] == "histogram"
    assert page.series[COUNTER] == 30


def test_thirty_thousand_requests_are_thirty_thousand(start: Start, serve: Serve) -> None:
    """Many clients at once, each with a connection it keeps; no request is lost or counted twice."""
    server = start(mapping=EXAMPLE / "mapping.yaml")
    application = serve("app:create_app", statsd=server)
    answers = asyncio.run(fire_concurrently(application, 30_000))
    assert answers == 30_000
    wait_for_line(server, COUNTER, f"{COUNTER} 30000", seconds=30)
    assert server.scrape().series[COUNT] == 30_000


def test_gunicorns_own_metrics_are_named_by_the_preset(start: Start, serve: Serve) -> None:
    """`--statsd-host` with `--preset=gunicorn`: requests, responses by code, durations, workers."""
    server = start("--preset=gunicorn")
    flags = ("--statsd-host", f"127.0.0.1:{server.udp_port}", "--statsd-prefix", "shop", "--dogstatsd-tags", "env:test")
    application = serve("wsgi:app", Path(__file__).parent / "apps", flags)
    for _ in range(30):
        application.get("/")
    labels = '{app="shop",env="test"}'
    expected = {
        f"gunicorn_requests_total{labels}": 30,
        'gunicorn_responses_total{app="shop",code="200",env="test"}': 30,
        f"gunicorn_request_duration_seconds_count{labels}": 30,
        f"gunicorn_workers{labels}": Gunicorn.WORKERS,
    }
    wait_for("gunicorn's metrics", lambda: expected.items() <= server.scrape().series.items())


def test_requests_in_flight_are_those_of_all_workers(
    start: Start, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gauge_mode: sum`: twenty held requests are twenty, whichever workers hold them and however often each says so."""
    release = tmp_path / "release"
    monkeypatch.setenv("RELEASE_FILE", str(release))
    mapping = "mappings: [{match: app.in_flight, name: app_in_flight, gauge_mode: sum}]\n"
    server = start("--lanes=2", mapping=mapping)
    application = serve("inflight:create_app", directory=Path(__file__).parent / "apps", statsd=server)
    with ThreadPoolExecutor(20) as clients:
        held = []
        for count in range(1, 21):
            held.append(clients.submit(application.get, "/hold"))
            wait_for_line(server, "app_in_flight", f"app_in_flight {count}")
        scrapes = {server.scrape().series["app_in_flight"] for _ in range(20)}
        release.touch()
    workers = {request.result() for request in held}
    assert scrapes == {20}
    assert len(workers) > 1, "one worker held them all"
    wait_for_line(server, "app_in_flight", "app_in_flight 0")


def test_counters_inside_the_workers_are_wrong(serve: Serve) -> None:
    """Why this exporter: prometheus_client in four processes shows each scrape another part of the truth."""
    application = serve("inprocess:create_app")
    sent, workers = 0, set()
    while sent < 30 or len(workers) < 2:
        assert sent < 10_000, "one worker answers everything"
        workers.add(json.loads(application.get("/fire"))["worker"])
        sent += 1
    assert all(scraped_in_process(application) < sent for _ in range(12))


def fire(application: Gunicorn, requests: int) -> None:
    """Sends requests one after the other, each over a new connection."""
    for _ in range(requests):
        application.get("/fire")


async def fire_concurrently(application: Gunicorn, requests: int) -> int:
    """Sends requests over 64 kept connections and returns how many were answered well."""
    remaining = iter(range(requests))
    answered = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        for _ in remaining:
            async with session.get(application.url("/fire")) as response:
                await response.read()
                answered += response.status == 200

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        await asyncio.gather(*(client(session) for _ in range(64)))
    return answered


def scraped_in_process(application: Gunicorn) -> float:
    """What one scrape of the application itself says; 0 from a worker that answered no request."""
    lines = [line for line in application.get("/metrics").splitlines() if line.startswith(COUNTER)]
    return float(lines[0].split(" ")[1]) if lines else 0.0


def wait_for_line(server: Server, series: str, line: str, seconds: float = 15.0) -> None:
    """Waits for the very line of the page that is asked for."""

    def seen() -> list[str]:
        return [found for found in server.scrape().text.splitlines() if found.startswith(series)]

    try:
        wait_for(line, lambda: seen() == [line], seconds)
    except AssertionError:
        assert seen() == [line]
