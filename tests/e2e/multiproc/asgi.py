"""An ASGI application without a framework, for uvicorn's worker."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from counting import ANSWER, counted, is_held

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], _receive: object, send: Send) -> None:
    """Answers every request; that for `/hold` waits."""
    assert scope["type"] == "http"
    with counted(scope["path"]):
        while scope["path"] == "/hold" and is_held():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": ANSWER})
