"""prometheus_client in multiprocess mode: `collector.py write SHAPE` is a worker, `collector.py scrape DIRECTORY` makes pages.

The latter makes one for each line of its input and says how long it took.
"""

import json
import sys
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

PATHS = ["/", "/account", "/cart", "/cart/{id}", "/checkout", "/items", "/items/{id}", "/login", "/logout", "/orders", "/search", "/status"]
WIDE = 50_000


def write(shape):
    if shape == "wide":
        counter = Counter("shop_items_sold", "Items sold.", ["country", "item"])
        for number in range(WIDE):
            counter.labels(("de", "fr", "nl")[number % 3], f"item-{number}").inc(number)
        return
    requests = Counter("shop_requests", "Requests answered.", ["method", "path", "status"])
    seconds = Histogram("shop_request_seconds", "Time for a request.", ["path"])
    for number, path in enumerate(PATHS):
        for method, status in (("GET", "200"), ("GET", "404"), ("POST", "200")):
            requests.labels(method, path, status).inc(number + 1)
        seconds.labels(path).observe(number / 4)
    Gauge("shop_in_flight", "Requests being answered.", multiprocess_mode="livesum").set(1)


def scrape(directory):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)
    for _ in sys.stdin:
        began = time.perf_counter()
        size = len(generate_latest(registry))
        print(json.dumps({"ms": (time.perf_counter() - began) * 1e3, "bytes": size}), flush=True)


{"write": write, "scrape": scrape}[sys.argv[1]](sys.argv[2])
