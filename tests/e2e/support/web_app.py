"""gunicorn as a child process, as the example's README starts it."""

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from support.server import REPOSITORY, Server, free_port, stop_process
from support.wait import wait_for

EXAMPLE = REPOSITORY / "examples" / "gunicorn-aiohttp"
AIOHTTP_WORKERS = ("--worker-class", "aiohttp.GunicornWebWorker")


class Gunicorn:
    """Four workers of one application; ready as soon as all of them have been started."""

    WORKERS = 4

    def __init__(
        self, application: str, directory: Path, log: Path, flags: Sequence[str] = (), statsd: Server | None = None
    ) -> None:
        self.port = free_port()
        self.log = log
        environment = dict(os.environ)
        if statsd:
            environment |= {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(statsd.udp_port)}
        command = [
            str(Path(sys.executable).parent / "gunicorn"),
            *("--workers", str(self.WORKERS), "--bind", f"127.0.0.1:{self.port}", "--chdir", str(directory)),
            *flags,
            application,
        ]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        wait_for("gunicorn's workers", lambda: self.process.poll() is not None or len(self.booted()) == self.WORKERS)
        assert self.process.poll() is None, log.read_text()

    def booted(self) -> list[str]:
        """The process ids of the workers that gunicorn has announced."""
        return re.findall(r"Booting worker with pid: (\d+)", self.log.read_text())

    def workers(self) -> set[int]:
        """The process ids of the workers that are there."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def get(self, path: str) -> str:
        """One request over a connection of its own, as a load balancer or Prometheus makes them."""
        with urllib.request.urlopen(self.url(path), timeout=30) as answer:
            return answer.read().decode()

    def url(self, path: str = "") -> str:
        """The application's address, with a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        """Ends gunicorn and its workers."""
        stop_process(self.process)
