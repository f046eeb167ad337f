"""Engine.IO without Socket.IO: the public class for those who need only sessions and messages."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Unpack

from ..asgi.application import EngineApp
from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.tasks import is_cancelled
from ..options import EngineOptions, RunOptions
from ..settings import EngineSettings

__all__ = ["Engine"]

log: Final = logging.getLogger("shoal.engine")


class EventQueue:
    """One session's events on their way to the handlers: one at a time, in the order they came.

    Plain handlers are called on the spot. While a coroutine is under way others wait, and beyond the bound nothing is
    read from the client.
    """

    __slots__ = ("_busy", "_connection", "_engine", "_waiting")

    def __init__(self, engine: BaseEngine[Any], connection: Connection) -> None:
        self._engine = engine
        self._connection = connection
        self._busy = False
        self._waiting: deque[tuple[Any, ...]] = deque()

    def receive_text(self, payload: bytes) -> None:
        """A text message, Engine.IO's ``4`` in front."""
        try:
            text = payload[1:].decode()
        except UnicodeDecodeError:
            self._connection.close_if_not_utf8(payload)
        else:
            self.put("message", text)

    def receive_binary(self, payload: bytes) -> None:
        self.put("message", payload)

    def closed(self, reason: str) -> None:
        self.put("disconnect", reason)

    def put(self, event: str, *args: Any) -> None:
        """Take an event, whose first argument is always the session."""
        if self._busy:
            self._waiting.append((event, *args))
            if len(self._waiting) >= self._engine.settings.max_waiting_events:
                self._connection.pause_reading()
            return
        self._busy = True  # a plain handler may close its session: what follows from it comes behind it
        if works := self._engine.listeners.call(event, self._connection, *args) or self._next():
            self._engine.context.tasks.spawn(self._work(works))
        else:
            self._busy = False

    async def _work(self, works: list[Coroutine[Any, Any, Any]]) -> None:
        """Await an event's coroutines, and then those of the events that came meanwhile."""
        try:
            while works:
                await self._await(works)
                works = self._next()
            self._busy = False
        except asyncio.CancelledError:
            # The engine ends in the middle of a handler: `disconnect` is emitted all the same.
            for event, *args in self._waiting:
                if event == "disconnect":
                    self._engine.listeners.notify(event, self._connection, *args)
            raise

    async def _await(self, works: list[Coroutine[Any, Any, Any]]) -> None:
        try:
            while works:
                try:
                    await works.pop(0)
                except (Exception, asyncio.CancelledError) as error:
                    if is_cancelled(error):
                        raise
                    log.exception("a handler failed")  # one that awaits something cancelled only fails
        finally:
            for work in works:
                work.close()

    def _next(self) -> list[Coroutine[Any, Any, Any]]:
        """Call the handlers of what waits, up to the first event that has coroutines to await."""
        works: list[Coroutine[Any, Any, Any]] = []
        while self._waiting and not works:
            event, *args = self._waiting.popleft()
            if len(self._waiting) == self._engine.settings.max_waiting_events // 2:
                self._connection.resume_reading()
            works = self._engine.listeners.call(event, self._connection, *args)
        return works


class Engine(BaseEngine[EngineSettings]):
    """Engine.IO without Socket.IO, for those who need only sessions and messages. An ASGI application.

    Example::

        engine = Engine(path="/engine.io/")

        @engine.on("message")
        def echo(session, data):
            session.send(data)

    Events: ``connect`` (session), ``message`` (session, data: ``str`` or ``bytes``), ``disconnect`` (session, reason);
    and ``connection_error`` (refusal, request), ``initial_headers`` and ``headers`` (dict to change, request). A
    handler may be plain or a coroutine function. A session's own events are handled one at a time, in their order.

    Args:
        options: See :class:`shoal.options.EngineOptions`.

    Raises:
        ConfigurationError: An unknown option, or a value that does not fit.
    """

    EVENTS: Mapping[str, tuple[str, ...]] = {
        **BaseEngine.EVENTS,
        "connect": ("session",),
        "disconnect": ("session", "reason"),
        "message": ("session", "data"),
    }

    def __init__(self, **options: Unpack[EngineOptions]) -> None:
        super().__init__(EngineSettings.load(options), self._start)
        self._app = EngineApp(self)

    def _start(self, connection: Connection) -> None:
        events = EventQueue(self, connection)
        connection.receiver = events
        events.put("connect")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self._app(scope, receive, send)

    def run(self, host: str = "127.0.0.1", port: int = 8000, **options: Unpack[RunOptions]) -> None:
        """Serve until SIGINT or SIGTERM, under uvicorn with the fast lane. See :func:`shoal.serving.run.run`."""
        from ..serving.run import run  # noqa: PLC0415 - uvicorn is needed only here

        run(self, host=host, port=port, **options)

    async def serve(self, host: str = "127.0.0.1", port: int = 8000, **options: Unpack[RunOptions]) -> None:
        """As :meth:`run`, on the loop that runs, until it is cancelled: :meth:`close` alone goes on listening.

        See :func:`shoal.serving.run.serve`.
        """
        from ..serving.run import serve  # noqa: PLC0415 - uvicorn is needed only here

        await serve(self, host=host, port=port, **options)
