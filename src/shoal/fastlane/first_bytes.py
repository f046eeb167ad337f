"""Who serves a new connection of uvicorn's: its first bytes decide.

A WebSocket handshake, as clients send it, comes whole with the first read. It is answered on the spot, without the HTTP
parser and the request that uvicorn would rebuild for its WebSocket class. Everything else goes to uvicorn's HTTP, with
the short cut of :mod:`.polling`, and so does a handshake that looks the least bit odd.

The plain twin is uvicorn's HTTP with :class:`.upgrade.UpgradeProtocol` behind it;
``tests/unit/fastlane/test_first_bytes.py`` compares both for any first bytes.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from ..engine.base import BaseEngine
from ..http.head import parse_request
from ..http.request import Request
from .repeated import RepeatedPolling
from .upgrade import UpgradeProtocol

__all__ = ["FirstBytesProtocol", "parse_handshake"]

UPGRADES: Final = frozenset({"upgrade", "keep-alive, upgrade"})


def parse_handshake(data: bytes, path: str) -> Request | None:
    """The request for a WebSocket on ``path`` that ``data`` is from beginning to end, else ``None``."""
    request = parse_request(data)
    if request is None or request.path != path or request.method != "GET":
        return None
    headers = request.headers
    if headers.get("upgrade", "").lower() != "websocket" or headers.get("connection", "").lower() not in UPGRADES:
        return None
    if "content-length" in headers or "transfer-encoding" in headers:
        return None
    request.method, request.path = "GET", path  # one for all that stay open
    return request


class FirstBytesProtocol(UpgradeProtocol):
    """A new connection. Its successor is a WebSocket, or uvicorn's HTTP.

    Args:
        engine: Takes the handshakes for its path.
        stock: uvicorn's own WebSocket class, for all other paths.
        arguments: uvicorn's: ``config``, ``server_state``, ``app_state``.
    """

    __slots__ = ("_head_due", "slot")

    def __init__(self, engine: BaseEngine[Any], stock: Any, **arguments: Any) -> None:
        super().__init__(engine, stock, **arguments)
        self.slot: int = -1
        self._head_due = 0.0
        """When the head of the first request must be there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._engine.forwarder.learning:
            self._engine.forwarder.reached_at(transport.get_extra_info("sockname"))
        self._head_due = self._engine.context.wheel.after(self, self._engine.settings.head_timeout)

    def data_received(self, data: bytes) -> None:
        if self._request is not None:  # not the first bytes
            super().data_received(data)
            return
        self._engine.context.wheel.remove(self)
        request = None if self._arguments["config"].root_path else parse_handshake(data, self._engine.settings.path)
        if request is None:
            self._to_http().data_received(data)
        else:
            request.peer, request.secure = self._peer()
            self.answer(request)

    def _to_http(self) -> RepeatedPolling:
        transport = cast(asyncio.Transport, self._transport)
        self._connections.discard(self)
        http = RepeatedPolling(self._engine, **self._arguments)
        http.connection_made(transport, self._head_due)
        transport.set_protocol(http)
        return http

    def on_due(self, now: float) -> None:
        """It sent nothing in time."""
        if self._transport is not None:
            self._to_http()

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.context.wheel.remove(self)
        super().connection_lost(exc)
