"""A crash in the middle of `--multiproc.reap`: whatever was done already, no count is lost and none is doubled.

strace kills tallyd as it enters the Nth call of a kind; between two such calls nothing changes on the disk.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from support.page import Page
from support.server import Server, tallyd_binary
from support.wait import wait_for

Start = Callable[..., Server]

WORKER = Path(__file__).parent / "multiproc" / "write_worker.py"
GENERATIONS = 2
WORKERS = 2
# Each worker has a counter, a histogram, a summary and three gauges.
FILES = 6 * WORKERS
# What must be exact: everything that adds up.
ADDING = ("work_total", "work_seconds_", "work_bytes_")
STEPS = [
    # A save: the new file, its name, and the directory.
    *(("fsync", number) for number in (1, 2, 3, 4)),
    *(("rename", number) for number in (1, 2)),
    # Each file then gets another name before it is removed.
    *(("renameat", number) for number in (1, 2, FILES, FILES + 1)),
    *(("unlinkat", number) for number in (1, 2, FILES, FILES + 1, 2 * FILES)),
]


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What workers have left that are gone."""
    directories = [tmp_path_factory.mktemp("generation") for _ in range(GENERATIONS)]
    for number, directory in enumerate(directories):
        for worker in range(WORKERS):
            end(begin(directory, 1 + number * 10 + worker))
    return directories


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """A directory in which one worker lives."""
    files = tmp_path / "files"
    files.mkdir()
    alive = begin(files, 1000)
    yield files
    end(alive)


@pytest.mark.parametrize(("call", "number"), STEPS, ids=lambda value: str(value))
def test_a_crash_while_files_are_removed_changes_no_count(
    call: str, number: int, generations: list[Path], files: Path, start: Start, tmp_path: Path
) -> None:
    """tallyd is killed at a step, started again, and killed once more when it is done."""
    written = tmp_path / "written"
    written.mkdir()
    for directory in (files, *generations):
        put(directory, written)
    expected = adding(collected(written))
    assert expected
    flags = reaping(files, tmp_path)
    remaining = list(generations)
    put(remaining.pop(0), files)
    first = start(*flags, binary=crashing(call, number, tmp_path))
    while wait_for("a crash or a removal", lambda: ended(first) or (remaining and reaped(files))) and not ended(first):
        put(remaining.pop(0), files)
    assert first.process.returncode == -signal.SIGKILL
    for directory in remaining:
        put(directory, files)

    second = start(*flags)
    assert adding(second.scrape()) == expected, "after the crash"
    wait_for("the files to be removed", lambda: reaped(files))
    assert adding(second.scrape()) == expected, "after the files were removed"
    second.restart(signal.SIGKILL)
    assert adding(second.scrape()) == expected, "after another start"


def test_steps_are_those_that_a_removal_takes(
    generations: list[Path], files: Path, start: Start, tmp_path: Path
) -> None:
    """The calls at which tallyd is killed are made, and a file is touched only when the state is safe."""
    put(generations[0], files)
    trace = tmp_path / "trace"
    server = start(*reaping(files, tmp_path), binary=traced("", tmp_path, trace))
    wait_for("the files to be removed", lambda: reaped(files))
    server.stop()
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    first = next(at for at, call in enumerate(calls) if ".db" in call)
    names = [call.partition("(")[0] for call in calls]
    assert names[first - 3 : first + 2 * FILES] == ["fsync", "rename", "fsync", *(["renameat", "unlinkat"] * FILES)]


def test_a_full_disk_keeps_the_files(generations: list[Path], files: Path, start: Start, tmp_path: Path) -> None:
    """As long as no save succeeds nothing is removed, and the page stays right."""
    put(generations[0], files)
    written = tmp_path / "written"
    written.mkdir()
    put(files, written)
    full = traced("-e inject=fsync:error=ENOSPC", tmp_path, Path("/dev/null"))
    server = start(*reaping(files, tmp_path), binary=full)
    wait_for("saves that failed", lambda: server.scrape().total("tallyd_state_save_failures_total") > 2)
    assert {path.name for path in files.iterdir()} == {path.name for path in written.iterdir()}
    assert adding(server.scrape()) == adding(collected(written))


def reaping(files: Path, directory: Path) -> list[str]:
    """Flags with which files are removed soon."""
    state = directory / "state"
    return [f"--multiproc.dir={files}", "--multiproc.reap", f"--state.file={state}", "--state.interval=100ms"]


def begin(directory: Path, amount: float) -> subprocess.Popen:
    """A worker that has written its files."""
    environment = dict(os.environ, PROMETHEUS_MULTIPROC_DIR=str(directory))
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), str(amount)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdout and worker.stdout.readline()
    return worker


def end(worker: subprocess.Popen) -> None:
    """Has it end by itself."""
    worker.communicate(timeout=15)


def put(generation: Path, files: Path) -> None:
    """Files appear whole, as those of a worker that has ended are."""
    for path in generation.iterdir():
        copy = files / f"{path.name}.new"
        shutil.copyfile(path, copy)
        copy.rename(files / path.name)


def crashing(call: str, number: int, directory: Path) -> Path:
    """A program that is tallyd, and is killed at a call."""
    return traced(f"-e inject={call}:signal=KILL:when={number}", directory, Path("/dev/null"))


def traced(inject: str, directory: Path, trace: Path) -> Path:
    """A program that is tallyd under strace, which is nobody's parent, so that signals reach tallyd."""
    program = directory / "traced-tallyd"
    strace = f"strace -D -f -o '{trace}' -e 'trace=/^(fsync|rename|unlink)' {inject}"
    program.write_text(f"#!/bin/sh\nexec {strace} '{tallyd_binary().absolute()}' \"$@\"\n")
    program.chmod(0o755)
    return program


def ended(server: Server) -> bool:
    """Whether it was killed."""
    return server.process.poll() is not None


def reaped(files: Path) -> bool:
    """Whether only files are there of the worker that lives."""
    return len({path.name.partition(".")[0].rpartition("_")[2] for path in files.iterdir()}) == 1


def collected(directory: Path) -> Page:
    """What the collector makes of all files that were written."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(directory))
    return Page(generate_latest(registry).decode())


def adding(page: Page) -> dict[str, float]:
    """The samples that must be exact, with bounds as numbers."""
    found = {}
    for key, value in page.series.items():
        if key.startswith(ADDING):
            found[key.replace('.0"', '"')] = value
    return found
