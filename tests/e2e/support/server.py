"""The server under test as a child process on free loopback ports."""

import os
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from support.page import Page
from support.wait import wait_for

REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = ["--compat=reference"]


def target_dir() -> Path:
    """Cargo's target directory, which also holds everything these tests build."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def tallyd_binary() -> Path:
    """`TALLYD_BIN`, or what cargo built last."""
    if "TALLYD_BIN" in os.environ:
        return Path(os.environ["TALLYD_BIN"])
    built = [path for profile in ("release", "debug") if (path := target_dir() / profile / "tallyd").exists()]
    assert built, "no tallyd is built; run `cargo build`, or name one in TALLYD_BIN"
    return max(built, key=lambda path: path.stat().st_mtime)


def reference_binary() -> Path:
    """statsd_exporter 0.31: `STATSD_EXPORTER`, or where `make peers` installs it."""
    path = Path(os.environ.get("STATSD_EXPORTER", target_dir() / "peers" / "statsd_exporter"))
    assert path.exists(), f"{path} is missing; `make peers` installs it"
    return path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A loopback port that nobody had a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop_process(process: subprocess.Popen) -> None:
    """Asks a child to end, and ends it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """One running tallyd, or statsd_exporter with the flags that it shares.

    Listens on UDP, TCP and a Unix datagram socket; all ports are free loopback ports.
    """

    def __init__(
        self, binary: Path, directory: Path, flags: Sequence[str] = (), mapping: str | Path | None = None
    ) -> None:
        self.binary = binary
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        # The path of a Unix socket is limited to 107 bytes, which pytest's directories can exceed.
        self.socket_directory = tempfile.TemporaryDirectory(prefix="tallyd-")
        self.socket_path = f"{self.socket_directory.name}/s"
        self.flags = list(flags)
        if mapping is not None:
            self.flags.append(f"--statsd.mapping-config={self._mapping_path(mapping)}")
        self._start()

    def _mapping_path(self, mapping: str | Path) -> Path:
        if isinstance(mapping, Path):
            return mapping
        path = self.directory / "mapping.yaml"
        path.write_text(mapping)
        return path

    def _start(self) -> None:
        # A port can be taken between the look and the start, so a refused start is tried again.
        for _ in range(5):
            self.udp_port = free_port(socket.SOCK_DGRAM)
            self.tcp_port = free_port()
            self.web_port = free_port()
            self.process = self._spawn()
            wait_for("the server", lambda: self._has_ended() or self._is_healthy())
            if not self._has_ended():
                return
            if "in use" not in self.log():
                break
        raise AssertionError(f"{self.binary} did not start:\n{self.log()}")

    def _spawn(self) -> subprocess.Popen:
        command = [
            str(self.binary),
            f"--statsd.listen-udp=127.0.0.1:{self.udp_port}",
            f"--statsd.listen-tcp=127.0.0.1:{self.tcp_port}",
            f"--statsd.listen-unixgram={self.socket_path}",
            f"--web.listen-address=127.0.0.1:{self.web_port}",
            *self.flags,
        ]
        with (self.directory / "log").open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def _is_healthy(self) -> bool:
        return self.get("/-/healthy") is not None

    def get(self, path: str, headers: dict[str, str] | None = None) -> str:
        """The body of one GET of the web address."""
        request = urllib.request.Request(self.url(path), headers=headers or {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def url(self, path: str = "") -> str:
        """The web address, with a path."""
        return f"http://127.0.0.1:{self.web_port}{path}"

    def scrape(self) -> Page:
        """One scrape in the text format."""
        return Page(self.get("/metrics"))

    def send(self, *lines: str) -> None:
        """Sends each line as a UDP datagram of its own."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for line in lines:
                client.sendto(line.encode(), ("127.0.0.1", self.udp_port))

    def client_environment(self) -> dict[str, str]:
        """The environment that tells the clients' programs where to send."""
        return dict(
            os.environ,
            STATSD_HOST="127.0.0.1",
            STATSD_UDP_PORT=str(self.udp_port),
            STATSD_TCP_PORT=str(self.tcp_port),
            STATSD_SOCKET=self.socket_path,
        )

    def log(self) -> str:
        """Everything the server has printed."""
        return (self.directory / "log").read_text()

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the server with a signal and starts it again with the same flags, on other ports."""
        self.process.send_signal(how)
        self.process.wait(timeout=15)
        self._start()

    def stop(self) -> None:
        """Ends the server and removes its socket."""
        stop_process(self.process)
        self.socket_directory.cleanup()
