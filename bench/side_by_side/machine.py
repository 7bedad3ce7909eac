"""What the figures were measured on, and what stands in the way of good ones."""

import os
import platform
import re
import subprocess

# What servers ask for, so that a burst does not decide what a rate is.
RECEIVE_BUFFER = 8 << 20


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def advice(server_cpu, client_cpu):
    """What to change before measuring, as sentences."""
    rmem_max = int(read("/proc/sys/net/core/rmem_max") or 0)
    if rmem_max < RECEIVE_BUFFER:
        yield (f"net.core.rmem_max is {rmem_max}; for receive buffers of 8 MiB run "
               "`sysctl -w net.core.rmem_max=33554432` first")
    cpus = os.sched_getaffinity(0)
    if not {server_cpu, client_cpu} <= cpus:
        yield f"of the CPUs {sorted(cpus)} choose one for servers and one for the client: --server-cpu, --client-cpu"
    load = float((read("/proc/loadavg") or "0").split()[0])
    if load > 0.5:
        yield f"the load is {load}; what else runs will be in the figures"


def cpu_name():
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib():
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 2**20)
    return 0


def output(*words):
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout + done.stderr
    except OSError:
        return ""


def version(binary):
    """The version that a program tells, or the one that Go's linker noted in it."""
    told = re.search(r"\b\d+\.\d+\.\d+[^ ,\n]*", output(binary, "--version").split("\n")[0])
    noted = re.search(r"^\s*mod\s+\S+\s+v(\S+)", output("go", "version", "-m", binary), re.MULTILINE)
    return told[0] if told else noted[1] if noted else "of unknown version"


def stripped_bytes(binary):
    """The size of a program without its symbols."""
    stripped = binary + ".stripped"
    try:
        subprocess.run(["strip", "-o", stripped, binary], check=True, capture_output=True)
        return os.path.getsize(stripped)
    except (OSError, subprocess.CalledProcessError):
        return os.path.getsize(binary)
    finally:
        if os.path.exists(stripped):
            os.remove(stripped)


def describe(tallyd, peers):
    return {
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gib": memory_gib(),
        "kernel": platform.release(),
        "rmem_max": int(read("/proc/sys/net/core/rmem_max") or 0),
        "versions": {peer.name: version(peer.binary) for peer in peers if peer.binary and not peer.is_sink},
        "stripped_bytes": stripped_bytes(tallyd),
    }
