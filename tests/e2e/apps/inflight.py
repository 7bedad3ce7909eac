"""An aiohttp application whose workers each report how many requests they are busy with, each at its own pace."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

BUSY = web.AppKey("busy", list)


async def hold(request: web.Request) -> web.Response:
    """Answers once the file is there that the variable RELEASE_FILE names."""
    release = Path(os.environ["RELEASE_FILE"])
    request.app[BUSY].append(request)
    while not release.exists():
        await asyncio.sleep(0.02)
    request.app[BUSY].remove(request)
    return web.Response(text=str(os.getpid()))


async def report(app: web.Application) -> AsyncIterator[None]:
    """Sends the gauge over and over, from a socket of the worker's own; some workers do so more often than others."""
    pause = 0.01 * (1 + os.getpid() % 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.connect((os.environ["STATSD_HOST"], int(os.environ["STATSD_PORT"])))

        async def send() -> None:
            while True:
                statsd.send(f"app.in_flight:{len(app[BUSY])}|g".encode())
                await asyncio.sleep(pause)

        sending = asyncio.create_task(send())
        yield
        sending.cancel()


async def create_app() -> web.Application:
    """What gunicorn calls in each worker: `gunicorn inflight:create_app`."""
    app = web.Application()
    app[BUSY] = []
    app.router.add_get("/hold", hold)
    app.cleanup_ctx.append(report)
    return app
