"""What tallyd writes into Grafana, read back by the client that others use."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from grafana_client.client import GrafanaClientError
from support.grafana import ADMIN, Grafana

Start = Callable[..., Grafana]
VERSIONS = [10, 11, 12, 13]
DASHBOARD = {
    "uid": "read-back",
    "title": "Read back: Überblick",
    "tags": ["statsd"],
    "schemaVersion": 42,
    "panels": [
        {
            "id": 1,
            "type": "timeseries",
            "title": "Requests",
            "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
            "targets": [{"refId": "A", "expr": 'sum by (path) (rate(reqs_total{path!="/ü"}[$__rate_interval]))'}],
        }
    ],
}


@pytest.fixture
def grafana() -> Iterator[Start]:
    """Starts a stand-in: `grafana(VERSION, *FLAGS)`; ended with the test."""
    with ExitStack() as running:

        def begin(version: int, *flags: str) -> Grafana:
            started = Grafana(version, *flags)
            running.callback(started.stop)
            return started

        yield begin


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with one dashboard."""
    (tmp_path / "read-back.json").write_text(json.dumps(DASHBOARD))
    return tmp_path


def without_marks(dashboard: dict[str, Any]) -> dict[str, Any]:
    """A dashboard without what Grafana and tallyd add to it."""
    kept = {name: value for name, value in dashboard.items() if name not in ("id", "version", "tags")}
    return kept | {"tags": [tag for tag in dashboard["tags"] if tag in DASHBOARD["tags"]]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prefix", ["", "/some/path"])
def test_a_pushed_dashboard_is_read_back(grafana: Start, files: Path, version: int, prefix: str) -> None:
    server = grafana(version, f"--prefix={prefix}")
    server.tallyd("push", str(files), "--folder=StatsD/Inner")
    client = server.client()
    assert client.version.startswith(f"{version}.")

    stored = client.dashboard.get_dashboard(DASHBOARD["uid"])
    assert without_marks(stored["dashboard"]) == DASHBOARD
    assert stored["meta"]["folderTitle"] == "Inner"
    folder = client.folder.get_folder(stored["meta"]["folderUid"])
    assert [parent["title"] for parent in folder["parents"]] == ["StatsD"]
    found = client.search.search_dashboards(tag="tallyd", type_="dash-db")
    assert [row["uid"] for row in found] == [DASHBOARD["uid"]]
    assert found[0]["url"].startswith(f"{prefix}/d/")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_push_writes_nothing_and_a_change_one_version(grafana: Start, files: Path, version: int) -> None:
    server = grafana(version)
    client = server.client()

    def version_of_it() -> int:
        return client.dashboard.get_dashboard(DASHBOARD["uid"])["meta"]["version"]

    for _ in range(2):
        server.tallyd("push", str(files))
        assert version_of_it() == 1
    changed = DASHBOARD | {"title": "Another title"}
    (files / "read-back.json").write_text(json.dumps(changed))
    server.tallyd("push", str(files))
    assert version_of_it() == 2
    assert client.dashboard.get_dashboard(DASHBOARD["uid"])["dashboard"]["title"] == "Another title"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_other_client_wrote_is_pulled(grafana: Start, tmp_path: Path, version: int) -> None:
    server = grafana(version)
    theirs = {"dashboard": DASHBOARD, "folderUid": "", "overwrite": True}
    server.client().dashboard.update_dashboard(theirs)
    server.tallyd("pull", DASHBOARD["uid"], f"--out={tmp_path}")
    pulled = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert [without_marks(dashboard) for dashboard in pulled] == [DASHBOARD]


def test_annotations_are_read_back(grafana: Start) -> None:
    server = grafana(13)
    server.tallyd("annotate", "api 1.4 deployed", "--tag=deploy", "--at=2026-05-01T12:00:00Z")
    (note,) = server.client().annotations.find_annotations(tags=["deploy"])
    assert (note["text"], note["time"]) == ("api 1.4 deployed", 1_777_636_800_000)


def test_organisations_users_and_teams_are_read_back(grafana: Start) -> None:
    server = grafana(13)
    server.tallyd("org", "create", "Team A", user=ADMIN)
    server.tallyd("user", "create", "bob", "--email=bob@example.org", stdin="secret1\n", user=ADMIN)
    server.tallyd("team", "create", "ops", user=ADMIN)
    server.tallyd("team", "add", "ops", "bob", user=ADMIN)
    client = server.client(ADMIN)
    assert client.organization.find_organization("Team A")["name"] == "Team A"
    assert client.users.find_user("bob")["email"] == "bob@example.org"
    (team,) = client.teams.get_team_by_name("ops")
    assert [member["login"] for member in client.teams.get_team_members(team["id"])] == ["bob"]

    server.tallyd("user", "password", "bob", stdin="secret2\n", user=ADMIN)
    assert server.client(("bob", "secret2")).user.get_actual_user()["login"] == "bob"
    with pytest.raises(GrafanaClientError):
        server.client(("bob", "secret1")).user.get_actual_user()
