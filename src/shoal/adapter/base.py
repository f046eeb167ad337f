"""One namespace on this node: who is in which room, and how an event reaches a selection of its sockets.

:class:`Adapter` is complete for a node that stands alone (``memory://``); others add what crosses the node's border.
Its methods have the names of Node's adapter where that has them. A socket is known by what :class:`LocalSocket` says.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

from ..engine.home import Home
from ..errors import ConfigurationError, RoomRefused
from ..fanout.rooms import Rooms
from ..handlers.registry import Handlers, as_value
from .calls import ACTIONS
from .context import Context
from .sockets import Answers, ClientState, HistoryEntry, LocalSocket, Selection

__all__ = ["Adapter"]

log: Final = logging.getLogger("shoal.server")


S = TypeVar("S", bound=LocalSocket)


class Adapter:
    """The rooms and the fan-out of one namespace on this node.

    Args:
        context: Of the server.
        name: The namespace's, with its slash.
        handlers: Where the listeners of ``create_room``, ``join_room``, ``leave_room`` and ``delete_room`` stand.
        on_empty: Called when the last socket has left.
    """

    def __init__(self, context: Context, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> None:
        self.context = context
        self.name = name
        self.handlers = handlers
        self.rooms: Rooms[LocalSocket] = Rooms(context.ticker.before_change)
        self.outgoing: set[LocalSocket] = set()
        """Sockets that listen to all events that go out."""
        self._on_empty = on_empty
        self.home: Home = context.home
        self.emit: Callable[[LocalSocket, bytes, Sequence[bytes]], None] = context.ticker.send
        """Send an encoded event to one socket of this node."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}, {len(self.rooms.by_id)} sockets>"

    def close(self) -> None:
        """The namespace has ended."""

    # ---- events

    def encode(self, event: str, args: Sequence[Any], ack_id: int | None = None) -> tuple[bytes, Sequence[bytes]]:
        """An event of this namespace as bytes.

        Raises:
            PayloadError: The name is reserved, or an argument has no JSON form.
        """
        return self.context.codec.encode_event(self.name, event, args, ack_id)

    def broadcast(
        self,
        event: str,
        args: tuple[Any, ...],
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
    ) -> None:
        """Emit an event to every socket in any of ``rooms`` (none: everyone) and in none of ``excluded``. Never waits.

        Args:
            event, args: The event.
            rooms, excluded: Who gets it.
            local: Only sockets of this node.
            volatile: Not those who cannot take it right now.

        Raises:
            PayloadError: As for :meth:`encode`.
        """
        text, attachments = self.encode(event, args)
        self.context.ticker.broadcast(self.rooms, rooms, excluded, text, attachments, volatile)
        if self.outgoing:  # last: what a listener emits comes behind what it heard
            self.notify_outgoing(event, args, rooms, excluded)

    async def broadcast_confirmed(
        self, event: str, args: tuple[Any, ...], selection: Selection, timeout: float
    ) -> None:
        """As :meth:`broadcast`; returns when the event is sure to reach all who are there, or come back in time.

        Raises:
            BrokerError: The broker will not have it, or has not confirmed it in ``timeout`` seconds.
            ConfigurationError: This broker confirms nothing.
            PayloadError: As for :meth:`encode`.
        """
        self.broadcast(event, args, *selection)

    async def history(self, room: str | None, since: str | None, limit: int) -> list[HistoryEntry]:
        """The events to one room, or to everyone, that the log still has.

        Args:
            room: The room; ``None`` for events to everyone, or to several rooms.
            since: Offset of an event: those behind it, the oldest first. Without it the newest.
            limit: How many at most.

        Raises:
            BrokerError: The broker cannot be asked.
            ConfigurationError: This broker keeps no log.
        """
        raise ConfigurationError(f"broker {self.context.settings.broker!r} keeps no log: use redis+streams://")

    def notify_outgoing(
        self, event: str, args: Sequence[Any], rooms: tuple[str, ...], excluded: tuple[str, ...]
    ) -> None:
        """Call the listeners of outgoing events of those who get this one."""
        for socket in self.outgoing.intersection(self.rooms.select(rooms, excluded)):
            socket.notify_outgoing(event, args)

    def is_here(self, rooms: tuple[str, ...]) -> bool:
        """Whether a selection is one socket of this node, so that no other node need receive it."""
        return len(rooms) == 1 and rooms[0] in self.rooms.by_id

    # ---- rooms

    def enter(self, socket: LocalSocket) -> None:
        """A socket passed the middleware: it gets what goes to everyone and to its id."""
        self.rooms.enter(socket)

    def add(self, socket: LocalSocket, room: str) -> bool:
        """Put a socket into a room. Returns whether events from other nodes are sure to reach it there.

        Raises:
            RoomRefused: Too many rooms, or the name is another socket's id.
        """
        if room not in socket.joined and room != socket.id:
            if len(socket.joined) >= self.context.settings.max_rooms:
                self._refuse("in as many rooms as are allowed")
            if self.is_foreign_id(room) or self.rooms.by_id.get(room, socket) is not socket:
                self._refuse("a room must not be named like the id of another socket")
            if self.rooms.join(socket, room):
                self.notify("create_room", room)
                self.room_created(room)
            self.notify("join_room", room, socket.id)
        return self.is_confirmed(room)

    def _refuse(self, reason: str) -> NoReturn:
        self.context.stats.rooms_refused += 1
        raise RoomRefused(reason)

    def delete(self, socket: LocalSocket, room: str) -> None:
        """Take a socket out of a room."""
        if room in socket.joined:
            emptied = self.rooms.leave(socket, room)
            self.notify("leave_room", room, socket.id)
            if emptied:
                self._emptied(room)

    def delete_all(self, socket: LocalSocket) -> None:
        """Take a socket out of everything: it has left."""
        rooms = list(socket.joined) if self.handlers.library.events else ()
        emptied = self.rooms.exit(socket)
        self.outgoing.discard(socket)
        for room in rooms:
            self.notify("leave_room", room, socket.id)
        for room in emptied:
            self._emptied(room)
        if not self.rooms.by_id:
            self._on_empty()

    def _emptied(self, room: str) -> None:
        self.notify("delete_room", room)
        self.room_deleted(room)

    def notify(self, event: str, *args: Any) -> None:
        """Call the listeners of an event of the library, plain functions. One that raises is logged."""
        for handler in self.handlers.library.events.get(event, ()):
            try:
                result = handler.function(*args)
                if inspect.iscoroutine(result):
                    self.context.spawn(result)
            except Exception:
                self.context.stats.handler_errors += 1
                log.exception("handler of %r failed", event)

    def before_disconnect(self, socket: LocalSocket) -> None:
        """The server is about to disconnect a socket: what was sent to it before goes first."""

    async def confirm(self, rooms: list[str]) -> None:
        """Wait until events from other nodes are sure to reach these rooms, or the time for it is over."""

    # ---- what an adapter with other nodes, or with clients that come back, knows of rooms

    def is_foreign_id(self, room: str) -> bool:
        """Whether a room has the name of a socket that is elsewhere, or away."""
        return False

    def is_confirmed(self, room: str) -> bool:
        """Whether events from other nodes are sure to reach this room."""
        return True

    def room_created(self, room: str) -> None:
        """A room has its first member on this node."""

    def room_deleted(self, room: str) -> None:
        """A room has lost its last member on this node."""

    # ---- questions to a selection of sockets; see :mod:`.calls`

    async def broadcast_with_ack(
        self, event: str, args: tuple[Any, ...], selection: Selection, local: bool, timeout: float
    ) -> Answers:
        """Emit an event to many, and wait for their acknowledgements.

        Args:
            event, args: The event.
            selection: Who is asked.
            local: Only sockets of this node.
            timeout: Seconds to wait.

        Raises:
            PayloadError: As for :meth:`encode`.
        """
        self.encode(event, args)  # what cannot be sent is an error here, not at the others
        here, there, missing = await self._everywhere("call", selection, [event, list(args)], local, timeout)
        answers = Answers()
        for responses, silent in (here, *there):
            answers.responses.extend(map(as_value, responses))
            answers.missing.extend(silent)
        answers.missing.extend(missing)
        return answers

    async def fetch_sockets(
        self, selection: Selection, local: bool, timeout: float
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Descriptions of the selected sockets, and the names of the nodes that kept silent."""
        here, there, missing = await self._everywhere("fetch", selection, None, local, timeout)
        return [entry for entries in (here, *there) for entry in entries], missing

    async def add_sockets(self, selection: Selection, rooms: tuple[str, ...], local: bool, timeout: float) -> list[str]:
        """Put the selected sockets into rooms. Returns the names of nodes that did not confirm."""
        return (await self._everywhere("join", selection, rooms, local, timeout))[2]

    async def del_sockets(self, selection: Selection, rooms: tuple[str, ...], local: bool, timeout: float) -> list[str]:
        """Take the selected sockets out of rooms. Returns the names of nodes that did not confirm."""
        return (await self._everywhere("leave", selection, rooms, local, timeout))[2]

    async def disconnect_sockets(self, selection: Selection, close: bool, local: bool, timeout: float) -> list[str]:
        """Disconnect the selected sockets. Returns the names of nodes that did not confirm."""
        return (await self._everywhere("disconnect", selection, close, local, timeout))[2]

    async def _everywhere(
        self, kind: str, selection: Selection, argument: Any, local: bool, timeout: float
    ) -> tuple[Any, list[Any], list[str]]:
        """Do a thing to the selected sockets: what came of it here, at each other node, and which nodes kept silent."""
        return await self.here(kind, selection, argument, timeout), [], []

    async def here(self, kind: str, selection: Selection, argument: Any, timeout: float) -> Any:
        """The part of :meth:`_everywhere` that concerns the sockets of this node."""
        return await ACTIONS[kind](self.context, self.encode, list(self.rooms.select(*selection)), argument, timeout)

    # ---- other servers

    def server_side_emit(self, event: str, args: tuple[Any, ...]) -> None:
        """Send an event to the other servers of the cluster. Never waits."""

    async def server_side_call(self, event: str, args: tuple[Any, ...], timeout: float) -> Answers:
        """Ask the other servers of the cluster."""
        return Answers()

    # ---- clients that come back

    def begin(self, socket: LocalSocket) -> ClientState | None:
        """A new client was let in: what it may come back to, if clients may come back."""
        return None

    def end_previous(self, auth: dict[str, Any] | None) -> bool:
        """End the connection that a returning client had, if its loss was not noticed yet. Was it so?"""
        return False

    async def restore(self, auth: dict[str, Any] | None, limit: int, make: Callable[[ClientState], S]) -> S | None:
        """Bring a client back to what it asks for in its CONNECT.

        Args:
            auth: What it shows.
            limit: Bytes of missed events that it may be sent at once.
            make: Makes its socket. Called in the same step of the loop in which the socket enters its rooms.

        Returns:
            The socket, or ``None``: the client begins anew.
        """
        return None
