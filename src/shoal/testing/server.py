"""A server for tests: any ASGI application with a Shoal server in it, run in memory, and its clients.

Everything between a client's packets and the handlers is what runs in production, over the plain ASGI transport. What
is missing is the network, and with a test clock the waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from .client import TestClient, enter, settle
from .clock import Clock
from .connection import TestConnection
from .manager import Manager
from .memory import Address, Lifespan, Response, request

__all__ = ["TestServer"]


class TestServer:
    """Runs an application for the length of an ``async with`` block, and connects clients to it.

    Example::

        async with TestServer(io) as server:
            anna = await server.connect(auth={"name": "Anna"})
            await anna.emit("chat", "hello")
            assert await anna.receive() == ("chat-message", "hello")

    At its end every client is disconnected, then the application is shut down.

    Args:
        app: A :class:`shoal.Server`, a :class:`shoal.Engine`, or any ASGI application in front of or around one.
        path: Where the Socket.IO endpoint is; ``None``: the server's option ``path``.
        parser: How packets are encoded; ``None``: the server's option ``parser``.
    """

    __test__ = False  # pytest shall not collect it

    def __init__(self, app: Any, *, path: str | None = None, parser: str | None = None) -> None:
        settings: Any = getattr(app, "settings", None) or getattr(getattr(app, "engine", None), "settings", None)
        self.app = app
        self.path: str = getattr(settings, "path", "/socket.io/") if path is None else path
        self._parser: str = getattr(settings, "parser", "json") if parser is None else parser
        self._lifespan = Lifespan(app)
        self._connections: list[TestConnection] = []
        self._managers: list[Manager] = []

    async def __aenter__(self) -> Self:
        await self._lifespan.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for manager in self._managers:
                await manager.end()
            for connection in self._connections:
                await connection.end()
        finally:
            await self._lifespan.stop()

    @property
    def clock(self) -> Clock:
        """The clock of the running loop: ``await server.clock.advance(25)``.

        Raises:
            RuntimeError: The loop's time is real.
        """
        return Clock.running()

    async def settle(self) -> None:
        """Wait until server and clients have done all that they can do before time passes.

        On a real clock this is one turn of the loop.
        """
        await settle()

    async def connect(
        self,
        namespace: str = "/",
        auth: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        secure: bool = False,
        timeout: float = 5.0,
    ) -> TestClient:
        """Connect a client.

        Args:
            namespace: With its slash.
            auth: What handlers find as ``socket.handshake.auth``.
            headers: Of the handshake.
            query: More parameters for the handshake's query.
            address: Where the client comes from.
            secure: Whether the connection counts as encrypted.
            timeout: Seconds that the server may take to accept.

        Raises:
            ConnectionRefused: With the message and data of whoever refused. If the handshake was refused, before there
                was any namespace, ``data`` has the HTTP ``status`` and the engine's ``code``.
            NotConnected: The server closed the connection instead of an answer.
            TimeoutError: It did not answer in time.
        """
        connection = await self.open(headers=headers, query=query, address=address, secure=secure)
        manager = Manager(connection, self._parser)
        self._managers.append(manager)
        try:
            return await enter(manager, namespace, auth, timeout)
        except BaseException:
            connection.close()
            raise

    async def open(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        secure: bool = False,
    ) -> TestConnection:
        """Open a connection that enters no namespace: to send packets by hand, or for a :class:`shoal.Engine`.

        Args:
            headers, query, address, secure: As for :meth:`connect`.

        Raises:
            ConnectionRefused: The handshake was refused.
        """
        parameters = {"EIO": "4", "transport": "websocket", **(query or {})}
        connection = TestConnection()
        self._connections.append(connection)
        await connection.connect(self.app, self._address(self.path, parameters, headers, address, secure))
        return connection

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        secure: bool = False,
    ) -> Response:
        """Send an HTTP request to the application.

        Args:
            method: In capitals.
            path: Decoded, without the query.
            body: All of it.
            headers, query, address, secure: As for :meth:`connect`.
        """
        return await request(self.app, method, self._address(path, query, headers, address, secure), body)

    def _address(
        self,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        peer: str,
        secure: bool,
    ) -> Address:
        return Address(path=path, query=query or {}, headers=headers or {}, peer=peer, secure=secure)
