"""A namespace on several nodes, over a bus that brings a message at most once: Redis Pub/Sub, and memory in tests.

The sockets of this node get a broadcast at once, those of others when the broker has brought it. It travels encoded: a
node that receives it filters by room and writes bytes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

from ..cluster.link import Link
from ..cluster.messages import Broadcast
from ..errors import ConfigurationError, SocketProtocolError
from ..handlers.registry import Handlers
from ..protocol.socketio import EVENT
from .base import Adapter
from .context import Context
from .sockets import Answers, Selection

__all__ = ["PubSubAdapter"]

log: Final = logging.getLogger("shoal.server")


class PubSubAdapter(Adapter):
    """As :class:`.base.Adapter`, and the same on all other nodes.

    Args:
        link: This node's, to the others.
    """

    def __init__(
        self, context: Context, name: str, handlers: Handlers, on_empty: Callable[[], None], link: Link
    ) -> None:
        super().__init__(context, name, handlers, on_empty)
        self._link = link
        link.open_namespace(name)

    def close(self) -> None:
        self._link.close_namespace(self.name)

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
        text, attachments = self.encode(event, args)
        self.context.ticker.broadcast(self.rooms, rooms, excluded, text, attachments, volatile)
        if not local and not (len(rooms) == 1 and rooms[0] in self.rooms.by_id):
            self._link.publish(Broadcast(self.name, rooms, excluded, text, attachments, volatile))
        if self.outgoing:
            self.notify_outgoing(event, args, rooms, excluded)

    async def broadcast_confirmed(
        self, event: str, args: tuple[Any, ...], selection: Selection, timeout: float
    ) -> None:
        raise ConfigurationError(f"broker {self.context.settings.broker!r} confirms nothing: use redis+streams://")

    def deliver(self, broadcast: Broadcast) -> None:
        """Another node's broadcast has come."""
        if self.outgoing:
            self._notify_of(broadcast)
        self.context.ticker.broadcast(
            self.rooms,
            broadcast.rooms,
            broadcast.excluded,
            broadcast.text,
            broadcast.attachments,
            broadcast.volatile,
        )

    def _notify_of(self, broadcast: Broadcast) -> None:
        """Open another node's broadcast for those who listen to what goes out, and for no other."""
        try:
            packet = self.context.codec.decode(broadcast.text, broadcast.attachments)
        except SocketProtocolError as error:  # a server may send what exceeds the bounds of what its clients may
            log.debug("another node's broadcast is not shown to listeners of what goes out: %s", error)
            return
        if packet is not None and packet.type is EVENT:
            self.notify_outgoing(packet.data[0], packet.data[1:], broadcast.rooms, broadcast.excluded)

    # ---- rooms

    def is_foreign_id(self, room: str) -> bool:
        return self._link.is_elsewhere(room)

    def is_confirmed(self, room: str) -> bool:
        return self._link.is_confirmed(self.name, room)

    async def confirm(self, rooms: list[str]) -> None:
        await self._link.confirm(self.name, rooms, self.context.settings.subscribe_timeout)

    def room_created(self, room: str) -> None:
        self._link.open_room(self.name, room)

    def room_deleted(self, room: str) -> None:
        self._link.close_room(self.name, room)

    # ---- questions

    async def _everywhere(
        self, kind: str, selection: Selection, argument: Any, local: bool, timeout: float
    ) -> tuple[Any, list[Any], list[str]]:
        work = self.here(kind, selection, argument, timeout)
        if local or self.is_here(selection[0]):
            return await work, [], []
        question = self._link.requests.ask(kind, [(self.name, *selection), argument], timeout)
        here, replies = await asyncio.gather(work, question)
        return here, [body for _, body in replies.bodies], replies.missing

    def server_side_emit(self, event: str, args: tuple[Any, ...]) -> None:
        self._link.requests.notify("server_side", [self.name, event, list(args)])

    async def server_side_call(self, event: str, args: tuple[Any, ...], timeout: float) -> Answers:
        replies = await self._link.requests.ask("server_side", [self.name, event, list(args)], timeout)
        return Answers([body for _, body in replies.bodies], replies.missing)

    async def answer_server(self, event: str, args: list[Any]) -> Any:
        """Another server has sent an event: the first answer of its handlers that is one."""
        for handler in self.handlers.server_side.get(event):
            result = handler.function(*handler.convert(args))
            result = await result if inspect.isawaitable(result) else result
            if result is not None:
                return result
        return None
