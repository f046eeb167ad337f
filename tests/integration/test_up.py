"""`shoal up` as a real process: what its log says, what it survives, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_process import START, STOP, Up, assert_free, is_alive, until
from tests.ports import free_ports
from tests.requirements import need
from websockets.sync.client import ClientConnection, connect

TINY = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"):
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["SHOAL_NODE"].encode()})
"""

TALKATIVE = """
import asyncio
import tiny

async def talk():
    while True:
        print("another thing")
        await asyncio.sleep(0.05)

async def app(scope, receive, send):
    talking = asyncio.create_task(talk())
    await tiny.app(scope, receive, send)
    talking.cancel()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `shoal up` with a number of servers and arguments; the application is tiny unless one is named."""
    need("redis-server", "valkey-server")
    (tmp_path / "tiny.py").write_text(TINY)
    started: list[Up] = []

    def begin(servers: int = 2, *arguments: str, **options: Any) -> Up:
        if "--app" not in arguments:
            arguments += ("--app", "tiny:app")
        started.append(Up(tmp_path, servers, *arguments, **options))
        return started[-1]

    yield begin
    for each in started:
        each.kill()


@pytest.mark.parametrize(
    ("balancer", "number"), [("nginx", signal.SIGINT), ("haproxy", signal.SIGTERM), ("kernel", signal.SIGINT)]
)
def test_the_whole_story(start: Callable[..., Up], balancer: str, number: int) -> None:
    """Four servers speak as one behind each balancer, one is killed and comes back, and a signal ends it all."""
    if balancer != "kernel":
        need(balancer)
    up = start(4, "--balancer", balancer, "--app", "shoal.demo:app").wait_until_up()
    for port in up.ports:
        assert up.lines(port).count(f"{port} is listening on port: {port}") == 1
    assert any(f"http://127.0.0.1:{up.port}/" in line for line in up.lines("up"))
    assert "<html" in up.get()[1]

    node = chat(up)
    up.wait_for(node, f"new connection was made server {node}")
    up.wait_for(node, f"Server {node} join successfully to chat room!")
    up.wait_for(node, f"server {node} received a message")

    victim = up.ports[0]
    up.server(victim).kill()
    up.wait_for("up", f"{victim} died (exit code -9), restarting in 0.1 s")
    assert [up.get()[0] for _ in range(12)] == [200] * 12
    up.wait_for(victim, f"{victim} is listening on port: {victim}", times=2)

    with client(up) as connected:  # who is connected holds up nothing
        connected.recv(timeout=5)
        assert up.stop(number) == 0
    assert up.err.read_text() == ""


def client(up: Up) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{up.port}/socket.io/?EIO=4&transport=websocket", proxy=None)


def chat(up: Up) -> str:
    """Say something through the balancer and return the name of the server that passed it on."""
    with client(up) as socket_:
        assert str(socket_.recv(timeout=5)).startswith("0{")
        socket_.send("40")
        assert str(socket_.recv(timeout=5)).startswith("40{")  # whoever speaks before is cut off
        socket_.send('42["chat","hello"]')
        for _ in range(20):
            if found := re.match(r'42\["chat-message","(\d+): hello"', str(socket_.recv(timeout=5))):
                return found[1]
    pytest.fail("the message did not come back")


def test_nothing_survives_a_supervisor_that_is_killed_without_a_word(start: Callable[..., Up]) -> None:
    need("nginx")
    up = start(2, "--balancer", "nginx").wait_until_up()
    assert len(up.family) >= 6  # guard, broker, two servers, nginx and its worker
    up.process.kill()
    up.process.wait(STOP)
    until(lambda: not any(map(is_alive, up.family)), STOP, "everything gone")
    until(lambda: not list(up.temporary.iterdir()), STOP, "no file left")


def test_servers_take_turns_and_broker_and_balancer_are_restarted_too(start: Callable[..., Up]) -> None:
    need("haproxy")
    up = start(2, "--balancer", "haproxy").wait_until_up()
    assert sorted(up.get()[1] for _ in range(6)) == sorted(map(str, up.ports * 3))
    up.broker.kill()
    up.child("haproxy.conf").kill()
    for name in ("broker", "haproxy"):
        up.wait_for("up", f"{name} died (exit code -9), restarting in 0.1 s")
    until(lambda: answers(up), START, "the balancer answers again")
    assert up.broker.is_running()
    up.stop()


def answers(up: Up) -> bool:
    with contextlib.suppress(OSError):
        return up.get()[0] == 200
    return False


def test_a_server_that_hangs_cannot_hold_up_the_stop(start: Callable[..., Up]) -> None:
    up = start(2, "--balancer", "kernel").wait_until_up()
    up.server(up.ports[0]).suspend()
    assert up.stop(signal.SIGINT) == 0


def test_a_second_signal_skips_the_waiting(start: Callable[..., Up]) -> None:
    up = start(1, "--balancer", "kernel").wait_until_up()
    up.server(up.ports[0]).suspend()
    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    up.wait_for("up", "stopping")
    assert up.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 3  # the waiting alone takes 3.5


def test_a_stop_while_starting_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start(2, "--balancer", "kernel")
    until(lambda: len(up.process.children()) >= 3, START, up.everything)
    assert up.stop(signal.SIGINT) == 0


def test_a_reader_that_goes_away_ends_everything(tmp_path: Path) -> None:
    """With the first line that nobody reads it ends in good order. The application sees to it that there is one."""
    need("redis-server", "valkey-server")
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    (tmp_path / "temporary").mkdir()
    public, port = free_ports(2)
    command = f"{sys.executable} -m shoal up --app talkative:app --balancer kernel --port {public} --ports {port}"
    head = subprocess.run(
        f"{command} | head -1",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        timeout=START,
        check=True,
        text=True,
    )
    assert head.stdout == f"{port}  | another thing\n"
    assert head.stderr == ""
    assert_free(public, port)
    assert not list((tmp_path / "temporary").iterdir())


def test_without_any_program_installed_the_wheel_has_a_broker_and_the_kernel_balances(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start(2, environment={"PATH": str(tmp_path)}).wait_until_up()
    assert any("(valkey-server)" in line for line in up.lines("up"))
    assert any("the kernel" in line for line in up.lines("up"))
    assert up.get()[1] in map(str, up.ports)
    assert up.stop() == 0


def test_a_broker_that_runs_already_is_used_and_left_alone(start: Callable[..., Up], tmp_path: Path) -> None:
    first = start(1, "--balancer", "kernel").wait_until_up()
    url = re.search(r"redis://\S+", first.log)
    assert url is not None
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "tiny.py").write_text(TINY)
    second = Up(tmp_path / "second", 1, "--app", "tiny:app", "--balancer", "kernel", "--broker", url[0])
    try:
        second.wait_until_up()
        assert not second.lines("broker")
        assert second.stop() == 0
    finally:
        second.kill()
    assert first.broker.is_running()
    first.stop()
