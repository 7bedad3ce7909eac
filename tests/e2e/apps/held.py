"""A WSGI application whose requests take as long as a test wants."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def app(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answers `/hold` when `RELEASE_FILE` is there, and all else after half a second."""
    if environ["PATH_INFO"] == "/hold":
        while not Path(os.environ["RELEASE_FILE"]).exists():
            time.sleep(0.02)
    else:
        time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
