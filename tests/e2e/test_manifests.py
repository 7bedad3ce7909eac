"""The compose file and the Kubernetes manifests: everything in them that can be checked without a daemon or a cluster."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.server import REPOSITORY, tallyd_binary

COMPOSE = REPOSITORY / "examples" / "compose"
KUBERNETES = REPOSITORY / "examples" / "kubernetes"


def load(path: Path) -> dict[str, Any]:
    """The only document of a file."""
    return yaml.safe_load(path.read_text())


def objects() -> list[dict[str, Any]]:
    """Every object of the Kubernetes manifests."""
    return [found for path in sorted(KUBERNETES.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text())]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and pod templates of whatever makes pods."""
    for found in objects():
        if found["kind"] in ("Deployment", "DaemonSet"):
            template = found["spec"]["template"]
            assert found["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
            yield f"{found['kind']}/{found['metadata']['name']}", template


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a pod, sidecars among them."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def tallyds() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each tallyd in the manifests, with its pod."""
    return [
        (name, template, container)
        for name, template in pods()
        for container in containers(template)
        if container["name"] == "tallyd"
    ]


def run(*command: str, cwd: Path | None = None) -> str:
    """Runs a command that has to succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def checked(arguments: list[str], mapping: Path) -> None:
    """Has tallyd check flags, with a mapping in place of the one that is mounted."""
    moved = [
        f"--statsd.mapping-config={mapping}" if flag.startswith("--statsd.mapping-config=") else flag
        for flag in arguments
    ]
    run(str(tallyd_binary()), *moved, "--check-config")


@pytest.mark.parametrize(
    ("name", "template", "container"), tallyds(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_tallyd_takes_its_arguments_and_its_mapping(
    name: str, template: dict[str, Any], container: dict[str, Any], tmp_path: Path
) -> None:
    """Flags and the ConfigMap that is mounted at the mapping's folder."""
    named = [Path(flag.split("=")[1]) for flag in container["args"] if "mapping-config" in flag]
    if not named:
        run(str(tallyd_binary()), *container["args"], "--check-config")
        return
    folder = named[0].parent
    mount = next(mount for mount in container["volumeMounts"] if mount["mountPath"] == str(folder))
    volume = next(volume for volume in template["spec"]["volumes"] if volume["name"] == mount["name"])
    maps = [
        found
        for found in objects()
        if found["kind"] == "ConfigMap" and found["metadata"]["name"] == volume["configMap"]["name"]
    ]
    assert maps, f"{name}: {volume} is no ConfigMap here"
    for found in maps:
        mapping = tmp_path / "mapping.yaml"
        mapping.write_text(found["data"]["mapping.yaml"])
        checked(container["args"], mapping)


@pytest.mark.parametrize(
    ("name", "template", "container"), tallyds(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_ports_and_probes_fit(name: str, template: dict[str, Any], container: dict[str, Any]) -> None:
    """Probes and annotations name the port of the page, which is the default one."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["metrics"] == 9102, name
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "9102"
    for probe in ("readinessProbe", "livenessProbe"):
        request = container[probe]["httpGet"]
        assert request["port"] == "metrics"
        assert request["path"] == {"readinessProbe": "/-/ready", "livenessProbe": "/-/healthy"}[probe]


@pytest.mark.parametrize(("name", "template"), list(pods()), ids=lambda value: value if isinstance(value, str) else "")
def test_whoever_sends_to_the_socket_mounts_its_folder(name: str, template: dict[str, Any]) -> None:
    """Every container that names the socket, and every mount has its volume."""
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    for container in containers(template):
        mounts = container.get("volumeMounts", [])
        assert {mount["name"] for mount in mounts} <= volumes, name
        socket = [argument for argument in container.get("args", []) if "/run/tallyd/tallyd.sock" in argument]
        assert not socket or "/run/tallyd" in {mount["mountPath"] for mount in mounts}, name


def test_monitors_find_what_they_are_for() -> None:
    """Their labels select pods or services here, and their ports have names there."""
    labels = [template["metadata"]["labels"] for _, template in pods()]
    labels += [found["metadata"]["labels"] for found in objects() if found["kind"] == "Service"]
    monitors = [found for found in objects() if found["kind"].endswith("Monitor")]
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert any(wanted <= found.items() for found in labels), monitor
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == "metrics"


def test_commands_of_the_compose_file_do_what_they_should(tmp_path: Path) -> None:
    """tallyd takes its flags, and the two commands that end write a dashboard and rules that promtool takes."""
    services = load(COMPOSE / "compose.yaml")["services"]
    mapping = COMPOSE / services["tallyd"]["volumes"][0].split(":")[0] / "mapping.yaml"
    checked(services["tallyd"]["command"], mapping)
    for name in ("dashboards", "rules"):
        moved = [
            word.replace("/etc/tallyd/mapping.yaml", str(mapping))
            .replace("=/dashboards", f"={tmp_path}")
            .replace("=/rules", f"={tmp_path}")
            for word in services[name]["command"]
        ]
        run(str(tallyd_binary()), *moved)
    assert list(tmp_path.glob("*.json"))
    run("promtool", "check", "rules", str(tmp_path / "tallyd.yaml"))


def test_files_and_volumes_of_the_compose_file_are_there() -> None:
    """What is mounted or built exists, and named volumes are declared."""
    compose = load(COMPOSE / "compose.yaml")
    for name, service in compose["services"].items():
        if "build" in service:
            assert (COMPOSE / service["build"] / "Dockerfile").exists(), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in compose["volumes"], (
                f"{name}: {volume}"
            )
        assert set(service.get("depends_on", [])) <= compose["services"].keys()


def test_prometheus_and_grafana_are_provisioned_with_what_is_there(tmp_path: Path) -> None:
    """Prometheus scrapes tallyd; Grafana's data source is Prometheus, and its dashboards lie where they are mounted."""
    services = load(COMPOSE / "compose.yaml")["services"]
    run("promtool", "check", "config", "--syntax-only", str(COMPOSE / "prometheus" / "prometheus.yml"))
    config = load(COMPOSE / "prometheus" / "prometheus.yml")
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["tallyd:9102"]
    assert any(volume.startswith("rules:/etc/prometheus/rules") for volume in services["prometheus"]["volumes"])
    provisioning = COMPOSE / "grafana" / "provisioning"
    (source,) = load(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = load(provisioning / "dashboards" / "tallyd.yaml")["providers"]
    mounts = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
