"""How one socket's events are handled: one at a time, in the order they came.

A single plain handler is called on the spot. Everything else is a coroutine that the server's runners await; what
comes meanwhile waits, and beyond a bound the connection is not read from. Acknowledgements do not wait, so that a
handler may await an answer of its own client.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from types import CoroutineType
from typing import Any, Final

from ..adapter.base import Adapter
from ..adapter.context import Context
from ..engine.connection import Connection
from ..engine.tasks import is_cancelled
from ..errors import NotConnected, RoomRefused
from ..fanout.outbox import Outbox
from ..handlers.listeners import Listeners, Listening, never_concurrent
from ..handlers.rate_limit import TokenBucket
from ..handlers.registry import NO_ACK, NO_HANDLERS, BadArguments, Handler, Handlers, as_value
from ..protocol.attachment import binary_answer
from ..protocol.socketio import ACK, AckId, encode_answer
from .awaitables import is_done

__all__ = ["Inbox"]

log: Final = logging.getLogger("shoal.server")


DISCONNECTED: Final = (None, None)
"""Stands among the waiting events for the disconnect handlers."""


def ignore(result: Any) -> None:
    """Nobody asked for an acknowledgement."""


class Inbox(Listening):
    """The receiving half of a socket. It starts busy: events wait until the socket is accepted."""

    __slots__ = (
        "_acks",
        "_adapter",
        "_bucket",
        "_busy",
        "_concurrent",
        "_connection",
        "_context",
        "_gone",
        "_handlers",
        "_next_ack",
        "_waiting",
        "connected",
        "id",
        "joined",
        "outbox",
    )

    joined: set[str]
    outbox: Outbox

    def __init__(self, adapter: Adapter, handlers: Handlers, connection: Connection, sid: str) -> None:
        self._adapter = adapter
        self._context: Context = adapter.context
        self._handlers = handlers
        self._connection = connection
        self.id: str = sid
        self.connected: bool = False
        self._concurrent = 0
        """Concurrent handlers under way."""
        self._next_ack = 0
        self._acks: dict[int, asyncio.Future[Any]] | None = None
        self._busy = True
        """Whether a coroutine of this socket is under way: events wait for it. At first, its acceptance."""
        self._waiting: deque[tuple[Any, AckId | None]] | None = None
        self._gone: str | None = None
        """Why it left."""
        self._listeners = None
        rate = self._context.settings.max_events_per_second
        self._bucket = TokenBucket(rate, self._context.now()) if rate else None

    def emit(self, event: str, *args: Any) -> None:
        raise NotImplementedError

    async def _run_disconnect_handlers(self) -> None:
        raise NotImplementedError

    def _resume_reading(self) -> None:
        """This socket can take events again."""
        raise NotImplementedError

    def receive(self, data: list[Any], ack_id: AckId | None) -> None:
        """Take one event, ``[name, *args]``."""
        if self._bucket is not None and self._is_too_fast(self._bucket, data[0], ack_id):
            return
        if self._busy:
            self._wait(data, ack_id)
            return
        handler = self._handlers.incoming.single.get(data[0]) if self._listeners is None else None
        if handler is not None and not handler.is_async:
            self._call_plain(handler, data, ack_id)
        else:
            self._busy = True
            self._context.runners.submit(self._work(data, ack_id, handler))

    def _is_too_fast(self, bucket: TokenBucket, event: str, ack_id: AckId | None) -> bool:
        """Refuse an event beyond the client's rate: in its acknowledgement, or with ``error`` once a second."""
        now = self._context.now()
        if bucket.take(now):
            return False
        self._context.stats.rate_limited += 1
        refusal = {"error": "too many events", "event": event}
        if ack_id is not None:
            self._acknowledge(ack_id, refusal)
        elif now - bucket.last_refusal >= 1.0 and self.connected:
            bucket.last_refusal = now
            self.emit("error", refusal)
        return True

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

    def receive_ack(self, ack_id: int | None, args: list[Any]) -> None:
        """Take the answer to a :meth:`call`. One that nobody waits for is ignored."""
        future = self._acks.pop(ack_id, None) if self._acks is not None and ack_id is not None else None
        if future is not None and not future.done():
            future.set_result(as_value(args))

    def _wait(self, data: Any, ack_id: AckId | None) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((data, ack_id))
        if self.is_full:
            self._connection.pause_reading()

    @property
    def is_full(self) -> bool:
        """Whether as many events wait as may."""
        return self._waiting is not None and len(self._waiting) >= self._context.settings.max_waiting_events

    def _call_plain(self, handler: Handler, data: list[Any], ack_id: AckId | None) -> None:
        """The short cut for a single plain handler: no coroutine, no turn of the loop."""
        try:
            args = data[1:]
            if handler.converters or not handler.minimum <= len(args) <= handler.maximum:
                args = list(handler.convert(args))
            result = copy_context().run(handler.function, self, *args)  # what it sets is not for the next client
            if type(result) is CoroutineType:  # a plain function that returns one: a partial, a lambda
                self._busy = True
                self._context.runners.submit(self._finish(result, data[0], ack_id))
            elif ack_id is not None and result is not NO_ACK:
                self._acknowledge(ack_id, result)
        except (Exception, asyncio.CancelledError) as error:  # application code may raise anything
            if is_cancelled(error):
                raise
            self._failed(data[0], ack_id, error)

    async def _finish(self, result: Awaitable[Any], event: str, ack_id: AckId | None) -> None:
        try:
            value = await result
            if ack_id is not None and value is not NO_ACK:
                self._acknowledge(ack_id, value)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                self._go_on_elsewhere()
                raise
            self._failed(event, ack_id, error)
        await self._next()

    async def _work(self, data: Any, ack_id: AckId | None, handler: Handler | None = None) -> None:
        """Handle an event, then those that came meanwhile. A single coroutine function is awaited right here."""
        event: tuple[Any, AckId | None] | None
        try:
            while True:
                if handler is None or not handler.is_async:
                    await self._handle(data, ack_id)
                else:
                    try:
                        args = data[1:]
                        if handler.converters or not handler.minimum <= len(args) <= handler.maximum:
                            args = handler.convert(args)
                        result = await handler.function(self, *args)
                        if ack_id is not None and result is not NO_ACK:
                            self._acknowledge(ack_id, result)
                    except (Exception, asyncio.CancelledError) as error:
                        if is_cancelled(error):
                            raise
                        self._failed(data[0], ack_id, error)
                if (event := self._take_waiting()) is None:
                    return
                data, ack_id = event
                alone = self._listeners is None and type(data) is list
                handler = self._handlers.incoming.single.get(data[0]) if alone else None
        except asyncio.CancelledError:
            self._go_on_elsewhere()
            raise

    def _go_on_elsewhere(self) -> None:
        """The task that handles this socket's events is cancelled: what is left to do takes another one."""
        runners = self._context.runners
        if self._waiting and self._waiting[-1] == DISCONNECTED:
            # The server ends in the middle of a handler: the disconnect handlers run all the same.
            self._waiting = None
            runners.submit(self._run_disconnect_handlers())
        elif self._gone is None:  # the application has cancelled a handler
            runners.submit(self._next())

    async def _next(self) -> None:
        """Handle what came meanwhile."""
        if (event := self._take_waiting()) is not None:
            await self._work(*event)

    def _take_waiting(self) -> tuple[Any, AckId | None] | None:
        """What waits longest. If nothing does, the socket is not busy any more."""
        waiting = self._waiting
        if not waiting:
            self._waiting = None
            self._busy = False
            return None
        event = waiting.popleft()
        if len(waiting) == self._context.settings.max_waiting_events // 2:
            self._resume_reading()
        return event

    def _drop_waiting(self) -> None:
        """Forget the events that wait."""
        if self._waiting:
            self._waiting.clear()
            self._resume_reading()

    async def _handle(self, data: Any, ack_id: AckId | None) -> None:
        if type(data) is not list:
            await (self._run_disconnect_handlers() if data is None else self._handle_protocol_error(data))
            return
        event, args = data[0], data[1:]
        try:
            handled = False
            acknowledge = self._acknowledger(ack_id)
            if self._listeners is not None:
                await self._listeners.notify_any(event, args)
                if not await self._passes(self._listeners, event, args):
                    return
                # A client that sends "error" itself does not reach those who wait for the library's.
                handled = event != "error" and await self._listeners.handle(
                    event, args, acknowledge, lambda work: self._run_concurrently(work, event, ack_id)
                )
            handlers = self._handlers.incoming.events.get(event)
            unnamed = handlers is None
            if handlers is None:
                handlers = NO_HANDLERS if handled else self._handlers.incoming.any
            for handler in handlers:
                arguments = handler.convert(args)
                work = self._call(handler, [event, *arguments] if unnamed else arguments, acknowledge)
                if not (handler.concurrent and handler.is_async and self._run_concurrently(work, event, ack_id)):
                    await work
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            self._failed(event, ack_id, error)

    async def _passes(self, listeners: Listeners, event: str, args: Any) -> bool:
        """Ask the socket's middleware. What it raises is for the handlers of ``error``, if there are any."""
        try:
            await listeners.run_middleware(event, args)
        except Exception as error:
            if not await self._call_error_handlers(error):
                raise
            return False
        return True

    async def _call_error_handlers(self, error: Exception) -> bool:
        """Call the handlers of ``error``. Returns whether there was one."""
        called = self._listeners is not None and await self._listeners.handle(
            "error", [error], ignore, never_concurrent
        )
        for handler in self._handlers.library.get("error"):
            await self._call(handler, [error], ignore)
            called = True
        return called

    def fault(self, error: Exception) -> None:
        """The client has broken the protocol: the handlers of ``error`` are called, behind the events before it."""
        if self._listeners is None and not self._handlers.library.get("error"):
            return
        if self._busy:
            self._wait(error, None)
        else:
            self._busy = True
            self._context.runners.submit(self._work(error, None))

    async def _handle_protocol_error(self, error: Exception) -> None:
        try:
            await self._call_error_handlers(error)
        except (Exception, asyncio.CancelledError) as failure:
            if is_cancelled(failure):
                raise
            self._failed("error", None, failure)

    async def _call(self, handler: Handler, args: Any, acknowledge: Callable[[Any], None]) -> None:
        result = handler.function(self, *args)
        if inspect.isawaitable(result):
            result = await result
        acknowledge(result)

    def _run_concurrently(self, work: Coroutine[Any, Any, None], event: str, ack_id: AckId | None) -> bool:
        """Run a concurrent handler in a task. Beyond the bound it is not taken, and holds up the next event too."""
        if self._concurrent >= self._context.settings.max_waiting_events:
            return False
        self._concurrent += 1
        self._context.spawn(self._guard(work, event, ack_id))
        return True

    async def _guard(self, work: Awaitable[None], event: str, ack_id: AckId | None) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(event, ack_id, error)
        finally:
            self._concurrent -= 1

    def _acknowledger(self, ack_id: AckId | None) -> Callable[[Any], None]:
        """Takes the results of an event's handlers: the first one is the answer."""

        def acknowledge(result: Any) -> None:
            nonlocal ack_id
            if ack_id is not None and result is not NO_ACK:
                answered, ack_id = ack_id, None
                self._acknowledge(answered, result)

        return acknowledge

    def _acknowledge(self, ack_id: AckId, result: Any) -> None:
        """Answer an event that asked for it."""
        if self._gone is None:
            # What as_args() does, without the call.
            args = [] if result is None else list(result) if type(result) is tuple else [result]
            context = self._context
            if type(result) is bytes and type(ack_id) is bytes:
                context.ticker.send(self, *binary_answer(result, ack_id))
            elif type(ack_id) is bytes and (answer := encode_answer(args, ack_id)) is not None:
                context.ticker.send(self, answer, ())
            elif is_done(result):
                self._acknowledge(ack_id, None)  # `lambda socket: io.emit("x")` answers nothing
            else:
                context.ticker.send(self, *context.codec.encode(ACK, self._adapter.name, args, ack_id))

    def notify_outgoing(self, event: str, args: Sequence[Any]) -> None:
        """Call its listeners of outgoing events. One that raises is logged: the others get their event all the same."""
        if self._listeners is None:
            return
        try:
            self._listeners.notify_outgoing(event, args)
        except Exception:
            self._context.stats.handler_errors += 1
            log.exception("socket %s: a listener of outgoing events failed", self.id)

    def _failed(self, event: Any, ack_id: AckId | None, error: BaseException) -> None:
        if isinstance(error, BadArguments):
            self._context.stats.bad_events += 1
            log.warning("socket %s: event %r refused: %s", self.id, event, error)
            if ack_id is not None:
                self._acknowledge(ack_id, {"error": str(error)})
        elif isinstance(error, RoomRefused):
            self._context.log_once("rooms", "socket %s: event %r: %s", self.id, event, error)
            if ack_id is not None:
                self._acknowledge(ack_id, {"error": str(error)})
        else:
            self._context.stats.handler_errors += 1
            log.error("socket %s: handler of %r failed", self.id, event, exc_info=error)
