"""Nodes that answer what no node should, and clients that leave or take nothing: what is under way ends in time.

The owner here is a liar: a member of the cluster that other nodes know and believe, with a listener that does whatever
the test wants. Slots are few, so that one that is not given back is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.brokers import Broker
from tests.integration.test_forward import nodes, session, upgraded
from tests.interop.wire import case, eventually, within
from tests.servers import ServerProcess

from shoal import Server
from shoal.engine.hop import PassedRequest, receive_hop
from shoal.http.request import Request
from shoal.testing import TestServer

ENTRIES = pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
SLOTS = 2
PATIENCE = 2.0  # seconds: the interval and the timeout of the nodes' heartbeat
OPTIONS = {"ping_interval": 1.0, "ping_timeout": 1.0, "forward_timeout": 1.0, "max_forwarded": SLOTS}
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


class Liar:
    """A member of the cluster. ``answer`` gets each request's connection and the proof that its answer must have."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.io: Server = None  # type: ignore[assignment]
        self.seen: list[bytes] = []
        """The heads of all requests."""
        self.ended = 0
        """Connections that the other node has ended."""

    @contextlib.asynccontextmanager
    async def among(self, broker: Broker, prefix: str) -> AsyncIterator[Liar]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        self.io = Server(broker=broker.url, node="liar", advertise=address, channel_prefix=prefix)
        try:
            async with TestServer(self.io):
                yield self
        finally:
            listener.close()
            await listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.seen.append(head)
                    await self.answer(reader, writer, self._proof(head))
            self.ended += 1
        finally:
            writer.close()

    def _proof(self, head: bytes) -> bytes:
        line, _, block = head.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        request = Request(method.decode(), "/", target.partition(b"?")[2], block, "", False)
        passed = receive_hop(self.io.engine.forwarder.key, request)
        return passed.proof if isinstance(passed, PassedRequest) else b""

    def sid(self, number: int = 0) -> str:
        return f"liar.{self.io.engine.tag}{number:022}"


@contextlib.asynccontextmanager
async def beside(broker: Broker, entry: str, answer: Answer) -> AsyncIterator[tuple[ServerProcess, Liar, Any]]:
    """A node, a liar that it knows, and a client."""
    prefix = f"liar{time.monotonic_ns()}"
    with nodes(broker, entry, channel_prefix=prefix, **OPTIONS) as (there,):
        async with Liar(answer).among(broker, prefix) as liar, httpx.AsyncClient(trust_env=False, timeout=20) as http:
            deadline = time.monotonic() + 10
            while not liar.seen:  # until the node knows it
                await http.get(url(there, liar))
                assert time.monotonic() < deadline
            liar.seen.clear()
            yield there, liar, http


def url(there: ServerProcess, liar: Liar, number: int = 0) -> str:
    return f"http://127.0.0.1:{there.port}/socket.io/?EIO=4&transport=polling&sid={liar.sid(number)}"


