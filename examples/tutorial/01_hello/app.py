"""Chapter 1: a server, a page, and events both ways."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

io = Server()
web = FastAPI()
app = io.asgi(web)


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@io.on("connect")
def connect(socket: Socket) -> None:
    socket.emit("said", "Welcome!")


@io.on("say")
def say(socket: Socket, text: str) -> None:
    io.emit("said", text)
