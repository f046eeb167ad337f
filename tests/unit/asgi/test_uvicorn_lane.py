"""A lane on uvicorn's transport and one behind ASGI's `receive` and `send`: the same messages, the same ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fastlane.test_websocket import Transport
from tests.unit.fuzz import examples
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from shoal import Engine
from shoal.asgi.uvicorn_lane import UvicornLane, take_over
from shoal.asgi.websocket_lane import AsgiLane
from shoal.engine.base import BaseEngine
from shoal.http.request import Request
from shoal.settings import EngineSettings
from shoal.testing import run

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = ["Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY]
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
CLOSE = b"\x88\x82mask" + bytes(a ^ b for a, b in zip(b"\x03\xe8", b"ma", strict=True))


class Wire(Transport):
    """uvicorn's transport. Whether it takes more, a test decides."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        assert not self.closing
        super().write(data)
        self.writes.append(data)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4711) if name in ("peername", "sockname") else default


class Harness:
    """One WebSocket of stock uvicorn, with a session on it; behind a `send` that is not uvicorn's, or not."""

    def __init__(
        self,
        *,
        behind: bool,
        fields: tuple[str, ...] = (),
        query: str = "EIO=4&transport=websocket",
        early: bytes = b"",
        **options: Any,
    ) -> None:
        own = {name: options.pop(name) for name in list(options) if name.startswith("ws_")}
        self.engine = Engine(path="/engine.io/", **options)
        self.sessions: list[Any] = []
        self.reasons: list[str] = []
        self.got: list[str | bytes] = []
        self.state = ServerState()
        self.engine.on("connect")(self.sessions.append)
        self.engine.on("message")(lambda session, data: self.got.append(data))
        self.engine.on("disconnect")(lambda session, reason: self.reasons.append(reason))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def another(message: Any) -> None:
                await send(message)

            await self.engine(scope, receive, another if behind else send)

        config = uvicorn.Config(app, log_config=None, lifespan="off", **({"ws_ping_interval": None} | own))
        self.wire = Wire()
        self.uvicorns: Any = WebSocketsSansIOProtocol(config, self.state, {}, asyncio.get_running_loop())
        self.wire.protocol = self.uvicorns
        self.protocol.connection_made(self.wire)
        head = "\r\n".join([f"GET /engine.io/?{query} HTTP/1.1", *FIELDS, *fields, "", ""])
        self.protocol.data_received(head.encode() + early)

    @property
    def protocol(self) -> Any:
        """Whose the transport is at the moment."""
        return self.wire.protocol

    @property
    def lane(self) -> Any:
        return self.sessions[0].lane

    def lose(self, exc: Exception | None = None) -> None:
        """The connection is gone, as the event loop tells it."""
        self.protocol.connection_lost(exc)

    def messages(self) -> list[str | bytes]:
        """What the client was sent behind the answer to its handshake and the OPEN packet."""
        return self.messages_and_pongs()[0]

    def messages_and_pongs(self) -> tuple[list[str | bytes], list[bytes]]:
        answer, _, frames = self.wire.written.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        end = ClientProtocol(parse_uri("ws://x/"), state=OPEN, max_size=None)
        if b"permessage-deflate" in answer:
            end.extensions = [PerMessageDeflate(False, False, 12, 12)]
        end.receive_data(frames)
        assert end.parser_exc is None
        messages: list[str | bytes] = []
        pongs = []
        for event in end.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.PONG:
                pongs.append(bytes(event.data))
            else:
                messages.append(bytes(event.data).decode() if event.opcode is Opcode.TEXT else bytes(event.data))
        assert str(messages[0]).startswith("0{")
        return messages[1:], pongs


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["x" * 125, "x" * 126, "é" * 70_000]))
DATA = st.one_of(TEXTS, st.binary(max_size=200))
ACTIONS = st.one_of(
    st.tuples(st.just("send"), DATA),
    st.tuples(st.just("receive"), DATA),
    st.tuples(st.just("receive"), DATA),
    st.tuples(st.just("receive in fragments"), st.binary(min_size=3, max_size=50)),
    st.tuples(st.just("receive in two reads"), st.binary(min_size=1, max_size=50)),
    st.tuples(st.just("receive compressed"), st.binary(max_size=50)),
    st.tuples(st.just("ping"), st.binary(max_size=8)),
    st.tuples(st.sampled_from(["pause", "resume", "turn"]), st.none()),
)


