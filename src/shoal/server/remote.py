"""A socket as another node describes it: what can be known and ordered from afar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .namespace import Namespace
    from .socket import Socket

__all__ = ["RemoteSocket", "describe"]


def describe(socket: Socket) -> dict[str, Any]:
    """What other nodes may know of a socket. Its ``data`` travels if msgpack can hold it, else as ``{}``."""
    shake = socket.handshake
    return {
        "id": socket.id,
        "node": socket.namespace.server.node,
        "rooms": sorted(socket.rooms),
        "data": _copy(socket.data),
        "handshake": {
            "headers": shake.headers,
            "query": shake.query,
            "auth": _copy(shake.auth),
            "time": shake.time,
            "issued": shake.issued,
            "address": shake.address,
            "secure": shake.secure,
            "url": shake.url,
        },
    }


def _copy(value: Any) -> Any:
    """The value as it would arrive at another node."""
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return {}


class RemoteHandshake:
    """A handshake as it was described: the attributes of :class:`.handshake.Handshake`, as they were then."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.headers: dict[str, str] = described["headers"]
        self.query: dict[str, str] = described["query"]
        self.auth: dict[str, Any] = described["auth"]
        self.time: str = described["time"]
        self.issued: float = described["issued"]
        self.address: str = described["address"]
        self.secure: bool = described["secure"]
        self.url: str = described["url"]


class RemoteSocket:
    """A socket of any node, as it was when it was fetched.

    Attributes:
        id: Its id.
        node: Name of its node.
        rooms: The rooms it was in, its id among them.
        data: What its node keeps with it. A copy.
        handshake: How its client came in.
    """

    def __init__(self, namespace: Namespace, described: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.id: str = described["id"]
        self.node: str = described["node"]
        self.rooms = set(described["rooms"])
        self.data: Any = described["data"]
        self.handshake = RemoteHandshake(described["handshake"])

    def __repr__(self) -> str:
        return f"<socket {self.id} on {self.node}>"

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to it."""
        self.namespace.to(self.id).emit(event, *args)

    async def join(self, *rooms: str) -> None:
        """Let it join rooms."""
        await self.namespace.in_(self.id).join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Let it leave rooms."""
        await self.namespace.in_(self.id).leave(*rooms)

    async def disconnect(self, close: bool = False) -> None:
        """Send it away."""
        await self.namespace.in_(self.id).disconnect(close)
