"""Says what machine and which versions a result came from, and how busy others keep the processors meanwhile."""

import json
import os
import platform
import resource
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from suite.build import bun_program
from suite.paths import BUILT_PEERS, PSIO_VENV

NODE_PACKAGES = (
    "socket.io",
    "engine.io",
    "ws",
    "@socket.io/redis-adapter",
    "@socket.io/bun-engine",
    "socket.io-msgpack-parser",
)


def describe() -> dict[str, object]:
    """Processor, memory and system; no name and no address."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int((_field(Path("/proc/meminfo"), "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "system": _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"'),
        "open_files": open_files(),
    }


def versions(python: str) -> dict[str, str]:
    """The versions of everything that takes part, as far as it is installed; `python` is said by the caller."""
    found = {"python": python}
    for name in ("shoal", "uvicorn", "websockets", "uvloop", "orjson", "redis"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name in (
        "socket.io",
        "engine.io",
        "ws",
        "@socket.io/redis-adapter",
        "@socket.io/bun-engine",
        "socket.io-msgpack-parser",
    ):
        package = BUILT_PEERS / "node_modules" / name / "package.json"
        if package.exists():
            found[f"npm {name}"] = json.loads(package.read_text())["version"]
    found |= {"node": _first_line("node", "--version"), "gcc": _first_line("gcc", "-dumpfullversion")}
    if bun := bun_program():
        found["bun"] = _first_line(str(bun), "--version")
    for info in PSIO_VENV.glob("lib/*/site-packages/python_socketio-*.dist-info"):
        found["python-socketio"] = info.name.removesuffix(".dist-info").split("-")[1]
    return {name: text for name, text in found.items() if text}


def busy_seconds() -> float:
    """Seconds of work of all processors since the start of the machine, what a hypervisor took away included."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """Seconds of work of these processes; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _field(path: Path, name: str, separator: str = ":") -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(separator, 1)[1].strip() for line in lines if line.startswith(name)), "")


def open_files() -> int:
    """How many files a process may have open at most."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _first_line(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        return ""
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return (result.stdout or result.stderr).strip().split("\n")[0]
