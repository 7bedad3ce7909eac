"""The measurements: each part returns plain data that is kept as JSON and shown by page.py.

The generator is pinned to one CPU and the server to another. Servers take turns in every round, in an order that moves
on with each, so that what else happens on the machine meets all of them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from . import lines
from .multiproc import multiproc
from .servers import Server

HISTOGRAMS = "defaults:\n  observer_type: histogram\n"

# Metrics a second at which servers have idle time.
FIXED_RATES = {"single": 50_000, "packed": 200_000, "wide": 100_000, "mapped": 100_000, "summary": 200_000}


class Bench:
    """What all parts share."""

    def __init__(self, tallyd, peers, options, known):
        """`known` holds the results of parts measured before."""
        self.tallyd, self.peers, self.options, self.known = tallyd, peers, options, known
        self.quick = options.quick
        self.rounds = options.rounds or (1 if options.quick else 5)
        self.seconds = 1 if options.quick else 4
        # What this script does itself must not disturb the server either.
        os.sched_setaffinity(0, {options.client_cpu})
        self.exporters = [peer for peer in peers if peer.is_exporter]

    def part(self, name):
        print(f"measuring: {name}", file=sys.stderr)
        began = time.monotonic()
        result = PARTS[name](self)
        print(f"  took {time.monotonic() - began:.0f} s", file=sys.stderr)
        return result

    def start(self, peer, workload="packed", flags=""):
        return Server(peer, self.options.server_cpu, self.mapping(workload), flags)

    def mapping(self, workload):
        """Timers become histograms, but in `summary`, which is `packed` without any mapping file."""
        if workload == "summary":
            return None
        if workload == "mapped":
            return self.client("mapping")
        return HISTOGRAMS

    def client(self, *words):
        command = [self.tallyd, "bench", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def load(self, server, workload, *flags, transport="udp"):
        """Sends with the bench client and returns its outcome, with the server's CPU time as seen from here too."""
        target = {"udp": f"udp://127.0.0.1:{server.udp}", "tcp": f"tcp://127.0.0.1:{server.tcp}",
                  "unixgram": f"unixgram://{server.unix}"}[transport]
        page = f"http://127.0.0.1:{server.web}/metrics" if server.peer.is_exporter else "none"
        before = server.cpu_seconds()
        out = self.client("run", "--target", target, "--scrape", page, "--workload", name_of(workload),
                          "--output", "json", *flags)
        outcome = json.loads(out)
        if not server.peer.is_exporter:
            time.sleep(0.1)
            cpu = server.cpu_seconds() - before
            outcome["server"] = {"cpu_us_per_metric": cpu * 1e6 / max(1, outcome["sending"]["metrics"])}
        return outcome

    def warm(self, server, workload, series):
        """Sends every series once, so that its creation is no part of what follows."""
        if server.peer.is_sink:
            return
        self.load(server, workload, "--series", series, "--count", series, "--rate", 100_000, "--scrape-every", "0s")

    def alternate(self, peers):
        """The peers of each round, beginning with another one every time."""
        for number in range(self.rounds):
            turn = number % len(peers)
            yield from peers[turn:] + peers[:turn]


def name_of(workload):
    return "packed" if workload == "summary" else workload


def series_of(workload):
    return {"wide": 100_000, "mapped": 20_000}.get(workload, 1_000)


def cpu(outcome):
    return outcome["server"]["cpu_us_per_metric"]


def loss(outcome):
    return (outcome.get("accounting") or {}).get("loss_ratio")


def fixed(bench):
    """CPU per metric at moderate rates, where waking up costs more than working."""
    result = {}
    for workload, rate in FIXED_RATES.items():
        if bench.quick and workload in ("wide", "summary"):
            continue
        found = {peer.name: {"cpu_us": [], "loss": []} for peer in bench.peers}
        for peer in bench.alternate(bench.peers):
            with bench.start(peer, workload) as server:
                bench.warm(server, workload, series_of(workload))
                outcome = bench.load(server, workload, "--rate", rate, "--duration", f"{bench.seconds}s",
                                     "--scrape-every", "0s")
                found[peer.name]["cpu_us"].append(cpu(outcome))
                found[peer.name]["loss"].append(loss(outcome))
        result[workload] = {"rate": rate, "servers": found}
    return result


def highest(bench, peer, workload, series):
    """The highest rate without loss, and what limited it."""
    start = {"single": 150_000}.get(workload, 300_000) * (4 if peer.name == "tallyd" else 1)
    with bench.start(peer, workload) as server:
        bench.warm(server, workload, series)
        out = bench.client("find-max", "--target", f"udp://127.0.0.1:{server.udp}",
                           "--scrape", f"http://127.0.0.1:{server.web}/metrics", "--workload", name_of(workload),
                           "--series", series, "--start", start, "--trial", "1s" if bench.quick else "2s",
                           "--output", "json")
    found = json.loads(out)
    return {"rate": found["max_per_second"] or 0, "limited_by": found["limited_by"]}


