"""The server: what clients may say, and who hears it. `shoal serve app:app` runs it."""

from typing import Annotated, Any

import msgspec
from shoal import Server, Socket

from web import page

io = Server()
app = io.asgi(page)


class Message(msgspec.Struct):
    """What `say` takes. What does not fit is answered with an error."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@io.on("connect")
async def connect(socket: Socket) -> None:
    await socket.join("chat")
    socket.emit("welcome", io.node)


@io.on("say")
def say(socket: Socket, message: Message) -> dict[str, Any]:
    io.to("chat").emit("said", message.text, io.node)
    return {"ok": True}
