"""The fast lane's short cuts give exactly what `websockets` alone gives, for any frames, however the bytes arrive."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from dataclasses import dataclass, field
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
from shoal.fastlane.websocket import FastLane
from shoal.http.request import Request
from shoal.settings import EngineSettings
from shoal.testing import run

LARGEST = 66_000  # so that there are frames with each of the three forms of a length


class Transport:
    """What asyncio hands to a protocol, in memory: it takes writes, and says so when it is told to close."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.reading = True
        self.pauses = 0
        self.aborted = False
        self.ended = False
        """Whether its half of the connection is closed."""

    def write(self, data: bytes) -> None:
        assert not self.ended
        if not self.closing:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        assert not self.ended
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

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


def by_websockets(stream: bytes, max_payload: int = LARGEST) -> Seen:
    """`websockets` alone, all bytes at once."""
    protocol, seen = ServerProtocol(state=OPEN, max_size=max_payload), Seen()
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

    def __init__(self, *, begin: bool = True, max_payload: int = LARGEST) -> None:
        self.seen = Seen()
        self.reasons: list[str] = []
        self.transport = Transport()
        self.connections: set[Any] = set()
        self.engine = BaseEngine(EngineSettings(max_payload=max_payload), self.attach)
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
        connection.receiver = self

    def receive_text(self, payload: bytes) -> None:
        self.seen.messages.append(("TEXT", bytes(payload)))

    def receive_binary(self, payload: bytes) -> None:
        self.seen.messages.append(("BINARY", bytes(payload)))

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)

    def end(self) -> Seen:
        self.lane.connection_lost(None)
        self.engine.context.wheel.close()
        self.seen.sent = self.transport.written[self.opening :]
        return self.seen


def by_fast_lane(
    stream: bytes, cuts: list[int], pauses: set[int], max_payload: int = LARGEST
) -> tuple[Seen, list[str]]:
    """The fast lane, in pieces that end at `cuts`; reading is paused while the pieces in `pauses` arrive."""

    async def main() -> tuple[Seen, list[str]]:
        it = Lane(max_payload=max_payload)
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


