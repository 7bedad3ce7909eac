"""TLS, users and systemd's sockets, with curl, openssl, DogStatsD's client, Prometheus and systemd at the other end."""

import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from datadog.dogstatsd.base import DogStatsd
from support.server import free_port, stop_process, tallyd_binary
from support.wait import wait_for

USER, PASSWORD = "prometheus", "correct horse battery staple"
HASH = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"
CONFIG = f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
basic_auth_users:
  {USER}: {HASH}
"""
CERTIFICATES = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
for name in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=DNS:localhost") -out $name.pem
done
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: tallyd
    scheme: https
    tls_config: {{ca_file: ca.pem, cert_file: client.pem, key_file: client.key, server_name: localhost}}
    basic_auth: {{username: {user}, password: {password}}}
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""

Launch = Callable[..., subprocess.Popen]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="tallyd-") as path:
        yield Path(path)


@pytest.fixture
def launch(folder: Path) -> Iterator[Launch]:
    """Starts a program in the directory; ended with the test."""
    with ExitStack() as running:

        def begin(*command: str | Path) -> subprocess.Popen:
            log = running.enter_context((folder / f"{Path(command[0]).name}.log").open("w"))
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
            running.callback(stop_process, process)
            return process

        yield begin


def run(folder: Path, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    """What a command prints when it ends with one of these codes."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode in codes, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def is_open(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_with_tls(folder: Path, launch: Launch) -> int:
    """A server that asks for a certificate and a password; returns its port."""
    run(folder, "bash", "-euo", "pipefail", "-c", CERTIFICATES)
    (folder / "web.yml").write_text(CONFIG)
    port = free_port()
    launch(
        tallyd_binary().absolute(),
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.config.file=web.yml",
        "--statsd.listen-udp=",
        "--statsd.listen-tcp=127.0.0.1:0",
    )
    wait_for("the server", lambda: is_open(port))
    return port


def test_curl_gets_the_page_by_http2_with_a_certificate_and_a_password(folder: Path, launch: Launch) -> None:
    port = start_with_tls(folder, launch)

    def curl(*flags: str, codes: tuple[int, ...] = (0,)) -> str:
        command = ["curl", "-sS", "--max-time", "20", "--cacert", "ca.pem", f"https://localhost:{port}/metrics"]
        return run(folder, *command, *flags, codes=codes)

    known = ["--cert", "client.pem", "--key", "client.key"]
    user = ["--user", f"{USER}:{PASSWORD}"]
    for flag, version in [("--http2", "2"), ("--http1.1", "1.1")]:
        page = curl(*known, *user, flag, "--write-out", "by %{http_version}")
        assert "\ntallyd_build_info{" in page and page.endswith(f"by {version}"), page[-200:]
    assert curl(*known, "--user", f"{USER}:wrong", "--write-out", "%{http_code}") == "Unauthorized\n401"
    # The connection ended where the request should have gone (55) or an answer should have been (56).
    curl(*user, "--tlsv1.3", codes=(55, 56))


def test_prometheus_scrapes_with_a_certificate_and_a_password(folder: Path, launch: Launch) -> None:
    port, prometheus = start_with_tls(folder, launch), free_port()
    config = PROMETHEUS.format(user=USER, password=PASSWORD, port=port)
    (folder / "prometheus.yml").write_text(config)
    launch("prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{prometheus}")
    query = f"http://127.0.0.1:{prometheus}/api/v1/query?query=up"
    up = '"value":['

    def scraped() -> bool:
        answer = subprocess.run(["curl", "-sS", query], capture_output=True, text=True, timeout=20).stdout
        return up in answer and answer.split(up)[1].split(",")[1].startswith('"1"')

    wait_for("the first scrape", scraped, 30)


def activate(launch: Launch, listen: Sequence[str], names: Sequence[str], *flags: str) -> None:
    """Has systemd's program listen, which starts the server as soon as somebody comes."""
    listening = [word for address in listen for word in ("-l", address)]
    datagram = ["-d"] if names == ["datagram"] else []
    binary = str(tallyd_binary().absolute())
    named = [] if datagram else [f"--fdname={':'.join(names)}"]
    launch("systemd-socket-activate", *datagram, *listening, *named, binary, *flags)


def test_systemd_passes_stream_sockets_for_lines_and_for_http(folder: Path, launch: Launch) -> None:
    tcp, web = free_port(), free_port()
    listen = [f"127.0.0.1:{tcp}", str(folder / "s"), f"127.0.0.1:{web}", str(folder / "w")]
    activate(launch, listen, ["statsd", "statsd", "web", "web"], "--statsd.systemd-socket", "--web.systemd-socket")
    wait_for("systemd", lambda: (folder / "w").exists() and is_open(tcp))
    with socket.create_connection(("127.0.0.1", tcp)) as client:
        client.sendall(b"sum:1|c\n")
    framed = DogStatsd(socket_path=f"unixstream://{folder}/s", disable_telemetry=True, disable_buffering=True)
    framed.increment("sum", 10)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "s"))
        client.sendall(b"sum:100|c\n")
    wait_for("all lines by TCP", lambda: "\nsum 111\n" in fetch(folder, f"http://127.0.0.1:{web}/metrics"))
    assert "\nsum 111\n" in fetch(folder, "http://localhost/metrics", "--unix-socket", "w")


def test_systemd_passes_datagram_sockets(folder: Path, launch: Launch) -> None:
    udp, web = free_port(socket.SOCK_DGRAM), free_port()
    listen = [f"127.0.0.1:{udp}", str(folder / "s")]
    flags = ["--statsd.systemd-socket", f"--web.listen-address=127.0.0.1:{web}"]
    activate(launch, listen, ["datagram"], *flags)
    wait_for("systemd", lambda: (folder / "s").exists())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"sum:1|c", ("127.0.0.1", udp))
    gram = DogStatsd(socket_path=f"unix://{folder}/s", disable_telemetry=True, disable_buffering=True)
    gram.increment("sum", 10)
    wait_for("both datagrams", lambda: "\nsum 11\n" in fetch(folder, f"http://127.0.0.1:{web}/metrics"))


def fetch(folder: Path, url: str, *flags: str) -> str:
    """A page, or nothing as long as nobody answers."""
    command = ["curl", "-sS", "--max-time", "10", url, *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20).stdout


def test_the_units_are_what_systemd_expects() -> None:
    units = sorted((Path(__file__).resolve().parents[2] / "packaging" / "systemd").iterdir())
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=60
    )
    # The program is not where a package would put it.
    complaints = [line for line in done.stderr.splitlines() if "/usr/bin/tallyd is not executable" not in line]
    assert not complaints, complaints
