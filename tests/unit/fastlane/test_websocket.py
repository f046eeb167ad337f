"""The fast lane's short cuts give exactly what `websockets` alone gives, for any frames, however the bytes arrive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzz import examples
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from shoal.engine.base import BaseEngine
from shoal.engine.connection import Connection
from shoal.engine.websocket import begin
from shoal.fastlane.reader import MAX_UNCOMMON
from shoal.fastlane.websocket import FastLane
from shoal.http.request import Request
from shoal.protocol.frames import binary_frame, text_frame
from shoal.protocol.session import State
from shoal.settings import EngineSettings
from shoal.testing import Clock, async_test, run

LARGEST = 6_000  # above the size up to which the lane waits for a whole frame


class Transport:
    """What asyncio hands to a protocol, in memory: it takes writes, and says so when it is told to close."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.reading = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        if not self.closing:
            self.written += data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0


Message = tuple[str, bytes]


@dataclass
class Seen:
    """What a server makes of a client's bytes."""

    messages: list[Message] = field(default_factory=list)
    sent: bytes = b""


def by_websockets(stream: bytes) -> Seen:
    """`websockets` alone, all bytes at once."""
    protocol, seen = ServerProtocol(state=OPEN, max_size=LARGEST), Seen()
    kind, parts = "", b""
    protocol.receive_data(stream)
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            continue
        if event.opcode is not Opcode.CONT:
            kind, parts = event.opcode.name, b""
        parts += bytes(event.data)
        if event.fin:
            seen.messages.append((kind, parts))
    seen.sent = b"".join(protocol.data_to_send())
    return seen


class Lane:
    """A session on a FastLane, and what it makes of the bytes."""

    def __init__(self, *, begin: bool = True) -> None:
        self.seen = Seen()
        self.reasons: list[str] = []
        self.transport = Transport()
        self.connections: set[Any] = set()
        self.engine = BaseEngine(EngineSettings(max_payload=LARGEST), self.attach)
        self.lane = FastLane(self.engine.context, self.transport, self.connections)  # type: ignore[arg-type]
        if begin:
            self.begin(None)
        self.opening = len(self.transport.written)

    def begin(self, found: Connection | None) -> None:
        request = Request("GET", "/", b"", b"", "", False)
        self.lane.accept(request, upgrade=found is not None)
        begin(self.engine, self.lane, request, found)

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        connection.on_text = lambda payload: self.seen.messages.append(("TEXT", bytes(payload)))
        connection.on_binary = lambda payload: self.seen.messages.append(("BINARY", bytes(payload)))
        connection.on_close = self.reasons.append

    def end(self) -> Seen:
        self.lane.connection_lost(None)
        self.engine.context.wheel.close()
        self.seen.sent = self.transport.written[self.opening :]
        return self.seen


def by_fast_lane(stream: bytes, cuts: list[int], pauses: set[int]) -> tuple[Seen, list[str]]:
    """The fast lane, in pieces that end at `cuts`; reading is paused while the pieces in `pauses` arrive."""

    async def main() -> tuple[Seen, list[str]]:
        it = Lane()
        ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)} - {0})
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if it.transport.aborted:
                break
            if number in pauses:
                it.connection.pause_reading()
            if end > start:
                it.lane.data_received(stream[start:end])
            if number in pauses:
                before = list(it.seen.messages)
                await asyncio.sleep(0)
                assert it.seen.messages == before
                it.connection.resume_reading()
                await asyncio.sleep(0)
        return it.end(), it.reasons

    return run(main())


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=mask)


