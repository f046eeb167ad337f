"""A namespace whose clients may come back after a lost connection, on a node that stands alone.

Each event gets a number and is kept, encoded, with the rooms that it was for; one to a single socket is kept as one to
the room of its id. Who comes back is put into its rooms and given what it missed in one step of the loop, before any
function of the application hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from ..fanout.history import Entry
from ..handlers.registry import Handlers
from .base import Adapter
from .context import Context
from .recovery import Recovery, State
from .sockets import ClientState, LocalSocket, Selection

__all__ = ["RecoveringAdapter"]

S = TypeVar("S", bound=LocalSocket)


class RecoveringAdapter(Adapter):
    """As :class:`.base.Adapter`, and remembers.

    Args:
        recovery: The server's states and messages.
    """

    def __init__(
        self, context: Context, name: str, handlers: Handlers, on_empty: Callable[[], None], recovery: Recovery
    ) -> None:
        super().__init__(context, name, handlers, on_empty)
        self._recovery = recovery
        self.emit: Callable[[LocalSocket, bytes, Sequence[bytes]], None] = self._emit

    def broadcast(
        self,
        event: str,
        args: tuple[Any, ...],
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
    ) -> None:
        text, attachments = self.encode(event, args)
        if volatile:
            # The official client takes any last text for an offset: what is not kept has the one before.
            text, attachments = self._number(self._recovery.history.last, text, attachments)
        else:
            text, attachments = self._keep(text, attachments, rooms, excluded)
        self.context.ticker.broadcast(self.rooms, rooms, excluded, text, attachments, volatile)
        if self.outgoing:
            self.notify_outgoing(event, args, rooms, excluded)

    def _emit(self, socket: LocalSocket, text: bytes, attachments: Sequence[bytes]) -> None:
        if self.rooms.by_id.get(socket.id) is socket:
            text, attachments = self._keep(text, attachments, (socket.id,), ())
        else:  # in middleware: it has nothing to come back to yet
            text, attachments = self._number(self._recovery.history.last, text, attachments)
        self.context.ticker.send(socket, text, attachments)

    def emit_later(self, state: State, event: str, args: tuple[Any, ...]) -> None:
        """Send an event for an earlier socket of a client: to the one that it has now, or when it is back."""
        if state.socket is not None:
            state.socket.notify_outgoing(event, args)
        text, attachments = self._keep(*self.encode(event, args), (state.sid,), ())
        if state.socket is not None:
            self.context.ticker.send(state.socket, text, attachments)

    def _number(self, number: int, text: bytes, attachments: Sequence[bytes]) -> tuple[bytes, Sequence[bytes]]:
        return self.context.codec.append(self.name, text, attachments, self._recovery.offset(number))

    def _keep(
        self, text: bytes, attachments: Sequence[bytes], rooms: tuple[str, ...], excluded: tuple[str, ...]
    ) -> tuple[bytes, Sequence[bytes]]:
        """An event with its number, kept for those who cannot get it now."""
        history = self._recovery.history
        number = history.next_offset()
        text, attachments = self._number(number, text, attachments)
        if self._recovery.has_clients:
            history.add(Entry(number, self.context.now(), self.name, rooms, excluded, text, attachments))
        return text, attachments

    def is_foreign_id(self, room: str) -> bool:
        return self._recovery.is_away(room)

    async def here(self, kind: str, selection: Selection, argument: Any, timeout: float) -> Any:
        """As in :class:`.base.Adapter`; orders reach those who are away, too."""
        result = await super().here(kind, selection, argument, timeout)
        if kind == "leave":
            for state in self._recovery.away_from(self.name, selection):
                state.leave_rooms(argument)
        elif kind == "disconnect":
            for state in self._recovery.away_from(self.name, selection):
                state.forget()
        return result

    def begin(self, socket: LocalSocket) -> ClientState:
        return self._recovery.begin(socket, self)

    def end_previous(self, auth: dict[str, Any] | None) -> bool:
        return self._recovery.end_previous(self.name, auth)

    async def restore(self, auth: dict[str, Any] | None, limit: int, make: Callable[[ClientState], S]) -> S | None:
        claimed = self._recovery.claim(self.name, auth, limit)
        if claimed is None:
            return None
        state, missed = claimed
        socket = make(state)
        self._recovery.resume(state, self, socket)
        rooms = state.rooms - {socket.id}
        # In all rooms before any listener is called: what they emit must not pass what was missed.
        self.rooms.enter(socket)
        created = {room for room in rooms if self.rooms.join(socket, room)}
        for entry in missed:
            self.context.ticker.send(socket, entry.text, entry.attachments)
        self._notify_rooms(socket, rooms, created)
        return socket

    def _notify_rooms(self, socket: LocalSocket, rooms: Iterable[str], created: Collection[str]) -> None:
        for room in rooms:
            if room in created:
                self.notify("create_room", room)
            if room in socket.joined:  # unless a listener has disconnected the socket
                self.notify("join_room", room, socket.id)
