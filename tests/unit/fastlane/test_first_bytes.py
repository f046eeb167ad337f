"""The short cut for plain handshakes gives what the way through uvicorn's HTTP gives, for any first bytes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.fastlane.test_websocket import Transport
from tests.unit.fuzz import examples
from uvicorn.server import ServerState

from shoal.engine.base import BaseEngine
from shoal.engine.connection import Connection
from shoal.fastlane.bounded_http import BoundedHttp
from shoal.fastlane.first_bytes import FirstBytesProtocol, parse_handshake
from shoal.fastlane.upgrade import UpgradeProtocol
from shoal.http.head import MAX_STRICT_HEAD
from shoal.settings import EngineSettings
from shoal.testing import Clock, async_test, run

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = [b"Host: x", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", KEY]
LINE = b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1"
HELLO = b"\x81\x83mask" + bytes(a ^ b for a, b in zip(b"4hi", b"mas", strict=True))


def head(line: bytes = LINE, fields: list[bytes] | None = None) -> bytes:
    return b"".join(each + b"\r\n" for each in [line, *(FIELDS if fields is None else fields), b""])


class Wire(Transport):
    """One connection of uvicorn's."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else default


class Stock:
    """uvicorn's own WebSocket class, for paths that are not the engine's."""

    def __init__(self, **context: Any) -> None: ...

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"stock got " + data.lower())

    def connection_lost(self, exc: Exception | None) -> None: ...


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """The application: answers with what it was asked."""
    body = repr([scope["type"], scope["method"], scope["raw_path"], scope["query_string"], scope["headers"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Harness:
    """An engine behind uvicorn's classes, with the short cut or without it."""

    def __init__(self, *, short_cut: bool, **options: Any) -> None:
        self.seen: list[Any] = []
        self.engine = BaseEngine(EngineSettings(**options), self.attach)
        http: Any = BoundedHttp
        first = (self.engine, Stock) if short_cut else (self.engine.settings, self.engine.stats)
        self.config = uvicorn.Config(answer, log_config=None, access_log=False, server_header=False, date_header=False)
        self.config.load()
        self.config.ws_protocol_class = lambda **context: UpgradeProtocol(self.engine, Stock, **context)  # type: ignore[assignment,return-value]
        self.state = ServerState()
        self.wire = Wire()
        self.wire.protocol = (FirstBytesProtocol if short_cut else http)(
            *first, config=self.config, server_state=self.state, app_state={}, _loop=asyncio.get_running_loop()
        )
        self.wire.protocol.connection_made(self.wire)

    def attach(self, connection: Connection) -> None:
        request = connection.request
        self.seen.append([request.method, request.path, request.query, request.url, request.headers])
        self.seen.append([request.peer, request.secure, request.subprotocol, request.wants_base64])
        connection.receiver = self

    def receive_text(self, payload: bytes) -> None:
        self.seen.append(bytes(payload))

    def receive_binary(self, payload: bytes) -> None:
        raise AssertionError("nobody sends binary here")

    def closed(self, reason: str) -> None:
        self.seen.append(reason)

    def receive(self, data: bytes) -> None:
        if not self.wire.closing:
            self.wire.protocol.data_received(data)

    async def end(self) -> list[Any]:
        """What it answered, what its session got, and what is left of the connection."""
        for _ in range(4):
            await asyncio.sleep(0)
        self.wire.protocol.connection_lost(None)
        self.engine.context.wheel.close()
        for _ in range(2):
            await asyncio.sleep(0)
        assert not self.state.connections
        assert not self.engine.sessions
        written = re.sub(rb'(?<="sid":")[^"]*|(?<=Date: )[^\r]*', b"...", self.wire.written)
        if self.engine.settings.per_message_deflate:
            written = written.partition(b"\r\n\r\n")[0]  # the session's id is in the rest, compressed
        return [written, self.wire.closing, self.seen]


async def both(first: bytes, second: bytes = b"", **options: Any) -> tuple[list[Any], list[Any]]:
    found = []
    for short_cut in (True, False):
        harness = Harness(short_cut=short_cut, **options)
        harness.receive(first)
        if second:
            harness.receive(second)
        found.append(await harness.end())
    return found[0], found[1]


names = st.sampled_from(
    [b"Host", b"Origin", b"Cookie", b"X-Forwarded-For", b"Expect", b"Sec-WebSocket-Protocol", b"A", b""]
)
values = st.sampled_from(
    [b"", b"x", b" a, b ", b"\ttab", b"http://x", b"100-continue", "é".encode(), b"\x00", b"\x7f", b"a:b"]
)
odd = st.sampled_from(
    [
        b"upgrade:websocket",
        b"UPGRADE: WebSocket ",
        b"Upgrade: h2c",
        b"Connection: keep-alive, Upgrade",
        b"connection: Keep-Alive",
        b"Connection: close",
        b"Connection: upgrade, close",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Sec-WebSocket-Version: 12",
        b"Sec-WebSocket-Key: short",
        b" folded",
        b"Bad Header: x",
        b"NoColon",
        b"Bare\rReturn: x",
        b"Bare\nFeed: x",
        b"Sec-WebSocket-Extensions: permessage-deflate",
    ]
)
fields = st.lists(
    st.sampled_from(FIELDS) | odd | st.builds(lambda name, value: name + b": " + value, names, values), max_size=5
)
lines = st.sampled_from(
    [
        LINE,
        LINE,
        LINE,
        b"GET /engine.io/?transport=websocket&EIO=4&b64=1&x=%20+ HTTP/1.1",
        b"GET /engine.io/?EIO=3&transport=websocket HTTP/1.1",
        b"GET /engine.io/?EIO=4&transport=websocket&sid=unknown HTTP/1.1",
        b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1",
        b"GET /engine.io/ HTTP/1.1",
        b"GET /engine%2eio/?EIO=4&transport=websocket HTTP/1.1",
        b"GET /other/?EIO=4&transport=websocket HTTP/1.1",
        b"GET http://x/engine.io/?EIO=4&transport=websocket HTTP/1.1",
        b"GET /engine.io/?EIO=4&transport=websocket#f HTTP/1.1",
        b'GET /engine.io/?EIO=4&transport=websocket&q="<>^`{|}\\ HTTP/1.1',
        b"GET  /engine.io/?EIO=4&transport=websocket HTTP/1.1",
        b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.0",
        b"POST /engine.io/?EIO=4&transport=websocket HTTP/1.1",
        b"get /engine.io/?EIO=4&transport=websocket HTTP/1.1",
    ]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """The head of a request for a WebSocket, with something added, something missing, in any order."""
    missing = draw(st.sampled_from([None, None, None, *FIELDS]))
    chosen = [field for field in FIELDS if field != missing] + draw(fields)
    return head(draw(lines), draw(st.permutations(chosen)) if draw(st.booleans()) else chosen)


@settings(max_examples=examples(250), deadline=None)
@given(heads(), st.sampled_from([b"", HELLO, b"\x88\x80mask", b"more"]))
@example(head(), HELLO)
@example(head(LINE.replace(b"websocket", b"websocket&sid=x")), b"")
def test_any_head_is_answered_as_by_way_of_uvicorn(first: bytes, second: bytes) -> None:
    """The same bytes, the same request for the application, the same end."""
    with_door, without = run(both(first, second))
    assert with_door == without


@settings(max_examples=examples(100), deadline=None)
@given(heads(), st.integers(0, 400), st.binary(max_size=3))
def test_so_it_is_in_pieces_and_with_more_behind_it(first: bytes, cut: int, behind: bytes) -> None:
    """A head that does not come whole, or not alone, is uvicorn's."""
    with_door, without = run(both(first[:cut] or b"G", first[cut:] + behind))
    assert with_door == without


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(min_size=1, max_size=60) | st.binary(max_size=20).map(LINE.__add__))
def test_so_it_is_for_any_bytes(first: bytes) -> None:
    with_door, without = run(both(first))
    assert with_door == without


@pytest.mark.parametrize(
    "options", [{"per_message_deflate": True}, {"cors_origins": "http://x"}, {"transports": ("polling",)}], ids=str
)
def test_so_it_is_with_options_that_concern_a_handshake(options: dict[str, Any]) -> None:
    fields = [*FIELDS, b"Origin: http://evil", b"Sec-WebSocket-Extensions: permessage-deflate"]
    with_door, without = run(both(head(fields=fields), HELLO, **options))
    assert with_door == without


def test_what_clients_send_takes_the_short_cut() -> None:
    """Else the tests above would hold nothing equal."""
    browser = [*FIELDS, b"Origin: http://localhost:8080", b"Cookie: a=b; c=d", b"Connection: keep-alive, Upgrade"]
    browser.remove(b"Connection: Upgrade")
    for fields in (FIELDS, browser):
        request = parse_handshake(head(fields=fields), "/engine.io/")
        assert request is not None
        assert request.query == {"EIO": "4", "transport": "websocket"}
    assert parse_handshake(head(fields=[*FIELDS, b"Content-Length: 3"]), "/engine.io/") is None
    assert parse_handshake(head(fields=[*FIELDS, b"A: " + b"x" * MAX_STRICT_HEAD]), "/engine.io/") is None
    assert parse_handshake(head(), "/socket.io/") is None


@async_test
async def test_a_connection_that_sends_nothing_is_ended() -> None:
    """After `head_timeout`, with 408 and counted; one that began in time has only what is left of it."""
    idle, slow = Harness(short_cut=True, head_timeout=10), Harness(short_cut=True, head_timeout=10)
    await Clock.running().advance(6.0)
    slow.receive(b"GET ")
    assert not slow.wire.closing
    await Clock.running().advance(5.0)
    for harness in (idle, slow):
        assert harness.wire.written.startswith(b"HTTP/1.1 408 ")
        assert harness.engine.stats.bad_heads == 1
        await harness.end()


@async_test
async def test_a_connection_that_sends_nothing_and_leaves_leaves_no_deadline() -> None:
    harness = Harness(short_cut=True)
    assert len(harness.engine.context.wheel) == 1
    harness.wire.protocol.connection_lost(None)
    assert len(harness.engine.context.wheel) == 0
    assert not harness.state.connections


@async_test
async def test_one_that_never_becomes_a_connection_is_not_counted() -> None:
    """Where a TLS handshake fails, a protocol is made, and neither connection_made nor connection_lost is called."""
    harness = Harness(short_cut=True)
    await harness.end()
    FirstBytesProtocol(harness.engine, Stock, config=harness.config, server_state=harness.state, app_state={})
    assert not harness.state.connections


@async_test
async def test_a_connection_that_sends_nothing_is_closed_at_the_servers_end() -> None:
    harness = Harness(short_cut=True)
    (protocol,) = harness.state.connections
    protocol.shutdown()
    assert harness.wire.closing
    assert (await harness.end())[0] == b""


@async_test
async def test_a_pause_within_the_handshake_reaches_the_session() -> None:
    """uvicorn sets the new protocol behind its first bytes; a pause among them is reported only once."""
    for short_cut in (True, False):
        harness = Harness(short_cut=short_cut)
        wire, sessions = harness.wire, harness.engine.sessions

        def write(data: bytes, wire: Wire = wire) -> None:
            wire.written += data
            wire.protocol.pause_writing()

        wire.write = write  # type: ignore[method-assign]
        harness.receive(head())
        (session,) = sessions.values()
        assert not session.outbox.writable
        del wire.write
        wire.protocol.resume_writing()
        assert session.outbox.writable
        await harness.end()
