"""WebSockets of stock uvicorn: frames of our own in place of ASGI's ``send``, and all the rest as on any ASGI server.

``uvicorn app:io`` hands an application a bound method of its protocol as ``send``. Each call of it frames one message,
compresses it where the client offered that, and writes it: ten messages of one turn are ten system calls to one
client, and a broadcast is framed anew for each. Where that protocol is the one around `websockets`' sans-I/O machine,
its default of today, what has to be sent is framed once and goes to its transport, as one write. Frames without
compression are legal whatever was negotiated (RFC 7692 section 6), and do not get into uvicorn's own, which it writes
whole. Reading, pings and the closing handshake stay uvicorn's.

Behind middleware that brings a ``send`` of its own, under another server, or when the protocol looks different, there
is :class:`.websocket_lane.AsgiLane`, its plain twin: ``tests/unit/asgi/test_uvicorn_lane.py`` compares both.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from websockets.protocol import OPEN

from ..engine.context import EngineContext
from ..http.request import Request
from ..protocol.frames import text_frame
from .websocket_lane import AsgiLane

__all__ = ["UvicornLane", "choose_lane"]

MODULE: Final = "uvicorn.protocols.websockets.websockets_sansio_impl"
PARTS: Final = ("close_sent", "conn", "transport", "writable")


def choose_lane(context: EngineContext, request: Request, send: Any) -> AsgiLane:
    """A lane for a WebSocket that was accepted: by way of uvicorn's transport where that can be had."""
    protocol: Any = getattr(send, "__self__", None)
    kind = getattr(sys.modules.get(MODULE), "WebSocketsSansIOProtocol", None)
    if kind is not None and type(protocol) is kind and all(hasattr(protocol, part) for part in PARTS):
        wants_deflate = context.settings.per_message_deflate and protocol.conn.extensions
        if not wants_deflate and not request.wants_base64:
            return UvicornLane(context, send, protocol)
    lane = AsgiLane(context, send)
    lane.text_only = request.wants_base64
    return lane


class UvicornLane(AsgiLane):
    """One WebSocket on uvicorn's transport.

    Args:
        context: Of the engine whose session it carries.
        send: ASGI's; for the close frame.
        protocol: uvicorn's, whose method ``send`` is.
    """

    framed = True

    def __init__(self, context: EngineContext, send: Any, protocol: Any) -> None:
        super().__init__(context, send)
        self._protocol = protocol
        self._held = False
        """Whether the outbox holds until uvicorn's transport takes more."""

    def write(self, data: Any) -> None:
        protocol = self._protocol
        transport = protocol.transport
        if protocol.conn.state is OPEN and not protocol.close_sent and not transport.is_closing():
            transport.write(data)
            if not protocol.writable.is_set():
                self._wait_until_writable()

    def send_packet(self, packet: str) -> None:
        self.write(text_frame(packet.encode()))

    def _wait_until_writable(self) -> None:
        """The transport's buffer is full: hold, until uvicorn's protocol may write again."""
        if self.connection is not None and self.receive == self.connection.receive_text:
            self.connection.outbox.block()
            self._held = True
            self._wake()

    async def _write_out(self) -> None:
        writable: asyncio.Event = self._protocol.writable
        while not self._closing:
            if not self._held:
                self._wakeup = asyncio.get_running_loop().create_future()
                await self._wakeup
            await writable.wait()
            if self._held:
                self._held = False
                self._unblock()

    @property
    def buffered(self) -> int:
        size: int = self._protocol.transport.get_write_buffer_size()
        return size
