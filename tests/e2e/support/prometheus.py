"""A real Prometheus that scrapes a server every second."""

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.server import Server, free_port, stop_process
from support.wait import wait_for

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: tallyd
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""


class Prometheus:
    """One running Prometheus with an empty database; ready when its first scrape went well."""

    def __init__(self, server: Server, directory: Path, flags: Sequence[str] = ()) -> None:
        self.port = free_port()
        (directory / "prometheus.yml").write_text(CONFIG.format(port=server.web_port))
        self.log = directory / "prometheus.log"
        command = [
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *flags,
        ]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_for("the first scrape", lambda: self._has_ended() or self.value("up") == 1.0, seconds=30)
        assert not self._has_ended(), self.log.read_text()

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def value(self, expression: str) -> float | None:
        """The value of an instant query that gives one series; `None` as long as it gives nothing."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        assert len(result) <= 1, f"{expression} gives {len(result)} series"
        return float(result[0]["value"][1]) if result else None

    def wait_for_value(self, expression: str, expected: object, seconds: float = 30.0) -> None:
        """Waits until a query gives a number that equals `expected`, which may be an approximation."""
        wait_for(f"{expression} = {expected}", lambda: self.value(expression) == expected, seconds)

    def stop(self) -> None:
        """Ends Prometheus."""
        stop_process(self.process)


@contextmanager
def steady_traffic(server: Server, per_second: float, line: Callable[[int], Sequence[str]]) -> Iterator[None]:
    """Sends `line(0)`, `line(1)`, … at an even pace as long as the block runs."""
    stopping = threading.Event()

    def send() -> None:
        started, sent = time.monotonic(), 0
        # A late wake-up is made up for, so that the rate stays true on a busy machine.
        while not stopping.wait(0.01):
            due = int((time.monotonic() - started) * per_second)
            server.send(*(text for number in range(sent, due) for text in line(number)))
            sent = due

    sender = threading.Thread(target=send, name="steady traffic")
    sender.start()
    try:
        yield
    finally:
        stopping.set()
        sender.join()
