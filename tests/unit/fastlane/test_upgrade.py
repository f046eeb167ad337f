"""The short cut for a handshake answers what `websockets` answers, and takes no more than it can answer."""

from __future__ import annotations

import base64
from typing import Any

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
