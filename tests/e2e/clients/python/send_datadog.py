"""Sends every kind that the `datadog` package can send, then exits.

usage: send_datadog.py udp | unix | origin | aggregated
"""

import itertools
import os
import sys

from datadog.dogstatsd import DogStatsd, base

ADDRESS = {"host": os.environ["STATSD_HOST"], "port": int(os.environ["STATSD_UDP_PORT"])}
PLAIN = {"constant_tags": ["app:shop"], "origin_detection_enabled": False}
MODES = {
    "udp": ADDRESS | PLAIN,
    "unix": {"socket_path": os.environ["STATSD_SOCKET"], "socket_timeout": 5} | PLAIN,
    "origin": ADDRESS | {"constant_tags": ["app:shop"], "container_id": "abc123", "cardinality": "low"},
    "aggregated": ADDRESS | PLAIN | {"disable_aggregation": False, "flush_interval": 60},
}


def every_second_one() -> None:
    """Makes sampling exact: of two calls with a rate of 0.5 one is sent."""
    draws = itertools.cycle([0.25, 0.75])
    base.random = lambda: next(draws)


def send(client: DogStatsd) -> None:
    """All kinds, with totals that the tests know."""
    for _ in range(30):
        client.increment("requests", tags=["view:fire", "url:http://h:80/x"])
    client.increment("stock", 5)
    client.increment("stock", 2)
    client.decrement("stock", 3)
    client.gauge("temperature", 21.5, tags=["room:hall"])
    client.gauge("temperature", 7, tags=["room:cellar"])
    client.gauge("below_zero", -3.5)
    for value in (1, 2, 3):
        client.histogram("size", value * 100)
        client.distribution("spread", value)
        client.timing("latency", value * 10)
    client.timing("tagged_latency", 250, tags=["valueless", "k:v"])
    for user in ("alice", "bob", "alice"):
        client.set("users", user)
    client.set("user_ids", 42)
    for _ in range(400):
        client.increment("sampled", sample_rate=0.5)
    for _ in range(400):
        client.histogram("sampled_size", 1, sample_rate=0.5)
    client.event("a title", "a text\nsecond line", tags=["t:v"])
    client.service_check("my.check", 1, tags=["t:v"], message="hello")
    client.count_with_timestamp("stamped", 3, timestamp=1_656_581_400)
    client.gauge_with_timestamp("stamped_level", 4, timestamp=1_656_581_400)


every_second_one()
statsd = DogStatsd(namespace="py", disable_telemetry=True, **MODES[sys.argv[1]])
send(statsd)
statsd.flush_aggregated_metrics()
statsd.flush()
