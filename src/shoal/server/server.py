"""The server: assembly and lifecycle only.

It puts an engine, a ticker, namespaces and a link to other nodes together, starts and stops them, and gives
applications the surface of the namespace ``/``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket as _socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..asgi.application import Beside, EngineApp
from ..bus import BusLimits, open_bus
from ..cluster.link import Link
from ..cluster.messages import Broadcast as Envelope
from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.ids import new_socket_id
from ..fanout.ticker import Ticker
from ..http.client_files import ClientFiles
from ..observe.health import Health
from ..protocol import msgpack, socketio
from ..protocol.socketio import Limits
from ..settings import ServerSettings
from .acks import Answers
from .acks import register as register_answers
from .broadcast import Broadcasting
from .client import Client
from .ears import tell_of_envelope
from .namespace import Matcher, Namespace, Namespaces
from .recovery import Recovery
from .runners import Runners
from .socket import Socket

__all__ = ["Server", "ServerStats"]

# Seconds for handlers that are at work when the server ends, and then for the disconnect handlers behind them. Together
# they stay below the three seconds after which a supervisor loses patience.
RUN_OUT: Final = 1.5
LAST_WORDS: Final = 0.5

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class ServerStats:
    """What a server has counted since it was made."""

    connections: int = 0
    """Connections opened."""
    parse_errors: int = 0
    """Connections closed for bytes that were no Socket.IO, or exceeded ``max_attachments``, ``max_attachment_bytes`` or
    ``max_depth``."""
    handler_errors: int = 0
    """Handlers that raised."""
    bad_events: int = 0
    """Events whose arguments their handler does not take."""
    rate_limited: int = 0
    """Events refused because their client sent more than ``max_events_per_second``."""
    connect_timeouts: int = 0
    """Connections closed because they entered no namespace within ``connect_timeout``."""
    namespaces_refused: int = 0
    """Namespaces refused because their client is in ``max_namespaces``."""
    recovered: int = 0
    """Clients that came back to their state."""
    not_recovered: int = 0
    """Clients that came back too late for it, or to less than they missed, and began anew."""
    states_dropped: int = 0
    """States forgotten because more than ``recovery_states`` clients were away."""
    rooms_refused: int = 0
    """Rooms refused: their socket is in ``max_rooms``, or the name is another socket's id."""


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
        options: See :class:`shoal.settings.ServerSettings`. Those not given are read from ``SHOAL_*`` variables of the
            environment.

    Raises:
        ConfigurationError: An unknown option, or a value that does not fit.
    """

    log = logging.getLogger("shoal.server")

    def __init__(self, **options: Any) -> None:
        self.settings = ServerSettings.load(options)
        self.node = self.settings.node or f"{_socket.gethostname()}-{os.getpid()}"
        """Name of this node."""
        self.stats = ServerStats()
        self.encode = msgpack.encode if self.settings.parser == "msgpack" else socketio.encode
        """Packets to bytes, on the wire that the option ``parser`` names."""
        self.limits = Limits(self.settings.max_attachments, self.settings.max_attachment_bytes, self.settings.max_depth)
        self.engine: BaseEngine[ServerSettings] = BaseEngine(self.settings, self._attach)
        """Sessions and transports, without Socket.IO: ``on``, ``clients_count``."""
        self.ticker = Ticker(self.settings.io_uring)
        self.engine.settle = self.ticker.seal
        self.runners = Runners()
        self.clients: set[Client] = set()
        self.link: Link | None = None
        self.recovery = Recovery(self) if self.settings.connection_state_recovery else None
        self.namespaces = Namespaces(self)
        self._root = self.namespaces.of("/")
        self._app = EngineApp(self.engine, ClientFiles() if self.settings.serve_client else None)
        self._health = Health(self.not_ready)
        self._alone = self.asgi(None)
        self._started: asyncio.Future[None] | None = None
        if self.settings.broker != "memory://":
            bus = open_bus(self.settings.broker, limits=BusLimits(buffer_bytes=self.settings.broker_buffer))
            prefix = self.settings.channel_prefix
            self.link = Link(bus, self.engine.tag, self.node, prefix, self._deliver, self._link_changed)
            register_answers(self)
            self.link.open_namespace("/")

    def __repr__(self) -> str:
        return f"<server {self.node}, {len(self.clients)} clients>"

    # ---- for applications

    def on(self, event: str, *, concurrent: bool = False) -> Callable[[F], F]:
        """A decorator that registers a handler in ``/``. See :meth:`Namespace.on`."""
        return self._root.on(event, concurrent=concurrent)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a handler in ``/``, or all of an event."""
        self._root.off(event, function)

    def use(self, function: F) -> F:
        """Register middleware in ``/``. See :meth:`Namespace.use`."""
        return self._root.use(function)

    def of(self, matcher: Matcher, kind: type[Namespace] = Namespace) -> Namespace:
        """A namespace by name, or a dynamic one. See :meth:`Namespaces.of`."""
        return self.namespaces.of(matcher, kind)

    def on_server(self, event: str) -> Callable[[F], F]:
        """A decorator that registers a handler of what other servers say. See :meth:`Namespace.on_server`."""
        return self._root.on_server(event)

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say something to the other servers. See :meth:`Namespace.server_side_emit`."""
        self._root.server_side_emit(event, *args)

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

    def _home(self) -> Namespace:
        return self._root

    # ---- lifecycle

    async def start(self) -> None:
        """Connect to the broker. Done by the ASGI lifespan, or by the first request where there is none.

        Returns after the first attempt: a broker that is away makes the node not ready, it does not stop it.
        """
        if self._started is None:
            self._started = asyncio.ensure_future(self._start())
        if self._started.done():
            self._started.result()
        else:
            await asyncio.shield(self._started)

    async def _start(self) -> None:
        if self.link is not None:
            await self.link.start()

    async def close(self) -> None:
        """Close every connection with the reason ``server shutting down``, and the link to the broker.

        Handlers that are at work get a second and a half, then they are cancelled; disconnect handlers run in any case.
        A server with a broker cannot be started again afterwards.
        """
        self.ticker.seal()
        await self.engine.close()
        await self._run_out(RUN_OUT)
        self.runners.interrupt()
        await self._run_out(LAST_WORDS)
        await self.runners.close()
        if self.link is not None and self._started is not None:
            await self.link.close()
        self.ticker.forget_loop()
        if self.recovery is not None:
            self.recovery.rest()
        self._started = None

    async def _run_out(self, seconds: float) -> None:
        """Give what is under way a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.runners):  # noqa: ASYNC110 - at the end of a server's life, for a few turns
                    await asyncio.sleep(0.01)

    def run(self, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
        """Serve until SIGINT or SIGTERM, under uvicorn with the fast lane. See :func:`shoal.fastlane.serving.run`."""
        from ..fastlane.serving import run  # noqa: PLC0415 - uvicorn is needed only here

        run(self, host=host, port=port, **options)

    def asgi(self, other: Any = None) -> Beside:
        """This server in front of another ASGI application: everything outside its path goes there.

        ``/healthz`` and ``/readyz`` are answered here if the other application does not know them.
        """
        return Beside(self._app, self._health.behind(other), self.start, self.close, self.engine)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self._alone(scope, receive, send)

    def not_ready(self) -> str | None:
        """Why this node should get no new clients; ``None`` if it should."""
        if self.link is not None and not self.link.up:
            return "the link to the broker is down"
        return None

    # ---- glue

    def _attach(self, connection: Connection) -> None:
        self.stats.connections += 1
        self.clients.add(Client(self, connection))

    def new_socket_id(self) -> str:
        return new_socket_id(self.engine.tag)

    def _deliver(self, envelope: Envelope) -> None:
        """A broadcast of another node."""
        namespace = self.namespaces.by_name.get(envelope.namespace)
        if namespace is not None:
            if namespace.ears:
                tell_of_envelope(namespace, envelope)
            self.ticker.broadcast(
                namespace.rooms,
                envelope.rooms,
                envelope.excluded,
                envelope.text,
                envelope.attachments,
                envelope.volatile,
            )

    def _link_changed(self, up: bool) -> None:
        if not up:
            self.log.warning("%s: the link to the broker is down; this node is not ready until it is back", self.node)
