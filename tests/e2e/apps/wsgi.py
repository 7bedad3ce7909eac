"""A WSGI application for gunicorn's own workers, whose requests gunicorn itself reports."""

from collections.abc import Callable, Iterable


def app(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answers `/` and nothing else."""
    status = "200 OK" if environ["PATH_INFO"] == "/" else "404 Not Found"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
