"""How full real servers are: a uWSGI and a gunicorn whose workers are all busy, and connections that wait."""

import http.client
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.server import Server, free_port, stop_process
from support.wait import wait_for
from support.web_app import Gunicorn

Start = Callable[..., Server]

APPS = Path(__file__).parent / "apps"
LISTEN = 5


class Uwsgi:
    """Two workers of two threads, and a short accept queue."""

    def __init__(self, log: Path) -> None:
        self.port, self.stats = free_port(), free_port()
        flags = ["--plugins", "python3", "--http-socket", f"127.0.0.1:{self.port}", "--stats", f"127.0.0.1:{self.stats}"]
        flags += ["--listen", str(LISTEN), "--master", "--processes", "2", "--threads", "2", "--die-on-term"]
        flags += ["--chdir", str(APPS), "--module", "held:app"]
        with log.open("w") as output:
            self.process = subprocess.Popen(["uwsgi", *flags], stdout=output, stderr=subprocess.STDOUT)
        # Who comes too early comes again after five seconds.
        wait_for("uWSGI", lambda: socket.create_connection(("127.0.0.1", self.stats), 1).close() is None)


@pytest.fixture
def uwsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Uwsgi]:
    """A uWSGI that ends with its test."""
    monkeypatch.setenv("RELEASE_FILE", str(tmp_path / "release"))
    running = Uwsgi(tmp_path / "uwsgi.log")
    yield running
    stop_process(running.process)


def test_a_uwsgi_is_full_when_its_threads_are_held(start: Start, uwsgi: Uwsgi, tmp_path: Path) -> None:
    """Four held requests fill it, three more wait; the stats socket and the kernel agree."""
    server = start(f"--uwsgi.stats=shop=127.0.0.1:{uwsgi.stats}", f"--listen-queue.address=shop=127.0.0.1:{uwsgi.port}")
    stats = f'address="127.0.0.1:{uwsgi.stats}",app="shop",source="uwsgi"'
    queue = f'address="127.0.0.1:{uwsgi.port}",app="shop",source="socket"'

    def says(expected: dict[str, float]) -> None:
        wait_for(f"{expected}", lambda: expected.items() <= server.scrape().series.items(), seconds=20)

    says({f"tallyd_server_busy_ratio{{{stats}}}": 0, f"tallyd_server_backlog_limit{{{queue}}}": LISTEN})
    with ExitStack() as held:
        for _ in range(4 + 3):
            client = http.client.HTTPConnection("127.0.0.1", uwsgi.port)
            held.callback(client.close)
            client.request("GET", "/hold")
        says({
            f"tallyd_server_busy_ratio{{{stats}}}": 1,
            f'tallyd_server_threads{{{stats},state="busy"}}': 4,
            f'tallyd_server_workers{{{stats},state="busy"}}': 2,
            f"tallyd_server_backlog{{{queue}}}": 3,
            f"tallyd_server_backlog{{{stats}}}": 3,
            f"tallyd_server_backlog_limit{{{stats}}}": LISTEN,
            f"tallyd_server_backlog_fill_ratio{{{queue}}}": 3 / LISTEN,
        })
        (tmp_path / "release").touch()
    says({f"tallyd_server_busy_ratio{{{stats}}}": 0, f"tallyd_server_backlog{{{queue}}}": 0})
    stop_process(uwsgi.process)
    says({f"tallyd_server_up{{{stats}}}": 0, f"tallyd_server_up{{{queue}}}": 0})
    assert f"tallyd_server_busy_ratio{{{stats}}}" not in server.scrape().series


def test_a_gunicorn_is_as_busy_as_its_requests_take(start: Start, tmp_path: Path) -> None:
    """`--statsd-host` with `--preset=gunicorn`: workers, and how many of them were busy."""
    server = start("--preset=gunicorn")
    flags = ("--statsd-host", f"127.0.0.1:{server.udp_port}", "--statsd-prefix", "shop", "--enable-backlog-metric")
    application = Gunicorn("held:app", APPS, tmp_path / "gunicorn.log", flags)
    labels = 'app="shop",source="gunicorn"'

    def value(name: str, more: str = "") -> float | None:
        return server.scrape().series.get(f"tallyd_server_{name}{{{labels}{more}}}")

    try:
        wait_for("workers", lambda: value("workers", ',state="unknown"') == Gunicorn.WORKERS)
        with ThreadPoolExecutor(4) as clients:
            list(clients.map(lambda _: application.get("/slow"), range(8)))
        wait_for("busy workers", lambda: (value("busy_ratio") or 0) > 0.1)
        busy, idle = value("workers", ',state="busy"'), value("workers", ',state="idle"')
        assert busy is not None and idle is not None and abs(busy + idle - Gunicorn.WORKERS) < 1e-9
        wait_for("the backlog", lambda: value("backlog") is not None)
    finally:
        application.stop()
