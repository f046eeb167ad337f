"""``/healthz`` and ``/readyz``: is the process alive, and should it get new clients.

It asks one function and knows no server. An application that stands beside the server may answer these paths itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from ..http.responses import respond

__all__ = ["Health"]

JSON: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
PATHS: Final = frozenset({"/healthz", "/readyz"})


class Health:
    """Answers for one node.

    Args:
        not_ready: Says why the node is not ready, or ``None``.
    """

    def __init__(self, not_ready: Callable[[], str | None]) -> None:
        self._not_ready = not_ready

    async def answer(self, path: str, send: Any) -> None:
        """Answer one of the two paths: 200, or 503 with the reason."""
        reason = self._not_ready() if path == "/readyz" else None
        body = {"status": "ok"} if reason is None else {"status": "not ready", "reason": reason}
        await respond(send, 200 if reason is None else 503, orjson.dumps(body), JSON)

    def behind(self, other: Any) -> Any:
        """An application that asks ``other`` first, and answers the two paths where that says 404.

        Args:
            other: An ASGI application, or ``None``.
        """

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["path"] not in PATHS:
                await (other or _nobody)(scope, receive, send)
                return
            missing = other is None

            async def intercept(message: Any) -> None:
                nonlocal missing
                missing = missing or (message["type"] == "http.response.start" and message["status"] == 404)
                if not missing:
                    await send(message)

            if other is not None:
                await other(scope, receive, intercept)
            if missing:
                await self.answer(scope["path"], send)

        return app


async def _nobody(scope: Any, receive: Any, send: Any) -> None:
    """The application of a server that stands alone: nothing is here."""
    if scope["type"] == "http":
        await respond(send, 404, b"not found", [(b"content-type", b"text/plain")])
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
    else:
        raise RuntimeError("no lifespan here")
