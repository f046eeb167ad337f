"""The way past uvicorn's `send` gives each client the messages that `send` gives it, in the same order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fanout.recording import unframe
from tests.unit.fastlane.test_websocket import Transport
from tests.unit.fuzz import examples
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from shoal import Engine
from shoal.asgi.uvicorn_lane import UvicornLane, choose_lane
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

    def write(self, data: bytes) -> None:
        assert not self.closing
        super().write(data)
        self.writes.append(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4711) if name in ("peername", "sockname") else default


class Harness:
    """One WebSocket of stock uvicorn, with a session on it; behind a `send` that is not uvicorn's, or not."""

    def __init__(self, *, behind: bool, fields: tuple[str, ...] = (), **options: Any) -> None:
        self.engine = Engine(path="/engine.io/", **options)
        self.sessions: list[Any] = []
        self.reasons: list[str] = []
        self.engine.on("connect")(self.sessions.append)
        self.engine.on("disconnect")(lambda session, reason: self.reasons.append(reason))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def own(message: Any) -> None:
                await send(message)

            await self.engine(scope, receive, own if behind else send)

        config = uvicorn.Config(app, log_config=None, lifespan="off", ws_ping_interval=None)
        self.wire = Wire()
        self.protocol: Any = WebSocketsSansIOProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        head = "\r\n".join(["GET /engine.io/?EIO=4&transport=websocket HTTP/1.1", *FIELDS, *fields, "", ""])
        self.protocol.data_received(head.encode())

    @property
    def lane(self) -> Any:
        return self.sessions[0].lane

    def messages(self) -> list[str | bytes]:
        """What the client was sent behind the answer to its handshake and the OPEN packet."""
        answer, _, frames = self.wire.written.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        first, *rest = unframe(frames)
        assert str(first).startswith("0{")
        return rest


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["x" * 125, "x" * 126, "é" * 70_000]))
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.one_of(TEXTS, st.binary(max_size=200))),
    st.tuples(st.sampled_from(["pause", "resume", "turn"]), st.none()),
)


async def play(actions: list[tuple[str, Any]], behind: bool) -> tuple[type, list[str | bytes]]:
    """The lane that there was, and what the client has after all that."""
    harness = Harness(behind=behind)
    await settle()
    for action, argument in actions:
        if action == "send":
            harness.sessions[0].send(argument)
        elif action == "pause":
            harness.protocol.pause_writing()
        elif action == "resume":
            harness.protocol.resume_writing()
        else:
            await settle()
    harness.protocol.resume_writing()
    await settle()
    kind = type(harness.lane)
    harness.protocol.connection_lost(None)
    await settle()
    await harness.engine.close()
    assert harness.reasons == ["transport close"]
    return kind, harness.messages()


@settings(max_examples=examples(60))
@given(st.lists(ACTIONS, max_size=12))
def test_every_message_comes_as_it_comes_through_send(actions: list[tuple[str, Any]]) -> None:
    """Whole, in order, none twice; whether the client reads or not."""

    async def check() -> None:
        plain, expected = await play(actions, behind=True)
        short, got = await play(actions, behind=False)
        assert (plain, short) == (AsgiLane, UvicornLane)
        sent = [data if isinstance(data, bytes) else "4" + data for kind, data in actions if kind == "send"]
        assert got == expected == sent

    run(check())


def test_a_turn_is_one_write_and_is_not_compressed() -> None:
    """Whatever the client offered: uvicorn would compress each message anew for each client."""

    async def check() -> None:
        harness = Harness(behind=False, fields=(DEFLATE,))
        await settle()
        assert harness.protocol.conn.extensions
        before = len(harness.wire.writes)
        harness.lane.write(b"\x81\x02hi" + b"\x81\x02ho")
        assert harness.wire.writes[before:] == [b"\x81\x02hi\x81\x02ho"]
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("wanted", [True, False])
def test_compression_that_is_asked_for_is_uvicorns(wanted: bool) -> None:
    """With `per_message_deflate` on, and a client that offers it, messages go through `send`."""

    async def check() -> None:
        harness = Harness(behind=False, fields=(DEFLATE,) if wanted else (), per_message_deflate=True)
        await settle()
        assert type(harness.lane) is (AsgiLane if wanted else UvicornLane)
        await harness.engine.close()
        await settle()

    run(check())


