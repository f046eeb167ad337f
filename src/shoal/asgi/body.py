"""The body of a request over ASGI, with a bound. What it is for is not known here."""

from __future__ import annotations

from typing import Any

__all__ = ["read_body"]


async def read_body(receive: Any, limit: int) -> bytes | None:
    """The request's body, or ``None`` as soon as it is larger than ``limit``.

    Raises:
        ConnectionResetError: The client left before all of it was there.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return bytes(body)
