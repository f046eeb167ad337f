"""The short cut for a handshake answers what `websockets` answers, and takes no more than it can answer."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.fastlane.test_first_bytes import Stock, Wire
from tests.unit.fuzz import examples
from uvicorn.server import ServerState

from shoal import Engine
from shoal.fastlane.upgrade import UpgradeProtocol
from shoal.http.request import Request
from shoal.testing import async_test, run

Answer = tuple[str, set[tuple[str, str]], bool]


async def handshake(fields: list[tuple[str, str]], *, method: str = "GET", **options: Any) -> Answer:
    """Status line and headers of the answer, and whether a session was opened."""
    engine = Engine(**options)
    engine.on("headers")(lambda headers, request: headers.update({"X-One": "1", "x-two": "ü"}))
    wire, state = Wire(), ServerState()
    protocol = UpgradeProtocol(engine, Stock, config=None, server_state=state, app_state={})
    protocol.connection_made(wire)  # type: ignore[arg-type]
    block = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1") + b"\r\n"
    query = b"EIO=4&transport=websocket"
    protocol.answer(Request(method, "/engine.io/", query, block, "192.0.2.7", False))
    head, _, _ = wire.written.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    opened = bool(engine.sessions)
    assert opened != wire.closing
    protocol.connection_lost(None)
    await engine.close()
    assert not state.connections
    headers = {(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)}
    return status, {(name, value) for name, value in headers if name != "date"}, opened


keys = st.binary(min_size=16, max_size=16).map(lambda data: base64.b64encode(data).decode())
odd_keys = st.sampled_from(["", "short", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZQ", "=" * 24, "ä" * 24])
versions = st.sampled_from(["13", "13", "13", "12", "", "013", "13, 8"])
protocols = st.sampled_from([None, None, "one", "one, two"])


@settings(max_examples=examples(150), deadline=None)
@given(keys | odd_keys, versions, protocols, st.sampled_from(["GET", "GET", "GET", "POST"]))
@example("dGhlIHNhbXBsZSBub25jZQ==", "13", "one", "GET")
def test_a_handshake_is_answered_as_by_websockets(key: str, version: str, subprotocol: str | None, method: str) -> None:
    """The same status and headers but for the date, which the short cut leaves out; and a session, or none."""
    fields = [("Host", "x"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    fields += [("Sec-WebSocket-Version", version), ("Sec-WebSocket-Key", key)]
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    # With this option `websockets` answers each handshake; one that offers no compression gets none.
    ours, theirs = (run(handshake(fields, method=method, per_message_deflate=on)) for on in (False, True))
    assert ours == theirs


@async_test
async def test_the_key_of_the_rfc_has_its_answer() -> None:
    """RFC 6455 section 1.3."""
    fields = [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    _, headers, _ = await handshake(fields)
    assert ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in headers


FIELDS = [("Host", "x"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
QUERY = b"EIO=4&transport=websocket"
CONFIG = SimpleNamespace(root_path="")


def opened(engine: Engine, stock: Any = Stock) -> tuple[UpgradeProtocol, Wire]:
    """A connection that has sent nothing yet."""
    wire = Wire()
    protocol = UpgradeProtocol(engine, stock, config=CONFIG, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)  # type: ignore[arg-type]
    return protocol, wire


def refuse(request: Request) -> str:
    return "not today"


async def refuse_later(request: Request) -> str:
    return "not today"


REFUSALS: dict[str, tuple[dict[str, Any], Any, bytes, list[tuple[str, str]], tuple[int, int, str]]] = {
    # options, allow_request, query, more headers; status, code, message
    "transport": ({"transports": ("polling",)}, None, QUERY, [], (400, 0, "Transport unknown")),
    "session": ({}, None, QUERY + b"&sid=guess", [], (400, 1, "Session ID unknown")),
    "version": ({}, None, b"EIO=3&transport=websocket", [], (400, 5, "Unsupported protocol version")),
    "origin": ({"cors_origins": "http://y"}, None, QUERY, [("Origin", "http://z")], (403, 4, "Forbidden")),
    "application": ({}, refuse, QUERY, [], (403, 4, "not today")),
    "application, later": ({}, refuse_later, QUERY, [], (403, 4, "not today")),
}


@pytest.mark.parametrize("name", REFUSALS)
@async_test
async def test_a_refusal_is_an_answer_in_http(name: str) -> None:
    """Node's code and message, as over ASGI; then the connection is closed, and the refusal is counted once."""
    options, allow, query, more, (status, code, message) = REFUSALS[name]
    engine = Engine(**options)
    engine.allow_request = allow
    protocol, wire = opened(engine)
    block = "".join(f"{field}: {value}\r\n" for field, value in [*FIELDS, *more]).encode() + b"\r\n"
    protocol.answer(Request("GET", "/engine.io/", query, block, "192.0.2.7", False))
    await engine.context.tasks.close(1.0)
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body) == {"code": code, "message": message}
    assert wire.closing
    assert (engine.refused, engine.sessions) == ({code: 1}, {})
    assert engine.stats.foreign_origins == (name == "origin")
    protocol.connection_lost(None)


@async_test
async def test_a_client_that_leaves_while_the_application_decides_gets_no_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever it decides then; and it is no failure."""
    engine = Engine()
    engine.allow_request = lambda request: None
    protocol, wire = opened(engine)
    block = "".join(f"{field}: {value}\r\n" for field, value in FIELDS).encode() + b"\r\n"
    protocol.answer(Request("GET", "/engine.io/", QUERY, block, "192.0.2.7", False))
    protocol.connection_lost(None)
    await engine.context.tasks.close(1.0)
    assert (wire.written, engine.sessions, caplog.records) == (b"", {}, [])


@pytest.mark.parametrize("keeps_open", [True, False])
@async_test
async def test_the_end_of_what_a_client_sends_reaches_whoever_follows(keeps_open: bool) -> None:
    """A protocol says by it whether the transport stays open for what is still to be written."""

    class Half(Stock):
        def eof_received(self) -> bool:
            return keeps_open

    engine = Engine()
    protocol, _ = opened(engine, Half)
    assert not protocol.eof_received()
    protocol.data_received(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert protocol.eof_received() is keeps_open
    protocol.connection_lost(None)
    await engine.close()
