"""What clients come back to, kept with the broker: written when it changes, so that no end of a node can lose it.

A state lies in a hash of its node's, under the client's secret. The node keeps the hash alive; that of a node which was
killed lives on for as long as a client may stay away, and then one of the others takes what is left. A client that
comes back takes its state out of whichever hash has it, in one step of the broker. What a namespace does with it is
:mod:`.streams`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..bus.redis_scripts import DROP, HEARTBEAT, SAVE
from ..cluster.log_link import LogLink
from ..engine.ids import new_session_id, tag_of
from ..errors import BrokerError
from .context import Context
from .recovery import RECOVERABLE
from .sockets import LocalSocket
from .stream_state import ExpiredState, Sender, StreamState, expired_states, unpack_state

__all__ = ["StreamStates"]

log: Final = logging.getLogger("shoal.server")

HEARTBEAT_INTERVAL: Final = 2.0
LEASE: Final = 3 * HEARTBEAT_INTERVAL  # a node that misses three is taken for dead
# Clients that come back to a node at one time. What they missed comes in line with live messages, which wait for it;
# of many at once it would exceed what the broker lets wait for a subscriber (32 MB), and end the link: so it went with
# 2,000 clients that had each missed 160 KB. Of eight it is at most eight times `max_replay`.
AT_ONE_TIME: Final = 8
GRACE: Final = 60.0  # seconds that a hash outlives its last client's time, for the others to find it


class StreamStates:
    """The states of this node's clients, of those that are here and of those that may come back.

    Args:
        context: Of the server.
        link: To the broker.
        on_expired: Takes the states that nobody has claimed in time.
    """

    def __init__(self, context: Context, link: LogLink, on_expired: Callable[[list[ExpiredState]], None]) -> None:
        self._context = context
        self._link = link
        self._on_expired = on_expired
        self._here: dict[str, StreamState] = {}
        self._away: dict[str, StreamState] = {}
        """In the order in which they left."""
        self._away_ids: set[str] = set()
        self._by_socket: dict[LocalSocket, StreamState] = {}
        self._leaving: dict[LocalSocket, asyncio.Future[None]] = {}
        self._changed: dict[StreamState, None] = {}
        self._to_drop: list[tuple[list[StreamState], Callable[[Any], None]]] = []
        """What the broker was not told, since the link was lost, and who takes its answer."""
        self._is_known = False
        """Whether the others know that this node lives."""
        self._beats_since = math.inf
        """Since when its heartbeats have come in time."""
        self._scheduled = False
        self._task: asyncio.Task[None] | None = None
        self.turn: asyncio.Semaphore = asyncio.Semaphore(AT_ONE_TIME)
        """Who comes back waits for its turn."""
        prefix = context.settings.channel_prefix
        self.key_prefix: bytes = f"{prefix}#states#".encode()
        self.own_key: bytes = self.key_prefix + context.tag.encode()
        self.moved_key: bytes = f"{prefix}#moved".encode()
        self._nodes_key = f"{prefix}#nodes".encode()

    @property
    def lifetime(self) -> int:
        """Milliseconds that the hash of a node outlives its last heartbeat."""
        return int((LEASE + self._context.settings.max_disconnection_duration + GRACE) * 1000)

    # ---- while a client is here

    def begin(self, socket: LocalSocket, sender: Sender) -> StreamState:
        """A new client has come."""
        pid = new_session_id(self._context.tag)
        state = StreamState(self, sender, pid, socket.id, self._link.log_bus.epoch, self._link.log_bus.last)
        state.socket = socket
        state.rooms = dict.fromkeys(socket.joined, state.since)
        self._here[pid] = self._by_socket[socket] = state
        self.changed(state)
        return state

    def of(self, socket: LocalSocket) -> StreamState | None:
        """The state of a socket that is here."""
        return self._by_socket.get(socket)

    def find(self, pid: str) -> StreamState | None:
        """The state of a client that is here."""
        return self._here.get(pid)

    def changed(self, state: StreamState) -> None:
        """Write a state at the end of this turn."""
        if state.pid not in self._here and state.pid not in self._away:
            state.release()
            return
        self._changed[state] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._save)

    def save_all(self) -> None:
        """The link is back: write everything, for what was not confirmed."""
        self._heartbeat(LEASE)  # in front: the others may have taken this node for dead
        to_drop, self._to_drop = self._to_drop, []
        for states, answer in to_drop:
            self._drop(states, answer)
        for state in (*self._here.values(), *self._away.values()):
            self.changed(state)

    def _save(self) -> None:
        self._scheduled = False
        changed, self._changed = self._changed, {}
        states = [state for state in changed if state.pid in self._here or state.pid in self._away]
        if not states or not self._link.up:  # else all are written when it is back
            return
        arguments: list[bytes | int] = [self._context.tag.encode(), self.lifetime]
        for state in states:
            arguments += [state.pid.encode(), tag_of(state.pid).encode(), int(state.is_new), state.pack()]

        def answer(reply: Any) -> None:
            if isinstance(reply, BrokerError):
                return
            for state in states:
                state.is_new = False
                state.release()
            for pid in reply:
                self.claimed_elsewhere(pid.decode())

        self._link.log_bus.run(SAVE, (self.own_key, self.moved_key, self._nodes_key), arguments, answer)

    # ---- when it leaves

    def leave(self, state: StreamState, socket: LocalSocket, reason: str) -> bool:
        """A client has left, or was refused. Returns whether it may come back."""
        self._by_socket.pop(socket, None)
        if state.socket is not socket or self._here.pop(state.pid, None) is None:
            return False
        state.data = socket.data
        state.socket = None
        if reason not in RECOVERABLE or not (socket.connected or socket.recovered):
            self._drop([state])
            return False
        state.previous_done = self._leaving[socket] = asyncio.get_running_loop().create_future()
        state.until = self._context.now() + self._context.settings.max_disconnection_duration
        self._away[state.pid] = state
        self._away_ids.add(state.sid)
        self.changed(state)
        if len(self._away) > self._context.settings.recovery_states:
            self._context.stats.states_dropped += 1
            self.forget(next(iter(self._away.values())))
        return True

    def handlers_done(self, socket: LocalSocket) -> None:
        """The disconnect handlers of a socket that left have run."""
        done = self._leaving.pop(socket, None)
        if done is not None and not done.done():
            done.set_result(None)

    def forget(self, state: StreamState) -> None:
        """A client that is away shall not come back."""
        if self._no_longer_away(state.pid) is not None:
            self._drop([state])

    def away_from(self, namespace: str, rooms: Iterable[str], excluded: Iterable[str]) -> list[StreamState]:
        """Clients of this node that are away, as a broadcast selects those that are here."""
        wanted, unwanted = frozenset(rooms), frozenset(excluded)
        return [
            state
            for state in self._away.values()
            if state.sender.name == namespace
            and (not wanted or not wanted.isdisjoint({*state.rooms, state.sid}))
            and unwanted.isdisjoint({*state.rooms, state.sid})
        ]

    def is_away(self, sid: str) -> bool:
        """Whether this is the id of a client of this node that may come back."""
        return sid in self._away_ids

    def _no_longer_away(self, pid: str) -> StreamState | None:
        state = self._away.pop(pid, None)
        if state is not None:
            self._away_ids.discard(state.sid)
        return state

    def _drop(self, states: list[StreamState], answer: Callable[[Any], None] = lambda reply: None) -> None:
        for state in states:
            state.release()

        def answered(reply: Any) -> None:
            if not isinstance(reply, BrokerError):
                answer(reply)
            elif known := [state for state in states if not state.is_new]:
                self._to_drop.append((known, answer))

        pids = [state.pid.encode() for state in states]
        self._link.log_bus.run(DROP, (self.own_key, self.moved_key), pids, answered)

    def claimed_elsewhere(self, pid: str) -> None:
        """A client's state is not this node's any more: its socket here, if there still is one, has ended."""
        self._no_longer_away(pid)
        state = self._here.pop(pid, None)
        if state is not None and state.socket is not None:
            socket, state.socket = state.socket, None
            self._by_socket.pop(socket, None)
            socket.connection_lost()

    # ---- when it comes back

    def claimed_here(self, pid: str, sender: Sender, value: bytes) -> StreamState:
        """A client's state is this node's now."""
        earlier = self._no_longer_away(pid)
        _, sid, rooms, data, epoch, since = unpack_state(value)
        state = StreamState(self, sender, pid, sid, epoch, since)
        state.rooms, state.data, state.is_new = rooms, data, False
        if earlier is not None:
            state.previous_done = earlier.previous_done
        return state

    def keep(self, state: StreamState) -> None:
        """What was claimed is not resumed yet: if it never is, it ends in time."""
        state.until = self._context.now() + self._context.settings.max_disconnection_duration
        self._away[state.pid] = state
        self._away_ids.add(state.sid)

    def could_not_come_back(self, value: bytes) -> None:
        """A client is back, and has to begin anew: nobody will claim this state any more."""
        self._on_expired(list(expired_states([value])))

    def resume(self, state: StreamState, socket: LocalSocket) -> None:
        """A client is back, with a new socket."""
        state.socket = socket
        self._here[state.pid] = self._by_socket[socket] = state

    # ---- time

    def start(self) -> None:
        """Keep this node's states alive from now on."""
        self.turn = asyncio.Semaphore(AT_ONE_TIME)  # of this loop
        self._is_known = False
        self._task = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Keep them alive no longer: they have their time from now on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self._save()
            self._heartbeat(0.0)
        self._here.clear()
        self._by_socket.clear()
        self._away_ids.clear()
        self._away.clear()
        self._changed.clear()
        self._to_drop.clear()

    async def _beat(self) -> None:
        while True:
            if self._link.up:
                self._heartbeat(LEASE)
                self._expire()
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    def _heartbeat(self, lease: float) -> None:
        away = int(self._context.settings.max_disconnection_duration * 1000)
        tag = self._context.tag.encode()
        # After an outage of the broker all are late: who is back first waits for the others.
        judges = self._context.now() - self._beats_since >= LEASE
        arguments = (tag, int(lease * 1000), away, self.lifetime, self.key_prefix, int(self._is_known), int(judges))
        keys = (self._nodes_key, self.own_key, self.moved_key)
        self._link.log_bus.run(HEARTBEAT, keys, arguments, self._took)

    def _took(self, reply: Any) -> None:
        """States of nodes that are gone; or this node was taken for one."""
        if isinstance(reply, BrokerError):
            self._beats_since = math.inf
        elif reply == b"dead":
            self._was_taken_for_dead()
        else:
            self._is_known = True
            if reply == b"late":
                self._beats_since = self._context.now()
            else:
                self._beats_since = min(self._beats_since, self._context.now())
                self._on_expired(list(expired_states(reply)))

    def _was_taken_for_dead(self) -> None:
        """It was cut off for longer than clients may be away: others have told that those of this node are gone."""
        sockets = [state.socket for state in self._here.values() if state.socket is not None]
        log.warning(
            "%s was taken for dead: %d clients are disconnected, and begin anew", self._context.node, len(sockets)
        )
        self.forget_all()
        for socket in sockets:
            socket.connection_lost()
        self._heartbeat(LEASE)

    def _expire(self) -> None:
        now = self._context.now()
        expired: dict[bytes, StreamState] = {}
        while self._away:
            pid, state = next(iter(self._away.items()))
            if state.until > now:
                break
            self._no_longer_away(pid)
            expired[pid.encode()] = state
        self._end(expired)

    def forget_all(self) -> None:
        """The link was away, and what was said meanwhile is lost: nobody can be told what it missed."""
        states = {state.pid.encode(): state for state in (*self._here.values(), *self._away.values())}
        for state in states.values():
            state.data = state.data if state.socket is None else state.socket.data
        self._is_known = False
        self._here.clear()
        self._away.clear()
        self._away_ids.clear()
        self._end(states)

    def _end(self, states: dict[bytes, StreamState]) -> None:
        """Nobody can claim these any more: tell the application of those that nobody has claimed."""
        if not states:
            return

        def answer(reply: Any) -> None:
            self._on_expired(
                [
                    ExpiredState(state.sender.name, state.sid, list(state.rooms), state.data)
                    for state in map(states.__getitem__, reply)
                ]
            )

        self._drop(list(states.values()), answer)
