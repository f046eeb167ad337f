"""Whole HTTP responses, as values and over ASGI, in two messages. Knows nothing of what they answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["Header", "Response", "respond"]

Header = tuple[bytes, bytes]


class Response(NamedTuple):
    """An HTTP response that is not sent yet."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    """Without ``content-length``."""


async def respond(send: Any, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
    """Send a response.

    Args:
        send: ASGI's.
        status: HTTP status.
        body: All of it.
        headers: Without ``content-length``, which is added.
    """
    all_headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
