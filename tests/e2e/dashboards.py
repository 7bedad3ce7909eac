#!/usr/bin/env python3
"""Generated dashboards against validators and a real Prometheus.

  dashboards.py --bin TALLYD --shared DIR [--work DIR] [--seconds 40]

Starts a tallyd for each case, sends to it, lets two Prometheus scrape (one of them native histograms),
generates dashboards, and runs `validate_dashboard.sh` and `live_check.py` of DIR/grafana on every one.
Cases: every preset with the sample lines of DIR/presets/mapping, or captured ones where there are none, five
families, five hundred, native histograms, servers that are watched; presets also without a server. Exit 1 if anything is wrong with any dashboard.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HISTOGRAMS = "defaults: {observer_type: histogram}\n"
START_SECONDS = 20
# Envoy calls this gauge so.
KNOWN = "counter envoy_cluster_membership_total without rate/irate/increase"


@dataclass
class Case:
    """A server and what is sent to it."""

    name: str
    lines: list[bytes]
    mapping: str | None = None
    native: bool = False
    preset: bool = False
    flags: list[str] = field(default_factory=list)
    udp: int = 0
    web: int = 0


def five() -> list[bytes]:
    lines = [f"shop.orders:{n}|c|#status:{code},region:{region}".encode()
             for n, code in ((3, 200), (1, 500)) for region in ("eu", "us")]
    lines += [f"shop.order.duration:{ms}|ms|#region:eu".encode() for ms in (12, 40, 260)]
    return lines + [b"shop.queue.depth:7|g", b"shop.users:ann|s", b"shop.users:bob|s", b"shop.cache.hit_ratio:0.9|g"]


def many() -> list[bytes]:
    """Five hundred families under fifty beginnings, and some that are alone."""
    kinds = ["requests:1|c|#code:200", "errors:1|c", "latency:{n}|ms|#route:r{n}", "depth:{n}|g", "users:u{n}|s"]
    lines = []
    for n in range(500):
        group = f"team{n % 24}.svc{n // 250}" if n < 480 else f"lone{n}"
        lines.append(f"{group}.part{n // 5}.{kinds[n % 5].format(n=n)}".encode())
    return lines


def captured(preset: str) -> list[bytes]:
    """The lines of the captures whose names begin with a preset's."""
    files = sorted((REPOSITORY / "tests" / "data" / "captures").glob(f"{preset}*.txt"))
    datagrams = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return "\n".join(datagrams).encode().splitlines()


def cases(shared: Path) -> list[Case]:
    found = [
        Case("five", five()),
        Case("five-histograms", five(), HISTOGRAMS),
        Case("five-hundred", many(), HISTOGRAMS),
        Case("native", five(), HISTOGRAMS, native=True),
        Case("servers", captured("gunicorn"), flags=["--preset=gunicorn", "--listen-queue.address=own=127.0.0.1:{web}"]),
    ]
    for path in sorted((REPOSITORY / "mapping").glob("*.yaml")):
        samples, mapping = (shared / "presets" / "mapping" / path.stem).with_suffix(".in"), path.read_text()
        # Samples that are sent again and again are totals that stand still.
        is_enough = samples.exists() and "counter_mode: absolute" not in mapping
        lines = samples.read_bytes().splitlines() if is_enough else captured(path.stem)
        found.append(Case(path.stem, [line for line in lines if line], mapping, preset=True))
    return found


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def start_tallyd(binary: str, case: Case, work: Path) -> subprocess.Popen[bytes]:
    case.udp, case.web = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    flags = [f"--statsd.listen-udp=127.0.0.1:{case.udp}", "--statsd.listen-tcp=",
             f"--web.listen-address=127.0.0.1:{case.web}", "--lanes=1", *(flag.format(web=case.web) for flag in case.flags)]
    if case.mapping is not None:
        path = work / f"{case.name}.mapping.yaml"
        path.write_text(case.mapping)
        flags.append(f"--statsd.mapping-config={path}")
    with (work / f"{case.name}.log").open("wb") as log:
        return subprocess.Popen([binary, *flags], stdout=log, stderr=log)


