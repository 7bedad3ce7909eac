"""Servers: started with free ports on a CPU of their own, looked at through /proc, ended by their id."""

import contextlib
import glob
import os
import shlex
import socket
import subprocess
import tempfile
import time

from .machine import RECEIVE_BUFFER, read

START_SECONDS = 30


class Peer:
    """A kind of server, and how it is started."""

    def __init__(self, name, binary, command, page="/metrics"):
        self.name, self.binary, self.command, self.page = name, binary, command, page

    @classmethod
    def exporter(cls, name, binary):
        flags = ("--statsd.listen-udp=127.0.0.1:{udp} --statsd.listen-tcp=127.0.0.1:{tcp} --statsd.listen-unixgram={unix} "
                 f"--web.listen-address=127.0.0.1:{{web}} --statsd.read-buffer={RECEIVE_BUFFER} --log.level=error")
        return cls(name, binary, f"{shlex.quote(binary)} {flags}")

    @classmethod
    def foreign(cls, name, command):
        return cls(name, shlex.split(command)[0], command, page=None)

    @classmethod
    def sink(cls, tallyd):
        return cls("sink", tallyd, f"{shlex.quote(tallyd)} bench sink --listen udp://127.0.0.1:{{udp}} --web none", page=None)

    @property
    def is_sink(self):
        return self.name == "sink"

    @property
    def is_exporter(self):
        return self.page is not None


def free_ports(count):
    sockets = []
    for _ in range(count):
        # Free for TCP and for UDP, and held until all are found, so that they differ.
        tcp = socket.create_server(("127.0.0.1", 0))
        sockets.append(tcp)
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Server:
    """A running server."""

    def __init__(self, peer, cpu, mapping=None, flags=""):
        self.peer, self.directory = peer, tempfile.TemporaryDirectory(prefix="performance-")
        self.udp, self.tcp, self.web = free_ports(3)
        self.unix = os.path.join(self.directory.name, "s.sock")
        command = peer.command.format(udp=self.udp, tcp=self.tcp, web=self.web, unix=self.unix)
        if mapping and peer.is_exporter:
            path = os.path.join(self.directory.name, "mapping.yml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(mapping)
            command += f" --statsd.mapping-config={path}"
        words = ["taskset", "-c", str(cpu), *shlex.split(command), *shlex.split(flags)]
        self.log = open(os.path.join(self.directory.name, "log"), "wb")
        self.started = time.monotonic()
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)

    def __enter__(self):
        return self.wait()

    def __exit__(self, *_):
        self.stop()

    def wait(self):
        """Waits until the page answers, or where there is none, until the port is taken."""
        while time.monotonic() - self.started < START_SECONDS:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.peer.name} ended at once: {read(self.log.name)[-2000:]}")
            if self.answers():
                return self
            time.sleep(0.01)
        self.stop()
        raise SystemExit(f"{self.peer.name} does not answer")

    def answers(self):
        if self.peer.is_exporter:
            try:
                socket.create_connection(("127.0.0.1", self.web), timeout=1).close()
                return True
            except OSError:
                return False
        return self.answers_datagrams()

    def answers_datagrams(self):
        """Whether the UDP port takes datagrams; an empty line is all that it gets."""
        # The second send of a connected socket fails where the first met a closed port.
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.closing(probe):
            probe.connect(("127.0.0.1", self.udp))
            try:
                probe.send(b"\n")
                probe.send(b"\n")
                return True
            except OSError:
                return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.directory.cleanup()

    def cpu_seconds(self):
        """CPU time so far, from the scheduler's own clock."""
        nanos = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            nanos += int((read(path) or "0").split()[0])
        return nanos / 1e9

    def wakeups(self):
        """How often its threads have gone to sleep of their own will."""
        switches = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/status"):
            for line in read(path).splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    switches += int(line.split()[1])
        return switches

    def ticks(self):
        """CPU time so far in the kernel's ticks, as `top` shows it."""
        fields = read(f"/proc/{self.process.pid}/stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def memory(self):
        """Resident memory in bytes, now and at most."""
        values = {}
        for line in read(f"/proc/{self.process.pid}/status").splitlines():
            if line.startswith(("VmRSS", "VmHWM")):
                values[line[:5]] = int(line.split()[1]) * 1024
        return values.get("VmRSS", 0), values.get("VmHWM", 0)

    def scrape(self, encoding="identity"):
        """Fetches the page; returns milliseconds to its first byte and to its end, and its size on the wire."""
        request = f"GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\n\r\n".encode()
        buffer, total, first = bytearray(1 << 20), 0, None
        start = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.web)) as connection:
            connection.sendall(request)
            while size := connection.recv_into(buffer):
                first = first or time.perf_counter()
                total += size
        end = time.perf_counter()
        return ((first or end) - start) * 1e3, (end - start) * 1e3, total

    def value(self, name):
        """The sum of a family on the page."""
        with socket.create_connection(("127.0.0.1", self.web)) as connection:
            connection.sendall(f"GET /metrics?name[]={name} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            with connection.makefile("r", encoding="utf-8", errors="replace") as lines:
                return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def fill(self, lines, seconds=60):
        """Sends lines at a pace that loses none, and waits until all are counted."""
        before = self.value("statsd_exporter_lines_total")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect(("127.0.0.1", self.udp))
        for start in range(0, len(lines), 20):
            sender.send("\n".join(lines[start:start + 20]).encode())
            if start % 2_000 == 0:
                time.sleep(0.01)
        deadline = time.monotonic() + seconds
        while self.value("statsd_exporter_lines_total") - before < len(lines):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.peer.name} has lost lines while it was filled")
            time.sleep(0.05)
