"""A Socket.IO server beside a FastAPI application, three ways: in front of it, mounted in it, and mounted deeper.

FastAPI counts its own start and stop, so that a test sees who handles the lifespan.
"""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import FastAPI, WebSocket

from shoal import Server

lives = {"started": 0, "stopped": 0}


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    lives["started"] += 1
    yield
    print("the lifespan of FastAPI has ended", flush=True)


def make(name: str) -> tuple[Server, FastAPI]:
    """A server that echoes, and an application with a page, an echo of its own and a WebSocket."""
    io = Server(node=name, broker="memory://", ping_interval=0.3, ping_timeout=5.0)
    api = FastAPI(lifespan=lifespan)

    @io.on("echo")
    def echo(socket, *args):
        return args

    @api.get("/hello")
    async def hello() -> dict[str, Any]:
        return {"hello": name, "started": lives["started"]}

    @api.post("/items/{number}")
    async def items(number: int, body: dict[str, Any]) -> dict[str, Any]:
        io.emit("item", number, body)
        return {"number": number, "body": body}

    @api.websocket("/raw")
    async def raw(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("raw " + await websocket.receive_text())
        await websocket.close()

    return io, api


io, api = make("in front")
in_front = io.asgi(api)

inner, mounted = make("mounted")
mounted.mount("/", inner)

deep, deeper = make("deeper")
deeper.mount("/live", deep)
