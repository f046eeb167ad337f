"""WebSockets of stock uvicorn, ``uvicorn app:io``: its transport taken over, once it has answered the handshake.

uvicorn hands an application bound methods of its protocol as ``receive`` and ``send``. Through them each message costs
a queue, a task's wake-up, and reading that is paused and resumed; each that is sent is framed and written for itself.
Where that protocol is the one around `websockets`' sans-I/O machine, its default of today, its transport gets another
one: the fast lane, which goes on with the same machine. uvicorn hears of the end, and its application's call waits for
it. Compression is understood where the client offered it, and not used unless ``per_message_deflate`` is on, or the
client takes text alone (``b64``): frames without it are legal whatever was negotiated (RFC 7692 section 6).

Behind middleware that brings a ``receive`` or ``send`` of its own, under another server, with a lower ``ws_max_size``,
or when the protocol looks different, there is :class:`.websocket_lane.AsgiLane`, its plain twin:
``tests/unit/asgi/test_uvicorn_lane.py`` compares both.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from websockets.protocol import OPEN

from ..engine.context import EngineContext
from ..engine.lane import MESSAGE_TOO_BIG
from ..engine.websocket import ignore
from ..fastlane.websocket import FastLane
from ..http.request import Request

__all__ = ["UvicornLane", "take_over"]

MODULE: Final = "uvicorn.protocols.websockets.websockets_sansio_impl"
PARTS: Final = ("close_sent", "config", "conn", "connections", "queue", "read_paused", "transport", "writable")
# What has come of a message in fragments: its name in uvicorn 0.49, and in 0.54.
BEGUN: Final = ("bytes", "frames")


def take_over(context: EngineContext, request: Request, receive: Any, send: Any) -> UvicornLane | None:
    """A lane on uvicorn's transport for a WebSocket that was just accepted, if that can be had."""
    protocol = _protocol_of(receive, send)
    if protocol is None:
        return None
    # A client that sends before it was answered breaks the protocol (RFC 6455 section 4.1): uvicorn has read that.
    if protocol.read_paused or not protocol.queue.empty() or any(getattr(protocol, name, None) for name in BEGUN):
        return None
    if protocol.conn.state is not OPEN or protocol.close_sent or protocol.transport.is_closing():
        return None
    if not protocol.writable.is_set():  # the transport will not pause its next protocol a second time
        return None
    # `--ws-max-size`: the short cut of the lane knows our bound alone, and who has set a lower one means it.
    limit = protocol.config.ws_max_size
    if limit is not None and limit < context.settings.max_payload:
        return None
    lane = UvicornLane(context, protocol)
    lane.accept(request)
    protocol.transport.set_protocol(lane)
    return lane


def _protocol_of(receive: Any, send: Any) -> Any:
    """uvicorn's protocol, if both are methods of one that looks as expected."""
    protocol = getattr(send, "__self__", None)
    kind = getattr(sys.modules.get(MODULE), "WebSocketsSansIOProtocol", None)
    if kind is None or type(protocol) is not kind or getattr(receive, "__self__", None) is not protocol:
        return None
    return protocol if all(hasattr(protocol, part) for part in PARTS) else None


class UvicornLane(FastLane):
    """One WebSocket on uvicorn's transport.

    Args:
        context: Of the engine whose session it carries.
        protocol: uvicorn's.
    """

    __slots__ = ("_ended", "_uvicorn")

    def __init__(self, context: EngineContext, protocol: Any) -> None:
        super().__init__(context, protocol.transport, protocol.connections, protocol.conn)
        # In its place: at a shutdown only this lane knows what was sent.
        self._connections.discard(protocol)
        self._uvicorn = protocol
        self.framed: bool = not (context.settings.per_message_deflate and protocol.conn.extensions)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The session has pings of its own; in older versions uvicorn's have none.
        getattr(protocol, "stop_keepalive", _nothing)()

    async def run(self) -> None:
        """Wait for the end of the connection, or of uvicorn."""
        try:
            await self._ended
        finally:
            if self._ended.cancelled():  # uvicorn waits for nobody any more
                self._transport.abort()

    def _deliver(self, payload: bytes) -> None:
        # What takes the short cut has been looked at; uvicorn's bound, which the machine has, is another one.
        if self.receive is ignore:
            return  # a refused client is refused once: a second close would abort, and it might never read the first
        if len(payload) > self.context.settings.max_payload:
            self.context.stats.too_large += 1
            self.start_close(MESSAGE_TOO_BIG)
        else:
            super()._deliver(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.add(self._uvicorn)  # it takes itself out
        self._uvicorn.connection_lost(exc)
        self._end_call()

    def shutdown(self) -> None:
        super().shutdown()
        # uvicorn waits for the connection. It would cancel the call of a client that is slow to leave, and log a
        # traceback for each.
        self._end_call()

    def _end_call(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _nothing() -> None:
    """There is no keepalive to stop."""
