"""Run an ASGI application under uvicorn, with the fast lane where the application has an engine.

uvicorn does HTTP, TLS, lifespan and signals. This module opens the listening sockets itself and looks at the
certificate, so that what is wrong with them is one clear error before anything starts.

The plain twin is ``uvicorn module:app``; ``tests/interop`` runs the same cases over both.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from ..asgi.application import ASGIApp
from ..asgi.lifespan import WithServers
from ..engine.base import BaseEngine
from ..engine.stats import EngineStats
from ..errors import ConfigurationError
from ..fastlane.bounded_http import BoundedHttp
from ..fastlane.first_bytes import FirstBytesProtocol
from ..fastlane.upgrade import UpgradeProtocol
from ..settings import EngineSettings
from .accepting import Crowd, takes_one_at_a_time
from .listening import BACKLOG, listen, listen_unix
from .tls import check_certificate

__all__ = ["run", "serve"]

log: Final = logging.getLogger("shoal.engine")

# glibc returns the top of its heap to the system once 128 KiB there are free. A message of 64 KiB is several blocks of
# that size for a moment, which each message would take anew, page by page: half of its cost. When a block that was
# mapped for itself is freed, glibc raises that bound to twice its size (mallopt(3), M_MMAP_THRESHOLD). 1 MiB is the
# largest message by default. Nothing is written to the block, so it takes no memory; with another malloc it is nothing.
HEAP_BLOCK: Final = 1 << 20
# Requests that are being answered get this long when the server stops; connections are told to close at once.
GRACEFUL_SHUTDOWN: Final = 3
# asyncio's own loop makes a task for a connection that it has accepted, which makes the transport in the next turn, and
# the protocol is told in the one after. Only then does uvicorn know of the connection, and closes it.
TURNS_UNTIL_CONNECTED: Final = 2


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to listen."""

    host: str
    port: int
    uds: str | None
    shared_port: int | None
    sockets: Sequence[socket.socket] | None


def run(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    uds: str | None = None,
    shared_port: int | None = None,
    sockets: Sequence[socket.socket] | None = None,
    log_level: str = "info",
    on_started: Callable[[], None] | None = None,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int | None = None,
    ssl_cert_reqs: int | None = None,
    ssl_ca_certs: str | None = None,
    ssl_ciphers: str | None = None,
) -> None:
    """Serve an application until SIGINT or SIGTERM.

    Args:
        app: Any ASGI application; a :class:`shoal.Server` or :class:`shoal.Engine`, alone or in front of another one,
            gets the fast lane.
        host: Address to listen on.
        port: Port to listen on.
        uds: Path of a Unix socket to listen on, in place of host and port.
        shared_port: A second port, which other processes may listen on too: the kernel spreads connections over them.
        sockets: Sockets that listen already, in place of host and port. Other processes may have them as well, so a
            cluster's node must be told where the others reach it: ``advertise``.
        log_level: Level of uvicorn's log.
        on_started: Called once connections are accepted.
        ssl_certfile, ssl_keyfile: PEM files; with them, TLS.
        ssl_keyfile_password: Of an encrypted key.
        ssl_version: A protocol, as the module ``ssl`` numbers them. ``None`` is what uvicorn takes.
        ssl_cert_reqs: Whether clients need certificates, as ``ssl`` numbers it. ``None`` is no.
        ssl_ca_certs: A PEM file: whose certificates of clients are accepted.
        ssl_ciphers: In OpenSSL's words. ``None`` is what uvicorn takes.

    Raises:
        ConfigurationError: An address cannot be listened on, a certificate cannot be used, ``app`` is no ASGI
            application, or a loop runs here.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError(
            "run() starts an event loop, and one is running here already: write `await io.serve(...)`, which takes the "
            "same arguments, or call run() outside of asyncio"
        )
    tls = _tls(locals())
    place = _Place(host, port, uds, shared_port, sockets)
    with _ready(app, place, log_level, on_started, tls) as (server, listeners):
        # What is here once it listens stays until the end: the collector need not look through it each time that many
        # clients come.
        server.before_started = gc.freeze
        bytes(HEAP_BLOCK)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after an orderly stop
            server.run(sockets=listeners)
        if not server.started:
            sys.exit(1)


async def serve(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    uds: str | None = None,
    shared_port: int | None = None,
    sockets: Sequence[socket.socket] | None = None,
    log_level: str = "info",
    on_started: Callable[[], None] | None = None,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int | None = None,
    ssl_cert_reqs: int | None = None,
    ssl_ca_certs: str | None = None,
    ssl_ciphers: str | None = None,
) -> None:
    """As :func:`run`, on the loop that runs.

    Returns after SIGINT or SIGTERM, which it leaves to others in any thread but the main one. Cancelled, it stops in
    order first; cancelled again, it does not wait for what is still under way.

    Raises:
        ConfigurationError: As for :func:`run`, or the application has failed to start.
    """
    tls = _tls(locals())
    place = _Place(host, port, uds, shared_port, sockets)
    with _ready(app, place, log_level, on_started, tls) as (server, listeners):
        task = asyncio.create_task(_serve(server, listeners))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await _stop(server, task)
            raise


def _tls(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of arguments those that uvicorn's TLS is to have."""
    return {name: value for name, value in arguments.items() if name.startswith("ssl_") and value is not None}


