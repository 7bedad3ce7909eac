"""The stand-in for Grafana as a child process, and `tallyd grafana` against it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from grafana_client import GrafanaApi
from support.server import stop_process, tallyd_binary, target_dir

TOKEN = "glsa_admin"
ADMIN = ("admin", "admin")


def fake_grafana_binary() -> Path:
    """`FAKE_GRAFANA`, or what cargo built last."""
    path = Path(os.environ.get("FAKE_GRAFANA", target_dir() / "debug" / "examples" / "fake-grafana"))
    assert path.exists(), f"{path} is missing; `cargo build --example fake-grafana` builds it"
    return path


class Grafana:
    """One running stand-in for one major version of Grafana."""

    def __init__(self, version: int, *flags: str) -> None:
        command = [str(fake_grafana_binary()), f"--era={version}", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the stand-in for Grafana did not start"

    def client(self, credential: str | tuple[str, str] = TOKEN) -> GrafanaApi:
        """Somebody else's client."""
        return GrafanaApi.from_url(self.url, credential)

    def tallyd(self, *arguments: str, stdin: str = "", user: tuple[str, str] | None = None) -> Any:
        """What `tallyd grafana` answers as JSON."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRAFANA_")}
        environment["GRAFANA_URL"] = self.url
        if user is None:
            environment["GRAFANA_TOKEN"] = TOKEN
        else:
            environment["GRAFANA_USER"], environment["GRAFANA_PASSWORD"] = user
        command = [str(tallyd_binary()), "grafana", *arguments, "--output=json"]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, f"{done.returncode} {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def stop(self) -> None:
        """Ends it."""
        stop_process(self.process)
        self.process.stdout.close()