def full(bench):
    """The highest rate without loss, then CPU per metric just below it; the sink takes whatever the client can send."""
    shapes = [("single", 1_000), ("packed", 1_000), ("summary", 1_000), ("mapped", 20_000), ("wide", 100_000),
              ("wide", 1_000_000)]
    result = {}
    for workload, series in shapes[1:2] if bench.quick else shapes:
        # A million histograms take statsd_exporter several gigabytes and minutes.
        peers = [peer for peer in bench.peers if peer.is_sink or peer.name == "tallyd"
                 or (peer.is_exporter and series < 1_000_000)]
        found = {peer.name: {"cpu_us": [], "rate": [], "loss": []} for peer in peers}
        for peer in peers:
            if peer.is_exporter:
                found[peer.name]["max"] = highest(bench, peer, workload, series)
        for peer in bench.alternate(peers):
            with bench.start(peer, workload) as server:
                bench.warm(server, workload, series)
                pace = [] if peer.is_sink else ["--rate", int(0.95 * found[peer.name]["max"]["rate"]) or 1_000]
                outcome = bench.load(server, workload, "--series", series, "--duration", f"{bench.seconds}s",
                                     "--scrape-every", "0s", *pace)
                found[peer.name]["cpu_us"].append(cpu(outcome))
                found[peer.name]["rate"].append(outcome["sending"]["metrics"] / outcome["sending"]["seconds"])
                found[peer.name]["loss"].append(loss(outcome))
        result[f"{workload} {series}"] = found
    return result


def scrapes(server, number):
    """Pages asked for one after the other, without load."""
    found = {}
    for name, encoding in (("plain", "identity"), ("gzip", "gzip")):
        before = server.cpu_seconds()
        pages = [server.scrape(encoding) for _ in range(number)]
        first, whole, sizes = zip(*pages)
        found[name] = {"first_byte_ms": statistics.median(first), "ms": statistics.median(whole), "worst_ms": max(whole),
                       "cpu_ms": (server.cpu_seconds() - before) * 1e3 / number, "bytes": sizes[-1]}
    return found


def memory(bench):
    """Memory and scrapes with a number of series: half counters, three in ten histograms, two in ten gauges."""
    result = {}
    for series in (1_000, 100_000) if bench.quick else (1_000, 100_000, 1_000_000):
        found = {peer.name: [] for peer in bench.exporters}
        rounds = bench.alternate(bench.exporters) if series < 1_000_000 else bench.exporters
        for peer in rounds:
            with bench.start(peer, flags="--lanes=1" if peer.name == "tallyd" else "") as server:
                idle = server.memory()[0]
                bench.warm(server, "wide", series)
                filled = server.memory()[0]
                number = 1 if series >= 1_000_000 else 3 if bench.quick or series >= 100_000 else 20
                pages = scrapes(server, number)
                scraped, peak = server.memory()
                found[peer.name].append({"idle": idle, "filled": filled, "scraped": scraped, "peak": peak, **pages})
        result[str(series)] = found
    return result


def kinds(bench):
    """Memory of 100,000 series of one kind, scraped once, less that of the empty server."""
    series = 20_000 if bench.quick else 100_000
    result = {}
    for kind, (tail, mapping) in lines.KINDS.items():
        for peer in bench.exporters if not bench.quick else bench.exporters[:1]:
            if kind == "set" and peer.name != "tallyd":
                continue
            flags = "--lanes=1" if peer.name == "tallyd" else ""
            with Server(peer, bench.options.server_cpu, mapping, flags) as server:
                server.scrape()
                idle = server.memory()[0]
                server.fill(lines.uniform(tail, series))
                server.scrape()
                per_series = (server.memory()[0] - idle) / series
                result.setdefault(kind, {})[peer.name] = per_series
    return result


def under_scrape(bench):
    """Half the highest rate while a page is asked for each second."""
    result = {}
    for series in (1_000,) if bench.quick else (1_000, 100_000):
        for peer in bench.exporters:
            workload = "packed" if series == 1_000 else "wide"
            known = bench.known.get("full", {}).get(f"{workload} {series}", {}).get(peer.name)
            rate = (known["max"] if known else highest(bench, peer, workload, series))["rate"] / 2
            with bench.start(peer, workload) as server:
                bench.warm(server, workload, series)
                outcome = bench.load(server, workload, "--series", series, "--rate", int(rate),
                                     "--duration", "3s" if bench.quick else "10s", "--scrape-every", "1s")
            result.setdefault(str(series), {})[peer.name] = {
                "rate": rate, "loss": loss(outcome), "scrape": outcome["scrape"]["latency"],
                "visible": outcome.get("time_to_visible")}
    return result