def sized(size: int) -> bytes:
    return b"4" + b"\xc3\xa9" * (size // 2)


sizes = st.integers(0, 140) | st.sampled_from([123, 124, 125, 126, 127, 200, 4_094, 4_097, LARGEST - 2])
texts = st.binary(max_size=130).map(b"4".__add__) | sizes.map(sized)
controls = st.builds(frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One message, whole or in fragments, with control frames in between."""
    binary = draw(st.sampled_from([False, False, False, True]))
    data = draw(st.binary(max_size=200) if binary else texts)
    parts = [data]
    if draw(st.sampled_from([False, False, True])):
        borders = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        parts = [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)], strict=True)]
    stream = b""
    for number, part in enumerate(parts):
        stream += b"".join(draw(st.lists(controls, max_size=1)))
        opcode = Opcode.CONT if number else Opcode.BINARY if binary else Opcode.TEXT
        stream += frame(opcode, part, fin=number == len(parts) - 1)
    return stream


faults = st.sampled_from(
    [
        frame(Opcode.TEXT, b"4unmasked", mask=False),
        frame(Opcode.TEXT, b"4" * (LARGEST + 1)),
        frame(Opcode.BINARY, b"4" * (LARGEST + 1)),
        frame(Opcode.TEXT, b"4" * 4_000, fin=False) + frame(Opcode.CONT, b"4" * 4_000),
        b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask" + b"4",
        b"\x81\xff" + b"\xff" * 8 + b"mask",
        b"\xc1\x84mask4rsv",
        frame(Opcode.TEXT, b"4begun", fin=False),
        frame(Opcode.TEXT, b"4begun", fin=False) + frame(Opcode.TEXT, b"4again"),
        frame(Opcode.CONT, b"4nothing"),
        b"\x83\x81mask4",
        b"\x8b\x81mask4",
        b"\x09\x80mask",  # a fragmented ping
        b"\x89\xfe\x00\x7e" + b"mask" + b"x" * 126,  # a long ping
        frame(Opcode.CLOSE, b"\x03\xe8bye"),
        frame(Opcode.CLOSE, b""),
        frame(Opcode.CLOSE, b"\x03\xec"),
        b"\x88\x81maskx",
        b"\x81\x85mask4",  # never complete
        b"\x00\x00",
    ]
)
streams = st.lists(st.one_of(messages(), messages(), messages(), controls), max_size=6).map(b"".join)


@settings(max_examples=examples(80))
@given(
    streams,
    st.just(b"") | faults,
    streams,
    st.lists(st.integers(0, 10**6), max_size=8),
    st.sets(st.integers(0, 8), max_size=3),
)
def test_messages_and_answers_are_those_of_websockets(
    before: bytes, fault: bytes, after: bytes, cuts: list[int], pauses: set[int]
) -> None:
    """The same messages up to the same fault, the same pongs and close frame; and the session ends once."""
    stream = before + fault + after
    ours, reasons = by_fast_lane(stream, cuts, pauses)
    theirs = by_websockets(stream)
    if any(kind == "TEXT" and not data.startswith(b"4") for kind, data in theirs.messages):
        return  # a frame that swallowed others made something else of them, which ends an Engine.IO session
    assert ours.messages == theirs.messages
    assert ours.sent == theirs.sent
    assert len(reasons) == 1


codes = st.sampled_from(
    [b"", b"\x03\xe8", b"\x03\xe9", b"\x03\xea", b"\x03\xe7", b"\x03\xed", b"\x03", b"\x03\xe8\xff"]
)


@settings(max_examples=examples(60))
@given(streams, codes | st.binary(max_size=6), st.booleans(), streams)
def test_a_close_frame_by_itself_is_answered_as_by_websockets(
    before: bytes, payload: bytes, masked: bool, after: bytes
) -> None:
    """The short cut for the usual end, which takes a frame that comes as one read. What comes after it is ignored."""
    close = frame(Opcode.CLOSE, payload, mask=masked)
    stream = before + close + after
    ours, reasons = by_fast_lane(stream, [len(before), len(before) + len(close)], set())
    theirs = by_websockets(stream)
    assert (ours.messages, ours.sent) == (theirs.messages, theirs.sent)
    assert len(reasons) == 1


@settings(max_examples=examples(30))
@given(streams)
def test_byte_by_byte_is_the_same(stream: bytes) -> None:
    """The worst way to cut."""
    stream = stream[:1_500]
    ours, _ = by_fast_lane(stream, list(range(len(stream))), set())
    theirs = by_websockets(stream)
    assert (ours.messages, ours.sent) == (theirs.messages, theirs.sent)


@settings(max_examples=examples(60))
@given(st.binary(min_size=1, max_size=120), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_are_what_websockets_makes_of_them(stream: bytes, cuts: list[int]) -> None:
    """Nothing is raised into the event loop. Messages that are no Engine.IO are cut off here, so they end it."""
    ours, reasons = by_fast_lane(stream, cuts, set())
    theirs = by_websockets(stream)
    assert ours.messages == theirs.messages[: len(ours.messages)]
    assert len(reasons) == 1


@pytest.mark.parametrize("size", [1, 4, 124, 125, 126, 127, 4_096, 4_097, LARGEST])
@pytest.mark.parametrize("several", [1, 3])
def test_text_of_every_size_arrives_whole_and_in_pieces(size: int, several: int) -> None:
    """At the borders of the header's forms and of what the lane waits for."""
    stream = frame(Opcode.TEXT, b"4" * size) * several
    for cuts in ([], [1], [2], [5], [6], [7], [len(stream) - 1], [len(stream) // 2, len(stream) // 2 + 1]):
        ours, _ = by_fast_lane(stream, cuts, set())
        assert ours.messages == [("TEXT", b"4" * size)] * several


@async_test
async def test_what_is_sent_is_framed_once_and_written_at_once() -> None:
    """Text and binary leave as server frames, behind the OPEN packet."""
    it = Lane()
    it.connection.send("hello")
    it.connection.send(b"\x00")
    assert it.transport.written[it.opening :] == text_frame(b"4hello") + binary_frame(b"\x00")
    it.end()


@async_test
async def test_back_pressure_holds_what_is_sent() -> None:
    """Between pause_writing and resume_writing nothing is written; then everything, in order."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("one")
    it.connection.send("two")
    assert len(it.transport.written) == it.opening
    assert it.connection.buffered > 0
    it.lane.resume_writing()
    assert it.transport.written[it.opening :] == text_frame(b"4one") + text_frame(b"4two")
    it.end()


@async_test
async def test_a_pause_before_the_session_moves_here_counts() -> None:
    """A transport that was full before the session came to it holds what is sent, until it resumes."""
    for moment in ("before the answer", "while it probes"):
        it = Lane(begin=False)
        request = Request("GET", "/", b"", b"", "", False)
        if moment == "while it probes":
            session, _ = it.engine.table.open(State.POLLING, request)
            it.attach(session)
            it.begin(session)
            it.lane.data_received(frame(Opcode.TEXT, b"2probe"))
            it.lane.pause_writing()
            it.lane.data_received(frame(Opcode.TEXT, b"5"))
        else:
            it.lane.pause_writing()
            it.begin(None)
        written = it.transport.written
        it.connection.send("waits")
        assert it.transport.written == written
        it.lane.resume_writing()
        assert it.transport.written == written + text_frame(b"4waits")
        it.end()


@async_test
async def test_no_pong_follows_a_close_frame() -> None:
    """One that was kept while the client did not read is not for a client that has left."""
    for payload in (b"\x03\xe8", b"\x03\xe8with a reason"):
        it = Lane()
        it.lane.pause_writing()
        it.lane.data_received(frame(Opcode.PING, b"?"))
        it.lane.data_received(frame(Opcode.CLOSE, payload))
        it.transport.closing = False  # as uvloop's, which is not closed until all that waits is written
        it.lane.resume_writing()
        assert it.end().sent == Frame(Opcode.CLOSE, payload).serialize(mask=False)


@async_test
async def test_nothing_is_sent_behind_the_clients_close() -> None:
    """The transport may be open for a while: what is sent meanwhile is dropped (RFC 6455 section 5.5.1)."""
    for payload in (b"\x03\xe8", b"\x03\xe8with a reason"):
        it = Lane()
        it.lane.data_received(frame(Opcode.CLOSE, payload))
        it.transport.closing = False  # as uvloop's, which is not closed until all that waits is written
        it.connection.send("late")
        it.engine.context.settle()
        await asyncio.sleep(0)
        assert it.end().sent == Frame(Opcode.CLOSE, payload).serialize(mask=False)


@async_test
async def test_a_pause_in_reading_reaches_the_transport() -> None:
    """What a client sends beyond the bound stays in the kernel; and it is read again."""
    it = Lane()
    it.connection.pause_reading()
    assert not it.transport.reading
    it.connection.resume_reading()
    await asyncio.sleep(0)
    assert it.transport.reading
    it.end()


@async_test
async def test_one_read_of_many_uncommon_frames_takes_several_turns() -> None:
    """Other clients have their turns in between, and no more is read meanwhile; then all of them are answered."""
    it = Lane()
    pong = frame(Opcode.PONG, b"?", mask=False)
    it.lane.data_received(frame(Opcode.PING, b"?") * (2 * MAX_UNCOMMON + 1))
    for turn in (1, 2):
        answered = it.transport.written[it.opening :].count(pong)
        assert (turn - 1) * MAX_UNCOMMON < answered <= turn * MAX_UNCOMMON
        assert not it.transport.reading
        await asyncio.sleep(0)
    assert it.transport.reading
    assert it.end().sent == pong * (2 * MAX_UNCOMMON + 1)


@async_test
async def test_a_session_that_is_closed_while_reading_is_paused_reads_the_clients_close() -> None:
    """The closing handshake needs it."""
    it = Lane()
    it.connection.pause_reading()
    it.connection.close()
    await asyncio.sleep(0)
    assert it.transport.reading
    it.lane.data_received(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert it.transport.closing
    assert not it.transport.aborted
    it.end()


@async_test
async def test_what_was_held_goes_before_the_close_frame() -> None:
    """What a session sent before we close it is delivered, also to a client that is slow to read."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("held")
    it.connection.close("forced close")
    assert it.end().sent == text_frame(b"4held") + frame(Opcode.CLOSE, b"\x03\xe8", mask=False)


@async_test
async def test_a_client_that_sends_no_more_still_gets_what_was_held() -> None:
    """Half of the connection is open, and the transport closes it when all is written."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("held")
    assert not it.lane.eof_received()
    it.lane.resume_writing()
    assert it.end().sent == text_frame(b"4held")


@async_test
async def test_a_lane_that_fails_to_close_leaves_no_open_outbox() -> None:
    """Nothing may be written there any more, whatever went wrong."""
    it = Lane()

    def fail(**_: Any) -> None:
        raise RuntimeError("broken")

    it.connection.lane = SimpleNamespace(close=fail)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="broken"):
        it.connection.close()
    it.connection.outbox.packet("4late")
    assert it.end().sent == b""


@async_test
async def test_closing_waits_for_the_clients_close_and_then_for_nobody() -> None:
    """A client that does not answer the close frame is cut off at the deadline."""
    it = Lane()
    it.connection.close("forced close")
    assert it.transport.written[it.opening :] == frame(Opcode.CLOSE, b"\x03\xe8", mask=False)
    assert not it.transport.closing
    it.lane.data_received(frame(Opcode.TEXT, b"4late"))
    assert it.seen.messages == []
    await Clock.running().advance(it.engine.settings.close_timeout + 1)
    assert it.transport.aborted
    it.end()
    assert it.reasons == ["forced close"]


@async_test
async def test_an_answered_close_ends_at_once() -> None:
    it = Lane()
    it.connection.close()
    it.lane.data_received(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert it.transport.closing
    assert not it.transport.aborted
    it.end()


@async_test
async def test_a_client_that_breaks_the_protocol_is_cut_off() -> None:
    """The close frame says why; the session ends with Node's reason."""
    it = Lane()
    it.lane.data_received(frame(Opcode.TEXT, b"4unmasked", mask=False))
    assert it.transport.written[it.opening :].startswith(b"\x88")
    assert it.transport.closing
    assert it.reasons == ["transport error"]
    it.end()


@async_test
async def test_a_message_that_is_too_large_is_cut_off_as_its_header_arrives() -> None:
    """Not a byte of the payload needs to come: code 1009."""
    it = Lane()
    it.lane.data_received(b"\x81\xfe" + (LARGEST + 1).to_bytes(2, "big") + b"mask")
    assert it.transport.written[it.opening :][:4] == b"\x88" + it.transport.written[it.opening + 1 : it.opening + 2] + (
        1009
    ).to_bytes(2, "big")
    assert it.reasons == ["transport error"]
    it.end()


@async_test
async def test_a_lane_leaves_no_trace() -> None:
    """Neither in the server's set of connections, nor in the wheel, nor among the sessions."""
    it = Lane()
    assert it.connections == {it.lane}
    it.lane.connection_lost(ConnectionResetError())
    assert it.connections == set()
    assert it.engine.sessions == {}
    assert len(it.engine.context.wheel) == 0
    assert it.reasons == ["transport close"]
    it.end()


@async_test
async def test_the_servers_shutdown_closes_the_session() -> None:
    it = Lane()
    it.lane.shutdown()
    assert it.reasons == ["server shutting down"]
    assert it.transport.written[it.opening :].startswith(b"\x88")
    it.end()
