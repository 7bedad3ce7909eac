"""The same directory, read by tallyd and by `MultiProcessCollector`: generated, by several prometheus_clients."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.page import OWN
from support.server import Server, target_dir

WRITER = Path(__file__).parent / "multiproc" / "write_cases.py"
VERSIONS = (Path(__file__).parent / "multiproc" / "versions").read_text().split()
STAGES = 3
CASES = 24
# The first cases have a tallyd for themselves and no label, the others share one and have a name each.
ALONE = 2
NAMED_BY = "case"
LIVENESS = "--multiproc.liveness=never"

# By family: its type, its help, and its series by name and labels.
Family = tuple[str, str, dict[tuple[str, frozenset[tuple[str, str]]], float]]
Families = dict[str, Family]


class Writer:
    """The program that writes the cases, under one version of prometheus_client."""

    def __init__(self, version: str, directory: Path) -> None:
        self.directory = directory
        library = target_dir() / "e2e" / "prometheus_client" / version
        assert library.exists(), f"{library} is missing; `make clients` installs it"
        command = [sys.executable, "-P", str(WRITER), str(directory), version, str(CASES)]
        environment = dict(os.environ, PYTHONPATH=str(library))
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self, stage: int) -> None:
        """Returns when all cases are at this stage."""
        assert self.process.stdout and self.process.stdout.readline() == f"stage {stage}\n"

    def go_on(self) -> None:
        """Has it write the next stage."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def cases(self) -> list[Path]:
        """The folders of the cases."""
        return sorted(path for path in self.directory.iterdir() if path.is_dir())

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=VERSIONS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Writer]:
    """Cases of each version."""
    writer = Writer(request.param, tmp_path / "cases")
    yield writer
    writer.stop()


def test_a_page_is_that_of_the_collector(writer: Writer, start: Callable[..., Server]) -> None:
    """Families, types, helps, series and values: at first, after workers went on, and after others came."""
    writer.wait(1)
    cases = writer.cases()
    assert len(cases) == CASES
    alone = [(case, start(LIVENESS, f"--multiproc.dir={case}")) for case in cases[:ALONE]]
    directories = [f"--multiproc.dir={case.name}={case}" for case in cases[ALONE:]]
    shared = start(LIVENESS, f"--multiproc.label={NAMED_BY}", *directories)
    for stage in range(1, STAGES + 1):
        for case, server in alone:
            check(server.scrape().text, collected(case, stage), f"{case.name}, stage {stage}")
        page = shared.scrape().text
        check(page, joined({case.name: collected(case, stage) for case in cases[ALONE:]}), f"stage {stage}")
        if stage < STAGES:
            writer.go_on()
            writer.wait(stage + 1)


def collected(case: Path, stage: int) -> Families:
    """What the collector made of a case."""
    return families(case.with_suffix(f".{stage}.prom").read_text())


def families(page: str) -> Families:
    """What stands on a page, without tallyd's own families and without what has no series."""
    found = {}
    for family in text_string_to_metric_families(page):
        series = {}
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels:
                # tallyd writes bounds as Go does, `1`, and the library as Python does, `1.0`.
                labels["le"] = repr(float(labels["le"]))
            key = (sample.name, frozenset(labels.items()))
            assert key not in series, f"{key} stands twice on the page"
            series[key] = sample.value
        if series and not OWN.match(family.name):
            found[family.name] = (family.type, family.documentation, series)
    return found


def joined(cases: dict[str, Families]) -> Families:
    """What a page has to hold where each case's name is a label."""
    together: Families = {}
    for case, found in cases.items():
        for name, (kind, documentation, series) in found.items():
            all_series = together.setdefault(name, (kind, documentation, {}))[2]
            all_series |= {(name, labels | {(NAMED_BY, case)}): value for (name, labels), value in series.items()}
    return together


def check(page: str, expected: Families, what: str) -> None:
    """Compares a page with what the collector says."""
    found = families(page)
    assert found.keys() == expected.keys(), what
    for name, (kind, documentation, series) in expected.items():
        assert found[name][:2] == (kind, documentation), f"{what}: {name}"
        seen = found[name][2]
        assert seen.keys() == series.keys(), f"{what}: {name}"
        differing = {key: (seen[key], value) for key, value in series.items() if not is_same(seen[key], value)}
        assert not differing, f"{what}: {name}"


def is_same(seen: float, expected: float) -> bool:
    """Whether two sums can be of the same values, added in another order."""
    return math.isclose(seen, expected, rel_tol=1e-12) or (math.isnan(seen) and math.isnan(expected))
