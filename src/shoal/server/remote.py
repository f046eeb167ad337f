"""A socket as another node describes it: what can be known of it, and done to it, from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import get_ident
from typing import Any

from ..adapter.base import Adapter
from ..adapter.sockets import Selection
from ..engine.home import snapshot
from .awaitables import SENT

__all__ = ["DescriptionList", "RemoteSocket", "SocketDescription", "SocketList", "room_names"]


class RemoteHandshake:
    """A handshake as another node described it.

    Attributes:
        headers, query, auth, time, issued, address, secure, url: As in :class:`.handshake.Handshake`.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.headers: dict[str, str] = described["headers"]
        self.query: dict[str, str] = described["query"]
        self.auth: dict[str, Any] = described["auth"]
        self.time: str = described["time"]
        self.issued: float = described["issued"]
        self.address: str = described["address"]
        self.secure: bool = described["secure"]
        self.url: str = described["url"]


class SocketDescription:
    """A socket of any node, as it was when it was fetched.

    Attributes:
        id: Its id.
        node: Name of its node.
        rooms: The rooms it was in, its id among them.
        data: What its node keeps with it. A copy.
        handshake: How its client came in.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.id: str = described["id"]
        self.node: str = described["node"]
        self.rooms: set[str] = set(described["rooms"])
        self.data: Any = described["data"]
        self.handshake: RemoteHandshake = RemoteHandshake(described["handshake"])

    def __repr__(self) -> str:
        return f"<socket {self.id} on {self.node}>"


class RemoteSocket(SocketDescription):
    """A description with the ways to reach its socket.

    Args:
        adapter: Of its namespace.
        described: What its node says of it.
    """

    def __init__(self, adapter: Adapter, described: Mapping[str, Any]) -> None:
        super().__init__(described)
        self._adapter = adapter

    @property
    def _only(self) -> Selection:
        return (self.id,), ()

    @property
    def _timeout(self) -> float:
        return self._adapter.context.settings.request_timeout

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to it. May be called from any thread."""
        home = self._adapter.home
        if get_ident() != home.thread and home.move(self.emit, event, *snapshot(args)):
            return SENT
        self._adapter.broadcast(event, args, (self.id,))
        return SENT

    async def join(self, *rooms: Any) -> None:
        """Let it join rooms."""
        await self._adapter.add_sockets(self._only, room_names(rooms), False, self._timeout)

    async def leave(self, *rooms: Any) -> None:
        """Let it leave rooms."""
        await self._adapter.del_sockets(self._only, room_names(rooms), False, self._timeout)

    async def disconnect(self, close: bool = False) -> None:
        """Disconnect it.

        Args:
            close: Close the connection below too.
        """
        await self._adapter.disconnect_sockets(self._only, close, False, self._timeout)


class SocketList(list[RemoteSocket]):
    """Sockets of the whole cluster, and the names of the nodes that did not answer.

    Args:
        sockets: Those that were found.
        missing: Names of silent nodes.
    """

    def __init__(self, sockets: Iterable[RemoteSocket] = (), missing: Iterable[str] = ()) -> None:
        super().__init__(sockets)
        self.missing: list[str] = list(missing)


class DescriptionList(list[SocketDescription]):
    """As :class:`SocketList`, for a program that is no node.

    Args:
        sockets: Those that were found.
        missing: Names of silent nodes.
    """

    def __init__(self, sockets: Iterable[SocketDescription] = (), missing: Iterable[str] = ()) -> None:
        super().__init__(sockets)
        self.missing: list[str] = list(missing)


def room_names(rooms: tuple[Any, ...]) -> tuple[str, ...]:
    """Rooms as they were given: names, or lists of names as Node takes them."""
    if len(rooms) == 1 and type(rooms[0]) is str:
        return rooms
    names: list[str] = []
    for room in rooms:
        names.extend(map(str, room) if isinstance(room, list | tuple | set | frozenset) else [str(room)])
    return tuple(names)
