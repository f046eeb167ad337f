"""Connection state recovery: a client that lost its connection comes back to its id, rooms, data and what it missed.

The wire is Node's (https://socket.io/docs/v4/connection-state-recovery): the CONNECT reply has a ``pid``, a secret that
only this client knows; each event without an acknowledgement has the message's offset as one more argument; the client
shows both when it comes back. All of it lives in this process's memory: it is for one node. What a namespace does with
it is :mod:`.recovering`'s.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable
from typing import Any, Final, Protocol

from ..engine.ids import new_session_id
from ..fanout.history import Entry, History
from .context import Context
from .sockets import ClientState, LocalSocket, Selection

__all__ = ["Recovery", "State", "pid_of"]

log: Final = logging.getLogger("shoal.server")

# After these a client may come back, as in Node's server; after the others it, or the application, meant to end it.
RECOVERABLE: Final = frozenset(
    {
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "forced server close",
    }
)
# Digits of an offset: more than a server counts in its life, fewer than make int() slow.
MAX_DIGITS: Final = 18
MIN_PAUSE: Final = 1.0  # seconds between two sweeps


class Sender(Protocol):
    """What a state needs of its namespace, to send to a client whose socket has left."""

    name: str

    def notify(self, event: str, *args: Any) -> None:
        """Call the listeners of an event of the library."""

    def emit_later(self, state: State, event: str, args: tuple[Any, ...]) -> None:
        """Send an event to the socket that the client has now; without one, keep it."""


class State(ClientState):
    """What one client in one namespace comes back to."""

    __slots__ = ("_recovery", "rooms", "sender", "since", "socket", "until")

    def __init__(self, recovery: Recovery, sender: Sender, pid: str, socket: LocalSocket, since: int) -> None:
        super().__init__(pid, socket.id)
        self._recovery = recovery
        self.sender: Sender = sender
        self.since: int = since
        """The newest message that it need not be sent: those before were never for it, or it has shown that it has
        them."""
        self.socket: LocalSocket | None = socket
        """The client, while it is here; the rest is known when it has left."""
        self.rooms: frozenset[str] = frozenset()
        """Its own id among them."""
        self.until: float = 0.0
        """The time up to which it may come back."""

    @property
    def namespace(self) -> str:
        return self.sender.name

    @property
    def size(self) -> int:
        """Bytes of the names of its rooms, which are often the client's choice."""
        return sum(map(sys.getsizeof, self.rooms))

    def emit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.socket is not None or self._recovery.is_away(self.sid):
            self.sender.emit_later(self, event, args)

    def leave(self, socket: LocalSocket, rooms: frozenset[str], reason: str) -> bool:
        return self._recovery.leave(self, socket, rooms, reason)

    def handlers_done(self, socket: LocalSocket) -> None:
        self._recovery.handlers_done(socket)

    def leave_rooms(self, rooms: Iterable[str]) -> None:
        self._recovery.change_rooms(self, self.rooms.difference(rooms))

    def forget(self) -> None:
        self._recovery.forget(self)

    def expired(self) -> None:
        """Nobody can claim it any more: tell the application."""
        self.sender.notify("socket_expired", self.sid, set(self.rooms - {self.sid}), self.data)


