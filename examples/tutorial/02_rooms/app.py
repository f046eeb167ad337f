"""Chapter 2: rooms."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

ROOMS = ("lobby", "garden", "kitchen")

io = Server()
web = FastAPI()
app = io.asgi(web)


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


async def enter_room(socket: Socket, room: str) -> None:
    socket.data["room"] = room
    await socket.leave(*ROOMS)
    await socket.join(room)
    socket.emit("said", f"You are in the {room}.")
    socket.to(room).emit("said", "Somebody came in.")


@io.on("connect")
async def connect(socket: Socket) -> None:
    await enter_room(socket, "lobby")


@io.on("enter")
async def enter(socket: Socket, room: str) -> None:
    if room in ROOMS:
        await enter_room(socket, room)


@io.on("say")
def say(socket: Socket, text: str) -> None:
    io.to(socket.data["room"]).emit("said", text)
