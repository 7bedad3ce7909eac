"""A Flask application for several gunicorn workers, whose requests tallyd counts.

The client is made when the module is loaded, in each worker: datagrams need no connection, so there is nothing
that a fork could break.
"""

import os
import time

from datadog.dogstatsd import DogStatsd
from flask import Flask, Response, g, jsonify, request

STATSD = DogStatsd(
    host=os.environ.get("STATSD_HOST", "127.0.0.1"),
    port=int(os.environ.get("STATSD_PORT", "9125")),
    disable_telemetry=True,
)
app = Flask(__name__)


@app.before_request
def start() -> None:
    """Remembers when the request came."""
    g.started = time.perf_counter()


@app.after_request
def measure(response: Response) -> Response:
    """Counts the request and how long it took, by view and status."""
    # The name of the endpoint and not the path: a path is the client's choice, and each would be a series of its own.
    tags = [f"view:{request.endpoint or 'unmatched'}", f"status:{response.status_code}"]
    STATSD.increment("reqs_total", tags=tags)
    STATSD.timing("req_duration_seconds", (time.perf_counter() - g.started) * 1000, tags=tags)
    return response


@app.get("/fire")
def fire() -> Response:
    """Says which worker answered."""
    return jsonify(fired=True, worker=os.getpid())
