"""Lines and rules for what the bench client's workloads do not cover."""

import json
import random

# What stands behind the value, and the mapping file, for each kind of series.
KINDS = {
    "counter": ("c", None),
    "gauge": ("g", None),
    "histogram, 11 buckets": ("ms", "defaults:\n  observer_type: histogram\n"),
    "summary": ("ms", None),
    "set": ("s", None),
}


def uniform(tail, series):
    """Different lines of one kind, each once."""
    return [f"shop.{tail}.{i % 50}:{i % 97 + 1}|{tail}|#env:prod,region:eu-west-1,pod:p{i:07d}" for i in range(series)]


def rules(number):
    """A mapping file of glob rules."""
    rule = "- match: team{0}.*.latency\n  name: latency_{0}\n  labels: {{host: $1}}\n"
    return "mappings:\n" + "".join(rule.format(i) for i in range(number))


def mapped(number, lines):
    """Lines for these rules, evenly, in an order that no cache profits from."""
    made = [f"team{i % number}.host{i // number}.latency:1|c" for i in range(lines)]
    random.Random(1).shuffle(made)
    return made


def write_capture(path, lines):
    """A capture file: a datagram a line, as a JSON string."""
    with open(path, "w", encoding="utf-8") as file:
        for start in range(0, len(lines), 30):
            file.write(json.dumps("\n".join(lines[start:start + 30])) + "\n")
