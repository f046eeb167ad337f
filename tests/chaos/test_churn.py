"""Ten thousand connections that connect, join, talk and leave, ten times over, leave nothing behind.

The crowd speaks to the fast lane in memory, so that ten rounds take seconds; smaller crowds do the same over real
sockets and over plain ASGI. What is compared is everything that could remain: sessions, rooms, timers, tasks, memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tests.integration.hostile import CLOSE, TEXT, Raw, Witness, bounded, frame
from tests.interop.wire import WEBSOCKET, Client, Endpoint, case, client
from tests.servers import ServerProcess, lanes

from shoal import Server
from shoal.testing import TestClient, TestServer
from shoal.transport.upgrade import UpgradeProtocol

CROWD, ROUNDS = 10_000, 10
HANDSHAKE = (
    f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()
HELLO = frame(TEXT, b"40")
FAREWELLS = {
    "leaves its namespace": frame(TEXT, b"41") + frame(CLOSE, b"\x03\xe8"),
    "closes the session": frame(TEXT, b"1"),
    "closes the WebSocket": frame(CLOSE, b"\x03\xe8"),
    "asks to be sent away": frame(TEXT, b'42["kick"]'),
    "breaks the protocol": frame(TEXT, b"4nonsense"),
    "breaks off in the middle": frame(TEXT, b'451-["echo",{"_placeholder":true,"num":0}]'),
    "vanishes": b"",
}


class Pipe(asyncio.Transport):
    """The server's end of a connection whose client never waits: what is written is counted and forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.received = 0
        self.protocol: Any = None
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.received += len(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._lost)

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def _lost(self) -> None:
        protocol, self.protocol = self.protocol, None
        protocol.connection_lost(None)

    def hear(self, data: bytes) -> None:
        """Bytes of the client."""
        if not self.closing:
            self.protocol.data_received(data)


def chat() -> Server:
    """Rooms, timers, plain and async handlers, somebody who wants to know that a client leaves."""
    io = Server(node="churn", broker="memory://", ping_interval=300.0)

    @io.on("connect")
    async def connect(socket):
        await socket.join("everyone in the same room")
        socket.data["name"] = socket.id

    @io.on("join")
    async def join(socket, room):
        await socket.join(room)

    @io.on("say")
    def say(socket, room, text):
        io.to(room).emit("said", text)
        return len(text)

    @io.on("kick")
    async def kick(socket):
        await socket.disconnect(close=True)

    @io.on("disconnect")
    async def gone(socket, reason):
        await asyncio.sleep(0)

    return io


def tables(io: Server) -> dict[str, int]:
    """What is left of connections, by where it is."""
    return {
        "sessions": len(io.engine.sessions),
        "clients": len(io.clients),
        "rooms": len(io.of("/").rooms),
        "sockets": len(io.sockets),
        "members of everyone": len(io.of("/").rooms.everyone),
        "timers": len(io.engine.wheel),
        "farewells": len(io.engine.farewells),
        "addresses": len(io.engine.addresses),
        "coroutines": len(io.runners),
    }


