"""The immutable builder of a broadcast: ``io.to("a").except_("b").volatile.emit("event")``.

Each step gives a new builder, so one can be kept and used again. Emitting never waits: it is queued for this turn of
the loop, here and towards the other nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cluster.messages import Broadcast as Envelope

if TYPE_CHECKING:
    from .namespace import Namespace

__all__ = ["Broadcast", "Broadcasting", "room_names"]


class Broadcast:
    """A selection of sockets of one namespace, on all nodes, to emit to."""

    __slots__ = ("_excluded", "_local", "_namespace", "_rooms", "_volatile")

    def __init__(
        self,
        namespace: Namespace,
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
    ) -> None:
        self._namespace = namespace
        self._rooms = rooms
        self._excluded = excluded
        self._local = local
        self._volatile = volatile

    def __repr__(self) -> str:
        return f"<broadcast in {self._namespace.name} to {self._rooms or 'all'} except {self._excluded}>"

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms, besides those named before. Each socket gets an event once."""
        names = self._rooms + room_names(rooms)
        return Broadcast(self._namespace, names, self._excluded, self._local, self._volatile)

    in_ = to

    def except_(self, *rooms: str) -> Broadcast:
        """Not the sockets in any of these rooms. A socket's id is a room too."""
        names = self._excluded + room_names(rooms)
        return Broadcast(self._namespace, self._rooms, names, self._local, self._volatile)

    @property
    def local(self) -> Broadcast:
        """Only sockets of this node."""
        return Broadcast(self._namespace, self._rooms, self._excluded, True, self._volatile)

    @property
    def volatile(self) -> Broadcast:
        """A client that cannot take the event right now does not get it."""
        return Broadcast(self._namespace, self._rooms, self._excluded, self._local, True)

    def compress(self, compress: bool = True) -> Broadcast:
        """Accepted for likeness with Node; compression is an option of the server, per connection."""
        return self

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the selected sockets. Never waits.

        Raises:
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        namespace = self._namespace
        text, attachments = namespace.encode_event(event, args)
        rooms, excluded = self._rooms, self._excluded
        namespace.ticker.broadcast(namespace.rooms, rooms, excluded, text, attachments, self._volatile)
        link = namespace.link
        if link is not None and not self._local and not (len(rooms) == 1 and rooms[0] in namespace.rooms.by_id):
            link.publish(Envelope(namespace.name, rooms, excluded, text, attachments, self._volatile))


class Broadcasting:
    """What a namespace and the server share: the ways to begin a broadcast."""

    __slots__ = ()

    def _everyone(self) -> Broadcast:
        raise NotImplementedError

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to every socket. See :meth:`Broadcast.emit`."""
        self._everyone().emit(event, *args)

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms."""
        return self._everyone().to(*rooms)

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

    def compress(self, compress: bool = True) -> Broadcast:
        """See :meth:`Broadcast.compress`."""
        return self._everyone().compress(compress)


def room_names(rooms: tuple[Any, ...]) -> tuple[str, ...]:
    """Rooms as they were given: names, or lists of names as Node takes them."""
    if all(type(room) is str for room in rooms):
        return rooms
    names: list[str] = []
    for room in rooms:
        names.extend(map(str, room) if isinstance(room, list | tuple | set | frozenset) else [str(room)])
    return tuple(names)
