"""The server: assembly and lifecycle only.

It puts an engine, a ticker, namespaces and a link to other nodes together, starts and stops them, and gives
applications the surface of the namespace ``/``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket as _socket
from collections.abc import Callable
from typing import Any, Final, TypeVar, Unpack

from ..adapter.backend import open_backend
from ..adapter.codec import Codec
from ..adapter.context import Context, ServerStats
from ..adapter.sockets import Answers
from ..asgi.application import ASGIApp, EngineApp
from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.peer_connection import ForwardLimits
from ..fanout.ticker import Ticker
from ..handlers.runners import Runners
from ..handlers.threads import Threads
from ..handlers.watchdog import IN_DEBUG, Watchdog
from ..http.client_files import ClientFiles
from ..observe.health import Health
from ..options import RunOptions, ServerOptions
from ..settings import ServerSettings
from .awaitables import SENT
from .broadcast import Broadcasting
from .client import Client, MsgpackClient
from .namespace import Namespace
from .namespaces import Matcher, Namespaces
from .socket import Socket

__all__ = ["Server"]

# Seconds for handlers that are at work when the server ends, and then for the disconnect handlers behind them. Together
# they stay below the three seconds that serving gives requests at its end.
DRAIN_TIMEOUT: Final = 1.5
DISCONNECT_TIMEOUT: Final = 0.5

F = TypeVar("F", bound=Callable[..., Any])


class Server(Broadcasting):
    """A Socket.IO server: an ASGI application, one node of a cluster.

    Example::

        io = Server(node="1111", broker="redis://127.0.0.1:6379")

        @io.on("connect")
        async def connect(socket):
            await socket.join("chat")

        @io.on("chat")
        def chat(socket, text):
            io.to("chat").emit("chat-message", f"{io.node}: {text}")

        io.run(port=1111)

    Args:
        options: See :class:`shoal.options.ServerOptions`. Those not given are read from ``SHOAL_*`` variables of the
            environment.

    Raises:
        ConfigurationError: An unknown option, or a value that does not fit.
    """

    def __init__(self, **options: Unpack[ServerOptions]) -> None:
        self.settings: ServerSettings = ServerSettings.load(options)
        """Its options. Frozen."""
        self.node: str = self.settings.node or f"{_socket.gethostname()}-{os.getpid()}"
        """Name of this node."""
        self._ticker = Ticker(self.settings.io_uring)
        self.stats: ServerStats = ServerStats(ticker=self._ticker)
        """What it has counted; the connections' part is in ``engine.stats`` and ``engine.outbox_stats``."""
        self.engine: BaseEngine[ServerSettings] = BaseEngine(
            self.settings, self._attach, self._ticker.seal, self.settings.node, self._ticker.collect
        )
        """Sessions and transports, without Socket.IO: ``on``, ``clients_count``."""
        self._runners = Runners(self._ticker.write_now)
        self._context = Context(
            node=self.node,
            tag=self.engine.tag,
            settings=self.settings,
            codec=Codec(self.settings),
            stats=self.stats,
            ticker=self._ticker,
            runners=self._runners,
            threads=Threads(self.settings.handler_threads),
            home=self.engine.context.home,
            now=self.engine.context.wheel.now,
            spawn=self.engine.context.tasks.spawn,
            log_once=self.engine.context.log_once,
        )
        self._backend = open_backend(self._context)
        self._join_nodes()
        self._namespaces = Namespaces(self._backend, self.settings.cleanup_empty_namespaces)
        self._root = self._namespaces.of("/")
        self._adapter = self._backend.adapters["/"]
        self._new_client = MsgpackClient if self._context.codec.is_msgpack else Client
        self._app = EngineApp(self.engine, ClientFiles() if self.settings.serve_client else None)
        self._health = Health(self.not_ready)
        self._alone = self.asgi(None)
        self._watchdog: Watchdog | None = None
        self._started: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<server {self.node}, {self.engine.clients_count} clients>"

    # ---- for applications

    def on(self, event: str, *, concurrent: bool = False, thread: bool = False) -> Callable[[F], F]:
        """A decorator that registers a handler in ``/``. See :meth:`Namespace.on`."""
        return self._root.on(event, concurrent=concurrent, thread=thread)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a handler in ``/``, or all of an event."""
        self._root.off(event, function)

    def use(self, function: F) -> F:
        """Register middleware in ``/``. See :meth:`Namespace.use`."""
        return self._root.use(function)

    def of(self, matcher: Matcher, kind: type[Namespace] = Namespace) -> Namespace:
        """A namespace by name, or a dynamic one. See :meth:`Namespaces.of`."""
        return self._namespaces.of(matcher, kind)

    def on_server(self, event: str) -> Callable[[F], F]:
        """A decorator that registers a handler of what other servers send. See :meth:`Namespace.on_server`."""
        return self._root.on_server(event)

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Send an event to the other servers. See :meth:`Namespace.server_side_emit`."""
        self._root.server_side_emit(event, *args)
        return SENT

    async def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Ask the other servers. See :meth:`Namespace.server_side_call`."""
        return await self._root.server_side_call(event, *args, timeout=timeout)

    def allow_request(self, function: F) -> F:
        """Register who decides about each handshake, before a session exists.

        ``function(request)``, plain or async, returns ``None`` to allow it, or a text to refuse with.
        """
        self.engine.allow_request = function
        return function

    @property
    def sockets(self) -> dict[str, Socket]:
        """Sockets in ``/`` on this node, by id. A copy."""
        return self._root.sockets

    # ---- lifecycle

    async def start(self) -> None:
        """Connect to the broker. Done by the ASGI lifespan, or by the first request where there is none.

        Returns after the first attempt: a broker that is away makes the node not ready, it does not stop it.
        """
        if self._started is None:
            self._context.now()  # from here on other threads know where home is
            self._watch()
            self.engine.begin()
            self._started = asyncio.ensure_future(self._backend.start())
        if self._started.done():
            self._started.result()
        else:
            await asyncio.shield(self._started)

    def _watch(self) -> None:
        loop, limit = asyncio.get_running_loop(), self.settings.slow_handler
        if limit is None and loop.get_debug():
            limit = IN_DEBUG
        if limit:
            self._watchdog = Watchdog(loop, limit)

    async def close(self) -> None:
        """Close every connection with the reason ``server shutting down``, and the link to the broker.

        Handlers that are at work get a second and a half, then they are cancelled; disconnect handlers run in any case.
        A handler that awaits this is one of them. The server can be started again afterwards.
        """
        # In a task of its own: the one that asks for it may be a handler's, and is cancelled on the way.
        self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._ticker.seal()
        await self.engine.close()
        await self._drain(DRAIN_TIMEOUT)
        self._runners.interrupt()
        await self._drain(DISCONNECT_TIMEOUT)
        await self._runners.close()
        self._context.threads.close()
        await self._backend.close()
        self._ticker.forget_loop()
        self._started = None
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    async def _drain(self, seconds: float) -> None:
        """Let handlers that are at work end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._runners):  # noqa: ASYNC110 - at the end of a server's life, for a few turns
                    await asyncio.sleep(0.01)

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

    def asgi(self, other: Any = None) -> ASGIApp:
        """This server in front of another ASGI application: everything outside its path goes there.

        ``/healthz`` and ``/readyz`` are answered here if the other application does not know them.
        """
        health = self._health.behind(other)
        return ASGIApp(self._app, health, self.start, self.close, self.engine, self, other)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self._alone(scope, receive, send)

    def _join_nodes(self) -> None:
        """Let requests of sessions that other nodes have be passed to those, and tell them where this one is."""
        settings, forwarder = self.settings, self.engine.forwarder

        def announce(address: str) -> None:
            self._backend.introduce(address, forwarder.key)

        answer = settings.ping_interval + settings.ping_timeout
        forwarder.join(
            self._backend.find_node,
            None if settings.advertise or not self._backend.has_nodes else announce,
            ForwardLimits(settings.max_forwarded, settings.max_forwarded_bytes, settings.forward_timeout, answer),
        )
        announce(settings.advertise)

    def not_ready(self) -> str | None:
        """Why this node should get no new clients; ``None`` if it should."""
        return self._backend.not_ready()

    def _attach(self, connection: Connection) -> None:
        self.stats.connections += 1
        self._new_client(self._context, self._namespaces, connection)