def start_prometheus(work: Path, name: str, scraped: list[Case], *flags: str) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port(socket.SOCK_STREAM)
    jobs = [{"job_name": case.name, "static_configs": [{"targets": [f"127.0.0.1:{case.web}"]}]} for case in scraped]
    config = work / f"{name}.json"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
    with (work / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={work / name}",
             f"--web.listen-address=127.0.0.1:{port}", *flags], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/-/ready")
    return process, url


def send(sending: list[Case], stop: threading.Event) -> None:
    """Sends the lines of every case about twice a second."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while not stop.is_set():
        for case in sending:
            for line in case.lines:
                out.sendto(line, ("127.0.0.1", case.udp))
            time.sleep(0.5 / len(sending))


def run(*command: object) -> tuple[int, str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def generate(binary: str, out: Path, *flags: str) -> list[Path]:
    code, said = run(binary, "grafana", "generate", "--out", out, *flags)
    if code:
        raise RuntimeError(said)
    code, said = run(binary, "grafana", "generate", "--out", out, "--check", *flags)
    if code:
        raise RuntimeError(f"not the same the second time: {said}")
    return sorted(out.glob("*.json"))


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--bin", required=True)
    ask.add_argument("--shared", required=True, type=Path)
    ask.add_argument("--work", type=Path)
    ask.add_argument("--seconds", type=float, default=40)
    ask.add_argument("--keep", action="store_true", help="keep the dashboards and say where they are")
    args = ask.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="tallyd-dashboards-"))
    work.mkdir(parents=True, exist_ok=True)
    checks = args.shared / "grafana"
    bad: list[str] = []
    running: list[subprocess.Popen[bytes]] = []
    stop = threading.Event()
    every = cases(args.shared)

    def validate(path: Path) -> None:
        code, said = run("sh", checks / "schema" / "validate_dashboard.sh", path)
        errors = [line for line in said.splitlines() if line.startswith("ERROR") and not line.endswith(KNOWN)]
        if code and (errors or KNOWN not in said):
            bad.append(f"{path}\n{said}")

    def live(path: Path, url: str, job: str) -> None:
        code, said = run("python3", checks / "live_check.py", path, "--url", url, "--scrape", 1, "--range", "30s",
                         "--var", f"job={job}", "--quiet")
        print(f"{job:16} {path.name:60} {said.splitlines()[-1] if said else ''}")
        if code:
            bad.append(f"{path}\n{said}")

    try:
        running += [start_tallyd(args.bin, case, work) for case in every]
        for case in every:
            wait_for(f"http://127.0.0.1:{case.web}/-/ready")
        sender = threading.Thread(target=send, args=(every, stop))
        sender.start()
        classic, url = start_prometheus(work, "classic", [case for case in every if not case.native])
        running.append(classic)
        native, native_url = start_prometheus(
            work, "native", [case for case in every if case.native], "--enable-feature=native-histograms")
        running.append(native)
        since = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            jobs, promised = [], {}
            for case in (case for case in every if case.preset):
                mapping = REPOSITORY / "mapping" / f"{case.name}.yaml"
                paths = generate(args.bin, work / "mapping" / case.name, "--mapping", mapping, "--name", case.name)
                promised[case.name] = paths
                jobs += [pool.submit(validate, path) for path in paths]
            time.sleep(max(0.0, args.seconds - (time.monotonic() - since)))
            for case in every:
                paths = generate(args.bin, work / "live" / case.name, "--from", f"http://127.0.0.1:{case.web}",
                                 "--interval", "1s", "--name", case.name)
                jobs += [pool.submit(validate, path) for path in paths]
                for path in paths + promised.get(case.name, []):
                    jobs.append(pool.submit(live, path, native_url if case.native else url, case.name))
            for job in jobs:
                job.result()
    finally:
        stop.set()
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    count = len(list(work.glob("*/*/*.json")))
    print("\n".join(bad))
    print(f"{count} dashboards, {len(bad)} findings")
    if not args.keep and not args.work and not bad:
        shutil.rmtree(work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
