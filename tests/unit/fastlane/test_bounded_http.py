"""The bounds of uvicorn's HTTP hold for what comes in one read, too: uvloop reads up to 256 KiB at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from tests.unit.fastlane.test_first_bytes import Stock, Wire
from uvicorn.server import ServerState

from shoal import Engine
from shoal.fastlane.bounded_http import MAX_PIPELINED, BoundedHttp
from shoal.testing import Clock, async_test

READ = 262_144  # bytes that uvloop reads at once
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
HANDSHAKE = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Harness:
    """An HTTP connection, and the bodies that an application was sent over it."""

    def __init__(self, stock: Any = Stock) -> None:
        self.engine = Engine()
        self.bodies: list[bytes] = []
        self.waits = self.starts_response = self.answers_early = False
        self.turns: asyncio.Semaphore | None = None
        self.left = 0
        config = uvicorn.Config(self.answer, log_config=None, access_log=False, interface="asgi3")
        config.load()
        config.ws_protocol_class = stock
        self.wire = Wire()
        context: Any = {"config": config, "server_state": ServerState(), "app_state": {}}
        self.http = BoundedHttp(self.engine.settings, self.engine.stats, **context)
        self.wire.protocol = self.http
        self.http.connection_made(self.wire)  # type: ignore[arg-type]

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", not self.answers_early
        if self.turns is not None:
            await self.turns.acquire()
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body += message["body"]
            more = message["more_body"]
        if self.starts_response:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if self.waits or self.starts_response:
            assert (await receive())["type"] == "http.disconnect"
            self.left += 1
            return
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def receive(self, data: bytes) -> bytes:
        """What the client has been sent a moment after this read."""
        if data:
            self.wire.protocol.data_received(data)
        for _ in range(200):
            await asyncio.sleep(0)
        return bytes(self.wire.written)


@pytest.mark.parametrize("line", [b"X: x\r\n", b"X:\r\n", b"Cookie: a=b\r\n"], ids=str)
@async_test
async def test_headers_beyond_the_bound_are_never_parsed(line: bytes) -> None:
    """Each costs the parser ten times its bytes."""
    harness = Harness()
    answer = await harness.receive((GET + line * (READ // len(line)))[:READ])
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert harness.wire.closing
    assert harness.engine.stats.bad_heads == 1
    most = harness.engine.settings.max_head
    assert most // 2 < len(harness.http.headers) * len(line) <= 2 * most


@async_test
async def test_a_body_of_any_length_comes_whole() -> None:
    harness = Harness()
    body = bytes(range(256)) * 1023
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = await harness.receive(head + body)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert harness.bodies == [body]


@async_test
async def test_requests_in_one_read_are_all_answered() -> None:
    harness = Harness()
    answer = await harness.receive((GET + b"\r\n") * (1 + MAX_PIPELINED))
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 204 ") == 1 + MAX_PIPELINED
    assert not harness.engine.stats.bad_heads


@async_test
async def test_too_many_requests_end_the_connection_before_they_cost_memory() -> None:
    """Each would be some ten kilobytes while it waits for its turn."""
    harness = Harness()
    answer = await harness.receive((GET + b"\r\n") * 5000)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert harness.wire.closing
    assert (harness.engine.stats.too_many_requests, harness.engine.stats.bad_heads) == (1, 0)
    assert len(harness.bodies) + len(harness.http.pipeline) <= 1 + MAX_PIPELINED


@pytest.mark.parametrize("requests", [1, 2, 1 + MAX_PIPELINED, 2 + MAX_PIPELINED])
@async_test
async def test_a_request_hears_of_the_end_however_many_wait_behind_it(requests: int) -> None:
    """uvicorn notifies only the last one that it read."""
    harness = Harness()
    harness.waits = True
    await harness.receive((GET + b"\r\n") * requests)
    harness.http.connection_lost(None)
    await harness.receive(b"")
    assert harness.left == 1
    assert not harness.http.pipeline


@async_test
async def test_the_end_can_be_seen_while_requests_wait() -> None:
    """uvicorn reads no more behind a second request: nobody would see that the client leaves."""
    harness = Harness()
    harness.waits = True
    await harness.receive(GET + b"\r\n")
    await harness.receive(GET + b"\r\n")
    assert len(harness.http.pipeline) == 1
    assert harness.wire.reading
    harness.http.connection_lost(None)
    await harness.receive(b"")
    assert harness.left == 1


@async_test
async def test_the_headers_of_waiting_requests_are_bounded() -> None:
    harness = Harness()
    harness.waits = True
    answer = await harness.receive((GET + b"X:\r\n" * 200 + b"\r\n") * 10)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert harness.engine.stats.too_many_requests == 1
    assert not harness.http.pipeline


@pytest.mark.parametrize("depth", [1, 2, 10])
@async_test
async def test_a_client_may_always_have_requests_on_the_way(depth: int) -> None:
    """What was answered counts no more."""
    harness = Harness()
    request = GET + b"Cookie: " + b"c" * 450 + b"\r\n\r\n"
    turns = asyncio.Semaphore(0)
    harness.turns = turns
    await harness.receive(request * depth)
    for _ in range(400):
        turns.release()
        await harness.receive(request)
    for _ in range(depth):
        turns.release()
    answer = await harness.receive(b"")
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 204 ") == 400 + depth


@async_test
async def test_a_large_body_pays_for_no_trailers() -> None:
    harness = Harness()
    chunk = b"%x\r\n%b\r\n" % (65_000, bytes(65_000))
    await harness.receive(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        await harness.receive(chunk)
    await harness.receive(b"0\r\nX: ")
    sent = 0
    while not harness.wire.closing:
        await harness.receive(b"x" * 1_400)
        sent += 1_400
        assert sent < 2 * harness.engine.settings.max_head
    assert harness.engine.stats.bad_heads == 1


@pytest.mark.parametrize(
    "head", [b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", GET + b"Content-Length: 9\r\n\r\n"]
)
@async_test
async def test_a_body_that_never_comes_keeps_nothing_open(head: bytes) -> None:
    """The request was answered at once: nobody waits for its body, and uvicorn's clock stopped at its first byte."""
    harness = Harness()
    harness.answers_early = True
    assert (await harness.receive(head)).startswith(b"HTTP/1.1 204 ")
    await harness.receive(b"x")
    clock = Clock.running()
    for _ in range(4):
        assert not harness.wire.closing
        await clock.advance(harness.engine.settings.head_timeout / 4)
        if not harness.wire.closing:
            harness.wire.protocol.data_received(b"x")  # a byte now and then does not help
    assert harness.wire.closing