async def _serve(server: _Server, sockets: list[socket.socket]) -> None:
    # uvicorn exits, or in older versions returns, where the application fails to start.
    with contextlib.suppress(SystemExit):
        await server.serve(sockets=sockets)
    if not server.started:
        raise ConfigurationError("the application has failed to start; the log says why")


async def _stop(server: _Server, task: asyncio.Task[None]) -> None:
    server.should_exit = True
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            server.force_exit = True


@contextlib.contextmanager
def _ready(
    app: Any, place: _Place, log_level: str, on_started: Callable[[], None] | None, tls: dict[str, Any]
) -> Iterator[tuple[_Server, list[socket.socket]]]:
    """A server for an application, with the sockets that it listens on for the length of the block."""
    if not callable(app):
        raise ConfigurationError(f"{type(app).__name__} is no ASGI application")
    check_certificate(tls)
    engine = engine_of(app)
    engines = [] if engine is None else [engine]
    if isinstance(app, WithServers):
        engines += [server.engine for server in app.servers]
    with contextlib.ExitStack() as stack:
        sockets = list(_open(place, stack))
        if place.sockets is None and place.uds is None:
            for each in engines:
                each.forwarder.listens_at(sockets[0].getsockname(), secure=bool(tls))
        config = uvicorn.Config(
            app,
            lifespan="on" if engine is not None else "auto",
            ws=_websocket_class(app),
            http=_http_class(app),
            log_level=log_level,
            log_config=None,
            access_log=False,
            server_header=False,
            # For our own requests `trusted_proxies` decides; the application behind keeps uvicorn's.
            proxy_headers=engine is None or isinstance(app, ASGIApp | WithServers),
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN,
            backlog=BACKLOG,
            **tls,
        )
        # Not left to the end of the block: at a SIGTERM uvicorn ends the process before that.
        yield _Server(config, engines, on_started, stack.close), sockets


def _open(place: _Place, stack: contextlib.ExitStack) -> Iterator[socket.socket]:
    if place.sockets is not None:
        yield from place.sockets
    elif place.uds is not None:
        yield stack.enter_context(listen_unix(place.uds))
    else:
        yield stack.enter_context(listen(place.host, place.port))
    if place.shared_port is not None:
        yield stack.enter_context(listen(place.host, place.shared_port, shared=True))


class _Server(uvicorn.Server):
    """uvicorn's server, with a callback when it listens, which closes the sessions before it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        engines: Sequence[BaseEngine[Any]],
        on_started: Callable[[], None] | None,
        stop_listening: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._stop_listening = stop_listening
        self._crowd: Crowd | None = None
        self._engines = engines
        for engine in engines:
            engine.hears_signals = False  # shutdown() tells it, once nobody else can come
        self._on_started = on_started
        self.before_started: Callable[[], None] = _nothing
        """Called once it listens, before ``on_started``."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets is not None and takes_one_at_a_time(asyncio.get_running_loop()):
            self._watch_for_crowds(sockets)
        await super().startup(sockets)
        self.before_started()
        if self.started and self._on_started is not None:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sessions first: a waiting poll would delay uvicorn, and clients can leave for other nodes."""
        for listener in self.servers:
            listener.close()
        if self._crowd is not None:
            self._crowd.close()
        self._stop_listening()
        for _ in range(TURNS_UNTIL_CONNECTED):
            await asyncio.sleep(0)
        for engine in self._engines:
            for session in list(engine.sessions.values()):
                session.close("server shutting down")
            engine.forwarder.stop()
        await super().shutdown(sockets)

    def _watch_for_crowds(self, sockets: Sequence[socket.socket]) -> None:
        config, make = self.config, self.config.http_protocol_class

        def counted(**arguments: Any) -> Any:
            crowd.count()
            return make(**arguments)

        config.http_protocol_class = counted  # type: ignore[assignment] # what uvicorn does with it is to call it
        connect = functools.partial(
            counted, config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        crowd = self._crowd = Crowd(sockets, connect, tls=config.ssl, backlog=config.backlog)


def _nothing() -> None:
    """What is to be done before a server in somebody else's process has started."""


def engine_of(app: Any) -> BaseEngine[Any] | None:
    """The engine that an application is, or has as its attribute ``engine``."""
    if isinstance(app, BaseEngine):
        return app
    engine = getattr(app, "engine", None)
    return engine if isinstance(engine, BaseEngine) else None


def _websocket_class(app: Any) -> Any:
    engine = engine_of(app)
    return "auto" if engine is None else functools.partial(UpgradeProtocol, engine, _stock_websockets())


def _http_class(app: Any) -> Any:
    engine = engine_of(app)
    if engine is None:
        return functools.partial(BoundedHttp, EngineSettings(), EngineStats())
    return functools.partial(FirstBytesProtocol, engine, _stock_websockets())


def _stock_websockets() -> Any:
    return importlib.import_module("uvicorn.protocols.websockets.auto").AutoWebSocketsProtocol
