"""The namespaces that share one connection of a test client: packets in, to the client of their namespace; packets out.

Encoding is the protocol's own, and so the server's; that both are right is the interoperability tests' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..protocol import msgpack, socketio
from ..protocol.socketio import Decoder, Limits, Packet, PacketType
from .connection import TestConnection

__all__ = ["Manager", "Member"]

# What a test sends to itself needs no bounds but that of the decoder's recursion.
LIMITS: Final = Limits(attachments=10_000, attachment_bytes=1 << 40, depth=400)


class Member(NamedTuple):
    """A client in one of the connection's namespaces, as its manager knows it."""

    take: Callable[[Packet], None]
    """Takes a packet of the namespace."""
    left: Callable[[str], None]
    """Called with the reason when the connection has closed."""


class Manager:
    """The namespaces of one connection.

    Args:
        connection: It is open.
        parser: The server's option ``parser``.
    """

    def __init__(self, connection: TestConnection, parser: str = "json") -> None:
        self.connection = connection
        self.members: dict[str, Member] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        """Handlers that are coroutines and have not returned yet."""
        self._decoder = Decoder(LIMITS)
        self._msgpack = parser == "msgpack"
        connection.on_message = self._receive
        connection.on_close = self._closed

    def send(self, kind: PacketType, namespace: str, data: Any, ack_id: int | None = None) -> None:
        """Send one packet."""
        encode = msgpack.encode if self._msgpack else socketio.encode
        text, attachments = encode(kind, namespace, data, ack_id)
        if text:
            self.connection.send(text.decode())
        for attachment in attachments:
            self.connection.send(attachment)

    def _receive(self, message: str | bytes) -> None:
        packet: Packet | None
        if isinstance(message, str):
            packet = self._decoder.feed_text(message.encode())
        elif self._msgpack:
            packet = msgpack.decode(message, LIMITS.depth)
        else:
            packet = self._decoder.feed_binary(message)
        if packet is not None and packet.namespace in self.members:
            self.members[packet.namespace].take(packet)

    def _closed(self, reason: str) -> None:
        for member in list(self.members.values()):
            member.left(reason)

    async def end(self) -> None:
        """Cancel handlers that have not returned, and close the connection."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.connection.end()
