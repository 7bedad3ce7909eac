"""Real gunicorn whose workers die and are replaced: tallyd counts each answered request once, at every step."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict
from support.page import Page
from support.server import Server
from support.wait import wait_for
from support.web_app import AIOHTTP_WORKERS, Gunicorn

Start = Callable[..., Server]
Serve = Callable[..., Gunicorn]

APPLICATIONS = Path(__file__).parent / "multiproc"
CLIENTS = 8
# Names of samples that count requests.
OWN = ("shop_requests_total", "shop_request_seconds_count", "shop_answer_bytes_count")
FLASK = ("flask_http_request_total", "flask_http_request_duration_seconds_count")
DJANGO = (
    "django_http_requests_before_middlewares_total",
    "django_http_responses_total_by_status_total",
    "django_http_requests_latency_seconds_by_view_method_count",
)
GTHREAD = ("--worker-class", "gthread", "--threads", "4")
# Without it a worker that has nothing to do takes half a minute to end.
AIOHTTP = (*AIOHTTP_WORKERS, "--graceful-timeout=1")
UVICORN = ("--worker-class", "uvicorn_worker.UvicornWorker")
MARK_DEAD = ("--config", str(APPLICATIONS / "mark_dead.py"))


@dataclass(frozen=True)
class Setup:
    """An application, gunicorn's flags, what counts its requests, and whether tallyd removes files."""

    application: str
    flags: tuple[str, ...]
    counting: tuple[str, ...]
    reap: bool


SETUPS = {
    "sync": Setup("plain:app", (), OWN, reap=False),
    "sync-reap": Setup("plain:app", (), OWN, reap=True),
    "gthread-reap": Setup("plain:app", GTHREAD, OWN, reap=True),
    "aiohttp": Setup("aiohttp_app:create_app", AIOHTTP, OWN, reap=False),
    "uvicorn-reap": Setup("asgi:app", UVICORN, OWN, reap=True),
    "flask-reap": Setup("flask_app:app", MARK_DEAD, FLASK, reap=True),
    "django": Setup("django_app:app", GTHREAD, DJANGO, reap=False),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the workers write to."""
    directory = tmp_path / "multiproc"
    directory.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    monkeypatch.setenv("RELEASE_FILE", str(tmp_path / "release"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return directory


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts gunicorn: `serve(APPLICATION, *FLAGS)`; ended with the test."""
    running: list[Gunicorn] = []

    def begin(application: str, *flags: str) -> Gunicorn:
        running.append(Gunicorn(application, APPLICATIONS, tmp_path / "gunicorn.log", flags))
        return running[-1]

    yield begin
    for gunicorn in running:
        gunicorn.stop()


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_every_answered_request_is_counted_once(
    setup: Setup, files: Path, start: Start, serve: Serve, tmp_path: Path
) -> None:
    """Workers end after some requests, are killed, and are stopped; so is tallyd; no count is lost or doubled."""
    reap = ["--multiproc.reap"] if setup.reap else []
    # Bare, the flag takes the directory from the variable that the workers have.
    server = start("--multiproc.dir", f"--state.file={tmp_path / 'state'}", "--state.interval=1s", *reap)
    gunicorn = serve(setup.application, "--max-requests=70", "--max-requests-jitter=20", *setup.flags)
    answered = 0

    def check(step: str) -> Page:
        """Scrapes several times; nobody is answering a request meanwhile."""
        for _ in range(3):
            page = server.scrape()
            counted = {name: page.total(name) for name in setup.counting}
            assert counted == dict.fromkeys(setup.counting, answered), step
        return page

    while len(gunicorn.booted()) <= Gunicorn.WORKERS:
        answered += fire(gunicorn, 400)
        check("workers ended after their share of requests")
    replace(gunicorn, signal.SIGKILL)
    check("a worker was killed")
    replace(gunicorn, signal.SIGTERM)
    answered += fire(gunicorn, 100)
    check("a worker was stopped")
    server.restart()
    check("tallyd was restarted")
    answered += fire(gunicorn, 100)
    check("workers go on after that")
    replace(gunicorn, signal.SIGKILL)
    server.restart(signal.SIGKILL)
    check("tallyd was killed")
    answered += fire(gunicorn, 100)
    check("workers go on after that, too")
    gunicorn.stop()
    page = check("gunicorn was stopped")
    assert page.total("shop_in_flight") == 0
    assert page.total("shop_seen") == 0, "workers that are gone have live gauges"
    if setup.reap:
        wait_for("the files to be removed", lambda: not list(files.glob("*.db")))
        check("the files were removed")
    else:
        assert list(files.glob("counter_*.db")), "files were removed though nobody asked for it"
    server.restart()
    check("tallyd was restarted when nobody wrote")
    server.restart(signal.SIGKILL)
    check("tallyd was killed when nobody wrote")


def test_the_live_gauge_of_a_killed_worker_vanishes(files: Path, start: Start, serve: Serve) -> None:
    """A worker dies within a request: what it had in flight is gone with it, what others have stays."""
    server = start(f"--multiproc.dir={files}")
    gunicorn = serve("plain:app")
    with ThreadPoolExecutor(2) as clients:
        requests = [clients.submit(gunicorn.get, "/hold") for _ in range(2)]
        wait_for("two requests in flight", lambda: server.scrape().total("shop_in_flight") == 2)
        busy = [path for path in files.glob("gauge_livesum_*.db") if in_flight(path)]
        assert len(busy) == 2
        os.kill(int(busy[0].stem.rpartition("_")[2]), signal.SIGKILL)
        wait_for("its gauge to vanish", lambda: server.scrape().total("shop_in_flight") == 1)
        assert busy[0].exists()
        Path(os.environ["RELEASE_FILE"]).touch()
        outcomes = [request.exception() for request in requests]
    assert sum(outcome is None for outcome in outcomes) == 1
    page = server.scrape()
    assert page.total("shop_in_flight") == 0
    assert page.total("shop_requests_total") == 1


def in_flight(path: Path) -> bool:
    """Whether any gauge of a worker's file is not 0."""
    return any(value for _, value, _, _ in MmapedDict.read_all_values_from_file(path))


def fire(gunicorn: Gunicorn, requests: int) -> int:
    """Sends requests from several clients at once, and returns how many were answered."""

    def is_answered(_: int) -> bool:
        try:
            return gunicorn.get("/fire") == "fired\n"
        except ConnectionResetError:
            # A worker of uvicorn that ends drops connections whose request it has not read.
            return False

    with ThreadPoolExecutor(CLIENTS) as clients:
        answered = sum(clients.map(is_answered, range(requests)))
    assert answered > requests * 0.9
    return answered


def replace(gunicorn: Gunicorn, how: signal.Signals) -> None:
    """Ends a worker that does nothing, and waits until another has come."""
    victim = min(gunicorn.workers())
    os.kill(victim, how)

    def is_replaced() -> bool:
        workers = gunicorn.workers()
        return victim not in workers and len(workers) == Gunicorn.WORKERS

    wait_for("another worker", is_replaced)
