"""An aiohttp application."""

import asyncio

from aiohttp import web
from counting import ANSWER, counted, is_held


async def answer(request: web.Request) -> web.Response:
    """Answers every request; that for `/hold` waits."""
    with counted(request.path):
        while request.path == "/hold" and is_held():
            await asyncio.sleep(0.01)
        return web.Response(body=ANSWER)


async def create_app() -> web.Application:
    """What gunicorn's aiohttp worker asks for."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app
