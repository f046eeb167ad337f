"""Connection state recovery: a client that lost its connection comes back to its id, rooms, data and what it missed.

The wire is Node's (https://socket.io/docs/v4/connection-state-recovery): the CONNECT reply has a ``pid``, a secret that
only this client knows; each event without an acknowledgement has the message's offset as one more argument; the client
shows both when it comes back. All of it lives in this process's memory: it is for one node.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..engine.ids import new_session_id
from ..fanout.history import History, Said
from .ears import tell_one

if TYPE_CHECKING:
    from .namespace import Namespace
    from .server import Server
    from .socket import Socket

__all__ = ["Recovery", "State"]

log = logging.getLogger("shoal.server")

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


@dataclass(slots=True, eq=False)
class State:
    """What one client in one namespace comes back to."""

    recovery: Recovery
    pid: str
    """The secret that it shows."""
    sid: str
    namespace: str
    since: int
    """The newest message that it need not be told: those before were never for it, or it has shown that it has them."""
    socket: Socket | None
    """The client, while it is here; the rest is known when it has left."""
    rooms: frozenset[str] = frozenset()
    """Its own id among them."""
    data: Any = None
    until: float = 0.0
    """The time up to which it may come back."""
    farewell: asyncio.Future[None] | None = None
    """Done when the disconnect handlers of its earlier socket have run."""

    @property
    def size(self) -> int:
        """Bytes of the names of its rooms, which are often the client's choice."""
        return sum(map(sys.getsizeof, self.rooms))


