"""Chapter 5: who is here? Members of a room, on whichever server they are."""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
from fastapi import FastAPI, Form, HTTPException
from fastapi.responses import FileResponse

from shoal import ConnectionRefused, Server, Socket

ROOMS = ("lobby", "garden", "kitchen")
SECRET = os.environ.get("CHAT_SECRET", "a secret of at least 32 bytes, for development")
PASSWORDS = {"anna": "apple", "berta": "banana"}  # a real application asks its database, for a hash

io = Server()
web = FastAPI()
app = io.asgi(web)


class Message(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@web.post("/login")
def login(name: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, str]:
    if PASSWORDS.get(name) != password:
        raise HTTPException(401, "wrong name or password")
    return {"token": jwt.encode({"sub": name, "exp": time.time() + 3600}, SECRET, algorithm="HS256")}


@io.use
def authenticate(socket: Socket) -> None:
    try:
        claims = jwt.decode(socket.handshake.auth["token"], SECRET, algorithms=["HS256"])
    except (KeyError, jwt.InvalidTokenError):
        raise ConnectionRefused("log in first") from None
    socket.data["name"] = claims["sub"]


async def tell_members(room: str) -> None:
    sockets = await io.in_(room).fetch_sockets()
    io.to(room).emit("members", sorted({other.data["name"] for other in sockets}))


async def enter_room(socket: Socket, room: str) -> None:
    before = socket.data.get("room")
    socket.data["room"] = room
    await socket.leave(*ROOMS)
    await socket.join(room)
    socket.to(room).emit("said", f"{socket.data['name']} came in.")
    for changed in {before, room} - {None}:
        await tell_members(changed)


@io.on("connect")
async def connect(socket: Socket) -> None:
    await enter_room(socket, "lobby")


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    io.to(socket.data["room"]).emit("said", f"{socket.data['name']} left.")
    await tell_members(socket.data["room"])


@io.on("enter")
async def enter(socket: Socket, room: str) -> dict[str, Any]:
    if room not in ROOMS:
        return {"error": f"there is no room {room}"}
    await enter_room(socket, room)
    return {"room": room}


@io.on("say")
def say(socket: Socket, message: Message) -> dict[str, Any]:
    io.to(socket.data["room"]).emit("said", f"{socket.data['name']}: {message.text}")
    return {"ok": True}
