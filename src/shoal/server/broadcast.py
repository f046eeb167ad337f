"""The immutable builder of a broadcast: ``io.to("a").except_("b").volatile.emit("event")``.

Each step gives a new builder, so one can be kept and used again. Emitting never waits: it is queued for this turn of
the loop, here and towards the other nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cluster.messages import Broadcast as Envelope
from .acks import Answers, Crowd, SocketList
from .ears import tell_selected

if TYPE_CHECKING:
    from .namespace import Namespace

__all__ = ["Broadcast", "Broadcasting", "room_names"]


class Broadcast:
    """A selection of sockets of one namespace, on all nodes, to emit to."""

    __slots__ = ("_excluded", "_local", "_namespace", "_rooms", "_timeout", "_volatile")

    def __init__(
        self,
        namespace: Namespace,
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
        timeout: float | None = None,
    ) -> None:
        self._namespace = namespace
        self._rooms = rooms
        self._excluded = excluded
        self._local = local
        self._volatile = volatile
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<broadcast in {self._namespace.name} to {self._rooms or 'all'} except {self._excluded}>"

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms, besides those named before. Each socket gets an event once."""
        names = self._rooms + room_names(rooms)
        return Broadcast(self._namespace, names, self._excluded, self._local, self._volatile, self._timeout)

    in_ = to

    def except_(self, *rooms: str) -> Broadcast:
        """Not the sockets in any of these rooms. A socket's id is a room too."""
        names = self._excluded + room_names(rooms)
        return Broadcast(self._namespace, self._rooms, names, self._local, self._volatile, self._timeout)

    @property
    def local(self) -> Broadcast:
        """Only sockets of this node."""
        return Broadcast(self._namespace, self._rooms, self._excluded, True, self._volatile, self._timeout)

    @property
    def volatile(self) -> Broadcast:
        """A client that cannot take the event right now does not get it."""
        return Broadcast(self._namespace, self._rooms, self._excluded, self._local, True, self._timeout)

    def timeout(self, seconds: float) -> Broadcast:
        """How long :meth:`call` and the other questions wait."""
        return Broadcast(self._namespace, self._rooms, self._excluded, self._local, self._volatile, seconds)

    def compress(self, compress: bool = True) -> Broadcast:
        """Accepted for likeness with Node; compression is an option of the server, per connection."""
        return self

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the selected sockets. Never waits.

        Raises:
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        namespace = self._namespace
        rooms, excluded = self._rooms, self._excluded
        if namespace.recovery is None or self._volatile:
            text, attachments = namespace.encode_event(event, args)
        else:
            text, attachments = namespace.recovery.remember(namespace, event, args, rooms, excluded)
        namespace.ticker.broadcast(namespace.rooms, rooms, excluded, text, attachments, self._volatile)
        link = namespace.link
        if link is not None and not self._local and not (len(rooms) == 1 and rooms[0] in namespace.rooms.by_id):
            link.publish(Envelope(namespace.name, rooms, excluded, text, attachments, self._volatile))
        if namespace.ears:  # last: what a listener says comes behind what it heard
            tell_selected(namespace, event, args, rooms, excluded)

    # ---- questions to the selected sockets: see acks.py

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
        return await self._crowd().call(event, args, self._patience(timeout))

    async def fetch_sockets(self, timeout: float | None = None) -> SocketList:
        """The selected sockets, of the whole cluster. ``missing`` names the nodes that kept silent."""
        return await self._crowd().fetch(self._patience(timeout))

    async def join(self, *rooms: str) -> list[str]:
        """Let the selected sockets join rooms. Returns the names of nodes that did not confirm."""
        return await self._crowd().order("join", room_names(rooms), self._patience(None))

    async def leave(self, *rooms: str) -> list[str]:
        """Let the selected sockets leave rooms. Returns the names of nodes that did not confirm."""
        return await self._crowd().order("leave", room_names(rooms), self._patience(None))

    async def disconnect(self, close: bool = False) -> list[str]:
        """Send the selected clients away. Returns the names of nodes that did not confirm.

        Args:
            close: Close the connections below too.
        """
        return await self._crowd().order("disconnect", close, self._patience(None))

    def _crowd(self) -> Crowd:
        return Crowd(self._namespace, self._rooms, self._excluded, self._local)

    def _patience(self, timeout: float | None) -> float:
        if timeout is not None:
            return timeout
        return self._timeout if self._timeout is not None else self._namespace.settings.request_timeout


class Broadcasting:
    """What a namespace and the server share: the ways to begin a broadcast."""

    __slots__ = ()

    def _home(self) -> Namespace:
        raise NotImplementedError

    def _everyone(self) -> Broadcast:
        return Broadcast(self._home())

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to every socket. See :meth:`Broadcast.emit`."""
        self._everyone().emit(event, *args)

    def send(self, *args: Any) -> None:
        """Emit the event ``message`` to every socket."""
        self.emit("message", *args)

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in any of these rooms."""
        return Broadcast(self._home(), room_names(rooms))

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


def room_names(rooms: tuple[Any, ...]) -> tuple[str, ...]:
    """Rooms as they were given: names, or lists of names as Node takes them."""
    if len(rooms) == 1 and type(rooms[0]) is str:
        return rooms
    names: list[str] = []
    for room in rooms:
        names.extend(map(str, room) if isinstance(room, list | tuple | set | frozenset) else [str(room)])
    return tuple(names)
