"""A namespace on several nodes, over a broker that numbers every broadcast and keeps it: ``redis+streams://``.

The sockets of this node get a broadcast when the broker has brought it, as those of others do, at the same place among
all others. The number is the last argument of each event, put on where it is given to this node's connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from ..bus.redis_scripts import HISTORY
from ..cluster.log_link import Entry, LogLink, Position, confirmed, log_of
from ..cluster.messages import Broadcast
from ..engine.ids import tag_of
from ..errors import BrokerError, SocketProtocolError
from ..handlers.registry import Handlers
from ..protocol.socketio import EVENT
from .context import Context
from .pubsub import PubSubAdapter
from .sockets import HistoryEntry, LocalSocket, Selection

__all__ = ["StreamsAdapter", "position_of"]

log: Final = logging.getLogger("shoal.server")


MAX_DIGITS: Final = 15  # of a number in an offset: what Lua counts exactly


class StreamsAdapter(PubSubAdapter):
    """As :class:`.pubsub.PubSubAdapter`, with a log.

    Args:
        link: This node's, to the others and the logs.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        handlers: Handlers,
        on_empty: Callable[[], None],
        link: LogLink,
    ) -> None:
        super().__init__(context, name, handlers, on_empty, link)
        self._log_link = link
        self.emit: Callable[[LocalSocket, bytes, Sequence[bytes]], None] = self._emit

    # ---- events

    def broadcast(
        self,
        event: str,
        args: tuple[Any, ...],
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        local: bool = False,
        volatile: bool = False,
    ) -> None:
        broadcast = self._notified(event, args, rooms, excluded, volatile)
        if local:
            self._deliver_here(broadcast)
        elif volatile:
            self._link.publish(broadcast)
        else:
            self._log_link.append(broadcast, self.is_here(rooms))

    async def broadcast_confirmed(
        self, event: str, args: tuple[Any, ...], selection: Selection, timeout: float
    ) -> None:
        broadcast = self._notified(event, args, *selection, volatile=False)
        own = self.is_here(selection[0])
        await confirmed(lambda done: self._log_link.append(broadcast, own, done), event, timeout)

    def _notified(
        self, event: str, args: tuple[Any, ...], rooms: tuple[str, ...], excluded: tuple[str, ...], volatile: bool
    ) -> Broadcast:
        """A broadcast of which the listeners of outgoing events know."""
        text, attachments = self.encode(event, args)
        if self.outgoing:
            self.notify_outgoing(event, args, rooms, excluded)
        return Broadcast(self.name, rooms, excluded, text, attachments, volatile)

    def _emit(self, socket: LocalSocket, text: bytes, attachments: Sequence[bytes]) -> None:
        if self.rooms.by_id.get(socket.id) is socket:
            self._log_link.append(Broadcast(self.name, (socket.id,), (), text, attachments), own=True)
        else:  # in middleware: it has nothing to come back to yet
            self.context.ticker.send(socket, *self.numbered(self._log_link.position, text, attachments))

    def _offset(self, position: Position) -> bytes:
        return b"%b.%d.%d" % (self._log_link.log_bus.epoch.encode(), *position)

    def numbered(self, position: Position, text: bytes, attachments: Sequence[bytes]) -> tuple[bytes, Sequence[bytes]]:
        return self.context.codec.append(self.name, text, attachments, self._offset(position))

    def _deliver_here(self, broadcast: Broadcast, position: Position | None = None) -> None:
        number = self._log_link.position if position is None else position
        text, attachments = self.numbered(number, broadcast.text, broadcast.attachments)
        self.context.ticker.broadcast(
            self.rooms, broadcast.rooms, broadcast.excluded, text, attachments, broadcast.volatile
        )

    def deliver(self, broadcast: Broadcast) -> None:
        """A volatile broadcast has come, maybe this node's own."""
        self._deliver_here(broadcast)

    def deliver_entry(self, entry: Entry, is_own: bool) -> None:
        """A broadcast has come from the broker."""
        if self.outgoing and not is_own:
            self._notify_of(entry.broadcast)
        self._deliver_here(entry.broadcast, (entry.number, entry.place))

    # ---- rooms

    def enter(self, socket: LocalSocket) -> None:
        is_entered = self.rooms.by_id.get(socket.id) is socket  # one that is back was entered with what it missed
        super().enter(socket)
        if not is_entered and tag_of(socket.id) != self.context.tag:  # it came from another node, with its id
            self._link.open_room(self.name, socket.id)

    def delete(self, socket: LocalSocket, room: str) -> None:
        if room in socket.joined:
            self._deliver_pending(socket, leaves=room)
        super().delete(socket, room)

    def delete_all(self, socket: LocalSocket) -> None:
        is_entered = self.rooms.by_id.get(socket.id) is socket
        super().delete_all(socket)
        if is_entered and tag_of(socket.id) != self.context.tag:
            self._link.close_room(self.name, socket.id)

    def before_disconnect(self, socket: LocalSocket) -> None:
        self._deliver_pending(socket)

    def _deliver_pending(self, socket: LocalSocket, leaves: str | None = None) -> None:
        """What this node has sent to a socket, and the broker not brought back, before it leaves and would miss it."""
        if self.rooms.by_id.get(socket.id) is not socket:
            return
        for broadcast in self._log_link.pending():
            if broadcast.namespace != self.name or not _is_for(broadcast, {*socket.joined, socket.id}):
                continue
            if leaves is None or not _is_for(broadcast, {*socket.joined, socket.id} - {leaves}):
                text, attachments = self.numbered(self._log_link.position, broadcast.text, broadcast.attachments)
                self.context.ticker.send(socket, text, attachments)

    def end_members(self, log_names: Collection[str] | None) -> int:
        """End the connections of those who may have missed something of these logs (``None``: of any)."""
        if log_names is None or log_of(self.name, ()) in log_names:
            members = list(self.rooms.everyone)
        else:
            rooms = [*self.rooms.names(), *self.rooms.by_id]
            chosen = tuple(room for room in rooms if log_of(self.name, (room,)) in log_names)
            members = list(self.rooms.select(chosen, ())) if chosen else []
        for socket in members:
            socket.connection_lost()
        return len(members)

    def log_names(self) -> Iterable[str]:
        """The logs that this node's sockets must not miss anything of."""
        yield log_of(self.name, ())
        for room in (*self.rooms.names(), *self.rooms.by_id):
            yield log_of(self.name, (room,))

    # ---- history

    async def history(self, room: str | None, since: str | None, limit: int) -> list[HistoryEntry]:
        after = self.parse_offset(since)
        if since is not None and after is None:
            return []  # of another epoch
        rooms = () if room is None else (room,)
        count = limit + 1
        while True:
            # The log of everyone has what was for several rooms, too, which is not to be told to everyone.
            size, entries = await self._read(log_of(self.name, rooms), after, count)
            wanted = [
                entry for entry in entries if entry.broadcast.rooms == rooms and entry.broadcast.namespace == self.name
            ]
            if len(wanted) >= limit or size < count:
                break
            count *= 4
        wanted = wanted[-limit:] if after is None else wanted[:limit]
        return [found for found in map(self._as_history, wanted) if found is not None]

    async def _read(self, log_name: str, after: Position | None, count: int) -> tuple[int, list[Entry]]:
        """How many messages of a log were found, and their broadcasts in order: the newest, or those behind one."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        options = self._log_link.log_bus.options
        key = options.logs + log_name.encode("utf-8", "surrogatepass")
        number = b"" if after is None else b"%d" % after[0]
        self._log_link.log_bus.run(HISTORY, (options.counter,), (key, number, count), answer_to(answered))
        answer = await answered
        if isinstance(answer, BrokerError):
            raise answer
        entries = sorted(self._log_link.entries(answer[1]), key=position_of)
        return len(answer[1]) // 2, [e for e in entries if after is None or (e.number, e.place) > after]

    def _as_history(self, entry: Entry) -> HistoryEntry | None:
        try:
            packet = self.context.codec.decode(entry.broadcast.text, entry.broadcast.attachments)
        except SocketProtocolError:
            return None
        if packet is None or packet.type is not EVENT:
            return None
        offset = self._offset((entry.number, entry.place)).decode()
        return HistoryEntry(offset, packet.data[0], tuple(packet.data[1:]))

    def parse_offset(self, offset: Any) -> Position | None:
        """The position that a client shows, if it belongs to this epoch."""
        if not isinstance(offset, str):
            return None
        epoch, *digits = offset.split(".")
        is_number = len(digits) == 2 and all(
            part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS for part in digits
        )
        return (int(digits[0]), int(digits[1])) if is_number and epoch == self._log_link.log_bus.epoch else None


def answer_to(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    """Takes the broker's answer for one who may have given up."""

    def answer(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    return answer


def position_of(entry: Entry) -> Position:
    return entry.number, entry.place


def _is_for(broadcast: Broadcast, rooms: set[str]) -> bool:
    """Whether a broadcast goes to a member of these rooms, its own id among them."""
    if not rooms.isdisjoint(broadcast.excluded):
        return False
    return not broadcast.rooms or not rooms.isdisjoint(broadcast.rooms)
