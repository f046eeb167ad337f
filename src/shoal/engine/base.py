"""An engine, put together: its context, the table of its sessions, who may open one, and the listeners of its events.

:class:`BaseEngine` is what :class:`shoal.Engine` and :class:`shoal.Server` stand on. It knows sessions; what a message
means is up to whoever takes a new session. Reading requests is left to :mod:`shoal.asgi` and :mod:`shoal.fastlane`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from ..fanout.outbox import Outbox, OutboxStats
from ..http.request import Request
from ..protocol.session import State
from ..settings import EngineSettings
from ..signatures import require_signature
from .admission import Admission
from .connection import Connection
from .context import EngineContext, new_context
from .forwarder import Forwarder
from .ids import new_tag, session_prefix
from .listeners import F, Handler, Listeners
from .sessions import SessionTable
from .stats import EngineStats
from .stop_sign import StopSign

__all__ = ["BaseEngine"]

S = TypeVar("S", bound=EngineSettings)

# What applications use of an engine; the rest is for those who carry its sessions.
PUBLIC: Final = frozenset(
    {
        "allow_request",
        "clients_count",
        "close",
        "off",
        "on",
        "outbox_stats",
        "refused",
        "run",
        "serve",
        "sessions",
        "settings",
        "stats",
    }
)
HANDLER_TIMEOUT: Final = 0.5  # seconds for the handlers of `disconnect` when an engine is closed


def _nothing() -> None:
    """Messages alone go to one session each: nothing is collected."""


class BaseEngine(Generic[S]):
    """Sessions of one endpoint on one node. Belongs to one event loop once it has been used.

    Args:
        settings: Its options.
        on_session: Called with each new session, right after its OPEN packet was sent; sets the session's receiver.
        settle: Called before a session is closed in order: lays what this turn emitted to many into its outbox.
        node: Name of the node, for session ids to begin with; see :func:`.ids.session_prefix`.
        collect: Writes an outbox at the end of the turn.
    """

    EVENTS: Mapping[str, tuple[str, ...]] = {
        "connection_error": ("refusal", "request"),
        "headers": ("headers", "request"),
        "initial_headers": ("headers", "request"),
    }
    """The events that there are, and what their handlers are called with."""

    def __init__(
        self,
        settings: S,
        on_session: Callable[[Connection], None],
        settle: Callable[[], None] = _nothing,
        node: str = "",
        collect: Callable[[Outbox, bytes], None] | None = None,
    ) -> None:
        self.settings = settings
        """Its options. Frozen."""
        self.on_session = on_session
        self.tag: str = new_tag()
        self.context: EngineContext = new_context(settings, settle, collect)
        self.stats: EngineStats = self.context.stats
        """What it has counted."""
        self.listeners: Listeners = Listeners(self.EVENTS, self.context.tasks)
        self.table: SessionTable = SessionTable(self.context, session_prefix(node, self.tag))
        self.admission: Admission = Admission(
            settings, self.stats, self.table.addresses, self.listeners, self.context.log_once
        )
        self.forwarder: Forwarder = Forwarder(self.context, self.tag)

        self._stop_sign = StopSign(self._stop_polling)
        self.hears_signals: bool = True
        """Whether :meth:`begin` looks out for the server's end; not where the server tells it."""

    def begin(self) -> None:
        """The server begins to serve: see that it is told to stop, and answer the polls that wait, then."""
        if self.hears_signals:
            self._stop_sign.watch()

    def listen(self, send: Any) -> None:
        """As :meth:`begin`, to a server that tells it to those who ask what it gave as ASGI's ``send``."""
        self._stop_sign.listen(send)

    def _stop_polling(self) -> None:
        for connection in list(self.sessions.values()):
            if connection.state is not State.WEBSOCKET:
                connection.close("server shutting down")
        self.forwarder.stop()

    def __dir__(self) -> list[str]:
        return sorted(PUBLIC & {*super().__dir__()})

    def on(self, event: str) -> Callable[[F], F]:
        """Register a handler of an event: ``connection_error`` (refusal, request), ``initial_headers`` and ``headers``
        (dict to change, request); those of :class:`shoal.Engine` besides.
        """
        return self.listeners.on(event)

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget a handler, or all of an event."""
        self.listeners.off(event, handler)

    @property
    def sessions(self) -> dict[str, Connection]:
        """Sessions that are open on this node, by id."""
        return self.table.by_id

    @property
    def clients_count(self) -> int:
        """How many sessions are open on this node."""
        return len(self.table.by_id)

    @property
    def refused(self) -> Counter[int]:
        """Refused requests, by code."""
        return self.admission.refused

    @property
    def outbox_stats(self) -> OutboxStats:
        """What the outboxes of all sessions have counted."""
        return self.context.outbox_rules.stats

    @property
    def allow_request(self) -> Callable[[Request], Any] | None:
        """Decides about each handshake; see :attr:`.Admission.allow_request`."""
        return self.admission.allow_request

    @allow_request.setter
    def allow_request(self, function: Callable[[Request], Any] | None) -> None:
        if function is not None:
            require_signature(function, "allow_request", ("request",))
        self.admission.allow_request = function

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
            self.listeners.notify("initial_headers", headers, request)
        self.listeners.notify("headers", headers, request)
        pairs = [(str(name), str(value)) for name, value in headers.items()]
        return [(name, value) for name, value in pairs if not set("\r\n\0") & set(name + value)]

    async def close(self, reason: str = "server shutting down") -> None:
        """Close every session and stop all tasks. The engine can be used again afterwards, on another loop too."""
        self._stop_sign.forget()
        for connection in list(self.sessions.values()):
            connection.close(reason)
        self.forwarder.close()
        await self.context.tasks.close(HANDLER_TIMEOUT)