def frame(data: str | bytes) -> bytes:
    """One message of a client, as one frame."""
    if isinstance(data, str):
        return Frame(Opcode.TEXT, b"4" + data.encode("utf-8", "surrogatepass")).serialize(mask=True)
    return Frame(Opcode.BINARY, data).serialize(mask=True)


def compressed(data: bytes) -> bytes:
    return Frame(Opcode.BINARY, data).serialize(mask=True, extensions=[PerMessageDeflate(False, False, 12, 12)])


async def act(harness: Harness, action: str, argument: Any) -> None:
    wire = harness.wire
    if action == "send":
        harness.sessions[0].send(argument)
    elif action == "pause":
        harness.protocol.pause_writing()
    elif action == "resume":
        harness.protocol.resume_writing()
    elif action == "turn":
        await settle()
    else:
        if action == "receive":
            pieces = [frame(argument)]
        elif action == "receive compressed":
            pieces = [compressed(argument)]
        elif action == "ping":
            pieces = [Frame(Opcode.PING, argument).serialize(mask=True)]
        elif action == "receive in two reads":
            whole = frame(argument)
            pieces = [whole[:3], whole[3:]]
        else:
            opcodes = (Opcode.BINARY, Opcode.CONT, Opcode.CONT)
            pieces = [
                Frame(opcode, argument[number::3], fin=number == 2).serialize(mask=True)
                for number, opcode in enumerate(opcodes)
            ]
        for piece in pieces:
            for _ in range(200):  # uvicorn pauses reading until its application has asked for more
                if wire.reading:
                    break
                await asyncio.sleep(0)
            harness.protocol.data_received(piece)


def received(actions: list[tuple[str, Any]]) -> list[str | bytes]:
    """What the server has of a client's messages."""
    found: list[str | bytes] = []
    for action, argument in actions:
        if action == "receive in fragments":
            found.append(b"".join(argument[number::3] for number in range(3)))
        elif action.startswith("receive"):
            found.append(argument)
    return found


async def play(actions: list[tuple[str, Any]], behind: bool) -> tuple[type, list[Any], list[Any], list[bytes]]:
    """The lane that there was, what the client has after all that, what the server has, and the pongs."""
    harness = Harness(behind=behind, fields=(DEFLATE,))
    await settle()
    for action, argument in actions:
        await act(harness, action, argument)
    await settle()
    harness.protocol.resume_writing()
    await settle()
    kind = type(harness.lane)
    harness.lose()
    await settle()
    await harness.engine.close()
    assert harness.reasons == ["transport close"]
    assert not harness.state.connections
    assert not harness.state.tasks
    messages, pongs = harness.messages_and_pongs()
    return kind, messages, harness.got, pongs


@settings(max_examples=examples(80))
@given(st.lists(ACTIONS, max_size=12))
def test_every_message_comes_as_it_comes_through_asgi(actions: list[tuple[str, Any]]) -> None:
    """Whole, in order, none twice, in both directions; whether the client reads or not."""

    async def check() -> None:
        plain, *expected = await play(actions, behind=True)
        short, *got = await play(actions, behind=False)
        assert (plain, short) == (AsgiLane, UvicornLane)
        sent = [data if isinstance(data, bytes) else "4" + data for kind, data in actions if kind == "send"]
        assert got[:2] == expected[:2] == [sent, received(actions)]
        # Of pongs that a client does not read only the last one waits for it, which RFC 6455 section 5.5.3 allows.
        assert got[2] == expected[2] or any(action == "pause" for action, _ in actions)

    run(check())


