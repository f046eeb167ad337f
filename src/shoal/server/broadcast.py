"""The immutable builder of a broadcast: ``io.to("a").except_("b").volatile.emit("event")``.

Each step gives a new builder, so one can be kept and used again. Emitting never waits: it is queued for this turn of
the loop, here and towards the other nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from ..adapter.base import Adapter
from ..adapter.sockets import Answers, HistoryEntry, Selection
from ..engine.home import snapshot
from ..errors import ConfigurationError
from .awaitables import SENT
from .remote import RemoteSocket, SocketList, room_names

__all__ = ["Broadcast", "Broadcasting", "NamespaceBase", "move_emit"]


class Broadcast:
    """A selection of sockets of one namespace, on all nodes, to emit to."""

    __slots__ = ("_adapter", "_excluded", "_local", "_rooms", "_timeout", "_volatile")

    def __init__(
        self,
        adapter: Adapter,
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
        timeout: float | None = None,
    ) -> None:
        self._adapter = adapter
        self._rooms = rooms
        self._excluded = excluded
        self._local = local
        self._volatile = volatile
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<broadcast in {self._adapter.name} to {self._rooms or 'all'} except {self._excluded}>"

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms, besides those named before. Each socket gets an event once.

        No room at all is no choice: ``io.to(*[])`` is everyone, as in Node's server.
        """
        names = self._rooms + room_names(rooms)
        return Broadcast(self._adapter, names, self._excluded, self._local, self._volatile, self._timeout)

    in_ = to

    def except_(self, *rooms: str) -> Broadcast:
        """Not the sockets in any of these rooms. A socket's id is a room too."""
        names = self._excluded + room_names(rooms)
        return Broadcast(self._adapter, self._rooms, names, self._local, self._volatile, self._timeout)

    @property
    def local(self) -> Broadcast:
        """Only sockets of this node."""
        return Broadcast(self._adapter, self._rooms, self._excluded, True, self._volatile, self._timeout)

    @property
    def volatile(self) -> Broadcast:
        """A client that cannot take the event right now does not get it."""
        return Broadcast(self._adapter, self._rooms, self._excluded, self._local, True, self._timeout)

    def timeout(self, seconds: float) -> Broadcast:
        """How long :meth:`call` and the other questions wait."""
        return Broadcast(self._adapter, self._rooms, self._excluded, self._local, self._volatile, seconds)

    def compress(self, compress: bool = True) -> Broadcast:
        """Accepted for likeness with Node; compression is an option of the server, per connection."""
        return self

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the selected sockets. Never waits; an ``await`` in front does no harm.

        May be called from any thread; what one thread emits comes in its order.

        Raises:
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        adapter = self._adapter
        if get_ident() != adapter.home.thread and move_emit(adapter, self.emit, event, args):
            return SENT
        adapter.broadcast(event, args, self._rooms, self._excluded, self._local, self._volatile)
        return SENT

    async def emit_confirmed(self, event: str, *args: Any, timeout: float | None = None) -> None:
        """Emit an event, and return when the broker has it: for handlers whose acknowledgement is a promise.

        From then on each selected client gets it, or begins anew, whatever becomes of this node. With ``memory://``
        there is nothing to wait for.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait; without it, what :meth:`timeout` said, or 5.

        Raises:
            BrokerError: The broker has dropped it, or has not confirmed it in time; in that case it still may.
            ConfigurationError: This broker confirms nothing: it takes ``redis+streams://``.
            PayloadError: As for :meth:`emit`.
        """
        await self._adapter.broadcast_confirmed(event, args, self._selection, self._seconds(timeout))

    async def history(self, since: str | None = None, limit: int = 100) -> list[HistoryEntry]:
        """The events that the log still has of one room; without a room, of those to everyone.

        One to several rooms is in neither.

        Args:
            since: Offset of an event: those behind it, the oldest first. Without it the newest.
            limit: How many at most.

        Returns:
            Events with ``offset``, ``event`` and ``args``, in their order; none if the offset is of another epoch.

        Raises:
            BrokerError: The broker cannot be asked.
            ConfigurationError: This broker keeps no log, or there are several rooms.
        """
        if len(self._rooms) > 1:
            raise ConfigurationError("history is that of one room, not of several")
        return await self._adapter.history(self._rooms[0] if self._rooms else None, since, limit)

    # ---- questions to the selected sockets

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Emit an event and wait for every client's acknowledgement.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait; without it, what :meth:`timeout` said, or 5.

        Returns:
            ``responses``, and ``missing``: ids of sockets and names of nodes that did not answer in time.

        Raises:
            PayloadError: As for :meth:`emit`.
        """
        return await self._adapter.broadcast_with_ack(event, args, self._selection, self._local, self._seconds(timeout))

    async def fetch_sockets(self, timeout: float | None = None) -> SocketList:
        """The selected sockets, of the whole cluster. ``missing`` names the nodes that kept silent."""
        found, missing = await self._adapter.fetch_sockets(self._selection, self._local, self._seconds(timeout))
        return SocketList([RemoteSocket(self._adapter, description) for description in found], missing)

    async def join(self, *rooms: str) -> list[str]:
        """Let the selected sockets join rooms. Returns the names of nodes that did not confirm."""
        return await self._adapter.add_sockets(self._selection, room_names(rooms), self._local, self._seconds())

    async def leave(self, *rooms: str) -> list[str]:
        """Let the selected sockets leave rooms. Returns the names of nodes that did not confirm."""
        return await self._adapter.del_sockets(self._selection, room_names(rooms), self._local, self._seconds())

    async def disconnect(self, close: bool = False) -> list[str]:
        """Send the selected clients away. Returns the names of nodes that did not confirm.

        Args:
            close: Close the connections below too.
        """
        return await self._adapter.disconnect_sockets(self._selection, close, self._local, self._seconds())

    @property
    def _selection(self) -> Selection:
        return self._rooms, self._excluded

    def _seconds(self, timeout: float | None = None) -> float:
        if timeout is not None:
            return timeout
        return self._timeout if self._timeout is not None else self._adapter.context.settings.request_timeout


def move_emit(adapter: Adapter, emit: Callable[..., None], event: str, args: tuple[Any, ...]) -> bool:
    """Emit in the thread of the loop, from another one. Whether it is so: else there is no loop.

    Raises:
        PayloadError: Here, where the event was emitted, and not there.
    """
    adapter.encode(event, args)
    return adapter.home.move(emit, event, *snapshot(args))


class Broadcasting:
    """What a namespace and the server share: the ways to begin a broadcast."""

    _adapter: Adapter

    def _everyone(self) -> Broadcast:
        return Broadcast(self._adapter)

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to every socket. See :meth:`Broadcast.emit`."""
        self._everyone().emit(event, *args)
        return SENT

    async def emit_confirmed(self, event: str, *args: Any, timeout: float | None = None) -> None:
        """Emit an event to every socket, and wait for the broker. See :meth:`Broadcast.emit_confirmed`."""
        await self._everyone().emit_confirmed(event, *args, timeout=timeout)

    async def history(self, since: str | None = None, limit: int = 100) -> list[HistoryEntry]:
        """What the log has of events to everyone. See :meth:`Broadcast.history`."""
        return await self._everyone().history(since, limit)

    def send(self, *args: Any) -> None:
        """Emit the event ``message`` to every socket."""
        self.emit("message", *args)
        return SENT

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms. No room is no choice: ``io.to(*[])`` is everyone, as in Node's server."""
        return Broadcast(self._adapter, room_names(rooms))

    in_ = to

    def except_(self, *rooms: str) -> Broadcast:
        """All sockets but those in these rooms."""
        return self._everyone().except_(*rooms)

    @property
    def local(self) -> Broadcast:
        """Only sockets of this node."""
        return self._everyone().local

    @property
    def volatile(self) -> Broadcast:
        """A client that cannot take the event right now does not get it."""
        return self._everyone().volatile

    def timeout(self, seconds: float) -> Broadcast:
        """How long the questions wait. See :meth:`Broadcast.timeout`."""
        return self._everyone().timeout(seconds)

    def compress(self, compress: bool = True) -> Broadcast:
        """See :meth:`Broadcast.compress`."""
        return self._everyone().compress(compress)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Emit to every client and wait for the answers. See :meth:`Broadcast.call`."""
        return await self._everyone().call(event, *args, timeout=timeout)

    async def fetch_sockets(self, timeout: float | None = None) -> SocketList:
        """Every socket of the cluster. See :meth:`Broadcast.fetch_sockets`."""
        return await self._everyone().fetch_sockets(timeout)

    async def join(self, *rooms: str) -> list[str]:
        """Let every socket join rooms. See :meth:`Broadcast.join`."""
        return await self._everyone().join(*rooms)

    async def leave(self, *rooms: str) -> list[str]:
        """Let every socket leave rooms. See :meth:`Broadcast.leave`."""
        return await self._everyone().leave(*rooms)

    async def disconnect(self, close: bool = False) -> list[str]:
        """Send every client away. See :meth:`Broadcast.disconnect`."""
        return await self._everyone().disconnect(close)


class NamespaceBase(Broadcasting):
    """A namespace as its sockets know it: its name, and the ways to begin a broadcast there."""

    name: str
    """With its slash."""
