"""Who may open a session, and why not: Node's codes, origins, addresses, and the application's own decision.

It reads requests and answers none: how a refusal is worded in HTTP is up to those who carry the bytes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..http.cors import origins
from ..http.request import Request, trusted_address
from ..settings import EngineSettings
from .listeners import Listeners
from .stats import EngineStats
from .tasks import is_cancelled

__all__ = ["BAD_REQUEST", "UNKNOWN_SID", "Admission", "Refusal"]

log: Final = logging.getLogger("shoal.engine")

SUPPORTED_VERSION: Final = "4"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        code, message: As Node's server has them.
        status: Of the HTTP response that says so.
    """

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


class Admission:
    """Decides about the requests of one engine.

    Args:
        settings: The engine's.
        stats: Where a bound that was exceeded is counted.
        addresses: Sessions that each address has.
        listeners: Those of ``connection_error`` are called.
        log_once: Told of refusals that an option is the reason of, since the client learns no more than "Forbidden".
    """

    __slots__ = ("_addresses", "_listeners", "_log_once", "_settings", "_stats", "allow_request", "refused")

    def __init__(
        self,
        settings: EngineSettings,
        stats: EngineStats,
        addresses: Counter[str],
        listeners: Listeners,
        log_once: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._addresses = addresses
        self._listeners = listeners
        self._log_once = log_once
        self.allow_request: Callable[[Request], Any] | None = None
        """Decides about each handshake: ``None`` allows it, a text or a :class:`Refusal` does not. May be async."""
        self.refused: Counter[int] = Counter()
        """Refused requests, by code."""

    def check_polling(self, request: Request) -> Refusal | None:
        """Why the query of a request for long-polling is refused."""
        refusal = self._check(request)
        if refusal is None and request.query["transport"] != "polling":
            return BAD_REQUEST  # an HTTP request for a WebSocket
        return refusal

    def check_websocket(self, request: Request) -> Refusal | None:
        """Why the handshake of a WebSocket is refused, as far as its query and its headers say."""
        refusal = self._check(request)
        if refusal is None and request.query["transport"] != "websocket":
            refusal = BAD_REQUEST
        return refusal or self.check_origin(request)

    def _check(self, request: Request) -> Refusal | None:
        query = request.query
        if query.get("transport") not in self._settings.transports:
            return UNKNOWN_TRANSPORT
        if "sid" in query:
            return None
        if request.method != "GET":
            return BAD_METHOD
        if query.get("EIO") != SUPPORTED_VERSION:
            return BAD_VERSION
        return self._check_address(request)

    def _check_address(self, request: Request) -> Refusal | None:
        limit = self._settings.max_connections_per_address
        if not limit:
            return None
        address = trusted_address(request, self._settings.trusted_proxies)
        if self._addresses[address] < limit:
            return None
        self._stats.too_many_connections += 1
        self._log_once(
            "address", "%.100s has max_connections_per_address, %d, and is refused more; is it a proxy?", address, limit
        )
        return TOO_MANY

    def check_origin(self, request: Request) -> Refusal | None:
        """Browsers let any page open a WebSocket, so the server must look at the origin (RFC 6455 section 10.2)."""
        allowed = self._settings.cors_origins
        if allowed == "*":
            return None
        origin = request.headers.get("origin")
        if origin is None or origin in origins(allowed) or _same_origin(origin, request):
            return None
        self._stats.foreign_origins += 1
        self._log_once("origin", "a WebSocket is refused: its page's origin %.200r is not in cors_origins", origin)
        return FORBIDDEN

    async def ask_application(self, request: Request) -> Refusal | None:
        """Why ``allow_request`` refuses a handshake, if it does."""
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

    def refuse(self, refusal: Refusal, request: Request) -> Refusal:
        """Count a refused request and notify the listeners of ``connection_error``."""
        self.refused[refusal.code] += 1
        self._listeners.notify("connection_error", refusal, request)
        return refusal


def _same_origin(origin: str, request: Request) -> bool:
    return origin.partition("://")[2] == request.headers.get("host")
