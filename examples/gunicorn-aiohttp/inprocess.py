"""The same application counting inside its processes with prometheus_client: wrong under several workers.

Each worker has counters of its own, and a scrape reaches whichever worker accepts the connection.
"""

import os

from aiohttp import web
from prometheus_client import Counter, generate_latest

REQUESTS = Counter("reqs", "Requests answered.", ["view"])


async def fire(_: web.Request) -> web.Response:
    """Counts in this worker only."""
    REQUESTS.labels("fire").inc()
    return web.json_response({"fired": True, "worker": os.getpid()})


async def metrics(_: web.Request) -> web.Response:
    """The counts of the worker that happens to answer."""
    return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def create_app() -> web.Application:
    """What gunicorn calls in each worker: `gunicorn inprocess:create_app`."""
    app = web.Application()
    app.router.add_get("/fire", fire)
    app.router.add_get("/metrics", metrics)
    return app
