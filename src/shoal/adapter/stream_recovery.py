"""A namespace whose clients come back to any node, over a broker that keeps every broadcast.

Who comes back shows its secret and the offset of the last event that it got. One script of the broker takes its state
for this node and reads what the logs of its rooms have behind that offset. The answer comes in line with the messages:
what was published before is in it, what comes after it was published later. So in the step in which it comes the client
is put into its rooms and given what it missed: nothing twice, nothing lost, and no clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from ..bus.redis_scripts import CLAIM
from ..cluster.log_link import BEHIND_ALL, Entry, LogLink, Position
from ..cluster.messages import channel_of, reply_channel
from ..engine.ids import tag_of
from ..errors import BrokerError
from ..handlers.registry import Handlers
from .context import Context
from .recovery import pid_of
from .sockets import ClientState, LocalSocket, Selection
from .stream_state import StreamState
from .stream_states import StreamStates
from .streams import StreamsAdapter, position_of

__all__ = ["RecoveringStreamsAdapter"]

log: Final = logging.getLogger("shoal.server")

S = TypeVar("S", bound=LocalSocket)

CLAIM_ATTEMPTS: Final = 3  # each may find rooms that have to be subscribed first
LINK_TIMEOUT: Final = 20.0  # seconds that a returning client waits for the broker: the official client gives up then


class RecoveringStreamsAdapter(StreamsAdapter):
    """As :class:`.streams.StreamsAdapter`, and clients may come back.

    Args:
        states: Of this node's clients.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        handlers: Handlers,
        on_empty: Callable[[], None],
        link: LogLink,
        states: StreamStates,
    ) -> None:
        super().__init__(context, name, handlers, on_empty, link)
        self._states = states

    # ---- rooms

    def add(self, socket: LocalSocket, room: str) -> bool:
        is_confirmed = super().add(socket, room)
        state = self._states.of(socket)
        if state is not None and room != socket.id and room not in state.rooms:
            state.rooms[room] = self._log_link.log_bus.last
            state.save()
        return is_confirmed

    def delete(self, socket: LocalSocket, room: str) -> None:
        super().delete(socket, room)
        state = self._states.of(socket)
        if state is not None and state.rooms.pop(room, None) is not None:
            state.save()

    def is_foreign_id(self, room: str) -> bool:
        return super().is_foreign_id(room) or self._states.is_away(room)

    async def here(self, kind: str, selection: Selection, argument: Any, timeout: float) -> Any:
        """As in :class:`.base.Adapter`; orders reach those who are away, too."""
        result = await super().here(kind, selection, argument, timeout)
        if kind in ("leave", "disconnect"):
            for state in self._states.away_from(self.name, *selection):
                if kind == "leave":
                    state.leave_rooms(argument)
                else:
                    state.forget()
        return result

    # ---- clients that come back

    def begin(self, socket: LocalSocket) -> ClientState:
        return self._states.begin(socket, self)

    def end_previous(self, auth: dict[str, Any] | None) -> bool:
        state = self._states.find(pid_of(auth))
        if state is None or state.socket is None or state.sender.name != self.name:
            return False
        state.socket.connection_lost()
        return True

    async def restore(self, auth: dict[str, Any] | None, limit: int, make: Callable[[ClientState], S]) -> S | None:
        """As in :class:`.base.Adapter`.

        Raises:
            BrokerError: The broker, which alone knows of the client, cannot be asked now.
        """
        pid = pid_of(auth)
        if not pid or auth is None:
            return None
        await self._link_is_up()
        offset = self.parse_offset(auth.get("offset"))
        opened: list[str] = []
        async with self._states.turn:
            try:
                for _ in range(CLAIM_ATTEMPTS):
                    answer, socket = await self._claim(pid, offset, limit, make, opened)
                    if socket is not None:
                        return socket
                    if answer is None:
                        break
            finally:
                for room in opened:
                    self._link.close_room(self.name, room)
        self.context.stats.not_recovered += 1
        return None

    async def _link_is_up(self) -> None:
        try:
            async with asyncio.timeout(LINK_TIMEOUT):
                while not self._link.up:  # noqa: ASYNC110 - few wait here, and rarely
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BrokerError("the broker cannot be asked what a client comes back to") from None

    async def _claim(
        self, pid: str, offset: Position | None, limit: int, make: Callable[[ClientState], S], opened: list[str]
    ) -> tuple[StreamState | None, S | None]:
        """Ask for a client's state and what it missed, and bring it back in the step in which the answer comes.

        A room that was not subscribed before this was sent is opened, and the state asked for again: it is this node's
        then. That another client has opened it meanwhile is not enough.
        """
        bus, states = self._log_link.log_bus, self._states
        await bus.settled(LINK_TIMEOUT)  # of very many rooms at once some would be subscribed behind what follows
        result: asyncio.Future[tuple[StreamState | None, S | None]] = asyncio.get_running_loop().create_future()

        def answer(reply: Any) -> None:
            if result.done():
                return  # the server ends
            try:
                result.set_result(self._take_claimed(pid, offset, reply, make, opened, late))
            except Exception as error:  # noqa: BLE001 - it belongs to the coroutine that waits
                result.set_exception(error)

        number = b"%d" % (offset[0] if offset is not None else 0)
        epoch = bus.epoch.encode() if offset is not None else b"-"
        arguments: list[bytes | int] = [
            pid.encode("utf-8", "replace"),
            tag_of(pid).encode("utf-8", "replace"),
            self.context.tag.encode(),
            states.key_prefix,
            bus.options.logs,
            bus.options.length,
            max(0, min(limit, self.context.settings.max_replay)),
            epoch,
            number,
            self.name.encode("utf-8", "surrogatepass"),
            states.lifetime,
            reply_channel(self._link.prefix, "").encode(),
            self._log_link.claimed_payload(pid),
        ]
        with self._log_link.watch() as late:
            bus.run(CLAIM, (bus.options.counter, states.moved_key), arguments, answer)
            return await result

    def _take_claimed(
        self,
        pid: str,
        offset: Position | None,
        reply: Any,
        make: Callable[[ClientState], S],
        opened: list[str],
        late: set[str],
    ) -> tuple[StreamState | None, S | None]:
        states = self._states
        if isinstance(reply, BrokerError):
            raise reply
        why, *rest = reply
        if why != b"ok":
            log.debug("a client came back, but to nothing (%s): it begins anew", why.decode())
            if rest:
                states.could_not_come_back(rest[0])
            return None, None
        state = states.claimed_here(pid, self, rest[0])
        missing = [
            room
            for room in (*state.rooms, state.sid)
            if channel_of(self._link.prefix, self.name, (room,)) in late
            or (room not in opened and not self._link.is_open(self.name, room))
        ]
        if missing:
            states.keep(state)
            for room in missing:
                self._link.open_room(self.name, room)
                opened.append(room)
            return state, None
        missed = self._missed(state, offset, self._log_link.entries(rest[1]))
        state.replayed = sum([len(each.broadcast.text) + sum(map(len, each.broadcast.attachments)) for each in missed])
        socket = make(state)
        states.resume(state, socket)
        self.context.stats.recovered += 1
        self._enter_again(state, socket, missed)
        return state, socket

    def _enter_again(self, state: StreamState, socket: LocalSocket, missed: list[Entry]) -> None:
        """Into its rooms, and what it missed in front of all that comes now, before any listener hears of it."""
        rooms = list(state.rooms)
        self.enter(socket)
        created = {room for room in rooms if self.rooms.join(socket, room)}
        for room in created:
            self.room_created(room)
        for entry in missed:
            broadcast = entry.broadcast
            position = (entry.number, entry.place)
            self.context.ticker.send(socket, *self.numbered(position, broadcast.text, broadcast.attachments))
        for room in rooms:
            if room in created:
                self.notify("create_room", room)
            if room in socket.joined:
                self.notify("join_room", room, socket.id)

    def _missed(self, state: StreamState, offset: Position | None, entries: Iterable[Entry]) -> list[Entry]:
        after: Position = (state.since, BEHIND_ALL)
        if offset is not None and offset > after:
            after = offset
        rooms = {*state.rooms, state.sid}
        return [
            entry
            for entry in sorted(_unique(entries), key=position_of)
            if (entry.number, entry.place) > after and self._was_for(state, rooms, entry)
        ]

    def _was_for(self, state: StreamState, rooms: set[str], entry: Entry) -> bool:
        broadcast = entry.broadcast
        if broadcast.namespace != self.name or not rooms.isdisjoint(broadcast.excluded):
            return False
        return not broadcast.rooms or any(
            room in rooms and entry.number > state.rooms.get(room, 0) for room in broadcast.rooms
        )


def _unique(entries: Iterable[Entry]) -> Iterable[Entry]:
    """One of each position: a broadcast may stand in several logs."""
    seen: set[Position] = set()
    for entry in entries:
        if (entry.number, entry.place) not in seen:
            seen.add((entry.number, entry.place))
            yield entry
