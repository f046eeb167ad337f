"""The ASGI application of an engine: routes, CORS, the browser client, and another application behind it.

The path alone decides who answers: the engine's path is the engine's, everything else the other application's, or 404.
"""

from __future__ import annotations

from typing import Any

from ..engine.base import BaseEngine
from ..engine.hop import proof_headers, receive_hop
from ..engine.polling import refuse
from ..http.client_files import ClientFiles
from ..http.cors import cors_headers, preflight_headers
from ..http.request import Request
from ..http.responses import respond
from .forward import forward_polling
from .lifespan import Application, Hook, InnerLifespan, answer_lifespan
from .polling import serve_polling
from .websocket import serve_websocket

__all__ = ["ASGIApp", "EngineApp"]


class EngineApp:
    """ASGI for one engine: ``http`` and ``websocket`` scopes.

    Args:
        engine: Whose path it serves.
        client: Files of the browser client, served below the path; ``None`` for none.
    """

    def __init__(self, engine: BaseEngine[Any], client: ClientFiles | None = None) -> None:
        self._engine = engine
        self._client = client

    def owns(self, scope: Any) -> bool:
        """Whether a request is the engine's, by its path."""
        path = self._path(scope)
        return path.startswith(self._engine.settings.path) or path + "/" == self._engine.settings.path

    def _path(self, scope: Any) -> str:
        """The path below the place where another application has mounted this one (ASGI: path includes root_path)."""
        path: str = scope["path"]
        mount = scope.get("root_path", "").rstrip("/")
        if not path.startswith(mount + "/") or path.startswith(self._engine.settings.path):
            return path
        return path[len(mount) :]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await answer_lifespan(receive, send, self._begin, self._engine.close)
        elif kind == "websocket":
            if self._path(scope) == self._engine.settings.path:
                await serve_websocket(self._engine, scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close"})
        elif kind == "http":
            await self._answer(scope, receive, send)

    async def _begin(self) -> None:
        self._engine.begin()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        path, root = self._path(scope), self._engine.settings.path
        request = receive_hop(self._engine.forwarder.key, Request.from_scope(scope))
        headers = [*cors_headers(self._engine.settings, request), *proof_headers(request)]
        if path != root:
            name = path.removeprefix(root)
            if self._client is None or not await self._client.serve(name, request, headers, send):
                await respond(send, 404, b"not found", [(b"content-type", b"text/plain")])
        elif request.method == "OPTIONS":
            await respond(send, 204, b"", [*headers, *preflight_headers(self._engine.settings, request)])
        else:
            await self._poll(scope, request, headers, receive, send)

    async def _poll(self, scope: Any, request: Request, headers: Any, receive: Any, send: Any) -> None:
        engine = self._engine
        engine.listen(send)
        if await forward_polling(engine, scope, request, receive, send):
            return
        if engine.listeners and "sid" in request.query:
            headers = [*headers, *_encode(engine.extra_headers(request, first=False))]
        refusal = engine.admission.check_polling(request)
        if refusal is not None:
            response = refuse(engine, refusal, request)
            await respond(send, response.status, response.body, [*response.headers, *headers])
        else:
            await serve_polling(engine, request, headers, receive, send)


def _encode(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers]


class ASGIApp:
    """An engine's application in front of another one: what is not the engine's goes there, lifespan goes to both.

    Args:
        front: The engine's application; its ``owns`` decides what goes there.
        other: Any ASGI application.
        start: Starts what stands behind ``front``.
        stop: Ends it.
        engine: For servers that can carry its WebSockets themselves; see :mod:`.fastlane`.
        server: What it belongs to.
        behind: The other application as it was given, for those who look; ``None`` if there is none.
    """

    def __init__(
        self,
        front: EngineApp,
        other: Application,
        start: Hook,
        stop: Hook,
        engine: BaseEngine[Any],
        server: Any,
        behind: Any,
    ) -> None:
        self._front = front
        self._other = other
        self._start = start
        self._stop = stop
        self.engine = engine
        self.server = server
        self.behind = behind

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.engine.forwarder.learning:
            self.engine.forwarder.reached_at(scope.get("server"))
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._front.owns(scope):
            await self._start()
            await self._front(scope, receive, send)
        else:
            await self._other(scope, receive, send)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        """Start ours first and stop it last, so that the other application can use it in between."""
        inner = InnerLifespan(self._other, scope)

        async def start() -> None:
            await self._start()
            await inner.step("startup")

        async def stop() -> None:
            try:
                await inner.step("shutdown")
            finally:
                await self._stop()

        await answer_lifespan(receive, send, start, stop)
