"""The middleware that counts requests."""

import time
from collections.abc import Callable

from datadog.dogstatsd import DogStatsd
from django.conf import settings
from django.http import HttpRequest, HttpResponse

STATSD = DogStatsd(host=settings.STATSD_HOST, port=settings.STATSD_PORT, disable_telemetry=True)


def measure(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Counts each request and how long it took, by view and status."""

    def middleware(request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = get_response(request)
        # The name of the view and not the path: a path is the client's choice, and each would be a series of its own.
        match = request.resolver_match
        tags = [f"view:{match.view_name if match else 'unmatched'}", f"status:{response.status_code}"]
        STATSD.increment("reqs_total", tags=tags)
        STATSD.timing("req_duration_seconds", (time.perf_counter() - started) * 1000, tags=tags)
        return response

    return middleware