def test_a_turn_is_one_write_and_is_not_compressed() -> None:
    """Whatever the client offered: uvicorn would compress each message anew for each client."""

    async def check() -> None:
        harness = Harness(behind=False, fields=(DEFLATE,))
        await settle()
        assert harness.uvicorns.conn.extensions
        before = len(harness.wire.writes)
        harness.sessions[0].outbox.write(b"\x81\x02hi" + b"\x81\x02ho")
        assert harness.wire.writes[before:] == [b"\x81\x02hi\x81\x02ho"]
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("offered", [True, False])
def test_compression_that_is_asked_for_is_used(offered: bool) -> None:
    """With `per_message_deflate` on, and a client that offers it."""

    async def check() -> None:
        harness = Harness(behind=False, fields=(DEFLATE,) if offered else (), per_message_deflate=True)
        await settle()
        assert type(harness.lane) is UvicornLane
        assert harness.sessions[0].outbox.framed is not offered
        before = len(harness.wire.written)
        harness.sessions[0].send("x" * 5_000)
        await settle()
        assert (len(harness.wire.written) - before < 500) is offered
        assert harness.wire.written[before] == (0xC1 if offered else 0x81)
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


def test_a_client_that_takes_no_binary_gets_base64() -> None:
    async def check() -> None:
        harness = Harness(behind=False, query="EIO=4&transport=websocket&b64=1")
        await settle()
        assert type(harness.lane) is UvicornLane
        harness.sessions[0].send(b"\x01\x02")
        await settle()
        assert harness.messages() == ["bAQI="]
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


def test_a_client_that_does_not_read_is_held_and_bounded() -> None:
    """What uvicorn's transport cannot take waits in the outbox, up to its bound; then the client is cut off."""

    async def check() -> None:
        harness = Harness(behind=False, max_outbox=10_000)
        await settle()
        session = harness.sessions[0]
        session.send("the last that the transport takes")
        harness.protocol.pause_writing()
        assert not session.outbox.writable
        before = len(harness.wire.written)
        for _ in range(11):
            session.send("x" * 1_000)
        assert len(harness.wire.written) == before
        assert harness.engine.outbox_stats.overflows == 1
        await settle()
        assert harness.reasons == ["transport error"]
        assert harness.wire.aborted
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_message_above_the_bound_is_refused(behind: bool, fragments: int) -> None:
    """With 1009. uvicorn's own bound, `ws_max_size`, is larger."""

    async def check() -> None:
        harness = Harness(behind=behind, max_payload=1_000)
        await settle()
        for number in range(fragments):
            opcode, fin = Opcode.CONT if number else Opcode.BINARY, number == fragments - 1
            harness.protocol.data_received(Frame(opcode, b"x" * 999, fin=fin).serialize(mask=True))
        if fragments == 1:
            harness.protocol.data_received(frame(b"x" * 1_001))
        await settle()
        assert harness.got == ([b"x" * 999] if fragments == 1 else [])
        assert harness.wire.written.endswith(b"\x88\x02\x03\xf1")
        assert harness.engine.stats.too_large == 1
        harness.lose()
        await settle()
        assert harness.reasons == ["transport close"]
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("behind", [True, False])
def test_a_client_goes_on_sending_above_the_bound(behind: bool) -> None:
    """It is refused once, and has the time to read why."""

    async def check() -> None:
        harness = Harness(behind=behind, max_payload=1_000)
        await settle()
        for _ in range(3):
            harness.protocol.data_received(frame(b"x" * 1_001))
            await settle()
        assert harness.wire.written.endswith(b"\x88\x02\x03\xf1")
        assert harness.engine.stats.too_large == 1
        assert not harness.wire.aborted
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("behind", [True, False])
def test_a_lower_bound_of_uvicorns_holds(behind: bool) -> None:
    """Whoever starts uvicorn with a small `--ws-max-size` means it."""

    async def check() -> None:
        harness = Harness(behind=behind, ws_max_size=1_000)
        await settle()
        harness.protocol.data_received(frame(b"x" * 999))
        await settle()
        harness.protocol.data_received(frame(b"x" * 1_001))
        await settle()
        assert harness.got == [b"x" * 999]
        assert b"\x88" in harness.wire.written[-64:]
        assert b"\x03\xf1" in harness.wire.written[-64:]
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("end", ["close", "shutdown", "lost", "cut off"])
def test_after_its_end_nothing_is_written(end: str, behind: bool) -> None:
    """The client closed, uvicorn stops, waits for nobody any more, or the connection is gone: its call ends."""

    async def check() -> None:
        harness = Harness(behind=behind)
        await settle()
        session = harness.sessions[0]
        if end == "close":
            harness.protocol.data_received(CLOSE)
        elif end == "shutdown":
            for connection in list(harness.state.connections):
                connection.shutdown()
        elif end == "cut off":
            for task in list(harness.state.tasks):
                task.cancel()
            await settle()
            assert harness.wire.closing
        if end != "lost":
            harness.wire.close()
        harness.lose(ConnectionResetError() if end == "lost" else None)
        before = harness.wire.written
        await settle()
        session.send("hi")
        await settle()
        assert harness.wire.written == before
        assert len(harness.reasons) == 1
        assert not harness.state.connections
        assert not harness.state.tasks
        await harness.engine.close()
        await settle()

    run(check())


