"""Sends every kind that the `statsd` package can send, then exits.

usage: send_statsd.py udp | tcp
"""

import itertools
import os
import random
import sys

import statsd

HOST = os.environ["STATSD_HOST"]


def connect(mode: str) -> statsd.StatsClient | statsd.TCPStatsClient:
    """The client for a transport."""
    if mode == "udp":
        return statsd.StatsClient(HOST, int(os.environ["STATSD_UDP_PORT"]), prefix="py")
    return statsd.TCPStatsClient(HOST, int(os.environ["STATSD_TCP_PORT"]), prefix="py")


def send(client: statsd.StatsClient | statsd.TCPStatsClient) -> None:
    """All kinds, with totals that the tests know."""
    for _ in range(30):
        client.incr("requests")
    client.incr("stock", 7)
    client.decr("stock", 3)
    client.gauge("temperature", 21.5)
    client.gauge("below_zero", -5)
    client.gauge("level", 10)
    client.gauge("level", -3, delta=True)
    client.gauge("level", 1, delta=True)
    for value in (10, 20, 30):
        client.timing("latency", value)
    for user in ("alice", "bob", "alice"):
        client.set("users", user)
    for _ in range(400):
        client.incr("sampled", rate=0.5)
    for _ in range(400):
        client.timing("sampled_latency", 1000, rate=0.5)
    with client.timer("timed"):
        pass
    with client.pipeline() as pipe:
        pipe.incr("packed")
        pipe.gauge("packed_level", 3)
        pipe.timing("packed_latency", 4)


# Makes sampling exact: of two calls with a rate of 0.5 one is sent.
draws = itertools.cycle([0.25, 0.75])
random.random = lambda: next(draws)
client = connect(sys.argv[1])
send(client)
client.close()