def good(proof: bytes, body: bytes = b"6", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nshoal-hop-proof: %b\r\ncontent-length: %d\r\n\r\n%b" % (proof, size, body)


def handshake(there: ServerProcess, liar: Liar) -> bytes:
    path = f"/socket.io/?EIO=4&transport=websocket&sid={liar.sid()}"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    lines = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n"
    return lines.encode()


@contextlib.asynccontextmanager
async def raw(there: ServerProcess) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection whose end is not waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def assert_free(there: ServerProcess, liar: Liar, http: Any) -> None:
    """All slots are free: as many requests as there are come through at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        both.release()
        await within(all_there.wait())
        writer.write(good(proof))

    both, all_there = asyncio.Semaphore(0), asyncio.Event()
    liar.answer = answer

    async def asked() -> None:
        tasks = [asyncio.create_task(http.get(url(there, liar, number))) for number in range(SLOTS)]
        for _ in range(SLOTS):
            await within(both.acquire())
        all_there.set()
        assert [(await task).text for task in tasks] == ["6"] * SLOTS

    await asked()


# ---- owners


@ENTRIES
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ("half a head", 400),
        ("half a body", 400),
        ("too much", 400),
        ("huge head", 400),
        ("absurd length", 400),
        ("no length", 400),
        ("large", 503),
        ("garbage", 400),
        ("stalls", 504),
    ],
)
@case
async def test_answers_that_are_none(broker: Broker, entry: str, wrong: str, status: int) -> None:
    """The client is told at once, or when the time is over; each time the slot is free again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        whole = good(proof)
        match wrong:
            case "half a head":
                writer.write(whole[:30])
            case "half a body":
                writer.write(good(proof, b"6", 100))
            case "too much":
                writer.write(whole + b"more")
            case "huge head":
                writer.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000)
            case "absurd length":
                writer.write(whole.replace(b"content-length: 1", b"content-length: " + b"9" * 5000))
            case "no length":
                writer.write(whole.replace(b"content-length", b"x"))
            case "large":
                writer.write(good(proof, b"6", 64_000_001))
                await reader.read()
            case "garbage":
                writer.write(b"\x00\xff" * 100 + b"\r\n\r\n")
            case "stalls":
                writer.write(whole[:-1])
                await reader.read()
        await writer.drain()
        raise ConnectionResetError  # ends it

    async with beside(broker, entry, answer) as (there, liar, http):
        for _ in range(SLOTS + 1):
            answered = await http.get(url(there, liar))
            assert answered.status_code == status
            assert answered.json()["code"] == 1
        await assert_free(there, liar, http)


@ENTRIES
@case
async def test_a_refused_websocket_is_no_pipe(broker: Broker, entry: str) -> None:
    """An owner that refuses and keeps its connection open would take what the client sends next for a request from
    this node, whose address it may trust. Nothing of it gets there, and the slot is free after a while."""
    reached: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        if b"pgrade" not in liar.seen[-1]:
            return writer.write(good(proof))
        body = b'{"code":3,"message":"Bad request"}'
        writer.write(good(proof, body).replace(b"200 OK", b"400 Bad Request"))
        while data := await reader.read(1000):
            reached.append(data)
        raise ConnectionResetError

    async with beside(broker, entry, answer) as (there, liar, http):
        for _ in range(SLOTS + 1):
            async with raw(there) as (reader, writer):
                writer.write(handshake(there, liar))
                head = await within(reader.readuntil(b"\r\n\r\n"))
                assert b" 400 " in head.partition(b"\r\n")[0]
                with contextlib.suppress(OSError):
                    for _ in range(3):
                        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n")
                        await writer.drain()
                    await within(reader.read())
        await eventually(lambda: liar.ended >= SLOTS + 1)
        assert reached == []
        await assert_free(there, liar, http)


@ENTRIES
@case
async def test_a_refused_websocket_that_is_left_open_ends(broker: Broker, entry: str) -> None:
    """Neither side does anything after the refusal: this node ends it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        if b"pgrade" not in liar.seen[-1]:
            return writer.write(good(proof))
        writer.write(good(proof, b"no").replace(b"200 OK", b"400 Bad Request"))
        await reader.read()
        raise ConnectionResetError

    async with beside(broker, entry, answer) as (there, liar, http), contextlib.AsyncExitStack() as stack:
        for _ in range(SLOTS):
            _, writer = await stack.enter_async_context(raw(there))
            writer.write(handshake(there, liar))
        await eventually(lambda: liar.ended >= SLOTS)
        await assert_free(there, liar, http)


# ---- clients


@ENTRIES
@case
async def test_clients_that_leave_in_the_middle(broker: Broker, entry: str) -> None:
    """Of a GET, a POST and its body, a handshake and a WebSocket: the owner notices, and the slot is free at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        if b"pgrade" in liar.seen[-1] and opens:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nshoal-hop-proof: %b\r\n\r\n" % proof)
        await reader.read()
        raise ConnectionResetError

    opens = False
    async with beside(broker, entry, answer) as (there, liar, http):
        target = url(there, liar).partition(str(there.port))[2].encode()
        get = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target
        post = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n3" % target
        for opens, request in [
            (False, get),
            (False, post),
            (False, handshake(there, liar)),
            (True, handshake(there, liar)),
        ]:
            for _ in range(SLOTS + 1):
                count, ended = len(liar.seen), liar.ended
                async with raw(there) as (reader, writer):
                    writer.write(request)
                    await eventually(lambda before=count: len(liar.seen) > before)
                    if opens:
                        await within(reader.readuntil(b"\r\n\r\n"))
                await eventually(lambda before=ended: liar.ended > before)
        half = post.replace(b"Length: 1", b"Length: 1000")
        count = len(liar.seen)
        for _ in range(SLOTS + 1):
            async with raw(there) as (_, writer):
                writer.write(half)
                await writer.drain()
        assert len(liar.seen) == count
        await assert_free(there, liar, http)


