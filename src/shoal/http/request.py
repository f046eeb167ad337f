"""One HTTP request as the engine sees it: where it came from, its query, its headers.

Headers of a WebSocket handshake are kept as the bytes that arrived and parsed when somebody asks: most never are, and a
dict of them would be the largest thing that an idle connection holds. Nothing here answers a request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["Request", "is_secure", "is_trusted", "trusted_address"]

MAX_FIELDS = 100
WHITE = " \t\n\r\x0b\x0c"  # as bytes.strip() has it: no-break spaces belong to a value
RawHeaders = bytes | Iterable[tuple[bytes, bytes]]


class Request:
    """A request.

    Args:
        method: In capitals.
        path: Decoded, without the query.
        query_string: As it came.
        raw_headers: Pairs of lower-case name and value, or a block of such lines.
        peer: Address of the other end of the connection, without its port.
        secure: Whether the connection to the client is encrypted.
        headers: What ``raw_headers`` says, if somebody knows already.
    """

    __slots__ = ("_headers", "_query", "method", "path", "peer", "query_string", "raw_headers", "secure")

    def __init__(
        self,
        method: str,
        path: str,
        query_string: bytes,
        raw_headers: RawHeaders,
        peer: str,
        secure: bool,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.method: str = method
        self.path: str = path
        self.query_string: bytes = query_string
        self.raw_headers: RawHeaders = raw_headers
        self.peer: str = peer
        self.secure: bool = secure
        self._headers = headers
        self._query: dict[str, str] | None = None

    def __dir__(self) -> list[str]:
        """What applications use; the rest is for those who carry requests."""
        return ["headers", "method", "path", "peer", "query", "secure", "url"]

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> Request:
        """The request of an ASGI scope of type ``http`` or ``websocket``."""
        client = scope.get("client")
        return cls(
            scope.get("method", "GET"),
            scope["path"],
            scope["query_string"],
            scope["headers"],
            client[0] if client else "",
            scope.get("scheme") in {"https", "wss"},
        )

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; of one that came several times, the values joined by commas."""
        if self._headers is None:
            raw = self.raw_headers
            if isinstance(raw, bytes):
                pairs = [line.partition(":")[::2] for line in raw.decode("latin-1").split("\r\n") if line]
            else:
                pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
            headers: dict[str, str] = {}
            for name, value in pairs:
                key, text = name.strip(WHITE).lower(), value.strip(WHITE)
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
            self._headers = headers
        return self._headers

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that came several times, the last."""
        if self._query is None:
            text = self.query_string.decode("latin-1")
            if "%" not in text and "+" not in text and text.count("&") < MAX_FIELDS:
                # What every official client sends needs no decoding.
                self._query = dict([field.partition("=")[::2] for field in text.split("&") if field])
                return self._query
            try:
                self._query = dict(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS))
            except ValueError:  # more fields than anybody needs
                self._query = {}
        return self._query

    @property
    def subprotocol(self) -> str | None:
        """The first WebSocket subprotocol that the client offers: as Node's server, we agree to whatever it is."""
        first = self.headers.get("sec-websocket-protocol", "").partition(",")[0].strip()
        return first or None

    @property
    def wants_base64(self) -> bool:
        """Whether the client takes binary as base64 text alone."""
        return b"b64=" in self.query_string and self.query.get("b64") not in (None, "")

    @property
    def url(self) -> str:
        """Path and query."""
        query = self.query_string.decode("latin-1")
        return f"{self.path}?{query}" if query else self.path

    def forget(self) -> None:
        """Drop what was parsed; it is parsed again when it is asked for."""
        self._headers = self._query = None


def trusted_address(request: Request, proxies: tuple[str, ...]) -> str:
    """The client's address: what ``X-Forwarded-For`` says, as far back as each hop that added to it is trusted."""
    address = request.peer
    forwarded = request.headers.get("x-forwarded-for", "")
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not is_trusted(address, proxies):
            break
        address = hop
    return address


def is_secure(request: Request, proxies: tuple[str, ...]) -> bool:
    """Whether the client's connection is encrypted, or a trusted proxy says that it is."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return request.secure or (forwarded in {"https", "wss"} and is_trusted(request.peer, proxies))


def is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    """Whether an address is one of ``proxies``, or in one of their networks. Who has none came by a Unix socket."""
    if "*" in proxies or (address or "unix") in proxies:
        return True
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any("/" in proxy and peer in ipaddress.ip_network(proxy, strict=False) for proxy in proxies)
