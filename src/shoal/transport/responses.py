"""Whole HTTP responses over ASGI, in two messages. Knows nothing of what they answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["respond"]


async def respond(send: Any, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
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
