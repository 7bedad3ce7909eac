"""Writes generated directories as the workers of a server would, and what `MultiProcessCollector` makes of each.

    PYTHONPATH=VERSION write_cases.py DIRECTORY SEED CASES

It runs under the prometheus_client that PYTHONPATH names. Each case is a folder `DIRECTORY/cNNN`, and what the collector of
that version says of it is `DIRECTORY/cNNN.STAGE.prom`. It prints a line when all cases are written (stage 1), and goes on when it
reads one: then workers go on writing, others come (stage 2, and again stage 3).
"""

import os
import random
import sys
from pathlib import Path

os.environ["PROMETHEUS_MULTIPROC_DIR"] = "."

import prometheus_client  # noqa: E402
from prometheus_client import CollectorRegistry, multiprocess, values  # noqa: E402

STAGES = 3
# All that this version knows.
MODES = sorted(prometheus_client.Gauge._MULTIPROC_MODES)
ODD = [
    "",
    " ",
    "plain",
    'quo"ted',
    "back\\slash",
    "new\nline",
    "\\n",
    "tab\there",
    "umläute",
    "日本",
    "🔥",
    "{a=b,}",
    "null",
    "x" * 300,
    "\x7f",
]
BUCKETS = [(0.1, 0.5, 1), (0.25, 0.5, 2.5, 1e6), (-1, 0, 1), (1e-9, 3), (5,)]


class Worker:
    """One process of a case: metrics of its own under a process id of its own."""

    def __init__(self, folder, pid, seed):
        self.folder, self.pid, self.random = folder, pid, random.Random(seed)
        self.value_class = values.MultiProcessValue(lambda: pid)
        self.known = {}

    def work(self, shape, rounds):
        """Counts, sets and observes."""
        # What the library reads anew for each file and each metric.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = self.value_class
        for _ in range(rounds):
            kind, name, labels = self.random.choice(shape)
            child = self.metric(kind, name, labels)
            if labels:
                child = child.labels(*(self.random.choice(ODD) for _ in labels))
            self.use(kind, child)

    def metric(self, kind, name, labels):
        if name not in self.known:
            make = getattr(prometheus_client, kind.partition("_")[0].capitalize())
            keywords = {}
            if kind.startswith("gauge"):
                keywords = {"multiprocess_mode": kind.partition("_")[2]}
            elif kind == "histogram":
                # Workers of two versions of an application differ in them.
                keywords = {"buckets": self.random.choice(BUCKETS)}
            self.known[name] = make(name, help_of(name), labels, registry=None, **keywords)
        return self.known[name]

    def use(self, kind, child):
        # Sums of eighths are the same in any order, so that any difference is one.
        eighths = self.random.randrange(-800, 800) / 8
        if kind == "counter":
            child.inc(self.random.choice([1, abs(eighths), 1e15, 0]))
        elif kind == "summary":
            child.observe(abs(eighths))
        elif kind == "histogram":
            child.observe(self.random.choice([eighths, abs(eighths) / 64, 0.5, 1]))
        elif not kind.endswith("mostrecent") and self.random.random() < 0.3:
            child.inc(eighths)
        else:
            child.set(self.random.choice([eighths, eighths, 0, 1e300, -1e-300, float("inf")]))


def help_of(name):
    """The same in every process; some have what a page must escape."""
    texts = ["Plain.", "", 'With "quotes".', "Back\\slash and\nnew line.", "Ünicode 🔥"]
    return texts[sum(name.encode()) % len(texts)]


def shape_of(chosen):
    """Families of a case; the same name is the same kind, with the same labels, in all cases."""
    kinds = ["counter", "summary", "histogram", *(f"gauge_{mode}" for mode in MODES)]
    shape = []
    for _ in range(chosen.randrange(1, 12)):
        kind, number = chosen.choice(kinds), chosen.randrange(6)
        shape.append((kind, f"{kind}_{number}_x", ["code", "path", "_z"][: number % 4]))
        if kind.startswith("gauge") and not kind.endswith("all"):
            # The collector takes a label of that name for its own.
            shape.append((kind, f"{kind}_of_pid", ["pid"]))
        if TAKES_ANY_NAME:
            shape.append((kind, f"{kind}.{number}.ü", ["my.label"]))
    return shape


def takes_any_name():
    """Later versions do, and write underscores to a page."""
    try:
        prometheus_client.Metric("a.b", "", "gauge")
    except ValueError:
        return False
    return True


def main(directory, seed, count):
    cases = []
    for number in range(count):
        chosen = random.Random(f"{seed}/{number}")
        folder = directory / f"c{number:03}"
        folder.mkdir(parents=True)
        (folder / "README").write_text("What is no file of a worker.")
        cases.append((chosen, folder, shape_of(chosen), []))
    for stage in range(1, STAGES + 1):
        for chosen, folder, shape, workers in cases:
            for _ in range(chosen.randrange(1, 4) if stage != 2 else 0):
                # No Linux process has such an id, so whoever looks finds that it is gone.
                workers.append(Worker(folder, 10**8 + chosen.randrange(10**6), chosen.random()))
            for worker in workers:
                # A few write more than a file has room for at first.
                worker.work(shape, chosen.choice([0, 3, 10, 30] if folder.name[-1] != "5" else [900]))
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, path=str(folder))
            page = prometheus_client.generate_latest(registry)
            folder.with_suffix(f".{stage}.prom").write_bytes(page)
        print(f"stage {stage}", flush=True)
        sys.stdin.readline()


TAKES_ANY_NAME = takes_any_name()
main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