async def settled(io: Server, seconds: float = 20.0) -> dict[str, int]:
    """Wait until nothing is left; what is left at the deadline."""
    deadline = time.monotonic() + seconds
    while any((left := tables(io)).values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return left


class TestTenThousandTenTimes:
    def test_nothing_is_left(self) -> None:
        """Memory, tasks and tables end as they were after the first round, however the clients left."""
        asyncio.run(self._rounds())

    async def _rounds(self) -> None:
        io = chat()
        context = {"config": SimpleNamespace(root_path=""), "server_state": SimpleNamespace(connections=set())}
        blocks, memory, tasks = [], [], []
        for number in range(ROUNDS):
            await self._round(io, context, random.Random(number))
            assert await settled(io) == dict.fromkeys(tables(io), 0)
            assert not context["server_state"].connections
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            memory.append(psutil.Process().memory_info().rss)
            tasks.append(len(asyncio.all_tasks()))
        assert io.stats.connections == CROWD * ROUNDS
        assert io.stats.handler_errors == 0
        await io.close()
        assert tasks[-1] <= tasks[0], tasks
        # The second round may still fill free lists and caches; one block that each client left would be 10,000.
        assert blocks[-1] - blocks[1] < CROWD // 4, blocks
        assert memory[-1] - memory[1] < 8_000_000, memory

    async def _round(self, io: Server, context: Any, chance: random.Random) -> None:
        crowd = [Pipe() for _ in range(CROWD)]
        for number, pipe in enumerate(crowd):
            pipe.protocol = UpgradeProtocol(io.engine, None, **context)
            pipe.protocol.connection_made(pipe)
            pipe.hear(HANDSHAKE)
            pipe.hear(HELLO)
            if number % 500 == 0:
                await asyncio.sleep(0)
        while len(io.sockets) < CROWD:
            await asyncio.sleep(0)
        for number, pipe in enumerate(crowd):
            room = f"room {number // 10}"
            pipe.hear(frame(TEXT, f'42["join","{room}"]'.encode()) + frame(TEXT, f'421["say","{room}","hi"]'.encode()))
            if number % 500 == 0:
                await asyncio.sleep(0)
        while len(io.of("/").rooms) < CROWD // 10 + 1:
            await asyncio.sleep(0)
        assert all(pipe.received > 300 for pipe in crowd)
        chance.shuffle(crowd)
        for number, pipe in enumerate(crowd):
            farewell = list(FAREWELLS.values())[number % len(FAREWELLS)]
            if farewell:
                pipe.hear(farewell)
            if number % 2 or not farewell:
                pipe.close()
            if number % 500 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        for pipe in crowd:
            pipe.close()


class TestPlainASGI:
    def test_nothing_is_left(self) -> None:
        """The same for the lane of other ASGI servers, in memory."""
        asyncio.run(asyncio.wait_for(self._rounds(), 60.0))

    async def _rounds(self) -> None:
        io = chat()
        async with TestServer(io) as server:
            tasks, blocks = len(asyncio.all_tasks()), []
            for _ in range(5):
                crowd = await asyncio.gather(*[server.connect() for _ in range(200)])
                await asyncio.gather(*[self._talk(member, number) for number, member in enumerate(crowd)])
                for number, member in enumerate(crowd):
                    await self._leave(member, number)
                    await member.connection.end()
                assert await settled(io) == dict.fromkeys(tables(io), 0)
                server._connections.clear()  # the test server's own memory, kept for its end
                server._managers.clear()
                del crowd, member
                gc.collect()
                blocks.append(sys.getallocatedblocks())
                assert len(asyncio.all_tasks()) <= tasks + 64  # idle runners
        assert blocks[-1] - blocks[1] < 500, blocks

    async def _talk(self, member: TestClient, number: int) -> None:
        await member.call("join", f"room {number // 10}")
        assert await member.call("say", f"room {number // 10}", "hi") == 2

    async def _leave(self, member: TestClient, number: int) -> None:
        if number % 4 == 0:
            await member.disconnect()
        elif number % 4 == 1:
            member.connection.close()
        elif number % 4 == 2:
            await member.emit("kick")
        else:
            member.connection.drop()


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn"))
def server(request: pytest.FixtureRequest) -> Any:
    with bounded(request.param) as server:
        yield server


class TestRealSockets:
    @case
    async def test_nothing_is_left(self, server: ServerProcess) -> None:
        """Hundreds of clients over TCP, by every transport and every way to leave: files, tables and memory remain."""
        endpoint = Endpoint(server.port, "/socket.io/")
        async with Witness(server.port, pace=0.02) as witness, client(endpoint) as someone:
            seen, files = [], []
            for _ in range(5):
                await asyncio.gather(*[self._visit(server, someone, number) for number in range(120)])
                seen.append(await self._quiet(witness))
                files.append(len(os.listdir(f"/proc/{server.pid}/fd")))
            for table in ("sessions", "clients", "rooms", "wheel", "farewells"):
                assert seen[-1][table] <= seen[0][table], table
            assert seen[-1]["tasks"] <= seen[0]["tasks"] + 3
            assert max(files[1:]) <= files[0] + 20, files  # connections that httpx keeps alive
            assert seen[-1]["rss"] - seen[1]["rss"] < 3_000_000

    async def _quiet(self, witness: Witness) -> dict[str, Any]:
        """Wait until the witness is the only one; the counters then."""
        async with asyncio.timeout(10.0):
            while (counters := await witness.counters())["sessions"] > 1 or counters["farewells"]:
                await asyncio.sleep(0.05)
        found: dict[str, Any] = counters
        return found

    async def _visit(self, server: ServerProcess, someone: Client, number: int) -> None:
        kind = number % 6
        if kind < 2:
            await self._poll(server, someone, half_open=kind == 1)
            return
        async with (await Raw.joined(server.port))[0] as raw:
            assert await raw.ask("join", f"room {number}") == [2]
            if kind == 2:
                await raw.say("41")
            elif kind == 3:
                await raw.send(frame(CLOSE, b"\x03\xe8"))
                await raw.end()
            elif kind == 4:
                await raw.say("4nonsense")
                await raw.end()
            # else it vanishes, with a reset

    async def _poll(self, server: ServerProcess, someone: Client, *, half_open: bool) -> None:
        sid = await someone.open()
        await someone.push(sid, "40")
        assert json.loads((await someone.packets(sid, 1))[0][2:])["sid"]
        if half_open:
            async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={sid}") as raw:
                await raw.say("2probe")
        with contextlib.suppress(Exception):
            await someone.push(sid, "1")


def test_the_farewells_are_many() -> None:
    """The crowd is a crowd: a tenth leave in each way, and the file descriptors of this process bear it."""
    assert len(FAREWELLS) == 7
    assert Path("/proc/self/fd").exists()
