"""What the applications of these tests count by themselves, with prometheus_client in multiprocess mode."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, Summary

REQUESTS = Counter("shop_requests", "Requests answered, by path.", ["path"])
SECONDS = Histogram("shop_request_seconds", "Time for a request.", buckets=(0.001, 0.01, 0.1, 1))
SIZE = Summary("shop_answer_bytes", "Size of an answer.")
IN_FLIGHT = Gauge("shop_in_flight", "Requests being answered.", multiprocess_mode="livesum")
SEEN = Gauge("shop_seen", "Requests that a worker has answered.", multiprocess_mode="liveall")

ANSWER = b"fired\n"


@contextmanager
def counted(path: str) -> Iterator[None]:
    """Counts one request, when it is answered."""
    with IN_FLIGHT.track_inprogress(), SECONDS.time():
        yield
    REQUESTS.labels(path).inc()
    SIZE.observe(len(ANSWER))
    SEEN.inc()


def is_held() -> bool:
    """Whether requests for `/hold` have to wait."""
    return not Path(os.environ["RELEASE_FILE"]).exists()


def hold() -> None:
    """Waits until the test says otherwise."""
    while is_held():
        time.sleep(0.01)