@ENTRIES
@case
async def test_clients_that_take_nothing(broker: Broker, entry: str) -> None:
    """The owner sends and ends the WebSocket, the client does not read: within a heartbeat the slot is free, though the
    client is still there."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proof: bytes) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nshoal-hop-proof: %b\r\n\r\n" % proof)
        piece = b"\x82\x7e\xff\xff" + b"x" * 65535
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    writer.write(piece)
                    await writer.drain()
        raise ConnectionResetError

    async with beside(broker, entry, answer) as (there, liar, http), contextlib.AsyncExitStack() as stack:
        for _ in range(SLOTS):
            reader, writer = await stack.enter_async_context(raw(there))
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(handshake(there, liar))
        await eventually(lambda: len(liar.seen) == SLOTS)
        assert (await http.get(url(there, liar))).status_code == 503
        began = time.monotonic()
        while (await http.get(url(there, liar))).status_code == 503:
            assert time.monotonic() - began < 3 * PATIENCE + 3, "the slot is kept"
            await asyncio.sleep(0.05)


@case
async def test_bodies_that_come_slowly_are_counted(broker: Broker) -> None:
    """Over plain ASGI a POST is read to its end first: what has come of many is bounded by `max_forwarded_bytes`."""
    prefix = {"channel_prefix": f"slow{time.monotonic_ns()}"}
    options = {**prefix, "max_forwarded_bytes": 1_000_000}
    with nodes(broker, "uvicorn", "fastlane", **options) as (there, home):
        async with session(home, there) as made, contextlib.AsyncExitStack() as stack:
            target = made.url(there).partition(str(there.port))[2].encode()
            refused = 0
            for _ in range(20):
                reader, writer = await stack.enter_async_context(raw(there))
                head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" % target
                writer.write(head + b"x" * 199_999)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        line = await reader.readline()
                        refused += b" 503 " in line
            assert refused >= 10
            await stack.aclose()
            deadline = time.monotonic() + 10
            while (await made.post(there, '421["echo",1]')).status_code == 503:
                assert time.monotonic() < deadline
            assert (await made.get(there)).text == "431[1]"


@ENTRIES
@case
async def test_the_owner_notices_who_has_left(broker: Broker, entry: str) -> None:
    """A client that leaves its GET, or its WebSocket, at another node has left for its own node, too."""
    with nodes(broker, entry, "fastlane") as (there, home):
        async with session(home, home) as witness:
            for leaves in ["poll", "websocket"]:
                async with session(home, there) as made:
                    target = made.url(there).partition(str(there.port))[2]
                    if leaves == "poll":
                        async with raw(there) as (_, writer):
                            writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                            await writer.drain()
                            await asyncio.sleep(0.2)
                    else:
                        async with upgraded(made, there) as socket:
                            await socket.send('421["echo",1]')
                            assert await socket.recv() == "431[1]"
                            socket.transport.abort()
            reasons: list[str] = []
            deadline = time.monotonic() + 5
            while len(reasons) < 2:
                assert time.monotonic() < deadline, reasons
                await witness.post(home, '421["left"]')
                reasons = json.loads((await witness.get(home)).text[3:])[0]
            assert reasons == ["transport close"] * 2
