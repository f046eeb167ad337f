"""Engine.IO without Socket.IO: the public class for those who need only sessions and messages."""

from __future__ import annotations

from typing import Any

from ..settings import EngineSettings
from .asgi import EngineApp
from .connection import Connection
from .engine import BaseEngine

__all__ = ["Engine"]


class Engine(BaseEngine[EngineSettings]):
    """Engine.IO without Socket.IO, for those who need only sessions and messages. An ASGI application.

    Example::

        engine = Engine(path="/engine.io/")

        @engine.on("message")
        def echo(session, data):
            session.send(data)

    Events: ``connect`` (session), ``message`` (session, data: ``str`` or ``bytes``), ``disconnect`` (session, reason);
    and ``connection_error`` (refusal, request), ``initial_headers`` and ``headers`` (dict to change, request). A
    handler may be plain or a coroutine function.

    Args:
        options: See :class:`shoal.settings.EngineSettings`.

    Raises:
        ConfigurationError: An unknown option, or a value that does not fit.
    """

    EVENTS = (*BaseEngine.EVENTS, "connect", "disconnect", "message")

    def __init__(self, **options: Any) -> None:
        super().__init__(EngineSettings.load(options), self._attach)
        self._app = EngineApp(self)

    def _attach(self, connection: Connection) -> None:
        connection.on_text = lambda payload: self._receive_text(connection, payload)
        connection.on_binary = lambda payload: self.tell("message", connection, payload)
        connection.on_close = lambda reason: self.tell("disconnect", connection, reason)
        self.tell("connect", connection)

    def _receive_text(self, connection: Connection, payload: bytes) -> None:
        try:
            text = payload[1:].decode()
        except UnicodeDecodeError:
            connection.close("parse error")
        else:
            self.tell("message", connection, text)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self._app(scope, receive, send)

    def run(self, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
        """Serve until SIGINT or SIGTERM, under uvicorn with the fast lane. See :func:`.serving.run`."""
        from .serving import run  # noqa: PLC0415 - uvicorn is needed only here

        run(self, host=host, port=port, **options)
