"""Connection state recovery: a client that lost its connection comes back to its id, rooms, data and what it missed.

The wire is Node's (https://socket.io/docs/v4/connection-state-recovery): the CONNECT reply has a ``pid``, a secret that
only this client knows; each event without an acknowledgement has the message's offset as one more argument; the client
shows both when it comes back. All of it lives in this process's memory: it is for one node.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import RoomRefused
from ..fanout.history import History, Said
from ..transport.ids import new_session_id

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

    pid: str
    """The secret that it shows."""
    sid: str
    namespace: str
    since: int
    """The newest message when it first came: older ones were never for it."""
    socket: Socket | None
    """The client, while it is here; the rest is known when it has left."""
    rooms: frozenset[str] = frozenset()
    data: Any = None
    until: float = 0.0
    """The time up to which it may come back."""


class Recovery:
    """The states of one server's clients, of those that are here and of those that may come back.

    Args:
        server: Its options, its clock, and where it counts.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        settings = server.settings
        # A message may be older than the loss of a connection is noticed late.
        unnoticed = settings.ping_interval + settings.ping_timeout
        self.history = History(settings.recovery_buffer, settings.max_disconnection_duration + unnoticed)
        self._here: dict[str, State] = {}
        self._away: dict[str, State] = {}
        """In the order in which they left, which is the one in which they expire."""

    def __repr__(self) -> str:
        return f"<recovery, {len(self._here)} here, {len(self._away)} away, {len(self.history)} messages>"

    def _now(self) -> float:
        return self._server.engine.wheel.now()

    # ---- while a client is here

    def begin(self, socket: Socket) -> State:
        """A new client has come."""
        pid = new_session_id(self._server.engine.tag)
        state = State(pid, socket.id, socket.namespace.name, self.history.last, socket)
        self._here[pid] = state
        return state

    def remember(
        self, namespace: Namespace, event: str, args: tuple[Any, ...], rooms: tuple[str, ...], excluded: tuple[str, ...]
    ) -> tuple[bytes, Sequence[bytes]]:
        """An event as bytes, and kept for those who cannot get it now.

        Raises:
            PayloadError: As for :meth:`.Namespace.encode_event`.
        """
        offset = self.history.next_offset()
        text, attachments = namespace.encode_event(event, args)
        self.history.add(Said(offset, self._now(), namespace.name, rooms, excluded, text, attachments))
        return text, attachments

    # ---- when it leaves

    def leave(self, state: State, rooms: frozenset[str], reason: str) -> bool:
        """A client has left, or was refused. Returns whether it may come back."""
        if self._here.pop(state.pid, None) is None or state.socket is None or reason not in RECOVERABLE:
            return False
        now = self._now()
        state.rooms, state.data, state.socket = rooms, state.socket.data, None
        state.until = now + self._server.settings.max_disconnection_duration
        self._away[state.pid] = state
        self._make_room(now)
        return True

    def _make_room(self, now: float) -> None:
        """Forget who stayed away too long, and of too many the first to leave."""
        while self._away:
            oldest = next(iter(self._away.values()))
            if oldest.until >= now:
                if len(self._away) <= self._server.settings.recovery_states:
                    return
                self._server.stats.states_dropped += 1
            del self._away[oldest.pid]

    # ---- when it comes back

    def make_way(self, namespace: str, auth: dict[str, Any] | None) -> None:
        """A client may be back before the loss of its connection was noticed: then that one ends now."""
        state = self._here.get(_pid(auth))
        if state is not None and state.socket is not None and state.namespace == namespace:
            state.socket.conn.close("transport close", abort=True)

    def claim(self, namespace: str, auth: dict[str, Any] | None) -> tuple[State, list[Said]] | None:
        """The state that a client asks for in its CONNECT, and what it missed. Give them to :meth:`resume` at once.

        A state is given once. ``None``: the client has none, or it is too late; it begins anew.
        """
        pid = _pid(auth)
        if not pid:
            return None
        state = self._away.get(pid)
        if state is not None and state.namespace == namespace:
            del self._away[pid]
            missed = self._missed(state, auth.get("offset") if auth else None)
            if missed is not None and self._now() <= state.until:
                self._server.stats.recovered += 1
                return state, missed
        self._server.stats.not_recovered += 1
        log.debug("a client came back, but too late: it begins anew")
        return None

    def _missed(self, state: State, offset: Any) -> list[Said] | None:
        if offset is None:  # it has not got any message yet
            since = state.since
        elif isinstance(offset, str) and offset.isascii() and offset.isdigit() and len(offset) <= MAX_DIGITS:
            since = max(int(offset), state.since)
        else:
            return None
        # Beyond its outbox a client would be cut off, only to come back and be cut off again.
        return self.history.since(since, state.namespace, state.rooms, self._server.settings.max_outbox // 2)

    def resume(self, state: State, missed: list[Said], socket: Socket) -> None:
        """Give a new socket the state of the one before. What it missed waits in front of all that comes now."""
        self._here[state.pid] = state
        state.socket = socket
        socket.data = state.data
        namespace = socket.namespace
        namespace.enter(socket)
        for room in state.rooms - {socket.id}:
            with contextlib.suppress(RoomRefused):  # it has become another socket's id
                namespace.put(socket, room)
        for said in missed:
            namespace.ticker.send(socket, said.text, said.attachments)


def _pid(auth: dict[str, Any] | None) -> str:
    """The secret that a client shows; empty if it shows none."""
    pid = auth.get("pid") if auth else None
    return pid if isinstance(pid, str) else ""
