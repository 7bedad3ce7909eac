"""Figures as tables and charts, put between the markers of docs/performance.md."""

import os
import re
import statistics

from . import charts

TITLES = {"single": "one metric a datagram", "packed": "19 metrics a datagram", "wide": "100,000 series",
          "mapped": "200 rules, 20,000 names", "summary": "packed, no mapping file"}


def write(results, docs):
    """Puts the tables of all parts that have figures into the page, and draws its charts."""
    path = os.path.join(docs, "performance.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name, table in tables(results).items():
        marked = re.compile(rf"(<!-- {name}: written by bench/performance -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = marked.subn(lambda match, table=table: match[1] + table + match[2], text)
        if not count:
            raise SystemExit(f"{path} has no place for {name}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    folder = os.path.join(docs, "performance")
    os.makedirs(folder, exist_ok=True)
    for name, drawing in drawings(results).items():
        with open(os.path.join(folder, name + ".svg"), "w", encoding="utf-8") as file:
            file.write(drawing)


def plain(results):
    """All tables one after the other, for a terminal."""
    return "\n".join(f"{name}\n{table}" for name, table in tables(results).items())


def tables(results):
    makers = {"machine": machine, "extent": extents, "fixed": fixed, "full": full, "memory": memory, "scrape": scrape,
              "kinds": kinds, "under_scrape": under_scrape, "transports": transports, "start": start, "growth": growth, "sizing": sizing,
              "multiproc": multiproc, "multiproc_memory": multiproc_memory, "in_process": in_process}
    parts = {"scrape": "memory", "sizing": "full", "multiproc_memory": "multiproc"}
    return {name: make(results[parts.get(name, name)]) for name, make in makers.items()
            if parts.get(name, name) in results}


def drawings(results):
    drawn = {}
    if "fixed" in results:
        groups = [(workload, [(name, median(server["cpu_us"])) for name, server in found["servers"].items()])
                  for workload, found in results["fixed"].items()]
        drawn["fixed-rate"] = charts.bars("CPU time per metric at a fixed rate (less is better)", groups, micros)
    if "full" in results:
        groups = [(label(shape), [(name, server["max"]["rate"]) for name, server in found.items() if "max" in server])
                  for shape, found in results["full"].items()]
        drawn["highest-rate"] = charts.bars("Metrics a second without loss, one core (more is better)", groups, rate)
    if "memory" in results:
        sizes = list(results["memory"].items())
        groups = [(f"{int(size):,} series", [(name, median_of(rounds, "scraped")) for name, rounds in found.items()])
                  for size, found in sizes]
        drawn["memory"] = charts.bars("Memory after scrapes (less is better)", groups, mib)
        groups = [(f"{int(size):,} series", [(name, median(r["plain"]["ms"] for r in rounds))
                                             for name, rounds in found.items()]) for size, found in sizes]
        drawn["scrape"] = charts.bars("Time of a scrape (less is better)", groups, millis)
    if "growth" in results:
        grown = results["growth"]
        series = [(name, sorted((int(n), median(values)) for n, values in grown[name].items())) for name in grown]
        drawn["growth"] = charts.curves("CPU time per metric at 200,000 a second", "series, rules or clients", series, micros)
    return drawn


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def median_of(rounds, field):
    return median(each[field] for each in rounds)


def digits(value):
    if value is None:
        return "–"
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{places}f}"


def micros(value):
    return "–" if value is None else f"{digits(value)} µs"


def millis(value):
    return "–" if value is None else f"{digits(value / 1e3)} s" if value >= 1e4 else f"{digits(value)} ms"


def mib(value):
    return "–" if value is None else f"{digits(value / 2**20)} MiB"


def rate(value):
    if value is None:
        return "–"
    return f"{digits(value / 1e6)} M/s" if value >= 1e6 else f"{digits(value / 1e3)} k/s"


def percent(value):
    return "–" if value is None else "0" if value == 0 else f"{value * 100:.3g} %"


def spread(values, show=micros):
    """The median, and the lowest and highest of the rounds where there are several."""
    values = [value for value in values if value is not None]
    if len(values) < 2:
        return show(median(values))
    number, unit = show(median(values)).rsplit(" ", 1)
    low, high = (show(pick(values)).rsplit(" ", 1)[0] for pick in (min, max))
    return f"{number} {unit} ({low}–{high})"


def times(more, less):
    return "–" if not more or not less else f"{digits(more / less)}"


def label(shape):
    workload, _, series = shape.partition(" ")
    return f"{workload}, 1 M series" if series == "1000000" else workload


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def machine(found):
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    return (f"{found['cpus']} CPUs ({found['cpu']}), {found['memory_gib']} GiB, Linux {found['kernel']}, "
            f"`net.core.rmem_max` {found['rmem_max']:,}. {versions}. Without symbols tallyd has "
            f"{found['stripped_bytes'] / 2**20:.1f} MiB.\n")


def extents(found):
    """How often and how long each part was measured; parts can be measured by themselves."""
    alike = {}
    for part, extent in found.items():
        alike.setdefault(tuple(extent), []).append(f"`{part}`")
    return "".join(f"- {', '.join(parts)}: "
                   + (f"medians of {rounds} rounds" if rounds > 1 else "once, so nothing is known of the spread")
                   + f", runs of {seconds} s.\n" for (rounds, seconds), parts in sorted(alike.items(), reverse=True))


def fixed(found):
    names = list(next(iter(found.values()))["servers"])
    rivals = [name for name in names if name != "tallyd"]
    rows = []
    for workload, result in found.items():
        servers = result["servers"]
        own = median(servers["tallyd"]["cpu_us"])
        ratios = [times(median(servers[name]["cpu_us"]), own) if name != "sink"
                  else times(own, median(servers[name]["cpu_us"])) for name in rivals]
        rows.append([f"{workload}: {TITLES[workload]}", rate(result["rate"]),
                     *(spread(servers[name]["cpu_us"]) for name in names), *ratios])
    head = ["workload", "rate", *names, *(f"{name} / tallyd" if name != "sink" else "tallyd / sink" for name in rivals)]
    return table(head, rows)


def full(found):
    rows = []
    for shape, servers in found.items():
        own, sink = servers["tallyd"], servers["sink"]
        reference = servers.get("statsd_exporter")
        bound = {"generator": ", all that the client can send"}.get(own["max"]["limited_by"], "")
        rows.append([label(shape), rate(own["max"]["rate"]) + bound, rate(reference["max"]["rate"]) if reference else "–",
                     spread(own["cpu_us"]), spread(reference["cpu_us"]) if reference else "–", spread(sink["cpu_us"]),
                     times(median(reference["cpu_us"]), median(own["cpu_us"])) if reference else "–",
                     times(median(own["cpu_us"]), median(sink["cpu_us"]))])
    return table(["workload", "tallyd, highest rate", "statsd_exporter, highest rate", "tallyd, CPU per metric",
                  "statsd_exporter, CPU per metric", "sink, CPU per metric", "statsd_exporter / tallyd", "tallyd / sink"],
                 rows)


def memory(found):
    rows = []
    for size, servers in found.items():
        for name, rounds in servers.items():
            idle, scraped = median_of(rounds, "idle"), median_of(rounds, "scraped")
            rows.append([f"{int(size):,}", name, mib(idle), mib(median_of(rounds, "filled")), mib(scraped),
                         mib(median_of(rounds, "peak")), f"{(scraped - idle) / int(size):,.0f} B"])
    return table(["series", "server", "empty", "filled", "scraped", "peak", "per series"], rows)


def scrape(found):
    rows = []
    for size, servers in found.items():
        reference = servers.get("statsd_exporter")
        for name, rounds in servers.items():
            values = [median(each[kind][field] for each in rounds)
                      for kind in ("plain", "gzip") for field in ("ms", "first_byte_ms", "cpu_ms", "bytes")]
            ratios = [times(median(each[kind]["ms"] for each in reference), values[at])
                      if reference and name == "tallyd" else "" for kind, at in (("plain", 0), ("gzip", 4))]
            rows.append([f"{int(size):,}", name, millis(values[0]), ratios[0], millis(values[1]), millis(values[2]),
                         mib(values[3]), millis(values[4]), ratios[1], mib(values[7])])
    return table(["series", "server", "scrape", "times faster", "first byte", "CPU", "page", "gzip scrape",
                  "times faster", "gzip page"], rows)


def kinds(found):
    names = list(dict.fromkeys(name for servers in found.values() for name in servers))
    rows = [[kind, *(f"{servers[name]:,.0f} B" if name in servers else "–" for name in names)]
            for kind, servers in found.items()]
    return table(["kind", *names], rows)


def under_scrape(found):
    rows = [[f"{int(size):,}", name, rate(each["rate"]), percent(each["loss"]), millis(each["scrape"]["p50_ms"]),
             millis(each["scrape"]["max_ms"]), millis((each["visible"] or {}).get("p50_ms")),
             millis((each["visible"] or {}).get("max_ms"))]
            for size, servers in found.items() for name, each in servers.items()]
    return table(["series", "server", "rate", "lost", "scrape, median", "longest", "time to visible, median", "longest"],
                 rows)


def transports(found):
    rows = [[transport, name, rate(median_of(rounds, "rate")), spread(each["cpu_us"] for each in rounds),
             percent(median_of(rounds, "loss")), mib(median_of(rounds, "peak"))]
            for transport, servers in found.items() for name, rounds in servers.items()]
    return table(["transport", "server", "until visible", "CPU per metric", "lost", "peak memory"], rows)


def start(found):
    rows = [[name, spread(found["start_ms"][name], millis), f"{idle['wakeups_per_second']:.1f}",
             f"{idle['ticks']} in {idle['seconds']} s", mib(idle["memory"])] for name, idle in found["idle"].items()]
    return table(["server", "first datagram accepted", "wake-ups a second, idle", "CPU ticks, idle", "memory, idle"], rows)


def growth(found):
    rows = [[name, f"{int(n):,}", spread(values)] for name, grown in found.items() for n, values in grown.items()]
    return table(["what grows", "to", "CPU per metric"], rows)


def sizing(found):
    rows = []
    for shape, metrics in (("single 1000", 1), ("packed 1000", 19)):
        if shape in found:
            highest = found[shape]["tallyd"]["max"]["rate"]
            rows.append([f"{metrics} in a datagram", rate(highest / metrics), rate(highest), rate(highest / 2)])
    return table(["metrics", "datagrams, one core", "metrics, one core", "metrics to plan with"], rows)


def multiproc(found):
    rows = []
    for name, each in found.items():
        pairs = list(zip(each["collector_ms"], each["tallyd_ms"]))
        ratios = [theirs / ours for theirs, ours in pairs]
        rows.append([name, spread(each["collector_ms"], millis), spread(each["tallyd_ms"], millis),
                     f"{digits(median(ratios))} ({digits(min(ratios))}–{digits(max(ratios))})", millis(each["first_ms"])])
    return table(["directory", "collector", "tallyd", "times faster", "tallyd's first page"], rows)


def multiproc_memory(found):
    sentences = [f"{name}: {each['memory'] / each['values']:.0f} bytes for each of {each['values']:,} series"
                 if name == "one worker" else f"{name}: {mib(each['memory'])}" for name, each in found.items()]
    return "What tallyd takes more than without the directory, after these pages: " + "; ".join(sentences) + ".\n" if found else ""


def in_process(found):
    return "\n".join(["```text", *found, "```"]) + "\n"
