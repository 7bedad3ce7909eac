"""An aiohttp application for several gunicorn workers; a middleware sends what happens to tallyd.

Every worker sends to the same address, so the counts of all of them meet in one place.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiodogstatsd
from aiohttp import web

STATSD = web.AppKey("statsd", aiodogstatsd.Client)


@web.middleware
async def measure(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Counts each request and how long it took, by view."""
    # The name of the route and not the path: a path is the client's choice, and each would be a series of its own.
    view = request.match_info.route.name or "unmatched"
    statsd = request.app[STATSD]
    started = time.perf_counter()
    try:
        return await handler(request)
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        statsd.increment("reqs_total", tags={"view": view})
        statsd.timing("req_duration_seconds", value=round(milliseconds, 3), tags={"view": view})


async def fire(_: web.Request) -> web.Response:
    """Says which worker answered."""
    return web.json_response({"fired": True, "worker": os.getpid()})


async def statsd_client(app: web.Application) -> AsyncIterator[None]:
    """One client per worker, opened after the fork and flushed before the worker ends."""
    client = aiodogstatsd.Client(
        host=os.environ.get("STATSD_HOST", "127.0.0.1"),
        port=int(os.environ.get("STATSD_PORT", "9125")),
    )
    await client.connect()
    app[STATSD] = client
    yield
    await client.close()


async def create_app() -> web.Application:
    """What gunicorn calls in each worker: `gunicorn app:create_app`."""
    app = web.Application(middlewares=[measure])
    app.router.add_get("/fire", fire, name="fire")
    app.cleanup_ctx.append(statsd_client)
    return app
