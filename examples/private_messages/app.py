"""Private messages between people who may have several windows, and who is there."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import ConnectionRefused, Server, Socket

io = Server()
web = FastAPI()
app = io.asgi(web)


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


async def is_here(user: str) -> bool:
    return bool(await io.in_(f"user:{user}").fetch_sockets())


@io.use
def authenticate(socket: Socket) -> None:
    name = socket.handshake.auth.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise ConnectionRefused("a name, please")  # in earnest: a token, as in the tutorial
    socket.data["name"] = name


@io.on("connect")
async def connect(socket: Socket) -> None:
    name = socket.data["name"]
    if not await is_here(name):
        io.emit("presence", name, True)
    await socket.join(f"user:{name}")
    everybody = await io.fetch_sockets()
    socket.emit("people", sorted({other.data["name"] for other in everybody} | {name}))


@io.on("message")
async def message(socket: Socket, to: str, text: str) -> dict[str, Any]:
    """To all windows of both, but the one that it comes from."""
    if not await is_here(to):
        return {"error": f"{to} is not here"}
    sender = socket.data["name"]
    socket.to(f"user:{to}").to(f"user:{sender}").emit("message", {"from": sender, "to": to, "text": text})
    return {"ok": True}


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    name = socket.data["name"]
    if not await is_here(name):
        io.emit("presence", name, False)
