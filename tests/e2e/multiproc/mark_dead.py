"""gunicorn's configuration as prometheus_client's documentation has it: the master removes live gauges of dead workers."""

from typing import Any

from prometheus_client import multiprocess


def child_exit(_server: object, worker: Any) -> None:
    """Called in the master for each worker that has ended."""
    multiprocess.mark_process_dead(worker.pid)
