"""Ten thousand connections that connect, join, talk and leave, ten times over, leave nothing behind.

The crowd speaks to the fast lane in memory, so that ten rounds take seconds; smaller crowds do the same over real
sockets and over plain ASGI. What is compared is everything that could remain: sessions, rooms, timers, tasks, memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import uvloop
from tests.integration.hostile import Raw, Witness, bounded
from tests.internals import clients, rooms, runners
from tests.interop.wire import WEBSOCKET, Client, Endpoint, case, client
from tests.servers import ServerProcess, lanes
from tests.websocket_faults import CLOSE, TEXT, frame, header

from shoal import Server
from shoal.fastlane.first_bytes import FirstBytesProtocol
from shoal.testing import TestClient, TestServer

CROWD, ROUNDS = 10_000, 10
TABLES = ("sessions", "clients", "rooms", "wheel", "final_packets")
HANDSHAKE = (
    f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()
ANSWER = b"431[2]"  # to what everybody says


def quick(opcode: int, payload: bytes) -> bytes:
    """A client's frame. A mask of zeros is as good as any, and costs nothing."""
    return header(opcode, len(payload)) + bytes(4) + payload


HELLO = quick(TEXT, b"40")
CLOSES = {
    "leaves its namespace": quick(TEXT, b"41") + quick(CLOSE, b"\x03\xe8"),
    "closes the session": quick(TEXT, b"1"),
    "closes the WebSocket": quick(CLOSE, b"\x03\xe8"),
    "asks to be sent away": quick(TEXT, b'42["kick"]'),
    "breaks the protocol": quick(TEXT, b"4nonsense"),
    "breaks off in the middle": quick(TEXT, b'451-["echo",{"_placeholder":true,"num":0}]'),
    "vanishes": b"",
}


class Pipe(asyncio.Transport):
    """The server's end of a connection whose client never waits: its answer is noted, all else is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False
        self.protocol: Any = None
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.answered = self.answered or ANSWER in bytes(data)

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
    def connect(socket):
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
        if reason == "parse error":  # one that waits costs a task
            await asyncio.sleep(0)

    return io


def tables(io: Server) -> dict[str, int]:
    """What is left of connections, by where it is."""
    return {
        "sessions": len(io.engine.sessions),
        "clients": len(clients(io)),
        "rooms": len(rooms(io.of("/"))),
        "sockets": len(io.sockets),
        "members of everyone": len(rooms(io.of("/")).everyone),
        "timers": len(io.engine.context.wheel),
        "final_packets": len(io.engine.table.final_packets),
        "addresses": len(io.engine.table.addresses),
        "coroutines": len(runners(io)),
    }


class Holdings:
    """What this process holds after each round. The address space itself says little: a single object that lives on
    keeps a megabyte of it, so that it moves by several while nothing is held."""

    def __init__(self) -> None:
        self.objects: list[int] = []
        """Blocks of Python's allocator: all up to 512 bytes."""
        self.bytes: list[int] = []
        """Bytes of the C library's allocator: larger blocks, and those of extensions. Zeros where it does not tell."""
        self.resident: list[int] = []
        self.tasks: list[int] = []
        self.cycles: list[int] = []
        """Objects that only the garbage collector could free."""

    def note(self) -> None:
        self.cycles.append(gc.collect())
        self.objects.append(sys.getallocatedblocks())
        self.bytes.append(_bytes_of_malloc())
        self.resident.append(psutil.Process().memory_info().rss)
        self.tasks.append(len(asyncio.all_tasks()))