sizes = st.integers(0, 140) | st.sampled_from([123, 124, 125, 126, 127, 200, 2_047, 4_097, 65_534, 65_535, LARGEST - 2])
texts = st.binary(max_size=130).map(b"4".__add__) | sizes.map(sized)
controls = st.builds(frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One message, whole or in fragments, with control frames in between."""
    binary = draw(st.sampled_from([False, False, False, True]))
    data = draw(st.binary(max_size=200) | sizes.map(sized) if binary else texts)
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
        frame(Opcode.TEXT, b"4" * 40_000, fin=False) + frame(Opcode.CONT, b"4" * 40_000),
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
    stream = stream[:1_500]  # of a large frame at the end, the beginning
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


@pytest.mark.parametrize("size", [1, 4, 124, 125, 126, 127, 2_048, 2_049, 4_097, 65_535, 65_536, LARGEST])
@pytest.mark.parametrize("several", [1, 3])
def test_text_of_every_size_arrives_whole_and_in_pieces(size: int, several: int) -> None:
    """At the borders of the header's forms, and of what is unmasked without a copy."""
    stream = frame(Opcode.TEXT, b"4" * size) * several
    half = len(stream) // 2
    for cuts in ([], *[[cut] for cut in range(1, 16)], [len(stream) - 1], [half, half + 1], list(range(0, 10**6, 997))):
        ours, _ = by_fast_lane(stream, cuts, set())
        assert ours.messages == [("TEXT", b"4" * size)] * several


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
@pytest.mark.parametrize("size", [99, 100, 101, 299, 300, 301, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("max_payload", [100, 300, 65_536])
@pytest.mark.parametrize("cuts", [[], [1], [9], [200]])
def test_a_frame_above_the_bound_is_refused_as_by_websockets(
    opcode: Opcode, size: int, max_payload: int, cuts: list[int]
) -> None:
    """With 1009, whether it comes as one read or not; one at the bound is taken."""
    stream = frame(opcode, b"4" * size)
    ours, reasons = by_fast_lane(stream, cuts, set(), max_payload)
    theirs = by_websockets(stream, max_payload)
    assert (ours.messages, ours.sent) == (theirs.messages, theirs.sent)
    assert bool(ours.messages) == (size <= max_payload)
    assert reasons == ["transport close" if ours.messages else "transport error"]


@given(
    st.sampled_from([b"\x81", b"\x82", b"\x01", b"\xc1", b"\x88", b"\x89"]),
    st.sampled_from([b"\x85", b"\x05", b"\xfe\x00\x05", b"\x7e\x00\x05", b"\xff" + bytes(7) + b"\x05"]),
    st.integers(3, 6),
)
def test_a_read_that_is_nearly_one_frame_is_what_websockets_makes_of_it(
    opcode: bytes, length: bytes, size: int
) -> None:
    """Lengths in a longer form than they need, bytes too few or too many, no mask."""
    stream = opcode + length + bytes(4) + b"4" * size
    ours, _ = by_fast_lane(stream, [], set())
    theirs = by_websockets(stream)
    assert (ours.messages, ours.sent) == (theirs.messages, theirs.sent)


@pytest.mark.parametrize("text", [0, 1, 5, 125, 126])
@pytest.mark.parametrize("binary", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize(
    "behind",
    [b"", b"\x82", frame(Opcode.TEXT, b"4next"), frame(Opcode.PING, b"")],
    ids=[
        "nothing",
        "a byte",
        "text",
        "a ping",
    ],  # a mask is random, and each process of a run must name its tests alike
)
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_text_and_its_attachment_in_one_read(text: int, binary: int, behind: bytes, missing: int) -> None:
    """The short cut for a binary event, and what does not fit it."""
    stream = frame(Opcode.TEXT, b"4" * text) + frame(Opcode.BINARY, b"x" * binary) + behind
    ours, _ = by_fast_lane(stream, [len(stream) - missing] if missing else [], set())
    theirs = by_websockets(stream)
    if text:
        assert (ours.messages, ours.sent) == (theirs.messages, theirs.sent)


@pytest.mark.parametrize("does", ["pauses", "closes"])
def test_an_attachment_is_not_taken_where_its_text_ends_the_reading(does: str) -> None:
    """It comes later, or never."""

    async def main() -> None:
        it = Lane()

        def receive_text(payload: bytes) -> None:
            it.seen.messages.append(("TEXT", payload))
            if does == "pauses":
                it.connection.pause_reading()
            else:
                it.connection.close()

        it.receive_text = receive_text  # type: ignore[method-assign]
        it.lane.data_received(frame(Opcode.TEXT, b"4text") + frame(Opcode.BINARY, b"attachment"))
        assert it.seen.messages == [("TEXT", b"4text")]
        it.connection.resume_reading()
        await asyncio.sleep(0)
        later = [("BINARY", b"attachment")] if does == "pauses" else []
        assert it.end().messages == [("TEXT", b"4text"), *later]

    run(main())


def test_bytes_that_look_like_a_frame_are_none_within_another() -> None:
    """The short cut looks at the first bytes of a read, so it must know where a frame begins."""
    inner = frame(Opcode.TEXT, b"4inner")
    content = b"4" * 5_000 + inner + b"4"
    large = b"\x81\xfe" + len(content).to_bytes(2, "big") + bytes(4) + content  # its mask changes nothing
    for fragment in (b"", frame(Opcode.TEXT, b"4begun", fin=False)):  # `websockets` reads the rest of a fragmented one
        stream = fragment + (bytes((0x80, *large[1:])) if fragment else large)
        start = stream.index(inner)
        ours, _ = by_fast_lane(stream, [len(fragment), start, start + len(inner)], set())
        assert ours.messages == [("TEXT", b"4begun" * bool(fragment) + content)]


ANNOUNCED = 32_000_000


def crumbs(count: int, size: int) -> tuple[float, int]:
    """What a lane takes for so many pieces of a frame that is never complete: seconds, and bytes at the highest."""

    async def main() -> tuple[float, int]:
        it = Lane(max_payload=ANNOUNCED)
        it.lane.data_received(b"\x82\xff" + ANNOUNCED.to_bytes(8, "big") + b"mask")
        piece = b"x" * size
        tracemalloc.start()
        try:
            for _ in range(count):
                it.lane.data_received(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        began = time.perf_counter()
        for _ in range(count):
            it.lane.data_received(piece)
        seconds = time.perf_counter() - began
        assert it.end().messages == []
        return seconds, peak

    return run(main())


@pytest.mark.parametrize("size", [1, 100, 1_000])
def test_a_frame_that_is_announced_takes_the_memory_of_what_has_arrived(size: int) -> None:
    """Neither that of what is to come, nor an object for each byte; twice as much while its place is moved."""
    assert crumbs(2_000, size)[1] < 2.5 * 2_000 * size + 20_000


def test_what_has_arrived_of_a_frame_is_not_copied_with_each_piece() -> None:
    """6 MB in pieces of 100 bytes take some 20 ms; to copy what is there with each of them would take 15 s and more."""
    assert crumbs(32_000, 100)[0] < 2


def test_a_message_within_another_is_none() -> None:
    """It breaks the protocol, also when it comes as one read."""
    begun = frame(Opcode.TEXT, b"4begun", fin=False)
    stream = begun + frame(Opcode.TEXT, b"4again")
    ours, reasons = by_fast_lane(stream, [len(begun)], set())
    assert (ours.messages, ours.sent) == ([], by_websockets(stream).sent)
    assert reasons == ["transport error"]
