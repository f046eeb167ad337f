"""The WebSocket of a session that another node has, on uvicorn's own connections: bytes go through, both ways.

The handshake goes to the other node as the client sent it, and the answer comes back as that one gave it; from there on
nobody looks into a frame. What one side does not take is not read from the other. Polling requests take the short cut
of :mod:`.polling`. The twin is :mod:`shoal.asgi.forward`; ``tests/integration/test_forward.py`` runs the same cases
over both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..engine.peer_connection import Failure
from ..engine.peer_tunnel import PeerTunnel
from ..engine.wheel import Wheel

__all__ = ["ForwardedWebSocket"]


class ForwardedWebSocket(asyncio.Protocol):
    """The client's end of such a WebSocket.

    Args:
        transport: uvicorn's.
        connections: uvicorn's, for its shutdown.
        refuse: Answers the handshake when the other node has not.
        wheel: The engine's.
        patience: Seconds in which the client has to take what is left for it when the other node has ended.
    """

    __slots__ = ("_connections", "_open", "_patience", "_refuse", "_transport", "_wheel", "slot", "tunnel")

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: set[Any],
        refuse: Callable[[Failure], None],
        wheel: Wheel,
        patience: float,
    ) -> None:
        self.slot: int = -1
        self._wheel = wheel
        self._patience = patience
        self._transport = transport
        self._connections = connections
        self._connections.add(self)
        self._refuse = refuse
        self._open = False
        """Whether the client may send."""
        self.tunnel: PeerTunnel | None = None
        """The connection to the other node."""

    # ---- of a TunnelEnd

    def opened(self, head: bytes, accepted: bool) -> None:
        self._open = accepted
        self._transport.write(head)

    def received(self, data: bytes) -> None:
        self._transport.write(data)

    def ended(self, failure: Failure | None) -> None:
        transport, self.tunnel = self._transport, None
        if failure is not None and not transport.is_closing():
            self._refuse(failure)
        if self._open and transport.can_write_eof() and not transport.is_closing():
            # Closed with something unread, the connection would be reset, and the client might miss the close frame.
            transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()
        self._wheel.after(self, self._patience)

    def on_due(self, now: float) -> None:
        """The client has not taken what was left for it, or not closed."""
        self._transport.abort()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # ---- asyncio's

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._transport.abort()  # the client sends before it was answered, or after a refusal
        elif self.tunnel is not None:
            self.tunnel.write(data)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.pause_reading()

    def resume_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._wheel.remove(self)
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            tunnel.close()

    def shutdown(self) -> None:
        """uvicorn is going down."""
        self._transport.close()