def transports(bench):
    """As fast as possible over streams and Unix datagrams, which hold the sender back: the rate until all is visible."""
    result = {}
    for transport in ("tcp", "unixgram"):
        found = {peer.name: [] for peer in bench.exporters}
        for peer in bench.alternate(bench.exporters):
            with bench.start(peer) as server:
                bench.warm(server, "packed", 1_000)
                outcome = bench.load(server, "packed", "--duration", f"{bench.seconds}s", "--clients", 4,
                                     "--scrape-every", "0s", transport=transport)
                seconds = outcome["sending"]["seconds"] + (outcome.get("settled_after_seconds") or 0)
                found[peer.name].append({"rate": outcome["sending"]["metrics"] / seconds, "cpu_us": cpu(outcome),
                                         "loss": loss(outcome), "peak": outcome["server"]["peak_rss_bytes"]})
        result[transport] = found
    return result


def start(bench):
    """From the start to the first datagram that is not refused, with 1,000 rules; and what a server does when idle."""
    mapping = lines.rules(1_000)
    starts = {peer.name: [] for peer in bench.exporters}
    for peer in bench.alternate(bench.exporters):
        server = Server(peer, bench.options.server_cpu, mapping)
        try:
            starts[peer.name].append(first_accepted(server) * 1e3)
        finally:
            server.stop()
    seconds = 5 if bench.quick else 60
    idle = {}
    for peer in bench.exporters:
        with bench.start(peer) as server:
            server.fill(lines.uniform("c", 1_000))
            time.sleep(2)
            wakeups, ticks = server.wakeups(), server.ticks()
            time.sleep(seconds)
            idle[peer.name] = {"wakeups_per_second": (server.wakeups() - wakeups) / seconds,
                               "ticks": server.ticks() - ticks, "seconds": seconds, "memory": server.memory()[0]}
    return {"start_ms": starts, "idle": idle}


def first_accepted(server):
    """Seconds from the start of a server until its port took a datagram."""
    while time.monotonic() - server.started < 30:
        at = time.monotonic()
        if server.answers_datagrams():
            return at - server.started
    raise SystemExit(f"{server.peer.name} takes no datagrams")


def growth(bench):
    """How the cost of a metric grows with series, rules and clients, at a fixed rate."""
    tallyd = bench.exporters[0]
    counts = {"series": (1_000, 100_000), "rules": (10, 1_000), "clients": (1, 100)} if bench.quick else {
        "series": (1_000, 10_000, 100_000, 1_000_000), "rules": (10, 100, 1_000, 10_000), "clients": (1, 10, 100, 1_000)}
    result = {"series": {}, "rules": {}, "clients": {}}
    flags = ["--rate", 200_000, "--duration", f"{bench.seconds}s", "--scrape-every", "0s"]
    for _ in range(bench.rounds):
        for series in counts["series"]:
            with bench.start(tallyd, "wide") as server:
                bench.warm(server, "wide", series)
                outcome = bench.load(server, "wide", "--series", series, *flags)
            result["series"].setdefault(str(series), []).append(cpu(outcome))
        for rules in counts["rules"]:
            with Server(tallyd, bench.options.server_cpu, lines.rules(rules)) as server:
                with tempfile.TemporaryDirectory() as directory:
                    capture = os.path.join(directory, "capture")
                    lines.write_capture(capture, lines.mapped(rules, 20_000))
                    bench.client("run", "--target", f"udp://127.0.0.1:{server.udp}", "--scrape",
                                 f"http://127.0.0.1:{server.web}/metrics", "--replay", capture, "--count", 20_000,
                                 "--rate", 50_000, "--scrape-every", "0s", "--output", "json")
                    out = bench.client("run", "--target", f"udp://127.0.0.1:{server.udp}", "--scrape",
                                       f"http://127.0.0.1:{server.web}/metrics", "--replay", capture, *flags,
                                       "--output", "json")
            result["rules"].setdefault(str(rules), []).append(cpu(json.loads(out)))
        for clients in counts["clients"]:
            with bench.start(tallyd) as server:
                bench.warm(server, "packed", 1_000)
                outcome = bench.load(server, "packed", "--clients", clients, *flags)
            result["clients"].setdefault(str(clients), []).append(cpu(outcome))
    return result


def in_process(bench):
    """What the project's own benchmark says of lanes, floods and rules: without sockets, on both CPUs."""
    cpus = f"{bench.options.server_cpu},{bench.options.client_cpu}"
    command = ["taskset", "-c", cpus, "cargo", "bench", "--locked", "--bench", "load"]
    done = subprocess.run(command, cwd=os.path.dirname(__file__), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


# Parts that --quick leaves out: building a benchmark takes longer than all the others.
SLOW = {"in_process"}

# Parts without rounds.
ONCE = {"kinds", "under_scrape", "in_process"}

PARTS = {"fixed": fixed, "full": full, "memory": memory, "kinds": kinds, "under_scrape": under_scrape,
         "transports": transports, "start": start, "growth": growth, "multiproc": multiproc,
         "in_process": in_process}
