"""ASGI's lifespan, from both sides: answered for an engine, and driven for the application behind it.

What starts and stops is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

__all__ = ["Application", "Hook", "InnerLifespan", "WithServers", "answer_lifespan"]

log: Final = logging.getLogger("shoal.engine")

Application = Callable[[Any, Any, Any], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]


async def answer_lifespan(receive: Any, send: Any, start: Hook, stop: Hook) -> None:
    """Answer the ``lifespan`` scope.

    Args:
        receive, send: ASGI's.
        start: What the startup does.
        stop: What the shutdown does.
    """
    while True:
        kind = (await receive())["type"]
        name, hook = ("startup", start) if kind == "lifespan.startup" else ("shutdown", stop)
        try:
            await hook()
        except Exception as error:
            log.exception("%s failed", name)
            await send({"type": f"lifespan.{name}.failed", "message": str(error)})
            return
        await send({"type": f"lifespan.{name}.complete"})
        if name == "shutdown":
            return


class InnerLifespan:
    """Drives the lifespan of the other application. One that has none is left alone.

    Args:
        app: Any ASGI application.
        scope: The server's, of type ``lifespan``.
    """

    def __init__(self, app: Application, scope: Any) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._app = app
        self._scope = scope
        self._task: asyncio.Task[None] | None = None

    async def step(self, name: str) -> None:
        """Run ``startup`` or ``shutdown``.

        Raises:
            RuntimeError: The application reported a failure.
        """
        if self._task is None:
            self._task = asyncio.ensure_future(self._app(self._scope, self._to_app.get, self._receive))
        if self._task.done():
            return
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._to_app.put_nowait({"type": f"lifespan.{name}"})
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            # It ended without an answer: an application without lifespan may raise (ASGI specification, lifespan).
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                log.debug("the other application has no lifespan: %r", error)
            return
        message = answer.result()
        if message["type"].endswith(".failed"):
            raise RuntimeError(message.get("message") or f"{name} of the other application failed")
        if name == "shutdown":
            await asyncio.wait({self._task}, timeout=5.0)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task

    async def _receive(self, message: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


class WithServers:
    """An application, and servers that its lifespan does not reach, such as one that is mounted within it.

    They start before its own startup, and are closed after its shutdown.

    Args:
        app: Any ASGI application.
        servers: Each has ``start``, ``close`` and ``engine``.
        engine: That of the server that the application is, or begins with, if there is one.
    """

    def __init__(self, app: Application, servers: Sequence[Any], engine: Any = None) -> None:
        self.app = app
        self.servers = servers
        self.engine = engine

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        inner = InnerLifespan(self.app, scope)

        async def start() -> None:
            for server in self.servers:
                await server.start()
            await inner.step("startup")

        async def stop() -> None:
            try:
                await inner.step("shutdown")
            finally:
                for server in self.servers:
                    await server.close()

        await answer_lifespan(receive, send, start, stop)