def test_a_client_that_is_slow_to_leave_does_not_hold_the_call() -> None:
    """uvicorn waits for its connection, as long as it wants to, and has no call to cancel and to report as failed."""

    async def check() -> None:
        harness = Harness(behind=False)
        await settle()
        lane = harness.lane
        for connection in list(harness.state.connections):
            connection.shutdown()
        await settle()
        assert not harness.state.tasks
        assert harness.state.connections == {lane}
        assert harness.reasons == ["server shutting down"]
        harness.lose()
        assert not harness.state.connections
        await harness.engine.close()
        await settle()

    run(check())


def test_uvicorns_pings_stop() -> None:
    """It would wait for pongs that it is not given, and close the connection."""

    async def check() -> None:
        harness = Harness(behind=False, ws_ping_interval=0.01, ws_ping_timeout=0.01)
        await settle()
        assert type(harness.lane) is UvicornLane
        before = harness.wire.written
        await asyncio.sleep(0.1)
        assert harness.wire.written == before
        assert not harness.wire.closing
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("early", [100, 3, 0])
def test_who_sends_before_it_is_answered_is_served_or_cut_off(early: int) -> None:
    """uvicorn has read that, so its transport stays its own where it knows of it."""

    async def check() -> None:
        harness = Harness(behind=False, early=frame("early")[:early])
        await settle()
        assert harness.sessions
        assert type(harness.lane) is (AsgiLane if early == 100 else UvicornLane)
        assert harness.got == (["early"] if early == 100 else [])
        harness.lose()
        await harness.engine.close()
        await settle()

    run(check())


def test_whatever_is_not_uvicorns_own_goes_through_asgi() -> None:
    """A function, a method of something else, another one's method, a protocol that has lost a part or is paused."""

    async def check() -> None:
        engine = BaseEngine(EngineSettings(), lambda connection: None)
        request = Request("GET", "/engine.io/", b"EIO=4&transport=websocket", [], "192.0.2.7", secure=False)
        one, two = Harness(behind=True), Harness(behind=True)
        await settle()
        protocol = one.uvicorns
        while not protocol.queue.empty():
            protocol.queue.get_nowait()

        async def function(message: Any = None) -> None: ...

        class Other:
            async def send(self, message: Any) -> None: ...

        for receive, send in (
            (protocol.receive, function),
            (function, protocol.send),
            (protocol.receive, Other().send),
            (two.uvicorns.receive, protocol.send),
        ):
            assert take_over(engine.context, request, receive, send) is None
        for part, value in (
            ("writable", asyncio.Event()),
            ("read_paused", True),
            ("close_sent", True),
        ):
            good = protocol.__dict__.pop(part)
            assert take_over(engine.context, request, protocol.receive, protocol.send) is None
            setattr(protocol, part, value)
            assert take_over(engine.context, request, protocol.receive, protocol.send) is None
            setattr(protocol, part, good)
        for part, value in (("frames", [b"x"]), ("bytes", bytearray(b"x"))):  # as it is called, and was
            setattr(protocol, part, value)
            assert take_over(engine.context, request, protocol.receive, protocol.send) is None
            delattr(protocol, part)
        assert type(take_over(engine.context, request, protocol.receive, protocol.send)) is UvicornLane
        for harness in (one, two):
            harness.lose()
            await harness.engine.close()
        await settle()

    run(check())
