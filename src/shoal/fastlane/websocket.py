"""One WebSocket on uvicorn's transport: what is sent, and its end. What arrives is :mod:`.reader`'s.

uvicorn keeps HTTP, TLS, signals and lifespan, and hands over a connection that asks to be upgraded. From there on its
transport is ours: bytes go from ``data_received`` to the session without a task, a queue or a dict. The handshake is
:mod:`.upgrade`'s.

Its plain twin is :mod:`shoal.asgi.websocket_lane`; ``tests/interop`` and ``tests/integration`` run the same cases over
both. ``tests/unit/fastlane/test_websocket_lane.py`` holds its bytes to those of `websockets`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from websockets.exceptions import PayloadTooBig
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ..engine.connection import Connection
from ..engine.context import EngineContext
from ..engine.lane import NORMAL_CLOSURE
from ..engine.websocket import ignore
from ..http.request import Request
from ..protocol.engineio import Packet
from ..protocol.frames import text_frame
from .descriptor import claim_descriptor
from .reader import FrameReader

__all__ = ["FastLane"]

PONG: Final = 0x8A


class FastLane(FrameReader):
    """One WebSocket on uvicorn's transport.

    Args:
        context: Of the engine whose session it carries.
        transport: uvicorn's.
        connections: uvicorn's, for its shutdown.
        protocol: What answered the handshake, if it was not the short cut.
    """

    __slots__ = ("_connections", "_handshake", "_held_pong", "framed")

    def __init__(
        self,
        context: EngineContext,
        transport: asyncio.Transport,
        connections: set[Any],
        protocol: ServerProtocol | None = None,
    ) -> None:
        super().__init__(context, transport, protocol)
        self._connections = connections
        self._connections.add(self)
        self.framed = protocol is None or not protocol.extensions
        self._handshake = b""
        """Its answer, while it waits for the first packet: together they are one system call."""
        self._held_pong: bytes | None = None
        """While the client does not read: the pong that waits, else ``b""``. One that pings and pings gets the last one
        only, which RFC 6455 section 5.5.3 allows: pongs do not pass through the outbox and its bound."""

    # ---- beginning

    def accept(self, request: Request, answer: bytes = b"", *, upgrade: bool = False) -> None:
        """The WebSocket is open. ``answer`` has to be sent before all else; of a new session, with its first packet."""
        if request.wants_base64:
            self.text_only: bool = True
            self.framed: bool = False
        if self.framed and not upgrade:
            self._handshake = answer
        elif answer:
            self._transport.write(answer)

    def start_session(self, connection: Connection, open_packet: str) -> None:
        super().start_session(connection, open_packet)
        self._short_cut = self._may_short_cut()

    def _carry(self, connection: Connection) -> None:
        write, descriptor = self.write, -1
        if self.framed:  # frames need nothing of ours
            write, descriptor = self._transport.write, claim_descriptor(self._transport)
        if descriptor >= 0 and self.buffered:
            self.pause_writing()  # something waits already, and the pause was reported to the protocol before this one
        connection.attach(self, write, framed=self.framed, writable=self._held_pong is None, descriptor=descriptor)

    # ---- out

    def write(self, data: Any) -> None:
        """Send packets through `websockets`, which compresses them. Frames go to the transport, past this method."""
        packets: list[Packet] = self.as_sent(data)
        protocol = self._server_protocol()
        if protocol.state is OPEN:
            for packet in packets:
                if isinstance(packet, str):
                    protocol.send_text(packet.encode())
                else:
                    protocol.send_binary(packet)
            self._send_pending(protocol)

    def send_packet(self, packet: str) -> None:
        if self.framed:
            answer, self._handshake = self._handshake, b""
            self._transport.write(answer + text_frame(packet.encode()))
        else:
            self.write([packet])

    def _send_pending(self, protocol: ServerProtocol) -> None:
        """Send what `websockets` answers: pongs, the close frame, the end of the connection."""
        transport = self._transport
        for data in protocol.data_to_send():
            if not data:
                self._end(protocol)
            elif self._held_pong is not None and data[0] == PONG:
                self._held_pong = data
            else:
                transport.write(data)
        if protocol.parser_exc is not None and self.connection is not None:
            self._fail(protocol.parser_exc)
        if protocol.close_expected():
            self._enter_closing()

    def _end(self, protocol: ServerProtocol) -> None:
        """Nothing follows our close frame. Where the client broke the protocol, the rest of what it sends is read and
        dropped until the deadline: to close a connection with input unread resets it, and the frame may be lost."""
        transport = self._transport
        if protocol.parser_exc is not None and transport.can_write_eof():
            self._has_closed = True
            transport.write_eof()
        else:
            transport.close()

    def pause_writing(self) -> None:
        if self._held_pong is None:
            self._held_pong = b""
        if (session := self._session()) is not None:
            session.outbox.block()

    def resume_writing(self) -> None:
        pong, self._held_pong = self._held_pong, None
        if pong and self._is_open():
            self._transport.write(pong)  # it may be the next that waits
        if self._held_pong is None and (session := self._session()) is not None:
            session.outbox.unblock()

    @property
    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    # ---- end

    def _fail(self, error: Exception) -> None:
        """The client broke the WebSocket protocol, or sent too large a message. A close frame is on its way."""
        if isinstance(error, PayloadTooBig):
            self.context.stats.too_large += 1
        else:
            self.context.stats.broken += 1
        if (session := self._session()) is not None:
            self.connection = None
            session.lost("transport error")  # the deadline below bounds how long the close frame may take

    def _enter_closing(self) -> None:
        """What the client sends from now on is ignored, and nothing follows our close frame."""
        if self.receive is ignore and self.slot >= 0:
            return  # it was told before: what still comes does not put off the deadline
        self._short_cut = False
        self._close_outbox()
        self.receive = ignore
        self.context.wheel.after(self, self.context.settings.close_timeout)

    def _close_outbox(self) -> None:
        if (session := self._session()) is not None:
            session.outbox.close()

    def close(self, *, abort: bool = False, code: int = NORMAL_CLOSURE) -> None:
        self.connection: Connection | None = None
        self._short_cut = False
        if abort:
            self._transport.abort()
        else:
            self.start_close(code)

    def start_close(self, code: int = NORMAL_CLOSURE) -> None:
        """Send a close frame and wait for the client's; then, or at the deadline, close the connection."""
        self.receive: Callable[[bytes], None] = ignore
        self._short_cut = False
        if self._has_closed or self._transport.is_closing():
            return
        protocol = self._server_protocol()
        if protocol.state is OPEN:
            protocol.send_close(code)
            self._send_pending(protocol)
            if self._paused:
                self.resume_reading()
            self.context.wheel.after(self, self.context.settings.close_timeout)
        else:
            self._transport.abort()

    def on_due(self, now: float) -> None:
        """The upgrade, or the closing handshake, took too long."""
        if self._is_open():
            super().on_due(now)
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_outbox()  # first of all: behind this call the descriptor is closed
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
