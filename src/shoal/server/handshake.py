"""What a socket knows of how its client came in. Most of it is worked out when it is asked for."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from ..engine.connection import Connection
from ..http.request import Request
from ..protocol.values import iso_text

__all__ = ["Handshake"]


class Handshake:
    """The handshake of one socket, with the names that Node's server gives its parts."""

    __slots__ = ("_connection", "auth", "issued")

    def __init__(self, connection: Connection, auth: dict[str, Any] | None) -> None:
        self._connection = connection
        self.auth: dict[str, Any] = {} if auth is None else auth
        """What the client gave as ``auth``; ``{}`` when it gave nothing."""
        self.issued: float = time.time()
        """When the socket was made: seconds since the epoch."""

    @property
    def request(self) -> Request:
        """The request that opened the connection."""
        return self._connection.request

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        return self.request.headers

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the query."""
        return self.request.query

    @property
    def url(self) -> str:
        """Path and query."""
        return self.request.url

    @property
    def address(self) -> str:
        """The client's address; from ``X-Forwarded-For`` only as far as the proxies are trusted."""
        return self._connection.address

    @property
    def secure(self) -> bool:
        """Whether the client's connection is encrypted, by its own or by a trusted proxy's word."""
        return self._connection.secure

    @property
    def time(self) -> str:
        """When the socket was made, as ISO 8601 text."""
        return iso_text(dt.datetime.fromtimestamp(self.issued, dt.UTC))
