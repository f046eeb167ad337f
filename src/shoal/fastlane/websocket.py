"""WebSockets as a uvicorn protocol class: the behaviour of :mod:`.websocket` with an order of magnitude less work.

uvicorn keeps HTTP, TLS, signals and lifespan, and hands over a connection that asks to be upgraded. From there on its
transport is ours: bytes go from ``data_received`` to the session without a task, a queue or a dict. The sans-I/O
``ServerProtocol`` of `websockets` owns everything uncommon (fragments, control frames, binary, errors, compression); a
whole small text frame takes a short cut that tests hold equal to it. The handshake is :mod:`.upgrade`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.websocket import NORMAL, WebSocketLane, refuse
from ..http.request import Request
from ..protocol.engineio import Packet
from ..protocol.frames import apply_mask, parse_header, text_frame
from .descriptor import claim_descriptor

__all__ = ["FastLane"]

TEXT: Final = 0x81
CLOSE: Final = 0x88
# What clients usually leave with (RFC 6455 section 7.4.1): no code, "normal closure", "going away".
FAREWELLS: Final = frozenset({b"", b"\x03\xe8", b"\x03\xe9"})
PONG: Final = 0x8A
MESSAGE: Final = b"4"
DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
# A frame that has not arrived whole waits for its rest up to this size; `websockets` reads a larger one as it comes.
MAX_TAIL: Final = 4096
# Frames that `websockets` reads in one turn. Each takes it some 15 microseconds, and one read may bring 40,000 of them.
MAX_UNCOMMON: Final = 256


class FastLane(WebSocketLane, asyncio.Protocol):
    """One WebSocket on uvicorn's transport.

    Args:
        engine: Whose sessions it carries.
        transport: uvicorn's.
        connections: uvicorn's, for its shutdown.
        plain: What answered the handshake, if it was not the short cut.
    """

    __slots__ = (
        "_answer",
        "_connections",
        "_ended",
        "_fragments",
        "_last_pong",
        "_owed",
        "_paused",
        "_plain",
        "_straight",
        "_tail",
        "_text",
        "_transport",
        "framed",
    )

    def __init__(
        self,
        engine: BaseEngine[Any],
        transport: asyncio.Transport,
        connections: set[Any],
        plain: ServerProtocol | None = None,
    ) -> None:
        super().__init__(engine)
        self._transport = transport
        self._connections = connections
        self._connections.add(self)
        self.framed = plain is None or not plain.extensions
        self._answer = b""
        """The handshake's, while it waits for the first packet: together they are one system call."""
        self._plain = plain
        self._ended = False
        """Whether the client has left by the short cut of :meth:`_farewell`."""
        self._straight = False
        """Whether a session rides here, and the next byte begins a frame that may take the short cut."""
        self._tail = b""
        self._owed = 0
        """Bytes of the frame that `websockets` is reading, which have not arrived."""
        self._fragments: bytearray | None = None
        self._text = True
        """Whether the message that the fragments belong to is text."""
        self._paused = False
        self._last_pong: bytes | None = None
        """While the client does not read: the pong that waits, else ``b""``. One that pings and pings gets the last one
        only, which RFC 6455 section 5.5.3 allows: pongs do not pass through the outbox and its bound."""

    # ---- beginning

    def start(self, request: Request, session: Connection | None, answer: bytes = b"") -> None:
        """The WebSocket is open: begin a session on it, or take one over. ``answer`` has to be sent before all else."""
        if request.wants_base64:
            self.text_only, self.framed = True, False
        if session is None and self.framed:
            self._answer = answer
            self.open_session(request)
            return
        if answer:
            self._transport.write(answer)
        if session is None:
            self.open_session(request)
        else:
            self.take_over(session)

    # ---- in

    def data_received(self, data: bytes) -> None:
        # The short cut: one whole, final, masked text frame below 126 bytes, which is nearly all that clients send, and
        # a message for the session that rides here.
        if self._straight and data[0] == TEXT and 5 < len(data) == data[1] - 122 < 132:
            payload = apply_mask(data[6:], data[2:6])
            if payload[:1] == MESSAGE:
                on_text = self.connection.on_text  # type: ignore[union-attr] # a slot: not to be called as a method
                on_text(payload)
            else:
                self.receive(payload)
        elif not self._farewell(data):
            self._feed(data)

    def _farewell(self, data: bytes) -> bool:
        """The short cut for the usual end: one whole close frame, which is answered with its like."""
        if not self._straight or self._plain is not None or data[0] != CLOSE or not 5 < len(data) == data[1] - 122 < 10:
            return False
        payload = apply_mask(data[6:], data[2:6])
        if payload not in FAREWELLS:
            return False
        self._ended = True
        self._transport.write(bytes((CLOSE, len(payload))) + payload)
        self._transport.close()
        self._deaf_until_closed()
        return True

    def _deaf_until_closed(self) -> None:
        """The peer closed, or broke the protocol: nothing that it says now counts."""
        self._straight = False
        self._silence()
        self.receive = refuse
        self.engine.wheel.after(self, self.engine.settings.close_timeout)

    def _silence(self) -> None:
        """Nothing may follow the close frame, or the end, of the session that rides here."""
        if (session := self._rider()) is not None:
            session.outbox.close()

    def _feed(self, data: bytes) -> None:
        """Take bytes apart at the borders of frames; text frames that are whole and final go straight on."""
        if self._ended:
            return
        if self._tail:
            data = self._tail + data
            self._tail = b""
        position, end, uncommon = 0, len(data), 0
        while position < end:
            if self._paused or uncommon == MAX_UNCOMMON:
                self._keep(data[position:])
                self._rest()
                return
            if self._owed:
                taken = min(self._owed, end - position)
                self._owed -= taken
                self._feed_plain(data[position : position + taken])
                position += taken
                continue
            sizes = parse_header(data, position)
            if sizes is None:
                self._keep(data[position:])
                return
            header, length = sizes
            stop = position + header + length
            if self._may_go_straight(data, position, length):
                if stop <= end:
                    body = position + header
                    self.receive(apply_mask(data[body:stop], data[body - 4 : body]))
                    position = stop
                    continue
                if length <= MAX_TAIL:
                    self._keep(data[position:])
                    return
            self._owed = header + length
            uncommon += 1
        self._straight = not self._owed and self._fragments is None and self._rides()

    def _keep(self, rest: bytes) -> None:
        self._tail = rest
        self._straight = False

    def _may_go_straight(self, data: bytes, position: int, length: int) -> bool:
        return (
            data[position] == TEXT
            and data[position + 1] > 127
            and self._fragments is None
            and length <= self.engine.settings.max_payload
            and self._is_open()
        )

    def _rider(self) -> Connection | None:
        """The session that this lane carries: not one that only probes it."""
        session = self.connection
        return session if session is not None and session.lane is self else None

    def _rides(self) -> bool:
        return self._rider() is not None and self._is_open()

    def _is_open(self) -> bool:
        return not self._ended and (self._plain is None or self._plain.state is OPEN)

    def _machine(self) -> ServerProtocol:
        if self._plain is None:
            self._plain = ServerProtocol(state=OPEN, max_size=self.engine.settings.max_payload)
        return self._plain

    def _feed_plain(self, data: bytes) -> None:
        """The plain path: `websockets` reads these bytes, and what they call for is done."""
        plain = self._machine()
        plain.receive_data(data)
        for event in plain.events_received():
            self._take_frame(cast(Frame, event))
        self._pass_on()

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode not in DATA:
            return  # `websockets` answers control frames itself
        if opcode is not Opcode.CONT:
            # Not a list: the bound is on bytes, and a million fragments of one byte each would cost far more.
            self._text, self._fragments = opcode is Opcode.TEXT, bytearray()
        fragments = self._fragments
        assert fragments is not None  # `websockets` refuses a continuation of nothing
        fragments += frame.data
        if frame.fin:
            self._fragments = None
            self._deliver(bytes(fragments))

    def _deliver(self, payload: bytes) -> None:
        if self._text:
            self.receive(payload)
        elif self.connection is not None and self.connection.receive_text == self.receive:
            self.connection.receive_binary(payload)

    def _pass_on(self) -> None:
        """Send what `websockets` has to say by itself: pongs, the answer to a close, the end."""
        plain, transport = self._plain, self._transport
        assert plain is not None
        for data in plain.data_to_send():
            if not data:
                transport.close()
            elif self._last_pong is not None and data[0] == PONG:
                self._last_pong = data
            else:
                transport.write(data)
        if plain.parser_exc is not None and self.connection is not None:
            self._break(plain.parser_exc)
        if plain.close_expected():
            self._deaf_until_closed()

    def _break(self, error: Exception) -> None:
        """The peer broke the WebSocket protocol, or sent too large a message. `websockets` told it so."""
        if isinstance(error, PayloadTooBig):
            self.engine.stats.too_large += 1
        else:
            self.engine.stats.broken += 1
        if (session := self._rider()) is not None:
            self.connection = None
            session.lost("transport error")  # the close frame is on its way; the deadline below bounds it

    # ---- out

    def write(self, data: Any) -> None:
        """Send packets through `websockets`, which compresses them; frames go to the transport directly."""
        if self.framed:
            self._transport.write(data)
            return
        packets: list[Packet] = self.as_sent(data)
        plain = self._machine()
        if plain.state is OPEN:
            for packet in packets:
                if isinstance(packet, str):
                    plain.send_text(packet.encode())
                else:
                    plain.send_binary(packet)
            self._pass_on()

    def send_packet(self, packet: str) -> None:
        if self.framed:
            answer, self._answer = self._answer, b""
            self._transport.write(answer + text_frame(packet.encode()))
        else:
            self.write([packet])

    def _carry(self, connection: Connection) -> None:
        write, descriptor = self.write, -1
        if self.framed:  # frames need nothing of ours
            write, descriptor = self._transport.write, claim_descriptor(self._transport)
        if descriptor >= 0 and self.buffered:
            self.pause_writing()  # something waits already, and whoever had the transport before was told
        connection.ride(self, write, framed=self.framed, writable=self._last_pong is None, descriptor=descriptor)

    def open_session(self, request: Request) -> Connection:
        connection = super().open_session(request)
        self._straight = self._rides()
        return connection

    def pause_writing(self) -> None:
        if self._last_pong is None:
            self._last_pong = b""
        if (session := self._rider()) is not None:
            session.outbox.block()

    def resume_writing(self) -> None:
        pong, self._last_pong = self._last_pong, None
        if pong and self._is_open():
            self._transport.write(pong)  # it may be the next that waits
        if self._last_pong is None and (session := self._rider()) is not None:
            session.outbox.unblock()

    @property
    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._straight = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.engine.later(self._catch_up)

    def _rest(self) -> None:
        """A client that sent thousands of uncommon frames at once has had its turn; the others have theirs."""
        if not self._paused and not self._transport.is_closing():
            self._transport.pause_reading()
            self.engine.later(self._catch_up)

    def _catch_up(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
            self._feed(b"")

    # ---- end

    def close(self, *, abort: bool = False) -> None:
        self.connection = None
        self._straight = False
        if abort:
            self._transport.abort()
        else:
            self.hang_up()

    def hang_up(self, code: int = NORMAL) -> None:
        """Send a close frame and wait for the client's; then, or at the deadline, close the connection."""
        self.receive = refuse
        self._straight = False
        if self._transport.is_closing():
            return
        plain = self._machine()
        if plain.state is OPEN:
            plain.send_close(code)
            self._pass_on()
            if self._paused:
                self.resume_reading()
            self.engine.wheel.after(self, self.engine.settings.close_timeout)
        else:
            self._transport.abort()

    def on_due(self, now: float) -> None:
        """The upgrade, or the closing handshake, took too long."""
        if self._is_open():
            super().on_due(now)
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence()  # first of all: behind this call the descriptor is closed
        self._connections.discard(self)
        self.lost()

    def eof_received(self) -> None:
        """The transport closes itself, once all that waits is written."""

    def shutdown(self) -> None:
        """uvicorn is going down."""
        if self.connection is not None:
            self.connection.close("server shutting down")
        # Behind the close frame. A lane that only probes has no session to close it.
        self._transport.close()
