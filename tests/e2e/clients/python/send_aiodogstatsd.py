"""Sends every kind that `aiodogstatsd` can send, then exits."""

import asyncio
import itertools
import os

import aiodogstatsd
from aiodogstatsd import client as implementation


async def main() -> None:
    """All kinds, with totals that the tests know."""
    host, port = os.environ["STATSD_HOST"], int(os.environ["STATSD_UDP_PORT"])
    async with aiodogstatsd.Client(host=host, port=port, namespace="py", constant_tags={"app": "shop"}) as client:
        for _ in range(30):
            client.increment("reqs_total", tags={"view": "fire"})
        client.increment("stock", value=7)
        client.decrement("stock", value=3)
        client.gauge("temperature", value=21.5)
        client.gauge("below_zero", value=-2, tags={"room": "cellar"})
        for value in (1, 2, 3):
            client.histogram("size", value=value)
            client.distribution("spread", value=value)
            client.timing("latency", value=value * 100)
        with client.timeit("timed"):
            await asyncio.sleep(0)
        for _ in range(400):
            client.increment("sampled", sample_rate=0.5)


# Makes sampling exact: of two calls with a rate of 0.5 one is sent.
draws = itertools.cycle([0.25, 0.75])
implementation.random = lambda: next(draws)
asyncio.run(main())
