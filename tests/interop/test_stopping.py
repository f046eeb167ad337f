"""An ASGI server that is told to stop does so at once, though clients wait with a long poll."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.interop.wire import Client, Endpoint, case, client
from tests.ports import free_port
from tests.servers import REFERENCE, ServerProcess, command, lanes, tracebacks

pytestmark = pytest.mark.skipif(bool(REFERENCE), reason="not applicable: it is about servers that run ours")

SOON = 6.0  # far below the 25 s that a poll may wait, and above what a busy machine needs


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    lane, app = request.param
    server = ServerProcess(command(app, lane, port := free_port()), port)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.close()
    assert not tracebacks(server.final_log), server.final_log


async def waiting(someone: Client, path: str) -> asyncio.Task[str]:
    """A poll that is pending at the server, of a client that is in ``/`` if there are namespaces."""
    sid = await someone.open()
    if path == "/socket.io/":
        await someone.push(sid, "40")
        assert (await someone.packets(sid, 1))[0].startswith("40")
    poll = asyncio.create_task(_text(someone, sid))
    await asyncio.sleep(0.3)  # until it has come; a poll that comes later is answered, too
    assert not poll.done()
    return poll


async def _text(someone: Client, sid: str) -> str:
    return (await someone.poll(sid)).text


async def stops_soon(server: ServerProcess, path: str, number: signal.Signals) -> None:
    async with client(Endpoint(server.port, path)) as someone:
        polls = [await waiting(someone, path) for _ in range(3)]
        began = time.monotonic()
        os.kill(server.pid, number)
        answers = await asyncio.wait_for(asyncio.gather(*polls), SOON)
        assert {answer.split("\x1e")[-1] for answer in answers} == {"1"}  # Engine.IO's close
    while server.alive and time.monotonic() < began + SOON:
        await asyncio.sleep(0.02)
    assert not server.alive, f"it has not stopped after {SOON} s:\n{server.log()}"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "server",
    [(lane, "plain:io") for lane in lanes("fastlane", "uvicorn", "hypercorn", "granian")],
    indirect=True,
    ids="-".join,
)
@case
async def test_it_answers_the_polls_that_wait_and_stops(server: ServerProcess, number: str) -> None:
    """Its clients hear that their session has ended, and may go to another node."""
    await stops_soon(server, "/socket.io/", signal.Signals[number])


@pytest.mark.parametrize(
    "server", [("uvicorn", "plain:below"), ("uvicorn", "plain:engine"), ("granian", "plain:engine")], indirect=True
)
@case
async def test_a_mounted_server_and_an_engine_do_as_well(server: ServerProcess) -> None:
    """Where FastAPI keeps the lifespan to itself, the first request tells when to look out."""
    path = "/engine.io/" if "engine" in " ".join(server.argv) else "/socket.io/"
    await stops_soon(server, path, signal.SIGTERM)


@case
async def test_reload_does_not_wait_for_polls(tmp_path: Path) -> None:
    """``uvicorn --reload`` has the new code at once, and not after the next ping."""
    port, source = free_port(), tmp_path / "source.py"
    source.write_text("", encoding="utf-8")
    reload = ["--reload", "--reload-dir", str(tmp_path)]
    server = ServerProcess([*command("plain:io", "uvicorn", port), *reload], port)
    try:
        server.wait_until_up()
        async with client(Endpoint(port, "/socket.io/")) as someone:
            poll = await waiting(someone, "/socket.io/")
            began = time.monotonic()
            os.utime(source, (source.stat().st_mtime + 10,) * 2)
            assert (await asyncio.wait_for(poll, SOON)).endswith("1")
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await someone.http.get(f"{server.url}/healthz")).status_code == 200:
                        break
                assert time.monotonic() < began + 2 * SOON, server.log()
                await asyncio.sleep(0.05)
        assert server.stop() is not None
    finally:
        server.close()
