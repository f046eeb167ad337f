"""Chapter 3: acknowledgements, and arguments that are checked."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

ROOMS = ("lobby", "garden", "kitchen")

io = Server()
web = FastAPI()
app = io.asgi(web)


class Message(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


async def enter_room(socket: Socket, room: str) -> None:
    socket.data["room"] = room
    await socket.leave(*ROOMS)
    await socket.join(room)
    socket.to(room).emit("said", "Somebody came in.")


@io.on("connect")
async def connect(socket: Socket) -> None:
    await enter_room(socket, "lobby")


@io.on("enter")
async def enter(socket: Socket, room: str) -> dict[str, Any]:
    if room not in ROOMS:
        return {"error": f"there is no room {room}"}
    await enter_room(socket, room)
    return {"room": room}


@io.on("say")
def say(socket: Socket, message: Message) -> dict[str, Any]:
    io.to(socket.data["room"]).emit("said", message.text)
    return {"ok": True}
