"""Fixtures: servers that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.server import REFERENCE, Server, reference_binary, tallyd_binary


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts tallyd: `start(*flags, mapping=TEXT_OR_PATH)`; stopped at the end of the test."""
    running: list[Server] = []

    def begin(*flags: str, mapping: str | Path | None = None, binary: Path | None = None) -> Server:
        running.append(Server(binary or tallyd_binary(), tmp_path, flags, mapping))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


@pytest.fixture
def start_reference(start: Callable[..., Server]) -> Callable[..., Server]:
    """Starts statsd_exporter itself, to compare with."""

    def begin(*flags: str, mapping: str | Path | None = None) -> Server:
        return start(*flags, mapping=mapping, binary=reference_binary())

    return begin


@pytest.fixture
def start_compatible(start: Callable[..., Server]) -> Callable[..., Server]:
    """Starts tallyd as a drop-in; a `TALLYD_BIN` that is statsd_exporter needs no flag for that."""

    def begin(*flags: str, mapping: str | Path | None = None) -> Server:
        mode = REFERENCE if tallyd_binary().name != "statsd_exporter" else []
        return start(*mode, *flags, mapping=mapping)

    return begin
