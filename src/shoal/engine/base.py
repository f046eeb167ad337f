"""The table of sessions, their heartbeat, and who may open one.

:class:`BaseEngine` is what :class:`shoal.Engine` and :class:`shoal.Server` stand on. It knows transports and sessions;
what a message means is up to whoever attaches to a new session. Reading requests is left to :mod:`.asgi` and
:mod:`.fastlane`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from ..errors import ConfigurationError
from ..fanout.outbox import OutboxRules, OutboxStats
from ..http.cors import origins
from ..http.request import Request, is_trusted, trusted_address
from ..protocol.engineio import Packet, encode_open
from ..protocol.session import State
from ..settings import EngineSettings
from .connection import Connection
from .ids import new_session_id, new_tag
from .stats import EngineStats
from .wheel import Wheel

__all__ = ["BaseEngine", "Refusal"]

log = logging.getLogger("shoal.engine")

Handler = Callable[..., Any]
S = TypeVar("S", bound=EngineSettings)
F = TypeVar("F", bound=Handler)

MAX_ID_LENGTH: Final = 64
LAST_WORDS: Final = 0.5  # seconds for the handlers of `disconnect` when an engine is closed
SUPPORTED_VERSION: Final = "4"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: Node's code and message, and the HTTP status that says so."""

    code: int
    message: str
    status: int = 400


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
BAD_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", 403)
BAD_VERSION: Final = Refusal(5, "Unsupported protocol version")
TOO_MANY: Final = Refusal(4, "Too many connections from this address", 429)


