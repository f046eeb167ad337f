"""The frames of a WebSocket on uvicorn's transport: from the bytes that arrive to the messages of a session.

A whole data frame takes a short cut: it is unmasked and handed on in the call that brings it, or its last byte. The
sans-I/O ``ServerProtocol`` of `websockets` reads everything uncommon: fragments, control frames, compression, errors.

The short cut's plain twin is ``ServerProtocol`` alone: ``tests/unit/fastlane/test_websocket.py`` compares both for any
frames, however the bytes arrive. The plain twin of the whole lane is :mod:`shoal.asgi.websocket_lane`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ..engine.connection import Connection
from ..engine.context import EngineContext
from ..engine.websocket import WebSocketLane
from ..protocol.frames import apply_mask, parse_header, unmask

__all__ = ["FrameReader"]

TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
SHORT: Final = 125  # bytes, and less: the length is in the header's second byte
LENGTH_OF_TWO: Final = 0x80 | 126  # the header's second byte, where two more are the length
# What clients usually close with (RFC 6455 section 7.4.1): no code, "normal closure", "going away".
USUAL_CLOSES: Final = frozenset({b"", b"\x03\xe8", b"\x03\xe9"})
MESSAGE: Final = b"4"
DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
# Frames that `websockets` reads in one turn. Each takes it some 15 microseconds, and one read may bring 40,000 of them.
MAX_UNCOMMON: Final = 256


class FrameReader(WebSocketLane, asyncio.Protocol):
    """The reading half of a :class:`.websocket.FastLane`.

    Args:
        context: Of the engine whose session it carries.
        transport: uvicorn's.
        protocol: What answered the handshake, if it was not the short cut.
    """

    __slots__ = (
        "_fragments",
        "_has_closed",
        "_incomplete",
        "_is_text",
        "_needed",
        "_paused",
        "_protocol",
        "_remaining",
        "_short_cut",
        "_transport",
    )

    def __init__(
        self, context: EngineContext, transport: asyncio.Transport, protocol: ServerProtocol | None = None
    ) -> None:
        super().__init__(context)
        self._transport = transport
        self._protocol = protocol
        """Made when something uncommon comes: most connections never need it."""
        self._has_closed = False
        """Whether our close frame, the last that we send, is out: by the short cut of :meth:`_answer_close`, or behind
        an error."""
        self._short_cut = False
        """Whether this lane carries a session, and the next byte begins a frame that may take the short cut."""
        self._incomplete: bytes | bytearray = b""
        """Of a frame, as much as has arrived, or what arrived while reading was paused."""
        self._needed = 0
        """Bytes of it that there must be before another look makes sense."""
        self._remaining = 0
        """Bytes of the frame that `websockets` is reading, which have not arrived."""
        self._fragments: bytearray | None = None
        self._is_text = True
        """Whether the message that the fragments belong to is text."""
        self._paused = False

    @abstractmethod
    def _send_pending(self, protocol: ServerProtocol) -> None:
        """Send what `websockets` answers to what it has read."""

    @abstractmethod
    def _enter_closing(self) -> None:
        """The client has closed the WebSocket, or broken its protocol."""

    # ---- which way

    def data_received(self, data: bytes) -> None:
        # The short cut: one whole, final, masked frame, which is nearly all that clients send, and a message for the
        # session that this lane carries. First those of up to 125 bytes, then those with a length of two bytes; then a
        # binary event, whose attachment comes in the same read.
        kind = data[0]
        if self._short_cut and (kind == TEXT or kind == BINARY):  # noqa: PLR1714, SIM109 - a tuple is slower
            if 5 < len(data) == data[1] - 122 < 132:
                payload = apply_mask(data[6:], data[2:6])
            elif (
                len(data) > 7
                and data[1] == LENGTH_OF_TWO
                and len(data) - 8 == data[2] << 8 | data[3]
                and len(data) - 8 <= self.context.settings.max_payload
            ):
                payload = unmask(data, 8, len(data))
            elif (
                kind == TEXT
                and len(data) > 12
                and 5 < (end := data[1] - 122) < min(132, len(data))
                and data[end] == BINARY
            ):
                self.receive(apply_mask(data[6:end], data[2:6]))
                self.data_received(data[end:])
                return
            else:
                self._feed(data)
                return
            if kind == BINARY:
                self.connection.receiver.receive_binary(payload)  # type: ignore[union-attr]
            elif payload[:1] == MESSAGE:
                self.connection.receiver.receive_text(payload)  # type: ignore[union-attr]
            else:
                self.receive(payload)
        elif not self._answer_close(data):
            self._feed(data)

    def _answer_close(self, data: bytes) -> bool:
        """The short cut for the usual end: one whole close frame, which is answered with its like."""
        if (
            not self._short_cut
            or self._protocol is not None
            or data[0] != CLOSE
            or not 5 < len(data) == data[1] - 122 < 10
        ):
            return False
        payload = apply_mask(data[6:], data[2:6])
        if payload not in USUAL_CLOSES:
            return False
        self._has_closed = True
        self._transport.write(bytes((CLOSE, len(payload))) + payload)
        self._transport.close()
        self._enter_closing()
        return True

    def _feed(self, data: bytes | bytearray) -> None:
        """Take bytes apart at the borders of frames; data frames that are whole and final take the short cut."""
        if self._has_closed:
            return
        if self._incomplete:
            self._incomplete += data
            if len(self._incomplete) < self._needed:
                return
            data, self._incomplete, self._needed = self._incomplete, b"", 0
        position, end, uncommon = 0, len(data), 0
        while position < end:
            if self._paused or uncommon == MAX_UNCOMMON:
                self._keep(data, position)
                self._continue_next_turn()
                return
            if self._remaining:
                taken = min(self._remaining, end - position)
                self._remaining -= taken
                self._feed_protocol(data[position : position + taken])
                position += taken
                continue
            sizes = parse_header(data, position)
            if sizes is None:
                self._keep(data, position)
                return
            header, length = sizes
            stop = position + header + length
            if self._takes_short_cut(data, position, length):
                if stop > end:
                    self._keep(data, position, header + length)
                    return
                payload = unmask(data, position + header, stop)
                if data[position] == TEXT:
                    self.receive(payload)
                else:
                    self._receive_binary(payload)
                position = stop
                continue
            self._remaining = header + length
            self._short_cut = False
            uncommon += 1
        if not self._short_cut:
            self._short_cut = not self._remaining and self._fragments is None and self._may_short_cut()

    def _keep(self, data: bytes | bytearray, position: int, needed: int = 0) -> None:
        # It grows with what arrives, not to the size that the frame's header announces.
        self._incomplete = bytearray(memoryview(data)[position:])
        self._needed = needed
        self._short_cut = False

    def _takes_short_cut(self, data: bytes | bytearray, position: int, length: int) -> bool:
        return (
            (data[position] == TEXT or data[position] == BINARY)
            and data[position + 1] > 127
            and length <= self.context.settings.max_payload
            and (self._short_cut or (self._fragments is None and self._is_open()))
        )

    def _session(self) -> Connection | None:
        """The session that this lane carries: not one that it only probes for."""
        session = self.connection
        return session if session is not None and session.lane is self else None

    def _may_short_cut(self) -> bool:
        """Whether this lane carries a session, and the bound of a message lets all those of the shortest form in."""
        return self._session() is not None and self._is_open() and self.context.settings.max_payload >= SHORT

    def _is_open(self) -> bool:
        return not self._has_closed and (self._protocol is None or self._protocol.state is OPEN)

    # ---- through `websockets`

    def _server_protocol(self) -> ServerProtocol:
        if self._protocol is None:
            self._protocol = ServerProtocol(state=OPEN, max_size=self.context.settings.max_payload)
        return self._protocol

    def _feed_protocol(self, data: bytes | bytearray) -> None:
        """Let `websockets` read these bytes, and do what they call for."""
        protocol = self._server_protocol()
        protocol.receive_data(data)
        for event in protocol.events_received():
            self._take_frame(cast(Frame, event))
        self._send_pending(protocol)

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode not in DATA:
            return  # `websockets` answers control frames itself
        if opcode is not Opcode.CONT:
            # Not a list: the bound is on bytes, and a million fragments of one byte each would cost far more.
            self._is_text, self._fragments = opcode is Opcode.TEXT, bytearray()
        fragments = self._fragments
        assert fragments is not None  # `websockets` refuses a continuation of nothing
        fragments += frame.data
        if frame.fin:
            self._fragments = None
            self._deliver(bytes(fragments))

    def _deliver(self, payload: bytes) -> None:
        if self._is_text:
            self.receive(payload)
        else:
            self._receive_binary(payload)

    def _receive_binary(self, payload: bytes) -> None:
        if self.connection is not None and self.connection.receive_text == self.receive:
            self.connection.receive_binary(payload)

    # ---- back-pressure

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._short_cut = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._catch_up)

    def _continue_next_turn(self) -> None:
        """A client that sent hundreds of uncommon frames at once has had its turn; the others have theirs."""
        if not self._paused and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._catch_up)

    def _catch_up(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
            self._feed(b"")