@async_test
async def test_a_body_that_comes_behind_its_answer_gives_the_next_head_its_own_time() -> None:
    harness, clock = Harness(), Clock.running()
    harness.answers_early = True
    await harness.receive(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
    timeout = harness.engine.settings.head_timeout
    await harness.receive(b"x")
    await clock.advance(timeout * 3 / 4)
    await harness.receive(b"xx")
    await clock.advance(timeout / 2)
    assert not harness.wire.closing
    await clock.advance(timeout)
    assert harness.wire.closing


@async_test
async def test_a_handshake_behind_a_request_without_an_answer_ends_the_connection() -> None:
    """uvicorn would hand the connection over, and nothing would tell the application that its client has left."""
    harness = Harness()
    harness.waits = True
    await harness.receive(GET + b"\r\n")
    assert await harness.receive(HANDSHAKE) == b""
    assert harness.wire.closing
    harness.http.connection_lost(None)
    await harness.receive(b"")
    assert harness.left == 1


@async_test
async def test_a_handshake_behind_an_answer_is_one() -> None:
    harness = Harness()
    before = await harness.receive(GET + b"\r\n")
    assert (await harness.receive(HANDSHAKE))[len(before) :].startswith(b"stock got get / http/1.1\r\n")
    assert not harness.wire.closing


@async_test
async def test_nothing_is_sent_behind_a_handshake() -> None:
    harness = Harness()
    most = harness.engine.settings.max_head
    await harness.receive(GET + b"X: ")
    await harness.receive(b"x" * (most - 20))
    answer = await harness.receive(b"\r\n" + HANDSHAKE.partition(b"Host: x\r\n")[2] + b"\r\n" * 100)
    assert answer.startswith(b"stock got get / http/1.1\r\n")
    assert b"HTTP/1.1 " not in answer
    assert not harness.wire.closing


@async_test
async def test_a_refusal_does_not_go_into_the_midst_of_a_response() -> None:
    harness = Harness()
    harness.starts_response = True
    answer = await harness.receive(GET + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert await harness.receive((GET + b"\r\n") * 1000) == answer
    assert harness.wire.closing
    assert harness.engine.stats.too_many_requests == 1


@async_test
async def test_nor_does_the_parsers_refusal() -> None:
    harness = Harness()
    harness.starts_response = True
    answer = await harness.receive(GET + b"\r\n")
    assert await harness.receive(b"BROKEN\r\n\r\n") == answer
    assert harness.wire.closing
    harness.http.connection_lost(None)
    await harness.receive(b"")
    assert harness.left == 1


@async_test
async def test_what_follows_a_handshake_is_no_request() -> None:
    """Nor does its protocol get a part of it: what comes before its answer is not parsed, however much it is."""
    harness = Harness()
    answer = await harness.receive(HANDSHAKE + (GET + b"\r\n") * 5000)
    assert answer.startswith(b"stock got get / http/1.1\r\n")
    assert isinstance(harness.wire.protocol, Stock)
    assert answer.count(b"get / ") == 1
    assert not harness.bodies


@async_test
async def test_what_follows_a_broken_request_is_no_request() -> None:
    harness = Harness()
    answer = await harness.receive(b"BROKEN\r\n\r\n" + b"\r\n" * 50_000 + (GET + b"\r\n") * 1000)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not harness.bodies
