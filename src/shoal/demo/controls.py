"""Killing a server from the page: who may, and the word to whoever started the servers.

The right comes with the environment: ``SHOAL_DEMO_CONTROL=WHO:PORT:SECRET`` names a port on loopback that takes one
line and answers with one. Without it nothing can be killed. Requests are judged here; what becomes of a server is
decided there.

A request must come from the page itself. Browsers say in ``Origin`` whose script asks, and let no other site add the
header ``X-Shoal-Page``, since nothing here allows it to. ``Host`` must be an address or ``localhost``: a site that lets
its own name point to this machine would pass for the page otherwise. With ``WHO`` ``local`` it must be loopback, and so
must every address that the request has come from, as far as proxies tell.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["ENVIRONMENT", "Controls", "Refused"]

ENVIRONMENT = "SHOAL_DEMO_CONTROL"
PATIENCE = 3.0
"""Seconds that the other side may take to answer."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SETTING = re.compile(r"(local|all):(\d{1,5}):([A-Za-z0-9_-]{16,128})")
_ANSWERS = {"killed": 200, "unknown": 404, "down": 409}


class Refused(Exception):
    """A request that is not carried out.

    Attributes:
        status: HTTP status.
        reason: Why, in words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Controls:
    """What may be done from the page, and with whose help.

    Args:
        who: ``local``: who sits at this machine; ``all``: whoever can open the page; empty: nobody.
        port: Where the word goes, on loopback.
        secret: What proves that it is this server's word.
    """

    who: str = ""
    port: int = 0
    secret: str = ""

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read them from the environment. What is not understood allows nothing."""
        match = _SETTING.fullmatch(environment.get(ENVIRONMENT, ""))
        return cls(match[1], int(match[2]), match[3]) if match else cls()

    def allow(self, scope: Mapping[str, Any]) -> bool:
        """Whether the page that this request opens may have the button."""
        if not self.who:
            return False
        headers = _headers(scope)
        host = _one(headers, b"host")
        if not _is_address(host, loopback=self.who == "local"):
            return False
        return self.who == "all" or _came_from_here(scope, headers)

    def check(self, scope: Mapping[str, Any]) -> None:
        """Return if this request may kill.

        Raises:
            Refused: It may not.
        """
        if not self.allow(scope):
            raise Refused(403, "servers cannot be killed from here")
        _check_origin(_headers(scope))

    async def kill(self, scope: Mapping[str, Any], node: str) -> None:
        """Have a server killed, if this request may.

        Raises:
            Refused: It may not, there is no such server, or it is down already.
        """
        self.check(scope)
        if not NAME.fullmatch(node):
            raise Refused(404, "there is no such server")
        status = _ANSWERS.get(answer := await self._ask(f"kill {node}"), 502)
        if status != 200:
            raise Refused(
                status, {"unknown": "there is no such server", "down": "it is down already"}.get(answer, answer)
            )

    async def _ask(self, words: str) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"{self.secret} {words}\n".encode())
                    return (await reader.readline()).decode("ascii", "replace").strip() or "no answer"
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return "nobody is there to kill it"


def _headers(scope: Mapping[str, Any]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


def _one(headers: Mapping[bytes, list[bytes]], name: bytes) -> str:
    """The header's only value, or nothing if it is missing or comes twice."""
    values = headers.get(name, [])
    return values[0].decode("latin-1") if len(values) == 1 else ""


def _check_origin(headers: Mapping[bytes, list[bytes]]) -> None:
    origin = _one(headers, b"origin")
    scheme, _, rest = origin.partition("://")
    site = _one(headers, b"sec-fetch-site") or "same-origin"
    if scheme not in ("http", "https") or not rest or rest.lower() != _one(headers, b"host").lower():
        raise Refused(403, "another site's page may not do this")
    if site != "same-origin" or not _one(headers, b"x-shoal-page"):
        raise Refused(403, "only the page itself may do this")


def _is_address(host: str, *, loopback: bool) -> bool:
    """Whether ``host``, with or without a port, is ``localhost`` or an address, which no name server can redirect."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost":
            return True
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not loopback


def _came_from_here(scope: Mapping[str, Any], headers: Mapping[bytes, list[bytes]]) -> bool:
    if b"forwarded" in headers or b"x-real-ip" in headers:  # no balancer that `shoal up` starts says it so
        return False
    chain = b",".join(headers.get(b"x-forwarded-for", []))
    client = scope.get("client") or ("",)
    named = [each.strip() for each in chain.decode("latin-1").split(",")] if chain else []
    return all(_is_loopback(each) for each in [str(client[0]), *named])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
