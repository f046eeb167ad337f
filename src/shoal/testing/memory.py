"""What an ASGI server does between a client and an application, in memory.

A lifespan, a request, a WebSocket; each is one call of the application. Messages are handed over as they are: no bytes,
no socket. What a WebSocket carries is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from ..errors import ConnectionRefused

__all__ = ["Address", "Lifespan", "Response", "WebSocket", "request", "scope_of"]

ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
# What an application may take to end, in seconds of the loop's time.
END_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a client comes from, and how."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = "127.0.0.1"
    secure: bool = False


def scope_of(kind: str, address: Address) -> dict[str, Any]:
    """An ASGI scope of type ``http`` or ``websocket``."""
    headers = {"host": "testserver", **{name.lower(): value for name, value in address.headers.items()}}
    scheme = "http" if kind == "http" else "ws"
    return {
        "type": kind,
        "asgi": ASGI,
        "http_version": "1.1",
        "scheme": scheme + "s" if address.secure else scheme,
        "path": address.path,
        "raw_path": address.path.encode(),
        "root_path": "",
        "query_string": urlencode(address.query).encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (address.peer, 40_000),
        "server": ("testserver", 443 if address.secure else 80),
        "state": {},
    }


@dataclass(slots=True)
class Response:
    """An application's answer to a request.

    Attributes:
        status, body: As they were sent.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; of one that came several times, the last."""
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


def _add_to(response: Response, message: Mapping[str, Any]) -> None:
    """Put a message of the application into its response."""
    if message["type"].endswith(".start"):
        response.status = message["status"]
        pairs = message.get("headers", ())
        response.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}
    else:
        response.body += message.get("body", b"")


async def request(app: Any, method: str, address: Address, body: bytes = b"") -> Response:
    """Send a request to an application and wait for its answer.

    Args:
        app: Any ASGI application.
        method: In capitals.
        address: What is asked, and by whom.
        body: Arrives in one piece.
    """
    response = Response()
    arriving = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if arriving:
            return arriving.pop()
        return await asyncio.get_running_loop().create_future()  # a client that stays

    async def send(message: Any) -> None:
        _add_to(response, message)

    await app({**scope_of("http", address), "method": method}, receive, send)
    return response


class Lifespan:
    """The startup and the shutdown of an application. One that has no lifespan is left alone.

    Args:
        app: Any ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application.

        Raises:
            RuntimeError: It answered ``startup.failed``.
        """
        scope = {"type": "lifespan", "asgi": ASGI, "state": {}}
        self._task = asyncio.ensure_future(self._app(scope, self._orders.get, self._answers.put))
        await self._order(self._task, "startup")

    async def stop(self) -> None:
        """Shut the application down.

        Raises:
            RuntimeError: It answered ``shutdown.failed``.
        """
        task, self._task = self._task, None
        if task is not None and not task.done():
            try:
                await self._order(task, "shutdown")
            finally:
                await _end(task)

    async def _order(self, task: asyncio.Task[None], name: str) -> None:
        self._orders.put_nowait({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            task.exception()  # it returned or raised without an answer: it has no lifespan
            return
        message = answer.result()
        if message["type"].endswith(".failed"):
            raise RuntimeError(f"{name} failed: {message.get('message', '')}")


class WebSocket:
    """The client's end of a WebSocket.

    Args:
        on_message: Called with each message of the application, ``str`` or ``bytes``.
        on_close: Called once, with the code of the close frame; not after :meth:`drop`.
    """

    def __init__(self, on_message: Callable[[str | bytes], None], on_close: Callable[[int], None]) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._accepted = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusal = Response()
        self._task: asyncio.Task[None] | None = None
        self.headers: dict[str, str] = {}
        """Of the answer to the handshake."""
        self.open: bool = False

    async def connect(self, app: Any, address: Address) -> None:
        """Make the handshake.

        Raises:
            ConnectionRefused: The application refused it; ``data`` has ``status`` and, from an engine, its ``code``.
        """
        scope = {**scope_of("websocket", address), "subprotocols": [], "extensions": {"websocket.http.response": {}}}
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.ensure_future(self._carry(app, scope))
        await self._answered.wait()
        if not self._accepted:
            await self.end()
            raise _refused(self._refusal)

    async def _carry(self, app: Any, scope: Any) -> None:
        try:
            await app(scope, self._to_app.get, self._take)
        finally:
            self._answered.set()
            self._closed(1006)

    async def _take(self, message: dict[str, Any]) -> None:
        """What the application calls ``send``. It waits while the client does not read."""
        kind = message["type"]
        if kind == "websocket.send":
            await self._flowing.wait()
            if self.open:
                text, data = message.get("text"), message.get("bytes")
                self._on_message(text if text is not None else bytes(data or b""))
        elif kind == "websocket.accept":
            self.headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in message.get("headers", ())}
            self.open = self._accepted = True
            self._answered.set()
        elif kind == "websocket.close":
            self._refusal.status = 403  # what it means before the handshake is answered
            self._answered.set()
            self._closed(message.get("code", 1000))
        else:
            _add_to(self._refusal, message)

    def _closed(self, code: int) -> None:
        if self.open:
            self.drop(code)
            self._on_close(code)

    def send(self, message: str | bytes) -> None:
        """Send a message. After the end it is ignored."""
        if self.open:
            key = "text" if isinstance(message, str) else "bytes"
            self._to_app.put_nowait({"type": "websocket.receive", key: message})

    def drop(self, code: int = 1006) -> None:
        """End it from this side; the application gets ``websocket.disconnect``."""
        if self.open:
            self.open = False
            self._flowing.set()
            self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})

    def pause(self) -> None:
        """Read no more."""
        if self.open:
            self._flowing.clear()

    def resume(self) -> None:
        """Read again."""
        self._flowing.set()

    async def end(self) -> None:
        """Wait until the application is done with it.

        Raises:
            Exception: Whatever the application raised.
        """
        self.drop()
        task, self._task = self._task, None
        if task is not None:
            await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    """Wait for an application that shall end; cancel it if it does not."""
    await asyncio.wait({task}, timeout=END_TIMEOUT)
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        raise TimeoutError(f"the application did not end within {END_TIMEOUT:g} s")
    task.result()


def _refused(refusal: Response) -> ConnectionRefused:
    body: Any = None
    with contextlib.suppress(ValueError):
        body = refusal.json
    if not isinstance(body, dict):
        body = {"message": refusal.body.decode("utf-8", "replace") or "connection refused"}
    return ConnectionRefused(body.pop("message", "connection refused"), {"status": refusal.status, **body})
