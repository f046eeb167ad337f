"""The page as an ASGI application: a few small files, held in memory, that a browser may keep but must ask about.

It answers GET and HEAD for what lies in ``assets/``, so that no request can name a file outside, and says at
``/controls`` whether servers can be killed, and has them killed there if so. It refuses to know Socket.IO: the server
in front of it has taken those requests already.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from .controls import Controls, Refused

__all__ = ["Page"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

INDEX = "index.html"
CONTROLS = "/controls"
KILL = "/controls/kill/"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
CLIENT_CDN = "https://cdn.socket.io"
"""Where the server sends browsers for the client script when it has no copy of its own."""

# Scripts come from here or from the fallback, styles and images from here. 'self' covers the WebSocket too.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' {CLIENT_CDN}",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ALWAYS: Headers = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page, ready to be sent."""

    body: bytes
    etag: bytes
    content_type: bytes

    def headers(self) -> Headers:
        # Nodes of different versions may stand behind one balancer: a browser asks each time, and gets a 304.
        return [*ALWAYS, (b"content-type", self.content_type), (b"etag", self.etag), (b"cache-control", b"no-cache")]


def load_files() -> dict[str, File]:
    """Read the page's files, by the path that asks for them."""
    found = {}
    for entry in files(__package__).joinpath("assets").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in CONTENT_TYPES:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            found[f"/{entry.name}"] = File(body, etag.encode(), CONTENT_TYPES[suffix].encode())
    found["/"] = found[f"/{INDEX}"]
    return found


class Page:
    """An ASGI application that serves the page.

    Args:
        while_serving: Opens a context that holds from startup to shutdown.
        killed: Called with the name of a server that is about to be killed.
        controls: What may be done from the page.
    """

    def __init__(
        self,
        while_serving: Callable[[], contextlib.AbstractAsyncContextManager[None]],
        killed: Callable[[str], None],
        controls: Controls,
    ) -> None:
        self._files = load_files()
        self._while_serving = while_serving
        self._killed = killed
        self._controls = controls

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._while_serving():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, send: Send) -> None:
        path = scope["path"]
        file = self._files.get(path)
        if path == CONTROLS and scope["method"] in ("GET", "HEAD"):
            await answer(send, 200, {"kill": self._controls.allow(scope)})
        elif path.startswith(KILL):
            await self._kill(scope, send, path.removeprefix(KILL))
        elif file is None:
            await respond(send, 404, [*ALWAYS, (b"content-type", b"text/plain")], b"There is nothing here.\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, [*ALWAYS, (b"allow", b"GET, HEAD")], b"")
        elif file.etag in etags_of(scope):
            await respond(send, 304, file.headers(), b"", length=False)
        else:
            await respond(send, 200, file.headers(), file.body, head=scope["method"] == "HEAD")

    async def _kill(self, scope: Message, send: Send, node: str) -> None:
        if scope["method"] != "POST":
            await respond(send, 405, [*ALWAYS, (b"allow", b"POST")], b"")
            return
        try:
            await self._controls.kill(scope, node)
        except Refused as refused:
            await answer(send, refused.status, {"ok": False, "error": refused.reason})
        else:
            self._killed(node)
            await answer(send, 200, {"ok": True})


def etags_of(scope: Message) -> set[bytes]:
    """The entity tags that the browser already has. A proxy that compresses makes them weak: the mark is ignored."""
    tags = b",".join(value for name, value in scope["headers"] if name == b"if-none-match")
    return {tag.strip().removeprefix(b"W/") for tag in tags.split(b",")}


async def answer(send: Send, status: int, content: dict[str, object]) -> None:
    """Send a response for the page's script, which nobody may keep."""
    headers = [*ALWAYS, (b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await respond(send, status, headers, json.dumps(content).encode())


async def respond(
    send: Send, status: int, headers: Headers, body: bytes, *, head: bool = False, length: bool = True
) -> None:
    """Send one response; to a HEAD request, without its body."""
    if length:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
