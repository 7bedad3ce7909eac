"""A FastAPI application for several gunicorn workers, whose requests tallyd counts."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiodogstatsd
from fastapi import FastAPI, Request, Response


@asynccontextmanager
async def statsd_client(app: FastAPI) -> AsyncIterator[None]:
    """One client for each worker, opened after the fork and flushed before the worker ends."""
    client = aiodogstatsd.Client(
        host=os.environ.get("STATSD_HOST", "127.0.0.1"),
        port=int(os.environ.get("STATSD_PORT", "9125")),
    )
    await client.connect()
    app.state.statsd = client
    yield
    await client.close()


app = FastAPI(lifespan=statsd_client)


@app.middleware("http")
async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Counts each request and how long it took, by view and status."""
    started = time.perf_counter()
    response = await call_next(request)
    # The name of the route and not the path: a path is the client's choice, and each would be a series of its own.
    route = request.scope.get("route")
    tags = {"view": getattr(route, "name", "unmatched"), "status": response.status_code}
    statsd = request.app.state.statsd
    statsd.increment("reqs_total", tags=tags)
    statsd.timing("req_duration_seconds", value=round((time.perf_counter() - started) * 1000, 3), tags=tags)
    return response


@app.get("/fire")
async def fire() -> dict[str, object]:
    """Says which worker answered."""
    return {"fired": True, "worker": os.getpid()}
