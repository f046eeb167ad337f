"""python-socketio's asyncio client as the tests use it: connected, its events in a line, and closed for certain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import socketio
from tests.interop.wire import PATIENCE, within


class Heard:
    """The events that reach a client, in a line."""

    def __init__(self, client: socketio.AsyncClient, event: str, namespace: str = "/") -> None:
        self._line: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        client.on(event, self._put, namespace=namespace)

    async def _put(self, *args: Any) -> None:
        self._line.put_nowait(args)

    async def next(self, seconds: float = PATIENCE) -> tuple[Any, ...]:
        args: tuple[Any, ...] = await within(self._line.get(), seconds)
        return args

    async def many(self, count: int) -> list[tuple[Any, ...]]:
        return [await self.next() for _ in range(count)]

    @property
    def empty(self) -> bool:
        return self._line.empty()


@contextlib.asynccontextmanager
async def connected(
    url: str, transports: list[str], *prepared: Callable[[socketio.AsyncClient], Any], **options: Any
) -> AsyncIterator[socketio.AsyncClient]:
    """A connected client. `prepared` are called with it before it connects."""
    client = socketio.AsyncClient(reconnection=False)
    for prepare in prepared:
        prepare(client)
    try:
        await client.connect(url, transports=transports, wait_timeout=PATIENCE, **options)
        yield client
    finally:
        await client.disconnect()
        if client.eio.http:
            await client.eio.http.close()