class Recovery:
    """The states of one server's clients, of those that are here and of those that may come back.

    Args:
        server: Its options, its clock, and where it counts.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._settings = settings = server.settings
        # Who loses its connection got all that was said before the last ping that it answered. That one was sent at
        # most this long before the loss is noticed; who comes back, comes back at most so long after it.
        unnoticed = settings.ping_interval + 2 * settings.ping_timeout
        self._lifetime = settings.max_disconnection_duration + unnoticed
        self.history = History(settings.recovery_buffer, self._lifetime)
        self._here: dict[str, State] = {}
        self._away: dict[str, State] = {}
        """In the order in which they left, which is the one in which they expire."""
        self._away_ids: set[str] = set()
        self._away_size = 0
        self._farewells: dict[Socket, asyncio.Future[None]] = {}
        """Of those who have left, until their disconnect handlers have run."""
        self._sweeper: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<recovery, {len(self._here)} here, {len(self._away)} away, {len(self.history)} messages>"

    def _now(self) -> float:
        return self._server.engine.wheel.now()

    # ---- while a client is here

    def begin(self, socket: Socket) -> State:
        """A new client has come."""
        pid = new_session_id(self._server.engine.tag)
        state = State(self, pid, socket.id, socket.namespace.name, self.history.last, socket)
        self._here[pid] = state
        return state

    @property
    def offset(self) -> str:
        """The offset of the newest message, as clients know it: those of an earlier process must not look like it."""
        return f"{self._server.engine.tag}.{self.history.last}"

    def remember(
        self, namespace: Namespace, event: str, args: tuple[Any, ...], rooms: tuple[str, ...], excluded: tuple[str, ...]
    ) -> tuple[bytes, Sequence[bytes]]:
        """An event as bytes, and kept for those who cannot get it now.

        Raises:
            PayloadError: As for :meth:`.Namespace.encode_event`.
        """
        offset = self.history.next_offset()
        text, attachments = namespace.encode_event(event, args)
        if self._here or self._away:
            self.history.add(Said(offset, self._now(), namespace.name, rooms, excluded, text, attachments))
        return text, attachments

    def tell(self, state: State, namespace: Namespace, event: str, args: tuple[Any, ...]) -> None:
        """An event for one client, which is here, or away, or here again with another socket.

        Raises:
            PayloadError: As for :meth:`.Namespace.encode_event`.
        """
        socket = state.socket
        if socket is None and state.pid not in self._away:
            return
        if socket is not None and socket in socket.namespace.ears:
            tell_one(socket, event, args)
        text, attachments = self.remember(namespace, event, args, (state.sid,), ())
        if socket is not None:
            namespace.ticker.send(socket, text, attachments)

    # ---- when it leaves

    def leave(self, state: State, socket: Socket, rooms: frozenset[str], reason: str) -> bool:
        """A client has left, or was refused. Returns whether it may come back."""
        if state.socket is not socket or self._here.pop(state.pid, None) is None:
            return False
        state.socket = None
        # Who was never told its secret cannot come back.
        if reason not in RECOVERABLE or not (socket.connected or socket.recovered):
            return False
        state.rooms, state.data = rooms, socket.data
        state.farewell = self._farewells[socket] = asyncio.get_running_loop().create_future()
        state.until = self._now() + self._settings.max_disconnection_duration
        self._away[state.pid] = state
        self._away_ids.add(state.sid)
        self._away_size += state.size
        self._make_room()
        return True

    def said_goodbye(self, socket: Socket) -> None:
        """The disconnect handlers of a socket that left have run."""
        farewell = self._farewells.pop(socket, None)
        if farewell is not None and not farewell.done():
            farewell.set_result(None)

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

    def away_from(self, namespace: str, rooms: Iterable[str], excluded: Iterable[str]) -> list[State]:
        """Those who are away, as :meth:`.Rooms.select` selects those who are here."""
        wanted, unwanted = frozenset(rooms), frozenset(excluded)
        return [
            state
            for state in self._away.values()
            if state.namespace == namespace
            and (not wanted or wanted & state.rooms)
            and state.rooms.isdisjoint(unwanted)
        ]

    def _make_room(self) -> None:
        """Forget who stayed away too long, and of too many, or with too many rooms, the first to leave."""
        now, settings = self._now(), self._settings
        while self._away:
            oldest = next(iter(self._away.values()))
            if oldest.until >= now:
                if len(self._away) <= settings.recovery_states and self._away_size <= settings.recovery_buffer:
                    break
                self._server.stats.states_dropped += 1
            self.forget(oldest)
        self.history.expire(now)
        if (self._away or len(self.history)) and self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._lifetime, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        self._make_room()

    def rest(self) -> None:
        """The loop is about to end."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # ---- when it comes back

    def make_way(self, namespace: str, auth: dict[str, Any] | None) -> bool:
        """A client may be back before the loss of its connection was noticed: then that one ends now. Was it so?"""
        state = self._here.get(_pid(auth))
        if state is None or state.socket is None or state.namespace != namespace:
            return False
        state.socket.conn.close("transport close", abort=True)
        return True

    def claim(self, namespace: str, auth: dict[str, Any] | None, limit: int) -> tuple[State, list[Said]] | None:
        """The state that a client asks for in its CONNECT, and what it missed. Give them to :meth:`resume` at once.

        A state is given once. ``None``: the client has none, or it is too late; it begins anew.

        Args:
            namespace: Where it wants to come back.
            auth: What it shows.
            limit: Bytes that it may be told at once.
        """
        pid = _pid(auth)
        if not pid or auth is None:
            return None
        state = self._away.get(pid)
        if state is not None and state.namespace == namespace:
            self.forget(state)
            state.since = self._since(state, auth.get("offset"))
            missed = self.history.since(state.since, namespace, state.rooms, limit)
            if missed is not None and self._now() <= state.until:
                self._server.stats.recovered += 1
                return state, missed
        self._server.stats.not_recovered += 1
        log.debug("a client came back, but too late: it begins anew")
        return None

    def _since(self, state: State, offset: Any) -> int:
        """The newest message that a client needs not to be told."""
        if isinstance(offset, str):
            tag, _, number = offset.rpartition(".")
            if tag == self._server.engine.tag and number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS:
                return max(int(number), state.since)
        return state.since  # it has not got any message of this process

    def resume(self, state: State, missed: list[Said], socket: Socket) -> None:
        """Give a new socket the state of the one before. What it missed waits in front of all that comes now."""
        self._here[state.pid] = state
        state.socket = socket
        socket.data = state.data
        namespace = socket.namespace
        rooms = state.rooms - {socket.id}
        # In all rooms before anybody can hear of it: what their handlers emit must not pass what was missed.
        created = namespace.enter_again(socket, rooms)
        for said in missed:
            namespace.ticker.send(socket, said.text, said.attachments)
        namespace.tell_of_rooms(socket, rooms, created)


def _pid(auth: dict[str, Any] | None) -> str:
    """The secret that a client shows; empty if it shows none."""
    pid = auth.get("pid") if auth else None
    return pid if isinstance(pid, str) else ""
