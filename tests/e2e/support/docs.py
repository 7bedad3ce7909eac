"""The pages of the documentation, and what is done with their blocks of code.

docs/README.md tells the words behind a block's language, and what each means.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml
from support.grafana import TOKEN, Grafana
from support.server import REPOSITORY, free_port, tallyd_binary
from support.wait import wait_for

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
# What pages name, and what is put in its place; 9125 is free for UDP and TCP.
PORTS = (9125, 9102, 8000, 8080, 8090, 9090, 3000)
PORT = re.compile(rf"(?<=[:=\s/])({'|'.join(map(str, PORTS))})(?!\d)")
INTERPRETERS = {"sh": ["bash", "-euo", "pipefail"], "python": ["python"], "ruby": ["ruby"], "js": ["node"]}
# Other words of the same command line are other programs.
COMMANDS = ("bench", "grafana", "rules", "explain", "check")
WORDS = {"run", "output", "server", "check", "skip", "file", "with", "port"}
OUTPUT_SECONDS = 5


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    words: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """Every page that is tested."""
    found = [REPOSITORY / "README.md"]
    for folder in ("docs", "examples"):
        found += sorted((REPOSITORY / folder).rglob("*.md"))
    return found


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, lines = [], iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if not (opened := FENCE.match(line)):
            continue
        body = []
        for _, inner in lines:
            if inner.strip().startswith(opened["fence"]):
                break
            body.append(inner)
        language, *words = shlex.split(opened["info"]) or [""]
        named = {key: value for key, _, value in (word.partition("=") for word in words)}
        found.append(Block(page, number, language, named, textwrap.dedent("\n".join(body)) + "\n"))
    return found


def broken_links(page: Path) -> list[str]:
    """Links of a page to files that are not there, or to headings that no page has."""
    text = re.sub(r"^( *)(`{3,}).*?^ *\2", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for match in LINK.finditer(text):
        target = match["target"] or match["image"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (heading and file.suffix == ".md" and heading not in anchors(file)):
            broken.append(target)
    return broken


def anchors(page: Path) -> set[str]:
    """What a link can name behind `#`."""
    titles = re.findall(r"^#+ +(.*?) *$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


class Runner:
    """What one page does: its folder, its ports and the programs it has started."""

    def __init__(self) -> None:
        # Not pytest's directory: php-fpm's workers are somebody else, and have to read the page's files.
        self.temporary = tempfile.TemporaryDirectory(prefix="tallyd-docs-")
        top = Path(self.temporary.name)
        top.chmod(0o755)
        self.directory = top / "page"
        self.directory.mkdir()
        for name in ("examples", "mapping"):
            (self.directory / name).symlink_to(REPOSITORY / name)
        self.ports = {named: free_port() for named in PORTS}
        self.ports[9125] = free_port_of_both()
        self.servers: dict[str, subprocess.Popen] = {}
        self.grafana: Grafana | None = None
        self.environment = self._environment(top / "bin")

    def _environment(self, programs: Path) -> dict[str, str]:
        """The test's own environment, with the program under test as `tallyd`."""
        programs.mkdir()
        wrapper = programs / "tallyd"
        defaults = {
            "--statsd.listen-udp": f"127.0.0.1:{self.ports[9125]}",
            "--statsd.listen-tcp": f"127.0.0.1:{self.ports[9125]}",
            "--web.listen-address": f"127.0.0.1:{self.ports[9102]}",
        }
        adding = "\n".join(
            f'case " $* " in *" {flag}"*) ;; *) set -- "$@" {flag}={to} ;; esac' for flag, to in defaults.items()
        )
        commands = "|".join(COMMANDS)
        binary = shlex.quote(str(tallyd_binary().absolute()))
        wrapper.write_text(
            f'#!/bin/sh\ncase "${{1-}}" in {commands}) exec {binary} "$@" ;; esac\n{adding}\nexec {binary} "$@"\n'
        )
        wrapper.chmod(0o755)
        # Debian puts the version behind the name.
        for php in Path("/usr/sbin").glob("php-fpm[0-9]*"):
            (programs / "php-fpm").unlink(missing_ok=True)
            (programs / "php-fpm").symlink_to(php)
        python = Path(sys.executable).parent
        return dict(
            os.environ,
            PATH=f"{programs}:{python}:{os.environ['PATH']}",
            HOME=str(self.directory),
            PORT=str(self.ports[8000]),
            STATSD_PORT=str(self.ports[9125]),
        )

    def run(self, block: Block, expected: str | None) -> None:
        """Does with a block what its words or its language say."""
        words, text = block.words, self.with_ports(block.text)
        assert words.keys() <= WORDS, f"{block}: nothing is known of {words.keys() - WORDS}"
        assert words.get("skip") != "", f"{block}: a reason is missing"
        if "file" in words:
            path = self.directory / words["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if "skip" in words or "output" in words:
            return
        for what in filter(None, words.get("with", "").split(",")):
            self.prepare(what)
        if "server" in words:
            self.serve(block, text)
        elif "check" in words:
            self.check_flags(text)
        elif "run" in words:
            self.execute(block, text, expected)
        elif block.language in CHECKS:
            CHECKS[block.language](self, text)
        else:
            assert "file" in words, f"{block}: no word says what to do with it; docs/README.md tells them"

    def with_ports(self, text: str) -> str:
        """The text with free ports, and a token that the stand-in for Grafana takes."""
        return PORT.sub(lambda match: str(self.ports[int(match[1])]), text).replace("glsa_…", TOKEN)

    def prepare(self, what: str) -> None:
        """Gets what a block needs beside a tallyd."""
        if what == "mapping":
            (self.directory / "mapping.yaml").write_text(
                "mappings: [{match: 'shop.*', name: shop_requests_total, labels: {path: $1}}]\n"
            )
        elif what == "grafana":
            if self.grafana is None:
                self.grafana = Grafana(13, f"--listen=127.0.0.1:{self.ports[3000]}")
                self.environment |= {"GRAFANA_URL": self.grafana.url, "GRAFANA_TOKEN": TOKEN}
        else:
            raise AssertionError(f"nothing is known of `with={what}`")

    def serve(self, block: Block, text: str) -> None:
        """Starts a program instead of an earlier one of that name, and waits until it answers."""
        words = shlex.split(text, comments=True)
        name = Path(words[words.index("exec") + 1] if "exec" in words else words[0]).name
        if earlier := self.servers.pop(name, None):
            stop_group(earlier)
        log = self.directory / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*INTERPRETERS["sh"], "-c", text],
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.servers[name] = process
        port = self.ports[int(block.words.get("port", 9102 if name == "tallyd" else 8000))]
        wait_for(f"{block}: {name}", lambda: process.poll() is not None or is_open(port), 20)
        assert process.poll() is None, f"{block}: {log.read_text()}"

    def execute(self, block: Block, text: str, expected: str | None) -> None:
        """Runs a block, again and again where an output is expected that may take a moment."""
        if "tallyd" not in self.servers:
            self.serve(block, "tallyd\n")
        assert block.language in INTERPRETERS, f"{block}: nothing here runs {block.language}"
        script = self.directory / f".block.{block.language}"
        script.write_text(text)
        pattern = None if expected is None else output_pattern(self.with_ports(expected))

        def attempt() -> bool:
            done = subprocess.run(
                [*INTERPRETERS[block.language], script.name],
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
            seen.append(f"{done.stdout}{done.stderr}")
            if pattern is None:
                assert done.returncode == 0, f"{block}: {seen[-1]}"
            return pattern is None or pattern.fullmatch(done.stdout.rstrip() + "\n") is not None

        seen: list[str] = []
        try:
            wait_for(str(block), attempt, OUTPUT_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{block}: {error}; printed\n{seen[-1]}\nnot\n{expected}") from None

    def check_flags(self, text: str) -> None:
        """Has tallyd check the flags and files of each command that would start it."""
        commands = [line for line in text.replace("\\\n", " ").splitlines() if line.split()[:1] == ["tallyd"]]
        assert commands, f"no tallyd in\n{text}"
        for command in commands:
            self.must(*INTERPRETERS["sh"], "-c", f"{command} --check-config")

    def check_yaml(self, text: str) -> None:
        """Has whoever it is for check it."""
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
        keys = set(documents[0]) if documents and isinstance(documents[0], dict) else set()
        path = self.directory / ".block.yaml"
        path.write_text(text)
        if keys & {"mappings", "defaults"}:
            self.must("tallyd", "--check-config", f"--statsd.mapping-config={path}")
        elif "groups" in keys:
            self.must("promtool", "check", "rules", str(path))
        elif keys & {"scrape_configs", "global", "rule_files"}:
            self.must("promtool", "check", "config", "--syntax-only", str(path))

    def check_promql(self, text: str) -> None:
        """Has promtool parse each line."""
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        rules = [{"record": f"docs:line:{number}", "expr": line} for number, line in enumerate(lines)]
        path = self.directory / ".block.rules.yaml"
        path.write_text(json.dumps({"groups": [{"name": "docs", "rules": rules}]}))
        self.must("promtool", "check", "rules", str(path))

    def must(self, *command: str) -> None:
        """Runs a command that has to succeed."""
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"

    def stop(self) -> None:
        """Ends everything that the page has started."""
        for process in self.servers.values():
            stop_group(process)
        if self.grafana:
            self.grafana.stop()
        self.temporary.cleanup()


CHECKS = {
    "yaml": Runner.check_yaml,
    "json": lambda _, text: json.loads(text),
    "promql": Runner.check_promql,
}


def output_pattern(text: str) -> re.Pattern[str]:
    """What an output has to be, in which `…` stands for anything."""
    lines = text.rstrip().splitlines()
    parts = [r"(?:.*\n)*" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in lines]
    return re.compile("".join(parts))


def free_port_of_both() -> int:
    """A loopback port that is free for UDP and for TCP."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_open(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop_group(process: subprocess.Popen) -> None:
    """Ends a program and what it has started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()
