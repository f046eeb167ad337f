"""One client in one namespace: what handlers get as ``socket``.

It speaks for its client: emits, rooms, calls, and the client's coming and going. Until its connect handler has accepted
it, a socket's way out is an outbox of its own, which follows the CONNECT reply. How its events are handled is
:mod:`.inbox`'s business; how packets look and how bytes travel is not known here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ..engine.base import is_cancelled
from ..errors import AckTimeout, ConnectionRefused, NotConnected
from ..fanout.outbox import Outbox
from ..protocol.socketio import CONNECT, DISCONNECT
from .awaitables import DONE, Later
from .broadcast import Broadcast, room_names
from .ears import tell_one
from .handlers import NO_HANDLERS
from .handshake import Handshake
from .hooks import in_line
from .inbox import GOODBYE, Inbox, ignore

if TYPE_CHECKING:
    from ..engine.connection import Connection
    from .client import Client
    from .namespace import Namespace
    from .recovery import State

__all__ = ["Socket"]

log = logging.getLogger("shoal.server")

INTERNAL_ERROR: Final = "internal error"
NOWHERE: Final[frozenset[str]] = frozenset()
# Reasons of the server's own: what such a client had sent before is not handled any more, as in Node's server.
SENT_AWAY: Final = frozenset({"server namespace disconnect", "forced server close"})
# Seconds that a client which came back waits for the disconnect handlers of its socket before.
GOODBYE_TIMEOUT: Final = 5.0


class Socket(Inbox):
    """A client in a namespace.

    Attributes:
        id: Public id, 20 characters; a room of its own.
        connected: Whether it was accepted and has not left.
        handshake: How the client came in: headers, query, auth, address.
        recovered: Whether its state was restored after a lost connection.
    """

    __slots__ = ("__weakref__", "_data", "_left", "_next_ack", "_state", "handshake", "recovered")

    def __init__(
        self,
        client: Client,
        namespace: Namespace,
        sid: str,
        auth: dict[str, Any] | None,
        state: State | None = None,
    ) -> None:
        super().__init__(client, namespace, sid)
        self.handshake = Handshake(client.connection, auth)
        self._state = state
        """What it may come back to, if recovery is on; one that has come back has it from the beginning."""
        self.recovered = state is not None
        self.joined: set[str] = set()
        self.outbox = Outbox(client.connection.outbox.rules, client.connection)
        self._data: Any = None
        self._next_ack = 0
        self._left = NOWHERE
        """The rooms that it was in when it left, for its ``disconnecting`` handler."""

    def __repr__(self) -> str:
        return f"<socket {self.id} in {self.namespace.name}>"

    # ---- what it is

    @property
    def conn(self) -> Connection:
        """The connection below: ``transport``, ``buffered``."""
        return self._client.connection

    @property
    def rooms(self) -> set[str]:
        """The rooms it is in, its own id among them. A copy."""
        return {self.id, *self.joined} if self._gone is None else set(self._left)

    @property
    def data(self) -> Any:
        """A place for the application's own: a dict, unless something else is put here."""
        if self._data is None:
            self._data = {}
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value
        if self._state is not None and self._gone is not None:
            self._state.data = value

    # ---- out

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to this client. Never waits; after it has left, nothing happens.

        Raises:
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        if self._state is not None:
            self._state.recovery.tell(self._state, self.namespace, event, args)
            return
        if self._hooks is not None:
            tell_one(self, event, args)
        text, attachments = self.namespace.encode_event(event, args)
        if self._gone is None:
            self.namespace.ticker.send(self, text, attachments)

    def send(self, *args: Any) -> None:
        """Emit the event ``message``."""
        self.emit("message", *args)

    @property
    def volatile(self) -> Broadcast:
        """Emit to this client, unless it cannot take the event right now."""
        return Broadcast(self.namespace, (self.id,), volatile=True)

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
            if self._hooks is not None:
                tell_one(self, event, args)
            text, attachments = self.namespace.encode_event(event, args, ack_id)
            self.namespace.ticker.send(self, text, attachments)
            async with asyncio.timeout(timeout) as deadline:
                return await future
        except TimeoutError:
            if not deadline.expired():
                raise
            raise AckTimeout(event, timeout) from None
        finally:
            self.forget_ack(ack_id)

    def expect_ack(self) -> tuple[asyncio.Future[Any], int]:
        """A future for the next acknowledgement, and the id that asks for it. Give the id to :meth:`forget_ack`.

        Raises:
            NotConnected: The client has left, or has not been accepted yet.
        """
        if not self.connected:
            raise NotConnected(f"socket {self.id} is not connected")
        if self._acks is None:
            self._acks = {}
        ack_id = self._next_ack
        self._next_ack += 1
        future = self._acks[ack_id] = asyncio.get_running_loop().create_future()
        return future, ack_id

    def forget_ack(self, ack_id: int) -> None:
        """Stop waiting for an acknowledgement."""
        if self._acks is not None and (future := self._acks.pop(ack_id, None)) is not None:
            future.cancel()

    @property
    def broadcast(self) -> Broadcast:
        """Every socket of the namespace but this one."""
        return Broadcast(self.namespace, excluded=(self.id,))

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

        Raises:
            RoomRefused: Too many rooms, or one has the name of another socket's id.
        """
        if self._gone is not None:
            return DONE
        unconfirmed = [room for room in room_names(rooms) if not self.namespace.put(self, room)]
        if not unconfirmed:
            return DONE
        return Later(lambda: self.namespace.confirm(unconfirmed))

    def leave(self, *rooms: str) -> Awaitable[None]:
        """Leave rooms. It is done when this returns."""
        names = room_names(rooms)
        for room in names:
            self.namespace.take(self, room)
        if self._gone is not None and self._state is not None:
            self._state.recovery.change_rooms(self._state, self._state.rooms.difference(names))
        return DONE

    def disconnect(self, close: bool = False) -> Awaitable[None]:
        """Send the client away. It is done when this returns, but for the disconnect handler.

        Args:
            close: Close the connection below too, with the client's sockets in other namespaces.
        """
        if close:
            self._client.disconnect()
        elif self._gone is None:
            self._send_packet(DISCONNECT, None)
            self.closed("server namespace disconnect")
        if self._gone is not None and self._state is not None:
            self._state.recovery.forget(self._state)
        return DONE

    def on_any_outgoing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Call ``function(event, *args)``, a plain function, for each event to this socket, alone or among many."""
        if self._gone is None:
            self.namespace.ears.add(self)
        return self._own_hooks().on_any_outgoing(function)

    # ---- coming and going

    async def accept(self) -> None:
        """Ask middleware and connect handlers; then answer CONNECT, or refuse."""
        namespace = self.namespace
        accepted = False
        if self._state is not None and self._state.farewell is not None:
            # The handlers of the socket before may be at work still; they are told that it left, before this one comes.
            await asyncio.wait([self._state.farewell], timeout=GOODBYE_TIMEOUT)
        try:
            skips = self.recovered and namespace.settings.skip_middlewares
            for middleware in () if skips else namespace.middleware:
                result = middleware.function(self)
                if inspect.isawaitable(result):
                    await result
                if self._gone is not None:
                    break
            if self._gone is None:
                namespace.enter(self)
                accepted = True
                if self._state is None and namespace.recovery is not None:
                    self._state = namespace.recovery.begin(self)
                for handler in namespace.connect_handlers():
                    result = handler.function(self)
                    if inspect.isawaitable(result):
                        await result
        except ConnectionRefused as refused:
            self._refuse(refused.message, refused.data)
            return
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            log.exception("socket %s: connecting to %s failed; it is refused", self.id, namespace.name)
            namespace.stats.handler_errors += 1
            self._refuse(INTERNAL_ERROR, None)
            return
        if self._gone is None:
            self._welcome()
            await self._next()
            return
        # It left before it was accepted: what it sent meanwhile must not reach a handler.
        if accepted:
            await self._say_goodbye()
        else:
            self._said_goodbye()
        self._drop_waiting()

    def _welcome(self) -> None:
        """Send the CONNECT reply, and behind it what was emitted to this socket meanwhile."""
        ticker = self.namespace.ticker
        ticker.seal()
        self.outbox.flush()
        held = self.outbox.take()
        self.outbox.close()
        self.outbox = self._client.connection.outbox
        self.namespace.rooms.moved(self)
        identity = {"sid": self.id}
        if self._state is not None:
            identity["pid"] = self._state.pid
        self._send_packet(CONNECT, identity)
        if held:
            ticker.carry_over(self.outbox, held)
        self.connected = True
        self._client.welcomed()

    def _refuse(self, message: str, data: Any) -> None:
        if self._gone is None:
            self._gone = "refused"
            self._leave_state("refused")
            self.namespace.exit(self)
            self.outbox.close()
            self._client.refuse(self, message, data)
        self._drop_waiting()

    def closed(self, reason: str) -> None:
        """The client has left, for whatever reason: out of all rooms, and on to the disconnect handler."""
        if self._gone is not None:
            return
        was_connected = self.connected
        self._left = frozenset(self.rooms)
        self._gone = reason
        self._leave_state(reason)
        self.connected = False
        self.namespace.exit(self)
        self._client.forget(self)
        acks, self._acks = self._acks, None
        for future in (acks or {}).values():
            if not future.done():
                future.set_exception(NotConnected(f"socket {self.id} left: {reason}"))
                future.exception()  # whoever waited may have given up: nothing to warn about
        if not was_connected:
            self.outbox.close()  # its acceptance is under way, and will notice
        elif self._busy:
            if reason in SENT_AWAY:
                self._drop_waiting()
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(GOODBYE)
        elif self._hooks is not None or self.namespace.has_goodbye:
            self._busy = True
            self.namespace.runners.submit(self._work(*GOODBYE))
        else:
            self._said_goodbye()

    def _leave_state(self, reason: str) -> None:
        """Leave what this client may come back to; if it may not, be done with it."""
        state = self._state
        if state is not None and not state.recovery.leave(state, self, self._left, reason):
            self._state = None

    async def _say_goodbye(self) -> None:
        try:
            await self._tell_that_it_left()
        finally:
            self._said_goodbye()

    def _said_goodbye(self) -> None:
        """The disconnect handlers have run, if there were any."""
        if self._state is not None:
            self._state.recovery.said_goodbye(self)

    async def _tell_that_it_left(self) -> None:
        for event in ("disconnecting", "disconnect"):
            if event == "disconnect":
                self._left = NOWHERE
            try:
                if self._hooks is not None:
                    await self._hooks.handle(event, [self._gone], ignore, in_line)
                for handler in self.namespace.handlers.events.get(event, NO_HANDLERS):
                    args = (self, self._gone) if handler.maximum else (self,)
                    result = handler.function(*args)
                    if inspect.isawaitable(result):
                        await result
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                self.namespace.stats.handler_errors += 1
                log.exception("socket %s: handler of %r failed", self.id, event)

    def _send_packet(self, kind: Any, data: Any, ack_id: int | None = None) -> None:
        if self._gone is None:
            text, attachments = self.namespace.encode(kind, self.namespace.name, data, ack_id)
            self.namespace.ticker.send(self, text, attachments)
