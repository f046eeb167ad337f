"""`shoal up` refuses what cannot work: one line, exit code 1, and nothing half-started remains."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.cluster_process import START, Up, until
from tests.requirements import need

REFUSES_TO_START = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the shop has no stock"})
"""

EXITS_AT_ONCE = """
import sys

async def app(scope, receive, send):
    print("the shop is closed", file=sys.stderr, flush=True)
    sys.exit(7)
"""


def refusal(up: Up) -> str:
    """Wait for the exit with code 1 and return the one line that says why; nothing may be left."""
    until(lambda: up.process.poll() is not None, START, up.everything)
    assert up.process.returncode == 1, up.everything()
    assert not list(up.temporary.iterdir())
    error = up.err.read_text()
    assert error.startswith("shoal: ")
    assert error.count("\n") == 1
    return error


def listening(port: int = 0) -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


@pytest.mark.parametrize(("option", "who"), [("--ports", "server {port}"), ("--port", "the balancer")])
def test_a_port_in_use(tmp_path: Path, option: str, who: str) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        up = Up(tmp_path, 1, "--balancer", "kernel", option, str(port))
        error = refusal(up)
    assert f"port {port} is in use: {who.format(port=port)} needs it" in error
    assert error.rstrip().endswith(option)
    assert up.log == ""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("other = 1", "mine has no 'app'"),
        ("app = 3", "mine:app is no ASGI application: it is an int"),
    ],
)
def test_a_broken_application(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(source + "\n")
    up = Up(tmp_path, 2, "--app", "mine:app", "--balancer", "kernel")
    assert words in refusal(up)
    assert up.log == ""


def test_an_application_that_loads_but_does_not_start(tmp_path: Path) -> None:
    need("redis-server", "valkey-server")
    (tmp_path / "mine.py").write_text(REFUSES_TO_START)
    up = Up(tmp_path, 1, "--app", "mine:app", "--balancer", "kernel")
    error = refusal(up)
    assert f"{up.ports[0]} ended while starting (exit code " in error
    assert "the shop has no stock" in up.log
    up.assert_nothing_left()


@pytest.mark.parametrize("program", ["nginx", "haproxy"])
def test_a_missing_balancer(tmp_path: Path, program: str) -> None:
    up = Up(tmp_path, 1, "--balancer", program, environment={"PATH": str(tmp_path)})
    assert f"{program} is not installed" in refusal(up)
    assert up.log == ""


def test_a_broker_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and never listening: connecting is refused
        port = bound.getsockname()[1]
        up = Up(tmp_path, 1, "--balancer", "kernel", "--broker", f"redis://127.0.0.1:{port}")
        assert refusal(up) == f"shoal: no broker answers at 127.0.0.1:{port}: {os.strerror(111)}\n"
