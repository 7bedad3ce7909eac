"""A WSGI application without a framework."""

from collections.abc import Callable
from typing import Any

from counting import ANSWER, counted, hold


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answers every request; that for `/hold` waits."""
    with counted(environ["PATH_INFO"]):
        if environ["PATH_INFO"] == "/hold":
            hold()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(ANSWER)))])
        return [ANSWER]