class Recovery:
    """The states of one server's clients, of those that are here and of those that may come back.

    Args:
        context: Of the server.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = settings = context.settings
        # Who loses its connection got all that was sent before the last ping that it answered. That one was sent at
        # most this long before the loss is noticed; who comes back, comes back at most so long after it.
        unnoticed = settings.ping_interval + 2 * settings.ping_timeout
        self._lifetime = settings.max_disconnection_duration + unnoticed
        self.history: History = History(settings.recovery_buffer, self._lifetime)
        self._here: dict[str, State] = {}
        self._away: dict[str, State] = {}
        """In the order in which they left, which is the one in which they expire."""
        self._away_ids: set[str] = set()
        self._away_size = 0
        self._leaving: dict[LocalSocket, asyncio.Future[None]] = {}
        """Sockets that have left, until their disconnect handlers have run."""
        self._sweeper: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<recovery, {len(self._here)} here, {len(self._away)} away, {len(self.history)} messages>"

    # ---- while a client is here

    def begin(self, socket: LocalSocket, sender: Sender) -> State:
        """A new client has come."""
        pid = new_session_id(self._context.tag)
        state = self._here[pid] = State(self, sender, pid, socket, self.history.last)
        return state

    def offset(self, number: int) -> bytes:
        """A message's offset as clients know it: those of an earlier process must not look like it."""
        return b"%b.%d" % (self._context.tag.encode(), number)

    @property
    def has_clients(self) -> bool:
        """Whether anybody may miss a message."""
        return bool(self._here or self._away)

    # ---- when it leaves

    def leave(self, state: State, socket: LocalSocket, rooms: frozenset[str], reason: str) -> bool:
        """A client has left, or was refused. Returns whether it may come back."""
        if state.socket is not socket or self._here.pop(state.pid, None) is None:
            return False
        state.socket = None
        # Who never got its secret cannot come back.
        if reason not in RECOVERABLE or not (socket.connected or socket.recovered):
            return False
        state.rooms, state.data = rooms, socket.data
        state.previous_done = self._leaving[socket] = asyncio.get_running_loop().create_future()
        state.until = self._context.now() + self._settings.max_disconnection_duration
        self._away[state.pid] = state
        self._away_ids.add(state.sid)
        self._away_size += state.size
        self._make_room()
        return True

    def handlers_done(self, socket: LocalSocket) -> None:
        """The disconnect handlers of a socket that left have run."""
        done = self._leaving.pop(socket, None)
        if done is not None and not done.done():
            done.set_result(None)

    def forget(self, state: State) -> None:
        """A client that is away shall not come back."""
        if self._away.pop(state.pid, None) is not None:
            self._away_ids.discard(state.sid)
            self._away_size -= state.size

    def change_rooms(self, state: State, rooms: frozenset[str]) -> None:
        """A client that is away shall come back to these rooms, and its id."""
        if state.pid in self._away:
            self._away_size -= state.size
            state.rooms = rooms | {state.sid}
            self._away_size += state.size

    def is_away(self, sid: str) -> bool:
        """Whether this is the id of a socket that may come back."""
        return sid in self._away_ids

    def away_from(self, namespace: str, selection: Selection) -> list[State]:
        """Those who are away, as :meth:`.Rooms.select` selects those who are here."""
        wanted, unwanted = frozenset(selection[0]), frozenset(selection[1])
        return [
            state
            for state in self._away.values()
            if state.namespace == namespace
            and (not wanted or wanted & state.rooms)
            and state.rooms.isdisjoint(unwanted)
        ]

    def _make_room(self) -> None:
        """Forget who stayed away too long, and of too many, or with too many rooms, the first to leave."""
        now, settings = self._context.now(), self._settings
        while self._away:
            oldest = next(iter(self._away.values()))
            if oldest.until >= now:
                if len(self._away) <= settings.recovery_states and self._away_size <= settings.recovery_buffer:
                    break
                self._context.stats.states_dropped += 1
            self.forget(oldest)
            oldest.expired()
        self.history.expire(now)
        if self._away:
            self._sweep_in(max(MIN_PAUSE, next(iter(self._away.values())).until - now))
        elif len(self.history):
            self._sweep_in(self._lifetime)

    def _sweep_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._sweeper is not None:
            if self._sweeper.when() <= loop.time() + seconds:
                return
            self._sweeper.cancel()
        self._sweeper = loop.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        self._make_room()

    def close(self) -> None:
        """The loop is about to end."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # ---- when it comes back

    def end_previous(self, namespace: str, auth: dict[str, Any] | None) -> bool:
        """A client may be back before the loss of its connection was noticed: then that one ends now. Was it so?"""
        state = self._here.get(pid_of(auth))
        if state is None or state.socket is None or state.namespace != namespace:
            return False
        state.socket.connection_lost()
        return True

    def claim(self, namespace: str, auth: dict[str, Any] | None, limit: int) -> tuple[State, list[Entry]] | None:
        """The state that a client asks for in its CONNECT, and what it missed. Give them to :meth:`resume` at once.

        A state is given once. ``None``: the client has none, or it is too late; it begins anew.

        Args:
            namespace: Where it wants to come back.
            auth: What it shows.
            limit: Bytes that it may be sent at once.
        """
        pid = pid_of(auth)
        if not pid or auth is None:
            return None
        state = self._away.get(pid)
        if state is not None and state.namespace == namespace:
            self.forget(state)
            state.since = self._since(state, auth.get("offset"))
            missed = self.history.since(state.since, namespace, state.rooms, limit)
            if missed is not None and self._context.now() <= state.until:
                self._context.stats.recovered += 1
                state.replayed = sum([entry.size for entry in missed])
                return state, missed
            state.expired()
        self._context.stats.not_recovered += 1
        log.debug("a client came back, but too late: it begins anew")
        return None

    def _since(self, state: State, offset: Any) -> int:
        """The newest message that a client need not be sent."""
        if isinstance(offset, str):
            tag, _, number = offset.rpartition(".")
            if tag == self._context.tag and number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS:
                return max(int(number), state.since)
        return state.since  # it has not got any message of this process

    def resume(self, state: State, sender: Sender, socket: LocalSocket) -> None:
        """A client is back, with a new socket, in a namespace that may be a new one of the same name."""
        self._here[state.pid] = state
        state.sender = sender
        state.socket = socket


def pid_of(auth: dict[str, Any] | None) -> str:
    """The secret that a client shows; empty if it shows none."""
    pid = auth.get("pid") if auth else None
    return pid if isinstance(pid, str) else ""
