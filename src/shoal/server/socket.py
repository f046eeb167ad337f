"""One client in one namespace: what handlers get as ``socket``.

It speaks for its client: emits, calls, rooms. How it comes and goes is :mod:`.lifecycle`'s subject, how its events are
handled :mod:`.inbox`'s; how packets look and how bytes travel is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import Any, TypeVar

from ..adapter.base import Adapter
from ..adapter.sockets import ClientState
from ..engine.connection import Connection
from ..errors import AckTimeout
from ..handlers.listeners import Listening
from ..handlers.registry import Handlers
from ..protocol.socketio import DISCONNECT
from .awaitables import DONE, SENT, Later
from .broadcast import Broadcast, NamespaceBase, move_emit
from .lifecycle import Lifecycle, Owner
from .remote import room_names

__all__ = ["Socket"]

F = TypeVar("F", bound=Callable[..., Any])


class Socket(Lifecycle):
    """A client in a namespace.

    Attributes:
        id: Public id, 20 characters; a room of its own.
        connected: Whether it was accepted and has not left.
        handshake: How the client came in: headers, query, auth, address.
        namespace: Where it is.
        recovered: Whether its state was restored after a lost connection.
    """

    __slots__ = ("namespace",)

    def __init__(
        self,
        namespace: NamespaceBase,
        adapter: Adapter,
        handlers: Handlers,
        owner: Owner,
        sid: str,
        auth: dict[str, Any] | None,
        state: ClientState | None = None,
    ) -> None:
        super().__init__(adapter, handlers, owner, sid, auth, state)
        self.namespace: NamespaceBase = namespace

    def __dir__(self) -> list[str]:
        """What applications use; the rest is this package's own business."""
        names = {*vars(Socket), *vars(Listening), "connected", "handshake", "id", "recovered", "rooms"}
        return sorted(name for name in names if not name.startswith("_"))

    def __repr__(self) -> str:
        return f"<socket {self.id} in {self._adapter.name}>"

    # ---- what it is

    @property
    def conn(self) -> Connection:
        """The connection below: ``transport``, ``buffered``."""
        return self._connection

    @property
    def data(self) -> Any:
        """A place for the application's own: a dict, unless something else is put here."""
        if self._data is None:
            self._data = {} if self._state is None else self._state.track({})
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if self._state is not None:
            value = self._state.track(value)
            self._data = value
            if self._gone is not None:
                self._state.data = value
            self._state.save()
        else:
            self._data = value

    def save(self) -> None:
        """Keep ``data`` as it is now, for when the client comes back.

        What is set in ``data`` itself is kept by itself; call this after a change deeper in it. It matters with
        ``redis+streams://`` only, where a client may come back to another node.
        """
        if self._state is not None:
            self._state.save()

    # ---- out

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to this client. Never waits; after it has left, nothing happens.

        May be called from any thread; what one thread emits comes in its order.

        Raises:
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        adapter = self._adapter
        if get_ident() != adapter.home.thread and move_emit(adapter, self.emit, event, args):
            return SENT
        if self._gone is not None and self._state is not None:
            self._state.emit(event, args)
            return SENT
        if self._listeners is not None:
            self.notify_outgoing(event, args)
        text, attachments = adapter.encode(event, args)
        if self._gone is None:
            adapter.emit(self, text, attachments)
        return SENT

    def send(self, *args: Any) -> None:
        """Emit the event ``message``."""
        self.emit("message", *args)
        return SENT

    @property
    def volatile(self) -> Broadcast:
        """Emit to this client, unless it cannot take the event right now."""
        return Broadcast(self._adapter, (self.id,), volatile=True)

    def compress(self, compress: bool = True) -> Socket:
        """Accepted for likeness with Node; compression is an option of the server, per connection."""
        return self

    async def call(self, event: str, *args: Any, timeout: float = 5.0) -> Any:
        """Emit an event and wait for the client's acknowledgement.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait.

        Returns:
            What the client acknowledged with: ``None``, one value, or a tuple of several.

        Raises:
            AckTimeout: The client did not answer in time.
            NotConnected: It has left, or has not been accepted yet.
            PayloadError: As for :meth:`emit`.
        """
        future, ack_id = self.expect_ack()
        try:
            if self._listeners is not None:
                self.notify_outgoing(event, args)
            self._context.ticker.send(self, *self._adapter.encode(event, args, ack_id))
            async with asyncio.timeout(timeout) as deadline:
                return await future
        except TimeoutError:
            if not deadline.expired():
                raise
            raise AckTimeout(event, timeout) from None
        finally:
            self.forget_ack(ack_id)

    @property
    def broadcast(self) -> Broadcast:
        """Every socket of the namespace but this one."""
        return Broadcast(self._adapter, excluded=(self.id,))

    def to(self, *rooms: str) -> Broadcast:
        """Sockets in these rooms, but this one."""
        return self.broadcast.to(*rooms)

    in_ = to

    def except_(self, *rooms: str) -> Broadcast:
        """Every socket but this one and those in these rooms."""
        return self.broadcast.except_(*rooms)

    @property
    def local(self) -> Broadcast:
        """Every other socket of this node."""
        return self.broadcast.local

    # ---- rooms

    def join(self, *rooms: str) -> Awaitable[None]:
        """Join rooms. It is done when this returns; await the result to know that other nodes' messages come too.

        May be called from any thread, and is then done soon.

        Raises:
            RoomRefused: Too many rooms, or one has the name of another socket's id.
        """
        if self._moved(self.join, *rooms) or self._gone is not None:
            return DONE
        unconfirmed = [room for room in room_names(rooms) if not self._adapter.add(self, room)]
        if not unconfirmed:
            return DONE
        return Later(lambda: self._adapter.confirm(unconfirmed))

    def leave(self, *rooms: str) -> Awaitable[None]:
        """Leave rooms. It is done when this returns; from another thread, soon."""
        if self._moved(self.leave, *rooms):
            return DONE
        names = room_names(rooms)
        for room in names:
            self._adapter.delete(self, room)
        if self._gone is not None and self._state is not None:
            self._state.leave_rooms(names)
        return DONE

    def disconnect(self, close: bool = False) -> Awaitable[None]:
        """End the client's stay in the namespace. It is done when this returns, but for the disconnect handler.

        Args:
            close: Close the connection below too, with the client's sockets in other namespaces.

        May be called from any thread, and is then done soon.
        """
        if self._moved(self.disconnect, close):
            return DONE
        if close:
            self._owner.disconnect()
        elif self._gone is None:
            self._adapter.before_disconnect(self)
            self._send_packet(DISCONNECT, None)
            self.closed("server namespace disconnect")
        if self._gone is not None and self._state is not None:
            self._state.forget()
        return DONE

    def _moved(self, function: Callable[..., object], *args: Any) -> bool:
        """Whether this is another thread than the loop's, and the call is on its way there."""
        home = self._adapter.home
        return get_ident() != home.thread and home.move(function, *args)

    def on_any_outgoing(self, function: F) -> F:
        """Call ``function(event, *args)``, a plain function, for each event to this socket, alone or among many."""
        if self._gone is None:
            self._adapter.outgoing.add(self)
        return self._own_listeners().on_any_outgoing(function)