def test_a_client_that_does_not_read_is_held_and_bounded() -> None:
    """What uvicorn's transport cannot take waits in the outbox, up to its bound; then the client is cut off."""

    async def check() -> None:
        harness = Harness(behind=False, max_outbox=10_000)
        await settle()
        session = harness.sessions[0]
        harness.protocol.pause_writing()
        session.send("the last that the transport takes")
        assert not session.outbox.writable
        before = len(harness.wire.written)
        for _ in range(11):
            session.send("x" * 1_000)
        assert len(harness.wire.written) == before
        assert harness.engine.outbox_stats.overflows == 1
        await settle()
        assert harness.reasons == ["transport error"]
        await harness.engine.close()
        await settle()

    run(check())


def test_a_client_that_reads_again_before_the_lane_runs_is_not_held_for_ever() -> None:
    """The transport is full and empty again before the task that waits for it has had its first turn."""

    async def check() -> None:
        harness = Harness(behind=False)
        lanes: list[Any] = []
        start_session = UvicornLane.start_session

        def at_once(lane: Any, session: Any, packet: str) -> None:
            start_session(lane, session, packet)
            lanes.append(lane)
            harness.protocol.pause_writing()
            session.send("one")
            session.send("two")
            harness.protocol.resume_writing()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(UvicornLane, "start_session", at_once)
            await settle()
        assert lanes
        assert harness.messages() == ["4one", "4two"]
        await harness.engine.close()
        await settle()

    run(check())


@pytest.mark.parametrize("end", ["close", "shutdown", "lost"])
def test_after_its_end_nothing_is_written(end: str) -> None:
    """The client closed, uvicorn stops, or the connection is gone: frames behind a close frame are an error."""

    async def check() -> None:
        harness = Harness(behind=False)
        await settle()
        lane = harness.lane
        if end == "close":
            harness.protocol.data_received(CLOSE)
        elif end == "shutdown":
            harness.protocol.shutdown()
        else:
            harness.protocol.connection_lost(ConnectionResetError())
            harness.wire.close()
        before = harness.wire.written
        lane.write(b"\x81\x02hi")
        await settle()
        lane.write(b"\x81\x02hi")
        assert harness.wire.written == before
        assert harness.reasons == ["transport close"]
        await harness.engine.close()
        await settle()

    run(check())


def test_whatever_is_not_uvicorns_own_goes_through_send() -> None:
    """A function, a method of something else, a protocol that has lost a part, a client that takes no binary."""

    async def check() -> None:
        engine = BaseEngine(EngineSettings(), lambda connection: None)
        request = Request("GET", "/engine.io/", b"EIO=4&transport=websocket", [], "192.0.2.7", secure=False)
        text_only = Request("GET", "/engine.io/", b"EIO=4&transport=websocket&b64=1", [], "192.0.2.7", secure=False)
        harness = Harness(behind=False)
        await settle()
        send = harness.protocol.send

        async def function(message: Any) -> None: ...

        class Other:
            async def send(self, message: Any) -> None: ...

        assert type(choose_lane(engine.context, request, send)) is UvicornLane
        for each, asked in ((function, request), (Other().send, request), (send, text_only)):
            assert type(choose_lane(engine.context, asked, each)) is AsgiLane
        assert choose_lane(engine.context, text_only, send).text_only
        writable = harness.protocol.__dict__.pop("writable")
        assert type(choose_lane(engine.context, request, send)) is AsgiLane
        harness.protocol.writable = writable
        await harness.engine.close()
        await settle()

    run(check())
