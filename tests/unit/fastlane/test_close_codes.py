"""The fast lane closes a WebSocket with the code that RFC 6455 asks for, whoever finds the fault.

`tests/integration/test_close_codes.py` shows the same over sockets, and of stock uvicorn.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fastlane.test_websocket import Transport
from tests.websocket_faults import ATTACHMENT_DUE, BINARY, TEXT, faults, frame
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from shoal import Engine, Server
from shoal.engine.base import BaseEngine
from shoal.engine.websocket import begin
from shoal.fastlane.websocket import FastLane
from shoal.http.request import Request
from shoal.protocol.session import State
from shoal.testing import Clock, async_test

LIMIT = 100_000
FAULTS = faults(LIMIT)


class Peer:
    """One WebSocket of the fast lane in memory.

    Args:
        engine: Takes its session.
        deflate: Whether permessage-deflate was negotiated.
        polling: Whether it is a probe for a session that polls.
    """

    def __init__(self, engine: BaseEngine[Any], *, deflate: bool = False, polling: bool = False) -> None:
        self.transport = Transport()
        self.reasons: list[str] = []
        protocol = None
        if deflate:
            packer = PerMessageDeflate(False, False, 15, 15)
            protocol = ServerProtocol(state=OPEN, max_size=engine.settings.max_payload)
            protocol.extensions = [packer]
        self.lane = FastLane(engine.context, self.transport, set(), protocol)  # type: ignore[arg-type]
        request = Request("GET", "/", b"", b"", "", False)
        found = None
        if polling:
            found, _ = engine.table.open(State.POLLING, request)
            engine.on_session(found)
        self.lane.accept(request, upgrade=polling)
        begin(engine, self.lane, request, found)
        self.session = self.lane.connection
        assert self.session is not None
        self.session.on("close", self.reasons.append)

    def close_code(self) -> int:
        """The code of the close frame, which is the last that was sent."""
        written = self.transport.written
        start = written.rindex(bytes((0x80 | Opcode.CLOSE,)))
        return int.from_bytes(written[start + 2 : start + 4], "big")

    async def join(self) -> None:
        """Enter the namespace `/`."""
        before = len(self.transport.written)
        self.lane.data_received(frame(TEXT, b"40"))
        await Clock.running().advance(0.01)
        assert len(self.transport.written) > before


@pytest.mark.parametrize("name", FAULTS)
@async_test
async def test_a_fault_of_a_socket_io_client(name: str) -> None:
    """The session ends with Node's reason, and is counted once."""
    fault = FAULTS[name]
    server = Server(max_payload=LIMIT, per_message_deflate=fault.deflate, broker="memory://")
    peer = Peer(server.engine, deflate=fault.deflate)
    await peer.join()
    peer.lane.data_received(fault.data)
    assert peer.close_code() == fault.code
    assert peer.reasons == ["transport error"]
    stats = server.engine.stats
    assert (stats.broken + stats.too_large, server.stats.parse_errors) == (1, 0)
    peer.lane.connection_lost(None)
    await server.close()


@pytest.mark.parametrize(("text", "code"), [(b'42["echo",1]', 1000), (b"4\xff", 1007)])
@async_test
async def test_text_where_the_parser_takes_binary(text: bytes, code: int) -> None:
    """Text is a packet that msgpack does not know; what is no text breaks the protocol here, too."""
    server = Server(parser="msgpack", broker="memory://")
    peer = Peer(server.engine)
    peer.lane.data_received(frame(TEXT, text))
    assert peer.close_code() == code
    assert (server.engine.stats.broken, server.stats.parse_errors) == ((1, 0) if code == 1007 else (0, 1))
    peer.lane.connection_lost(None)
    await server.close()


@async_test
async def test_text_that_is_no_utf8_without_socket_io() -> None:
    """An Engine has no parser that would notice: its messages are text, so they are decoded."""
    engine = Engine(max_payload=LIMIT)
    messages: list[str | bytes] = []
    engine.on("message")(lambda _, data: messages.append(data))
    peer = Peer(engine)
    peer.lane.data_received(frame(TEXT, "4é".encode()) + frame(TEXT, b"4\xff") + frame(TEXT, b"4late"))
    assert peer.close_code() == 1007
    assert peer.reasons == ["transport error"]
    assert messages == ["é"]
    assert engine.stats.broken == 1
    peer.lane.connection_lost(None)
    await engine.close()


@async_test
async def test_a_probe_that_is_no_utf8() -> None:
    """The WebSocket is closed and the fault is counted; the session still polls."""
    for probe in (b"2probe\xff", b"\xff"):
        engine = Engine()
        peer = Peer(engine, polling=True)
        peer.lane.data_received(frame(TEXT, probe))
        assert peer.close_code() == 1007
        assert engine.stats.broken == 1
        peer.lane.connection_lost(None)
        assert peer.session is not None
        assert peer.session.state is State.POLLING
        assert peer.reasons == []
        await engine.close()


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"4nonsense"),
        frame(TEXT, b"9"),
        frame(TEXT, b""),
        frame(TEXT, b"bnonsense"),
        frame(TEXT, "42é".encode()),
        frame(BINARY, b"\xff"),
        ATTACHMENT_DUE + frame(TEXT, "42é".encode()),
    ],
    ids=["no packet", "no kind", "empty", "no base64", "no JSON", "no attachment due", "no attachment"],
)
@async_test
async def test_what_only_socket_io_or_engine_io_refuse_is_closed_in_order(data: bytes) -> None:
    """To WebSockets it is a message like any other; Node closes it in order, too. Binary need not be UTF-8."""
    server = Server(broker="memory://")
    peer = Peer(server.engine)
    await peer.join()
    peer.lane.data_received(data)
    assert peer.close_code() == 1000
    assert peer.reasons == ["parse error"]
    assert server.engine.stats.broken + server.stats.parse_errors == 1
    peer.lane.connection_lost(None)
    await server.close()
