"""Peers that a Redis bus may meet: a proxy that becomes a hole, a TLS front, and peers that are no broker at all.

Real sockets on the test's own event loop. Knows the bytes that pass through as far as a test needs them, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Literal, cast

from tests.brokers import HOST

Direction = Literal["to node", "to broker"]


class Proxy:
    """Passes bytes between nodes and a broker, until `swallow` makes it a hole: open, and silent.

    Args:
        port: The broker's.
        tls: Makes it a TLS front.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections = 0
        self._broker_port = port
        self._tls = tls
        self._swallows: tuple[bytes, Direction] | None = None
        self._ends: set[_End] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def swallow(self, role: bytes, direction: Direction) -> None:
        """Pass nothing more in one direction on connections that named themselves `role`."""
        self._swallows = role, direction

    def heal(self) -> None:
        """Pass everything again. What was swallowed is lost."""
        self._swallows = None

    def passes(self, greeting: bytes, direction: Direction) -> bool:
        return self._swallows is None or self._swallows[0] not in greeting or self._swallows[1] != direction

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _End(self, "to broker"), HOST, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await asyncio.gather(*self._connecting, return_exceptions=True)
            for end in set(self._ends):
                await end.close()

    def joined(self, end: _End) -> None:
        """A connection was made: one from a node is given its counterpart."""
        self._ends.add(end)
        if end.direction == "to broker":
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self._connect(end))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def left(self, end: _End) -> None:
        self._ends.discard(end)

    async def _connect(self, node: _End) -> None:
        broker = _End(self, "to node", node)
        try:
            await asyncio.get_running_loop().create_connection(lambda: broker, HOST, self._broker_port)
        except OSError:
            node.hang_up()
        else:
            node.meet(broker)


class _End(asyncio.Protocol):
    """One of two ends: what it reads, the other one writes."""

    def __init__(self, proxy: Proxy, direction: Direction, other: _End | None = None) -> None:
        self.direction = direction
        self.greeting = b""  # the first that came from the node
        self._proxy = proxy
        self._other = other
        self._early = b""
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()

    def meet(self, other: _End) -> None:
        self._other = other
        self.data_received(b"")

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._proxy.joined(self)

    def data_received(self, data: bytes) -> None:
        data = self._early + data
        self._early = b""
        if self._other is None:
            self._early = data
            return
        node = self if self.direction == "to broker" else self._other
        node.greeting = node.greeting or data
        if self._other._transport is not None and self._proxy.passes(node.greeting, self.direction):
            self._other._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.left(self)
        if self._other is not None:
            self._other.hang_up()
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)


@contextlib.asynccontextmanager
async def peer(answer: bytes | None, *, hangs_up: bool = False) -> AsyncIterator[int]:
    """A peer that answers whatever it is told with `answer`, or never, and may hang up then. Yields its port."""
    lines: set[_Line] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Line(lines, answer, hangs_up), HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for line in set(lines):
            await line.close()


class _Line(asyncio.Protocol):
    def __init__(self, lines: set[_Line], answer: bytes | None, hangs_up: bool) -> None:
        self._lines = lines
        self._answer = answer
        self._hangs_up = hangs_up
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._lines.add(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None and self._answer is not None:
            self._transport.write(self._answer)
            if self._hangs_up:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.discard(self)
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)
