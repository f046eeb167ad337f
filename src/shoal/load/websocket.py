"""Carries one client over a WebSocket. Knows bytes and a connection; packets are the client's."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast
from urllib.parse import urlencode

from .client import Client
from .frames import FrameClient, masked_text
from .plan import Plan

__all__ = ["open_websocket"]

MAX_WAITING = 16 * 2**20
"""Bytes that may wait to be sent on one connection: a server that reads so little is not answering any more."""


async def open_websocket(client: Client, plan: Plan, tls: ssl.SSLContext | None) -> None:
    """Connect and return once the connection is open; ``client.ready`` is done when the server has accepted the client.

    Raises:
        OSError: Nobody listens there, or TLS failed.
    """
    host, port = plan.address
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    query = urlencode({"EIO": "4", "transport": "websocket"})
    uri = f"{'wss' if plan.secure else 'ws'}://{where}{plan.path}?{query}"
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: _WebSocket(client, FrameClient(uri)), host, port, ssl=tls)


class _WebSocket(asyncio.Protocol):
    __slots__ = ("_client", "_frames", "_transport")

    def __init__(self, client: Client, frames: FrameClient) -> None:
        self._client = client
        self._frames = frames

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._client.send = self._send
        self._client.close = self._close
        self._transport.write(self._frames.to_send())

    def data_received(self, data: bytes) -> None:
        frames = self._frames
        packets = frames.feed(data)
        if packets:
            self._client.take(packets)
        if reply := frames.to_send():
            self._transport.write(reply)
        if frames.failure is not None:
            self._client.fail(frames.failure)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.fail(f"the connection was lost: {exc or 'the server closed it'}")

    async def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._frames.close())
            self._transport.close()

    def _send(self, packet: bytes) -> None:
        if self._transport.get_write_buffer_size() > MAX_WAITING:
            self._client.fail("the server does not read what it is sent")
            self._transport.abort()
        else:
            self._transport.write(masked_text(packet))