class _Malloc(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


def _bytes_of_malloc() -> int:
    try:
        tell = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    tell.restype = _Malloc
    found = tell()
    return int(found.uordblks + found.hblkhd)


async def settled(io: Server, seconds: float = 20.0) -> dict[str, int]:
    """Wait until nothing is left; what is left at the deadline."""
    deadline = time.monotonic() + seconds
    while any((left := tables(io)).values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return left


class TestTenThousandTenTimes:
    def test_nothing_is_left(self) -> None:
        """Memory, tasks and tables end as they were after the first round, however the clients left."""
        gc.disable()  # it walks the test suite's own objects again and again, and a client leaves it nothing to do
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(asyncio.wait_for(self._rounds(), 240.0))
        finally:
            gc.enable()

    async def _rounds(self) -> None:
        io = chat()
        context = {"config": SimpleNamespace(root_path=""), "server_state": SimpleNamespace(connections=set())}
        held = Holdings()
        for number in range(ROUNDS):
            await self._round(io, context, random.Random(number))
            assert await settled(io) == dict.fromkeys(tables(io), 0)
            assert not context["server_state"].connections
            held.note()
        assert io.stats.connections == CROWD * ROUNDS
        assert io.stats.handler_errors == 0
        assert held.tasks[-1] <= held.tasks[0], held.tasks
        await io.close()
        # The second round may still fill caches. One block that every tenth client left would be 8,000.
        assert max(held.cycles[1:]) < CROWD // 100, held.cycles
        assert held.objects[-1] - held.objects[1] < CROWD // 10, held.objects
        assert held.bytes[-1] - held.bytes[1] < 1_500_000, held.bytes
        assert held.resident[-1] - held.resident[1] < 30_000_000, held.resident

    async def _round(self, io: Server, context: Any, chance: random.Random) -> None:
        crowd = [Pipe() for _ in range(CROWD)]
        for number, pipe in enumerate(crowd):
            pipe.protocol = FirstBytesProtocol(io.engine, None, **context)
            pipe.protocol.connection_made(pipe)
            pipe.hear(HANDSHAKE)
            pipe.hear(HELLO)
            if number % 500 == 0:
                await asyncio.sleep(0)
        while len(io.sockets) < CROWD:
            await asyncio.sleep(0)
        for number, pipe in enumerate(crowd):
            room = f"room {number // 4}"
            pipe.hear(quick(TEXT, f'42["join","{room}"]'.encode()) + quick(TEXT, f'421["say","{room}","hi"]'.encode()))
            if number % 500 == 0:
                await asyncio.sleep(0)
        while not all(pipe.answered for pipe in crowd):
            await asyncio.sleep(0)
        assert len(rooms(io.of("/"))) == CROWD // 4
        chance.shuffle(crowd)
        for number, pipe in enumerate(crowd):
            close = list(CLOSES.values())[number % len(CLOSES)]
            if close:
                pipe.hear(close)
            if number % 2 or not close:
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
                crowd = await asyncio.gather(*[server.connect() for _ in range(100)])
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
        assert blocks[-1] - blocks[1] < 250, blocks

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
    with bounded(request.param, SHOAL_CONNECT_TIMEOUT="10", SHOAL_PING_TIMEOUT="10") as server:
        yield server


def _open_files(pid: int) -> int:
    """How many files a process has open. One that listens counts once: while a crowd comes it has more descriptors."""
    folder = f"/proc/{pid}/fd"
    targets = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            targets.append(os.readlink(f"{folder}/{name}"))
    sockets = [target for target in targets if target.startswith("socket:")]
    return len(targets) - len(sockets) + len(set(sockets))


class TestRealSockets:
    @case
    async def test_nothing_is_left(self, server: ServerProcess) -> None:
        """A crowd over TCP, by every transport and every way to leave: files, tables and memory remain."""
        endpoint = Endpoint(server.port, "/socket.io/")
        async with Witness(server.port, pace=0.02) as witness:
            alone = await witness.counters()
            seen, files = [], []
            for _ in range(4):
                async with client(endpoint) as someone:
                    await asyncio.gather(*[self._visit(server, someone, number) for number in range(24)])
                seen.append(await self._quiet(witness, alone))
                files.append(_open_files(server.pid))
            for table in TABLES:
                assert seen[-1][table] <= alone[table], table
            assert seen[-1]["tasks"] <= seen[0]["tasks"] + 3
            assert max(files[1:]) <= files[0] + 5, files  # some are opened once, at a time of their own
            assert seen[-1]["rss"] - seen[1]["rss"] < 3_000_000

    async def _quiet(self, witness: Witness, alone: dict[str, Any]) -> dict[str, Any]:
        """Wait until every table is as it was when the witness was alone, or for ten seconds; the counters then."""
        deadline = time.monotonic() + 10.0
        while True:
            counters: dict[str, Any] = await witness.counters()
            if all(counters[table] <= alone[table] for table in TABLES) or time.monotonic() > deadline:
                return counters
            await asyncio.sleep(0.05)

    async def _visit(self, server: ServerProcess, someone: Client, number: int) -> None:
        kind = number % 6
        if kind < 2:
            await self._poll(server, someone, half_open=kind == 1)
            return
        async with (await Raw.joined(server.port))[0] as raw:
            assert await raw.ask("join", f"room {number}") == [2]
            if kind == 2:
                await raw.send_text("41")
            elif kind == 3:
                await raw.send(frame(CLOSE, b"\x03\xe8"))
                await raw.end()
            elif kind == 4:
                await raw.send_text("4nonsense")
                await raw.end()
            # else it vanishes, with a reset

    async def _poll(self, server: ServerProcess, someone: Client, *, half_open: bool) -> None:
        sid = await someone.open()
        await someone.push(sid, "40")
        packets = await someone.packets(sid, 1)
        assert packets[0].startswith("40{"), packets
        if half_open:
            async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={sid}") as raw:
                await raw.send_text("2probe")
        with contextlib.suppress(Exception):
            await someone.push(sid, "1")
