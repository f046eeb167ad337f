"""How a socket comes and goes: middleware and connect handlers, the CONNECT reply or a refusal, disconnect handlers.

Until its connect handler has accepted it, a socket's way out is an outbox of its own: what is emitted to it meanwhile
follows the CONNECT reply, or is dropped with the refusal.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import Any, Final, Protocol

import msgspec

from ..adapter.base import Adapter
from ..adapter.sockets import ClientState, LocalSocket
from ..engine.connection import Connection
from ..engine.tasks import is_cancelled
from ..errors import ConnectionRefused, NotConnected
from ..fanout.outbox import Outbox
from ..handlers.listeners import never_concurrent
from ..handlers.registry import NO_HANDLERS, Handlers
from ..protocol.socketio import CONNECT
from .handshake import Handshake
from .inbox import DISCONNECTED, Inbox, ignore

__all__ = ["Lifecycle", "Owner"]

log: Final = logging.getLogger("shoal.server")

INTERNAL_ERROR: Final = "internal error"
NOWHERE: Final[frozenset[str]] = frozenset()
# Reasons of the server's own: what such a client had sent before is not handled any more, as in Node's server.
ENDED_BY_SERVER: Final = frozenset({"server namespace disconnect", "forced server close"})
# Seconds that a client which came back waits for the disconnect handlers of its socket before.
PREVIOUS_TIMEOUT: Final = 5.0


class Owner(Protocol):
    """Whose socket it is: a client, with the sockets that it has in other namespaces."""

    connection: Connection

    def accepted(self) -> None:
        """The socket was accepted."""

    def refuse(self, namespace: str, socket: Lifecycle, message: str, data: Any) -> None:
        """The socket was refused: tell the client why."""

    def forget(self, socket: Lifecycle) -> None:
        """The socket has left."""

    def resume_reading(self) -> None:
        """The socket can take events again."""

    def disconnect(self) -> None:
        """End all sockets of this client, and its connection."""


class Lifecycle(Inbox, LocalSocket):
    """A socket's acceptance and its end. :class:`.socket.Socket` is the rest."""

    __slots__ = ("__weakref__", "_data", "_left", "_owner", "_state", "handshake", "recovered")

    def __init__(
        self,
        adapter: Adapter,
        handlers: Handlers,
        owner: Owner,
        sid: str,
        auth: dict[str, Any] | None,
        state: ClientState | None,
    ) -> None:
        super().__init__(adapter, handlers, owner.connection, sid)
        self.handshake: Handshake = Handshake(owner.connection, auth)
        self._owner = owner
        self._state = state
        """What it may come back to, if clients may; one that has come back has it from the beginning."""
        self.recovered: bool = state is not None
        self.joined: set[str] = set()
        self.outbox = Outbox(owner.connection.outbox.rules, owner.connection)
        self._data: Any = None if state is None else state.track(state.data)
        self._left = NOWHERE
        """The rooms that it was in when it left, for its ``disconnecting`` handler."""

    @property
    def rooms(self) -> set[str]:
        """The rooms it is in, its own id among them. A copy."""
        return {self.id, *self.joined} if self._gone is None else set(self._left)

    async def accept(self) -> None:
        """Ask middleware and connect handlers; then answer CONNECT, or refuse."""
        handlers = self._handlers
        accepted = False
        if self._state is not None and self._state.previous_done is not None:
            # The handlers of the socket before may be at work still: they run before this one comes.
            await asyncio.wait([self._state.previous_done], timeout=PREVIOUS_TIMEOUT)
        try:
            skips = self.recovered and self._context.settings.skip_middlewares
            for middleware in () if skips else handlers.middleware:
                result = middleware.function(self)
                if inspect.isawaitable(result):
                    await result
                if self._gone is not None:
                    break
            if self._gone is None:
                self._adapter.enter(self)
                accepted = True
                if self._state is None:
                    self._begin_state()
                for handler in handlers.incoming.get("connect"):
                    result = handler.function(self)
                    if inspect.isawaitable(result):
                        await result
            if self._gone is None and self._state is not None and not self.recovered:
                # What the client is told here it must find again, even if this process ends now.
                await self._state.saved(self._context.settings.subscribe_timeout)
        except ConnectionRefused as refused:
            self._refuse(refused.message, refused.data)
            return
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                if accepted and self._gone is not None:  # the server ends in the middle of a connect handler
                    self._context.runners.submit(self._run_disconnect_handlers())
                raise
            log.exception("socket %s: connecting to %s failed; it is refused", self.id, self._adapter.name)
            self._context.stats.handler_errors += 1
            self._refuse(INTERNAL_ERROR, None)
            return
        if self._gone is None:
            self._send_connect_reply()
            await self._next()
            return
        # It left before it was accepted: what it sent meanwhile must not reach a handler.
        if accepted:
            await self._run_disconnect_handlers()
        else:
            self._disconnect_handlers_done()
        self._drop_waiting()

    def _begin_state(self) -> None:
        self._state = state = self._adapter.begin(self)
        if state is not None and self._data is not None:
            self._data = state.track(self._data)

    def _send_connect_reply(self) -> None:
        """Send the CONNECT reply, and behind it what was emitted to this socket meanwhile."""
        ticker = self._context.ticker
        ticker.seal()
        self.outbox.flush()
        held = self.outbox.take()
        self.outbox.close()
        self.outbox: Outbox = self._connection.outbox
        self._adapter.rooms.moved(self)
        identity = {"sid": self.id}
        if self._state is not None:
            identity["pid"] = self._state.pid
        self._send_packet(CONNECT, identity)
        if held:
            ticker.carry_over(self.outbox, held)
        self.connected = True
        self._owner.accepted()

    def _refuse(self, message: str, data: Any) -> None:
        if self._gone is None:
            self._gone = "refused"
            self._leave_state("refused")
            self._adapter.delete_all(self)
            self.outbox.close()
            self._owner.refuse(self._adapter.name, self, message, data)
        self._drop_waiting()

    def closed(self, reason: str) -> None:
        """The client has left, for whatever reason: out of all rooms, and on to the disconnect handler."""
        if self._gone is not None:
            return
        was_connected = self.connected
        self._left = frozenset(self.rooms)
        self._gone = reason
        self._leave_state(reason)
        self.connected: bool = False
        self._adapter.delete_all(self)
        self._owner.forget(self)
        acks, self._acks = self._acks, None
        for future in (acks or {}).values():
            if not future.done():
                future.set_exception(NotConnected(f"socket {self.id} left: {reason}"))
                future.exception()  # whoever waited may have given up: nothing to warn about
        if not was_connected:
            self.outbox.close()  # its acceptance is under way, and will notice
        elif self._busy:
            if reason in ENDED_BY_SERVER:
                self._drop_waiting()
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(DISCONNECTED)
        elif self._listeners is not None or self._handlers.has_disconnect_handlers:
            self._busy = True
            self._context.runners.submit(self._work(*DISCONNECTED))
        else:
            self._disconnect_handlers_done()

    def _resume_reading(self) -> None:
        self._owner.resume_reading()

    def _leave_state(self, reason: str) -> None:
        """Leave what this client may come back to; if it may not, be done with it."""
        state = self._state
        if state is not None and not state.leave(self, self._left, reason):
            self._state = None

    async def _run_disconnect_handlers(self) -> None:
        try:
            await self._call_disconnect_handlers()
        finally:
            self._disconnect_handlers_done()

    def _disconnect_handlers_done(self) -> None:
        """The disconnect handlers have run, if there were any."""
        if self._state is not None:
            self._state.handlers_done(self)

    async def _call_disconnect_handlers(self) -> None:
        for event in ("disconnecting", "disconnect"):
            if event == "disconnect":
                self._left = NOWHERE
            try:
                if self._listeners is not None:
                    await self._listeners.handle(event, [self._gone], ignore, never_concurrent)
                for handler in self._handlers.incoming.events.get(event, NO_HANDLERS):
                    args = (self, self._gone) if handler.maximum else (self,)
                    result = handler.function(*args)
                    if inspect.isawaitable(result):
                        await result
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                self._context.stats.handler_errors += 1
                log.exception("socket %s: handler of %r failed", self.id, event)

    def _send_packet(self, kind: Any, data: Any, ack_id: int | None = None) -> None:
        if self._gone is None:
            self._context.ticker.send(self, *self._context.codec.encode(kind, self._adapter.name, data, ack_id))

    def connection_lost(self) -> None:
        """Its connection is broken, though nobody has noticed yet: its client is here again."""
        self._connection.close("transport close", abort=True)

    def describe(self) -> dict[str, Any]:
        """What other nodes may know of it. Its ``data`` travels if msgpack can hold it, else as ``{}``."""
        shake = self.handshake
        return {
            "id": self.id,
            "node": self._context.node,
            "rooms": sorted(self.rooms),
            "data": _copy(self.data),
            "handshake": {
                "headers": shake.headers,
                "query": shake.query,
                "auth": _copy(shake.auth),
                "time": shake.time,
                "issued": shake.issued,
                "address": shake.address,
                "secure": shake.secure,
                "url": shake.url,
            },
        }


def _copy(value: Any) -> Any:
    """The value as it would arrive at another node."""
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return {}
