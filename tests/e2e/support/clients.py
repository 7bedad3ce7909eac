"""The clients' programs: built by `make clients`, each sends a fixed set of samples and exits."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.server import Server, target_dir

SOURCES = Path(__file__).resolve().parent.parent / "clients"


def commands() -> dict[str, list[str]]:
    """How to start each program; the mode comes as one more argument."""
    built = target_dir() / "e2e"
    java = built / "java" / "target"
    return {
        "datadog": [sys.executable, str(SOURCES / "python" / "send_datadog.py")],
        "statsd": [sys.executable, str(SOURCES / "python" / "send_statsd.py")],
        "aiodogstatsd": [sys.executable, str(SOURCES / "python" / "send_aiodogstatsd.py")],
        "hot-shots": ["node", str(built / "node" / "send.js")],
        "datadog-go": [str(built / "go" / "send")],
        "cadence": [str(built / "rust" / "debug" / "send-cadence")],
        "java": ["java", "-cp", f"{java}/classes:{java}/dependency/*", "Send"],
    }


@contextmanager
def sending(client: str, mode: str, server: Server) -> Iterator[None]:
    """Starts a client's program; at the end of the block it is told to end, and must not complain.

    The block waits for the totals, as one client (Java's) throws away what it still queues when it is closed.
    """
    with subprocess.Popen(
        [*commands()[client], mode],
        env=server.client_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield
        finally:
            output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, ""), f"{client} {mode} complained:\n{output}"
