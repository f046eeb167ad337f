"""Everything that is not Socket.IO's: here, one page.

Any ASGI application can stand in its place: FastAPI, Starlette, Django.
"""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("index.html")


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the page at /, and with 404 elsewhere."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        if scope["path"] == "/":
            await respond(send, 200, "text/html; charset=utf-8", PAGE.read_bytes())
        else:
            await respond(send, 404, "text/plain", b"There is nothing here.\n")


async def respond(send: Any, status: int, kind: str, body: bytes) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
