"""Directories of workers' files, scraped through tallyd and through prometheus_client's own collector.

Both see the same files on the same CPU and take turns; between two scrapes values change, as they do under load.
"""

import contextlib
import json
import mmap
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from .servers import Server

COLLECTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collector.py")
# Above any Linux gives: a worker with such an id is gone.
GONE = 5_000_000
FILE_BYTES = 1 << 16
SETTLE_SECONDS = 60


def python(options):
    """A Python that has prometheus_client, or None."""
    for candidate in filter(None, (options.python, sys.executable, "python3")):
        done = subprocess.run([candidate, "-c", "import prometheus_client"], capture_output=True, check=False)
        if not done.returncode:
            return candidate
    print("no Python with prometheus_client, so its collector is left out; name one: --python", file=sys.stderr)
    return None


class Worker:
    """The files of one worker as the library writes them, to be copied under other ids."""

    def __init__(self, interpreter, shape):
        with tempfile.TemporaryDirectory(prefix="worker-") as directory:
            subprocess.run([interpreter, COLLECTOR, "write", shape], check=True,
                           env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory})
            self.files = {}
            for name in os.listdir(directory):
                with open(os.path.join(directory, name), "rb") as file:
                    content = bytearray(file.read())
                used = struct.unpack_from("<i", content)[0]
                # Values stand where the keys end.
                self.files[name.rpartition("_")[0]] = (content[:used], list(value_places(content, used)), len(content))

    def entries(self):
        return sum(len(places) for _, places, _ in self.files.values())

    def put(self, directory, pid, factor):
        for kind, (content, places, size) in self.files.items():
            for place in places:
                value = struct.unpack_from("<d", content, place)[0]
                struct.pack_into("<d", content, place, value + factor % 7)
            with open(os.path.join(directory, f"{kind}_{pid}.db"), "wb") as file:
                file.write(content)
                file.truncate(size)


def value_places(content, used):
    at = 8
    while at < used:
        length = struct.unpack_from("<i", content, at)[0]
        at += 4 + length + 8 - (length + 4) % 8
        yield at
        at += 16


class Collector:
    """`generate_latest` over `MultiProcessCollector` in a process of its own, warm."""

    def __init__(self, interpreter, cpu, directory):
        command = ["taskset", "-c", str(cpu), interpreter, COLLECTOR, "scrape", directory]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def scrape(self):
        """Milliseconds for a page."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["ms"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def alive(count, directories):
    """Ids of processes that have the files of their ids mapped, as their writers have, once these are there."""
    pids = []
    try:
        for _ in range(count):
            pid = os.fork()
            if not pid:
                hold(directories)
            pids.append(pid)
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def hold(directories):
    """Maps this process' files and waits for its end."""
    held = []
    for directory in directories:
        path = os.path.join(directory, f"counter_{os.getpid()}.db")
        while not os.path.exists(path) or not os.path.getsize(path):
            time.sleep(0.01)
        with open(path, "rb") as file:
            held.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    while True:
        signal.pause()


def change(directory, pids):
    """Workers go on counting: one value of each file."""
    for pid in pids:
        for name in (f"counter_{pid}.db", f"histogram_{pid}.db"):
            with open(os.path.join(directory, name), "r+b") as file:
                head = file.read(256)
                place = next(value_places(head, 256))
                file.seek(place)
                file.write(struct.pack("<d", struct.unpack_from("<d", head, place)[0] + 1))


def measured(bench, interpreter, directory, flags, settle, busy):
    """Scrapes in turn: tallyd, the collector, tallyd, and so on."""
    tallyd = bench.exporters[0]
    found = {"tallyd_ms": [], "collector_ms": []}
    with Server(tallyd, bench.options.server_cpu, None, "--lanes=1") as server:
        server.scrape()
        idle = server.memory()[0]
    with Server(tallyd, bench.options.server_cpu, None, f"--lanes=1 --multiproc.dir={directory} {flags}") as server:
        found["first_ms"] = server.scrape()[1]
        if settle:
            wait_until_folded(server)
        with Collector(interpreter, bench.options.server_cpu, directory) as collector:
            collector.scrape()
            for _ in range(max(bench.rounds, 3)):
                change(directory, busy)
                found["collector_ms"].append(collector.scrape())
                change(directory, busy)
                # A page takes a moment only; one of several is no chance.
                found["tallyd_ms"].append(statistics.median(server.scrape()[1] for _ in range(5)))
        found["memory"] = server.memory()[0] - idle
        found["page"] = server.scrape()[2]
    return found


def wait_until_folded(server):
    """Waits until a scrape costs what the last one did, long after the first."""
    deadline, last = time.monotonic() + SETTLE_SECONDS, None
    while time.monotonic() < deadline:
        time.sleep(1)
        now = statistics.median(server.scrape()[1] for _ in range(3))
        if last is not None and now > last * 0.8:
            return
        last = now


def multiproc(bench):
    """32 workers that live; 2,000 that have come and gone; memory for each series."""
    interpreter = python(bench.options)
    if interpreter is None:
        return {}
    top = tempfile.mkdtemp(prefix="multiproc-")
    result = {}
    try:
        worker = Worker(interpreter, "usual")
        few, many, wide = (os.path.join(top, name) for name in ("few", "many", "wide"))
        for directory in (few, many, wide):
            os.mkdir(directory)
        with alive(32, (few, many)) as pids:
            for number, pid in enumerate(pids):
                worker.put(few, pid, number)
                worker.put(many, pid, number)
            for number in range(2_000 - len(pids)):
                worker.put(many, GONE + number, number)
            never = "--multiproc.liveness=never"
            result["32 workers"] = measured(bench, interpreter, few, "", False, pids)
            result["2,000 workers, all alive"] = measured(bench, interpreter, many, never, False, pids)
            result["2,000 workers, 32 alive"] = measured(bench, interpreter, many, "", True, pids)
            for each in result.values():
                each["values"] = worker.entries()
            broad = Worker(interpreter, "wide")
            broad.put(wide, pids[0], 1)
            found = measured(bench, interpreter, wide, never, False, [])
            result["one worker"] = {**found, "values": broad.entries()}
    finally:
        shutil.rmtree(top)
    return result
