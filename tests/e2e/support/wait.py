"""Waiting for a condition with a deadline, so that no test sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], seconds: float = 15.0) -> T:
    """Calls `probe` until it returns something true and hands that back.

    `OSError` counts as "not yet", because a server that is starting refuses connections.
    Raises `AssertionError` naming `what` when the time is up.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = probe()
        except OSError as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s, last seen: {last!r}")
