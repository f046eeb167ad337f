"""One Socket.IO client: what its packets mean, whatever carries them. Knows no socket and counts nothing.

The transport calls :meth:`Client.take` with Engine.IO packets and gives the client a way to send; what the test is
about goes to :class:`Receiver`, everything else is handled here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson

__all__ = ["Client", "ClientLost", "Receiver", "prefix_of"]


def prefix_of(namespace: str) -> bytes:
    """What stands between a packet's type and its ack id or payload."""
    return b"" if namespace == "/" else namespace.encode() + b","


class ClientLost(Exception):
    """A client could not connect, or was cut off; the text says why."""


class Receiver(Protocol):
    """Takes what a client receives."""

    def packets_received(self, client: Client, packets: list[bytes]) -> list[bytes]:
        """Packets that arrived in one read, in order; returns those that the test is not about."""

    def lost(self, client: Client, reason: str) -> None:
        """The client, once connected, was cut off."""


class Client:
    """One client in one namespace.

    Args:
        number: From 0; also its name as a publisher.
        namespace: Where it connects to.
        auth: What it sends with its CONNECT; None sends nothing.
        receiver: Takes what it receives.

    Attributes:
        ready: Done once the server has accepted the client; fails with :class:`ClientLost`.
        send: Sends one Engine.IO packet; set by the transport.
        close: Closes the session and its connection; set by the transport.
    """

    __slots__ = ("_auth", "_prefix", "_receiver", "close", "connected", "number", "ready", "send", "sequence", "waiter")

    def __init__(self, number: int, namespace: str, auth: Any, receiver: Receiver) -> None:
        self.number: int = number
        self.sequence: int = 0  # of the last message published
        self.connected: bool = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiter: asyncio.Future[None] | None = None  # of an ack outside the measurement
        self.send: Callable[[bytes], None] = _drop
        self.close: Callable[[], Awaitable[None]] = _nothing
        self._receiver = receiver
        self._prefix = prefix_of(namespace)
        self._auth = auth

    def take(self, packets: list[bytes]) -> None:
        """Handle Engine.IO packets that arrived together."""
        if self.connected:
            packets = self._receiver.packets_received(self, packets)
        for packet in packets:
            self._take_one(packet)

    def fail(self, reason: str) -> None:
        """The connection is of no more use. Further calls have no effect."""
        was_connected, self.connected = self.connected, False
        self.send = _drop
        if not self.ready.done():
            self.ready.set_exception(ClientLost(reason))
            self.ready.exception()  # nobody may be waiting: when another client failed, the test is over
        elif was_connected:
            self._receiver.lost(self, reason)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ClientLost(reason))

    async def call(self, event: str, *args: Any) -> None:
        """Emit outside the measurement and wait for the ack."""
        self.waiter = asyncio.get_running_loop().create_future()
        self.send(b"42" + self._prefix + b"0" + orjson.dumps([event, *args]))
        try:
            await self.waiter
        finally:
            self.waiter = None

    def _take_one(self, packet: bytes) -> None:
        match packet[:1]:
            case b"2":
                self.send(b"3")
            case b"0":
                self.send(b"40" + self._prefix + (b"" if self._auth is None else orjson.dumps(self._auth)))
            case b"1":
                self.fail("the server closed the session")
            case b"4":
                self._take_message(packet)

    def _take_message(self, packet: bytes) -> None:
        match packet[1:2]:
            case b"0":
                if not self.ready.done():
                    self.connected = True
                    self.ready.set_result(None)
            case b"1":
                self.fail("the server disconnected the client")
            case b"4":
                self.fail(f"the server refused the client: {packet[2:].decode(errors='replace')}")
            case b"3" if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)


async def _nothing() -> None:
    """How a client closes that is not connected."""


def _drop(packet: bytes) -> None:
    """Where a client's packets go while it is not connected."""