class BaseEngine(Generic[S]):
    """Sessions of one endpoint on one node. Belongs to one event loop once it has been used.

    Args:
        settings: Its options.
        attach: Called with each new session, before its OPEN packet is sent; sets the session's callbacks.
    """

    EVENTS: tuple[str, ...] = ("connection_error", "headers", "initial_headers")

    def __init__(self, settings: S, attach: Callable[[Connection], None]) -> None:
        self.settings = settings
        self.attach = attach
        self.tag = new_tag()
        self.wheel = Wheel(min(0.5, max(0.005, min(settings.ping_interval, settings.ping_timeout) / 20)))
        self.sessions: dict[str, Connection] = {}
        self.farewells: dict[str, list[Packet]] = {}
        """Last packets of sessions that were closed while they did not poll; each lane removes its own in time."""
        self.stats = EngineStats()
        self.outbox_stats = OutboxStats()
        self.outbox_rules = OutboxRules(settings.max_outbox, settings.outbox_policy, self.outbox_stats)
        self.listeners: dict[str, list[Handler]] = {}
        self.allow_request: Callable[[Request], Any] | None = None
        """Decides about each handshake: ``None`` allows it, a text or a :class:`Refusal` does not. May be async."""
        self.refused: Counter[int] = Counter()
        """Refused requests, by code."""
        self.opened = 0
        self.settle: Callable[[], None] = _nothing
        """Called before a session is closed in order: lays what this turn emitted to many into its outbox."""
        self.addresses: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._logged: set[str] = set()

    def on(self, event: str) -> Callable[[F], F]:
        """Register a handler of an event; see the class for their names and arguments."""
        if event not in self.EVENTS:
            raise ConfigurationError(f"unknown event {event!r}; the events are {', '.join(self.EVENTS)}")

        def register(handler: F) -> F:
            self.listeners.setdefault(event, []).append(handler)
            return handler

        return register

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget a handler, or all of an event."""
        left = [other for other in self.listeners.get(event, ()) if handler is not None and other != handler]
        if left:
            self.listeners[event] = left
        else:
            self.listeners.pop(event, None)

    @property
    def clients_count(self) -> int:
        """Sessions that are open on this node."""
        return len(self.sessions)

    # ---- who may come in

    def check_version(self, request: Request) -> Refusal | None:
        """The part of the handshake that only looks at the request's query and headers."""
        query = request.query
        if query.get("transport") not in self.settings.transports:
            return UNKNOWN_TRANSPORT
        if "sid" in query:
            return None
        if request.method != "GET":
            return BAD_METHOD
        if query.get("EIO") != SUPPORTED_VERSION:
            return BAD_VERSION
        return self._check_address(request)

    def _check_address(self, request: Request) -> Refusal | None:
        limit = self.settings.max_connections_per_address
        if not limit or self.addresses[self.address_of(request)] < limit:
            return None
        self.stats.too_many_connections += 1
        return TOO_MANY

    def check_websocket(self, request: Request) -> Refusal | None:
        """As :meth:`check_version`, for a WebSocket: its transport and its origin too."""
        refusal = self.check_version(request)
        if refusal is None and request.query["transport"] != "websocket":
            refusal = BAD_REQUEST
        return refusal or self.check_origin(request)

    def check_origin(self, request: Request) -> Refusal | None:
        """Browsers let any page open a WebSocket, so the server must look at the origin (RFC 6455 section 10.2)."""
        allowed = self.settings.cors_origins
        if allowed == "*":
            return None
        origin = request.headers.get("origin")
        if origin is None or origin in origins(allowed) or _same_origin(origin, request):
            return None
        self.stats.foreign_origins += 1
        return FORBIDDEN

    async def ask_application(self, request: Request) -> Refusal | None:
        """What ``allow_request`` says of a handshake."""
        if self.allow_request is None or "sid" in request.query:
            return None  # an upgrade: its session was allowed
        try:
            answer = self.allow_request(request)
            if inspect.isawaitable(answer):
                answer = await answer
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            log.exception("allow_request failed; the client is refused")
            return FORBIDDEN
        if answer is None or answer is True or isinstance(answer, Refusal):
            return answer if isinstance(answer, Refusal) else self._check_address(request)  # others came meanwhile
        return Refusal(4, answer, 403) if isinstance(answer, str) else FORBIDDEN

    def address_of(self, request: Request) -> str:
        """Address of the client, behind the proxies that are trusted."""
        return trusted_address(request, self.settings.trusted_proxies)

    def is_secure(self, request: Request) -> bool:
        """Whether the client's connection is encrypted, or a trusted proxy says that it is."""
        forwarded = request.headers.get("x-forwarded-proto", "")
        return request.secure or (
            forwarded in {"https", "wss"} and is_trusted(request.peer, self.settings.trusted_proxies)
        )

    def refuse(self, refusal: Refusal, request: Request) -> Refusal:
        """Count a refused request and tell ``connection_error`` listeners."""
        self.refused[refusal.code] += 1
        self.tell("connection_error", refusal, request)
        return refusal

    # ---- sessions

    def open(self, state: State, request: Request) -> tuple[Connection, str]:
        """Open a session. Returns it and its OPEN packet, which the lane must send first."""
        settings = self.settings
        connection = Connection(self, new_session_id(self.tag), state, request)
        self.sessions[connection.sid] = connection
        self.opened += 1
        if settings.max_connections_per_address:
            self.addresses[self.address_of(request)] += 1
        self.wheel.place(connection, connection.due)
        can_upgrade = state is State.POLLING and settings.allow_upgrades and "websocket" in settings.transports
        upgrades = ("websocket",) if can_upgrade else ()
        return connection, encode_open(
            connection.sid, upgrades, settings.ping_interval, settings.ping_timeout, settings.max_payload
        )

    def forget(self, connection: Connection) -> None:
        """Called by a session at its end."""
        self.sessions.pop(connection.sid, None)
        self.wheel.remove(connection)
        if self.settings.max_connections_per_address:
            address = self.address_of(connection.request)
            self.addresses[address] -= 1
            if self.addresses[address] <= 0:
                del self.addresses[address]

    async def close(self, reason: str = "server shutting down") -> None:
        """Close every session and stop all timers. The engine can be used again afterwards."""
        for connection in list(self.sessions.values()):
            connection.close(reason)
        if self._tasks:  # a task that is cancelled before its first step never runs: let those begin
            await asyncio.wait(set(self._tasks), timeout=LAST_WORDS)
        while self._tasks:  # again for what a cancelled one begins at its end
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # The old one turns until it is empty: a client that still owes its close frame keeps its deadline.
        self.wheel = Wheel(self.wheel.resolution)

    # ---- helpers of the lanes

    def later(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the next turn of the loop."""
        asyncio.get_running_loop().call_soon(action)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in a task that the engine owns: it is cancelled at :meth:`close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the engine failed", exc_info=task.exception())

    def tell(self, event: str, *args: Any) -> None:
        """Call the listeners of an engine event. One that raises is logged; coroutines run each in a task."""
        for work in self.call(event, *args):
            self.spawn(work)

    def call(self, event: str, *args: Any) -> list[Coroutine[Any, Any, Any]]:
        """Call the listeners of an event; returns the coroutines that are to be awaited for those who are async."""
        works: list[Coroutine[Any, Any, Any]] = []
        for listener in self.listeners.get(event, ()):
            try:
                result = copy_context().run(listener, *args)  # what it sets is not for the next client
                if inspect.iscoroutine(result):
                    works.append(result)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                log.exception("a listener of %r failed", event)
        return works

    def extra_headers(self, request: Request, *, first: bool, sid: str | None = None) -> list[tuple[str, str]]:
        """Response headers that listeners add, and the session's cookie.

        Args:
            request: What is answered.
            first: Whether a session begins with it: listeners of ``initial_headers`` are asked too.
            sid: Id of that session, for the cookie.
        """
        headers: dict[str, str] = {}
        if sid is not None and self.settings.cookie:
            headers["set-cookie"] = f"{self.settings.cookie}={sid}; Path=/; HttpOnly; SameSite=Lax"
        if first:
            self.tell("initial_headers", headers, request)
        self.tell("headers", headers, request)
        pairs = [(str(name), str(value)) for name, value in headers.items()]
        return [(name, value) for name, value in pairs if not set("\r\n\0") & set(name + value)]

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self.wheel.now()

    def log_once(self, key: str, message: str, *args: Any) -> None:
        """Log a warning the first time that something of its kind happens."""
        if key not in self._logged:
            self._logged.add(key)
            log.warning(message + " (logged once; counted in the metrics)", *args)


def is_cancelled(error: BaseException) -> bool:
    """Whether the running task itself is told to end. A handler that awaits something cancelled only fails."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _nothing() -> None:
    """Messages alone go to one session each: nothing is collected."""


def _same_origin(origin: str, request: Request) -> bool:
    return origin.partition("://")[2] == request.headers.get("host")
