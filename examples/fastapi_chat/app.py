"""A chat with login and rooms: FastAPI has users and pages, Socket.IO what is said."""

import os
import secrets
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Form, HTTPException, Response
from fastapi.responses import FileResponse

from shoal import ConnectionRefused, Server, Socket

PASSWORD = os.environ.get("CHAT_PASSWORD", "open sesame")  # a real application has one for each user
sessions: dict[str, str] = {}  # and its sessions in a database

io = Server(cors_origins=None)  # pages of this origin alone, since a cookie says who it is
web = FastAPI()
app = io.asgi(web)


class Message(msgspec.Struct):
    room: str
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@web.post("/login")
def login(response: Response, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, str]:
    if not secrets.compare_digest(password.encode(), PASSWORD.encode()):
        raise HTTPException(401, "wrong password")
    session = secrets.token_urlsafe()
    sessions[session] = name
    response.set_cookie("session", session, httponly=True, samesite="lax")
    return {"name": name}


@io.use
def authenticate(socket: Socket) -> None:
    cookie = SimpleCookie(socket.handshake.headers.get("cookie", "")).get("session")
    if cookie is None or cookie.value not in sessions:
        raise ConnectionRefused("log in first")
    socket.data["name"] = sessions[cookie.value]


@io.on("enter")
async def enter(socket: Socket, room: str) -> list[str]:
    """Join a room; the answer is who is in it."""
    await socket.join(f"room:{room}")
    socket.to(f"room:{room}").emit("entered", room, socket.data["name"])
    return sorted({other.data["name"] for other in await io.in_(f"room:{room}").fetch_sockets()})


@io.on("say")
def say(socket: Socket, message: Message) -> dict[str, Any]:
    room = f"room:{message.room}"
    if room not in socket.rooms:
        return {"error": f"you are not in {message.room}"}
    io.to(room).emit("said", message.room, socket.data["name"], message.text)
    return {"ok": True}


@io.on("disconnecting")
def leave(socket: Socket, reason: str) -> None:
    for room in socket.rooms:
        socket.to(room).emit("left", room.removeprefix("room:"), socket.data["name"])
